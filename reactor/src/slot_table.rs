//! The table of a driver's connections: a fixed number of slots, each with a generation, reused last-in first-out so
//! that a busy slot's memory stays warm. Grows lazily to its bound and never past it.

use crate::Token;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenant: Option<T>,
}

/// Tenants by token. All operations are O(1).
#[derive(Debug)]
pub struct SlotTable<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    slots_max: u32,
}

impl<T> SlotTable<T> {
    /// A table for at most `slots_max` tenants at one time.
    #[must_use]
    pub const fn new(slots_max: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), slots_max }
    }

    /// Tenants in the table.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns true if the table has no tenant.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if `insert` would refuse.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len() == self.slots_max as usize
    }

    /// Returns the number of further tenants that `insert` would take.
    #[must_use]
    pub const fn vacant(&self) -> usize {
        self.slots_max as usize - self.len()
    }

    /// Takes a tenant in, or gives it back when the table is full.
    ///
    /// # Errors
    /// The tenant, when every slot is taken.
    pub fn insert(&mut self, tenant: T) -> Result<Token, T> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.slots_max as usize => {
                self.slots.push(Slot { generation: 0, tenant: None });
                // Below `slots_max`, which is a u32.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
            None => return Err(tenant),
        };
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.tenant.is_none(), "a free slot has no tenant");
        slot.tenant = Some(tenant);
        Ok(Token::new(index, slot.generation))
    }

    /// The tenant that `token` names, if it is still here.
    #[must_use]
    pub fn get(&self, token: Token) -> Option<&T> {
        self.slots.get(token.slot()).filter(|slot| slot.generation == token.generation())?.tenant.as_ref()
    }

    /// The tenant that `token` names, if it is still here.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        self.slots.get_mut(token.slot()).filter(|slot| slot.generation == token.generation())?.tenant.as_mut()
    }

    /// Takes the tenant out and makes its token, and every copy of it, name nobody.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        let slot = self.slots.get_mut(token.slot()).filter(|slot| slot.generation == token.generation())?;
        let tenant = slot.tenant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(u32::try_from(token.slot()).unwrap_or(u32::MAX));
        Some(tenant)
    }

    /// The tokens of all tenants, in slot order.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.tenant.is_some())
            .map(|(index, slot)| Token::new(u32::try_from(index).unwrap_or(u32::MAX), slot.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_not_reached_by_the_old_token() {
        let mut slots = SlotTable::new(2);
        let first = slots.insert('a').unwrap();
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b').unwrap();
        assert_eq!(second.slot(), first.slot());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
    }

    #[test]
    fn a_full_table_gives_the_tenant_back() {
        let mut slots = SlotTable::new(1);
        let only = slots.insert('a').unwrap();
        assert_eq!(slots.insert('b'), Err('b'));
        assert!(slots.is_full());
        assert_eq!(slots.tokens().collect::<Vec<_>>(), [only]);
    }
}

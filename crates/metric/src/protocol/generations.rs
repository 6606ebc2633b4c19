//! Numbers of states that the meaning of a cached series depends on, such as the keys of tags that stand before its
//! own: equal states have the same number as long as they are remembered.

use crate::limits::{GENERATION_BYTES_MAX, GENERATIONS_MAX};

/// The states that are remembered, as texts.
#[derive(Debug)]
pub(super) struct Generations {
    /// With their numbers.
    states: Vec<(u64, Vec<u8>)>,
    /// Index of the state that is forgotten next.
    oldest: usize,
    /// The number of the next state; none is given twice.
    next: u64,
}

impl Generations {
    pub(super) const fn new() -> Self {
        Self { states: Vec::new(), oldest: 0, next: 0 }
    }

    /// Capacity in bytes: a bounded number.
    pub(super) fn kept_bytes(&self) -> usize {
        let texts = self.states.iter().map(|(_, text)| text.capacity()).sum::<usize>();
        self.states.capacity() * size_of::<(u64, Vec<u8>)>() + texts
    }

    /// The number of `state`; `None` if it is too long.
    pub(super) fn number(&mut self, state: &[u8]) -> Option<u64> {
        if let Some((number, _)) = self.states.iter().find(|(_, known)| known == state) {
            return Some(*number);
        }
        if state.len() > GENERATION_BYTES_MAX {
            return None;
        }
        let number = self.next;
        self.next += 1;
        if self.states.len() < GENERATIONS_MAX {
            self.states.push((number, state.to_vec()));
        } else if let Some((oldest, text)) = self.states.get_mut(self.oldest) {
            *oldest = number;
            text.clear();
            text.extend_from_slice(state);
            self.oldest = (self.oldest + 1) % GENERATIONS_MAX;
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_its_number_until_it_is_forgotten() {
        let mut generations = Generations::new();
        assert_eq!(generations.number(b""), Some(0));
        assert_eq!(generations.number(b"a"), Some(1));
        assert_eq!(generations.number(b""), Some(0));
        assert_eq!(generations.number(&[b'x'; GENERATION_BYTES_MAX + 1]), None);
        for other in 0..GENERATIONS_MAX {
            assert_eq!(generations.number(other.to_string().as_bytes()), Some(other as u64 + 2));
        }
        assert_eq!(generations.states.len(), GENERATIONS_MAX);
        let last = GENERATIONS_MAX as u64 + 1;
        assert_eq!(generations.number((GENERATIONS_MAX - 1).to_string().as_bytes()), Some(last));
        assert_eq!(generations.number(b"a"), Some(last + 1));
        assert!(generations.kept_bytes() < GENERATIONS_MAX * (GENERATION_BYTES_MAX + 64));
    }
}

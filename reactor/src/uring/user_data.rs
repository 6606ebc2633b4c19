//! User data that a submission carries to its completion: the operation, and the token of its connection.
//!
//! | bits | width | what |
//! |---|---|---|
//! | 0..32 | 32 | generation of the slot |
//! | 32..60 | 28 | slot: 268 million connections; `fs.nr_open` allows a process 1,048,576 descriptors unless raised |
//! | 60..64 | 4 | operation |
//!
//! The generation is carried whole, so a completion of an earlier tenant cannot be taken for one of the present tenant.
//! There should be none in any case: a slot is freed only after the last completion of its last operation.

use crate::Token;

const GENERATION_BITS: u32 = 32;
const SLOT_BITS: u32 = 28;
const OP_BITS: u32 = 4;
const _: () = assert!(GENERATION_BITS + SLOT_BITS + OP_BITS == u64::BITS);

/// Most slots that can be named.
pub(super) const SLOTS_MAX: u32 = 1 << SLOT_BITS;

/// An operation the driver submits. At most one of each kind is in flight for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    Receive,
    Send,
    Connect,
    CancelReceive,
    CancelSend,
    CancelConnect,
    Accept,
    CancelAccept,
    Doorbell,
    /// Cancels whatever the ring has in flight; used when the driver is dropped.
    CancelAll,
}

impl Op {
    const ALL: [Self; 10] = [
        Self::Receive,
        Self::Send,
        Self::Connect,
        Self::CancelReceive,
        Self::CancelSend,
        Self::CancelConnect,
        Self::Accept,
        Self::CancelAccept,
        Self::Doorbell,
        Self::CancelAll,
    ];

    /// The operation that cancels this one.
    pub(super) const fn cancel(self) -> Self {
        match self {
            Self::Receive => Self::CancelReceive,
            Self::Send => Self::CancelSend,
            Self::Connect => Self::CancelConnect,
            Self::Accept => Self::CancelAccept,
            _ => Self::CancelAll,
        }
    }
}

const _: () = assert!(Op::ALL.len() <= 1 << OP_BITS);

/// The operations of one connection that the kernel still has, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct InFlight(u16);

const _: () = assert!(Op::ALL.len() <= u16::BITS as usize);

impl InFlight {
    const fn bit(op: Op) -> u16 {
        1 << op as u8
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) const fn contains(self, op: Op) -> bool {
        self.0 & Self::bit(op) != 0
    }

    pub(super) fn insert(&mut self, op: Op) {
        debug_assert!(!self.contains(op), "{op:?} is in flight already");
        self.0 |= Self::bit(op);
    }

    pub(super) fn remove(&mut self, op: Op) {
        debug_assert!(self.contains(op), "{op:?} completed without having been submitted");
        self.0 &= !Self::bit(op);
    }
}

/// The user data of `op` on the connection `token`.
pub(super) const fn pack(op: Op, token: Token) -> u64 {
    debug_assert!(token.slot() < SLOTS_MAX as usize);
    (op as u64) << (GENERATION_BITS + SLOT_BITS) | (token.slot() as u64) << GENERATION_BITS | token.generation() as u64
}

/// The user data of an `op` that belongs to no connection and no listener.
pub(super) const fn pack_own(op: Op) -> u64 {
    pack(op, Token::new(0, 0))
}

/// Inverse of `pack`.
#[expect(clippy::cast_possible_truncation, reason = "each cast takes exactly the bits of its field")]
pub(super) fn unpack(user_data: u64) -> (Op, Token) {
    let op = Op::ALL[(user_data >> (GENERATION_BITS + SLOT_BITS)) as usize];
    let slot = (user_data >> GENERATION_BITS) as u32 & (SLOTS_MAX - 1);
    (op, Token::new(slot, user_data as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_both_ends_of_each_field_come_back() {
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, index);
            for slot in [0, 1, SLOTS_MAX - 1] {
                for generation in [0, 1, u32::MAX] {
                    let token = Token::new(slot, generation);
                    assert_eq!(unpack(pack(op, token)), (op, token));
                }
            }
        }
    }

    #[test]
    fn the_set_holds_what_was_put_in() {
        let mut set = InFlight::default();
        set.insert(Op::Receive);
        set.insert(Op::CancelReceive);
        assert!(set.contains(Op::Receive) && !set.contains(Op::Send));
        assert_eq!(set.len(), 2);
        set.remove(Op::Receive);
        set.remove(Op::CancelReceive);
        assert!(set.is_empty());
    }
}

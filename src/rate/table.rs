//! One shard of the limiter: a fixed open-addressing table of clients, the memory of their stamps, and a clock.
//!
//! Owns which clients are on record. Promises a bounded amount of work per decision: a look-up by linear probing at a load
//! of at most 3/4, a few slots under the clock hand when memory is asked for, and no sweep of the whole table ever. Lives
//! under the shard's lock and knows nothing of it.
//!
//! The hand rests while those on record are served: the slots it looks at were as likely as not written by another core. With
//! 500 clients on each of two busy cores, two slots a decision made it 58 ns instead of 41 (`benchmark_limiter`, A B A B).
//!
//! The shard's clock is the latest `now` that it was given. A decision with an earlier `now`, read on another core just
//! before, is made at the shard's clock. So stamps never go back, and a client whose last stamp has left the window can be
//! forgotten for good: nobody can come later with an earlier time at which that stamp still counted.

use super::{
    ClientKey, Decision,
    stamps::{StampBudget, StampPool},
    window::{Rule, Window},
};
use crate::limits::{RATE_HAND_SLOTS, RATE_HAND_SLOTS_FULL};

/// A client, on one cache line: 16 bytes of key, 40 of window, 8 of padding. Free while the window is empty.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Slot {
    key: ClientKey,
    window: Window,
}

/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 64);

#[derive(Debug)]
pub(super) struct Table {
    /// A power of two of slots, at most 3/4 of them taken.
    slots: Box<[Slot]>,
    clients: usize,
    clients_max: usize,
    /// The slot the clock hand looks at next.
    hand: usize,
    clock_ns: u64,
    pool: StampPool,
}

impl Table {
    pub(super) fn new(clients_max: usize) -> Self {
        assert!(clients_max > 0, "a shard has room for a client");
        Self {
            slots: vec![Slot::default(); slots_for(clients_max)].into_boxed_slice(),
            clients: 0,
            clients_max,
            hand: 0,
            clock_ns: 0,
            pool: StampPool::new(),
        }
    }

    pub(super) const fn clients(&self) -> usize {
        self.clients
    }

    /// Decides on one request of `key` at `now_ns`. Whoever needs memory first looks for idle clients to forget.
    pub(super) fn admit(&mut self, key: ClientKey, now_ns: u64, rule: Rule, budget: &StampBudget) -> Decision {
        self.clock_ns = self.clock_ns.max(now_ns);
        let decision = match self.find(key) {
            Ok(at) => self.slots[at].window.admit(self.clock_ns, rule, &mut self.pool, budget),
            Err(_) => self.admit_new(key, rule, budget),
        };
        match decision {
            Decision::Admitted => Decision::Admitted,
            // The window waits from the shard's clock, the client from the moment its request came.
            Decision::Refused { retry_after_ns } => {
                Decision::Refused { retry_after_ns: retry_after_ns.saturating_add(self.clock_ns - now_ns) }
            }
            // For the next request: the idle may hold what this one lacked.
            Decision::TableFull => {
                self.forget_idle(now_ns, RATE_HAND_SLOTS_FULL, rule, budget);
                Decision::TableFull
            }
        }
    }

    /// Sets the clock to `now_ns` unless it is past it, and forgets the idle clients among the next `looks` slots. With the
    /// last client the memory of the stamps goes back to the system.
    pub(super) fn forget_idle(&mut self, now_ns: u64, looks: usize, rule: Rule, budget: &StampBudget) {
        self.clock_ns = self.clock_ns.max(now_ns);
        for _ in 0..looks {
            let window = &mut self.slots[self.hand].window;
            if !window.is_empty() && window.is_idle(self.clock_ns, rule) {
                window.clear(&mut self.pool);
                // Another client may have moved into this slot: the hand stays for it.
                self.close_gap(self.hand);
                self.clients -= 1;
                if self.clients == 0 {
                    self.pool.clear(budget);
                }
            } else {
                self.hand = (self.hand + 1) & (self.slots.len() - 1);
            }
        }
    }

    /// Takes in a client that is not on record.
    fn admit_new(&mut self, key: ClientKey, rule: Rule, budget: &StampBudget) -> Decision {
        let looks = if self.clients == self.clients_max { RATE_HAND_SLOTS_FULL } else { RATE_HAND_SLOTS };
        self.forget_idle(self.clock_ns, looks, rule, budget);
        if self.clients == self.clients_max {
            return Decision::TableFull;
        }
        // Looked up again, because clients may have moved.
        let at = self.find(key).unwrap_or_else(|free| free);
        let slot = &mut self.slots[at];
        debug_assert!(slot.window.is_empty(), "a client that is not on record goes into a free slot");
        slot.key = key;
        let decision = slot.window.admit(self.clock_ns, rule, &mut self.pool, budget);
        assert_eq!(decision, Decision::Admitted, "a first stamp needs nothing from the pool");
        self.clients += 1;
        decision
    }

    /// The slot of `key`, or the free one it would take.
    fn find(&self, key: ClientKey) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = home(key) & mask;
        // Ends: at least a quarter of the slots is free.
        loop {
            let slot = &self.slots[at];
            if slot.window.is_empty() {
                return Err(at);
            }
            if slot.key == key {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Makes up for the slot at `gap` having become free: moves back whoever was pushed past it (Knuth, The Art of Computer
    /// Programming 3, 6.4, algorithm R), so that look-ups need no tombstones.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.slots[at].window.is_empty() {
                break;
            }
            let pushed = at.wrapping_sub(home(self.slots[at].key)) & mask;
            if pushed >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = Slot::default();
    }
}

/// Slots of a table for `clients_max` clients: the power of two that they fill to between 3/8 and 3/4.
pub(super) const fn slots_for(clients_max: usize) -> usize {
    (clients_max + clients_max.div_ceil(3)).next_power_of_two()
}

/// The hash by which a client finds its slot. The shard was chosen by the other half of the key.
#[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are as good as all of them")]
fn home(key: ClientKey) -> usize {
    key.words()[1] as usize
}

//! One shard of the limiter: a fixed open-addressing table of clients, the memory of their stamps, and a clock.
//!
//! Owns the set of clients on record. Promises a bounded amount of work per decision: a look-up by linear probing at a
//! load of at most 3/4, a few slots under the clock hand when memory is needed, and no sweep of the whole table ever.
//! The shard's lock guards it from outside.
//!
//! The hand rests while clients on record are served: the slots it checks were as likely as not written by another
//! core. With 500 clients on each of two busy cores, two slots a decision made it 58 ns instead of 41
//! (`benchmark_limiter`, A B A B).
//!
//! The shard's clock is the latest `now` that it was given. A decision with an earlier `now`, read on another core just
//! before, is made at the shard's clock. So stamps never go back, and a client with its last stamp out of the window
//! can be forgotten for good: no later request has an earlier time at which that stamp still counted.
//!
//! A peer that invents clients cannot fill the table. One place in four is reserved for proven clients ([`Standing`]),
//! and an address has only so many names on record ([`Names`]); a name without a place is reported as such, and the
//! caller charges its address.

use super::{
    ClientKey, Decision,
    stamps::{StampBudget, StampPool},
    window::{Cost, Rule, Window},
};
use crate::limits::{RATE_HAND_SLOTS, RATE_HAND_SLOTS_FULL, RATE_PLACES_KEPT_PART};
use wake::sync::atomic::{AtomicU32, Ordering};

/// Standing of a client: on whose account it takes a place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing(u32);

impl Standing {
    /// A client on its own account: an API key, or an address where addresses are all that is known. The whole table is
    /// open to it.
    pub const PROVEN: Self = Self(0);
    /// A client on no account: an address without a key where keys are required.
    pub const UNPROVEN: Self = Self(1);
    const NAMES_FROM: u32 = 2;

    /// A client on the account of the address with its names counted at `index`.
    const fn named(index: u32) -> Self {
        Self(index + Self::NAMES_FROM)
    }

    const fn index(self) -> Option<u32> {
        self.0.checked_sub(Self::NAMES_FROM)
    }
}

/// Number of names on record for each address, over all shards. Addresses are distinguished by part of their hash: two
/// that share a count share its bound, and a client over it is charged to its address, not refused.
#[derive(Debug)]
pub(super) struct Names {
    counts: Box<[AtomicU32]>,
    limit: u32,
}

impl Names {
    /// Creates at least two counts for each possible client.
    pub(super) fn new(clients_max: usize, limit: u32) -> Self {
        let counts = (2 * clients_max).next_power_of_two();
        assert!(u32::try_from(counts).is_ok_and(|counts| counts < u32::MAX / 2), "{counts} counts have no numbers");
        Self { counts: (0..counts).map(|_| AtomicU32::new(0)).collect(), limit }
    }

    pub(super) fn bytes(&self) -> usize {
        self.counts.len() * size_of::<AtomicU32>()
    }

    /// The standing of a name of `address`.
    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are as good as all of them")]
    pub(super) fn standing(&self, address: ClientKey) -> Standing {
        Standing::named(address.words()[0] as u32 & (self.counts.len() - 1) as u32)
    }

    // Relaxed: a count guards no other memory, only its own value matters.
    fn take(&self, standing: Standing) -> bool {
        let more = |names: u32| (names < self.limit).then_some(names + 1);
        standing.index().is_none_or(|index| {
            self.counts[index as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        })
    }

    fn give_back(&self, standing: Standing) {
        if let Some(index) = standing.index() {
            let before = self.counts[index as usize].fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "only a name that was counted is given back");
        }
    }
}

/// The state that all shards share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) rule: Rule,
    pub(super) budget: StampBudget,
    pub(super) names: Names,
}

/// A client, on one cache line: 16 bytes of key, 48 of account. Free while the key is zero, which no client has.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Slot {
    key: ClientKey,
    window: Window,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.key == ClientKey::default()
    }
}

/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 64);

#[derive(Debug)]
pub(super) struct Table {
    /// Slots, a power of two of them, at most 3/4 of them taken.
    slots: Box<[Slot]>,
    clients: usize,
    clients_max: usize,
    /// Clients that are not [`Standing::PROVEN`], and below it their maximum.
    others: usize,
    others_max: usize,
    /// The slot the clock hand looks at next.
    hand: usize,
    clock_ns: u64,
    pool: StampPool,
}

impl Table {
    pub(super) fn new(clients_max: usize) -> Self {
        assert!(clients_max > 0, "a shard holds at least one client");
        Self {
            slots: vec![Slot::default(); slots_for(clients_max)].into_boxed_slice(),
            clients: 0,
            clients_max,
            others: 0,
            others_max: clients_max - clients_max.div_ceil(RATE_PLACES_KEPT_PART),
            hand: 0,
            clock_ns: 0,
            pool: StampPool::new(),
        }
    }

    pub(super) const fn clients(&self) -> usize {
        self.clients
    }

    /// Decides on one cost of `key` at `now_ns`. A decision that needs memory first looks for idle clients to forget.
    /// `standing` is called when the client is not on record.
    pub(super) fn charge(
        &mut self,
        key: ClientKey,
        standing: impl FnOnce() -> Standing,
        cost: Cost,
        now_ns: u64,
        common: &Common,
    ) -> Decision {
        self.clock_ns = self.clock_ns.max(now_ns);
        let decision = match self.find(key) {
            Ok(at) => {
                let window = &mut self.slots[at].window;
                window.charge(cost, self.clock_ns, common.rule, &mut self.pool, &common.budget)
            }
            Err(_) => self.charge_new(key, standing(), cost, common),
        };
        // The window's wait counts from the shard's clock, the client's from the moment its request arrived.
        let late_ns = self.clock_ns - now_ns;
        match decision {
            Decision::Admitted { .. } => decision,
            Decision::Refused { retry_after_ns } => {
                Decision::Refused { retry_after_ns: retry_after_ns.saturating_add(late_ns) }
            }
            Decision::OverBytes { retry_after_ns } => {
                Decision::OverBytes { retry_after_ns: retry_after_ns.saturating_add(late_ns) }
            }
            // For the next request: idle clients may hold what this one lacked.
            Decision::TableFull | Decision::NamesFull => {
                self.forget_idle(now_ns, RATE_HAND_SLOTS_FULL, common);
                decision
            }
        }
    }

    /// Refunds what `key` was charged at `stamp_ns`. A client that was forgotten meanwhile has nothing that still
    /// counts.
    pub(super) fn refund(&mut self, key: ClientKey, cost: Cost, stamp_ns: u64, now_ns: u64, common: &Common) {
        self.clock_ns = self.clock_ns.max(now_ns);
        if let Ok(at) = self.find(key) {
            self.slots[at].window.refund(cost, stamp_ns, self.clock_ns, common.rule, &mut self.pool);
        }
    }

    /// Sets the clock to `now_ns` unless it is past it, and forgets the idle clients among the next `looks` slots. With
    /// the last client the memory of the stamps is returned to the system.
    pub(super) fn forget_idle(&mut self, now_ns: u64, looks: usize, common: &Common) {
        self.clock_ns = self.clock_ns.max(now_ns);
        for _ in 0..looks {
            let slot = &mut self.slots[self.hand];
            if !slot.is_free() && slot.window.is_idle(self.clock_ns, common.rule) {
                slot.window.clear(&mut self.pool);
                common.names.give_back(slot.window.standing);
                self.others -= usize::from(slot.window.standing != Standing::PROVEN);
                // Another client may have moved into this slot: the hand stays for it.
                self.close_gap(self.hand);
                self.clients -= 1;
                if self.clients == 0 {
                    self.pool.clear(&common.budget);
                }
            } else {
                self.hand = (self.hand + 1) & (self.slots.len() - 1);
            }
        }
    }

    /// Enters a client that is not on record, unless it is refused.
    fn charge_new(&mut self, key: ClientKey, standing: Standing, cost: Cost, common: &Common) -> Decision {
        let looks = if self.has_place(standing) { RATE_HAND_SLOTS } else { RATE_HAND_SLOTS_FULL };
        self.forget_idle(self.clock_ns, looks, common);
        let full = if standing.index().is_some() { Decision::NamesFull } else { Decision::TableFull };
        if !self.has_place(standing) || !common.names.take(standing) {
            return full;
        }
        let mut window = Window::new(standing);
        let decision = window.charge(cost, self.clock_ns, common.rule, &mut self.pool, &common.budget);
        if !matches!(decision, Decision::Admitted { .. }) {
            common.names.give_back(standing);
            return decision;
        }
        // Looked up again, because clients may have moved.
        let at = self.find(key).unwrap_or_else(|free| free);
        debug_assert!(self.slots[at].is_free(), "a client that is not on record goes into a free slot");
        self.slots[at] = Slot { key, window };
        self.clients += 1;
        self.others += usize::from(standing != Standing::PROVEN);
        decision
    }

    fn has_place(&self, standing: Standing) -> bool {
        self.clients < self.clients_max && (standing == Standing::PROVEN || self.others < self.others_max)
    }

    /// The slot of `key`, or the free one it would take.
    fn find(&self, key: ClientKey) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = home(key) & mask;
        // Terminates: at least a quarter of the slots is free.
        loop {
            let slot = &self.slots[at];
            if slot.is_free() {
                return Err(at);
            }
            if slot.key == key {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Closes the gap of a slot that has become free: moves back the clients that were pushed past it (Knuth, The Art
    /// of Computer Programming 3, 6.4, algorithm R), so that look-ups need no tombstones.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.slots[at].is_free() {
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

/// The hash that selects a client's slot. The other half of the key selects the shard.
#[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are as good as all of them")]
fn home(key: ClientKey) -> usize {
    key.words()[1] as usize
}

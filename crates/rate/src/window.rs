//! One client's account: the sliding-window log of its admissions, oldest to newest, and its bucket of bytes.
//!
//! Owns the decision. Promises that it is exact - a request is admitted if and only if fewer than `limit` admissions
//! that were not refunded have stamps in the half-open window (now - window, now] - and that it takes O(1), whatever
//! the limit. Requires of its caller that `now` never goes back.
//!
//! The log is exact even with expired stamps in it. It never holds more than `limit`: if it holds fewer, fewer than
//! `limit` are in the window; if it holds `limit` and the oldest is in the window, all of them are.
//!
//! Bytes are a leaky bucket that holds one window's worth and leaks as fast: in any time `t` a client gets at most
//! `bytes_limit` x (1 + t / window). It is one number, the moment at which the bucket is empty.

use super::{
    Decision,
    stamps::{StampBudget, StampPool, StampQueue},
    table::Standing,
};

/// The limits of every client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Admissions in one window; 0: without limit.
    pub(super) limit: u32,
    /// Length of the window; at least 1.
    pub(super) window_ns: u64,
    /// Bytes in one window; 0: without limit.
    pub(super) bytes_limit: u64,
}

impl Rule {
    /// Time in which the bucket leaks `bytes`, rounded up. The largest body is far below the cap of what is counted.
    fn leak_ns(self, bytes: u64) -> u64 {
        const BYTES_MAX: u64 = u32::MAX as u64;
        if self.bytes_limit == 0 {
            0
        } else {
            bytes.min(BYTES_MAX).saturating_mul(self.window_ns).div_ceil(self.bytes_limit)
        }
    }
}

/// The cost of one charge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// True for a request, which gets a stamp.
    pub(super) is_request: bool,
    pub(super) bytes: u64,
}

/// The account of one client. The oldest and the newest stamp are here, so that most decisions touch this one cache
/// line; those between them are in the pool. A client with at most two admissions in a window takes nothing from the
/// pool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    len: u32,
    /// Standing by which the client has its place in the table.
    pub(super) standing: Standing,
    oldest_ns: u64,
    between: StampQueue,
    newest_ns: u64,
    /// Time at which the bucket of bytes is empty.
    bytes_until_ns: u64,
}

impl Window {
    /// The account of a client without charges.
    pub(super) fn new(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// True if nothing counts any more: from then on the client is equivalent to a new one.
    pub(super) const fn is_idle(&self, now_ns: u64, rule: Rule) -> bool {
        self.stamps_are_idle(now_ns, rule) && self.bytes_until_ns <= now_ns
    }

    const fn stamps_are_idle(&self, now_ns: u64, rule: Rule) -> bool {
        self.len == 0 || now_ns - self.newest_ns >= rule.window_ns
    }

    /// Decides on one cost at `now_ns`, not before any earlier `now_ns` of this client, and enters it if it is
    /// admitted. [`Decision::TableFull`]: the pool has no space for the stamp. A refused cost has no effect on later
    /// decisions.
    pub(super) fn charge(
        &mut self,
        cost: Cost,
        now_ns: u64,
        rule: Rule,
        pool: &mut StampPool,
        budget: &StampBudget,
    ) -> Decision {
        let bytes_until_ns = self.bytes_until_ns.max(now_ns).saturating_add(rule.leak_ns(cost.bytes));
        let over_ns = (bytes_until_ns - now_ns).saturating_sub(rule.window_ns);
        if over_ns > 0 {
            return Decision::OverBytes { retry_after_ns: over_ns };
        }
        if cost.is_request && rule.limit > 0 {
            match self.stamp(now_ns, rule, pool, budget) {
                Decision::Admitted { .. } => {}
                refusal => return refusal,
            }
        }
        self.bytes_until_ns = bytes_until_ns;
        Decision::Admitted { stamp_ns: now_ns }
    }

    /// Refunds what was charged at `stamp_ns`, as far as it still counts at `now_ns`. The log is then as if the request
    /// had never been admitted. Of the bytes, those are refunded that cannot have leaked since.
    pub(super) fn refund(&mut self, cost: Cost, stamp_ns: u64, now_ns: u64, rule: Rule, pool: &mut StampPool) {
        let age_ns = now_ns - stamp_ns;
        let given_back_ns = rule.leak_ns(cost.bytes).saturating_sub(age_ns);
        self.bytes_until_ns = self.bytes_until_ns.saturating_sub(given_back_ns);
        if cost.is_request && age_ns < rule.window_ns {
            self.take_out(stamp_ns, pool);
        }
    }

    fn stamp(&mut self, now_ns: u64, rule: Rule, pool: &mut StampPool, budget: &StampBudget) -> Decision {
        if self.len > 0 {
            debug_assert!(now_ns >= self.newest_ns, "the clock of a shard does not go back");
            if self.stamps_are_idle(now_ns, rule) {
                self.clear(pool);
            }
        }
        // Two at most: one frees space for the new stamp, the other shrinks a log that is longer than it has to be now.
        for _ in 0..2 {
            if self.len > 0 && now_ns - self.oldest_ns >= rule.window_ns {
                self.pop(pool);
            }
        }
        if self.len >= rule.limit {
            return Decision::Refused { retry_after_ns: rule.window_ns - (now_ns - self.oldest_ns) };
        }
        if self.push(now_ns, pool, budget) { Decision::Admitted { stamp_ns: now_ns } } else { Decision::TableFull }
    }

    /// Forgets every stamp.
    pub(super) fn clear(&mut self, pool: &mut StampPool) {
        self.between.clear(pool);
        self.len = 0;
    }

    fn push(&mut self, stamp_ns: u64, pool: &mut StampPool, budget: &StampBudget) -> bool {
        match self.len {
            0 => self.oldest_ns = stamp_ns,
            1 => {}
            _ if !self.between.push(self.newest_ns, pool, budget) => return false,
            _ => {}
        }
        self.newest_ns = stamp_ns;
        self.len += 1;
        debug_assert_eq!(self.between.len(), self.len.saturating_sub(2));
        true
    }

    fn pop(&mut self, pool: &mut StampPool) {
        self.oldest_ns = self.between.pop(pool).unwrap_or(self.newest_ns);
        self.len -= 1;
    }

    /// Removes one stamp of exactly `stamp_ns`, if there is one: the latest are searched first.
    fn take_out(&mut self, stamp_ns: u64, pool: &mut StampPool) {
        match self.len {
            0 => {}
            _ if stamp_ns == self.newest_ns => {
                self.newest_ns = self.between.pop_newest(pool).unwrap_or(self.oldest_ns);
                self.len -= 1;
            }
            _ if stamp_ns == self.oldest_ns => self.pop(pool),
            _ => self.len -= u32::from(self.between.take_out(stamp_ns, pool)),
        }
    }
}

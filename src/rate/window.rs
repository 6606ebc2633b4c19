//! One client's sliding-window log: the stamps of its admissions, oldest to newest.
//!
//! Owns the decision. Promises that it is exact - a request is admitted if and only if fewer than `limit` admissions have
//! stamps in the half-open window (now - window, now] - and that it takes O(1), whatever the limit. Asks of its caller
//! that `now` never goes back.
//!
//! The log need not be free of expired stamps to be exact. It never holds more than `limit`: if it holds fewer, fewer
//! than `limit` are in the window; if it holds `limit` and the oldest is in the window, all of them are.

use super::{
    Decision,
    stamps::{StampBudget, StampPool, StampQueue},
};

/// What every client is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Admissions in one window; at least 1.
    pub(super) limit: u32,
    /// Length of the window; at least 1.
    pub(super) window_ns: u64,
}

/// The oldest and the newest stamp are here, so that most decisions touch this one cache line; what lies between them is in
/// the pool. A client with at most two admissions in a window takes nothing from the pool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    len: u32,
    oldest_ns: u64,
    between: StampQueue,
    newest_ns: u64,
}

impl Window {
    /// Whether no admission is on record.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no stamp counts any more: from then on the client is as good as new.
    pub(super) const fn is_idle(&self, now_ns: u64, rule: Rule) -> bool {
        now_ns - self.newest_ns >= rule.window_ns
    }

    /// Decides on one request at `now_ns`, not before any earlier `now_ns` of this client, and stamps it if it is
    /// admitted. [`Decision::TableFull`] says that the pool has no room for the stamp; nothing is then recorded.
    pub(super) fn admit(&mut self, now_ns: u64, rule: Rule, pool: &mut StampPool, budget: &StampBudget) -> Decision {
        debug_assert!(now_ns >= self.newest_ns, "the clock of a shard does not go back");
        if self.is_idle(now_ns, rule) {
            self.clear(pool);
        }
        // Two at most: one makes room for the new stamp, the other lets a log shrink that was longer than it is needed now.
        for _ in 0..2 {
            if self.len > 0 && now_ns - self.oldest_ns >= rule.window_ns {
                self.pop(pool);
            }
        }
        if self.len >= rule.limit {
            return Decision::Refused { retry_after_ns: rule.window_ns - (now_ns - self.oldest_ns) };
        }
        if self.push(now_ns, pool, budget) { Decision::Admitted } else { Decision::TableFull }
    }

    /// Forgets every stamp.
    pub(super) fn clear(&mut self, pool: &mut StampPool) {
        self.between.clear(pool);
        *self = Self::default();
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
}

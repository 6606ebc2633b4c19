//! The last refusals: for each its time, its reason and the client. A core notes one where it counts it, so that
//! neither is without the other; the observer merges what the cores have noted. `/stats` and the live page show this
//! list.
//!
//! A client is named by the hash that stands for it in `/stats/clients`: no key and no address is kept.

use super::Protocol;
use crate::limits;
use http1::REASONS;
use rate::ClientKey;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// The batch of a request that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedBatch {
    /// The protocol.
    pub protocol: Protocol,
    /// The label of the [`Rejection`](super::Rejection) or the [`Shed`](super::Shed) that it is counted by.
    pub outcome: &'static str,
}

/// Refusals of one client for one reason within a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Wall-clock time of the last of them, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The place of the reason in [`REASONS`].
    pub reason: usize,
    /// The client.
    pub client: ClientKey,
    /// The batch, if the request was one.
    pub batch: Option<RefusedBatch>,
    /// Number of refusals.
    pub count: u64,
}

impl Refusal {
    /// Returns true if the two are one entry of the list.
    fn continues(&self, last: &Self) -> bool {
        self.client == last.client
            && self.reason == last.reason
            && self.batch == last.batch
            && self.at_ms.div_euclid(1_000) == last.at_ms.div_euclid(1_000)
    }

    fn to_json(self) -> Value {
        let (reason, status) = REASONS[self.reason];
        json!({
            "t_ms": self.at_ms,
            "reason": reason,
            "status": status.code(),
            "client": self.client.to_string(),
            "protocol": self.batch.map(|batch| batch.protocol.label()),
            "batch": self.batch.map(|batch| batch.outcome),
            "count": self.count,
        })
    }
}

/// The refusals of one core since its last report. Without any it has no memory.
#[derive(Debug, Default)]
pub struct RefusalRing {
    entries: Vec<Refusal>,
    /// The oldest entry, once the ring is full.
    oldest: usize,
}

impl RefusalRing {
    /// Adds a refusal: to one of the latest entries, or in the place of the oldest.
    pub fn note(&mut self, refusal: Refusal) {
        let len = self.entries.len();
        for back in 1..=len.min(limits::REFUSALS_COMPARED_MAX) {
            let entry = &mut self.entries[(self.oldest + len - back) % len];
            if refusal.continues(entry) {
                entry.count += refusal.count;
                entry.at_ms = entry.at_ms.max(refusal.at_ms);
                return;
            }
        }
        if len < limits::REFUSALS_PER_CORE_MAX {
            self.entries.reserve_exact(limits::REFUSALS_PER_CORE_MAX - len);
            self.entries.push(refusal);
        } else {
            self.entries[self.oldest] = refusal;
            self.oldest = (self.oldest + 1) % limits::REFUSALS_PER_CORE_MAX;
        }
    }

    /// The refusals since the last call, oldest first.
    pub fn take(&mut self) -> Vec<Refusal> {
        self.entries.rotate_left(self.oldest);
        self.oldest = 0;
        std::mem::take(&mut self.entries)
    }

    /// Puts refusals back that nobody has taken.
    pub fn put_back(&mut self, refusals: Vec<Refusal>) {
        (self.entries, self.oldest) = (refusals, 0);
    }
}

/// The last refusals of all cores, oldest first.
#[derive(Debug, Default)]
pub struct RecentRefusals(VecDeque<Refusal>);

impl RecentRefusals {
    /// Adds those of one core, and drops the oldest when there are too many.
    pub fn add(&mut self, refusals: Vec<Refusal>) {
        if refusals.is_empty() {
            return;
        }
        self.0.extend(refusals);
        // Stable: what one core noted in one millisecond stays in order.
        self.0.make_contiguous().sort_by_key(|refusal| refusal.at_ms);
        let excess = self.0.len().saturating_sub(limits::REFUSALS_SHOWN_MAX);
        self.0.drain(..excess);
    }

    /// The list, newest first.
    pub fn to_json(&self) -> Value {
        self.0.iter().rev().map(|refusal| refusal.to_json()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http1::HttpError;
    use rate::ClientKeys;
    use std::sync::OnceLock;

    fn refusal(at_ms: i64, client: u64) -> Refusal {
        static KEYS: OnceLock<ClientKeys> = OnceLock::new();
        let client = KEYS.get_or_init(ClientKeys::new).authorization(&client.to_le_bytes());
        let batch = Some(RefusedBatch { protocol: Protocol::Json, outcome: "rate_limited" });
        let reason = HttpError::RateLimited { retry_after_s: 1 }.index();
        Refusal { at_ms, reason, client, batch, count: 1 }
    }

    #[test]
    fn refusals_of_one_client_in_a_second_are_one_entry() {
        let mut ring = RefusalRing::default();
        assert_eq!(ring.entries.capacity(), 0, "nothing was refused");
        for at_ms in [5_000, 5_001, 5_999] {
            ring.note(refusal(at_ms, 1));
            ring.note(refusal(at_ms, 2));
        }
        ring.note(refusal(6_000, 1));
        ring.note(Refusal { batch: None, ..refusal(6_000, 1) });
        let taken = ring.take();
        let seen: Vec<_> = taken.iter().map(|refusal| (refusal.at_ms, refusal.count)).collect();
        assert_eq!(seen, [(5_999, 3), (5_999, 3), (6_000, 1), (6_000, 1)]);
        assert!(ring.take().is_empty());
        ring.put_back(taken.clone());
        ring.note(refusal(6_001, 1));
        assert_eq!((ring.entries.len(), ring.entries[2].count), (4, 2));
    }

    #[test]
    fn a_full_ring_keeps_the_newest_refusals_in_order() {
        let mut ring = RefusalRing::default();
        let all = 3 * limits::REFUSALS_PER_CORE_MAX as u64 + 7;
        for client in 0..all {
            ring.note(refusal(1_000, client));
            assert!(ring.entries.len() <= limits::REFUSALS_PER_CORE_MAX);
        }
        let kept: Vec<_> =
            (all - limits::REFUSALS_PER_CORE_MAX as u64..all).map(|client| refusal(1_000, client)).collect();
        assert_eq!(ring.take(), kept);
    }

    #[test]
    fn the_list_is_of_all_cores_newest_first_and_bounded() {
        let mut recent = RecentRefusals::default();
        recent.add(vec![refusal(1_000, 1), refusal(3_000, 1)]);
        recent.add(vec![refusal(2_000, 2)]);
        let times = |recent: &RecentRefusals| -> Vec<i64> {
            recent.to_json().as_array().unwrap().iter().map(|one| one["t_ms"].as_i64().unwrap()).collect()
        };
        assert_eq!(times(&recent), [3_000, 2_000, 1_000]);
        let first = &recent.to_json()[0];
        assert_eq!((&first["reason"], &first["status"]), (&"rate_limited".into(), &429.into()));
        assert_eq!((&first["protocol"], &first["batch"]), (&"json".into(), &"rate_limited".into()));
        let more = (0..2 * limits::REFUSALS_SHOWN_MAX as i64).map(|at_ms| refusal(10_000 + at_ms, 3));
        recent.add(more.collect());
        let times = times(&recent);
        assert_eq!(
            (times.len(), times[0]),
            (limits::REFUSALS_SHOWN_MAX, 10_000 + 2 * limits::REFUSALS_SHOWN_MAX as i64 - 1)
        );
    }
}

//! Counters of queries, for statistics. Written by reactors and query threads, a few times per query; read by the
//! observer.

use super::{Distribution, labelled};
use std::sync::{
    PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use wake::sync::real::Mutex;

labelled! {
    /// The outcome of a query. `received = waiting + running + all of these`.
    Outcome {
        /// 200, and the whole response was handed over for sending.
        Completed = "answered",
        /// An invalid parameter: 400.
        Invalid = "invalid",
        /// The position is no longer in the log: 410.
        Gone = "gone",
        /// Over a limit of the result: 422.
        OverBound = "over_bound",
        /// Timed out: 503.
        TimedOut = "timed_out",
        /// The log could not be read: 503.
        Unavailable = "unavailable",
        /// Too many were waiting or open: 503.
        Full = "full",
        /// The client has its share of waiting and unread queries: 429.
        OverShare = "over_share",
        /// The server was stopping: 503.
        Draining = "draining",
        /// The client left before the response was handed over.
        Cancelled = "cancelled",
        /// The response had begun and could not be completed.
        CutOff = "cut_off",
    }
}

/// Counters since startup, and the current state.
#[derive(Debug)]
pub struct QueryStatus {
    /// Query threads.
    pub threads: usize,
    received: AtomicU64,
    waiting: AtomicU64,
    running: AtomicU64,
    unread: AtomicU64,
    log_waiting: AtomicU64,
    ended: [AtomicU64; Outcome::ALL.len()],
    /// Bytes of the log that were scanned, decompressed.
    pub scanned_bytes: AtomicU64,
    /// Bytes that were read from files for queries that were evaluated.
    pub read_bytes: AtomicU64,
    /// Damaged or foreign lines that queries skipped.
    pub foreign_lines: AtomicU64,
    /// Bytes of response bodies handed over for sending.
    pub body_bytes: AtomicU64,
    /// Chunks of those bodies.
    pub pieces: AtomicU64,
    durations: Mutex<Distribution>,
}

impl QueryStatus {
    /// Creates the counters of a pool with this many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            received: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            running: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            log_waiting: AtomicU64::new(0),
            ended: [const { AtomicU64::new(0) }; Outcome::ALL.len()],
            scanned_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            foreign_lines: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            durations: Mutex::new(Distribution::of_times()),
        }
    }

    /// Counts a query that arrived and waits.
    pub fn receive(&self) {
        self.received.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Counts a query that arrived and was refused.
    pub fn refuse(&self, outcome: Outcome) {
        self.received.fetch_add(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts a waiting query that ended.
    pub fn turn_away(&self, outcome: Outcome) {
        self.waiting.fetch_sub(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts a waiting query that got a thread.
    pub fn start(&self) {
        self.waiting.fetch_sub(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
    }

    /// Counts a running query that waits again, for the log.
    pub fn pause(&self) {
        self.running.fetch_sub(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Sets the number of requests that wait for the log.
    pub fn set_log_waiting(&self, waiting: usize) {
        self.log_waiting.store(waiting as u64, Relaxed);
    }

    /// The number of waiting requests that wait for lines to be written.
    #[must_use]
    pub fn log_waiting(&self) -> u64 {
        self.log_waiting.load(Relaxed)
    }

    /// Counts a running query that ended, this many nanoseconds after its arrival.
    pub fn end(&self, outcome: Outcome, took_ns: u64) {
        self.running.fetch_sub(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).record(took_ns, 1);
    }

    /// Queries received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Queries waiting for a thread.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Sets the number of responses that wait for their clients to read.
    pub fn set_unread(&self, unread: usize) {
        self.unread.store(unread as u64, Relaxed);
    }

    /// Returns the number of running queries without a thread, because their clients have not taken the part of the
    /// result that is there.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    /// Queries that have started and not ended.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running.load(Relaxed)
    }

    /// Number of queries with this outcome.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended[outcome as usize].load(Relaxed)
    }

    /// Nanoseconds from the arrival of each query that had a thread to its end.
    #[must_use]
    pub fn durations(&self) -> Distribution {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_somewhere() {
        let status = QueryStatus::new(2);
        (0..4).for_each(|_| status.receive());
        status.refuse(Outcome::Full);
        status.start();
        status.start();
        status.turn_away(Outcome::Cancelled);
        status.end(Outcome::Completed, 1_000);
        let ended: u64 = Outcome::ALL.iter().map(|&outcome| status.ended(outcome)).sum();
        assert_eq!((status.received(), status.waiting(), status.running(), ended), (5, 1, 1, 3));
        assert_eq!((status.durations().count(), status.durations().sum()), (1, 1_000));
    }
}

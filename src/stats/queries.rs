//! What became of queries, for statistics. Written by reactors and query threads, a few times a query; read by the observer.

use super::{Distribution, labelled};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

labelled! {
    /// How a query ended. `received = waiting + running + all of these`.
    Outcome {
        /// Answered 200, the whole answer handed over for sending.
        Answered = "answered",
        /// A parameter that is not understood: 400.
        Invalid = "invalid",
        /// Over a bound of what is answered: 422.
        OverBound = "over_bound",
        /// Not answered by its deadline: 503.
        TimedOut = "timed_out",
        /// The log could not be read: 503.
        Unavailable = "unavailable",
        /// Too many were waiting or open: 503.
        Full = "full",
        /// Its client has its share of those that wait or are being read: 429.
        OverShare = "over_share",
        /// The server was stopping: 503.
        Draining = "draining",
        /// Its client left before the answer was handed over.
        Cancelled = "cancelled",
        /// The answer had begun and could not be finished: cut off.
        CutOff = "cut_off",
    }
}

/// Counts since the start, and what is going on.
#[derive(Debug)]
pub struct QueryStatus {
    /// Query threads.
    pub threads: usize,
    received: AtomicU64,
    waiting: AtomicU64,
    running: AtomicU64,
    unread: AtomicU64,
    ended: [AtomicU64; Outcome::ALL.len()],
    /// Bytes of the log that were looked at, decompressed.
    pub scanned_bytes: AtomicU64,
    /// Bytes that were read from files for queries that were evaluated.
    pub read_bytes: AtomicU64,
    /// Lines that are none of the server's, damaged or somebody else's, which these queries came across and skipped.
    pub foreign_lines: AtomicU64,
    /// Bytes of answers' bodies that were handed over for sending.
    pub body_bytes: AtomicU64,
    /// Pieces that they came in.
    pub pieces: AtomicU64,
    durations: Mutex<Distribution>,
}

impl QueryStatus {
    /// Of a pool with this many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            received: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            running: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            ended: [const { AtomicU64::new(0) }; Outcome::ALL.len()],
            scanned_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            foreign_lines: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            durations: Mutex::new(Distribution::of_times()),
        }
    }

    /// One came in, and waits.
    pub fn receive(&self) {
        self.received.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
    }

    /// One came in and goes no further.
    pub fn refuse(&self, outcome: Outcome) {
        self.received.fetch_add(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
    }

    /// One that was waiting goes no further.
    pub fn turn_away(&self, outcome: Outcome) {
        self.waiting.fetch_sub(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
    }

    /// One that was waiting has a thread now.
    pub fn start(&self) {
        self.waiting.fetch_sub(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
    }

    /// One that was running has ended, so many nanoseconds after it had come.
    pub fn end(&self, outcome: Outcome, took_ns: u64) {
        self.running.fetch_sub(1, Relaxed);
        self.ended[outcome as usize].fetch_add(1, Relaxed);
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).record(took_ns, 1);
    }

    /// Queries that came in.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Those that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// So many answers wait for their clients to take some.
    pub fn set_unread(&self, unread: usize) {
        self.unread.store(unread as u64, Relaxed);
    }

    /// Of those that are running, those that have no thread, as their clients have not taken what there is of their
    /// answers.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    /// Those that were begun and have not ended.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running.load(Relaxed)
    }

    /// How many ended so.
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
        status.end(Outcome::Answered, 1_000);
        let ended: u64 = Outcome::ALL.iter().map(|&outcome| status.ended(outcome)).sum();
        assert_eq!((status.received(), status.waiting(), status.running(), ended), (5, 1, 1, 3));
        assert_eq!((status.durations().count(), status.durations().sum()), (1, 1_000));
    }
}

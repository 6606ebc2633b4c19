//! What one thread counts, and how the threads' counts become one. Latencies go into a histogram per thread; histograms are
//! added, never their percentiles averaged.

use hdrhistogram::Histogram;

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection before the answer was complete.
    ClosedEarly,
    /// The answer was not complete in time.
    Timeout,
    /// What came is not an HTTP/1.x answer.
    Garbage,
    /// Anything else; the first one's reason is kept.
    Other,
}

impl Failure {
    /// Every kind with its name in a report.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Refused, "refused"),
        (Self::Reset, "reset"),
        (Self::ClosedEarly, "closed_early"),
        (Self::Timeout, "timeout"),
        (Self::Garbage, "garbage"),
        (Self::Other, "other"),
    ];
}

/// Three digits: a recorded value is within a thousandth of the true one.
const SIGNIFICANT_DIGITS: u8 = 3;
/// The longest latency that is told apart, in nanoseconds: one hour. A request's timeout is far below.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Statuses have three digits.
const STATUSES: usize = 1000;

/// Counts of requests that were begun after the warm-up.
#[derive(Debug)]
pub struct Tally {
    statuses: Box<[u64; STATUSES]>,
    failures: [u64; Failure::ALL.len()],
    /// The first reason behind [`Failure::Other`].
    pub other_reason: Option<String>,
    /// Requests begun and still without an answer when the load was stopped.
    pub unanswered: u64,
    /// Metrics in the batches answered with 2xx.
    pub metrics: u64,
    /// Bytes of the requests handed to the driver, heads included.
    pub bytes: u64,
    /// Nanoseconds from the start of the measured part to the end of its last request.
    pub elapsed_ns: u64,
    /// CPU time of the measured part, nanoseconds.
    pub cpu_ns: u64,
    /// Nanoseconds of the requests answered with 2xx.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let Ok(latency) = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS) else {
            unreachable!("the bounds are constants that a histogram accepts")
        };
        Self {
            statuses: Box::new([0; STATUSES]),
            failures: [0; Failure::ALL.len()],
            other_reason: None,
            unanswered: 0,
            metrics: 0,
            bytes: 0,
            elapsed_ns: 0,
            cpu_ns: 0,
            latency,
        }
    }

    /// A request was answered. `status` has three digits at most.
    pub fn answered(&mut self, status: u16, metrics: u32, latency_ns: u64) {
        self.statuses[usize::from(status)] += 1;
        if matches!(status, 200..300) {
            self.metrics += u64::from(metrics);
            self.latency.saturating_record(latency_ns);
        }
    }

    /// A request failed.
    pub fn failed(&mut self, failure: Failure) {
        self.failures[failure as usize] += 1;
    }

    /// Adds what another thread counted over the same time.
    pub fn merge(&mut self, other: &Self) {
        self.statuses.iter_mut().zip(other.statuses.iter()).for_each(|(sum, count)| *sum += count);
        self.failures.iter_mut().zip(other.failures).for_each(|(sum, count)| *sum += count);
        if self.other_reason.is_none() {
            self.other_reason.clone_from(&other.other_reason);
        }
        self.unanswered += other.unanswered;
        self.metrics += other.metrics;
        self.bytes += other.bytes;
        self.elapsed_ns = self.elapsed_ns.max(other.elapsed_ns);
        self.cpu_ns += other.cpu_ns;
        let added = self.latency.add(&other.latency);
        assert!(added.is_ok(), "all histograms have the same bounds");
    }

    /// Requests that were answered or failed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.statuses.iter().chain(&self.failures).sum()
    }

    /// Requests answered with 2xx.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.statuses[200..300].iter().sum()
    }

    /// Statuses that came, with their counts, lowest first.
    pub fn statuses(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.statuses.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }

    /// Requests that failed so.
    #[must_use]
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_percentiles_are_those_of_all_requests() {
        // One thread answers 100 fast requests, the other 900 slow ones: the mean of their medians would be 505.
        let (mut fast, mut slow, mut all) = (Tally::new(), Tally::new(), Tally::new());
        for _ in 0..100 {
            fast.answered(200, 3, 10);
            all.answered(200, 3, 10);
        }
        for _ in 0..900 {
            slow.answered(200, 3, 1000);
            all.answered(200, 3, 1000);
        }
        let mut merged = Tally::new();
        merged.merge(&fast);
        merged.merge(&slow);
        assert_eq!(merged.latency, all.latency);
        assert_eq!(merged.latency.value_at_quantile(0.5), 1000);
        assert_eq!((merged.latency.min(), merged.latency.len()), (10, 1000));
    }

    #[test]
    fn counts_add_up_and_only_2xx_is_success() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for status in [200, 204, 299, 100, 199, 300, 429, 500, 999] {
            one.answered(status, 2, 5);
        }
        one.elapsed_ns = 7;
        other.failed(Failure::Timeout);
        other.failed(Failure::Other);
        other.other_reason = Some("first".to_owned());
        (other.elapsed_ns, other.cpu_ns, other.bytes, other.unanswered) = (9, 3, 4, 1);
        one.merge(&other);
        one.merge(&other);
        assert_eq!((one.requests(), one.successes(), one.metrics), (13, 3, 6));
        assert_eq!(one.latency.len(), 3);
        assert_eq!((one.failures(Failure::Timeout), one.failures(Failure::Refused)), (2, 0));
        assert_eq!((one.elapsed_ns, one.cpu_ns, one.bytes, one.unanswered), (9, 6, 8, 2));
        assert_eq!(one.other_reason.as_deref(), Some("first"));
        assert_eq!(
            one.statuses().map(|(status, _)| status).collect::<Vec<_>>(),
            [100, 199, 200, 204, 299, 300, 429, 500, 999]
        );
    }

    #[test]
    fn a_latency_past_the_bound_is_kept_at_the_bound() {
        let mut tally = Tally::new();
        tally.answered(200, 1, u64::MAX);
        tally.answered(200, 1, 0);
        assert_eq!(tally.latency.len(), 2);
        assert!(tally.latency.max() >= LATENCY_NS_MAX);
    }
}

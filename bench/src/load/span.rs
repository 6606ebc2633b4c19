//! The measured span: the part of a run that rates are taken over, and what came in it.
//!
//! A load that lasts for a time, or an open loop, has its span given beforehand; responses that come later are no
//! throughput of it. In a closed loop of a number of requests the span ends with the last response to a client that
//! never had to wait out a timeout: the seconds in which only hung requests are waited for are no part of it, nor what
//! their clients still do afterwards.

/// Counts of a span.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Responses with 2xx.
    pub successes: u64,
    /// Metrics of the requests that they respond to.
    pub metrics: u64,
    /// Bytes of requests that were handed to the driver.
    pub bytes_sent: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.successes += other.successes;
        self.metrics += other.metrics;
        self.bytes_sent += other.bytes_sent;
    }
}

/// The span of one thread while it runs, and of all of them once they are merged. Times are nanoseconds since the
/// start.
#[derive(Debug)]
pub struct Span {
    from_ns: u64,
    /// The end that is known beforehand; `u64::MAX` without one.
    end_ns: u64,
    /// The last event of a client that never had to wait out a timeout.
    reached_ns: u64,
    /// Up to `reached_ns`.
    counted: Counts,
    /// Since `reached_ns`.
    pending: Counts,
    length_ns: u64,
}

/// End of a run, as far as its span is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The time that was known beforehand was over, or the schedule.
    Time,
    /// Every request was made.
    Count,
    /// Somebody stopped it.
    Stopped,
}

impl Span {
    /// A span that begins at `from_ns`, and ends at `end_ns` if that is known.
    #[must_use]
    pub fn new(from_ns: u64, end_ns: Option<u64>) -> Self {
        let end_ns = end_ns.unwrap_or(u64::MAX);
        let (counted, pending) = (Counts::default(), Counts::default());
        Self { from_ns, end_ns, reached_ns: from_ns, counted, pending, length_ns: 0 }
    }

    /// A span that is over, and what came in it.
    #[must_use]
    pub fn closed(counts: Counts, length_ns: u64) -> Self {
        Self { counted: counts, length_ns, ..Self::new(0, None) }
    }

    /// A request was handed to the driver.
    pub fn sent(&mut self, bytes: u64) {
        self.pending.bytes_sent += bytes;
    }

    /// `count` responses with 2xx came at `now_ns` to requests with `metrics` altogether; `steady`: for clients that
    /// never had to wait out a timeout.
    pub fn succeeded(&mut self, count: u64, metrics: u64, now_ns: u64, steady: bool) {
        if now_ns < self.end_ns {
            self.pending.successes += count;
            self.pending.metrics += metrics;
            self.reach(now_ns, steady);
        }
    }

    /// Something else than a timeout became of a request.
    pub fn reach(&mut self, now_ns: u64, steady: bool) {
        if steady && now_ns < self.end_ns {
            self.reached_ns = now_ns;
            self.counted.add(self.pending);
            self.pending = Counts::default();
        }
    }

    /// Returns the length of the span at `now_ns`; `None` when it was already over at `before_ns`.
    pub(super) fn length_at(&self, before_ns: u64, now_ns: u64) -> Option<u64> {
        if before_ns >= self.end_ns {
            return None;
        }
        let end_ns = if self.end_ns < u64::MAX { now_ns.min(self.end_ns) } else { self.reached_ns };
        Some(end_ns - self.from_ns)
    }

    /// The run ended so at `now_ns`.
    pub fn close(&mut self, now_ns: u64, ending: Ending) {
        let until_ns = match ending {
            // Nothing but timeouts: all of the run was waiting.
            _ if self.reached_ns == self.from_ns && self.end_ns == u64::MAX => now_ns,
            Ending::Time if self.end_ns < u64::MAX => self.end_ns,
            Ending::Stopped if self.end_ns < u64::MAX => now_ns.min(self.end_ns),
            _ => self.reached_ns,
        };
        if until_ns != self.reached_ns {
            self.counted.add(self.pending);
        }
        self.pending = Counts::default();
        self.length_ns = until_ns.saturating_sub(self.from_ns);
    }

    /// Adds the closed span of another thread of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.counted.add(other.counted);
        self.length_ns = self.length_ns.max(other.length_ns);
    }

    /// Returns the counts of the closed span.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counted
    }

    /// The length of the closed span, nanoseconds.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// Sets the length of a span that nothing was counted in.
    #[cfg(test)]
    pub fn set_length(&mut self, length_ns: u64) {
        self.length_ns = length_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_wait_for_hung_requests_is_no_part_of_the_span() {
        // 1,000 responses in a second; then only a hung client is left, which times out and makes its last ten.
        let mut span = Span::new(0, None);
        (1..=1000).for_each(|index| span.succeeded(1, 3, index * SECOND / 1000, index % 10 > 0 || index == 1000));
        (0..10).for_each(|index| span.succeeded(1, 3, 10 * SECOND + index, false));
        span.close(10 * SECOND + 10, Ending::Count);
        assert_eq!((span.length_ns(), span.counts().successes, span.counts().metrics), (SECOND, 1000, 3000));
    }

    #[test]
    fn a_span_of_some_time_counts_what_came_in_it() {
        let mut span = Span::new(SECOND, Some(3 * SECOND));
        for now_ns in [SECOND, 2 * SECOND, 3 * SECOND - 1, 3 * SECOND, 9 * SECOND] {
            span.succeeded(1, 1, now_ns, false);
        }
        span.close(9 * SECOND, Ending::Time);
        assert_eq!((span.length_ns(), span.counts().successes), (2 * SECOND, 3));
    }

    #[test]
    fn a_stop_ends_a_span_of_some_time() {
        let mut span = Span::new(0, Some(60 * SECOND));
        span.succeeded(1, 1, SECOND, true);
        span.close(5 * SECOND, Ending::Stopped);
        assert_eq!((span.length_ns(), span.counts().successes), (5 * SECOND, 1), "an outage is part of it");
    }

    #[test]
    fn a_span_of_timeouts_alone_is_the_whole_run() {
        let mut span = Span::new(0, None);
        span.sent(100);
        span.close(10 * SECOND, Ending::Count);
        assert_eq!((span.length_ns(), span.counts().successes, span.counts().bytes_sent), (10 * SECOND, 0, 100));
    }

    #[test]
    fn the_spans_of_threads_add_up() {
        let (mut one, mut other) = (Span::new(0, None), Span::new(0, None));
        one.succeeded(1, 1, SECOND, true);
        other.succeeded(1, 1, 2 * SECOND, true);
        one.close(SECOND, Ending::Count);
        other.close(2 * SECOND, Ending::Count);
        one.merge(&other);
        assert_eq!((one.length_ns(), one.counts().successes), (2 * SECOND, 2));
    }
}

//! The send times of an open loop: at a constant rate, fixed before the first send, so that no answer can move a send. Reads
//! no clock.
//!
//! Send k of the whole load is due k/rate after its start, and belongs to thread k modulo the number of threads. Whichever
//! connection of the thread is free takes it. When none is, the send becomes late but keeps its time: latency counted from
//! there holds what a slow server does to those who wait behind (G. Tene's "coordinated omission").

/// A send this much behind its time is counted as late: ten times and more what a timer of the kernel and a wake-up cost.
pub(super) const LATE_NS: u64 = 1_000_000;

/// One thread's part of the schedule. Times are nanoseconds since the start of the load.
#[derive(Debug)]
pub(super) struct Schedule {
    gap_ns: f64,
    threads: u64,
    /// The next send of this thread.
    next: u64,
    /// The first send of all threads that is none any more.
    end: u64,
    /// How long it lasts: to the end of its time, where that and not its count ends it.
    lasts_ns: u64,
}

impl Schedule {
    /// `rate` sends a second over all `threads`, of which this is `thread`. It ends before `end_ns`, and with the `count`-th
    /// send at or after `warm_ns`, if there is either bound.
    pub fn new(rate: f64, (thread, threads): (usize, usize), warm_ns: u64, end_ns: u64, count: Option<u64>) -> Self {
        let mut schedule =
            Self { gap_ns: 1e9 / rate, threads: threads as u64, next: thread as u64, end: u64::MAX, lasts_ns: 0 };
        let by_count = count.map(|count| schedule.first_from(warm_ns).saturating_add(count));
        let by_time = (end_ns < u64::MAX).then(|| schedule.first_from(end_ns));
        schedule.end = by_count.into_iter().chain(by_time).min().unwrap_or(u64::MAX);
        if by_time == Some(schedule.end) {
            schedule.lasts_ns = end_ns;
        }
        schedule
    }

    /// When send number `send` is due. At 10^7 a second over a day both are below 2^53, and so exact.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn time_ns(&self, send: u64) -> u64 {
        (send as f64 * self.gap_ns) as u64
    }

    /// The first send that is due at `time_ns` or later.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn first_from(&self, time_ns: u64) -> u64 {
        // The quotient may be one off either way; `time_ns` decides.
        let mut send = (time_ns as f64 / self.gap_ns) as u64;
        while self.time_ns(send) < time_ns {
            send += 1;
        }
        while send > 0 && self.time_ns(send - 1) >= time_ns {
            send -= 1;
        }
        send
    }

    /// When the next send is due; `None` after the last.
    pub fn next_ns(&self) -> Option<u64> {
        (self.next < self.end).then(|| self.time_ns(self.next))
    }

    /// When the schedule is over: the time that it was given, or the distance of one send after its last.
    pub fn span_end_ns(&self) -> u64 {
        if self.lasts_ns > 0 { self.lasts_ns } else { self.time_ns(self.end) }
    }

    /// Whether the last send is taken, and the time over that it was to last.
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.next >= self.end && now_ns >= self.lasts_ns
    }

    /// Takes the next send, if it is due: the time it was meant for.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_ns().filter(|due_ns| *due_ns <= now_ns)?;
        self.next += self.threads;
        Some(due_ns)
    }

    /// Sends from `from_ns` on that are due by `now_ns` and have not been taken.
    pub fn overdue(&self, from_ns: u64, now_ns: u64) -> u64 {
        let skipped = self.first_from(from_ns).saturating_sub(self.next).div_ceil(self.threads);
        let first = self.next + skipped * self.threads;
        self.first_from(now_ns.saturating_add(1)).min(self.end).saturating_sub(first).div_ceil(self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn every_send_is_taken_once_by_one_thread_at_its_time() {
        for (rate, threads) in [(1000.0, 1), (1000.0, 3), (333.3, 2), (1_000_000.0, 7)] {
            let end_ns = SECOND_NS / 50;
            let mut times = Vec::new();
            for thread in 0..threads {
                let mut schedule = Schedule::new(rate, (thread, threads), 0, end_ns, None);
                while let Some(due_ns) = schedule.next_ns() {
                    assert_eq!(due_ns.checked_sub(1).and_then(|early_ns| schedule.take(early_ns)), None);
                    assert_eq!(schedule.take(due_ns + 5), Some(due_ns), "late or not, it keeps its time");
                    times.push(due_ns);
                }
                assert_eq!(schedule.take(u64::MAX), None);
            }
            times.sort_unstable();
            assert_eq!(times.len() as f64, (rate / 50.0).ceil(), "{rate} by {threads}");
            for (send, time_ns) in times.iter().enumerate() {
                assert!((*time_ns as f64 - send as f64 * 1e9 / rate).abs() <= 1.0, "{rate} by {threads}: {send}");
                assert!(*time_ns < end_ns);
            }
        }
    }

    #[test]
    fn a_count_begins_after_the_warm_up() {
        let mut schedule = Schedule::new(100.0, (0, 1), SECOND_NS / 2, u64::MAX, Some(7));
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(u64::MAX)).collect();
        assert_eq!(times.len(), 50 + 7);
        assert_eq!(times.iter().filter(|time_ns| **time_ns >= SECOND_NS / 2).count(), 7);
        assert!(schedule.is_over(0), "it lasts for its sends");
        let mut timed = Schedule::new(100.0, (0, 1), 0, SECOND_NS, Some(1000));
        while timed.take(SECOND_NS).is_some() {}
        assert!(!timed.is_over(SECOND_NS - 1) && timed.is_over(SECOND_NS), "it lasts for its time");
    }

    #[test]
    fn what_is_due_and_not_taken_is_overdue() {
        let overdue = |from_ns, now_ns| {
            let threads: Vec<_> = (0..3).map(|thread| Schedule::new(1000.0, (thread, 3), 0, SECOND_NS, None)).collect();
            threads.iter().map(|schedule| schedule.overdue(from_ns, now_ns)).sum::<u64>()
        };
        assert_eq!(overdue(0, 0), 1);
        assert_eq!(overdue(0, 999_999), 1);
        assert_eq!(overdue(0, 9_000_000), 10);
        assert_eq!(overdue(5_000_000, 9_000_000), 5);
        assert_eq!(overdue(9_000_001, 9_000_000), 0);
        assert_eq!(overdue(0, u64::MAX), 1000);
        let mut schedule = Schedule::new(1000.0, (0, 1), 0, SECOND_NS, None);
        while schedule.take(SECOND_NS).is_some() {}
        assert_eq!(schedule.overdue(0, u64::MAX), 0);
    }
}

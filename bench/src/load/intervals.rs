//! A run cut into intervals of equal width, for its course over time and for the scatter of its figures. Their number
//! is bounded: when a run outlasts them, each two neighbours become one, twice as wide.

use hdrhistogram::Histogram;
use std::ops::Range;

/// Intervals of one run, at most. A thread's take 128 x 13 KiB = 1.7 MB, of which it touches what it fills.
const INTERVALS_MAX: usize = 128;
/// Intervals of a run whose duration is known: the rest of the capacity is for responses that come after its end.
const INTERVALS_AIM: u64 = 100;
/// The narrowest: at 1,000 requests a second it has 100 latencies, enough for a 99th percentile.
const WIDTH_MIN_NS: u64 = 100_000_000;
/// The bounds of an interval's latencies, in nanoseconds: resolved from 1 us up to one hour, to a hundredth.
const LATENCY_NS: (u64, u64) = (1000, 3_600_000_000_000);
const SIGNIFICANT_DIGITS: u8 = 2;

/// Counts of one interval. A request belongs to the interval that its response, or its failure, came in.
#[derive(Debug)]
pub struct Interval {
    /// Nanoseconds of the requests with a response of 2xx.
    pub latency: Histogram<u32>,
    /// Requests with a response, and failed ones.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// CPU time of the load's threads, nanoseconds.
    pub cpu_ns: u64,
}

impl Interval {
    fn new() -> Self {
        let Ok(latency) = Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, SIGNIFICANT_DIGITS) else {
            unreachable!("the bounds are constants that a histogram accepts")
        };
        Self { latency, requests: 0, failures: 0, cpu_ns: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.cpu_ns += other.cpu_ns;
        let added = self.latency.add(&other.latency);
        assert!(added.is_ok(), "all histograms have the same bounds");
    }

    fn clear(&mut self) {
        (self.requests, self.failures, self.cpu_ns) = (0, 0, 0);
        self.latency.reset();
    }
}

/// The intervals of one run.
#[derive(Debug)]
pub struct Intervals {
    from_ns: u64,
    width_ns: u64,
    all: Vec<Interval>,
    /// Intervals up to the last that something was counted in.
    used: usize,
    /// The interval that was last counted in, and the times from and to which it is: so most requests cost no division.
    current: usize,
    current_ns: Range<u64>,
}

impl Intervals {
    /// Intervals from `from_ns` on, for a measured part that takes `duration_ns`, if that is known.
    #[must_use]
    pub fn new(from_ns: u64, duration_ns: Option<u64>) -> Self {
        let width_ns = duration_ns.map_or(0, |duration_ns| duration_ns.div_ceil(INTERVALS_AIM)).max(WIDTH_MIN_NS);
        let all = (0..INTERVALS_MAX).map(|_| Interval::new()).collect();
        Self { from_ns, width_ns, all, used: 0, current: 0, current_ns: 0..0 }
    }

    /// The width of each, in nanoseconds.
    #[must_use]
    pub fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// The intervals, from the first to the last that something was counted in.
    #[must_use]
    pub fn all(&self) -> &[Interval] {
        &self.all[..self.used]
    }

    /// The interval that `now_ns` is in.
    pub fn at(&mut self, now_ns: u64) -> &mut Interval {
        if !self.current_ns.contains(&now_ns) {
            self.go_to(now_ns);
        }
        &mut self.all[self.current]
    }

    fn go_to(&mut self, now_ns: u64) {
        let since_ns = now_ns.saturating_sub(self.from_ns);
        while since_ns / self.width_ns >= INTERVALS_MAX as u64 {
            self.coarsen();
        }
        let index = usize::try_from(since_ns / self.width_ns).unwrap_or(INTERVALS_MAX - 1);
        self.used = self.used.max(index + 1);
        self.current = index;
        let begin_ns = self.from_ns + index as u64 * self.width_ns;
        self.current_ns = begin_ns..begin_ns.saturating_add(self.width_ns);
    }

    /// The end of the interval that `now_ns` is in.
    #[must_use]
    pub fn end_ns(&self, now_ns: u64) -> u64 {
        self.from_ns + (now_ns.saturating_sub(self.from_ns) / self.width_ns + 1) * self.width_ns
    }

    fn coarsen(&mut self) {
        self.width_ns *= 2;
        self.current_ns = 0..0;
        for index in 0..self.used {
            let (before, from) = self.all.split_at_mut(index);
            if let Some(into) = before.get_mut(index / 2) {
                if index % 2 == 0 {
                    into.clear();
                }
                into.add(&from[0]);
            }
        }
        let used = self.used.div_ceil(2);
        self.all[used..self.used].iter_mut().for_each(Interval::clear);
        self.used = used;
    }

    /// Adds what another thread counted in the same run.
    pub fn merge(&mut self, mut other: Self) {
        while self.width_ns < other.width_ns {
            self.coarsen();
        }
        while other.width_ns < self.width_ns {
            other.coarsen();
        }
        debug_assert_eq!(self.width_ns, other.width_ns, "widths of one run differ by powers of two");
        self.used = self.used.max(other.used);
        self.all.iter_mut().zip(&other.all[..other.used]).for_each(|(into, from)| into.add(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(intervals: &mut Intervals, now_ns: u64) {
        let interval = intervals.at(now_ns);
        interval.requests += 1;
        interval.cpu_ns += 10;
        interval.latency.saturating_record(now_ns / 1000);
    }

    #[test]
    fn a_request_is_counted_where_its_response_came() {
        let mut intervals = Intervals::new(50_000_000, None);
        for now_ns in [50_000_000, 149_999_999, 150_000_000, 360_000_000] {
            count(&mut intervals, now_ns);
        }
        let requests: Vec<_> = intervals.all().iter().map(|interval| interval.requests).collect();
        assert_eq!((requests, intervals.width_ns()), (vec![2, 1, 0, 1], 100_000_000));
        assert_eq!((intervals.end_ns(50_000_000), intervals.end_ns(150_000_000)), (150_000_000, 250_000_000));
    }

    #[test]
    fn a_known_duration_is_cut_into_a_hundred() {
        assert_eq!(Intervals::new(0, Some(60_000_000_000)).width_ns(), 600_000_000);
        assert_eq!(Intervals::new(0, Some(1_000_000_000)).width_ns(), WIDTH_MIN_NS);
    }

    #[test]
    fn a_long_run_loses_no_request_when_its_intervals_widen() {
        for last in [127, 128, 129, 255, 256, 700, 10_001] {
            let mut intervals = Intervals::new(0, None);
            for index in 0..=last {
                count(&mut intervals, index * WIDTH_MIN_NS + 7);
            }
            let widened = intervals.width_ns() / WIDTH_MIN_NS;
            assert!(intervals.all().len() <= INTERVALS_MAX && widened.is_power_of_two());
            let sums =
                intervals.all().iter().map(|interval| (interval.requests, interval.latency.len(), interval.cpu_ns));
            assert_eq!(
                sums.fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)),
                (last + 1, last + 1, 10 * (last + 1)),
                "{last}"
            );
            let full = intervals.all().len() - 1;
            assert!(intervals.all()[..full].iter().all(|interval| interval.requests == widened), "{last}");
        }
    }

    #[test]
    fn merged_intervals_are_those_of_the_wider() {
        let (mut short, mut long) = (Intervals::new(0, None), Intervals::new(0, None));
        (0..4).for_each(|index| count(&mut short, index * WIDTH_MIN_NS));
        (0..200).for_each(|index| count(&mut long, index * WIDTH_MIN_NS));
        short.merge(long);
        assert_eq!(short.width_ns(), 2 * WIDTH_MIN_NS);
        assert_eq!(short.all().len(), 100);
        let requests: Vec<_> = short.all().iter().map(|interval| interval.requests).take(3).collect();
        assert_eq!(requests, [4, 4, 2]);
    }
}

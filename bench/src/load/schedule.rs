//! The send times of an open loop: fixed before the first send, so that no response can move a send. Reads no clock.
//!
//! The sends stand on the [`RateProfile`] of the wanted rate at places that are one apart, or, as Poisson arrivals, so
//! far apart as exponentially distributed numbers with a mean of one say. Send k of the whole load belongs to thread k
//! modulo the number of threads, and each thread draws the gaps of all: the schedule does not depend on their number.
//! Whichever connection of the thread is free takes a send. When none is, the send becomes late but keeps its time:
//! latency counted from there holds what a slow server does to those who wait (G. Tene's "coordinated omission").

use super::{rate_profile::RateProfile, values::RATE_MAX};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use testkit::random::Random;

/// A send this much behind its time is counted as late: ten times and more what a kernel timer and a wake-up cost.
pub(super) const LATE_NS: u64 = 1_000_000;
/// The arrivals' numbers are others than those that the batches are made up from.
const ARRIVALS: u64 = 0x6172_7269_7661_6C73;

/// Arrival process of the sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal distances, as far as the rate stays the same.
    Even,
    /// At random and independent of each other, as those of many clients: a Poisson process of the wanted rate.
    Poisson,
}

/// Pace of an open loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredPace", into = "StoredPace")]
pub struct Pace {
    /// The rate over time.
    pub profile: RateProfile,
    /// Arrival process of the sends.
    pub arrivals: Arrivals,
    /// Seed of Poisson arrivals: the same number gives the same times.
    pub seed: u64,
}

/// A pace as a log has it: stages are nanoseconds and the rates at the begin and the end.
#[derive(Debug, Serialize, Deserialize)]
struct StoredPace {
    rate: Option<f64>,
    stages: Vec<(u64, f64, f64)>,
    arrivals: Arrivals,
    seed: u64,
}

impl From<Pace> for StoredPace {
    fn from(Pace { profile, arrivals, seed }: Pace) -> Self {
        let stages = profile.stages().iter();
        let stages = stages.map(|stage| (stage.end_ns - stage.from_ns, stage.from_rate, stage.to_rate)).collect();
        Self { rate: profile.rate(), stages, arrivals, seed }
    }
}

impl TryFrom<StoredPace> for Pace {
    type Error = String;

    fn try_from(StoredPace { rate, stages, arrivals, seed }: StoredPace) -> Result<Self, String> {
        let profile = match rate {
            None => RateProfile::staged(&stages)?,
            Some(rate) if rate > 0.0 && rate <= RATE_MAX && stages.is_empty() => RateProfile::steady(rate),
            Some(rate) => return Err(format!("{rate} is no rate of an open loop")),
        };
        Ok(Self { profile, arrivals, seed })
    }
}

impl Pace {
    /// Evenly at `rate` sends a second.
    #[must_use]
    pub fn steady(rate: f64) -> Self {
        Self { profile: RateProfile::steady(rate), arrivals: Arrivals::Even, seed: 1 }
    }
}

/// One thread's part of the schedule. Times are nanoseconds since the start of the load.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    profile: RateProfile,
    /// The source of the gaps; none: they are all one.
    random: Option<Random>,
    threads: u64,
    /// The next send of this thread: its number among all, its place on the profile, and when it is due, which is
    /// `u64::MAX` after the last.
    number: u64,
    place: f64,
    due_ns: u64,
    /// The first send of all threads that is none any more.
    end: u64,
    /// The end of the load's time; `u64::MAX` without one.
    end_ns: u64,
    /// End of the schedule in nanoseconds, where its time and not its count ends it.
    lasts_ns: u64,
    /// The end of the warm-up, and the sends that are to be made from there on while the first of them is not known.
    warm_ns: u64,
    count: Option<u64>,
    /// True if it ends with its last send, which is at a random time.
    ends_at_random: bool,
}

impl Schedule {
    /// The sends of thread `thread` of `threads`. They end before `end_ns`, and with the `count`-th at or after
    /// `warm_ns`, if there is either bound.
    pub fn new(pace: &Pace, (thread, threads): (usize, usize), warm_ns: u64, end_ns: u64, count: Option<u64>) -> Self {
        let random = (pace.arrivals == Arrivals::Poisson).then_some(Random::new(pace.seed ^ ARRIVALS));
        let mut schedule = Self {
            profile: pace.profile.clone(),
            random,
            threads: threads as u64,
            number: 0,
            place: 0.0,
            due_ns: 0,
            end: u64::MAX,
            end_ns,
            lasts_ns: 0,
            warm_ns,
            count,
            ends_at_random: count.is_some() && pace.arrivals == Arrivals::Poisson,
        };
        let by_time = end_ns < u64::MAX;
        if let Some(random) = &mut schedule.random {
            schedule.place = random.exponential();
            schedule.lasts_ns = if by_time { end_ns } else { 0 };
            schedule.meet_warm();
        } else {
            let by_count = count.map(|count| schedule.first_from(warm_ns).saturating_add(count));
            let by_time = by_time.then(|| schedule.first_from(end_ns));
            schedule.end = by_count.into_iter().chain(by_time).min().unwrap_or(u64::MAX);
            schedule.lasts_ns = if by_time == Some(schedule.end) { end_ns } else { 0 };
        }
        schedule.advance(thread as u64);
        schedule
    }

    /// When a send at a place of whole sends is due.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53: at 10^7 a second a day has 8.64 x 10^11")]
    fn time_ns(&self, send: u64) -> u64 {
        self.profile.time_ns(send as f64)
    }

    /// The first send that is due at `time_ns` or later, of those that are one apart.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn first_from(&self, time_ns: u64) -> u64 {
        // The place may be one off either way; `time_ns` decides.
        let mut send = self.profile.place(time_ns) as u64;
        while self.time_ns(send) < time_ns {
            send += 1;
        }
        while send > 0 && self.time_ns(send - 1) >= time_ns {
            send -= 1;
        }
        send
    }

    /// Goes on by so many sends of the whole load.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn advance(&mut self, sends: u64) {
        match self.random.take() {
            None => {
                self.number += sends;
                self.place = self.number as f64;
            }
            Some(mut random) => {
                for _ in 0..sends {
                    self.place += random.exponential();
                    self.number += 1;
                    self.meet_warm();
                }
                self.random = Some(random);
            }
        }
        let due_ns = self.profile.time_ns(self.place);
        let is_over = self.number >= self.end || due_ns >= self.end_ns;
        if self.random.is_some() && self.number >= self.end {
            self.lasts_ns = 0;
        }
        self.due_ns = if is_over { u64::MAX } else { due_ns };
    }

    /// Knows where the count ends, once the first send after the warm-up is met.
    fn meet_warm(&mut self) {
        if let Some(count) = self.count
            && self.profile.time_ns(self.place) >= self.warm_ns
        {
            self.end = self.number.saturating_add(count);
            self.count = None;
        }
    }

    /// When the next send is due; `None` after the last.
    pub fn next_ns(&self) -> Option<u64> {
        (self.due_ns < u64::MAX).then_some(self.due_ns)
    }

    /// When the schedule is over, if that is known before it is: the time that it was given, or the distance of one
    /// send after its last.
    pub fn span_end_ns(&self) -> Option<u64> {
        match self.lasts_ns {
            _ if self.ends_at_random => None,
            0 => Some(self.time_ns(self.end)),
            lasts_ns => Some(lasts_ns),
        }
    }

    /// Returns true if the last send is taken, and the time over that it was to last.
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.due_ns == u64::MAX && now_ns >= self.lasts_ns
    }

    /// Takes the next send, if it is due: the time it was meant for.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_ns().filter(|due_ns| *due_ns <= now_ns)?;
        self.advance(self.threads);
        Some(due_ns)
    }

    /// Sends from `from_ns` on that are due by `now_ns` and have not been taken.
    pub fn overdue(&self, from_ns: u64, now_ns: u64) -> u64 {
        if self.random.is_some() {
            let mut rest = self.clone();
            let taken = std::iter::from_fn(|| rest.take(now_ns));
            return taken.filter(|due_ns| *due_ns >= from_ns).count() as u64;
        }
        let skipped = self.first_from(from_ns).saturating_sub(self.number).div_ceil(self.threads);
        let first = self.number + skipped * self.threads;
        self.first_from(now_ns.saturating_add(1)).min(self.end).saturating_sub(first).div_ceil(self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn steady(rate: f64, thread: (usize, usize), warm_ns: u64, end_ns: u64, count: Option<u64>) -> Schedule {
        Schedule::new(&Pace::steady(rate), thread, warm_ns, end_ns, count)
    }

    fn poisson(profile: RateProfile, seed: u64) -> Pace {
        Pace { profile, arrivals: Arrivals::Poisson, seed }
    }

    /// The times of all threads' sends, in order.
    fn times(pace: &Pace, threads: usize, warm_ns: u64, end_ns: u64, count: Option<u64>) -> Vec<u64> {
        let of = |thread| {
            let mut schedule = Schedule::new(pace, (thread, threads), warm_ns, end_ns, count);
            std::iter::from_fn(move || schedule.take(u64::MAX))
        };
        let mut all: Vec<_> = (0..threads).flat_map(of).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_send_is_taken_once_by_one_thread_at_its_time() {
        for (rate, threads) in [(1000.0, 1), (1000.0, 3), (333.3, 2), (1_000_000.0, 7)] {
            let end_ns = SECOND_NS / 50;
            let mut times = Vec::new();
            for thread in 0..threads {
                let mut schedule = steady(rate, (thread, threads), 0, end_ns, None);
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
        let pace = Pace::steady(100.0);
        let all = times(&pace, 1, SECOND_NS / 2, u64::MAX, Some(7));
        assert_eq!(all.len(), 50 + 7);
        assert_eq!(all.iter().filter(|time_ns| **time_ns >= SECOND_NS / 2).count(), 7);
        let mut counted = steady(100.0, (0, 1), SECOND_NS / 2, u64::MAX, Some(7));
        while counted.take(u64::MAX).is_some() {}
        assert!(counted.is_over(0), "it lasts for its sends");
        let mut timed = steady(100.0, (0, 1), 0, SECOND_NS, Some(1000));
        while timed.take(SECOND_NS).is_some() {}
        assert!(!timed.is_over(SECOND_NS - 1) && timed.is_over(SECOND_NS), "it lasts for its time");
    }

    #[test]
    fn what_is_due_and_not_taken_is_overdue() {
        let even = Pace::steady(1000.0);
        let overdue = |pace: &Pace, from_ns, now_ns| {
            let threads: Vec<_> = (0..3).map(|thread| Schedule::new(pace, (thread, 3), 0, SECOND_NS, None)).collect();
            threads.iter().map(|schedule| schedule.overdue(from_ns, now_ns)).sum::<u64>()
        };
        assert_eq!(overdue(&even, 0, 0), 1);
        assert_eq!(overdue(&even, 0, 999_999), 1);
        assert_eq!(overdue(&even, 0, 9_000_000), 10);
        assert_eq!(overdue(&even, 5_000_000, 9_000_000), 5);
        assert_eq!(overdue(&even, 9_000_001, 9_000_000), 0);
        assert_eq!(overdue(&even, 0, u64::MAX), 1000);
        let mut schedule = steady(1000.0, (0, 1), 0, SECOND_NS, None);
        while schedule.take(SECOND_NS).is_some() {}
        assert_eq!(schedule.overdue(0, u64::MAX), 0);
        let random = poisson(RateProfile::steady(1000.0), 3);
        let all = times(&random, 3, 0, SECOND_NS, None);
        for (from_ns, now_ns) in [(0, 0), (0, SECOND_NS / 2), (SECOND_NS / 4, SECOND_NS / 2), (0, u64::MAX)] {
            let due = all.iter().filter(|time_ns| (from_ns..=now_ns).contains(*time_ns)).count() as u64;
            assert_eq!(overdue(&random, from_ns, now_ns), due, "{from_ns} to {now_ns}");
        }
    }

    #[test]
    fn stages_make_as_many_sends_as_their_area() {
        // 0 to 1,000 a second, a level, a pause, and a jump to 300.
        let stages =
            [(SECOND_NS, 0.0, 1000.0), (SECOND_NS, 1000.0, 1000.0), (SECOND_NS, 0.0, 0.0), (SECOND_NS, 300.0, 300.0)];
        let profile = RateProfile::staged(&stages).unwrap();
        let pace = Pace { profile: profile.clone(), arrivals: Arrivals::Even, seed: 1 };
        for threads in [1, 3] {
            let all = times(&pace, threads, 0, profile.end_ns(), None);
            let within = |from: u64, to: u64| {
                all.iter().filter(|time_ns| (from * SECOND_NS..to * SECOND_NS).contains(*time_ns)).count()
            };
            assert_eq!([within(0, 1), within(1, 2), within(2, 3), within(3, 4)], [500, 1000, 0, 300], "{threads}");
            assert_eq!(all.len(), 1800);
        }
        let schedule = Schedule::new(&pace, (0, 1), 0, profile.end_ns(), None);
        assert_eq!(schedule.span_end_ns(), Some(4 * SECOND_NS));
        assert_eq!(schedule.overdue(SECOND_NS, 2 * SECOND_NS - 1), 1000);
    }

    #[test]
    fn poisson_gaps_are_exponential_with_the_wanted_mean() {
        let all = times(&poisson(RateProfile::steady(20_000.0), 1), 1, 0, 5 * SECOND_NS, None);
        // 100,000 arrivals scatter by 316: five times that is met once in two million seeds.
        assert!(all.len().abs_diff(100_000) < 5 * 316, "{}", all.len());
        let gaps: Vec<_> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 50_000.0).collect();
        for bound in [0.1_f64, 0.5, 1.0, 2.0, 4.0] {
            let longer = gaps.iter().filter(|gap| **gap > bound).count() as f64 / gaps.len() as f64;
            assert!((longer - (-bound).exp()).abs() < 0.01, "{bound}: {longer}");
        }
    }

    #[test]
    fn poisson_arrivals_follow_the_stages() {
        let profile = RateProfile::staged(&[(SECOND_NS, 0.0, 40_000.0), (SECOND_NS, 10_000.0, 10_000.0)]).unwrap();
        let all = times(&poisson(profile, 9), 2, 0, 2 * SECOND_NS, None);
        let within = |from: u64, to: u64| all.iter().filter(|time_ns| (from..to).contains(*time_ns)).count() as f64;
        let half = SECOND_NS / 2;
        for (count, wanted) in [
            (within(0, half), 5_000.0),
            (within(half, SECOND_NS), 15_000.0),
            (within(SECOND_NS, 2 * SECOND_NS), 10_000.0),
        ] {
            assert!((count - wanted).abs() < 6.0 * wanted.sqrt(), "{count} of {wanted}");
        }
    }

    #[test]
    fn a_seed_repeats_its_arrivals_on_any_number_of_threads() {
        let of = |seed, threads| times(&poisson(RateProfile::steady(5000.0), seed), threads, 0, SECOND_NS, None);
        assert_eq!(of(1, 1), of(1, 1));
        assert_eq!(of(1, 1), of(1, 3));
        assert_ne!(of(1, 1), of(2, 1));
    }

    #[test]
    fn poisson_arrivals_end_with_their_count() {
        let pace = poisson(RateProfile::steady(1000.0), 4);
        for threads in [1, 3] {
            let all = times(&pace, threads, SECOND_NS / 2, u64::MAX, Some(70));
            assert_eq!(all.iter().filter(|time_ns| **time_ns >= SECOND_NS / 2).count(), 70, "{threads}");
        }
        let mut schedule = Schedule::new(&pace, (0, 1), 0, 60 * SECOND_NS, Some(70));
        assert_eq!(schedule.span_end_ns(), None, "it ends with its sends, at random");
        while schedule.take(u64::MAX).is_some() {}
        assert!(schedule.is_over(0));
        let timed = Schedule::new(&pace, (0, 1), 0, SECOND_NS, None);
        assert_eq!((timed.span_end_ns(), timed.is_over(SECOND_NS)), (Some(SECOND_NS), false));
    }
}

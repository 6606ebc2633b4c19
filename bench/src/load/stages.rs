//! Counts of each stage of an open loop. A request belongs to the stage that it was meant to be sent in; a rate is of
//! the responses that came in the stage's own time, whenever their requests were sent.

use super::{
    rate_profile::{RateProfile, Stage},
    tally::{add, histogram},
};
use hdrhistogram::Histogram;

/// The counts of one stage.
#[derive(Debug, Clone)]
pub struct StageCounts {
    /// Times and rates of the stage.
    pub stage: Stage,
    /// Length in nanoseconds: less than planned when the load was stopped in it.
    pub length_ns: u64,
    /// The mean of the rates that it wanted in that time.
    pub wanted_rate: f64,
    /// Sends that were begun.
    pub begun: u64,
    /// Sends that were due and not handed over at the end of the load.
    pub missed: u64,
    /// Requests with a response, and failed ones.
    pub requests: u64,
    /// Responses with 2xx that came in its time.
    pub in_time: u64,
    /// Nanoseconds of the requests with a response of 2xx, from their intended start.
    pub latency: Histogram<u64>,
}

impl StageCounts {
    pub(super) fn new(stage: &Stage) -> Self {
        Self {
            stage: *stage,
            length_ns: 0,
            wanted_rate: 0.0,
            begun: 0,
            missed: 0,
            requests: 0,
            in_time: 0,
            latency: histogram(),
        }
    }

    /// Adds the counts of the same stage, but for its times and rates.
    pub(super) fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.missed += other.missed;
        self.requests += other.requests;
        self.in_time += other.in_time;
        add(&mut self.latency, &other.latency);
    }
}

/// The counts of all stages.
#[derive(Debug, Clone)]
pub struct Stages {
    all: Vec<StageCounts>,
}

impl Stages {
    /// Nothing counted yet; none where the profile has no stages.
    #[must_use]
    pub fn of(profile: &RateProfile) -> Option<Self> {
        let all: Vec<_> = profile.stages().iter().map(StageCounts::new).collect();
        (!all.is_empty()).then_some(Self { all })
    }

    /// One after the other.
    #[must_use]
    pub fn all(&self) -> &[StageCounts] {
        &self.all
    }

    pub(super) fn all_mut(&mut self) -> &mut [StageCounts] {
        &mut self.all
    }

    /// The number of the stage that `time_ns` is in, the first being 0; that of the last one past its end.
    pub(super) fn index(&self, time_ns: u64) -> usize {
        self.all.partition_point(|counts| counts.stage.end_ns <= time_ns).min(self.all.len() - 1)
    }

    fn at(&mut self, time_ns: u64) -> &mut StageCounts {
        let index = self.index(time_ns);
        &mut self.all[index]
    }

    /// A send meant for `intended_ns` was begun.
    pub fn begun(&mut self, intended_ns: u64) {
        self.at(intended_ns).begun += 1;
    }

    /// Counts the end of `count` requests meant for `intended_ns`, at `now_ns`: responses with 2xx, or not.
    pub fn ended(&mut self, intended_ns: u64, now_ns: u64, success: bool, count: u64) {
        let counts = self.at(intended_ns);
        counts.requests += count;
        if success {
            counts.latency.saturating_record_n(now_ns.saturating_sub(intended_ns), count);
            let last = self.at(now_ns);
            last.in_time += if now_ns < last.stage.end_ns { count } else { 0 };
        }
    }

    /// The load ended at `now_ns`; `overdue` says how many sends between two times were not handed over.
    pub fn close(&mut self, now_ns: u64, overdue: impl Fn(u64, u64) -> u64) {
        for counts in &mut self.all {
            let Stage { from_ns, end_ns, .. } = counts.stage;
            counts.length_ns = now_ns.clamp(from_ns, end_ns) - from_ns;
            counts.wanted_rate = counts.stage.mean_rate(counts.length_ns);
            counts.missed = overdue(from_ns, end_ns - 1);
        }
    }

    /// Adds what another thread counted in the same load.
    pub fn merge(&mut self, other: &Self) {
        for (counts, others) in self.all.iter_mut().zip(&other.all) {
            if counts.length_ns < others.length_ns {
                (counts.length_ns, counts.wanted_rate) = (others.length_ns, others.wanted_rate);
            }
            counts.add(others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_request_counts_where_it_was_meant_and_a_rate_where_it_came() {
        let profile = RateProfile::staged(&[(S, 10.0, 10.0), (S, 20.0, 20.0)]).unwrap();
        let mut stages = Stages::of(&profile).unwrap();
        for (intended_ns, now_ns, success) in
            [(0, S / 2, true), (S / 2, S + 1, true), (S - 1, 3 * S, true), (S, S + 2, false), (2 * S, 2 * S + 1, true)]
        {
            stages.begun(intended_ns);
            stages.ended(intended_ns, now_ns, success, 1);
        }
        let mut other = stages.clone();
        stages.close(S + S / 4, |from_ns, to_ns| from_ns / S + (to_ns + 1 - from_ns) / S);
        other.close(S, |_, _| 0);
        stages.merge(&other);
        let counts = |of: fn(&StageCounts) -> u64| stages.all().iter().map(of).collect::<Vec<_>>();
        assert_eq!((counts(|one| one.begun), counts(|one| one.requests)), (vec![6, 4], vec![6, 4]));
        assert_eq!((counts(|one| one.in_time), counts(|one| one.latency.len())), (vec![2, 2], vec![6, 2]));
        assert_eq!((counts(|one| one.missed), counts(|one| one.length_ns)), (vec![1, 2], vec![S, S / 4]));
        assert!(Stages::of(&RateProfile::steady(10.0)).is_none());
    }
}

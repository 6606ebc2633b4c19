//! Histograms of one core, which it owns and hands over whole, and the timestamps they are computed from.
//!
//! A core hands its histograms over by swapping them for the empty ones that come with the request: two pointers,
//! whatever the histograms hold. The receiver adds them to its own.

use super::counters::labelled;
use crate::limits;
use hdrhistogram::Histogram;
use std::borrow::Cow;

/// Values, their exact sum and their distribution to two significant digits: what is read from it is within 1 %.
///
/// Equal values in a row, such as the sizes of the batches of one agent, are counted as one entry, which enters the
/// histogram when another value comes.
#[derive(Debug, Clone)]
pub struct Distribution {
    values: Histogram<u64>,
    sum: u64,
    /// The latest value, and how many times it is not in `values` yet.
    run: (u64, u64),
}

impl Distribution {
    /// Creates an empty distribution for values up to `largest`; greater ones count as `largest`, but with their own
    /// value in the sum.
    #[must_use]
    fn up_to(largest: u64) -> Self {
        let values =
            Histogram::new_with_bounds(1, largest, 2).expect("the bounds are constants that hdrhistogram takes");
        Self { values, sum: 0, run: (0, 0) }
    }

    /// Creates a distribution of times in nanoseconds.
    #[must_use]
    pub fn of_times() -> Self {
        Self::up_to(limits::LATENCY_NS_MAX)
    }

    /// Creates a distribution of sizes: bytes, metrics.
    #[must_use]
    pub fn of_sizes() -> Self {
        Self::up_to(limits::SIZE_MEASURED_MAX)
    }

    /// Records `value`, `count` times.
    #[inline]
    pub fn record(&mut self, value: u64, count: u64) {
        self.sum = self.sum.wrapping_add(value.wrapping_mul(count));
        if value != self.run.0 {
            self.end_run();
            self.run.0 = value;
        }
        self.run.1 += count;
    }

    /// Enters the latest values into the histogram.
    fn end_run(&mut self) {
        let (value, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.values.saturating_record_n(value, count);
        }
    }

    /// The histogram of all values.
    fn whole(&self) -> Cow<'_, Histogram<u64>> {
        if self.run.1 == 0 {
            return Cow::Borrowed(&self.values);
        }
        let mut whole = self.clone();
        whole.end_run();
        Cow::Owned(whole.values)
    }

    /// Records `count` values near `value`, whose exact sum is added with [`add_sum`](Self::add_sum).
    pub fn record_near(&mut self, value: u64, count: u64) {
        self.values.saturating_record_n(value, count);
    }

    /// See [`record_near`](Self::record_near).
    pub fn add_sum(&mut self, sum: u64) {
        self.sum = self.sum.wrapping_add(sum);
    }

    /// Adds another distribution of the same kind.
    pub fn add(&mut self, other: &Self) {
        if other.count() > 0 {
            self.values.add(&other.values).expect("distributions of one kind have the same bounds");
            let (value, count) = other.run;
            if count > 0 {
                self.record_near(value, count);
            }
            self.sum = self.sum.wrapping_add(other.sum);
        }
    }

    /// Clears the distribution; clearing an empty one costs nothing.
    pub fn reset(&mut self) {
        if self.count() > 0 {
            self.values.reset();
            (self.sum, self.run) = (0, (0, 0));
        }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.values.len() + self.run.1
    }

    /// Exact sum of the values.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Greatest value, within 1 %; 0 if empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.whole().max() }
    }

    /// The value that the fraction `quantile` of the values does not exceed; 0 if empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.whole().value_at_quantile(quantile)
    }

    /// The number of values up to each of `bounds`, which ascend.
    #[must_use]
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        let values = self.whole();
        for step in values.iter_recorded() {
            let value = values.lowest_equivalent(step.value_iterated_to());
            let bound = bounds.partition_point(|&bound| bound < value);
            if let Some(count) = counts.get_mut(bound) {
                *count += step.count_since_last_iteration();
            }
        }
        let mut sum = 0;
        for count in &mut counts {
            sum += *count;
            *count = sum;
        }
        counts
    }
}

labelled! {
    /// A part of the time of a batch. The last four follow each other and add up to the whole.
    Stage {
        /// From the end of the head to the end of the body, of batches that did not come in one piece. It is the
        /// client's time, and not in the whole.
        Receive = "receive",
        /// From the arrival of the last byte to the decision: admitted, parsed, encoded and committed, or refused.
        /// What the core did for others meanwhile is in it.
        Decide = "decide",
        /// From there until the core saw it in the file. Of responses that wait for the level `write`.
        Write = "write",
        /// From there until the core saw it on stable storage. Of responses that wait for the level `fsync`, whose time
        /// of writing is in it: nobody is woken for that.
        Sync = "sync",
        /// From there until the kernel had taken the whole response.
        Send = "send",
    }
}

/// When a burst of requests and its responses passed each stage, in nanoseconds of the server's clock; 0: it did not.
/// One for each burst, as its responses leave together. All but `decided_ns` are the times of the core's turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Time at which the first head was complete.
    pub head_ns: u64,
    /// Time at which the last byte of the requests arrived.
    pub received_ns: u64,
    /// Time at which the last request was decided.
    pub decided_ns: u64,
    /// Time at which the batches of level `write` were in the file.
    pub written_ns: u64,
    /// Time at which the batches of level `fsync` were on stable storage.
    pub durable_ns: u64,
    /// Time at which the kernel had taken all responses.
    pub sent_ns: u64,
}

impl Stamps {
    /// Nanoseconds from the arrival of the last byte to the end of the responses.
    #[must_use]
    pub const fn whole_ns(&self) -> u64 {
        self.sent_ns.saturating_sub(self.received_ns)
    }

    /// Calls `took` with each completed stage and its nanoseconds. All but `Receive` add up to the total.
    #[inline]
    pub fn for_each_stage(&self, mut took: impl FnMut(Stage, u64)) {
        if self.head_ns > 0 && self.received_ns > self.head_ns {
            took(Stage::Receive, self.received_ns - self.head_ns);
        }
        let mut at_ns = self.received_ns;
        for (stage, stamp_ns) in [
            (Stage::Decide, self.decided_ns),
            (Stage::Write, self.written_ns),
            (Stage::Sync, self.durable_ns),
            (Stage::Send, self.sent_ns),
        ] {
            if stamp_ns > 0 {
                // A burst may wait for both levels, and its `fsync` batch be durable before its `write` batch is
                // written.
                took(stage, stamp_ns.saturating_sub(at_ns));
                at_ns = at_ns.max(stamp_ns);
            }
        }
    }
}

/// The histograms of one core since its last report.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// [`Stamps::whole_ns`] of batches.
    pub batch_ns: Distribution,
    /// [`Stamps::whole_ns`] of all other requests.
    pub other_ns: Distribution,
    /// Stages of batches, by [`Stage`].
    pub stage_ns: [Distribution; Stage::ALL.len()],
    /// Metrics of each well-formed batch.
    pub batch_metrics: Distribution,
    /// Size of the decoded body of each well-formed batch.
    pub batch_body_bytes: Distribution,
    /// Turns of the core: from the end of one wait to the beginning of the next.
    pub turn_ns: Distribution,
}

impl Default for Histograms {
    fn default() -> Self {
        Self {
            batch_ns: Distribution::of_times(),
            other_ns: Distribution::of_times(),
            stage_ns: std::array::from_fn(|_| Distribution::of_times()),
            batch_metrics: Distribution::of_sizes(),
            batch_body_bytes: Distribution::of_sizes(),
            turn_ns: Distribution::of_times(),
        }
    }
}

impl Histograms {
    /// Records a burst whose responses were sent: `batches` of its requests were batches, `others` were not.
    pub fn responded(&mut self, stamps: &Stamps, batches: u64, others: u64) {
        if others > 0 {
            self.other_ns.record(stamps.whole_ns(), others);
        }
        if batches > 0 {
            self.batch_ns.record(stamps.whole_ns(), batches);
            stamps.for_each_stage(|stage, took_ns| self.stage_ns[stage as usize].record(took_ns, batches));
        }
    }

    /// Adds the histograms of another core, or a later part of the same core's.
    pub fn add(&mut self, other: &Self) {
        // Taken apart without `..`: a new one that is not added here does not compile.
        let Self { batch_ns, other_ns, stage_ns, batch_metrics, batch_body_bytes, turn_ns } = other;
        self.batch_ns.add(batch_ns);
        self.other_ns.add(other_ns);
        self.stage_ns.iter_mut().zip(stage_ns).for_each(|(into, from)| into.add(from));
        self.batch_metrics.add(batch_metrics);
        self.batch_body_bytes.add(batch_body_bytes);
        self.turn_ns.add(turn_ns);
    }

    /// Clears all histograms.
    pub fn reset(&mut self) {
        let Self { batch_ns, other_ns, stage_ns, batch_metrics, batch_body_bytes, turn_ns } = self;
        let sizes = [batch_ns, other_ns, batch_metrics, batch_body_bytes, turn_ns];
        sizes.into_iter().chain(stage_ns).for_each(Distribution::reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the order of the two levels, and whichever were waited for, no time is lost or counted twice.
        #[test]
        fn the_stages_add_up_to_the_whole(
            steps in prop::array::uniform6(1..1_000_u64), written: bool, durable: bool, durable_first: bool,
        ) {
            let mut at_ns = 0;
            let [head_ns, received_ns, decided_ns, third_ns, fourth_ns, sent_ns] = steps.map(|step| {
                at_ns += step;
                at_ns
            });
            let (written_ns, durable_ns) = if durable_first { (fourth_ns, third_ns) } else { (third_ns, fourth_ns) };
            let stamps = Stamps {
                head_ns,
                received_ns,
                decided_ns,
                written_ns: if written { written_ns } else { 0 },
                durable_ns: if durable { durable_ns } else { 0 },
                sent_ns,
            };
            let (mut whole_ns, mut names) = (0, Vec::new());
            stamps.for_each_stage(|stage, took_ns| {
                whole_ns += if stage == Stage::Receive { 0 } else { took_ns };
                names.push(stage);
            });
            prop_assert_eq!(whole_ns, stamps.whole_ns());
            prop_assert_eq!(names.contains(&Stage::Write), written);
            prop_assert_eq!(names.contains(&Stage::Sync), durable);
        }

        #[test]
        fn cumulative_counts_end_with_all_and_are_within_the_resolution(
            values in prop::collection::vec(0..10_000_000_u64, 1..200),
        ) {
            let mut distribution = Distribution::of_times();
            values.iter().for_each(|&value| distribution.record(value, 1));
            let bounds = [0, 10, 1_000, 50_000, 1_000_000, limits::LATENCY_NS_MAX];
            let counts = distribution.cumulative(&bounds);
            for (&bound, &count) in bounds.iter().zip(&counts) {
                let at_most = |bound: u64| values.iter().filter(|&&value| value <= bound).count() as u64;
                prop_assert!(at_most(bound) <= count && count <= at_most(bound + bound / 100 + 1), "{} {}", bound, count);
            }
            prop_assert_eq!(counts.last().copied(), Some(distribution.count()));
            prop_assert_eq!(distribution.sum(), values.iter().sum::<u64>());
        }
    }

    #[test]
    fn what_is_moved_is_not_lost() {
        let mut core = Histograms::default();
        let stamps = Stamps { received_ns: 10, decided_ns: 15, sent_ns: 30, ..Stamps::default() };
        core.responded(&stamps, 2, 1);
        let mut total = Histograms::default();
        total.add(&core);
        core.reset();
        total.add(&core);
        assert_eq!((total.batch_ns.count(), total.batch_ns.sum(), total.other_ns.count()), (2, 40, 1));
        assert_eq!(total.stage_ns[Stage::Decide as usize].sum(), 10);
        assert_eq!(total.stage_ns[Stage::Write as usize].count(), 0);
        assert_eq!((core.batch_ns.count(), core.batch_ns.max(), core.batch_ns.sum()), (0, 0, 0));
    }

    #[test]
    fn equal_values_in_a_row_count_as_often_as_they_came() {
        let mut distribution = Distribution::of_sizes();
        for value in [0, 0, 3, 3, 3, 900, 3] {
            distribution.record(value, 2);
        }
        let mut total = Distribution::of_sizes();
        total.add(&distribution);
        for distribution in [&distribution, &total] {
            assert_eq!((distribution.count(), distribution.sum(), distribution.max()), (14, 1_824, 903));
            assert_eq!(distribution.quantile(0.5), 3);
            assert_eq!(distribution.cumulative(&[0, 2, 3, 899, 1_000]), [4, 4, 12, 12, 14]);
        }
        distribution.reset();
        assert_eq!((distribution.count(), distribution.cumulative(&[u64::MAX])), (0, vec![0]));
    }

    #[test]
    fn what_is_longer_than_measured_counts_as_the_longest() {
        let mut distribution = Distribution::of_times();
        distribution.record(u64::MAX, 1);
        assert_eq!((distribution.count(), distribution.sum()), (1, u64::MAX));
        assert!(distribution.max() >= limits::LATENCY_NS_MAX);
    }
}

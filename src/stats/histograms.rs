//! What one core measures: histograms that it owns and hands over whole, and the stamps they are made from.
//!
//! A core that is asked for its histograms gives them away and goes on with empty ones that came with the question: a swap of
//! two pointers, whatever the histograms hold. Who asked adds them to what it had.

use super::counters::labelled;
use crate::limits;
use hdrhistogram::Histogram;

/// Values, their exact sum and their distribution to two significant digits: what is read from it is within 1 %.
#[derive(Debug, Clone)]
pub struct Distribution {
    values: Histogram<u64>,
    sum: u64,
}

impl Distribution {
    /// An empty one for values up to `largest`; greater ones count as that, but with their own value in the sum.
    #[must_use]
    fn up_to(largest: u64) -> Self {
        let values =
            Histogram::new_with_bounds(1, largest, 2).expect("the bounds are constants that hdrhistogram takes");
        Self { values, sum: 0 }
    }

    /// Of times in nanoseconds.
    #[must_use]
    pub fn of_times() -> Self {
        Self::up_to(limits::LATENCY_NS_MAX)
    }

    /// Of sizes: bytes, metrics.
    #[must_use]
    pub fn of_sizes() -> Self {
        Self::up_to(limits::SIZE_MEASURED_MAX)
    }

    /// Takes in `value`, `count` times.
    #[inline]
    pub fn record(&mut self, value: u64, count: u64) {
        self.values.saturating_record_n(value, count);
        self.sum = self.sum.wrapping_add(value.wrapping_mul(count));
    }

    /// Takes in `count` values near `value` whose own sum is not known here but added with [`add_sum`](Self::add_sum).
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
            self.sum = self.sum.wrapping_add(other.sum);
        }
    }

    /// Empties it; what is empty already costs nothing.
    pub fn reset(&mut self) {
        if self.count() > 0 {
            self.values.reset();
            self.sum = 0;
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// Their exact sum.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The greatest, within 1 %; 0 of none.
    #[must_use]
    pub fn max(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.values.max() }
    }

    /// The value that the part `quantile` of them does not exceed; 0 of none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.values.value_at_quantile(quantile)
    }

    /// How many values are at most each of `bounds`, which ascend.
    #[must_use]
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        for step in self.values.iter_recorded() {
            let value = self.values.lowest_equivalent(step.value_iterated_to());
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
        /// From the end of the head to the end of the body, of batches that did not come in one piece. It is the client's
        /// time, and not in the whole.
        Receive = "receive",
        /// From the arrival of the last byte to the decision: admitted, parsed, encoded and committed, or refused. What the
        /// core did for others meanwhile is in it.
        Decide = "decide",
        /// From there until the core saw it in the file. Of answers that wait for the level `write`.
        Write = "write",
        /// From there until the core saw it on stable storage. Of answers that wait for the level `fsync`, whose time of
        /// writing is in it: nobody is woken for that.
        Sync = "sync",
        /// From there until the kernel had taken the whole answer.
        Send = "send",
    }
}

/// When a burst of requests and its answers passed each stage, in nanoseconds of the server's clock; 0: it did not. One for each
/// burst, as its answers leave together. All but `decided_ns` are the times of the core's turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamps {
    /// The first head was complete.
    pub head_ns: u64,
    /// The bytes that completed the requests had come.
    pub received_ns: u64,
    /// The last of the requests was decided on.
    pub decided_ns: u64,
    /// What was stored at the level `write` was seen to be in the file.
    pub written_ns: u64,
    /// What was stored at the level `fsync` was seen to be on stable storage.
    pub durable_ns: u64,
    /// The kernel had taken all answers.
    pub answered_ns: u64,
}

impl Stamps {
    /// Nanoseconds from the arrival of the last byte to the end of the answers.
    #[must_use]
    pub const fn whole_ns(&self) -> u64 {
        self.answered_ns.saturating_sub(self.received_ns)
    }

    /// The stages that were passed, each with its nanoseconds. All but `Receive` add up to the whole.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, u64)> {
        let receive_ns = self.received_ns.saturating_sub(self.head_ns);
        let mut at_ns = self.received_ns;
        let passed = [
            (Stage::Decide, self.decided_ns),
            (Stage::Write, self.written_ns),
            (Stage::Sync, self.durable_ns),
            (Stage::Send, self.answered_ns),
        ];
        let receive = (self.head_ns > 0 && receive_ns > 0).then_some((Stage::Receive, receive_ns));
        receive.into_iter().chain(passed.into_iter().filter(|&(_, stamp_ns)| stamp_ns > 0).map(
            move |(stage, stamp_ns)| {
                // A burst may wait for both levels, and its `fsync` batch be durable before its `write` batch is written.
                let took_ns = stamp_ns.saturating_sub(at_ns);
                at_ns = at_ns.max(stamp_ns);
                (stage, took_ns)
            },
        ))
    }
}

/// What one core has measured since it was last asked.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// [`Stamps::whole_ns`] of batches.
    pub batch_ns: Distribution,
    /// [`Stamps::whole_ns`] of all other requests.
    pub other_ns: Distribution,
    /// Stages of batches, by [`Stage`].
    pub stage_ns: [Distribution; Stage::ALL.len()],
    /// Metrics of each batch that was well-formed.
    pub batch_metrics: Distribution,
    /// Bytes of the decoded body of each batch that was well-formed.
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
    /// Takes in a burst whose answers have left: `batches` of its requests were batches, `others` were not.
    pub fn answered(&mut self, stamps: &Stamps, batches: u64, others: u64) {
        if others > 0 {
            self.other_ns.record(stamps.whole_ns(), others);
        }
        if batches > 0 {
            self.batch_ns.record(stamps.whole_ns(), batches);
            for (stage, took_ns) in stamps.stages() {
                self.stage_ns[stage as usize].record(took_ns, batches);
            }
        }
    }

    /// Adds another core's, or a later part of the same.
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

    /// Empties all of them.
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
            let [head_ns, received_ns, decided_ns, third_ns, fourth_ns, answered_ns] = steps.map(|step| {
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
                answered_ns,
            };
            let whole_ns: u64 =
                stamps.stages().filter(|&(stage, _)| stage != Stage::Receive).map(|(_, took_ns)| took_ns).sum();
            prop_assert_eq!(whole_ns, stamps.whole_ns());
            let names: Vec<Stage> = stamps.stages().map(|(stage, _)| stage).collect();
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
        let stamps = Stamps { received_ns: 10, decided_ns: 15, answered_ns: 30, ..Stamps::default() };
        core.answered(&stamps, 2, 1);
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
    fn what_is_longer_than_measured_counts_as_the_longest() {
        let mut distribution = Distribution::of_times();
        distribution.record(u64::MAX, 1);
        assert_eq!((distribution.count(), distribution.sum()), (1, u64::MAX));
        assert!(distribution.max() >= limits::LATENCY_NS_MAX);
    }
}

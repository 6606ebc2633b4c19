//! Values by size: how many of each there were, to within 1 %, and their exact sum.
//!
//! Owns the counters: one for each value below 256, and above 128 for each power of two, as an HDR histogram of two
//! digits has them. Promises: recording a value is a few instructions, reads no clock and allocates nothing.

use crate::limits;

/// Bits of a value that its counter is chosen by, behind the highest one.
const BITS: u32 = 7;
/// Counters for each power of two above the values that have one each.
const STEPS: usize = 1 << BITS;

/// Values, their exact sum and their distribution: what is read from it is within 1 %.
#[derive(Debug, Clone)]
pub struct Distribution {
    counts: Box<[u64]>,
    count: u64,
    sum: u64,
}

impl Distribution {
    /// Creates an empty distribution for values up to `largest`; greater ones count as `largest`, but with their own
    /// value in the sum.
    fn up_to(largest: u64) -> Self {
        Self { counts: vec![0; index_of(largest) + 1].into_boxed_slice(), count: 0, sum: 0 }
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
        self.add_sum(value.wrapping_mul(count));
        self.record_near(value, count);
    }

    /// Records `count` values near `value`, whose exact sum is added with [`add_sum`](Self::add_sum).
    #[inline]
    pub fn record_near(&mut self, value: u64, count: u64) {
        let index = index_of(value).min(self.counts.len() - 1);
        self.counts[index] += count;
        self.count += count;
    }

    /// See [`record_near`](Self::record_near).
    #[inline]
    pub fn add_sum(&mut self, sum: u64) {
        self.sum = self.sum.wrapping_add(sum);
    }

    /// Adds another distribution of the same kind.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.counts.len(), other.counts.len(), "distributions of one kind");
        if other.count > 0 {
            self.counts.iter_mut().zip(&other.counts).for_each(|(into, from)| *into += from);
            self.count += other.count;
            self.sum = self.sum.wrapping_add(other.sum);
        }
    }

    /// Clears the distribution; clearing an empty one costs nothing.
    pub fn reset(&mut self) {
        if self.count > 0 {
            self.counts.fill(0);
            (self.count, self.sum) = (0, 0);
        }
    }

    /// Number of values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Exact sum of the values.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Greatest value, within 1 %; 0 if empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.counts.iter().rposition(|&count| count > 0).map_or(0, greatest_of)
    }

    /// The value that the fraction `quantile` of the values does not exceed; 0 if empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A rank.
        let rank = ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        index.map_or(0, greatest_of)
    }

    /// The number of values up to each of `bounds`, which ascend.
    #[must_use]
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        for (index, &of_index) in self.counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let bound = bounds.partition_point(|&bound| bound < least_of(index));
            if let Some(count) = counts.get_mut(bound) {
                *count += of_index;
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

/// Index of the counter of a value.
#[inline]
fn index_of(value: u64) -> usize {
    let shift = (value >> BITS | 1).ilog2();
    #[expect(clippy::cast_possible_truncation, reason = "eight bits are left of the value")]
    let step = (value >> shift) as usize;
    shift as usize * STEPS + step
}

/// Least value of a counter.
const fn least_of(index: usize) -> u64 {
    let shift = (index / STEPS).saturating_sub(1);
    ((index - shift * STEPS) as u64) << shift
}

/// Greatest value of a counter.
const fn greatest_of(index: usize) -> u64 {
    least_of(index + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    proptest! {
        /// Reads as an HDR histogram of two digits does.
        #[test]
        fn a_distribution_is_an_hdr_histogram(
            values in prop::collection::vec((any::<u64>(), 0..64_u32, 1..5_u64), 0..100),
            bounds in prop::collection::btree_set(0..200_000_000_000_u64, 1..20),
        ) {
            let mut distribution = Distribution::of_times();
            let mut reference = Histogram::<u64>::new_with_bounds(1, limits::LATENCY_NS_MAX, 2).unwrap();
            for &(bits, shift, count) in &values {
                // Of what is beyond, the library's counters tell some apart.
                let value = (bits >> shift).min(limits::LATENCY_NS_MAX);
                distribution.record(value, count);
                reference.record_n(value, count).unwrap();
            }
            prop_assert_eq!(distribution.count(), reference.len());
            prop_assert_eq!(distribution.max(), reference.max());
            for quantile in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
                prop_assert_eq!(distribution.quantile(quantile), reference.value_at_quantile(quantile));
            }
            let bounds: Vec<u64> = bounds.into_iter().collect();
            let up_to = |bound: u64| {
                let steps = reference.iter_recorded();
                let steps = steps.filter(|step| reference.lowest_equivalent(step.value_iterated_to()) <= bound);
                steps.map(|step| step.count_since_last_iteration()).sum()
            };
            let expected: Vec<u64> = bounds.iter().map(|&bound| up_to(bound)).collect();
            prop_assert_eq!(distribution.cumulative(&bounds), expected);
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
    fn counters_follow_each_other_without_a_gap() {
        for index in 0..=index_of(u64::MAX) {
            assert_eq!(index_of(least_of(index)), index);
            if index < index_of(u64::MAX) {
                assert_eq!(index_of(greatest_of(index)), index);
            }
        }
    }

    #[test]
    fn values_count_as_often_as_they_came() {
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

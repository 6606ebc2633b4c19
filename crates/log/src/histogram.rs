//! Histograms that one thread of the log records and any other may read, without a lock or a handshake.
//!
//! Each atomic has one writer, which stores without a read-modify-write, as the counts beside it do. Values fall into
//! 16 buckets for each power of two, so a reading is within 1/16. A reader sees each bucket at some moment of its
//! reading; a reader that keeps its last snapshot gets every value recorded since from the difference.

// The standard library's atomics also in a model: no thread decides by them, and each would cost the model a step.
use host::time::Instant;
use std::sync::atomic::{AtomicU64, Ordering};

/// log2 of the buckets for each power of two.
const PART_BITS: u32 = 4;
const PARTS: usize = 1 << PART_BITS;
/// log2 of the value from which on all share the last bucket: 2^37, which are 137 s in nanoseconds.
const OCTAVES: usize = 37;
const BUCKETS: usize = (OCTAVES - PART_BITS as usize + 1) * PARTS;

/// A histogram with one writer. 4.4 KB.
#[derive(Debug)]
pub struct AtomicHistogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
}

/// The content of an [`AtomicHistogram`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Count of values in each bucket.
    counts: Vec<u64>,
    /// Sum of all values, modulo 2^64.
    pub sum: u64,
}

impl Default for AtomicHistogram {
    fn default() -> Self {
        Self { buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]), sum: AtomicU64::new(0) }
    }
}

impl AtomicHistogram {
    /// Adds a value. To be called by one thread only.
    pub(super) fn record(&self, value: u64) {
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&self.buckets[bucket_of(value)], 1);
        add(&self.sum, value);
    }

    /// A snapshot of the content.
    #[inline]
    #[must_use]
    pub fn read(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], sum: 0 }
    }
}

impl HistogramSnapshot {
    /// The values recorded since `before`: the middle of each bucket, and how many fell into it.
    pub fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (u64, u64)> + 'a {
        let counts = self.counts.iter().zip(&before.counts).map(|(now, then)| now.wrapping_sub(*then));
        counts.enumerate().filter(|&(_, count)| count > 0).map(|(bucket, count)| (middle_of(bucket), count))
    }
}

#[inline]
pub(super) fn nanoseconds_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Index of a value's bucket. The first `PARTS` buckets hold one value each; then each power of two has `PARTS` of
/// them.
fn bucket_of(value: u64) -> usize {
    let Some(octave) = value.checked_ilog2().filter(|&octave| octave >= PART_BITS) else {
        return usize::try_from(value).unwrap_or(0);
    };
    let shift = octave - PART_BITS;
    // Below 2 x PARTS.
    let part = usize::try_from(value >> shift).unwrap_or(0) - PARTS;
    ((shift as usize + 1) * PARTS + part).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> u64 {
    match bucket / PARTS {
        0 => bucket as u64,
        octave => {
            let shift = octave - 1;
            (((PARTS + bucket % PARTS) as u64) << shift) + ((1_u64 << shift) >> 1)
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_middle_of_a_values_bucket_is_within_a_sixteenth(value in 0..(1_u64 << OCTAVES)) {
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) * 16 <= value, "{} for {}", middle, value);
            prop_assert_eq!(bucket_of(middle), bucket_of(value));
        }
    }

    #[test]
    fn a_difference_is_what_came_since() {
        let measured = AtomicHistogram::default();
        measured.record(5);
        measured.record(u64::MAX);
        let before = measured.read();
        measured.record(5);
        measured.record(7);
        let now = measured.read();
        assert_eq!(now.since(&before).collect::<Vec<_>>(), [(5, 1), (7, 1)]);
        assert_eq!(now.sum.wrapping_sub(before.sum), 12);
        assert_eq!(now.since(&HistogramSnapshot::default()).map(|(_, count)| count).sum::<u64>(), 4);
    }
}

//! Plan of the blocks that the file system allocates for the active segment before they are written.
//!
//! Sans-IO. Promises that a segment is never allocated more than as many bytes again as it has, and none behind the
//! length at which it is sealed, except for those of its last gathering.

use crate::limits::{PREALLOCATED_BYTES_MAX, PREALLOCATED_BYTES_MIN};
use std::ops::Range;

/// The plan for one active segment after the other.
#[derive(Debug)]
pub struct Preallocation {
    /// End of the bytes for which blocks were requested, or which the file has.
    until: u64,
    /// Length at which a segment is sealed.
    sealed_at: u64,
    /// False where the file system does no such thing.
    is_supported: bool,
}

impl Preallocation {
    pub fn new(bytes: u64, sealed_at: Option<u64>) -> Self {
        Self { until: bytes, sealed_at: sealed_at.unwrap_or(u64::MAX), is_supported: true }
    }

    /// The file has `bytes`, and no blocks behind them: it is another, or another process has cut it.
    pub fn begin(&mut self, bytes: u64) {
        self.until = bytes;
    }

    /// The file system does it for no segment of this log.
    pub fn give_up(&mut self) {
        self.is_supported = false;
    }

    /// The bytes to allocate before a file of `bytes` grows to `end`; `None` if it has them, or is too short.
    #[inline]
    pub fn before(&mut self, bytes: u64, end: u64) -> Option<Range<u64>> {
        if end <= self.until || !self.is_supported {
            return None;
        }
        let begin = self.until.max(bytes);
        let ahead = if bytes < PREALLOCATED_BYTES_MIN { 0 } else { bytes.min(PREALLOCATED_BYTES_MAX) };
        let until = (bytes + ahead).min(self.sealed_at);
        self.until = until.max(end);
        (begin < until).then_some(begin..until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is allocated for a segment that grows by `step` up to `length`.
    fn ranges(plan: &mut Preallocation, step: u64, length: u64) -> Vec<Range<u64>> {
        (0..length).step_by(usize::try_from(step).unwrap()).filter_map(|at| plan.before(at, at + step)).collect()
    }

    #[test]
    fn a_segment_is_allocated_as_much_again_as_it_has() {
        const MIB: u64 = 1 << 20;
        let mut plan = Preallocation::new(0, Some(60 * MIB));
        let expected = [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 48), (48, 60)];
        let expected: Vec<_> = expected.map(|(begin, end)| begin * MIB..end * MIB).into();
        assert_eq!(ranges(&mut plan, MIB / 4, 62 * MIB), expected);
        plan.begin(0);
        assert_eq!(ranges(&mut plan, MIB / 4, 3 * MIB), expected[..2]);
    }

    #[test]
    fn nothing_is_allocated_twice_nor_behind_the_end_of_what_is_written() {
        for step in [1 << 10, 100_000, 3_000_000, 16 << 20] {
            let mut plan = Preallocation::new(0, None);
            let mut last = 0;
            for at in (0..200_000_000).step_by(usize::try_from(step).unwrap()) {
                let Some(range) = plan.before(at, at + step) else { continue };
                assert!(range.start >= last.max(at) && range.end <= 2 * at, "{range:?} at {at}");
                assert!(range.end - at <= PREALLOCATED_BYTES_MAX, "{range:?} at {at}");
                last = range.end;
            }
            assert!(last > 180_000_000, "{step}: {last}");
        }
    }

    #[test]
    fn an_old_file_goes_on_and_a_file_system_without_it_gets_no_more_requests() {
        let mut plan = Preallocation::new(100 << 20, None);
        assert_eq!(plan.before(100 << 20, 101 << 20), Some(100 << 20..116 << 20));
        plan.give_up();
        assert_eq!(plan.before(116 << 20, 117 << 20), None);
    }

    #[test]
    fn short_segments_are_left_alone() {
        let mut plan = Preallocation::new(0, Some(1 << 20));
        assert_eq!(ranges(&mut plan, 1000, 1 << 20), []);
    }
}

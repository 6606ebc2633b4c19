//! The high watermark of the active segment, for readers: which file it is, and its length after the last gathering
//! that was written whole.
//!
//! Promises: the loaded values belong together, and are at or behind all that was acknowledged as written before the
//! load; the bytes up to there are whole batches, in the file. Costs the writer one store for each gathering, and never
//! blocks it.

use wake::sync::atomic::{AtomicU64, Ordering};

/// The published part of the active segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Number of the segment since the start; wraps around after 65,536.
    pub segment: u16,
    /// Inode of the file. Once the writer has begun another segment the number may be reused for another file.
    pub inode: u64,
    /// Length up to which the file holds whole batches.
    pub bytes: u64,
}

/// The shared state: the writer stores, readers load. On a cache line of its own, as it is stored at each gathering,
/// and reactors read what is beside it for every batch.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct HighWatermark {
    /// The segment's number in the upper 16 bits and its published bytes in the lower 48: at most 256 TiB.
    segment_and_bytes: AtomicU64,
    /// Inodes of the segment with an even number, and of the one with an odd number: a reader has the time of one whole
    /// segment to load one.
    inodes: [AtomicU64; 2],
}

const BYTES_BITS: u32 = 48;
const BYTES_MAX: u64 = (1 << BYTES_BITS) - 1;

impl HighWatermark {
    pub fn new() -> Self {
        Self { segment_and_bytes: AtomicU64::new(0), inodes: [AtomicU64::new(0), AtomicU64::new(0)] }
    }

    /// Switches to another active segment: the file with this inode, which has `bytes` bytes. For the writer alone.
    #[inline]
    pub fn begin(&self, inode: u64, bytes: u64) {
        let segment = (self.segment_and_bytes.load(Ordering::Relaxed) >> BYTES_BITS).wrapping_add(1) & 0xffff;
        // Release: a reader that loads it also sees that the segment before was begun, and so that its own inode may be
        // that of an older one.
        self.inodes[(segment % 2) as usize].store(inode, Ordering::Release);
        self.store(segment, bytes);
    }

    /// Publishes that the active segment has `bytes` bytes. For the writer alone.
    #[inline]
    pub fn advance(&self, bytes: u64) {
        self.store(self.segment_and_bytes.load(Ordering::Relaxed) >> BYTES_BITS, bytes);
    }

    fn store(&self, segment: u64, bytes: u64) {
        // Release: the published bytes are in the file.
        self.segment_and_bytes.store(segment << BYTES_BITS | bytes.min(BYTES_MAX), Ordering::Release);
    }

    pub fn load(&self) -> Published {
        loop {
            let before = self.segment_and_bytes.load(Ordering::Acquire);
            let segment = before >> BYTES_BITS;
            let inode = self.inodes[(segment % 2) as usize].load(Ordering::Acquire);
            // The inode of another segment is stored in this place only after the next segment was begun.
            let after = self.segment_and_bytes.load(Ordering::Relaxed);
            if after >> BYTES_BITS == segment {
                return Published { segment: segment as u16, inode, bytes: before & BYTES_MAX };
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn segments_are_counted_and_come_round() {
        let position = HighWatermark::new();
        position.begin(7, 100);
        assert_eq!(position.load(), Published { segment: 1, inode: 7, bytes: 100 });
        position.advance(250);
        assert_eq!(position.load(), Published { segment: 1, inode: 7, bytes: 250 });
        for segment in 2..=65_537_u64 {
            position.begin(segment, 0);
        }
        assert_eq!(position.load(), Published { segment: 1, inode: 65_537, bytes: 0 });
        position.advance(BYTES_MAX);
        assert_eq!(position.load(), Published { segment: 1, inode: 65_537, bytes: BYTES_MAX });
    }

    #[test]
    fn what_is_loaded_belongs_together() {
        let position = HighWatermark::new();
        position.begin(1, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for segment in 2..=20_000 {
                    position.begin(segment, 0);
                    position.advance(segment);
                }
            });
            let mut last = 0;
            while last < 20_000 {
                let Published { segment, inode, bytes } = position.load();
                assert_eq!(u64::from(segment), inode);
                assert!(bytes == 0 || bytes == inode);
                assert!(inode >= last);
                last = inode;
            }
        });
    }
}

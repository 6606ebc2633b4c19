//! Extents: the places of a ring's bytes in the log. The writer passes one for each gathering to the reactor, which
//! finds the place of a batch by it.
//!
//! A queue of one producer and one consumer, without a lock. It has a fixed number of slots and the producer never
//! waits: an extent that finds no free slot is dropped, and the places of its batches are unknown. That a slot is free
//! follows from what both sides do: see [`EXTENTS_MAX`].

use crate::{
    limits::EXTENTS_MAX,
    position::{LogPosition, SegmentId},
    segment::SegmentName,
};
use wake::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes of one ring that are one after another in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The ring's position at its first byte, and behind its last.
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
    /// Place of its first byte in the segment.
    pub byte: u64,
    /// The segment's predecessor.
    pub after: Option<SegmentName>,
}

impl Extent {
    /// The place in the log behind the ring's byte before `position`. `None`: the byte is not in this extent.
    fn locate(&self, position: u64) -> Option<LogPosition> {
        let byte = self.byte + position.checked_sub(self.begin)?;
        let is_within = self.begin < position && position <= self.end;
        is_within.then_some(LogPosition { segment: SegmentId::After(self.after), byte })
    }

    const fn words(&self) -> [u64; 5] {
        let (sealed_ms, sequence) = match self.after {
            Some(name) => name.parts(),
            None => (NO_SEGMENT_MS, 0),
        };
        [self.begin, self.end, self.byte, sealed_ms.cast_unsigned(), sequence as u64]
    }

    const fn from_words([begin, end, byte, sealed_ms, sequence]: [u64; 5]) -> Self {
        let after = match sealed_ms.cast_signed() {
            NO_SEGMENT_MS => None,
            #[expect(clippy::cast_possible_truncation, reason = "it was a u32")]
            sealed_ms => Some(SegmentName::from_parts(sealed_ms, sequence as u32)),
        };
        Self { begin, end, byte, after }
    }
}

/// Slots of a queue. The model checker goes around it with few extents.
const SLOTS: usize = if cfg!(loom) { 2 } else { EXTENTS_MAX };

/// No segment was sealed at this time: it is before all that can be written.
const NO_SEGMENT_MS: i64 = i64::MIN;

#[derive(Debug)]
struct Shared {
    slots: [[AtomicU64; 5]; SLOTS],
    /// Number of extents that were ever put into slots. Stored by the producer.
    put: AtomicU64,
    /// Number of those that were taken out. Stored by the consumer.
    taken: AtomicU64,
}

/// The writer's end.
#[derive(Debug)]
pub struct ExtentSender {
    shared: Arc<Shared>,
    put: u64,
}

/// The reactor's end.
#[derive(Debug)]
pub struct ExtentReceiver {
    shared: Arc<Shared>,
    taken: u64,
    /// The extent that was taken out last.
    current: Option<Extent>,
}

/// Makes the queue of one ring.
pub fn extents() -> (ExtentSender, ExtentReceiver) {
    let slots = std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0)));
    let shared = Arc::new(Shared { slots, put: AtomicU64::new(0), taken: AtomicU64::new(0) });
    (ExtentSender { shared: Arc::clone(&shared), put: 0 }, ExtentReceiver { shared, taken: 0, current: None })
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of slots")]
const fn slot_of(count: u64) -> usize {
    (count % SLOTS as u64) as usize
}

impl ExtentSender {
    /// Puts an extent into a free slot, or drops it. To be called before the ring's head is moved past it.
    #[inline]
    pub fn put(&mut self, extent: &Extent) {
        // Acquire: the consumer has finished reading the slot.
        if self.put - self.shared.taken.load(Ordering::Acquire) == SLOTS as u64 {
            return;
        }
        for (place, word) in self.shared.slots[slot_of(self.put)].iter().zip(extent.words()) {
            place.store(word, Ordering::Relaxed);
        }
        self.put += 1;
        // Release: the slot is filled.
        self.shared.put.store(self.put, Ordering::Release);
    }
}

impl ExtentReceiver {
    /// The place of the end of a batch at the ring's `position`, which the head has reached. Positions are queried in
    /// ascending order. `None`: unknown, as the file was changed by another process.
    #[inline]
    pub fn locate(&mut self, position: u64) -> Option<LogPosition> {
        while self.current.is_none_or(|extent| extent.end < position) {
            self.current = Some(self.first()?);
            self.remove_first();
        }
        self.current.and_then(|extent| extent.locate(position))
    }

    /// Frees the slots of extents that end at or before `position`: no batch of them is queried any more.
    #[inline]
    pub fn pass(&mut self, position: u64) {
        while let Some(extent) = self.first().filter(|extent| extent.end <= position) {
            self.current = Some(extent);
            self.remove_first();
        }
    }

    fn first(&self) -> Option<Extent> {
        // Acquire: the slot is filled.
        if self.taken == self.shared.put.load(Ordering::Acquire) {
            return None;
        }
        let slot = &self.shared.slots[slot_of(self.taken)];
        Some(Extent::from_words(std::array::from_fn(|word| slot[word].load(Ordering::Relaxed))))
    }

    fn remove_first(&mut self) {
        self.taken += 1;
        // Release: the slot was read.
        self.shared.taken.store(self.taken, Ordering::Release);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::thread;

    fn extent(begin: u64, end: u64, byte: u64) -> Extent {
        Extent { begin, end, byte, after: None }
    }

    fn first_at(byte: u64) -> Option<LogPosition> {
        Some(LogPosition { byte, ..LogPosition::FIRST })
    }

    #[test]
    fn a_batch_is_located_within_its_extent() {
        let (mut sender, mut receiver) = extents();
        assert_eq!(receiver.locate(10), None);
        let name = SegmentName::after(None, 1_767_323_045_678);
        sender.put(&extent(0, 30, 100));
        sender.put(&Extent { after: Some(name), ..extent(30, 50, 7) });
        assert_eq!([10, 30].map(|position| receiver.locate(position)), [first_at(110), first_at(130)]);
        let after = LogPosition { segment: SegmentId::After(Some(name)), byte: 27 };
        assert_eq!([50, 51].map(|position| receiver.locate(position)), [Some(after), None]);
        // Between 60 and 70 the writer knew no place.
        sender.put(&extent(50, 60, 0));
        sender.put(&extent(70, 80, 900));
        assert_eq!([65, 70, 71].map(|position| receiver.locate(position)), [None, None, first_at(901)]);
    }

    #[test]
    fn extents_without_a_free_slot_are_unknown() {
        let (mut sender, mut receiver) = extents();
        let ends: Vec<u64> = (1..=EXTENTS_MAX as u64 + 1).collect();
        for &end in &ends {
            sender.put(&extent(end - 1, end, end + 99));
        }
        receiver.pass(2);
        assert_eq!(receiver.locate(2), first_at(102));
        assert_eq!(receiver.locate(ends[EXTENTS_MAX - 1]), first_at(ends[EXTENTS_MAX - 1] + 100));
        assert_eq!(receiver.locate(ends[EXTENTS_MAX]), None);
        sender.put(&extent(100, 101, 0));
        assert_eq!(receiver.locate(101), first_at(1));
    }

    #[test]
    fn extents_are_words_and_back() {
        for after in [None, Some(SegmentName::after(None, 0)), Some(SegmentName::LAST)] {
            let whole = Extent { after, ..extent(1, 2, u64::MAX) };
            assert_eq!(Extent::from_words(whole.words()), whole);
        }
    }

    #[test]
    fn extents_pass_between_threads() {
        const COUNT: u64 = 100_000;
        let (mut sender, mut receiver) = extents();
        thread::scope(|scope| {
            scope.spawn(move || {
                for at in 0..COUNT {
                    while sender.put - sender.shared.taken.load(Ordering::Relaxed) == EXTENTS_MAX as u64 {
                        thread::yield_now();
                    }
                    sender.put(&extent(at, at + 1, 3 * at));
                }
            });
            for at in 0..COUNT {
                while receiver.first().is_none() {
                    thread::yield_now();
                }
                assert_eq!(receiver.locate(at + 1), first_at(3 * at + 1));
            }
        });
    }
}

//! Memory for the stamps of one shard's clients: chunks of a cache line each, linked into queues, with a free list.
//!
//! Owns the chunks and the account of how many bytes all shards hold together. Promises that taking and returning a
//! chunk is O(1), but for one allocation per slab of 256; that admissions and expiry move no stamp, so that a client
//! with a long log costs no more per decision than one with a short log; and that the budget is never exceeded.

use crate::limits::RATE_REFUND_CHUNKS_MAX;
use wake::sync::atomic::{AtomicUsize, Ordering};

/// Stamps in a chunk: 7 x 8 bytes of stamps + 2 x 4 of links = 64, one cache line.
pub(super) const CHUNK_STAMPS: u32 = 7;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 64;
/// Chunks that are allocated at once, under the shard's lock.
const SLAB_CHUNKS: usize = 256;
/// Bytes of a slab: 16 KiB = 1,792 stamps. Small enough that clearing it takes under a microsecond.
pub(super) const SLAB_BYTES: usize = SLAB_CHUNKS * CHUNK_BYTES;
/// The largest budget whose chunks a `u32` can still name: 2^32 x 64 bytes.
pub(super) const BUDGET_BYTES_CAP: usize = CHUNK_BYTES << 32;

/// Index that stands for no chunk.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Chunk {
    stamps_ns: [u64; CHUNK_STAMPS as usize],
    /// The next chunk of the same queue, or of the free list.
    next: u32,
    /// The chunk before it in the same queue. Unspecified in the first one.
    before: u32,
}

const _: () = assert!(size_of::<Chunk>() == CHUNK_BYTES);

impl Chunk {
    const EMPTY: Self = Self { stamps_ns: [0; CHUNK_STAMPS as usize], next: NONE, before: NONE };
}

/// Bytes of slabs that all shards may hold together.
#[derive(Debug)]
pub(super) struct StampBudget {
    taken_bytes: AtomicUsize,
    bytes_max: usize,
}

impl StampBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { taken_bytes: AtomicUsize::new(0), bytes_max }
    }

    pub(super) fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    // Relaxed: the count guards no other memory, only its own value matters.
    fn take(&self, bytes: usize) -> bool {
        let within = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= self.bytes_max);
        self.taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let before = self.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "only what was taken is given back");
    }
}

/// The chunks of one shard, guarded by the shard's lock.
#[derive(Debug)]
pub(super) struct StampPool {
    slabs: Vec<Box<[Chunk]>>,
    /// Free list of chunks that were used, last in first out so that they are still in the cache.
    free: u32,
    /// Index of the first chunk that has never been used.
    fresh: usize,
}

impl StampPool {
    pub(super) const fn new() -> Self {
        Self { slabs: Vec::new(), free: NONE, fresh: 0 }
    }

    fn chunk(&mut self, index: u32) -> &mut Chunk {
        &mut self.slabs[index as usize / SLAB_CHUNKS][index as usize % SLAB_CHUNKS]
    }

    /// Takes a chunk with unspecified content, or returns `None` when the budget is spent.
    fn take(&mut self, budget: &StampBudget) -> Option<u32> {
        if self.free != NONE {
            let index = self.free;
            self.free = self.chunk(index).next;
            return Some(index);
        }
        if self.fresh == self.slabs.len() * SLAB_CHUNKS {
            if !budget.take(SLAB_BYTES) {
                return None;
            }
            self.slabs.push(vec![Chunk::EMPTY; SLAB_CHUNKS].into_boxed_slice());
        }
        // The budget is at most `BUDGET_BYTES_CAP`, so every chunk has a number below 2^32 - 1.
        let index = u32::try_from(self.fresh).ok().filter(|&index| index != NONE)?;
        self.fresh += 1;
        Some(index)
    }

    /// Puts the chunks from `head` to `tail`, already linked, on the free list.
    fn give_back(&mut self, head: u32, tail: u32) {
        self.chunk(tail).next = self.free;
        self.free = head;
    }

    /// Returns all memory to the system. Every queue in this pool must be empty.
    pub(super) fn clear(&mut self, budget: &StampBudget) {
        budget.give_back(self.slabs.len() * SLAB_BYTES);
        *self = Self::new();
    }
}

/// A first-in first-out queue of stamps in a [`StampPool`]. Holds no chunk while it is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StampQueue {
    len: u32,
    /// The chunk with the oldest stamp. Unspecified while `len` is 0, as is `tail`.
    head: u32,
    /// The chunk with the newest stamp.
    tail: u32,
    /// Index of the oldest stamp in `head`; 0 while `len` is 0.
    first: u32,
}

impl StampQueue {
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Appends a stamp, or changes nothing and returns `false` when it needs a chunk and there is none.
    #[must_use]
    pub(super) fn push(&mut self, stamp_ns: u64, pool: &mut StampPool, budget: &StampBudget) -> bool {
        // Chunks but for the first and the last are full, so the place in the last one follows from the length.
        let at = (self.first + self.len) % CHUNK_STAMPS;
        if at == 0 {
            let Some(chunk) = pool.take(budget) else { return false };
            if self.len == 0 {
                self.head = chunk;
            } else {
                pool.chunk(self.tail).next = chunk;
                pool.chunk(chunk).before = self.tail;
            }
            self.tail = chunk;
        }
        pool.chunk(self.tail).stamps_ns[at as usize] = stamp_ns;
        self.len += 1;
        true
    }

    /// Removes the oldest stamp.
    pub(super) fn pop(&mut self, pool: &mut StampPool) -> Option<u64> {
        self.len = self.len.checked_sub(1)?;
        let head = self.head;
        let chunk = pool.chunk(head);
        let stamp_ns = chunk.stamps_ns[self.first as usize];
        self.first += 1;
        if self.len == 0 || self.first == CHUNK_STAMPS {
            self.head = chunk.next;
            self.first = 0;
            pool.give_back(head, head);
        }
        Some(stamp_ns)
    }

    /// Removes the newest stamp.
    pub(super) fn pop_newest(&mut self, pool: &mut StampPool) -> Option<u64> {
        self.len = self.len.checked_sub(1)?;
        let (tail, at) = (self.tail, (self.first + self.len) % CHUNK_STAMPS);
        let chunk = pool.chunk(tail);
        let stamp_ns = chunk.stamps_ns[at as usize];
        if self.len == 0 || at == 0 {
            self.tail = chunk.before;
            pool.give_back(tail, tail);
        }
        if self.len == 0 {
            self.first = 0;
        }
        Some(stamp_ns)
    }

    /// Removes one stamp of exactly `stamp_ns`, and returns true if it was found in the newest
    /// [`RATE_REFUND_CHUNKS_MAX`] chunks. The stamps do not decrease from the oldest to the newest.
    pub(super) fn take_out(&mut self, stamp_ns: u64, pool: &mut StampPool) -> bool {
        if !self.has_recent(stamp_ns, pool) {
            return false;
        }
        // Each newer stamp moves down by one place.
        let Some(mut newer_ns) = self.pop_newest(pool) else { return false };
        let (mut chunk, mut left) = (self.tail, self.len);
        while newer_ns != stamp_ns && left > 0 {
            left -= 1;
            let at = (self.first + left) % CHUNK_STAMPS;
            let place = pool.chunk(chunk);
            std::mem::swap(&mut place.stamps_ns[at as usize], &mut newer_ns);
            if at == 0 {
                chunk = place.before;
            }
        }
        debug_assert_eq!(newer_ns, stamp_ns, "it was seen there");
        true
    }

    fn has_recent(&self, stamp_ns: u64, pool: &mut StampPool) -> bool {
        let (mut chunk, mut left, mut chunks) = (self.tail, self.len, 0);
        while left > 0 && chunks < RATE_REFUND_CHUNKS_MAX {
            left -= 1;
            let at = (self.first + left) % CHUNK_STAMPS;
            let place = pool.chunk(chunk);
            let found_ns = place.stamps_ns[at as usize];
            if found_ns <= stamp_ns {
                return found_ns == stamp_ns;
            }
            if at == 0 {
                (chunk, chunks) = (place.before, chunks + 1);
            }
        }
        false
    }

    /// Empties the queue, in O(1) whatever its length.
    pub(super) fn clear(&mut self, pool: &mut StampPool) {
        if self.len > 0 {
            pool.give_back(self.head, self.tail);
        }
        *self = Self::default();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Several queues in one pool, against the standard library's; at the end every chunk is free again.
        #[test]
        fn queues_of_one_pool_do_not_mix(steps in prop::collection::vec((0..4_usize, 0..11_u8), 1..400)) {
            let budget = StampBudget::new(64 * SLAB_BYTES);
            let mut pool = StampPool::new();
            let mut queues = [StampQueue::default(); 4];
            let mut models: [VecDeque<u64>; 4] = Default::default();
            for (stamp, (which, what)) in steps.into_iter().enumerate() {
                let (queue, model) = (&mut queues[which], &mut models[which]);
                match what {
                    0..=4 => {
                        prop_assert!(queue.push(stamp as u64, &mut pool, &budget));
                        model.push_back(stamp as u64);
                    }
                    5 | 6 => prop_assert_eq!(queue.pop(&mut pool), model.pop_front()),
                    7 => prop_assert_eq!(queue.pop_newest(&mut pool), model.pop_back()),
                    8 | 9 => {
                        // Sometimes one that is there, sometimes not.
                        let wanted = model.get(model.len() / 2).copied().unwrap_or(0) + (stamp as u64 & 1);
                        let at = model.iter().position(|&held| held == wanted);
                        prop_assert_eq!(queue.take_out(wanted, &mut pool), at.is_some());
                        at.map(|at| model.remove(at));
                    }
                    _ => {
                        queue.clear(&mut pool);
                        model.clear();
                    }
                }
                prop_assert_eq!(queue.len() as usize, model.len());
            }
            for (queue, model) in queues.iter_mut().zip(&mut models) {
                while let Some(stamp) = model.pop_front() {
                    prop_assert_eq!(queue.pop(&mut pool), Some(stamp));
                }
                prop_assert_eq!(queue.pop(&mut pool), None);
            }
            let mut free = 0;
            let mut index = pool.free;
            while index != NONE {
                free += 1;
                index = pool.chunk(index).next;
            }
            prop_assert_eq!(free, pool.fresh, "every chunk ever used is on the free list, once");
            pool.clear(&budget);
            prop_assert_eq!(budget.taken_bytes(), 0);
        }
    }

    #[test]
    fn a_spent_budget_refuses_the_stamp_and_leaves_the_queue_as_it_was() {
        let budget = StampBudget::new(SLAB_BYTES);
        let mut pool = StampPool::new();
        let mut queue = StampQueue::default();
        let capacity = SLAB_CHUNKS as u64 * u64::from(CHUNK_STAMPS);
        for stamp in 0..capacity {
            assert!(queue.push(stamp, &mut pool, &budget));
        }
        assert!(!queue.push(capacity, &mut pool, &budget));
        assert_eq!(u64::from(queue.len()), capacity);
        for stamp in 0..u64::from(CHUNK_STAMPS) {
            assert_eq!(queue.pop(&mut pool), Some(stamp));
        }
        assert!(queue.push(capacity, &mut pool, &budget), "a chunk came free");
    }
}

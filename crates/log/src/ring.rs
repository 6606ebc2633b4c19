//! The ring of bytes that carries one reactor's lines to the writer: one producer, one consumer, no lock.
//!
//! Positions are counts of bytes since the ring was made, as `u64`, and never wrap; a position's place in memory is its
//! remainder by the capacity. Three of them are shared, each stored by one thread only:
//!
//! ```text
//! durable <= head <= tail <= head + capacity
//! ```
//!
//! - `tail`: everything below is published. The producer stores it, once per turn of its reactor, at the end of a batch.
//! - `head`: everything below is in the file. The consumer stores it; the producer reads from it what is acknowledged at
//!   the level `write`, and what is free again.
//! - `durable`: everything below is on stable storage. The thread of the group commit stores it.
//!
//! A batch is reserved as one slice, also where it straddles the ring's end: the memory is twice the capacity, the
//! upper half being the producer's own overhang. What a batch left there is copied to the start of the ring when it is
//! committed. The memory comes zeroed from the kernel and is untouched until it is written, so the overhang costs as
//! many pages as the longest batch that straddled, and the scratch space of a ring is bounded by its capacity.
#![allow(unsafe_code)] // Two threads share the bytes: what is whose follows from the positions, not from borrows.

use std::{fmt, ptr::NonNull};
use wake::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Makes a ring of `capacity_bytes`. The two ends go to their threads.
///
/// # Panics
/// The capacity is not a power of two, or there is no memory.
#[must_use]
pub fn ring(capacity_bytes: usize) -> (RingProducer, RingConsumer) {
    assert!(capacity_bytes.is_power_of_two(), "a ring's capacity is a power of two, not {capacity_bytes}");
    let shared = Arc::new(Shared {
        storage: Storage::new(capacity_bytes),
        producer: Line(ProducerLine {
            tail: AtomicU64::new(0),
            awaits_written: AtomicU64::new(0),
            awaits_durable: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }),
        head: Line(AtomicU64::new(0)),
        durable: Line(AtomicU64::new(0)),
    });
    let consumer = RingConsumer { shared: Arc::clone(&shared), head: 0, tail_cached: 0 };
    let producer = RingProducer {
        shared,
        staged: 0,
        published: 0,
        head_cached: 0,
        reserved: 0,
        awaits_written: 0,
        awaits_durable: 0,
    };
    (producer, consumer)
}

/// What is stored by one thread and read by another has a cache line of its own: two, since the adjacent-line
/// prefetcher of x86 fetches pairs.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    storage: Storage,
    producer: Line<ProducerLine>,
    head: Line<AtomicU64>,
    durable: Line<AtomicU64>,
}

/// Stored by the producer. All but `tail` are ordered by it: who has seen a tail has seen what was stored before it.
struct ProducerLine {
    tail: AtomicU64,
    /// The last position whose answer waits until it is written.
    awaits_written: AtomicU64,
    /// The last position whose answer waits until it is durable.
    awaits_durable: AtomicU64,
    /// The producer has published for the last time.
    closed: AtomicBool,
}

/// The ring's memory: `capacity` bytes that both threads use, then the producer's overhang of as many.
struct Storage {
    bytes: NonNull<u8>,
    capacity: usize,
    /// One cell for each shared byte: makes the model checker see who touches it, and when.
    #[cfg(loom)]
    touched: Box<[wake::sync::UnsafeCell<()>]>,
}

// SAFETY: the memory is reached only through `read` and `write`, whose callers uphold that no byte is written by one
// thread while another one has it.
unsafe impl Send for Storage {}
// SAFETY: as above.
unsafe impl Sync for Storage {}

impl Storage {
    fn new(capacity: usize) -> Self {
        // `vec!` of zeroes is calloc(3): fresh pages of the kernel, not a pass over the memory.
        let bytes: &'static mut [u8] = Box::leak(vec![0; 2 * capacity].into_boxed_slice());
        Self {
            bytes: NonNull::from(bytes).cast(),
            capacity,
            #[cfg(loom)]
            touched: (0..capacity).map(|_| wake::sync::UnsafeCell::new(())).collect(),
        }
    }

    /// # Safety
    /// While the slice lives, nobody writes to these bytes.
    unsafe fn read(&self, offset: usize, bytes: usize) -> &[u8] {
        debug_assert!(offset + bytes <= self.capacity);
        #[cfg(loom)]
        self.touched[offset..offset + bytes].iter().for_each(|cell| cell.with(|_| ()));
        // SAFETY: within the allocation, which is initialised (zeroed) and lives as long as `self`; not written
        // meanwhile, as the caller upholds.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(offset), bytes) }
    }

    /// # Safety
    /// While the slice lives, nobody else has these bytes.
    #[expect(clippy::mut_from_ref, reason = "the positions say whose the bytes are")]
    unsafe fn write(&self, offset: usize, bytes: usize) -> &mut [u8] {
        debug_assert!(offset + bytes <= 2 * self.capacity);
        #[cfg(loom)]
        self.touched.iter().skip(offset).take(bytes).for_each(|cell| cell.with_mut(|_| ()));
        // SAFETY: within the allocation, which is initialised (zeroed) and lives as long as `self`; nobody else's, as
        // the caller upholds.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr().add(offset), bytes) }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let bytes = std::ptr::slice_from_raw_parts_mut(self.bytes.as_ptr(), 2 * self.capacity);
        // SAFETY: `new` leaked a box of exactly these bytes, and the last reference to them is going away.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

/// The place of a position in memory.
#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the capacity, a usize")]
fn offset_of(position: u64, capacity: usize) -> usize {
    (position & (capacity as u64 - 1)) as usize
}

/// The bytes between two positions of one ring.
#[expect(clippy::cast_possible_truncation, reason = "at most the capacity, a usize")]
fn between(from: u64, to: u64) -> usize {
    (to - from) as usize
}

/// The reactor's end: reserves, commits, publishes.
pub struct RingProducer {
    shared: Arc<Shared>,
    /// End of what is committed.
    staged: u64,
    /// The tail as it was last stored.
    published: u64,
    /// The head as it was last loaded: loaded again only when it says that the ring is full.
    head_cached: u64,
    /// Bytes of the reservation that is open.
    reserved: usize,
    awaits_written: u64,
    awaits_durable: u64,
}

impl RingProducer {
    /// Room for a batch of at most `bytes_max`, in one piece. `None`: the ring is too full. What the slice holds is
    /// not specified. A reservation that is not committed is void with the next one.
    #[inline]
    pub fn reserve(&mut self, bytes_max: usize) -> Option<&mut [u8]> {
        if self.free() < bytes_max {
            // Acquire: the consumer has done reading what it released.
            self.head_cached = self.shared.head.0.load(Ordering::Acquire);
            if self.free() < bytes_max {
                return None;
            }
        }
        self.reserved = bytes_max;
        let offset = offset_of(self.staged, self.capacity());
        // SAFETY: the bytes from `staged` on, as many as are free, are not published, so the consumer does not read
        // them; those past the capacity are the producer's overhang. The slice borrows the only producer mutably.
        Some(unsafe { self.shared.storage.write(offset, bytes_max) })
    }

    /// Ends the reservation with a batch of its first `bytes`. Returns the position of the batch's end: once
    /// [`written`](Self::written) or [`durable`](Self::durable) has come to it, the whole batch is. The consumer sees
    /// nothing of it until [`publish`](Self::publish).
    ///
    /// # Panics
    /// More bytes than were reserved.
    #[inline]
    pub fn commit(&mut self, bytes: usize) -> u64 {
        assert!(bytes <= self.reserved, "{bytes} bytes committed of {} reserved", self.reserved);
        let capacity = self.capacity();
        let end = offset_of(self.staged, capacity) + bytes;
        if end > capacity {
            // SAFETY: the overhang is the producer's, and the slice of the reservation is gone: `self` is borrowed.
            let overhang = unsafe { self.shared.storage.write(capacity, end - capacity) };
            // SAFETY: the start of the ring belongs to the reservation, as it reached around the end; see `reserve`.
            unsafe { self.shared.storage.write(0, end - capacity) }.copy_from_slice(overhang);
        }
        self.reserved = 0;
        self.staged += bytes as u64;
        self.staged
    }

    /// Asks for the producer to be woken when `position` is written. Takes effect when it is published.
    #[inline]
    pub fn await_written(&mut self, position: u64) {
        debug_assert!(self.published < position && position <= self.staged);
        self.awaits_written = position;
    }

    /// Asks for `position` to be made durable, and for the producer to be woken then. Takes effect when it is published.
    #[inline]
    pub fn await_durable(&mut self, position: u64) {
        debug_assert!(self.published < position && position <= self.staged);
        self.awaits_durable = position;
    }

    /// Lets the consumer see everything committed. Returns whether there was anything new; then the consumer's
    /// doorbell is to be woken.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.staged {
            return false;
        }
        let line = &self.shared.producer.0;
        line.awaits_written.store(self.awaits_written, Ordering::Relaxed);
        line.awaits_durable.store(self.awaits_durable, Ordering::Relaxed);
        // Release: the bytes, and what is awaited, come before the tail.
        line.tail.store(self.staged, Ordering::Release);
        self.published = self.staged;
        true
    }

    /// Publishes what is committed, and says that nothing more will come. The doorbell is to be woken.
    #[inline]
    pub fn close(&mut self) {
        self.publish();
        // Release: who sees this sees the last tail.
        self.shared.producer.0.closed.store(true, Ordering::Release);
    }

    /// Everything below this position is in the file.
    #[inline]
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.head.0.load(Ordering::Acquire)
    }

    /// Everything below this position is on stable storage.
    #[inline]
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable.0.load(Ordering::Acquire)
    }

    /// The end of the last batch committed.
    #[inline]
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.staged
    }

    /// Bytes the ring holds when it is full.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.storage.capacity
    }

    fn free(&self) -> usize {
        self.capacity() - between(self.head_cached, self.staged)
    }
}

/// The writer's end: looks, reads, releases.
pub struct RingConsumer {
    shared: Arc<Shared>,
    head: u64,
    /// The tail as it was last loaded: loaded again only when it says that the ring is empty.
    tail_cached: u64,
}

/// Who has something to wait for in the bytes that were released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The producer waits for them to be written.
    pub written: bool,
    /// The producer waits for them to be durable.
    pub durable: bool,
}

impl RingConsumer {
    /// Looks for published bytes and returns how many [`readable`](Self::readable) will give.
    #[inline]
    pub fn look(&mut self) -> usize {
        if self.tail_cached == self.head {
            // Acquire: the bytes below the tail are there to be read.
            self.tail_cached = self.shared.producer.0.tail.load(Ordering::Acquire);
        }
        self.seen()
    }

    /// How many bytes the last look has found, less what was released since.
    #[inline]
    #[must_use]
    pub fn seen(&self) -> usize {
        between(self.head, self.tail_cached)
    }

    /// What the last look has found, in order; whole batches, but for what was released since. The second piece is
    /// empty unless the bytes wrap around the ring's end.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> [&[u8]; 2] {
        let storage = &self.shared.storage;
        let offset = offset_of(self.head, storage.capacity);
        let first = self.seen().min(storage.capacity - offset);
        // SAFETY: the bytes from the head to the tail are published: the producer writes to them again only when they
        // are released, for which the only consumer must be borrowed mutably.
        unsafe { [storage.read(offset, first), storage.read(0, self.seen() - first)] }
    }

    /// Says that the first `bytes` of what is readable are in the file, and gives their room back.
    ///
    /// # Panics
    /// More bytes than are readable.
    #[inline]
    pub fn release(&mut self, bytes: usize) -> Awaited {
        assert!(bytes <= self.seen(), "{bytes} bytes released of {} readable", self.seen());
        let line = &self.shared.producer.0;
        // What waits for these bytes was stored before the tail that the last look has loaded.
        let awaited = Awaited {
            written: bytes > 0 && line.awaits_written.load(Ordering::Relaxed) > self.head,
            durable: bytes > 0 && line.awaits_durable.load(Ordering::Relaxed) > self.head,
        };
        self.head += bytes as u64;
        // Release: reading the bytes comes before the producer may write there, and so does writing them to the file.
        self.shared.head.0.store(self.head, Ordering::Release);
        awaited
    }

    /// All bytes that are published and not released, seen or not.
    #[inline]
    #[must_use]
    pub fn unreleased(&self) -> u64 {
        self.shared.producer.0.tail.load(Ordering::Acquire) - self.head
    }

    /// Whether the producer will publish nothing more. A look after this sees all there is.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.producer.0.closed.load(Ordering::Acquire)
    }

    /// The handle by which the ring's bytes are made durable. There must be one only, as it stores a position.
    #[inline]
    #[must_use]
    pub fn durability(&self) -> RingDurability {
        RingDurability { shared: Arc::clone(&self.shared), durable: 0 }
    }
}

/// The group commit's hold on a ring.
pub struct RingDurability {
    shared: Arc<Shared>,
    durable: u64,
}

impl RingDurability {
    /// Everything below this position is in the file.
    #[inline]
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.head.0.load(Ordering::Acquire)
    }

    /// Whether bytes are written, and not yet durable, that the producer may be waiting for.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        // The head first: it brings with it what is awaited below it.
        self.written() > self.durable && self.shared.producer.0.awaits_durable.load(Ordering::Relaxed) > self.durable
    }

    /// Says that everything below `position` is on stable storage. Returns whether the producer waits for any of it.
    #[inline]
    pub fn publish(&mut self, position: u64) -> bool {
        debug_assert!(self.durable <= position);
        let awaited = self.shared.producer.0.awaits_durable.load(Ordering::Relaxed) > self.durable;
        self.durable = position;
        self.shared.durable.0.store(position, Ordering::Release);
        awaited
    }
}

impl fmt::Debug for RingProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingProducer").field("staged", &self.staged).finish_non_exhaustive()
    }
}

impl fmt::Debug for RingConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingConsumer").field("head", &self.head).finish_non_exhaustive()
    }
}

impl fmt::Debug for RingDurability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingDurability").field("durable", &self.durable).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

//! The ring of bytes that carries one reactor's lines to the writer: one producer, one consumer, no lock.
//!
//! Positions are counts of bytes since the ring was made, as `u64`, and never wrap; a position's place in memory is its
//! remainder by the capacity. Three of them are shared, each stored by one thread only:
//!
//! ```text
//! durable <= head <= tail <= head + capacity
//! ```
//!
//! - `tail`: everything below is published. The producer stores it at the end of a batch: of the last one of a turn of
//!   its reactor, and of one with which much is unpublished.
//! - `head`: everything below is in the file. The consumer stores it; the producer reads from it what is acknowledged
//!   at the level `write`, and what is free again.
//! - `durable`: everything below is on stable storage. The thread of the group commit stores it.
//!
//! A batch is reserved as one slice, also where it straddles the ring's end: the memory is twice the capacity, the
//! upper half being the producer's own overhang. What a batch left there is copied to the start of the ring when it is
//! committed. The memory comes zeroed from the kernel and is untouched until it is written, so the overhang costs as
//! many pages as the longest batch that straddled, and the scratch space of a ring is bounded by its capacity. A ring
//! that is hardly in use gives the pages that are free back ([`RingProducer::trim`]).
#![allow(unsafe_code)] // Two threads share the bytes: what is whose follows from the positions, not from borrows.

use std::{fmt, ptr::NonNull};
use wake::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Creates a ring of `capacity_bytes`. Each end is moved to its thread.
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
        staged_at_trim: 0,
        is_trimmed: true,
    };
    (producer, consumer)
}

/// Gives a value that is stored by one thread and read by another its own cache line: two, since the adjacent-line
/// prefetcher of x86 fetches pairs.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    storage: Storage,
    producer: Line<ProducerLine>,
    head: Line<AtomicU64>,
    durable: Line<AtomicU64>,
}

/// The atomics stored by the producer. All but `tail` are ordered by it: a thread that has loaded a tail sees what was
/// stored before it.
struct ProducerLine {
    tail: AtomicU64,
    /// The last position with a response that waits until it is written.
    awaits_written: AtomicU64,
    /// The last position with a response that waits until it is durable.
    awaits_durable: AtomicU64,
    /// The producer has published for the last time.
    closed: AtomicBool,
}

/// The ring's memory: `capacity` bytes that both threads use, then the producer's overhang of as many.
struct Storage {
    bytes: NonNull<u8>,
    capacity: usize,
    /// One cell for each shared byte: makes the model checker observe every access to it.
    #[cfg(loom)]
    touched: Box<[wake::sync::UnsafeCell<()>]>,
}

// SAFETY: the memory is reached only through `read` and `write`, whose callers uphold that no byte is written by one
// thread while another one reads or writes it.
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

    /// Returns `bytes` shared bytes from `offset` on, to read them.
    ///
    /// # Safety
    /// While the slice is alive, no thread writes to these bytes.
    unsafe fn read(&self, offset: usize, bytes: usize) -> &[u8] {
        debug_assert!(offset + bytes <= self.capacity);
        #[cfg(loom)]
        self.touched[offset..offset + bytes].iter().for_each(|cell| cell.with(|_| ()));
        // SAFETY: within the allocation, which is initialised (zeroed) and valid for as long as `self` is; not written
        // meanwhile, as the caller upholds.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(offset), bytes) }
    }

    /// Returns `bytes` bytes from `offset` on, the overhang included, to write them.
    ///
    /// # Safety
    /// While the slice is alive, no other reference to these bytes exists.
    #[expect(clippy::mut_from_ref, reason = "the positions say whose the bytes are")]
    unsafe fn write(&self, offset: usize, bytes: usize) -> &mut [u8] {
        debug_assert!(offset + bytes <= 2 * self.capacity);
        #[cfg(loom)]
        self.touched.iter().skip(offset).take(bytes).for_each(|cell| cell.with_mut(|_| ()));
        // SAFETY: within the allocation, which is initialised (zeroed) and valid for as long as `self` is; no other
        // reference to it exists, as the caller upholds.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr().add(offset), bytes) }
    }

    /// Gives the whole pages among these bytes back to the kernel, the overhang included. Their content is unspecified
    /// from then on.
    ///
    /// # Safety
    /// No reference to these bytes exists, and no thread relies on their content.
    unsafe fn give_back(&self, offset: usize, bytes: usize) {
        debug_assert!(offset + bytes <= 2 * self.capacity);
        let before_page = self.bytes.as_ptr().wrapping_add(offset).align_offset(PAGE_BYTES);
        let Some(bytes) = bytes.checked_sub(before_page).filter(|bytes| *bytes >= PAGE_BYTES) else { return };
        let bytes = bytes - bytes % PAGE_BYTES;
        let pages = self.bytes.as_ptr().wrapping_add(offset + before_page);
        // SAFETY: whole pages within the allocation, which is private anonymous memory, as all of the allocator's: it
        // reads as zeros afterwards, and stays initialised. Nobody has a reference to it, as the caller upholds. Should
        // the kernel refuse (the memory is locked), nothing has changed.
        let _ = unsafe { libc::madvise(pages.cast(), bytes, libc::MADV_DONTNEED) };
    }
}

/// The largest page that is common: smaller ones fit in.
const PAGE_BYTES: usize = 64 * 1024;

impl Drop for Storage {
    fn drop(&mut self) {
        let bytes = std::ptr::slice_from_raw_parts_mut(self.bytes.as_ptr(), 2 * self.capacity);
        // SAFETY: `new` leaked a box of exactly these bytes, and the last reference to them is being dropped.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

/// Offset of a position in memory.
#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the capacity, a usize")]
fn offset_of(position: u64, capacity: usize) -> usize {
    (position & (capacity as u64 - 1)) as usize
}

/// Number of bytes between two positions of one ring.
#[expect(clippy::cast_possible_truncation, reason = "at most the capacity, a usize")]
fn between(from: u64, to: u64) -> usize {
    (to - from) as usize
}

/// The reactor's end: reserves, commits, publishes.
pub struct RingProducer {
    shared: Arc<Shared>,
    /// End of the committed bytes.
    staged: u64,
    /// The tail as it was last stored.
    published: u64,
    /// The head as it was last loaded: loaded again only when by it the ring is full.
    head_cached: u64,
    /// Bytes of the open reservation.
    reserved: usize,
    awaits_written: u64,
    awaits_durable: u64,
    /// The end of the committed bytes at the last [`trim`](Self::trim).
    staged_at_trim: u64,
    /// Nothing was committed since the free memory was given back.
    is_trimmed: bool,
}

impl RingProducer {
    /// Reserves space for a batch of at most `bytes_max`, in one piece. `None`: the ring is too full. The content of
    /// the slice is unspecified. A reservation that is not committed is void with the next one.
    #[inline]
    pub fn reserve(&mut self, bytes_max: usize) -> Option<&mut [u8]> {
        if self.free() < bytes_max {
            // Acquire: the consumer has finished reading what it released.
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
    /// [`written`](Self::written) or [`durable`](Self::durable) has reached it, the whole batch is written or durable.
    /// The consumer sees nothing of it until [`publish`](Self::publish).
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

    /// Requests a wake-up of the producer when `position` is written. Takes effect when it is published.
    #[inline]
    pub fn await_written(&mut self, position: u64) {
        debug_assert!(self.published < position && position <= self.staged);
        self.awaits_written = position;
    }

    /// Requests that `position` is made durable, and a wake-up of the producer then. Takes effect when it is published.
    #[inline]
    pub fn await_durable(&mut self, position: u64) {
        debug_assert!(self.published < position && position <= self.staged);
        self.awaits_durable = position;
    }

    /// Bytes that are committed and not published.
    #[inline]
    #[must_use]
    pub fn unpublished(&self) -> u64 {
        self.staged - self.published
    }

    /// Makes everything committed visible to the consumer. Returns true if there was anything new; the caller then
    /// wakes the consumer's doorbell.
    #[inline(always)]
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

    /// Publishes what is committed, and marks the ring as closed. The caller then wakes the consumer's doorbell.
    #[inline]
    pub fn close(&mut self) {
        self.publish();
        // Release: a thread that loads this sees the last tail.
        self.shared.producer.0.closed.store(true, Ordering::Release);
    }

    /// The position below which everything is in the file.
    #[inline]
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.head.0.load(Ordering::Acquire)
    }

    /// The position below which everything is on stable storage.
    #[inline]
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable.0.load(Ordering::Acquire)
    }

    /// Position of the end of the last batch committed.
    #[inline]
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.staged
    }

    /// Capacity in bytes.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.storage.capacity
    }

    /// Gives the memory that is free back to the kernel if less than an eighth of the capacity was committed since the
    /// last call. It comes back by itself as it is written, a page fault for every 4 KiB, of which a ring that is busy
    /// should have none. A reservation that is open is void.
    pub fn trim(&mut self) {
        let committed = self.staged - self.staged_at_trim;
        self.staged_at_trim = self.staged;
        self.is_trimmed &= committed == 0;
        if self.is_trimmed || committed > self.capacity() as u64 / 8 {
            return;
        }
        self.reserved = 0;
        // Acquire: the consumer has finished reading what it released.
        self.head_cached = self.shared.head.0.load(Ordering::Acquire);
        self.is_trimmed = self.head_cached == self.staged;
        let (capacity, offset) = (self.capacity(), offset_of(self.staged, self.capacity()));
        let before_end = self.free().min(capacity - offset);
        let pieces = [(offset, before_end), (0, self.free() - before_end), (capacity, capacity)];
        for (offset, bytes) in pieces {
            // SAFETY: these are the bytes of `reserve`: those that are free, and the overhang. They are not published,
            // so the consumer does not read them, and the slice of a reservation is gone: `self` is borrowed.
            unsafe { self.shared.storage.give_back(offset, bytes) };
        }
    }

    fn free(&self) -> usize {
        self.capacity() - between(self.head_cached, self.staged)
    }
}

/// The writer's end: looks, reads, releases.
pub struct RingConsumer {
    shared: Arc<Shared>,
    head: u64,
    /// The tail as it was last loaded: loaded again only when by it the ring is empty.
    tail_cached: u64,
}

/// The events that the producer awaits for the released bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The producer waits for them to be written.
    pub written: bool,
    /// The producer waits for them to be durable.
    pub durable: bool,
}

impl RingConsumer {
    /// Looks for published bytes and returns how many [`readable`](Self::readable) will return.
    #[inline]
    pub fn look(&mut self) -> usize {
        if self.tail_cached == self.head {
            // Acquire: the bytes below the tail are there to be read.
            self.tail_cached = self.shared.producer.0.tail.load(Ordering::Acquire);
        }
        self.seen()
    }

    /// The position of the next byte to be released.
    #[inline]
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Number of bytes that the last look found, less what was released since.
    #[inline]
    #[must_use]
    pub fn seen(&self) -> usize {
        between(self.head, self.tail_cached)
    }

    /// The bytes that the last look found, in order; whole batches, but for what was released since. The second piece
    /// is empty unless the bytes wrap around the ring's end.
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

    /// Marks the first `bytes` of the readable ones as in the file, and frees their space.
    ///
    /// # Panics
    /// More bytes than are readable.
    #[inline]
    pub fn release(&mut self, bytes: usize) -> Awaited {
        assert!(bytes <= self.seen(), "{bytes} bytes released of {} readable", self.seen());
        let line = &self.shared.producer.0;
        // Positions awaited among these bytes were stored before the tail that the last look loaded.
        let awaited = Awaited {
            written: bytes > 0 && line.awaits_written.load(Ordering::Relaxed) > self.head,
            durable: bytes > 0 && line.awaits_durable.load(Ordering::Relaxed) > self.head,
        };
        self.head += bytes as u64;
        // Release: reading the bytes comes before the producer may write there, and so does writing them to the file.
        self.shared.head.0.store(self.head, Ordering::Release);
        awaited
    }

    /// Number of bytes that are published and not released, seen or not.
    #[inline]
    #[must_use]
    pub fn unreleased(&self) -> u64 {
        self.shared.producer.0.tail.load(Ordering::Acquire) - self.head
    }

    /// True if the producer will publish nothing more. A look after this sees everything.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.producer.0.closed.load(Ordering::Acquire)
    }

    /// The handle that publishes the ring's durable position. At most one may exist, as it stores a position.
    #[inline]
    #[must_use]
    pub fn durability(&self) -> RingDurability {
        RingDurability { shared: Arc::clone(&self.shared), durable: 0 }
    }
}

/// The group commit's handle of a ring.
pub struct RingDurability {
    shared: Arc<Shared>,
    durable: u64,
}

impl RingDurability {
    /// The position below which everything is in the file.
    #[inline]
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.head.0.load(Ordering::Acquire)
    }

    /// True if bytes are written, and not yet durable, that the producer may be waiting for.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        // The head first: its acquire makes the positions awaited below it visible.
        self.written() > self.durable && self.shared.producer.0.awaits_durable.load(Ordering::Relaxed) > self.durable
    }

    /// Publishes that everything below `position` is on stable storage. Returns true if the producer waits for any of
    /// it.
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

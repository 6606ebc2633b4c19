//! The provided-buffer ring: receive buffers that the driver shares among its connections. The kernel takes a buffer
//! when bytes are there to be received (io_uring_register_buf_ring(3), Linux 5.19), the driver gives it back when the
//! handler has seen them. Owns the memory of ring and buffers; touches nothing else.
//!
//! Layout, one mapping: `count` entries of 16 bytes, up to the next page, then `count` buffers of `buffer_bytes`.
#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use io_uring::{Submitter, types::BufRingEntry};
use std::{
    io,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU16, Ordering},
};

/// Most buffers of one ring: the kernel's bound, 2^15.
pub(super) const BUFFERS_MAX: u16 = 1 << 15;

/// The kernel wants the ring at a page's start; 4 KiB is the smallest page, and `mmap` gives whole pages of any size.
const PAGE_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct BufferRing {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    /// Offset of the buffers in the mapping, in bytes.
    buffers_offset: usize,
    buffer_bytes: u32,
    count: u16,
    /// Buffers given to the kernel since the start, modulo 2^16.
    tail: u16,
    /// The memory stays mapped for good.
    leaked: bool,
}

impl BufferRing {
    /// Maps `count` buffers of `buffer_bytes` each, and registers them as the group `group`.
    ///
    /// # Errors
    /// `InvalidInput` for a count or size that is no power of two or out of bounds; what `mmap` or the kernel refused.
    pub(super) fn new(submitter: &Submitter<'_>, group: u16, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        if !count.is_power_of_two() || count > BUFFERS_MAX || !buffer_bytes.is_power_of_two() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "receive buffers: count and size must be powers of two, the count at most 32,768",
            ));
        }
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let buffers_offset = entries_bytes.next_multiple_of(PAGE_BYTES);
        let mapping_bytes = buffers_offset + usize::from(count) * buffer_bytes as usize;
        // SAFETY: a fresh anonymous mapping; no existing memory is named.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(address.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let mut ring = Self { mapping, mapping_bytes, buffers_offset, buffer_bytes, count, tail: 0, leaked: false };
        // SAFETY: the mapping holds `count` entries at a page's start, until `unregister` or `leak`.
        unsafe { submitter.register_buf_ring_with_flags(mapping.as_ptr() as u64, count, group, 0)? };
        for buffer in 0..count {
            ring.give_back(buffer);
        }
        Ok(ring)
    }

    /// Number of buffers.
    pub(super) const fn count(&self) -> u16 {
        self.count
    }

    /// The first `bytes` of `buffer`, which a completion has handed over and `give_back` has not yet been called for.
    #[inline]
    pub(super) fn bytes(&self, buffer: u16, bytes: usize) -> &[u8] {
        assert!(buffer < self.count && bytes <= self.buffer_bytes as usize, "the kernel names our buffers only");
        let offset = self.buffers_offset + usize::from(buffer) * self.buffer_bytes as usize;
        // SAFETY: the range lies in the mapping (checked above) and is initialised (mmap zeroes it); the kernel writes
        // to a buffer only while it has it, and `give_back` needs `&mut self`, so not while this slice is borrowed.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(offset), bytes) }
    }

    /// Returns true if `bytes` are as many as a buffer has: more may be there to be received.
    #[inline]
    pub(super) const fn is_full(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.buffer_bytes as usize
    }

    /// Lets the kernel fill `buffer` again.
    #[inline]
    pub(super) fn give_back(&mut self, buffer: u16) {
        assert!(buffer < self.count, "the kernel names our buffers only");
        let index = usize::from(self.tail & (self.count - 1));
        let entries = self.mapping.as_ptr().cast::<BufRingEntry>();
        let address = self.mapping.as_ptr() as u64
            + (self.buffers_offset + usize::from(buffer) * self.buffer_bytes as usize) as u64;
        // SAFETY: `index` is below `count`, so the entry lies in the mapping; the kernel does not read an entry before
        // the tail has passed it, and never writes one.
        let entry = unsafe { &mut *entries.add(index) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, aligned to two bytes; kernel and driver both access it atomically.
        let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        // Release: the entry is written before the kernel can see that it is there.
        tail.store(self.tail, Ordering::Release);
    }

    /// Keeps the memory mapped for good: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: the mapping is ours and whole. Whoever drops a buffer ring has unregistered it, or has closed the
        // io_uring with nothing in flight, so the kernel does not write to it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_refused_with_a_reason() {
        let ring = io_uring::IoUring::new(4).unwrap();
        for (count, bytes) in [(0, 64), (3, 64), (BUFFERS_MAX + 1, 64), (4, 0), (4, 100)] {
            let error = BufferRing::new(&ring.submitter(), 0, count, bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{count} x {bytes}");
        }
    }

    #[test]
    fn the_tail_wraps_and_buffers_do_not_overlap() {
        let io_uring = io_uring::IoUring::new(4).unwrap();
        let mut ring = BufferRing::new(&io_uring.submitter(), 0, 2, 64).unwrap();
        for turn in 0..=u32::from(u16::MAX) {
            ring.give_back(u16::try_from(turn % 2).unwrap());
        }
        assert_eq!(ring.tail, 2);
        let (first, second) = (ring.bytes(0, 64).as_ptr_range(), ring.bytes(1, 64).as_ptr_range());
        assert_eq!(first.end, second.start);
        assert!(ring.mapping.as_ptr() as usize + ring.mapping_bytes >= second.end as usize);
        drop(io_uring);
    }
}

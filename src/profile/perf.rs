//! perf_event_open(2) on a thread of this process or a core, and the ring through which the kernel reports its samples.
//! The one file of the profiler with unsafe code; what the ring holds is parsed in `record`.

#![expect(unsafe_code, reason = "perf_event_open(2), and memory that is shared with the kernel")]

use super::record::REGISTERS;
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, RawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

/// `struct perf_event_attr` as of PERF_ATTR_SIZE_VER5 (Linux 4.8).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_frequency: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}
/// Bytes of it, which it states itself.
const ATTRIBUTES_BYTES: u32 = 112;
const _: () = assert!(size_of::<Attributes>() == ATTRIBUTES_BYTES as usize);

const TYPE_SOFTWARE: u32 = 1;
const COUNT_SW_CPU_CLOCK: u64 = 0;
/// PERF_SAMPLE_IP, TID, CALLCHAIN, REGS_USER and STACK_USER.
const SAMPLE_TYPE: u64 = 1 | 1 << 1 | 1 << 5 | 1 << 12 | 1 << 13;
const FLAG_EXCLUDE_KERNEL: u64 = 1 << 5;
const FLAG_EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const FLAG_EXCLUDE_IDLE: u64 = 1 << 7;
const FLAG_FREQUENCY: u64 = 1 << 10;
const FLAG_EXCLUDE_CALLCHAIN_USER: u64 = 1 << 22;
const OPEN_CLOEXEC: libc::c_ulong = 8;
/// Offsets of data_head and data_tail in `struct perf_event_mmap_page`.
const HEAD_OFFSET: usize = 1024;
const TAIL_OFFSET: usize = 1032;
const PAGE_BYTES: usize = 4096;

/// The subject of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A thread, by its number.
    Thread(i32),
    /// A core: each thread that runs there, those of other programs included.
    Core(usize),
}

/// Begins to sample `hz` times in each second that the thread is on a CPU, or the core is not idle, each time with the
/// top `stack_bytes` of the stack; with `kernel`, also in system calls. Returns the event, whose samples are read
/// through a [`Ring`].
///
/// # Errors
/// EACCES or EPERM if that is not permitted (perf_event_paranoid, seccomp; a core takes CAP_PERFMON or a
/// perf_event_paranoid of at most 0), ESRCH if the thread has ended, ENODEV if the core is offline.
pub fn open(target: Target, hz: u64, kernel: bool, stack_bytes: u32) -> io::Result<File> {
    let (thread, core) = match target {
        Target::Thread(thread) => (thread, -1),
        Target::Core(core) => (-1, i32::try_from(core).map_err(|_| io::ErrorKind::InvalidInput)?),
    };
    let attributes = Attributes {
        kind: TYPE_SOFTWARE,
        size: ATTRIBUTES_BYTES,
        config: COUNT_SW_CPU_CLOCK,
        sample_frequency: hz,
        sample_type: SAMPLE_TYPE,
        flags: FLAG_EXCLUDE_HYPERVISOR
            | FLAG_EXCLUDE_IDLE
            | FLAG_FREQUENCY
            | FLAG_EXCLUDE_CALLCHAIN_USER
            | if kernel { 0 } else { FLAG_EXCLUDE_KERNEL },
        sample_regs_user: REGISTERS,
        sample_stack_user: stack_bytes,
        ..Attributes::default()
    };
    // SAFETY: the structure is valid during the call, has the size that it states, and the kernel only reads it.
    let opened =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, thread, core, -1, OPEN_CLOEXEC) };
    let descriptor = RawFd::try_from(opened).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor, which nobody else owns.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The memory of an event that is shared with the kernel: a page of positions, and the bytes of records.
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    bytes: usize,
    /// A record that goes around the end of the ring is put together here.
    scratch: Vec<u8>,
}

impl Ring {
    /// Maps a ring of so many bytes, a power of two. The samples of `event` go there for as long as it is open.
    ///
    /// # Errors
    /// EPERM if so much memory may not be locked (perf_event_mlock_kb, RLIMIT_MEMLOCK), ENOMEM.
    pub fn map(event: &File, bytes: usize) -> io::Result<Self> {
        assert!(bytes.is_power_of_two() && bytes >= PAGE_BYTES, "perf_event_open(2) takes powers of two of pages");
        // SAFETY: a new mapping at a place that the kernel chooses; the descriptor is one of perf_event_open(2).
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE_BYTES + bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes, scratch: Vec::new() })
    }

    /// The position at this offset of the first page.
    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: within the first page, aligned to 8 bytes, mapped for as long as `self` is; the kernel accesses it
        // atomically, too.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The `length` bytes from this position on, which are before data_head: where they are, as most of a copied stack
    /// is not looked at, or put together in `scratch` where they go around the end.
    fn read<'a>(&'a self, position: u64, length: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        // Less than the ring has, so it always fits.
        let start = usize::try_from(position & (self.bytes as u64 - 1)).unwrap_or_default();
        let first = length.min(self.bytes - start);
        // SAFETY: the data begins behind the first page and has `self.bytes` bytes; `start + first` is within them, and
        // so is the rest, as `length` is at most `self.bytes`, which `drain` checks. Up to data_head the kernel does
        // not write until data_tail moves, and `drain` moves it once the slices are gone.
        let (first, rest) = unsafe {
            let data = self.base.as_ptr().add(PAGE_BYTES);
            (slice::from_raw_parts(data.add(start), first), slice::from_raw_parts(data, length - first))
        };
        if rest.is_empty() {
            return first;
        }
        scratch.clear();
        scratch.extend_from_slice(first);
        scratch.extend_from_slice(rest);
        scratch
    }

    /// Passes each record that has come since the last call to `take`: its type, and its content behind the header.
    pub fn drain(&mut self, mut take: impl FnMut(u32, &[u8])) {
        /// `struct perf_event_header`: type, misc, size.
        const HEADER_BYTES: usize = 8;
        let head = self.position(HEAD_OFFSET).load(Ordering::Acquire);
        let mut tail = self.position(TAIL_OFFSET).load(Ordering::Relaxed);
        let mut scratch = std::mem::take(&mut self.scratch);
        while head.wrapping_sub(tail) >= HEADER_BYTES as u64 {
            let header = self.read(tail, HEADER_BYTES, &mut scratch);
            let &[a, b, c, d, _, _, low, high] = header else { break };
            let length = usize::from(u16::from_ne_bytes([low, high]));
            if length < HEADER_BYTES || length as u64 > head.wrapping_sub(tail) || length > self.bytes {
                break;
            }
            let content = self.read(tail.wrapping_add(HEADER_BYTES as u64), length - HEADER_BYTES, &mut scratch);
            take(u32::from_ne_bytes([a, b, c, d]), content);
            tail = tail.wrapping_add(length as u64);
            self.position(TAIL_OFFSET).store(tail, Ordering::Release);
        }
        self.scratch = scratch;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` has made, which nothing refers to any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), PAGE_BYTES + self.bytes) };
    }
}

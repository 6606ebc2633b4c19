//! Count of allocations: the allocator of tests that assert that the steady state allocates nothing, and of
//! `benchmark_json_parser`. Each of these programs has the line
//! `#[global_allocator] static ALLOCATOR: CountingAllocator = CountingAllocator;`.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations made by this thread so far, as a test harness has threads of its own. Always 0 unless
/// [`CountingAllocator`] is the global allocator.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

static ALL_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Allocations made by all threads so far. Always 0 unless [`CountingAllocator<true>`] is the global allocator.
#[must_use]
pub fn allocations_of_all_threads() -> u64 {
    ALL_ALLOCATIONS.load(Ordering::Relaxed)
}

/// The system's allocator, with a count for each thread and, if `ALL_THREADS`, one for all of them. A block that is
/// grown counts as allocated anew.
#[derive(Debug)]
pub struct CountingAllocator<const ALL_THREADS: bool = false>;

impl<const ALL_THREADS: bool> CountingAllocator<ALL_THREADS> {
    /// The shared counter is behind a constant, so that a benchmark does not pay for it.
    fn count() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        if ALL_THREADS {
            ALL_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every method hands its arguments to `System` as they came, whose guarantees and demands are the same;
// counting touches an atomic and a `Cell` of the calling thread that needs neither initialisation nor destructor, so it
// does not allocate.
unsafe impl<const ALL_THREADS: bool> GlobalAlloc for CountingAllocator<ALL_THREADS> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller upholds what `alloc` demands of `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller upholds what `alloc_zeroed` demands of `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block that this allocator gave out, which is one of `System`'s, with its layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as for `dealloc`; the caller upholds what `realloc` demands of `bytes`.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

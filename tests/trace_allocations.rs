//! A batch that is not sampled allocates nothing for tracing: a counting allocator watches a tracer at work.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; it only counts and passes on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crossbeam_channel::bounded;
use http1::{Head, Method, Version};
use log::AckLevel;
use metricstream::{
    stats::{Counters, Stamps},
    trace::{Request, RequestStages, Sampler, Tracer, TracerSetup, Traces},
};
use rate::ClientAddress;

thread_local! {
    /// Allocations and growths of this thread; the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has no counter any more, and nothing to be counted.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the trait's contract; the counter
// is a constant-initialised cell without a destructor, so touching it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds `alloc`'s contract, and `layout` is the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller got `pointer` from here with `layout`, so the system's allocator gave it.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn head(traceparent: Option<&[u8]>) -> Head<'_> {
    Head {
        method: Method::Post,
        path: "/metrics",
        query: None,
        version: Version::Http11,
        authorization: None,
        accept: None,
        content_type: None,
        origin: None,
        traceparent,
        tracestate: [Some(b"a=1"); http1::limits::TRACESTATE_FIELDS_MAX],
        forwarded: Default::default(),
        x_forwarded_for: Default::default(),
        content_length: Some(7),
        fields: Default::default(),
    }
}

/// Allocations of so many bursts of one batch each, none of them slow.
fn allocations(tracer: &mut Tracer, traceparent: Option<&[u8]>, bursts: u32) -> u64 {
    let (mut traces, mut counters) = (Traces::new(), Counters::default());
    let before = ALLOCATIONS.get();
    for _ in 0..bursts {
        let context = tracer.begin(&head(traceparent));
        let stages = RequestStages { status: 200, metrics: 3, ..RequestStages::default() };
        tracer.served(
            Request { context, ack: Some(AckLevel::Write), stages, peer: ClientAddress::Ip([127, 0, 0, 1].into()) },
            &mut counters,
        );
        tracer.hand_over(&mut traces);
        tracer.answered(&mut traces, &Stamps::default(), 1, &mut counters);
    }
    ALLOCATIONS.get() - before
}

#[test]
fn what_is_not_sampled_allocates_nothing() {
    let (queue, records) = bounded(16);
    let sampler = Sampler { parent_based: true, ratio: 0.0 };
    let mut tracer = Tracer::new(TracerSetup { sampler, slow_ns: 1_000_000, queue }, 0);
    for parent in [None, Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"[..]), Some(b"broken")] {
        assert_eq!(allocations(&mut tracer, parent, 1_000), 0, "{parent:?}");
    }
    // The counter counts: one that is sampled keeps its tracestate and its record.
    let parent = Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]);
    assert!(allocations(&mut tracer, parent, 10) >= 10);
    assert_eq!(records.len(), 10);
}

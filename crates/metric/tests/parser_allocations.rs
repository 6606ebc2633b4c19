//! A batch costs no allocation once its encoder exists: counted by the allocator of this binary.
#![allow(unsafe_code)] // An allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use metric::{BatchEncoder, Bounds};

thread_local! {
    /// Allocations made by this thread. The test harness has threads of its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct CountingAllocator;

// SAFETY: every method hands its arguments to `System` as they came, whose guarantees and demands are the same;
// counting touches a `Cell` of the calling thread that needs neither initialisation nor destructor, so it does not
// allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds what `alloc` demands of `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block that `alloc` or `realloc` gave out, which is one of `System`'s, with its
        // layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as for `dealloc`; the caller upholds what `realloc` demands of `bytes`.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn encoding_allocates_nothing() {
    let tags: Vec<_> = (0..128).map(|index| format!(r#""k\u0065y{index}":"v\n""#)).collect();
    let mut bodies: Vec<String> =
        include_str!("../../../bench/data/node_exporter.ndjson").lines().map(str::to_owned).collect();
    bodies.push(format!(r#"{{"metrics":[{{"name":"a\tb","value":1e308,"tags":{{{}}}}}]}}"#, tags.join(",")));
    bodies.push(r#"{"x":[[{}]],"metrics":[{"name":"é","value":1,"timestamp":"2026-01-02T03:04:05Z"}]}"#.to_owned());
    // And refusals, of every room: nothing is allocated for them until they are printed.
    bodies.push(r#"{"metrics":[{"name":"a","value":1,"type":"unheard of"}]}"#.to_owned());
    bodies.push(r#"{"metrics":[{"name":"a","value":1,"tags":{"a":"","a":""}}]}"#.to_owned());
    bodies.push(r#"{"metrics":"#.to_owned());

    let mut encoder = BatchEncoder::new(Bounds::default());
    let bytes_max = bodies.iter().map(|body| encoder.encoded_bytes_max(body.len())).max().unwrap();
    let mut out = vec![0; bytes_max];

    let before = ALLOCATIONS.get();
    let mut refused = 0;
    for body in &bodies {
        refused += usize::from(black_box(encoder.encode(body.as_bytes(), 0, &mut out)).is_err());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(refused, 3);
    drop(black_box(Box::new(0)));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the allocator counts");
}

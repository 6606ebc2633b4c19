//! A load allocates for its clients, and nothing for their requests: what it measures is the server, not the allocator.
//! A program of its own, because it counts through the global allocator. The server is another process.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![expect(clippy::unwrap_used, reason = "all of it is test")]

use metricstream_bench::{drivers::Chosen, load};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting changes nothing about
// them.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The server; ended and waited for when dropped.
struct Floor(Child);

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Allocations of a load of `requests` by each of eight clients.
fn allocations(port: &str, requests: u64, more: &str, chosen: Chosen) -> u64 {
    let line = format!("load_test {port} 8 {requests} -t 1 {more}");
    let mut plan = load::parse(line.split_whitespace()).unwrap();
    plan.watch = false;
    let log = plan.log.as_deref().map(|path| load::Log::create(path, &plan, chosen).unwrap());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let outcome = load::run(&plan, chosen, log).unwrap();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(outcome.tally.successes(), 8 * requests, "{more}");
    allocations
}

#[test]
fn a_request_allocates_nothing() {
    let floor = Command::new(env!("CARGO_BIN_EXE_floor"))
        .args(["--listen", "127.0.0.1:0", "--reactors", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut floor, mut line) = (Floor(floor), String::new());
    BufReader::new(floor.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().rsplit(':').next().unwrap();
    for chosen in [Chosen::IoUring, Chosen::Epoll] {
        for more in [
            "",
            "--pipeline 8",
            "--rate 20000",
            "--rate 100000 --pipeline 8",
            "--rate 20000 --arrivals poisson",
            "-H X:{{seq}} --body {{rand}}",
            "--log /dev/null",
        ] {
            let few = allocations(port, 50, more, chosen);
            let many = allocations(port, 550, more, chosen);
            // 4,000 requests more. The driver's lists may still double here and there.
            assert!(many.saturating_sub(few) < 40, "{chosen} {more}: {few} allocations, then {many}");
        }
    }
}

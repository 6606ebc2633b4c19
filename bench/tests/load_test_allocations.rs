//! A load allocates for its clients, and nothing for their requests: what it measures is the server, not the allocator.
//! A program of its own, because it counts through the global allocator. The server is another process.
#![expect(clippy::unwrap_used, reason = "all of it is test")]

use metricstream_bench::{drivers::Chosen, load};
use std::{path::Path, process::Command};
use testkit::{
    allocations::{CountingAllocator, allocations_of_all_threads},
    server::{Announces, Server},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator<true> = CountingAllocator;

/// Allocations of a load of `requests` by each of eight clients.
fn allocations(port: u16, requests: u64, more: &str, chosen: Chosen) -> u64 {
    let line = format!("load_test {port} 8 {requests} -t 1 {more}");
    let mut plan = load::parse(line.split_whitespace()).unwrap();
    plan.watch = false;
    let log = plan.log.as_deref().map(|path| load::Log::create(path, &plan, chosen).unwrap());
    let before = allocations_of_all_threads();
    let outcome = load::run(&plan, chosen, log).unwrap();
    let allocations = allocations_of_all_threads() - before;
    assert_eq!(outcome.tally.successes(), 8 * requests, "{more}");
    allocations
}

#[test]
fn a_request_allocates_nothing() {
    let mut floor = Command::new(env!("CARGO_BIN_EXE_floor"));
    floor.args(["--listen", "127.0.0.1:0", "--reactors", "1"]);
    let mut floor = Server::spawn(floor, Path::new(""), Announces::OnStdout).unwrap();
    assert!(floor.wait_until_listening());
    let port = floor.address.port();
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

//! The io_uring driver against real sockets: what the kernel does to it and it must keep from the handler. The contract
//! that all drivers share is tested in `contract.rs`.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod begin;
mod bench;
mod bytes;
mod end;

use bench::*;
use reactor::{Driver, DriverConfig, UringDriver};
use std::{
    io::ErrorKind,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use wake::Doorbell;

#[test]
fn probe_reports_a_step_on_this_kernel() {
    let report = reactor::uring::probe().unwrap();
    assert!(report.to_string().contains("multishot receive"), "{report}");
}

#[test]
fn a_driver_with_senseless_bounds_is_refused() {
    let _alone = alone();
    for (connections_max, receive_buffers, receive_buffer_bytes) in [(0, 4, 64), (8, 3, 64), (8, 4, 100)] {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let setup =
            DriverConfig { listeners: Vec::new(), connections_max, receive_buffer_bytes, receive_buffers, doorbell };
        assert_eq!(UringDriver::open(setup).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn the_doorbell_ends_a_wait_every_time() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    for _ in 0..100 {
        let doorbell = bench.doorbell.clone();
        bench.doorbell.announce_sleep();
        let ringer = thread::spawn(move || doorbell.wake());
        let before = Instant::now();
        bench.driver.turn(Some(TIMEOUT), &mut bench.notes).unwrap();
        assert!(before.elapsed() < TIMEOUT);
        bench.doorbell.awake();
        ringer.join().unwrap();
    }
    // Rung before the wait began, and no wait is cut short by an old ring.
    bench.doorbell.signal();
    bench.driver.turn(None, &mut bench.notes).unwrap();
    let before = bench.counters().completions;
    bench.driver.turn(Some(Duration::from_millis(5)), &mut bench.notes).unwrap();
    assert_eq!(bench.counters().completions, before);
}

#[test]
fn a_turn_waits_for_its_timeout() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let begin = Instant::now();
    bench.driver.turn(Some(Duration::from_millis(20)), &mut bench.notes).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(20));
    // Zero runs what the kernel has put off, too.
    let _client = bench.client();
    let deadline = Instant::now() + TIMEOUT;
    while bench.notes.accepted.is_empty() {
        assert!(Instant::now() < deadline);
        bench.driver.turn(Some(Duration::ZERO), &mut bench.notes).unwrap();
    }
    // Longer than the kernel can count.
    bench.doorbell.signal();
    bench.driver.turn(Some(Duration::MAX), &mut bench.notes).unwrap();
}

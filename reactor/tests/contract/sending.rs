//! Bytes out: point 6, and what a shutdown or a lost peer does to them.

use crate::{
    harness::{Event, Harness, Options},
    pattern::Pattern,
    world::{TcpStream, thread},
};
use reactor::Driver;
use std::{
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// More than a socket and its peer can hold (tcp(7): `tcp_wmem` 4 MiB and `tcp_rmem` 6 MiB at most, by default), so
/// that a send of this much to a peer that does not read stays in flight.
pub const MORE_THAN_SOCKETS_HOLD: usize = 24 * 1024 * 1024;

/// A driver whose accepted connections hold little.
fn with_small_buffers<D: Driver>() -> Harness<D> {
    Harness::open(Options { send_buffer_bytes: Some(4096), ..Options::default() })
}

/// Reads to the end, a little at a time, and checks each byte.
fn read_slowly(mut peer: TcpStream, seed: u64) -> usize {
    let mut stream = Pattern::new(seed);
    let mut buffer = [0; 7_001];
    loop {
        match peer.read(&mut buffer).unwrap() {
            0 => return stream.offset,
            length => stream.check(&buffer[..length]),
        }
        thread::yield_now();
    }
}

pub fn a_slow_reader_gets_every_byte<D: Driver>() {
    const BYTES: usize = 3_000_000;
    let mut harness = with_small_buffers::<D>();
    let (peer, token) = harness.accept();
    harness.send(token, Pattern::new(6).take(BYTES));
    // The send is stuck before the peer reads anything.
    harness.settle();
    assert_eq!(harness.events(), []);
    let reading = thread::spawn(move || read_slowly(peer, 6));
    harness.wait_sent(token);
    harness.close(token);
    harness.wait_closed(token);
    assert_eq!(reading.join().unwrap(), BYTES);
    harness.finish();
}

pub fn a_short_send_is_counted_once<D: Driver>() {
    const BYTES: usize = 1_000_000;
    let mut harness = with_small_buffers::<D>();
    let (peer, token) = harness.accept();
    harness.send(token, b"short".to_vec());
    harness.wait_sent(token);
    assert_eq!(harness.counters().short_sends, 0);
    harness.send(token, vec![b'l'; BYTES]);
    let reading = thread::spawn(move || (&peer).take(BYTES as u64 + 5).read_to_end(&mut Vec::new()).unwrap());
    harness.wait_sent(token);
    assert_eq!(harness.counters().short_sends, 1);
    assert_eq!(reading.join().unwrap(), BYTES + 5);
    harness.finish();
}

/// A driver may know the end of a send before its next turn, or not.
pub fn a_send_is_reported_once_with_or_without_a_turn<D: Driver>() {
    const SENDS: usize = 100;
    let mut harness = with_small_buffers::<D>();
    let (peer, token) = harness.accept();
    for _ in 0..SENDS {
        harness.send(token, vec![b's'; 10]);
        harness.report_sent();
        harness.report_sent();
        harness.wait_sent(token);
        harness.settle();
        assert_eq!(harness.events(), []);
    }
    // One that the socket does not take at once is not reported early, and one that is closed not at all.
    harness.send(token, vec![b'l'; MORE_THAN_SOCKETS_HOLD]);
    harness.report_sent();
    assert_eq!(harness.events(), []);
    harness.close(token);
    harness.report_sent();
    assert_eq!(harness.events(), []);
    harness.wait_closed(token);
    drop(peer);
    harness.finish();
}

pub fn a_second_send_in_flight_asserts<D: Driver>() {
    let second_send_asserts = |first: usize| {
        let mut harness = with_small_buffers::<D>();
        let (_peer, token) = harness.accept();
        harness.send(token, vec![b'a'; first]);
        let second = catch_unwind(AssertUnwindSafe(|| harness.send(token, vec![b'b'])));
        assert!(second.is_err(), "the second send after one of {first} bytes");
    };
    second_send_asserts(MORE_THAN_SOCKETS_HOLD);
    // Also in flight: what the kernel may have taken, while `sent` has not said so.
    second_send_asserts(1);
}

pub fn an_empty_send_asserts<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (_peer, token) = harness.accept();
    assert!(catch_unwind(AssertUnwindSafe(|| harness.send(token, Vec::new()))).is_err());
}

pub fn a_shutdown_waits_for_the_send_in_flight<D: Driver>() {
    const BYTES: usize = 2_000_000;
    let mut harness = with_small_buffers::<D>();
    let (mut peer, token) = harness.accept();
    harness.send(token, Pattern::new(7).take(BYTES));
    harness.shutdown_write(token);
    let reader = peer.try_clone().unwrap();
    let reading = thread::spawn(move || read_slowly(reader, 7));
    harness.wait_sent(token);
    assert_eq!(harness.until("the peer reads the end", |_| reading.is_finished().then_some(())), ());
    assert_eq!(reading.join().unwrap(), BYTES);
    // The other direction is still open.
    peer.write_all(b"thanks").unwrap();
    assert_eq!(harness.wait_data(token, 6), b"thanks");
    drop(peer);
    harness.wait_eof(token);
    harness.finish();
}

pub fn sending_to_a_peer_that_is_gone_ends_the_connection<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (peer, token) = harness.accept();
    drop(peer);
    harness.wait_eof(token);
    // The peer's kernel sends a reset for the first bytes; what is sent after it finds a broken pipe.
    harness.send(token, b"anybody?".to_vec());
    let kind = harness.until("closed", |harness| {
        for event in harness.events() {
            match event {
                Event::Sent(_, mut buffer) => {
                    buffer.extend_from_slice(b"anybody?");
                    harness.send(token, buffer);
                }
                Event::Closed(_, kind) => return Some(kind),
                other => panic!("{other:?}"),
            }
        }
        None
    });
    assert!(kind.is_some(), "by an error, not by its owner");
    harness.finish();
}

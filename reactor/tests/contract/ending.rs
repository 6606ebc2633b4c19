//! Ends of connections: points 2, 7 and 8.

use crate::{
    harness::{Event, Harness, Options, reset},
    pattern::Pattern,
    sending::MORE_THAN_SOCKETS_HOLD,
    world::{TcpListener, TcpStream},
};
use reactor::{Driver, Flow};
use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
};

pub fn a_close_after_the_last_byte_is_an_end_of_file<D: Driver>() {
    const BYTES: usize = 200_000;
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.send(token, Pattern::new(8).take(BYTES));
    harness.wait_sent(token);
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    // A reset would fail this read, and could destroy bytes that have not been read yet.
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    Pattern::new(8).check(&received);
    assert_eq!(received.len(), BYTES);
    harness.finish();
}

pub fn a_close_aborts_the_send_in_flight<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.send(token, vec![b'x'; MORE_THAN_SOCKETS_HOLD]);
    harness.settle();
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    harness.settle();
    assert_eq!(harness.events(), [], "closed is the last call, and the buffer does not come back");
    let mut received = Vec::new();
    // The peer reads what the kernel had, and then an end or a reset.
    let _ = peer.read_to_end(&mut received);
    assert!(received.len() < MORE_THAN_SOCKETS_HOLD);
    harness.finish();
}

pub fn a_reset_while_idle_is_noticed<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (peer, token) = harness.accept();
    harness.settle();
    reset(peer);
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::ConnectionReset));
    // Also after some traffic, with the receive that follows it.
    let (mut peer, token) = harness.accept();
    peer.write_all(b"request").unwrap();
    harness.wait_data(token, 7);
    harness.settle();
    reset(peer);
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::ConnectionReset));
    harness.finish();
}

pub fn a_reset_while_paused_is_noticed<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.set_data_flow(|_| Flow::Pause);
    peer.write_all(b"first").unwrap();
    harness.wait_data(token, 5);
    peer.write_all(b"second").unwrap();
    reset(peer);
    // At once, or when the pause is over: the contract leaves that to the driver.
    harness.settle();
    let closed = |event: &Event| match event {
        Event::Closed(_, kind) => Some(*kind),
        _ => None,
    };
    let kind = harness.take(closed).unwrap_or_else(|| {
        harness.set_data_flow(|_| Flow::Continue);
        harness.resume(token);
        harness.wait_closed(token)
    });
    assert_eq!(kind, Some(ErrorKind::ConnectionReset));
    harness.finish();
}

pub fn a_reset_while_sending_is_noticed<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (peer, token) = harness.accept();
    harness.send(token, vec![b'x'; MORE_THAN_SOCKETS_HOLD]);
    harness.settle();
    reset(peer);
    let kind = harness.wait_closed(token);
    assert!(matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)), "{kind:?}");
    // Where the send has met the error, a read that is due may find an end of file behind it first.
    let before = harness.events();
    assert!(before.iter().all(|event| *event == Event::Eof(token)), "{before:?}");
    harness.settle();
    // The send may have reported the reset, and the receive then reads an end of file (point 7).
    harness.take(|event| (*event == Event::Eof(token)).then_some(()));
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn closed_tokens_are_ignored<D: Driver>() {
    // One slot, so that the next connection is the old token's successor.
    let mut harness = Harness::<D>::open(Options { connections_max: 1, ..Options::default() });
    let (peer, old) = harness.accept();
    harness.close(old);
    harness.wait_closed(old);
    drop(peer);
    let (mut peer, token) = harness.accept();
    assert_eq!(token.slot(), old.slot());
    assert_ne!(token, old);
    harness.send(old, b"nobody gets this".to_vec());
    harness.shutdown_write(old);
    harness.resume(old);
    harness.close(old);
    harness.settle();
    assert_eq!(harness.events(), []);
    harness.send(token, b"hello".to_vec());
    harness.wait_sent(token);
    let mut received = [0; 5];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
    peer.write_all(b"world").unwrap();
    assert_eq!(harness.wait_data(token, 5), b"world");
    harness.finish();
}

pub fn what_follows_a_close_is_ignored<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    peer.write_all(b"not delivered after the close").unwrap();
    harness.close(token);
    // What an owner still had noted when it closed.
    harness.send(token, b"too late".to_vec());
    harness.resume(token);
    harness.shutdown_write(token);
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    harness.settle();
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_dropped_driver_ends_its_connections<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let address = harness.address;
    let (mut idle, _) = harness.accept();
    let (mut sending, token) = harness.accept();
    harness.send(token, vec![b'x'; MORE_THAN_SOCKETS_HOLD]);
    harness.settle();
    drop(harness);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    let _ = sending.read_to_end(&mut Vec::new());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Its address is free again.
    drop(TcpListener::bind(address).unwrap());
}

/// Sooner than the contract asks: no read is due that would meet the error.
pub fn a_reset_is_noticed_without_reading<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.set_data_flow(|_| Flow::Pause);
    peer.write_all(b"x").unwrap();
    harness.wait_data(token, 1);
    reset(peer);
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::ConnectionReset));
    // After the end of file the kernel reports a broken pipe.
    let (peer, token) = harness.accept();
    peer.shutdown(Shutdown::Write).unwrap();
    harness.wait_eof(token);
    reset(peer);
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::BrokenPipe));
    harness.finish();
}

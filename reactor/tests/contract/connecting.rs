//! Connections that a driver begins itself.

use crate::harness::{Event, Harness, LIMIT, Options, listener};
use reactor::{Driver, Endpoint, listen::UnixAddress};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixListener,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// A unix socket of this test's own, in the abstract namespace, whose queue holds `backlog` connections and one more.
fn unix(backlog: i32) -> (UnixListener, Endpoint) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("reactor-connecting-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(format!("\0{name}")).unwrap()).unwrap();
    socket.listen(backlog).unwrap();
    (socket.into(), Endpoint::Unix(UnixAddress::Abstract(name)))
}

pub fn two_ends_of_one_driver<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let outgoing = harness.connect(harness.address).unwrap();
    harness.wait("connected", |event| (*event == Event::Connected(outgoing)).then_some(()));
    let incoming = harness.wait("accepted", |event| match event {
        Event::Accepted(token, ..) => Some(*token),
        _ => None,
    });
    harness.send(outgoing, b"from the client".to_vec());
    assert_eq!(harness.wait_data(incoming, 15), b"from the client");
    harness.send(incoming, b"from the server".to_vec());
    assert_eq!(harness.wait_data(outgoing, 15), b"from the server");
    harness.wait_sent(outgoing);
    harness.shutdown_write(outgoing);
    harness.wait_eof(incoming);
    harness.finish();
}

pub fn a_refused_connect_goes_straight_to_closed<D: Driver>() {
    let mut harness = Harness::<D>::new();
    // A port that was free a moment ago.
    let nobody = listener().local_addr().unwrap();
    let token = harness.connect(nobody).unwrap();
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::ConnectionRefused));
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_connect_needs_a_slot<D: Driver>() {
    let mut harness = Harness::<D>::open(Options { connections_max: 1, ..Options::default() });
    let (_peer, token) = harness.accept();
    let elsewhere = listener();
    assert!(harness.connect(elsewhere.local_addr().unwrap()).is_err());
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "what is refused here does not reach the peer");
    harness.close(token);
    harness.wait_closed(token);
    let outgoing = harness.connect(elsewhere.local_addr().unwrap()).unwrap();
    harness.wait("connected", |event| (*event == Event::Connected(outgoing)).then_some(()));
    harness.finish();
}

pub fn a_connect_can_be_closed_at_once<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let elsewhere = listener();
    let token = harness.connect(elsewhere.local_addr().unwrap()).unwrap();
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_unix_socket_is_connected_to<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (listener, endpoint) = unix(16);
    let token = harness.connect_to(&endpoint).unwrap();
    harness.wait("connected", |event| (*event == Event::Connected(token)).then_some(()));
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    harness.send(token, b"from the client".to_vec());
    harness.wait_sent(token);
    let mut received = [0; 15];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"from the client");
    peer.write_all(b"from the server").unwrap();
    assert_eq!(harness.wait_data(token, 15), b"from the server");
    drop((peer, listener));
    harness.wait_eof(token);
    let refused = harness.connect_to(&endpoint).unwrap();
    assert_eq!(harness.wait_closed(refused), Some(ErrorKind::ConnectionRefused));
    let missing = harness.connect_to(&Endpoint::Unix(UnixAddress::Path("/nonexistent/socket".into()))).unwrap();
    assert_eq!(harness.wait_closed(missing), Some(ErrorKind::NotFound));
    harness.finish();
}

pub fn a_full_queue_of_a_unix_socket_loses_nobody<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (listener, endpoint) = unix(0);
    let first = harness.connect_to(&endpoint).unwrap();
    harness.wait("connected", |event| (*event == Event::Connected(first)).then_some(()));
    let second = harness.connect_to(&endpoint).unwrap();
    harness.turn(Some(Duration::ZERO));
    // It waits for the queue where the kernel can tell of it, and ends at once where it cannot.
    let accepted = listener.accept().unwrap();
    let connected = harness.wait("the end of the connect", |event| match event {
        Event::Connected(token) if *token == second => Some(true),
        Event::Closed(token, Some(ErrorKind::WouldBlock)) if *token == second => Some(false),
        _ => None,
    });
    assert_eq!(connected, listener_has_one_more(&listener), "who is notified of a connection has one");
    drop(accepted);
    harness.finish();
}

fn listener_has_one_more(listener: &UnixListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

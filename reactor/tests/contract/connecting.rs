//! Connections that a driver begins itself.

use crate::harness::{Event, Harness, Options};
use reactor::Driver;
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
};

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
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let token = harness.connect(nobody).unwrap();
    assert_eq!(harness.wait_closed(token), Some(ErrorKind::ConnectionRefused));
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_connect_needs_a_slot<D: Driver>() {
    let mut harness = Harness::<D>::open(Options { connections_max: 1, ..Options::default() });
    let (_peer, token) = harness.accept();
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
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
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let token = harness.connect(elsewhere.local_addr().unwrap()).unwrap();
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    assert_eq!(harness.events(), []);
    harness.finish();
}

//! Connections come in, or go out, or cannot.

use crate::bench::*;
use reactor::{Cause, Driver};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

#[test]
fn at_the_bound_accepting_pauses_and_goes_on() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let mut clients: Vec<_> = (0..20).map(|_| bench.client()).collect();
    bench.settle();
    assert_eq!(bench.notes.accepted.len(), 4);
    assert!(bench.counters().accept_pauses > 0);
    assert_eq!(bench.driver.connect(&bench.address.into()).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    let mut served = 0;
    while served < 20 {
        bench.until(|notes| notes.accepted.len() > served);
        let token = bench.notes.accepted[served];
        assert!(bench.notes.open.len() <= 4);
        bench.driver.close(token);
        served += 1;
    }
    bench.until(|notes| notes.closed.len() == 20);
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "an end of file, no reset");
    }
}

#[test]
fn connects_succeed_or_are_refused() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let token = bench.driver.connect(&server.local_addr().unwrap().into()).unwrap();
    // The kernel completes it into the listener's queue.
    bench.until(|notes| notes.connected == [token]);
    let (mut peer, _) = server.accept().unwrap();
    bench.driver.send(token, b"hello".to_vec());
    bench.until(|notes| notes.sent.len() == 1);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    peer.write_all(b"world").unwrap();
    bench.until(|notes| notes.received.get(&token).is_some_and(|bytes| bytes == b"world"));

    let nobody = server.local_addr().unwrap();
    drop((server, peer));
    let refused = bench.driver.connect(&nobody.into()).unwrap();
    bench.until(|notes| notes.closed.iter().any(|(token, _)| *token == refused));
    let (_, cause) = bench.notes.closed.iter().find(|(token, _)| *token == refused).unwrap();
    assert!(matches!(cause, Cause::Error(error) if error.kind() == ErrorKind::ConnectionRefused), "{cause:?}");
    assert!(!bench.notes.connected.contains(&refused));
}

#[test]
fn a_connect_on_its_way_can_be_closed() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    // A full listener's queue leaves the connect unanswered.
    let server = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    server.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    server.listen(0).unwrap();
    let address = server.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(address).unwrap();
    let token = bench.driver.connect(&address.into()).unwrap();
    bench.settle();
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(bench.notes.closed[0], (closed, Cause::Local) if closed == token));
    // And one that the kernel has not even seen.
    let token = bench.driver.connect(&address.into()).unwrap();
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 2);
    assert!(matches!(bench.notes.closed[1], (closed, Cause::Local) if closed == token));
}

#[test]
fn stopping_takes_in_who_is_queued_and_nobody_after() {
    let _alone = alone();
    let mut bench = Bench::new(64, 16, 512);
    let (_early, _) = bench.pair();
    // In the listener's queue, unseen by the driver.
    let _queued: Vec<_> = (0..10).map(|_| bench.client()).collect();
    bench.driver.stop_accept();
    bench.until(|notes| notes.accepted.len() == 11);
    bench.settle();
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Who was accepted is served.
    let mut client = &_queued[0];
    client.write_all(b"ask").unwrap();
    bench.until(|notes| notes.received.len() == 1);
    bench.driver.stop_accept();
    bench.settle();
}

#[test]
fn stopping_at_the_bound_serves_the_queue_as_slots_come_free() {
    let _alone = alone();
    let mut bench = Bench::new(2, 16, 512);
    let _clients: Vec<_> = (0..8).map(|_| bench.client()).collect();
    bench.until(|notes| notes.accepted.len() == 2);
    bench.driver.stop_accept();
    for served in 0..8 {
        bench.until(|notes| notes.accepted.len() > served);
        assert!(bench.notes.open.len() <= 2);
        bench.driver.close(bench.notes.accepted[served]);
    }
    bench.until(|notes| notes.closed.len() == 8);
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Runs in a process of its own, started by the test below, with few descriptors.
#[test]
#[ignore = "needs a low descriptor limit; `without_descriptors_accepting_waits_and_goes_on` runs it"]
fn child_with_few_descriptors() {
    let mut bench = Bench::new(256, 16, 512);
    // The other half of each connection needs one as well.
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(bench.address) {
        clients.push(client);
    }
    // Two are given back: one for the driver's next accept, which is then out of them again.
    clients.pop();
    bench.until(|notes| !notes.accept_errors.is_empty());
    assert_eq!(bench.notes.accept_errors[0].raw_os_error(), Some(libc::EMFILE));
    assert!(bench.counters().accept_pauses > 0);
    let before = bench.counters();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(200) {
        bench.driver.turn(Some(Duration::from_millis(200)), &mut bench.notes).unwrap();
    }
    let tries = bench.counters().turns - before.turns;
    assert!(tries <= 12, "{tries} turns in 200 ms: it spins");
    // Every client in turn gives its descriptor back, and all are accepted in the end.
    let total = clients.len();
    let mut closed = 0;
    while let Some(client) = clients.pop() {
        drop(client);
        bench.turn();
        while closed < bench.notes.accepted.len() {
            bench.driver.close(bench.notes.accepted[closed]);
            closed += 1;
        }
    }
    bench.until(|notes| notes.accepted.len() >= total);
}

#[test]
fn without_descriptors_accepting_waits_and_goes_on() {
    let _alone = alone();
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact begin::child_with_few_descriptors --ignored"])
        .arg(program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

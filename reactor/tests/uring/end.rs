//! Connections end, in every way there is.

use crate::bench::*;
use reactor::{Cause, Driver, Token};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_reset_closes_with_its_error() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (client, token) = bench.pair();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    bench.until(|notes| notes.closed.len() == 1);
    let (closed, cause) = &bench.notes.closed[0];
    assert_eq!(*closed, token);
    assert!(matches!(cause, Cause::Error(error) if error.kind() == ErrorKind::ConnectionReset), "{cause:?}");
    // Named once more, it is nobody.
    bench.driver.send(token, b"late".to_vec());
    bench.driver.resume_receive(token);
    bench.driver.shutdown_write(token);
    bench.driver.close(token);
    bench.settle();
    assert_eq!(bench.notes.closed.len(), 1);
}

#[test]
fn a_reset_during_a_send_closes_once_with_an_error() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (client, token) = bench.pair();
    bench.driver.send(token, pattern(16 << 20, 0));
    bench.settle();
    assert!(bench.notes.sent.is_empty());
    // Closing with unread bytes resets.
    drop(client);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(&bench.notes.closed[0].1, Cause::Error(_)));
    bench.settle();
    assert!(bench.notes.sent.is_empty());
}

#[test]
fn closing_aborts_what_is_in_flight() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    bench.driver.send(token, pattern(16 << 20, 0));
    client.write_all(&pattern(4000, 0)).unwrap();
    bench.driver.turn(Some(Duration::ZERO), &mut bench.notes).unwrap();
    bench.driver.close(token);
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(bench.notes.closed[0].1, Cause::Local));
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 16 << 20);
    bench.settle();
    assert!(bench.notes.sent.is_empty() && bench.notes.closed.len() == 1);
}

#[test]
fn a_receive_that_was_armed_and_cancelled_in_one_submission_still_ends() {
    let _alone = alone();
    let mut bench = Bench::new(64, 64, 512);
    for _ in 0..50 {
        // The data waits when the receive is armed, and the cancel comes along with it.
        let mut client = bench.client();
        client.write_all(&[1; 64 * 512]).unwrap();
        let accepted = bench.notes.accepted.len();
        bench.until(|notes| notes.accepted.len() > accepted);
        bench.driver.close(bench.notes.accepted[accepted]);
        bench.until(|notes| notes.closed.len() > accepted);
        drop(client);
    }
}

#[test]
fn a_reply_and_a_close_arrive_as_bytes_and_an_end_of_file() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 4096);
    for round in 0..50 {
        let (mut client, token) = bench.pair();
        client.write_all(b"ask").unwrap();
        bench.until(|notes| notes.bytes(token) == 3);
        bench.driver.send(token, b"reply".to_vec());
        bench.until(|notes| notes.sent.len() > round);
        bench.driver.close(token);
        bench.until(|notes| notes.closed.len() > round);
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).unwrap();
        assert_eq!(reply, b"reply");
    }
}

#[test]
fn thousands_of_connections_come_and_go_and_leave_nothing() {
    let _alone = alone();
    const CLIENTS: usize = 4000;
    let before = descriptors();
    let mut bench = Bench::new(32, 16, 256);
    let address = bench.address;
    let peers: Vec<_> = (0..2)
        .map(|half| {
            thread::spawn(move || {
                for index in 0..CLIENTS / 2 {
                    let mut client = TcpStream::connect(address).unwrap();
                    client.set_read_timeout(Some(TIMEOUT)).unwrap();
                    match (index + half) % 4 {
                        // Gone at once.
                        0 => {}
                        // Gone with a reset, and bytes on the way.
                        1 => {
                            let _ = client.write_all(&[1; 700]);
                            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                        // Talks on while it is being closed.
                        2 => {
                            let _ = client.write_all(&[2; 700]);
                            let _ = client.write_all(&[2; 700]);
                        }
                        // Waits to be closed.
                        _ => {
                            let _ = client.write_all(&[3; 7]);
                            let _ = client.read(&mut [0; 64]);
                        }
                    }
                }
            })
        })
        .collect();
    let deadline = Instant::now() + TIMEOUT;
    let mut replies = 0;
    while !(peers.iter().all(thread::JoinHandle::is_finished) && bench.notes.open.is_empty()) {
        assert!(Instant::now() < deadline, "{:?} {}", bench.counters(), bench.notes.open.len());
        bench.turn();
        // Each is closed, or sent a reply and closed, at its first bytes, with the send still in flight.
        let senders: Vec<_> = bench.notes.received.drain().map(|(token, _)| token).collect();
        for token in senders {
            replies += 1;
            if replies % 2 == 0 {
                bench.driver.send(token, b"reply".to_vec());
            }
            bench.driver.close(token);
        }
        let ended: Vec<_> = bench.notes.eofs.drain().collect();
        ended.into_iter().for_each(|token| bench.driver.close(token));
        bench.notes.closed.clear();
    }
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    drop(bench);
    assert_eq!(descriptors(), before);
}

#[test]
fn a_driver_dropped_in_full_flight_lets_go_of_everything() {
    let _alone = alone();
    let before = descriptors();
    let mut bench = Bench::new(64, 4, 64);
    let mut clients: Vec<_> = (0..32).map(|_| bench.pair()).collect();
    for (client, token) in &mut clients {
        client.write_all(&[1; 4000]).unwrap();
        bench.driver.send(*token, vec![0; 8 << 20]);
    }
    // Submitted some, queued the rest, cancels among them.
    bench.turn();
    for (_, token) in clients.iter().take(8) {
        bench.driver.close(*token);
    }
    for _ in 0..8 {
        let _ = bench.driver.connect(&bench.address.into()).unwrap();
        clients.push((bench.client(), Token::new(0, 0)));
    }
    drop(bench);
    drop(clients);
    // A driver that had abandoned its ring would have left the sockets open.
    assert_eq!(descriptors(), before);
}

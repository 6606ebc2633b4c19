//! Bytes are received and sent in order and complete.

use crate::bench::*;
use reactor::{Cause, Driver};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

#[test]
fn many_connections_are_echoed() {
    let _alone = alone();
    let mut bench = Bench::new(256, 64, 1024);
    let address = bench.address;
    let clients: Vec<_> = (0..200)
        .map(|seed| {
            thread::spawn(move || {
                let client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(TIMEOUT)).unwrap();
                let request = pattern(3000, seed);
                assert_eq!(exchange(client, &request).unwrap(), request);
            })
        })
        .collect();
    bench.echo_until_closed(200);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(bench.notes.open.is_empty());
    assert!(bench.notes.closed.iter().all(|(_, cause)| matches!(cause, Cause::Local)));
}

#[test]
fn megabytes_go_both_ways() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 16 * 1024);
    let client = bench.client();
    let request = pattern(8 << 20, 7);
    let expected = request.clone();
    let peer = thread::spawn(move || exchange(client, &request).unwrap());
    bench.echo_until_closed(1);
    assert!(peer.join().unwrap() == expected);
}

#[test]
fn a_large_reply_to_a_slow_reader_is_sent_once_and_whole() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 4096);
    let (mut client, token) = bench.pair();
    let reply = pattern(16 << 20, 3);
    bench.driver.send(token, reply.clone());
    let reader = thread::spawn(move || {
        let mut got = vec![0; 16 << 20];
        client.read_exact(&mut got).unwrap();
        (client, got)
    });
    bench.until(|notes| notes.sent.len() == 1);
    assert!(bench.notes.sent[0].1.capacity() >= reply.len());
    let (_client, got) = reader.join().unwrap();
    assert!(got == reply);
}

/// The promise of `Driver::BATCHES` about receiving.
#[test]
fn what_a_turn_delivers_has_come_before_its_first_call() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let pairs = [bench.pair(), bench.pair()];
    let mut together = 0;
    for round in 1..=100 {
        for (mut peer, _) in pairs.each_ref().map(|(peer, token)| (peer, token)) {
            peer.write_all(b"o").unwrap();
        }
        // Each of the two sends more while the first of them is delivered, so one of these bytes is the other's.
        for (peer, _) in &pairs {
            bench.notes.to_send = Some(peer.try_clone().unwrap());
            bench.turn();
            let delivered = pairs.each_ref().map(|(_, token)| bench.notes.in_turn.get(token).copied().unwrap_or(0));
            if delivered.iter().all(|bytes| *bytes > 0) {
                together += 1;
                assert_eq!(delivered, [1, 1], "round {round}");
            }
        }
        bench.notes.to_send = None;
        bench.settle();
        bench.notes.received.clear();
    }
    assert!(together > 0, "no turn brought bytes of both");
}

/// The promise of `Driver::BATCHES` about sending.
#[test]
fn a_send_leaves_with_the_next_turn() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (mut client, token) = bench.pair();
    bench.driver.send(token, b"later".to_vec());
    client.set_nonblocking(true).unwrap();
    let mut bytes = [0; 5];
    assert_eq!(client.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    bench.turn();
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"later");
}

#[test]
fn a_pause_loses_nothing_and_resume_goes_on() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (client, token) = bench.pair();
    let request = pattern(128 << 10, 1);
    let expected = request.clone();
    let mut writer = client.try_clone().unwrap();
    let peer = thread::spawn(move || {
        writer.write_all(&request).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    bench.notes.pause = true;
    let deadline = Instant::now() + TIMEOUT;
    while !bench.notes.eofs.contains(&token) {
        assert!(Instant::now() < deadline, "{} bytes", bench.notes.bytes(token));
        bench.turn();
        if bench.notes.paused.remove(&token) {
            // Turns during the pause deliver nothing: `Notes::data` asserts it.
            bench.notes.paused.insert(token);
            bench.turn();
            bench.notes.paused.remove(&token);
            bench.driver.resume_receive(token);
            // Twice is once.
            bench.driver.resume_receive(token);
        }
    }
    peer.join().unwrap();
    assert!(bench.notes.received[&token] == expected);
}

#[test]
fn an_end_of_file_during_a_pause_is_reported_after_it() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (mut client, token) = bench.pair();
    bench.notes.pause = true;
    client.write_all(b"first").unwrap();
    bench.until(|notes| notes.paused.contains(&token));
    client.write_all(b"second").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bench.settle();
    assert_eq!(bench.notes.received[&token], b"first");
    bench.notes.pause = false;
    bench.notes.paused.clear();
    bench.driver.resume_receive(token);
    bench.until(|notes| notes.eofs.contains(&token));
    assert_eq!(bench.notes.received[&token], b"firstsecond");
}

#[test]
fn a_pause_that_nothing_arrives_in_costs_no_submission() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (mut client, token) = bench.pair();
    bench.notes.pause = true;
    client.write_all(b"a").unwrap();
    bench.until(|notes| notes.paused.contains(&token));
    bench.notes.paused.clear();
    let before = bench.counters();
    bench.driver.resume_receive(token);
    client.write_all(b"b").unwrap();
    bench.until(|notes| notes.bytes(token) == 2);
    assert_eq!(bench.counters().rearms, before.rearms);
    assert_eq!(bench.counters().completions, before.completions + 1);
}

#[test]
fn one_connection_gets_a_bounded_share_of_a_turn() {
    let _alone = alone();
    let mut bench = Bench::new(8, 256, 16 * 1024);
    let (mut client, token) = bench.pair();
    client.set_nonblocking(true).unwrap();
    let request = pattern(16 << 20, 5);
    let deadline = Instant::now() + TIMEOUT;
    let (mut written, mut largest) = (0, 0);
    while bench.notes.bytes(token) < request.len() {
        assert!(Instant::now() < deadline);
        // The socket is filled up, so that a turn finds more than a share.
        while let Ok(bytes @ 1..) = client.write(&request[written..]) {
            written += bytes;
        }
        bench.turn();
        largest = largest.max(bench.notes.in_turn.get(&token).copied().unwrap_or(0));
    }
    assert!(bench.notes.received[&token] == request);
    assert!(largest >= 256 * 1024, "no turn had a whole share to deliver: {largest}");
    assert!(largest <= (256 + 16) * 1024, "{largest} bytes in one turn");
}

#[test]
fn more_connections_than_buffers_are_all_served() {
    let _alone = alone();
    let mut bench = Bench::new(64, 2, 64);
    let mut clients: Vec<_> = (0..48).map(|_| bench.pair()).collect();
    // All at once, many buffers each, in one turn.
    for (seed, (client, _)) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(2000, seed)).unwrap();
    }
    let tokens: Vec<_> = clients.iter().map(|(_, token)| *token).collect();
    bench.until(|notes| tokens.iter().all(|token| notes.bytes(*token) == 2000));
    for (seed, token) in tokens.iter().enumerate() {
        assert_eq!(bench.notes.received[token], pattern(2000, seed));
    }
    assert!(bench.counters().buffers_exhausted > 0, "the ring was never empty: {:?}", bench.counters());
    // A connection that is closed while it waits for a buffer is forgotten.
    for (client, _) in &mut clients {
        client.write_all(&[1; 2000]).unwrap();
    }
    bench.turn();
    tokens.iter().for_each(|token| bench.driver.close(*token));
    bench.until(|notes| notes.closed.len() == 48);
    // Every buffer came back: a new connection is served.
    let (mut client, token) = bench.pair();
    client.write_all(&pattern(500, 0)).unwrap();
    bench.until(|notes| notes.bytes(token) == 500);
}

#[test]
fn an_empty_ring_does_not_spin() {
    let _alone = alone();
    let mut bench = Bench::new(64, 2, 64);
    let mut clients: Vec<_> = (0..32).map(|_| bench.pair()).collect();
    clients.iter_mut().for_each(|(client, _)| client.write_all(&[1; 640]).unwrap());
    bench.until(|notes| notes.received.values().map(Vec::len).sum::<usize>() == 32 * 640);
    bench.settle();
    let before = bench.counters();
    bench.driver.turn(Some(Duration::from_millis(5)), &mut bench.notes).unwrap();
    assert_eq!(bench.counters().completions, before.completions);
}

#[test]
fn after_a_half_close_the_reply_still_goes_out() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    client.write_all(b"ask").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bench.until(|notes| notes.eofs.contains(&token));
    assert_eq!(bench.notes.received[&token], b"ask");
    bench.driver.send(token, b"reply".to_vec());
    bench.driver.shutdown_write(token);
    let mut reply = Vec::new();
    bench.until(|notes| notes.sent.len() == 1);
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"reply");
    assert!(bench.notes.open.contains(&token), "the end of both directions is not yet the end");
    let before = bench.counters().completions;
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert_eq!(bench.counters().completions, before, "with nothing in flight nothing is cancelled");
}

#[test]
fn our_write_side_ends_first_and_the_peer_is_still_read() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    bench.driver.shutdown_write(token);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    bench.until(|notes| notes.bytes(token) == 10);
}

#[test]
fn a_full_submission_queue_loses_nothing() {
    let _alone = alone();
    // 64 entries, the least there are; four times as many are queued between two turns.
    let mut bench = Bench::new(300, 256, 256);
    let mut clients: Vec<_> = (0..256).map(|_| bench.pair()).collect();
    for (_, token) in &clients {
        bench.driver.send(*token, b"reply".to_vec());
    }
    bench.until(|notes| notes.sent.len() == 256);
    for (client, token) in &mut clients {
        client.read_exact(&mut [0; b"reply".len()]).unwrap();
        bench.driver.send(*token, b"again".to_vec());
        bench.driver.close(*token);
    }
    bench.until(|notes| notes.closed.len() == 256);
}

#[test]
fn a_crowd_of_uploads_shares_the_buffers() {
    const BUFFER_BYTES: usize = 1024;
    const UPLOAD_BYTES: usize = 64 * BUFFER_BYTES;
    let _alone = alone();
    let mut bench = Bench::new(64, 64, 1024);
    let uploads: Vec<_> = (0..40).map(|_| bench.pair()).collect();
    for (client, _) in &uploads {
        client.set_nonblocking(true).unwrap();
        let (mut client, request) = (client, pattern(UPLOAD_BYTES, 9));
        client.write_all(&request).unwrap();
    }
    // A multishot receive takes 32 buffers: two connections would have them all, in each of 20 turns.
    for _ in 0..8 {
        bench.turn();
    }
    let received: Vec<_> = uploads.iter().map(|&(_, token)| bench.notes.bytes(token)).collect();
    assert!(received.iter().all(|bytes| *bytes > 0), "{received:?}");
    bench.until(|notes| uploads.iter().all(|&(_, token)| notes.bytes(token) == UPLOAD_BYTES));
}

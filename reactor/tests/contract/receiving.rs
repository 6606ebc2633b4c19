//! Bytes in, and the pauses, ends and shares of a turn that go with them: points 3, 4, 5 and 9.

use crate::{
    harness::{Event, Harness},
    pattern::Pattern,
    world::thread,
};
use reactor::{Driver, Flow, Token};
use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testkit::random::Random;

pub fn echo<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    for round in 0..100_u8 {
        let request = vec![round; 1 + usize::from(round) * 97];
        peer.write_all(&request).unwrap();
        let received = harness.wait_data(token, request.len());
        assert_eq!(received, request);
        harness.send(token, received);
        harness.wait_sent(token);
        let mut reply = vec![0; request.len()];
        peer.read_exact(&mut reply).unwrap();
        assert_eq!(reply, request);
    }
    drop(peer);
    harness.wait_eof(token);
    harness.close(token);
    assert_eq!(harness.wait_closed(token), None);
    harness.finish();
}

pub fn many_connections_interleaved<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let mut pairs: Vec<_> = (0..50).map(|_| harness.accept()).collect();
    for round in 0..10_u8 {
        for (place, (peer, _)) in pairs.iter_mut().enumerate() {
            peer.write_all(&[round, u8::try_from(place).unwrap()]).unwrap();
        }
        for place in (0..pairs.len()).rev() {
            let request = harness.wait_data(pairs[place].1, 2);
            assert_eq!(request, [round, u8::try_from(place).unwrap()]);
            harness.send(pairs[place].1, request);
        }
        for (place, (peer, token)) in pairs.iter_mut().enumerate() {
            harness.wait_sent(*token);
            let mut reply = [0; 2];
            peer.read_exact(&mut reply).unwrap();
            assert_eq!(reply, [round, u8::try_from(place).unwrap()]);
        }
    }
    harness.finish();
}

pub fn bulk_in_both_directions<D: Driver>() {
    bulk::<D>(|_| Flow::Continue);
}

pub fn bulk_with_pauses<D: Driver>() {
    let mut random = Random::new(3);
    bulk::<D>(move |_| if random.number().is_multiple_of(3) { Flow::Pause } else { Flow::Continue });
}

/// Sends a stream each way at the same time, cut at random at every end.
fn bulk<D: Driver>(flow: impl FnMut(Token) -> Flow + 'static) {
    const BYTES: usize = 3_000_000;
    const UP: u64 = 1;
    const DOWN: u64 = 2;
    let mut harness = Harness::<D>::new();
    let (mut reader, token) = harness.accept();
    let mut writer = reader.try_clone().unwrap();
    harness.set_data_flow(flow);

    let writing = thread::spawn(move || {
        let (mut stream, mut random) = (Pattern::new(UP), Random::new(UP));
        while stream.offset < BYTES {
            let length = random.between(1, 30_000).min(BYTES - stream.offset);
            writer.write_all(&stream.take(length)).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        let (mut stream, mut random, mut buffer) = (Pattern::new(DOWN), Random::new(DOWN), vec![0; 30_000]);
        loop {
            let share = random.between(1, 30_000);
            match reader.read(&mut buffer[..share]).unwrap() {
                0 => return stream.offset,
                length => stream.check(&buffer[..length]),
            }
        }
    });

    let (mut up, mut down, mut random) = (Pattern::new(UP), Pattern::new(DOWN), Random::new(4));
    harness.send(token, down.take(10));
    let mut ended = false;
    harness.until("both streams end", |harness| {
        for event in harness.events() {
            match event {
                Event::Data(_, bytes) => up.check(&bytes),
                Event::Eof(_) => ended = true,
                Event::Sent(_, _) if down.offset == BYTES => harness.shutdown_write(token),
                Event::Sent(_, mut buffer) => {
                    let length = random.between(1, 100_000).min(BYTES - down.offset);
                    down.append(&mut buffer, length);
                    harness.send(token, buffer);
                }
                other => panic!("{other:?}"),
            }
        }
        for token in harness.paused() {
            harness.resume(token);
        }
        (ended && reading.is_finished()).then_some(())
    });
    assert_eq!(up.offset, BYTES);
    writing.join().unwrap();
    assert_eq!(reading.join().unwrap(), BYTES);
    harness.finish();
}

pub fn a_pause_keeps_bytes_back<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.set_data_flow(|_| Flow::Pause);
    let (mut stream, mut received) = (Pattern::new(5), Pattern::new(5));
    peer.write_all(&stream.take(50_000)).unwrap();
    let first = harness.wait_data(token, 1);
    received.check(&first);
    peer.write_all(&stream.take(50_000)).unwrap();
    // The trace checker fails if anything comes.
    harness.settle();
    assert_eq!(harness.events(), []);
    // A resume lets one more through, since its event returns a pause again.
    harness.resume(token);
    received.check(&harness.wait_data(token, 1));
    harness.set_data_flow(|_| Flow::Continue);
    harness.resume(token);
    while received.offset < stream.offset {
        received.check(&harness.wait_data(token, 1));
    }
    harness.finish();
}

/// Memory for what a pause keeps back is reserved before it is taken, and freed when it was delivered.
pub fn bytes_kept_by_a_pause_are_reserved<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.set_data_flow(|_| Flow::Pause);
    let (mut stream, mut received) = (Pattern::new(6), Pattern::new(6));
    peer.write_all(&stream.take(30_000)).unwrap();
    received.check(&harness.wait_data(token, 1));
    peer.write_all(&stream.take(30_000)).unwrap();
    harness.settle();
    harness.set_data_flow(|_| Flow::Continue);
    harness.resume(token);
    while received.offset < stream.offset {
        received.check(&harness.wait_data(token, 1));
    }
    harness.settle();
    assert_eq!(harness.reserved(token), 0, "all was delivered");
    harness.finish();
}

/// A driver that is granted nothing delivers every byte all the same, or ends the connection with what stands before
/// the gap.
pub fn a_refused_reservation_loses_no_byte_unnoticed<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.grant(0);
    harness.set_data_flow(|_| Flow::Pause);
    let (mut stream, mut received) = (Pattern::new(7), Pattern::new(7));
    for _ in 0..6 {
        peer.write_all(&stream.take(10_000)).unwrap();
    }
    received.check(&harness.wait_data(token, 1));
    harness.settle();
    harness.set_data_flow(|_| Flow::Continue);
    harness.resume(token);
    let mut ended = None;
    harness.until("all bytes, or the end", |harness| {
        for event in harness.events() {
            match event {
                // The trace checker sees to it that they are the next ones.
                Event::Data(_, bytes) => received.check(&bytes),
                Event::Closed(_, kind) => ended = Some(kind),
                other => panic!("{other:?}"),
            }
        }
        (ended.is_some() || received.offset == stream.offset).then_some(())
    });
    assert!(ended.is_none_or(|kind| kind.is_some()), "it ends by an error: {ended:?}");
    harness.finish();
}

pub fn a_pause_keeps_the_end_of_file_back<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.set_data_flow(|_| Flow::Pause);
    peer.write_all(b"last words").unwrap();
    assert_eq!(harness.wait_data(token, 10), b"last words");
    peer.shutdown(Shutdown::Write).unwrap();
    harness.settle();
    assert_eq!(harness.events(), []);
    harness.resume(token);
    harness.wait_eof(token);
    harness.finish();
}

pub fn a_reply_follows_the_end_of_file<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    peer.write_all(b"question").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(harness.wait_data(token, 8), b"question");
    harness.wait_eof(token);
    harness.settle();
    assert_eq!(harness.events(), [], "the end of one direction does not end the connection");
    harness.send(token, b"reply".to_vec());
    harness.wait_sent(token);
    harness.close(token);
    harness.wait_closed(token);
    let mut reply = Vec::new();
    peer.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"reply");
    harness.finish();
}

pub fn a_flood_does_not_starve_the_others<D: Driver>() {
    /// Turns within which a byte that has arrived is delivered, whatever the others do.
    const TURNS_MAX: usize = 8;
    /// More than any driver may deliver for one connection in one turn.
    const TURN_BYTES_MAX: usize = 1024 * 1024;
    let mut harness = Harness::<D>::new();
    let (mut flooder, flooded) = harness.accept();
    let (mut peer, token) = harness.accept();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            flooder.write_all(&[b'f'; 256 * 1024]).unwrap();
        }
    });
    for _ in 0..50 {
        harness.wait_data(flooded, 100_000);
        harness.events();
        // On loopback a byte has arrived when the call that sent it returns.
        peer.write_all(b"s").unwrap();
        let served = (0..TURNS_MAX).any(|_| {
            harness.turn(Some(Duration::ZERO));
            let mut served = false;
            let mut turn_bytes = 0;
            for event in harness.events() {
                match event {
                    Event::Data(from, _) if from == token => served = true,
                    Event::Data(_, bytes) => turn_bytes += bytes.len(),
                    other => panic!("{other:?}"),
                }
            }
            assert!(turn_bytes <= TURN_BYTES_MAX, "{turn_bytes} bytes in one turn");
            served
        });
        assert!(served, "not served within {TURNS_MAX} turns");
    }
    stop.store(true, Ordering::Relaxed);
    harness.until("the flood ends", |harness| harness.events().contains(&Event::Eof(flooded)).then_some(()));
    flood.join().unwrap();
    harness.finish();
}

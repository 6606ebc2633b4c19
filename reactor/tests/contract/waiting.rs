//! Events that end the wait of a turn. A turn that waits for ever when it should not is ended by a watchdog, and fails.

use crate::{
    harness::{Event, Harness, Options},
    world::thread,
};
use reactor::{Driver, Flow};
use std::{io::Write, sync::Arc, time::Duration};
use wake::mailbox::mailbox;

pub fn a_timeout_of_zero_does_not_wait<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (_peer, _) = harness.accept();
    // Each of them would wait for ever.
    for _ in 0..1_000 {
        harness.turn(Some(Duration::ZERO));
    }
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_timeout_ends_the_wait<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (_peer, _) = harness.accept();
    harness.turn(Some(Duration::from_millis(1)));
    harness.turn(Some(Duration::from_micros(1)));
    assert_eq!(harness.events(), []);
    harness.finish();
}

pub fn a_ring_from_another_thread_ends_the_wait<D: Driver>() {
    let mut harness = Harness::<D>::new();
    for _ in 0..100 {
        harness.bell.announce_sleep();
        let bell = Arc::clone(&harness.bell);
        let ringer = thread::spawn(move || bell.wake());
        harness.turn_without_limit();
        ringer.join().unwrap();
    }
    harness.finish();
}

pub fn a_ring_before_the_wait_is_not_lost<D: Driver>() {
    let mut harness = Harness::<D>::new();
    for _ in 0..100 {
        harness.bell.announce_sleep();
        harness.bell.wake();
        harness.turn_without_limit();
        // The same for news outside the protocol.
        harness.bell.signal();
        harness.turn_without_limit();
    }
    harness.finish();
}

pub fn a_posted_message_is_not_lost<D: Driver>() {
    const MESSAGES: u32 = 2_000;
    let mut harness = Harness::<D>::new();
    let (sender, receiver) = mailbox(4, Arc::clone(&harness.bell));
    let posting = thread::spawn(move || {
        for number in 0..MESSAGES {
            while sender.post(number).is_err() {
                thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < MESSAGES {
        harness.bell.announce_sleep();
        if receiver.is_empty() {
            harness.turn_without_limit();
        } else {
            harness.bell.awake();
        }
        while let Some(number) = receiver.take() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    posting.join().unwrap();
    harness.finish();
}

pub fn every_turn_is_counted<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let before = harness.counters();
    harness.settle();
    let after = harness.counters();
    assert_eq!(after.turns - before.turns, 10);
    let (_peer, _) = harness.accept();
    assert!(harness.counters().completions > after.completions);
    assert!(harness.counters().enters > before.enters);
    harness.finish();
}

/// Nothing more comes from the peers here; a completion that is pending is reported all the same.
pub fn an_unreported_completion_ends_the_wait<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut peer, token) = harness.accept();
    harness.send(token, b"hello".to_vec());
    harness.until_without_limit(|harness| harness.take(|event| matches!(event, Event::Sent(_, _)).then_some(())));
    // Bytes that came during a pause, and that the driver knows of.
    harness.set_data_flow(|_| Flow::Pause);
    peer.write_all(b"first").unwrap();
    harness.wait_data(token, 5);
    peer.write_all(b"second").unwrap();
    harness.settle();
    harness.resume(token);
    harness.until_without_limit(|harness| harness.take(|event| matches!(event, Event::Data(_, _)).then_some(())));
    harness.close(token);
    harness.until_without_limit(|harness| harness.take(|event| (*event == Event::Closed(token, None)).then_some(())));
    harness.finish();
}

pub fn a_rest_of_the_backlog_ends_the_wait<D: Driver>() {
    let mut harness = Harness::<D>::open(Options { connections_max: 90, ..Options::default() });
    let peers: Vec<_> = (0..100).map(|_| harness.peer()).collect();
    let mut open = Vec::new();
    let mut accept_until = |harness: &mut Harness<D>, count: usize| {
        harness.until_without_limit(|harness| {
            open.extend(harness.events().into_iter().filter_map(|event| match event {
                Event::Accepted(token, ..) => Some(token),
                _ => None,
            }));
            (open.len() == count).then(|| open[0])
        })
    };
    let first = accept_until(&mut harness, 90);
    // A slot that becomes free is filled from what has waited.
    harness.close(first);
    accept_until(&mut harness, 91);
    drop(peers);
    harness.finish();
}

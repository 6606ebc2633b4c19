//! The ring's positions and the sleep of its waiting threads, under every interleaving that the memory model allows.
//!
//! The real ring and the real protocol. `scripts/loom.sh` runs it, and `scripts/loom.sh --mutants` checks the models:
//! with any of the ring's orderings weakened in a copy of the sources, a model here must fail.
#![cfg(loom)]

use log::ring::{RingConsumer, RingProducer, ring};
use loom::{cell::UnsafeCell, sync::Arc, thread};
use wake::Sleeping;

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // More preemptions than the protocols have significant steps; without a bound the larger models take hours.
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn commit(producer: &mut RingProducer, bytes: &[u8]) -> Option<u64> {
    producer.reserve(bytes.len())?.copy_from_slice(bytes);
    Some(producer.commit(bytes.len()))
}

/// Takes the published bytes; the bytes of all batches count up from one.
fn take(consumer: &mut RingConsumer, taken: &mut Vec<u8>) -> usize {
    let bytes = consumer.look();
    taken.extend(consumer.readable().concat());
    consumer.release(bytes);
    bytes
}

#[test]
fn bytes_pass_once_and_in_order_around_the_end() {
    model(|| {
        let (mut producer, mut consumer) = ring(4);
        let sender = thread::spawn(move || {
            // The second batch straddles the ring's end, and fits only once the first is released.
            for batch in [[1, 2, 3], [4, 5, 6]] {
                while commit(&mut producer, &batch).is_none() {
                    thread::yield_now();
                }
                producer.publish();
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 6 {
            let bytes = take(&mut consumer, &mut taken);
            assert!(bytes % 3 == 0, "whole batches only");
            if bytes == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(taken, [1, 2, 3, 4, 5, 6]);
        sender.join().unwrap();
    });
}

#[test]
fn batches_are_published_together() {
    model(|| {
        let (mut producer, mut consumer) = ring(4);
        let sender = thread::spawn(move || {
            commit(&mut producer, &[1]).unwrap();
            commit(&mut producer, &[2, 3]).unwrap();
            producer.close();
        });
        let mut taken = Vec::new();
        loop {
            let is_closed = consumer.is_closed();
            let bytes = take(&mut consumer, &mut taken);
            assert!(bytes == 0 || bytes == 3);
            if is_closed && bytes == 0 {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(taken, [1, 2, 3], "who sees the close sees everything");
        sender.join().unwrap();
    });
}

/// The cell represents the file, and the checker verifies its accesses: a thread that sees the position sees the
/// content of the file.
#[test]
fn written_and_durable_are_seen_after_the_file() {
    model(|| {
        let (mut producer, mut consumer) = ring(2);
        let mut durability = consumer.durability();
        let file = Arc::new(UnsafeCell::new(()));
        let position = commit(&mut producer, &[1, 2]).unwrap();
        producer.await_durable(position);
        producer.publish();
        let writer = thread::spawn({
            let file = Arc::clone(&file);
            move || {
                let bytes = consumer.look();
                file.with_mut(|_| ());
                assert!(consumer.release(bytes).durable);
            }
        });
        let group_commit = thread::spawn(move || {
            if durability.is_wanted() {
                let written = durability.written();
                assert_eq!(written, 2);
                assert!(durability.publish(written));
            }
        });
        let is_durable = producer.durable() == position;
        if is_durable || producer.written() == position {
            file.with(|_| ());
        }
        assert!(!is_durable || producer.written() == position, "durable is never ahead of written");
        writer.join().unwrap();
        group_commit.join().unwrap();
    });
}

/// A thread that may sleep: the protocol, and parking in place of the eventfd. A lost wake-up is a deadlock.
struct Sleeper {
    sleeping: Sleeping,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self { sleeping: Sleeping::new() })
    }

    fn sleep_unless(&self, has_news: impl FnOnce() -> bool) {
        self.sleeping.announce();
        if !has_news() {
            thread::park();
        }
        self.sleeping.awake();
    }

    fn ring(&self, thread: &thread::Thread) {
        if self.sleeping.must_wake() {
            thread.unpark();
        }
    }
}

#[test]
fn a_sleeping_writer_is_woken_by_what_is_published() {
    model(|| {
        let (mut producer, mut consumer) = ring(2);
        let writer_bell = Sleeper::new();
        let writer = thread::current();
        let sender = thread::spawn({
            let writer_bell = Arc::clone(&writer_bell);
            move || {
                for byte in [1, 2] {
                    commit(&mut producer, &[byte]).unwrap();
                    producer.publish();
                    writer_bell.ring(&writer);
                }
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 2 {
            if take(&mut consumer, &mut taken) == 0 {
                writer_bell.sleep_unless(|| consumer.look() > 0);
            }
        }
        assert_eq!(taken, [1, 2]);
        sender.join().unwrap();
    });
}

#[test]
fn one_of_two_rings_is_enough_to_wake_the_writer() {
    model(|| {
        let (mut first, first_consumer) = ring(1);
        let (mut second, second_consumer) = ring(1);
        let mut rings = [first_consumer, second_consumer];
        let writer_bell = Sleeper::new();
        let writer = thread::current();
        let sender = thread::spawn({
            let (writer_bell, writer) = (Arc::clone(&writer_bell), writer.clone());
            move || {
                commit(&mut second, &[2]).unwrap();
                second.publish();
                writer_bell.ring(&writer);
            }
        });
        commit(&mut first, &[1]).unwrap();
        first.publish();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            let bytes: usize = rings.iter_mut().map(|ring| take(ring, &mut taken)).sum();
            if bytes == 0 {
                writer_bell.sleep_unless(|| rings.iter_mut().any(|ring| ring.look() > 0));
            }
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_sleeping_reactor_is_woken_by_what_is_written() {
    model(|| {
        let (mut producer, mut consumer) = ring(2);
        let (writer_bell, reactor_bell) = (Sleeper::new(), Sleeper::new());
        let reactor = thread::current();
        let writer = thread::spawn({
            let (writer_bell, reactor_bell) = (Arc::clone(&writer_bell), Arc::clone(&reactor_bell));
            move || {
                while consumer.look() == 0 {
                    writer_bell.sleep_unless(|| consumer.look() > 0);
                }
                let bytes = consumer.seen();
                assert!(consumer.release(bytes).written, "the reactor waits, so it is woken");
                reactor_bell.ring(&reactor);
            }
        });
        let position = commit(&mut producer, &[1]).unwrap();
        producer.await_written(position);
        producer.publish();
        writer_bell.ring(writer.thread());
        while producer.written() < position {
            reactor_bell.sleep_unless(|| producer.written() >= position);
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_sleeping_group_commit_is_woken_by_what_is_written() {
    model(|| {
        let (mut producer, mut consumer) = ring(2);
        let mut durability = consumer.durability();
        let bell = Sleeper::new();
        let group_commit = thread::current();
        let position = commit(&mut producer, &[1]).unwrap();
        producer.await_durable(position);
        producer.publish();
        let writer = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                let bytes = consumer.look();
                if consumer.release(bytes).durable {
                    bell.ring(&group_commit);
                }
            }
        });
        while !durability.is_wanted() {
            bell.sleep_unless(|| durability.is_wanted());
        }
        assert!(durability.publish(position));
        assert_eq!(producer.durable(), position);
        writer.join().unwrap();
    });
}

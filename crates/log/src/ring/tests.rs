use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn commit(producer: &mut RingProducer, bytes: &[u8]) -> u64 {
    producer.reserve(bytes.len()).unwrap().copy_from_slice(bytes);
    producer.commit(bytes.len())
}

fn content(consumer: &RingConsumer) -> Vec<u8> {
    consumer.readable().concat()
}

#[test]
fn a_batch_is_seen_when_it_is_published() {
    let (mut producer, mut consumer) = ring(16);
    assert_eq!(commit(&mut producer, b"one\n"), 4);
    assert_eq!(commit(&mut producer, b"three\n"), 10);
    assert_eq!(consumer.look(), 0);
    assert!(producer.publish());
    assert!(!producer.publish());
    assert_eq!(consumer.look(), 10);
    assert_eq!(content(&consumer), b"one\nthree\n");
    assert_eq!(producer.written(), 0);
    consumer.release(10);
    assert_eq!((producer.written(), consumer.look()), (10, 0));
}

#[test]
fn a_reservation_that_is_not_committed_leaves_nothing() {
    let (mut producer, mut consumer) = ring(16);
    producer.reserve(16).unwrap().fill(b'x');
    commit(&mut producer, b"one\n");
    producer.reserve(12).unwrap().fill(b'x');
    producer.publish();
    consumer.look();
    assert_eq!(content(&consumer), b"one\n");
}

#[test]
fn a_full_ring_refuses_and_takes_again() {
    let (mut producer, mut consumer) = ring(8);
    assert!(producer.reserve(9).is_none());
    commit(&mut producer, b"12345678");
    assert!(producer.reserve(1).is_none());
    assert!(producer.reserve(0).is_some());
    producer.publish();
    consumer.look();
    consumer.release(3);
    assert!(producer.reserve(4).is_none());
    assert_eq!(commit(&mut producer, b"abc"), 11);
    producer.publish();
    assert_eq!(content(&consumer), b"45678");
    consumer.release(5);
    consumer.look();
    assert_eq!(content(&consumer), b"abc");
}

#[test]
fn every_length_wraps_around_every_offset() {
    const CAPACITY: usize = 8;
    for offset in 0..CAPACITY {
        for length in 0..=CAPACITY {
            let (mut producer, mut consumer) = ring(CAPACITY);
            let mut pass = |bytes: &[u8]| {
                commit(&mut producer, bytes);
                producer.publish();
                assert_eq!(consumer.look(), bytes.len());
                assert_eq!(content(&consumer), bytes);
                consumer.release(bytes.len());
            };
            pass(&vec![0xff; offset]);
            pass(&(1..).take(length).collect::<Vec<u8>>());
            pass(b"after");
        }
    }
}

#[test]
#[should_panic(expected = "committed")]
fn more_than_was_reserved_is_our_own_bug() {
    let (mut producer, _consumer) = ring(8);
    producer.reserve(2).unwrap();
    producer.commit(3);
}

#[test]
fn a_closed_ring_has_published_everything() {
    let (mut producer, mut consumer) = ring(8);
    commit(&mut producer, b"last\n");
    assert!(!consumer.is_closed());
    producer.close();
    assert!(consumer.is_closed());
    assert_eq!((consumer.look(), consumer.unreleased()), (5, 5));
}

#[test]
fn who_waits_is_known_when_what_it_waits_for_is_released() {
    let (mut producer, mut consumer) = ring(64);
    let mut durability = consumer.durability();
    let mut pass = |producer: &mut RingProducer| {
        producer.publish();
        let bytes = consumer.look();
        let awaited = consumer.release(bytes);
        (awaited.written, awaited.durable)
    };
    commit(&mut producer, b"memory");
    assert_eq!(pass(&mut producer), (false, false));
    let position = commit(&mut producer, b"write");
    producer.await_written(position);
    commit(&mut producer, b"memory");
    assert_eq!(pass(&mut producer), (true, false));
    assert!(!durability.is_wanted());
    let position = commit(&mut producer, b"fsync");
    producer.await_durable(position);
    assert!(!durability.is_wanted());
    assert_eq!(pass(&mut producer), (false, true));
    assert!(durability.is_wanted());
    let written = durability.written();
    assert!(durability.publish(written));
    assert!(!durability.is_wanted());
    assert_eq!(producer.durable(), position);
    commit(&mut producer, b"memory");
    assert_eq!(pass(&mut producer), (false, false));
    assert!(!durability.is_wanted());
    let written = durability.written();
    assert!(!durability.publish(written));
}

#[test]
fn memory_is_taken_as_it_is_used() {
    let before = resident_bytes();
    let (mut producer, _consumer) = ring(512 << 20);
    producer.reserve(512 << 20).unwrap()[0] = 1;
    // Half of the ring is far more than the tests beside this one allocate meanwhile.
    assert!(resident_bytes() < before + (256 << 20));
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_ring_that_is_hardly_used_gives_its_memory_back() {
    const BYTES: usize = 128 << 20;
    let (mut producer, mut consumer) = ring(BYTES);
    let mut pass = |producer: &mut RingProducer, bytes: usize| {
        producer.reserve(bytes).unwrap().fill(b'x');
        producer.commit(bytes);
        producer.publish();
        let seen = consumer.look();
        consumer.release(seen);
    };
    pass(&mut producer, BYTES);
    let full = resident_bytes();
    producer.trim();
    assert!(resident_bytes() > full - BYTES / 2, "it was in use until now");
    pass(&mut producer, BYTES / 8 + 1);
    producer.trim();
    assert!(resident_bytes() > full - BYTES / 2, "it is in use");
    pass(&mut producer, BYTES / 8);
    producer.trim();
    assert!(resident_bytes() < full - BYTES / 2);
}

#[test]
fn a_trim_leaves_what_is_not_released() {
    const BYTES: usize = 1 << 19;
    // Places of head and tail in all orders, at pages and beside them.
    let places = [0, 1, PAGE_BYTES, PAGE_BYTES + 1, 5 * PAGE_BYTES - 1, BYTES / 2, BYTES - PAGE_BYTES, BYTES - 1];
    for start in places {
        for length in places {
            let (mut producer, mut consumer) = ring(BYTES);
            producer.reserve(start).unwrap().fill(b'a');
            producer.commit(start);
            producer.publish();
            let seen = consumer.look();
            consumer.release(seen);
            producer.trim();
            producer.trim();
            let content_before: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0] | 1).collect();
            commit(&mut producer, &content_before[..length / 2]);
            producer.publish();
            commit(&mut producer, &content_before[length / 2..]);
            producer.reserve(1).unwrap()[0] = b'b';
            producer.trim();
            producer.trim();
            producer.publish();
            assert_eq!(consumer.look(), length);
            assert!(content(&consumer) == content_before, "{length} bytes from {start}");
            consumer.release(length);
            producer.trim();
            commit(&mut producer, b"after\n");
            producer.publish();
            consumer.look();
            assert_eq!(content(&consumer), b"after\n");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Trim,
    Reserve(usize),
    Commit { reserved: usize, used: usize },
    Publish,
    Release(usize),
}

fn steps(capacity: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Trim),
        1 => (0..=capacity).prop_map(Step::Reserve),
        4 => (0..=capacity).prop_flat_map(|reserved| {
            (Just(reserved), 0..=reserved).prop_map(|(reserved, used)| Step::Commit { reserved, used })
        }),
        3 => Just(Step::Publish),
        3 => (0..=capacity).prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The model: a queue of bytes with the first `published` visible, and the last look's share of those.
    #[test]
    fn it_is_a_queue((capacity, steps) in (0_u32..7).prop_flat_map(|log2| (Just(1 << log2), steps(1 << log2)))) {
        let (mut producer, mut consumer) = ring(capacity);
        let mut model = VecDeque::new();
        let mut published = 0;
        let mut next = 0_u8;
        let (mut committed, mut written) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Trim => producer.trim(),
                Step::Reserve(bytes) => {
                    let reserved = producer.reserve(bytes);
                    prop_assert_eq!(reserved.is_some(), model.len() + bytes <= capacity);
                    if let Some(slice) = reserved {
                        prop_assert_eq!(slice.len(), bytes);
                        slice.fill(0xee);
                    }
                }
                Step::Commit { reserved, used } => {
                    let Some(slice) = producer.reserve(reserved) else {
                        prop_assert!(model.len() + reserved > capacity);
                        continue;
                    };
                    slice.fill(0xee);
                    for byte in &mut slice[..used] {
                        *byte = next;
                        model.push_back(next);
                        next = next.wrapping_add(1);
                    }
                    committed += used as u64;
                    prop_assert_eq!(producer.commit(used), committed);
                }
                Step::Publish => {
                    prop_assert_eq!(producer.publish(), published < model.len());
                    published = model.len();
                }
                Step::Release(bytes) => {
                    let seen = consumer.look();
                    prop_assert!(seen <= published);
                    prop_assert_eq!(seen == 0, published == 0);
                    let readable = content(&consumer);
                    prop_assert!(readable.iter().eq(model.iter().take(seen)));
                    let bytes = bytes.min(seen);
                    consumer.release(bytes);
                    model.drain(..bytes);
                    published -= bytes;
                    written += bytes as u64;
                    prop_assert_eq!(producer.written(), written);
                }
            }
            prop_assert_eq!(producer.committed(), committed);
            prop_assert_eq!(consumer.unreleased(), published as u64);
        }
    }
}

/// Both ends at full speed: records of a length and a sequence number, some filling half the ring.
#[test]
fn two_threads_pass_every_byte_once_and_in_order() {
    const RECORDS: u64 = 200_000;
    const CAPACITY: usize = 1024;
    let byte_of = |position: u64| position.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
    let (mut producer, mut consumer) = ring(CAPACITY);
    let sender = std::thread::spawn(move || {
        let mut random = 1_u64;
        for _ in 0..RECORDS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = match random >> 60 {
                0 => usize::try_from(random >> 32).unwrap() % (CAPACITY / 2),
                _ => usize::try_from(random >> 32).unwrap() % 40,
            };
            let start = producer.committed();
            loop {
                if let Some(slice) = producer.reserve(length) {
                    for (byte, position) in slice.iter_mut().zip(start..) {
                        *byte = byte_of(position);
                    }
                    break;
                }
                producer.publish();
                std::thread::yield_now();
            }
            producer.commit(length);
            if random >> 62 == 0 {
                producer.publish();
            }
        }
        producer.close();
        producer.committed()
    });
    let mut position = 0;
    loop {
        let is_closed = consumer.is_closed();
        let bytes = consumer.look();
        for byte in consumer.readable().into_iter().flatten() {
            assert_eq!(*byte, byte_of(position));
            position += 1;
        }
        consumer.release(bytes);
        if bytes == 0 {
            if is_closed {
                break;
            }
            std::thread::yield_now();
        }
    }
    assert_eq!(position, sender.join().unwrap());
}

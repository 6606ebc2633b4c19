//! The ring that carries allow and deny events off a reactor: lock-free, with one producer and one consumer.
//!
//! Owns the ring's memory and its two indices. Promises that the producer never waits: when the ring is full the event
//! is dropped and counted; and that every accepted event is taken out once, in order. The count of offered events is at
//! all times the sum of the accepted and the dropped ones.
//!
//! The slots are atomics used with relaxed ordering, which on x86-64 and AArch64 are plain loads and stores, so no
//! unsafe code is needed. The pair of indices orders them. The producer publishes `tail` with release after it has
//! filled slots, and the consumer loads it with acquire before it reads them. The consumer publishes `head` with
//! release after it has read slots, and the producer loads it with acquire before it fills them again.

use super::ClientKey;
use wake::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// A report of one request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The client.
    pub key: ClientKey,
    /// Time of the event, in nanoseconds of the limiter's clock; below 2^62, which is 146 years.
    pub stamp_ns: u64,
    /// The kind of event.
    pub kind: EventKind,
    /// Metrics of the request that were stored.
    pub metrics: u32,
}

/// The kind of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The limiter refused the request.
    Refused,
    /// The limiter admitted the request.
    Admitted,
    /// The limiter admitted the request, and it has metrics with timestamps far from now.
    FarFromNow,
}

/// An event in the ring: two words of key, the stamp with the kind in its two lowest bits, and the metrics. 32 bytes.
#[derive(Debug, Default)]
struct Slot([AtomicU64; 4]);

impl Slot {
    fn store(&self, event: Event) {
        let [high, low] = event.key.words();
        let words = [high, low, event.stamp_ns << 2 | event.kind as u64, u64::from(event.metrics)];
        for (word, value) in self.0.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Event {
        let [high, low, stamp, metrics] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        let kind = match stamp & 3 {
            0 => EventKind::Refused,
            1 => EventKind::Admitted,
            _ => EventKind::FarFromNow,
        };
        // A u32 was stored.
        let metrics = u32::try_from(metrics).unwrap_or(u32::MAX);
        Event { key: ClientKey::from_words([high, low]), stamp_ns: stamp >> 2, kind, metrics }
    }
}

/// Keeps the fields that the two sides write 128 bytes apart: the prefetcher of x86-64 fetches cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// The fields that the producer writes.
#[derive(Debug, Default)]
struct Produced {
    /// Number of events accepted since the ring was made.
    tail: AtomicUsize,
    /// Number of events dropped since the ring was made.
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    slots: Box<[Slot]>,
    produced: Line<Produced>,
    /// Number of events taken out since the ring was made; the consumer writes it.
    head: Line<AtomicUsize>,
}

impl Ring {
    fn slot(&self, index: usize) -> &Slot {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

/// The producer's end. One per ring, owned by its reactor.
#[derive(Debug)]
pub struct EventSender {
    ring: Arc<Ring>,
    tail: usize,
    /// `head` as it was last loaded; loaded again only when by it the ring is full.
    head_seen: usize,
    dropped: u64,
}

/// The consumer's end. One per ring.
#[derive(Debug)]
pub struct EventReceiver {
    ring: Arc<Ring>,
    head: usize,
}

/// Creates a ring for `capacity` events, a power of two.
///
/// # Panics
/// `capacity` is not a power of two.
#[must_use]
pub fn event_ring(capacity: usize) -> (EventSender, EventReceiver) {
    assert!(capacity.is_power_of_two(), "a ring of {capacity} events: not a power of two");
    let ring = Arc::new(Ring {
        slots: (0..capacity).map(|_| Slot::default()).collect(),
        produced: Line::default(),
        head: Line::default(),
    });
    let sender = EventSender { ring: Arc::clone(&ring), tail: 0, head_seen: 0, dropped: 0 };
    (sender, EventReceiver { ring, head: 0 })
}

impl EventSender {
    /// Puts an event in the ring. Returns `false` when the ring is full: the event is then dropped and counted.
    #[inline]
    pub fn offer(&mut self, event: Event) -> bool {
        debug_assert!(event.stamp_ns >> 62 == 0, "the stamp leaves two bits for the kind");
        if self.is_full() {
            self.dropped += 1;
            self.ring.produced.0.dropped.store(self.dropped, Ordering::Relaxed);
            return false;
        }
        self.ring.slot(self.tail).store(event);
        self.tail = self.tail.wrapping_add(1);
        self.ring.produced.0.tail.store(self.tail, Ordering::Release);
        true
    }

    /// True if [`offer`](Self::offer) would drop an event now.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        let capacity = self.ring.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head_seen) == capacity
    }
}

impl EventReceiver {
    /// Takes out, oldest first, the events that are in the ring at this moment, and returns their number. Events that
    /// the producer adds meanwhile are left for the next call, so a busy producer cannot prolong it.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) -> usize {
        let tail = self.ring.produced.0.tail.load(Ordering::Acquire);
        let count = tail.wrapping_sub(self.head);
        debug_assert!(count <= self.ring.slots.len(), "a ring holds no more than its capacity");
        for offset in 0..count {
            take(self.ring.slot(self.head.wrapping_add(offset)).load());
        }
        self.head = tail;
        self.ring.head.0.store(tail, Ordering::Release);
        count
    }

    /// Events that the producer has dropped since the ring was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.ring.produced.0.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    fn event(stamp_ns: u64) -> Event {
        let kind = match stamp_ns % 3 {
            0 => EventKind::Refused,
            1 => EventKind::Admitted,
            _ => EventKind::FarFromNow,
        };
        let metrics = !u32::try_from(stamp_ns & 0xffff_ffff).unwrap_or(0);
        Event { key: ClientKey::from_words([stamp_ns, !stamp_ns]), stamp_ns, kind, metrics }
    }

    #[test]
    fn a_full_ring_drops_and_counts_and_keeps_what_it_has() {
        let (mut sender, mut receiver) = event_ring(4);
        let taken_in = (0..10).filter(|&stamp_ns| sender.offer(event(stamp_ns))).count();
        assert_eq!((taken_in, receiver.dropped()), (4, 6));
        let mut seen = Vec::new();
        assert_eq!(receiver.drain(|event| seen.push(event)), 4);
        assert_eq!(seen, [0, 1, 2, 3].map(event));
        assert!(!sender.is_full());
        assert!(sender.offer(event((1 << 62) - 1)), "the largest stamps keep all their bits");
        assert_eq!(receiver.drain(|taken| assert_eq!(taken, event((1 << 62) - 1))), 1);
        assert_eq!(receiver.drain(|_| panic!("nothing is left")), 0);
    }

    /// Laps of a small ring under a producer that waits for space: all events, once, in order, whole.
    #[test]
    fn every_event_comes_out_once_and_in_order() {
        const EVENTS: u64 = 200_000;
        let (mut sender, mut receiver) = event_ring(64);
        thread::scope(|scope| {
            scope.spawn(move || {
                for stamp_ns in 0..EVENTS {
                    while sender.is_full() {
                        thread::yield_now();
                    }
                    assert!(sender.offer(event(stamp_ns)));
                }
            });
            let mut next = 0;
            while next < EVENTS {
                let count = receiver.drain(|taken| {
                    assert_eq!(taken, event(next));
                    next += 1;
                });
                if count == 0 {
                    thread::yield_now();
                }
            }
        });
        assert_eq!(receiver.dropped(), 0);
    }
}

//! The doorbell's protocol under loom, which runs every interleaving and every outcome that the memory model allows.
//!
//! The protocol depends on the fences, and loom models them. `scripts/loom.sh` runs it; `scripts/loom.sh --mutants`
//! removes either of them in a copy of the sources, and a model here has to lose a wake-up.
#![cfg(loom)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use wake::Sleeping;

/// The state that the threads of a model share. The wakes are only counted: no thread decides by them, so loom need not
/// model them.
struct Shared<const PUBLISHERS: usize> {
    protocol: Sleeping,
    sources: [AtomicUsize; PUBLISHERS],
    wakes: std::sync::atomic::AtomicUsize,
}

impl<const PUBLISHERS: usize> Shared<PUBLISHERS> {
    fn new() -> Arc<Self> {
        let sources = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { protocol: Sleeping::new(), sources, wakes: 0.into() })
    }

    fn publish(&self, source: usize, value: usize) {
        self.sources[source].store(value, Ordering::Release);
        if self.protocol.must_wake() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

/// Each publisher publishes one thing and wakes; the sleeper looks once, and sleeps if it sees nothing. It never really
/// sleeps: a sleep for ever shows when all threads have finished and none has woken it.
fn nobody_sleeps_for_ever<const PUBLISHERS: usize>() {
    loom::model(|| {
        let shared = Shared::<PUBLISHERS>::new();
        let publishing: [_; PUBLISHERS] = std::array::from_fn(|source| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.publish(source, 1))
        });

        shared.protocol.announce();
        let sleeps = shared.sources.iter().all(|source| source.load(Ordering::Acquire) == 0);
        if !sleeps {
            shared.protocol.awake();
        }

        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        let wakes = shared.wakes();
        assert!(!sleeps || wakes > 0, "a lost wake-up");
        assert!(wakes <= 1, "one announcement is followed by {wakes} wakes");
    });
}

#[test]
fn one_publisher() {
    nobody_sleeps_for_ever::<1>();
}

#[test]
fn two_publishers() {
    nobody_sleeps_for_ever::<2>();
}

/// One publisher publishes twice, and the sleeper announces again after it has seen the first.
#[test]
fn every_sleep_in_a_row_is_safe() {
    loom::model(|| {
        let shared = Shared::<1>::new();
        let publishing = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || (1..=2).for_each(|value| shared.publish(0, value)))
        };
        let (mut seen, mut announcements) = (0, 0);
        while seen < 2 {
            shared.protocol.announce();
            announcements += 1;
            let now = shared.sources[0].load(Ordering::Acquire);
            if now == seen {
                break;
            }
            seen = now;
            shared.protocol.awake();
        }
        publishing.join().unwrap();
        // A wake that was meant for an earlier announcement ends this sleep too: the eventfd keeps it.
        let wakes = shared.wakes();
        assert!(seen == 2 || wakes > 0, "a lost wake-up");
        assert!(wakes <= announcements, "{announcements} announcements are followed by {wakes} wakes");
    });
}

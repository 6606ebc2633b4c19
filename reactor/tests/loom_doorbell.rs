//! The doorbell's protocol under loom, which runs every interleaving and every outcome that the memory model allows:
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p reactor --release --test loom_doorbell`
//!
//! The fences are what makes it right, and loom models them: the same protocol without either of them is run as well, and
//! has to lose a wake-up.
#![cfg(loom)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    thread,
};
use reactor::Sleeping;

/// The protocol, as the product has it or with a fence less.
trait Protocol: Send + Sync + 'static {
    fn new() -> Self;
    fn announce(&self);
    fn awake(&self);
    fn must_wake(&self) -> bool;
}

impl Protocol for Sleeping {
    fn new() -> Self {
        Sleeping::new()
    }

    fn announce(&self) {
        self.announce();
    }

    fn awake(&self) {
        self.awake();
    }

    fn must_wake(&self) -> bool {
        self.must_wake()
    }
}

/// `Sleeping`, line by line, with the fences that are asked for.
struct Fenced<const SLEEPER: bool, const PUBLISHER: bool>(AtomicBool);

impl<const SLEEPER: bool, const PUBLISHER: bool> Protocol for Fenced<SLEEPER, PUBLISHER> {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn announce(&self) {
        self.0.swap(true, Ordering::Relaxed);
        if SLEEPER {
            fence(Ordering::SeqCst);
        }
    }

    fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn must_wake(&self) -> bool {
        if PUBLISHER {
            fence(Ordering::SeqCst);
        }
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// What the threads of a model share. The wakes are only counted: no thread decides by them, so loom need not know them.
struct Shared<P, const PUBLISHERS: usize> {
    protocol: P,
    sources: [AtomicUsize; PUBLISHERS],
    wakes: std::sync::atomic::AtomicUsize,
}

impl<P: Protocol, const PUBLISHERS: usize> Shared<P, PUBLISHERS> {
    fn new() -> Arc<Self> {
        let sources = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { protocol: P::new(), sources, wakes: 0.into() })
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

/// Each publisher publishes one thing and rings; the sleeper looks once, and sleeps if it sees nothing. It never really
/// sleeps: that it would have slept for ever shows when everybody is done and nobody has woken it.
fn nobody_sleeps_for_ever<P: Protocol, const PUBLISHERS: usize>() {
    loom::model(|| {
        let shared = Shared::<P, PUBLISHERS>::new();
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
        assert!(wakes <= 1, "one announcement is answered by {wakes} wakes");
    });
}

#[test]
fn one_publisher() {
    nobody_sleeps_for_ever::<Sleeping, 1>();
}

#[test]
fn two_publishers() {
    nobody_sleeps_for_ever::<Sleeping, 2>();
}

/// One publisher publishes twice, and the sleeper announces again after it has seen the first.
#[test]
fn every_sleep_in_a_row_is_safe() {
    loom::model(|| {
        let shared = Shared::<Sleeping, 1>::new();
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
        assert!(wakes <= announcements, "{announcements} announcements are answered by {wakes} wakes");
    });
}

/// The copy with both fences is the product's protocol; without one it differs from it in that fence alone.
#[test]
fn the_copy_with_both_fences_holds() {
    nobody_sleeps_for_ever::<Fenced<true, true>, 1>();
}

#[test]
#[should_panic(expected = "a lost wake-up")]
fn without_the_sleepers_fence_a_wake_up_is_lost() {
    nobody_sleeps_for_ever::<Fenced<false, true>, 1>();
}

#[test]
#[should_panic(expected = "a lost wake-up")]
fn without_the_publishers_fence_a_wake_up_is_lost() {
    nobody_sleeps_for_ever::<Fenced<true, false>, 1>();
}

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
        self.0.store(true, Ordering::Relaxed);
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

/// `publishers` threads publish one thing each and ring; the sleeper looks once, and sleeps if there is something missing.
/// It never really sleeps: that it would have slept for ever shows when everybody is done and nobody woke it.
fn nobody_sleeps_for_ever<P: Protocol>(publishers: usize) {
    loom::model(move || {
        let protocol = Arc::new(P::new());
        let wakes = Arc::new(AtomicUsize::new(0));
        let sources: Vec<_> = (0..publishers).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let publishing: Vec<_> = sources
            .iter()
            .map(|source| {
                let (protocol, source, wakes) = (Arc::clone(&protocol), Arc::clone(source), Arc::clone(&wakes));
                thread::spawn(move || {
                    source.store(1, Ordering::Release);
                    if protocol.must_wake() {
                        wakes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();

        protocol.announce();
        let seen = sources.iter().filter(|source| source.load(Ordering::Acquire) == 1).count();
        let sleeps = seen == 0;
        if !sleeps {
            protocol.awake();
        }

        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        let wakes = wakes.load(Ordering::Relaxed);
        assert!(!sleeps || wakes > 0, "a lost wake-up");
        assert!(wakes <= 1, "one announcement is answered by {wakes} wakes");
    });
}

#[test]
fn one_publisher() {
    nobody_sleeps_for_ever::<Sleeping>(1);
}

#[test]
fn two_publishers() {
    nobody_sleeps_for_ever::<Sleeping>(2);
}

/// What was published while the sleeper was awake is seen before its next sleep.
#[test]
fn every_sleep_in_a_row_is_safe() {
    loom::model(|| {
        let protocol = Arc::new(Sleeping::new());
        let source = Arc::new(AtomicUsize::new(0));
        let wakes = Arc::new(AtomicUsize::new(0));
        let publishing = {
            let (protocol, source, wakes) = (Arc::clone(&protocol), Arc::clone(&source), Arc::clone(&wakes));
            thread::spawn(move || {
                for number in 1..=2 {
                    source.store(number, Ordering::Release);
                    if protocol.must_wake() {
                        wakes.fetch_add(1, Ordering::Release);
                    }
                }
            })
        };
        let (mut seen, mut announcements) = (0, 0);
        // A wake that came while awake ends the next sleep at once, as it does on the eventfd.
        while seen < 2 {
            protocol.announce();
            announcements += 1;
            let now = source.load(Ordering::Acquire);
            if now == seen {
                break;
            }
            seen = now;
            protocol.awake();
        }
        publishing.join().unwrap();
        let wakes = wakes.load(Ordering::Relaxed);
        assert!(seen == 2 || wakes > 0, "a lost wake-up");
        assert!(wakes <= announcements, "{announcements} announcements are answered by {wakes} wakes");
    });
}

/// The copy with both fences is the product's protocol; without one it differs from it in that fence alone.
#[test]
fn the_copy_with_both_fences_holds() {
    nobody_sleeps_for_ever::<Fenced<true, true>>(2);
}

#[test]
#[should_panic(expected = "a lost wake-up")]
fn without_the_sleepers_fence_a_wake_up_is_lost() {
    nobody_sleeps_for_ever::<Fenced<false, true>>(1);
}

#[test]
#[should_panic(expected = "a lost wake-up")]
fn without_the_publishers_fence_a_wake_up_is_lost() {
    nobody_sleeps_for_ever::<Fenced<true, false>>(1);
}

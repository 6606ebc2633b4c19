//! The notices between the ends of a bounded channel under loom, which runs every interleaving and every outcome that
//! the memory model allows.
//!
//! The channel is two counters here, with no more order than a channel has: what is put is seen with its count. The
//! notices are counted. `scripts/loom.sh` runs the models; `scripts/loom.sh --mutants` weakens each fence and each
//! ordering in a copy of the sources, and a model here has to miss a part or wait for ever.
#![cfg(loom)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use wake::Notices;

/// Parts that the channel holds at most. There is space again once one is left.
const CAPACITY: usize = 2;

/// A channel with its notices, of which those to the writer are only counted.
struct Channel {
    notices: Notices,
    put: AtomicUsize,
    taken: AtomicUsize,
    /// Notices to the reader that were posted.
    posted: AtomicUsize,
    /// Notices of space that were sent. No thread decides by them, so loom need not model them.
    spaces: std::sync::atomic::AtomicUsize,
}

impl Channel {
    /// A channel that holds so many parts, which were announced and whose notice was accepted.
    fn with(parts: usize) -> Arc<Self> {
        Arc::new(Self {
            notices: Notices::new(),
            put: AtomicUsize::new(parts),
            taken: AtomicUsize::new(0),
            posted: AtomicUsize::new(0),
            spaces: 0.into(),
        })
    }

    fn put(&self, count: usize) {
        self.put.store(count, Ordering::Release);
        if self.notices.announce() {
            self.posted.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes all that is there, as a reader that was notified.
    fn take_all(&self) {
        self.taken.store(self.put.load(Ordering::Acquire), Ordering::Release);
    }

    fn has_space(&self) -> bool {
        self.put.load(Ordering::Relaxed) - self.taken.load(Ordering::Acquire) <= CAPACITY / 2
    }

    fn space_made(&self, must_notify: bool) {
        if must_notify {
            self.spaces.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A reader that looks only when it is notified finds every part, or a notice of it is under way; never two.
#[test]
fn what_is_put_is_noticed() {
    const PARTS: usize = 3;
    loom::model(|| {
        let channel = Channel::with(0);
        let writer = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || (1..=PARTS).for_each(|count| channel.put(count)))
        };
        let mut accepted = 0;
        for _ in 0..2 {
            let posted = channel.posted.load(Ordering::Acquire);
            assert!(posted - accepted <= 1, "two notices are under way");
            if posted > accepted {
                accepted += 1;
                channel.notices.accept();
                channel.take_all();
            }
        }
        writer.join().unwrap();
        let under_way = channel.posted.load(Ordering::Acquire) - accepted;
        let left = PARTS - channel.taken.load(Ordering::Relaxed);
        assert!(under_way <= 1, "two notices are under way");
        assert!(left == 0 || under_way == 1, "{left} parts that nobody is notified of");
    });
}

/// A writer that finds the channel full while the reader empties it is notified once if it waits, and not if it does
/// not.
#[test]
fn who_waits_for_space_is_notified_once() {
    loom::model(|| {
        let channel = Channel::with(CAPACITY);
        let reader = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                for taken in 1..=CAPACITY {
                    channel.taken.store(taken, Ordering::Release);
                    channel.space_made(channel.notices.must_notify_space());
                }
            })
        };
        let waits = channel.notices.request_space(|| channel.has_space());
        reader.join().unwrap();
        assert_eq!(channel.spaces.load(Ordering::Relaxed), usize::from(waits), "waits: {waits}");
    });
}

/// The same with a reader that leaves: the writer does not wait for ever.
#[test]
fn who_waits_for_space_is_notified_of_the_end() {
    loom::model(|| {
        let channel = Channel::with(CAPACITY);
        let reader = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || channel.space_made(channel.notices.cancel()))
        };
        let waits = channel.notices.request_space(|| channel.has_space());
        reader.join().unwrap();
        assert_eq!(channel.spaces.load(Ordering::Relaxed), usize::from(waits), "waits: {waits}");
        assert!(channel.notices.cancelled().load(Ordering::Relaxed));
    });
}

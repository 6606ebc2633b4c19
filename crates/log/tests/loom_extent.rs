//! The queue of extents, under every interleaving that the memory model allows, within loom's bounds: with two slots,
//! so that three extents go around their end. `scripts/loom.sh` runs it, and `--mutants` shows what it finds.
#![cfg(loom)]

use log::{
    LogPosition, SegmentId,
    extent::{Extent, ExtentReceiver, extents},
    segment::SegmentName,
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Switches between threads that loom may make where no thread had to wait.
const PREEMPTIONS_MAX: usize = 2;
/// Extents that are put: one more than there are slots.
const COUNT: u64 = 3;

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(test);
}

fn segment(end: u64) -> SegmentName {
    SegmentName::after(None, 1_767_323_045_000 + i64::try_from(end).unwrap())
}

/// The extent of one byte that ends at `end`. Each of its words is another one than that of any other extent.
fn extent(end: u64) -> Extent {
    Extent { begin: end - 1, end, byte: 100 * end, after: Some(segment(end)) }
}

/// The place of the batch that ends at `end`, if it is known: never one of which a word is of another extent.
fn is_located(receiver: &mut ExtentReceiver, end: u64) -> bool {
    let found = receiver.locate(end);
    let expected = LogPosition { segment: SegmentId::After(Some(segment(end))), byte: 100 * end + 1 };
    assert!(found.is_none_or(|found| found == expected), "{end}: {found:?}");
    found.is_some()
}

#[test]
fn an_extent_is_taken_whole() {
    model(|| {
        let (mut sender, mut receiver) = extents();
        let writer = thread::spawn(move || (1..=COUNT).for_each(|end| sender.put(&extent(end))));
        // The first two always have a slot. Nothing but the queue itself orders the two threads here.
        for end in 1..COUNT {
            while !is_located(&mut receiver, end) {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        // The last one had a slot or was dropped.
        is_located(&mut receiver, COUNT);
    });
}

#[test]
fn what_the_head_has_reached_is_located() {
    model(|| {
        let (mut sender, mut receiver) = extents();
        let head = Arc::new(AtomicU64::new(0));
        let writer = thread::spawn({
            let head = Arc::clone(&head);
            move || {
                for end in 1..=COUNT {
                    sender.put(&extent(end));
                    head.store(end, Ordering::Release);
                }
                sender
            }
        });
        let reached = head.load(Ordering::Acquire);
        let is_known = reached > 0 && is_located(&mut receiver, reached);
        // The last one may have been dropped, and nothing else.
        assert!(is_known || reached == 0 || reached == COUNT);
        receiver.pass(reached);
        let mut sender = writer.join().unwrap();
        // Asking for the last one frees the slots of all that were before it.
        is_located(&mut receiver, COUNT);
        sender.put(&extent(COUNT + 1));
        assert!(is_located(&mut receiver, COUNT + 1), "a slot was free");
    });
}

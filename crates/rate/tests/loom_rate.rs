//! The limiter and the event ring under the model checker: every interleaving of a few threads, and every value that
//! the memory model lets a load return.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p metricstream-rate --release --test loom_rate`
//!
//! Three copies at the end are broken on purpose, each in one place. The model has to find them; otherwise the tests
//! before them prove nothing.
#![cfg(loom)]

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};
use rate::{Charge, ClientKey, ClientKeys, Decision, Event, EventKind, Limiter, LimiterSetup, Standing, event_ring};

/// Length of the window in these tests.
const WINDOW_NS: u64 = 10;

fn limiter(limit: u32) -> Arc<Limiter> {
    let setup = LimiterSetup {
        limit,
        bytes_limit: 0,
        names_limit: 1,
        window_ns: WINDOW_NS,
        shards: 1,
        clients_max: 2,
        stamp_bytes_max: 1 << 20,
    };
    Arc::new(Limiter::new(setup))
}

fn client() -> ClientKey {
    ClientKeys::new().authorization(b"client")
}

/// Runs `requests[i]`, each a `now`, on a thread of its own, the last on this one; returns how many were admitted.
fn admitted(limiter: &Arc<Limiter>, key: ClientKey, requests: &[&'static [u64]]) -> usize {
    let decide = move |limiter: &Limiter, nows: &[u64]| {
        nows.iter().filter(|&&now_ns| matches!(limiter.admit(key, now_ns), Decision::Admitted { .. })).count()
    };
    let (own, others) = requests.split_last().expect("somebody asks");
    let threads: Vec<_> = others
        .iter()
        .map(|&nows| {
            let limiter = Arc::clone(limiter);
            thread::spawn(move || decide(&limiter, nows))
        })
        .collect();
    let own = decide(limiter, own);
    own + threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
}

#[test]
fn three_cores_at_one_instant_get_one_admission_of_a_limit_of_one() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(1);
        assert_eq!(admitted(&limiter, key, &[&[5], &[5], &[5]]), 1);
        assert!(matches!(limiter.admit(key, 5), Decision::Refused { retry_after_ns: WINDOW_NS }));
    });
}

#[test]
fn three_cores_get_two_admissions_of_a_limit_of_two() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(2);
        assert_eq!(admitted(&limiter, key, &[&[5], &[6], &[7]]), 2);
        assert_eq!(limiter.clients(), 1);
    });
}

#[test]
fn two_cores_with_two_requests_each_get_two_admissions_of_a_limit_of_two() {
    let key = client();
    loom::model(move || assert_eq!(admitted(&limiter(2), key, &[&[5, 8], &[6, 7]]), 2));
}

/// Two windows' worth of requests. Whichever comes first, the one at 15 finds that of 5 expired and that of 6 still
/// counted, unless its own time was the first: then those before it are late and are judged at 15.
#[test]
fn across_the_boundary_no_core_gets_too_many_or_too_few() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(1);
        let count = admitted(&limiter, key, &[&[5], &[15]]);
        // In order: 5, then 15, a full window later. The other way round both are at 15, and one is refused.
        assert!((1..=2).contains(&count));
        let last = limiter.admit(key, 15);
        assert!(matches!(last, Decision::Refused { retry_after_ns: WINDOW_NS }), "one stamp is at 15: {last:?}");
    });
}

/// Charge, decode, refund: what one core refunds another can have, once and not before, and no admission is lost. The
/// request of this core is refused by the server itself; that of the other one is served.
#[test]
fn what_is_given_back_is_had_once_by_another_core() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(1);
        let is_admitted = |decision| matches!(decision, Decision::Admitted { .. });
        let other = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || is_admitted(limiter.admit(key, 6)))
        };
        if let Decision::Admitted { stamp_ns } = limiter.admit(key, 5) {
            let charge = Charge { client: key, standing: Standing::PROVEN, stamp_ns, bytes: 0 };
            limiter.refund(charge, 5);
        }
        let served = other.join().unwrap();
        assert_eq!(is_admitted(limiter.admit(key, 7)), !served, "one request is served in the window");
    });
}

/// A refund removes its own stamp and not the other core's, whichever came first: the window of the served request
/// stays.
#[test]
fn a_refund_takes_no_other_cores_stamp() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(2);
        let served = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || match limiter.admit(key, 9) {
                Decision::Admitted { stamp_ns } => stamp_ns,
                refusal => panic!("a limit of two: {refusal:?}"),
            })
        };
        let Decision::Admitted { stamp_ns } = limiter.admit(key, 5) else { panic!("a limit of two") };
        limiter.refund(Charge { client: key, standing: Standing::PROVEN, stamp_ns, bytes: 0 }, 5);
        let served_ns = served.join().unwrap();
        // If the other stamp had been removed, that of 5 would be left, and would have left the window by now.
        assert!(matches!(limiter.admit(key, 16), Decision::Admitted { .. }), "one of two");
        let full = limiter.admit(key, 16);
        assert!(matches!(full, Decision::Refused { retry_after_ns } if retry_after_ns == served_ns + WINDOW_NS - 16));
    });
}

/// A core forgets the idle clients while others decide: no stamps are lost while they count.
#[test]
fn forgetting_the_idle_gives_no_second_admission() {
    let key = client();
    loom::model(move || {
        let limiter = limiter(1);
        assert_eq!(limiter.admit(key, 5), Decision::Admitted { stamp_ns: 5 });
        let tending = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || limiter.forget_idle(15))
        };
        let count = admitted(&limiter, key, &[&[14], &[15]]);
        tending.join().unwrap();
        assert_eq!(count, 1, "one admission fits the window that ends at 15");
    });
}

fn event(stamp_ns: u64) -> Event {
    let mut key = ClientKey::default();
    if stamp_ns % 2 == 1 {
        // Another key in every second event, so that the words of two events cannot be taken for one.
        key = odd_key();
    }
    let kind = if stamp_ns % 2 == 1 { EventKind::Admitted } else { EventKind::Refused };
    Event { key, stamp_ns, kind, metrics: 7 }
}

fn odd_key() -> ClientKey {
    static KEY: std::sync::OnceLock<ClientKey> = std::sync::OnceLock::new();
    *KEY.get_or_init(client)
}

#[test]
fn events_come_out_whole_once_and_in_order_and_the_rest_is_counted() {
    odd_key();
    loom::model(|| {
        const OFFERED: u64 = 4;
        let (mut sender, mut receiver) = event_ring(2);
        let producer = thread::spawn(move || {
            let taken_in = (1..=OFFERED).filter(|&stamp_ns| sender.offer(event(stamp_ns)));
            taken_in.collect::<Vec<u64>>()
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            receiver.drain(|event| seen.push(event));
        }
        let taken_in = producer.join().unwrap();
        receiver.drain(|event| seen.push(event));
        assert_eq!(seen, taken_in.iter().map(|&stamp_ns| event(stamp_ns)).collect::<Vec<Event>>());
        assert_eq!(taken_in.len() as u64 + receiver.dropped(), OFFERED);
        assert!(taken_in.starts_with(&[1, 2]), "there was space for the first two");
    });
}

/// A limiter of one that looks and acts under two locks instead of one.
#[test]
#[should_panic(expected = "over-admitted")]
fn a_limiter_that_lets_go_of_its_lock_between_look_and_act_is_found_out() {
    loom::model(|| {
        let admissions = Arc::new(Mutex::new(0));
        let admit = |admissions: &Mutex<u32>| {
            let full = *admissions.lock().unwrap() == 1;
            if !full {
                *admissions.lock().unwrap() += 1;
            }
        };
        let other = {
            let admissions = Arc::clone(&admissions);
            thread::spawn(move || admit(&admissions))
        };
        admit(&admissions);
        other.join().unwrap();
        assert!(*admissions.lock().unwrap() <= 1, "over-admitted");
    });
}

/// The defect of a copy of the event ring.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// The producer's index is published without release.
    TailRelaxed,
    /// The consumer returns slots before it has read them, as the processor may when `head` lacks its release. (The
    /// model runs loads in program order, so the missing release itself would not show.)
    HeadEarly,
}

/// The ring of `crates/rate/src/events.rs`, reduced to one word an event.
struct CopiedRing {
    slots: [AtomicU64; 2],
    tail: AtomicUsize,
    head: AtomicUsize,
}

/// Sends 1, 2, 3 through a ring of two, and checks that what comes out is that, from the front.
fn run_copied_ring(flaw: Flaw) {
    loom::model(move || {
        let slots = [AtomicU64::new(0), AtomicU64::new(0)];
        let ring = Arc::new(CopiedRing { slots, tail: AtomicUsize::new(0), head: AtomicUsize::new(0) });
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let publish = if flaw == Flaw::TailRelaxed { Ordering::Relaxed } else { Ordering::Release };
                for tail in 0..3 {
                    if tail - ring.head.load(Ordering::Acquire) == 2 {
                        return;
                    }
                    ring.slots[tail % 2].store(tail as u64 + 1, Ordering::Relaxed);
                    ring.tail.store(tail + 1, publish);
                }
            })
        };
        let mut head = 0;
        for _ in 0..2 {
            let tail = ring.tail.load(Ordering::Acquire);
            if flaw == Flaw::HeadEarly {
                ring.head.store(tail, Ordering::Release);
            }
            while head < tail {
                assert_eq!(ring.slots[head % 2].load(Ordering::Relaxed), head as u64 + 1, "the wrong event");
                head += 1;
            }
            ring.head.store(head, Ordering::Release);
        }
        producer.join().unwrap();
    });
}

#[test]
fn the_copied_ring_is_sound_as_it_is_in_the_product() {
    run_copied_ring(Flaw::None);
}

#[test]
#[should_panic(expected = "the wrong event")]
fn a_ring_that_publishes_its_tail_relaxed_is_found_out() {
    run_copied_ring(Flaw::TailRelaxed);
}

#[test]
#[should_panic(expected = "the wrong event")]
fn a_ring_that_gives_slots_back_before_reading_them_is_found_out() {
    run_copied_ring(Flaw::HeadEarly);
}

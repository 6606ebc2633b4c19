//! The limiter against a naive one, and under many threads. No clock is read: time is a number here.

use super::{
    ClientKey, ClientKeys, Decision, Event, EventKind, EventSender, Ledger, Limiter, LimiterSetup, Totals, event_ring,
    stamps::SLAB_BYTES,
};
use crate::limits::{RATE_HAND_SLOTS_FULL, RATE_STAMP_BYTES_MAX, RATE_TEND_SLOTS};
use proptest::prelude::*;
use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// One second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn setup(limit: u32) -> LimiterSetup {
    LimiterSetup { limit, window_ns: SECOND, shards: 1, clients_max: 1_000, stamp_bytes_max: RATE_STAMP_BYTES_MAX }
}

fn keys(count: usize) -> Vec<ClientKey> {
    let keys = ClientKeys::new();
    (0..count).map(|client| keys.authorization(&client.to_le_bytes())).collect()
}

const fn refused(retry_after_ns: u64) -> Decision {
    Decision::Refused { retry_after_ns }
}

/// What the limiter has to equal: every stamp of every client, kept for ever, counted anew for each request.
struct Naive {
    limit: usize,
    window_ns: u64,
    clock_ns: u64,
    stamps_ns: HashMap<ClientKey, VecDeque<u64>>,
}

impl Naive {
    fn admit(&mut self, key: ClientKey, now_ns: u64) -> Decision {
        self.clock_ns = self.clock_ns.max(now_ns);
        let (clock_ns, window_ns) = (self.clock_ns, self.window_ns);
        let stamps_ns = self.stamps_ns.entry(key).or_default();
        let counted: Vec<u64> = stamps_ns.iter().copied().filter(|stamp| stamp + window_ns > clock_ns).collect();
        if counted.len() < self.limit {
            stamps_ns.push_back(clock_ns);
            Decision::Admitted
        } else {
            // Free again when the newest `limit` of them have lost their oldest.
            refused(counted[counted.len() - self.limit] + window_ns - now_ns)
        }
    }
}

/// How far the clock moves before a request: not at all, a little, to an exact boundary, or back.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => Just(0_i64),
        8 => 1..40_i64,
        2 => Just(100_i64),
        2 => Just(99_i64),
        1 => 100..350_i64,
        3 => -60..0_i64,
    ]
}

proptest! {
    /// Windows of 100 ns, so that steps often land on the boundary. Clients are few, so that logs fill, and the table is
    /// small, so that its hand passes often and clients move when others are forgotten. One step in seven tends.
    #[test]
    fn decides_as_the_naive_limiter_does(
        limit in 1..40_u32,
        steps in prop::collection::vec((step(), 0..7_usize), 1..600),
    ) {
        let limiter = Limiter::new(LimiterSetup { window_ns: 100, clients_max: 6, ..setup(limit) });
        let mut naive = Naive { limit: limit as usize, window_ns: 100, clock_ns: 0, stamps_ns: HashMap::new() };
        let keys = keys(6);
        let mut now_ns = 1_000_u64;
        for (step, client) in steps {
            now_ns = now_ns.saturating_add_signed(step);
            match keys.get(client) {
                Some(&key) => prop_assert_eq!(limiter.admit(key, now_ns), naive.admit(key, now_ns)),
                None => {
                    limiter.tend(now_ns);
                    naive.clock_ns = naive.clock_ns.max(now_ns);
                }
            }
        }
    }

    /// Many clients over several shards, with a clock that only goes forward: shards cannot be told apart from one table.
    #[test]
    fn shards_decide_as_one(
        limit in 1..4_u32,
        steps in prop::collection::vec((0..12_u64, 0..64_usize), 1..600),
    ) {
        let limiter = Limiter::new(LimiterSetup { window_ns: 100, shards: 4, clients_max: 256, ..setup(limit) });
        let mut naive = Naive { limit: limit as usize, window_ns: 100, clock_ns: 0, stamps_ns: HashMap::new() };
        let keys = keys(64);
        let mut now_ns = 0;
        for (step, client) in steps {
            now_ns += step;
            prop_assert_eq!(limiter.admit(keys[client], now_ns), naive.admit(keys[client], now_ns));
        }
    }
}

#[test]
fn fifteen_quick_requests_at_a_limit_of_ten_are_ten_admitted_and_five_refused() {
    let limiter = Limiter::new(setup(10));
    let key = keys(1)[0];
    let decisions: Vec<Decision> = (0..15).map(|i| limiter.admit(key, SECOND + i)).collect();
    assert_eq!(decisions[..10], [Decision::Admitted; 10]);
    // The first stamp leaves the window one second after it was made.
    for (i, decision) in (10..).zip(&decisions[10..]) {
        assert_eq!(*decision, refused(SECOND - i));
    }
}

#[test]
fn a_stamp_exactly_one_window_old_does_not_count() {
    let limiter = Limiter::new(setup(1));
    let key = keys(1)[0];
    assert_eq!(limiter.admit(key, 5), Decision::Admitted);
    assert_eq!(limiter.admit(key, 5 + SECOND - 1), refused(1));
    assert_eq!(limiter.admit(key, 5 + SECOND), Decision::Admitted);
    assert_eq!(limiter.admit(key, 5 + SECOND), refused(SECOND));
}

#[test]
fn the_stated_wait_is_exact() {
    let limiter = Limiter::new(setup(3));
    let key = keys(1)[0];
    for now_ns in [100, 200, 300] {
        assert_eq!(limiter.admit(key, now_ns), Decision::Admitted);
    }
    let Decision::Refused { retry_after_ns } = limiter.admit(key, 400) else { panic!("the window is full") };
    assert_eq!(limiter.admit(key, 400 + retry_after_ns - 1), refused(1));
    assert_eq!(limiter.admit(key, 400 + retry_after_ns), Decision::Admitted);
    assert_eq!(limiter.admit(key, 400 + retry_after_ns), refused(100), "only the first stamp had left");
}

#[test]
fn refused_requests_do_not_count() {
    let limiter = Limiter::new(setup(2));
    let key = keys(1)[0];
    for now_ns in 0..1_000 {
        limiter.admit(key, now_ns);
    }
    assert_eq!(limiter.admit(key, SECOND), Decision::Admitted);
    assert_eq!(limiter.admit(key, SECOND + 1), Decision::Admitted);
    assert_eq!(limiter.admit(key, SECOND + 2), refused(SECOND - 2));
}

#[test]
fn clients_do_not_feel_each_other() {
    let limiter = Limiter::new(LimiterSetup { shards: 16, clients_max: 16_000, ..setup(2) });
    let keys = keys(4_000);
    for verdict in [Decision::Admitted, Decision::Admitted, refused(SECOND)] {
        for &key in &keys {
            assert_eq!(limiter.admit(key, 7), verdict);
        }
    }
    assert_eq!(limiter.clients(), 4_000);
}

/// A core read its clock just before another core forgot the client: the late request must not find an empty log in a
/// window whose stamps still counted at its time.
#[test]
fn a_late_request_after_the_client_was_forgotten_overfills_no_window() {
    let limiter = Limiter::new(LimiterSetup { clients_max: 2, ..setup(1) });
    let keys = keys(2);
    assert_eq!(limiter.admit(keys[0], 900), Decision::Admitted);
    assert_eq!(limiter.admit(keys[1], 901), Decision::Admitted);
    limiter.tend(900 + SECOND);
    assert_eq!(limiter.clients(), 1, "the first client was forgotten");
    assert_eq!(limiter.admit(keys[0], 901), Decision::Admitted, "at the shard's clock, a full window after its stamp");
    assert_eq!(limiter.admit(keys[0], 900 + SECOND), refused(SECOND), "and with its stamp there");
}

#[test]
fn a_full_table_refuses_new_clients_and_no_others() {
    let limiter = Limiter::new(LimiterSetup { clients_max: 100, ..setup(2) });
    let keys = keys(101);
    for &key in &keys[..100] {
        assert_eq!(limiter.admit(key, 1), Decision::Admitted);
    }
    assert_eq!(limiter.admit(keys[100], 2), Decision::TableFull);
    assert_eq!(limiter.clients(), 100);
    for &key in &keys[..100] {
        assert_eq!(limiter.admit(key, 2), Decision::Admitted);
        assert_eq!(limiter.admit(key, 2), refused(SECOND - 1));
    }
    assert_eq!(limiter.admit(keys[100], 1 + SECOND), Decision::TableFull, "the second stamps still count");
    assert_eq!(limiter.admit(keys[100], 2 + SECOND), Decision::Admitted, "an idle client was forgotten for it");
}

/// Whatever order they idle in, the bounded look finds one within a lap of the hand, and a table of the idle is no obstacle.
#[test]
fn a_table_full_of_idle_clients_takes_as_many_new_ones() {
    let clients = 10 * RATE_HAND_SLOTS_FULL;
    let limiter = Limiter::new(LimiterSetup { clients_max: clients, ..setup(5) });
    let keys = keys(2 * clients);
    for &key in &keys[..clients] {
        assert_eq!(limiter.admit(key, 1), Decision::Admitted);
    }
    for &key in &keys[clients..] {
        assert_eq!(limiter.admit(key, 1 + SECOND), Decision::Admitted);
    }
    for &key in &keys[clients..] {
        assert_eq!(limiter.admit(key, 2 + SECOND), Decision::Admitted, "each is still found");
    }
    assert_eq!(limiter.clients(), clients, "all of the old and none of the new were forgotten");
}

#[test]
fn memory_is_bounded_by_the_last_second_and_comes_back() {
    let limiter = Limiter::new(setup(10_000));
    let keys = keys(20);
    let empty = limiter.memory_bytes();
    let mut peak = 0;
    for second in 0..5 {
        for i in 0..10_000 {
            for &key in &keys {
                assert_eq!(limiter.admit(key, second * SECOND + i), Decision::Admitted);
            }
        }
        let bytes = limiter.memory_bytes();
        assert!(second == 0 || bytes == peak, "the first second's memory serves the following ones");
        peak = bytes;
    }
    // 200,000 stamps, seven in 64 bytes, but for each client's first and last; the last slab may be part empty.
    let stamp_bytes = 20 * 9_998_usize.div_ceil(7) * 64;
    assert!((stamp_bytes..=stamp_bytes + 20 * 64 + SLAB_BYTES).contains(&(peak - empty)), "{} bytes", peak - empty);
    for _ in 0..2_048_usize.div_ceil(RATE_TEND_SLOTS) + 1 {
        limiter.tend(10 * SECOND);
    }
    assert_eq!(limiter.clients(), 0);
    assert_eq!(limiter.memory_bytes(), empty);
}

/// A log that was long shrinks while its client goes on at a lower rate: chunks come free for others.
#[test]
fn a_log_shrinks_with_its_clients_rate() {
    let stamp_bytes_max = 2 * SLAB_BYTES;
    let limiter = Limiter::new(LimiterSetup { stamp_bytes_max, ..setup(3_000) });
    let keys = keys(2);
    for now_ns in 0..3_000 {
        assert_eq!(limiter.admit(keys[0], now_ns), Decision::Admitted);
    }
    let admitted = (0..3_000).take_while(|i| limiter.admit(keys[1], 3_000 + i) == Decision::Admitted).count();
    assert_eq!(admitted, 2 + (512 - 2_998_usize.div_ceil(7)) * 7, "what was left of 512 chunks");
    // One request in 10 us takes two of the old stamps out, puts its own in, and never lets the client be idle.
    for i in 1..=1_500 {
        assert_eq!(limiter.admit(keys[0], SECOND + 10_000 * i), Decision::Admitted);
    }
    let now_ns = SECOND + 10_000 * 1_500;
    assert_eq!((0..1_900).filter(|_| limiter.admit(keys[1], now_ns) == Decision::Admitted).count(), 1_900);
}

#[test]
fn a_spent_stamp_budget_refuses_as_a_full_table_and_hurts_no_slow_client() {
    let limiter = Limiter::new(LimiterSetup { stamp_bytes_max: SLAB_BYTES, ..setup(10_000) });
    let keys = keys(3);
    let room = SLAB_BYTES / 64 * 7 + 2;
    for now_ns in 0..room as u64 {
        assert_eq!(limiter.admit(keys[0], now_ns), Decision::Admitted);
    }
    let now_ns = room as u64;
    assert_eq!(limiter.admit(keys[0], now_ns), Decision::TableFull);
    assert_eq!(limiter.admit(keys[1], now_ns), Decision::Admitted);
    assert_eq!(limiter.admit(keys[1], now_ns), Decision::Admitted);
    assert_eq!(limiter.admit(keys[1], now_ns), Decision::TableFull, "a third stamp needs a chunk");
    assert_eq!(limiter.admit(keys[2], now_ns), Decision::Admitted);
    // Seven stamps have left the window. Each request takes two of them out, and the seventh frees a chunk.
    let decisions = [(); 4].map(|()| limiter.admit(keys[0], SECOND + 6));
    assert_eq!(decisions, [Decision::TableFull, Decision::TableFull, Decision::TableFull, Decision::Admitted]);
}

#[test]
fn the_end_of_time_is_no_trouble() {
    let limiter = Limiter::new(setup(2));
    let key = keys(1)[0];
    assert_eq!(limiter.admit(key, u64::MAX), Decision::Admitted);
    assert_eq!(limiter.admit(key, u64::MAX), Decision::Admitted);
    assert_eq!(limiter.admit(key, u64::MAX), refused(SECOND));
    assert_eq!(limiter.admit(key, 0), refused(u64::MAX), "a wait that no number holds is the longest there is");
}

/// Eight threads on one client, each with a clock reading that is late by as much as the thread was held up. Replayed in
/// the order in which they were made, all decisions are those of one sequential limiter; so no window holds more than the
/// limit, and none was refused that such a limiter would have admitted.
#[test]
fn eight_threads_on_one_client_decide_as_one() {
    const WINDOW_NS: u64 = 300;
    for limit in [1, 2, 7, 50] {
        let limiter = Limiter::new(LimiterSetup { window_ns: WINDOW_NS, ..setup(limit) });
        let key = keys(1)[0];
        let (clock, order) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut decisions: Vec<(u64, u64, Decision)> = thread::scope(|scope| {
            let hammer = || {
                let decide = |i: u64| {
                    let now_ns = clock.fetch_add(i % 3, Ordering::Relaxed);
                    let mut place = 0;
                    let decision =
                        limiter.admit_witnessed(key, now_ns, || place = order.fetch_add(1, Ordering::Relaxed));
                    (place, now_ns, decision)
                };
                (0..4_000).map(decide).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(hammer)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        decisions.sort_unstable_by_key(|&(place, ..)| place);
        let mut naive = Naive { limit: limit as usize, window_ns: WINDOW_NS, clock_ns: 0, stamps_ns: HashMap::new() };
        for (place, now_ns, decision) in decisions {
            assert_eq!(decision, naive.admit(key, now_ns), "limit {limit}, decision {place} at {now_ns}");
        }
        let stamps_ns = &naive.stamps_ns[&key];
        for (oldest, next) in stamps_ns.iter().zip(stamps_ns.iter().skip(limit as usize)) {
            assert!(next - oldest >= WINDOW_NS, "limit {limit}: {} stamps within a window", limit + 1);
        }
    }
}

/// The product's acceptance figure, with rings that cannot fill.
#[test]
fn a_hundred_writers_of_a_thousand_events_yield_exactly_a_hundred_thousand() {
    let (totals, _) = write_events(100, 1_000, 1_024);
    assert_eq!(totals, Totals { allowed: 75_000, refused: 25_000, dropped: 0 });
}

/// The same with rings that do: what is missing was counted.
#[test]
fn what_full_rings_drop_is_counted() {
    let (totals, offered_in_vain) = write_events(100, 1_000, 16);
    assert_eq!(totals.decisions(), 100_000);
    assert_eq!(totals.dropped, offered_in_vain);
}

/// Lets each of `writers` threads offer `events` events of its own client, every fourth a refusal, to its own ring, while
/// a ledger drains. Answers the ledger's totals and how many events the writers were told are dropped.
fn write_events(writers: u32, events: u64, capacity: usize) -> (Totals, u64) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..writers).map(|_| event_ring(capacity)).unzip();
    let mut ledger = Ledger::new(receivers, writers as usize);
    let keys = keys(writers as usize);
    let in_vain = thread::scope(|scope| {
        let write = |(mut sender, key): (EventSender, ClientKey)| {
            let event = move |i| Event {
                key,
                stamp_ns: i,
                kind: if i % 4 == 3 { EventKind::Refused } else { EventKind::Admitted },
            };
            move || (0..events).filter(|&i| !sender.offer(event(i))).count() as u64
        };
        let threads: Vec<_> = senders.into_iter().zip(keys.clone()).map(|pair| scope.spawn(write(pair))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            ledger.drain();
        }
        threads.into_iter().map(|thread| thread.join().expect("a writer ends well")).sum()
    });
    while ledger.drain() > 0 {}
    let totals = ledger.totals();
    let top = ledger.top(usize::MAX);
    assert_eq!(top.iter().map(|client| client.allowed).sum::<u64>(), totals.allowed);
    assert_eq!(top.iter().map(|client| client.refused).sum::<u64>(), totals.refused);
    if totals.dropped == 0 {
        for client in top {
            assert_eq!((client.allowed + client.refused, client.missed_max), (events, 0));
            assert!(keys.contains(&client.key));
        }
    }
    (totals, in_vain)
}

//! Tests of the limiter against a naive one, and under many threads. No clock is read: time is a number here.

use super::{
    Charge, ClientKey, ClientKeys, Decision, Event, EventKind, EventSender, Limiter, LimiterSetup, Standing,
    TopClients, Totals, event_ring, stamps::SLAB_BYTES, window::Cost,
};
use crate::limits::{RATE_FORGET_SLOTS, RATE_HAND_SLOTS_FULL, RATE_STAMP_BYTES_MAX};
use proptest::prelude::*;
use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// One second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn setup(limit: u32) -> LimiterSetup {
    LimiterSetup {
        limit,
        bytes_limit: 0,
        names_limit: 1_000,
        window_ns: SECOND,
        shards: 1,
        clients_max: 1_000,
        stamp_bytes_max: RATE_STAMP_BYTES_MAX,
    }
}

/// An admission, at any time.
const ADMITTED: Decision = Decision::Admitted { stamp_ns: 0 };

fn admit(limiter: &Limiter, key: ClientKey, now_ns: u64) -> Decision {
    match limiter.admit(key, now_ns) {
        Decision::Admitted { .. } => ADMITTED,
        refusal => refusal,
    }
}

fn keys(count: usize) -> Vec<ClientKey> {
    let keys = ClientKeys::new();
    (0..count).map(|client| keys.authorization(client.to_string().as_bytes())).collect()
}

const fn refused(retry_after_ns: u64) -> Decision {
    Decision::Refused { retry_after_ns }
}

/// The reference for the limiter: every stamp of every client, kept for ever, counted anew for each request.
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
            Decision::Admitted { stamp_ns: clock_ns }
        } else {
            // Free again when the newest `limit` of them have lost their oldest.
            refused(counted[counted.len() - self.limit] + window_ns - now_ns)
        }
    }

    fn refund(&mut self, charge: Charge, now_ns: u64) {
        self.clock_ns = self.clock_ns.max(now_ns);
        let stamps_ns = self.stamps_ns.get_mut(&charge.client).expect("only what was charged is given back");
        let at = stamps_ns.iter().position(|&stamp| stamp == charge.stamp_ns).expect("each charge once");
        stamps_ns.remove(at);
    }
}

const fn charge(client: ClientKey, stamp_ns: u64, bytes: u64) -> Charge {
    Charge { client, standing: Standing::PROVEN, stamp_ns, bytes }
}

/// A step of the clock before a request: none, a little, to an exact boundary, or back.
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
    /// Windows of 100 ns, so that steps often meet the boundary. Clients are few, so that logs fill, and the table is
    /// small, so that its hand passes often and clients move when others are forgotten. One step in seven forgets
    /// idle clients.
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
                    limiter.forget_idle(now_ns);
                    naive.clock_ns = naive.clock_ns.max(now_ns);
                }
            }
        }
    }

    /// Requests, refunds of any that were admitted - the latest, an early one, one that has left its window - and
    /// ticks.
    #[test]
    fn a_refund_leaves_the_log_as_if_the_request_never_was(
        limit in 1..40_u32,
        steps in prop::collection::vec((step(), 0..5_usize, any::<prop::sample::Index>()), 1..600),
    ) {
        let limiter = Limiter::new(LimiterSetup { window_ns: 100, clients_max: 6, ..setup(limit) });
        let mut naive = Naive { limit: limit as usize, window_ns: 100, clock_ns: 0, stamps_ns: HashMap::new() };
        let keys = keys(3);
        let (mut now_ns, mut charges) = (1_000_u64, Vec::new());
        for (step, what, which) in steps {
            now_ns = now_ns.saturating_add_signed(step);
            match keys.get(what) {
                Some(&key) => {
                    let decision = limiter.admit(key, now_ns);
                    prop_assert_eq!(decision, naive.admit(key, now_ns));
                    if let Decision::Admitted { stamp_ns } = decision {
                        charges.push(charge(key, stamp_ns, 0));
                    }
                }
                None if what == 3 || charges.is_empty() => {
                    limiter.forget_idle(now_ns);
                    naive.clock_ns = naive.clock_ns.max(now_ns);
                }
                None => {
                    let charge = charges.swap_remove(which.index(charges.len()));
                    limiter.refund(charge, now_ns);
                    naive.refund(charge, now_ns);
                }
            }
        }
    }

    /// The bound of the bucket, for what was not refunded: in a time t no more than a window's worth and what leaks in
    /// t. Also no refusal that a bucket would not make: after the stated wait the same bytes are admitted.
    #[test]
    fn bytes_stay_below_the_bucket(
        bytes_limit in 1..500_u64,
        steps in prop::collection::vec((step(), 0..9_u8, 0..300_u64), 1..400),
    ) {
        let limiter = Limiter::new(LimiterSetup { bytes_limit, window_ns: 100, ..setup(0) });
        let key = keys(1)[0];
        let (mut now_ns, mut clock_ns) = (1_000_u64, 0);
        let mut taken: Vec<Charge> = Vec::new();
        for (step, what, bytes) in steps {
            now_ns = now_ns.saturating_add_signed(step);
            clock_ns = clock_ns.max(now_ns);
            if what == 0 && !taken.is_empty() {
                limiter.refund(taken.swap_remove(taken.len() / 2), now_ns);
                continue;
            }
            let bytes = bytes.min(bytes_limit);
            match limiter.charge(key, || Standing::PROVEN, bytes, now_ns) {
                Decision::Admitted { stamp_ns } => taken.push(charge(key, stamp_ns, bytes)),
                Decision::OverBytes { retry_after_ns } => {
                    now_ns += retry_after_ns;
                    clock_ns = clock_ns.max(now_ns);
                    let decision = limiter.charge(key, || Standing::PROVEN, bytes, now_ns);
                    prop_assert_eq!(decision, Decision::Admitted { stamp_ns: clock_ns });
                    taken.push(charge(key, clock_ns, bytes));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        for from in &taken {
            for to in &taken {
                let span_ns = to.stamp_ns.saturating_sub(from.stamp_ns);
                let inside = taken.iter().filter(|one| (from.stamp_ns..=to.stamp_ns).contains(&one.stamp_ns));
                let bytes: u64 = inside.map(|one| one.bytes).sum();
                prop_assert!(bytes * 100 <= bytes_limit * (100 + span_ns), "{bytes} bytes in {span_ns} ns");
            }
        }
    }

    /// Many clients over several shards, with a clock that only goes forward: the shards decide as one table.
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
    let decisions: Vec<Decision> = (0..15).map(|i| admit(&limiter, key, SECOND + i)).collect();
    assert_eq!(decisions[..10], [ADMITTED; 10]);
    // The first stamp leaves the window one second after it was made.
    for (i, decision) in (10..).zip(&decisions[10..]) {
        assert_eq!(*decision, refused(SECOND - i));
    }
}

#[test]
fn a_stamp_exactly_one_window_old_does_not_count() {
    let limiter = Limiter::new(setup(1));
    let key = keys(1)[0];
    assert_eq!(admit(&limiter, key, 5), ADMITTED);
    assert_eq!(admit(&limiter, key, 5 + SECOND - 1), refused(1));
    assert_eq!(admit(&limiter, key, 5 + SECOND), ADMITTED);
    assert_eq!(admit(&limiter, key, 5 + SECOND), refused(SECOND));
}

#[test]
fn the_stated_wait_is_exact() {
    let limiter = Limiter::new(setup(3));
    let key = keys(1)[0];
    for now_ns in [100, 200, 300] {
        assert_eq!(admit(&limiter, key, now_ns), ADMITTED);
    }
    let Decision::Refused { retry_after_ns } = admit(&limiter, key, 400) else { panic!("the window is full") };
    assert_eq!(admit(&limiter, key, 400 + retry_after_ns - 1), refused(1));
    assert_eq!(admit(&limiter, key, 400 + retry_after_ns), ADMITTED);
    assert_eq!(admit(&limiter, key, 400 + retry_after_ns), refused(100), "only the first stamp had left");
}

#[test]
fn refused_requests_do_not_count() {
    let limiter = Limiter::new(setup(2));
    let key = keys(1)[0];
    for now_ns in 0..1_000 {
        admit(&limiter, key, now_ns);
    }
    assert_eq!(admit(&limiter, key, SECOND), ADMITTED);
    assert_eq!(admit(&limiter, key, SECOND + 1), ADMITTED);
    assert_eq!(admit(&limiter, key, SECOND + 2), refused(SECOND - 2));
}

#[test]
fn clients_do_not_feel_each_other() {
    let limiter = Limiter::new(LimiterSetup { shards: 16, clients_max: 16_000, ..setup(2) });
    let keys = keys(4_000);
    for verdict in [ADMITTED, ADMITTED, refused(SECOND)] {
        for &key in &keys {
            assert_eq!(admit(&limiter, key, 7), verdict);
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
    assert_eq!(admit(&limiter, keys[0], 900), ADMITTED);
    assert_eq!(admit(&limiter, keys[1], 901), ADMITTED);
    limiter.forget_idle(900 + SECOND);
    assert_eq!(limiter.clients(), 1, "the first client was forgotten");
    assert_eq!(admit(&limiter, keys[0], 901), ADMITTED, "at the shard's clock, a full window after its stamp");
    assert_eq!(admit(&limiter, keys[0], 900 + SECOND), refused(SECOND), "and with its stamp there");
}

#[test]
fn a_full_table_refuses_new_clients_and_no_others() {
    let limiter = Limiter::new(LimiterSetup { clients_max: 100, ..setup(2) });
    let keys = keys(101);
    for &key in &keys[..100] {
        assert_eq!(admit(&limiter, key, 1), ADMITTED);
    }
    assert_eq!(admit(&limiter, keys[100], 2), Decision::TableFull);
    assert_eq!(limiter.clients(), 100);
    for &key in &keys[..100] {
        assert_eq!(admit(&limiter, key, 2), ADMITTED);
        assert_eq!(admit(&limiter, key, 2), refused(SECOND - 1));
    }
    assert_eq!(admit(&limiter, keys[100], 1 + SECOND), Decision::TableFull, "the second stamps still count");
    assert_eq!(admit(&limiter, keys[100], 2 + SECOND), ADMITTED, "an idle client was forgotten for it");
}

/// One address invents names: its first ones are clients, the further ones are reported, and no other client is
/// affected.
#[test]
fn names_are_bounded_for_each_address() {
    let limiter = Limiter::new(LimiterSetup { names_limit: 3, ..setup(2) });
    let keys = keys(100);
    let busy = limiter.named(keys[98]);
    // An address with another count: two addresses may share one.
    let quiet = keys.iter().map(|&address| limiter.named(address)).find(|&standing| standing != busy).unwrap();
    let ask = |key: usize, standing, now_ns| match limiter.charge(keys[key], || standing, 0, now_ns) {
        Decision::Admitted { .. } => ADMITTED,
        refusal => refusal,
    };
    for key in 0..90 {
        assert_eq!(ask(key, busy, 1), if key < 3 { ADMITTED } else { Decision::NamesFull }, "name {key}");
    }
    assert_eq!(ask(0, busy, 2), ADMITTED, "who is on record stays a client");
    assert_eq!(ask(0, busy, 3), refused(SECOND - 2));
    assert_eq!(ask(90, quiet, 3), ADMITTED, "another address has names of its own");
    assert_eq!(ask(98, Standing::PROVEN, 3), ADMITTED, "the address itself is a client");
    (0..2_048_usize.div_ceil(RATE_FORGET_SLOTS)).for_each(|_| limiter.forget_idle(2 + SECOND));
    assert_eq!(ask(50, busy, 2 + SECOND), ADMITTED, "idle names make place for new ones");
}

#[test]
fn names_leave_a_part_of_the_table_to_addresses() {
    let limiter = Limiter::new(LimiterSetup { clients_max: 100, ..setup(2) });
    let keys = keys(200);
    let taken = |range: std::ops::Range<usize>, standing: &dyn Fn(usize) -> Standing| {
        let decide = |&key: &usize| limiter.charge(keys[key], || standing(key), 0, 1);
        range.filter(|key| matches!(decide(key), Decision::Admitted { .. })).count()
    };
    // Each from an address of its own.
    assert_eq!(taken(0..100, &|key| limiter.named(keys[100 + key])), 75);
    assert_eq!(limiter.charge(keys[99], || limiter.named(keys[199]), 0, 1), Decision::NamesFull);
    assert_eq!(taken(100..101, &|_| Standing::UNPROVEN), 0, "nor is there a place for addresses without a key");
    assert_eq!(taken(101..140, &|_| Standing::PROVEN), 25, "the last quarter is for those who are somebody");
    assert_eq!(limiter.charge(keys[150], || Standing::PROVEN, 0, 1), Decision::TableFull);
}

#[test]
fn a_client_over_its_bytes_is_admitted_after_the_stated_wait() {
    let limiter = Limiter::new(LimiterSetup { bytes_limit: 1_000, ..setup(100) });
    let keys = keys(2);
    let ask = |key, bytes, now_ns| limiter.charge(key, || Standing::PROVEN, bytes, now_ns);
    assert_eq!(ask(keys[0], 600, 5), Decision::Admitted { stamp_ns: 5 });
    let mut first = charge(keys[0], 5, 600);
    assert_eq!(limiter.charge_bytes(&mut first, 400, 5), Decision::Admitted { stamp_ns: 5 });
    assert_eq!(first.bytes, 1_000);
    let over = Decision::OverBytes { retry_after_ns: SECOND / 1_000 };
    assert_eq!(ask(keys[0], 1, 5), over);
    assert_eq!(limiter.charge_bytes(&mut first, 1, 5), over);
    assert_eq!(first.bytes, 1_000, "what is refused is not charged");
    assert_eq!(ask(keys[1], 1_000, 5), Decision::Admitted { stamp_ns: 5 }, "others have bytes of their own");
    assert_eq!(ask(keys[0], 1, 5 + SECOND / 1_000), Decision::Admitted { stamp_ns: 5 + SECOND / 1_000 });
    limiter.refund(first, 5 + SECOND / 1_000);
    assert_eq!(ask(keys[0], 999, 5 + SECOND / 1_000), Decision::Admitted { stamp_ns: 5 + SECOND / 1_000 });
}

/// In whatever order clients become idle, the bounded look finds one within a lap of the hand, and a table full of idle
/// clients is no obstacle.
#[test]
fn a_table_full_of_idle_clients_takes_as_many_new_ones() {
    let clients = 10 * RATE_HAND_SLOTS_FULL;
    let limiter = Limiter::new(LimiterSetup { clients_max: clients, ..setup(5) });
    let keys = keys(2 * clients);
    for &key in &keys[..clients] {
        assert_eq!(admit(&limiter, key, 1), ADMITTED);
    }
    for &key in &keys[clients..] {
        assert_eq!(admit(&limiter, key, 1 + SECOND), ADMITTED);
    }
    for &key in &keys[clients..] {
        assert_eq!(admit(&limiter, key, 2 + SECOND), ADMITTED, "each is still found");
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
                assert_eq!(admit(&limiter, key, second * SECOND + i), ADMITTED);
            }
        }
        let bytes = limiter.memory_bytes();
        assert!(second == 0 || bytes == peak, "the first second's memory serves the following ones");
        peak = bytes;
    }
    // 200,000 stamps, seven in 64 bytes, but for each client's first and last; the last slab may be part empty.
    let stamp_bytes = 20 * 9_998_usize.div_ceil(7) * 64;
    assert!((stamp_bytes..=stamp_bytes + 20 * 64 + SLAB_BYTES).contains(&(peak - empty)), "{} bytes", peak - empty);
    for _ in 0..2_048_usize.div_ceil(RATE_FORGET_SLOTS) + 1 {
        limiter.forget_idle(10 * SECOND);
    }
    assert_eq!(limiter.clients(), 0);
    assert_eq!(limiter.memory_bytes(), empty);
}

/// A log that was long shrinks while its client continues at a lower rate: chunks become free for others.
#[test]
fn a_log_shrinks_with_its_clients_rate() {
    let stamp_bytes_max = 2 * SLAB_BYTES;
    let limiter = Limiter::new(LimiterSetup { stamp_bytes_max, ..setup(3_000) });
    let keys = keys(2);
    for now_ns in 0..3_000 {
        assert_eq!(admit(&limiter, keys[0], now_ns), ADMITTED);
    }
    let admitted = (0..3_000).take_while(|i| admit(&limiter, keys[1], 3_000 + i) == ADMITTED).count();
    assert_eq!(admitted, 2 + (512 - 2_998_usize.div_ceil(7)) * 7, "what was left of 512 chunks");
    // One request in 10 us takes two of the old stamps out, puts its own in, and never lets the client be idle.
    for i in 1..=1_500 {
        assert_eq!(admit(&limiter, keys[0], SECOND + 10_000 * i), ADMITTED);
    }
    let now_ns = SECOND + 10_000 * 1_500;
    assert_eq!((0..1_900).filter(|_| admit(&limiter, keys[1], now_ns) == ADMITTED).count(), 1_900);
}

#[test]
fn a_spent_stamp_budget_refuses_as_a_full_table_and_hurts_no_slow_client() {
    let limiter = Limiter::new(LimiterSetup { stamp_bytes_max: SLAB_BYTES, ..setup(10_000) });
    let keys = keys(3);
    let stamps = SLAB_BYTES / 64 * 7 + 2;
    for now_ns in 0..stamps as u64 {
        assert_eq!(admit(&limiter, keys[0], now_ns), ADMITTED);
    }
    let now_ns = stamps as u64;
    assert_eq!(admit(&limiter, keys[0], now_ns), Decision::TableFull);
    assert_eq!(admit(&limiter, keys[1], now_ns), ADMITTED);
    assert_eq!(admit(&limiter, keys[1], now_ns), ADMITTED);
    assert_eq!(admit(&limiter, keys[1], now_ns), Decision::TableFull, "a third stamp needs a chunk");
    assert_eq!(admit(&limiter, keys[2], now_ns), ADMITTED);
    // Seven stamps have left the window. Each request takes two of them out, and the seventh frees a chunk.
    let decisions = [(); 4].map(|()| admit(&limiter, keys[0], SECOND + 6));
    assert_eq!(decisions, [Decision::TableFull, Decision::TableFull, Decision::TableFull, ADMITTED]);
}

#[test]
fn the_end_of_time_is_no_trouble() {
    let limiter = Limiter::new(setup(2));
    let key = keys(1)[0];
    assert_eq!(admit(&limiter, key, u64::MAX), ADMITTED);
    assert_eq!(admit(&limiter, key, u64::MAX), ADMITTED);
    assert_eq!(admit(&limiter, key, u64::MAX), refused(SECOND));
    assert_eq!(admit(&limiter, key, 0), refused(u64::MAX), "a wait that no number holds is the longest there is");
}

/// Eight threads on one client, each with a clock reading that is late by as much as the thread was delayed. Replayed
/// in the order in which they were made, all decisions are those of one sequential limiter; so no window holds more
/// than the limit, and none was refused that such a limiter would have admitted.
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
                    let cost = Cost { is_request: true, bytes: 0 };
                    let mut witness = || place = order.fetch_add(1, Ordering::Relaxed);
                    let decision = limiter.decide(key, || Standing::PROVEN, cost, now_ns, &mut witness);
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
    assert_eq!(totals, Totals { allowed: 75_000, refused: 25_000, metrics: 100_000, dropped: 0 });
}

/// The same with rings that fill: the missing events were counted.
#[test]
fn what_full_rings_drop_is_counted() {
    let (totals, offered_in_vain) = write_events(100, 1_000, 16);
    assert_eq!(totals.decisions(), 100_000);
    assert_eq!(totals.dropped, offered_in_vain);
}

/// Lets each of `writers` threads offer `events` events of its own client, every fourth a refusal, to its own ring,
/// while [`TopClients`] drains. Returns its totals and the number of events that the writers saw dropped.
fn write_events(writers: u32, events: u64, capacity: usize) -> (Totals, u64) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..writers).map(|_| event_ring(capacity)).unzip();
    let mut top_clients = TopClients::new(receivers, writers as usize);
    let keys = keys(writers as usize);
    let in_vain = thread::scope(|scope| {
        let write = |(mut sender, key): (EventSender, ClientKey)| {
            let event = move |i| Event {
                key,
                stamp_ns: i,
                kind: if i % 4 == 3 { EventKind::Refused } else { EventKind::Admitted },
                metrics: 1,
            };
            move || (0..events).filter(|&i| !sender.offer(event(i))).count() as u64
        };
        let threads: Vec<_> = senders.into_iter().zip(keys.clone()).map(|pair| scope.spawn(write(pair))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            top_clients.drain();
        }
        threads.into_iter().map(|thread| thread.join().expect("a writer ends well")).sum()
    });
    while top_clients.drain() > 0 {}
    let totals = top_clients.totals();
    let top = top_clients.top(usize::MAX);
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

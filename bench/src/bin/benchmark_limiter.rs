//! Benchmark of one decision of the rate limiter, alone and with another core at it, and of the lock-free candidate
//! that was not taken.
//!
//! `benchmark_limiter [ROUNDS]` prints nanoseconds per decision: the median over the rounds of each round's mean, and
//! the lowest and highest. Candidates take turns within a round (A B A B), so that a noisy machine is noisy for all.
//!
//! - `sharded`: the product's limiter, a short critical section per decision, with its table, its hand and its bounds.
//! - `atomic`: a ring of stamps per client, claimed by compare-and-swap; a refusal only loads. It is given its client's
//!   ring by index, without a table, so what is shown is less than it would really cost.
//! - `sharded+key`: the product's, with the hash of a 39-byte `Authorization` value made anew each time.

use clap::Parser;
use metricstream_bench::output;
use rate::{
    ClientKey, ClientKeys, Decision, Limiter, LimiterSetup,
    limits::{RATE_SHARDS_PER_CORE, RATE_STAMP_BYTES_MAX, RATE_WINDOW_NS},
};
use std::{
    hint::black_box,
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// Decisions of one thread in one measurement: a few milliseconds.
const DECISIONS: u32 = 50_000;
/// Nanoseconds between two requests of a client by the benchmark's clock, which is a number and not a clock: some 4,000
/// stamps are in a log, and each request puts one in and takes one out.
const STEP_NS: u64 = 250_000;

/// The lock-free candidate: ticket n is the n-th admission and has slot n mod L, which is claimed by swapping the stamp
/// of L admissions before for the new one. The lowest bit of a slot is the parity of its lap, so that a slot that has
/// been claimed for a ticket can be distinguished from one that has not, and whoever finds it claimed moves `next` on.
#[repr(align(128))]
struct AtomicWindow {
    next: AtomicU64,
    slots: Box<[AtomicU64]>,
}

/// Free since ever; the stamps start one window later.
const NEVER: u64 = 0;

impl AtomicWindow {
    fn new(limit: u32) -> Self {
        // Lap 0 has parity 0, so the lap before it has 1.
        Self { next: AtomicU64::new(0), slots: (0..limit).map(|_| AtomicU64::new(NEVER << 1 | 1)).collect() }
    }

    fn slot(&self, ticket: u64) -> &AtomicU64 {
        &self.slots[usize::try_from(ticket % self.slots.len() as u64).unwrap_or(0)]
    }

    fn admit(&self, now_ns: u64) -> Decision {
        loop {
            let ticket = self.next.load(Ordering::Acquire);
            let lap = ticket / self.slots.len() as u64;
            let found = self.slot(ticket).load(Ordering::Acquire);
            if found & 1 == lap & 1 {
                // Claimed, by somebody who has not moved `next` yet, or `next` has moved since.
                let _ = self.next.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed);
                continue;
            }
            let newest_ns = if ticket == 0 { 0 } else { self.slot(ticket - 1).load(Ordering::Acquire) >> 1 };
            let stamp_ns = now_ns.max(newest_ns);
            let age_ns = stamp_ns - (found >> 1);
            if age_ns < RATE_WINDOW_NS {
                return Decision::Refused { retry_after_ns: RATE_WINDOW_NS - age_ns };
            }
            let claim = stamp_ns << 1 | lap & 1;
            if self.slot(ticket).compare_exchange(found, claim, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let _ = self.next.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed);
                return Decision::Admitted { stamp_ns: now_ns };
            }
        }
    }
}

/// Clients that make the requests.
#[derive(Clone, Copy, PartialEq)]
enum Clients {
    /// Each thread has so many clients of its own and uses one after the other.
    Own(u32),
    /// All threads use the same one, which is below its limit.
    Hot,
    /// All threads use the same one, which is at its limit.
    Refused,
}

impl Clients {
    /// The limit of the case. Where all are to be admitted it is more than can come at one instant, since the shard's
    /// clock stands while the thread that is ahead is held up.
    const fn limit(self) -> u32 {
        match self {
            Self::Own(count) => 2 * DECISIONS / count,
            Self::Hot => 2 * DECISIONS,
            Self::Refused => 10,
        }
    }
}

/// Mean nanoseconds per decision of `threads` threads that each run `decide(client, now)` for its own share of clients.
fn measure(threads: u32, clients: Clients, decide: impl Fn(usize, u64) -> Decision + Sync) -> f64 {
    let barrier = Barrier::new(threads as usize);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let run = |thread: u32| {
        if let Some(&core) = cores.get(thread as usize) {
            core_affinity::set_for_current(core);
        }
        let ask = |i: u32| match clients {
            Clients::Own(count) => {
                decide((thread * count + i % count) as usize, RATE_WINDOW_NS + u64::from(i / count) * STEP_NS)
            }
            Clients::Hot => decide(0, RATE_WINDOW_NS + u64::from(i) * STEP_NS),
            Clients::Refused => decide(0, RATE_WINDOW_NS + u64::from(i)),
        };
        barrier.wait();
        let start = Instant::now();
        let admitted = (0..DECISIONS).filter(|&i| matches!(black_box(ask(i)), Decision::Admitted { .. })).count();
        let elapsed = start.elapsed();
        let refused = DECISIONS as usize - admitted;
        assert!(if clients == Clients::Refused { admitted <= 10 } else { refused == 0 }, "{refused} were refused");
        elapsed.as_secs_f64() * 1e9 / f64::from(DECISIONS)
    };
    let run = &run;
    let means: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a measuring thread ends well")).collect()
    });
    means.iter().sum::<f64>() / means.len() as f64
}

fn new_limiter(limit: u32) -> Limiter {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Limiter::new(LimiterSetup {
        limit,
        bytes_limit: 0,
        names_limit: 1,
        window_ns: RATE_WINDOW_NS,
        shards: (cores * RATE_SHARDS_PER_CORE).next_power_of_two(),
        clients_max: 4_096,
        stamp_bytes_max: RATE_STAMP_BYTES_MAX,
    })
}

/// One round of one case: `sharded`, `atomic`, `sharded+key`.
fn round(threads: u32, clients: Clients) -> [f64; 3] {
    let limit = clients.limit();
    let count = if let Clients::Own(count) = clients { threads * count } else { 1 };
    let keys = ClientKeys::new();
    let value = |client: u32| format!("Bearer 0123456789abcdef0123456789{client:04}");
    let values: Vec<String> = (0..count).map(value).collect();
    let hashed: Vec<ClientKey> = values.iter().map(|value| keys.authorization(value.as_bytes())).collect();
    let windows: Vec<AtomicWindow> = (0..count).map(|_| AtomicWindow::new(limit)).collect();
    let (plain, keyed) = (new_limiter(limit), new_limiter(limit));
    [
        measure(threads, clients, |client, now_ns| plain.admit(hashed[client], now_ns)),
        measure(threads, clients, |client, now_ns| windows[client].admit(now_ns)),
        measure(threads, clients, |client, now_ns| keyed.admit(keys.authorization(values[client].as_bytes()), now_ns)),
    ]
}

/// Nanoseconds that a decision of the rate limiter takes, on one thread and on two: the sharded tables of the server,
/// beside a lock-free ring for each client.
#[derive(Debug, Parser)]
#[command(name = "benchmark_limiter", version)]
struct Arguments {
    /// Rounds, interleaved; each figure is their median.
    #[arg(default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
}

fn main() -> ExitCode {
    let rounds = Arguments::parse().rounds;
    metricstream_bench::say!(
        "ns/decision: median (lowest..highest) of {rounds} rounds of {DECISIONS} decisions a thread"
    );
    metricstream_bench::say!("{:<24}{:>8}{:>24}{:>24}{:>24}", "clients", "threads", "sharded", "atomic", "sharded+key");
    let cases = [
        ("one of its own", Clients::Own(1)),
        ("500 of its own", Clients::Own(500)),
        ("one shared, admitted", Clients::Hot),
        ("one shared, refused", Clients::Refused),
    ];
    for (name, clients) in cases {
        for threads in [1, 2] {
            if output::has_ended() {
                break;
            }
            let rounds: Vec<[f64; 3]> = (0..rounds).map(|_| round(threads, clients)).collect();
            let mut row = format!("{name:<24}{threads:>8}");
            for candidate in 0..3 {
                let mut means: Vec<f64> = rounds.iter().map(|round| round[candidate]).collect();
                means.sort_by(f64::total_cmp);
                let (low, median, high) = (means[0], means[means.len() / 2], means[means.len() - 1]);
                row.push_str(&format!("{:>24}", format!("{median:.1} ({low:.1}..{high:.1})")));
            }
            metricstream_bench::say!("{row}");
        }
    }
    output::finish(ExitCode::SUCCESS)
}

//! The simulator: `cargo run --release --manifest-path sim/Cargo.toml -- --seeds 1000`.

mod book;
mod client;
mod forwarding;
mod life;
mod limiter;
mod options;
mod oracle;
mod querier;
mod rot;
mod run;
mod service;

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const HELP: &str = "\
usage: sim [--seeds N] [--first S] [--minutes M] [--threads T] [--twice]
       sim --seed S

Runs the server on a simulated machine, N seeds from S on (default 1000 from 0), until M minutes have passed if that is
given. Every run with a number that 25 divides is repeated and must have the same trace; with --twice every run is.
Prints one line of totals. A seed that fails is run again, and printed with its options and its last calls.

--seed S runs one seed twice and prints its totals.

Exit code: 0 all hold, 1 not, 2 wrong use.
";

/// One seed in so many is run twice: no multiple of the number of kinds of seeds, so that each kind is.
const REPEATED: u64 = 25;

/// The command line.
struct Arguments {
    first: u64,
    seeds: u64,
    minutes: Option<u64>,
    threads: u64,
    twice: bool,
}

fn arguments() -> Option<Arguments> {
    let mut wanted = Arguments { first: 0, seeds: 1_000, minutes: None, threads: 1, twice: false };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        let mut number = || given.next()?.parse::<u64>().ok();
        match option.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--first" => wanted.first = number()?,
            "--minutes" => wanted.minutes = Some(number()?),
            "--threads" => wanted.threads = number()?.clamp(1, 64),
            "--twice" => wanted.twice = true,
            "--seed" => {
                wanted = Arguments { first: number()?, seeds: 1, minutes: None, threads: 1, twice: true };
            }
            _ => return None,
        }
    }
    Some(wanted)
}

/// Totals of all runs.
#[derive(Default)]
struct Totals {
    seeds: u64,
    events: u64,
    batches: u64,
    runs: u64,
    faults: machine::Injected,
}

impl Totals {
    fn add(&mut self, report: &run::Report) {
        self.seeds += 1;
        self.events += report.events;
        self.batches += report.batches;
        self.runs += report.runs;
        self.faults.add(&report.injected);
    }
}

/// Runs one seed, and again where that is wanted.
fn run_seed(seed: u64, twice: bool) -> Result<run::Report, run::Failure> {
    let report = run::run(seed, false)?;
    if twice {
        let again = run::run(seed, false)?;
        if again != report {
            let message = format!("two runs differ: {report:?} and {again:?}");
            return Err(run::Failure { message, options: String::new(), recent: Vec::new() });
        }
    }
    Ok(report)
}

fn print_failure(seed: u64, failure: run::Failure) {
    // Once more, with the events: a seed repeats itself.
    let failure = run::run(seed, true).err().unwrap_or(failure);
    println!("seed {seed} fails: {}", failure.message);
    println!("{}", failure.options);
    failure.recent.iter().for_each(|event| println!("  {event}"));
    println!("seed {seed} fails: {}", failure.message);
}

fn main() -> ExitCode {
    let Some(wanted) = arguments() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let until = wanted.minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
    let (next, has_failed) = (AtomicU64::new(wanted.first), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..wanted.threads {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= wanted.first.saturating_add(wanted.seeds) {
                        break;
                    }
                    match run_seed(seed, wanted.twice || seed % REPEATED == 0) {
                        Ok(report) => totals.lock().unwrap_or_else(PoisonError::into_inner).add(&report),
                        Err(failure) => {
                            if !has_failed.swap(true, Ordering::Relaxed) {
                                print_failure(seed, failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds from {}, {} runs, {} batches, {} calls in {seconds:.1} s ({:.0} seeds/s); faults: {}",
        totals.seeds,
        wanted.first,
        totals.runs,
        totals.batches,
        totals.events,
        totals.seeds as f64 / seconds.max(0.001),
        totals.faults
    );
    ExitCode::from(u8::from(has_failed.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that have found a fault of the log or of the oracle, and what it was.
    const FOUND: &[(u64, &str)] = &[
        (248, "a data directory whose entry was not synced, as its first start was killed"),
        (4424, "a query that saw a segment twice: compressed before the writer had published the next one"),
        (5871, "a query that saw a segment twice: without a descriptor it did not find that it was sealed"),
        (1_028_789, "a forward that read a segment twice, compressed before the writer had published the next one"),
        (31_122_397, "an oracle that took a clean end without a batch for that of the life before, which lost power"),
        (40_157_049, "an oracle that did not know of a clock that was set while the log was opened"),
    ];

    #[test]
    fn seeds_that_found_a_fault_find_it_no_more() {
        for (seed, what) in FOUND {
            assert!(run_seed(*seed, true).is_ok(), "seed {seed}: {what}");
        }
    }

    #[test]
    fn a_hundred_seeds_hold_and_repeat_themselves() {
        for seed in 0..100 {
            if let Err(failure) = run_seed(seed, true) {
                panic!("seed {seed}: {}", failure.message);
            }
        }
    }
}

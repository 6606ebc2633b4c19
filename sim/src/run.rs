//! One seed: several runs of the server on one disk, and a last one without faults.

use crate::{
    life::{Life, Shared, locked},
    limiter,
    options::{Ending, EndsAfter, Options},
    rot,
};
use machine::{End, Faults, Injected, Machine, Random};
use std::sync::{Arc, Mutex, PoisonError};

/// Seconds of the machine's time that a life may take: stalls of a full disk included.
const LIFE_SECONDS_MAX: u64 = 3_600;

/// The counts of a run in which every invariant held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub hash: u64,
    pub events: u64,
    pub batches: u64,
    pub runs: u64,
    pub injected: Injected,
}

/// A run that does not hold.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub options: String,
    pub recent: Vec<String>,
}

/// Runs a seed.
pub fn run(seed: u64, keeps_events: bool) -> Result<Report, Failure> {
    let mut random = Random::new(seed);
    let mut options = Options::draw(&mut random);
    options.draw_more(seed);
    let mut machine = Machine::new(random.bits());
    if keeps_events {
        machine.keep_events();
    }
    let book = Shared::default();
    locked(&book).is_sent_by_clients = options.http.is_some();
    // On a full disk retention does not wait for a forward, and a kill may come before that is counted.
    locked(&book).was_forfeited = options.faults.full > 0 && options.retains();
    let result = runs(&mut machine, &options, &book, &mut random);
    match result {
        Ok(runs) => Ok(Report {
            hash: machine.hash(),
            events: machine.events(),
            batches: locked(&book).batches.len() as u64,
            runs,
            injected: machine.injected(),
        }),
        Err(message) => Err(Failure { message, options: format!("{options:#?}"), recent: machine.recent() }),
    }
}

fn runs(machine: &mut Machine, options: &Options, book: &Shared, random: &mut Random) -> Result<u64, String> {
    let mut number = 0;
    for &ending in &options.endings {
        machine.set_faults(options.faults);
        let is_killed = matches!(ending, Ending::Kill | Ending::PowerCut);
        let magnitude = random.between(5, options.kill_calls_log_max);
        let calls = random.below(1 << magnitude);
        match options.ends_after {
            Some(EndsAfter { call, first, follow_log_max }) if is_killed => {
                let follow = 1 << random.below(follow_log_max);
                machine.kill_after_call(call, random.below(first), random.below(follow));
            }
            _ => machine.kill_after(is_killed.then_some(calls)),
        }
        live(machine, options, book, random, number, false)?;
        if matches!(ending, Ending::PowerCut | Ending::StopAndPowerCut) {
            machine.cut_power();
        }
        number += 1;
    }
    // Liveness: faults stop, and everything is stored. Then once more, to see what is.
    let calm = Faults { switch: options.faults.switch, delay: options.faults.delay, ..Faults::default() };
    let last = options.clone().with_one_batch();
    for options in [options, &last] {
        machine.set_faults(calm);
        live(machine, options, book, random, number, true)?;
        number += 1;
    }
    if options.rots {
        rot::check(machine, book, random)?;
    }
    Ok(number as u64)
}

/// Runs one life, and notes in the book what its end allows.
fn live(
    machine: &mut Machine,
    options: &Options,
    book: &Shared,
    random: &mut Random,
    number: usize,
    is_calm: bool,
) -> Result<(), String> {
    let is_stopped = Arc::new(Mutex::new(false));
    let life = Life {
        number,
        options: options.clone(),
        book: Arc::clone(book),
        random: Random::new(random.bits()),
        is_calm,
        is_stopped: Arc::clone(&is_stopped),
    };
    let end = machine.run(LIFE_SECONDS_MAX, move || life.run());
    match end {
        End::Done => {}
        End::Killed if !is_calm => {}
        End::Panicked(message) => return Err(message),
        End::Stuck | End::Late | End::Killed => return Err(format!("life {number} does not end: {end:?}")),
    }
    let lost_power = !is_calm && matches!(options.endings[number], Ending::PowerCut | Ending::StopAndPowerCut);
    let is_stopped = *is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
    let injected = machine.injected();
    let mut book = locked(book);
    book.was_forfeited = book.has_lost_for_forward();
    book.sync_failed |= injected.sync_errors > 0;
    // A state that is not whole hides the boot too.
    book.clock_was_set |= injected.clock_steps + injected.bits_flipped > 0;
    book.end_life(number, is_stopped, lost_power);
    if let Some(limit) = options.http.as_ref().and_then(|http| http.rate_limit) {
        limiter::check(&std::mem::take(&mut book.charges), limit)?;
    }
    Ok(())
}

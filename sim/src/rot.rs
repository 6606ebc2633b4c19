//! Bits that flip in files at rest: the check has to name the damage, the server has to start on it, and a repair has
//! to leave the segments alone that are not damaged.

use crate::{
    life::{DIRECTORY, Shared, locked},
    oracle,
};
use host::thread;
use log::segment::{Holds, Maintenance, MaintenanceSetup, SegmentFile, SegmentName};
use machine::{End, Faults, Machine, Random};
use metricstream::verify;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use wake::clock::Clock;

/// The state file.
const STATE: &str = "metricstream.state";
/// Seconds of the machine's time that a step may take.
const SECONDS_MAX: u64 = 600;

/// Runs `step` as a process, and returns what it returns.
fn run<T: 'static>(machine: &mut Machine, step: impl FnOnce() -> T + 'static) -> Result<T, String> {
    let returned = Arc::new(Mutex::new(None));
    let place = Arc::clone(&returned);
    let end = machine.run(SECONDS_MAX, move || {
        let value = step();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    });
    let value = returned.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (end, value) {
        (End::Done, Some(value)) => Ok(value),
        (End::Panicked(message), _) => Err(message),
        (end, _) => Err(format!("a step on damaged files does not end: {end:?}")),
    }
}

/// The result of a check.
struct Checked {
    is_sound: bool,
    /// The report as JSON.
    text: String,
}

impl Checked {
    fn of(report: &verify::report::Report) -> Self {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = report.print(true, &mut text);
        Self { is_sound: report.sound, text: String::from_utf8_lossy(&text).into_owned() }
    }
}

fn verify(machine: &mut Machine) -> Result<Checked, String> {
    run(machine, || verify::check(Path::new(DIRECTORY), 1).map(|report| Checked::of(&report)))?
        .map_err(|error| format!("the directory cannot be checked: {error}"))
}

/// Opens the log, if it can be, and lets maintenance look at it.
fn start_and_stop() {
    let Ok(opened) = log::open(Path::new(DIRECTORY)) else { return };
    let setup = MaintenanceSetup {
        directory: PathBuf::from(DIRECTORY),
        compress: true,
        retain_bytes: None,
        retain_age: None,
        holds: Holds::default(),
        clock: Clock::start(),
        watch: Some(opened.watch),
    };
    let maintenance = Maintenance::start(setup);
    thread::sleep(Duration::from_secs(30));
    drop(maintenance);
}

/// The files in which every flipped bit can be found: sidecars, and segments that have one.
fn candidates(names: &[String]) -> Vec<(SegmentName, SegmentFile)> {
    let files: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    let has = |name, file| files.contains(&(name, file));
    let is_candidate = |&(name, file): &(SegmentName, SegmentFile)| {
        // Of two forms one is for the maintenance to make again.
        let is_single = !(has(name, SegmentFile::Plain) && has(name, SegmentFile::Compressed));
        has(name, SegmentFile::Sidecar) && is_single && (file != SegmentFile::Sidecar || files.len() > 1)
    };
    files.iter().copied().filter(is_candidate).collect()
}

/// Flips a bit in the state: the check has to find it, and the server to start on it.
fn check_state(machine: &mut Machine, random: &mut Random) -> Result<(), String> {
    let path = Path::new(DIRECTORY).join(STATE);
    let length = machine::contents(&path).map_err(|error| error.to_string())?.len() as u64;
    let (byte, bit) = (random.below(length) as usize, random.below(8) as u32);
    machine.flip(&path, byte, bit).map_err(|error| error.to_string())?;
    if verify(machine)?.is_sound {
        return Err(format!("the check does not find bit {bit} of byte {byte} of the state"));
    }
    run(machine, start_and_stop)?;
    let after = verify(machine)?;
    if after.is_sound { Ok(()) } else { Err(format!("a start leaves a garbled state: {}", after.text)) }
}

/// Flips a bit in what the last life has left, and checks what becomes of it.
pub fn check(machine: &mut Machine, book: &Shared, random: &mut Random) -> Result<(), String> {
    let directory = Path::new(DIRECTORY);
    machine.set_faults(Faults::default());
    let before = verify(machine)?;
    if !before.is_sound {
        // A loss of power leaves lines that no client sent.
        // So do bits that have flipped in a compressed file beside its plain one.
        let may_be_damaged = locked(book).lost_power || machine.injected().bits_flipped > 0;
        return if may_be_damaged { Ok(()) } else { Err(format!("the log is not sound: {}", before.text)) };
    }
    if random.below(4) == 0 {
        return check_state(machine, random);
    }
    let names = machine::list(directory).map_err(|error| error.to_string())?;
    let files = candidates(&names);
    if files.is_empty() {
        return Ok(());
    }
    let (name, file) = random.pick(&files);
    let path = directory.join(name.file(file));
    let length = machine::contents(&path).map_err(|error| error.to_string())?.len() as u64;
    if length == 0 {
        return Ok(());
    }
    let (byte, bit) = (random.below(length) as usize, random.below(8) as u32);
    let lines_before = oracle::segments(directory)?;
    machine.flip(&path, byte, bit).map_err(|error| error.to_string())?;
    if file == SegmentFile::Compressed && oracle::segments(directory).is_ok_and(|lines| lines == lines_before) {
        // A bit of a frame that a decoder does not look at, such as the unused one of its header.
        return Ok(());
    }
    let place = format!("bit {bit} of byte {byte} of {}", name.file(file));
    let stem = name.file(SegmentFile::Plain);
    let is_named = |checked: &Checked| !checked.is_sound && checked.text.contains(&stem);
    if !is_named(&verify(machine)?) {
        return Err(format!("the check does not find {place}"));
    }
    run(machine, start_and_stop)?;
    if file != SegmentFile::Sidecar && !is_named(&verify(machine)?) {
        return Err(format!("a start hides {place}"));
    }
    let repaired = run(machine, || verify::repair(Path::new(DIRECTORY), 1).map(|report| Checked::of(&report)))?;
    if let Err(error) = repaired {
        return Err(format!("{place} cannot be repaired: {error}"));
    }
    let after = verify(machine)?;
    if !after.is_sound {
        return Err(format!("{place} is not repaired: {}", after.text));
    }
    let lines_after = oracle::segments(directory)?;
    let others = lines_before.into_iter().filter(|(segment, _)| *segment != stem || file == SegmentFile::Sidecar);
    for (segment, lines) in others {
        if !lines_after.iter().any(|(other, left)| *other == segment && *left == lines) {
            return Err(format!("{segment} is not what it was, after a repair of {place}"));
        }
    }
    Ok(())
}

//! SIGKILL under load, while starting, while stopping: a few kills of each driver and level. `scripts/crash_test.sh`
//! does the same for as long as is wanted.

use crate::{on_both_drivers, server::Driver};
use std::io::ErrorKind;
use tempfile::TempDir;
use torture::{Level, Subject, crash, figures::Figures, power::PowerCuts, random::Random, shim::Shim};

const KILLS: u64 = 8;

/// A driver and a level of the server that was built with these tests, in a directory that lives as long as the guard.
pub fn subject(driver: Driver, level: Level) -> (Subject, TempDir) {
    let guard = TempDir::new().unwrap();
    let driver = match driver {
        Driver::IoUring => torture::Driver::IoUring,
        Driver::Epoll => torture::Driver::Epoll,
    };
    let (binary, directory) = (env!("CARGO_BIN_EXE_metricstream").into(), guard.path().join("data"));
    let subject = Subject { binary, driver, level, directory, seed: Random::new_seed() };
    println!("seed {}", subject.seed);
    (subject, guard)
}

/// Everything that must be zero is, and there was something to be right about.
#[track_caller]
pub fn assert_sound(figures: &Figures) {
    println!("{figures}");
    assert!(figures.is_sound() && figures.acknowledged > 0, "{figures}");
}

/// The library that makes disks fail; `None`, loudly, where there is no C compiler.
pub fn shim(directory: &TempDir) -> Option<Shim> {
    match Shim::build(directory.path()) {
        Ok(shim) => Some(shim),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: what needs a C compiler was not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn what_was_acknowledged_survives(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let shim = shim(&directory);
    let plan = crash::Plan { kills: KILLS, shim: shim.as_ref(), power_cuts: PowerCuts::On };
    for level in Level::ALL {
        let (subject, _guard) = subject(driver, level);
        let figures = crash::run(&subject, plan).unwrap();
        assert_sound(&figures);
        assert!(figures.kills >= KILLS);
    }
}

on_both_drivers!(what_was_acknowledged_survives);

//! SIGKILL under load, while starting, while stopping: a few kills of each driver and level. `scripts/crash_test.sh`
//! does the same for as long as is wanted.

use crate::{BINARY, http::get, on_both_drivers, server::Driver, with_driver};
use std::{fs, io::ErrorKind, net::TcpListener};
use tempfile::TempDir;
use testkit::random::Random;
use torture::{Level, Subject, crash, figures::Figures, power::PowerCuts, shim::Shim};

const KILLS: u64 = 8;

/// A driver and a level of the server that was built with these tests, in a directory that exists as long as the guard.
pub fn subject(driver: Driver, level: Level) -> (Subject, TempDir) {
    let guard = TempDir::new().unwrap();
    let driver = match driver {
        Driver::IoUring => torture::Driver::IoUring,
        Driver::Epoll => torture::Driver::Epoll,
    };
    let (binary, directory) = (BINARY.into(), guard.path().join("data"));
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

/// The sockets of a killed server may live on for a moment: the next one waits for its address.
fn a_port_is_taken_again_after_a_kill(driver: Driver) {
    let directory = TempDir::new().unwrap();
    // Below the ports that the kernel gives to clients, one of which could be on it while the server is down.
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let clients_begin: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let start = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let port = (start..clients_begin).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).unwrap();
    let setup = with_driver(driver).flag("--listen", format!("127.0.0.1:{port}"));
    let mut server = setup.start_in(directory.path());
    for _ in 0..5 {
        let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
        server.kill();
        server = setup.start_in(directory.path());
        drop(clients);
        assert_eq!(server.request(&get("/health")).status, 200);
    }
}

on_both_drivers!(what_was_acknowledged_survives, a_port_is_taken_again_after_a_kill);

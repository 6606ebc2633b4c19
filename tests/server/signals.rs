//! Effect of each signal on a server: it stops, rotates its log, or nothing. None ends it out of order.

use crate::{
    http::{get, post},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, until},
    with_driver,
};
use std::{process::Command, thread};

fn signals_that_stop_it_do_so_in_order(driver: Driver) {
    for signal in [Signal::Quit, Signal::Power, Signal::CpuTime] {
        let mut server = with_driver(driver).start();
        assert_eq!(server.request(&post(metric::marked_batch("x", 2))).processed(), 2);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
        assert_eq!(server.metrics().len(), 2);
        assert!(server.said().last().unwrap().contains("everything accepted is in the log"), "{signal:?}");
    }
}

fn hang_up_and_usr1_rotate_the_log(driver: Driver) {
    let mut server = with_driver(driver).start();
    for (number, (signal, name)) in [(Signal::HangUp, "SIGHUP"), (Signal::User1, "SIGUSR1")].into_iter().enumerate() {
        assert_eq!(server.request(&post(metric::marked_batch("x", 2))).processed(), 2);
        server.signal(signal);
        until("it is rotated", || (server.stat("/log/rotations") == number as u64 + 1).then_some(()));
        server.wait_for_line(name, |line| line.contains(name).then_some(()));
    }
    server.stop();
    let sealed = std::fs::read_dir(&server.directory).unwrap().map(|entry| entry.unwrap().file_name());
    let sealed = sealed.filter(|name| name.to_str().unwrap().ends_with("Z.jsonl")).count();
    assert_eq!(sealed, 2);
}

fn signals_for_others_are_ignored_and_named(driver: Driver) {
    let mut server = with_driver(driver).start();
    // The line first: it is of one kind with those of the others, which then may be left out.
    server.signal(Signal::User2);
    server.wait_for_line("SIGUSR2 is named", |line| line.contains("SIGUSR2 is ignored").then_some(()));
    for signal in Signal::FOR_OTHERS {
        server.signal(signal);
        assert_eq!(server.request(&get("/health")).status, 200, "{signal:?}");
    }
    assert!(server.is_running());
    server.stop();
}

/// A parent with a mask of its own: env(1) of coreutils 8.31 or later.
fn signals_that_a_parent_blocked_are_served(driver: Driver) {
    const BLOCKED: &str = "--block-signal=TERM,INT,HUP";
    if !Command::new("env").args([BLOCKED, "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("env(1) cannot block signals here: not tested");
        return;
    }
    let mut server = with_driver(driver).start_by_shell(&format!("exec env {BLOCKED} \"$@\""));
    assert_eq!(server.request(&post(metric::marked_batch("x", 2))).processed(), 2);
    server.signal(Signal::HangUp);
    until("it is rotated", || (server.stat("/log/rotations") == 1).then_some(()));
    server.signal(Signal::Terminate);
    assert_eq!(server.wait().code(), Some(0));
}

/// Every signal that rotates or is ignored, again and again, while batches come in.
fn a_storm_of_signals_loses_nothing(driver: Driver) {
    let mut server = with_driver(driver).flag("--reactors", 2).start();
    let batches = 200;
    thread::scope(|scope| {
        let server = &server;
        let posting = scope.spawn(move || {
            let mut client = server.connect();
            for _ in 0..batches {
                assert_eq!(client.request(&post(metric::marked_batch("storm", 3))).processed(), 3);
            }
        });
        while !posting.is_finished() {
            Signal::FOR_OTHERS
                .into_iter()
                .chain([Signal::User1, Signal::HangUp])
                .for_each(|signal| server.signal(signal));
        }
        posting.join().unwrap();
    });
    assert_eq!(server.stat("/metrics_stored"), 3 * batches);
    server.stop();
}

on_both_drivers!(
    signals_that_stop_it_do_so_in_order,
    hang_up_and_usr1_rotate_the_log,
    signals_for_others_are_ignored_and_named,
    signals_that_a_parent_blocked_are_served,
    a_storm_of_signals_loses_nothing,
);

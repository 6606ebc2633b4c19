//! `metricstream.state`: what it proves at the next start, and what becomes of it under a running server.

use crate::{
    http::post,
    log, metric, on_both_drivers,
    server::{Driver, Server, Setup, until},
    with_driver,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

const SURPLUS: &str =
    "{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\"half\",\"value\":1,\"type\":\"gauge\",\"tags\":{}}\n";

fn state(directory: &Path) -> String {
    fs::read_to_string(directory.join("metricstream.state")).unwrap()
}

/// Changes the value of a line, and makes the checksum right again.
fn set(directory: &Path, name: &str, value: impl Fn(&str) -> String) {
    let change = |line: &str| match line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')) {
        Some(old) => format!("{name} {}\n", value(old)),
        None => format!("{line}\n"),
    };
    let text: String = state(directory).lines().filter(|line| !line.starts_with("crc32 ")).map(change).collect();
    let sealed = format!("{text}crc32 {:08x}\n", crc32fast::hash(text.as_bytes()));
    fs::write(directory.join("metricstream.state"), sealed).unwrap();
}

/// A server that has acknowledged ten batches at fsync and was killed, and a line behind what it had committed.
fn killed(setup: &Setup, directory: &Path) {
    let mut server = setup.start_in(directory);
    let mut client = server.connect();
    for batch in 0..10 {
        assert_eq!(client.request(&post(metric::marked_batch(&batch.to_string(), 3))).processed(), 3);
    }
    drop(client);
    server.kill();
    let mut file = OpenOptions::new().append(true).open(directory.join("metrics.jsonl")).unwrap();
    file.write_all(SURPLUS.as_bytes()).unwrap();
}

/// Starts again: the lines of the log, and what the server said when it started.
fn restarted(setup: &Setup, directory: &Path) -> (usize, Vec<String>) {
    let mut server = setup.start_in(directory);
    let lines = log::lines(directory).len();
    server.stop();
    (lines, server.said())
}

fn in_the_same_boot_what_was_not_acknowledged_is_moved_aside(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    let setup = with_driver(driver).flag("--ack", "fsync");
    killed(&setup, directory.path());
    let (lines, said) = restarted(&setup, directory.path());
    assert_eq!(lines, 30);
    assert!(said.iter().any(|line| line.contains("never acknowledged as written")), "{said:?}");
}

fn without_proof_of_the_boot_no_line_is_moved_aside(driver: Driver) {
    let setup = with_driver(driver).flag("--ack", "fsync");
    let earlier = |old: &str| format!("{:020}", old.parse::<u64>().unwrap() - 10_000_000_000);
    let later = |old: &str| format!("{:020}", old.parse::<u64>().unwrap() + 3_600_000_000_000);
    type Lie<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let lies: [Lie; 5] = [
        // Hidden, made without entropy, another; the same one again at another moment, and not so long after the boot.
        ("boot_id", &|_| " ".repeat(36)),
        ("boot_id", &|_| "00000000-0000-4000-8000-000000000000".to_owned()),
        ("boot_id", &|_| "5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21".to_owned()),
        ("booted_ns", &earlier),
        ("uptime_ns", &later),
    ];
    for (name, lie) in lies {
        let directory = tempfile::TempDir::new().unwrap();
        killed(&setup, directory.path());
        // A page of the state that is older than the log's.
        set(directory.path(), "committed_bytes", |_| format!("{:020}", 0));
        set(directory.path(), name, lie);
        let (lines, said) = restarted(&setup, directory.path());
        assert_eq!(lines, 31, "{name}: {said:?}");
    }
}

fn a_damaged_state_is_logged_and_moves_nothing_aside(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    let setup = with_driver(driver).flag("--ack", "fsync");
    killed(&setup, directory.path());
    // A bit of the length: as if most of it had never been acknowledged.
    let text = state(directory.path());
    let at = text.find("committed_bytes ").unwrap() + "committed_bytes ".len() + 16;
    let mut flipped = text.into_bytes();
    flipped[at] ^= 1;
    fs::write(directory.path().join("metricstream.state"), flipped).unwrap();
    let (lines, said) = restarted(&setup, directory.path());
    assert_eq!(lines, 31);
    let line = said.iter().find(|line| line.contains("its checksum is wrong")).expect("it is said");
    assert!(line.contains("WARN") && line.contains("1 unclean shutdowns"), "{line}");
}

fn a_state_lost_under_the_server_is_made_again(driver: Driver) {
    let lose: [fn(&Path); 2] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "another").unwrap();
        },
    ];
    let directory = tempfile::TempDir::new().unwrap();
    let setup = with_driver(driver);
    let mut stored = 0;
    for lose in lose {
        let mut server = setup.start_in(directory.path());
        let store = |server: &Server, stored: &mut usize| {
            assert_eq!(server.request(&post(metric::marked_batch(&stored.to_string(), 1))).processed(), 1);
            *stored += 1;
        };
        store(&server, &mut stored);
        lose(&directory.path().join("metricstream.state"));
        until("it is noticed", || {
            store(&server, &mut stored);
            (server.stat("/log/state_files_lost") == 1).then_some(())
        });
        server.wait_for_line("a warning", |line| line.contains("it was restored").then_some(()));
        server.kill();
        assert!(state(directory.path()).ends_with('\n') && log::lines(directory.path()).len() == stored);
        // It knows what was committed.
        let mut file = OpenOptions::new().append(true).open(directory.path().join("metrics.jsonl")).unwrap();
        file.write_all(SURPLUS.as_bytes()).unwrap();
        let (lines, _) = restarted(&setup, directory.path());
        assert_eq!(lines, stored);
    }
}

/// Whatever was cut off is there again with the next write.
fn a_state_cut_off_under_the_server_is_whole_with_the_next_batch(driver: Driver) {
    let server = with_driver(driver).start();
    let whole = state(&server.directory).len();
    for bytes in [0, 30, whole as u64 - 1] {
        let file = OpenOptions::new().write(true).open(server.directory.join("metricstream.state")).unwrap();
        file.set_len(bytes).unwrap();
        assert_eq!(server.request(&post(metric::marked_batch("x", 1))).processed(), 1);
        assert_eq!(state(&server.directory).len(), whole);
    }
}

on_both_drivers!(
    in_the_same_boot_what_was_not_acknowledged_is_moved_aside,
    without_proof_of_the_boot_no_line_is_moved_aside,
    a_damaged_state_is_logged_and_moves_nothing_aside,
    a_state_lost_under_the_server_is_made_again,
    a_state_cut_off_under_the_server_is_whole_with_the_next_batch,
);

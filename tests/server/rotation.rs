//! The log is moved, replaced and cut by others, as logrotate and people do it: nothing that was acknowledged is lost,
//! queries succeed, and `/ready` reports what cannot go on as configured.

use crate::{
    BINARY,
    http::{get, post_to},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, Server, program, until},
    with_driver,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Stores a batch of three, to the disk.
fn store(server: &Server, mark: &str) {
    let response = server.request(&post_to("/metrics?ack=fsync", "", metric::marked_batch(mark, 3)));
    assert_eq!(response.processed(), 3, "{mark}");
}

/// Sends SIGHUP and waits until so many segments were sealed or left behind.
fn hang_up(server: &Server, rotations: u64) {
    server.signal(Signal::HangUp);
    until("the log is rotated", || (server.stat("/log/rotations") == rotations).then_some(()));
}

/// The marks of the batches that a query finds, each of them whole.
fn queried(server: &Server) -> Vec<String> {
    let response = server.request(&get("/query?name=crash_test&by=batch&agg=count"));
    assert_eq!(response.status, 200, "{}", response.text());
    let document = response.json();
    let series = document["series"].as_array().unwrap();
    let mut marks: Vec<_> = series
        .iter()
        .map(|series| {
            assert_eq!(series.pointer("/points/0/1").unwrap(), 3, "{document}");
            series.pointer("/tags/batch").unwrap().as_str().unwrap().to_owned()
        })
        .collect();
    marks.sort();
    marks
}

/// The marks of the batches in a file, each of them whole.
fn stored(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let metrics: Vec<_> = text.lines().map(|line| metric::Metric::from_line(line).unwrap()).collect();
    let mut marks: Vec<_> = metric::marked_batches(&metrics).into_keys().collect();
    marks.sort();
    marks
}

fn paths(server: &Server) -> [PathBuf; 2] {
    ["metrics.jsonl", "metrics.jsonl.1"].map(|name| server.directory.join(name))
}

/// Waits until `/ready` says `part`, with a 503.
fn unready(server: &Server, part: &str) {
    until(part, || {
        let response = server.request(&get("/ready"));
        (response.status == 503 && response.text().contains(part)).then_some(())
    });
}

fn ready(server: &Server) {
    until("it is ready", || (server.request(&get("/ready")).status == 200).then_some(()));
}

fn logrotate_create_is_taken_over(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    store(&server, "a");
    fs::rename(&log, &moved).unwrap();
    fs::write(&log, "").unwrap();
    hang_up(&server, 1);
    store(&server, "b");
    assert_eq!((stored(&moved), stored(&log)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(queried(&server), ["b"]);
    ready(&server);
    // As logrotate does with the oldest: it is the server's no longer.
    fs::remove_file(&moved).unwrap();
    store(&server, "c");
    assert_eq!(queried(&server), ["b", "c"]);
    // A log that was deleted, with a new one in its place: what was in it is gone, and what comes is stored.
    fs::remove_file(&log).unwrap();
    fs::write(&log, "").unwrap();
    hang_up(&server, 2);
    store(&server, "d");
    assert_eq!(queried(&server), ["d"]);
    server.stop();
    assert_eq!(stored(&log), ["d"]);
}

fn logrotate_nocreate_begins_a_new_file(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    store(&server, "a");
    fs::rename(&log, &moved).unwrap();
    store(&server, "b");
    hang_up(&server, 1);
    store(&server, "c");
    assert_eq!((stored(&moved), stored(&log)), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(queried(&server), ["c"]);
    ready(&server);
    server.stop();
}

fn logrotate_copytruncate_goes_on_in_the_same_file(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    let cut = || {
        fs::copy(&log, &moved).unwrap();
        fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
        assert_eq!(queried(&server), [""; 0]);
    };
    store(&server, "a");
    for round in 1..=3 {
        cut();
        // It becomes shorter than it was, as long, and longer.
        let marks: Vec<String> = (0..round).map(|number| format!("{round}{number}")).collect();
        marks.iter().for_each(|mark| store(&server, mark));
        assert_eq!(queried(&server), marks);
        assert_eq!(server.stat("/log/changed_outside"), round);
    }
    ready(&server);
    // Cut, and then to be sealed: there is nothing to seal, and the next batch is where it should be.
    cut();
    server.signal(Signal::HangUp);
    store(&server, "b");
    assert_eq!(queried(&server), ["b"]);
    server.kill();
    let mut again = with_driver(driver).start_in(&server.directory);
    assert_eq!(queried(&again), ["b"]);
    again.stop();
}

fn a_log_moved_without_a_signal_goes_on_where_it_is(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    store(&server, "a");
    fs::rename(&log, &moved).unwrap();
    store(&server, "b");
    assert_eq!(queried(&server), ["a", "b"]);
    unready(&server, "was moved or deleted");
    fs::write(&log, "").unwrap();
    store(&server, "c");
    assert_eq!(queried(&server), ["a", "b", "c"]);
    unready(&server, "was replaced by another file");
    let metrics = server.request(&get("/metrics"));
    assert!(metrics.text().contains("metricstream_ready 0\n"), "{}", metrics.text());
    let doctor = doctor(&server.directory);
    assert!(doctor.contains("was moved or replaced"), "{doctor}");
    hang_up(&server, 1);
    ready(&server);
    assert_eq!((stored(&moved).len(), queried(&server)), (3, Vec::<String>::new()));
    server.stop();
}

/// A name of a sealed segment does not make one of the file that is written to.
fn a_log_moved_to_a_segments_name_is_still_written(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, _] = paths(&server);
    store(&server, "a");
    hang_up(&server, 1);
    store(&server, "b");
    // Before the one that is sealed.
    let moved = server.directory.join("metrics-20200102T030405.678Z.jsonl");
    fs::rename(&log, &moved).unwrap();
    unready(&server, "was moved or deleted");
    store(&server, "c");
    assert_eq!(queried(&server), ["a", "b", "c"]);
    fs::write(&log, "").unwrap();
    hang_up(&server, 2);
    store(&server, "d");
    hang_up(&server, 3);
    until("it is a segment now", || (server.stat("/segments/indexed") == 3).then_some(()));
    assert_eq!(queried(&server), ["a", "b", "c", "d"]);
    server.stop();
    assert_eq!(stored(&moved), ["b", "c"]);
}

/// The text of `metricstream doctor` about a data directory.
fn doctor(directory: &Path) -> String {
    let output = program(BINARY).args(["doctor", "--data-dir"]).arg(directory).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn ready_reports_what_stands_in_place_of_the_log(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    type Make = fn(&Path);
    let makes: [(Make, &str); 3] = [
        (|path| fs::create_dir(path).unwrap(), "a directory"),
        (|path| std::os::unix::fs::symlink("metrics.jsonl.1", path).unwrap(), "a symbolic link"),
        (|path| std::os::unix::fs::symlink("nowhere", path).unwrap(), "a symbolic link"),
    ];
    for (round, (make, what)) in (0..).zip(makes) {
        store(&server, "a");
        fs::rename(&log, &moved).unwrap();
        make(&log);
        server.signal(Signal::HangUp);
        unready(&server, &format!("rotating the log failed; retry in 10s: metrics.jsonl is {what}"));
        assert_eq!(server.stat("/log/rotations_postponed"), round + 1);
        store(&server, "b");
        assert_eq!((queried(&server), stored(&moved)), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
        if log.is_dir() { fs::remove_dir(&log) } else { fs::remove_file(&log) }.unwrap();
        // Requested again it is tried at once.
        hang_up(&server, round + 1);
        ready(&server);
    }
    assert!(!server.directory.join("nowhere").exists());
    server.stop();
}

fn lines_put_in_its_place_are_part_of_the_log(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, moved] = paths(&server);
    store(&server, "a");
    let text = fs::read_to_string(&log).unwrap();
    fs::rename(&log, &moved).unwrap();
    fs::write(&log, format!("{}torn", text.replace("\"a\"", "\"restored\""))).unwrap();
    hang_up(&server, 1);
    store(&server, "b");
    assert_eq!(queried(&server), ["b", "restored"]);
    server.stop();
    assert_eq!(stored(&log), ["b", "restored"]);
}

fn a_log_that_was_deleted_ends_the_server(driver: Driver) {
    let mut server = with_driver(driver).start();
    let [log, _] = paths(&server);
    store(&server, "a");
    fs::remove_file(&log).unwrap();
    let mut client = server.connect();
    client.send(&post_to("/metrics", "", metric::marked_batch("b", 3))).unwrap();
    assert!(client.try_response().is_err(), "no response was promised");
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.said().last().unwrap().contains("deleted"));
}

fn sealing_replaces_nothing(driver: Driver) {
    let last = "metrics-99991231T235959.999Z";
    for suffix in [".jsonl", ".jsonl.zst", ".index.json"] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(format!("{last}{suffix}"));
        fs::write(&path, "").unwrap();
        let mut server = with_driver(driver).start_in(directory.path());
        for (rotations, mark) in (1..).zip(["a", "b", "c"]) {
            store(&server, mark);
            hang_up(&server, rotations);
        }
        assert_eq!(queried(&server), ["a", "b", "c"]);
        server.stop();
        for (number, mark) in (1..).zip(["a", "b", "c"]) {
            assert_eq!(stored(&directory.path().join(format!("{last}_00000{number}.jsonl"))), [mark]);
        }
        let mut server = with_driver(driver).start_in(directory.path());
        assert_eq!(queried(&server), ["a", "b", "c"]);
        server.stop();
    }
}

on_both_drivers!(
    logrotate_create_is_taken_over,
    logrotate_nocreate_begins_a_new_file,
    logrotate_copytruncate_goes_on_in_the_same_file,
    a_log_moved_without_a_signal_goes_on_where_it_is,
    a_log_moved_to_a_segments_name_is_still_written,
    ready_reports_what_stands_in_place_of_the_log,
    lines_put_in_its_place_are_part_of_the_log,
    a_log_that_was_deleted_ends_the_server,
    sealing_replaces_nothing,
);

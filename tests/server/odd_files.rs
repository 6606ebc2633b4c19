//! File systems that cannot do everything, a lock file that goes away, and a clock that is set, by way of a library
//! between the server and libc: the server serves, says what it cannot promise, and deletes nothing.

use crate::{
    BINARY,
    crash::shim,
    http::{get, post_to},
    log, metric,
    process::Signal,
    server::{Driver, Server, Setup, program, until},
    with_driver,
};
use std::{fs, path::Path, process::Output};
use tempfile::TempDir;

fn setup() -> Setup {
    with_driver(Driver::Epoll)
}

/// A server on files that have this fault, and the file of which the fault takes its number; `None` without a C
/// compiler.
fn faulty(directory: &TempDir, fault: &str, setup: Setup) -> Option<(Server, std::path::PathBuf)> {
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    fs::create_dir(&data).unwrap();
    let environment = shim(directory)?.environment(&data, fault, 0, &journal);
    let setup =
        environment.into_iter().fold(setup, |setup, (name, value)| setup.variable(name, value.to_str().unwrap()));
    Some((setup.start_in(&data), journal))
}

fn store(server: &Server, mark: &str) {
    let response = server.request(&post_to("/metrics?ack=fsync", "", metric::marked_batch(mark, 3)));
    assert_eq!(response.processed(), 3, "{mark}");
}

fn seal(server: &Server, rotations: u64) {
    server.signal(Signal::HangUp);
    until("the segment is sealed", || (server.stat("/log/rotations") == rotations).then_some(()));
}

fn segments(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("metrics-") && name.ends_with(".jsonl")).collect();
    names.sort();
    names
}

#[test]
fn a_directory_that_cannot_be_synced_is_served_with_a_warning() {
    let directory = TempDir::new().unwrap();
    let Some((mut server, _)) = faulty(&directory, "directory-sync-unsupported", setup()) else { return };
    server.wait_for_line("a warning", |line| line.contains("cannot sync a directory").then_some(()));
    store(&server, "a");
    seal(&server, 1);
    store(&server, "b");
    assert!(server.stat("/log/directory_syncs_unsupported") >= 2);
    assert_eq!(server.request(&get("/ready")).status, 200);
    server.stop();
    let warnings = server.said().iter().filter(|line| line.contains("cannot sync a directory")).count();
    assert_eq!(warnings, 1, "said once");
    assert_eq!(segments(&server.directory).len(), 1);
}

#[test]
fn a_rename_that_replaces_is_not_used_where_there_is_no_other() {
    let directory = TempDir::new().unwrap();
    let Some((mut server, _)) = faulty(&directory, "rename-noreplace-unsupported", setup()) else { return };
    for (rotations, mark) in (1..).zip(["a", "b", "c"]) {
        store(&server, mark);
        seal(&server, rotations);
    }
    assert_eq!(segments(&server.directory).len(), 3);
    assert!(
        segments(&server.directory)
            .iter()
            .all(|name| { fs::read_to_string(server.directory.join(name)).unwrap().lines().count() == 3 })
    );
    server.stop();
}

#[test]
fn a_directory_that_cannot_be_locked_is_served_with_a_warning() {
    let directory = TempDir::new().unwrap();
    let Some((mut server, _)) = faulty(&directory, "directory-lock-unsupported", setup()) else { return };
    server.wait_for_line("a warning", |line| line.contains("cannot lock the directory").then_some(()));
    let pid = server.pid().to_string();
    assert!(setup().refused(&server.directory).line().contains(&pid), "the lock file does");
    store(&server, "a");
    server.stop();
}

#[test]
fn a_second_server_is_refused_whatever_becomes_of_the_lock_file() {
    let mut server = setup().start();
    let lock = server.directory.join("metricstream.lock");
    store(&server, "a");
    type Take = fn(&Path);
    let takes: [Take; 4] = [
        |_| {},
        |lock| fs::remove_file(lock).unwrap(),
        |lock| fs::rename(lock, lock.with_extension("moved")).unwrap(),
        |lock| {
            fs::remove_file(lock).unwrap();
            fs::write(lock, "").unwrap();
        },
    ];
    for take in takes {
        take(&lock);
        let refused = setup().refused(&server.directory);
        assert!(refused.line().contains("is in use by"), "{refused:?}");
        let repair = verify(&server.directory, &["--repair"]);
        assert_eq!(repair.status.code(), Some(2), "{repair:?}");
        assert!(String::from_utf8_lossy(&repair.stderr).contains("is in use by"), "{repair:?}");
        // It comes back by itself, for servers that know no other lock.
        let own = format!("{}\n", server.pid());
        until("the lock file", || fs::read_to_string(&lock).is_ok_and(|text| text == own).then_some(()));
    }
    store(&server, "b");
    assert_eq!(server.request(&get("/ready")).status, 200);
    server.stop();
    setup().start_in(&server.directory).stop();
}

fn verify(directory: &Path, flags: &[&str]) -> Output {
    program(BINARY).arg("verify").arg(directory).args(flags).output().unwrap()
}

#[test]
fn ready_reports_a_data_directory_that_was_moved() {
    let parent = TempDir::new().unwrap();
    let [data, moved] = ["data", "moved"].map(|name| parent.path().join(name));
    let mut server = setup().start_in(&data);
    store(&server, "a");
    fs::rename(&data, &moved).unwrap();
    let unready = |part: &str| {
        until(part, || {
            let response = server.request(&get("/ready"));
            (response.status == 503 && response.text().contains(part)).then_some(())
        });
    };
    unready("the data directory is no longer at its path");
    // Another server may have the name, and nothing of it is touched.
    let mut other = setup().start_in(&data);
    store(&other, "other");
    unready("replaced by another");
    server.signal(Signal::HangUp);
    unready("rotating the log failed");
    store(&server, "b");
    let found = server.request(&get("/tags/batch")).json();
    assert_eq!(found["values"], serde_json::json!(["a", "b"]), "its own, and nothing of the other");
    other.stop();
    assert_eq!(log::lines(&data).len(), 3);
    assert_eq!(log::lines(&moved).len(), 6);
    fs::rename(&data, parent.path().join("aside")).unwrap();
    fs::rename(&moved, &data).unwrap();
    until("it is ready", || {
        server.signal(Signal::HangUp);
        (server.request(&get("/ready")).status == 200).then_some(())
    });
    server.stop();
}

#[test]
fn a_clock_that_is_set_deletes_nothing() {
    const YEARS: &str = "315360000";
    let directory = TempDir::new().unwrap();
    let flags = setup().flag("--retain-age", "1h");
    let Some((mut server, clock)) = faulty(&directory, "clock-is-set", flags) else { return };
    store(&server, "a");
    seal(&server, 1);
    until("its sidecar", || (server.stat("/segments/indexed") == 1).then_some(()));
    fs::write(&clock, YEARS).unwrap();
    until("the step is noticed", || (server.stat("/segments/clock_steps") == 1).then_some(()));
    store(&server, "b");
    seal(&server, 2);
    until("its sidecar", || (server.stat("/segments/indexed") == 2).then_some(()));
    assert_eq!(server.stat("/segments/retired"), 0);
    fs::write(&clock, "0").unwrap();
    until("the step back is noticed", || (server.stat("/segments/clock_steps") == 2).then_some(()));
    store(&server, "c");
    seal(&server, 3);
    until("its sidecar", || (server.stat("/segments/indexed") == 3).then_some(()));
    assert_eq!(server.stat("/segments/retired"), 0);
    server.wait_for_line("the step", |line| line.contains("the wall clock was set by").then_some(()));
    server.stop();
    assert_eq!(segments(&server.directory).len(), 3);
    // By a clock that is ahead from the start on: all that is there was written long ago, or the clock is wrong.
    let data = server.directory.clone();
    fs::write(&clock, YEARS).unwrap();
    let environment = shim(&directory).unwrap().environment(&data, "clock-is-set", 0, &clock);
    let again = environment
        .into_iter()
        .fold(setup().flag("--retain-age", "1h"), |setup, (name, value)| setup.variable(name, value.to_str().unwrap()));
    let mut server = again.start_in(&data);
    until("a round", || (server.stat("/segments/rounds") > 0).then_some(()));
    assert_eq!(server.stat("/segments/retired"), 0);
    assert_eq!(server.stats().pointer("/segments/age_held_back").unwrap(), true);
    server.stop();
    assert_eq!(segments(&data).len(), 3);
}

#[test]
fn a_segment_of_the_future_is_logged_and_keeps_no_other() {
    let directory = TempDir::new().unwrap();
    let line = r#"{"timestamp":"2022-01-02T03:04:05.678Z","name":"a","value":1,"type":"gauge","tags":{}}"#;
    let [old, future] = ["20220102T030405.678Z", "20360102T030405.678Z"].map(|stamp| format!("metrics-{stamp}.jsonl"));
    for name in [&old, &future] {
        fs::write(directory.path().join(name), format!("{line}\n")).unwrap();
    }
    let mut server = setup().flag("--retain-age", "1h").start_in(directory.path());
    server.wait_for_line("a warning", |line| line.contains("is named in the future").then_some(()));
    until("the old one is retired", || (server.stat("/segments/retired") == 1).then_some(()));
    store(&server, "a");
    seal(&server, 1);
    let next = "metrics-20360102T030405.679Z.jsonl".to_owned();
    assert_eq!(segments(directory.path()), [future, next], "names go on in the order of sealing");
    server.stop();
}

//! Retention waits for forwards up to a bound, over kills and restarts; beyond it, every line is either delivered or
//! counted as undelivered.

use crate::{
    forward::{state_file, store, wait_for},
    http::get,
    receiver::{Knows, Receiver},
    server::{Driver, Server, Setup, until},
    with_driver,
};
use std::{collections::HashSet, fs, net::SocketAddr, path::Path};

const SEGMENT: &str = "64KiB";

/// A server that keeps one segment or two for itself.
fn setup(receiver: SocketAddr, hold: &str) -> Setup {
    with_driver(Driver::Epoll)
        .flag("--forward", format!("http://{receiver}/api/v1/write"))
        .flag("--rotate-size", SEGMENT)
        .flag("--retain-size", SEGMENT)
        .flag("--forward-hold", hold)
}

/// Stores 2,000 metrics at a time, each of which is a segment and more, until `found`.
fn store_until(server: &Server, mark: &str, found: impl Fn() -> bool) -> Vec<String> {
    let mut names = Vec::new();
    let mut round = 0;
    until(mark, || {
        names.extend(store(server, &format!("{mark}_{round}"), 2_000));
        round += 1;
        found().then_some(())
    });
    names
}

fn segments(directory: &Path) -> usize {
    let is_segment = |name: &str| name.starts_with("metrics-") && name.ends_with(".jsonl");
    let entries = fs::read_dir(directory).unwrap();
    entries.filter(|entry| is_segment(entry.as_ref().unwrap().file_name().to_str().unwrap())).count()
}

#[test]
fn segments_wait_for_a_receiver_that_is_away() {
    let receiver = Receiver::start(Knows::Both, &[]);
    let address = receiver.address;
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(address, "1GiB");
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let first = store(&server, "first", 10);
    wait_for(&receiver, &first);
    drop(receiver);
    let mut expected = store_until(&server, "away", || server.stat("/segments/held_bytes") > 500_000);
    server.kill();
    // Held from the start, before the forward has said a word.
    let mut server = setup.start_in(directory.path());
    expected.extend(store_until(&server, "again", || server.stat("/segments/held_bytes") > 1_000_000));
    assert!(segments(directory.path()) > 2, "more than retention keeps for itself");
    assert_eq!(server.stat("/forwards/0/undelivered_lines"), 0);
    let receiver = Receiver::start_at(address, Knows::Both, &[]);
    let last = expected.last().unwrap();
    // A look at the last one alone: a copy of all names would keep the receiver from its work.
    let is_last = || receiver.seen(|seen| seen.acknowledged.last().is_some_and(|sample| sample.name() == last));
    until("the last line to be delivered", || is_last().then_some(()));
    let mut received = receiver.names();
    received.retain(|name| !name.starts_with("first"));
    assert_eq!(received, expected, "each once, and in the order of the log");
    // What is delivered is no longer held: the next segment that is sealed lets maintenance look. That one is held if its
    // lines are not delivered yet.
    until("what is delivered to be deleted", || {
        let delivered = || server.stat("/forwards/0/delivered");
        let before = delivered();
        store(&server, "after", 1_000);
        // The backlog may still be that of an earlier moment.
        until("everything to be delivered", || (delivered() >= before + 1_000).then_some(()));
        (server.stat("/segments/held_bytes") < 200_000 && segments(directory.path()) < 5).then_some(())
    });
    server.stop();
}

#[test]
fn every_line_is_delivered_or_counted_as_undelivered() {
    let receiver = Receiver::start(Knows::Both, &[]);
    let address = receiver.address;
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(address, "256KiB").start_in(directory.path());
    state_file(directory.path());
    drop(receiver);
    let lost = || server.stat("/forwards/0/undelivered_lines");
    let mut stored = store_until(&server, "away", || lost() > 10_000);
    assert!(server.stat("/segments/held_bytes") <= 256 * 1024);
    let receiver = Receiver::start_at(address, Knows::Both, &[]);
    stored.extend(store(&server, "end", 5));
    wait_for(&receiver, &stored[stored.len() - 5..]);
    let received = receiver.names();
    let distinct: HashSet<_> = received.iter().collect();
    assert_eq!(distinct.len(), received.len(), "nothing twice");
    assert_eq!(received.len() as u64 + lost(), stored.len() as u64, "{} received", received.len());
    // The order is that of the log.
    let mut rest = stored.iter();
    assert!(received.iter().all(|name| rest.any(|stored| stored == name)));
    assert!(server.stat("/forwards/0/gaps") >= 1);
    let exposition = server.request(&get("/metrics")).text().to_owned();
    for family in ["forward_undelivered_lines_total", "forward_undelivered_bytes_total", "forward_hold_limit_bytes"] {
        assert!(exposition.contains(&format!("\nmetricstream_{family}")), "{family}: {exposition}");
    }
    server.stop();
    let warnings = server.said().iter().filter(|line| line.contains("before it was delivered")).count();
    assert_eq!(warnings, 1, "at most once a minute: {:?}", server.said());
}

#[test]
fn a_bound_of_zero_holds_nothing() {
    let receiver = Receiver::start(Knows::Both, &[]);
    let address = receiver.address;
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(address, "0").start_in(directory.path());
    state_file(directory.path());
    drop(receiver);
    store_until(&server, "away", || server.stat("/forwards/0/undelivered_lines") > 5_000);
    assert_eq!(server.stat("/segments/held_bytes"), 0);
    server.kill();
    // The cursor is in a segment that is gone: it goes on at the oldest line there is, which may go as well meanwhile.
    let mut server = setup(address, "0").start_in(directory.path());
    until("the gap", || (server.stat("/forwards/0/gaps") > 0).then_some(()));
    let receiver = Receiver::start_at(address, Knows::Both, &[]);
    let names = store(&server, "b", 5);
    wait_for(&receiver, &names);
    server.stop();
}

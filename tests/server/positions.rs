//! `X-MetricsStream-Position`: the place in the log of the end of each batch, exact over reactors, pipelined requests,
//! rotations and restarts.

use crate::{
    http::{Client, Response, get, post, post_to},
    metric, on_both_drivers,
    process::Signal,
    protocols::one_of_each,
    server::{Driver, Server, Setup, until},
    with_driver,
};
use std::{fs, path::Path, thread};

const FIELD: &str = "X-MetricsStream-Position";

fn setup(driver: Driver) -> Setup {
    with_driver(driver).flag("--position-header", "on")
}

fn position(response: &Response) -> String {
    assert!((200..300).contains(&response.status), "{response:?}");
    response.header(FIELD).unwrap_or_else(|| panic!("no position: {response:?}")).trim_start().to_owned()
}

/// The lines before `position` in its segment, by the files alone.
fn before(directory: &Path, position: &str) -> String {
    let (segment, byte) = position.split_once(':').unwrap();
    let mut sealed: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("metrics-") && name.ends_with("Z.jsonl"))
        .collect();
    sealed.sort();
    let file = match segment.strip_prefix("after-") {
        None => sealed.first(),
        Some(last) => sealed.iter().find(|name| **name > format!("metrics-{last}.jsonl")),
    };
    let text = fs::read(directory.join(file.map_or("metrics.jsonl", String::as_str))).unwrap();
    String::from_utf8(text[..byte.parse().unwrap()].to_vec()).unwrap()
}

/// Checks that the lines before `position` end with all `lines` of the batch `mark`, and that none of them is behind.
fn check(server: &Server, mark: &str, lines: usize, position: &str) {
    let quoted = format!("\"{mark}\"");
    let before = before(&server.directory, position);
    let last: Vec<&str> = before.lines().rev().take_while(|line| line.contains(&quoted)).collect();
    assert!(before.ends_with('\n') && last.len() == lines, "{mark} at {position}: {last:?}");
    let rest = server.request(&get(&format!("/log?from={position}&max_bytes=8388608")));
    assert!(rest.status == 200 && !rest.text().contains(&quoted), "{mark} at {position}: {}", rest.status);
}

fn a_position_is_the_end_of_its_batch(driver: Driver) {
    let server = setup(driver).start();
    let response = server.request(&post(metric::marked_batch("a", 3)));
    let first = position(&response);
    assert_eq!((response.processed(), first.split_once(':').unwrap().0), (3, "first"));
    check(&server, "a", 3, &first);
    // Pipelined, at both levels, with a refusal and a response without a position between them.
    let mut client = server.connect();
    let batch = |mark: &str, level: &str| post_to(&format!("/metrics?ack={level}"), "", metric::marked_batch(mark, 2));
    let requests = [
        batch("b", "write"),
        batch("c", "fsync"),
        post("{}"),
        batch("d", "memory"),
        batch("e", "write"),
        batch("f", "fsync"),
    ];
    client.send(&requests.concat()).unwrap();
    for mark in ["b", "c", "", "d", "e", "f"] {
        let response = client.response();
        match mark {
            "" => assert_eq!((response.status, response.header(FIELD)), (400, None)),
            "d" => assert_eq!((response.status, response.header(FIELD)), (200, None)),
            mark => check(&server, mark, 2, &position(&response)),
        }
    }
    check(&server, "a", 3, &first);
}

fn positions_go_on_after_a_rotation_and_a_restart(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(driver).start_in(directory.path());
    let mut positions = Vec::new();
    let mut store = |server: &Server, mark: &str| {
        let response = server.request(&post(metric::marked_batch(mark, 2)));
        positions.push((mark.to_owned(), position(&response)));
        for (mark, position) in &positions {
            check(server, mark, 2, position);
        }
        position(&response)
    };
    store(&server, "a");
    server.signal(Signal::HangUp);
    until("the rotation", || (server.stat("/log/rotations") == 1).then_some(()));
    assert!(store(&server, "b").starts_with("after-20"));
    server.kill();
    let server = setup(driver).start_in(directory.path());
    store(&server, "c");
}

/// The reactors' bytes alternate in the log, and segments change all the time.
fn positions_are_exact_with_many_clients(driver: Driver) {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 20;
    let server = setup(driver).flag("--reactors", 3).flag("--rotate-size", "64KiB").start();
    let mut found = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = Client::connect(server.address);
                    let mut found = Vec::new();
                    for round in 0..ROUNDS {
                        let marks: Vec<String> = (0..4).map(|at| format!("m-{number}-{round}-{at}")).collect();
                        let level = if round % 5 == 0 { "fsync" } else { "write" };
                        let target = format!("/metrics?ack={level}");
                        let send = |mark: &String| post_to(&target, "", metric::marked_batch(mark, 3));
                        client.send(&marks.iter().flat_map(send).collect::<Vec<u8>>()).unwrap();
                        found.extend(marks.into_iter().map(|mark| (mark, position(&client.response()))));
                    }
                    found
                })
            })
            .collect();
        found.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
    });
    assert_eq!(found.len(), 4 * CLIENTS * ROUNDS);
    for (mark, position) in &found {
        let before = before(&server.directory, position);
        let count = before.lines().rev().take_while(|line| line.contains(&format!("\"{mark}\""))).count();
        assert_eq!(count, 3, "{mark} at {position}");
    }
    for (mark, position) in found.iter().step_by(50) {
        check(&server, mark, 3, position);
    }
}

fn every_protocol_has_positions(driver: Driver) {
    let server = setup(driver).start();
    for (protocol, request, ..) in one_of_each() {
        let position = position(&server.request(&request));
        let end = server.request(&get("/log?from=end"));
        assert_eq!(end.header("X-MetricsStream-Next"), Some(position.as_str()), "{protocol}");
    }
    // What is stored of a batch that is refused in part has a position too.
    let response = server.request(&post_to("/write", "", "cpu value=1\ncpu value\n"));
    assert_eq!((response.status, response.header(FIELD).is_some()), (400, true), "{response:?}");
    let nothing = server.request(&post_to("/write", "", ""));
    assert_eq!(nothing.header(FIELD), None, "{nothing:?}");
}

/// A log that is cut takes the position of one gathering with it: the value is empty then.
fn a_position_that_is_unknown_is_empty(driver: Driver) {
    let server = setup(driver).start();
    server.request(&post(metric::marked_batch("a", 3)));
    let active = server.directory.join("metrics.jsonl");
    fs::OpenOptions::new().write(true).open(active).unwrap().set_len(0).unwrap();
    let response = server.request(&post(metric::marked_batch("b", 3)));
    assert_eq!((response.processed(), response.header(FIELD).map(str::trim)), (3, Some("")));
    let response = server.request(&post(metric::marked_batch("c", 3)));
    check(&server, "c", 3, &position(&response));
}

fn there_are_none_unless_configured(driver: Driver) {
    let server = with_driver(driver).start();
    assert_eq!(server.request(&post(metric::marked_batch("a", 3))).header(FIELD), None);
}

on_both_drivers!(
    a_position_is_the_end_of_its_batch,
    positions_go_on_after_a_rotation_and_a_restart,
    positions_are_exact_with_many_clients,
    every_protocol_has_positions,
    a_position_that_is_unknown_is_empty,
    there_are_none_unless_configured,
);

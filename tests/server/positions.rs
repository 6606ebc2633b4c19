//! `X-MetricsStream-Position`: the place in the log of the end of each batch, exact over reactors, pipelined requests,
//! rotations and restarts.

use crate::{
    http::{Answer, Client, get, post, post_to},
    log, on_both_drivers,
    process::Signal,
    server::{Driver, Server, Setup, until},
};
use std::{fs, path::Path, thread};

const FIELD: &str = "X-MetricsStream-Position";

fn setup(driver: Driver) -> Setup {
    Setup::new(driver).flag("--position-header", "on")
}

fn position(answer: &Answer) -> String {
    assert!((200..300).contains(&answer.status), "{answer:?}");
    answer.header(FIELD).unwrap_or_else(|| panic!("no position: {answer:?}")).trim_start().to_owned()
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
    let rest = server.ask(&get(&format!("/log?from={position}&max_bytes=8388608")));
    assert!(rest.status == 200 && !rest.text().contains(&quoted), "{mark} at {position}: {}", rest.status);
}

fn a_position_is_the_end_of_its_batch(driver: Driver) {
    let server = setup(driver).start();
    let answer = server.ask(&post(log::marked_batch("a", 3)));
    let first = position(&answer);
    assert_eq!((answer.processed(), first.split_once(':').unwrap().0), (3, "first"));
    check(&server, "a", 3, &first);
    // Pipelined, at both levels, with a refusal and a response without a position between them.
    let mut client = server.connect();
    let batch = |mark: &str, level: &str| post_to(&format!("/metrics?ack={level}"), "", log::marked_batch(mark, 2));
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
        let answer = client.answer();
        match mark {
            "" => assert_eq!((answer.status, answer.header(FIELD)), (400, None)),
            "d" => assert_eq!((answer.status, answer.header(FIELD)), (200, None)),
            mark => check(&server, mark, 2, &position(&answer)),
        }
    }
    check(&server, "a", 3, &first);
}

fn positions_go_on_after_a_rotation_and_a_restart(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(driver).start_in(directory.path());
    let mut positions = Vec::new();
    let mut store = |server: &Server, mark: &str| {
        let answer = server.ask(&post(log::marked_batch(mark, 2)));
        positions.push((mark.to_owned(), position(&answer)));
        for (mark, position) in &positions {
            check(server, mark, 2, position);
        }
        position(&answer)
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
                        let send = |mark: &String| post_to(&target, "", log::marked_batch(mark, 3));
                        client.send(&marks.iter().flat_map(send).collect::<Vec<u8>>()).unwrap();
                        found.extend(marks.into_iter().map(|mark| (mark, position(&client.answer()))));
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

const COLLECTD: &str = concat!(
    r#"[{"values":[5],"dstypes":["gauge"],"dsnames":["value"],"time":1700000000.0,"host":"h","plugin":"p","#,
    r#""plugin_instance":"","type":"t","type_instance":""}]"#
);

fn every_protocol_has_positions(driver: Driver) {
    let server = setup(driver).start();
    for (target, body) in [
        ("/write", "cpu value=1\n"),
        ("/api/v2/write?precision=ms", "cpu value=2\n"),
        ("/metrics/job/batch", "some_metric 3\n"),
        ("/api/v1/series", r#"{"series":[{"metric":"a.b","points":[[1700000000,4]]}]}"#),
        ("/collectd", COLLECTD),
    ] {
        let answer = server.ask(&post_to(target, "Content-Type: application/json\r\n", body));
        let position = position(&answer);
        let end = server.ask(&get("/log?from=end"));
        assert_eq!(end.header("X-MetricsStream-Next"), Some(position.as_str()), "{target}");
    }
    // What is stored of a batch that is refused in part has a position too.
    let answer = server.ask(&post_to("/write", "", "cpu value=1\ncpu value\n"));
    assert_eq!((answer.status, answer.header(FIELD).is_some()), (400, true), "{answer:?}");
    let nothing = server.ask(&post_to("/write", "", ""));
    assert_eq!(nothing.header(FIELD), None, "{nothing:?}");
}

/// A log that is cut takes the position of one gathering with it: the value is empty then.
fn a_position_that_is_unknown_is_empty(driver: Driver) {
    let server = setup(driver).start();
    server.ask(&post(log::marked_batch("a", 3)));
    let active = server.directory.join("metrics.jsonl");
    fs::OpenOptions::new().write(true).open(active).unwrap().set_len(0).unwrap();
    let answer = server.ask(&post(log::marked_batch("b", 3)));
    assert_eq!((answer.processed(), answer.header(FIELD).map(str::trim)), (3, Some("")));
    let answer = server.ask(&post(log::marked_batch("c", 3)));
    check(&server, "c", 3, &position(&answer));
}

fn there_are_none_unless_configured(driver: Driver) {
    let server = Setup::new(driver).start();
    assert_eq!(server.ask(&post(log::marked_batch("a", 3))).header(FIELD), None);
}

on_both_drivers!(
    a_position_is_the_end_of_its_batch,
    positions_go_on_after_a_rotation_and_a_restart,
    positions_are_exact_with_many_clients,
    every_protocol_has_positions,
    a_position_that_is_unknown_is_empty,
    there_are_none_unless_configured,
);

//! Stop of the server, and its state when it starts again.

use crate::{
    http::{Client, get, is_end, post, post_to},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, Server, until},
    with_driver,
};
use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tempfile::TempDir;

/// Posts batches until the connection ends or the server says that it stops; returns the marks of those acknowledged.
fn post_until_the_end(address: SocketAddr, thread: usize, level: &str, acknowledged: &AtomicUsize) -> Vec<String> {
    let mut marks = Vec::new();
    let Ok(mut client) = Client::try_connect(address) else { return marks };
    for number in 0.. {
        let mark = format!("{level}-{thread}-{number}");
        let request = post_to(&format!("/metrics?ack={level}"), "", metric::marked_batch(&mark, 1 + number % 12));
        match client.try_request(&request) {
            Ok(response) if response.status == 503 => {
                response.refusal(503);
                break;
            }
            Ok(response) => {
                assert_eq!(response.processed(), 1 + number % 12);
                marks.push(mark);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert!(is_end(&error), "{error}");
                break;
            }
        }
    }
    marks
}

/// Whatever was acknowledged, at any level, is in the file when the process has ended; and it ends with code 0.
fn a_stop_under_load_loses_nothing(driver: Driver) {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let mut server = with_driver(driver).flag("--reactors", 2).start();
        let acknowledged = AtomicUsize::new(0);
        let marks = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for thread in 0..9 {
                let (address, acknowledged, marks) = (server.address, &acknowledged, &marks);
                scope.spawn(move || {
                    let level = ["memory", "write", "fsync"][thread % 3];
                    let own = post_until_the_end(address, thread, level, acknowledged);
                    marks.lock().unwrap().extend(own);
                });
            }
            until("load", || (acknowledged.load(Ordering::Relaxed) > 500).then_some(()));
            server.signal(signal);
        });
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
        let found = metric::marked_batches(&server.metrics());
        let marks = marks.into_inner().unwrap();
        for mark in &marks {
            assert_eq!(found.get(mark), Some(&1), "{mark} was acknowledged");
        }
        let levels: HashSet<&str> = marks.iter().map(|mark| mark.split('-').next().unwrap()).collect();
        assert_eq!(levels.len(), 3, "every level was tried");
        assert!(found.values().all(|&times| times == 1));
    }
}

/// A pipeline that was sent before the signal gets its responses.
fn requests_in_flight_get_their_responses(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let request = post_to("/metrics", "", metric::marked_batch("flight", 5));
    let (first, rest) = request.split_at(request.len() - 10);
    client.send(first).unwrap();
    // On the same reactor: at the response to this, what was sent before it has arrived there.
    assert_eq!(server.request(&get("/health")).status, 200);
    let mut idle = server.connect();
    assert_eq!(idle.request(&get("/health")).status, 200);
    server.signal(Signal::Terminate);
    // The stop has begun when it closes what is idle.
    idle.expect_end();
    assert!(server.is_running(), "a request is in flight");
    client.send(rest).unwrap();
    let response = client.response();
    assert_eq!(response.processed(), 5);
    assert_eq!(response.header("Connection"), Some("close"));
    client.expect_end();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.metrics().len(), 5);
}

/// Holds a request open and stops the server, which then waits for the request.
fn a_stop_that_waits(driver: Driver, flags: &[(&str, &str)]) -> (Server, Client) {
    let setup = flags.iter().fold(with_driver(driver), |setup, (name, value)| setup.flag(name, value));
    let server = setup.start();
    let mut client = server.connect();
    let mut idle = server.connect();
    client.send(b"POST /metrics HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n").unwrap();
    assert_eq!(client.response().status, 100);
    server.signal(Signal::Terminate);
    idle.expect_end();
    (server, client)
}

fn a_second_signal_exits_at_once(driver: Driver) {
    for second in [Signal::Terminate, Signal::Interrupt] {
        let (mut server, _client) = a_stop_that_waits(driver, &[("--drain-timeout", "1h"), ("--body-timeout", "1h")]);
        assert!(server.is_running());
        server.signal(second);
        let status = server.wait();
        assert_ne!(status.code(), Some(0), "it did not stop cleanly: {status}");
    }
}

fn a_stop_has_an_end(driver: Driver) {
    let (mut server, mut client) = a_stop_that_waits(driver, &[("--drain-timeout", "300ms"), ("--body-timeout", "1h")]);
    let _ = client.rest();
    assert_eq!(server.wait().code(), Some(0), "what was acknowledged is written: the stop is clean");
}

fn a_torn_last_line_is_repaired(driver: Driver) {
    const WHOLE: &str = concat!(
        r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"a","value":1,"type":"gauge","tags":{}}"#,
        "\n",
        r#"{"timestamp":"2026-01-02T03:04:05.679Z","name":"b","value":2,"type":"gauge","tags":{}}"#,
        "\n",
    );
    let torn = r#"{"timestamp":"2026-01-02T03:04:05.680Z","name":"torn_away","val"#;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.jsonl");
    fs::write(&path, format!("{WHOLE}{torn}")).unwrap();
    let mut server = with_driver(driver).start_in(directory.path());
    assert_eq!(server.request(&post(metric::marked_batch("after", 1))).processed(), 1);
    server.stop();
    let said = server.said();
    assert!(said.iter().any(|line| line.contains("torn") && line.contains(&torn.len().to_string())), "{said:#?}");
    let names: Vec<String> = server.metrics().into_iter().map(|metric| metric.name).collect();
    assert_eq!(names, ["a", "b", "crash_test"]);
    let aside: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|other| {
            *other != path && fs::read(other).is_ok_and(|bytes| bytes.windows(torn.len()).any(|w| w == torn.as_bytes()))
        })
        .collect();
    assert_eq!(aside.len(), 1, "the bytes are kept in one place: {aside:?}");
}

/// A log that is whole is not touched, and nothing is said of it.
fn a_whole_log_is_left_alone(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let mut server = with_driver(driver).start_in(directory.path());
    assert_eq!(server.request(&post(metric::marked_batch("before", 100))).processed(), 100);
    server.stop();
    let before = fs::read(directory.path().join("metrics.jsonl")).unwrap();
    let mut server = with_driver(driver).start_in(directory.path());
    server.stop();
    assert!(!server.said().iter().any(|line| line.contains("torn")), "{:#?}", server.said());
    assert_eq!(fs::read(directory.path().join("metrics.jsonl")).unwrap(), before);
}

fn unclean_shutdowns_are_counted(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let mut before = 0;
    for kill in [false, true, true, false, false] {
        let mut server = with_driver(driver).start_in(directory.path());
        assert_eq!(server.stat("/log/unclean_shutdowns"), before);
        assert_eq!(server.request(&post(metric::marked_batch("x", 1))).processed(), 1);
        if kill {
            server.kill();
            before += 1;
        } else {
            server.stop();
        }
    }
}

on_both_drivers!(
    a_stop_under_load_loses_nothing,
    requests_in_flight_get_their_responses,
    a_second_signal_exits_at_once,
    a_stop_has_an_end,
    a_torn_last_line_is_repaired,
    a_whole_log_is_left_alone,
    unclean_shutdowns_are_counted,
);

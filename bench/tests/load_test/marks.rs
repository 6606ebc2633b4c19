//! `--mark`: what the server is sent, and servers that do not take it.

use crate::harness::{OK, load_test, program, read_request, report, run, server};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};
use testkit::process::{Signal, signal};

const MARKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                      1d\r\n{\"end\":\"none\",\"mark\":5,\"x\":1}\n\r\n0\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(30);

/// A server with a live page. Returns its port, and the heads of the requests for marks.
fn marking() -> (u16, Receiver<String>) {
    let (sender, marks) = channel();
    let port = server(move |mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        if first.contains(" /ui/marks?") {
            let mut head = first;
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            sender.send(head).unwrap();
            stream.write_all(MARKED.as_bytes()).unwrap();
            return;
        }
        while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
    });
    (port, marks)
}

fn targets(marks: &Receiver<String>) -> [String; 2] {
    [(), ()].map(|()| marks.recv_timeout(LIMIT).unwrap().lines().next().unwrap().to_owned())
}

#[test]
fn a_marked_run_begins_and_ends_on_the_page() {
    let (port, marks) = marking();
    let output = load_test(port, "2 10").args(["--mark", "run 7: 20k/s"]).output().unwrap();
    assert_eq!((&report(&output)["successes"], output.status.code()), (&json!(20), Some(0)), "{output:?}");
    assert_eq!(targets(&marks), ["POST /ui/marks?name=run%207%3A%2020k%2Fs HTTP/1.1", "POST /ui/marks?end=5 HTTP/1.1"]);
}

#[test]
fn a_mark_carries_the_key_of_the_requests() {
    let (port, marks) = marking();
    let mut command = load_test(port, "1 1 --mark a");
    assert!(command.args(["-H", "Authorization: Bearer alpha"]).output().unwrap().status.success());
    let head = marks.recv_timeout(LIMIT).unwrap();
    assert!(head.contains("\r\nAuthorization: Bearer alpha\r\n") && head.contains("\r\nHost: 127.0.0.1:"), "{head}");
}

#[test]
fn a_mark_of_a_run_that_a_signal_ends_is_ended() {
    for by in [Signal::Interrupt, Signal::Terminate] {
        let (port, marks) = marking();
        let mut process = load_test(port, "2 -d 60s --mark a").stdout(Stdio::null()).spawn().unwrap();
        let begun = marks.recv_timeout(LIMIT).unwrap();
        assert!(begun.starts_with("POST /ui/marks?name=a "), "{begun}");
        signal(&process, by).unwrap();
        let ended = marks.recv_timeout(LIMIT).unwrap();
        assert!(ended.starts_with("POST /ui/marks?end=5 "), "{ended}");
        process.wait().unwrap();
    }
}

#[test]
fn a_server_without_a_page_is_loaded_after_a_warning() {
    for (response, word) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "has none"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "valid key"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "no mark"),
        ("", "not HTTP"),
    ] {
        let port = server(move |mut stream, _| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let is_mark = first.contains("/ui/marks");
            while read_request(&mut reader) {
                if stream.write_all(if is_mark { response } else { OK }.as_bytes()).is_err() || is_mark {
                    return;
                }
            }
        });
        let output = run(port, "2 10 --mark a");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the run is not marked") && said.contains(word), "{word}: {said}");
        assert_eq!((&report(&output)["successes"], output.status.code()), (&json!(20), Some(0)), "{output:?}");
    }
}

#[test]
fn names_that_the_server_refuses_are_wrong_use() {
    for name in ["", " a", "a\tb", &"x".repeat(65)] {
        let output = program().args(["8080", "1", "1", "--mark", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name:?} {output:?}");
    }
}

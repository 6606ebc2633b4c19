//! Which server is meant, and what happens when it is not there.

use crate::harness::{program, read_request, report, reported, responding, server};
use serde_json::json;
use std::{
    io::{BufReader, Read, Write},
    net::TcpListener,
    process::Output,
    thread,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn given(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

#[test]
fn a_name_is_tried_at_each_of_its_addresses() {
    // Where the host has no IPv6, the name has one address only.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
            });
        }
    });
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names =
        |line: &str| line.trim_start().starts_with("::1") && line.split_whitespace().any(|name| name == "localhost");
    if !hosts.lines().any(names) {
        return;
    }
    let url = format!("HTTP://localhost:{port}/");
    let output = given(&["--url", &url, "-c", "2", "-n", "5", "--format", "json"]);
    let found = report(&output);
    assert_eq!((&found["successes"], &found["server"]), (&json!(10), &json!(format!("[::1]:{port}"))), "{output:?}");
    let (found, status) = reported(port, "2 5 --host localhost");
    assert_eq!((status, &found["successes"]), (0, &json!(10)), "{found}");
}

#[test]
fn a_scheme_in_capitals_reaches_the_server() {
    let port = server(|mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
    });
    let url = format!("HTTP://127.0.0.1:{port}/");
    let output = given(&["--url", &url, "-c", "2", "-n", "5", "--format", "json"]);
    assert_eq!(report(&output)["successes"], json!(10), "{output:?}");
}

#[test]
fn what_is_missing_is_named_by_the_flag_that_works() {
    let output = given(&["--url", "http://127.0.0.1:1/", "-d", "1s"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("-c CLIENTS") && !said.contains("<PORT>"), "{said}");
    let output = given(&["--url", "http://127.0.0.1:1/", "-c", "1"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--duration"));
}

#[test]
fn several_urls_share_the_requests() {
    let (sender, lines) = std::sync::mpsc::channel();
    let port = server(move |mut stream, _| {
        let mut bytes = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            let line = String::from_utf8_lossy(&bytes[..length]).lines().next().unwrap().to_owned();
            sender.send(line).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let arguments = ["--url", &url("a"), "--url", &url("b?c"), "-c", "1", "-n", "4", "--method", "GET"];
    assert!(given(&arguments).status.success());
    let lines: Vec<_> = lines.try_iter().collect();
    assert_eq!(lines, ["GET /a HTTP/1.1", "GET /b?c HTTP/1.1", "GET /a HTTP/1.1", "GET /b?c HTTP/1.1"]);
}

#[test]
fn a_refusing_server_is_not_tried_in_a_frenzy() {
    // Serves one request and is gone: the rest is refused until the time is over.
    let listener = crate::harness::passing_listener();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        assert!(read_request(&mut BufReader::new(stream.try_clone().unwrap())));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    });
    let (report, status) = reported(port, "1 -d 1s");
    served.join().unwrap();
    assert_eq!((status, &report["successes"]), (1, &json!(1)), "{report}");
    // 1 + 2 + 4 + … + 64 ms, then 100 ms each: a bound on the count, however slow the machine is.
    let refused = report["errors"]["refused"].as_u64().unwrap();
    assert!((1..=20).contains(&refused), "{report}");
}

#[test]
fn enough_errors_end_the_load() {
    let busy = responding("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (report, status) = reported(busy, "2 -d 600s --max-errors 10");
    assert_eq!((status, &report["stopped_by"]), (1, &json!("max_errors")), "{report}");
    assert!(report["failed"].as_u64().unwrap() >= 10, "{report}");
    assert!(report["remarks"].to_string().contains("--max-errors"), "{report}");
    let (report, status) = reported(responding(OK), "2 20 --max-errors 1");
    assert_eq!((status, &report["stopped_by"]), (0, &json!(null)));
}

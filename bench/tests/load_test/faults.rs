//! Servers that stall, lie, never close and send too much: each shows as what it is, and changes no figure beside.

use crate::harness::{program, read_request, reported, responding, server};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Read, Write},
    sync::{Arc, Condvar, Mutex},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn a_rate_does_not_hold_the_wait_for_hung_requests() {
    // The first client's first request gets its response after all others, and its second one never.
    let responses = Arc::new((Mutex::new(0), Condvar::new()));
    let port = server(move |mut stream, index| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (count, changed) = &*responses;
        for turn in 0.. {
            if !read_request(&mut reader) {
                return;
            }
            if index == 0 && turn == 0 {
                let all = count.lock().unwrap();
                drop(changed.wait_while(all, |count| *count < 6).unwrap());
            } else if index == 0 {
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            stream.write_all(OK.as_bytes()).unwrap();
            *count.lock().unwrap() += 1;
            changed.notify_all();
        }
    });
    let (report, status) = reported(port, "4 2 --timeout 2s");
    assert_eq!((status, &report["successes"], &report["errors"]["timeout"]), (1, &json!(7), &json!(1)), "{report}");
    assert!(number(&report, "elapsed_s") - number(&report, "measured_s") >= 1.9, "{report}");
    let rate = number(&report, "successes_in_span") / number(&report, "measured_s");
    assert!((number(&report, "requests_per_second") - rate).abs() < 1e-6 * rate, "{report}");
    assert!(report["remarks"].to_string().contains("1 requests hung"), "{report}");
}

#[test]
fn a_span_of_some_time_is_as_long_as_configured() {
    let port = server(|mut stream, index| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) {
            if index == 0 {
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            let _ = stream.write_all(OK.as_bytes());
        }
    });
    for more in ["", " --rate 100"] {
        let (report, _) = reported(port, &format!("4 -d 300ms --timeout 1s{more}"));
        assert_eq!(number(&report, "measured_s"), 0.3, "{report}");
        let in_span = number(&report, "successes_in_span");
        assert!((number(&report, "requests_per_second") - in_span / 0.3).abs() < 1e-6, "{report}");
        assert!(more.is_empty() || number(&report, "achieved_percent") <= 100.0, "{report}");
    }
}

#[test]
fn a_connection_that_the_server_leaves_open_is_closed() {
    for (response, announced) in [
        (OK, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true),
    ] {
        // Nothing waits for the timeout: it is longer than any test.
        let (report, status) = reported(responding(response), "2 10 --no-keepalive --timeout 3600s");
        assert_eq!((status, &report["successes"]), (0, &json!(20)), "{report}");
        assert_eq!(report["connections_opened"], 20);
        let unclosed = report["connections_unclosed"].as_u64().unwrap();
        assert!(if announced { unclosed > 0 } else { unclosed == 20 }, "{report}");
        assert!(report["remarks"].to_string().contains("load_test closed them"), "{report}");
    }
    // With keep-alive, an announced close that does not come is the same.
    let port = responding("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let (report, _) = reported(port, "2 10 --timeout 3600s");
    assert_eq!((&report["successes"], &report["connections_opened"]), (&json!(20), &json!(20)), "{report}");
}

#[test]
fn bytes_without_a_request_are_counted() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        "HTTP/1.1 204 No Content\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (report, status) = reported(responding(response), "2 4");
        assert_eq!((status, &report["requests"]), (1, &json!(8)), "{report}");
        // Where the rest comes by itself, the next request may be under way, and what follows is no response to it.
        let seen = report["connections_unsolicited"].as_u64().unwrap() + report["errors"]["garbage"].as_u64().unwrap();
        assert_eq!((seen, report["connections_opened"].as_u64()), (8, Some(8)), "{response} {report}");
    }
}

#[test]
fn a_greeting_before_any_request_is_no_response() {
    let port = server(|mut stream, _| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (report, status) = reported(port, "2 3 --timeout 600s");
    assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(6), &json!(0)), "{report}");
    assert_eq!(report["errors"]["garbage"], 6, "{report}");
}

#[test]
fn connections_and_bytes_are_counted() {
    let (report, status) = reported(responding(OK), "3 7");
    assert_eq!((status, &report["connections_opened"]), (0, &json!(3)), "{report}");
    assert_eq!(report["bytes_received"], 21 * OK.len());
    for figures in ["connect_us", "first_byte_us"] {
        assert!(number(&report[figures], "p50") > 0.0, "{report}");
    }
    assert!(number(&report["first_byte_us"], "max") <= number(&report["latency_us"], "max"), "{report}");
}

#[test]
fn a_load_without_success_has_no_latency() {
    let port = responding("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (report, status) = reported(port, "2 5");
    assert_eq!((status, &report["success_percent"]), (1, &json!(0.0)));
    assert_eq!((&report["latency_us"]["p50"], &report["first_byte_us"]["max"]), (&Value::Null, &Value::Null));
    assert!(number(&report["latency_by_status_us"]["503"], "p99") > 0.0, "{report}");
    let written = |form: &str| {
        let output = program().args([&port.to_string(), "2", "5", "--format", form]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = written("text");
    let latency: Vec<_> = text.lines().skip_while(|line| !line.starts_with("latency")).collect();
    assert!(latency.iter().filter(|line| line.ends_with(" -")).count() == 11, "{text}");
    assert!(latency.contains(&"first byte  p50 -, p99 -, max -"), "{text}");
    let csv = written("csv");
    assert!(csv.trim_end().ends_with(",,,,"), "{csv}");
}

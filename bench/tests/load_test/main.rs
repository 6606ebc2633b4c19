//! `load_test` against the floor, and against servers that misbehave: each outcome is reported as what it is.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

mod bodies;
mod comparing;
mod faults;
mod harness;
mod https;
mod logging;
mod marks;
mod measuring;
mod outputs;
mod protocols;
mod shapes;
mod targets;
mod unix_sockets;

use harness::{
    DRIVERS, Floor, load_test, program, read_request, report, reported, responding, responding_once, run, server,
};
use serde_json::json;
use std::{
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};
use testkit::{
    process::{Signal, signal},
    server::until,
};

#[test]
fn every_request_to_the_floor_succeeds() {
    for driver in DRIVERS {
        let floor = Floor::start(driver);
        for (arguments, requests, metrics) in [
            ("20 50", 1000, 3000),
            ("1 1", 1, 3),
            ("20 50 --pipeline 16 -t 2", 1000, 3000),
            ("20 20 --no-keepalive", 400, 1200),
            ("-c 8 -n 50 --batch 1000 --clients 3 --ack fsync", 400, 400_000),
            ("8 7 3", 56, 168),
            ("8 7 3 --pipeline 4", 56, 168),
        ] {
            let (report, status) = reported(floor.port, &format!("{arguments} --driver {driver}"));
            assert_eq!(status, 0, "{driver} {arguments}: {report}");
            assert_eq!(report["driver"], driver);
            assert_eq!(
                (&report["requests"], &report["successes"]),
                (&json!(requests), &json!(requests)),
                "{arguments}"
            );
            assert_eq!(report["statuses"], json!({"200": requests}));
            assert_eq!(report["metrics_acknowledged"], metrics);
            assert_eq!(report["success_percent"], 100.0);
            assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
            assert!(report["latency_us"]["p50"].as_f64() <= report["latency_us"]["max"].as_f64());
        }
        floor.end(if driver == "epoll" { Signal::Interrupt } else { Signal::Terminate });
    }
}

#[test]
fn five_hundred_clients_succeed() {
    let floor = Floor::start("auto");
    let (report, status) = reported(floor.port, "500 10");
    assert_eq!((&report["successes"], status), (&json!(5000), 0), "{report}");
}

#[test]
fn a_load_of_some_time_ends_by_itself_and_leaves_its_warm_up_out() {
    let floor = Floor::start("auto");
    let (report, status) = reported(floor.port, "4 -d 200ms -w 100ms");
    assert_eq!(status, 0, "{report}");
    assert!(report["requests"].as_u64().unwrap() > 0);
    assert_eq!(report["requests"], report["successes"]);
    let (bounded, _) = reported(floor.port, "4 25 -w 50ms");
    assert_eq!(bounded["requests"], 100, "warming up takes nothing from REQUESTS");
}

#[test]
fn batches_come_from_a_file_in_turn() {
    let floor = Floor::start("auto");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"{\"metrics\":[1]}\n{\"metrics\":[1,2]}\n").unwrap();
    let (report, _) = reported(floor.port, &format!("1 10 --body-file {}", file.path().display()));
    assert_eq!(report["metrics_acknowledged"], 15);
}

#[test]
fn a_port_without_a_listener_is_reported_in_one_line() {
    let port = crate::harness::idle_port();
    for arguments in ["10 1000", "10 10 --no-keepalive -t 2", "2 -d 60s", "3 5 20", "64 -d 60s --rate 1000 -t 2"] {
        let output = run(port, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert_eq!(output.stdout, b"");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("load_test: nothing listens on 127.0.0.1:{port}\n"));
    }
}

#[test]
fn a_server_that_stops_listening_makes_the_rest_refused() {
    // The listener is gone before the one connection is served: whatever comes after the first request is refused.
    let listener = harness::passing_listener();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        // A child that another test is about to start has it for a moment more.
        until("connections to be refused", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
        assert!(read_request(&mut BufReader::new(stream.try_clone().unwrap())));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    });
    let (report, status) = reported(port, "1 5");
    served.join().unwrap();
    assert_eq!(status, 1);
    assert_eq!((&report["requests"], &report["successes"]), (&json!(5), &json!(1)));
    assert_eq!(report["errors"]["refused"], 4, "{report}");
}

#[test]
fn a_connection_closed_at_once_is_closed_early_or_reset() {
    let port = server(|stream, _| drop(stream));
    let (report, status) = reported(port, "5 4");
    assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(20), &json!(0)));
    // Which of the two depends on whether the request arrives before or after the close.
    let errors = |name: &str| report["errors"][name].as_u64().unwrap();
    assert_eq!(errors("closed_early") + errors("reset"), 20, "{report}");
}

#[test]
fn a_response_cut_off_is_closed_early() {
    let port = responding_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let (report, status) = reported(port, "2 3");
    assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(6), &json!(0)));
    assert_eq!(report["errors"]["closed_early"], 6, "{report}");
}

#[test]
fn what_is_no_response_is_garbage() {
    for response in ["220 mail.example ESMTP\r\n", "HTTP/1.1 banana\r\n\r\n"] {
        let (report, status) = reported(responding(response), "3 2");
        assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(6), &json!(0)));
        assert_eq!(report["errors"]["garbage"], 6, "{report}");
    }
}

#[test]
fn a_response_that_does_not_come_is_a_timeout() {
    for serve in [true, false] {
        // The second server does not even accept: connects succeed in its backlog, responses never come.
        let idle = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = if serve {
            server(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())))
        } else {
            idle.local_addr().unwrap().port()
        };
        let (report, status) = reported(port, "3 2 --timeout 50ms --pipeline 2");
        assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(6), &json!(0)));
        assert_eq!(report["errors"]["timeout"], 6, "{report}");
    }
}

#[test]
fn a_response_that_drips_is_a_timeout_too() {
    let port = responding("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let (report, _) = reported(port, "2 1 --timeout 50ms");
    assert_eq!(report["errors"]["timeout"], 2, "{report}");
}

#[test]
fn an_error_status_is_no_success() {
    for (response, statuses) in [
        ("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", json!({"500": 20})),
        ("HTTP/1.1 301 Gone\r\nContent-Length: 0\r\n\r\n", json!({"301": 20})),
        ("HTTP/1.1 429 Wait\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwait\r\n0\r\n\r\n", json!({"429": 20})),
    ] {
        let (report, status) = reported(responding(response), "4 5");
        assert_eq!((status, &report["successes"], &report["statuses"]), (1, &json!(0), &statuses));
        assert_eq!(report["metrics_acknowledged"], 0);
    }
}

#[test]
fn a_server_that_closes_each_time_gets_new_connections() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nits end is the end of the connection",
    ] {
        for arguments in ["5 20", "5 20 --no-keepalive"] {
            let (report, status) = reported(responding_once(response), arguments);
            assert_eq!((status, &report["successes"]), (0, &json!(100)), "{response} {arguments} {report}");
        }
    }
}

#[test]
fn requests_behind_an_announced_close_are_closed_early() {
    let port = responding_once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let (report, status) = reported(port, "1 8 --pipeline 4");
    assert_eq!((status, &report["requests"], &report["successes"]), (1, &json!(8), &json!(2)));
    assert_eq!(report["errors"]["closed_early"], 6, "{report}");
}

#[test]
fn an_interrupt_reports_what_there_is() {
    // Responds to the first request of the first connection only, so that the rest is still open when the signal comes.
    let (responses, wait) = std::sync::mpsc::channel();
    let port = server(move |mut stream, index| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        assert!(read_request(&mut reader));
        if index == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            // The next request shows that the response was counted.
            assert!(read_request(&mut reader));
        }
        responses.send(()).unwrap();
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let process = load_test(port, "2 5 --timeout 600s").stdout(Stdio::piped()).spawn().unwrap();
    wait.recv().unwrap();
    wait.recv().unwrap();
    signal(&process, Signal::Interrupt).unwrap();
    let output = process.wait_with_output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&report["interrupted"], &report["successes"]), (&json!(true), &json!(1)), "{report}");
    assert_eq!((&report["requests"], &report["unanswered"]), (&json!(1), &json!(2)));
}

#[test]
fn the_report_for_people_has_every_part() {
    let floor = Floor::start("auto");
    let output = program().args([&floor.port.to_string(), "10", "10"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["100 (100 %)", "status", "requests/s", "metrics/s", "MB/s", "p99.9", "own CPU", "elapsed"] {
        assert!(text.contains(part), "{part} is in\n{text}");
    }
}

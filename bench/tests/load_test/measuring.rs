//! The open loop, the forms of the report, the comparison, and servers of other makes.

use crate::harness::{Floor, program, read_request, report, reported, responding, run, server};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufReader, Write},
    process::Output,
    thread,
    time::{Duration, Instant},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_open_loop_makes_every_scheduled_request() {
    let floor = Floor::start("auto");
    for (arguments, requests) in [
        ("64 -d 400ms --rate 500", 200),
        ("64 -d 400ms -w 100ms --rate 500 -t 2", 200),
        ("8 25 --rate 1k", 200),
        ("8 25 -w 50ms --rate 1000 -t 2 --driver epoll", 200),
        ("4 25 --rate 2000 --no-keepalive", 100),
        ("2 500 --rate 100k --pipeline 16", 1000),
        ("1 1 --rate 0.5", 1),
    ] {
        let (report, status) = reported(floor.port, arguments);
        // A span that is over ends with what a busy machine did not send in time, and says so; a count does not.
        let missed = report["missed_sends"].as_u64().unwrap();
        assert_eq!((status, &report["model"]), (i32::from(missed > 0), &json!("open")), "{report}");
        assert_eq!(report["requests"], report["successes"], "{report}");
        assert!(missed == 0 || arguments.contains("-d"), "{report}");
        assert_eq!(report["requests"].as_u64().unwrap() + missed, requests, "{report}");
        for quantile in ["p50", "p99", "p99.99", "max"] {
            let figure = |which: &str| report[which][quantile].as_f64().unwrap();
            assert!(figure("latency_us") >= figure("latency_raw_us") && figure("latency_raw_us") > 0.0, "{report}");
        }
    }
}

#[test]
fn a_server_that_stalls_shows_in_the_corrected_figures_and_not_in_the_raw_ones() {
    // No response is sent in the first 200 of every 1,000 ms.
    let stall = Duration::from_millis(200);
    let begun = Instant::now();
    let port = server(move |mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) {
            let since = Duration::from_nanos(u64::from(begun.elapsed().subsec_nanos()));
            if since < stall {
                thread::sleep(stall - since);
            }
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    });
    // By count: a time could be over in a stall, with sends missed.
    let (report, status) = reported(port, "4 375 --rate 500 -t 1");
    assert_eq!((status, &report["requests"]), (0, &json!(1500)), "no send was skipped: {report}");
    let millis = |which: &str, quantile: &str| report[which][quantile].as_f64().unwrap() / 1e3;
    // A fifth of the sends is meant for a stall: one in twenty for its first 50 ms. Four a second see it themselves.
    let corrected = millis("latency_us", "p95");
    assert!(corrected > 100.0, "{report}");
    assert!(millis("latency_raw_us", "p95") < corrected / 2.0, "{report}");
    assert!(report["late_sends"].as_u64().unwrap() > 100, "{report}");
}

#[test]
fn sends_without_a_free_client_are_counted_as_missed() {
    let port = responding_slowly(Duration::from_millis(50));
    let (report, status) = reported(port, "1 -d 500ms --rate 1000");
    assert_eq!(status, 1);
    let (requests, missed) = (report["requests"].as_u64().unwrap(), report["missed_sends"].as_u64().unwrap());
    assert_eq!(requests + missed, 500, "each send is made or missed: {report}");
    assert!(missed > 400 && report["successes"] == requests, "{report}");
    assert!(report["remarks"].to_string().contains("the rate is too high"), "{report}");
}

fn responding_slowly(delay: Duration) -> u16 {
    server(move |mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) {
            thread::sleep(delay);
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    })
}

#[test]
fn the_intervals_hold_every_request() {
    let floor = Floor::start("auto");
    let (report, _) = reported(floor.port, "8 -d 1500ms -w 100ms -t 2");
    let rows = report["intervals"].as_array().unwrap();
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (json!(sum("requests")), json!(sum("successes"))),
        (report["requests"].clone(), report["successes"].clone())
    );
    assert_eq!(rows.iter().filter(|row| row["whole"] == true).count(), 15, "{report}");
}

/// Runs with arguments that end in a form; its standard output.
fn written(port: u16, arguments: &str) -> String {
    let output = program().arg(port.to_string()).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_form_is_written_alone() {
    let floor = Floor::start("auto");
    let csv = written(floor.port, "4 50 --format csv");
    assert!(csv.starts_with("start_s,seconds,requests,") && csv.lines().count() >= 2, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == 10), "{csv}");
    let hgrm = written(floor.port, "4 50 --rate 2000 --format hgrm");
    assert!(hgrm.trim_start().starts_with("Value     Percentile TotalCount 1/(1-Percentile)"), "{hgrm}");
    assert!(hgrm.contains("Total count    =          200]") && hgrm.contains("#[raw p99 ="), "{hgrm}");
    let text = written(floor.port, "4 50 --rate 2000");
    assert!(text.contains("corrected") && text.contains("open loop at 2000 requests/s"), "{text}");
}

#[test]
fn a_plot_is_drawn() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let plot = directory.path().join("run.svg");
    written(floor.port, &format!("4 75 --rate 1000 --plot {}", plot.display()));
    let svg = fs::read_to_string(plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("open loop at 1000 requests/s") && svg.trim_end().ends_with("</svg>")
    );
    let output = run(floor.port, "4 1 --plot /nonexistent/run.svg");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "reported before the load: {output:?}");
}

#[test]
fn a_server_of_another_make_is_loaded() {
    let (sender, received) = std::sync::mpsc::channel();
    let port = server(move |mut stream, _| {
        let mut request = vec![0; 1024];
        let length = std::io::Read::read(&mut stream, &mut request).unwrap();
        sender.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    });
    let load = |arguments: &[&str]| -> (Value, String) {
        let output: Output =
            program().args(arguments).args(["-c", "1", "-n", "1", "--format", "json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (report(&output), received.recv().unwrap())
    };
    let url = format!("http://127.0.0.1:{port}/write?db=a");
    let (report, request) = load(&["--url", &url, "--body", "cpu value=1"]);
    assert_eq!(
        (&report["successes"], &report["metrics_acknowledged"], &report["url"]),
        (&json!(1), &json!(0), &json!(url))
    );
    assert!(request.starts_with(&format!("POST /write?db=a HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")), "{request}");
    assert!(request.ends_with("\r\nContent-Length: 11\r\n\r\ncpu value=1"), "{request}");
    let (_, request) = load(&["--url", &url, "--method", "GET", "-H", "Accept: a/b"]);
    assert_eq!(request, format!("GET /write?db=a HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: a/b\r\n\r\n"));
}

#[test]
fn a_response_to_head_ends_with_its_head() {
    let port = responding("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let (report, status) = reported(port, "2 5 --method HEAD --timeout 5s");
    assert_eq!((status, &report["successes"]), (0, &json!(10)), "{report}");
}

//! The log of requests, and what `--merge` makes of it.

use crate::harness::{Floor, program, report, reported, responding};
use serde_json::{Value, json};
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Output, Stdio},
};

fn merge(logs: &[&Path], more: &[&str]) -> Output {
    program().arg("--merge").args(logs).args(more).output().unwrap()
}

/// Runs a load with a log; returns its report, and the one made from the log.
fn both(port: u16, arguments: &str, log: &Path) -> (Value, Value) {
    let (run, status) = reported(port, &format!("{arguments} --log {}", log.display()));
    let merged = merge(&[log], &["--format", "json"]);
    assert_eq!(merged.status.code(), Some(status), "{merged:?}");
    (run, report(&merged))
}

/// Fields that are the same in a report made from a log, whatever the load was.
const SAME: [&str; 22] = [
    "requests",
    "successes",
    "success_percent",
    "statuses",
    "errors",
    "failed",
    "latency_us",
    "latency_raw_us",
    "latency_by_status_us",
    "first_byte_us",
    "requests_per_second",
    "measured_s",
    "achieved_percent",
    "stages",
    "scheduled_sends",
    "late_sends",
    "missed_sends",
    "connections_opened",
    "bytes_sent",
    "bytes_received",
    "setup",
    "metrics_acknowledged",
];

#[test]
fn a_log_makes_the_report_of_its_run() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let busy = responding("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno");
    let log = directory.path().join("run.csv");
    for (port, arguments) in [
        (floor.port, "4 50 -t 2"),
        (floor.port, "4 25 --no-keepalive"),
        (floor.port, "4 -d 300ms -w 100ms --pipeline 4"),
        (floor.port, "4 -d 300ms -w 100ms --rate 500 --arrivals poisson -t 2"),
        (floor.port, "4 --stages 100ms:1000,100ms:500 -t 2"),
        (busy, "4 5"),
    ] {
        let (run, merged) = both(port, arguments, &log);
        for field in SAME {
            assert_eq!(run[field], merged[field], "{arguments}: {field}");
        }
    }
}

#[test]
fn the_log_is_a_table_with_a_row_for_each_request() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let log = directory.path().join("run.csv");
    let (run, _) = both(floor.port, "3 --stages 0s:400,100ms:400,100ms:200 --batch 5", &log);
    let text = fs::read_to_string(&log).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<u64>> = lines.map(|line| line.split(',').map(|field| field.parse().unwrap()).collect()).collect();
    let column = |name: &str| {
        let index = names.iter().position(|known| *known == name).unwrap();
        rows.iter().map(|row| row[index]).collect::<Vec<_>>()
    };
    assert_eq!((json!(rows.len()), rows.iter().all(|row| row.len() == names.len())), (run["requests"].clone(), true));
    let mut intended = column("intended_ns");
    intended.sort_unstable();
    assert_eq!(intended[..3], [0, 2_500_000, 5_000_000], "one each 2.5 ms");
    assert!(column("sent_ns").iter().zip(column("intended_ns")).all(|(sent, intended)| *sent >= intended));
    assert!(column("first_byte_ns").iter().zip(column("latency_ns")).all(|(first, latency)| *first <= latency));
    assert_eq!((column("stage").iter().min(), column("stage").iter().max()), (Some(&1), Some(&2)));
    assert!(column("connection").iter().all(|connection| *connection < 3));
    assert!(column("result").iter().all(|status| *status == 200) && column("metrics").iter().all(|count| *count == 5));
    assert_eq!(json!(column("bytes_sent").iter().sum::<u64>()), run["bytes_sent"]);
    assert_eq!(json!(column("bytes_received").iter().sum::<u64>()), run["bytes_received"]);
}

#[test]
fn failures_have_their_records() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("run.csv");
    // Half of a response, and then nothing.
    let port = responding("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let (run, merged) = both(port, "2 3 --timeout 50ms", &log);
    assert_eq!((&run["errors"], &merged["errors"]["timeout"]), (&merged["errors"], &json!(6)), "{merged}");
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches(",timeout,").count(), 6, "{text}");
    let idle = crate::harness::idle_port();
    let mut refused = program();
    refused.args([&idle.to_string(), "2", "3", "--log"]).arg(&log);
    assert_eq!(refused.output().unwrap().status.code(), Some(2));
    assert!(fs::read_to_string(&log).unwrap().contains(",refused,"));
}

#[test]
fn logs_of_several_runs_make_every_form_of_one_report() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    let (one, other) = (path("one.csv"), path("other.csv"));
    reported(floor.port, &format!("4 50 --rate 1000 --log {}", one.display()));
    reported(floor.port, &format!("2 50 --rate 500 --seed 2 --log {}", other.display()));
    let merged = report(&merge(&[&one, &other], &["--format", "json"]));
    assert_eq!((&merged["requests"], &merged["successes"], &merged["clients"]), (&json!(300), &json!(300), &json!(6)));
    for (format, says) in [
        ("text", "requests    300"),
        ("csv", "start_s,seconds"),
        ("hgrm", "Total count    =          300]"),
        ("prometheus", "load_test_responses{status=\"200\"} 300"),
    ] {
        let plot = path("merged.svg");
        let output = merge(&[&one, &other], &["--format", format, "--plot", plot.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(says), "{says} is in\n{text}");
        assert!(fs::read_to_string(plot).unwrap().trim_end().ends_with("</svg>"));
    }
    assert_eq!(merge(&[&one, &other], &["--fail-if", "p99>1us"]).status.code(), Some(3));
    let output = merge(&[&one, &path("none.csv")], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(said.starts_with("load_test: ") && said.contains("none.csv") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_killed_load_leaves_a_log_to_merge() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("run.csv");
    let floor = Floor::start("auto");
    let mut command = program();
    command.args([&floor.port.to_string(), "2", "-d", "600s", "--log"]).arg(&log);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A closed loop on the loopback fills a batch soon.
    let has_records = || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3);
    for turn in 0.. {
        if has_records() {
            break;
        }
        assert!(turn < 600 && process.try_wait().unwrap().is_none(), "the load leaves no records");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let output = merge(&[&log], &["--format", "json"]);
    let merged = report(&output);
    assert_eq!(output.status.code(), Some(1), "it is not whole: {output:?}");
    assert!(merged["requests"].as_u64().unwrap() > 0 && merged["success_percent"] == 100.0, "{merged}");
    assert!(merged["remarks"].to_string().contains("it has no end"), "{merged}");
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let floor = Floor::start("auto");
    let with = |path: &str| {
        let mut command = program();
        command.args([&floor.port.to_string(), "2", "10", "--log", path]).output().unwrap()
    };
    for path in ["/nonexistent/run.csv", "/dev/full"] {
        let output = with(path);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "refused before the load: {output:?}");
    }
    // A pipe whose reader leaves: the report is whole, and the exit code tells of the log.
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::File::open(fifo).unwrap().read_exact(&mut [0; 100]).unwrap())
    };
    let output = with(fifo.to_str().unwrap());
    reader.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot write the log") || said.contains("Broken pipe"), "{said}");
}

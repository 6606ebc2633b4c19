//! `metricstream query` as a person or a script runs it.
#![expect(
    clippy::unwrap_used,
    reason = "in the server unwrap() lets an untrusted client stop it; here it is an assertion"
)]

use std::{
    fs::{self, File},
    path::Path,
    process::{Output, Stdio},
};
use tempfile::TempDir;
use testkit::server::program;

const BINARY: &str = env!("CARGO_BIN_EXE_metricstream");

fn query(directory: &Path, arguments: &[&str]) -> Output {
    let (parameters, flags) = arguments.split_at(1);
    program(BINARY).arg("query").args(parameters).arg(directory).args(flags).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// From 2026-01-02T03:04:00Z on, one second after the other.
fn log(lines: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let line = |number: usize| {
        format!(
            "{{\"timestamp\":\"2026-01-02T03:{:02}:{:02}.000Z\",\"name\":\"cpu\",\"value\":{number},\"type\":\"gauge\",\
             \"tags\":{{\"host\":\"web{}\"}}}}\n",
            4 + number / 60,
            number % 60,
            number % 2
        )
    };
    fs::write(directory.path().join("metrics.jsonl"), (0..lines).map(line).collect::<String>()).unwrap();
    directory
}

const RANGE: &str = "from=2026-01-02T03:04:00Z&to=2026-01-02T04:00:00Z";

#[test]
fn json_is_what_a_pipe_gets() {
    let log = log(120);
    let (code, out, err) = said(&query(log.path(), &[&format!("name=cpu&agg=max&by=host&step=1m&{RANGE}")]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        document["series"],
        serde_json::json!([
            {"name": "cpu", "tags": {"host": "web0"}, "points": [[1_767_323_040_000_i64, 58], [1_767_323_100_000_i64, 118]]},
            {"name": "cpu", "tags": {"host": "web1"}, "points": [[1_767_323_040_000_i64, 59], [1_767_323_100_000_i64, 119]]},
        ])
    );
    assert_eq!(document["stats"]["scanned_metrics"], 120);
}

#[test]
fn each_form_and_each_path() {
    let log = log(60);
    let output_of = |arguments: &[&str]| {
        let (code, out, err) = said(&query(log.path(), arguments));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        out
    };
    let points = format!("name=cpu&agg=last&by=host&{RANGE}");
    assert_eq!(
        output_of(&[&points, "--format", "table"]),
        "NAME  host  TIME                      VALUE\n\
         cpu   web0  2026-01-02T03:04:00.000Z     58\n\
         cpu   web1  2026-01-02T03:04:00.000Z     59\n"
    );
    assert_eq!(
        output_of(&[&points, "--format=csv", "--threads=1"]),
        "name,tag.host,timestamp,value\ncpu,web0,1767323040000,58\ncpu,web1,1767323040000,59\n"
    );
    assert_eq!(
        output_of(&[&points, "-f", "jsonl"]).lines().next(),
        Some(r#"{"timestamp":1767323040000,"name":"cpu","value":58,"tags":{"host":"web0"}}"#)
    );
    let raw = format!("name=cpu&agg=raw&{RANGE}");
    let chart = output_of(&[&raw, "--format", "chart"]);
    assert!(chart.contains("cpu{host=\"web1\"}  59") && !chart.contains('\x1b'), "{chart}");
    let svg = output_of(&[&raw, "--format", "svg"]);
    assert!(svg.starts_with("<svg ") && svg.contains("cpu{host=\"web1\"}"), "{svg}");
    assert_eq!(output_of(&[RANGE, "--path", "names", "--format", "table"]), "NAME\ncpu\n");
    assert_eq!(output_of(&[RANGE, "--path", "/tags/host", "--format", "csv"]), "value\nweb0\nweb1\n");
    assert_eq!(output_of(&[RANGE, "--path", "series", "--format", "table"]), "NAME  host\ncpu   web0\ncpu   web1\n");
}

#[test]
fn nothing_found_is_no_failure_and_says_where_it_looked() {
    let log = log(10);
    let (code, out, err) = said(&query(log.path(), &["name=cpu", "--format", "table"]));
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{out}");
    assert!(err.starts_with("no data from 20") && err.contains("from= and to="), "{err}");
    let empty = tempfile::tempdir().unwrap();
    let (code, out, _) = said(&query(empty.path(), &["name=cpu"]));
    assert_eq!(code, Some(0));
    assert!(out.starts_with("{\"series\":[],"), "{out}");
}

#[test]
fn values_that_are_no_numbers_are_skipped_and_reported() {
    let log = log(10);
    let path = log.path().join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let text =
        text.replace(r#""value":3,"#, r#""value":"NaN","stale":true,"#).replace(r#""value":5,"#, r#""value":"+Inf","#);
    fs::write(&path, text).unwrap();
    let of_host = format!("name=cpu&agg=count&tag.host=web1&{RANGE}");
    let (code, out, err) = said(&query(log.path(), &[&of_host]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["series"][0]["points"][0][1], 3);
    assert_eq!(
        (&document["stats"]["non_finite_metrics"], &document["stats"]["matched_metrics"]),
        (&2.into(), &10.into())
    );
    for form in ["table", "chart"] {
        let (code, _, err) = said(&query(log.path(), &[&of_host, "--format", form]));
        assert_eq!((code, err.as_str()), (Some(0), "skipped 2 metrics whose values are NaN or infinite\n"));
    }
}

#[test]
fn what_is_no_query_is_exit_code_2_and_one_line() {
    let log = log(1);
    let missing = log.path().join("missing");
    let file = log.path().join("metrics.jsonl");
    for (directory, arguments, part) in [
        (log.path(), &["", "--format", "json"][..], "name: missing"),
        (log.path(), &["name=a&agg=median"], "agg: expected one of"),
        (log.path(), &["name=a", "--format", "xml"], "expected table, chart, svg, json, csv or jsonl"),
        (log.path(), &["name=a", "--path", "labels"], "expected query, series, names or tags/KEY"),
        (log.path(), &["", "--path", "names", "--format", "svg"], "only --path query returns"),
        (log.path(), &["name=a", "--threads", "0"], "--threads"),
        (&missing, &["name=a"], "does not exist"),
        (&file, &["name=a"], "cannot read"),
    ] {
        let (code, out, err) = said(&query(directory, arguments));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{arguments:?}: {err}");
        assert!(err.contains(part), "{err}");
    }
}

#[test]
fn a_failed_query_is_exit_code_1_and_one_line() {
    let log = log(1);
    fs::write(log.path().join("metrics-20260102T030405.678Z.jsonl.zst"), "no frame of zstd").unwrap();
    let (code, out, err) = said(&query(log.path(), &[&format!("name=cpu&{RANGE}")]));
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
    assert!(err.contains("metrics-20260102T030405.678Z.jsonl.zst"), "{err}");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let log = log(3_000);
    let mut child = program(BINARY)
        .args(["query", &format!("name=cpu&agg=raw&{RANGE}"), "--format", "jsonl"])
        .arg(log.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn a_directory_in_use_is_queried_and_not_touched() {
    let log = log(5);
    let lock = File::create(log.path().join("metricstream.lock")).unwrap();
    lock.lock().unwrap();
    let torn = [fs::read(log.path().join("metrics.jsonl")).unwrap(), b"{\"timestamp\":\"2026".to_vec()].concat();
    fs::write(log.path().join("metrics.jsonl"), &torn).unwrap();
    let (code, out, err) = said(&query(log.path(), &[&format!("name=cpu&agg=count&{RANGE}"), "--format", "csv"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "name,timestamp,value\ncpu,1767323040000,5\n");
    assert_eq!(fs::read(log.path().join("metrics.jsonl")).unwrap(), torn);
    assert_eq!(fs::read_dir(log.path()).unwrap().count(), 2);
}

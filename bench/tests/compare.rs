//! `compare` from end to end, against the floor alone: it measures, stores, prints, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn compare(work: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments.split_whitespace()).arg("--work-dir").arg(work);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn a_smoke_run_measures_and_stores_and_cleans_up() {
    let (work, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = format!(
        "--smoke --subjects floor-io_uring,floor-epoll --clients load_test --name Test.Host --out {}",
        out.path().display()
    );
    for run in 1..=2 {
        let output = compare(work.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0, "nothing is left where the servers wrote");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), run, "the second run of a day has its own directory");
        let report = text(&output.stdout);
        for part in ["# Comparison of", "## Server CPU", "## c64:", "## pipelined:", "| floor-epoll", "Test.Host"] {
            assert!(report.contains(part), "{part} is in\n{report}");
        }
    }
    for entry in fs::read_dir(out.path()).unwrap() {
        let directory = entry.unwrap().path();
        assert!(directory.file_name().unwrap().to_str().unwrap().contains("-test-host-"), "{directory:?}");
        let environment: Value = serde_json::from_slice(&fs::read(directory.join("compare.json")).unwrap()).unwrap();
        assert!(environment["command"].as_str().unwrap().contains("--smoke"));
        assert_eq!(environment["rounds"], 1);
        assert!(fs::read_to_string(directory.join("compare.md")).unwrap().contains("x floor"));
        let raw = fs::read_to_string(directory.join("compare.jsonl")).unwrap();
        let measured: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<_> = measured.iter().map(|one| (one["scenario"].as_str(), one["subject"].as_str())).collect();
        let [uring, epoll] = [Some("floor-io_uring"), Some("floor-epoll")];
        let [usual, deep] = [Some("c64"), Some("pipelined")];
        assert_eq!(names, [(usual, uring), (usual, epoll), (deep, uring), (deep, epoll)]);
        for one in &measured {
            assert_eq!((&one["failed"], &one["round"]), (&0.into(), &1.into()), "{one}");
            for figure in [
                "requests",
                "requests_per_second",
                "p999_us",
                "server_cpu_us_per_request",
                "peak_rss_bytes",
                "elapsed_s",
            ] {
                assert!(one[figure].as_f64().unwrap() > 0.0, "{figure} in {one}");
            }
        }
    }
}

#[test]
fn protocols_are_measured_on_the_servers_that_take_them() {
    let work = tempfile::tempdir().unwrap();
    let arguments = "--subjects floor-epoll --scenarios scrape-json,remote-write,influx --clients load_test --rounds 1 \
                     --seconds 0.1 --out ";
    let output = compare(work.path(), &format!("{arguments}{}", work.path().join("out").display()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["scrape-json", "remote-write", "influx"] {
        let (_, section) = text(&output.stdout).split_once(&format!("## {name}:")).unwrap();
        let row = section.lines().find(|line| line.starts_with("| floor-epoll")).unwrap();
        assert!(row.ends_with("|      0 |"), "nothing failed: {row}");
    }
}

#[test]
fn wrong_use_is_reported() {
    let work = tempfile::tempdir().unwrap();
    let output = compare(work.path(), "--subjects apache");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no subject 'apache'"), "{}", text(&output.stderr));
}

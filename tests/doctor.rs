//! `metricstream doctor` as a user runs it, on the host that the tests run on. What it finds there depends
//! on the host; asserted here is that each check has a finding, and that faults which any user can make are named. The
//! faults that take more rights are made by `scripts/doctor_faults.sh`, and all of them in a made tree by the unit
//! tests.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;
use testkit::server::{Driver, Setup};

const BINARY: &str = env!("CARGO_BIN_EXE_metricstream");

/// Runs doctor under a shell's `limits`, on this data directory.
fn doctor_under(limits: &str, directory: &Path, flags: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("{limits} exec \"$0\" \"$@\""), BINARY, "doctor", "--data-dir"])
        .arg(directory)
        .args(flags)
        .env_remove("METRICSTREAM_CONFIG")
        .output()
        .unwrap()
}

/// The document that doctor prints, and its exit code.
fn document(limits: &str, directory: &Path, flags: &[&str]) -> Value {
    let output = doctor_under(limits, directory, &[&["--json"], flags].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let document: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{:?}", output.stderr));
    assert_eq!(i64::from(output.status.code().unwrap()), document["exit_code"], "{text}");
    document
}

#[track_caller]
fn check<'a>(document: &'a Value, id: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("there is no check {id}"))
}

#[test]
fn every_check_states_its_severity_and_what_it_read() {
    let directory = TempDir::new().unwrap();
    let document = document("", directory.path(), &["--listen", "127.0.0.1:0"]);
    for check in document["checks"].as_array().unwrap() {
        assert!(
            ["ok", "unknown", "note", "warning", "critical"].iter().any(|word| check["severity"] == *word),
            "{check}"
        );
        assert!(!check["finding"].as_str().unwrap().is_empty(), "{check}");
        assert!(!check["read"].as_array().unwrap().is_empty(), "{check}");
    }
    let measured = check(&document, "fdatasync");
    assert!(measured["finding"].as_str().unwrap().contains("acknowledgements/s"), "{measured}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_missing_is_not_made() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("a/b");
    let document = document("", &missing, &[]);
    assert_eq!(check(&document, "data_dir")["severity"], "ok");
    assert!(!directory.path().join("a").exists());
}

#[test]
fn few_descriptors_and_small_files_are_named() {
    let directory = TempDir::new().unwrap();
    let document = document("ulimit -n 256; ulimit -f 100;", directory.path(), &["--max-connections", "5000"]);
    for id in ["nofile", "fsize"] {
        assert_eq!(check(&document, id)["severity"], "critical", "{}", check(&document, id));
        assert!(check(&document, id)["fix"].as_str().unwrap().starts_with("ulimit "));
    }
    assert_eq!(document["exit_code"], 20);
    // Measuring went over the bound, and was not killed for it.
    assert_eq!(check(&document, "fdatasync")["severity"], "unknown");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_withheld_core_and_a_port_in_use_are_findings() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let document = document("", directory.path(), &["--cores", "0,1023", "--listen", &address]);
    assert_eq!(check(&document, "cpuset")["severity"], "critical");
    assert_eq!(check(&document, "port")["severity"], "critical");
}

#[test]
fn the_text_has_a_line_for_each_finding() {
    let directory = TempDir::new().unwrap();
    let output = doctor_under("ulimit -n 256;", directory.path(), &["--max-connections", "5000"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(20), "{text}");
    let at = text.lines().position(|line| line.starts_with("critical  nofile (service): ")).unwrap();
    assert!(text.lines().nth(at + 1).unwrap().trim().starts_with("fix: ulimit -Hn "), "{text}");
    assert_eq!(doctor_under("", directory.path(), &["--speed"]).status.code(), Some(2));
    assert_eq!(doctor_under("", directory.path(), &["--ring-size", "3MiB"]).status.code(), Some(2));
    assert_eq!(doctor_under("", directory.path(), &["--json", "--all"]).status.code(), Some(2));
}

#[test]
fn a_running_server_is_noted_and_a_killed_one_counted() {
    let directory = TempDir::new().unwrap();
    let server = Setup::new(BINARY, Driver::Epoll).start_in(directory.path());
    let running = document("", directory.path(), &[]);
    let found = check(&running, "data_dir");
    assert_eq!(found["severity"], "note", "{found}");
    assert!(found["finding"].as_str().unwrap().contains(&format!("process {}", server.pid())), "{found}");

    drop(server);
    let killed = document("", directory.path(), &[]);
    assert_eq!(check(&killed, "data_dir")["severity"], "ok");
    let found = check(&killed, "unclean_shutdowns");
    assert!(found["finding"].as_str().unwrap().starts_with("1 unclean"), "{found}");
}

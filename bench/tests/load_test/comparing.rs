//! The comparison with earlier runs, and the conditions that fail a run.

use crate::harness::{Floor, program, report, reported, responding, run};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use testkit::process::{Signal, signal};

/// A report of the floor, all of whose figures are made up: what a test says about the machine is that nothing else
/// ran.
fn quiet(floor: &Floor) -> Value {
    let (mut report, status) = reported(floor.port, "2 -d 1s -w 50ms");
    assert_eq!(status, 0, "{report}");
    for (name, value) in [
        ("starved_thread_percent", json!(0.5)),
        ("server_starved_percent", json!(0.5)),
        ("other_cores", json!(0.01)),
        ("server_cpu_us_per_request", json!(8.0)),
        ("server_cpu_us_intervals", json!(vec![8.0; 12])),
    ] {
        report[name] = value;
    }
    report
}

/// Writes `report` with its server's CPU time times `by`.
fn write(directory: &Path, name: &str, report: &Value, by: f64) -> PathBuf {
    let mut report = report.clone();
    report["server_cpu_us_per_request"] = json!(8.0 * by);
    report["server_cpu_us_intervals"] = json!(vec![8.0 * by; 12]);
    let path = directory.join(name);
    fs::write(&path, report.to_string()).unwrap();
    path
}

fn compare(before: &[PathBuf], with: &[PathBuf], more: &[&str]) -> Output {
    let mut command = program();
    let flag = |name: &'static str| move |path: &PathBuf| [PathBuf::from(name), path.clone()];
    command.args(before.iter().flat_map(flag("--baseline")));
    command.args(with.iter().flat_map(flag("--with"))).args(more).output().unwrap()
}

fn verdict(report: &Value, figure: &str) -> String {
    let changes = report["baseline"].as_array().unwrap();
    let change = changes.iter().find(|change| change["figure"] == figure);
    change.unwrap_or_else(|| panic!("{figure} in {report}"))["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn three_rounds_each_find_ten_percent_of_cpu() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let report_of = quiet(&floor);
    let three = |name: &str, by: f64| {
        [0.99, 1.0, 1.01].map(|noise| write(directory.path(), &format!("{name}{noise}"), &report_of, by * noise))
    };
    let (base, same, more) = (three("a", 1.0), three("b", 1.005), three("c", 1.1));
    let output = compare(&base, &more, &["--format", "json", "--fail-if", "worse"]);
    assert_eq!(
        (verdict(&report(&output), "server CPU").as_str(), output.status.code()),
        ("more", Some(3)),
        "{output:?}"
    );
    let output = compare(&base, &same, &["--format", "json", "--fail-if", "worse", "--fail-if", "undecided"]);
    for change in report(&output)["baseline"].as_array().unwrap() {
        assert_eq!(change["verdict"], "no difference beyond noise", "{change}");
    }
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(compare(&base, &more, &[]).stdout).unwrap();
    assert!(text.contains("server CPU") && text.contains("3 and 3 runs: more"), "{text}");
}

#[test]
fn a_starved_run_gives_no_verdict() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let mut starved = quiet(&floor);
    let base = [0, 1, 2].map(|index| write(directory.path(), &format!("a{index}"), &starved, 1.0));
    (starved["starved_thread_percent"], starved["other_cores"]) = (json!(40.0), json!(1.5));
    let bad = [0, 1, 2].map(|index| write(directory.path(), &format!("b{index}"), &starved, 3.0));
    let output = compare(&base, &bad, &["--format", "json", "--fail-if", "undecided"]);
    for change in report(&output)["baseline"].as_array().unwrap() {
        assert_eq!(change["verdict"], "no verdict: something else had the cores", "{change}");
    }
    assert_eq!(output.status.code(), Some(3), "a script can tell that nothing was decided");
    assert_eq!(compare(&base, &bad, &["--fail-if", "worse"]).status.code(), Some(0));
}

#[test]
fn what_is_not_comparable_is_refused_before_the_load() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let earlier = directory.path().join("earlier.json");
    fs::write(&earlier, run(floor.port, "2 20").stdout).unwrap();
    // Nothing listens there: what is refused first was refused before the load.
    let idle = crate::harness::idle_port();
    for (arguments, says) in [
        ("3 20", "clients 2 there, 3 here"),
        ("2 21", "requests_each 20 there, 21 here"),
        ("2 20 --pipeline 2", "pipeline 1 there, 2 here"),
        ("2 20 --batch 9", "requests"),
        ("2 20 -H X:y", "requests"),
        ("2 20 --ack fsync", "path"),
        ("2 20 --method PUT", "method"),
        ("2 20 --rate 100", "model"),
        ("2 --stages 1s:100", "stages null there, [[1000000000,0.0,100.0]] here"),
        ("2 20 --rate 100 --arrivals poisson", "arrivals null there, \"poisson\" here"),
        ("2 20 -w 1s", "warmup_s"),
        ("2 20 5", "interval_s"),
        ("2 20 --no-keepalive", "keep_alive"),
    ] {
        let output = run(idle, &format!("{arguments} --baseline {}", earlier.display()));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments}: {said}");
        assert!(said.contains("not comparable") && said.contains(says), "{arguments}: {said}");
    }
    // Neither the shape nor the draw of a load is that of another.
    fs::write(&earlier, run(floor.port, "2 --stages 0s:500,50ms:500 --arrivals poisson").stdout).unwrap();
    for (arguments, says) in [
        ("2 --stages 0s:500,50ms:501 --arrivals poisson", "stages [[50000000,500.0,500.0]] there"),
        ("2 --stages 0s:500,50ms:500", "arrivals \"poisson\" there, \"even\" here"),
        ("2 --stages 0s:500,50ms:500 --arrivals poisson --seed 2", "arrivals_seed 1 there, 2 here"),
    ] {
        let output = run(idle, &format!("{arguments} --baseline {}", earlier.display()));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("not comparable") && said.contains(says), "{arguments}: {said}");
    }
    fs::write(&earlier, run(floor.port, "2 20").stdout).unwrap();
    let mut foreign: Value = serde_json::from_slice(&fs::read(&earlier).unwrap()).unwrap();
    foreign["host"]["name"] = json!("elsewhere");
    fs::write(&earlier, foreign.to_string()).unwrap();
    let said = String::from_utf8(run(idle, &format!("2 20 --baseline {}", earlier.display())).stderr).unwrap();
    assert!(said.contains("host name \"elsewhere\" there"), "{said}");
}

#[test]
fn another_server_is_what_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let earlier = directory.path().join("earlier.json");
    let (one, other) = (Floor::start("auto"), Floor::start("auto"));
    fs::write(&earlier, run(one.port, "2 -d 900ms").stdout).unwrap();
    let (report, status) = reported(other.port, &format!("2 -d 900ms --baseline {}", earlier.display()));
    assert_eq!(status, 0, "{report}");
    for change in report["baseline"].as_array().unwrap() {
        let verdict = change["verdict"].as_str().unwrap();
        assert!(verdict.starts_with("no "), "one run each of the same program: {report}");
    }
}

#[test]
fn the_setup_is_stored_whole() {
    let floor = Floor::start("auto");
    let (report, _) = reported(floor.port, "2 20 --rate 1000 --pipeline 2 -w 10ms --timeout 3s");
    let setup = &report["setup"];
    for (name, value) in [
        ("method", json!("POST")),
        ("path", json!("/metrics")),
        ("target_rate", json!(1000.0)),
        ("clients", json!(2)),
        ("pipeline", json!(2)),
        ("requests_each", json!(20)),
        ("warmup_s", json!(0.01)),
        ("timeout_s", json!(3.0)),
    ] {
        assert_eq!(setup[name], value, "{name}");
    }
    for pointer in ["/host/name", "/host/kernel", "/load_test/version", "/load_test/checksum", "/setup/requests"] {
        assert!(report.pointer(pointer).is_some_and(Value::is_string), "{pointer}: {report}");
    }
    assert!(report["began_unix_s"].as_f64().unwrap() > 1.7e9, "{report}");
}

#[test]
fn the_process_of_the_server_is_found_by_its_port() {
    let floor = Floor::start("auto");
    let (report, _) = reported(floor.port, "2 -d 1s");
    assert_eq!(report["server_pids"], json!([floor.pid()]), "{report}");
    assert!(report["server_cpu_us_per_request"].as_f64().unwrap() > 0.0, "{report}");
    let (named, _) = reported(floor.port, &format!("2 -d 1s --pid {}", std::process::id()));
    assert_eq!(named["server_pids"], json!([std::process::id()]));
}

#[test]
fn a_condition_that_holds_has_its_exit_code() {
    let floor = Floor::start("auto");
    for (conditions, status) in [
        ("--fail-if p99>1us", 3),
        ("--fail-if success<100%", 0),
        ("--fail-if success<100% --fail-if throughput<1000k", 3),
        ("--fail-if failed>0 --fail-if p50>100s", 0),
        ("--fail-if missed>0", 3), // A closed loop measures no such thing.
    ] {
        let output = run(floor.port, &format!("2 20 {conditions}"));
        assert_eq!(output.status.code(), Some(status), "{conditions}: {output:?}");
        report(&output);
    }
    let busy = responding("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(run(busy, "2 5 --fail-if success<50").status.code(), Some(3));
    assert_eq!(run(busy, "2 5").status.code(), Some(1));
}

#[test]
fn a_comparison_alone_needs_no_server() {
    let directory = tempfile::tempdir().unwrap();
    let floor = Floor::start("auto");
    let path = write(directory.path(), "a", &quiet(&floor), 1.0);
    let one = std::slice::from_ref(&path);
    assert_eq!(compare(one, one, &[]).status.code(), Some(0));
    assert_eq!(compare(one, one, &["--fail-if", "p99>1s"]).status.code(), Some(2), "no load has a p99");
    assert_eq!(compare(one, one, &["--format", "csv"]).status.code(), Some(2));
    assert_eq!(compare(&[], one, &[]).status.code(), Some(2));
    let mut interrupted: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    interrupted["interrupted"] = json!(true);
    fs::write(&path, interrupted.to_string()).unwrap();
    assert_eq!(compare(one, one, &[]).status.code(), Some(2));
}

#[test]
fn a_hangup_keeps_the_results() {
    for ignored in [false, true] {
        let floor = Floor::start("auto");
        let mut command = if ignored {
            let mut command = std::process::Command::new("nohup");
            command.arg(env!("CARGO_BIN_EXE_load_test")).args([&floor.port.to_string(), "2", "-d", "1s"]);
            command.args(["--format", "json"]);
            command
        } else {
            // These tests may run under nohup themselves.
            let mut command = std::process::Command::new("env");
            command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_load_test"), &floor.port.to_string()]);
            command.args(["2", "-d", "600s", "--format", "json"]);
            command
        };
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        floor.wait_for_connections(&process);
        signal(&process, Signal::HangUp).unwrap();
        let output = process.wait_with_output().unwrap();
        let report = report(&output);
        assert_eq!(
            (report["interrupted"].as_bool(), output.status.code()),
            (Some(!ignored), Some(i32::from(!ignored)))
        );
        assert!(report["requests"].as_u64().is_some(), "{report}");
    }
}

#[test]
fn two_servers_in_turns_are_one_round() {
    let (before, now, directory) = (Floor::start("auto"), Floor::start("auto"), tempfile::tempdir().unwrap());
    let output = run(before.port, &format!("2 -d 500ms --against {}", now.port));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let round = report(&output);
    assert_eq!(round["slices"].as_array().unwrap().len(), 2, "{round}");
    for slice in round["slices"].as_array().unwrap().iter().flat_map(|pair| pair.as_array().unwrap()) {
        // Null where this machine had no time for one request.
        assert!(slice["success_percent"].as_f64().is_none_or(|percent| percent > 99.9), "{slice}");
    }
    assert!(round["baseline"].as_array().unwrap().iter().all(|change| !change["verdict"].is_null()), "{round}");
    let path = directory.path().join("round.json");
    fs::write(&path, round.to_string()).unwrap();
    let rounds = program().arg("--round").arg(&path).arg("--round").arg(&path).output().unwrap();
    assert!(rounds.status.success(), "{rounds:?}");
    let port = now.port;
    now.end(Signal::Terminate);
    let output = run(before.port, &format!("2 -d 500ms --against {port}"));
    assert_eq!(output.status.code(), Some(2), "nothing listens there");
    before.end(Signal::Terminate);
}

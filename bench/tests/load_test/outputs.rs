//! Where the output goes: pipes that close, disks that are full, and what is left behind.

use crate::harness::{Floor, program, server};
use std::{
    fs::{File, OpenOptions},
    io::Read,
    process::{Command, ExitStatus, Stdio},
};

/// The write end of a pipe without a reader.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn ended(mut command: Command) -> ExitStatus {
    command.stdin(File::open("/dev/null").unwrap()).status().unwrap()
}

fn load(port: u16, arguments: &str) -> Command {
    let mut command = program();
    command.arg(port.to_string()).args(arguments.split_whitespace());
    command
}

#[test]
fn a_closed_output_is_the_end_and_no_abort() {
    let floor = Floor::start("auto");
    for format in ["text", "json", "csv", "hgrm", "prometheus"] {
        let mut both = load(floor.port, &format!("2 10 --format {format}"));
        both.stdout(closed_pipe()).stderr(closed_pipe());
        assert_eq!(ended(both).code(), Some(0), "{format}");
    }
    let mut help = program();
    help.arg("--help").stdout(closed_pipe()).stderr(closed_pipe());
    assert_eq!(ended(help).code(), Some(0));
    let mut wrong = program();
    wrong.arg("--no-such-flag").stdout(closed_pipe()).stderr(closed_pipe());
    assert_eq!(ended(wrong).code(), Some(2));
}

#[test]
fn a_failed_load_keeps_its_exit_code_when_nobody_reads() {
    let port = server(|mut stream, _| drop(stream.read(&mut [0; 4096])));
    let mut both = load(port, "2 2");
    both.stdout(closed_pipe()).stderr(closed_pipe());
    assert_eq!(ended(both).code(), Some(1));
    let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut nothing = load(idle, "2 2");
    nothing.stdout(closed_pipe()).stderr(closed_pipe());
    assert_eq!(ended(nothing).code(), Some(2));
}

#[test]
fn a_report_that_a_full_disk_swallows_is_an_error() {
    let floor = Floor::start("auto");
    for stderr_is_full in [false, true] {
        let mut command = load(floor.port, "2 10");
        command.stdout(full()).stderr(if stderr_is_full { full() } else { Stdio::null() });
        assert_eq!(ended(command).code(), Some(2), "{stderr_is_full}");
    }
    let mut help = program();
    help.arg("--help").stdout(full()).stderr(full());
    assert_eq!(ended(help).code(), Some(2));
}

/// Runs with a plot over an older file; its exit code and the picture.
fn plotted(port: u16, arguments: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.svg");
    std::fs::write(&path, "an older picture").unwrap();
    let mut command = load(port, arguments);
    command.arg("--plot").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let status = ended(command);
    (status.code(), std::fs::read_to_string(&path).unwrap())
}

#[test]
fn every_run_leaves_its_own_picture() {
    let floor = Floor::start("auto");
    let busy = crate::harness::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (port, arguments, status, says) in [
        (floor.port, "2 10", 0, "responses with 2xx"),
        (busy, "2 10", 1, "no request succeeded"),
        (idle, "2 10", 2, "nothing listens on"),
    ] {
        let (code, svg) = plotted(port, arguments);
        assert_eq!(code, Some(status), "{says}");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains(says), "{says}: {svg}");
    }
}

#[test]
fn a_run_of_one_interval_has_its_points() {
    let floor = Floor::start("auto");
    let (_, svg) = plotted(floor.port, "2 10");
    assert!(svg.contains("<circle"), "a line through one point shows nothing: {svg}");
}

#[test]
fn a_killed_run_leaves_no_older_picture() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.svg");
    std::fs::write(&path, "an older picture").unwrap();
    let floor = Floor::start("auto");
    let mut command = load(floor.port, "2 -d 600s");
    command.arg("--plot").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    floor.wait_for_connections(&process);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("the load has not ended"));
}

//! Destinations of the output: pipes that close, disks that are full, and what is left behind.

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
    let idle = crate::harness::idle_port();
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
    let busy = crate::harness::responding("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let idle = crate::harness::idle_port();
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

/// The output of `load_test` with these arguments on a terminal, which script(1) of util-linux makes. The variables
/// that decide on colours are those of the test: `CI`, for one, asks for them on any terminal.
fn on_a_terminal(arguments: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{} {arguments}", env!("CARGO_BIN_EXE_load_test")), "/dev/null"]);
    for name in ["CI", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").envs(variables.iter().copied());
    let output = command.stdin(File::open("/dev/null").unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_dumb_terminal_gets_whole_lines() {
    let floor = Floor::start("auto");
    let load = format!("{} 2 -d 1s", floor.port);
    // A terminal ends its lines with both, and a line that is rewritten begins with the first alone.
    let rewrites = |text: &str| text.replace("\r\n", "\n").contains('\r');
    assert!(rewrites(&on_a_terminal(&load, &[])), "a line each 200 ms");
    let text = on_a_terminal(&load, &[("TERM", "dumb")]);
    assert!(!rewrites(&text) && !text.contains('\u{1b}') && text.contains("requests/s"), "{text}");
}

#[test]
fn no_colour_is_sent_where_none_is_wanted() {
    let floor = Floor::start("auto");
    assert!(on_a_terminal("--help", &[]).contains('\u{1b}'), "where it is, --help has some");
    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        for arguments in ["--help".to_owned(), format!("{} 2 10", floor.port), format!("{} 2 -d 1s", floor.port)] {
            let text = on_a_terminal(&arguments, &[(name, value)]);
            assert!(!text.contains('\u{1b}'), "{name}={value} {arguments}: {text:?}");
        }
    }
}

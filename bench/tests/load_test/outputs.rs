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
    for format in ["text", "json", "csv", "hgrm"] {
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

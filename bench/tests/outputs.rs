//! Every program of the crate: its `--help`, and what it does when nobody takes what it prints.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Output, Stdio},
};

/// The programs, each with arguments of a short run that prints, or none where a run takes longer than a test may.
const PROGRAMS: [(&str, &[&str]); 10] = [
    (env!("CARGO_BIN_EXE_benchmark_json_parser"), &[]),
    (env!("CARGO_BIN_EXE_benchmark_limiter"), &[]),
    (env!("CARGO_BIN_EXE_benchmark_lines"), &[]),
    (env!("CARGO_BIN_EXE_benchmark_query"), &[]),
    (env!("CARGO_BIN_EXE_benchmark_tracer"), &["1"]),
    (env!("CARGO_BIN_EXE_compare"), &[]),
    (env!("CARGO_BIN_EXE_flamegraph"), &["changes", "/dev/stdin", "tests/data/one.folded"]),
    (env!("CARGO_BIN_EXE_floor"), &[]),
    (env!("CARGO_BIN_EXE_ladder"), &[]),
    (env!("CARGO_BIN_EXE_load_test"), &[]),
];

fn run(program: &str, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let stdin = File::open("tests/data/one.folded").unwrap();
    Command::new(program).args(arguments).stdin(stdin).stdout(stdout).stderr(stderr).output().unwrap()
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn assert_no_signal(status: ExitStatus, program: &str) {
    assert_eq!(status.signal(), None, "{program} was ended by a signal: {status:?}");
    assert_ne!(status.code(), Some(101), "{program} panicked");
}

#[test]
fn every_program_explains_itself() {
    for (program, _) in PROGRAMS {
        let output = run(program, &["--help"], Stdio::piped(), Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{program}: {output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: "), "{program}");
        let output = run(program, &["--no-such-flag"], Stdio::piped(), Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{program}: {output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("--no-such-flag"), "{program}");
    }
}

#[test]
fn a_closed_output_is_the_end_of_a_program() {
    for (program, arguments) in PROGRAMS {
        for arguments in [&["--help"], &["--no-such-flag"], arguments].into_iter().filter(|list| !list.is_empty()) {
            let closed = run(program, arguments, closed_pipe(), closed_pipe());
            assert_no_signal(closed.status, program);
            let full = run(program, arguments, full(), full());
            assert_no_signal(full.status, program);
        }
        if !arguments.is_empty() {
            let closed = run(program, arguments, closed_pipe(), Stdio::piped());
            assert_eq!(closed.status.code(), Some(0), "{program}: {closed:?}");
            let full = run(program, arguments, full(), Stdio::piped());
            assert!(full.status.code().is_some_and(|code| code != 0), "{program}: {full:?}");
            assert!(!full.stderr.is_empty(), "{program} says why");
        }
    }
}

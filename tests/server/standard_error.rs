//! Standard error that takes nothing: a pipe that nobody reads, a device that is full, one that is closed. The server
//! works all the same, stops with its own exit code, and counts the lines that are lost. Since it cannot log where it
//! listens, it notifies a service manager.

use crate::{
    http::{get, post},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, Server, Setup, until},
    with_driver,
};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, PipeReader, pipe},
    os::unix::process::ExitStatusExt,
    process::Stdio,
};

/// A line of statistics as often as can be.
fn talkative(driver: Driver) -> Setup {
    with_driver(driver).flag("--stats-interval", "1ms")
}

fn full_device() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A server whose standard error is a full pipe, and whose queue before it is full as well.
fn with_a_full_pipe(setup: &Setup) -> (Server, PipeReader) {
    let (reader, writer) = full_pipe();
    let server = setup.start_with_stderr(writer.into());
    // Each of them has a line written.
    until("lines are dropped", || {
        (0..1_000).for_each(|_| server.signal(Signal::HangUp));
        (server.stat("/log_lines/dropped") > 0).then_some(())
    });
    (server, reader)
}

fn stores(server: &Server, mark: &str) {
    assert_eq!(server.request(&post(metric::marked_batch(mark, 3))).processed(), 3);
}

fn a_pipe_that_nobody_reads_holds_nothing_up(driver: Driver) {
    let (mut server, _reader) = with_a_full_pipe(&talkative(driver));
    stores(&server, "while");
    assert_eq!(server.request(&get("/stats")).status, 200);
    let metrics = server.request(&get("/metrics"));
    assert!(metrics.text().contains("metricstream_log_lines_dropped_total "), "{}", metrics.text());
    server.signal(Signal::HangUp);
    until("the log is rotated", || (server.stat("/log/rotations") > 0).then_some(()));
    assert_eq!(server.stat("/metrics_stored"), 3);
    server.stop();
}

fn a_second_signal_is_served_behind_a_full_pipe(driver: Driver) {
    let setup = talkative(driver).flag("--drain-timeout", "1h").flag("--body-timeout", "1h");
    let (mut server, _reader) = with_a_full_pipe(&setup);
    let mut client = server.connect();
    let mut idle = server.connect();
    client.send(b"POST /metrics HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n").unwrap();
    assert_eq!(client.response().status, 100);
    server.signal(Signal::Terminate);
    idle.expect_end();
    assert!(server.is_running(), "a request is in flight");
    server.signal(Signal::Terminate);
    assert_eq!(server.wait().code(), Some(1));
}

/// Once somebody reads, the lines go on, and one says how many are missing.
fn a_reader_that_comes_back_gets_the_count_of_lost_lines(driver: Driver) {
    let (mut server, reader) = with_a_full_pipe(&talkative(driver).flag("--log-format", "json"));
    let mut lines = BufReader::new(reader).lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line.unwrap().trim_start_matches('x')).unwrap();
        line
    });
    let notice = lines.find(|line| line["lines_dropped"].is_u64()).unwrap();
    assert_eq!(notice["level"], "WARN");
    assert!(lines.any(|line| line["message"] == "statistics"), "it goes on");
    // From now on the pipe is read to its end, so that nothing is in the way of the last line.
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());
    server.stop();
    let rest = rest.join().unwrap();
    let last = rest.last().unwrap();
    assert!(last["message"].as_str().unwrap().starts_with("stopped: everything accepted"), "{last}");
}

fn a_full_device_and_a_reader_that_left_end_nothing(driver: Driver) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    for stderr in [full_device(), writer.into()] {
        let mut server = talkative(driver).start_with_stderr(stderr);
        stores(&server, "a");
        until("lines are dropped", || (server.stat("/log_lines/dropped") > 10).then_some(()));
        stores(&server, "b");
        server.stop();
        assert_eq!(server.metrics().len(), 6);
    }
}

/// Standard error on the log's own disk: lines that a full disk refuses are lost, and the server logs again when
/// there is space.
fn a_file_that_may_not_grow_is_tried_again(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.log");
    let file = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let server = talkative(driver).start_with_stderr(file().into());
    let before = crate::process::change_limit(server.pid(), crate::process::Resource::FileBytes, 0);
    until("lines are dropped", || (server.stat("/log_lines/dropped") > 10).then_some(()));
    let mut client = server.connect();
    client.send(&post(metric::marked_batch("full", 3))).unwrap();
    until("the log is stalled", || (server.request(&get("/ready")).status == 503).then_some(()));
    crate::process::change_limit(server.pid(), crate::process::Resource::FileBytes, before);
    until("the notice", || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.contains(" log lines are missing here").then_some(())
    });
    assert_eq!(client.response().processed(), 3);
    stores(&server, "after");
}

on_both_drivers!(
    a_pipe_that_nobody_reads_holds_nothing_up,
    a_second_signal_is_served_behind_a_full_pipe,
    a_reader_that_comes_back_gets_the_count_of_lost_lines,
    a_full_device_and_a_reader_that_left_end_nothing,
    a_file_that_may_not_grow_is_tried_again,
);

/// Closed at the start it is /dev/null to Rust's runtime, so the log's file never gets its number.
#[test]
fn a_closed_standard_error_is_no_error() {
    let mut server = talkative(Driver::Epoll).start_by_shell("exec \"$@\" 2>&-");
    stores(&server, "a");
    server.stop();
    let lines = std::fs::read_to_string(server.directory.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3, "and not a line of the server's own: {lines}");
}

/// A message that cannot be written does not change the exit code.
#[test]
fn a_refused_start_exits_with_2_whatever_standard_error_is() {
    let (_reader, blocked) = full_pipe();
    let (reader, broken) = pipe().unwrap();
    drop(reader);
    for stderr in [full_device(), blocked.into(), broken.into()] {
        let status = with_driver(Driver::Epoll).flag("--cores", "900").exit_with_stderr(stderr);
        assert_eq!((status.code(), status.signal()), (Some(2), None));
    }
}

/// A pipe into which nothing more goes.
fn full_pipe() -> (PipeReader, File) {
    use std::io::Write;
    let (reader, writer) = pipe().unwrap();
    let mut file = File::from(std::os::fd::OwnedFd::from(writer));
    // A pipe holds 64 KiB (pipe(7)).
    file.write_all(&vec![b'x'; 64 << 10]).unwrap();
    (reader, file)
}

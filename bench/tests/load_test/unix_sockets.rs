//! Unix sockets as the target.

use crate::harness::{DRIVERS, Floor, program, read_request, report, run};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Output,
    thread,
};
use testkit::server::Server;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A run against the socket at `path`.
fn load(path: &Path, arguments: &str) -> Output {
    let mut command = program();
    command.arg("--unix-socket").arg(path).args(arguments.split_whitespace()).args(["--format", "json"]);
    command.output().unwrap()
}

fn serve(mut stream: UnixStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
}

/// The real server on a unix socket; `None` where it was not built.
fn start(socket: &Path, data: &Path) -> Option<Server> {
    let binary = Path::new(env!("CARGO_BIN_EXE_load_test")).with_file_name("metricstream");
    if !binary.exists() {
        return None;
    }
    let mut command = testkit::server::program(binary);
    command.arg("--listen").arg(format!("unix:{}", socket.display())).arg("--data-dir").arg(data);
    command.args(["--reactors", "1", "--rate-limit", "0"]);
    Some(Server::start(command, data).unwrap())
}

#[test]
fn the_server_is_loaded_over_its_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, data) = (directory.path().join("socket"), directory.path().join("data"));
    let Some(server) = start(&socket, &data) else {
        eprintln!("SKIPPED: there is no metricstream beside load_test; `cargo test --workspace` builds it");
        return;
    };
    for driver in DRIVERS {
        for more in ["", "--no-keepalive", "--pipeline 4"] {
            let output = load(&socket, &format!("-c 8 -n 20 --driver {driver} {more}"));
            let found = report(&output);
            assert_eq!((&found["successes"], output.status.code()), (&json!(160), Some(0)), "{driver} {more}: {found}");
            assert_eq!(found["metrics_acknowledged"], 480);
            assert_eq!(found["server"], json!(format!("unix:{}", socket.display())));
            assert_eq!(found["setup"]["transport"], "unix");
            assert_eq!(found["server_pids"], json!([server.pid()]));
        }
    }
}

#[test]
fn a_url_gives_host_and_path_to_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let received = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let lines: Vec<_> = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        stream.write_all(OK.as_bytes()).unwrap();
        lines
    });
    let output = load(&path, "--url http://example.invalid/a?b -c 1 -n 1 --method GET");
    assert_eq!(report(&output)["successes"], 1, "{output:?}");
    assert_eq!(received.join().unwrap(), ["GET /a?b HTTP/1.1", "Host: example.invalid:80"]);
}

#[test]
fn clients_wait_for_space_in_the_queue_of_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    for driver in DRIVERS {
        let path = directory.path().join(driver);
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let listener = UnixListener::from(socket);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap());
            }
        });
        // One connection is served at a time, and one more fits into the queue.
        let output = load(&path, &format!("-c 6 -n 1 --no-keepalive -t 2 --driver {driver}"));
        let found = report(&output);
        assert_eq!((&found["successes"], output.status.code()), (&json!(6), Some(0)), "{driver}: {found}");
        assert_eq!(found["connections_opened"], 6);
    }
}

#[test]
fn a_full_queue_of_a_unix_socket_is_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    for driver in DRIVERS {
        let path = directory.path().join(driver);
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        let output = load(&path, &format!("-c 2 -n 2 --timeout 100ms --driver {driver}"));
        let found = report(&output);
        assert_eq!((&found["errors"]["timeout"], output.status.code()), (&json!(4), Some(1)), "{driver}: {found}");
    }
}

#[test]
fn a_unix_socket_without_a_listener_is_reported_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for stale in [false, true] {
        if stale {
            drop(UnixListener::bind(&path).unwrap());
        }
        for driver in DRIVERS {
            let output = load(&path, &format!("-c 10 -n 10 --driver {driver}"));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
            assert_eq!(said, format!("load_test: nothing listens on unix:{}\n", path.display()));
        }
    }
}

#[test]
fn another_transport_is_not_comparable() {
    let (floor, directory) = (Floor::start("auto"), tempfile::tempdir().unwrap());
    let earlier = directory.path().join("earlier.json");
    let mut report: Value = serde_json::from_slice(&run(floor.port, "2 20").stdout).unwrap();
    report["setup"]["transport"] = json!("unix");
    fs::write(&earlier, report.to_string()).unwrap();
    let output = run(floor.port, &format!("2 20 --baseline {}", earlier.display()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not comparable: transport \"unix\" there, \"tcp\" here"), "{said}");
}

//! Every stage of the ladder as a server of its own: its responses, its log, the clients it delays, its stop.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use metricstream_bench::ladder::Stage;
use std::{
    fs,
    io::ErrorKind,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testkit::{
    http::{Client, Response, get, post_to, request},
    process::Signal,
    server::Server,
};

const BLOCKING: [Stage; 3] = [Stage::Sequential, Stage::ThreadPerRequest, Stage::ThreadPool];
const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2.50,"tags":{"k":"v"}}]}"#;
/// Timeout of a wait for the load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A stage as a child process, and its data directory.
struct StageServer {
    server: Server,
    data: TempDir,
}

impl StageServer {
    fn start(stage: Stage, flags: &str) -> Self {
        Self::start_under(&[], stage, flags)
    }

    /// Starts it by way of another program, such as prlimit(1).
    fn start_under(prefix: &[&str], stage: Stage, flags: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let line =
            [prefix, &[env!("CARGO_BIN_EXE_ladder"), "--stage", stage.name(), "--listen", "127.0.0.1:0"]].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).arg("--data-dir").arg(data.path()).args(flags.split_whitespace());
        Self { server: Server::start(command, data.path()).unwrap(), data }
    }

    fn connect(&self) -> Client {
        self.server.connect()
    }

    /// One request on a connection of its own.
    fn post(&self, target: &str, body: &str) -> Response {
        self.server.request(&post_to(target, "", body))
    }

    fn signal(&self) {
        self.server.signal(Signal::Terminate);
    }

    /// Waits for its end, which must be a success. Returns the number of lines of its log, each checked, and its
    /// standard error.
    fn end(self) -> (u64, String) {
        let ended = self.server.end();
        let text = ended.said.join("\n");
        assert!(ended.status.success(), "{text}");
        let state = fs::read_to_string(self.data.path().join("metricstream.state")).unwrap();
        assert!(state.contains("\nclean 1\n"), "{state}");
        let lines = testkit::log::lines(self.data.path());
        for line in &lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["name"].is_string());
        }
        (lines.len() as u64, text)
    }

    fn stop(self) -> (u64, String) {
        self.signal();
        self.end()
    }
}

/// A request with [`BATCH`].
fn post(target: &str) -> Vec<u8> {
    post_to(target, "", BATCH)
}

/// Returns true if the response is the last one on its connection.
fn closes(response: &Response) -> bool {
    response.header("Connection") == Some("close")
}

/// Returns true if the server has neither sent anything nor ended the connection.
fn is_left_alone(client: &Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let left_alone = client.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    client.stream.set_nonblocking(false).unwrap();
    left_alone
}

#[test]
fn every_stage_stores_exactly_what_it_acknowledged() {
    for stage in Stage::ALL {
        let server = StageServer::start(stage, "");
        for target in ["/metrics", "/metrics?ack=memory", "/metrics?ack=fsync"] {
            assert_eq!(server.post(target, BATCH).processed(), 2, "{stage:?}");
        }
        let bad = server.post("/metrics", r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":"x"}]}"#);
        assert_eq!(bad.status, 400, "{stage:?}");
        assert!(bad.text().contains("metrics[1].value"), "{stage:?}: {bad:?}");
        assert_eq!(server.post("/elsewhere", BATCH).status, 404, "{stage:?}");
        assert_eq!(server.stop().0, 6, "{stage:?}");
    }
}

#[test]
fn what_is_acknowledged_is_in_the_file_at_that_moment() {
    for stage in Stage::ALL {
        let server = StageServer::start(stage, "");
        for batches in 1..=3 {
            assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
            let log = fs::read_to_string(server.data.path().join("metrics.jsonl")).unwrap();
            assert_eq!(log.lines().count(), 2 * batches, "{stage:?}");
        }
    }
}

#[test]
fn a_request_in_pieces_and_a_burst_of_requests_are_served() {
    for stage in Stage::ALL {
        let server = StageServer::start(stage, "");
        let mut client = server.connect();
        let request = post_to("/metrics", "", BATCH);
        let (start, end) = request.split_at(request.len() - 5);
        client.send(start).unwrap();
        client.send(end).unwrap();
        assert_eq!(client.response().status, 200, "{stage:?}");
        drop(client);

        // More requests than one turn serves; the last one closes the connection.
        let mut client = server.connect();
        let burst = [request.repeat(99), post_to("/metrics", "Connection: close\r\n", BATCH)].concat();
        client.send(&burst).unwrap();
        let responses: Vec<Response> = std::iter::from_fn(|| client.try_response().ok()).collect();
        assert!(responses.iter().all(|response| response.status == 200), "{stage:?}");
        assert!(closes(responses.last().unwrap()), "{stage:?}");
        // One that closes after each response drops what follows the first.
        assert_eq!(responses.len(), if stage == Stage::Sequential { 1 } else { 100 }, "{stage:?}");
        assert_eq!(server.stop().0, 2 + 2 * responses.len() as u64, "{stage:?}");
    }
}

#[test]
fn the_blocking_stages_have_no_statistics() {
    for stage in BLOCKING {
        let server = StageServer::start(stage, "");
        for (path, status) in [("/health", 200), ("/ready", 200), ("/stats", 404), ("/metrics", 404)] {
            assert_eq!(server.connect().request(&get(path)).status, status, "{stage:?} {path}");
        }
    }
}

#[test]
fn a_silent_client_delays_nobody_but_in_the_sequential_stage() {
    for stage in Stage::ALL {
        let sequential = stage == Stage::Sequential;
        let server = StageServer::start(stage, if sequential { "--timeout-ms 200" } else { "--timeout-ms 60000" });
        let silent = server.connect();
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
        // There the other had to wait until the silent connection was closed.
        assert_eq!(is_left_alone(&silent), !sequential, "{stage:?}");
        assert_eq!(server.stop().0, 2);
    }
}

#[test]
fn a_client_that_is_too_slow_gets_408_and_is_closed() {
    for stage in Stage::ALL {
        let server = StageServer::start(stage, "--timeout-ms 200");
        let mut slow = server.connect();
        slow.send(b"POST /metrics HTTP/1.1\r\nHost: te").unwrap();
        let response = slow.response();
        assert_eq!(response.status, 408, "{stage:?}");
        assert!(closes(&response), "{stage:?}");
        assert!(slow.try_response().is_err(), "{stage:?}");
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
    }
}

#[test]
fn the_pool_responds_with_503_when_its_queue_is_full() {
    let server = StageServer::start(Stage::ThreadPool, "--threads 1 --queue 1 --timeout-ms 60000");
    // After its response the one thread has the connection, and not the queue; the next one fills the queue.
    let mut served = server.connect();
    assert_eq!(served.request(&post("/metrics")).status, 200);
    let mut queued = server.connect();
    for _ in 0..3 {
        let refused = server.connect().response();
        assert_eq!(refused.status, 503);
        assert!(refused.header("Retry-After").is_some() && closes(&refused), "{refused:?}");
    }
    assert!(is_left_alone(&queued));
    // Another connection queues, so the next response is the last on this one.
    let last = served.request(&post("/metrics"));
    assert!(last.status == 200 && closes(&last), "{last:?}");
    assert!(served.try_response().is_err());
    assert_eq!(queued.request(&post("/metrics")).status, 200);
    let (lines, words) = server.stop();
    assert_eq!(lines, 6);
    assert!(words.contains("3 refused with 503 and 0 without"), "{words}");
}

#[test]
fn a_connection_without_a_thread_gets_503() {
    let server = StageServer::start(Stage::ThreadPerRequest, "--threads 1 --timeout-ms 60000");
    let mut served = server.connect();
    assert_eq!(served.request(&post("/metrics")).status, 200);
    let refused = server.connect().response();
    assert!(refused.status == 503 && refused.header("Retry-After").is_some(), "{refused:?}");
    drop(served);
    // Its thread ends when it has seen that.
    let response = (0..10_000).map(|_| server.post("/metrics", BATCH)).find(|response| response.status != 503);
    assert_eq!(response.unwrap().status, 200);
    assert_eq!(server.stop().0, 4);
}

#[test]
fn a_system_without_threads_to_give_is_survived_and_counted() {
    let server = StageServer::start(Stage::ThreadPerRequest, "--timeout-ms 60000");
    // Stays open while space is short: the C library keeps the stack of a thread that ended for the next one, which
    // would then have a stack and no space for its signals' stack, where the standard library aborts.
    let mut first = server.connect();
    assert_eq!(first.request(&post("/metrics")).status, 200);
    // Space for what the heap may need, and for no stack.
    let pid = server.server.pid().to_string();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size_kib: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    let set_limit = |soft: &str| {
        let limit = format!("--as={soft}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    set_limit(&((size_kib + 192) * 1024).to_string());

    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    let refused = clients.last_mut().unwrap().response();
    assert!(refused.status == 503 && refused.header("Retry-After").is_some(), "{refused:?}");
    server.server.wait_for_line("the warning", |line| line.starts_with("a thread cannot be had").then_some(()));
    set_limit("unlimited");
    drop((first, clients));
    let response = (0..10_000).map(|_| server.post("/metrics", BATCH)).find(|response| response.status != 503);
    assert_eq!(response.unwrap().status, 200);
    let (lines, words) = server.stop();
    assert_eq!(lines, 4);
    assert!(!words.contains(" 0 threads were not given"), "{words}");
}

#[test]
fn a_process_out_of_descriptors_goes_on_when_it_has_some_again() {
    for stage in [Stage::ThreadPerRequest, Stage::ThreadPool] {
        let server = StageServer::start_under(&["prlimit", "--nofile=40:40"], stage, "--timeout-ms 60000");
        let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        // It has those it could take; the rest wait in the kernel.
        assert_eq!(clients[0].request(&post("/metrics")).status, 200, "{stage:?}");
        let is_warning = |line: &str| line.starts_with("a connection cannot be accepted");
        server.server.wait_for_line("the warning", |line| is_warning(line).then_some(()));
        drop(clients);
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
        let (lines, words) = server.stop();
        assert_eq!(lines, 4, "{stage:?}");
        assert!(!words.contains(" 0 accepts failed"), "{stage:?}: {words}");
    }
}

#[test]
fn a_request_in_progress_is_served_before_the_stop() {
    for stage in BLOCKING {
        let server = StageServer::start(stage, "");
        let mut client = server.connect();
        let mut responses = 0;
        // Each response shows whether the stop was known by then. In the sequential stage each is the last anyway.
        while responses < 100_000 {
            let length = BATCH.len();
            let head = request("POST", "/metrics", &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"));
            // The interim response shows that the head was read, unless the connection was ended between two requests.
            if client.send(&head).is_err() || client.try_response().is_err() {
                break;
            }
            if responses == 0 {
                server.signal();
            }
            client.send(BATCH.as_bytes()).unwrap();
            let response = client.response();
            assert_eq!(response.status, 200, "{stage:?}");
            responses += 1;
            if closes(&response) {
                break;
            }
        }
        assert!(responses > 0, "{stage:?}");
        assert_eq!(server.end().0, 2 * responses, "{stage:?}");
    }
}

#[test]
fn a_stop_in_the_middle_of_a_load_loses_nothing_acknowledged() {
    for stage in Stage::ALL {
        let server = StageServer::start(stage, "");
        let (sent, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        // A stage that has stopped refuses, or ends connections that it had not taken in.
                        let Ok(mut client) = Client::try_connect(server.server.address) else { return };
                        loop {
                            sent.fetch_add(2, Ordering::Relaxed);
                            let Ok(response) = client.try_request(&post("/metrics")) else { break };
                            if response.status == 200 {
                                acknowledged.fetch_add(2, Ordering::Relaxed);
                            }
                            if closes(&response) {
                                break;
                            }
                        }
                    }
                });
            }
            let began = Instant::now();
            while acknowledged.load(Ordering::Relaxed) < 400 {
                assert!(began.elapsed() < TIMEOUT, "{stage:?}");
                thread::yield_now();
            }
            server.signal();
            // The clients end when nothing listens any more.
        });
        let (sent, acknowledged) = (sent.into_inner(), acknowledged.into_inner());
        let (lines, _) = server.end();
        assert!((acknowledged..=sent).contains(&lines), "{stage:?}: {acknowledged} <= {lines} <= {sent}");
    }
}

#[test]
fn the_whole_ladder_makes_a_table_and_a_picture() {
    // What it starts has to be there.
    assert!(fs::exists(env!("CARGO_BIN_EXE_load_test")).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("out/ladder.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["--smoke", "--seconds", "0.05", "--clients", "8", "--plot"])
        .arg(&plot)
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let drawn = fs::read_to_string(plot).unwrap();
    for stage in Stage::ALL {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{} ", stage.name()))).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows.iter().all(|row| row.contains(stage.shows()) && row.contains(" 100 ")), "{text}");
        assert!(drawn.contains(stage.name()));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the picture stays");
}

#[test]
fn progressive_load_makes_a_table_a_picture_and_figures() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["progressive", "--stage", "epoll-single", "--seconds", "0.05", "--clients", "8 2", "--plot"])
        .arg(path("p.svg"))
        .arg("--json")
        .arg(path("p.json"))
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("up to there every request succeeded"));
    let figures: serde_json::Value = serde_json::from_str(&fs::read_to_string(path("p.json")).unwrap()).unwrap();
    assert_eq!((&figures["samples"][0]["clients"], &figures["samples"][1]["clients"]), (&2.into(), &8.into()));
    let drawn = fs::read_to_string(path("p.svg")).unwrap();
    for part in ["requests/s", "latency, us", "100 % at every number of clients", "server CPU, us/request"] {
        assert!(drawn.contains(part), "{part}");
    }
}

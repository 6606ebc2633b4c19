//! Every stage of the ladder as a server of its own: what it answers, what it stores, whom it lets wait, how it stops.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use metricstream_bench::ladder::Stage;
use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const BLOCKING: [Stage; 3] = [Stage::Sequential, Stage::ThreadPerRequest, Stage::ThreadPool];
const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2.50,"tags":{"k":"v"}}]}"#;
/// Any wait that fails rather than hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stage as a child process; killed and waited for when dropped.
struct Server {
    process: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
    data: TempDir,
}

impl Server {
    fn start(stage: Stage, flags: &str) -> Self {
        Self::start_under(&[], stage, flags)
    }

    /// Starts it by way of another program, such as prlimit(1).
    fn start_under(prefix: &[&str], stage: Stage, flags: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let line =
            [prefix, &[env!("CARGO_BIN_EXE_ladder"), "--stage", stage.name(), "--listen", "127.0.0.1:0"]].concat();
        let mut process = Command::new(line[0])
            .args(&line[1..])
            .arg("--data-dir")
            .arg(data.path())
            .args(flags.split_whitespace())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it says: {line}"));
        Self { address: address.parse().unwrap(), process, stderr, data }
    }

    /// The next line of what it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// One request on a connection of its own.
    fn post(&self, target: &str, body: &str) -> Answer {
        self.connect().post(target, body)
    }

    fn signal(&self) {
        let status = Command::new("kill").args(["-s", "TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its good end; gives the lines of its log, each checked, and its last words.
    fn end(mut self) -> (u64, String) {
        let mut words = String::new();
        self.stderr.read_to_string(&mut words).unwrap();
        assert!(self.process.wait().unwrap().success(), "{words}");
        let state = fs::read_to_string(self.data.path().join("metricstream.state")).unwrap();
        assert!(state.contains("\nclean 1\n"), "{state}");
        let log = fs::read_to_string(self.data.path().join("metrics.jsonl")).unwrap();
        assert!(log.is_empty() || log.ends_with('\n'));
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["name"].is_string());
        }
        (log.lines().count() as u64, words)
    }

    fn stop(self) -> (u64, String) {
        self.signal();
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn has(&self, field: &str) -> bool {
        self.head.to_lowercase().contains(&format!("\r\n{field}"))
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    fn post(&mut self, target: &str, body: &str) -> Answer {
        self.send(&request(target, body));
        self.answer().unwrap()
    }

    /// The next answer; `None` when the connection ends instead.
    fn answer(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).ok()?;
        let status = head[9..12].parse().unwrap();
        Some(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    /// Returns true if the server has neither sent anything nor ended the connection.
    fn is_left_alone(&mut self) -> bool {
        let stream = self.0.get_mut();
        stream.set_nonblocking(true).unwrap();
        let left_alone = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        left_alone
    }
}

fn request(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn every_stage_stores_exactly_what_it_acknowledged() {
    for stage in Stage::ALL {
        let server = Server::start(stage, "");
        for target in ["/metrics", "/metrics?ack=memory", "/metrics?ack=fsync"] {
            let answer = server.post(target, BATCH);
            assert_eq!((answer.status, &*answer.body), (200, r#"{"success":true,"metrics_processed":2}"#), "{stage:?}");
        }
        let bad = server.post("/metrics", r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":"x"}]}"#);
        assert_eq!(bad.status, 400, "{stage:?}");
        assert!(bad.body.contains("metrics[1].value"), "{stage:?}: {bad:?}");
        assert_eq!(server.post("/elsewhere", BATCH).status, 404, "{stage:?}");
        assert_eq!(server.stop().0, 6, "{stage:?}");
    }
}

#[test]
fn what_is_acknowledged_is_in_the_file_at_that_moment() {
    for stage in Stage::ALL {
        let server = Server::start(stage, "");
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
        let server = Server::start(stage, "");
        let mut client = server.connect();
        let request = request("/metrics", BATCH);
        let (start, end) = request.split_at(request.len() - 5);
        client.send(start);
        client.send(end);
        assert_eq!(client.answer().unwrap().status, 200, "{stage:?}");
        drop(client);

        // More than one turn serves; the last one asks for the end.
        let mut client = server.connect();
        let burst = request.repeat(99) + &request.replace("Host:", "Connection: close\r\nHost:");
        client.send(&burst);
        let answers: Vec<Answer> = std::iter::from_fn(|| client.answer()).collect();
        assert!(answers.iter().all(|answer| answer.status == 200), "{stage:?}");
        assert!(answers.last().unwrap().has("connection: close"), "{stage:?}");
        // One that closes after each answer throws away what follows the first.
        assert_eq!(answers.len(), if stage == Stage::Sequential { 1 } else { 100 }, "{stage:?}");
        assert_eq!(server.stop().0, 2 + 2 * answers.len() as u64, "{stage:?}");
    }
}

#[test]
fn the_blocking_stages_have_no_statistics() {
    for stage in BLOCKING {
        let server = Server::start(stage, "");
        for (path, status) in [("/health", 200), ("/ready", 200), ("/stats", 404), ("/metrics", 404)] {
            let mut client = server.connect();
            client.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
            assert_eq!(client.answer().unwrap().status, status, "{stage:?} {path}");
        }
    }
}

#[test]
fn a_silent_client_delays_nobody_but_in_the_sequential_stage() {
    for stage in Stage::ALL {
        let sequential = stage == Stage::Sequential;
        let server = Server::start(stage, if sequential { "--timeout-ms 200" } else { "--timeout-ms 60000" });
        let mut silent = server.connect();
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
        // There the other had to wait until the silent one was given up.
        assert_eq!(silent.is_left_alone(), !sequential, "{stage:?}");
        assert_eq!(server.stop().0, 2);
    }
}

#[test]
fn a_client_that_is_too_slow_is_told_and_given_up() {
    for stage in Stage::ALL {
        let server = Server::start(stage, "--timeout-ms 200");
        let mut slow = server.connect();
        slow.send("POST /metrics HTTP/1.1\r\nHost: te");
        let answer = slow.answer().unwrap();
        assert_eq!(answer.status, 408, "{stage:?}");
        assert!(answer.has("connection: close"), "{stage:?}");
        assert!(slow.answer().is_none(), "{stage:?}");
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
    }
}

#[test]
fn the_pool_answers_503_when_its_queue_is_full() {
    let server = Server::start(Stage::ThreadPool, "--threads 1 --queue 1 --timeout-ms 60000");
    // Answered, so the one thread has it and not the queue; the next one fills the queue.
    let mut served = server.connect();
    assert_eq!(served.post("/metrics", BATCH).status, 200);
    let mut queued = server.connect();
    for _ in 0..3 {
        let refused = server.connect().answer().unwrap();
        assert_eq!(refused.status, 503);
        assert!(refused.has("retry-after: ") && refused.has("connection: close"), "{refused:?}");
    }
    assert!(queued.is_left_alone());
    // Somebody queues, so the next answer is the last on this connection.
    let last = served.post("/metrics", BATCH);
    assert!(last.status == 200 && last.has("connection: close"), "{last:?}");
    assert!(served.answer().is_none());
    assert_eq!(queued.post("/metrics", BATCH).status, 200);
    let (lines, words) = server.stop();
    assert_eq!(lines, 6);
    assert!(words.contains("3 refused with 503 and 0 without"), "{words}");
}

#[test]
fn a_thread_too_many_is_answered_503() {
    let server = Server::start(Stage::ThreadPerRequest, "--threads 1 --timeout-ms 60000");
    let mut served = server.connect();
    assert_eq!(served.post("/metrics", BATCH).status, 200);
    let refused = server.connect().answer().unwrap();
    assert!(refused.status == 503 && refused.has("retry-after: "), "{refused:?}");
    drop(served);
    // Its thread ends when it has seen that.
    let answer = (0..10_000).map(|_| server.post("/metrics", BATCH)).find(|answer| answer.status != 503);
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(server.stop().0, 4);
}

#[test]
fn a_system_without_threads_to_give_is_survived_and_counted() {
    let mut server = Server::start(Stage::ThreadPerRequest, "--timeout-ms 60000");
    assert_eq!(server.post("/metrics", BATCH).status, 200);
    // Room for what the heap may need, and for no stack.
    let pid = server.process.id().to_string();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size_kib: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    let limit = format!("--as={}", (size_kib + 192) * 1024);
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());

    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    let refused = clients.last_mut().unwrap().answer().unwrap();
    assert!(refused.status == 503 && refused.has("retry-after: "), "{refused:?}");
    assert!(server.line().starts_with("a thread cannot be had"));
    drop(clients);
    let answer = (0..10_000).map(|_| server.post("/metrics", BATCH)).find(|answer| answer.status != 503);
    assert_eq!(answer.unwrap().status, 200);
    let (lines, words) = server.stop();
    assert_eq!(lines, 4);
    assert!(!words.contains(" 0 threads were not given"), "{words}");
}

#[test]
fn a_process_out_of_descriptors_goes_on_when_it_has_some_again() {
    for stage in [Stage::ThreadPerRequest, Stage::ThreadPool] {
        let mut server = Server::start_under(&["prlimit", "--nofile=40:40"], stage, "--timeout-ms 60000");
        let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        // It has those it could take; the rest wait in the kernel.
        assert_eq!(clients[0].post("/metrics", BATCH).status, 200, "{stage:?}");
        assert!(server.line().starts_with("a connection cannot be accepted"), "{stage:?}");
        drop(clients);
        assert_eq!(server.post("/metrics", BATCH).status, 200, "{stage:?}");
        let (lines, words) = server.stop();
        assert_eq!(lines, 4, "{stage:?}");
        assert!(!words.contains(" 0 accepts failed"), "{stage:?}: {words}");
    }
}

#[test]
fn a_request_in_progress_is_answered_before_the_stop() {
    for stage in BLOCKING {
        let server = Server::start(stage, "");
        let mut client = server.connect();
        let mut answers = 0;
        // Each answer says whether the stop was known by then. In the sequential stage each is the last anyway.
        while answers < 100_000 {
            client
                .send(&request("/metrics", BATCH).replace("Host:", "Expect: 100-continue\r\nHost:").replace(BATCH, ""));
            // Says that the head was read, unless the connection was ended between two requests.
            let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
            if client.0.read_exact(&mut interim).is_err() {
                break;
            }
            if answers == 0 {
                server.signal();
            }
            client.send(BATCH);
            let answer = client.answer().unwrap();
            assert_eq!(answer.status, 200, "{stage:?}");
            answers += 1;
            if answer.has("connection: close") {
                break;
            }
        }
        assert!(answers > 0, "{stage:?}");
        assert_eq!(server.end().0, 2 * answers, "{stage:?}");
    }
}

#[test]
fn a_stop_in_the_middle_of_a_load_loses_nothing_acknowledged() {
    for stage in Stage::ALL {
        let server = Server::start(stage, "");
        let (sent, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        // A stage that has stopped refuses, or ends connections that it had not taken in.
                        let Ok(stream) = TcpStream::connect(server.address) else { return };
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        let mut client = Client(BufReader::new(stream));
                        loop {
                            sent.fetch_add(2, Ordering::Relaxed);
                            if client.0.get_mut().write_all(request("/metrics", BATCH).as_bytes()).is_err() {
                                break;
                            }
                            let Some(answer) = client.answer() else { break };
                            if answer.status == 200 {
                                acknowledged.fetch_add(2, Ordering::Relaxed);
                            }
                            if answer.has("connection: close") {
                                break;
                            }
                        }
                    }
                });
            }
            let began = Instant::now();
            while acknowledged.load(Ordering::Relaxed) < 400 {
                assert!(began.elapsed() < PATIENCE, "{stage:?}");
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

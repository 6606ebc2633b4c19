//! Forwarding to a remote write receiver that misbehaves: what it refuses is counted, what it does not acknowledge is
//! sent again, nothing is lost, and the order is that of the log, also over restarts.

use crate::{
    http::{get, post},
    log,
    server::{Driver, Server, Setup, until},
};
use ::metric::protocol::protobuf::{Content, Message};
use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Answer(u16, &'static str),
    /// Nothing for a while, then the end of the connection.
    Hang,
    /// The end of the connection in the middle of the request.
    CloseInside,
    /// A part of the response, then the end.
    Half,
}

const TAKE: Act = Act::Answer(204, "");

/// One sample as it was received: its labels, the bits of its value, its time.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    bits: u64,
    timestamp_ms: i64,
}

impl Sample {
    fn name(&self) -> &str {
        &self.labels.iter().find(|(name, _)| name == "__name__").unwrap().1
    }
}

#[derive(Debug, Default)]
struct Seen {
    acknowledged: Vec<Sample>,
    refused: Vec<Sample>,
    heads: Vec<String>,
}

struct RemoteEnd {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RemoteEnd {
    /// A receiver that does each of `acts` in turn, and then takes everything.
    fn start(acts: &[Act]) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), acts)
    }

    fn start_at(address: SocketAddr, acts: &[Act]) -> Self {
        let listener = until("the receiver's port", || TcpListener::bind(address).ok());
        let address = listener.local_addr().unwrap();
        let (seen, is_over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let acts = Arc::new(Mutex::new(acts.iter().copied().collect::<std::collections::VecDeque<_>>()));
        let (theirs, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // One at a time: a forward has one connection.
                serve(connection.unwrap(), &acts, &theirs, &over);
            }
        });
        Self { address, seen, is_over, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    fn names(&self) -> Vec<String> {
        self.seen.lock().unwrap().acknowledged.iter().map(|sample| sample.name().to_owned()).collect()
    }
}

impl Drop for RemoteEnd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection, or is about to see that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

fn serve(
    mut connection: TcpStream,
    acts: &Mutex<std::collections::VecDeque<Act>>,
    seen: &Mutex<Seen>,
    over: &AtomicBool,
) {
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 65_536];
        match connection.read(&mut part) {
            Ok(0) => return,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(_) if over.load(Ordering::Relaxed) => return,
            Err(_) => continue,
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        let next = acts.lock().unwrap().front().copied().unwrap_or(TAKE);
        if next == Act::CloseInside {
            acts.lock().unwrap().pop_front();
            return;
        }
        if bytes.len() < end + 4 + length {
            continue;
        }
        acts.lock().unwrap().pop_front();
        let samples = decode(&bytes[end + 4..end + 4 + length]);
        bytes.drain(..end + 4 + length);
        match next {
            Act::Answer(code, fields) => {
                let mut seen = seen.lock().unwrap();
                match code {
                    200..=299 => seen.acknowledged.extend(samples),
                    400..=499 if code != 429 => seen.refused.extend(samples),
                    _ => {}
                }
                seen.heads.push(head);
                drop(seen);
                let text = if code == 204 { "" } else { "Content-Length: 3\r\n\r\nno\n" };
                let end = if code == 204 { "\r\n" } else { "" };
                let response = format!("HTTP/1.1 {code} X\r\n{fields}{text}{end}");
                if connection.write_all(response.as_bytes()).is_err() {
                    return;
                }
            }
            Act::Hang => {
                thread::sleep(Duration::from_millis(300));
                return;
            }
            Act::Half => {
                let _ = connection.write_all(b"HTTP/1.1 204 No Con");
                return;
            }
            Act::CloseInside => unreachable!("done above"),
        }
    }
}

fn nested<'a>(content: Content<'a>) -> Vec<(u32, Content<'a>)> {
    let Content::Bytes(bytes) = content else { panic!("no message: {content:?}") };
    let mut message = Message::new(bytes);
    let mut fields = Vec::new();
    while let Some(field) = message.next_field().unwrap() {
        fields.push((field.number, field.content));
    }
    fields
}

fn text(content: Content<'_>) -> String {
    let Content::Bytes(bytes) = content else { panic!("no text: {content:?}") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn decode(body: &[u8]) -> Vec<Sample> {
    let request = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut samples = Vec::new();
    for (_, series) in nested(Content::Bytes(&request)) {
        let mut labels = Vec::new();
        for (number, content) in nested(series) {
            let fields: HashMap<u32, Content<'_>> = nested(content).into_iter().collect();
            if number == 1 {
                labels.push((text(fields[&1]), text(fields[&2])));
                continue;
            }
            let Content::Fixed64(bits) = fields[&1] else { panic!("{fields:?}") };
            let Content::Varint(timestamp) = fields[&2] else { panic!("{fields:?}") };
            samples.push(Sample { labels: labels.clone(), bits, timestamp_ms: timestamp.cast_signed() });
        }
        assert!(labels.is_sorted(), "{labels:?}");
    }
    samples
}

fn setup(receiver: &RemoteEnd) -> Setup {
    Setup::new(Driver::Epoll).flag("--forward", receiver.url())
}

/// Stores `count` metrics in one batch, named by `mark` and their number.
fn store(server: &Server, mark: &str, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("{mark}_{number}")).collect();
    for names in names.chunks(500) {
        let metrics: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}","value":1}}"#)).collect();
        let body = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
        assert_eq!(server.ask(&post(body)).processed(), names.len());
    }
    names
}

fn wait_for(receiver: &RemoteEnd, names: &[String]) {
    until("everything to be delivered", || {
        let received = receiver.names();
        names.iter().all(|name| received.contains(name)).then_some(())
    });
}

fn state_file(directory: &Path) -> std::path::PathBuf {
    let find = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name.starts_with("forward-") && name.ends_with(".state")).then(|| entry.path())
    };
    until("the cursor", || fs::read_dir(directory).unwrap().find_map(|entry| find(entry.unwrap())))
}

#[test]
fn a_misbehaving_receiver_loses_nothing() {
    let again = [
        Act::Answer(429, "Retry-After: 1\r\n"),
        Act::Answer(500, ""),
        Act::Answer(503, "Connection: close\r\n"),
        Act::Answer(307, "Location: /\r\n"),
        Act::Hang,
        Act::CloseInside,
        Act::Half,
    ];
    let receiver = RemoteEnd::start(&again);
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(&receiver).start_in(directory.path());
    state_file(directory.path());
    let names = store(&server, "a", 5_000);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names, "each once, and in the order of the log");
    until("the counters", || (server.stat("/forwards/0/delivered") == 5_000).then_some(()));
    assert!(server.stat("/forwards/0/retries") >= again.len() as u64);
    until("an empty backlog", || (server.stat("/forwards/0/bytes_behind") == 0).then_some(()));
    server.stop();
}

#[test]
fn samples_that_a_receiver_refuses_are_counted_and_passed() {
    let receiver = RemoteEnd::start(&[Act::Answer(400, ""), Act::Answer(413, "")]);
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(&receiver).start_in(directory.path());
    state_file(directory.path());
    store(&server, "bad", 10);
    until("the first refusal", || (server.stat("/forwards/0/refused_by/bad_request") == 10).then_some(()));
    store(&server, "large", 20);
    until("the second refusal", || (server.stat("/forwards/0/refused_by/too_large") == 20).then_some(()));
    let names = store(&server, "good", 30);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names);
    assert_eq!(receiver.seen.lock().unwrap().refused.len(), 30);
    let exposition = server.ask(&get("/metrics"));
    assert!(exposition.text().contains("reason=\"too_large\"} 20"), "{}", exposition.text());
    server.stop();
    assert_eq!(server.said().iter().filter(|line| line.contains("refused with")).count(), 1, "{:?}", server.said());
}

#[test]
fn a_forward_continues_where_it_was_after_restarts() {
    let receiver = RemoteEnd::start(&[]);
    let address = receiver.address;
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(&receiver);
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let first = store(&server, "first", 10);
    wait_for(&receiver, &first);
    drop(receiver);
    // The receiver is away: over a kill, a rotation and a clean stop.
    let second = store(&server, "second", 10);
    server.kill();
    let mut server = setup.start_in(directory.path());
    let third = store(&server, "third", 10);
    server.signal(crate::process::Signal::HangUp);
    server.wait_for_line("the rotation", |line| line.contains("rotat").then_some(()));
    let fourth = store(&server, "fourth", 10);
    server.stop();
    let mut server = setup.start_in(directory.path());
    let receiver = RemoteEnd::start_at(address, &[]);
    let expected = [second, third, fourth].concat();
    wait_for(&receiver, &expected);
    let mut received = receiver.names();
    // What was delivered right before the kill may come again.
    received.retain(|name| !name.starts_with("first"));
    assert_eq!(received, expected);
    server.stop();
    assert_eq!(log::lines(directory.path()).len() % 10, 0);
}

#[test]
fn a_damaged_cursor_is_a_warning() {
    let receiver = RemoteEnd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(&receiver);
    let mut server = setup.start_in(directory.path());
    let path = state_file(directory.path());
    server.stop();
    fs::write(&path, "metricstream forward 1\nposition first:0\ncrc32 00000000\n").unwrap();
    let mut server = setup.start_in(directory.path());
    server.wait_for_line("the warning", |line| line.contains("it is damaged").then_some(()));
    until("the cursor", || fs::read_to_string(&path).unwrap().contains("crc32 00000000").then_some(()).xor(Some(())));
    let names = store(&server, "a", 3);
    wait_for(&receiver, &names);
    server.stop();
}

#[test]
fn a_table_starts_a_forward_at_the_beginning() {
    let receiver = RemoteEnd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut server = Setup::new(Driver::Epoll).start_in(directory.path());
    let names = store(&server, "old", 7);
    server.stop();
    let file = tempfile::NamedTempFile::new().unwrap();
    let table = format!(
        "[[forward]]\nname = \"store\"\nurl = \"{}\"\nstart = \"beginning\"\nheaders = {{ X-Scope-OrgID = \"t1\" }}\n",
        receiver.url()
    );
    fs::write(file.path(), table).unwrap();
    let mut server = Setup::new(Driver::Epoll).flag("--config", file.path().display()).start_in(directory.path());
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names);
    server.stop();
    assert!(directory.path().join("forward-store.state").exists());
    let head = receiver.seen.lock().unwrap().heads[0].clone();
    for field in ["X-Scope-OrgID: t1", "Content-Encoding: snappy", "X-Prometheus-Remote-Write-Version: 0.1.0"] {
        assert!(head.contains(field), "{head}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_receiver_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut server = Setup::new(Driver::Epoll).flag("--forward", url).start();
    store(&server, "a", 1);
    let _held = listener.accept().unwrap();
    server.stop();
    assert!(!server.said().iter().any(|line| line.contains("did not end")), "{:?}", server.said());
}

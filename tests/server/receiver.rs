//! A remote write receiver that misbehaves as configured, and records what it received.

use crate::server::until;
use ::metric::protocol::protobuf::{Content, Message};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// The reaction of the receiver to a request that it understands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// A status, and fields of the response.
    Respond(u16, &'static str),
    /// Everything is taken; the response is these pieces, each sent by itself.
    Take(&'static [&'static [u8]]),
    /// The same, and then the end of the connection, of which the response need not say anything.
    TakeAndClose(&'static [&'static [u8]]),
    /// Nothing for a while, then the end of the connection.
    Hang,
    /// Nothing, until the sender closes.
    Silence,
    /// The end of the connection in the middle of the request.
    CloseInside,
    /// A reset.
    Reset,
    /// These bytes, then the end of the connection.
    Bytes(&'static [u8]),
    /// These bytes, and the second ones until the sender closes.
    Endless(&'static [u8], &'static [u8]),
}

/// Everything is taken.
pub const TAKE: Act = Act::Respond(204, "");

/// The versions of remote write that the receiver knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Knows {
    /// Both versions.
    Both,
    /// 1.0; any request is a success, also where no field of it is known.
    V1,
    /// 1.0; others are a 415.
    V1Strict,
}

/// One sample as it was received: its labels, its type by 2.0, the bits of its value, its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Vec<(String, String)>,
    pub kind: u64,
    pub bits: u64,
    pub timestamp_ms: i64,
}

impl Sample {
    pub fn name(&self) -> &str {
        &self.labels.iter().find(|(name, _)| name == "__name__").unwrap().1
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    pub acknowledged: Vec<Sample>,
    pub refused: Vec<Sample>,
    pub heads: Vec<String>,
    /// Families and types, by 1.0.
    pub metadata: Vec<(String, u64)>,
    /// Connections on which something was acknowledged.
    pub connections: usize,
    /// Connections that the receiver has closed by [`Act::TakeAndClose`].
    pub closed: usize,
}

/// The state that the threads of a receiver share.
struct State {
    knows: Knows,
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Seen>,
    is_over: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// A receiver that does each of `acts` in turn, and then takes everything.
    pub fn start(knows: Knows, acts: &[Act]) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), knows, acts)
    }

    pub fn start_at(address: SocketAddr, knows: Knows, acts: &[Act]) -> Self {
        Self::start_with(address, knows, acts, None)
    }

    /// A receiver that speaks TLS with the certificate in `tls/`.
    pub fn start_tls(acts: &[Act]) -> Self {
        let certificate = CertificateDer::from_pem_file(tls_file("receiver.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(tls_file("receiver-key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self::start_with("127.0.0.1:0".parse().unwrap(), Knows::Both, acts, Some(Arc::new(config)))
    }

    fn start_with(address: SocketAddr, knows: Knows, acts: &[Act], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = until("the receiver's port", || TcpListener::bind(address).ok());
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            knows,
            acts: Mutex::new(acts.iter().copied().collect()),
            seen: Mutex::new(Seen::default()),
            is_over: AtomicBool::new(false),
            tls,
        });
        let theirs = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let mut threads = Vec::new();
            for connection in listener.incoming() {
                if theirs.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (connection, state) = (connection.unwrap(), Arc::clone(&theirs));
                threads.push(thread::spawn(move || accept(connection, &state)));
            }
            threads.into_iter().for_each(|thread| assert!(thread.join().is_ok() || thread::panicking()));
        });
        Self { address, state, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        let scheme = if self.state.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/api/v1/write", self.address)
    }

    pub fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.state.seen.lock().unwrap())
    }

    /// Names of all samples that were acknowledged.
    pub fn names(&self) -> Vec<String> {
        self.seen(|seen| seen.acknowledged.iter().map(|sample| sample.name().to_owned()).collect())
    }

    pub fn acts_left(&self) -> usize {
        self.state.acts.lock().unwrap().len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection, or is about to see that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

/// A file of the certificates that tests use.
pub fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls").join(name)
}

fn accept(connection: TcpStream, state: &State) {
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    connection.set_nodelay(true).unwrap();
    let socket = connection.try_clone().unwrap();
    match &state.tls {
        None => serve(connection, &socket, state),
        Some(tls) => {
            let session = ServerConnection::new(Arc::clone(tls)).unwrap();
            serve(StreamOwned::new(session, connection), &socket, state);
        }
    }
}

/// A request: its head, and its body.
fn read_request(connection: &mut impl Read, bytes: &mut Vec<u8>, state: &State) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            let length: usize = length.parse().unwrap();
            let knows = state.knows == Knows::Both || head.contains("Version: 0.1.0");
            let mut acts = state.acts.lock().unwrap();
            if knows && acts.front() == Some(&Act::CloseInside) {
                acts.pop_front();
                return None;
            }
            drop(acts);
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        let mut part = [0; 65_536];
        match connection.read(&mut part) {
            Ok(0) => return None,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(_) if state.is_over.load(Ordering::Relaxed) => return None,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
    }
}

fn serve(mut connection: impl Read + Write, socket: &TcpStream, state: &State) {
    let (mut bytes, mut is_first) = (Vec::new(), true);
    while let Some((head, body)) = read_request(&mut connection, &mut bytes, state) {
        if state.knows != Knows::Both && head.contains("Version: 2.0.0") {
            let text = if state.knows == Knows::V1 { "204 X\r\n\r\n" } else { "415 X\r\nContent-Length: 0\r\n\r\n" };
            state.seen.lock().unwrap().heads.push(head);
            if connection.write_all(format!("HTTP/1.1 {text}").as_bytes()).is_err() {
                return;
            }
            continue;
        }
        let act = state.acts.lock().unwrap().pop_front().unwrap_or(TAKE);
        match act {
            Act::Respond(code, fields) => {
                // Before the samples are seen: who waits for them counts connections.
                if (200..300).contains(&code) && std::mem::take(&mut is_first) {
                    state.seen.lock().unwrap().connections += 1;
                }
                let response = respond(state, code, fields, head, &body);
                if connection.write_all(response.as_bytes()).is_err() {
                    return;
                }
            }
            Act::Take(pieces) | Act::TakeAndClose(pieces) => {
                state.seen.lock().unwrap().connections += usize::from(std::mem::take(&mut is_first));
                respond(state, 200, "", head, &body);
                if !pieces.iter().all(|piece| connection.write_all(piece).is_ok()) {
                    return;
                }
                if let Act::TakeAndClose(_) = act {
                    socket.shutdown(Shutdown::Both).unwrap();
                    state.seen.lock().unwrap().closed += 1;
                    return;
                }
            }
            Act::Hang => {
                thread::sleep(Duration::from_millis(300));
                return;
            }
            Act::Silence => {
                while read_request(&mut connection, &mut bytes, state).is_some() {}
                return;
            }
            Act::Reset => {
                // What was sent and not read makes it a reset.
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            Act::Bytes(bytes) => {
                let _ = connection.write_all(bytes);
                return;
            }
            Act::Endless(begin, more) => {
                let mut is_sent = connection.write_all(begin);
                while is_sent.is_ok() && !state.is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                    is_sent = connection.write_all(more);
                }
                return;
            }
            // Another connection has taken the act before it since this request was read: now it ends behind that.
            Act::CloseInside => return,
        }
    }
}

/// Records a request, and returns the response.
fn respond(state: &State, code: u16, fields: &str, head: String, body: &[u8]) -> String {
    let mut seen = state.seen.lock().unwrap();
    let is_v2 = head.contains("Version: 2.0.0");
    let (samples, metadata) = decode(body, is_v2, head.contains("Content-Encoding: zstd"));
    let count = samples.len();
    match code {
        200..=299 => {
            seen.acknowledged.extend(samples);
            seen.metadata.extend(metadata);
        }
        400..=499 if code != 429 => seen.refused.extend(samples),
        _ => {}
    }
    seen.heads.push(head);
    let written = match code {
        200..=299 if is_v2 && !fields.contains("Written") => {
            format!("X-Prometheus-Remote-Write-Samples-Written: {count}\r\n")
        }
        _ => String::new(),
    };
    let text = if code == 204 { "\r\n" } else { "Content-Length: 3\r\n\r\nno\n" };
    format!("HTTP/1.1 {code} X\r\n{fields}{written}{text}")
}

fn nested<'a>(content: &Content<'a>) -> Vec<(u32, Content<'a>)> {
    let Content::Bytes(bytes) = content else { panic!("no message: {content:?}") };
    let mut message = Message::new(bytes);
    let mut fields = Vec::new();
    while let Some(field) = message.next_field().unwrap() {
        fields.push((field.number, field.content));
    }
    fields
}

fn text(content: &Content<'_>) -> String {
    let Content::Bytes(bytes) = content else { panic!("no text: {content:?}") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn number(content: Option<&(u32, Content<'_>)>) -> u64 {
    match content {
        Some((_, Content::Varint(number) | Content::Fixed64(number))) => *number,
        _ => panic!("no number: {content:?}"),
    }
}

fn varints(content: &Content<'_>) -> Vec<usize> {
    let Content::Bytes(bytes) = content else { panic!("not packed: {content:?}") };
    let mut numbers = Vec::new();
    let (mut number, mut shift) = (0, 0);
    for byte in *bytes {
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    numbers
}

/// The samples of a request, and the types of families.
fn decode(body: &[u8], is_v2: bool, is_zstd: bool) -> (Vec<Sample>, Vec<(String, u64)>) {
    let decompressed =
        if is_zstd { zstd::decode_all(body).unwrap() } else { snap::raw::Decoder::new().decompress_vec(body).unwrap() };
    let request = nested(&Content::Bytes(&decompressed));
    let symbols: Vec<String> =
        request.iter().filter(|(number, _)| is_v2 && *number == 4).map(|(_, content)| text(content)).collect();
    assert!(!is_v2 || symbols[0].is_empty(), "{symbols:?}");
    let (mut samples, mut metadata) = (Vec::new(), Vec::new());
    for (field, content) in &request {
        match field {
            1 if !is_v2 => samples.extend(series(content, &[])),
            3 if !is_v2 => {
                let fields = nested(content);
                metadata.push((text(&fields[1].1), number(fields.first())));
            }
            4 if is_v2 => {}
            5 if is_v2 => samples.extend(series(content, &symbols)),
            other => panic!("field {other}"),
        }
    }
    (samples, metadata)
}

/// The samples of a series; of version 2.0 if there are symbols.
fn series(content: &Content<'_>, symbols: &[String]) -> Vec<Sample> {
    let fields = nested(content);
    let (mut labels, mut kind) = (Vec::new(), 0);
    for (field, content) in &fields {
        match field {
            1 if symbols.is_empty() => {
                let label = nested(content);
                labels.push((text(&label[0].1), text(&label[1].1)));
            }
            1 => {
                let references = varints(content);
                labels.extend(references.chunks(2).map(|pair| (symbols[pair[0]].clone(), symbols[pair[1]].clone())));
            }
            5 => kind = number(nested(content).first()),
            _ => {}
        }
    }
    assert!(labels.is_sorted(), "{labels:?}");
    let sample = |content: &Content<'_>| {
        let fields = nested(content);
        let timestamp_ms = number(fields.get(1)).cast_signed();
        Sample { labels: labels.clone(), kind, bits: number(fields.first()), timestamp_ms }
    };
    fields.iter().filter(|(field, _)| *field == 2).map(|(_, content)| sample(content)).collect()
}

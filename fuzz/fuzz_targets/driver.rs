//! Both drivers under the same operations: what each connection and its peer receive, and how it ends, is the same on
//! io_uring and on epoll. The input is operations of two bytes: which and on which connection, and how many bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor::{Cause, Driver, DriverConfig, Flow, Handler, Listener, Peer, Token, UringDriver, epoll::EpollDriver};
use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::Arc,
    time::Duration,
};
use wake::Doorbell;

/// Connections of one input, at most.
const CONNECTIONS_MAX: usize = 4;
/// Bytes that are under way to either side, at most: a socket takes them without waiting for the other side.
const BYTES_MAX: usize = 64 * 1024;
/// Turns in which a driver notices what has already happened.
const TURNS: usize = 12;

/// Events that the owner of a connection has seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    received: Vec<u8>,
    sent: u32,
    ended: bool,
    closed: bool,
}

#[derive(Default)]
struct Recorder {
    tokens: Vec<Token>,
    seen: HashMap<Token, Seen>,
    pauses: bool,
    paused: HashMap<Token, bool>,
}

impl Handler for Recorder {
    fn accepted(&mut self, token: Token, _: usize, _: Peer) {
        self.tokens.push(token);
        assert!(self.seen.insert(token, Seen::default()).is_none(), "a token is new");
    }
    fn accept_failed(&mut self, error: &io::Error) {
        panic!("{error}");
    }
    fn connected(&mut self, _: Token) {
        panic!("nothing is connected to");
    }
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        let seen = self.seen.get_mut(&token).expect("a connection that has begun");
        assert!(!seen.ended && !seen.closed && !self.paused.get(&token).copied().unwrap_or(false));
        seen.received.extend_from_slice(bytes);
        self.paused.insert(token, self.pauses);
        if self.pauses { Flow::Pause } else { Flow::Continue }
    }
    fn eof(&mut self, token: Token) {
        let seen = self.seen.get_mut(&token).expect("a connection that has begun");
        assert!(!seen.closed && !std::mem::replace(&mut seen.ended, true), "one end");
    }
    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(buffer.is_empty());
        self.seen.get_mut(&token).expect("a connection that has begun").sent += 1;
    }
    fn closed(&mut self, token: Token, _: Cause) {
        let seen = self.seen.get_mut(&token).expect("a connection that has begun");
        assert!(!std::mem::replace(&mut seen.closed, true), "closed once");
    }
}

/// A driver and its peers.
struct World<D> {
    driver: D,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl<D: Driver> World<D> {
    fn new() -> Self {
        let directory = fuzz::directory();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let setup = DriverConfig {
            listeners: vec![Listener::from(listener)],
            connections_max: 16,
            receive_buffer_bytes: 4096,
            receive_buffers: 16,
            doorbell: Arc::new(Doorbell::new().expect("a descriptor")),
        };
        Self { driver: D::open(setup).expect("a driver of this kernel"), path, _directory: directory }
    }

    fn settle(&mut self, recorder: &mut Recorder) {
        for _ in 0..TURNS {
            self.driver.turn(Some(Duration::ZERO), recorder).expect("a turn");
        }
    }

    /// Runs the operations; returns the events of each connection and of its peer.
    fn run(&mut self, operations: &[u8]) -> Vec<(Seen, Vec<u8>, bool)> {
        let mut recorder = Recorder::default();
        let mut peers: Vec<Option<(UnixStream, Vec<u8>)>> = Vec::new();
        let (mut from_peers, mut to_peers) = (vec![0; CONNECTIONS_MAX], [0; CONNECTIONS_MAX]);
        let mut paused_ever = [false; CONNECTIONS_MAX];
        let mut received = vec![Vec::new(); CONNECTIONS_MAX];
        for operation in operations.chunks_exact(2) {
            let (kind, index) = (operation[0] % 10, usize::from(operation[0] / 10) % CONNECTIONS_MAX);
            let bytes = vec![operation[1]; usize::from(operation[1]) * 37 + 1];
            let token = recorder.tokens.get(index).copied();
            let is_open = token.is_some_and(|token| !recorder.seen[&token].closed);
            match (kind, token) {
                (0, _) if peers.len() < CONNECTIONS_MAX => {
                    let peer = UnixStream::connect(&self.path).expect("a place in the queue");
                    peer.set_nonblocking(true).expect("a socket");
                    peers.push(Some((peer, Vec::new())));
                }
                (1, Some(_)) => {
                    if let Some((peer, _)) = &mut peers[index]
                        && from_peers[index] + bytes.len() <= BYTES_MAX
                        && peer.write_all(&bytes).is_ok()
                    {
                        from_peers[index] += bytes.len();
                    }
                }
                (2, Some(_)) => {
                    if let Some((peer, _)) = &peers[index] {
                        let _ = peer.shutdown(Shutdown::Write);
                    }
                }
                (3, Some(_)) => {
                    if let Some((mut peer, mut bytes)) = peers[index].take() {
                        let _ = peer.read_to_end(&mut bytes);
                        received[index] = bytes;
                    }
                }
                (4, Some(token)) if is_open && to_peers[index] + bytes.len() <= BYTES_MAX => {
                    to_peers[index] += bytes.len();
                    self.driver.send(token, bytes);
                    self.settle(&mut recorder);
                }
                (5, _) => recorder.pauses = !recorder.pauses,
                (6, Some(token)) => {
                    recorder.paused.insert(token, false);
                    self.driver.resume_receive(token);
                }
                (7, Some(token)) => self.driver.shutdown_write(token),
                (8, Some(token)) => {
                    self.driver.close(token);
                    self.settle(&mut recorder);
                    assert!(recorder.seen[&token].closed, "a close that is not followed by closed");
                }
                _ => {}
            }
            self.settle(&mut recorder);
            for (index, token) in recorder.tokens.iter().enumerate() {
                paused_ever[index] |= recorder.paused.get(token).copied().unwrap_or(false);
            }
        }
        self.finish(&mut recorder, peers, received, paused_ever)
    }

    fn finish(
        &mut self,
        recorder: &mut Recorder,
        mut peers: Vec<Option<(UnixStream, Vec<u8>)>>,
        mut received: Vec<Vec<u8>>,
        paused_ever: [bool; CONNECTIONS_MAX],
    ) -> Vec<(Seen, Vec<u8>, bool)> {
        recorder.pauses = false;
        for token in recorder.tokens.clone() {
            recorder.paused.insert(token, false);
            self.driver.resume_receive(token);
            self.settle(recorder);
        }
        let before: Vec<_> = recorder.tokens.iter().map(|token| recorder.seen[token].clone()).collect();
        for token in recorder.tokens.clone() {
            self.driver.close(token);
        }
        self.settle(recorder);
        assert!(recorder.seen.values().all(|seen| seen.closed), "everything is closed");
        for (index, peer) in peers.iter_mut().enumerate() {
            if let Some((peer, bytes)) = peer {
                let _ = peer.read_to_end(bytes);
                received[index] = std::mem::take(bytes);
            }
        }
        before.into_iter().zip(received).zip(paused_ever).map(|((seen, bytes), paused)| (seen, bytes, paused)).collect()
    }
}

thread_local! {
    static WORLDS: RefCell<(World<UringDriver>, World<EpollDriver>)> = RefCell::new((World::new(), World::new()));
}

fuzz_target!(|data: &[u8]| {
    let operations = &data[..data.len().min(200)];
    WORLDS.with_borrow_mut(|(uring, epoll)| {
        let (uring, epoll) = (uring.run(operations), epoll.run(operations));
        assert_eq!(uring.len(), epoll.len(), "connections");
        for (index, ((uring, to_uring_peer, paused), (epoll, to_epoll_peer, _))) in
            uring.into_iter().zip(epoll).enumerate()
        {
            if paused {
                // How many bytes a call brings before a pause is not promised.
                let (uring, epoll) = (&uring.received, &epoll.received);
                assert!(uring.starts_with(epoll) || epoll.starts_with(uring), "connection {index}");
            } else {
                assert_eq!(
                    (uring.received.len(), uring.ended),
                    (epoll.received.len(), epoll.ended),
                    "connection {index}"
                );
                assert_eq!(uring.received, epoll.received, "connection {index}");
                assert_eq!((uring.sent, uring.closed), (epoll.sent, epoll.closed), "connection {index}");
                assert_eq!(to_uring_peer, to_epoll_peer, "what the peer of connection {index} receives");
            }
        }
    });
});

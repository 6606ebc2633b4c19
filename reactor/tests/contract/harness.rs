//! Runs one driver for a test: records every callback and every call, checks their order, and waits for things.
//!
//! No case waits longer than `LIMIT` for anything; one that has to prints the end of the trace.

use crate::world::{self, Instant, TcpListener, TcpStream};
use reactor::{Cause, Counters, Driver, DriverConfig, Endpoint, Flow, Handler, Listener, Peer, Token};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Debug,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use wake::Doorbell;

/// A listener at a loopback address that no other test has. A port of a shared address that was closed can be another
/// test's a moment later, and then a connection that has to be refused reaches that test.
pub fn listener() -> TcpListener {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, 1 + std::process::id().to_le_bytes()[0] / 2, high, low), 0)).unwrap()
}

/// Longer than anything takes that works.
pub const LIMIT: Duration = Duration::from_secs(20);
/// The longest single wait in the kernel while something is waited for.
const TURN: Duration = Duration::from_millis(20);
/// Lines of the trace that are kept.
const TRACE_LINES: usize = 200;

/// A callback, as the cases see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// By which listener, and from where.
    Accepted(Token, usize, Peer),
    AcceptFailed(Option<i32>),
    Connected(Token),
    Data(Token, Vec<u8>),
    Eof(Token),
    Sent(Token, Vec<u8>),
    /// Without an error: by the owner.
    Closed(Token, Option<io::ErrorKind>),
}

/// State that the trace checker keeps of a connection that is not closed.
#[derive(Debug, Default)]
struct Connection {
    begun: bool,
    paused: bool,
    ended: bool,
    closing: bool,
    /// Capacity of the buffer in flight.
    in_flight: Option<usize>,
    /// Memory that the driver has reserved for it.
    reserved: usize,
}

/// Records, and checks what the contract says about the order of callbacks (points 2, 4, 5, 6 and 8).
struct Recorder {
    connections: HashMap<Token, Connection>,
    closed: HashSet<Token>,
    connections_max: usize,
    /// Returned from `data`.
    flow: Box<dyn FnMut(Token) -> Flow>,
    /// Most memory that the driver may reserve.
    reserved_max: usize,
    events: VecDeque<Event>,
    trace: VecDeque<String>,
}

impl Recorder {
    fn note(&mut self, line: String) {
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    fn require(&self, holds: bool, rule: &str) {
        assert!(holds, "{rule}\n{}", self.trace());
    }

    fn trace(&self) -> String {
        self.trace.iter().map(|line| format!("  {line}\n")).collect()
    }

    fn begin(&mut self, token: Token, line: String) {
        self.note(line);
        self.require(token.slot() < self.connections_max, "a slot is below connections_max");
        self.require(!self.closed.contains(&token), "a token that was closed is not given again");
        let same_slot = self.connections.keys().any(|other| *other != token && other.slot() == token.slot());
        self.require(!same_slot, "a slot has one tenant");
        let begun = std::mem::replace(&mut self.connections.entry(token).or_default().begun, true);
        self.require(!begun, "a connection begins once");
    }

    /// A callback that only a connection which has begun and is not closed may get.
    fn within(&mut self, token: Token, line: String) -> &mut Connection {
        self.note(line);
        self.require(!self.closed.contains(&token), "closed is the last call that names a token");
        let begun = self.connections.get(&token).is_some_and(|connection| connection.begun);
        self.require(begun, "accepted or connected is the first call that names a token");
        let closing = self.connections[&token].closing;
        self.require(!closing, "after close only closed is called");
        self.connections.get_mut(&token).unwrap()
    }
}

impl Handler for Recorder {
    fn accepted(&mut self, token: Token, listener: usize, peer: Peer) {
        self.begin(token, format!("accepted {token:?} by {listener} from {peer}"));
        self.events.push_back(Event::Accepted(token, listener, peer));
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.note(format!("accept_failed {error}"));
        self.events.push_back(Event::AcceptFailed(error.raw_os_error()));
    }

    fn connected(&mut self, token: Token) {
        let known = self.connections.contains_key(&token);
        self.begin(token, format!("connected {token:?}"));
        self.require(known, "connected follows connect");
        self.events.push_back(Event::Connected(token));
    }

    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        let connection = self.within(token, format!("data {token:?} {} bytes", bytes.len()));
        let (paused, ended) = (connection.paused, connection.ended);
        self.require(!paused, "no data while paused");
        self.require(!ended, "no data after eof");
        self.require(!bytes.is_empty(), "data carries bytes");
        let flow = (self.flow)(token);
        self.connections.get_mut(&token).unwrap().paused = flow == Flow::Pause;
        self.events.push_back(Event::Data(token, bytes.to_vec()));
        flow
    }

    fn eof(&mut self, token: Token) {
        let connection = self.within(token, format!("eof {token:?}"));
        let (paused, ended) = (connection.paused, std::mem::replace(&mut connection.ended, true));
        self.require(!paused, "no eof while paused");
        self.require(!ended, "eof comes once");
        self.events.push_back(Event::Eof(token));
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        let connection = self.within(token, format!("sent {token:?}"));
        let in_flight = connection.in_flight.take();
        self.require(in_flight.is_some(), "sent follows one send");
        self.require(buffer.is_empty(), "the buffer comes back empty");
        self.require(in_flight == Some(buffer.capacity()), "the buffer comes back with its capacity");
        self.events.push_back(Event::Sent(token, buffer));
    }

    fn reserve(&mut self, token: Token, bytes: usize) -> bool {
        let connection = self.within(token, format!("reserve {token:?} {bytes} bytes"));
        let granted = connection.reserved + bytes;
        self.require(bytes > 0, "something is reserved");
        let reserved: usize = self.connections.values().map(|connection| connection.reserved).sum();
        let grants = reserved + bytes <= self.reserved_max;
        if grants {
            self.connections.get_mut(&token).unwrap().reserved = granted;
        }
        grants
    }

    fn release(&mut self, token: Token, bytes: usize) {
        let connection = self.within(token, format!("release {token:?} {bytes} bytes"));
        let reserved = connection.reserved;
        self.require(bytes > 0 && bytes <= reserved, "what is freed was reserved");
        self.connections.get_mut(&token).unwrap().reserved -= bytes;
    }

    fn closed(&mut self, token: Token, cause: Cause) {
        self.note(format!("closed {token:?} {cause:?}"));
        let open = self.connections.remove(&token).is_some();
        self.require(open, "closed comes once, for a connection there was");
        self.closed.insert(token);
        let kind = match cause {
            Cause::Local => None,
            Cause::Error(error) => Some(error.kind()),
        };
        self.events.push_back(Event::Closed(token, kind));
    }
}

/// Configuration of a driver for one case.
pub struct Options {
    pub connections_max: u32,
    /// `SO_SNDBUF` of the accepted connections, which they take over from the listener.
    pub send_buffer_bytes: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections_max: 128, send_buffer_bytes: None }
    }
}

/// One driver, its listener's address, and what it said.
pub struct Harness<D: Driver> {
    driver: D,
    recorder: Recorder,
    pub bell: Arc<Doorbell>,
    pub address: SocketAddr,
}

impl<D: Driver> Harness<D> {
    pub fn open(options: Options) -> Self {
        let listener = listener();
        if let Some(bytes) = options.send_buffer_bytes {
            world::set_send_buffer_size(&listener, bytes);
        }
        let address = listener.local_addr().unwrap();
        Self::on(vec![listener.into()], address, options.connections_max)
    }

    /// A driver with these listeners; `address` is where `peer` connects to.
    pub fn on(listeners: Vec<Listener>, address: SocketAddr, connections_max: u32) -> Self {
        let bell = Arc::new(Doorbell::new().unwrap());
        let driver = D::open(DriverConfig {
            listeners,
            connections_max,
            // Small and few, so that every case makes them go round.
            receive_buffer_bytes: 4096,
            receive_buffers: 16,
            doorbell: Arc::clone(&bell),
        });
        let recorder = Recorder {
            connections: HashMap::new(),
            closed: HashSet::new(),
            connections_max: connections_max as usize,
            flow: Box::new(|_| Flow::Continue),
            reserved_max: usize::MAX,
            events: VecDeque::new(),
            trace: VecDeque::new(),
        };
        Self { driver: driver.unwrap(), recorder, bell, address }
    }

    pub fn new() -> Self {
        Self::open(Options::default())
    }

    // ---- calls on the driver ----

    pub fn turn(&mut self, timeout: Option<Duration>) {
        self.recorder.note("turn".to_owned());
        self.driver.turn(timeout, &mut self.recorder).unwrap();
    }

    pub fn report_sent(&mut self) {
        self.recorder.note("report_sent".to_owned());
        self.driver.report_sent(&mut self.recorder);
    }

    /// A turn whose wait has no limit. Fails if it is still waiting after `LIMIT`.
    pub fn turn_without_limit(&mut self) {
        let bell = Arc::clone(&self.bell);
        let late = world::watch(bell, || self.turn(None));
        self.recorder.require(!late, "the turn did not return by itself");
    }

    pub fn connect(&mut self, peer: SocketAddr) -> io::Result<Token> {
        self.connect_to(&peer.into())
    }

    pub fn connect_to(&mut self, peer: &Endpoint) -> io::Result<Token> {
        let connected = self.driver.connect(peer);
        self.recorder.note(format!("-> connect {peer}: {connected:?}"));
        if let Ok(token) = connected {
            self.recorder.connections.insert(token, Connection::default());
        }
        connected
    }

    pub fn send(&mut self, token: Token, buffer: Vec<u8>) {
        self.recorder.note(format!("-> send {token:?} {} bytes", buffer.len()));
        if let Some(connection) = self.recorder.connections.get_mut(&token) {
            connection.in_flight = Some(buffer.capacity());
        }
        self.driver.send(token, buffer);
    }

    pub fn resume(&mut self, token: Token) {
        self.recorder.note(format!("-> resume_receive {token:?}"));
        if let Some(connection) = self.recorder.connections.get_mut(&token) {
            connection.paused = false;
        }
        self.driver.resume_receive(token);
    }

    pub fn shutdown_write(&mut self, token: Token) {
        self.recorder.note(format!("-> shutdown_write {token:?}"));
        self.driver.shutdown_write(token);
    }

    pub fn close(&mut self, token: Token) {
        self.recorder.note(format!("-> close {token:?}"));
        if let Some(connection) = self.recorder.connections.get_mut(&token) {
            connection.closing = true;
        }
        self.driver.close(token);
    }

    pub fn pause_accept(&mut self, listener: usize) {
        self.recorder.note(format!("-> pause_accept {listener}"));
        self.driver.pause_accept(listener);
    }

    pub fn resume_accept(&mut self, listener: usize) {
        self.recorder.note(format!("-> resume_accept {listener}"));
        self.driver.resume_accept(listener);
    }

    pub fn stop_accept(&mut self) {
        self.recorder.note("-> stop_accept".to_owned());
        self.driver.stop_accept();
    }

    pub fn counters(&self) -> Counters {
        self.driver.counters()
    }

    /// Sets what `data` returns from now on.
    pub fn set_data_flow(&mut self, flow: impl FnMut(Token) -> Flow + 'static) {
        self.recorder.flow = Box::new(flow);
    }

    /// Lets the driver reserve so much memory at most from now on.
    pub fn grant(&mut self, bytes: usize) {
        self.recorder.reserved_max = bytes;
    }

    /// Memory that the driver has reserved for a connection.
    pub fn reserved(&self, token: Token) -> usize {
        self.recorder.connections[&token].reserved
    }

    /// Connections that stand paused.
    pub fn paused(&self) -> Vec<Token> {
        let paused = self.recorder.connections.iter().filter(|(_, connection)| connection.paused);
        paused.map(|(token, _)| *token).collect()
    }

    // ---- waiting ----

    /// Turns until `find` has found something, for as long as `LIMIT`.
    pub fn until<T>(&mut self, what: &str, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            self.recorder.require(began.elapsed() < LIMIT, what);
            self.turn(Some(TURN));
        }
    }

    /// The same, where no turn's wait has a limit: whatever is left to do has to end it.
    pub fn until_without_limit<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            self.turn_without_limit();
        }
    }

    /// Takes the oldest event that `pick` takes, turning until there is one. The others stay.
    pub fn wait<T: Debug>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        self.until(what, |harness| harness.take(&mut pick))
    }

    /// Takes the oldest event that `pick` takes, of those there are.
    pub fn take<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        let events = &mut self.recorder.events;
        let (place, found) = events.iter().enumerate().find_map(|(place, event)| Some((place, pick(event)?)))?;
        events.remove(place);
        Some(found)
    }

    /// Takes all events there are.
    pub fn events(&mut self) -> Vec<Event> {
        self.recorder.events.drain(..).collect()
    }

    /// Turns as often as a driver may need to notice what has already happened.
    pub fn settle(&mut self) {
        for _ in 0..10 {
            self.turn(Some(Duration::ZERO));
        }
    }

    pub fn wait_accepted(&mut self, peer: SocketAddr) -> Token {
        self.wait("accepted", |event| match event {
            Event::Accepted(token, _, from) if *from == Peer::Inet(peer) => Some(*token),
            _ => None,
        })
    }

    /// Waits for at least `length` bytes.
    pub fn wait_data(&mut self, token: Token, length: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < length {
            received.extend(self.wait("data", |event| match event {
                Event::Data(from, bytes) if *from == token => Some(bytes.clone()),
                _ => None,
            }));
        }
        received
    }

    pub fn wait_eof(&mut self, token: Token) {
        self.wait("eof", |event| (*event == Event::Eof(token)).then_some(()));
    }

    pub fn wait_sent(&mut self, token: Token) {
        self.wait("sent", |event| matches!(event, Event::Sent(to, _) if *to == token).then_some(()));
    }

    /// Why the connection ended; `None` for its owner.
    pub fn wait_closed(&mut self, token: Token) -> Option<io::ErrorKind> {
        self.wait("closed", |event| match event {
            Event::Closed(ended, kind) if *ended == token => Some(*kind),
            _ => None,
        })
    }

    // ---- peers ----

    /// A blocking client, connected, whose connection stands in the listener's backlog.
    pub fn peer(&self) -> TcpStream {
        peer_of(self.address)
    }

    /// A blocking client and its connection here.
    pub fn accept(&mut self) -> (TcpStream, Token) {
        let peer = self.peer();
        let token = self.wait_accepted(peer.local_addr().unwrap());
        (peer, token)
    }

    /// Closes everything that is open, and sees it closed.
    pub fn finish(mut self) {
        let mut open: Vec<_> = self.recorder.connections.keys().copied().collect();
        open.iter().for_each(|token| self.close(*token));
        self.until("everything is closed", |harness| {
            open.retain(|token| harness.recorder.connections.contains_key(token));
            open.is_empty().then_some(())
        });
        self.settle();
    }
}

/// A blocking client that fails rather than waits for ever.
pub fn peer_of(address: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer.set_write_timeout(Some(LIMIT)).unwrap();
    peer
}

/// Ends a client's connection with a reset (socket(7), `SO_LINGER` of zero).
pub fn reset(peer: TcpStream) {
    world::reset_at_close(&peer);
}

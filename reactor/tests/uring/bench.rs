//! A driver, the notes of what it reported, and clients to talk to it.

use reactor::{Cause, Counters, Driver, DriverConfig, Flow, Handler, Peer, Token, UringDriver, listen};
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};
use wake::Doorbell;

/// A test that waits longer than this for what it waits for has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Held by every test: some count this process's descriptors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Notes what the driver reports, and checks the order of it.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) open: HashSet<Token>,
    pub(crate) accepted: Vec<Token>,
    pub(crate) connected: Vec<Token>,
    pub(crate) received: HashMap<Token, Vec<u8>>,
    pub(crate) eofs: HashSet<Token>,
    pub(crate) sent: Vec<(Token, Vec<u8>)>,
    pub(crate) closed: Vec<(Token, Cause)>,
    pub(crate) accept_errors: Vec<io::Error>,
    /// Returns `Pause` for data from now on.
    pub(crate) pause: bool,
    pub(crate) paused: HashSet<Token>,
    /// Bytes of `data` calls since the last `clear`, by connection.
    pub(crate) in_turn: HashMap<Token, usize>,
    /// Peer that sends one more byte within the next call of `data`.
    pub(crate) to_send: Option<TcpStream>,
}

impl Handler for Notes {
    fn accepted(&mut self, token: Token, listener: usize, peer: Peer) {
        assert_eq!(listener, 0);
        assert!(matches!(peer, Peer::Inet(address) if address.port() != 0), "{peer}");
        assert!(self.open.insert(token), "a token begins once");
        self.accepted.push(token);
    }
    fn accept_failed(&mut self, error: &io::Error) {
        self.accept_errors.push(io::Error::from_raw_os_error(error.raw_os_error().unwrap()));
    }
    fn connected(&mut self, token: Token) {
        assert!(self.open.insert(token), "a token begins once");
        self.connected.push(token);
    }
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        assert!(self.open.contains(&token), "data outside accepted..closed");
        assert!(!self.eofs.contains(&token), "data after the end of file");
        assert!(!self.paused.contains(&token), "data during a pause");
        assert!(!bytes.is_empty());
        self.received.entry(token).or_default().extend_from_slice(bytes);
        *self.in_turn.entry(token).or_default() += bytes.len();
        if let Some(mut peer) = self.to_send.take() {
            peer.write_all(b"m").unwrap();
        }
        if self.pause {
            self.paused.insert(token);
            return Flow::Pause;
        }
        Flow::Continue
    }
    fn eof(&mut self, token: Token) {
        assert!(self.open.contains(&token) && !self.paused.contains(&token));
        assert!(self.eofs.insert(token), "one end of file");
    }
    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(self.open.contains(&token) && buffer.is_empty() && buffer.capacity() > 0);
        self.sent.push((token, buffer));
    }
    fn closed(&mut self, token: Token, cause: Cause) {
        // A connect that fails was never open.
        self.open.remove(&token);
        assert!(!self.closed.iter().any(|(closed, _)| *closed == token), "closed once");
        self.closed.push((token, cause));
    }
}

impl Notes {
    pub(crate) fn bytes(&self, token: Token) -> usize {
        self.received.get(&token).map_or(0, Vec::len)
    }
}

pub(crate) struct Bench {
    pub(crate) driver: UringDriver,
    pub(crate) notes: Notes,
    pub(crate) address: SocketAddr,
    pub(crate) doorbell: Arc<Doorbell>,
}

impl Bench {
    pub(crate) fn new(connections_max: u32, receive_buffers: u16, receive_buffer_bytes: u32) -> Self {
        let listener = listen::listen(([127, 0, 0, 1], 0).into(), 1024, false).unwrap();
        let address = listener.local_addr().unwrap();
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let setup = DriverConfig {
            listeners: vec![listener.into()],
            connections_max,
            receive_buffer_bytes,
            receive_buffers,
            doorbell: doorbell.clone(),
        };
        Self { driver: UringDriver::open(setup).unwrap(), notes: Notes::default(), address, doorbell }
    }

    pub(crate) fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client.set_write_timeout(Some(TIMEOUT)).unwrap();
        client
    }

    pub(crate) fn turn(&mut self) {
        self.notes.in_turn.clear();
        self.driver.turn(Some(Duration::from_millis(20)), &mut self.notes).unwrap();
    }

    /// Turns until `done`.
    #[track_caller]
    pub(crate) fn until(&mut self, done: impl Fn(&Notes) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !done(&self.notes) {
            assert!(Instant::now() < deadline, "waited in vain: {:?}", self.driver.counters());
            self.turn();
        }
    }

    /// Turns until turns bring nothing more.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.counters().completions;
            self.driver.turn(Some(Duration::from_millis(2)), &mut self.notes).unwrap();
            quiet = if self.counters().completions == before { quiet + 1 } else { 0 };
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.driver.counters()
    }

    /// A client and its accepted connection.
    pub(crate) fn pair(&mut self) -> (TcpStream, Token) {
        let client = self.client();
        let accepted = self.notes.accepted.len();
        self.until(|notes| notes.accepted.len() > accepted);
        (client, self.notes.accepted[accepted])
    }

    /// Sends everything received back, until `clients` connections have ended.
    pub(crate) fn echo_until_closed(&mut self, clients: usize) {
        let deadline = Instant::now() + TIMEOUT;
        let mut sending = HashSet::new();
        while self.notes.closed.len() < clients {
            assert!(Instant::now() < deadline, "{} of {clients} closed", self.notes.closed.len());
            self.turn();
            for (token, _) in self.notes.sent.drain(..) {
                sending.remove(&token);
            }
            let open: Vec<_> = self.notes.open.iter().copied().collect();
            for token in open {
                if sending.contains(&token) {
                    continue;
                }
                match self.notes.received.remove(&token) {
                    Some(bytes) => {
                        sending.insert(token);
                        self.driver.send(token, bytes);
                    }
                    None if self.notes.eofs.contains(&token) => self.driver.close(token),
                    None => {}
                }
            }
        }
    }
}

pub(crate) fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from((index * 31 + index / 251 + seed) % 251).unwrap()).collect()
}

pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Sends `request`, ends the write side, and reads to the end.
pub(crate) fn exchange(mut client: TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = client.try_clone()?;
    thread::scope(|scope| {
        let written = scope.spawn(move || {
            writer.write_all(request)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut reply = Vec::new();
        client.read_to_end(&mut reply)?;
        written.join().unwrap()?;
        Ok(reply)
    })
}

//! The driver over the network of a simulated machine: the third that the contract holds for.
//!
//! Each turn checks what every connection is ready for, in an order that the machine draws. What the kernel's drivers
//! meet only now and then is drawn too: completions that come late, receives that find no buffer free, for half of the
//! connections bytes that had been received when their pause began, as on io_uring, and for half of them sends that end
//! before the next turn, as on epoll.
#![allow(clippy::cast_possible_truncation)] // A machine of 64 bits.

use crate::{
    Cause, Counters, Driver, DriverConfig, Endpoint, Flow, Handler, LISTENERS_MAX, Listener, Peer, SlotTable, Source,
    Token,
};
use machine::net::{self, Readiness, Shutdown, TcpListener, TcpStream};
use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use wake::Doorbell;

/// Bytes after which a connection's reading yields to the others of the turn.
const RECEIVE_BYTES_PER_TURN: usize = 64 * 1024;
/// Connections accepted in one turn at each listener.
const ACCEPTS_PER_TURN_MAX: u32 = 64;
/// Bytes that are kept of a paused connection.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// Nanoseconds for which accepting rests after a failure.
const BACK_OFF_NS: u64 = 50_000_000;

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { source: Source::Machine(listener), slots_spared: 0 }
    }
}

#[derive(Debug)]
struct Acceptor {
    socket: TcpListener,
    slots_spared: usize,
    is_paused: bool,
    is_held: bool,
    retry_ns: u64,
}

#[derive(Debug)]
enum Stage {
    Accepted { listener: usize, peer: SocketAddr },
    Connecting,
    Open,
}

#[derive(Debug)]
struct Sending {
    buffer: Vec<u8>,
    taken: usize,
}

#[derive(Debug)]
struct Connection {
    /// `None`: nobody listens where it was to go.
    stream: Option<TcpStream>,
    stage: Stage,
    is_paused: bool,
    /// Bytes go on being received when it is paused.
    keeps: bool,
    /// A send that ends at once is reported before the next turn.
    sends_at_once: bool,
    kept: Vec<u8>,
    /// Bytes that were to be kept had to be dropped.
    is_out_of_memory: bool,
    has_ended: bool,
    sending: Option<Sending>,
    shutdown_wanted: bool,
    ending: Option<Cause>,
    /// Turns for which what has happened is not noticed yet; `None`: not drawn.
    late_turns: Option<u64>,
}

impl Connection {
    fn new(stream: Option<TcpStream>, stage: Stage) -> Self {
        Self {
            stream,
            stage,
            is_paused: false,
            keeps: net::draw(2) == 0,
            sends_at_once: net::draw(2) == 0,
            kept: Vec::new(),
            is_out_of_memory: false,
            has_ended: false,
            sending: None,
            shutdown_wanted: false,
            ending: None,
            late_turns: None,
        }
    }

    fn readiness(&self) -> Readiness {
        self.stream.as_ref().and_then(|stream| stream.readiness().ok()).unwrap_or_default()
    }

    fn wants_to_keep(&self) -> bool {
        self.is_paused && self.keeps && !self.is_out_of_memory && self.kept.len() < KEPT_BYTES_MAX
    }

    /// Returns true if there is something to do for it.
    fn is_due(&self) -> bool {
        let is_open = matches!(self.stage, Stage::Open);
        let readiness = self.readiness();
        self.ending.is_some()
            || matches!(self.stage, Stage::Accepted { .. })
            || (matches!(self.stage, Stage::Connecting) && readiness.is_connected)
            || self
                .sending
                .as_ref()
                .is_some_and(|sending| sending.taken == sending.buffer.len() || readiness.is_writable)
            || (is_open && !self.is_paused && (!self.kept.is_empty() || self.is_out_of_memory))
            || (is_open && !self.is_paused && !self.has_ended && readiness.is_readable)
            || (is_open && self.has_ended && readiness.has_failed)
            || (is_open && self.wants_to_keep() && readiness.bytes > 0)
    }

    fn end(&mut self, cause: Cause) {
        self.ending.get_or_insert(cause);
    }

    /// Returns true if the handler knows it.
    fn begin<H: Handler>(&mut self, token: Token, handler: &mut H) -> bool {
        match self.stage {
            Stage::Open => return true,
            Stage::Accepted { listener, peer } => handler.accepted(token, listener, Peer::Inet(peer)),
            Stage::Connecting if self.readiness().is_connected => handler.connected(token),
            Stage::Connecting => return false,
        }
        self.stage = Stage::Open;
        true
    }

    /// Gives the machine as much of the send in flight as it takes.
    fn transmit(&mut self, counters: &mut Counters) {
        let (Some(sending), Some(stream)) = (&mut self.sending, &mut self.stream) else { return };
        if sending.taken < sending.buffer.len() {
            match stream.write(&sending.buffer[sending.taken..]) {
                Ok(bytes) => {
                    counters.short_sends += u64::from(sending.taken == 0 && bytes < sending.buffer.len());
                    sending.taken += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.ending.get_or_insert(Cause::Error(error));
                    return;
                }
            }
        }
        self.shut_down_if_sent();
    }

    /// Reports a send that has ended.
    fn report_sent<H: Handler>(&mut self, token: Token, handler: &mut H) {
        if self.ending.is_none()
            && let Some(mut sending) = self.sending.take_if(|sending| sending.taken == sending.buffer.len())
        {
            sending.buffer.clear();
            handler.sent(token, sending.buffer);
        }
    }

    fn shut_down_if_sent(&mut self) {
        let is_sent = self.sending.as_ref().is_none_or(|sending| sending.taken == sending.buffer.len());
        if let Some(stream) = self.stream.as_ref().filter(|_| self.shutdown_wanted && is_sent) {
            self.shutdown_wanted = false;
            // An error: the peer has reset it, which ends the connection elsewhere.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Delivers what was kept.
    fn deliver_kept<H: Handler>(&mut self, token: Token, buffer_bytes: usize, handler: &mut H) {
        while !self.is_paused && !self.kept.is_empty() {
            let rest = self.kept.split_off(buffer_bytes.min(self.kept.len()));
            let piece = std::mem::replace(&mut self.kept, rest);
            self.is_paused = handler.data(token, &piece) == Flow::Pause;
            handler.release(token, piece.len());
        }
        if !self.is_paused && self.is_out_of_memory {
            self.end(Cause::Error(io::Error::from_raw_os_error(libc::ENOBUFS)));
        }
    }

    /// Receives for a connection that is paused, if it may.
    fn keep<H: Handler>(&mut self, token: Token, buffer: &mut [u8], handler: &mut H) {
        let bytes = self.readiness().bytes.min(buffer.len());
        if bytes == 0 || !self.wants_to_keep() {
            return;
        }
        self.is_out_of_memory = !handler.reserve(token, bytes);
        if let Some(Ok(taken)) = self.stream.as_mut().map(|stream| stream.read(&mut buffer[..bytes]))
            && !self.is_out_of_memory
        {
            self.kept.extend_from_slice(&buffer[..taken]);
        }
    }

    fn receive<H: Handler>(&mut self, token: Token, buffer: &mut [u8], handler: &mut H) {
        let mut delivered = 0;
        while delivered < RECEIVE_BYTES_PER_TURN && !self.is_paused && !self.has_ended && self.ending.is_none() {
            let Some(stream) = &mut self.stream else { return };
            if !stream.readiness().is_ok_and(|readiness| readiness.is_readable) {
                return;
            }
            match stream.read(buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    handler.eof(token);
                }
                Ok(bytes) => {
                    delivered += bytes;
                    self.is_paused = handler.data(token, &buffer[..bytes]) == Flow::Pause;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.end(Cause::Error(error)),
            }
        }
    }

    /// Does and reports what is due.
    fn serve<H: Handler>(&mut self, token: Token, buffer: &mut [u8], counters: &mut Counters, handler: &mut H) {
        if self.ending.is_some() || !self.begin(token, handler) {
            return;
        }
        self.transmit(counters);
        if self.ending.is_some() {
            return;
        }
        self.report_sent(token, handler);
        self.deliver_kept(token, buffer.len(), handler);
        if net::lacks_buffers() {
            counters.buffers_exhausted += 1;
        } else if self.is_paused {
            self.keep(token, buffer, handler);
        } else if self.ending.is_none() {
            self.receive(token, buffer, handler);
        }
        if self.has_ended
            && self.ending.is_none()
            && let Some(Ok(Some(error))) = self.stream.as_ref().map(TcpStream::take_error)
        {
            self.end(Cause::Error(error));
        }
    }
}

/// A driver over the simulated network.
#[derive(Debug)]
pub struct SimDriver {
    doorbell: Arc<Doorbell>,
    acceptors: Vec<Acceptor>,
    connections: SlotTable<Connection>,
    connections_max: u32,
    accept_errors: Vec<io::Error>,
    receive_buffer: Box<[u8]>,
    counters: Counters,
}

impl SimDriver {
    fn admit(&mut self, connection: Connection) -> io::Result<Token> {
        if let Some(stream) = &connection.stream {
            stream.set_nonblocking(true)?;
            stream.wake_by(self.doorbell.event());
        }
        self.connections.insert(connection).map_err(|_| no_free_slot())
    }

    fn accept(&mut self, listener: usize, attempts_max: u32) {
        for _ in 0..attempts_max {
            let Some(acceptor) = self.acceptors.get_mut(listener) else { return };
            if acceptor.socket.next_ns().is_none_or(|next_ns| next_ns > net::now_ns()) {
                return;
            }
            if self.connections.vacant() <= acceptor.slots_spared {
                self.counters.accept_pauses += u64::from(!std::mem::replace(&mut acceptor.is_held, true));
                return;
            }
            acceptor.is_held = false;
            let accepted = acceptor.socket.accept().and_then(|(stream, peer)| {
                self.admit(Connection::new(Some(stream), Stage::Accepted { listener, peer }))
            });
            match accepted {
                Ok(_) => self.counters.completions += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let is_exhaustion = error.raw_os_error() != Some(libc::ECONNABORTED);
                    self.accept_errors.push(error);
                    if is_exhaustion {
                        self.counters.accept_pauses += 1;
                        self.acceptors[listener].retry_ns = net::now_ns() + BACK_OFF_NS;
                        return;
                    }
                }
            }
        }
    }

    /// The moment at which the listener may have a connection to accept.
    fn next_accept_ns(&self, acceptor: &Acceptor) -> Option<u64> {
        let may = !acceptor.is_paused && self.connections.vacant() > acceptor.slots_spared;
        acceptor.socket.next_ns().filter(|_| may).map(|next_ns| next_ns.max(acceptor.retry_ns))
    }

    /// Waits until something is due, the doorbell rings or the time is over.
    fn wait(&self, timeout: Option<Duration>) {
        let now_ns = net::now_ns();
        let mut until_ns = timeout.map(|timeout| now_ns.saturating_add(timeout.as_nanos() as u64));
        let mut no_later_than = |next_ns: Option<u64>| until_ns = [until_ns, next_ns].into_iter().flatten().min();
        no_later_than((!self.accept_errors.is_empty()).then_some(now_ns));
        self.acceptors.iter().for_each(|acceptor| no_later_than(self.next_accept_ns(acceptor)));
        for token in self.connections.tokens() {
            let Some(connection) = self.connections.get(token) else { continue };
            no_later_than(if connection.is_due() { Some(now_ns) } else { connection.readiness().next_ns });
        }
        self.doorbell.event().wait_until(until_ns);
    }

    fn serve<H: Handler>(&mut self, token: Token, handler: &mut H) {
        let Some(connection) = self.connections.get_mut(token).filter(|connection| connection.is_due()) else { return };
        let late_turns = connection.late_turns.unwrap_or_else(net::late_turns);
        if late_turns > 0 {
            connection.late_turns = Some(late_turns - 1);
            return;
        }
        connection.late_turns = None;
        self.counters.completions += 1;
        connection.serve(token, &mut self.receive_buffer, &mut self.counters, handler);
        if let Some(cause) = connection.ending.take() {
            self.connections.remove(token);
            handler.closed(token, cause);
        }
    }
}

impl Driver for SimDriver {
    fn open(setup: DriverConfig) -> io::Result<Self> {
        assert!(setup.receive_buffer_bytes.is_power_of_two(), "the size of a receive buffer is a power of two");
        assert!(setup.listeners.len() <= LISTENERS_MAX, "a driver has a bounded number of listeners");
        let mut acceptors = Vec::new();
        for Listener { source, slots_spared } in setup.listeners {
            let Source::Machine(socket) = source else { return Err(io::ErrorKind::Unsupported.into()) };
            socket.set_nonblocking(true)?;
            socket.wake_by(setup.doorbell.event());
            let slots_spared = slots_spared as usize;
            acceptors.push(Acceptor { socket, slots_spared, is_paused: false, is_held: false, retry_ns: 0 });
        }
        Ok(Self {
            doorbell: setup.doorbell,
            acceptors,
            connections: SlotTable::new(setup.connections_max),
            connections_max: setup.connections_max,
            accept_errors: Vec::new(),
            receive_buffer: vec![0; setup.receive_buffer_bytes as usize].into_boxed_slice(),
            counters: Counters::default(),
        })
    }

    fn turn<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) -> io::Result<()> {
        self.counters.turns += 1;
        self.counters.enters += 1;
        self.wait(timeout);
        self.doorbell.awake();
        self.doorbell.drain();
        for listener in 0..self.acceptors.len() {
            let due_ns = self.next_accept_ns(&self.acceptors[listener]);
            let is_full = self.connections.vacant() <= self.acceptors[listener].slots_spared;
            if due_ns.is_some_and(|due_ns| due_ns <= net::now_ns()) || (is_full && !self.acceptors[listener].is_paused)
            {
                self.accept(listener, ACCEPTS_PER_TURN_MAX);
            }
        }
        for error in self.accept_errors.drain(..) {
            handler.accept_failed(&error);
        }
        let mut tokens: Vec<Token> = self.connections.tokens().collect();
        let first = net::draw(tokens.len() as u64) as usize;
        tokens.rotate_left(first);
        tokens.into_iter().for_each(|token| self.serve(token, handler));
        Ok(())
    }

    fn report_sent<H: Handler>(&mut self, handler: &mut H) {
        let tokens: Vec<Token> = self.connections.tokens().collect();
        for token in tokens {
            if let Some(connection) = self.connections.get_mut(token)
                && connection.sends_at_once
                && connection.readiness().is_writable
            {
                connection.transmit(&mut self.counters);
                connection.report_sent(token, handler);
            }
        }
    }

    fn connect(&mut self, peer: &Endpoint) -> io::Result<Token> {
        if self.connections.is_full() {
            return Err(no_free_slot());
        }
        let Endpoint::Inet(address) = peer else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut connection = Connection::new(None, Stage::Connecting);
        match TcpStream::begin(None, *address) {
            Ok(stream) => connection.stream = Some(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => connection.end(Cause::Error(error)),
            Err(error) => return Err(error),
        }
        self.admit(connection)
    }

    fn send(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(!buffer.is_empty(), "an empty buffer is never sent");
        if let Some(connection) = self.connections.get_mut(token) {
            assert!(connection.sending.is_none(), "one send is in flight per connection");
            connection.sending = Some(Sending { buffer, taken: 0 });
        }
    }

    fn resume_receive(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.is_paused = false;
        }
    }

    fn shutdown_write(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.shutdown_wanted = true;
            connection.shut_down_if_sent();
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.end(Cause::Local);
        }
    }

    fn pause_accept(&mut self, listener: usize) {
        if let Some(acceptor) = self.acceptors.get_mut(listener) {
            acceptor.is_paused = true;
            self.counters.accept_pauses += 1;
        }
    }

    fn resume_accept(&mut self, listener: usize) {
        if let Some(acceptor) = self.acceptors.get_mut(listener) {
            acceptor.is_paused = false;
        }
    }

    fn stop_accept(&mut self) {
        for listener in 0..self.acceptors.len() {
            self.accept(listener, self.connections_max);
        }
        self.acceptors.clear();
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

fn no_free_slot() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "every connection slot is taken")
}

//! The driver over epoll(7), through mio: readiness, presented as the completions of the contract.
//!
//! Owns the epoll instance, the listeners, the connections and one receive buffer that all of them share. A connection
//! is registered once, edge-triggered, for reading and writing; after that it costs no `epoll_ctl`. An edge is reported
//! once, so everything it says is noted at the connection, and a connection with anything left to do stands in the
//! ready list, once. The walk over what the kernel returned only notes; handlers are called from the ready list
//! afterwards, where nothing they cause can disturb that walk.

mod acceptor;
mod connection;

use crate::{Cause, Counters, Driver, DriverConfig, Endpoint, Handler, LISTENERS_MAX, SlotTable, Token};
use acceptor::Acceptor;
use connection::Connection;
use mio::{Events, Interest, Poll, unix::SourceFd};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
    time::Duration,
};
use wake::Doorbell;

/// Events taken from the kernel in one wait: 12 KiB of `epoll_event`. What does not fit is reported by the next wait.
const EVENTS_MAX: usize = 1024;

/// Connections accepted in one turn at each listener. The rest waits in the backlog, and the next turn does not sleep.
const ACCEPTS_PER_TURN_MAX: u32 = 64;

/// Names of what is not a connection: the doorbell, and below it the listeners, the first of them highest. A
/// connection's slot is below `connections_max`, so none of them can name one.
const DOORBELL: mio::Token = mio::Token(usize::MAX);

const fn listener_name(index: usize) -> mio::Token {
    mio::Token(DOORBELL.0 - 1 - index)
}

// A mio token carries a slot and a generation of 32 bits each.
const _: () = assert!(usize::BITS == 64);

/// Readiness turned into completions.
///
/// A thread that wants to be woken by [`Doorbell::wake`] calls [`Doorbell::announce_sleep`], looks at its sources, and
/// then calls [`Driver::turn`]; the turn calls [`Doorbell::awake`] when the wait is over.
/// `DriverConfig::receive_buffers` is not used: one buffer serves every connection, since the handler takes all of it
/// before the next read.
#[derive(Debug)]
pub struct EpollDriver {
    poll: Poll,
    events: Events,
    doorbell: Arc<Doorbell>,
    acceptors: Vec<Acceptor>,
    connections: SlotTable<Connection>,
    connections_max: u32,
    /// Connections with something to do that the kernel will not report again. At most one entry each.
    ready: VecDeque<Token>,
    /// Failures of accepting that the handler has not been notified of yet.
    accept_errors: Vec<io::Error>,
    receive_buffer: Box<[u8]>,
    counters: Counters,
}

impl EpollDriver {
    /// Takes a connection in and has the kernel watch it from now on.
    fn admit(&mut self, connection: Connection) -> io::Result<Token> {
        let token = self.connections.insert(connection).map_err(|_| no_free_slot())?;
        if let Some(connection) = self.connections.get_mut(token) {
            let descriptor = connection.stream().as_raw_fd();
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut SourceFd(&descriptor), to_mio(token), both) {
                self.connections.remove(token);
                return Err(error);
            }
        }
        Ok(token)
    }

    /// Lets the next turn serve `token`, if there is anything to serve.
    fn enqueue_if_due(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && connection.is_due()
            && connection.enter_ready_list()
        {
            self.ready.push_back(token);
        }
    }

    /// Takes up to `attempts_max` connections from the kernel's backlog of one listener. They are announced from the
    /// ready list.
    fn accept(&mut self, listener: usize, attempts_max: u32) {
        for _ in 0..attempts_max {
            let Some(acceptor) = self.acceptors.get_mut(listener) else { return };
            if self.connections.vacant() <= acceptor.slots_spared {
                self.counters.accept_pauses += u64::from(acceptor.hold());
                return;
            }
            let admitted = match acceptor.accept() {
                Ok(Some((stream, peer))) => self.admit(Connection::accepted(stream, listener, peer)),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match admitted {
                Ok(token) => self.enqueue_if_due(token),
                Err(error) => {
                    let exhausted = acceptor::is_exhaustion(&error);
                    self.accept_errors.push(error);
                    if exhausted {
                        self.counters.accept_pauses += 1;
                        self.acceptors[listener].back_off();
                        return;
                    }
                }
            }
        }
    }

    /// Returns the longest time to wait for the kernel, given the work that remains without it.
    fn wait_limit(&self, timeout: Option<Duration>) -> Option<Duration> {
        if !self.ready.is_empty() || !self.accept_errors.is_empty() {
            return Some(Duration::ZERO);
        }
        let vacant = self.connections.vacant();
        let mut limit = timeout;
        for acceptor in self.acceptors.iter().filter(|acceptor| vacant > acceptor.slots_spared) {
            if let Some(due) = acceptor.due_in() {
                limit = Some(limit.map_or(due, |limit| limit.min(due)));
            }
        }
        limit
    }

    /// Notes the kernel's events, and calls no handler.
    fn note_events(&mut self) {
        for event in &self.events {
            self.counters.completions += 1;
            match event.token() {
                // The eventfd is not read: its registration is edge-triggered, and each signal is an edge.
                DOORBELL => {}
                name if DOORBELL.0 - name.0 <= LISTENERS_MAX => {
                    if let Some(acceptor) = self.acceptors.get_mut(DOORBELL.0 - 1 - name.0) {
                        acceptor.note_ready();
                    }
                }
                name => {
                    let token = from_mio(name);
                    // A closed descriptor reports nothing more, unless a fork duplicated it: then the generation
                    // differs.
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.note(event);
                        if connection.enter_ready_list() {
                            self.ready.push_back(token);
                        }
                    }
                }
            }
        }
    }

    /// Calls the handler for everything that is due on one connection, within the bounds of a turn.
    fn serve<H: Handler>(&mut self, token: Token, handler: &mut H) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        connection.leave_ready_list();
        connection.serve(token, &mut self.receive_buffer, handler);
        if let Some(cause) = connection.take_ending() {
            // Dropping the stream closes it, and with that the kernel forgets the registration (epoll(7)).
            self.connections.remove(token);
            handler.closed(token, cause);
        } else {
            self.enqueue_if_due(token);
        }
    }
}

impl Driver for EpollDriver {
    fn open(setup: DriverConfig) -> io::Result<Self> {
        assert!(setup.receive_buffer_bytes.is_power_of_two(), "the size of a receive buffer is a power of two");
        assert!(setup.listeners.len() <= LISTENERS_MAX, "a driver has a bounded number of listeners");
        let own_names = u32::try_from(LISTENERS_MAX + 1).unwrap_or(u32::MAX);
        assert!(setup.connections_max <= u32::MAX - own_names, "the highest slots name the doorbell and the listeners");
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&setup.doorbell.as_fd().as_raw_fd()), DOORBELL, Interest::READABLE)?;
        let listeners = setup.listeners.into_iter().enumerate();
        let acceptors = listeners
            .map(|(index, listener)| Acceptor::new(listener, registry, listener_name(index)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            doorbell: setup.doorbell,
            acceptors,
            connections: SlotTable::new(setup.connections_max),
            connections_max: setup.connections_max,
            ready: VecDeque::new(),
            accept_errors: Vec::new(),
            receive_buffer: vec![0; setup.receive_buffer_bytes as usize].into_boxed_slice(),
            counters: Counters::default(),
        })
    }

    fn turn<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) -> io::Result<()> {
        self.counters.turns += 1;
        self.counters.enters += 1;
        let limit = self.wait_limit(timeout);
        let waited = self.poll.poll(&mut self.events, limit);
        self.doorbell.awake();
        match waited {
            Ok(()) => self.note_events(),
            // A signal ended the wait: the caller may want to know why, so the turn ends too.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        for listener in 0..self.acceptors.len() {
            if self.acceptors[listener].due_in() == Some(Duration::ZERO) {
                self.accept(listener, ACCEPTS_PER_TURN_MAX);
            }
        }
        for error in self.accept_errors.drain(..) {
            handler.accept_failed(&error);
        }
        // Only those that stand in the list now: one that is not finished goes behind the events of the next wait.
        for _ in 0..self.ready.len() {
            if let Some(token) = self.ready.pop_front() {
                self.serve(token, handler);
            }
        }
        Ok(())
    }

    fn report_sent<H: Handler>(&mut self, handler: &mut H) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(token) {
                connection.leave_ready_list();
                connection.report_sent(token, handler);
                self.enqueue_if_due(token);
            }
        }
    }

    fn connect(&mut self, peer: &Endpoint) -> io::Result<Token> {
        // Before the peer learns of it.
        if self.connections.is_full() {
            return Err(no_free_slot());
        }
        let token = self.admit(Connection::connecting(peer)?)?;
        self.enqueue_if_due(token);
        Ok(token)
    }

    fn send(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(!buffer.is_empty(), "an empty buffer is never sent");
        if let Some(connection) = self.connections.get_mut(token) {
            connection.send(buffer, &mut self.counters);
            self.enqueue_if_due(token);
        }
    }

    fn resume_receive(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.resume_receive();
            self.enqueue_if_due(token);
        }
    }

    fn shutdown_write(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.shutdown_write();
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.end(Cause::Local);
            self.enqueue_if_due(token);
        }
    }

    fn pause_accept(&mut self, listener: usize) {
        if let Some(acceptor) = self.acceptors.get_mut(listener) {
            acceptor.set_paused(true);
            self.counters.accept_pauses += 1;
        }
    }

    fn resume_accept(&mut self, listener: usize) {
        if let Some(acceptor) = self.acceptors.get_mut(listener) {
            acceptor.set_paused(false);
        }
    }

    /// Takes as many as there are free slots for. What is left in the backlog is reset by the kernel when the listener
    /// closes.
    fn stop_accept(&mut self) {
        for listener in 0..self.acceptors.len() {
            // Each attempt fills a slot or ends in an error, so this many are enough, and a stream of newcomers ends
            // too.
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

const fn to_mio(token: Token) -> mio::Token {
    mio::Token((token.generation() as usize) << 32 | token.slot())
}

#[expect(clippy::cast_possible_truncation)] // The upper and the lower half are what is meant.
const fn from_mio(name: mio::Token) -> Token {
    Token::new(name.0 as u32, (name.0 >> 32) as u32)
}

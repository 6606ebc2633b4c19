//! The io_uring driver: multishot accept, multishot receive into a ring of provided buffers, one send at a time, and
//! one `io_uring_enter` a turn that submits and waits. Linux 6.0 or later; [`probe()`] reports whether this kernel
//! suffices.
//!
//! Owns its ring, its listeners and its connections; a connection's slot, socket and buffers outlive every operation
//! the kernel still has of it (`user_data::InFlight`). No handler runs while the completion queue is walked: a turn
//! takes the completions out first, then goes through them.
//!
//! A connection is torn down in one way: cancel what is in flight, wait for each operation's last completion and for
//! the cancels' own, close the socket, free the slot, call `closed`. Closing first would not do: a receive that is
//! armed keeps the socket open behind its closed descriptor, and the peer sees no end of file.
#![expect(unsafe_code, reason = "submissions name memory that the kernel will read")]

mod accept;
mod buffers;
mod complete;
mod connection;
mod probe;
mod queue;
mod user_data;

pub use probe::{Report, Step, Unavailable, probe};

use crate::{Counters, Driver, DriverConfig, Endpoint, Handler, LISTENERS_MAX, SlotTable, Token};
use accept::Acceptors;
use buffers::BufferRing;
use connection::{Connection, Eof};
use io_uring::{cqueue, opcode, squeue, types};
use queue::Queue;
use socket2::{Socket, Type};
use std::{
    collections::VecDeque,
    io, mem,
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, FromRawFd},
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};
use user_data::{Op, SLOTS_MAX, pack, pack_own};

/// Buffer group of the driver's receive buffers.
const BUFFER_GROUP: u16 = 0;

/// Completions taken in one turn, unless the queue has overflowed: at a few microseconds each, a turn stays within
/// milliseconds.
const COMPLETIONS_PER_TURN_MAX: usize = 1024;

/// Bytes delivered for one connection in one turn, and one receive buffer more at most.
const BYTES_PER_TURN_MAX: u32 = 256 * 1024;

/// Connections that fill a receive buffer within one turn, from which on a receive brings one buffer only. A multishot
/// receive goes on to fill buffers while there are bytes, 32 of them before the next connection's is looked at: 16
/// uploads take 512 buffers, and who sends little waits for many turns until it gets one.
const UPLOADS_MIN: u32 = 4;

/// Entries of the submission queue, at most and at least. A full queue is submitted at once, so this is not a bound of
/// anything else. 4,096 x 64 bytes = 256 KiB.
const SUBMISSIONS_MAX: u32 = 4096;
const SUBMISSIONS_MIN: u32 = 64;

/// Completions that a burst of accepts can bring: multishot accept goes on until the listener's queue is empty, and
/// `net.core.somaxconn` is 4,096 by default (listen(2), Linux 5.4).
const ACCEPT_BURST: u32 = 4096;

/// Completions that one connection can have outstanding besides those that hold a receive buffer: the ends of its three
/// operations and of their cancels.
const COMPLETIONS_PER_CONNECTION: u32 = 6;

/// The kernel's bound of the completion queue, 2 x 32,768 entries; it clamps anyway. 16 bytes each: 1 MiB.
const COMPLETIONS_MAX: u32 = 65_536;

/// Time that a dropped driver gives the kernel to let go of its memory. Cancelling takes microseconds.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// Entries of the submission and of the completion queue.
fn queue_entries(connections_max: u32, receive_buffers: u16) -> (u32, u32) {
    let submissions = connections_max.checked_next_power_of_two().unwrap_or(u32::MAX);
    let completions = connections_max
        .saturating_mul(COMPLETIONS_PER_CONNECTION)
        .saturating_add(u32::from(receive_buffers) + ACCEPT_BURST)
        .min(COMPLETIONS_MAX);
    (submissions.clamp(SUBMISSIONS_MIN, SUBMISSIONS_MAX), completions)
}

/// Bytes of the kernel's rings for one driver of this set-up: 64 a submission, 16 a completion and 16 a receive buffer,
/// each ring of a power of two and in whole pages. Newer kernels count them against `RLIMIT_MEMLOCK`.
#[must_use]
pub fn locked_bytes(connections_max: u32, receive_buffers: u16) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let (submissions, completions) = queue_entries(connections_max, receive_buffers);
    // The heads of the queues take a part of a page.
    let queues = (u64::from(completions.next_power_of_two()) * 16 + PAGE_BYTES).next_multiple_of(PAGE_BYTES);
    let entries = (u64::from(submissions) * 64).next_multiple_of(PAGE_BYTES);
    queues + entries + (u64::from(receive_buffers) * 16).next_multiple_of(PAGE_BYTES)
}

/// Tries the rings of `drivers` drivers of this set-up, all at one time, and gives them back.
///
/// # Errors
/// The kernel's refusal; `ENOMEM` for the bound of locked memory.
pub fn probe_rings(drivers: usize, connections_max: u32, receive_buffers: u16) -> Result<(), Unavailable> {
    let (submissions, completions) = queue_entries(connections_max, receive_buffers);
    let mut held = Vec::new();
    for _ in 0..drivers {
        held.push(probe::build(&Step::LADDER, submissions, completions)?);
    }
    Ok(())
}

/// A [`Driver`] on io_uring. It belongs to the thread that opened it: the kernel refuses any other (`SINGLE_ISSUER`),
/// and the type is not `Send`.
pub struct UringDriver {
    queue: Queue,
    buffers: BufferRing,
    connections: SlotTable<Connection>,
    acceptors: Acceptors,
    doorbell: Arc<wake::Doorbell>,
    /// True while the poll on the doorbell is armed.
    doorbell_armed: bool,
    /// Completions taken and not yet gone through; empty between turns.
    completions: Vec<cqueue::Entry>,
    /// Connections with bytes or an end of file that were kept from the handler and may now be delivered.
    ready: Vec<Token>,
    /// Connections whose receive found no buffer, the longest waiting first.
    parked: Parked,
    /// Connections that were closed with nothing in flight.
    finished: Vec<Token>,
    /// Number of the present turn, modulo 2^32: by it a connection sees that its allowance is new.
    turn: u32,
    /// Connections that have filled a receive buffer in this turn.
    uploads: u32,
    /// Way in which receives are armed in this turn, by what the turn before it has brought.
    receive: Receive,
    counters: Counters,
}

/// Way in which a receive is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receive {
    /// Goes on until it is cancelled or finds no buffer.
    Multishot,
    /// Ends with the first buffer: each connection gets as many as the others.
    Once,
}

/// Connections that wait for receive buffers. A receive that is armed takes every buffer its socket can fill, so those
/// that got none are armed before those that ran out after some: otherwise one flood takes all of them in every turn.
#[derive(Debug, Default)]
struct Parked {
    without: VecDeque<Token>,
    after_some: VecDeque<Token>,
}

impl Parked {
    fn push(&mut self, token: Token, got_some: bool) {
        if got_some { self.after_some.push_back(token) } else { self.without.push_back(token) }
    }

    fn pop(&mut self) -> Option<Token> {
        self.without.pop_front().or_else(|| self.after_some.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.without.is_empty() && self.after_some.is_empty()
    }
}

impl UringDriver {
    /// Opens a driver by the first step of `ladder` that the kernel grants.
    fn open_by(setup: DriverConfig, ladder: &[Step]) -> io::Result<Self> {
        if setup.connections_max == 0 || setup.connections_max > SLOTS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "connections_max must be from 1 to 2^28"));
        }
        assert!(setup.listeners.len() <= LISTENERS_MAX, "a driver has a bounded number of listeners");
        let (submissions, completions) = queue_entries(setup.connections_max, setup.receive_buffers);
        let (queue, _) = probe::build(ladder, submissions, completions)?;
        let buffers = probe::register_buffers(&queue, BUFFER_GROUP, setup.receive_buffers, setup.receive_buffer_bytes)?;
        let mut driver = Self {
            queue,
            buffers,
            connections: SlotTable::new(setup.connections_max),
            acceptors: Acceptors::new(setup.listeners)?,
            doorbell: setup.doorbell,
            doorbell_armed: false,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN_MAX),
            ready: Vec::new(),
            parked: Parked::default(),
            finished: Vec::new(),
            turn: 0,
            uploads: 0,
            receive: Receive::Multishot,
            counters: Counters::default(),
        };
        driver.arm_doorbell();
        driver.steer_accept();
        Ok(driver)
    }

    /// Returns the longest time to wait for a completion: zero while there is work to do here.
    fn wait(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        if !self.ready.is_empty() || !self.finished.is_empty() || self.acceptors.is_ready_to_stop() {
            return Some(Duration::ZERO);
        }
        match (timeout, self.acceptors.retry_in()) {
            (Some(timeout), Some(retry)) => Some(timeout.min(retry)),
            (timeout, retry) => timeout.or(retry),
        }
    }

    fn arm_doorbell(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.doorbell.as_fd().as_raw_fd()), libc::POLLIN as u32).multi(true);
        // SAFETY: no memory is named, and the driver holds the doorbell.
        unsafe { self.queue.push(&poll.build().user_data(pack_own(Op::Doorbell))) };
        self.doorbell_armed = true;
    }

    /// Arms receives that found no buffer, now that buffers are back. With the completion queue drained every buffer is
    /// home; before that a receive could find none and come straight back.
    fn rearm_parked(&mut self) {
        if self.parked.is_empty() || !self.queue.is_drained() {
            return;
        }
        for _ in 0..self.buffers.count() {
            let Some(token) = self.parked.pop() else { return };
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.parked = false;
            if connection.wants_receive() {
                self.counters.rearms += 1;
                arm_receive(&mut self.queue, token, connection, self.receive);
            }
        }
    }

    /// Lists a connection that has an event to deliver and may deliver it.
    fn make_ready(ready: &mut Vec<Token>, token: Token, connection: &mut Connection) {
        if !connection.ready {
            connection.ready = true;
            ready.push(token);
        }
    }

    /// Starts the end of a connection: nothing more is delivered, all that is in flight is cancelled.
    fn begin_close(queue: &mut Queue, token: Token, connection: &mut Connection) {
        connection.closing = true;
        // `closed` says so to the handler.
        let _ = connection.forget_kept();
        for op in [Op::Receive, Op::Send, Op::Connect] {
            if connection.in_flight.contains(op) && !connection.in_flight.contains(op.cancel()) {
                cancel(queue, token, connection, op);
            }
        }
    }

    /// Cancels all there is and waits for the last completion of each operation, for a bounded time. Whether the kernel
    /// has let go of everything.
    fn quiesce(&mut self) -> bool {
        let in_flight = |driver: &Self| {
            let tokens = driver.connections.tokens();
            tokens.filter_map(|token| driver.connections.get(token)).map(|c| c.in_flight.len()).sum::<u32>()
                + driver.acceptors.in_flight()
                + u32::from(driver.doorbell_armed)
        };
        let mut outstanding = in_flight(self);
        let mut cancelling = false;
        let deadline = Instant::now() + DROP_WAIT;
        while outstanding > 0 || cancelling {
            if !cancelling {
                let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
                // SAFETY: no memory is named.
                unsafe { self.queue.push(&all.user_data(pack_own(Op::CancelAll))) };
                cancelling = true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero()
                || self.queue.enter(Some(left)).is_err()
                || self.queue.take(&mut self.completions, COMPLETIONS_PER_TURN_MAX).is_err()
            {
                return false;
            }
            for completion in self.completions.drain(..) {
                let (op, _) = user_data::unpack(completion.user_data());
                if op == Op::Accept && completion.result() >= 0 {
                    // SAFETY: the kernel has just opened this descriptor for us, and nobody else has it.
                    drop(unsafe { Socket::from_raw_fd(completion.result()) });
                }
                if op == Op::CancelAll {
                    // What was on its way between two states was missed: another round, if anything is left.
                    cancelling = false;
                } else if !cqueue::more(completion.flags()) {
                    outstanding -= 1;
                }
            }
        }
        true
    }
}

impl Driver for UringDriver {
    const BATCHES: bool = true;

    fn open(setup: DriverConfig) -> io::Result<Self> {
        Self::open_by(setup, &Step::LADDER)
    }

    fn turn<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) -> io::Result<()> {
        self.counters.turns += 1;
        self.turn = self.turn.wrapping_add(1);
        let is_crowded = mem::take(&mut self.uploads) >= UPLOADS_MIN || !self.parked.is_empty();
        self.receive = if is_crowded { Receive::Once } else { Receive::Multishot };
        self.rearm_parked();
        let wait = self.wait(timeout);
        let entered = self.queue.enter(wait);
        self.doorbell.awake();
        entered?;
        self.counters.overflows += self.queue.take(&mut self.completions, COMPLETIONS_PER_TURN_MAX)? as u64;
        self.counters.completions += self.completions.len() as u64;
        self.process_completions(handler);
        Ok(())
    }

    fn connect(&mut self, peer: &Endpoint) -> io::Result<Token> {
        if self.connections.is_full() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "every connection slot is taken"));
        }
        let (socket, address) = peer.socket(Type::STREAM)?;
        let mut connection = Connection::new(socket);
        let address = connection.peer.insert(Box::new(address));
        let descriptor = types::Fd(connection.socket.as_raw_fd());
        let connect = opcode::Connect::new(descriptor, address.as_ptr().cast(), address.len());
        connection.in_flight.insert(Op::Connect);
        let token = self
            .connections
            .insert(connection)
            .map_err(|_| io::Error::new(io::ErrorKind::QuotaExceeded, "every connection slot is taken"))?;
        // SAFETY: the address is boxed, so it stays where it is; box and socket belong to the connection, which keeps
        // both until nothing of it is in flight.
        unsafe { self.queue.push(&connect.build().user_data(pack(Op::Connect, token))) };
        Ok(token)
    }

    fn send(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(!buffer.is_empty(), "nothing to send");
        let Some(connection) = self.connections.get_mut(token).filter(|connection| !connection.closing) else { return };
        assert!(!connection.in_flight.contains(Op::Send), "one send is in flight per connection");
        assert!(!connection.in_flight.contains(Op::Connect), "a send before `connected`");
        connection.outgoing = buffer;
        connection.sent = 0;
        arm_send(&mut self.queue, token, connection);
    }

    fn resume_receive(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token).filter(|connection| connection.paused) else { return };
        connection.paused = false;
        if connection.has_news() {
            Self::make_ready(&mut self.ready, token, connection);
        } else if connection.wants_receive() {
            self.counters.rearms += 1;
            arm_receive(&mut self.queue, token, connection, self.receive);
        }
    }

    fn shutdown_write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token).filter(|connection| !connection.closing) else { return };
        if connection.in_flight.contains(Op::Send) {
            connection.shutdown_wanted = true;
        } else {
            // ENOTCONN: the peer has reset the connection, which the receive reports.
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token).filter(|connection| !connection.closing) else { return };
        Self::begin_close(&mut self.queue, token, connection);
        if connection.in_flight.is_empty() {
            self.finished.push(token);
        }
    }

    fn pause_accept(&mut self, listener: usize) {
        self.acceptors.set_paused(listener, true);
        self.steer_accept();
    }

    fn resume_accept(&mut self, listener: usize) {
        self.acceptors.set_paused(listener, false);
        self.steer_accept();
    }

    fn stop_accept(&mut self) {
        self.acceptors.stop();
        self.steer_accept();
    }

    fn counters(&self) -> Counters {
        Counters { enters: self.queue.enters(), ..self.counters }
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        let quiet = self.quiesce() && self.queue.submitter().unregister_buf_ring(BUFFER_GROUP).is_ok();
        if !quiet {
            // Memory the kernel may still read or write is leaked rather than reused.
            mem::forget(mem::replace(&mut self.connections, SlotTable::new(0)));
            self.buffers.leak();
        }
    }
}

fn arm_receive(queue: &mut Queue, token: Token, connection: &mut Connection, receive: Receive) {
    debug_assert!(connection.wants_receive());
    connection.in_flight.insert(Op::Receive);
    let socket = types::Fd(connection.socket.as_raw_fd());
    let entry = match receive {
        Receive::Multishot => opcode::RecvMulti::new(socket, BUFFER_GROUP).build(),
        // A length of 0 stands for the whole buffer, whichever it will be.
        Receive::Once => opcode::Recv::new(socket, ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
    };
    // SAFETY: no memory is named but the buffer ring, which is dropped after everything has left the kernel; the socket
    // stays open until nothing of the connection is in flight.
    unsafe { queue.push(&entry.user_data(pack(Op::Receive, token))) };
}

/// Submits what is left of the outgoing buffer. `MSG_WAITALL`: the kernel itself goes on after a short send, as far as
/// it can (io_uring_prep_send(3), 5.19).
fn arm_send(queue: &mut Queue, token: Token, connection: &mut Connection) {
    connection.in_flight.insert(Op::Send);
    let rest = &connection.outgoing[connection.sent..];
    let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let send = opcode::Send::new(types::Fd(connection.socket.as_raw_fd()), rest.as_ptr(), length)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
    // SAFETY: the buffer belongs to the connection, which neither touches nor frees it while a send is in flight, and
    // keeps its socket open until then.
    unsafe { queue.push(&send.build().user_data(pack(Op::Send, token))) };
}

/// Cancels `op` by its user data: that is one look into a hash table, where a cancel by descriptor walks all of them.
fn cancel(queue: &mut Queue, token: Token, connection: &mut Connection, op: Op) {
    connection.in_flight.insert(op.cancel());
    let cancel = opcode::AsyncCancel::new(pack(op, token)).build();
    // SAFETY: no memory is named.
    unsafe { queue.push(&cancel.user_data(pack(op.cancel(), token))) };
}

#[cfg(test)]
mod tests;

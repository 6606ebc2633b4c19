//! Completion handling: the second half of a turn. All handlers are called from here.

use super::{BYTES_PER_TURN_MAX, Connection, Eof, Op, UringDriver, arm_receive, arm_send, cancel, user_data::unpack};
use crate::{Cause, Flow, Handler, SlotTable, Token};
use io_uring::cqueue;
use std::{io, mem, net::Shutdown};

impl UringDriver {
    /// Goes through what this turn brought, and what earlier turns left.
    pub(super) fn process_completions<H: Handler>(&mut self, handler: &mut H) {
        self.deliver_kept(handler);
        while let Some(token) = self.finished.pop() {
            self.finish(token, handler);
        }
        let mut completions = mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            let (op, token) = unpack(completion.user_data());
            let (result, flags) = (completion.result(), completion.flags());
            match op {
                Op::Receive => self.on_receive(token, result, flags, handler),
                Op::Send => self.on_send(token, result, handler),
                Op::Connect => self.on_connect(token, result, handler),
                Op::CancelReceive => self.on_cancelled(token, Op::Receive, result, handler),
                Op::CancelSend => self.on_cancelled(token, Op::Send, result, handler),
                Op::CancelConnect => self.on_cancelled(token, Op::Connect, result, handler),
                Op::Accept => self.on_accept(token, result, flags, handler),
                Op::CancelAccept => self.on_accept_cancelled(token),
                Op::Doorbell => self.on_doorbell(flags),
                Op::CancelAll => debug_assert!(false, "only a driver that is being dropped cancels all"),
            }
        }
        self.completions = completions;
        self.settle_accept(handler);
    }

    /// Delivers what was kept back by a pause or for the sake of other connections.
    fn deliver_kept<H: Handler>(&mut self, handler: &mut H) {
        // A connection that is listed again meanwhile goes behind these and waits for the next turn.
        let listed = self.ready.len();
        for index in 0..listed {
            let token = self.ready[index];
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.ready = false;
            if connection.paused || connection.closing {
                continue;
            }
            let allowance = connection.allowance(self.turn, BYTES_PER_TURN_MAX);
            let bytes = connection.kept(allowance);
            if !bytes.is_empty() {
                let count = bytes.len();
                connection.paused = handler.data(token, bytes) == Flow::Pause;
                connection.count_delivered(count);
                let freed = connection.consume_kept(count);
                if freed > 0 {
                    handler.release(token, freed);
                }
            }
            if connection.paused {
                continue;
            }
            if connection.has_kept() {
                Self::make_ready(&mut self.ready, token, connection);
            } else if connection.overrun {
                connection.failure = libc::ENOBUFS;
                Self::begin_close(&mut self.queue, token, connection);
                if connection.in_flight.is_empty() {
                    self.finished.push(token);
                }
            } else if connection.eof == Eof::Seen {
                connection.eof = Eof::Reported;
                handler.eof(token);
            } else if connection.wants_receive() {
                self.counters.rearms += 1;
                arm_receive(&mut self.queue, token, connection, self.receive);
            }
        }
        self.ready.drain(..listed);
    }

    fn on_receive<H: Handler>(&mut self, token: Token, result: i32, flags: u32, handler: &mut H) {
        let buffer = cqueue::buffer_select(flags);
        let connection = self.connections.get_mut(token);
        debug_assert!(connection.is_some(), "a slot is freed only after its last completion");
        let mut settled = false;
        if let Some(connection) = connection {
            if !cqueue::more(flags) {
                connection.in_flight.remove(Op::Receive);
            }
            if !connection.closing {
                match -result {
                    ..0 => {
                        let bytes =
                            buffer.map_or(&[][..], |buffer| self.buffers.bytes(buffer, result.unsigned_abs() as usize));
                        if !connection.has_received_in(self.turn) && self.buffers.is_full(bytes) {
                            self.uploads += 1;
                        }
                        let allowed = connection.allowance(self.turn, BYTES_PER_TURN_MAX) > 0;
                        if connection.paused || connection.has_kept() || connection.overrun || !allowed {
                            connection.keep(bytes, |more| handler.reserve(token, more));
                            if !connection.paused {
                                Self::make_ready(&mut self.ready, token, connection);
                            }
                        } else {
                            connection.paused = handler.data(token, bytes) == Flow::Pause;
                            connection.count_delivered(bytes.len());
                            settled = cqueue::more(flags);
                        }
                    }
                    0 if connection.paused || connection.has_kept() || connection.overrun => connection.eof = Eof::Seen,
                    0 => {
                        connection.eof = Eof::Reported;
                        handler.eof(token);
                    }
                    libc::ENOBUFS => {
                        self.counters.buffers_exhausted += 1;
                        connection.parked = true;
                        self.parked.push(token, connection.has_received_in(self.turn));
                    }
                    libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                    errno => {
                        connection.failure = errno;
                        Self::begin_close(&mut self.queue, token, connection);
                    }
                }
            }
        }
        // Whatever became of the connection, the buffer goes back: else the ring leaks away.
        if let Some(buffer) = buffer {
            self.buffers.give_back(buffer);
        }
        if !settled {
            self.settle(token, handler);
        }
    }

    fn on_send<H: Handler>(&mut self, token: Token, result: i32, handler: &mut H) {
        let Some(connection) = ended(&mut self.connections, token, Op::Send) else { return };
        if !connection.closing {
            match -result {
                ..0 => {
                    connection.sent += result.unsigned_abs() as usize;
                    if connection.sent == connection.outgoing.len() {
                        let mut buffer = mem::take(&mut connection.outgoing);
                        buffer.clear();
                        if mem::take(&mut connection.shutdown_wanted) {
                            // ENOTCONN: the peer has reset the connection, which the receive reports.
                            let _ = connection.socket.shutdown(Shutdown::Write);
                        }
                        handler.sent(token, buffer);
                        return;
                    }
                    self.counters.short_sends += 1;
                    arm_send(&mut self.queue, token, connection);
                    return;
                }
                libc::EINTR | libc::EAGAIN => return arm_send(&mut self.queue, token, connection),
                errno => {
                    // Zero bytes of some is no result that the kernel gives for an intact stream.
                    connection.failure = if errno == 0 { libc::EPIPE } else { errno };
                    Self::begin_close(&mut self.queue, token, connection);
                }
            }
        }
        self.settle(token, handler);
    }

    fn on_connect<H: Handler>(&mut self, token: Token, result: i32, handler: &mut H) {
        let Some(connection) = ended(&mut self.connections, token, Op::Connect) else { return };
        connection.peer = None;
        if !connection.closing {
            if result == 0 {
                arm_receive(&mut self.queue, token, connection, self.receive);
                handler.connected(token);
                return;
            }
            connection.failure = -result;
            Self::begin_close(&mut self.queue, token, connection);
        }
        self.settle(token, handler);
    }

    /// Completion of a cancel. Zero: its target has been found, and ends. Otherwise the target has ended or is just on
    /// its way from one state to the next, where a cancel does not find it.
    pub(super) fn on_cancelled<H: Handler>(&mut self, token: Token, target: Op, result: i32, handler: &mut H) {
        let Some(connection) = ended(&mut self.connections, token, target.cancel()) else { return };
        if connection.closing && result != 0 && connection.in_flight.contains(target) {
            // Ends whatever state it is in: a receive reads an end of file, a send or a connect fails. ENOTCONN is no
            // matter.
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
        if result == 0 && connection.in_flight.contains(target) {
            return;
        }
        self.settle(token, handler);
    }

    /// The eventfd is not read: a multishot poll completes at each signal, not while there is one unread
    /// (io_uring_enter(2), `IORING_POLL_ADD_LEVEL`). One armed again completes once for those before it.
    fn on_doorbell(&mut self, flags: u32) {
        if !cqueue::more(flags) {
            self.counters.rearms += 1;
            self.arm_doorbell();
        }
    }

    /// Does what follows from a connection's state: frees it, stops its receive or arms it again.
    fn settle<H: Handler>(&mut self, token: Token, handler: &mut H) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if connection.closing {
            if connection.in_flight.is_empty() {
                self.finish(token, handler);
            }
        } else if connection.wants_receive_cancelled() {
            cancel(&mut self.queue, token, connection, Op::Receive);
        } else if connection.wants_receive() {
            self.counters.rearms += 1;
            arm_receive(&mut self.queue, token, connection, self.receive);
        }
    }

    /// Closes the socket, frees the slot, and says so.
    fn finish<H: Handler>(&mut self, token: Token, handler: &mut H) {
        let Some(connection) = self.connections.remove(token) else { return };
        debug_assert!(connection.closing && connection.in_flight.is_empty());
        let cause = match connection.failure {
            0 => Cause::Local,
            errno => Cause::Error(io::Error::from_raw_os_error(errno)),
        };
        drop(connection);
        self.acceptors.retry_now();
        handler.closed(token, cause);
    }
}

/// The connection whose `op` has just ended.
fn ended(connections: &mut SlotTable<Connection>, token: Token, op: Op) -> Option<&mut Connection> {
    let connection = connections.get_mut(token);
    debug_assert!(connection.is_some(), "a slot is freed only after its last completion");
    let connection = connection?;
    connection.in_flight.remove(op);
    Some(connection)
}

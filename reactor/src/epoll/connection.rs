//! One connection of an epoll driver: its readiness, and the operations requested of it.
//!
//! Makes the calls on its socket and calls the handler about itself. It knows nothing of the table it stands in, and
//! neither closes its socket nor reports its end: `take_ending` says that it is over, and the driver does both.

use crate::{Cause, Counters, Endpoint, Flow, Handler, Peer, Token};
use mio::event::Event;
use socket2::{Socket, Type};
use std::{
    io::{self, Read},
    net::Shutdown,
};

/// Bytes after which a connection's reading yields to the others of the turn. One more read of a whole receive buffer
/// is the most by which it is passed.
const RECEIVE_BYTES_PER_TURN: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    stream: Socket,
    stage: Stage,
    input: Input,
    /// An end or an error stands behind the bytes, so that a short read does not mean that nothing is left.
    read_closed: bool,
    /// The socket has a pending error, which a read may never meet: see `check`.
    failed: bool,
    paused: bool,
    sending: Option<Sending>,
    /// This side is to be shut down when the send in flight is done.
    shutdown_wanted: bool,
    ending: Option<Cause>,
    in_ready_list: bool,
}

/// Stage of a connection's life.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Taken from the backlog; the handler does not know it yet.
    Accepted {
        listener: usize,
        peer: Peer,
    },
    Connecting,
    Open,
}

/// State of the receive side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// None: the next edge reports them.
    Drained,
    /// There may be some, or an end, or an error.
    Ready,
    /// The peer's end of file was delivered.
    Ended,
}

/// A send, until its `sent` is delivered.
#[derive(Debug)]
struct Sending {
    buffer: Vec<u8>,
    /// Bytes of it that the kernel has.
    taken: usize,
    /// The socket's buffer is full: the next edge reports space.
    blocked: bool,
}

impl Sending {
    const fn is_complete(&self) -> bool {
        self.taken == self.buffer.len()
    }
}

impl Connection {
    const fn new(stream: Socket, stage: Stage) -> Self {
        Self {
            stream,
            stage,
            // Registering makes the first edge, with whatever has come by then.
            input: Input::Drained,
            read_closed: false,
            failed: false,
            paused: false,
            sending: None,
            shutdown_wanted: false,
            ending: None,
            in_ready_list: false,
        }
    }

    /// A connection from the backlog.
    pub const fn accepted(stream: Socket, listener: usize, peer: Peer) -> Self {
        Self::new(stream, Stage::Accepted { listener, peer })
    }

    /// Begins a connection to `peer`.
    ///
    /// # Errors
    /// No socket is available. A connect that fails at once is a connection that ends, as one that fails later is.
    pub fn connecting(peer: &Endpoint) -> io::Result<Self> {
        let (socket, address) = peer.socket(Type::STREAM.nonblocking())?;
        let begun = socket.connect(&address);
        let mut connection = Self::new(socket, Stage::Connecting);
        match begun {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => connection.end(Cause::Error(error)),
            // Writable, and known to the registration's first edge, if it is established already.
            _ => {}
        }
        Ok(connection)
    }

    pub const fn stream(&self) -> &Socket {
        &self.stream
    }

    /// Returns true if work is due that the kernel will not report.
    pub fn is_due(&self) -> bool {
        self.ending.is_some()
            || matches!(self.stage, Stage::Accepted { .. })
            || self.sending.as_ref().is_some_and(Sending::is_complete)
            || self.wants_read()
    }

    fn wants_read(&self) -> bool {
        self.input == Input::Ready && !self.paused && !matches!(self.stage, Stage::Connecting)
    }

    /// Returns true if the caller must add the connection to the ready list, because it is not there yet.
    pub const fn enter_ready_list(&mut self) -> bool {
        !std::mem::replace(&mut self.in_ready_list, true)
    }

    pub const fn leave_ready_list(&mut self) {
        self.in_ready_list = false;
    }

    /// Notes an edge. What it says holds until a call on the socket says otherwise.
    pub fn note(&mut self, event: &Event) {
        self.failed |= event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
        if self.input == Input::Drained && (event.is_readable() || self.read_closed) {
            self.input = Input::Ready;
        }
        if event.is_writable()
            && let Some(sending) = &mut self.sending
        {
            sending.blocked = false;
        }
    }

    /// Ends the connection. The first cause is the one that is reported.
    pub fn end(&mut self, cause: Cause) {
        self.ending.get_or_insert(cause);
    }

    pub const fn take_ending(&mut self) -> Option<Cause> {
        self.ending.take()
    }

    pub fn send(&mut self, buffer: Vec<u8>, counters: &mut Counters) {
        assert!(self.sending.is_none(), "one send is in flight per connection");
        if self.ending.is_none() {
            self.sending = Some(Sending { buffer, taken: 0, blocked: false });
            self.transmit();
            counters.short_sends += u64::from(self.sending.as_ref().is_some_and(|sending| !sending.is_complete()));
        }
    }

    pub const fn resume_receive(&mut self) {
        self.paused = false;
    }

    pub fn shutdown_write(&mut self) {
        self.shutdown_wanted = true;
        self.shut_down_if_sent();
    }

    fn shut_down_if_sent(&mut self) {
        if self.shutdown_wanted && self.sending.as_ref().is_none_or(Sending::is_complete) {
            self.shutdown_wanted = false;
            // ENOTCONN: the peer has reset it, and the edge that says so ends the connection.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Does and reports everything that is due, reading no more than a turn's share.
    pub fn serve<H: Handler>(&mut self, token: Token, receive_buffer: &mut [u8], handler: &mut H) {
        if self.ending.is_none() && self.begin(token, handler) {
            self.transmit();
            self.report_sent(token, handler);
            self.receive(token, receive_buffer, handler);
            self.check();
        }
    }

    /// Reports a send that the kernel has taken whole. A connection that is ending has only its end to report.
    pub fn report_sent<H: Handler>(&mut self, token: Token, handler: &mut H) {
        if self.ending.is_none()
            && let Some(mut sending) = self.sending.take_if(|sending| sending.is_complete())
        {
            sending.buffer.clear();
            handler.sent(token, sending.buffer);
        }
    }

    /// Returns true if the handler has been notified of the connection; notifies it once the connection is ready.
    fn begin<H: Handler>(&mut self, token: Token, handler: &mut H) -> bool {
        match self.stage {
            Stage::Open => return true,
            Stage::Accepted { listener, peer } => handler.accepted(token, listener, peer),
            Stage::Connecting => match self.stream.take_error().and_then(|failure| failure.map_or(Ok(()), Err)) {
                // Without an error a connect is over when the socket has a peer (connect(2), EINPROGRESS).
                Ok(()) if self.stream.peer_addr().is_ok() => handler.connected(token),
                Ok(()) => return false,
                Err(error) => {
                    self.end(Cause::Error(error));
                    return false;
                }
            },
        }
        self.stage = Stage::Open;
        true
    }

    /// Gives the kernel as much of the send in flight as it takes.
    ///
    /// A socket that the peer has closed returns EPIPE and raises no signal (`MSG_NOSIGNAL`, send(2)).
    fn transmit(&mut self) {
        let Some(sending) = &mut self.sending else { return };
        while !sending.blocked && !sending.is_complete() {
            match self.stream.send_with_flags(&sending.buffer[sending.taken..], libc::MSG_NOSIGNAL) {
                // After a short write once more: only the refusal that follows makes sure of the edge.
                Ok(bytes) => sending.taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sending.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ending.get_or_insert(Cause::Error(error));
                    return;
                }
            }
        }
        self.shut_down_if_sent();
    }

    /// Reads and delivers until the socket is drained, the handler pauses it, or its share of the turn is used up.
    fn receive<H: Handler>(&mut self, token: Token, buffer: &mut [u8], handler: &mut H) {
        let mut delivered = 0;
        while delivered < RECEIVE_BYTES_PER_TURN && self.wants_read() && self.ending.is_none() {
            match (&self.stream).read(buffer) {
                Ok(0) => {
                    self.input = Input::Ended;
                    handler.eof(token);
                }
                Ok(bytes) => {
                    delivered += bytes;
                    // epoll(7): from a stream socket a read of less than was requested means that it is drained. Not so
                    // in front of an end or an error, nor in front of urgent data, which RFC 6093 advises against: the
                    // bytes behind the mark then wait for the next that arrive.
                    if bytes < buffer.len() && !self.read_closed {
                        self.input = Input::Drained;
                    }
                    self.paused = handler.data(token, &buffer[..bytes]) == Flow::Pause;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.input = Input::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end(Cause::Error(error)),
            }
        }
    }

    /// Ends a connection whose pending error no read will meet: it is paused, or its end of file was read before.
    fn check(&mut self) {
        if self.failed && !self.wants_read() {
            match self.stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => self.end(Cause::Error(error)),
            }
        }
    }
}

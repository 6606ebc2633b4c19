//! One client: its connection's state, its requests in flight, and when it next needs to be looked at.

use super::{tally::Begun, tls::Session};
use crate::response::ResponseParser;
use reactor::Token;
use std::collections::VecDeque;

/// State of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// None. The next request makes one.
    Down,
    /// A connect is on its way.
    Connecting,
    /// The queue of a unix socket is full: the connect is tried again at `resume_ns`.
    Queued,
    /// The TLS handshake is under way.
    Handshaking,
    /// Requests may be sent.
    Open,
    /// The last response has come; the peer's end of file is waited for a while, so that its side holds the TIME_WAIT
    /// and this side's port is free again (RFC 9293, 3.6).
    Lingering,
    /// To be closed as soon as the driver can be called.
    ToClose,
    /// Closed by us; the driver has not yet confirmed it.
    Closing,
}

/// A request that was handed to the driver and has no complete response yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub begun: Begun,
    pub metrics: u32,
    /// Bytes of the request.
    pub bytes: u32,
}

/// The pause of a closed loop after the second connection in turn that brought no response; it doubles with each
/// further one, up to a hundred times as much.
const BACKOFF_NS: u64 = 1_000_000;
const BACKOFF_NS_MAX: u64 = 100 * BACKOFF_NS;

/// The pause before a connect to a unix socket with a full queue is tried again.
pub(super) const QUEUED_NS: u64 = 1_000_000;

/// Time for which the peer's end of file is awaited: a server that means to end the connection does it with its last
/// response.
const LINGER_NS: u64 = 50_000_000;

#[derive(Debug)]
pub(super) struct Client {
    /// Index among all clients of all threads.
    pub number: usize,
    pub link: Link,
    pub token: Option<Token>,
    /// TLS of the connection, if it is spoken.
    pub session: Option<Box<Session>>,
    pub parser: ResponseParser,
    pub in_flight: VecDeque<InFlight>,
    /// The send buffer, while the driver does not have it.
    pub buffer: Option<Vec<u8>>,
    /// True while the driver has the buffer.
    pub sending: bool,
    /// Requests still to begin; `u64::MAX` when only time, or a schedule, bounds them.
    pub quota: u64,
    /// Begin of the connect or of the lingering.
    pub since_ns: u64,
    /// When the first piece of the response that is being received came; zero: none has.
    pub first_ns: u64,
    /// Bytes of the response that is being received.
    pub received: u64,
    /// A request of it has timed out.
    pub hung: bool,
    /// Connections in turn that brought no response.
    pub fruitless: u32,
    /// The request that a connect was begun for and that has not been sent yet.
    pub awaited: Option<Begun>,
    /// No request before this.
    pub resume_ns: u64,
    /// When its timer fires; `u64::MAX`: it is not set.
    pub armed_ns: u64,
    /// True while it is in the list of clients to look at.
    pub touched: bool,
    /// True while it is in the list of clients that wait for a send to become due.
    pub free: bool,
    /// It has no request in flight and will begin none.
    pub done: bool,
}

impl Client {
    /// A client that stands on the list to be looked at, and begins no request before `resume_ns`.
    pub fn new(number: usize, quota: u64, pipeline: usize, resume_ns: u64, parser: ResponseParser) -> Self {
        Self {
            number,
            link: Link::Down,
            token: None,
            session: None,
            parser,
            in_flight: VecDeque::with_capacity(pipeline),
            buffer: None,
            sending: false,
            quota,
            since_ns: 0,
            first_ns: 0,
            received: 0,
            hung: false,
            fruitless: 0,
            awaited: None,
            resume_ns,
            armed_ns: u64::MAX,
            touched: true,
            free: false,
            done: false,
        }
    }

    /// Time of the next event that depends on the clock alone: a timeout, or the end of a rest.
    pub fn due_ns(&self, timeout_ns: u64) -> Option<u64> {
        match self.link {
            Link::Connecting | Link::Handshaking => Some(self.since_ns + timeout_ns),
            Link::Queued => Some(self.resume_ns.min(self.since_ns + timeout_ns)),
            Link::Lingering => Some(self.since_ns + timeout_ns.min(LINGER_NS)),
            Link::Open if let Some(oldest) = self.in_flight.front() => Some(oldest.begun.start_ns + timeout_ns),
            Link::Open | Link::Down if !self.done && self.resume_ns > 0 => Some(self.resume_ns),
            _ => None,
        }
    }

    /// A connection brought no response: how long the client waits before the next one. A server that refuses or resets
    /// would else be tried as fast as this host can.
    pub fn back_off(&mut self) -> u64 {
        self.fruitless = self.fruitless.saturating_add(1);
        let doublings = self.fruitless.saturating_sub(2).min(16);
        if self.fruitless < 2 { 0 } else { (BACKOFF_NS << doublings).min(BACKOFF_NS_MAX) }
    }

    /// Returns true if its TLS has something to send that belongs to no request, and can send it.
    pub fn has_tls_messages(&self) -> bool {
        !self.sending && self.session.as_ref().is_some_and(|session| session.wants_write())
    }

    /// Returns true if neither a request nor the connect for one is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.awaited.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_backs_off_from_a_server_that_refuses() {
        let mut client = Client::new(0, 1, 1, 0, ResponseParser::default());
        let pauses_ms: Vec<_> = (0..10).map(|_| client.back_off() / 1_000_000).collect();
        assert_eq!(pauses_ms, [0, 1, 2, 4, 8, 16, 32, 64, 100, 100]);
        client.fruitless = u32::MAX;
        assert_eq!(client.back_off(), BACKOFF_NS_MAX);
    }
}

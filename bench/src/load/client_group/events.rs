//! Handler of a thread's clients: connections that opened, responses, ends. Nothing is done on the driver here, only
//! noted; the client is put on the list of those to look at.

use super::{ClientGroup, Link, UNCLOSED_ENOUGH};
use crate::load::{client::QUEUED_NS, tally::Failure};
use reactor::{Cause, Flow, Handler, Peer, Token};
use std::io;

impl Handler for ClientGroup<'_> {
    fn accepted(&mut self, _: Token, _: usize, _: Peer) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn accept_failed(&mut self, _: &io::Error) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn connected(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        if self.clients[index].link == Link::Connecting {
            self.shared.connected();
            match &self.plan.tls {
                None => self.opened(index),
                Some(tls) => self.begin_handshake(index, tls),
            }
            self.touch(index);
        }
    }

    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        let Some(index) = self.find(token) else { return Flow::Continue };
        if self.clients[index].session.is_some() {
            self.decrypt(index, bytes);
        } else {
            self.received(index, bytes);
        }
        self.touch(index);
        Flow::Continue
    }

    fn eof(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        let client = &self.clients[index];
        if client.link == Link::Handshaking {
            self.tls_failed(index, "the server ended the connection during the handshake".to_owned());
        }
        // An end that TLS did not announce may be anybody's.
        let in_order = self.clients[index].session.is_none();
        self.ended(index, in_order);
        self.touch(index);
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        let Some(index) = self.find(token) else { return };
        let client = &mut self.clients[index];
        (client.buffer, client.sending) = (Some(buffer), false);
        if client.in_flight.len() < self.plan.pipeline || client.has_tls_messages() {
            self.touch(index);
        }
    }

    fn closed(&mut self, token: Token, cause: Cause) {
        let Some(index) = self.find(token) else { return };
        let (link, awaiting) = (self.clients[index].link, !self.clients[index].is_idle());
        if link == Link::Connecting
            && matches!(&cause, Cause::Error(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
            let resume_ns = self.now_ns() + QUEUED_NS;
            let client = &mut self.clients[index];
            (client.link, client.token, client.resume_ns) = (Link::Queued, None, resume_ns);
            self.touch(index);
            return;
        }
        if let (true, Cause::Error(error)) = (awaiting, &cause) {
            let failure = self.failure(error);
            if link == Link::Connecting && failure == Failure::Refused {
                self.shared.connect_refused();
            }
            self.fail(index, failure);
        }
        let client = &mut self.clients[index];
        (client.link, client.token, client.sending) = (Link::Down, None, false);
        (client.first_ns, client.received) = (0, 0);
        client.parser.reset();
        client.session = None;
        self.touch(index);
    }
}

impl ClientGroup<'_> {
    /// A connection can take requests.
    pub(super) fn opened(&mut self, index: usize) {
        let now_ns = self.now_ns();
        let client = &mut self.clients[index];
        client.link = Link::Open;
        self.tally.connections += 1;
        self.tally.connect.saturating_record(now_ns - client.since_ns);
    }

    /// Bytes of responses have come.
    pub(super) fn received(&mut self, index: usize, mut bytes: &[u8]) {
        let now_ns = self.now_ns();
        if now_ns >= self.warm_ns {
            self.tally.bytes_received += bytes.len() as u64;
        }
        while !bytes.is_empty() && matches!(self.clients[index].link, Link::Open | Link::Lingering) {
            if self.clients[index].in_flight.is_empty() {
                self.unsolicited(index, bytes);
                break;
            }
            match self.clients[index].parser.feed(bytes) {
                Ok((used, None)) => {
                    self.clients[index].received += used as u64;
                    bytes = &bytes[used..];
                }
                Ok((used, Some(response))) => {
                    self.clients[index].received += used as u64;
                    bytes = &bytes[used..];
                    self.take_response(index, response.status, now_ns);
                    if response.close || !self.plan.keep_alive {
                        self.fail(index, Failure::ClosedEarly);
                        self.linger(index, response.close, now_ns);
                    }
                    self.rest(index, now_ns);
                }
                Err(_) => {
                    self.clients[index].link = Link::ToClose;
                    self.fail(index, Failure::Garbage);
                }
            }
        }
        let client = &mut self.clients[index];
        if client.first_ns == 0 && client.parser.is_within() {
            client.first_ns = now_ns;
        }
    }

    /// The server will send nothing more: with that a response without a length is complete, if it is said in order.
    pub(super) fn ended(&mut self, index: usize, in_order: bool) {
        if self.clients[index].link == Link::Open {
            let now_ns = self.now_ns();
            if in_order && let Some(response) = self.clients[index].parser.finish() {
                self.take_response(index, response.status, now_ns);
                self.rest(index, now_ns);
            }
            self.fail(index, Failure::ClosedEarly);
        }
        if self.clients[index].link == Link::Lingering {
            self.unclosed_in_turn = 0;
        }
        if matches!(self.clients[index].link, Link::Open | Link::Lingering) {
            self.clients[index].link = Link::ToClose;
        }
    }

    /// Bytes came that belong to no request: behind the end of a response, or on an idle connection. Where the next
    /// response would begin can no longer be known, so the connection is closed.
    fn unsolicited(&mut self, index: usize, bytes: &[u8]) {
        // The response to no request that is allowed: the server ends an idle connection (RFC 9110, 15.5.9).
        let farewell = [&b"HTTP/1.1 408"[..], b"HTTP/1.0 408"].iter().any(|begin| bytes.starts_with(begin));
        if !farewell {
            self.tally.unsolicited += 1;
        }
        self.clients[index].link = Link::ToClose;
        // The one that was just to be sent; none, where the connection is idle.
        self.fail(index, Failure::Garbage);
    }

    /// The last response of a connection has come. A server that announced its close is given a moment for it; one that
    /// did not, or that has not kept its word several times in turn, is not waited for.
    fn linger(&mut self, index: usize, announced: bool, now_ns: u64) {
        let client = &mut self.clients[index];
        if announced && self.unclosed_in_turn < UNCLOSED_ENOUGH {
            (client.link, client.since_ns) = (Link::Lingering, now_ns);
        } else {
            client.link = Link::ToClose;
            self.tally.unclosed += 1;
        }
    }
}

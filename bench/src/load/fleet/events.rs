//! What the driver tells a thread's clients: connections that opened, answers, ends. Nothing is done on the driver here, only
//! noted; the client is put on the list of those to look at.

use super::{Fleet, Link};
use crate::load::tally::Failure;
use reactor::{Cause, Flow, Handler, Token};
use std::{io, net::SocketAddr};

impl Handler for Fleet<'_> {
    fn accepted(&mut self, _: Token, _: SocketAddr) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn accept_failed(&mut self, _: &io::Error) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn connected(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        let client = &mut self.clients[index];
        if client.link == Link::Connecting {
            client.link = Link::Open;
            self.shared.connected();
            self.touch(index);
        }
    }

    fn data(&mut self, token: Token, mut bytes: &[u8]) -> Flow {
        let Some(index) = self.find(token) else { return Flow::Continue };
        let now_ns = self.now_ns();
        while !bytes.is_empty() && self.clients[index].link == Link::Open {
            match self.clients[index].parser.feed(bytes) {
                Ok((used, None)) => bytes = &bytes[used..],
                Ok((used, Some(answer))) => {
                    bytes = &bytes[used..];
                    if !self.answered(index, answer.status, now_ns) {
                        // A server's farewell to an idle connection, as a 408: nobody's answer.
                        self.clients[index].link = Link::Doomed;
                        break;
                    }
                    if answer.close || !self.plan.keep_alive {
                        self.fail(index, Failure::ClosedEarly);
                        let client = &mut self.clients[index];
                        (client.link, client.since_ns) = (Link::Lingering, now_ns);
                    }
                    self.rest(index, now_ns);
                }
                Err(_) => {
                    self.clients[index].link = Link::Doomed;
                    self.fail(index, Failure::Garbage);
                }
            }
        }
        self.touch(index);
        Flow::Continue
    }

    fn eof(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        if self.clients[index].link == Link::Open {
            let now_ns = self.now_ns();
            if let Some(answer) = self.clients[index].parser.finish() {
                self.answered(index, answer.status, now_ns);
                self.rest(index, now_ns);
            }
            self.fail(index, Failure::ClosedEarly);
        }
        if matches!(self.clients[index].link, Link::Open | Link::Lingering) {
            self.clients[index].link = Link::Doomed;
        }
        self.touch(index);
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        let Some(index) = self.find(token) else { return };
        let client = &mut self.clients[index];
        (client.buffer, client.sending) = (Some(buffer), false);
        if client.in_flight.len() < self.plan.pipeline {
            self.touch(index);
        }
    }

    fn closed(&mut self, token: Token, cause: Cause) {
        let Some(index) = self.find(token) else { return };
        let (link, awaiting) = (self.clients[index].link, !self.clients[index].is_idle());
        if let (true, Cause::Error(error)) = (awaiting, &cause) {
            let failure = self.failure(error);
            if link == Link::Connecting && failure == Failure::Refused {
                self.shared.connect_refused();
            }
            self.fail(index, failure);
        }
        let client = &mut self.clients[index];
        (client.link, client.token, client.sending) = (Link::Down, None, false);
        client.parser.reset();
        self.touch(index);
    }
}

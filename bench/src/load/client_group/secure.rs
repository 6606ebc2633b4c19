//! Clients over TLS: the handshake between connect and request, and the way of bytes through the session.

use super::{ClientGroup, Link};
use crate::load::{tally::Failure, tls::Tls};
use reactor::{Driver, Token};
use std::mem;

impl ClientGroup<'_> {
    /// The connection of a client stands; its handshake begins.
    pub(super) fn begin_handshake(&mut self, index: usize, tls: &Tls) {
        match tls.session() {
            Ok(session) => {
                let client = &mut self.clients[index];
                (client.session, client.link) = (Some(Box::new(session)), Link::Handshaking);
            }
            Err(reason) => self.tls_failed(index, reason),
        }
    }

    /// Takes what came for a client, and passes on what it decrypts to.
    pub(super) fn decrypt(&mut self, index: usize, wire: &[u8]) {
        let client = &mut self.clients[index];
        let Some(session) = &mut client.session else { return };
        if !matches!(client.link, Link::Handshaking | Link::Open | Link::Lingering) {
            return;
        }
        let mut plain = mem::take(&mut self.decrypted);
        plain.clear();
        let outcome = session.receive(wire, &mut plain);
        if client.link == Link::Handshaking && outcome.is_ok() && !session.is_handshaking() {
            if self.tally.tls.is_none() {
                self.tally.tls = session.protocol();
            }
            self.opened(index);
        }
        if !plain.is_empty() {
            self.received(index, &plain);
        }
        self.decrypted = plain;
        match outcome {
            Ok(false) => {}
            Ok(true) => self.ended(index, true),
            Err(reason) => self.tls_failed(index, reason),
        }
    }

    /// Ends the connection of a client that received invalid TLS.
    pub(super) fn tls_failed(&mut self, index: usize, reason: String) {
        self.clients[index].link = Link::ToClose;
        if !self.clients[index].is_idle() {
            self.tally.tls_reason.get_or_insert(reason);
        }
        self.fail(index, Failure::Tls);
    }

    /// Sends the messages of TLS itself.
    pub(super) fn send_tls_messages<D: Driver>(&mut self, driver: &mut D, index: usize, token: Token) {
        let client = &mut self.clients[index];
        let Some(session) = &mut client.session else { return };
        let mut wire = client.buffer.take().unwrap_or_default();
        session.send(&[], &mut wire);
        client.sending = true;
        driver.send(token, wire);
    }
}

//! The beginning of a connection: the peer, the listener, and what precedes the first request: a PROXY protocol header
//! where one is required, and the detection of one where none is expected.

use super::{
    connection::{Phase, Timer},
    state::State,
};
use crate::{
    limits::PROXY_HEADER_BYTES_MAX,
    listening::Role,
    proxy::header::{self, Fault, Origin},
    service::Caller,
};
use http1::HttpError;
use rate::ClientAddress;
use reactor::{Peer, Token};
use std::sync::Arc;

/// The state of a connection before its first request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Preface {
    /// Nothing has come, and a request is due.
    #[default]
    Unseen,
    /// A header is due, of which this has come.
    Header(Vec<u8>),
    /// Requests are due, and nothing else.
    Over,
}

impl Preface {
    /// Decides what is due of a connection that was just taken in, and which timer runs until then. A proxy sends its
    /// header at once, so it has no longer than a head.
    pub fn begin(&mut self, caller: Caller) -> Timer {
        if caller.role == Role::Proxied && caller.is_trusted {
            *self = Self::Header(Vec::new());
            return Timer::Head;
        }
        Timer::Idle
    }

    /// Returns true if a header is required.
    pub const fn is_due(&self) -> bool {
        matches!(self, Self::Header(_))
    }

    /// Adds bytes to a header that is due. Then the header, if it is whole, and how many of `bytes` belong to it.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<(usize, Origin)>, Fault> {
        let Self::Header(before) = self else { return Ok(None) };
        if before.is_empty()
            && let Some(whole) = header::parse(bytes)?
        {
            return Ok(Some(whole));
        }
        let had = before.len();
        let taken = bytes.len().min(PROXY_HEADER_BYTES_MAX - had);
        before.extend_from_slice(&bytes[..taken]);
        // A header that is not whole by its bound was found too long before.
        Ok(header::parse(before)?.map(|(length, origin)| (length - had, origin)))
    }
}

impl State {
    /// The caller that connected to `listener`.
    pub(super) fn caller(&self, listener: usize, peer: Peer) -> Caller {
        let peer = match peer {
            Peer::Inet(address) => address.ip().into(),
            Peer::User(uid) => ClientAddress::User(uid),
        };
        self.caller_at(peer, self.setup.roles[listener])
    }

    /// The caller at this address. Where addresses are what clients are charged by, its key is computed once for all
    /// requests of the connection.
    fn caller_at(&self, peer: ClientAddress, role: Role) -> Caller {
        let shared = &self.setup.shared;
        let is_charged = shared.limiter.is_some() && shared.api_keys.is_none() && role != Role::Admin;
        Caller {
            is_trusted: shared.config.trusted_proxies.contain(peer),
            peer_key: is_charged.then(|| shared.keys.address(peer)),
            ..Caller::new(peer, role)
        }
    }

    /// The listeners that are paused when too many connections come: those of statistics are not.
    pub(super) fn public_listeners(&self) -> impl Iterator<Item = usize> + use<> {
        let roles = Arc::clone(&self.setup.roles);
        (0..roles.len()).filter(move |&listener| roles[listener] != Role::Admin)
    }

    /// Takes what comes before the first request. Returns what comes after it; `None`: nothing yet, or nothing at all,
    /// as the connection was refused.
    pub(super) fn take_preface<'a>(&mut self, token: Token, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let connection = self.connections.get(token)?;
        if connection.preface == Preface::Unseen {
            connection.preface = Preface::Over;
            if header::is_header(bytes) {
                self.refuse_preface(token, HttpError::ProxyHeaderUnexpected, "unexpected header");
                return None;
            }
            return Some(bytes);
        }
        match connection.preface.take(bytes) {
            Ok(None) => None,
            Ok(Some((length, origin))) => {
                connection.preface = Preface::Over;
                if let Origin::Client(address) = origin {
                    let caller = connection.caller;
                    let Caller { peer, peer_key, is_trusted, .. } = self.caller_at(address.into(), caller.role);
                    if let Some(connection) = self.connections.get(token) {
                        connection.caller = Caller { peer, peer_key, is_trusted, ..caller };
                    }
                }
                self.setup.service.counters.proxy_headers += 1;
                self.set_timer(token, Timer::Idle);
                Some(&bytes[length..])
            }
            Err(fault) => {
                connection.preface = Preface::Over;
                let (refusal, text) = match fault {
                    Fault::Missing => (HttpError::ProxyHeaderMissing, "missing header"),
                    Fault::Malformed => (HttpError::ProxyHeaderInvalid, "malformed header"),
                    Fault::TooLong => (HttpError::ProxyHeaderInvalid, "header too long"),
                    Fault::Checksum => (HttpError::ProxyHeaderInvalid, "header with a wrong checksum"),
                };
                self.refuse_preface(token, refusal, text);
                None
            }
        }
    }

    /// Refuses a connection whose beginning is not what is due, and ends it: a proxy that is set up otherwise than this
    /// server is for its operator to fix, who reads it in both logs.
    fn refuse_preface(&mut self, token: Token, refusal: HttpError, text: &str) {
        let Some(connection) = self.connections.get(token) else { return };
        let caller = connection.caller;
        let peer: ClientAddress = caller.peer;
        let after = connection.http.refuse(refusal, &self.http, &mut connection.out);
        connection.stamps.received_ns = self.now_ns;
        connection.other_responses += 1;
        debug_assert!(connection.phase == Phase::Receiving, "this is the first response");
        self.setup.service.refuse_caller(refusal, caller);
        match self.proxy_warnings.admit(self.now_ns) {
            Some(suppressed) => tracing::warn!(%peer, suppressed, "PROXY protocol: {text}; connection closed"),
            None => self.setup.service.counters.warnings_suppressed += 1,
        }
        self.dispatch(token, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_split_anywhere_is_taken_once() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 80\r\n";
        let bytes = [&line[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        for step in 1..bytes.len() {
            let mut preface = Preface::Header(Vec::new());
            let mut used = 0;
            let rest = loop {
                let piece = &bytes[used..bytes.len().min(used + step)];
                match preface.take(piece).unwrap() {
                    Some((length, origin)) => {
                        assert_eq!(origin, Origin::Client([192, 0, 2, 1].into()));
                        break used + length;
                    }
                    None => used += piece.len(),
                }
            };
            assert_eq!(rest, line.len(), "step {step}");
        }
    }

    #[test]
    fn what_is_kept_of_a_header_is_bounded() {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x00".to_vec();
        let length = PROXY_HEADER_BYTES_MAX - 16;
        header.extend(u16::try_from(length).unwrap().to_be_bytes());
        header.resize(PROXY_HEADER_BYTES_MAX + 100, b'x');
        let mut preface = Preface::Header(Vec::new());
        assert_eq!(preface.take(&header[..PROXY_HEADER_BYTES_MAX - 1]), Ok(None));
        assert_eq!(preface.take(&header[PROXY_HEADER_BYTES_MAX - 1..]), Ok(Some((1, Origin::Peer))));
        assert!(matches!(preface, Preface::Header(kept) if kept.len() == PROXY_HEADER_BYTES_MAX));
    }
}

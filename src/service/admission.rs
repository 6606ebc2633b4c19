//! Admission: the client of a request, and its charge before the request causes any cost.

use super::{AdmittedRequest, Burst, Caller, Service, Shared};
use crate::{
    config::Config,
    limits,
    protocols::{Dialect, credentials, payload_of},
    proxy::ForwardedFields,
    query_pool::Sharer,
    trace::{Context, RequestStages},
};
use http1::{Head, HttpError};
use rate::{Charge, ClientAddress, ClientKey, Decision, Event, EventKind, Standing, has_credentials};

/// The client that a request is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payer {
    /// The API key of the request.
    Key(ClientKey),
    /// The `Authorization` value, if no keys are configured; the address if the table has no space for the value.
    Name(ClientKey),
    /// The address, if no keys are configured.
    Address(ClientKey),
    /// The address, because the request has no valid key.
    Keyless(ClientKey),
}

impl Payer {
    /// The client itself.
    pub(super) const fn client(self) -> ClientKey {
        match self {
            Self::Key(client) | Self::Name(client) | Self::Address(client) | Self::Keyless(client) => client,
        }
    }
}

impl Service {
    /// Checks the head of a batch of any protocol, and charges it. The charge is refunded only if the batch is refused
    /// because of the state of the server.
    pub(super) fn admit_batch(
        &mut self,
        head: &Head<'_>,
        dialect: &'static Dialect,
        burst: &mut Burst,
    ) -> Result<AdmittedRequest, HttpError> {
        let payload = payload_of(head, dialect, &self.shared.config);
        if let Err(refusal @ HttpError::MethodNotAllowed { .. }) = payload {
            return Err(refusal);
        }
        self.count_received(dialect);
        let mut trace = self.tracer.as_deref_mut().map_or_else(Context::default, |tracer| tracer.begin(head));
        trace.client = Some(self.client);
        let payer = self.payer(head);
        let admitted = match payer {
            keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
            payer => self.charge(payer, self.known_bytes(head.content_length, dialect)),
        };
        let charged = admitted.as_ref().copied().unwrap_or_default();
        let checked = admitted.and_then(|charge| {
            let ack = super::ack_of(head.query, dialect.protocol, self.shared.config.ack)?;
            Ok((payload?, ack, charge))
        });
        match checked {
            Ok((payload, ack, charge)) => {
                self.note_head(head, &payload, ack, payer);
                let client = self.client_of(charge);
                Ok(AdmittedRequest::Ingest { payload, ack, charge, client, trace })
            }
            Err(refusal) => {
                self.report_admitted(charged, EventKind::Admitted, 0);
                Err(self.refuse_batch(dialect, refusal, trace, burst))
            }
        }
    }

    /// Counts a batch whose head was received.
    pub(super) fn count_received(&mut self, dialect: &Dialect) {
        self.counters.batches_received += 1;
        self.counters.protocol_batches_received[dialect.protocol as usize] += 1;
    }

    /// Counts a batch that is refused by its head. Returns the refusal as its protocol needs it.
    pub(super) fn refuse_batch(
        &mut self,
        dialect: &Dialect,
        refusal: HttpError,
        mut trace: Context,
        burst: &mut Burst,
    ) -> HttpError {
        let refusal = dialect.refusal(refusal, &self.shared.config);
        self.count_refused_batch(dialect.protocol, refusal);
        burst.result.batch_responses += 1;
        self.trace(&mut trace, None, RequestStages::refused(refusal), burst.caller);
        refusal
    }

    /// Finds the client of a request. A trusted proxy names it; the fields of other peers are ignored.
    pub(super) fn identify(&mut self, head: &Head<'_>, caller: Caller) {
        let peer = caller.peer;
        self.set_client(peer, caller);
        (self.payer, self.refused_batch) = (None, None);
        if !caller.is_trusted {
            return;
        }
        let Config { forwarded_header, trusted_proxies, .. } = &self.shared.config;
        let fields = ForwardedFields { forwarded: head.forwarded, x_forwarded_for: head.x_forwarded_for };
        if let Some(client) = fields.client(*forwarded_header, peer, trusted_proxies) {
            self.set_client(client, caller);
            self.counters.forwarded_requests += u64::from(client != peer);
            self.counters.forwarded_unusable += u64::from(client == peer);
        }
    }

    /// Sets the client of the request that is being admitted.
    pub(super) fn set_client(&mut self, client: ClientAddress, caller: Caller) {
        self.client = client;
        self.client_key = caller.peer_key.filter(|_| client == caller.peer);
    }

    /// The identity whose share of queries and of the live page a request takes.
    pub(super) fn sharer(&self, payer: Payer) -> Sharer {
        match payer {
            Payer::Key(client) | Payer::Address(client) | Payer::Keyless(client) => Sharer::proven(client),
            Payer::Name(client) => Sharer { client, source: self.address_key() },
        }
    }

    /// The key of the address of the client.
    pub(super) fn address_key(&self) -> ClientKey {
        self.client_key.unwrap_or_else(|| self.shared.keys.address(self.client))
    }

    /// Finds the client that a request is charged to. A key is looked up by its hash, under hash keys of this process,
    /// so the time that it takes reveals nothing about the valid keys.
    pub(super) fn payer(&mut self, head: &Head<'_>) -> Payer {
        let payer = self.find_payer(head);
        self.payer = Some(payer.client());
        payer
    }

    fn find_payer(&self, head: &Head<'_>) -> Payer {
        let Shared { keys, api_keys, config, .. } = &*self.shared;
        let header = config.protocols.client_header.as_deref().and_then(|name| head.fields.get(name));
        if let Some(value) = header.filter(|value| !value.is_empty()) {
            return Payer::Name(keys.header(value));
        }
        let named = head.authorization.filter(|value| has_credentials(value)).map(|value| keys.authorization(value));
        match (named, api_keys) {
            (Some(client), None) => Payer::Name(client),
            (Some(client), Some(known)) if known.contains(&client) => Payer::Key(client),
            (_, Some(known)) => match credentials::find(head, keys, |client| known.contains(&client)) {
                Some(client) => Payer::Key(client),
                None => Payer::Keyless(self.address_key()),
            },
            (None, None) => match credentials::name(head, keys) {
                Some(client) => Payer::Name(client),
                None => Payer::Address(self.address_key()),
            },
        }
    }

    /// Charges a request to `payer` before it causes any cost, with the `bytes` of its body that are known so far.
    ///
    /// The clock is read once for each burst. All of a burst was received before that, and its responses are made after
    /// it, so the time is one at which each of its requests was under way.
    pub(super) fn charge(&mut self, payer: Payer, bytes: u64) -> Result<Option<Charge>, HttpError> {
        let Some(limiter) = &self.shared.limiter else { return Ok(None) };
        if self.charged_ns == 0 {
            self.charged_ns = self.shared.clock.monotonic_ns();
        }
        let now_ns = self.charged_ns;
        let address = || self.address_key();
        let (mut client, mut standing) = match payer {
            Payer::Key(client) | Payer::Address(client) => (client, Standing::PROVEN),
            Payer::Keyless(client) => (client, Standing::UNPROVEN),
            // If it is on record already, whose name it is does not matter any more.
            Payer::Name(client) => (client, Standing::UNPROVEN),
        };
        let mut decision = match payer {
            Payer::Name(name) => {
                let named = || {
                    standing = limiter.named(address());
                    standing
                };
                limiter.charge(name, named, bytes, now_ns)
            }
            _ => limiter.charge(client, || standing, bytes, now_ns),
        };
        if decision == Decision::NamesFull {
            (client, standing) = (address(), Standing::PROVEN);
            decision = limiter.charge(client, || standing, bytes, now_ns);
            self.payer = Some(client);
        }
        match decision {
            Decision::Admitted { stamp_ns } => {
                self.counters.rate_admitted += 1;
                Ok(Some(Charge { client, standing, stamp_ns, bytes }))
            }
            refusal => {
                self.events.offer(Event { key: client, stamp_ns: now_ns, kind: EventKind::Refused, metrics: 0 });
                Err(over_rate(refusal))
            }
        }
    }

    /// Reports a request that was admitted, once it is known what became of it. Each charge is reported once.
    pub(super) fn report_admitted(&mut self, charge: Option<Charge>, kind: EventKind, metrics: u32) {
        if let Some(Charge { client, stamp_ns, .. }) = charge {
            self.events.offer(Event { key: client, stamp_ns, kind, metrics });
        }
    }

    /// Refunds a charge: the request is refused because of the state of the server.
    pub(super) fn refund(&mut self, charge: Option<Charge>) {
        if let (Some(charge), Some(limiter)) = (charge, &self.shared.limiter) {
            limiter.refund(charge, self.shared.clock.monotonic_ns());
            self.counters.rate_refunded += 1;
        }
    }

    /// Refuses a request without a valid key. It is charged to its address, so keys cannot be tried faster than the
    /// rate.
    pub(super) fn refuse_keyless(&mut self, payer: Payer) -> HttpError {
        match self.charge(payer, 0) {
            Ok(charge) => {
                self.report_admitted(charge, EventKind::Admitted, 0);
                HttpError::Unauthorized
            }
            Err(refusal) => refusal,
        }
    }

    /// Charges what a body has grown to beyond what was known from its head.
    pub(super) fn charge_body(&mut self, request: &mut AdmittedRequest, bytes: u64) -> Result<(), HttpError> {
        let (Some(limiter), AdmittedRequest::Ingest { payload, charge: Some(charge), .. }) =
            (&self.shared.limiter, request)
        else {
            return Ok(());
        };
        // What the head stated is paid for.
        let Some(more) = bytes.checked_sub(charge.bytes).filter(|&more| more > 0) else { return Ok(()) };
        match limiter.charge_bytes(charge, more, self.shared.clock.monotonic_ns()) {
            Decision::Admitted { .. } => Ok(()),
            refusal => Err(payload.dialect().refusal(over_rate(refusal), &self.shared.config)),
        }
    }

    /// Charges the lines of a body, before they are committed, as far as they are more than what is charged for the
    /// body pays for.
    pub(super) fn charge_lines(
        &self,
        charge: Option<Charge>,
        dialect: &Dialect,
        line_bytes: usize,
    ) -> Result<(), HttpError> {
        let (Some(limiter), Some(mut charge)) = (&self.shared.limiter, charge) else { return Ok(()) };
        let bytes = line_bytes.div_ceil(limits::LINE_BYTES_PER_CHARGED_BYTE) as u64;
        let Some(more) = bytes.checked_sub(charge.bytes).filter(|&more| more > 0) else { return Ok(()) };
        match limiter.charge_bytes(&mut charge, more, self.shared.clock.monotonic_ns()) {
            Decision::Admitted { .. } => Ok(()),
            refusal => Err(dialect.refusal(over_rate(refusal), &self.shared.config)),
        }
    }

    /// The body length that a head states. A body over the limit is refused without being read, and is not charged.
    pub(super) fn known_bytes(&self, content_length: Option<u64>, dialect: &Dialect) -> u64 {
        let bytes_max = dialect.body_bytes_max(&self.shared.config) as u64;
        content_length.filter(|&bytes| bytes <= bytes_max).unwrap_or(0)
    }
}

/// The error for a refusal by the limiter.
fn over_rate(decision: Decision) -> HttpError {
    let seconds = |ns: u64| u32::try_from(ns.div_ceil(1_000_000_000).max(1)).unwrap_or(u32::MAX);
    match decision {
        Decision::Refused { retry_after_ns } => HttpError::RateLimited { retry_after_s: seconds(retry_after_ns) },
        Decision::OverBytes { retry_after_ns } => {
            HttpError::BytesRateLimited { retry_after_s: seconds(retry_after_ns) }
        }
        Decision::Admitted { .. } | Decision::NamesFull | Decision::TableFull => {
            HttpError::Unavailable { text: "too many clients", retry_after_s: http1::limits::RETRY_AFTER_S }
        }
    }
}

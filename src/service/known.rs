//! Verdicts on heads that come again: a client on a kept connection sends one head with every batch, so what
//! follows from its bytes alone is decided once.
//!
//! Owns: for each head that the core's HTTP remembers, the level of its batches and who pays for them, as far as the
//! head names it. Promises: a request is admitted as if its head had been judged anew. What depends on anything else
//! (the listener, the peer, the rate, a shutdown) is decided for each request; and a head is kept only if no part of it
//! that may differ from one request to the next has a say.

use super::{AdmittedRequest, Burst, Payer, Service};
use crate::{listening::Role, protocols::Payload, trace::Context};
use http1::{Head, HeadId, HttpError, limits::HEADS_KNOWN_MAX};
use log::AckLevel;

/// The verdicts on the heads that the core remembers, each at the place of its head.
#[derive(Debug, Default)]
pub(super) struct KnownHeads([Option<Verdict>; HEADS_KNOWN_MAX]);

/// Facts that follow from the head of a batch of JSON.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    id: HeadId,
    ack: AckLevel,
    /// The client that the head names; `None`: the address pays.
    named: Option<Payer>,
}

impl Service {
    /// Notes what a head says, which was judged: of a batch of JSON, at this level, to be paid for by `payer`.
    pub(super) fn note_head(&mut self, head: &Head<'_>, payload: &Payload, ack: AckLevel, payer: Payer) {
        // The two fields whose values may differ under one number.
        let is_stable =
            |name: &str| !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("traceparent");
        let is_named_by_head = self.shared.config.protocols.client_header.as_deref().is_none_or(is_stable);
        let named = match payer {
            Payer::Key(_) | Payer::Name(_) => Some(payer),
            Payer::Address(_) => None,
            Payer::Keyless(_) => return,
        };
        if let Some(id) = head.id
            && *payload == Payload::Json
            && is_named_by_head
        {
            self.known_heads.0[id.place()] = Some(Verdict { id, ack, named });
        }
    }

    /// Admits a batch by what was noted of its head; `None` if there is nothing, or more than that has a say.
    pub(super) fn admit_known(
        &mut self,
        id: HeadId,
        content_length: Option<u64>,
        burst: &mut Burst,
    ) -> Option<Result<AdmittedRequest, HttpError>> {
        let verdict = self.known_heads.0[id.place()].filter(|verdict| verdict.id == id)?;
        let caller = burst.caller;
        // A trusted proxy names the client; a trace begins with the head.
        if caller.is_trusted || caller.crowded || caller.role == Role::Admin || self.tracer.is_some() {
            return None;
        }
        (self.client, self.client_key) = (caller.peer, caller.peer_key);
        self.refused_batch = None;
        let dialect = Payload::Json.dialect();
        let payer = verdict.named.unwrap_or_else(|| Payer::Address(self.address_key()));
        self.payer = Some(payer.client());
        self.count_received(dialect);
        let charged = self.charge(payer, self.known_bytes(content_length, dialect));
        Some(match charged {
            Ok(charge) => {
                let (client, trace) = (self.client_of(charge), Context::default());
                Ok(AdmittedRequest::Ingest { payload: Payload::Json, ack: verdict.ack, charge, client, trace })
            }
            Err(refusal) => {
                let refusal = self.refuse_batch(dialect, refusal, Context::default(), burst);
                self.refuse(refusal, self.admitted_client());
                Err(refusal)
            }
        })
    }
}

//! Refusals: each is counted and noted in one place, with its client.

use super::{Caller, Service};
use crate::stats::{Protocol, Refusal, RefusedBatch, Rejection, Shed};
use http1::{HttpError, Status};
use rate::{Charge, ClientKey};

impl Service {
    /// Counts a refusal, and notes who got it. A batch that is refused with it is counted before.
    pub(super) fn refuse(&mut self, error: HttpError, client: ClientKey) {
        self.note_refusal(error.index(), client);
        self.counters.refused(error);
    }

    /// As [`refuse`](Self::refuse), for content that is refused with a text of its own.
    pub(super) fn refuse_content(&mut self, client: ClientKey) {
        self.note_refusal(http1::CONTENT_INDEX, client);
        self.counters.refused_content();
    }

    /// As `refuse`, where of the client only its connection is known.
    pub fn refuse_caller(&mut self, error: HttpError, caller: Caller) {
        let client = self.shared.keys.address(caller.peer);
        self.refuse(error, client);
    }

    #[cold]
    fn note_refusal(&mut self, reason: usize, client: ClientKey) {
        let batch = self.refused_batch.take();
        self.refusals.note(Refusal { at_ms: self.arrival_ms, reason, client, batch, count: 1 });
    }

    /// The client of the request that is being admitted: the one that it is charged to, or its address if that was not
    /// looked for.
    pub(super) fn admitted_client(&self) -> ClientKey {
        self.payer.unwrap_or_else(|| self.address_key())
    }

    /// The client of a batch: the one that has paid for it, which is its address where there are too many names.
    pub(super) fn client_of(&self, charge: Option<Charge>) -> ClientKey {
        charge.map_or_else(|| self.admitted_client(), |charge| charge.client)
    }

    /// Counts a batch that is rejected, and whose refusal follows.
    pub(super) fn reject_batch(&mut self, protocol: Protocol, reason: Rejection) {
        self.counters.reject_batch(protocol, reason);
        self.refused_batch = Some(RefusedBatch { protocol, outcome: reason.label() });
    }

    /// Counts a batch that is shed, and whose refusal follows.
    pub(super) fn shed_batch(&mut self, protocol: Protocol, reason: Shed) {
        self.counters.shed_batch(protocol, reason);
        self.refused_batch = Some(RefusedBatch { protocol, outcome: reason.label() });
    }

    /// Counts a batch that was refused before it was parsed.
    pub(super) fn count_refused_batch(&mut self, protocol: Protocol, error: HttpError) {
        let rejected = match error {
            HttpError::BodiesFull => return self.shed_batch(protocol, Shed::BodiesFull),
            HttpError::Unavailable { .. } => return self.shed_batch(protocol, Shed::ClientsFull),
            HttpError::BadRequest(_) | HttpError::UnknownParameter { .. } => Rejection::Malformed,
            HttpError::Throttled { .. } => Rejection::RateLimited,
            _ => match error.status() {
                Status::Unauthorized => Rejection::Unauthorized,
                Status::TooManyRequests => Rejection::RateLimited,
                Status::ContentTooLarge => Rejection::TooLarge,
                Status::RequestTimeout => Rejection::TimedOut,
                _ => Rejection::Framing,
            },
        };
        self.reject_batch(protocol, rejected);
    }
}

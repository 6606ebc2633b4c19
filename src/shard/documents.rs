//! Connections of one core that wait for documents of statistics. The observer has at most one request of each lane
//! from a core; a request that comes meanwhile waits for the next, so a document is never older than the request it is
//! for, and however many requests there are, none is refused for their number.

use super::{
    connection::{Phase, Timer},
    state::State,
};
use crate::{
    service::BurstResult,
    stats::{Document, DocumentRequest, RenderedDocument},
    ui::PageRequest,
};
use http1::{HttpError, Responder, Status};
use rate::ClientKey;
use reactor::Token;
use std::collections::VecDeque;

/// One request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The connection.
    pub token: Token,
    /// The client, where the document names it.
    pub asked_by: Option<ClientKey>,
}

/// Requests that one rendering serves.
#[derive(Debug)]
struct Round {
    document: Document,
    /// The observer has the request: a client that comes now is too late for it.
    under_way: bool,
    waiters: Vec<Waiter>,
}

/// The rounds of one core, and what was rendered and is not handed out yet.
#[derive(Debug, Default)]
pub struct Waiters {
    rounds: Vec<Round>,
    rendered: VecDeque<(Waiter, RenderedDocument)>,
}

impl Waiters {
    /// Notes a request. Returns the request for the observer, unless one of its lane is under way.
    fn add(&mut self, document: Document, waiter: Waiter) -> Option<Document> {
        match self.rounds.iter_mut().find(|round| round.document == document && !round.under_way) {
            Some(round) => round.waiters.push(waiter),
            None => self.rounds.push(Round { document, under_way: false, waiters: vec![waiter] }),
        }
        self.next_request(document.lane())
    }

    /// The oldest request of a lane that has none under way, which it now has.
    fn next_request(&mut self, lane: usize) -> Option<Document> {
        let mut of_lane = self.rounds.iter_mut().filter(|round| round.document.lane() == lane);
        // Rounds stand in the order in which they began, so one that is under way stands first.
        let round = of_lane.next().filter(|round| !round.under_way)?;
        round.under_way = true;
        Some(round.document)
    }

    /// Ends the round of `document` that was under way, and returns who waited for it.
    fn end(&mut self, document: Document) -> Vec<Waiter> {
        let round = self.rounds.iter().position(|round| round.under_way && round.document == document);
        round.map_or_else(Vec::new, |index| self.rounds.remove(index).waiters)
    }

    /// Requests that wait.
    fn len(&self) -> usize {
        self.rounds.iter().map(|round| round.waiters.len()).sum::<usize>() + self.rendered.len()
    }

    /// Returns true if there are rendered documents that are not handed out yet.
    pub fn has_rendered(&self) -> bool {
        !self.rendered.is_empty()
    }
}

impl State {
    /// Lets a connection wait for a document.
    pub(super) fn await_document(&mut self, token: Token, document: Document, asked_by: Option<ClientKey>) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Deferred;
        self.set_timer(token, Timer::Response);
        let request = self.documents.add(document, Waiter { token, asked_by });
        self.pass_on(request);
        // Connections that ended leave their entries behind. Kept to one for each that is open, they stay bounded.
        if self.documents.len() > 2 * self.connections.len() {
            let connections = &mut self.connections;
            let mut is_open = |waiter: &Waiter| connections.get(waiter.token).is_some();
            self.documents.rounds.iter_mut().for_each(|round| round.waiters.retain(&mut is_open));
            self.documents.rendered.retain(|(waiter, _)| is_open(waiter));
        }
    }

    /// Passes a request on to the observer.
    fn pass_on(&mut self, request: Option<Document>) {
        let Some(document) = request else { return };
        if self.setup.document_requests.try_send(DocumentRequest { document, reactor: self.setup.index }).is_err() {
            // The queue has a place for each lane of each core, so the observer is gone.
            let refusal = HttpError::Unavailable {
                text: "statistics are unavailable",
                retry_after_s: http1::limits::RETRY_AFTER_S,
            };
            for waiter in self.documents.end(document) {
                self.refuse_deferred(waiter.token, refusal, refusal.text());
            }
        }
    }

    /// Takes a document that the observer has rendered, and requests the next of its lane.
    pub(super) fn take_document(&mut self, rendered: &RenderedDocument) {
        let waiters = self.documents.end(rendered.document);
        self.documents.rendered.extend(waiters.into_iter().map(|waiter| (waiter, rendered.clone())));
        let request = self.documents.next_request(rendered.document.lane());
        self.pass_on(request);
    }

    /// Responds with the live page, which is at hand.
    pub(super) fn respond_with_page(&mut self, token: Token, request: PageRequest) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Deferred;
        let Some(page) = &self.setup.shared.page else {
            return self.refuse_deferred(token, HttpError::NotFound, HttpError::NotFound.text());
        };
        let bytes = page.body(request.gzip).len() + page.fields(request.gzip).len() + http1::limits::RESPONSE_BYTES;
        self.make_memory(token, bytes);
        if self.http.free_bytes() < bytes {
            return self.refuse_deferred(token, HttpError::BodiesFull, HttpError::BodiesFull.text());
        }
        let Some(connection) = self.connections.get(token) else { return };
        let service = &mut self.setup.service;
        let respond = |respond: Responder<'_>| service.respond_page(request, respond);
        let progress = connection.http.respond_deferred(&self.http, &mut connection.out, respond);
        self.apply_progress(token, progress.with(BurstResult::default()));
    }

    /// Responds with the rendered documents, up to a turn's share of bytes.
    pub(super) fn hand_out_documents(&mut self) {
        let mut bytes = 0;
        while bytes < http1::limits::CONTENT_BYTES_PER_TURN_MAX
            && let Some((waiter, rendered)) = self.documents.rendered.pop_front()
        {
            let body = rendered.body_for(waiter.asked_by);
            self.make_memory(waiter.token, body.len() + http1::limits::RESPONSE_BYTES);
            if self.http.free_bytes() < body.len() + http1::limits::RESPONSE_BYTES {
                self.refuse_deferred(waiter.token, HttpError::BodiesFull, HttpError::BodiesFull.text());
                continue;
            }
            let content_type = rendered.document.content_type();
            let whole = |respond: Responder<'_>| respond.body(Status::Ok, content_type, &body);
            if self.respond_deferred(waiter.token, whole).is_some() {
                self.setup.service.counters.responses_ok += 1;
                bytes += body.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Format;

    const JSON: Document = Document::Metrics(Format::Json);
    const TEXT: Document = Document::Metrics(Format::Prometheus);

    fn waiter(slot: u32) -> Waiter {
        Waiter { token: Token::new(slot, 0), asked_by: None }
    }

    #[test]
    fn who_asks_during_a_rendering_gets_the_next_document() {
        let mut waiters = Waiters::default();
        assert_eq!(waiters.add(JSON, waiter(1)), Some(JSON));
        assert_eq!(waiters.add(JSON, waiter(2)), None);
        assert_eq!(waiters.add(JSON, waiter(3)), None);
        assert_eq!(waiters.end(JSON), [waiter(1)]);
        assert_eq!(waiters.next_request(JSON.lane()), Some(JSON));
        assert_eq!(waiters.end(JSON), [waiter(2), waiter(3)]);
        assert_eq!((waiters.next_request(JSON.lane()), waiters.len()), (None, 0));
    }

    #[test]
    fn a_lane_does_not_wait_for_another() {
        let mut waiters = Waiters::default();
        let clients = |top| Document::Clients { top };
        assert_eq!(waiters.add(clients(1), waiter(1)), Some(clients(1)));
        assert_eq!(waiters.add(clients(2), waiter(2)), None, "one of a lane is under way at a time");
        assert_eq!(waiters.add(clients(3), waiter(3)), None);
        assert_eq!(waiters.add(TEXT, waiter(4)), Some(TEXT));
        assert_eq!(waiters.end(clients(1)), [waiter(1)]);
        assert_eq!(waiters.next_request(clients(1).lane()), Some(clients(2)), "in the order of the requests");
        assert_eq!(waiters.len(), 3);
    }
}

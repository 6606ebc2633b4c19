//! Responses made by other threads: queries by the pool, and statistics by the observer (`documents`). The request is
//! passed on, its connection waits, and the response is sent when it arrives.
//!
//! A query is begun only once the responses to the requests before it on its connection have been sent: so they are not
//! held up by it, and what they acknowledged is in it. When its connection ends, dropping the reader cancels it. That a
//! client has ended its side while nothing was sent yet may mean that it has left, or that it has no further request:
//! the query goes on for a little while. Once the response has begun, only a failing send shows it.

use super::{
    connection::{Phase, Source, Timer},
    state::State,
};
use crate::{
    query_pool::{
        RawQuery, Sharer,
        response_channel::{ResponseEvent, Taken},
    },
    service::BurstResult,
    stats::Closed,
    ui::Job,
};
use http1::{Disposition, HttpError, Next, Responder, Served, Status};
use reactor::Token;

impl State {
    /// Starts a response from another thread once the responses before it are sent.
    pub(super) fn start_after_burst(&mut self, token: Token, source: Source) {
        let Some(connection) = self.connections.get(token) else { return };
        if connection.out.is_empty() {
            return self.start(token, source);
        }
        connection.next_source = Some(source);
        self.dispatch(token, Disposition::KeepOpen);
    }

    /// Starts a response from another thread.
    pub(super) fn start(&mut self, token: Token, source: Source) {
        match source {
            Source::Query(query) => self.start_query(token, query),
            Source::Stream(head_only, sharer) => self.start_stream(token, head_only, sharer),
            Source::Job(job) => self.start_job(token, *job),
        }
    }

    /// Opens a stream of the live page, or responds that too many are open.
    fn start_stream(&mut self, token: Token, head_only: bool, sharer: Sharer) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Deferred;
        let opened = match &self.setup.streams {
            Some(streams) => streams.open(token, head_only, sharer),
            None => Err((HttpError::NotFound, HttpError::NotFound.text())),
        };
        match opened {
            Ok(reader) => {
                connection.reader = Some(reader);
                self.set_timer(token, Timer::Live);
            }
            Err((refusal, text)) => self.refuse_deferred(token, refusal, text),
        }
    }

    /// Starts a job for the live page, or responds why it does not begin.
    fn start_job(&mut self, token: Token, job: Job) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Deferred;
        let started = match &self.setup.streams {
            Some(streams) => streams.start(token, job),
            None => Err((HttpError::NotFound, HttpError::NotFound.text())),
        };
        match started {
            Ok(reader) => {
                connection.reader = Some(reader);
                self.set_timer(token, Timer::Job);
            }
            Err((refusal, text)) => self.refuse_deferred(token, refusal, text),
        }
    }

    /// Passes a query on to the pool, or responds 503 when the pool is full.
    fn start_query(&mut self, token: Token, query: Box<RawQuery>) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Deferred;
        let in_time = if query.may_wait() { Timer::Wait } else { Timer::Query };
        match self.setup.queries.submit(query, token) {
            Ok(reader) => {
                connection.reader = Some(reader);
                let timer = if connection.eof { Timer::Left } else { in_time };
                self.set_timer(token, timer);
            }
            Err((refusal, text)) => self.refuse_deferred(token, refusal, text),
        }
    }

    /// Responds 503 to a query that timed out.
    pub(super) fn end_query(&mut self, token: Token) {
        if let Some(connection) = self.connections.get(token) {
            connection.reader = None;
        }
        let refusal =
            HttpError::Unavailable { text: "the query timed out", retry_after_s: http1::limits::RETRY_AFTER_S };
        self.refuse_deferred(token, refusal, refusal.text());
    }

    /// Goes on with a response that comes in parts: with one of them, as each is sent before the next is taken.
    pub(super) fn take_part(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        let Some(reader) = &connection.reader else { return };
        match reader.take() {
            Taken::Event(part) => self.send_part(token, part),
            Taken::Nothing if connection.phase == Phase::Sending => {
                connection.phase = Phase::Streaming;
                let timer = if reader.is_live() { Timer::Live } else { Timer::More };
                self.set_timer(token, timer);
            }
            Taken::Nothing => {}
            Taken::Ended => self.close(token, Closed::CutOff),
        }
    }

    fn send_part(&mut self, token: Token, part: ResponseEvent) {
        let Some(connection) = self.connections.get(token) else { return };
        match part {
            ResponseEvent::Whole { content_type, fields, body } => {
                connection.reader = None;
                let whole =
                    |respond: Responder<'_>| respond.body_with(Status::Ok, content_type, &fields, body.content());
                if self.respond_deferred(token, whole).is_some() {
                    self.setup.service.counters.responses_ok += 1;
                }
            }
            ResponseEvent::Refused { error, text, fields } => {
                connection.reader = None;
                let caller = connection.caller;
                if self.respond_deferred(token, |respond| respond.refuse_with(error, &text, &fields)).is_some() {
                    self.setup.service.refuse_caller(error, caller);
                }
            }
            ResponseEvent::Head { content_type, fields } => {
                let stream = |respond: Responder<'_>| respond.stream_with(content_type, &fields);
                let Some(next) = self.respond_deferred(token, stream) else { return };
                self.setup.service.counters.responses_ok += 1;
                if next != Next::Stream
                    && let Some(connection) = self.connections.get(token)
                {
                    connection.reader = None;
                }
            }
            ResponseEvent::Piece(piece) => {
                connection.out = connection.http.piece(piece);
                self.dispatch(token, Disposition::KeepOpen);
            }
            ResponseEvent::Last(piece) => {
                connection.reader = None;
                let (bytes, progress) = connection.http.last_piece(piece);
                connection.out = bytes;
                self.apply_progress(token, progress.with(BurstResult::default()));
            }
        }
    }

    /// Completes a request that was passed on, if its connection still waits for it, and returns what follows.
    pub(super) fn respond_deferred(
        &mut self,
        token: Token,
        respond: impl FnOnce(Responder<'_>) -> Served,
    ) -> Option<Next> {
        let connection = self.connections.get(token).filter(|connection| connection.phase == Phase::Deferred)?;
        let progress = connection.http.respond_deferred(&self.http, &mut connection.out, respond);
        let next = progress.next;
        self.apply_progress(token, progress.with(BurstResult::default()));
        Some(next)
    }

    pub(super) fn refuse_deferred(&mut self, token: Token, refusal: HttpError, text: &str) {
        let Some(caller) = self.connections.get(token).map(|connection| connection.caller) else { return };
        if self.respond_deferred(token, |respond| respond.refuse_as(refusal, &text)).is_some() {
            self.setup.service.refuse_caller(refusal, caller);
        }
    }
}

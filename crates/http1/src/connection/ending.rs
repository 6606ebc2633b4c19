//! Refusals, and the ends of a connection that its peer did not request: a deadline, an eviction, memory that ran out,
//! a close in the middle of a request.

use super::{
    BodyUse, Chunked, Connection, DISCARD_BYTES_MAX, Disposition, Framing, HeadScan, HttpContext, HttpError, Incoming,
    Phase, Progress, Responder, ResponseFraming, Service, Turn,
};

impl<T> Connection<T> {
    /// Ends an overrun connection with a 503 to the request that cannot be completed, unless a response is outstanding.
    pub(super) fn end_overrun<S: Service<AdmittedRequest = T>>(&mut self, turn: &mut Turn<'_, S>) {
        match std::mem::replace(&mut self.phase, Phase::Head(HeadScan::new())) {
            Phase::Head(_) => self.refuse_and_end(None, HttpError::BodiesFull, ResponseFraming::default(), turn),
            Phase::Body(Incoming { body_use, form, .. }) => {
                self.end_body(body_use, HttpError::BodiesFull, form, turn);
            }
            phase @ (Phase::Deferred(_) | Phase::Streaming(_)) => {
                self.phase = phase;
                return;
            }
            phase @ Phase::Ended { .. } => self.phase = phase,
        }
        self.overrun = false;
        self.release(turn.core);
    }

    /// The deadline passed. In a head or a body a 408 is appended to `out`, and [`Service::refused`] called; a
    /// connection that waits for nothing but the next request, or for the rest of a body whose response has been made,
    /// just closes.
    pub fn timed_out<S: Service<AdmittedRequest = T>>(
        &mut self,
        caller: S::Caller,
        service: &mut S,
        core: &mut HttpContext,
        out: &mut Vec<u8>,
    ) -> Progress<S::BurstResult> {
        let turn = Turn::new(service, caller, core, out);
        self.break_off(HttpError::HeadTimeout, HttpError::BodyTimeout, turn)
    }

    /// Gives the connection up for others: as [`Connection::timed_out`], with `error` in place of the 408.
    pub fn evict<S: Service<AdmittedRequest = T>>(
        &mut self,
        error: HttpError,
        caller: S::Caller,
        service: &mut S,
        core: &mut HttpContext,
        out: &mut Vec<u8>,
    ) -> Progress<S::BurstResult> {
        self.break_off(error, error, Turn::new(service, caller, core, out))
    }

    fn break_off<S: Service<AdmittedRequest = T>>(
        &mut self,
        in_head: HttpError,
        in_body: HttpError,
        mut turn: Turn<'_, S>,
    ) -> Progress<S::BurstResult> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended { after: Disposition::Close, drained: 0 });
        match phase {
            Phase::Head(scan) if scan.has_begun() || !self.inbox.is_empty() => {
                self.refuse_and_end(None, in_head, ResponseFraming::default(), &mut turn);
            }
            Phase::Body(Incoming { body_use, form, .. }) => {
                self.end_body(body_use, in_body, form, &mut turn);
            }
            Phase::Head(_) | Phase::Deferred(_) | Phase::Streaming(_) | Phase::Ended { .. } => {}
        }
        self.release(turn.core);
        let Turn { responses, out, burst, .. } = turn;
        self.progress(responses, !out.is_empty(), false, true).with(burst.result)
    }

    /// The request that was admitted and will not be served any more: for the owner to count, when the connection ended
    /// before the request's body did.
    pub fn take_admitted(&mut self) -> Option<T> {
        match std::mem::replace(&mut self.phase, Phase::Ended { after: Disposition::Close, drained: 0 }) {
            Phase::Body(Incoming { body_use: BodyUse::Serve(request, _) | BodyUse::ServeWithout(request), .. }) => {
                Some(request)
            }
            _ => None,
        }
    }

    /// Refuses a request by its head alone, and chooses between reading past its body and ending.
    pub(super) fn refuse_by_head<S: Service<AdmittedRequest = T>>(
        &mut self,
        error: HttpError,
        form: ResponseFraming,
        content_length: Option<u64>,
        expects_continue: bool,
        turn: &mut Turn<'_, S>,
    ) {
        let has_body = content_length != Some(0);
        let too_long = content_length.is_some_and(|length| length > DISCARD_BYTES_MAX as u64);
        let close = form.close || turn.core.ends_connections() || too_long || (expects_continue && has_body);
        let form = ResponseFraming { close, ..form };
        let _ = Responder { out: turn.out, date: &turn.core.date, form, latest: None }.refuse(error);
        turn.responses += 1;
        let framing = match content_length {
            _ if close => return self.finish(form, has_body),
            Some(0) => return self.finish(form, false),
            // Not over DISCARD_BYTES_MAX, as `too_long` would have closed.
            Some(length) => {
                let total = usize::try_from(length).unwrap_or(DISCARD_BYTES_MAX);
                Framing::Length { remaining: total, total }
            }
            None => Framing::Chunked(Chunked::new(DISCARD_BYTES_MAX)),
        };
        let body_use = BodyUse::Discard(DISCARD_BYTES_MAX);
        self.phase = Phase::Body(Incoming { body_use, form, framing, body_bytes_max: DISCARD_BYTES_MAX });
    }

    /// A body cannot be read to its end. A request that has its response already gets no second one.
    pub(super) fn end_body<S: Service<AdmittedRequest = T>>(
        &mut self,
        body_use: BodyUse<T>,
        error: HttpError,
        form: ResponseFraming,
        turn: &mut Turn<'_, S>,
    ) {
        match body_use {
            BodyUse::Serve(request, _) | BodyUse::ServeWithout(request) => {
                self.refuse_and_end(Some(request), error, form, turn);
            }
            BodyUse::Discard(_) => self.finish(ResponseFraming { close: true, ..form }, true),
        }
    }

    /// Refuses a request that leaves it open where the next one begins, and ends the connection.
    pub(super) fn refuse_and_end<S: Service<AdmittedRequest = T>>(
        &mut self,
        request: Option<T>,
        error: HttpError,
        form: ResponseFraming,
        turn: &mut Turn<'_, S>,
    ) {
        let form = ResponseFraming { close: true, ..form };
        turn.service.refused(request, error, &mut turn.burst);
        let _ = Responder { out: turn.out, date: &turn.core.date, form, latest: None }.refuse(error);
        turn.responses += 1;
        self.finish(form, true);
    }

    /// The request has its response. `unread`: input follows, or may.
    pub(super) fn finish(&mut self, form: ResponseFraming, unread: bool) {
        self.phase = match (form.close, unread) {
            (false, _) => Phase::Head(HeadScan::new()),
            (true, false) => Phase::Ended { after: Disposition::Close, drained: 0 },
            (true, true) => Phase::Ended { after: Disposition::Linger, drained: 0 },
        };
    }
}

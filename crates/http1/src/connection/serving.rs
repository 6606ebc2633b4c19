//! Requests whose body is complete: to the service, and on to the next request.

use super::{
    BodyUse, Coding, Connection, HttpContext, Outcome, Phase, Responder, ResponseFraming, Served, Service, Turn,
};

impl<T> Connection<T> {
    /// The body is complete. `unread`: bytes follow it.
    pub(super) fn complete<S: Service<AdmittedRequest = T>>(
        &mut self,
        body_use: BodyUse<T>,
        body: &[u8],
        body_bytes_max: usize,
        form: ResponseFraming,
        unread: bool,
        turn: &mut Turn<'_, S>,
    ) {
        let (mut request, coding) = match body_use {
            BodyUse::Serve(request, Coding::Identity) => return self.serve(request, body, form, unread, turn),
            BodyUse::Serve(request, coding) => (request, coding),
            BodyUse::ServeWithout(request) => return self.serve(request, &[], form, unread, turn),
            BodyUse::Discard(_) => return self.finish(form, unread),
        };
        let HttpContext { decoder, date, latest, draining, closes, .. } = &mut *turn.core;
        let form = ResponseFraming { close: form.close || *draining || *closes, ..form };
        let respond = Responder { out: turn.out, date, form, latest: Some(latest) };
        let service = &mut *turn.service;
        let mut charge = |bytes: usize| service.charge(&mut request, bytes as u64);
        let served = match decoder.decode(coding, body, body_bytes_max, &mut charge) {
            Ok(content) => turn.service.serve(request, content, respond, &mut turn.burst),
            Err(error) => {
                turn.service.refused(Some(request), error, &mut turn.burst);
                respond.refuse(error)
            }
        };
        turn.content_bytes += decoder.cost_bytes();
        decoder.trim();
        self.conclude(served, form, unread, turn);
    }

    /// Serves a request whose body is complete, and is its content.
    #[inline]
    pub(super) fn serve<S: Service<AdmittedRequest = T>>(
        &mut self,
        request: T,
        body: &[u8],
        mut form: ResponseFraming,
        unread: bool,
        turn: &mut Turn<'_, S>,
    ) {
        form.close |= turn.core.ends_connections();
        turn.content_bytes += body.len();
        let HttpContext { date, latest, .. } = &mut *turn.core;
        let respond = Responder { out: turn.out, date, form, latest: Some(latest) };
        let served = turn.service.serve(request, body, respond, &mut turn.burst);
        self.conclude(served, form, unread, turn);
    }

    /// Goes on behind a request that the service has served.
    #[inline]
    fn conclude<S: Service<AdmittedRequest = T>>(
        &mut self,
        served: Served,
        form: ResponseFraming,
        unread: bool,
        turn: &mut Turn<'_, S>,
    ) {
        if served.outcome == Outcome::Deferred {
            self.phase = Phase::Deferred(form);
            return;
        }
        assert!(served.outcome != Outcome::Streamed, "a response of unknown length is that of a deferred request");
        turn.responses += 1;
        self.finish(form, unread);
    }
}

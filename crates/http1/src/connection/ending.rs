//! The ends of a connection that its peer did not ask for: a deadline, an eviction, memory that ran out, a close in the
//! middle of a request.

use super::{After, Connection, Core, Form, HeadScan, HttpError, Incoming, Phase, Purpose, Service, Turn};

impl<T> Connection<T> {
    /// Ends an overrun connection with a 503 to the request that cannot be completed, unless an answer is outstanding.
    pub(super) fn end_overrun<S: Service<Ticket = T>>(&mut self, turn: &mut Turn<'_, S>) {
        match std::mem::replace(&mut self.phase, Phase::Head(HeadScan::new())) {
            Phase::Head(_) => self.refuse_and_end(None, HttpError::BodiesFull, Form::default(), turn),
            Phase::Body(Incoming { purpose, form, .. }) => {
                self.end_body(purpose, HttpError::BodiesFull, form, turn);
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
    /// connection that waits for nothing but the next request, or for the rest of a body already answered for, just
    /// closes.
    pub fn timed_out<S: Service<Ticket = T>>(&mut self, service: &mut S, core: &mut Core, out: &mut Vec<u8>) -> After {
        self.break_off(HttpError::HeadTimeout, HttpError::BodyTimeout, service, core, out)
    }

    /// Gives the connection up for others: as [`Connection::timed_out`], with `error` in place of the 408.
    pub fn evict<S: Service<Ticket = T>>(
        &mut self,
        error: HttpError,
        service: &mut S,
        core: &mut Core,
        out: &mut Vec<u8>,
    ) -> After {
        self.break_off(error, error, service, core, out)
    }

    fn break_off<S: Service<Ticket = T>>(
        &mut self,
        in_head: HttpError,
        in_body: HttpError,
        service: &mut S,
        core: &mut Core,
        out: &mut Vec<u8>,
    ) -> After {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended { after: After::Close, drained: 0 });
        let mut turn = Turn::new(service, core, out);
        match phase {
            Phase::Head(scan) if scan.has_begun() || !self.inbox.is_empty() => {
                self.refuse_and_end(None, in_head, Form::default(), &mut turn);
            }
            Phase::Body(Incoming { purpose, form, .. }) => {
                self.end_body(purpose, in_body, form, &mut turn);
            }
            Phase::Head(_) | Phase::Deferred(_) | Phase::Streaming(_) | Phase::Ended { .. } => {}
        }
        self.release(turn.core);
        self.after()
    }

    /// The ticket of a request that was admitted and will not be served any more: for the owner to count, when the
    /// connection ended before the request's body did.
    pub fn take_ticket(&mut self) -> Option<T> {
        match std::mem::replace(&mut self.phase, Phase::Ended { after: After::Close, drained: 0 }) {
            Phase::Body(Incoming { purpose: Purpose::Serve(ticket, _) | Purpose::ServeWithout(ticket), .. }) => {
                Some(ticket)
            }
            _ => None,
        }
    }
}

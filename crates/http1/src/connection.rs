//! One connection: bytes in, requests to the service, responses out.
//!
//! The connection is half-duplex by design. It takes in a burst of requests and appends their responses; while these
//! wait for the log or are being sent, bytes that arrive are buffered unread; then it goes on with them. So one buffer
//! of responses is in flight, and the responses are in the order of the requests by construction.
//!
//! What the owner does:
//! 1. Bytes arrived: [`Connection::receive`], or [`Connection::buffer`] while responses are outstanding or deferred.
//! 2. Do what [`Progress::next`] says. What was appended to `out` is sent once [`Progress::result`], in which is what
//!    the service has decided, allows it.
//! 3. Sent: as the [`Disposition`] says, either `receive` with no bytes to go on, or close, or end the write side and
//!    feed [`Connection::drain`] until it says that it is enough.
//! 4. [`Progress::deadline`] passed: [`Connection::timed_out`]. Closed: [`Connection::release`].
//! 5. End of file: what was received still gets its responses; close once nothing is outstanding and [`Progress::more`]
//!    is false.
//!
//! Choices where the protocol leaves one:
//! - A request refused by its head (429, 404…) gets its response at once. If its body is framed and not over
//!   `DISCARD_BYTES_MAX`, the body is read past and the connection goes on. If the body is longer or the client waits
//!   for `100 Continue` (it may then send the body or not), the response ends the connection. A chunked body does not
//!   state its length, so there the connection goes on, and ends without a further word if the body turns out longer.
//! - After a fault of framing, 408, 413, 431, 501 or 505 nobody can say where the next request begins: the response
//!   ends the connection. A body that does not decompress, or in a coding that is not served, is framed all the same:
//!   the connection goes on.
//! - `100 Continue` is sent when the body has not begun to arrive with the head.
//! - The body of a GET, HEAD or OPTIONS is framed, read past, and not shown to the service.
//! - A response of unknown length is chunked; to HTTP/1.0 it ends with the connection. If it cannot be finished, its
//!   connection is closed without the last chunk, which is how the peer detects it.

mod ending;
mod progress;
mod serving;

pub use progress::{Deadline, Disposition, Next, Progress};

use super::HttpError;
use super::buffers::HttpContext;
use super::chunked::Chunked;
use super::fields::Coding;
use super::head::{self, Framed, Head, HeadId, HeadScan, Version};
use super::piece::Piece;
use super::response::{CONTINUE, Outcome, Responder, ResponseFraming, Served};
use super::rules::Rules;
use crate::limits::{
    CONTENT_BYTES_PER_TURN_MAX, DISCARD_BYTES_MAX, HEAD_BYTES_MAX, INBOX_BYTES_MAX, LINGER_BYTES_MAX,
    REQUEST_WORK_BYTES, REQUESTS_PER_TURN_MAX, RESPONSE_BYTES,
};

/// Service that the connection calls with its requests.
pub trait Service {
    /// State that the service keeps of an admitted head until the body is there: small and owned.
    type AdmittedRequest;
    /// Owner of a connection: what the service has to know of the client to judge its requests.
    type Caller;
    /// Decisions of the service about the requests of one burst, beside their responses.
    type BurstResult: Default;

    /// Judges a head, before any of its body is read. `rules` are those of most routes; another route sets its own,
    /// also when it refuses the request.
    ///
    /// # Errors
    /// The final response to this request.
    fn admit(
        &mut self,
        head: &Head<'_>,
        rules: &mut Rules,
        burst: &mut Burst<Self>,
    ) -> Result<Self::AdmittedRequest, HttpError>;

    /// Judges a head by the number that it had when it was judged before ([`Head::id`]): as [`admit`](Self::admit)
    /// does, where the rules are those of most routes. `None`: the service wants to see the head, and has changed
    /// nothing.
    fn admit_again(
        &mut self,
        _id: HeadId,
        _content_length: Option<u64>,
        _burst: &mut Burst<Self>,
    ) -> Option<Result<Self::AdmittedRequest, HttpError>> {
        None
    }

    /// Called before the body of an admitted request may go on to cost `bytes` all in all: as it arrives, where its
    /// head did not state its length, and as it is decompressed.
    ///
    /// # Errors
    /// The final response to this request.
    fn charge(&mut self, request: &mut Self::AdmittedRequest, bytes: u64) -> Result<(), HttpError>;

    /// Responds to a request whose body is complete: without its framing, decompressed, within the bound.
    fn serve(
        &mut self,
        request: Self::AdmittedRequest,
        body: &[u8],
        respond: Responder<'_>,
        burst: &mut Burst<Self>,
    ) -> Served;

    /// Counts a request that the connection refused by itself. `request`, if it had been admitted.
    fn refused(&mut self, request: Option<Self::AdmittedRequest>, error: HttpError, burst: &mut Burst<Self>);
}

/// The requests that one call of the connection's owner completes, as the service sees them.
pub struct Burst<S: Service + ?Sized> {
    /// Client that makes the requests.
    pub caller: S::Caller,
    /// Decisions of the service about them so far.
    pub result: S::BurstResult,
}

/// The state of one connection. `T` is the service's admitted request. An idle one owns no memory beyond itself.
#[derive(Debug)]
pub struct Connection<T> {
    /// Bytes received and not used yet: part of a head, or what came while responses were outstanding.
    inbox: Vec<u8>,
    /// The body so far, of a request that did not arrive whole.
    body: Vec<u8>,
    phase: Phase<T>,
    /// The clock that was last reported to the owner.
    deadline: Option<Deadline>,
    /// Bytes had to be dropped, as there was no memory for them: after the responses to all before them, a 503 ends the
    /// connection.
    overrun: bool,
    /// Index of the known head that came last, to be compared with first.
    known_head: u8,
}

#[derive(Debug)]
enum Phase<T> {
    Head(HeadScan),
    Body(Incoming<T>),
    Deferred(ResponseFraming),
    /// The response to a deferred request has begun.
    Streaming(ResponseFraming),
    Ended {
        after: Disposition,
        drained: usize,
    },
}

/// A request whose head was judged and whose body is not complete.
#[derive(Debug)]
struct Incoming<T> {
    body_use: BodyUse<T>,
    form: ResponseFraming,
    framing: Framing,
    /// Bytes of the body at most, as it comes and decompressed.
    body_bytes_max: usize,
}

/// Use of a body that is being read.
#[derive(Debug)]
enum BodyUse<T> {
    /// To be served.
    Serve(T, Coding),
    /// To be read past, and the request then served without it.
    ServeWithout(T),
    /// To be read past, as the request has its response. Wire bytes that this may still take.
    Discard(usize),
}

#[derive(Debug)]
enum Framing {
    /// Bytes still to come, and in all.
    Length {
        remaining: usize,
        total: usize,
    },
    Chunked(Chunked),
}

/// State that the calls of one turn share.
struct Turn<'a, S: Service> {
    service: &'a mut S,
    burst: Burst<S>,
    core: &'a mut HttpContext,
    out: &'a mut Vec<u8>,
    responses: usize,
    content_bytes: usize,
    /// A head or a body ended or began, so the clock starts afresh.
    stepped: bool,
}

impl<'a, S: Service> Turn<'a, S> {
    fn new(service: &'a mut S, caller: S::Caller, core: &'a mut HttpContext, out: &'a mut Vec<u8>) -> Self {
        let burst = Burst { caller, result: S::BurstResult::default() };
        Self { service, burst, core, out, responses: 0, content_bytes: 0, stepped: false }
    }

    /// True if the other connections are to have their turn, or there is no memory for another response.
    fn is_over(&self) -> bool {
        self.responses == REQUESTS_PER_TURN_MAX
            || self.content_bytes >= CONTENT_BYTES_PER_TURN_MAX
            || (self.responses > 0 && !self.fits_response())
    }

    /// True if the output has capacity for one more response, or may grow for it.
    fn fits_response(&self) -> bool {
        let spare = self.out.capacity() - self.out.len();
        spare >= RESPONSE_BYTES || self.core.buffers.fits(self.out.capacity().max(RESPONSE_BYTES))
    }
}

/// Result of a parsing step.
enum Step {
    /// This many bytes were used, and there may be more to do.
    Took(usize),
    /// This many bytes were used, and the rest must wait for more to arrive.
    Waits(usize),
}

impl<T> Default for Connection<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Connection<T> {
    /// A connection that has received nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inbox: Vec::new(),
            body: Vec::new(),
            phase: Phase::Head(HeadScan::new()),
            deadline: None,
            overrun: false,
            known_head: 0,
        }
    }

    /// Takes in all of `bytes`, after what is buffered, and serves the requests they complete, at most
    /// `REQUESTS_PER_TURN_MAX` of them and about `CONTENT_BYTES_PER_TURN_MAX`. Responses are appended to `out`. Without
    /// bytes it goes on with what is buffered.
    ///
    /// Not to be called while responses are outstanding. A connection whose request is deferred, or whose response has
    /// only begun, buffers; an ended one only drains.
    pub fn receive<S: Service<AdmittedRequest = T>>(
        &mut self,
        bytes: &[u8],
        caller: S::Caller,
        service: &mut S,
        core: &mut HttpContext,
        out: &mut Vec<u8>,
    ) -> Progress<S::BurstResult> {
        let mut turn = Turn::new(service, caller, core, out);
        if self.inbox.is_empty() {
            let used = self.advance(bytes, &mut turn);
            self.keep(&bytes[used..], turn.core);
        } else {
            self.keep(bytes, turn.core);
            let mut inbox = std::mem::take(&mut self.inbox);
            let used = self.advance(&inbox, &mut turn);
            if used == inbox.len() {
                turn.core.buffers.give_back(inbox);
            } else {
                inbox.drain(..used);
                self.inbox = inbox;
            }
        }
        let is_over = turn.is_over();
        if self.overrun && (!is_over || self.after() != Disposition::KeepOpen) {
            self.end_overrun(&mut turn);
        }
        let Turn { responses, stepped, content_bytes, out, burst, .. } = turn;
        let waits = matches!(self.phase, Phase::Deferred(_) | Phase::Streaming(_));
        let more = self.has_buffered() && (waits || is_over);
        let progress = self.progress(responses, !out.is_empty(), more, stepped);
        Progress { work_bytes: content_bytes + responses * REQUEST_WORK_BYTES, ..progress.with(burst.result) }
    }

    /// Keeps bytes for later, behind what is kept already. Without memory they are dropped, and the connection is
    /// overrun.
    fn keep(&mut self, bytes: &[u8], core: &mut HttpContext) {
        let head_fits = self.inbox.len() + bytes.len() <= HEAD_BYTES_MAX;
        let bytes_max = if head_fits { HEAD_BYTES_MAX } else { INBOX_BYTES_MAX };
        // What follows a gap is of no use.
        self.overrun = self.overrun || !core.buffers.append(&mut self.inbox, bytes, bytes_max);
    }

    /// Keeps bytes that arrive while responses are outstanding. True: pause receiving. On a connection that has ended
    /// the bytes are drained.
    #[must_use]
    pub fn buffer(&mut self, bytes: &[u8], core: &mut HttpContext) -> bool {
        if let Phase::Ended { .. } = self.phase {
            return self.drain(bytes);
        }
        self.keep(bytes, core);
        self.inbox.len() >= INBOX_BYTES_MAX || self.overrun
    }

    /// Responds to the request that was deferred, or begins to. The rest waits for the next `receive`, once all of it
    /// was sent.
    ///
    /// # Panics
    /// When none is deferred, or it is deferred again: the owner's fault.
    pub fn respond_deferred(
        &mut self,
        core: &HttpContext,
        out: &mut Vec<u8>,
        respond: impl FnOnce(Responder<'_>) -> Served,
    ) -> Progress<()> {
        let Phase::Deferred(form) = self.phase else { panic!("no request of this connection is deferred") };
        let form = ResponseFraming { close: form.close || core.ends_connections(), ..form };
        let served = respond(Responder { out: &mut *out, date: &core.date, form, latest: None });
        match served.outcome {
            Outcome::Deferred => panic!("a deferred request gets its response, it is not deferred again"),
            Outcome::Streamed => self.phase = Phase::Streaming(form.streamed()),
            Outcome::Done => self.finish(form, self.has_buffered()),
        }
        self.deferred_progress(1, !out.is_empty())
    }

    /// A piece of the response that has begun, as it is sent: not empty, unless `piece` is.
    ///
    /// # Panics
    /// When none has begun: the owner's fault.
    #[must_use]
    pub fn piece(&self, piece: Piece) -> Vec<u8> {
        let Phase::Streaming(form) = &self.phase else { panic!("no response of this connection has begun") };
        piece.framed(form.chunked, false)
    }

    /// The last piece of the response that has begun, as it is sent: it may be empty, and so may what is sent. The rest
    /// waits for the next `receive`, once this was sent.
    ///
    /// # Panics
    /// When none has begun: the owner's fault.
    pub fn last_piece(&mut self, piece: Piece) -> (Vec<u8>, Progress<()>) {
        let Phase::Streaming(form) = self.phase else { panic!("no response of this connection has begun") };
        self.finish(form, self.has_buffered());
        let bytes = piece.framed(form.chunked, true);
        let progress = self.deferred_progress(0, !bytes.is_empty());
        (bytes, progress)
    }

    /// The progress of a response that did not come with its request.
    fn deferred_progress(&mut self, responses: usize, has_output: bool) -> Progress<()> {
        let goes_on = self.after() == Disposition::KeepOpen && !matches!(self.phase, Phase::Streaming(_));
        self.progress(responses, has_output, self.has_buffered() && goes_on, true)
    }

    /// Throws away bytes that arrive after the last response. True: it is enough, close.
    #[must_use]
    pub fn drain(&mut self, bytes: &[u8]) -> bool {
        let Phase::Ended { drained, .. } = &mut self.phase else { return false };
        *drained = drained.saturating_add(bytes.len());
        *drained >= LINGER_BYTES_MAX
    }

    /// Gives the connection's buffers back to its core, when it is closed.
    pub fn release(&mut self, core: &mut HttpContext) {
        core.buffers.give_back(std::mem::take(&mut self.inbox));
        core.buffers.give_back(std::mem::take(&mut self.body));
    }

    /// Refuses a connection that is not to be served at all, before anything was received: `error`, and its end.
    pub fn refuse(&mut self, error: HttpError, core: &HttpContext, out: &mut Vec<u8>) -> Disposition {
        let form = ResponseFraming { close: true, ..ResponseFraming::default() };
        let _ = Responder { out, date: &core.date, form, latest: None }.refuse(error);
        self.finish(form, true);
        self.after()
    }

    /// True if bytes are buffered that `receive` has not looked at yet, or were lost, for which a response is still
    /// due.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        !self.inbox.is_empty() || self.overrun
    }

    /// True if part of a request has arrived whose response has not been made yet.
    #[must_use]
    pub fn is_in_request(&self) -> bool {
        match &self.phase {
            Phase::Head(scan) => scan.has_begun() || !self.inbox.is_empty(),
            Phase::Body(_) => true,
            Phase::Deferred(_) | Phase::Streaming(_) | Phase::Ended { .. } => false,
        }
    }

    /// The most memory that taking in `bytes` more may reserve.
    #[must_use]
    pub fn growth_max(&self, bytes: usize) -> usize {
        // Either buffer may double, and the inbox's bytes may go on into a body.
        self.owned_bytes() + 2 * bytes
    }

    /// Returns whether the head of a request is complete that will be served, and its body is not.
    #[must_use]
    pub const fn is_receiving_body(&self) -> bool {
        matches!(self.phase, Phase::Body(Incoming { body_use: BodyUse::Serve(..) | BodyUse::ServeWithout(_), .. }))
    }

    /// Bytes of memory this connection owns beyond its own size.
    #[must_use]
    pub fn owned_bytes(&self) -> usize {
        self.inbox.capacity() + self.body.capacity()
    }

    /// The progress of a call that has appended to the output, if `has_output`, and left `more` input.
    fn progress(&mut self, responses: usize, has_output: bool, more: bool, stepped: bool) -> Progress<()> {
        let deadline = match &self.phase {
            Phase::Head(scan) if scan.has_begun() || !self.inbox.is_empty() => Some(Deadline::Head),
            Phase::Head(_) => Some(Deadline::Idle),
            Phase::Body(_) => Some(Deadline::Body),
            Phase::Deferred(_) | Phase::Streaming(_) | Phase::Ended { .. } => None,
        };
        let restarted = stepped || deadline != self.deadline;
        self.deadline = deadline;
        let next = match self.phase {
            Phase::Deferred(_) => Next::RespondDeferred,
            Phase::Streaming(_) => Next::Stream,
            _ if has_output => Next::Send(self.after()),
            Phase::Ended { .. } => Next::Close,
            Phase::Head(_) | Phase::Body(_) if more => Next::Resume,
            Phase::Head(_) | Phase::Body(_) => Next::AwaitInput,
        };
        Progress {
            responses,
            result: (),
            next,
            more,
            work_bytes: 0,
            pause: self.inbox.len() >= INBOX_BYTES_MAX || self.overrun,
            deadline: deadline.filter(|_| restarted),
        }
    }

    fn after(&self) -> Disposition {
        match self.phase {
            Phase::Ended { after, .. } => after,
            _ => Disposition::KeepOpen,
        }
    }

    /// Works through `input` and returns how much of it is used; the rest begins with the head in progress.
    fn advance<S: Service<AdmittedRequest = T>>(&mut self, input: &[u8], turn: &mut Turn<'_, S>) -> usize {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = match &self.phase {
                Phase::Head(_) if rest.is_empty() || turn.is_over() => return at,
                Phase::Head(scan) => self.advance_head(*scan, rest, turn),
                Phase::Body(_) if rest.is_empty() => return at,
                Phase::Body(_) => Step::Took(self.advance_body(rest, turn)),
                Phase::Deferred(_) | Phase::Streaming(_) => return at,
                Phase::Ended { .. } => {
                    let _ = self.drain(rest);
                    return input.len();
                }
            };
            match step {
                Step::Took(bytes) => at += bytes,
                Step::Waits(bytes) => return at + bytes,
            }
        }
    }

    fn advance_head<S: Service<AdmittedRequest = T>>(
        &mut self,
        mut scan: HeadScan,
        input: &[u8],
        turn: &mut Turn<'_, S>,
    ) -> Step {
        if !scan.has_begun()
            && let Some(memo) = &mut turn.core.memo
            && let Some(found) = memo.find(&mut self.known_head, input)
        {
            let rest = &input[found.bytes..];
            let framed = memo.framed(&found, &turn.core.cors);
            let again = turn.service.admit_again(found.id, found.content_length, &mut turn.burst);
            let used = match again {
                Some(admitted) => self.begin(&framed, admitted, &Rules::default(), rest, turn),
                None => {
                    let mut rules = Rules::default();
                    let admitted = turn.service.admit(&memo.head(&found).head, &mut rules, &mut turn.burst);
                    self.begin(&framed, admitted, &rules, rest, turn)
                }
            };
            return Step::Took(found.bytes + used);
        }
        let (skipped, length) = match scan.look(input) {
            Ok((skipped, Some(length))) => (skipped, length),
            Ok((skipped, None)) => {
                self.phase = Phase::Head(scan);
                return Step::Waits(skipped);
            }
            Err(error) => {
                self.refuse_and_end(None, error, ResponseFraming::default(), turn);
                return Step::Took(input.len());
            }
        };
        let (head, rest) = input[skipped..].split_at(length);
        match head::parse(head, &mut head::slots()) {
            Ok(parsed) => {
                if let Some(memo) = &mut turn.core.memo {
                    memo.learn(&mut self.known_head, head, &parsed);
                }
                let mut rules = Rules::default();
                let admitted = turn.service.admit(&parsed.head, &mut rules, &mut turn.burst);
                let framed = parsed.framed(&turn.core.cors);
                Step::Took(skipped + length + self.begin(&framed, admitted, &rules, rest, turn))
            }
            Err(error) => {
                let form = ResponseFraming { head_only: head.starts_with(b"HEAD "), ..ResponseFraming::default() };
                self.refuse_and_end(None, error, form, turn);
                Step::Took(input.len())
            }
        }
    }

    /// Begins a request whose head was judged, and serves it if its body is all there; returns how much of `rest` that
    /// took.
    #[inline]
    fn begin<S: Service<AdmittedRequest = T>>(
        &mut self,
        framed: &Framed,
        admitted: Result<T, HttpError>,
        rules: &Rules,
        rest: &[u8],
        turn: &mut Turn<'_, S>,
    ) -> usize {
        let &Framed { connection, content_length, expects_continue, .. } = framed;
        let old = framed.version == Version::Http10;
        let close = connection.close || (old && !connection.keep_alive);
        let form = ResponseFraming {
            close,
            keep_alive: old && !close,
            head_only: framed.is_head,
            chunked: !old,
            fields: framed.fields,
            codings: rules.codings,
            schemes: rules.schemes,
            errors: rules.errors,
            error_fields: rules.error_fields,
            reserved: None,
        };
        turn.stepped = true;
        let request = match admitted {
            Ok(request) => request,
            Err(error) => {
                self.refuse_by_head(error, form, content_length, expects_continue, turn);
                return 0;
            }
        };
        let body_bytes_max = rules.body_bytes.unwrap_or(turn.core.bounds.body_bytes);
        let coding = rules.codings.of_body(framed.coding);
        // First as most requests come: the body is all there, as it is.
        if coding == Some(Coding::Identity)
            && !framed.is_without_body
            && let Some(length) = content_length
            && let Ok(total) = usize::try_from(length)
            && total <= body_bytes_max
            && let Some((body, behind)) = rest.split_at_checked(total)
        {
            self.serve(request, body, form, !behind.is_empty(), turn);
            return total;
        }
        let body_use = match coding {
            _ if framed.is_without_body => BodyUse::ServeWithout(request),
            Some(coding) => BodyUse::Serve(request, coding),
            None => {
                turn.service.refused(Some(request), HttpError::ContentCoding, &mut turn.burst);
                self.refuse_by_head(HttpError::ContentCoding, form, content_length, expects_continue, turn);
                return 0;
            }
        };
        let framing = match content_length {
            None => Framing::Chunked(Chunked::new(body_bytes_max)),
            Some(length) => match usize::try_from(length) {
                Ok(total) if total <= rest.len() && total <= body_bytes_max => {
                    self.complete(body_use, &rest[..total], body_bytes_max, form, total < rest.len(), turn);
                    return total;
                }
                Ok(total) if total <= body_bytes_max => Framing::Length { remaining: total, total },
                _ => {
                    self.end_body(body_use, HttpError::BodyTooLarge, form, turn);
                    return 0;
                }
            },
        };
        if expects_continue && rest.is_empty() {
            turn.out.extend_from_slice(CONTINUE);
        }
        self.phase = Phase::Body(Incoming { body_use, form, framing, body_bytes_max });
        0
    }

    /// Takes in some of a body, which was begun by [`Self::begin`], and serves the request when it is complete.
    fn advance_body<S: Service<AdmittedRequest = T>>(&mut self, input: &[u8], turn: &mut Turn<'_, S>) -> usize {
        let Phase::Body(incoming) = &mut self.phase else { return 0 };
        let keeps = matches!(incoming.body_use, BodyUse::Serve(..));
        let (body, buffers) = (&mut self.body, &mut turn.core.buffers);
        let body_bytes_max = incoming.body_bytes_max;
        let mut whole_in_input = false;
        let mut full = false;
        let decoded = match &mut incoming.framing {
            Framing::Length { remaining, total } => {
                let consumed = input.len().min(*remaining);
                // A body in one piece behind a head that came alone is served where it lies.
                whole_in_input = consumed == *total;
                full = keeps && !whole_in_input && !buffers.append(body, &input[..consumed], *total);
                *remaining -= consumed;
                Ok((consumed, *remaining == 0))
            }
            Framing::Chunked(chunked) => chunked.decode(input, |data| {
                full = full || (keeps && !buffers.append(body, data, body_bytes_max));
            }),
        };
        let decoded = if full { Err(HttpError::BodiesFull) } else { decoded };
        // A discard that is over its allowance ends the connection, whether or not the body ends there too: else it
        // would depend on how the bytes were cut.
        let is_chunked = matches!(incoming.framing, Framing::Chunked(_));
        let decoded = decoded.and_then(|(consumed, done)| match &mut incoming.body_use {
            BodyUse::Serve(request, _) if is_chunked => {
                turn.service.charge(request, body.len() as u64)?;
                Ok((consumed, done))
            }
            BodyUse::Discard(allowance) if consumed > *allowance => Err(HttpError::BodyTooLarge),
            BodyUse::Discard(allowance) => {
                *allowance -= consumed;
                Ok((consumed, done))
            }
            BodyUse::Serve(..) | BodyUse::ServeWithout(_) => Ok((consumed, done)),
        });
        if let Ok((consumed, false)) = decoded {
            return consumed;
        }

        let Phase::Body(incoming) = std::mem::replace(&mut self.phase, Phase::Head(HeadScan::new())) else {
            return 0;
        };
        let Incoming { body_use, form, .. } = incoming;
        let kept = std::mem::take(&mut self.body);
        turn.stepped = true;
        let consumed = match decoded {
            Ok((consumed, _)) => {
                let body = if whole_in_input { &input[..consumed] } else { &kept };
                self.complete(body_use, body, body_bytes_max, form, consumed < input.len(), turn);
                consumed
            }
            Err(error) => {
                self.end_body(body_use, error, form, turn);
                input.len()
            }
        };
        turn.core.buffers.give_back(kept);
        consumed
    }
}

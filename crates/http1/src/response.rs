//! Responses: status line, the few fields this server sends, and the body, appended to the connection's output.
//!
//! Nothing here goes through `format!` but the text of a refusal that quotes the request; the 200 of an ingest is a
//! handful of copies into memory reserved once.

use std::fmt::{self, Display, Write};

use super::cors::PREFLIGHT;
use super::{Codings, ErrorBody, HttpError, Schemes, Status};
use crate::limits::RETRY_AFTER_S;

const JSON: &str = "application/json";
/// The interim response to `Expect: 100-continue`.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Capacity for the head of any response, its fields of variable length but for Allow included.
const HEAD_BYTES: usize = 320;

/// Framing of the response to one request, known from its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResponseFraming {
    /// The connection ends after it.
    pub(super) close: bool,
    /// The client of HTTP/1.0 requested that the connection stay open, and the response confirms it.
    pub(super) keep_alive: bool,
    /// The request was HEAD.
    pub(super) head_only: bool,
    /// The peer knows the chunked coding: it speaks HTTP/1.1.
    pub(super) chunked: bool,
    /// More field lines, from the CR LF before the first on: those for the web page that sent the request.
    pub(super) fields: &'static [u8],
    /// The content codings that the route takes.
    pub(super) codings: Codings,
    /// The authentication schemes of the route.
    pub(super) schemes: Schemes,
    /// The body of errors.
    pub(super) errors: ErrorBody,
    /// Field lines of errors.
    pub(super) error_fields: &'static [u8],
    /// A field whose value is written later.
    pub(super) reserved: Option<ReservedField>,
}

/// A field whose value its owner writes into the response before that is sent, as it is unknown when the response is
/// made. The place of the value is filled with spaces: a shorter value is written at its end, and is the same value, as
/// blanks before a value do not belong to it (RFC 9110, 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedField {
    /// The field's name and its colon, from the CR LF before it on.
    pub name: &'static [u8],
    /// Bytes of its value, at most.
    pub bytes: usize,
}

impl ResponseFraming {
    /// Returns true if a response without an error is that of most requests: it leaves the connection open, has a body
    /// and no fields for a web page.
    #[inline]
    const fn is_usual(&self) -> bool {
        !self.close && !self.keep_alive && !self.head_only && self.fields.is_empty() && self.reserved.is_none()
    }

    /// That of a response of unknown length: without chunks only the end of the connection can end it.
    #[inline]
    pub(super) const fn streamed(self) -> Self {
        Self { close: self.close || !(self.chunked || self.head_only), ..self }
    }
}

/// Field by which a head states where the body ends.
#[derive(Debug, Clone, Copy)]
enum Length {
    Bytes(usize),
    Chunked,
    /// With the connection; or there is none, as the request was HEAD.
    Unsaid,
}

/// The latest 200 of a batch as it was sent: the next one differs in its number, and once a second in its date.
#[derive(Debug)]
pub(super) struct LatestAccepted {
    /// The date that is in it.
    date: [u8; 29],
    metrics: usize,
    /// Length of `metrics` in digits; 0 while there is no response yet.
    digits: usize,
    bytes: Vec<u8>,
}

impl LatestAccepted {
    /// None yet, and the memory for it.
    pub(super) fn new() -> Self {
        Self { date: [0; 29], metrics: 0, digits: 0, bytes: Vec::with_capacity(HEAD_BYTES) }
    }

    /// Remembers a response with this date and number.
    #[cold]
    fn remember(&mut self, date: [u8; 29], metrics: usize, digits: usize, response: &[u8]) {
        if response.len() <= self.bytes.capacity() {
            self.bytes.clear();
            self.bytes.extend_from_slice(response);
            (self.date, self.metrics, self.digits) = (date, metrics, digits);
        }
    }

    /// Appends the response for `metrics`, if it is the latest one but for the digits of the number. False: it is not.
    #[inline]
    fn repeat(&self, date: &[u8; 29], metrics: usize, out: &mut Vec<u8>) -> bool {
        if self.digits == 0 || self.date != *date {
            return false;
        }
        if self.metrics == metrics {
            out.extend_from_slice(&self.bytes);
            return true;
        }
        let digits = Decimal::of(metrics as u64);
        let is_as_long = digits.text().len() == self.digits;
        if is_as_long {
            // The number is before the last byte.
            out.extend_from_slice(&self.bytes[..self.bytes.len() - self.digits - 1]);
            out.extend_from_slice(digits.text());
            out.push(b'}');
        }
        is_as_long
    }
}

/// Writes the one response of one request. Each of its methods takes it, and gives the [`Served`] that the service must
/// return: there is no way to respond twice, or not at all.
pub struct Responder<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) date: &'a [u8; 29],
    pub(super) form: ResponseFraming,
    /// The latest 200 of a batch, if it is at hand.
    pub(super) latest: Option<&'a mut LatestAccepted>,
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Served {
    pub(super) outcome: Outcome,
    /// Place of the reserved field's value in the connection's output.
    reserved_at: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Deferred,
    /// The head is written; pieces follow.
    Streamed,
}

impl Served {
    const DONE: Served = Served { outcome: Outcome::Done, reserved_at: None };

    /// Place of the value of the [`ReservedField`] in the connection's output, if the response has one.
    #[must_use]
    pub const fn reserved_at(&self) -> Option<usize> {
        self.reserved_at
    }
}

impl Responder<'_> {
    /// The same, for a response with `field`.
    #[must_use]
    pub fn reserving(mut self, field: ReservedField) -> Self {
        self.form.reserved = Some(field);
        self
    }

    /// 200 for a batch of `metrics`: `{"success":true,"metrics_processed":3}`.
    pub fn accepted(mut self, metrics: usize) -> Served {
        const START: &[u8] = b"{\"success\":true,\"metrics_processed\":";
        let is_usual = self.form.is_usual();
        if is_usual
            && let Some(latest) = &self.latest
            && latest.repeat(self.date, metrics, self.out)
        {
            return Served::DONE;
        }
        let response_start = self.out.len();
        let digits = Decimal::of(metrics as u64);
        let served = self.head(Status::Ok, JSON, Length::Bytes(START.len() + digits.text().len() + 1), &[]);
        if !self.form.head_only {
            self.out.extend_from_slice(START);
            self.out.extend_from_slice(digits.text());
            self.out.push(b'}');
        }
        if is_usual && let Some(latest) = self.latest {
            latest.remember(*self.date, metrics, digits.text().len(), &self.out[response_start..]);
        }
        served
    }

    /// Any response with a body at hand.
    pub fn body(mut self, status: Status, content_type: &str, body: &[u8]) -> Served {
        let served = self.head(status, content_type, Length::Bytes(body.len()), &[]);
        if !self.form.head_only {
            self.out.extend_from_slice(body);
        }
        served
    }

    /// As [`body`](Self::body), with more `fields`: each from the CR LF before it on. They are short: within what
    /// is reserved for a head.
    pub fn body_with(mut self, status: Status, content_type: &str, fields: &[u8], body: &[u8]) -> Served {
        let served = self.head(status, content_type, Length::Bytes(body.len()), &[fields]);
        if !self.form.head_only {
            self.out.extend_from_slice(body);
        }
        served
    }

    /// 204 with `fields`, as in [`body_with`](Self::body_with).
    pub fn no_content(mut self, fields: &[u8]) -> Served {
        self.out.reserve(HEAD_BYTES);
        self.out.extend_from_slice(Status::NoContent.line_to_date());
        self.out.extend_from_slice(self.date);
        self.out.extend_from_slice(fields);
        self.end_head()
    }

    /// 304 with `fields`, as in [`body_with`](Self::body_with): the client has the document already.
    pub fn not_modified(mut self, fields: &[u8]) -> Served {
        self.out.reserve(HEAD_BYTES);
        self.out.extend_from_slice(Status::NotModified.line_to_date());
        self.out.extend_from_slice(self.date);
        self.out.extend_from_slice(fields);
        self.end_head()
    }

    /// 204 for a preflight request: what a web page may send, if its origin may.
    pub fn preflight(mut self) -> Served {
        self.out.reserve(HEAD_BYTES + PREFLIGHT.len());
        self.out.extend_from_slice(Status::NoContent.line_to_date());
        self.out.extend_from_slice(self.date);
        self.out.extend_from_slice(PREFLIGHT);
        self.end_head()
    }

    /// 503 with Retry-After and a body that says why.
    pub fn unavailable(mut self, content_type: &str, body: &[u8]) -> Served {
        let digits = Decimal::of(u64::from(RETRY_AFTER_S));
        let field: [&[u8]; 2] = [b"\r\nRetry-After: ", digits.text()];
        let served = self.head(Status::ServiceUnavailable, content_type, Length::Bytes(body.len()), &field);
        if !self.form.head_only {
            self.out.extend_from_slice(body);
        }
        served
    }

    /// 200 whose body follows piece by piece, as nobody knows yet how long it gets
    /// ([`Connection::piece`](super::Connection::piece)). Only a request that was deferred may get such a response.
    pub fn stream(self, content_type: &str) -> Served {
        self.stream_with(content_type, &[])
    }

    /// As [`stream`](Self::stream), with more `fields`, as in [`body_with`](Self::body_with).
    pub fn stream_with(mut self, content_type: &str, fields: &[u8]) -> Served {
        self.form = self.form.streamed();
        let length = match self.form {
            ResponseFraming { chunked: true, head_only: false, .. } => Length::Chunked,
            _ => Length::Unsaid,
        };
        let served = self.head(Status::Ok, content_type, length, &[fields]);
        Served { outcome: if self.form.head_only { Outcome::Done } else { Outcome::Streamed }, ..served }
    }

    /// A refusal with its own text.
    pub fn refuse(self, error: HttpError) -> Served {
        self.refuse_as(error, &error)
    }

    /// A refusal with a text made for this request. `text` is formatted twice and must come out the same.
    pub fn refuse_as(self, error: HttpError, text: &dyn Display) -> Served {
        let digits;
        let field: [&[u8]; 2] = match error {
            HttpError::MethodNotAllowed { allow } => [b"\r\nAllow: ", allow.as_bytes()],
            HttpError::RateLimited { retry_after_s }
            | HttpError::BytesRateLimited { retry_after_s }
            | HttpError::Throttled { retry_after_s }
            | HttpError::Unavailable { retry_after_s, .. } => {
                digits = Decimal::of(u64::from(retry_after_s));
                [b"\r\nRetry-After: ", digits.text()]
            }
            HttpError::BodiesFull => {
                digits = Decimal::of(u64::from(RETRY_AFTER_S));
                [b"\r\nRetry-After: ", digits.text()]
            }
            HttpError::ContentCoding => [b"\r\nAccept-Encoding: ", self.form.codings.list()],
            // RFC 9110, 15.5.2: a 401 must name a scheme.
            HttpError::Unauthorized => [b"\r\nWWW-Authenticate: ", self.form.schemes.challenge()],
            _ => [b"", b""],
        };
        self.error(error.status(), text, &field)
    }

    /// As [`refuse_as`](Self::refuse_as), with more `fields`, as in [`body_with`](Self::body_with), for an error
    /// that has none of its own.
    pub fn refuse_with(self, error: HttpError, text: &dyn Display, fields: &[u8]) -> Served {
        if fields.is_empty() { self.refuse_as(error, text) } else { self.error(error.status(), text, &[fields]) }
    }

    /// 400 with a text made for this request, such as which metric and which byte is at fault. `text` is formatted
    /// twice and must come out the same.
    #[inline]
    pub fn refuse_content(self, text: &dyn Display) -> Served {
        self.error(Status::BadRequest, text, &[])
    }

    /// As [`refuse_content`](Self::refuse_content), with `fields` in place of those of the route's errors: the content
    /// was stored in part.
    pub fn refuse_part(mut self, text: &dyn Display, fields: &[u8]) -> Served {
        self.form.error_fields = b"";
        self.error(Status::BadRequest, text, &[fields])
    }

    /// No response yet. The connection parses no further request until its owner has called
    /// [`Connection::respond_deferred`](super::Connection::respond_deferred).
    #[inline]
    pub fn defer(self) -> Served {
        Served { outcome: Outcome::Deferred, ..Served::DONE }
    }

    /// An error in the form of its route. The text is formatted once for its length and once into its place.
    fn error(mut self, status: Status, text: &dyn Display, field: &[&[u8]]) -> Served {
        let form = self.form.errors;
        let mut count = Escaped { sink: Count(0), as_json: form.is_json() };
        // The sinks below take everything, so only `text` itself could fail: then the response is the same, cut short.
        let _ = write!(count, "{text}");
        let length = count.sink.0;
        let (start, end) = (form.start(status, length), form.end());
        let fields = [self.form.error_fields, field.first().unwrap_or(&&b""[..]), field.get(1).unwrap_or(&&b""[..])];
        let bytes = start.as_bytes().len() + length + end.len();
        let served = self.head(status, form.content_type(), Length::Bytes(bytes), &fields);
        if !self.form.head_only {
            self.out.extend_from_slice(start.as_bytes());
            let text_start = self.out.len();
            let _ = write!(Escaped { sink: &mut *self.out, as_json: form.is_json() }, "{text}");
            assert!(self.out.len() - text_start == length, "a text that formats in two ways");
            self.out.extend_from_slice(end);
        }
        served
    }

    /// `field` is one more field line, from the CR LF before it on.
    fn head(&mut self, status: Status, content_type: &str, length: Length, field: &[&[u8]]) -> Served {
        let out = &mut *self.out;
        out.reserve(HEAD_BYTES + if let Length::Bytes(bytes) = length { bytes } else { 0 });
        out.extend_from_slice(status.line_to_date());
        out.extend_from_slice(self.date);
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(content_type.as_bytes());
        match length {
            Length::Bytes(bytes) => {
                out.extend_from_slice(b"\r\nContent-Length: ");
                out.extend_from_slice(Decimal::of(bytes as u64).text());
            }
            Length::Chunked => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
            Length::Unsaid => {}
        }
        for part in field {
            out.extend_from_slice(part);
        }
        self.end_head()
    }

    /// The fields that any response has, and the empty line.
    fn end_head(&mut self) -> Served {
        let out = &mut *self.out;
        out.extend_from_slice(self.form.fields);
        let reserved_at = self.form.reserved.map(|field| {
            out.extend_from_slice(field.name);
            let at = out.len();
            out.resize(at + field.bytes, b' ');
            at
        });
        if self.form.close {
            out.extend_from_slice(b"\r\nConnection: close");
        } else if self.form.keep_alive {
            out.extend_from_slice(b"\r\nConnection: keep-alive");
        }
        out.extend_from_slice(b"\r\n\r\n");
        Served { reserved_at, ..Served::DONE }
    }
}

/// A number as text, without `fmt`.
struct Decimal {
    /// The digits, at the end. 2^64 has 20.
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(mut number: u64) -> Self {
        let mut decimal = Decimal { digits: [b'0'; 20], start: 20 };
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Destination of escaped text.
trait Sink {
    fn take(&mut self, bytes: &[u8]);
}

/// Counts the bytes it is given.
struct Count(usize);

impl Sink for Count {
    fn take(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for &mut Vec<u8> {
    fn take(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Escapes the control characters of what is written, also those beyond ASCII, which terminals act on; and, if
/// `as_json`, what the inside of a JSON string may not hold (RFC 8259, 7).
struct Escaped<S> {
    sink: S,
    as_json: bool,
}

impl<S: Sink> Write for Escaped<S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut plain = text;
        let as_json = self.as_json;
        let is_special = |character: char| (as_json && matches!(character, '"' | '\\')) || character.is_control();
        while let Some((at, special)) = plain.char_indices().find(|&(_, character)| is_special(character)) {
            self.sink.take(&plain.as_bytes()[..at]);
            match special {
                '"' => self.sink.take(b"\\\""),
                '\\' => self.sink.take(b"\\\\"),
                '\n' => self.sink.take(b"\\n"),
                control => {
                    // No control character is beyond U+009F.
                    let code = u32::from(control) as usize;
                    let [high, low] = [code >> 4, code].map(|digit| HEX[digit & 15]);
                    self.sink.take(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
            plain = &plain[at + special.len_utf8()..];
        }
        self.sink.take(plain.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: [u8; 29] = *b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn written(form: ResponseFraming, write: impl FnOnce(Responder<'_>) -> Served) -> String {
        let mut out = Vec::new();
        let served = write(Responder { out: &mut out, date: &DATE, form, latest: None });
        assert_eq!(served.outcome, Outcome::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_200_of_an_ingest_to_the_byte() {
        assert_eq!(
            written(ResponseFraming::default(), |respond| respond.accepted(3)),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
             Content-Length: 38\r\n\r\n{\"success\":true,\"metrics_processed\":3}"
        );
    }

    #[test]
    fn a_reserved_field_is_blank_and_its_place_is_reported() {
        let field = ReservedField { name: b"\r\nX-Later:", bytes: 7 };
        for write in [
            |respond: Responder<'_>| respond.accepted(3),
            |respond: Responder<'_>| respond.no_content(b"\r\nX-Now: 1"),
            |respond: Responder<'_>| respond.body(Status::Ok, "text/plain", b"hello"),
            |respond: Responder<'_>| respond.refuse_part(&"2 rejected, 1 stored", b""),
        ] {
            let mut out = b"the response before".to_vec();
            let responder = Responder {
                out: &mut out,
                date: &DATE,
                form: ResponseFraming { close: true, ..ResponseFraming::default() },
                latest: None,
            };
            let at = write(responder.reserving(field)).reserved_at().unwrap();
            assert_eq!(out[at - 10..at + 9], *b"\r\nX-Later:       \r\n", "{}", String::from_utf8_lossy(&out));
        }
        let mut out = Vec::new();
        let served =
            Responder { out: &mut out, date: &DATE, form: ResponseFraming::default(), latest: None }.accepted(3);
        assert_eq!(served.reserved_at(), None);
    }

    #[test]
    fn a_200_made_of_the_latest_is_the_same_to_the_byte() {
        let mut latest = LatestAccepted::new();
        let next = *b"Sun, 06 Nov 1994 08:49:38 GMT";
        let usual = ResponseFraming::default();
        let forms = [
            usual,
            ResponseFraming { close: true, ..usual },
            ResponseFraming { keep_alive: true, ..usual },
            ResponseFraming { head_only: true, ..usual },
            ResponseFraming { fields: b"\r\nVary: Origin", ..usual },
            ResponseFraming { reserved: Some(ReservedField { name: b"\r\nX-Later:", bytes: 7 }), ..usual },
        ];
        for date in [DATE, next, DATE] {
            for metrics in [3, 3, 7, 10, 11, 11, 9, 0, 100_000, 99_999] {
                for form in forms {
                    let [mut repeated, mut fresh] = [b"before".to_vec(), b"before".to_vec()];
                    let respond = Responder { out: &mut repeated, date: &date, form, latest: Some(&mut latest) };
                    let served = respond.accepted(metrics);
                    let respond = Responder { out: &mut fresh, date: &date, form, latest: None };
                    assert_eq!(respond.accepted(metrics), served);
                    assert_eq!(repeated, fresh, "{metrics} {form:?}");
                }
            }
        }
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let form = ResponseFraming { head_only: true, ..ResponseFraming::default() };
        for text in [
            written(form, |respond| respond.accepted(1000)),
            written(form, |respond| respond.body(Status::Ok, "text/plain", b"hello")),
            written(form, |respond| respond.refuse(HttpError::NotFound)),
            written(form, |respond| respond.refuse_content(&"x")),
        ] {
            assert!(text.ends_with("\r\n\r\n"), "{text}");
            assert!(!text.contains("Content-Length: 0"), "{text}");
        }
    }

    #[test]
    fn every_response_keeps_its_head_within_the_reserved_space() {
        let form = ResponseFraming { close: true, ..ResponseFraming::default() };
        for error in crate::error::tests::every_error() {
            let text = written(form, |respond| respond.refuse(error));
            assert!(text.find("\r\n\r\n").unwrap() + 4 <= HEAD_BYTES, "{text}");
        }
    }

    #[test]
    fn errors_are_valid_json_whatever_they_quote() {
        let nasty: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}\u{1f600}".chars()).collect();
        let text = written(ResponseFraming::default(), |respond| respond.refuse_content(&nasty));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["error"], nasty);
        assert!(!body.contains(char::is_control), "{body:?}");
    }

    #[test]
    fn the_head_of_a_response_of_unknown_length() {
        let head = |form| {
            let mut out = Vec::new();
            let served = Responder { out: &mut out, date: &DATE, form, latest: None }.stream("text/csv");
            (String::from_utf8(out).unwrap(), served.outcome)
        };
        let start = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/csv\r\n";
        let new = ResponseFraming { chunked: true, ..ResponseFraming::default() };
        assert_eq!(head(new), (format!("{start}Transfer-Encoding: chunked\r\n\r\n"), Outcome::Streamed));
        assert_eq!(head(ResponseFraming { head_only: true, ..new }), (format!("{start}\r\n"), Outcome::Done));
        let old = ResponseFraming { keep_alive: true, ..ResponseFraming::default() };
        assert_eq!(head(old), (format!("{start}Connection: close\r\n\r\n"), Outcome::Streamed));
        let old_head = ResponseFraming { head_only: true, ..old };
        assert_eq!(head(old_head), (format!("{start}Connection: keep-alive\r\n\r\n"), Outcome::Done));
    }

    #[test]
    fn decimals() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(Decimal::of(number).text(), number.to_string().as_bytes());
        }
    }
}

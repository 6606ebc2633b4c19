//! The head of a request: where it ends, what it says, and how the body after it is framed.
//!
//! The end is looked for line by line from where the last look stopped, so a head that drips in costs its bytes once;
//! this pass also refuses a bare LF, which the parser after it would take. The parser (httparse) then runs once, over a
//! complete head, and refuses what breaks the grammar of lines: bare CR, folding, control bytes, a space before the
//! colon. What the fields mean for framing is judged here, strictly.

use std::mem::MaybeUninit;

use super::HttpError;
use super::cors::Cors;
use super::fields::{self, Coding, ConnectionOptions, LastValues, TransferCodings};
use super::memo::KnownFields;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, HEADS_KNOWN_MAX, LEADING_EMPTY_LINES_MAX, TRACESTATE_FIELDS_MAX};

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'a> {
    /// GET
    Get,
    /// HEAD: as GET, but the response carries no body.
    Head,
    /// POST
    Post,
    /// Any other token, as it came.
    Other(&'a str),
}

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// Head of a request as the service sees it. It lies in the receive buffer: what is to be kept must be copied.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The target up to `?`, without scheme and host, not percent-decoded.
    pub path: &'a str,
    /// The target after `?`.
    pub query: Option<&'a str>,
    /// The version.
    pub version: Version,
    /// The Authorization field; a repeated one has been refused.
    pub authorization: Option<&'a [u8]>,
    /// The first Accept field.
    pub accept: Option<&'a [u8]>,
    /// The first Content-Type field.
    pub content_type: Option<&'a [u8]>,
    /// The first Origin field: the web page that the request comes from.
    pub origin: Option<&'a [u8]>,
    /// The traceparent field (W3C Trace Context). A repeated one could be read in two ways, and is empty.
    pub traceparent: Option<&'a [u8]>,
    /// The tracestate fields, in order: together they are one list. If there are more than fit, none.
    pub tracestate: [Option<&'a [u8]>; TRACESTATE_FIELDS_MAX],
    /// The last Forwarded fields (RFC 7239).
    pub forwarded: LastValues<'a>,
    /// The last X-Forwarded-For fields.
    pub x_forwarded_for: LastValues<'a>,
    /// Bytes of the body as it comes over the wire; `None` when it is chunked.
    pub content_length: Option<u64>,
    /// All fields.
    pub fields: Fields<'a>,
    /// The number of a head that has come before; `None` if it is parsed for the first time.
    pub id: Option<HeadId>,
}

/// The number of a head that a core remembers. Heads of one number are equal but for the digits of Content-Length and
/// the value of traceparent, and no other head of the core ever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadId(pub(super) u64);

impl HeadId {
    /// The place of the head among the remembered ones, below [`HEADS_KNOWN_MAX`]. At one time, one head has it.
    #[inline]
    #[must_use]
    pub const fn place(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below HEADS_KNOWN_MAX")]
        let place = (self.0 % HEADS_KNOWN_MAX as u64) as usize;
        place
    }
}

/// The fields of a head, in the order they came.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub(super) FieldList<'a>);

#[derive(Debug, Clone, Copy)]
pub(super) enum FieldList<'a> {
    /// The fields of a head that was parsed.
    Parsed(&'a [httparse::Header<'a>]),
    /// The fields of a head that equals one parsed before.
    Known(KnownFields<'a>),
}

/// No fields.
impl Default for Fields<'_> {
    fn default() -> Self {
        Self(FieldList::Parsed(&[]))
    }
}

impl<'a> Fields<'a> {
    /// The value of the first field with this name, in any case of letters. It takes time linear in the number of
    /// fields: for those that few routes need.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        match self.0 {
            FieldList::Parsed(list) => {
                list.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
            }
            FieldList::Known(known) => known.get(name),
        }
    }
}

/// Memory for the fields of one head.
pub(super) type Slots<'a> = [MaybeUninit<httparse::Header<'a>>; HEADERS_MAX];

/// Empty memory for the fields of one head.
pub(super) const fn slots<'a>() -> Slots<'a> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// A head with what only the connection needs to know.
pub(super) struct ParsedHead<'a> {
    pub(super) head: Head<'a>,
    pub(super) connection: ConnectionOptions,
    pub(super) expects_continue: bool,
    /// `None`: a coding that is not served.
    pub(super) coding: Option<Coding>,
}

/// The parts of a head by which the connection reads the body and frames the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framed {
    pub(super) is_head: bool,
    /// The method is one whose body means nothing.
    pub(super) is_without_body: bool,
    pub(super) version: Version,
    /// Field lines of the response for the web page that sent the request.
    pub(super) fields: &'static [u8],
    pub(super) content_length: Option<u64>,
    pub(super) connection: ConnectionOptions,
    pub(super) expects_continue: bool,
    /// As in [`ParsedHead`].
    pub(super) coding: Option<Coding>,
}

impl ParsedHead<'_> {
    /// The parts that matter to the connection.
    #[inline]
    pub(super) fn framed(&self, cors: &Cors) -> Framed {
        let method = self.head.method;
        Framed {
            is_head: method == Method::Head,
            is_without_body: matches!(method, Method::Get | Method::Head | Method::Other("OPTIONS")),
            version: self.head.version,
            fields: cors.fields(self.head.origin),
            content_length: self.head.content_length,
            connection: self.connection,
            expects_continue: self.expects_continue,
            coding: self.coding,
        }
    }
}

/// Progress of the search for the end of a head. Offsets count from the head's first byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadScan {
    scanned: usize,
    line_start: usize,
    leading_lines: usize,
}

impl HeadScan {
    /// Starts the scan of a head of which nothing has arrived.
    pub(super) const fn new() -> Self {
        Self { scanned: 0, line_start: 0, leading_lines: 0 }
    }

    /// Returns whether any byte that counts towards a request has been seen, be it an empty line.
    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        self.scanned > 0 || self.leading_lines > 0
    }

    /// Looks for a head in `bytes`: the length of the empty lines before it, which the caller drops, and the length of
    /// the head behind them once its own empty line is there. Each call passes the bytes not dropped again, and those
    /// that came since.
    ///
    /// # Errors
    /// `LeadingLines`, `LineEnd`, `HeadTooLarge`; `RequestLine` for a first byte that begins no method (TLS, say).
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<(usize, Option<usize>), HttpError> {
        let skipped = if self.scanned == 0 { self.skip_leading_lines(bytes)? } else { 0 };
        match &bytes[skipped..] {
            // What comes next decides whether this is one more empty line.
            [] | [b'\r'] => Ok((skipped, None)),
            head => Ok((skipped, self.find_end(head)?)),
        }
    }

    fn skip_leading_lines(&mut self, bytes: &[u8]) -> Result<usize, HttpError> {
        let mut skipped = 0;
        loop {
            match bytes[skipped..] {
                [b'\r', b'\n', ..] if self.leading_lines == LEADING_EMPTY_LINES_MAX => {
                    return Err(HttpError::LeadingLines);
                }
                [b'\r', b'\n', ..] => {
                    self.leading_lines += 1;
                    skipped += 2;
                }
                [] | [b'\r'] => return Ok(skipped),
                [b'\r' | b'\n', ..] => return Err(HttpError::LineEnd),
                [first, ..] if fields::is_token(first) => return Ok(skipped),
                [_, ..] => return Err(HttpError::RequestLine),
            }
        }
    }

    fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        for offset in memchr::memchr_iter(b'\n', &window[self.scanned..]) {
            let line_end = self.scanned + offset;
            if line_end == 0 || window[line_end - 1] != b'\r' {
                return Err(HttpError::LineEnd);
            }
            if line_end - 1 == self.line_start {
                return Ok(Some(line_end + 1));
            }
            self.line_start = line_end + 1;
        }
        if window.len() == HEAD_BYTES_MAX {
            return Err(HttpError::HeadTooLarge);
        }
        self.scanned = window.len();
        Ok(None)
    }
}

/// Parses a complete head, empty line included; `slots` are memory for its fields.
///
/// # Errors
/// Every fault named in [`HttpError`] from `RequestLine` to `TooManyFields`.
pub(super) fn parse<'a>(bytes: &'a [u8], slots: &'a mut Slots<'a>) -> Result<ParsedHead<'a>, HttpError> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(HttpError::RequestLine),
        Err(error) => return Err(fault(error, bytes)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HttpError::RequestLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let (path, query) = path_and_query(target)?;
    let mut parsed = ParsedHead {
        head: Head {
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "POST" => Method::Post,
                other => Method::Other(other),
            },
            path,
            query,
            version,
            authorization: None,
            accept: None,
            content_type: None,
            origin: None,
            traceparent: None,
            tracestate: [None; TRACESTATE_FIELDS_MAX],
            forwarded: LastValues::default(),
            x_forwarded_for: LastValues::default(),
            content_length: None,
            fields: Fields(FieldList::Parsed(request.headers)),
            id: None,
        },
        connection: ConnectionOptions::default(),
        expects_continue: false,
        coding: Some(Coding::Identity),
    };
    judge_fields(&mut parsed, request.headers)?;
    Ok(parsed)
}

fn judge_fields<'a>(parsed: &mut ParsedHead<'a>, list: &[httparse::Header<'a>]) -> Result<(), HttpError> {
    let mut host_seen = false;
    let mut tracestates = 0;
    let mut transfer = TransferCodings::default();
    let head = &mut parsed.head;
    for field in list {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length first: most fields are none of these, and are passed over with one comparison.
        match field.name.len() {
            4 if is("host") => {
                if host_seen {
                    return Err(HttpError::HostRepeated);
                }
                host_seen = true;
                if !fields::is_host(value) {
                    return Err(HttpError::HostInvalid);
                }
            }
            6 if is("accept") => head.accept = head.accept.or(Some(value)),
            6 if is("origin") => head.origin = head.origin.or(Some(value)),
            6 if is("expect") => parsed.expects_continue |= fields::expects_continue(value),
            9 if is("forwarded") => head.forwarded.add(value),
            10 if is("connection") => parsed.connection.add(value),
            10 if is("tracestate") => {
                match head.tracestate.get_mut(tracestates) {
                    Some(slot) => *slot = Some(value),
                    None => head.tracestate = [None; TRACESTATE_FIELDS_MAX],
                }
                tracestates += 1;
            }
            11 if is("traceparent") => {
                head.traceparent = Some(if head.traceparent.is_some() { b"" } else { value });
            }
            12 if is("content-type") => head.content_type = head.content_type.or(Some(value)),
            13 if is("authorization") => {
                let earlier = head.authorization.replace(value);
                if earlier.is_some() {
                    return Err(HttpError::AuthorizationRepeated);
                }
            }
            14 if is("content-length") => {
                if head.content_length.is_some() {
                    return Err(HttpError::LengthRepeated);
                }
                head.content_length = Some(fields::content_length(value)?);
            }
            15 if is("x-forwarded-for") => head.x_forwarded_for.add(value),
            16 if is("content-encoding") => parsed.coding = fields::add_coding(parsed.coding, value),
            17 if is("transfer-encoding") => transfer.add(value)?,
            _ => {}
        }
    }

    if head.version == Version::Http11 && !host_seen {
        return Err(HttpError::HostMissing);
    }
    if transfer.is_present() {
        if head.content_length.is_some() {
            return Err(HttpError::LengthAndCoding);
        }
        if head.version == Version::Http10 {
            return Err(HttpError::TransferCodingOld);
        }
        if !transfer.are_served() {
            return Err(HttpError::TransferCodingUnknown);
        }
    } else {
        // A request with neither field has no body (RFC 9112, 6.3).
        head.content_length = head.content_length.or(Some(0));
    }
    // HTTP/1.0 knows no interim response, whatever it expects (RFC 9110, 10.1.1).
    parsed.expects_continue &= head.version == Version::Http11;
    Ok(())
}

/// Splits a target. `http://host/path` is reduced to its path (RFC 9112, 3.2.2); `*` and `host:port` stay what they
/// are, paths that nobody serves.
fn path_and_query(target: &str) -> Result<(&str, Option<&str>), HttpError> {
    let mut rest = target;
    for scheme in ["http://", "https://"] {
        if target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
            let after = &target[scheme.len()..];
            let host_end = after.find(['/', '?']).unwrap_or(after.len());
            let host = &after.as_bytes()[..host_end];
            // Of anything else it is open where the path begins: browsers read `http://a\b` as a path, others as user
            // information or a fragment.
            if matches!(host, [] | [b':', ..]) || !fields::is_host(host) {
                return Err(HttpError::Target);
            }
            rest = &after[host_end..];
        }
    }
    let (path, query) = match memchr::memchr(b'?', rest.as_bytes()) {
        Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
        None => (rest, None),
    };
    Ok((if path.is_empty() { "/" } else { path }, query))
}

fn fault(error: httparse::Error, bytes: &[u8]) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HttpError::Field,
        httparse::Error::Version if names_other_version(bytes) => HttpError::Version,
        _ => HttpError::RequestLine,
    }
}

/// Returns whether the request line ends in a well-formed `HTTP/digit.digit`, which then is none of those served.
fn names_other_version(bytes: &[u8]) -> bool {
    let line_end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let line = &bytes[..line_end];
    let version = line.iter().rposition(|byte| *byte == b' ').map_or(line, |space| &line[space + 1..]);
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, path, query) in [
            ("/metrics", "/metrics", None),
            ("/metrics?", "/metrics", Some("")),
            ("/q?a=b?c", "/q", Some("a=b?c")),
            ("?a", "/", Some("a")),
            ("http://host/metrics?x=1", "/metrics", Some("x=1")),
            ("HTTPS://host:1", "/", None),
            ("http://host?x", "/", Some("x")),
            ("*", "*", None),
            ("host:443", "host:443", None),
            ("/http://host/", "/http://host/", None),
        ] {
            assert_eq!(path_and_query(target), Ok((path, query)), "{target}");
        }
        for target in [
            "http://",
            "http:///metrics",
            "http://?a",
            "http://:80/metrics",
            "http://user@host/metrics",
            "http://host#/metrics",
            "http://host\\metrics",
            "http://[::1/metrics",
            "http://a:b/metrics",
        ] {
            assert_eq!(path_and_query(target), Err(HttpError::Target), "{target}");
        }
        assert_eq!(path_and_query("http://[::1]:80/metrics"), Ok(("/metrics", None)));
    }

    #[test]
    fn the_end_is_found_from_where_the_last_look_stopped() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = [&head[..], b"GET"].concat();
        for step in 1..bytes.len() {
            let mut scan = HeadScan::new();
            let end = (step..=bytes.len())
                .step_by(step)
                .chain([bytes.len()])
                .find_map(|arrived| scan.find_end(&bytes[..arrived]).unwrap());
            assert_eq!(end, Some(head.len()), "step {step}");
        }
    }

    #[test]
    fn fields_of_a_trace_that_come_more_than_once() {
        let parsed = |lines: &str| {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
            let mut slots = slots();
            let Head { traceparent, tracestate, .. } = parse(&bytes, &mut slots).ok().unwrap().head;
            let tracestate: Vec<String> =
                tracestate.iter().flatten().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect();
            (traceparent.map(<[u8]>::to_vec), tracestate.join(";"))
        };
        assert_eq!(parsed("TraceParent: x\r\nTraceState: a=1\r\n"), (Some(b"x".to_vec()), "a=1".into()));
        assert_eq!(parsed("traceparent: x\r\ntraceparent: x\r\n"), (Some(Vec::new()), String::new()));
        assert_eq!(parsed("tracestate: a=1\r\nX: y\r\ntracestate: b=2\r\n"), (None, "a=1;b=2".into()));
        let fields = "tracestate: a=1\r\n".repeat(TRACESTATE_FIELDS_MAX);
        assert_eq!(parsed(&fields).1.matches('a').count(), TRACESTATE_FIELDS_MAX);
        assert_eq!(parsed(&(fields.clone() + "tracestate: b=2\r\n")), (None, String::new()));
    }

    #[test]
    fn the_last_fields_of_a_proxy_are_kept() {
        let lines: String = (0..9).map(|n| format!("x-forwarded-FOR: 192.0.2.{n}\r\n")).collect();
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=_a\r\n{lines}\r\n").into_bytes();
        let mut slots = slots();
        let head = parse(&bytes, &mut slots).ok().unwrap().head;
        assert_eq!(head.fields.get("FORWARDED"), Some(&b"for=_a"[..]));
        assert_eq!(head.fields.get("x-forwarded"), None);
        assert_eq!(head.forwarded.from_the_last().collect::<Vec<_>>(), [b"for=_a"]);
        let last: Vec<&[u8]> = head.x_forwarded_for.from_the_last().collect();
        assert_eq!(last, [b"192.0.2.8", b"192.0.2.7", b"192.0.2.6", b"192.0.2.5"]);
    }

    #[test]
    fn every_byte_in_a_value_is_judged() {
        for byte in 0..=255u8 {
            let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: abcdefghijklmnopqrstuvwxyz0123456789".to_vec();
            bytes.push(byte);
            bytes.extend_from_slice(b"z\r\n\r\n");
            assert_eq!(parse(&bytes, &mut slots()).is_ok(), fields::is_value(byte), "{byte:#x}");
        }
    }

    #[test]
    fn every_byte_in_a_name_and_in_a_method_is_judged() {
        for byte in (0..=255u8).filter(|byte| !b": ".contains(byte)) {
            let name = [b"GET / HTTP/1.1\r\nHost: a\r\nX", &[byte][..], b"Y: z\r\n\r\n"].concat();
            assert_eq!(parse(&name, &mut slots()).is_ok(), fields::is_token(byte), "{byte:#x}");
            let method = [b"G", &[byte][..], b"T / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            assert_eq!(parse(&method, &mut slots()).is_ok(), fields::is_token(byte), "{byte:#x}");
        }
    }
}

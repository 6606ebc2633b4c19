//! Heads that come again: a client on a kept connection sends the same head with every request, but for the digits of
//! `Content-Length` and the value of `traceparent`. Such a head is compared with one that was parsed before, and what
//! was found in that one is used again.
//!
//! Only what follows from the bytes of the head is remembered: here what the parser found, and by the service, under
//! the number of the head ([`HeadId`]), what it made of that. Whatever else the response depends on (the client's
//! address, rates, shutdown, memory) is decided for each request as if its head had been parsed.
//!
//! Why the result is the same: every byte of the head is equal but those of the two values. Digits stay digits, at most
//! nineteen, and are read again; a `traceparent` has the same length, and bytes that may stand in a value. Neither can
//! change what the parser makes of the bytes around it.
//!
//! A core remembers [`HEADS_KNOWN_MAX`] heads, of its connections together, so an idle connection costs nothing, and
//! nothing is allocated after [`HeadMemo::new`].

use super::cors::Cors;
use super::fields::{self, Coding, ConnectionOptions, LastValues};
use super::head::{FieldList, Fields, Framed, Head, HeadId, Method, ParsedHead, Version};
use crate::limits::{HEAD_FIELDS_KNOWN_MAX, HEAD_KNOWN_BYTES_MAX, HEADS_KNOWN_MAX, TRACESTATE_FIELDS_MAX};

/// Misses in a row after which heads are remembered more rarely: none of them may ever come again.
const MISSES_MAX: u32 = 32;
/// Misses of which one is then remembered.
const RETRY_EVERY: u32 = 32;

/// The heads that a core knows.
#[derive(Debug)]
pub(super) struct HeadMemo {
    /// As many as there may be, of which `count` are in use.
    known: Box<[KnownHead]>,
    count: usize,
    /// The next to be replaced when all places are taken.
    victim: usize,
    /// Index of the head that came last on any connection.
    latest: u8,
    misses: u32,
    /// Heads that were remembered since the start.
    remembered: u64,
}

/// A part of a head.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u16,
    end: u16,
}

const _: () = assert!(HEAD_KNOWN_BYTES_MAX <= u16::MAX as usize);

/// A head that was parsed, and what was found in it.
#[derive(Debug)]
struct KnownHead {
    id: HeadId,
    bytes: [u8; HEAD_KNOWN_BYTES_MAX],
    bytes_count: usize,
    /// The digits of Content-Length.
    length: Option<Span>,
    /// The value of traceparent.
    trace: Option<Span>,
    /// The path, and behind it the query.
    target: String,
    path_bytes: usize,
    has_query: bool,
    version: Version,
    authorization: Option<Span>,
    accept: Option<Span>,
    content_type: Option<Span>,
    origin: Option<Span>,
    connection: ConnectionOptions,
    expects_continue: bool,
    coding: Option<Coding>,
    /// The length without digits: 0, or `None` for a chunked body.
    content_length: Option<u64>,
    fields: [KnownField; HEAD_FIELDS_KNOWN_MAX],
    fields_count: usize,
}

/// The spans of the name and the value of a field within a head.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KnownField {
    name: Span,
    value: Span,
}

/// The fields of a head that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownFields<'a> {
    /// The head as it was remembered.
    bytes: &'a [u8],
    list: &'a [KnownField],
    /// Values of this head that differ, with where they begin in the one remembered.
    differing: [(u16, &'a [u8]); 2],
}

/// A head that equals a known one.
#[derive(Debug)]
pub(super) struct Match<'a> {
    /// Index of the known one.
    index: u8,
    /// The length of the head in the input.
    pub(super) bytes: usize,
    /// The digits of its Content-Length.
    length: &'a [u8],
    pub(super) content_length: Option<u64>,
    trace: &'a [u8],
    pub(super) id: HeadId,
}

impl Span {
    /// The span of `part`, which was found in `bytes`. `None` if it is not in there.
    fn find(bytes: &[u8], part: &[u8]) -> Option<Self> {
        let start = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        let end = start.checked_add(part.len()).filter(|&end| end <= bytes.len())?;
        Some(Self { start: u16::try_from(start).ok()?, end: u16::try_from(end).ok()? })
    }

    /// The bytes themselves.
    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

impl<'a> KnownFields<'a> {
    /// The value of the first field with this name, in any case of letters.
    pub(super) fn get(self, name: &str) -> Option<&'a [u8]> {
        let is_named = |field: &&KnownField| field.name.of(self.bytes).eq_ignore_ascii_case(name.as_bytes());
        let value = self.list.iter().find(is_named)?.value;
        let differing = self.differing.iter().find(|(start, text)| *start == value.start && !text.is_empty());
        Some(differing.map_or_else(|| value.of(self.bytes), |&(_, text)| text))
    }
}

impl HeadMemo {
    /// Without any head yet, and with the memory for all of them.
    pub(super) fn new() -> Self {
        let place = || KnownHead { target: String::with_capacity(HEAD_KNOWN_BYTES_MAX), ..KnownHead::empty() };
        let known = std::iter::repeat_with(place).take(HEADS_KNOWN_MAX).collect();
        Self { known, count: 0, victim: 0, latest: 0, misses: 0, remembered: 0 }
    }

    /// Compares the head at the front of `input` with the one that `hint` names, which its connection has sent before,
    /// and with the latest of the core.
    #[inline]
    pub(super) fn find<'a>(&mut self, hint: &mut u8, input: &'a [u8]) -> Option<Match<'a>> {
        if let Some(known) = self.known[..self.count].get(usize::from(*hint))
            && let Some(found) = known.compare(*hint, input)
        {
            self.misses = 0;
            self.latest = *hint;
            return Some(found);
        }
        self.find_latest(hint, input)
    }

    /// Finds as [`find`](Self::find) does, by the latest head of the core alone.
    #[inline(never)]
    fn find_latest<'a>(&mut self, hint: &mut u8, input: &'a [u8]) -> Option<Match<'a>> {
        let found = self.known[..self.count].get(usize::from(self.latest))?.compare(self.latest, input)?;
        self.misses = 0;
        *hint = self.latest;
        Some(found)
    }

    /// The parts of the head that was found which matter to the connection.
    #[inline]
    pub(super) fn framed(&self, found: &Match<'_>, cors: &Cors) -> Framed {
        let known = &self.known[usize::from(found.index)];
        Framed {
            // It is a POST.
            is_head: false,
            is_without_body: false,
            version: known.version,
            fields: cors.fields(known.origin.map(|span| span.of(&known.bytes))),
            content_length: found.content_length,
            connection: known.connection,
            expects_continue: known.expects_continue,
            coding: known.coding,
        }
    }

    /// The head that was found, as the parser would have read it.
    #[inline]
    pub(super) fn head<'a>(&'a self, found: &Match<'a>) -> ParsedHead<'a> {
        let known = &self.known[usize::from(found.index)];
        let bytes = &known.bytes[..known.bytes_count];
        let part = |span: Option<Span>| span.map(|span| span.of(bytes));
        let start = |span: Option<Span>| span.map_or(0, |span| span.start);
        let (path, query) = known.target.split_at(known.path_bytes);
        let fields = KnownFields {
            bytes,
            list: &known.fields[..known.fields_count],
            differing: [(start(known.length), found.length), (start(known.trace), found.trace)],
        };
        ParsedHead {
            head: Head {
                method: Method::Post,
                path,
                query: known.has_query.then_some(query),
                version: known.version,
                authorization: part(known.authorization),
                accept: part(known.accept),
                content_type: part(known.content_type),
                origin: part(known.origin),
                traceparent: known.trace.is_some().then_some(found.trace),
                tracestate: [None; TRACESTATE_FIELDS_MAX],
                forwarded: LastValues::default(),
                x_forwarded_for: LastValues::default(),
                content_length: found.content_length,
                fields: Fields(FieldList::Known(fields)),
                id: Some(found.id),
            },
            connection: known.connection,
            expects_continue: known.expects_continue,
            coding: known.coding,
        }
    }

    /// Remembers a head that was parsed, unless it is one of those whose fields differ with every request.
    #[cold]
    pub(super) fn learn(&mut self, hint: &mut u8, bytes: &[u8], parsed: &ParsedHead<'_>) {
        if parsed.head.method != Method::Post {
            return;
        }
        self.misses = self.misses.wrapping_add(1);
        if self.misses > MISSES_MAX && !self.misses.is_multiple_of(RETRY_EVERY) {
            return;
        }
        let index = match self.known[..self.count].iter().position(|known| known.compare(0, bytes).is_some()) {
            Some(index) => index,
            None => {
                let Some(head) = KnownHead::of(bytes, parsed) else { return };
                self.insert(head, parsed)
            }
        };
        const { assert!(HEADS_KNOWN_MAX <= u8::MAX as usize) };
        self.latest = u8::try_from(index).unwrap_or(u8::MAX);
        *hint = self.latest;
    }

    /// Puts a head into a free place, or into the one that was filled first.
    fn insert(&mut self, mut head: KnownHead, parsed: &ParsedHead<'_>) -> usize {
        let index = if self.count < self.known.len() {
            self.count += 1;
            self.count - 1
        } else {
            let victim = self.victim;
            self.victim = (victim + 1) % self.known.len();
            victim
        };
        // In the memory of the one before it.
        head.id = HeadId(self.remembered * HEADS_KNOWN_MAX as u64 + index as u64);
        self.remembered += 1;
        head.target = std::mem::take(&mut self.known[index].target);
        head.target.clear();
        head.target.push_str(parsed.head.path);
        head.target.push_str(parsed.head.query.unwrap_or_default());
        self.known[index] = head;
        index
    }
}

impl KnownHead {
    /// A place for a head.
    const fn empty() -> Self {
        let nothing = Span { start: 0, end: 0 };
        Self {
            id: HeadId(0),
            bytes: [0; HEAD_KNOWN_BYTES_MAX],
            bytes_count: 0,
            length: None,
            trace: None,
            target: String::new(),
            path_bytes: 0,
            has_query: false,
            version: Version::Http11,
            authorization: None,
            accept: None,
            content_type: None,
            origin: None,
            connection: ConnectionOptions { close: false, keep_alive: false },
            expects_continue: false,
            coding: None,
            content_length: None,
            fields: [KnownField { name: nothing, value: nothing }; HEAD_FIELDS_KNOWN_MAX],
            fields_count: 0,
        }
    }

    /// The head of a POST, but for its target. `None` if it is too long, has too many fields, or some by which a proxy
    /// or a tracer says something of one request.
    fn of(bytes: &[u8], parsed: &ParsedHead<'_>) -> Option<Self> {
        let head = &parsed.head;
        let FieldList::Parsed(list) = head.fields.0 else { return None };
        if head.traceparent == Some(b"")
            || head.tracestate[0].is_some()
            || head.forwarded.is_present()
            || head.x_forwarded_for.is_present()
            || head.path.len() + head.query.unwrap_or_default().len() > HEAD_KNOWN_BYTES_MAX
        {
            return None;
        }
        // A field that is there must be in the bytes.
        let field = |value: Option<&[u8]>| value.map_or(Some(None), |value| Span::find(bytes, value).map(Some));
        let mut known = Self {
            bytes_count: bytes.len(),
            length: field(head.fields.get("content-length"))?,
            trace: field(head.traceparent)?,
            path_bytes: head.path.len(),
            has_query: head.query.is_some(),
            version: head.version,
            authorization: field(head.authorization)?,
            accept: field(head.accept)?,
            content_type: field(head.content_type)?,
            origin: field(head.origin)?,
            connection: parsed.connection,
            expects_continue: parsed.expects_continue,
            coding: parsed.coding,
            content_length: head.content_length,
            fields_count: list.len(),
            ..Self::empty()
        };
        known.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        for (known, field) in known.fields.get_mut(..list.len())?.iter_mut().zip(list) {
            let name = Span::find(bytes, field.name.as_bytes())?;
            *known = KnownField { name, value: Span::find(bytes, field.value)? };
        }
        Some(known)
    }

    /// Compares the head at the front of `input`.
    #[inline(always)]
    fn compare<'a>(&self, index: u8, input: &'a [u8]) -> Option<Match<'a>> {
        let mut found =
            Match { index, bytes: 0, length: &[], content_length: self.content_length, trace: &[], id: self.id };
        let mut rest = input;
        let mut at = 0;
        // In the order in which they are in the head.
        let is_trace_first = match (self.trace, self.length) {
            (Some(trace), Some(length)) => trace.start < length.start,
            _ => false,
        };
        if is_trace_first {
            (found.trace, rest) = self.skip_trace(&mut at, rest)?;
        }
        if let Some(length) = self.length {
            rest = rest.strip_prefix(&self.bytes[at..usize::from(length.start)])?;
            at = usize::from(length.end);
            let (digits, value) = content_length(rest)?;
            (found.length, rest) = rest.split_at(digits);
            found.content_length = Some(value);
        }
        if self.trace.is_some() && !is_trace_first {
            (found.trace, rest) = self.skip_trace(&mut at, rest)?;
        }
        rest = rest.strip_prefix(&self.bytes[at..self.bytes_count])?;
        found.bytes = input.len() - rest.len();
        Some(found)
    }

    /// Compares up to the value of traceparent, and takes that: it, and what is behind.
    fn skip_trace<'a>(&self, at: &mut usize, rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let Span { start, end } = self.trace?;
        let (start, end) = (usize::from(start), usize::from(end));
        let (value, rest) = rest.strip_prefix(&self.bytes[*at..start])?.split_at_checked(end - start)?;
        *at = end;
        let is_value = value.iter().fold(true, |so_far, &byte| so_far & fields::is_value(byte) & (byte > b' '));
        is_value.then_some((value, rest))
    }
}

/// The digits at the front of `rest`, at least one and at most nineteen, which always fit: how many, and their value.
#[inline]
fn content_length(rest: &[u8]) -> Option<(usize, u64)> {
    let (mut digits, mut value) = (0, 0_u64);
    loop {
        let digit = rest.get(digits)?.wrapping_sub(b'0');
        if digit > 9 {
            return (digits > 0).then_some((digits, value));
        }
        if digits == fields::LENGTH_DIGITS_MAX {
            return None;
        }
        value = value * 10 + u64::from(digit);
        digits += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::head;
    use super::*;

    const HEAD: &[u8] =
        b"POST /m?a HTTP/1.1\r\nHost: a\r\ntraceparent: 00-ab-cd-01\r\nContent-Length: 12\r\nX: y\r\n\r\n";

    fn replaced(from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(HEAD.to_vec()).unwrap().replace(from, to).into_bytes()
    }

    fn memo_of(bytes: &[u8]) -> HeadMemo {
        let mut memo = HeadMemo::new();
        memo.learn(&mut 0, bytes, &head::parse(bytes, &mut head::slots()).ok().unwrap());
        memo
    }

    #[test]
    fn a_head_is_found_with_other_digits_and_another_trace() {
        let mut memo = memo_of(HEAD);
        for (bytes, length) in [
            (HEAD.to_vec(), 12),
            (replaced("12\r", "0\r"), 0),
            (replaced("12\r", "0012345\r"), 12_345),
            (replaced("12\r", "9999999999999999999\r"), 9_999_999_999_999_999_999),
            (replaced("00-ab-cd-01", "00-12-34-00"), 12),
        ] {
            let input = [&bytes[..], b"body"].concat();
            let found = memo.find(&mut 7, &input).unwrap();
            assert_eq!(found.bytes, bytes.len());
            let ParsedHead { head, .. } = memo.head(&found);
            assert_eq!((head.path, head.query, head.content_length), ("/m", Some("a"), Some(length)));
            assert_eq!((head.id, found.id.place()), (Some(found.id), 0));
            assert_eq!(head.fields.get("traceparent"), head.traceparent);
            assert_eq!(head.fields.get("x"), Some(&b"y"[..]));
            assert_eq!(fields::content_length(head.fields.get("content-length").unwrap()), Ok(length));
        }
    }

    #[test]
    fn the_number_of_a_head_never_comes_again() {
        let mut memo = HeadMemo::new();
        let mut ids = Vec::new();
        for number in 0..3 * HEADS_KNOWN_MAX {
            let bytes = replaced("/m", &format!("/{number}"));
            memo.misses = 0;
            memo.learn(&mut 0, &bytes, &head::parse(&bytes, &mut head::slots()).ok().unwrap());
            let found = memo.find(&mut 0, &bytes).unwrap();
            assert_eq!(found.id.place(), usize::from(found.index));
            assert!(!ids.contains(&found.id), "{number}");
            ids.push(found.id);
        }
    }

    #[test]
    fn a_head_is_not_found_if_any_other_byte_differs() {
        let mut memo = memo_of(HEAD);
        for (from, to) in [
            ("12\r", "\r"),
            ("12\r", "1x\r"),
            ("12\r", "10000000000000000000\r"),
            ("01\r", "\t1\r"),
            ("01\r", "1\r"),
            ("X", "x"),
        ] {
            assert!(memo.find(&mut 0, &replaced(from, to)).is_none(), "{to}");
        }
        for end in 0..HEAD.len() {
            assert!(memo.find(&mut 0, &HEAD[..end]).is_none());
        }
    }
}

//! Elements of a body that differ from one before in a few values alone: the bytes that both have, and the places of
//! the values between them (the gaps).
//!
//! A template is the key of a series in the [cache](super::series_cache): its bytes say where the gaps are and what is
//! in each, so that an element that has the same bytes around gaps of the same kinds means the same but for them. What
//! reads a gap must take one whole value of its protocol and no less.

use crate::number::{self, Number};
use crate::{Bounds, cursor::Cursor, sink::is_plain};

/// Bytes of a template, at most: the cache takes none of them.
const TEMPLATE_BYTES_MAX: usize = 512;
/// Bytes of a spelling that is copied for the cache, at most: it takes none of them.
pub(super) const SPELLED_BYTES_MAX: usize = 512;
/// Bytes of a host that is a gap, at most.
const HOST_BYTES_MAX: usize = 255;
/// Bytes of a number of seconds that is kept, at most.
const NUMBER_BYTES_MAX: usize = 32;
/// Kind of the gap behind the last part: there is none, and the element ends.
const END: u8 = 0;

/// Appends the bytes in front of a gap; `None` if there are too many.
pub(super) fn push_part(template: &mut Vec<u8>, part: &[u8], gap: u8) -> Option<()> {
    let bytes = u16::try_from(part.len()).ok()?;
    if template.len() + part.len() > TEMPLATE_BYTES_MAX {
        return None;
    }
    let [low, high] = bytes.to_le_bytes();
    template.extend_from_slice(&[low, high, gap]);
    template.extend_from_slice(part);
    Some(())
}

/// Appends the bytes behind the last gap; `None` if there are too many.
pub(super) fn push_end(template: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    push_part(template, part, END)
}

/// Reads an element at the front of `rest` that has the bytes of `template`, and returns what is behind it. `read_gap`
/// is called with the kind of each gap and what begins with it, and returns what is behind it.
#[inline]
pub(super) fn read<'a>(
    mut template: &[u8],
    mut rest: &'a [u8],
    mut read_gap: impl FnMut(u8, &'a [u8]) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    while let [low, high, gap, behind @ ..] = template {
        let (part, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        rest = rest.strip_prefix(part)?;
        if *gap == END {
            return Some(rest);
        }
        rest = read_gap(*gap, rest)?;
        template = behind;
    }
    None
}

/// Reads a JSON number that is finite; returns what is behind it too.
#[inline]
pub(super) fn finite(rest: &[u8]) -> Option<(Number<'_>, &[u8])> {
    let (b'-' | b'0'..=b'9') = rest.first()? else { return None };
    let mut cursor = Cursor::new(rest);
    let number = number::read(&mut cursor).ok()?;
    number.is_finite().then_some((number, cursor.rest()))
}

/// True for a host that may be in a gap: it is not empty, not too long, and stands for itself in a line.
pub(super) fn is_host(host: &[u8], bytes_limit: usize) -> bool {
    !host.is_empty() && host.len() <= bytes_limit.min(HOST_BYTES_MAX) && is_plain(host)
}

/// As [`is_host`], for a value in JSON.
pub(super) fn is_json_host(value: &[u8], bytes_limit: usize) -> bool {
    let host = value.strip_prefix(b"\"").and_then(|host| host.strip_suffix(b"\""));
    host.is_some_and(|host| is_host(host, bytes_limit))
}

/// State of the gaps that goes on from one element to the next.
#[derive(Debug)]
pub(super) struct Gaps {
    pub host: LastHost,
    pub host_bytes_limit: usize,
    pub time: LastSeconds,
}

impl Gaps {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { host: LastHost::default(), host_bytes_limit: bounds.tag_bytes_limit, time: LastSeconds::default() }
    }

    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.host.kept_bytes() + self.time.kept_bytes()
    }
}

/// The text of the last host, as it stands in a body with what is around it.
#[derive(Debug, Default)]
pub(super) struct LastHost {
    /// With the bytes around it.
    bytes: Vec<u8>,
    /// Offsets of the host itself.
    start: usize,
    end: usize,
}

impl LastHost {
    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The host.
    #[inline]
    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads the same host at the front of `rest` and returns what is behind it; `None` if another one is there.
    #[inline]
    pub(super) fn read_again<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        if self.bytes.is_empty() { None } else { rest.strip_prefix(&self.bytes[..]) }
    }

    /// Takes another host, `host`, which is a part of `bytes`; `None` if it [may not be in a gap](is_host).
    pub(super) fn take(&mut self, bytes: &[u8], host: &[u8], limit: usize) -> Option<()> {
        if !is_host(host, limit) {
            return None;
        }
        self.start = (host.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        self.end = self.start + host.len();
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        Some(())
    }

    /// Reads a JSON string, and returns what is behind it. `None` if it [may not be in a gap](is_host).
    #[inline]
    pub(super) fn read_json<'a>(&mut self, rest: &'a [u8], limit: usize) -> Option<&'a [u8]> {
        self.read_again(rest).or_else(|| {
            let text = rest.strip_prefix(b"\"")?;
            let host = &text[..memchr::memchr(b'"', text)?];
            let (bytes, behind) = rest.split_at(host.len() + 2);
            self.take(bytes, host, limit)?;
            Some(behind)
        })
    }
}

/// The last number of seconds, and the milliseconds that it stands for.
#[derive(Debug, Default)]
pub(super) struct LastSeconds {
    text: Vec<u8>,
    ms: i64,
}

impl LastSeconds {
    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Reads a JSON number of seconds as milliseconds; returns what is behind it too.
    #[inline]
    pub(super) fn read<'a>(&mut self, rest: &'a [u8]) -> Option<(i64, &'a [u8])> {
        if !self.text.is_empty()
            && let Some(behind) = rest.strip_prefix(&self.text[..])
            && !matches!(behind.first(), Some(b'0'..=b'9' | b'.' | b'e' | b'E'))
        {
            return Some((self.ms, behind));
        }
        let (number, behind) = finite(rest)?;
        // Nobody sends as many digits.
        if number.text.len() > NUMBER_BYTES_MAX {
            return None;
        }
        self.ms = number.seconds_to_ms();
        self.text.clear();
        self.text.extend_from_slice(number.text);
        Some((self.ms, behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_by_its_parts_and_gaps() {
        let mut template = Vec::new();
        push_part(&mut template, b"a=", 1).unwrap();
        push_part(&mut template, b",", 2).unwrap();
        push_end(&mut template, b";").unwrap();
        let mut gaps = Vec::new();
        let mut read = |element: &'static [u8]| {
            gaps.clear();
            let rest = super::read(&template, element, |gap, rest| {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                gaps.push((gap, digits));
                (digits > 0).then(|| &rest[digits..])
            });
            (rest, gaps.clone())
        };
        assert_eq!(read(b"a=12,345;a"), (Some(&b"a"[..]), vec![(1, 2), (2, 3)]));
        for element in [&b"a=12,345"[..], b"a=12345;", b"a=,345;", b"", b"b=12,345;", b"a=1,2.;"] {
            assert_eq!(read(element).0, None, "{element:?}");
        }
        assert_eq!(super::read(b"", b"", |_, rest| Some(rest)), None);
        assert_eq!(push_end(&mut template, &[b'x'; TEMPLATE_BYTES_MAX]), None);
    }

    #[test]
    fn a_host_is_taken_if_it_needs_no_escapes() {
        let mut host = LastHost::default();
        for (text, expected) in [
            ("\"a1\",", Some("a1")),
            ("\"a\",", Some("a")),
            ("\"\",", None),
            ("\"a\\\"\",", None),
            ("\"\u{e9}\",", None),
            ("\"12345678\"", Some("12345678")),
            ("\"123456789\"", None),
            ("\"a", None),
            ("null", None),
            ("", None),
        ] {
            let rest = host.read_json(text.as_bytes(), 8);
            let read = rest.map(|_| str::from_utf8(host.text()).unwrap());
            assert_eq!(read, expected, "{text}");
            assert_eq!(rest.map(<[u8]>::len), expected.map(|host| text.len() - host.len() - 2), "{text}");
        }
    }

    #[test]
    fn seconds_are_those_of_the_number() {
        let mut seconds = LastSeconds::default();
        for (text, expected) in [
            ("1.5,", Some((1_500, &b","[..]))),
            ("1.5}", Some((1_500, b"}"))),
            ("-1.5,", Some((-1_500, b","))),
            ("-1.55,", Some((-1_550, b","))),
            ("-1.5e1,", Some((-15_000, b","))),
            ("12,", Some((12_000, b","))),
            ("x", None),
            ("\"12\"", None),
            ("1e999", None),
            ("", None),
        ] {
            assert_eq!(seconds.read(text.as_bytes()), expected, "{text}");
        }
    }
}

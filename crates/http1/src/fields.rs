//! Parsers of single header fields: one function a field, each over the bytes of its value alone.
//!
//! Where a list or a number can be read in more than one way, the reading is refused (RFC 9112, 6.3 and 11.2).

use super::HttpError;
use crate::limits::FORWARDED_FIELDS_MAX;

/// The last values of a field that may come several times.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastValues<'a> {
    values: [&'a [u8]; FORWARDED_FIELDS_MAX],
    count: usize,
}

impl<'a> LastValues<'a> {
    /// Takes one more value, which may push the first one out.
    pub fn add(&mut self, value: &'a [u8]) {
        if self.count == FORWARDED_FIELDS_MAX {
            self.values.rotate_left(1);
        } else {
            self.count += 1;
        }
        self.values[self.count - 1] = value;
    }

    /// Returns whether there is any.
    #[inline]
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.count > 0
    }

    /// The values, the last one first.
    #[inline]
    pub fn from_the_last(self) -> impl Iterator<Item = &'a [u8]> {
        self.values.into_iter().take(self.count).rev()
    }
}

/// Compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
    /// zlib (RFC 1950), as RFC 9110, 8.4.1.2 has it.
    Deflate,
    /// The block format, as remote write has it. It is no registered coding.
    Snappy,
}

/// Options of the Connection fields.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
}

impl ConnectionOptions {
    /// Adds the options of one field; unknown ones say nothing to this server.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Codings of the Transfer-Encoding fields, in the order they came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TransferCodings {
    present: bool,
    chunked: bool,
    unknown: bool,
}

impl TransferCodings {
    pub(super) fn add(&mut self, value: &[u8]) -> Result<(), HttpError> {
        self.present = true;
        for coding in elements(value) {
            // Chunked ends the message, so nothing can come after it; a parameter would make it another coding to some.
            if coding.is_empty() || self.chunked {
                return Err(HttpError::TransferCodingInvalid);
            }
            let name_end = coding.iter().position(|byte| !is_token(*byte)).unwrap_or(coding.len());
            if !coding[..name_end].eq_ignore_ascii_case(b"chunked") {
                self.unknown = true;
            } else if name_end == coding.len() {
                self.chunked = true;
            } else {
                return Err(HttpError::TransferCodingInvalid);
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn is_present(self) -> bool {
        self.present
    }

    /// Returns whether all codings that were applied can be undone here.
    #[inline]
    pub(super) fn are_served(self) -> bool {
        self.chunked && !self.unknown
    }
}

/// Adds one Content-Encoding field to the coding found so far; `None` is one that is not served. Elements of the list
/// that are empty say nothing (RFC 9110, 5.6.1.2), and so does an empty field.
pub(super) fn add_coding(so_far: Option<Coding>, value: &[u8]) -> Option<Coding> {
    let mut found = so_far?;
    for name in elements(value) {
        let coding = if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            Coding::Gzip
        } else if name.eq_ignore_ascii_case(b"zstd") {
            Coding::Zstd
        } else if name.eq_ignore_ascii_case(b"deflate") {
            Coding::Deflate
        } else if name.eq_ignore_ascii_case(b"snappy") {
            Coding::Snappy
        } else if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            // A list may have empty elements (RFC 9110, 5.6.1), and an empty one is what some clients send for no
            // coding.
            continue;
        } else {
            return None;
        };
        if found != Coding::Identity {
            return None;
        }
        found = coding;
    }
    Some(found)
}

/// Returns whether an Expect field has `100-continue` among its expectations. Others are ignored (RFC 9110, 10.1.1).
#[inline]
pub(super) fn expects_continue(value: &[u8]) -> bool {
    elements(value).any(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
}

/// Digits of a Content-Length, at most: nineteen of them always fit 64 bits, and more say nothing useful.
pub(super) const LENGTH_DIGITS_MAX: usize = 19;

/// A Content-Length: digits and nothing else.
pub(super) fn content_length(value: &[u8]) -> Result<u64, HttpError> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::LengthInvalid);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Returns true if a Host is `uri-host [":" port]` (RFC 9110, 7.2). It may be empty: a client whose URI has no host
/// sends it so.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (name_is_valid, rest) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', literal) else { return false };
        let inside = &literal[..end];
        (!inside.is_empty() && inside.iter().all(|byte| is_host_byte(*byte) || *byte == b':'), &literal[end + 1..])
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        (value[..end].iter().all(|byte| is_host_byte(*byte)), &value[end..])
    };
    let port_is_valid = rest.strip_prefix(b":").map_or(rest.is_empty(), |port| port.iter().all(u8::is_ascii_digit));
    name_is_valid && port_is_valid
}

/// `unreserved`, `sub-delims` and the percent sign of RFC 3986.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Returns whether a byte may stand in a token (RFC 9110, 5.6.2): a method, a field name, a coding.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether a byte may stand in a field value: anything but control bytes, and the tab is none.
#[inline]
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The elements of a list, without the white space around them. An empty list has one empty element.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["", "a", "example.com", "example.com:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b-c%20", "x:0"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[]", "[::1]x", "::1", "a\tb", "a?b", "a#b", "é", "a\\b"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"0042"), Ok(42));
        assert_eq!(content_length(b"9999999999999999999"), Ok(9_999_999_999_999_999_999));
        for bad in ["", "+1", "-1", " 1", "1 ", "5, 5", "5,5", "0x10", "1e3", "1.0", "10000000000000000000", "٣"] {
            assert_eq!(content_length(bad.as_bytes()), Err(HttpError::LengthInvalid), "{bad}");
        }
    }

    #[test]
    fn expectations_are_a_list() {
        for value in
            ["100-continue", "100-Continue", "100-continue,", ", 100-continue", "a=b, 100-continue;x, 100-continue"]
        {
            assert!(expects_continue(value.as_bytes()), "{value}");
        }
        for value in ["", ",", "200-ok", "100-continue;x", "100 continue", "\"100-continue\""] {
            assert!(!expects_continue(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn content_codings() {
        let one = |value: &str| add_coding(Some(Coding::Identity), value.as_bytes());
        assert_eq!(one("gzip"), Some(Coding::Gzip));
        assert_eq!(one("X-GZip"), Some(Coding::Gzip));
        assert_eq!(one("identity, zstd"), Some(Coding::Zstd));
        assert_eq!(one("Deflate"), Some(Coding::Deflate));
        assert_eq!(one("snappy"), Some(Coding::Snappy));
        assert_eq!(one("Identity"), Some(Coding::Identity));
        for nothing in ["", " ", ",", "identity", ", identity,", "identity, identity"] {
            assert_eq!(one(nothing), Some(Coding::Identity), "{nothing:?}");
        }
        for gzip in ["gzip, identity", "identity,gzip", ",gzip,", "x-gzip"] {
            assert_eq!(one(gzip), Some(Coding::Gzip), "{gzip}");
            assert_eq!(add_coding(one(gzip), b""), Some(Coding::Gzip), "an empty field behind {gzip}");
        }
        for unserved in
            ["br", "x-snappy-framed", "gzip, gzip", "gzip, zstd", "snappy, deflate", "gzip;q=1", "gzip zstd"]
        {
            assert_eq!(one(unserved), None, "{unserved}");
        }
        assert_eq!(add_coding(one("gzip"), b"gzip"), None);
        assert_eq!(add_coding(None, b"gzip"), None);
    }
}

//! The tokens of a line.

use super::{Format, Reject, memchr2, read_decimal, read_value};
use crate::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};

/// Reads a line from its front.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    format: Format,
}

/// The text between quotation marks, or a name without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quoted<'a> {
    /// As it stands in the body.
    pub raw: &'a [u8],
    has_escapes: bool,
}

impl Quoted<'_> {
    /// The text without escapes: `raw`, or what is made of it in `scratch`.
    #[inline]
    pub fn text<'b>(&'b self, scratch: &'b mut Vec<u8>) -> &'b [u8] {
        if !self.has_escapes {
            return self.raw;
        }
        unescape(self.raw, scratch);
        scratch
    }
}

#[cold]
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let byte = match rest.first() {
            Some(b'n') => b'\n',
            Some(&byte @ (b'\\' | b'"')) => byte,
            // Stands for itself, and so does what follows.
            _ => {
                out.push(b'\\');
                continue;
            }
        };
        out.push(byte);
        rest = &rest[1..];
    }
    out.extend_from_slice(rest);
}

impl<'a> Tokens<'a> {
    pub const fn new(line: &'a [u8], format: Format) -> Self {
        Self { rest: line, format }
    }

    /// Reads `byte` if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads blanks where 0.0.4 allows them and OpenMetrics does not. True if there were any.
    #[inline]
    pub fn blanks(&mut self) -> bool {
        let before = self.rest.len();
        if self.format == Format::Prometheus {
            while let [b' ' | b'\t', rest @ ..] = self.rest {
                self.rest = rest;
            }
        }
        self.rest.len() < before
    }

    /// The number of bytes that are left.
    #[inline]
    pub const fn bytes(&self) -> usize {
        self.rest.len()
    }

    /// Drops `bytes` bytes, of which there are as many at least.
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (token, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        token
    }

    /// A metric's name without quotation marks.
    #[inline]
    pub fn metric_name(&mut self) -> Result<&'a [u8], Reject> {
        let bytes = name_bytes(self.rest, METRIC);
        if bytes == 0 { Err(Reject::Syntax) } else { Ok(self.take(bytes)) }
    }

    /// A label; without a value it is a quoted name of a metric.
    #[inline]
    pub fn label(&mut self) -> Result<(Quoted<'a>, Option<Quoted<'a>>), Reject> {
        let is_quoted = matches!(self.rest, [b'"', ..]);
        let key = if is_quoted {
            self.quoted()?
        } else {
            let bytes = name_bytes(self.rest, LABEL);
            if bytes == 0 {
                return Err(Reject::Syntax);
            }
            Quoted { raw: self.take(bytes), has_escapes: false }
        };
        self.blanks();
        if self.eat(b'=') {
            self.blanks();
            let value = self.quoted()?;
            Ok((key, Some(value)))
        } else if is_quoted {
            Ok((key, None))
        } else {
            Err(Reject::Syntax)
        }
    }

    /// Reads the comma between labels, which may stand behind the last one too. False if the labels end without one.
    #[inline]
    pub fn comma(&mut self) -> Result<bool, Reject> {
        self.blanks();
        let is_comma = self.eat(b',');
        if is_comma || matches!(self.rest, [b'}', ..]) { Ok(is_comma) } else { Err(Reject::Syntax) }
    }

    /// Reads the end of the labels if it comes next.
    #[inline]
    pub fn closing_brace(&mut self) -> bool {
        self.blanks();
        self.eat(b'}')
    }

    /// A text with its quotation marks.
    #[inline]
    fn quoted(&mut self) -> Result<Quoted<'a>, Reject> {
        let [b'"', text @ ..] = self.rest else { return Err(Reject::Syntax) };
        let mut bytes = 0;
        let mut has_escapes = false;
        loop {
            let found = memchr2(b'"', b'\\', text.get(bytes..).unwrap_or_default()).ok_or(Reject::Syntax)?;
            bytes += found;
            if text[bytes] == b'"' {
                self.rest = &text[bytes + 1..];
                return Ok(Quoted { raw: &text[..bytes], has_escapes });
            }
            has_escapes = true;
            // The backslash and what it stands before.
            bytes += 2;
        }
    }

    /// The bytes up to the next blank, in 0.0.4.
    #[inline]
    pub fn word(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// One space and the bytes up to the next one, in OpenMetrics.
    #[inline]
    pub fn spaced_word(&mut self) -> Result<&'a [u8], Reject> {
        if !self.eat(b' ') {
            return Err(Reject::Syntax);
        }
        let end = self.rest.iter().position(|&byte| byte == b' ').unwrap_or(self.rest.len());
        if end == 0 { Err(Reject::Syntax) } else { Ok(self.take(end)) }
    }

    /// The rest of a line of 0.0.4 behind its value: nothing, or milliseconds.
    #[inline]
    pub fn timestamp(&mut self) -> Result<Option<i64>, Reject> {
        self.blanks();
        if self.rest.is_empty() {
            return Ok(None);
        }
        milliseconds(self.rest).map(Some)
    }

    /// The rest of a line of OpenMetrics behind its value: seconds and an exemplar, or one of them, or nothing.
    #[inline]
    pub fn timestamp_and_exemplar(&mut self) -> Result<(Option<i64>, bool), Reject> {
        if self.rest.is_empty() {
            return Ok((None, false));
        }
        let timestamp_ms = if self.rest.starts_with(b" #") { None } else { Some(seconds(self.spaced_word()?)?) };
        // Here and not in the sink, as the exemplar of a rejected sample counts for nothing.
        if timestamp_ms.is_some_and(|timestamp_ms| !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&timestamp_ms)) {
            return Err(Reject::Timestamp);
        }
        if self.rest.is_empty() {
            return Ok((timestamp_ms, false));
        }
        self.exemplar()?;
        Ok((timestamp_ms, true))
    }

    fn exemplar(&mut self) -> Result<(), Reject> {
        self.rest = self.rest.strip_prefix(b" # {").ok_or(Reject::Syntax)?;
        while !self.closing_brace() {
            let (_, value) = self.label()?;
            value.ok_or(Reject::Syntax)?;
            self.comma()?;
        }
        read_value(self.spaced_word()?).map_err(|_| Reject::Syntax)?;
        if !self.rest.is_empty() {
            seconds(self.spaced_word()?).map_err(|_| Reject::Syntax)?;
        }
        if self.rest.is_empty() { Ok(()) } else { Err(Reject::Syntax) }
    }
}

/// Classes of a byte in a name without quotation marks.
const LABEL: u8 = 1;
const METRIC: u8 = 2;
const DIGIT: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => LABEL | METRIC,
            b':' => METRIC,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Length of the name at the front of `text`: of letters, and digits behind the first. 0 if there is none.
#[inline]
pub(super) fn name_bytes(text: &[u8], letters: u8) -> usize {
    match text.first() {
        Some(&first) if CLASSES[usize::from(first)] & letters != 0 => {
            text.iter().position(|&byte| CLASSES[usize::from(byte)] & (letters | DIGIT) == 0).unwrap_or(text.len())
        }
        _ => 0,
    }
}

/// True if `text` is a label's name that needs no quotation marks.
pub(super) fn is_label_name(text: &[u8]) -> bool {
    !text.is_empty() && name_bytes(text, LABEL) == text.len()
}

/// Length of the metric's name at the front of `text`.
pub(super) fn metric_name_bytes(text: &[u8]) -> usize {
    name_bytes(text, METRIC)
}

/// Reads an integer of milliseconds.
fn milliseconds(token: &[u8]) -> Result<i64, Reject> {
    let digits = token.strip_prefix(b"-").or_else(|| token.strip_prefix(b"+")).unwrap_or(token);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reject::Syntax);
    }
    std::str::from_utf8(token).ok().and_then(|text| text.parse().ok()).ok_or(Reject::Timestamp)
}

/// Reads seconds, as milliseconds rounded down. Plain decimals are read exactly, where a multiplication by 1,000 in
/// floating point makes 1795838679454 of 1795838679.455.
fn seconds(token: &[u8]) -> Result<i64, Reject> {
    match plain_seconds(token) {
        Some(milliseconds) => milliseconds.ok_or(Reject::Timestamp),
        None => {
            let float = match read_value(token) {
                Ok(_) => read_decimal(token).ok_or(Reject::Timestamp)?,
                Err(_) => return Err(Reject::Syntax),
            };
            let milliseconds = (float * 1000.0).floor();
            // Saturated, and out of range then.
            #[expect(clippy::cast_possible_truncation, reason = "the years 0000 to 9999 are far within 64 bits")]
            Ok(milliseconds as i64)
        }
    }
}

/// Reads `-1.5`; the outer `None` is for a number that is spelled otherwise, the inner for one out of range.
fn plain_seconds(token: &[u8]) -> Option<Option<i64>> {
    let (is_negative, magnitude) = match token {
        [b'-', magnitude @ ..] => (true, magnitude),
        _ => (false, token),
    };
    let point = magnitude.iter().position(|&byte| byte == b'.').unwrap_or(magnitude.len());
    let (integer, fraction) = magnitude.split_at(point);
    let fraction = fraction.get(1..).unwrap_or_default();
    if integer.is_empty() || !integer.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let (kept, dropped) = fraction.split_at(fraction.len().min(3));
    let digits = integer.iter().chain(kept.iter().chain(b"000").take(3));
    let milliseconds = digits
        .map(|digit| i64::from(digit - b'0'))
        .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    let is_rounded = dropped.iter().any(|&digit| digit != b'0');
    Some(
        milliseconds.map(|milliseconds| if is_negative { -milliseconds - i64::from(is_rounded) } else { milliseconds }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_milliseconds_by_floor() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1795838679.455", 1_795_838_679_455),
            ("1795838679.4559999", 1_795_838_679_455),
            ("1520879607.789", 1_520_879_607_789),
            ("1.", 1000),
            ("-0.0001", -1),
            ("-1.5", -1500),
            ("-1.5000", -1500),
            ("1.5e3", 1_500_000),
            ("+2", 2000),
            (".25", 250),
        ] {
            assert_eq!(seconds(text.as_bytes()), Ok(milliseconds), "{text}");
        }
        for text in ["", "-", "1.5.2", "1x", "0x10", "1_0"] {
            assert_eq!(seconds(text.as_bytes()), Err(Reject::Syntax), "{text}");
        }
        for text in ["NaN", "+Inf", "99999999999999999999"] {
            assert_eq!(seconds(text.as_bytes()), Err(Reject::Timestamp), "{text}");
        }
    }

    #[test]
    fn milliseconds_are_integers() {
        assert_eq!(milliseconds(b"1395066363000"), Ok(1_395_066_363_000));
        assert_eq!(milliseconds(b"-3982045"), Ok(-3_982_045));
        assert_eq!(milliseconds(b"9223372036854775808"), Err(Reject::Timestamp));
        for text in ["1.5", "1e3", "", "-", "x", "1 2"] {
            assert_eq!(milliseconds(text.as_bytes()), Err(Reject::Syntax), "{text}");
        }
    }

    #[test]
    fn escapes_are_taken_out() {
        let mut scratch = Vec::new();
        let mut tokens = Tokens::new(br#""a\\\"\n\x\"#, Format::Prometheus);
        assert_eq!(tokens.quoted(), Err(Reject::Syntax));
        tokens = Tokens::new(br#""a\\\"\n\x\t" "#, Format::Prometheus);
        let quoted = tokens.quoted().unwrap();
        assert_eq!(quoted.text(&mut scratch), b"a\\\"\n\\x\\t");
        assert_eq!(tokens.rest, b" ");
    }
}

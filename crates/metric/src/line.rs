//! Lines of the log, read back: exactly what [`BatchEncoder`](super::BatchEncoder) and [`LineSink`](super::LineSink)
//! write, and nothing else.
//!
//! A line is one metric with all five fields in their one order, without whitespace, its strings in their canonical
//! spelling (`text.rs`), its number in the digits that it came with. A value that is no number is `"NaN"`, `"+Inf"` or
//! `"-Inf"`; that of a stale marker is `"NaN"`, followed by the field `"stale":true`. Other JSON is refused also where
//! it means the same, because no line of the log can look like it: another program wrote it, or a bit has flipped.
//!
//! Promises: one pass, nothing allocated by reading, no panic whatever the bytes; UTF-8 is checked here and is no duty
//! of the caller's; a block of many lines ([`Lines`]) is read at more than 1 GB/s, by comparing each line with those
//! before it (`line/speculation.rs`). Not checked: the bounds of names and
//! tags, which are configuration, and whether a tag's key comes twice.

mod feeds;
mod known;
mod speculation;

pub use feeds::LineFeeds;
pub use known::{LineHeads, read_number};

use super::cursor::Cursor;
use super::encode::{BEFORE_NAME, BEFORE_TIMESTAMP, BEFORE_VALUE, LINE_END};
use super::error::{Expected, Fault, Problem};
use super::text::Text;
use super::timestamp::{self, TIMESTAMP_BYTES};
use super::{Kind, number};
use memchr::{memchr, memchr_iter, memchr2};
use speculation::Speculation;
use std::fmt;

/// One line of the log, checked, borrowing from the block that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Epoch milliseconds.
    pub timestamp_ms: i64,
    /// The name as it stands between its quotation marks: UTF-8, escaped, at least one byte. As each text has one
    /// spelling, equal names are equal bytes.
    pub name: &'a [u8],
    /// The value as it stands in the line: a JSON number, finite as a 64-bit float, in its digits; or `"NaN"`, `"+Inf"`
    /// or `"-Inf"`, with the quotation marks. See [`number`](Self::number).
    pub value: &'a [u8],
    /// True for a stale marker, which ends its series. Its value is `"NaN"`.
    pub is_stale: bool,
    /// The field `type`.
    pub kind: Kind,
    /// The object of tags, braces and all.
    pub tags: &'a [u8],
}

/// Why bytes are no line of ours. The text reads `expected a digit (byte 64)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineError {
    /// Offset, from the beginning of the line, of the first byte that is not as it should be, or of the value that is
    /// not.
    pub byte: usize,
    /// Description of what was expected.
    pub expected: &'static str,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} (byte {})", self.expected, self.byte)
    }
}

impl std::error::Error for LineError {}

impl From<Fault> for LineError {
    #[cold]
    fn from(Fault { byte, problem }: Fault) -> Self {
        let expected = match problem {
            Problem::Unexpected { expected: Expected::Digit, .. } => "a digit",
            Problem::LeadingZero => "a number without leading zeros",
            Problem::StringUnended => "the end of a string",
            Problem::ControlCharacter(_) => "no control character in a string",
            Problem::Utf8Invalid => "UTF-8",
            Problem::EscapeUnknown | Problem::EscapeDigits | Problem::SurrogateUnpaired => CANONICAL_ESCAPE,
            _ => "a line of the log",
        };
        Self { byte, expected }
    }
}

const CANONICAL_ESCAPE: &str = "an escape as the log spells it";

impl<'a> Line<'a> {
    /// Reads one line, given without its line feed. For more than a few, [`Lines`] is several times as fast.
    ///
    /// # Errors
    /// An error if the line is foreign.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let mut cursor = Cursor::new(line);
        let line = read(&mut cursor, &mut Minute::unknown())?;
        if cursor.rest().is_empty() { Ok(line) } else { Err(error(&cursor, "the end of the line")) }
    }

    /// Returns the tags, in their order.
    #[inline]
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(self.tags)
    }

    /// The digits of the value; `None` if it is NaN, infinite or a stale marker.
    #[inline]
    #[must_use]
    pub fn number(&self) -> Option<&'a [u8]> {
        if self.value.first() == Some(&b'"') { None } else { Some(self.value) }
    }
}

/// Iterator over the tags of a line: key and value, escaped, as they stand between their quotation marks.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    /// Rest of an object that was checked: a brace or a comma, and the next tag behind it.
    rest: &'a [u8],
}

impl<'a> Tags<'a> {
    /// The tags of an object of tags that was read from a line: [`Line::tags`](Line#structfield.tags), or one made of
    /// its parts.
    #[inline]
    #[must_use]
    pub fn new(object: &'a [u8]) -> Self {
        Self { rest: object }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.get(2..)?;
        let (key, text) = text.split_at(string_end(text)?);
        let text = text.get(br#"":""#.len()..)?;
        let (value, text) = text.split_at(string_end(text)?);
        self.rest = text.get(1..)?;
        Some((key, value))
    }
}

/// Length of the checked string that `text` begins with, up to its closing quotation mark.
#[inline]
fn string_end(text: &[u8]) -> Option<usize> {
    let escaped = |quote: &usize| text[..*quote].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    memchr_iter(b'"', text).find(|quote| !escaped(quote))
}

/// Iterator over the lines of a block, each ended by a line feed. Behind a foreign line it goes on with the next.
#[derive(Clone)]
pub struct Lines<'a> {
    text: &'a [u8],
    /// Offset of the line that comes next.
    at: usize,
    minute: Minute,
    speculation: Speculation<'a>,
}

impl<'a> Lines<'a> {
    /// Lines of `block`, which begins where a line does.
    #[must_use]
    pub fn new(block: &'a [u8]) -> Self {
        Self { text: block, at: 0, minute: Minute::unknown(), speculation: Speculation::new() }
    }

    /// Offset in the block of the line that comes next.
    #[inline]
    #[must_use]
    pub fn byte(&self) -> usize {
        self.at
    }

    /// Goes on with the line that begins at `byte`, which is not before [`byte`](Self::byte): for whoever knows that
    /// those between are not wanted.
    ///
    /// # Panics
    /// `byte` is before that, or behind the block's end.
    #[inline]
    pub fn skip_to(&mut self, byte: usize) {
        assert!((self.at..=self.text.len()).contains(&byte), "lines are read forwards");
        self.at = byte;
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, LineError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.speculation.read(self.text, self.at, &mut self.minute) {
            Some((line, end)) => {
                self.at = end;
                Some(Ok(line))
            }
            None => self.next_by_grammar(),
        }
    }
}

impl<'a> Lines<'a> {
    /// Reads the line that comes next by the whole grammar.
    #[inline(never)]
    fn next_by_grammar(&mut self) -> Option<Result<Line<'a>, LineError>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let mut cursor = Cursor::new(rest);
        match read(&mut cursor, &mut self.minute) {
            Ok(line) if cursor.eat(b'\n') => {
                self.at += cursor.byte();
                Some(Ok(line))
            }
            _ => Some(self.reread(rest)),
        }
    }

    /// Reads the line that comes next by itself, to say what is wrong with it as seen from its own beginning and end.
    #[cold]
    fn reread(&mut self, rest: &'a [u8]) -> Result<Line<'a>, LineError> {
        match memchr(b'\n', rest) {
            Some(end) => {
                self.at += end + 1;
                Line::parse(&rest[..end])
            }
            None => {
                self.at += rest.len();
                Line::parse(rest).and(Err(LineError { byte: rest.len(), expected: "a line feed" }))
            }
        }
    }
}

/// The minute that the line before was of: those of a batch are mostly of one, and a date takes long to read.
#[derive(Clone)]
struct Minute {
    text: [u8; Self::BYTES],
    ms: i64,
}

impl Minute {
    const BYTES: usize = "2026-01-02T03:04".len();

    /// The first one: no text that is none may be taken for the minute of the line before.
    const fn unknown() -> Self {
        Self { text: *b"1970-01-01T00:00", ms: 0 }
    }

    /// Reads a timestamp in the log's one form; `None` if it is none.
    #[inline]
    fn read(&mut self, text: &[u8; TIMESTAMP_BYTES]) -> Option<i64> {
        let (minute, rest) = text.split_first_chunk()?;
        if *minute != self.text {
            *self = Self::new(minute)?;
        }
        let below = milliseconds_of_minute(u64::from_le_bytes(rest.try_into().ok()?))?;
        Some(self.ms + below)
    }

    #[cold]
    fn new(minute: &[u8; Self::BYTES]) -> Option<Self> {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        text[..Self::BYTES].copy_from_slice(minute);
        let ms = timestamp::parse(std::str::from_utf8(&text).ok()?)?;
        // More is taken from a client than the log has: `t` for `T`.
        (timestamp::format(ms) == text).then_some(Self { text: *minute, ms })
    }
}

/// Reads `:SS.mmmZ`, the first character in the lowest byte; `None` if it is nothing like that.
#[inline]
fn milliseconds_of_minute(text: u64) -> Option<i64> {
    /// Bits that neither the distance of a character nor that of a digit from its place has.
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    /// Numbers that lift whatever is above its bound, 0 for a character, 5 or 9 for a digit, into the high half.
    const LIFTS: u64 = u64::from_le_bytes([15, 10, 6, 15, 6, 6, 6, 15]);
    let distances = text ^ u64::from_le_bytes(*b":00.000Z");
    // Where no high half has a bit, nothing is carried from a byte to the next.
    if (distances | distances.wrapping_add(LIFTS)) & HIGH_HALVES != 0 {
        return None;
    }
    // Each digit with the next one behind it. Of these, the seconds and two digits of the milliseconds are taken.
    let pairs = distances * 10 + (distances >> 8);
    let [_, seconds, _, _, hundredths, _, _, _] = pairs.to_le_bytes();
    let [.., milliseconds, _] = distances.to_le_bytes();
    Some(i64::from(seconds) * 1_000 + i64::from(hundredths) * 10 + i64::from(milliseconds))
}

/// Each type, with what stands around it: `,"type":"…","tags":{`. The commonest first.
const TYPES: [(&[u8], Kind); 5] = [
    (br#","type":"gauge","tags":{"#, Kind::Gauge),
    (br#","type":"counter","tags":{"#, Kind::Counter),
    (br#","type":"histogram","tags":{"#, Kind::Histogram),
    (br#","type":"summary","tags":{"#, Kind::Summary),
    (br#","type":"untyped","tags":{"#, Kind::Untyped),
];

const NAN: &[u8] = br#""NaN""#;
/// The values that are no numbers.
const NOT_NUMBERS: [&[u8]; 3] = [NAN, br#""+Inf""#, br#""-Inf""#];
/// Bytes that follow the value of a stale marker.
const STALE_FLAG: &[u8] = br#","stale":true"#;

/// Reads a line up to its end, not with it. Errors give their place in the whole of what the cursor goes over.
#[inline(always)]
fn read<'a>(cursor: &mut Cursor<'a>, minute: &mut Minute) -> Result<Line<'a>, LineError> {
    expect(cursor, BEFORE_TIMESTAMP, "{\"timestamp\":\"")?;
    let Some(timestamp_ms) = cursor.rest().first_chunk().and_then(|text| minute.read(text)) else {
        return Err(error(cursor, "a timestamp like 2026-01-02T03:04:05.678Z"));
    };
    cursor.skip(TIMESTAMP_BYTES);
    expect(cursor, BEFORE_NAME, "\",\"name\":\"")?;
    let before_name = *cursor;
    let name = string(cursor)?;
    if name.is_empty() {
        return Err(error(&before_name, "a name of at least one byte"));
    }
    // The closing quotation mark has been read.
    expect(cursor, &BEFORE_VALUE[1..], ",\"value\":")?;
    let (value, is_stale) = match cursor.rest().first() {
        Some(b'"') => not_a_number(cursor)?,
        _ => (number(cursor)?, false),
    };
    let (kind, tags) = type_and_tags(cursor)?;
    Ok(Line { timestamp_ms, name, value, is_stale, kind, tags })
}

/// Reads what stands behind the value, up to the end of the line.
#[inline(always)]
fn type_and_tags<'a>(cursor: &mut Cursor<'a>) -> Result<(Kind, &'a [u8]), LineError> {
    let Some(&(around, kind)) = TYPES.iter().find(|(around, _)| cursor.rest().starts_with(around)) else {
        return Err(error(cursor, "\"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\""));
    };
    cursor.skip(around.len() - 1);
    let tags = cursor.rest();
    cursor.skip(1);
    if !cursor.eat(b'}') {
        loop {
            expect(cursor, b"\"", "a tag's key or '}'")?;
            string(cursor)?;
            expect(cursor, b":\"", "a tag's value, a string")?;
            string(cursor)?;
            if cursor.eat(b'}') {
                break;
            }
            expect(cursor, b",", "',' or '}'")?;
        }
    }
    let tags = &tags[..tags.len() - cursor.rest().len()];
    expect(cursor, &LINE_END[..1], "'}'")?;
    Ok((kind, tags))
}

/// Reads a value that is a number.
#[inline(always)]
fn number<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], LineError> {
    let before = *cursor;
    let number = number::read(cursor)?;
    if number.is_finite() { Ok(number.text) } else { Err(error(&before, "a number that is finite as a 64-bit float")) }
}

/// Reads a value that is a string, and the flag behind it: the value, and whether it is a stale marker.
#[cold]
fn not_a_number<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], bool), LineError> {
    let rest = cursor.rest();
    let Some(text) = NOT_NUMBERS.iter().find(|text| rest.starts_with(text)) else {
        return Err(error(cursor, "a number, \"NaN\", \"+Inf\" or \"-Inf\""));
    };
    cursor.skip(text.len());
    let is_stale = *text == NAN && cursor.rest().starts_with(STALE_FLAG);
    if is_stale {
        cursor.skip(STALE_FLAG.len());
    }
    Ok((&rest[..text.len()], is_stale))
}

#[inline(always)]
fn expect(cursor: &mut Cursor, bytes: &[u8], expected: &'static str) -> Result<(), LineError> {
    if !cursor.rest().starts_with(bytes) {
        return Err(error(cursor, expected));
    }
    cursor.skip(bytes.len());
    Ok(())
}

/// Reads a string whose opening quotation mark has been read.
#[inline(always)]
fn string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], LineError> {
    let start = cursor.byte();
    let text = cursor.string()?;
    if text.has_escapes() { canonical(text, start) } else { Ok(text.raw()) }
}

/// The text, if its spelling is canonical. It begins at `start`.
#[cold]
fn canonical(text: Text<'_>, start: usize) -> Result<&[u8], LineError> {
    let mut at = 0;
    while let Some(plain) = memchr(b'\\', &text.raw()[at..]) {
        at += plain;
        let Some(bytes) = canonical_escape(&text.raw()[at..]) else {
            return Err(LineError { byte: start + at, expected: CANONICAL_ESCAPE });
        };
        at += bytes;
    }
    Ok(text.raw())
}

/// Bytes of the canonical escape at the front of `text`; `None` if there is none.
fn canonical_escape(text: &[u8]) -> Option<usize> {
    match text {
        [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        // All that have no shorter spelling.
        [b'\\', b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..] => Some(6),
        [b'\\', b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => Some(6),
        _ => None,
    }
}

/// Returns true if `text` can stand between the quotation marks of a line of the log: UTF-8 in its canonical spelling.
/// For bytes of files that no [`Line`] was read from.
#[must_use]
pub fn is_spelled(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(plain) = memchr2(b'"', b'\\', &text[at..]) {
        at += plain;
        let Some(bytes) = canonical_escape(&text[at..]) else { return false };
        at += bytes;
    }
    text.iter().all(|&byte| byte >= 0x20) && std::str::from_utf8(text).is_ok()
}

#[cold]
fn error(cursor: &Cursor, expected: &'static str) -> LineError {
    LineError { byte: cursor.byte(), expected }
}

#[cfg(test)]
mod tests;

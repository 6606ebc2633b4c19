//! Lines read by speculation: what stands in front of a line's name is compared with that of the line before it, and
//! what stands behind its value (type and tags, up to the line feed) with the endings of lines that came before.
//!
//! Why nothing else is accepted so: the grammar reads from left to right, and its state in front of the name, and
//! behind the value, is always the same one. So bytes that were accepted from there once are accepted again. Name and
//! value are read anew in each line. Where a byte differs, or a string has escapes, nothing has been read, and the
//! grammar reads the line from its beginning.

use super::super::block::Blocks;
use super::super::shape;
use super::{BEFORE_NAME, BEFORE_TIMESTAMP, BEFORE_VALUE, Cursor, Kind, Line, Minute, TIMESTAMP_BYTES, type_and_tags};
use memchr::memchr;

/// Offset of the name in each line.
const NAME_AT: usize = BEFORE_TIMESTAMP.len() + TIMESTAMP_BYTES + BEFORE_NAME.len();
/// Endings that are remembered: those of as many series, 1.5 KiB.
const ENDINGS: usize = 64;

/// The beginning and the endings of lines that were read.
#[derive(Clone)]
pub(super) struct Speculation<'a> {
    /// Bytes in front of the latest line's name, the timestamp among them.
    head: [u8; NAME_AT],
    timestamp_ms: i64,
    /// Endings by a hash of their bytes.
    endings: [Ending<'a>; ENDINGS],
    /// Index of the latest line's ending.
    latest: u8,
}

/// Bytes behind the value of a line.
#[derive(Clone, Copy)]
struct Ending<'a> {
    /// Bytes with the line feed. Empty: there is none.
    text: &'a [u8],
    kind: Kind,
    /// Bytes in front of the tags.
    tags_at: u8,
    /// Index of the ending that came behind this one the last time.
    next: u8,
}

impl<'a> Speculation<'a> {
    pub fn new() -> Self {
        Self {
            // Of a line that could be: no other bytes may be taken for a beginning.
            head: *br#"{"timestamp":"1970-01-01T00:00:00.000Z","name":""#,
            timestamp_ms: 0,
            endings: [Ending { text: &[], kind: Kind::Gauge, tags_at: 0, next: 0 }; ENDINGS],
            latest: 0,
        }
    }

    /// Reads the line at `at`: the line, and the offset behind its line feed.
    #[inline]
    pub fn read(&mut self, text: &'a [u8], at: usize, minute: &mut Minute) -> Option<(Line<'a>, usize)> {
        let blocks = Blocks::new(text)?;
        let head = text.get(at..)?.first_chunk()?;
        if *head != self.head {
            self.read_head(head, minute)?;
        }
        let name_at = at + NAME_AT;
        let name_end = shape::string(blocks, name_at).filter(|&end| end > name_at)?;
        let value_at = name_end + BEFORE_VALUE.len();
        if text.get(name_end..value_at)? != BEFORE_VALUE {
            return None;
        }
        let value_end = shape::value(blocks, value_at)?;
        let Ending { text: ending, kind, tags_at, .. } = self.ending(text, value_end)?;
        let end = value_end + ending.len();
        let line = Line {
            timestamp_ms: self.timestamp_ms,
            name: text.get(name_at..name_end)?,
            value: text.get(value_at..value_end)?,
            is_stale: false,
            kind,
            tags: text.get(value_end + usize::from(tags_at)..end - b"}\n".len())?,
        };
        Some((line, end))
    }

    /// Reads a beginning with another timestamp than the latest.
    #[inline(never)]
    fn read_head(&mut self, head: &[u8; NAME_AT], minute: &mut Minute) -> Option<()> {
        let timestamp = head.strip_prefix(BEFORE_TIMESTAMP)?.strip_suffix(BEFORE_NAME)?;
        self.timestamp_ms = minute.read(timestamp.try_into().ok()?)?;
        self.head = *head;
        Some(())
    }

    /// Reads the ending at `at`: first by what came behind the latest one before.
    #[inline(always)]
    fn ending(&mut self, text: &'a [u8], at: usize) -> Option<Ending<'a>> {
        let expected = self.endings[usize::from(self.latest) % ENDINGS].next;
        let ending = self.endings[usize::from(expected) % ENDINGS];
        let bytes = ending.text.len();
        if bytes > 0 && text.get(at..at + bytes) == Some(ending.text) {
            self.latest = expected;
            return Some(ending);
        }
        self.other_ending(text.get(at..)?)
    }

    /// Reads the ending that `rest` begins with, which is not the expected one.
    #[inline(never)]
    fn other_ending(&mut self, rest: &'a [u8]) -> Option<Ending<'a>> {
        let text = &rest[..=memchr(b'\n', rest)?];
        let place = place(text);
        let known = &mut self.endings[usize::from(place) % ENDINGS];
        if known.text != text {
            let mut cursor = Cursor::new(rest);
            let (kind, tags) = type_and_tags(&mut cursor).ok()?;
            // No line feed can be in what was read.
            if !cursor.eat(b'\n') || cursor.byte() != text.len() {
                return None;
            }
            let tags_at = u8::try_from(text.len() - tags.len() - b"}\n".len()).ok()?;
            *known = Ending { text, kind, tags_at, next: known.next };
        }
        let known = *known;
        self.endings[usize::from(self.latest) % ENDINGS].next = place;
        self.latest = place;
        Some(known)
    }
}

/// Index of an ending, by a hash of its bytes. Whoever makes endings collide only makes them be parsed.
fn place(text: &[u8]) -> u8 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    const { assert!(ENDINGS.is_power_of_two() && ENDINGS <= 256) };
    let (words, rest) = text.as_chunks::<8>();
    let mut hash = text.len() as u64;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(23);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(FACTOR).rotate_left(23);
    }
    // The upper bits of a product depend on all bits below.
    let [.., high] = hash.wrapping_mul(FACTOR).to_le_bytes();
    high
}

#[cfg(test)]
mod tests;

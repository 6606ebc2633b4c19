//! Metrics whose points are in the cache, as every sender writes them: without whitespace, the data behind all else,
//! the attributes first in each point. They are compared with what is expected, and of all else nothing is stored: then
//! the decoder of any metric reads it from its beginning.

use super::super::cached::totals_of;
use super::values::{float, signed};
use super::{Decoder, Key, Number, PointHead, Totals};
use crate::cursor::Cursor;

/// In front of the attributes of a point.
const ATTRIBUTES: &[u8] = b"{\"attributes\":";

/// Members of a point that may come once.
const TIME: u8 = 1;
const VALUE: u8 = 2;
const EXEMPLARS: u8 = 4;
const FLAGS: u8 = 8;

impl Decoder<'_, '_> {
    /// Stores the points of the metric at the cursor if all of them are those that are expected. False, and nothing is
    /// done, if they are not.
    pub(super) fn known_metric(&mut self, cursor: &mut Cursor<'_>) -> bool {
        let before = (self.sink.decoded(), self.writer.mark());
        let Some(rest) = self.known_points(cursor.rest()) else {
            self.sink.reset_to(before.0);
            self.writer.reset_to(before.1);
            return false;
        };
        cursor.skip(cursor.rest().len() - rest.len());
        true
    }

    /// The bytes behind the metric at the front of `metric`.
    fn known_points<'a>(&mut self, metric: &'a [u8]) -> Option<&'a [u8]> {
        let (_, key) = self.writer.cached.expected_json()?;
        let generation = key.generation;
        let mut rest = metric.strip_prefix(key.before)?;
        let head = &metric[..metric.len() - rest.len()];
        let mut has_more = true;
        while has_more {
            let (index, key) = self.writer.cached.expected_json()?;
            if key.generation != generation || key.before != head {
                return None;
            }
            let mut cursor = Cursor::new(rest.strip_prefix(ATTRIBUTES)?.strip_prefix(key.behind)?);
            let (head, number) = self.plain_members(&mut cursor)?;
            if !self.writer.push_cached(index, head, number, self.sink) {
                return None;
            }
            has_more = cursor.eat(b',');
            rest = cursor.rest();
        }
        rest = rest.strip_prefix(b"]")?;
        let Some((is_monotonic, temporality)) = totals_of(generation) else { return rest.strip_prefix(b"}}") };
        let totals = Totals { is_monotonic, temporality };
        rest = rest.strip_prefix(b",\"aggregationTemporality\":")?;
        let (temporality, rest) = rest.split_first()?;
        let rest = rest.strip_prefix(b",\"isMonotonic\":")?;
        let (is_monotonic, rest) = match rest.strip_prefix(b"true}}") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix(b"false}}")?),
        };
        let read = Totals { is_monotonic, temporality: i32::from(temporality.wrapping_sub(b'0')) };
        if read != totals {
            return None;
        }
        self.expected = totals;
        Some(rest)
    }

    /// The members of a point behind its attributes, with the end of it.
    #[inline]
    fn plain_members(&mut self, cursor: &mut Cursor<'_>) -> Option<(PointHead, Number)> {
        let (mut head, mut number) = (PointHead::default(), None);
        let mut seen = 0;
        let mut is_first = |member: u8| {
            let is_first = seen & member == 0;
            seen |= member;
            is_first.then_some(())
        };
        while !cursor.eat(b'}') {
            if cursor.eat_all(b",\"startTimeUnixNano\":\"") {
                // It is not stored.
                cursor.some_digits().ok()?;
                cursor.eat(b'"').then_some(())?;
            } else if cursor.eat_all(b",\"timeUnixNano\":") {
                is_first(TIME)?;
                head.time_unix_nano = self.time(cursor).ok()?;
            } else if cursor.eat_all(b",\"asDouble\":") {
                is_first(VALUE)?;
                number = Some(Number::Double(float(cursor).ok()?));
            } else if cursor.eat_all(b",\"asInt\":") {
                is_first(VALUE)?;
                number = Some(Number::Int(signed(cursor).ok()?));
            } else if cursor.eat_all(b",\"exemplars\":[]") {
                is_first(EXEMPLARS)?;
            } else if cursor.eat_all(b",\"flags\":0") {
                is_first(FLAGS)?;
                matches!(cursor.peek(), Some(b',' | b'}')).then_some(())?;
            } else {
                return None;
            }
        }
        Some((head, number?))
    }

    /// Expects the point at the front of `rest`, which was stored just now, behind the one before it.
    pub(super) fn note_point(&mut self, rest: &[u8], attributes: &[u8]) {
        let Some(generation) = self.generation else { return };
        let is_first =
            rest.strip_prefix(ATTRIBUTES).is_some_and(|rest| std::ptr::eq(rest.as_ptr(), attributes.as_ptr()));
        let head = self.head.of(self.body);
        if is_first && !attributes.is_empty() && head.ends_with(b"[") {
            self.writer.note(&Key { before: head, behind: attributes, has_gap: true, generation });
        }
    }
}

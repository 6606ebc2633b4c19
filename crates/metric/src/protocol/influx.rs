//! InfluxDB line protocol, as versions 1 and 2 of InfluxDB take it, one point a line:
//! `measurement[,tag=value]* field=value[,field=value]* [timestamp]`.
//!
//! Each numeric field of a line is a metric named `measurement_field`, or `measurement` where the field is `value`,
//! with the tags of the line. Line protocol has no types of series, so each is a gauge. Numbers keep their digits,
//! booleans are 1 and 0, strings are skipped and counted ([`Skip::Text`]).
//!
//! What is accepted is what InfluxDB 1.6 accepts: `scripts/influxd_differential.sh` compares the two. A separator is
//! escaped if the byte before it is a backslash; any other backslash is a backslash. A line that does not parse is
//! rejected whole ([`Reject::Syntax`]) and the others are kept; it counts as the numeric fields read up to the fault,
//! the faulty one included, and as 1 at least. A string that never ends takes the rest of the body. A line that parses
//! is rejected field by field where a bound of ours or the range of timestamps does not allow it.
//!
//! Deliberate differences:
//! - Unsigned integers (`1u`), precision `us` and lines that end with a carriage return and a line feed are accepted.
//! - A repeated tag key is no fault: the last value counts.
//! - A timestamp may lie in the years 0000 to 9999, whatever its precision; InfluxDB knows 1677 to 2262.
//! - A line without a timestamp gets the time of arrival to the millisecond, whatever the precision.
//! - A field that comes twice in a line is two metrics.
//! - A backslash before a line feed is a backslash, and the line ends; only a string may hold a line feed.
//! - A quotation mark opens a string directly behind a field's `=` only, and nothing may stand between its end and the
//!   next comma or space.
//! - A comment ends with its line, whatever quotation marks it holds.
//! - In the key of a field, `\"` is a backslash and a quotation mark; in a measurement, `\=` is a backslash and an
//!   equals sign. InfluxDB drops these backslashes.
//! - Behind a backslash, a backslash escapes a separator like any other. InfluxDB takes it so in tags, ends the key of
//!   a field there, and stores a measurement that its queries do not find.
//!
//! Source: <https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>.

use memchr::{memchr, memchr_iter};

use super::span::Span;
use crate::limits::{INFLUX_KEPT_BYTES_MAX, PROTOCOL_METRICS_MAX};
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Rejected, Series, SeriesMark, Skip};

mod cached;
mod number;
mod scan;

use cached::{Cached, Found};
use number::Number;
use scan::{
    BACKSLASH, COMMA, EQUALS, LINE_FEED, SPACE, is_line_end, line_end, line_feed, skip_whitespace, unescape, until,
};

/// Bytes that end a measurement, and may be escaped in it.
const OF_MEASUREMENT: u8 = COMMA | SPACE;
/// Bytes that end a key or the value of a tag, and may be escaped in it.
const OF_KEY: u8 = COMMA | SPACE | EQUALS;

/// The unit of the timestamps of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Default of both versions.
    #[default]
    Nanoseconds,
    /// `u` or `us`.
    Microseconds,
    /// `ms`.
    Milliseconds,
    /// `s`.
    Seconds,
    /// `m`, of version 1.
    Minutes,
    /// `h`, of version 1.
    Hours,
}

impl Precision {
    /// The parameter `precision` of `/write`.
    #[must_use]
    pub fn of_v1(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"n" | b"ns" => Self::Nanoseconds,
            b"u" | b"us" => Self::Microseconds,
            b"ms" => Self::Milliseconds,
            b"s" => Self::Seconds,
            b"m" => Self::Minutes,
            b"h" => Self::Hours,
            _ => return None,
        })
    }

    /// The parameter `precision` of `/api/v2/write`.
    #[must_use]
    pub fn of_v2(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"ns" => Self::Nanoseconds,
            b"us" => Self::Microseconds,
            b"ms" => Self::Milliseconds,
            b"s" => Self::Seconds,
            _ => return None,
        })
    }

    /// A timestamp in milliseconds, rounded down; `None` if it overflows.
    fn milliseconds(self, timestamp: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(timestamp.div_euclid(1_000_000)),
            Self::Microseconds => Some(timestamp.div_euclid(1_000)),
            Self::Milliseconds => Some(timestamp),
            Self::Seconds => timestamp.checked_mul(1_000),
            Self::Minutes => timestamp.checked_mul(60 * 1_000),
            Self::Hours => timestamp.checked_mul(3_600 * 1_000),
        }
    }
}

/// Options that a request gives for its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The unit of the timestamps.
    pub precision: Precision,
    /// A tag for each metric, such as the database that it is written to. A line's own tag with the same key replaces
    /// it.
    pub tag: Option<(&'a [u8], &'a [u8])>,
}

/// The decoder: memory that is used for all bodies of a core.
#[derive(Debug)]
pub struct Influx {
    series: Series,
    /// Numeric fields of the line that is read: none is stored before the line is known to parse.
    fields: Vec<Field>,
    /// A name, key or value without its escapes, or a number in another spelling.
    text: Vec<u8>,
    /// The digits of the last timestamp, and what they are: the lines of a collection share it.
    stamp: (Span, Timestamp),
    cached: Cached,
}

/// A numeric field of a line.
#[derive(Debug, Clone, Copy)]
struct Field {
    key: Element,
    value: Number,
}

/// Bytes of the body between two separators.
#[derive(Debug, Clone, Copy)]
struct Element {
    start: usize,
    end: usize,
    /// True if there are escapes in it.
    escaped: bool,
}

/// A line that parses, besides its numeric fields.
struct Point {
    /// Offset of its line feed, or of the body's end.
    end: usize,
    /// The measurement and the tags, or why they may not be stored.
    named: Result<Named, Reject>,
    timestamp: Timestamp,
    /// Number of fields that are strings.
    texts: u32,
    /// True if a string holds a line feed.
    has_line_feed: bool,
}

/// The measurement and the tags of a line.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// Parts of [`Influx::series`].
    Spelled(SeriesMark),
    Cached(Found),
}

#[derive(Debug, Clone, Copy, Default)]
enum Timestamp {
    #[default]
    Arrival,
    Milliseconds(i64),
    OutOfRange,
}

/// The reason why a line is not taken.
enum Fault {
    /// It does not parse, for the reason of this text; `metrics` are in it, as far as it was read.
    Syntax { text: &'static str, metrics: usize },
    /// It has more fields than a body may have.
    TooManyMetrics,
}

impl Influx {
    /// One that holds metrics to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            series: Series::new(bounds),
            fields: Vec::new(),
            text: Vec::new(),
            stamp: Default::default(),
            cached: Cached::new(bounds),
        }
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.fields.capacity() * size_of::<Field>() + self.text.capacity() > INFLUX_KEPT_BYTES_MAX {
            self.fields = Vec::new();
            self.text = Vec::new();
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let scratch = self.fields.capacity() * size_of::<Field>() + self.text.capacity();
        self.series.kept_bytes() + scratch + self.cached.kept_bytes()
    }

    /// Stores the metrics of a body. The place of a rejected one is the number of its line, from 1, with the offset and
    /// length of the line.
    ///
    /// # Errors
    /// If the metrics are too many or too large; no body is malformed as a whole.
    pub fn decode(&mut self, body: &[u8], options: &Options<'_>, sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.stamp = Default::default();
        let mut at = 0;
        let mut number = 1;
        while at < body.len() {
            let start = skip_whitespace(body, at);
            let end = match body.get(start) {
                _ if is_line_end(body, start) => line_feed(body, start),
                Some(b'#') => memchr(b'\n', &body[start..]).map_or(body.len(), |bytes| start + bytes),
                _ => {
                    let end = self.decode_line(body, start, number, options, sink)?;
                    number += end.line_feeds;
                    end.offset
                }
            };
            at = end + 1;
            number += 1;
        }
        Ok(())
    }

    fn decode_line(
        &mut self,
        body: &[u8],
        start: usize,
        number: usize,
        options: &Options<'_>,
        sink: &mut LineSink<'_>,
    ) -> Result<LineEnd, DecodeError> {
        match self.read_line(body, start, options) {
            Ok(point) => {
                self.store(body, &point, Place { body, start, end: point.end, number }, options, sink)?;
                let line_feeds = if point.has_line_feed { line_feeds(&body[start..point.end]) } else { 0 };
                Ok(LineEnd { offset: point.end, line_feeds })
            }
            Err(Fault::Syntax { text, metrics }) => {
                let end = line_end(body, start);
                let metrics = u32::try_from(metrics).map_err(|_| DecodeError::TooManyMetrics)?;
                sink.reject_as(metrics, Place { body, start, end, number }.rejected(Reject::Syntax, text))?;
                Ok(LineEnd { offset: end, line_feeds: line_feeds(&body[start..end]) })
            }
            Err(Fault::TooManyMetrics) => Err(DecodeError::TooManyMetrics),
        }
    }

    /// Stores the numeric fields of a line that parses.
    fn store(
        &mut self,
        body: &[u8],
        point: &Point,
        place: Place<'_>,
        options: &Options<'_>,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        if point.texts > 0 {
            sink.skip(Skip::Text, point.texts);
        }
        let metrics = u32::try_from(self.fields.len()).map_err(|_| DecodeError::TooManyMetrics)?;
        if metrics == 0 {
            return Ok(());
        }
        let named = match point.named {
            Ok(named) => named,
            Err(reason) => return sink.reject_as(metrics, place.rejected(reason, reason.text())),
        };
        let timestamp_ms = match point.timestamp {
            Timestamp::Arrival => None,
            Timestamp::Milliseconds(timestamp_ms) => Some(timestamp_ms),
            Timestamp::OutOfRange => {
                return sink.reject_as(metrics, place.rejected(Reject::Timestamp, Reject::Timestamp.text()));
            }
        };
        let (named, stored) = match named {
            Named::Spelled(named) => (named, 0),
            Named::Cached(found) => {
                let stored = self.store_cached(body, found, timestamp_ms, sink);
                if stored == self.fields.len() {
                    return Ok(());
                }
                self.series.clear();
                // They have been read before, and are valid.
                let Ok((Ok(named), _)) = self.read_series(body, place.start, options) else { return Ok(()) };
                (named, stored)
            }
        };
        for field in &self.fields[stored..] {
            self.series.reset_to(named);
            if let Err(reason) = push_field(&mut self.series, field.key.plain(body, OF_KEY, &mut self.text)) {
                sink.reject_as(1, place.rejected(reason, reason.text()))?;
                continue;
            }
            let value = field.value.value(body, &mut self.text);
            sink.push(&self.series, Kind::Gauge, value, timestamp_ms, place.number)?;
        }
        Ok(())
    }

    /// Stores fields of a line whose measurement and tags are in the cache, up to one that is not as simple; returns
    /// their number.
    #[inline]
    fn store_cached(&mut self, body: &[u8], found: Found, timestamp_ms: Option<i64>, sink: &mut LineSink<'_>) -> usize {
        let Self { cached, fields, text, .. } = self;
        let simple = fields.iter().take_while(|field| {
            if field.key.escaped {
                return false;
            }
            if let Number::Digits { start, end } = field.value
                && cached.push_short(body, found, field.key, (start, end), timestamp_ms, sink).is_some()
            {
                return true;
            }
            cached.push(body, found, field.key.raw(body), field.value.value(body, text), timestamp_ms, sink)
        });
        simple.count()
    }

    /// Reads the line that starts at `start`, which is not its end, into `self.series` and `self.fields`.
    fn read_line(&mut self, body: &[u8], start: usize, options: &Options<'_>) -> Result<Point, Fault> {
        self.fields.clear();
        let (named, at) = match self.cached.find(body, start).filter(|_| options.tag.is_none()) {
            Some((found, at)) => (Ok(Named::Cached(found)), at),
            None => {
                self.series.clear();
                let series = self.read_series(body, start, options);
                let (named, at) = series.map_err(|text| Fault::Syntax { text, metrics: 1 })?;
                if options.tag.is_none() && named.is_ok() {
                    self.cached.note(body, start, at, &self.series);
                }
                (named.map(Named::Spelled), at)
            }
        };
        let mut point = Point { end: at, named, timestamp: Timestamp::Arrival, texts: 0, has_line_feed: false };
        let at = self.read_fields(body, skip_whitespace(body, at), &mut point)?;
        (point.timestamp, point.end) = read_timestamp(body, at, options.precision, &mut self.stamp)
            .map_err(|text| Fault::Syntax { text, metrics: self.fields.len().max(1) })?;
        Ok(point)
    }

    /// Reads the measurement and the tags, up to the space behind them.
    fn read_series(
        &mut self,
        body: &[u8],
        start: usize,
        options: &Options<'_>,
    ) -> Result<(Result<SeriesMark, Reject>, usize), &'static str> {
        if body[start] == b',' {
            return Err("missing measurement");
        }
        let measurement = Element::read(body, start, OF_MEASUREMENT);
        let mut named = self.series.push_name(measurement.plain(body, OF_MEASUREMENT, &mut self.text));
        if let (Ok(()), Some((key, value))) = (named, options.tag) {
            named = self.series.set_tag(key, value);
        }
        let mut at = measurement.end;
        // The greatest of the keys up to now: one that is greater is a new one.
        let mut greatest: &[u8] = b"";
        while body.get(at) == Some(&b',') {
            let key = Element::read(body, at + 1, OF_KEY);
            if key.start == key.end {
                return Err("missing tag key");
            }
            if body.get(key.end) != Some(&b'=') {
                return Err("missing tag value");
            }
            let value = Element::read_tag_value(body, key.end + 1);
            if value.start == value.end {
                return Err("missing tag value");
            }
            at = value.end;
            if body.get(at) == Some(&b'=') {
                return Err("invalid tag format");
            }
            if named.is_ok() {
                let raw = &body[key.start..key.end];
                let is_new = raw > greatest && options.tag.is_none_or(|(tag, _)| tag != raw);
                named = self.push_tag(body, key, value, is_new);
                greatest = greatest.max(raw);
            }
        }
        if body.get(at) == Some(&b' ') { Ok((named.map(|()| self.series.mark()), at)) } else { Err("missing fields") }
    }

    fn push_tag(&mut self, body: &[u8], key: Element, value: Element, is_new: bool) -> Result<(), Reject> {
        if key.escaped || value.escaped {
            self.text.clear();
            unescape(&body[key.start..key.end], OF_KEY, &mut self.text);
            let key_bytes = self.text.len();
            unescape(&body[value.start..value.end], OF_KEY, &mut self.text);
            let (key, value) = self.text.split_at(key_bytes);
            return self.series.set_tag(key, value);
        }
        let (key, value) = (&body[key.start..key.end], &body[value.start..value.end]);
        if is_new { self.series.push_unique_tag(key, value) } else { self.series.set_tag(key, value) }
    }

    /// Reads the fields from `at` on, up to the space or the end of the line behind them.
    fn read_fields(&mut self, body: &[u8], mut at: usize, point: &mut Point) -> Result<usize, Fault> {
        if is_line_end(body, at) {
            return Err(self.fault("missing fields"));
        }
        loop {
            let key = Element::read(body, at, OF_KEY);
            if body.get(key.end) != Some(&b'=') {
                return Err(self.fault("invalid field format"));
            }
            if key.start == key.end {
                return Err(self.fault("missing field key"));
            }
            let start = key.end + 1;
            at = match body.get(start) {
                Some(b'"') => {
                    let end = scan::string_end(body, start + 1).ok_or_else(|| self.fault("unbalanced quotes"))?;
                    point.texts += 1;
                    point.has_line_feed = point.has_line_feed || memchr(b'\n', &body[start..end]).is_some();
                    end
                }
                Some(b',' | b' ') => return Err(self.fault("missing field value")),
                _ if is_line_end(body, start) => return Err(self.fault("missing field value")),
                _ => {
                    let (value, end) = Number::read(body, start).map_err(|text| self.fault(text))?;
                    if self.fields.len() == PROTOCOL_METRICS_MAX {
                        return Err(Fault::TooManyMetrics);
                    }
                    self.fields.push(Field { key, value });
                    end
                }
            };
            match body.get(at) {
                Some(b',') => at += 1,
                Some(b' ') => return Ok(at),
                _ if is_line_end(body, at) => return Ok(at),
                _ => return Err(self.fault("invalid field format")),
            }
        }
    }

    /// A fault at a field behind those that were read.
    #[cold]
    fn fault(&self, text: &'static str) -> Fault {
        Fault::Syntax { text, metrics: self.fields.len() + 1 }
    }
}

/// Appends what belongs to a field with this key to the name of its measurement.
#[inline]
fn push_field(series: &mut Series, key: &[u8]) -> Result<(), Reject> {
    if key == b"value" {
        return Ok(());
    }
    series.push_name(b"_")?;
    series.push_name(key)
}

/// Reads the timestamp, if there is one, to the end of the line; returns the offset of its line feed too.
#[inline]
fn read_timestamp(
    body: &[u8],
    at: usize,
    precision: Precision,
    last: &mut (Span, Timestamp),
) -> Result<(Timestamp, usize), &'static str> {
    let start = skip_whitespace(body, at);
    if is_line_end(body, start) {
        return Ok((Timestamp::Arrival, line_feed(body, start)));
    }
    let digits = last.0.of(body);
    let end = start + digits.len();
    if !digits.is_empty() && body[start..].starts_with(digits) && is_line_end(body, end) {
        return Ok((last.1, line_feed(body, end)));
    }
    read_new_timestamp(body, start, precision, last)
}

/// Reads as [`read_timestamp`] does, from its first byte on.
fn read_new_timestamp(
    body: &[u8],
    start: usize,
    precision: Precision,
    last: &mut (Span, Timestamp),
) -> Result<(Timestamp, usize), &'static str> {
    let is_negative = body[start] == b'-';
    let digits = start + usize::from(is_negative);
    let mut end = digits;
    // Counted down from 0: the smallest integer has no positive counterpart.
    let mut timestamp = Some(0_i64);
    while let Some(digit) = body.get(end).filter(|byte| byte.is_ascii_digit()) {
        timestamp = timestamp
            .and_then(|timestamp| timestamp.checked_mul(10))
            .and_then(|timestamp| timestamp.checked_sub(i64::from(digit - b'0')));
        end += 1;
    }
    if end == digits {
        return Err("bad timestamp");
    }
    let behind = body[end..].iter().position(|&byte| byte != b' ').map_or(body.len(), |spaces| end + spaces);
    if !is_line_end(body, behind) {
        return Err(if behind == end { "bad timestamp" } else { "point is invalid" });
    }
    let timestamp = if is_negative { timestamp } else { timestamp.and_then(i64::checked_neg) };
    let timestamp = timestamp.and_then(|timestamp| precision.milliseconds(timestamp));
    let timestamp = match timestamp {
        Some(timestamp_ms) if (crate::TIMESTAMP_MS_MIN..=crate::TIMESTAMP_MS_MAX).contains(&timestamp_ms) => {
            Timestamp::Milliseconds(timestamp_ms)
        }
        _ => Timestamp::OutOfRange,
    };
    *last = (Span::at(start, end - start), timestamp);
    Ok((timestamp, line_feed(body, behind)))
}

impl Element {
    /// Reads from `start` to the next of `separators` that is not escaped, or to the end of the line.
    #[inline]
    fn read(body: &[u8], start: usize, separators: u8) -> Self {
        Self::read_from(body, start, start, separators)
    }

    /// Reads the value of a tag: InfluxDB takes an equals sign at its front for a part of it.
    #[inline]
    fn read_tag_value(body: &[u8], start: usize) -> Self {
        let equals = usize::from(body.get(start) == Some(&b'='));
        Self::read_from(body, start, start + equals, OF_KEY)
    }

    #[inline]
    fn read_from(body: &[u8], start: usize, mut at: usize, separators: u8) -> Self {
        let mut escaped = false;
        loop {
            at = until(body, at, separators | LINE_FEED | BACKSLASH);
            if body.get(at) != Some(&b'\\') {
                return Self { start, end: at, escaped };
            }
            let is_escape = body.get(at + 1).is_some_and(|&byte| scan::is_of(byte, separators));
            escaped |= is_escape;
            at += 1 + usize::from(is_escape);
        }
    }

    /// The element as it stands in the body.
    #[inline]
    fn raw<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        &body[self.start..self.end]
    }

    /// The element without its escapes, in `text` if it has any.
    #[inline]
    fn plain<'a>(&self, body: &'a [u8], separators: u8, text: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = &body[self.start..self.end];
        if !self.escaped {
            return raw;
        }
        text.clear();
        unescape(raw, separators, text);
        text
    }
}

/// A line in the body that it is a part of.
#[derive(Clone, Copy)]
struct Place<'a> {
    body: &'a [u8],
    /// Offset of its first byte behind whitespace.
    start: usize,
    /// Offset of its line feed, or of the body's end.
    end: usize,
    /// From 1.
    number: usize,
}

impl Place<'_> {
    #[cold]
    fn rejected(&self, reason: Reject, text: &'static str) -> Rejected {
        let line = &self.body[self.start..self.end];
        let len = line.strip_suffix(b"\r").unwrap_or(line).len();
        Rejected { reason, at: self.number, text, offset: self.start, len }
    }
}

/// The end of a line that was read.
struct LineEnd {
    /// Offset of the line feed, or of the body's end.
    offset: usize,
    /// Line feeds in its strings.
    line_feeds: usize,
}

fn line_feeds(line: &[u8]) -> usize {
    memchr_iter(b'\n', line).count()
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

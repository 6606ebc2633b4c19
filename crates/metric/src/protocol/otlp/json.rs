//! The request in JSON: the mapping of protobuf with the exceptions of OTLP/JSON.
//!
//! Keys are lowerCamelCase and come in any order; unknown ones are checked to be JSON and ignored, null is the same as
//! absent. 64-bit integers and floats are strings or numbers, enums integers or their names; NaN and the infinities are
//! `"NaN"`, `"Infinity"` and `"-Infinity"`. `bytesValue` is stored as it was sent.
//!
//! What is read depends on other keys of its object only in a few places: points on their resource and on the name,
//! unit and temporality of their metric, the value in a map on its key. It is read at once if these have come before
//! it; if not, it is skipped and read when its object has ended. So no byte is looked at more often than there are such
//! places around it: three, and one for each level of a nested value. Points that stand before their temporality, as
//! most do, are read at once as those of the metric before; where that was wrong, their lines are taken back. So are
//! those of a metric of which some points are [known](Decoder::known_metric) and others are not.

use super::cached::Encoding;
use super::value;
use super::writer::{CUMULATIVE, HistogramHead, MetricHead, Number, Owner, PointHead, Shape, Writer, trim};
use crate::cursor::Cursor;
use crate::error::{Expected, Fault, Problem};
use crate::limits::OTLP_VALUE_DEPTH_MAX;
use crate::protocol::json;
use crate::protocol::series_cache::Key;
use crate::protocol::span::Span;
use crate::{DecodeError, LineSink, Reject, Skip, Text};
use values::{boolean, enum_of_temporality, float, signed, signed_32, text, unsigned};

mod plain;
mod values;

/// Buffers for strings with escapes.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    pub fn trim(&mut self) {
        trim(&mut self.key);
        trim(&mut self.value);
    }

    pub fn kept_bytes(&self) -> usize {
        self.key.capacity() + self.value.capacity()
    }
}

pub(super) fn decode(
    body: &[u8],
    writer: &mut Writer,
    scratch: &mut Scratch,
    sink: &mut LineSink<'_>,
) -> Result<(), DecodeError> {
    let expected = Totals { is_monotonic: true, temporality: CUMULATIVE };
    let time = Default::default();
    let head = Default::default();
    let mut decoder = Decoder {
        body,
        writer,
        scratch,
        sink,
        value_is_too_large: false,
        expected,
        is_ahead: false,
        depth: 0,
        time,
        head,
        generation: None,
    };
    let mut cursor = Cursor::new(body);
    cursor.whitespace();
    if cursor.peek() != Some(b'{') {
        return Err(cursor.unexpected(Expected::Object).into());
    }
    decoder.object(&mut cursor, &["resourceMetrics"], |decoder, cursor, _| {
        decoder.array(cursor, Decoder::resource_metrics)
    })?;
    json::end(cursor)
}

struct Decoder<'s, 'out> {
    body: &'s [u8],
    writer: &'s mut Writer,
    scratch: &'s mut Scratch,
    sink: &'s mut LineSink<'out>,
    /// The value of the present attribute is nested too deeply, or too long as a text.
    value_is_too_large: bool,
    /// The totals of the metric before.
    expected: Totals,
    /// Points are read before what they depend on: what they may be nested in is bounded as it is where they are
    /// skipped.
    is_ahead: bool,
    /// Objects and arrays around the cursor, from those points on.
    depth: usize,
    /// The latest time that was a string, and what it stands for.
    time: (Span, u64),
    /// The present metric up to the first of its points, if all that these depend on is there or in the generation.
    head: Span,
    /// The number of what else they depend on.
    generation: Option<u64>,
}

/// Members that stand behind the points of a sum or a histogram, as most senders write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Totals {
    is_monotonic: bool,
    temporality: i32,
}

/// The parts of a point that are in every shape.
const ATTRIBUTES: &str = "attributes";
const TIME: &str = "timeUnixNano";
const FLAGS: &str = "flags";
const EXEMPLARS: &str = "exemplars";

impl Decoder<'_, '_> {
    /// Reads an object or null, and calls `member` for each key of `known` that has a value, at that value.
    #[inline]
    fn object<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        known: &[&'static str],
        mut member: impl FnMut(&mut Self, &mut Cursor<'a>, &'static str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if cursor.eat_all(b"null") {
            return Ok(());
        }
        cursor.expect(b'{', Expected::Object)?;
        self.depth += 1;
        let mut seen = 0_u32;
        let mut more = cursor.first_member()?;
        while more {
            let key = cursor.string()?;
            let at_colon = *cursor;
            cursor.colon()?;
            match known.iter().position(|name| key.means(name.as_bytes())) {
                Some(index) if seen & 1 << index != 0 => return Err(at_colon.fault(Problem::Repeated).into()),
                Some(index) => {
                    seen |= 1 << index;
                    if !cursor.eat_all(b"null") {
                        member(self, cursor, known[index])?;
                    }
                }
                None => self.skip_value(cursor)?,
            }
            more = cursor.next_member()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks a value that is not read.
    fn skip_value(&self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        cursor.skip_value(if self.is_ahead { self.depth } else { 0 })
    }

    #[inline]
    fn array<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut element: impl FnMut(&mut Self, &mut Cursor<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        cursor.expect(b'[', Expected::Array)?;
        cursor.whitespace();
        if cursor.eat(b']') {
            return Ok(());
        }
        self.depth += 1;
        loop {
            element(self, cursor)?;
            if !cursor.next_element()? {
                self.depth -= 1;
                return Ok(());
            }
            cursor.whitespace();
        }
    }

    fn resource_metrics(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.writer.begin_resource();
        let (mut has_resource, mut later) = (false, None);
        self.object(cursor, &["resource", "scopeMetrics"], |decoder, cursor, name| {
            if name == "resource" {
                has_resource = true;
                decoder.object(cursor, &[ATTRIBUTES], |decoder, cursor, _| {
                    decoder.array(cursor, |decoder, cursor| decoder.attribute(Owner::Resource, cursor))
                })?;
                decoder.writer.end_resource();
                Ok(())
            } else if has_resource {
                decoder.array(cursor, Decoder::scope_metrics)
            } else {
                later = Some(*cursor);
                Ok(cursor.skip_value(0)?)
            }
        })?;
        if !has_resource {
            self.writer.end_resource();
        }
        later.map_or(Ok(()), |mut cursor| self.array(&mut cursor, Decoder::scope_metrics))
    }

    fn scope_metrics(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.object(cursor, &["metrics"], |decoder, cursor, _| decoder.array(cursor, Decoder::metric))
    }

    fn metric(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        if self.known_metric(cursor) {
            return Ok(());
        }
        let start = cursor.rest().len();
        const KNOWN: [&str; 7] = ["name", "unit", "gauge", "sum", "histogram", "exponentialHistogram", "summary"];
        let (mut name, mut unit) = (Text::default(), Text::default());
        let needs_unit = self.writer.needs_unit();
        let (mut has_name, mut has_unit, mut has_data, mut later) = (false, !needs_unit, false, None);
        self.object(cursor, &KNOWN, |decoder, cursor, key| {
            match key {
                "name" => (name, has_name) = (text(cursor)?, true),
                "unit" => (unit, has_unit) = (text(cursor)?, true),
                _ if has_data => return Err(cursor.fault(Problem::Repeated).into()),
                data => {
                    has_data = true;
                    if has_name && has_unit {
                        return decoder.data(cursor, data, name, unit, Some(start));
                    }
                    later = Some((*cursor, data));
                    cursor.skip_value(0)?;
                }
            }
            Ok(())
        })?;
        later.map_or(Ok(()), |(mut cursor, data)| self.data(&mut cursor, data, name, unit, None))
    }

    /// The data of a metric, with its key. If that stands behind the name and the unit, `start` bytes of the body are
    /// left where the metric begins.
    fn data<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: &str,
        name: Text<'a>,
        unit: Text<'a>,
        start: Option<usize>,
    ) -> Result<(), DecodeError> {
        let (mut points, mut totals) = (None, Totals { is_monotonic: false, temporality: 0 });
        const KNOWN: [&str; 3] = ["dataPoints", "aggregationTemporality", "isMonotonic"];
        let begin = |decoder: &mut Self, shape, temporality| {
            let Scratch { key: first, value: second } = &mut *decoder.scratch;
            let (name, unit) = (json::plain(&name, first), json::plain(&unit, second));
            let head = MetricHead { name, unit, shape, temporality };
            decoder.writer.begin_metric(&head);
            decoder.generation = decoder.writer.cached.generation_of(&head, Encoding::Json);
        };
        let points_begin = |decoder: &mut Self, cursor: &Cursor<'a>| {
            // With the bracket.
            let bytes = start.map_or(0, |start| start - cursor.rest().len() + 1);
            decoder.head = Span::at(decoder.body.len() - start.unwrap_or(0), bytes);
        };
        let (shape, point): (_, fn(&mut Self, &mut Cursor<'a>) -> _) = match key {
            "gauge" => (Shape::Gauge, Decoder::number_point),
            "summary" => (Shape::Summary, Decoder::summary_point),
            "sum" => (Shape::Sum { is_monotonic: false }, Decoder::number_point),
            "histogram" => (Shape::Histogram, Decoder::histogram_point),
            _ => (Shape::Histogram, Decoder::exponential_point),
        };
        if matches!(shape, Shape::Gauge | Shape::Summary) {
            begin(self, shape, 0);
            return self.object(cursor, &KNOWN[..1], |decoder, cursor, _| {
                points_begin(decoder, cursor);
                decoder.array(cursor, point)
            });
        }
        let is_sum = key == "sum";
        let known = if is_sum { &KNOWN[..] } else { &KNOWN[..2] };
        let begin = |decoder: &mut Self, Totals { is_monotonic, temporality }| {
            begin(decoder, if is_sum { Shape::Sum { is_monotonic } } else { shape }, temporality);
        };
        let before = (self.sink.decoded(), self.writer.mark());
        let expected = Totals { is_monotonic: is_sum && self.expected.is_monotonic, ..self.expected };
        let mut are_read = false;
        self.object(cursor, known, |decoder, cursor, key| {
            match key {
                "dataPoints" => {
                    points = Some(*cursor);
                    points_begin(decoder, cursor);
                    begin(decoder, expected);
                    are_read = decoder.read_ahead(cursor, point);
                    if !are_read {
                        decoder.sink.reset_to(before.0);
                        decoder.writer.reset_to(before.1);
                        decoder.skip_value(cursor)?;
                    }
                }
                "aggregationTemporality" => totals.temporality = enum_of_temporality(cursor)?,
                _ => totals.is_monotonic = boolean(cursor)?,
            }
            Ok(())
        })?;
        // Histograms have no such member.
        self.expected = if is_sum { totals } else { Totals { temporality: totals.temporality, ..self.expected } };
        if are_read && totals == expected {
            return Ok(());
        }
        self.sink.reset_to(before.0);
        self.writer.reset_to(before.1);
        begin(self, totals);
        points.map_or(Ok(()), |mut cursor| self.array(&mut cursor, point))
    }

    /// Reads points before what they depend on, which is expected to be as in the metric before. Returns false, and the
    /// cursor is where it was, if they cannot be stored so; what is counted of them is then to be taken back.
    fn read_ahead<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        point: fn(&mut Self, &mut Cursor<'a>) -> Result<(), DecodeError>,
    ) -> bool {
        let mut ahead = *cursor;
        let depth = std::mem::take(&mut self.depth);
        self.is_ahead = true;
        let are_read = self.array(&mut ahead, point).is_ok();
        self.is_ahead = false;
        self.depth = depth;
        if are_read {
            *cursor = ahead;
        }
        are_read
    }

    /// A member of a point that every shape has.
    #[inline]
    fn point_member(&mut self, cursor: &mut Cursor<'_>, key: &str, head: &mut PointHead) -> Result<(), DecodeError> {
        match key {
            ATTRIBUTES => self.array(cursor, Decoder::point_attribute),
            TIME => {
                head.time_unix_nano = self.time(cursor)?;
                Ok(())
            }
            FLAGS => {
                let flags = unsigned(cursor)?;
                head.flags = u32::try_from(flags).map_err(|_| cursor.fault(Problem::ValueInfinite))?;
                Ok(())
            }
            _ => self.array(cursor, |decoder, cursor| {
                decoder.sink.skip(Skip::Exemplar, 1);
                Ok(decoder.skip_value(cursor)?)
            }),
        }
    }

    /// Reads a time: the points of a collection share it, mostly as a string, which ends where its quotation marks say.
    #[inline]
    fn time(&mut self, cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
        let (latest, rest) = (self.time.0.of(self.body), cursor.rest());
        if !latest.is_empty() && rest.starts_with(latest) {
            cursor.skip(latest.len());
            return Ok(self.time.1);
        }
        let time = unsigned(cursor)?;
        if rest.starts_with(b"\"") {
            self.time = (Span::at(self.body.len() - rest.len(), rest.len() - cursor.rest().len()), time);
        }
        Ok(time)
    }

    fn number_point(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.writer.begin_point();
        let rest = cursor.rest();
        let mut attributes = &[][..];
        let (mut head, mut number) = (PointHead::default(), None);
        let known = [ATTRIBUTES, TIME, "asDouble", "asInt", EXEMPLARS, FLAGS];
        self.object(cursor, &known, |decoder, cursor, key| {
            let value = match key {
                "asDouble" => Number::Double(float(cursor)?),
                "asInt" => Number::Int(signed(cursor)?),
                ATTRIBUTES => {
                    let rest = cursor.rest();
                    decoder.point_member(cursor, key, &mut head)?;
                    attributes = &rest[..rest.len() - cursor.rest().len()];
                    return Ok(());
                }
                _ => return decoder.point_member(cursor, key, &mut head),
            };
            if number.replace(value).is_some() { Err(cursor.fault(Problem::Repeated).into()) } else { Ok(()) }
        })?;
        let stored = self.sink.metrics();
        self.writer.end_number(head, number, self.sink)?;
        if self.sink.metrics() > stored {
            self.note_point(rest, attributes);
        }
        Ok(())
    }

    fn histogram_point(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let (mut head, mut histogram) = (PointHead::default(), HistogramHead::default());
        let known = [ATTRIBUTES, TIME, "count", "sum", "bucketCounts", "explicitBounds", EXEMPLARS, FLAGS];
        self.object(cursor, &known, |decoder, cursor, key| {
            match key {
                "count" => histogram.count = unsigned(cursor)?,
                "sum" => histogram.sum = Some(float(cursor)?),
                "bucketCounts" => return decoder.counts(cursor, false),
                "explicitBounds" => {
                    return decoder.array(cursor, |decoder, cursor| {
                        decoder.writer.numbers.bounds.push(float(cursor)?);
                        Ok(())
                    });
                }
                _ => return decoder.point_member(cursor, key, &mut head),
            }
            Ok(())
        })?;
        self.writer.end_histogram(head, &histogram, self.sink)
    }

    fn exponential_point(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let (mut head, mut histogram) = (PointHead::default(), HistogramHead::default());
        let known = [
            ATTRIBUTES,
            TIME,
            "count",
            "sum",
            "scale",
            "zeroCount",
            "positive",
            "negative",
            "zeroThreshold",
            EXEMPLARS,
            FLAGS,
        ];
        self.object(cursor, &known, |decoder, cursor, key| {
            match key {
                "count" => histogram.count = unsigned(cursor)?,
                "sum" => histogram.sum = Some(float(cursor)?),
                "scale" => histogram.scale = signed_32(cursor)?,
                "zeroCount" => histogram.zero_count = unsigned(cursor)?,
                "zeroThreshold" => histogram.zero_threshold = float(cursor)?,
                "positive" => return decoder.buckets(cursor, false, &mut histogram.positive_offset),
                "negative" => return decoder.buckets(cursor, true, &mut histogram.negative_offset),
                _ => return decoder.point_member(cursor, key, &mut head),
            }
            Ok(())
        })?;
        self.writer.end_exponential(head, &histogram, self.sink)
    }

    fn buckets(&mut self, cursor: &mut Cursor<'_>, are_negative: bool, offset: &mut i32) -> Result<(), DecodeError> {
        self.object(cursor, &["offset", "bucketCounts"], |decoder, cursor, key| {
            if key == "bucketCounts" {
                return decoder.counts(cursor, are_negative);
            }
            *offset = signed_32(cursor)?;
            Ok(())
        })
    }

    fn counts(&mut self, cursor: &mut Cursor<'_>, are_negative: bool) -> Result<(), DecodeError> {
        self.array(cursor, |decoder, cursor| {
            let numbers = &mut decoder.writer.numbers;
            let numbers = if are_negative { &mut numbers.negative } else { &mut numbers.counts };
            numbers.push(unsigned(cursor)?);
            Ok(())
        })
    }

    fn summary_point(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let (mut head, mut count, mut sum) = (PointHead::default(), 0, 0.0);
        let known = [ATTRIBUTES, TIME, "count", "sum", "quantileValues", FLAGS];
        self.object(cursor, &known, |decoder, cursor, key| {
            match key {
                "count" => count = unsigned(cursor)?,
                "sum" => sum = float(cursor)?,
                "quantileValues" => return decoder.array(cursor, Decoder::quantile),
                _ => return decoder.point_member(cursor, key, &mut head),
            }
            Ok(())
        })?;
        self.writer.end_summary(head, count, sum, self.sink)
    }

    fn quantile(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let (mut quantile, mut value) = (0.0, 0.0);
        self.object(cursor, &["quantile", "value"], |_, cursor, key| {
            let number = float(cursor)?;
            if key == "quantile" {
                quantile = number;
            } else {
                value = number;
            }
            Ok(())
        })?;
        self.writer.numbers.quantiles.push((quantile, value));
        Ok(())
    }

    // ---- attributes ----

    /// An object ends where its braces say, so the same bytes are the same attribute, whatever follows.
    #[inline]
    fn point_attribute(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let rest = cursor.rest();
        let mut bytes = 0;
        let is_next = |attribute: &[u8]| {
            bytes = attribute.len();
            rest.starts_with(attribute)
        };
        if self.writer.shares_attribute(self.body, is_next) {
            cursor.skip(bytes);
            return Ok(());
        }
        self.writer.begin_attribute();
        self.attribute(Owner::Point, cursor)?;
        let bytes = rest.len() - cursor.rest().len();
        self.writer.end_attribute(Span::at(self.body.len() - rest.len(), bytes));
        Ok(())
    }

    #[inline]
    fn attribute(&mut self, owner: Owner, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        let mut written = std::mem::take(&mut self.writer.text);
        written.clear();
        self.value_is_too_large = false;
        let (mut key, mut string) = (Text::default(), None);
        self.object(cursor, &["key", "value"], |decoder, cursor, name| {
            if name == "key" {
                key = text(cursor)?;
            } else {
                string = decoder.any_value(cursor, 0, &mut written)?;
            }
            Ok(())
        })?;
        let Scratch { key: key_scratch, value: value_scratch } = &mut *self.scratch;
        let key = json::plain(&key, key_scratch);
        match string {
            _ if self.value_is_too_large => self.writer.reject_owner(owner, Reject::Tags),
            Some(string) => self.writer.push_attribute(owner, key, json::plain(&string, value_scratch)),
            None => self.writer.push_attribute(owner, key, &written),
        }
        self.writer.text = written;
        Ok(())
    }

    /// Reads the value of an attribute, within `depth` arrays and maps. A string that is within none is returned, and
    /// all else is appended to `out`.
    fn any_value<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Text<'a>>, DecodeError> {
        const KNOWN: [&str; 7] =
            ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"];
        if depth > OTLP_VALUE_DEPTH_MAX || out.len() > self.writer.tag_bytes_limit() {
            self.value_is_too_large = true;
            self.skip_value(cursor)?;
            return Ok(None);
        }
        let (mut is_set, mut string) = (false, None);
        self.object(cursor, &KNOWN, |decoder, cursor, key| {
            if std::mem::replace(&mut is_set, true) {
                return Err(cursor.fault(Problem::Repeated).into());
            }
            match key {
                "boolValue" => value::boolean(boolean(cursor)?, out),
                "intValue" => value::integer(signed(cursor)?, out),
                "doubleValue" => value::double(float(cursor)?, depth > 0, out),
                "arrayValue" => {
                    out.push(b'[');
                    decoder.values(cursor, out, |decoder, cursor, out| {
                        decoder.any_value(cursor, depth + 1, out).map(|_| ())
                    })?;
                    out.push(b']');
                }
                "kvlistValue" => {
                    out.push(b'{');
                    decoder.values(cursor, out, |decoder, cursor, out| decoder.map_entry(cursor, depth + 1, out))?;
                    out.push(b'}');
                }
                _ => {
                    let text = text(cursor)?;
                    if depth == 0 {
                        string = Some(text);
                    } else {
                        push_string(text, out);
                    }
                }
            }
            Ok(())
        })?;
        if !is_set && depth > 0 {
            out.extend_from_slice(b"null");
        }
        Ok(string)
    }

    /// Reads the `values` of an array or a map, and puts commas between what `value` appends.
    fn values<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        out: &mut Vec<u8>,
        mut value: impl FnMut(&mut Self, &mut Cursor<'a>, &mut Vec<u8>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.object(cursor, &["values"], |decoder, cursor, _| {
            let mut is_first = true;
            decoder.array(cursor, |decoder, cursor| {
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                value(decoder, cursor, out)
            })
        })
    }

    fn map_entry(&mut self, cursor: &mut Cursor<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let (mut key, mut later, mut is_written) = (None, None, false);
        self.object(cursor, &["key", "value"], |decoder, cursor, name| {
            if name == "key" {
                key = Some(text(cursor)?);
            } else if let Some(key) = key {
                is_written = true;
                push_string(key, out);
                out.push(b':');
                decoder.any_value(cursor, depth, out)?;
            } else {
                later = Some(*cursor);
                decoder.skip_value(cursor)?;
            }
            Ok(())
        })?;
        if !is_written {
            push_string(key.unwrap_or_default(), out);
            out.push(b':');
            match later {
                Some(mut cursor) => drop(self.any_value(&mut cursor, depth, out)?),
                None => out.extend_from_slice(b"null"),
            }
        }
        Ok(())
    }
}

/// Appends a JSON string in its canonical spelling.
fn push_string(text: Text<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + text.raw().len(), 0);
    let bytes = text.write_canonical(&mut out[start..]);
    out.truncate(start + bytes);
    out.push(b'"');
}

//! The request in protobuf.
//!
//! Fields come in any order, and a message may come in several pieces, which are merged as the specification of
//! protobuf says: where an order is needed (the resource before its points, a metric's name and temporality before its
//! data) the fields of that message are gone through twice, the messages within it but once. One difference is left: of
//! the array or the map of an attribute that comes in pieces, only the last piece counts.
//!
//! A known field with the wrong wire type is malformed. What is not stored (the scope, exemplars, metadata) is skipped
//! by its length. Text that is not UTF-8 rejects its points and no more.

use super::cached::{Encoding, Lookup};
use super::plain::{PlainMetric, PlainPoint};
use super::value;
use super::writer::{HistogramHead, MetricHead, Number, Owner, PointError, PointHead, Shape, Writer};
use crate::limits::OTLP_VALUE_DEPTH_MAX;
use crate::protocol::protobuf::{Content, Message, each_fixed64, each_varint, zigzag};
use crate::protocol::series_cache::Key;
use crate::protocol::span::Span;
use crate::{DecodeError, LineSink, Reject, Skip};

/// The key of a metric in its scope: its number, 2, with the wire type of messages.
const METRIC_KEY: u8 = 2 << 3 | 2;
const WIRE_TYPE: &str = "a field has the wrong wire type";

pub(super) fn decode(body: &[u8], writer: &mut Writer, sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
    let mut decoder = Decoder { body, writer, sink };
    let mut request = Message::new(body);
    while let Some(field) = request.next_of(body)? {
        match (field.number, field.content) {
            (1, Content::Bytes(bytes)) => decoder.resource_metrics(bytes)?,
            (1, _) => return Err(decoder.malformed(&request, WIRE_TYPE)),
            _ => {}
        }
    }
    Ok(())
}

struct Decoder<'a, 's, 'out> {
    body: &'a [u8],
    writer: &'s mut Writer,
    sink: &'s mut LineSink<'out>,
}

/// The value of an attribute.
#[derive(Clone, Copy)]
enum AnyValue<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    Map(&'a [u8]),
    Bytes(&'a [u8]),
}

/// The numbers of the fields of `Metric.data`.
mod data {
    pub(super) const GAUGE: u32 = 5;
    pub(super) const SUM: u32 = 7;
    pub(super) const HISTOGRAM: u32 = 9;
    pub(super) const EXPONENTIAL: u32 = 10;
    pub(super) const SUMMARY: u32 = 11;
}

impl<'a> Decoder<'a, '_, '_> {
    /// The field before the rest of `message` is at fault.
    #[cold]
    fn malformed(&self, message: &Message<'a>, text: &'static str) -> DecodeError {
        DecodeError::Malformed { byte: message.offset_in(self.body), text }
    }

    fn resource_metrics(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        self.writer.begin_resource();
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(resource)) => self.resource(resource)?,
                (2 | 3, Content::Bytes(_)) => {}
                (1..=3, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        self.writer.end_resource();
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            if let (2, Content::Bytes(scope_metrics)) = (field.number, field.content) {
                self.scope_metrics(scope_metrics)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(attribute)) => self.attribute(Owner::Resource, attribute)?,
                (2, Content::Varint(_)) | (3, Content::Bytes(_)) => {}
                (1..=3, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        Ok(())
    }

    fn scope_metrics(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let mut message = Message::new(bytes);
        loop {
            while let Some(metric) = message.next_with_key(METRIC_KEY) {
                self.metric(metric)?;
            }
            let Some(field) = message.next_of(self.body)? else { return Ok(()) };
            match (field.number, field.content) {
                (2, Content::Bytes(metric)) => self.metric(metric)?,
                (1 | 3, Content::Bytes(_)) => {}
                (1..=3, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
    }

    fn metric(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        if let Some(metric) = PlainMetric::read(bytes) {
            let PlainMetric { name, unit, shape, temporality, .. } = metric;
            let head = MetricHead { name, unit, shape, temporality };
            if let Some(generation) = self.writer.cached.generation_of(&head, Encoding::Protobuf) {
                return self.plain_metric(&metric, &head, generation);
            }
        }
        let (mut name, mut unit) = (&[][..], &[][..]);
        // The field number of the data, and the fields from the first of them on.
        let mut data = None;
        let mut message = Message::new(bytes);
        loop {
            let from_here = message.clone();
            let Some(field) = message.next_of(self.body)? else { break };
            match (field.number, field.content) {
                (1, Content::Bytes(text)) => name = text,
                (3, Content::Bytes(text)) => unit = text,
                (2 | 12, Content::Bytes(_)) => {}
                // Of data of several kinds the last counts; of one kind, all.
                (number @ (5 | 7 | 9 | 10 | 11), Content::Bytes(_)) => {
                    data = data.filter(|(present, _)| *present == number).or(Some((number, from_here)));
                }
                (1 | 2 | 3 | 5 | 7 | 9..=12, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        let Some((number, fields)) = data else { return Ok(()) };
        let (temporality, is_monotonic) = self.data_head(number, fields.clone())?;
        let shape = match number {
            data::GAUGE => Shape::Gauge,
            data::SUM => Shape::Sum { is_monotonic },
            data::SUMMARY => Shape::Summary,
            _ => Shape::Histogram,
        };
        self.writer.begin_metric(&MetricHead { name, unit, shape, temporality });
        self.data_points(number, fields)
    }

    /// The points of a gauge or a sum, of which those that came before are not read.
    fn plain_metric(
        &mut self,
        metric: &PlainMetric<'a>,
        head: &MetricHead<'a>,
        generation: u64,
    ) -> Result<(), DecodeError> {
        // Names that depend on the unit have all of it in their keys.
        let before = if self.writer.needs_unit() { metric.head } else { metric.name };
        let mut has_begun = false;
        for bytes in metric.points {
            let point = PlainPoint::read(bytes);
            let key = point.map(|point| Key { before, behind: point.attributes, has_gap: true, generation });
            let lookup = key.map_or(Lookup::Passed, |key| self.writer.cached.find(&key));
            if let (Lookup::Found(index), Some(point)) = (lookup, point)
                && self.writer.push_cached(index, point.head, point.number, self.sink)
            {
                continue;
            }
            if !has_begun {
                self.writer.begin_metric(head);
                has_begun = true;
            }
            let stored = self.sink.metrics();
            self.number_point(bytes)?;
            if let (Lookup::Missed, Some(key)) = (lookup, key)
                && self.sink.metrics() > stored
            {
                self.writer.cache_series(&key);
            }
        }
        Ok(())
    }

    /// The temporality, and whether a sum is monotonic.
    fn data_head(&self, number: u32, mut fields: Message<'a>) -> Result<(i32, bool), DecodeError> {
        let (mut temporality, mut is_monotonic) = (0, false);
        while let Some(field) = fields.next_of(self.body)? {
            let Content::Bytes(bytes) = field.content else { continue };
            if field.number != number {
                continue;
            }
            let mut message = Message::new(bytes);
            while let Some(field) = message.next_of(self.body)? {
                match (field.number, field.content) {
                    (1, Content::Bytes(_)) => {}
                    (1, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                    (2 | 3, _) if matches!(number, data::GAUGE | data::SUMMARY) => {}
                    (2, Content::Varint(integer)) => temporality = low_32(integer).cast_signed(),
                    (3, _) if number != data::SUM => {}
                    (3, Content::Varint(integer)) => is_monotonic = integer != 0,
                    (2 | 3, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                    _ => {}
                }
            }
        }
        Ok((temporality, is_monotonic))
    }

    fn data_points(&mut self, number: u32, mut fields: Message<'a>) -> Result<(), DecodeError> {
        while let Some(field) = fields.next_of(self.body)? {
            let Content::Bytes(bytes) = field.content else { continue };
            if field.number != number {
                continue;
            }
            let mut message = Message::new(bytes);
            while let Some(field) = message.next_of(self.body)? {
                if let (1, Content::Bytes(point)) = (field.number, field.content) {
                    match number {
                        data::GAUGE | data::SUM => self.number_point(point)?,
                        data::HISTOGRAM => self.histogram_point(point)?,
                        data::EXPONENTIAL => self.exponential_point(point)?,
                        _ => self.summary_point(point)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn number_point(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        self.writer.begin_point();
        let mut head = PointHead::default();
        let mut number = None;
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (7, Content::Bytes(attribute)) => self.point_attribute(attribute)?,
                (3, Content::Fixed64(nanos)) => head.time_unix_nano = nanos,
                (4, Content::Fixed64(bits)) => number = Some(Number::Double(f64::from_bits(bits))),
                (6, Content::Fixed64(bits)) => number = Some(Number::Int(bits.cast_signed())),
                (8, Content::Varint(flags)) => head.flags = low_32(flags),
                (5, Content::Bytes(_)) => self.sink.skip(Skip::Exemplar, 1),
                (2, Content::Fixed64(_)) => {}
                (2..=8, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        self.writer.end_number(head, number, self.sink)
    }

    fn histogram_point(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let mut head = PointHead::default();
        let mut histogram = HistogramHead::default();
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (9, Content::Bytes(attribute)) => self.point_attribute(attribute)?,
                (3, Content::Fixed64(nanos)) => head.time_unix_nano = nanos,
                (4, Content::Fixed64(count)) => histogram.count = count,
                (5, Content::Fixed64(bits)) => histogram.sum = Some(f64::from_bits(bits)),
                (6, counts) => {
                    let numbers = &mut self.writer.numbers.counts;
                    let each = each_fixed64(counts, |count| numbers.push(count));
                    each.map_err(|text| self.malformed(&message, text))?;
                }
                (7, bounds) => {
                    let numbers = &mut self.writer.numbers.bounds;
                    let each = each_fixed64(bounds, |bits| numbers.push(f64::from_bits(bits)));
                    each.map_err(|text| self.malformed(&message, text))?;
                }
                (8, Content::Bytes(_)) => self.sink.skip(Skip::Exemplar, 1),
                (10, Content::Varint(flags)) => head.flags = low_32(flags),
                (2 | 11 | 12, Content::Fixed64(_)) => {}
                (2..=12, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        self.writer.end_histogram(head, &histogram, self.sink)
    }

    fn exponential_point(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let mut head = PointHead::default();
        let mut histogram = HistogramHead::default();
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(attribute)) => self.point_attribute(attribute)?,
                (3, Content::Fixed64(nanos)) => head.time_unix_nano = nanos,
                (4, Content::Fixed64(count)) => histogram.count = count,
                (5, Content::Fixed64(bits)) => histogram.sum = Some(f64::from_bits(bits)),
                (6, Content::Varint(scale)) => histogram.scale = sint32(scale),
                (7, Content::Fixed64(count)) => histogram.zero_count = count,
                (8, Content::Bytes(buckets)) => self.buckets(buckets, false, &mut histogram.positive_offset)?,
                (9, Content::Bytes(buckets)) => self.buckets(buckets, true, &mut histogram.negative_offset)?,
                (10, Content::Varint(flags)) => head.flags = low_32(flags),
                (11, Content::Bytes(_)) => self.sink.skip(Skip::Exemplar, 1),
                (14, Content::Fixed64(bits)) => histogram.zero_threshold = f64::from_bits(bits),
                (2 | 12 | 13, Content::Fixed64(_)) => {}
                (1..=14, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        self.writer.end_exponential(head, &histogram, self.sink)
    }

    fn buckets(&mut self, bytes: &'a [u8], are_negative: bool, offset: &mut i32) -> Result<(), DecodeError> {
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Varint(integer)) => *offset = sint32(integer),
                (1, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                (2, counts) => {
                    let numbers = &mut self.writer.numbers;
                    let numbers = if are_negative { &mut numbers.negative } else { &mut numbers.counts };
                    let each = each_varint(counts, |count| numbers.push(count));
                    each.map_err(|text| self.malformed(&message, text))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn summary_point(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        self.writer.begin_point_of_numbers();
        let mut head = PointHead::default();
        let (mut count, mut sum) = (0, 0.0);
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (7, Content::Bytes(attribute)) => self.point_attribute(attribute)?,
                (3, Content::Fixed64(nanos)) => head.time_unix_nano = nanos,
                (4, Content::Fixed64(integer)) => count = integer,
                (5, Content::Fixed64(bits)) => sum = f64::from_bits(bits),
                (6, Content::Bytes(quantile)) => {
                    let quantile = self.quantile(quantile)?;
                    self.writer.numbers.quantiles.push(quantile);
                }
                (8, Content::Varint(flags)) => head.flags = low_32(flags),
                (2, Content::Fixed64(_)) => {}
                (2..=8, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        self.writer.end_summary(head, count, sum, self.sink)
    }

    fn quantile(&self, bytes: &'a [u8]) -> Result<(f64, f64), DecodeError> {
        let (mut quantile, mut value) = (0.0, 0.0);
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Fixed64(bits)) => quantile = f64::from_bits(bits),
                (2, Content::Fixed64(bits)) => value = f64::from_bits(bits),
                (1 | 2, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        Ok((quantile, value))
    }

    // ---- attributes ----

    #[inline]
    fn point_attribute(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        if self.writer.shares_attribute(self.body, |attribute| attribute == bytes) {
            return Ok(());
        }
        self.writer.begin_attribute();
        self.attribute(Owner::Point, bytes)?;
        self.writer.end_attribute(Span::new(self.body, bytes));
        Ok(())
    }

    #[inline]
    fn attribute(&mut self, owner: Owner, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let (key, value) = self.key_value(bytes)?;
        match value {
            AnyValue::Text(text) => self.writer.push_attribute(owner, key, text),
            AnyValue::Empty => self.writer.push_attribute(owner, key, b""),
            other => return self.attribute_of_no_text(owner, key, other),
        }
        Ok(())
    }

    fn attribute_of_no_text(&mut self, owner: Owner, key: &[u8], any: AnyValue<'a>) -> Result<(), DecodeError> {
        let mut text = std::mem::take(&mut self.writer.text);
        text.clear();
        let written = match any {
            AnyValue::Double(float) => {
                value::double(float, false, &mut text);
                Ok(())
            }
            AnyValue::Bytes(bytes) if bytes.len() <= self.writer.tag_bytes_limit() => {
                value::base64(bytes, &mut text);
                Ok(())
            }
            other => self.write_json(other, 0, &mut text),
        };
        match written {
            Ok(()) => self.writer.push_attribute(owner, key, &text),
            Err(PointError::Reject(reason)) => self.writer.reject_owner(owner, reason),
            Err(PointError::Body(error)) => return Err(error),
        }
        self.writer.text = text;
        Ok(())
    }

    #[inline]
    fn key_value(&self, bytes: &'a [u8]) -> Result<(&'a [u8], AnyValue<'a>), DecodeError> {
        let (mut key, mut value) = (&[][..], AnyValue::Empty);
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(text)) => key = text,
                (2, Content::Bytes(bytes)) => value = self.any_value(bytes, value)?,
                (3, Content::Varint(_)) => {}
                (1..=3, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// `value` with the fields of `bytes` merged into it.
    #[inline]
    fn any_value(&self, bytes: &'a [u8], mut value: AnyValue<'a>) -> Result<AnyValue<'a>, DecodeError> {
        let mut message = Message::new(bytes);
        while let Some(field) = message.next_of(self.body)? {
            value = match (field.number, field.content) {
                (1, Content::Bytes(text)) => AnyValue::Text(text),
                (2, Content::Varint(integer)) => AnyValue::Bool(integer != 0),
                (3, Content::Varint(integer)) => AnyValue::Int(integer.cast_signed()),
                (4, Content::Fixed64(bits)) => AnyValue::Double(f64::from_bits(bits)),
                (5, Content::Bytes(values)) => AnyValue::Array(values),
                (6, Content::Bytes(values)) => AnyValue::Map(values),
                (7, Content::Bytes(bytes)) => AnyValue::Bytes(bytes),
                // An index into a table that requests of metrics do not have.
                (8, Content::Varint(_)) => AnyValue::Empty,
                (1..=8, _) => return Err(self.malformed(&message, WIRE_TYPE)),
                _ => value,
            };
        }
        Ok(value)
    }

    /// Appends a value as JSON. `depth` is the number of arrays and maps around it.
    fn write_json(&self, any: AnyValue<'a>, depth: usize, out: &mut Vec<u8>) -> Result<(), PointError> {
        if depth > OTLP_VALUE_DEPTH_MAX || out.len() > self.writer.tag_bytes_limit() {
            return Err(Reject::Tags.into());
        }
        let (values, is_map) = match any {
            AnyValue::Array(values) => (values, false),
            AnyValue::Map(values) => (values, true),
            scalar => {
                self.write_scalar(scalar, out);
                return Ok(());
            }
        };
        out.push(if is_map { b'{' } else { b'[' });
        let mut message = Message::new(values);
        let mut is_first = true;
        while let Some(field) = message.next_of(self.body)? {
            let bytes = match (field.number, field.content) {
                (1, Content::Bytes(bytes)) => bytes,
                (1, _) => return Err(self.malformed(&message, WIRE_TYPE).into()),
                _ => continue,
            };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            let value = if is_map {
                let (key, value) = self.key_value(bytes)?;
                value::string(key, out);
                out.push(b':');
                value
            } else {
                self.any_value(bytes, AnyValue::Empty)?
            };
            self.write_json(value, depth + 1, out)?;
        }
        out.push(if is_map { b'}' } else { b']' });
        Ok(())
    }

    /// Appends a value that holds no others.
    fn write_scalar(&self, any: AnyValue<'a>, out: &mut Vec<u8>) {
        match any {
            AnyValue::Text(text) => value::string(text, out),
            AnyValue::Bool(boolean) => value::boolean(boolean, out),
            AnyValue::Int(integer) => value::integer(integer, out),
            AnyValue::Double(float) => value::double(float, true, out),
            AnyValue::Bytes(bytes) => {
                out.push(b'"');
                value::base64(bytes, out);
                out.push(b'"');
            }
            AnyValue::Empty | AnyValue::Array(_) | AnyValue::Map(_) => out.extend_from_slice(b"null"),
        }
    }
}

/// As protobuf reads 32-bit integers: the high half is cut off.
#[expect(clippy::cast_possible_truncation, reason = "that is what is meant")]
const fn low_32(integer: u64) -> u32 {
    integer as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the zigzag of 32 bits has 32 bits")]
fn sint32(integer: u64) -> i32 {
    zigzag(u64::from(low_32(integer))) as i32
}

//! Prometheus' exposition in Protocol Buffers: `io.prometheus.client.MetricFamily` messages, each behind its length.
//! Go's client pushes it to a push gateway unless it is given a text format.
//!
//! Source: <https://github.com/prometheus/client_model>, `metrics.proto`, and the encoder of the text format in Go's
//! `expfmt`. The lines are those that the text format would have of the same families:
//! - a counter, a gauge and an untyped metric are one each;
//! - a summary is its name with the tag `quantile` for each quantile, `_sum` and `_count`;
//! - a histogram is `_bucket` with the tag `le`, closed by `+Inf`, `_sum` and `_count`. Buckets of a native histogram,
//!   for which the text format has no place, are not stored.
//!
//! A metric is stored whole or rejected whole, as one: its value has to be of its family's type, and its labels are
//! held to the rules of [text](super::text). Exemplars are counted as skipped; help, units and times of creation are
//! ignored. The places of rejected metrics are indices of families.

use super::bucket::ClassicHistogram;
use super::protobuf::{Content, Message};
use crate::limits::{HISTOGRAM_BUCKETS_MAX, SERIES_KEPT_BYTES_MAX};
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Series, Skip, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, Value};

/// A quantile with its value, or the bound of a bucket with its cumulative count.
type Point = (f64, Value<'static>);
/// Names and values of the labels of a request.
type Labels = [(Vec<u8>, Vec<u8>)];

/// The decoder. One is used for all bodies of a core.
#[derive(Debug)]
pub struct MetricFamilies {
    series: Series,
    /// Quantiles or buckets of the present metric.
    points: Vec<Point>,
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A counter, a gauge or an untyped metric.
    Single(Kind),
    Summary,
    Histogram,
}

impl Type {
    /// The type that has this number, and the field of a metric with its value.
    const fn of(number: u64) -> Option<(Self, u32)> {
        Some(match number {
            0 => (Self::Single(Kind::Counter), 3),
            1 => (Self::Single(Kind::Gauge), 2),
            2 => (Self::Summary, 4),
            3 => (Self::Single(Kind::Untyped), 5),
            4 | 5 => (Self::Histogram, 7),
            _ => return None,
        })
    }
}

/// The reason why a metric is not stored.
enum Fault {
    /// Rejects the metric alone.
    Reject(Reject),
    /// Refuses the whole body.
    Body(DecodeError),
}

impl From<Reject> for Fault {
    fn from(reason: Reject) -> Self {
        Self::Reject(reason)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl MetricFamilies {
    /// A decoder that holds its series to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { series: Series::new(bounds), points: Vec::new() }
    }

    /// Decodes `body`. `labels` are those of all samples, each name once; they replace the body's labels of the same
    /// name, and an empty value removes them.
    ///
    /// # Errors
    /// If it is no such sequence of messages, or if the sink's bounds are exceeded: nothing of it may be stored.
    pub fn decode(&mut self, body: &[u8], labels: &Labels, sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        let mut families = Message::new(body);
        let mut at = 0;
        while !families.is_empty() {
            let byte = families.offset_in(body);
            let length = families.varint().map_err(|text| DecodeError::Malformed { byte, text })?;
            let family = usize::try_from(length).ok().and_then(|length| families.rest().get(..length));
            let family = family.ok_or(DecodeError::Malformed { byte, text: "a message is longer than the body" })?;
            families.skip(family.len());
            Family { decoder: self, body, labels, name: &[], of_type: Type::of(0), at, sink }.decode(family)?;
            at += 1;
        }
        Ok(())
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.points_bytes() > SERIES_KEPT_BYTES_MAX {
            self.points = Vec::new();
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.series.kept_bytes() + self.points_bytes()
    }

    fn points_bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }
}

/// A family, with the state that decoding it needs.
struct Family<'b, 's, 'out> {
    decoder: &'s mut MetricFamilies,
    body: &'b [u8],
    labels: &'b Labels,
    name: &'b [u8],
    of_type: Option<(Type, u32)>,
    at: usize,
    sink: &'s mut LineSink<'out>,
}

impl<'b> Family<'b, '_, '_> {
    fn decode(&mut self, family: &'b [u8]) -> Result<(), DecodeError> {
        let mut fields = Message::new(family);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(name)) => self.name = name,
                (3, Content::Varint(number)) => self.of_type = Type::of(number),
                (4, Content::Bytes(_)) => {}
                (1 | 3 | 4, _) => return Err(self.wire_type(&fields)),
                _ => {}
            }
        }
        let mut fields = Message::new(family);
        while let Some(field) = fields.next_of(self.body)? {
            let (4, Content::Bytes(metric)) = (field.number, field.content) else { continue };
            match self.metric(metric) {
                Ok(()) => {}
                Err(Fault::Reject(reason)) => self.sink.reject(reason, 1, self.at)?,
                Err(Fault::Body(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stores a metric. If it is rejected, none of its lines has been written.
    fn metric(&mut self, metric: &'b [u8]) -> Result<(), Fault> {
        let mut described = self.describe();
        let (mut value, mut timestamp_ms) = (None, None);
        let mut fields = Message::new(metric);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(label)) => {
                    let (key, text) = self.label(label)?;
                    described = described.and_then(|()| self.push_label(key, text));
                }
                (6, Content::Varint(milliseconds)) => timestamp_ms = Some(milliseconds.cast_signed()),
                (number, Content::Bytes(message)) if self.of_type.is_some_and(|(_, field)| field == number) => {
                    value = Some(message);
                }
                (2..=5 | 7, Content::Bytes(_)) => {}
                (1..=7, _) => return Err(self.wire_type(&fields).into()),
                _ => {}
            }
        }
        described?;
        if timestamp_ms.is_some_and(|time| !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&time)) {
            return Err(Reject::Timestamp.into());
        }
        let (Some((of_type, _)), Some(value)) = (self.of_type, value) else { return Err(Reject::Value.into()) };
        match of_type {
            Type::Single(kind) => self.single(value, kind, timestamp_ms),
            Type::Summary => self.summary(value, timestamp_ms),
            Type::Histogram => self.histogram(value, timestamp_ms),
        }
    }

    /// Makes the series what all metrics of the family begin with.
    fn describe(&mut self) -> Result<(), Reject> {
        let series = &mut self.decoder.series;
        series.clear();
        if self.name.is_empty() {
            return Err(Reject::Name);
        }
        series.push_name(self.name)?;
        let mut labels = self.labels.iter().filter(|(_, value)| !value.is_empty());
        labels.try_for_each(|(key, value)| series.push_tag(key, value))
    }

    fn label(&self, bytes: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), DecodeError> {
        let mut fields = Message::new(bytes);
        let (mut key, mut value) = (&[][..], &[][..]);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Bytes(text)) => key = text,
                (2, Content::Bytes(text)) => value = text,
                (1 | 2, _) => return Err(self.wire_type(&fields)),
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn push_label(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        if key.is_empty() || key == b"__name__" {
            return Err(Reject::Tags);
        }
        if value.is_empty() || self.labels.iter().any(|(fixed, _)| fixed == key) {
            return Ok(());
        }
        self.decoder.series.push_tag(key, value)
    }

    fn single(&mut self, value: &'b [u8], kind: Kind, timestamp_ms: Option<i64>) -> Result<(), Fault> {
        let mut fields = Message::new(value);
        let (mut value, mut exemplars) = (0.0, 0);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Fixed64(bits)) => value = f64::from_bits(bits),
                (1, _) => return Err(self.wire_type(&fields).into()),
                (2, _) if kind == Kind::Counter => exemplars = 1,
                _ => {}
            }
        }
        self.sink.skip(Skip::Exemplar, exemplars);
        Ok(self.sink.push(&self.decoder.series, kind, Value::Float(value), timestamp_ms, self.at)?)
    }

    fn summary(&mut self, value: &'b [u8], timestamp_ms: Option<i64>) -> Result<(), Fault> {
        let totals = self.distribution(value, Self::quantile)?;
        let MetricFamilies { series, points } = &mut *self.decoder;
        let base = series.mark();
        // The longest of what will be appended.
        series.push_name(b"_count")?;
        series.push_tag(b"quantile", b"-2.2250738585072014e-308")?;
        series.reset_to(base);
        for &(quantile, value) in &*points {
            series.push_bound(b"quantile", quantile)?;
            self.sink.push(series, Kind::Summary, value, timestamp_ms, self.at)?;
            series.reset_to(base);
        }
        for (suffix, value) in [(&b"_sum"[..], Value::Float(totals.sum)), (b"_count", totals.count)] {
            series.push_name(suffix)?;
            self.sink.push(series, Kind::Summary, value, timestamp_ms, self.at)?;
            series.reset_to(base);
        }
        Ok(())
    }

    fn histogram(&mut self, value: &'b [u8], timestamp_ms: Option<i64>) -> Result<(), Fault> {
        let totals = self.distribution(value, Self::bucket)?;
        let MetricFamilies { series, points } = &mut *self.decoder;
        if !points.iter().zip(&points[1.min(points.len())..]).all(|((one, _), (next, _))| one < next) {
            return Err(Reject::Histogram.into());
        }
        let mut classic = ClassicHistogram::new(self.sink, series, timestamp_ms, self.at)?;
        for &(bound, cumulative) in &*points {
            classic.bucket(bound, cumulative)?;
        }
        classic.finish(totals.count, Some(Value::Float(totals.sum)))?;
        self.sink.skip(Skip::Exemplar, totals.exemplars);
        Ok(())
    }

    /// Reads a summary or a histogram, whose fields have the same numbers. `point` reads one of the points, and counts
    /// its exemplar.
    fn distribution(
        &mut self,
        value: &'b [u8],
        point: fn(&Self, &'b [u8], &mut u32) -> Result<Point, DecodeError>,
    ) -> Result<Totals, Fault> {
        self.decoder.points.clear();
        let (mut count, mut float_count, mut sum, mut exemplars) = (0, 0.0, 0.0, 0);
        let mut fields = Message::new(value);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Varint(integer)) => count = integer,
                (2, Content::Fixed64(bits)) => sum = f64::from_bits(bits),
                (3, Content::Bytes(bytes)) => {
                    let point = point(self, bytes, &mut exemplars)?;
                    if self.decoder.points.len() == HISTOGRAM_BUCKETS_MAX {
                        return Err(Reject::Histogram.into());
                    }
                    self.decoder.points.push(point);
                }
                (1..=3, _) => return Err(self.wire_type(&fields).into()),
                // Those below are of histograms alone.
                (4, Content::Fixed64(bits)) => float_count = f64::from_bits(bits),
                (16, Content::Bytes(_)) => exemplars += 1,
                _ => {}
            }
        }
        Ok(Totals { count: count_of(count, float_count), sum, exemplars })
    }

    fn quantile(&self, bytes: &'b [u8], _: &mut u32) -> Result<Point, DecodeError> {
        let mut fields = Message::new(bytes);
        let (mut quantile, mut value) = (0.0, 0.0);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Fixed64(bits)) => quantile = f64::from_bits(bits),
                (2, Content::Fixed64(bits)) => value = f64::from_bits(bits),
                (1 | 2, _) => return Err(self.wire_type(&fields)),
                _ => {}
            }
        }
        Ok((quantile, Value::Float(value)))
    }

    fn bucket(&self, bytes: &'b [u8], exemplars: &mut u32) -> Result<Point, DecodeError> {
        let mut fields = Message::new(bytes);
        let (mut count, mut float_count, mut bound) = (0, 0.0, 0.0);
        while let Some(field) = fields.next_of(self.body)? {
            match (field.number, field.content) {
                (1, Content::Varint(integer)) => count = integer,
                (2, Content::Fixed64(bits)) => bound = f64::from_bits(bits),
                (3, Content::Bytes(_)) => *exemplars += 1,
                (4, Content::Fixed64(bits)) => float_count = f64::from_bits(bits),
                (1..=4, _) => return Err(self.wire_type(&fields)),
                _ => {}
            }
        }
        Ok((bound, count_of(count, float_count)))
    }

    #[cold]
    fn wire_type(&self, fields: &Message<'_>) -> DecodeError {
        DecodeError::Malformed { byte: fields.offset_in(self.body), text: "a field has the wrong wire type" }
    }
}

/// The parts of a summary or a histogram that are single numbers.
struct Totals {
    count: Value<'static>,
    sum: f64,
    exemplars: u32,
}

/// A count, which is that of a histogram of floats if it has one.
fn count_of(count: u64, float_count: f64) -> Value<'static> {
    if float_count > 0.0 { Value::Float(float_count) } else { Value::Uint(count) }
}

#[cfg(test)]
mod tests;

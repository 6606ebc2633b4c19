//! Native histograms, of integers and of floats, as their classic series.
//!
//! A bucket is written with both of its ends unless it adjoins the one before it, so that a quantile is as exact as
//! with the native histogram. Of custom bounds every one is written: together they are the classic histogram from which
//! they were converted.

use super::super::bucket::{ClassicHistogram, exponential_bound};
use super::super::protobuf::{Content, Field, Message, each_fixed64, each_varint, zigzag};
use super::{Version, integer_of, low_32_bits, message_of, wire_type};
use crate::limits::HISTOGRAM_BUCKETS_MAX;
use crate::{DecodeError, LineSink, Reject, STALE_NAN_BITS, Series, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, Value};

/// The schema of histograms that bring their bounds with them.
const CUSTOM_SCHEMA: i32 = -53;
/// Schemas of exponential buckets, those reserved for later included, as Prometheus has them.
const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -9..=52;

/// A number of observations.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    Int(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl Count {
    const fn zero(is_float: bool) -> Self {
        if is_float { Self::Float(0.0) } else { Self::Int(0) }
    }

    /// `None` if it overflows, or is no number of observations.
    fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_add(b).map(Self::Int),
            (Self::Float(a), Self::Float(b)) => Some(a + b).filter(|sum| sum.is_finite() && b >= 0.0).map(Self::Float),
            _ => None,
        }
    }

    /// The value in a line; at most `max`, which floats may be above by rounding.
    fn value(self, max: Self) -> Value<'static> {
        match (self, max) {
            (Self::Int(count), _) => Value::Uint(count),
            (Self::Float(count), Self::Float(max)) => Value::Float(count.min(max)),
            (Self::Float(count), Self::Int(_)) => Value::Float(count),
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Self::Int(0)) || self == Self::Float(0.0)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct BucketSpan {
    /// Buckets from the end of the span before it, or the index of the first.
    offset: i32,
    length: u32,
}

/// The buckets on one side of zero.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    /// Counts of an integer histogram, each less the one before it.
    deltas: Vec<i64>,
    /// Counts of a float histogram.
    counts: Vec<f64>,
    /// Index of each bucket, ascending.
    indexes: Vec<i64>,
}

impl Side {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
        self.indexes.clear();
    }

    fn kept_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<BucketSpan>()
            + (self.deltas.capacity() + self.counts.capacity() + self.indexes.capacity()) * size_of::<u64>()
    }

    /// Makes deltas counts and spans indexes; the observations of all buckets, or `None` if they do not fit together.
    fn resolve(&mut self, is_float: bool) -> Option<Count> {
        let buckets = if is_float { self.counts.len() } else { self.deltas.len() };
        let mut next = 0_i64;
        for (index, span) in self.spans.iter().enumerate() {
            if index > 0 && span.offset < 0 {
                return None;
            }
            next += i64::from(span.offset);
            let length = i64::from(span.length);
            if usize::try_from(span.length).ok()? > buckets - self.indexes.len() {
                return None;
            }
            self.indexes.extend(next..next + length);
            next += length;
        }
        if self.indexes.len() != buckets {
            return None;
        }
        let mut count = 0_i64;
        if !is_float {
            for delta in &mut self.deltas {
                count = count.checked_add(*delta).filter(|&count| count >= 0)?;
                *delta = count;
            }
        }
        let mut counts = (0..buckets).map(|bucket| self.count(bucket, is_float));
        counts.try_fold(Count::zero(is_float), Count::plus)
    }

    /// Observations in a bucket, once the side is resolved.
    fn count(&self, bucket: usize, is_float: bool) -> Count {
        if is_float { Count::Float(self.counts[bucket]) } else { Count::Int(self.deltas[bucket].unsigned_abs()) }
    }
}

/// One histogram, with scratch that all share.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Count,
    negative: Side,
    positive: Side,
    custom_bounds: Vec<f64>,
    timestamp_ms: i64,
    /// True if a list was longer than [`HISTOGRAM_BUCKETS_MAX`] and is not all here.
    is_cut: bool,
}

impl Histogram {
    pub(super) fn kept_bytes(&self) -> usize {
        self.negative.kept_bytes() + self.positive.kept_bytes() + self.custom_bounds.capacity() * size_of::<f64>()
    }

    /// Reads the message in `bytes`.
    pub(super) fn read(&mut self, body: &[u8], bytes: &[u8], version: Version) -> Result<(), DecodeError> {
        (self.count, self.zero_count) = (Count::default(), Count::default());
        (self.sum, self.zero_threshold) = (0.0, 0.0);
        (self.schema, self.timestamp_ms, self.is_cut) = (0, 0, false);
        self.negative.clear();
        self.positive.clear();
        self.custom_bounds.clear();

        let mut fields = Message::new(bytes);
        while let Some(Field { number, content }) = fields.next_of(body)? {
            let integer = || integer_of(body, &fields, content);
            let double = || content.double().ok_or_else(|| wire_type(body, &fields));
            match number {
                1 => self.count = Count::Int(integer()?),
                2 => self.count = Count::Float(double()?),
                3 => self.sum = double()?,
                4 => self.schema = sint32(integer()?),
                5 => self.zero_threshold = double()?,
                6 => self.zero_count = Count::Int(integer()?),
                7 => self.zero_count = Count::Float(double()?),
                8 | 11 => {
                    let span = bucket_span(body, message_of(body, &fields, content)?)?;
                    let side = if number == 8 { &mut self.negative } else { &mut self.positive };
                    push(&mut side.spans, span, &mut self.is_cut);
                }
                9 | 12 => {
                    let side = if number == 9 { &mut self.negative } else { &mut self.positive };
                    each_varint(content, |delta| push(&mut side.deltas, zigzag(delta), &mut self.is_cut))
                        .map_err(|text| DecodeError::Malformed { byte: fields.offset_in(body), text })?;
                }
                10 => doubles(body, &fields, content, &mut self.negative.counts, &mut self.is_cut)?,
                13 => doubles(body, &fields, content, &mut self.positive.counts, &mut self.is_cut)?,
                15 => self.timestamp_ms = integer()?.cast_signed(),
                16 => doubles(body, &fields, content, &mut self.custom_bounds, &mut self.is_cut)?,
                // Whether the counter was reset, which whoever reads cumulative counts sees, and when it began.
                14 => drop(integer()?),
                17 if version == Version::V2 => drop(integer()?),
                _ => {}
            }
        }
        Ok(())
    }

    const fn is_float(&self) -> bool {
        matches!(self.count, Count::Float(_))
    }

    fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN_BITS
    }

    /// Resolves its buckets, and says why it may not be stored.
    fn check(&mut self) -> Result<(), Reject> {
        if !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&self.timestamp_ms) {
            return Err(Reject::Timestamp);
        }
        if self.is_stale() {
            return Ok(());
        }
        if self.is_cut {
            return Err(Reject::Histogram);
        }
        // As with Prometheus, the count says which kind the others are to be.
        let is_float = self.is_float();
        if matches!(self.zero_count, Count::Float(_)) != is_float {
            self.zero_count = Count::zero(is_float);
        }
        self.fits_together().ok_or(Reject::Histogram)
    }

    fn fits_together(&mut self) -> Option<()> {
        let is_float = self.is_float();
        let observations = Count::zero(is_float)
            .plus(self.negative.resolve(is_float)?)?
            .plus(self.zero_count)?
            .plus(self.positive.resolve(is_float)?)?;
        let is_whole = match (self.count, observations) {
            // NaN is observed, but in no bucket.
            (Count::Int(count), Count::Int(observed)) if self.sum.is_nan() => observed <= count,
            (Count::Int(count), Count::Int(observed)) => observed == count,
            (Count::Float(count), _) => count.is_finite() && count >= 0.0,
            (Count::Int(_), Count::Float(_)) => false,
        };
        let has_bounds = if self.schema == CUSTOM_SCHEMA {
            let bounds = &self.custom_bounds;
            bounds.windows(2).all(|pair| pair[0] < pair[1])
                && bounds.first().is_none_or(|first| !first.is_nan())
                && bounds.last().is_none_or(|&last| last != f64::INFINITY)
                && self.positive.indexes.first().is_none_or(|&first| first >= 0)
                && self.positive.indexes.last().is_none_or(|&last| last <= bounds.len() as i64)
                && self.negative.spans.is_empty()
                && self.zero_count.is_zero()
                && self.zero_threshold == 0.0
        } else {
            EXPONENTIAL_SCHEMAS.contains(&self.schema) && self.custom_bounds.is_empty() && self.zero_threshold >= 0.0
        };
        (is_whole && has_bounds).then_some(())
    }

    /// Writes its lines and returns how many: none if it may not be stored, and is rejected.
    pub(super) fn write(
        &mut self,
        series: &mut Series,
        sink: &mut LineSink<'_>,
        at: usize,
    ) -> Result<u32, DecodeError> {
        let before = sink.metrics();
        if let Err(reason) = self.check() {
            sink.reject(reason, 1, at)?;
            return Ok(0);
        }
        let classic = match ClassicHistogram::new(sink, series, Some(self.timestamp_ms), at) {
            Ok(classic) => classic,
            Err(reason) => {
                sink.reject(reason, 1, at)?;
                return Ok(0);
            }
        };
        if self.is_stale() {
            classic.finish(Value::Stale, Some(Value::Stale))?;
        } else if self.schema == CUSTOM_SCHEMA {
            self.write_custom(classic)?;
        } else {
            self.write_exponential(classic)?;
        }
        Ok(sink.metrics() - before)
    }

    fn write_custom(&self, mut classic: ClassicHistogram<'_, '_>) -> Result<(), DecodeError> {
        let mut cumulative = Cumulative::new(self);
        let mut bucket = 0;
        for (index, &bound) in (0_i64..).zip(&self.custom_bounds) {
            if self.positive.indexes.get(bucket) == Some(&index) {
                cumulative.add(self.positive.count(bucket, self.is_float()));
                bucket += 1;
            }
            classic.bucket(bound, cumulative.value())?;
        }
        cumulative.finish(classic)
    }

    fn write_exponential(&self, mut classic: ClassicHistogram<'_, '_>) -> Result<(), DecodeError> {
        let mut cumulative = Cumulative::new(self);
        let is_float = self.is_float();
        for (bucket, &index) in self.negative.indexes.iter().enumerate().rev() {
            classic.bucket(-exponential_bound(self.schema, index), cumulative.value())?;
            cumulative.add(self.negative.count(bucket, is_float));
            classic.bucket(-exponential_bound(self.schema, index - 1), cumulative.value())?;
        }
        if !self.zero_count.is_zero() {
            classic.bucket(-self.zero_threshold, cumulative.value())?;
            cumulative.add(self.zero_count);
            classic.bucket(self.zero_threshold, cumulative.value())?;
        }
        for (bucket, &index) in self.positive.indexes.iter().enumerate() {
            classic.bucket(exponential_bound(self.schema, index - 1), cumulative.value())?;
            cumulative.add(self.positive.count(bucket, is_float));
            classic.bucket(exponential_bound(self.schema, index), cumulative.value())?;
        }
        cumulative.finish(classic)
    }
}

/// The observations up to a bound.
struct Cumulative<'h> {
    histogram: &'h Histogram,
    observed: Count,
}

impl<'h> Cumulative<'h> {
    fn new(histogram: &'h Histogram) -> Self {
        Self { histogram, observed: Count::zero(histogram.is_float()) }
    }

    /// Adds a bucket of a histogram that was checked, which is why it does not overflow.
    fn add(&mut self, count: Count) {
        self.observed = self.observed.plus(count).unwrap_or(self.observed);
    }

    fn value(&self) -> Value<'static> {
        self.observed.value(self.histogram.count)
    }

    fn finish(self, classic: ClassicHistogram<'_, '_>) -> Result<(), DecodeError> {
        let count = self.histogram.count;
        classic.finish(count.value(count), Some(Value::Float(self.histogram.sum)))
    }
}

#[inline]
fn push<T>(list: &mut Vec<T>, item: T, is_cut: &mut bool) {
    if list.len() < HISTOGRAM_BUCKETS_MAX {
        list.push(item);
    } else {
        *is_cut = true;
    }
}

fn doubles(
    body: &[u8],
    fields: &Message<'_>,
    content: Content<'_>,
    list: &mut Vec<f64>,
    is_cut: &mut bool,
) -> Result<(), DecodeError> {
    each_fixed64(content, |bits| push(list, f64::from_bits(bits), is_cut))
        .map_err(|text| DecodeError::Malformed { byte: fields.offset_in(body), text })
}

fn bucket_span(body: &[u8], bytes: &[u8]) -> Result<BucketSpan, DecodeError> {
    let mut fields = Message::new(bytes);
    let mut span = BucketSpan::default();
    while let Some(field) = fields.next_of(body)? {
        match field.number {
            1 => span.offset = sint32(integer_of(body, &fields, field.content)?),
            2 => span.length = low_32_bits(integer_of(body, &fields, field.content)?),
            _ => {}
        }
    }
    Ok(span)
}

/// A `sint32`, which is the zigzag of the low 32 bits.
fn sint32(varint: u64) -> i32 {
    let low = low_32_bits(varint);
    (low >> 1).cast_signed() ^ -(low & 1).cast_signed()
}

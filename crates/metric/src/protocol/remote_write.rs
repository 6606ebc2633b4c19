//! Prometheus remote write 1.0 and 2.0: series of samples and native histograms, decoded from protobuf.
//!
//! Sources: <https://prometheus.io/docs/specs/prw/remote_write_spec/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/> and Prometheus' own receiver, which decides where the
//! two leave something open:
//! - Labels are stored in the order of their names. A sender has to sort them, and the receiver does too: the public
//!   conformance suite sends them in any order.
//! - A label with an empty value is the same as none and is left out. An empty name, a name that comes twice, and a
//!   label beyond the bounds reject the series, and so does the absence of `__name__`.
//! - A series that is rejected counts as many metrics as it has samples and histograms, and at least one. A histogram
//!   that is rejected counts one; one that is stored counts as many as it has lines.
//! - A series with neither samples nor histograms stores nothing: exemplars and metadata come so. In 2.0, one that
//!   has none of the four is rejected, and so is one with both samples and histograms.
//! - Exemplars, and metadata of 1.0, are counted and not read: what they hold may be malformed. The references to help
//!   and unit in 2.0 are not looked up.
//! - Groups, which no version of these messages has ever had, make a body malformed.
//!
//! The type of a series is that of its metadata in 2.0. Without it, a name that ends in `_total` is a counter, and any
//! other a gauge. A native histogram becomes its classic series.

mod cached;
pub mod encode;
mod histogram;
mod label_texts;
mod labels;
mod references;
mod seen;
mod tables;
mod v1;
mod v2;

use super::protobuf::{Content, Field, Message};
use crate::limits::REMOTE_WRITE_KEPT_BYTES_MAX;
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Rejected, Series, Skip, Value};
use cached::Cached;
use histogram::Histogram;
use label_texts::LabelTexts;
use labels::{Fault, Labels};
use references::{NumberedLabels, Symbols};
use seen::SeenSeries;
use tables::Tables;

/// Counts of what is stored of a body, for the headers `X-Prometheus-Remote-Write-…-Written`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples.
    pub samples: u64,
    /// Native histograms, each of which is several lines.
    pub histograms: u64,
    /// Exemplars: none is ever stored.
    pub exemplars: u64,
}

/// The decoder, with scratch that bodies share: one for each core.
#[derive(Debug)]
pub struct RemoteWrite {
    series: Series,
    labels: Labels,
    symbols: Symbols,
    histogram: Histogram,
    cached: Cached,
    /// Numbers of symbols, the labels of a series in such, tables of symbols that came before, and series that came
    /// with the present one.
    texts: LabelTexts,
    numbered: NumberedLabels,
    tables: Tables,
    seen: SeenSeries,
}

impl RemoteWrite {
    /// A decoder of series that are held to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            series: Series::new(bounds),
            labels: Labels::new(bounds),
            symbols: Symbols::default(),
            histogram: Histogram::default(),
            cached: Cached::new(bounds),
            texts: LabelTexts::new(),
            numbered: NumberedLabels::new(),
            tables: Tables::new(),
            seen: SeenSeries::new(),
        }
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.scratch_bytes() > REMOTE_WRITE_KEPT_BYTES_MAX {
            self.labels.free();
            self.symbols = Symbols::default();
            self.histogram = Histogram::default();
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let seen = self.texts.kept_bytes() + self.tables.kept_bytes() + self.seen.kept_bytes();
        self.series.kept_bytes() + self.scratch_bytes() + self.cached.kept_bytes() + seen
    }

    fn scratch_bytes(&self) -> usize {
        self.labels.kept_bytes() + self.symbols.kept_bytes() + self.histogram.kept_bytes()
    }

    /// Stores the samples and histograms of the series whose labels have been collected, or rejects them all. They are
    /// read in either case, as the body is malformed if one of them is.
    fn finish_series(
        &mut self,
        body: &[u8],
        mut shape: Shape<'_>,
        at: usize,
        sink: &mut LineSink<'_>,
        written: &mut Written,
    ) -> Result<(), DecodeError> {
        sink.skip(Skip::Exemplar, shape.exemplars);
        let labelled = self.labels.write(body, &mut self.series);
        let fault = labelled.err().or(shape.fault());
        let kind = shape.kind.unwrap_or_else(|| kind_of_name(self.series.name()));
        if let (Some((value, timestamp_ms)), 1, None) = (shape.plain, shape.metrics(), fault) {
            let stored = sink.metrics();
            sink.push(&self.series, kind, Value::Float(value), Some(timestamp_ms), at)?;
            written.samples += u64::from(sink.metrics() - stored);
            return Ok(());
        }
        let mut stored = sink.metrics();
        let mut histogram_lines = 0;
        while let Some(field) = shape.values.next_of(body)? {
            if field.number == SAMPLES {
                let content = message_of(body, &shape.values, field.content)?;
                let (value, timestamp_ms) = sample(body, content, shape.version)?;
                if fault.is_none() {
                    sink.push(&self.series, kind, Value::Float(value), Some(timestamp_ms), at)?;
                }
            } else if field.number == shape.version.histograms() {
                let content = message_of(body, &shape.values, field.content)?;
                self.histogram.read(body, content, shape.version)?;
                if fault.is_none() {
                    let lines = self.histogram.write(&mut self.series, sink, at)?;
                    written.histograms += u64::from(lines > 0);
                    histogram_lines += lines;
                }
            }
        }
        stored = sink.metrics() - stored;
        written.samples += u64::from(stored - histogram_lines);
        match fault {
            Some((reason, text)) => {
                sink.reject_as(shape.metrics().max(1), Rejected { text, ..Rejected::new(reason, at) })
            }
            None => Ok(()),
        }
    }
}

/// The type of a series whose sender does not say it.
fn kind_of_name(name: &[u8]) -> Kind {
    if name.ends_with(b"_total") { Kind::Counter } else { Kind::Gauge }
}

/// A version of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The number of the field `samples` in a series, of either version, and its key with the wire type of messages.
const SAMPLES: u32 = 2;
const SAMPLES_KEY: u8 = 2 << 3 | 2;
/// Key of labels in 1.0, and of references to labels in 2.0: the field number 1 with the wire type of messages.
const LABELS_KEY: u8 = 1 << 3 | 2;

impl Version {
    /// The number of the field `histograms` in a series.
    const fn histograms(self) -> u32 {
        match self {
            Self::V1 => 4,
            Self::V2 => 3,
        }
    }
}

/// Fields of a series besides its labels.
#[derive(Debug)]
struct Shape<'a> {
    version: Version,
    /// Fields from the first sample or histogram on.
    values: Message<'a>,
    /// The first of them, if it is a sample and as every sender writes one.
    plain: Option<(f64, i64)>,
    samples: u32,
    histograms: u32,
    exemplars: u32,
    has_metadata: bool,
    /// The type that its metadata says.
    kind: Option<Kind>,
}

impl<'a> Shape<'a> {
    const fn new(version: Version) -> Self {
        Self {
            version,
            values: Message::new(&[]),
            plain: None,
            samples: 0,
            histograms: 0,
            exemplars: 0,
            has_metadata: false,
            kind: None,
        }
    }

    /// Counts `field`, a sample or a histogram, with which `fields` begins.
    #[inline]
    fn count_value(&mut self, fields: Message<'a>, field: Field<'a>, histograms: u32) {
        let is_histogram = field.number == histograms;
        if self.metrics() == 0 {
            self.values = fields;
            self.plain = field.content.bytes().filter(|_| !is_histogram).and_then(plain_sample);
        }
        let count = if is_histogram { &mut self.histograms } else { &mut self.samples };
        *count = count.saturating_add(1);
    }

    fn metrics(&self) -> u32 {
        self.samples.saturating_add(self.histograms)
    }

    /// The reason why no series may have this shape.
    fn fault(&self) -> Option<Fault> {
        if self.version == Version::V1 {
            return None;
        }
        if self.samples > 0 && self.histograms > 0 {
            return Some((Reject::Value, "a series has both samples and histograms"));
        }
        let is_empty = self.metrics() == 0 && self.exemplars == 0 && !self.has_metadata;
        is_empty.then_some((Reject::Value, "a series has neither samples nor histograms"))
    }
}

/// Keys of the fields of a sample: their numbers, 1 and 2, with the wire types of doubles and of varints.
const VALUE_KEY: u8 = 1 << 3 | 1;
const TIMESTAMP_KEY: u8 = 2 << 3;

/// Value and timestamp of a sample as every sender writes it: in this order, with a time of the years from 1971 to
/// 2109, which is six bytes.
#[inline(always)]
fn plain_sample(bytes: &[u8]) -> Option<(f64, i64)> {
    let (value, bytes) = match bytes {
        [VALUE_KEY, rest @ ..] => {
            let (value, rest) = rest.split_first_chunk()?;
            (f64::from_le_bytes(*value), rest)
        }
        bytes => (0.0, bytes),
    };
    let &[TIMESTAMP_KEY, a, b, c, d, e, f] = bytes else { return None };
    Some((value, plain_timestamp(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))?))
}

/// The timestamp that the six bytes of a varint stand for; `None` if it has fewer or more.
#[inline(always)]
fn plain_timestamp(varint: u64) -> Option<i64> {
    if varint & 0x8080_8080_8080 != 0x80_8080_8080 {
        return None;
    }
    // Groups of 7 bits become three of 14, and these the number.
    let groups = varint & 0x7f_007f_007f | (varint & 0x7f00_7f00_7f00) >> 1;
    let timestamp_ms = groups & 0x3fff | groups >> 2 & 0x3fff << 14 | groups >> 4 & 0x3fff << 28;
    Some(timestamp_ms.cast_signed())
}

/// Value and timestamp of a sample. Either is left out of the wire where it is 0.
#[inline]
fn sample(body: &[u8], bytes: &[u8], version: Version) -> Result<(f64, i64), DecodeError> {
    let mut fields = Message::new(bytes);
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while let Some(field) = fields.next_of(body)? {
        match field.number {
            1 => value = field.content.double().ok_or_else(|| wire_type(body, &fields))?,
            2 => timestamp_ms = integer_of(body, &fields, field.content)?.cast_signed(),
            // When the counter began, which the log has no place for.
            3 if version == Version::V2 => {
                integer_of(body, &fields, field.content)?;
            }
            _ => {}
        }
    }
    Ok((value, timestamp_ms))
}

/// A string or a message, after which `fields` goes on.
#[inline]
fn message_of<'a>(body: &[u8], fields: &Message<'_>, content: Content<'a>) -> Result<&'a [u8], DecodeError> {
    content.bytes().ok_or_else(|| wire_type(body, fields))
}

/// An integer, after which `fields` goes on.
#[inline]
fn integer_of(body: &[u8], fields: &Message<'_>, content: Content<'_>) -> Result<u64, DecodeError> {
    content.varint().ok_or_else(|| wire_type(body, fields))
}

/// The value of a 32-bit field.
#[expect(clippy::cast_possible_truncation, reason = "the bits above are not part of a 32-bit field")]
const fn low_32_bits(varint: u64) -> u32 {
    varint as u32
}

#[cold]
fn wire_type(body: &[u8], fields: &Message<'_>) -> DecodeError {
    DecodeError::Malformed { byte: fields.offset_in(body), text: "a field has an unexpected wire type" }
}

#[cfg(test)]
mod tests;

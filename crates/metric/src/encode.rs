//! Batches in, lines of the log out: one pass from a request's body to the bytes that go into the file.
//!
//! A line has all five fields, in this order, whatever was sent:
//! `{"timestamp":"2026-01-02T03:04:05.678Z","name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}}`
//!
//! Promises: what is written never exceeds [`BatchEncoder::encoded_bytes_max`]; after the encoder is built nothing is
//! allocated. If a batch is refused, the bytes given hold part of it and mean nothing: the caller abandons the
//! reservation.

use super::parser::{Parser, Scratch, WriteLines};
use super::shape::Verbatim;
use super::sink::LineSpace;
use super::timestamp::{self, TIMESTAMP_BYTES};
use super::{BatchError, Bounds, Kind, Metric};
use crate::limits::TIMESTAMP_FAR_MS;

/// The beginning of a line, before the timestamp.
pub const BEFORE_TIMESTAMP: &[u8] = br#"{"timestamp":""#;
/// Between the timestamp and the name.
pub const BEFORE_NAME: &[u8] = br#"","name":""#;
/// Between the name and the value.
pub const BEFORE_VALUE: &[u8] = br#"","value":"#;
const NO_TAGS: &[u8] = b"{}";
pub(super) const LINE_END: &[u8] = b"}\n";

/// Returns the bytes between a value and the tags: `,"type":"…","tags":`.
pub(super) const fn between_value_and_tags(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Gauge => br#","type":"gauge","tags":"#,
        Kind::Counter => br#","type":"counter","tags":"#,
        Kind::Histogram => br#","type":"histogram","tags":"#,
        Kind::Summary => br#","type":"summary","tags":"#,
        Kind::Untyped => br#","type":"untyped","tags":"#,
    }
}

/// Length of a line's head, which is the same for all metrics of one moment.
const HEAD_BYTES: usize = BEFORE_TIMESTAMP.len() + TIMESTAMP_BYTES + BEFORE_NAME.len();

/// Bytes that are copied at once of a metric that is its own line: one has 60 to 150.
const PART_BYTES: usize = 32;

/// The smallest metric, without the comma between it and the next.
const METRIC_BYTES_MIN: usize = br#"{"name":"n","value":0}"#.len();

/// Maximum number of bytes by which a line is longer than its metric.
///
/// A line's name, value, type and tags are never longer than they were sent: [`Text`](super::Text) shows it for
/// strings, digits are copied, whitespace is dropped. Their keys and punctuation are the same on both sides. So
/// whatever a client adds to the smallest metric lengthens the line by no more than the metric, and the smallest
/// metric, to which the line adds a head, the default type and empty tags, is what gains most: 48 + 1 + 10 + 1 + 23 + 2
/// + 2 = 87 bytes for 22.
const LINE_BYTES_GAINED_MAX: usize = HEAD_BYTES
    + 1
    + BEFORE_VALUE.len()
    + 1
    + between_value_and_tags(Kind::Gauge).len()
    + NO_TAGS.len()
    + LINE_END.len()
    - METRIC_BYTES_MIN;
const _: () = assert!(LINE_BYTES_GAINED_MAX == 65);

/// Result of encoding a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// Metrics in the batch, and lines written.
    pub metrics: u32,
    /// Bytes written.
    pub bytes: usize,
    /// Metrics whose timestamp is over [`TIMESTAMP_FAR_MS`] from the time of arrival.
    pub far_from_now: u32,
}

/// Turns batches into lines. Made once for each core, used for every batch.
pub struct BatchEncoder {
    bounds: Bounds,
    scratch: Scratch,
    head: LineHead,
}

/// The head of a line and the moment that it stands for: the metrics of a batch mostly share it.
struct LineHead {
    bytes: [u8; HEAD_BYTES],
    ms: i64,
}

/// The lines of one batch.
struct BatchLines<'e, 'out> {
    head: &'e mut LineHead,
    arrival_ms: i64,
    space: LineSpace<'out>,
    far_from_now: u32,
}

impl BatchEncoder {
    /// An encoder that holds batches to `bounds`.
    ///
    /// # Panics
    /// If a bound is 0 that must be at least 1, or if the number of metrics does not fit in 32 bits.
    pub fn new(bounds: Bounds) -> Self {
        assert!(bounds.batch_metrics_limit >= 1 && u32::try_from(bounds.batch_metrics_limit).is_ok());
        assert!(bounds.name_bytes_limit >= 1);
        Self { bounds, scratch: Scratch::new(&bounds), head: LineHead { bytes: head(0), ms: 0 } }
    }

    /// The same encoder, every metric read by the grammar: to compare with, as speculation must make no difference.
    #[must_use]
    pub fn without_speculation(mut self) -> Self {
        self.scratch = self.scratch.without_speculation();
        self
    }

    /// Bytes that the lines of any good body of `body_bytes` bytes can take, at most.
    #[inline]
    pub fn encoded_bytes_max(&self, body_bytes: usize) -> usize {
        let metrics_max = self.bounds.batch_metrics_limit.min(body_bytes / METRIC_BYTES_MIN);
        body_bytes + metrics_max * LINE_BYTES_GAINED_MAX
    }

    /// Reads the batch in `body` and writes its lines to the front of `out`. A metric that was sent without a timestamp
    /// gets `arrival_ms`: epoch milliseconds within the years 0000 to 9999.
    ///
    /// # Errors
    /// If the body is not a batch within the bounds. `out` then holds nothing of worth.
    ///
    /// # Panics
    /// If `out` is shorter than [`encoded_bytes_max`](Self::encoded_bytes_max) of the body's length, or if `arrival_ms`
    /// is out of range.
    pub fn encode(&mut self, body: &[u8], arrival_ms: i64, out: &mut [u8]) -> Result<Encoded, BatchError> {
        let place_bytes = out.len();
        let Some(space) = LineSpace::new(out, self.encoded_bytes_max(body.len())) else {
            panic!("too little space: {place_bytes} bytes");
        };
        assert!((timestamp::TIMESTAMP_MS_MIN..=timestamp::TIMESTAMP_MS_MAX).contains(&arrival_ms));
        let mut parser = Parser::new(body, self.bounds, &mut self.scratch);
        let mut lines = BatchLines { head: &mut self.head, arrival_ms, space, far_from_now: 0 };
        while parser.next_lines(&mut lines)? {}
        // `new` has found that it fits.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let metrics = parser.metrics() as u32;
        Ok(Encoded { metrics, bytes: place_bytes - lines.space.left(), far_from_now: lines.far_from_now })
    }
}

impl BatchLines<'_, '_> {
    /// Makes the head that of a line with this timestamp.
    #[inline]
    fn set_head(&mut self, timestamp_ms: Option<i64>) {
        let ms = timestamp_ms.unwrap_or(self.arrival_ms);
        if ms != self.head.ms {
            *self.head = LineHead { bytes: head(ms), ms };
        }
        self.far_from_now += u32::from(ms.abs_diff(self.arrival_ms) > TIMESTAMP_FAR_MS);
    }
}

impl WriteLines for BatchLines<'_, '_> {
    #[inline]
    fn verbatim(&mut self, metric: &Verbatim<'_>) {
        self.set_head(metric.timestamp_ms);
        self.space.put_array(&self.head.bytes);
        self.space.put_part::<PART_BYTES>(metric.front);
        if let Some(behind) = metric.behind {
            self.space.put_part::<PART_BYTES>(behind);
        }
        self.space.put_array(b"\n");
    }

    fn fields(&mut self, metric: &Metric<'_>) {
        self.set_head(metric.timestamp_ms);
        self.space.put(&self.head.bytes);
        self.space.put_by(|out| encode_fields(metric, out));
    }
}

/// Writes the line of one metric from its name on to the front of `out` and returns its length.
fn encode_fields(metric: &Metric<'_>, out: &mut [u8]) -> usize {
    let mut line = Line { out, bytes: 0 };
    line.put_text(&metric.name);
    line.put(BEFORE_VALUE);
    line.put(metric.value);
    match metric.kind {
        Kind::Gauge => line.put(const { between_value_and_tags(Kind::Gauge) }),
        Kind::Counter => line.put(const { between_value_and_tags(Kind::Counter) }),
        Kind::Histogram => line.put(const { between_value_and_tags(Kind::Histogram) }),
        Kind::Summary => line.put(const { between_value_and_tags(Kind::Summary) }),
        Kind::Untyped => line.put(const { between_value_and_tags(Kind::Untyped) }),
    }
    match metric.tags_verbatim {
        Some(tags) => line.put(tags),
        None => line.put_tags(metric),
    }
    line.put(LINE_END);
    line.bytes
}

/// Returns the head of the lines of this moment.
pub(super) fn head(timestamp_ms: i64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let mut line = Line { out: &mut head, bytes: 0 };
    line.put(BEFORE_TIMESTAMP);
    line.put(&timestamp::format(timestamp_ms));
    line.put(BEFORE_NAME);
    head
}

/// A line as far as it is written.
struct Line<'out> {
    out: &'out mut [u8],
    bytes: usize,
}

impl Line<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.bytes..][..bytes.len()].copy_from_slice(bytes);
        self.bytes += bytes.len();
    }

    #[inline]
    fn put_text(&mut self, text: &super::Text) {
        self.bytes += text.write_canonical(&mut self.out[self.bytes..]);
    }

    fn put_tags(&mut self, metric: &Metric) {
        let mut before = b'{';
        for tag in &metric.tags {
            self.put(&[before, b'"']);
            self.put_text(&tag.key);
            self.put(br#"":""#);
            self.put_text(&tag.value);
            self.put(b"\"");
            before = b',';
        }
        self.put(if metric.tags.is_empty() { NO_TAGS } else { b"}" });
    }
}

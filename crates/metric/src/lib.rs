//! The metric: what a batch is, the single-pass parser that reads it from a request's body, and the encoder that writes
//! it as lines of the log.
//!
//! Promises: one pass over the body, time linear in its length whatever it holds, nothing allocated once a
//! [`BatchEncoder`] exists, no panic whatever the bytes. A batch is read whole or refused whole, with the metric, the
//! field and the byte that broke it ([`BatchError`]).
//! May not touch: HTTP, clocks (the time of arrival is given), system calls.
//!
//! The document is JSON by RFC 8259 to the letter. Stricter than that, by our own choice: nesting is bounded
//! ([`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX)), a lone surrogate (`"\ud800"`) is refused as it has no UTF-8
//! form, and a field that we know may come only once. Unknown fields are checked and ignored, repeated or not.
//!
//! Beside them stands [`printable`]: text of metrics, or of any other origin outside the server, made fit for a
//! terminal.
//!
//! ```
//! use metric::{BatchEncoder, Bounds, Line};
//!
//! let body = br#"{"metrics":[{"name":"cpu","value":0.5,"timestamp":1767323045678,"tags":{"host":"a"}}]}"#;
//! let mut encoder = BatchEncoder::new(Bounds::default());
//! let mut lines = vec![0; encoder.encoded_bytes_max(body.len())];
//! let encoded = encoder.encode(body, 1_767_323_045_700, &mut lines).unwrap();
//! assert_eq!(encoded.metrics, 1);
//!
//! let line = Line::parse(lines[..encoded.bytes].trim_ascii_end()).unwrap();
//! assert_eq!((line.name, line.value, line.timestamp_ms), (&b"cpu"[..], &b"0.5"[..], 1_767_323_045_678));
//! ```

mod block;
mod cursor;
mod encode;
mod error;
mod keys;
pub mod limits;
mod line;
mod number;
mod parser;
pub mod printable;
pub mod protocol;
mod shape;
mod sink;
mod text;
mod timestamp;
mod value_text;

pub use block::equal_bytes;
pub use encode::{BEFORE_NAME, BEFORE_TIMESTAMP, BEFORE_VALUE, BatchEncoder, Encoded};
pub use error::{BatchError, Field, Reason};
pub use line::{Line, LineError, LineFeeds, LineHeads, Lines, Tags, is_spelled, read_number};
pub use parser::{Parser, Scratch};
pub use sink::{DecodeError, Decoded, LineSink, Reject, Rejected, STALE_NAN_BITS, Series, SeriesMark, Skip, Value};
pub use text::{Text, spelled};
pub use timestamp::{
    SECONDS_END, SECONDS_MIN, TIMESTAMP_BYTES, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, format as format_timestamp,
    parse as parse_timestamp,
};

/// Bounds of a batch that the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Metrics in one batch, at most. At least 1.
    pub batch_metrics_limit: usize,
    /// Bytes of UTF-8 in a metric's name after unescaping, at most. At least 1.
    pub name_bytes_limit: usize,
    /// Tags on one metric, at most.
    pub tags_limit: usize,
    /// Bytes of UTF-8 in a tag's key, and in its value, after unescaping, at most. At least 1.
    pub tag_bytes_limit: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            batch_metrics_limit: limits::BATCH_METRICS_DEFAULT,
            name_bytes_limit: limits::NAME_BYTES_DEFAULT,
            tags_limit: limits::TAGS_DEFAULT,
            tag_bytes_limit: limits::TAG_BYTES_DEFAULT,
        }
    }
}

/// Type of the series that a metric belongs to: the field `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A value that goes up and down; also what a metric without `type` is.
    #[default]
    Gauge,
    /// A value that only grows.
    Counter,
    /// A part of a distribution in buckets.
    Histogram,
    /// A part of a distribution in quantiles.
    Summary,
    /// A series of a protocol that has types, whose sender stated none. JSON clients may not send it.
    Untyped,
}

impl Kind {
    /// Every kind of the log.
    pub const ALL: [Self; 5] = [Self::Gauge, Self::Counter, Self::Histogram, Self::Summary, Self::Untyped];
    /// The kinds that a JSON client may send.
    pub const OF_JSON: [Self; 4] = [Self::Gauge, Self::Counter, Self::Histogram, Self::Summary];
    /// Length of the longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = "histogram".len();

    /// The kind as it is written in `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// One metric of a batch, checked, borrowing from the body it came in.
#[derive(Debug, Default)]
pub struct Metric<'a> {
    /// 1 to `name_bytes_limit` bytes once decoded.
    pub name: Text<'a>,
    /// A JSON number that is finite as a 64-bit float, in the very digits it came with.
    pub value: &'a [u8],
    /// The field `type`, or its default.
    pub kind: Kind,
    /// Milliseconds since 1970-01-01T00:00:00Z, within [`TIMESTAMP_MS_MIN`]..=[`TIMESTAMP_MS_MAX`]; `None` if it was
    /// not sent.
    pub timestamp_ms: Option<i64>,
    /// In the order they were sent; no key comes twice.
    pub tags: Vec<Tag<'a>>,
    /// The object of tags as it was sent, if that is exactly what the log would say: no escapes and no whitespace.
    pub tags_verbatim: Option<&'a [u8]>,
}

/// One tag of a metric. Either side may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Tag<'a> {
    /// The key, unique within its metric.
    pub key: Text<'a>,
    /// The value.
    pub value: Text<'a>,
}

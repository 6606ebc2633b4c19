//! OTLP/HTTP metrics: an `ExportMetricsServiceRequest`, in protobuf or in JSON, and the bytes of the responses.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>, opentelemetry-proto 1.x (`metrics.proto`).
//!
//! | data | lines |
//! |---|---|
//! | Gauge | a gauge |
//! | Sum | a counter if it is monotonic and cumulative, else a gauge; a delta has the tag `__temporality__="delta"` |
//! | Histogram | `_bucket` with the tag `le`, cumulative and closed by `+Inf`; `_sum` if it was sent; `_count` |
//! | ExponentialHistogram | the same, `le` at both ends of each bucket that is not empty |
//! | Summary | the name itself with the tag `quantile` for each quantile; `_sum`; `_count` |
//!
//! Tags are the attributes of the resource and those of the point, which win over equal keys of the resource; of an
//! attribute that comes twice the last value counts. An attribute `le` of a histogram or `quantile` of a summary gives
//! way to ours. Arrays, maps and bytes are tags as JSON text, the bytes in base64. The scope, descriptions, start
//! times, and the minimum and maximum of a histogram are not stored; exemplars are counted as skipped. A point without
//! a time has the time of arrival.
//!
//! A data point is stored whole or rejected whole. A histogram is rejected if its bounds do not increase, if it does
//! not have one count more than bounds, or if its buckets hold more than its count. (They may hold less: `+Inf` and
//! `_count` are the count that was sent.) A point without a value is rejected, and one with more than
//! [`HISTOGRAM_BUCKETS_MAX`](crate::limits::HISTOGRAM_BUCKETS_MAX) buckets.
//!
//! A point flagged as without a recorded value is a stale marker for each of its series: those that can be derived from
//! the point, and always `_sum`, `_count` and the bucket `+Inf`.

mod cached;
mod histogram;
mod json;
mod names;
mod plain;
mod protobuf;
mod response;
mod value;
mod writer;

pub use response::{response_json, response_protobuf, status_json, status_protobuf};
pub use value::base64;

use crate::{Bounds, DecodeError, LineSink};
use writer::Writer;

/// Convention for stored names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// In the bytes that were sent, dots and all.
    #[default]
    AsSent,
    /// As a Prometheus server would name it: `process.cpu.time` in `s` is `process_cpu_time_seconds_total`, and tags
    /// have no characters but letters, digits and `_`.
    Prometheus,
}

/// Options of OTLP that the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The names of metrics and tags.
    pub names: Names,
    /// Stores `service.name`, with `service.namespace` and a slash before it if there is one, also as the tag `job`,
    /// and `service.instance.id` also as `instance`.
    pub job_instance: bool,
}

/// The decoder of one core. It keeps its scratch memory between bodies.
#[derive(Debug)]
pub struct Otlp {
    writer: Writer,
    json: json::Scratch,
}

impl Otlp {
    /// One whose metrics are held to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds, options: Options) -> Self {
        Self { writer: Writer::new(bounds, options), json: json::Scratch::default() }
    }

    /// The same decoder, every point read from its bytes: to compare with, as the series that came before must make no
    /// difference.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.writer.cached.disable();
        self
    }

    /// Writes the data points of a body in protobuf.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if the body is no such message: only of parts that are stored, what is skipped is not
    /// looked into. The other errors are those of [`LineSink`].
    pub fn decode_protobuf(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.writer.begin_body();
        protobuf::decode(body, &mut self.writer, sink)
    }

    /// Writes the data points of a body in JSON.
    ///
    /// # Errors
    /// As [`decode_protobuf`](Self::decode_protobuf). A known field of the wrong type is malformed, and so is one that
    /// comes twice.
    pub fn decode_json(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.writer.begin_body();
        json::decode(body, &mut self.writer, &mut self.json, sink)
    }

    /// Data points of the last body that were rejected, for `partial_success`: a histogram point is one.
    #[must_use]
    pub fn rejected_points(&self) -> u64 {
        self.writer.rejected_points()
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.writer.trim();
        self.json.trim();
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.writer.kept_bytes() + self.json.kept_bytes()
    }
}

#[cfg(test)]
mod tests;

//! The decoders of one core, and the one place that chooses between them.

use super::Payload;
use crate::config::Config;
use metric::{
    DecodeError, LineSink,
    protocol::{
        collectd::Collectd,
        datadog::Datadog,
        influx::{self, Influx},
        metric_family::MetricFamilies,
        otlp::Otlp,
        remote_write::{RemoteWrite, Written},
        text::{self, Text},
    },
};

/// The decoders of one core: each keeps its scratch memory between bodies.
pub struct Decoders {
    remote_write: RemoteWrite,
    influx: Influx,
    text: Text,
    metric_families: MetricFamilies,
    otlp: Otlp,
    collectd: Collectd,
    datadog: Datadog,
}

/// Counts that a protocol reports back beside the number of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    /// Nothing.
    Plain,
    /// The elements of a remote write request that are stored.
    Written(Written),
    /// Data points of an OTLP request that are rejected.
    RejectedPoints(u64),
}

impl Decoders {
    /// Decoders that hold metrics to the configured bounds.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let bounds = config.metric;
        Self {
            remote_write: RemoteWrite::new(bounds),
            influx: Influx::new(bounds),
            text: Text::new(bounds),
            metric_families: MetricFamilies::new(bounds),
            otlp: Otlp::new(bounds, config.protocols.otlp),
            collectd: Collectd::new(bounds),
            datadog: Datadog::new(bounds),
        }
    }

    /// Decodes a body into `sink`.
    ///
    /// # Errors
    /// Nothing of the body may be stored.
    pub fn decode(&mut self, payload: &Payload, body: &[u8], sink: &mut LineSink<'_>) -> Result<Yield, DecodeError> {
        let plain = |()| Yield::Plain;
        match payload {
            // A batch is all or nothing, and has its own encoder.
            Payload::Json => Err(DecodeError::Malformed { byte: 0, text: "a JSON batch has an encoder of its own" }),
            Payload::RemoteWrite1 => self.remote_write.decode_v1(body, sink).map(Yield::Written),
            Payload::RemoteWrite2 => self.remote_write.decode_v2(body, sink).map(Yield::Written),
            Payload::Influx { precision, tag, .. } => {
                let tag = tag.as_deref().map(|tag| (&*tag.key, &*tag.value));
                self.influx.decode(body, &influx::Options { precision: *precision, tag }, sink).map(plain)
            }
            Payload::Text { format, labels, .. } => {
                self.text.decode(body, &text::Options { format: *format, labels }, sink).map(plain)
            }
            Payload::MetricFamilies { labels, .. } => self.metric_families.decode(body, labels, sink).map(plain),
            Payload::OtlpProtobuf => {
                self.otlp.decode_protobuf(body, sink)?;
                Ok(Yield::RejectedPoints(self.otlp.rejected_points()))
            }
            Payload::OtlpJson => {
                self.otlp.decode_json(body, sink)?;
                Ok(Yield::RejectedPoints(self.otlp.rejected_points()))
            }
            Payload::Collectd => self.collectd.decode(body, sink).map(plain),
            Payload::Datadog1 => self.datadog.decode_v1(body, sink).map(plain),
            Payload::Datadog2 => self.datadog.decode_v2(body, sink).map(plain),
            Payload::Datadog2Protobuf => self.datadog.decode_v2_protobuf(body, sink).map(plain),
        }
    }

    /// Frees scratch memory that a large body made grow.
    pub fn trim(&mut self, payload: &Payload) {
        match payload {
            Payload::Json => {}
            Payload::RemoteWrite1 | Payload::RemoteWrite2 => self.remote_write.trim(),
            Payload::Influx { .. } => self.influx.trim(),
            Payload::Text { .. } => self.text.trim(),
            Payload::MetricFamilies { .. } => self.metric_families.trim(),
            Payload::OtlpProtobuf | Payload::OtlpJson => self.otlp.trim(),
            Payload::Collectd => self.collectd.trim(),
            Payload::Datadog1 | Payload::Datadog2 | Payload::Datadog2Protobuf => self.datadog.trim(),
        }
    }

    /// Bytes of scratch memory kept between bodies.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.remote_write.kept_bytes()
            + self.influx.kept_bytes()
            + self.text.kept_bytes()
            + self.metric_families.kept_bytes()
            + self.otlp.kept_bytes()
            + self.collectd.kept_bytes()
            + self.datadog.kept_bytes()
    }
}

//! The protocols that agents speak, as load: the scrapes of a fleet of hosts, in the bodies and heads of each.

mod exporter;
mod lines;
mod otlp;
mod remote_write;
mod scrape;
pub(crate) mod wire;

use super::payload::Compression;
use clap::ValueEnum;
use scrape::Scrapes;

/// Metrics of one made-up batch: a hundred times what the service takes by default.
pub(super) const BATCH_METRICS_MAX: i64 = 100_000;

/// Protocol of a load's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The batches of POST /metrics.
    Json,
    /// Prometheus remote write 1.0.
    RemoteWrite,
    /// Prometheus remote write 2.0.
    #[value(name = "remote-write-2")]
    RemoteWrite2,
    /// InfluxDB line protocol, where version 1 takes it.
    Influx,
    /// InfluxDB line protocol, where version 2 takes it.
    #[value(name = "influx-2")]
    Influx2,
    /// OTLP metrics, protobuf over HTTP.
    Otlp,
    /// Prometheus text format, as it is pushed to a gateway.
    Text,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Json, Self::RemoteWrite, Self::RemoteWrite2, Self::Influx, Self::Influx2, Self::Otlp, Self::Text];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::RemoteWrite => "remote-write",
            Self::RemoteWrite2 => "remote-write-2",
            Self::Influx => "influx",
            Self::Influx2 => "influx-2",
            Self::Otlp => "otlp",
            Self::Text => "text",
        }
    }

    /// Returns the path at which its servers take it. Line protocol names a database or a bucket, which InfluxDB
    /// requires.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Json => "/metrics",
            Self::RemoteWrite | Self::RemoteWrite2 => "/api/v1/write",
            Self::Influx => "/write?db=load_test",
            Self::Influx2 => "/api/v2/write?org=load_test&bucket=load_test",
            Self::Otlp => "/v1/metrics",
            Self::Text => "/metrics/job/load_test",
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::RemoteWrite | Self::Otlp => "application/x-protobuf",
            Self::RemoteWrite2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            Self::Influx | Self::Influx2 => "text/plain; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Header lines that its specification demands of a sender.
    #[must_use]
    pub fn headers(self) -> &'static [&'static str] {
        const USER_AGENT: &str = concat!("User-Agent: load_test/", env!("CARGO_PKG_VERSION"));
        match self {
            Self::RemoteWrite => &[USER_AGENT, "X-Prometheus-Remote-Write-Version: 0.1.0"],
            Self::RemoteWrite2 => &[USER_AGENT, "X-Prometheus-Remote-Write-Version: 2.0.0"],
            Self::Json | Self::Influx | Self::Influx2 | Self::Otlp | Self::Text => &[],
        }
    }

    /// Returns the compression of its bodies unless a flag says another.
    #[must_use]
    pub fn compression(self) -> Option<Compression> {
        matches!(self, Self::RemoteWrite | Self::RemoteWrite2).then_some(Compression::Snappy)
    }

    /// `count` bodies of `metrics` metrics each, not compressed. The same arguments give the same bytes, and the same
    /// arguments but for the protocol the same samples; the last of them was scraped at `end_ms`. Text for a gateway
    /// has no timestamps.
    #[must_use]
    pub fn generate(self, seed: u64, count: usize, metrics: u32, end_ms: i64) -> Vec<Vec<u8>> {
        let scrapes = Scrapes::new(seed, count, metrics, end_ms);
        (0..count).map(|batch| self.body(&scrapes, batch)).collect()
    }

    fn body(self, scrapes: &Scrapes, batch: usize) -> Vec<u8> {
        let samples: Vec<_> = scrapes.batch(batch).collect();
        match self {
            Self::Json => lines::json(&samples).into_bytes(),
            Self::RemoteWrite => remote_write::version_1(samples.into_iter()),
            Self::RemoteWrite2 => remote_write::version_2(samples.into_iter()),
            Self::Influx | Self::Influx2 => lines::influx(&samples).into_bytes(),
            Self::Otlp => otlp::request(&samples),
            Self::Text => lines::text(&samples).into_bytes(),
        }
    }
}

/// A protocol's bodies as a report describes them: what does not depend on the moment they were made at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spoken {
    /// The protocol.
    pub protocol: Protocol,
    /// Checksum of all bodies, as they would be at a fixed moment.
    pub checksum: u32,
    /// Bytes of a body in the mean, before it is compressed.
    pub bytes_mean: f64,
}

/// The moment of the checksum; a number of as many digits as the present.
const FIXED_MS: i64 = 1_800_000_000_000;

impl Spoken {
    /// The bodies that `protocol` makes of the arguments.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "lengths far below 2^53")]
    pub fn new(protocol: Protocol, seed: u64, count: usize, metrics: u32) -> Self {
        let scrapes = Scrapes::new(seed, count, metrics, FIXED_MS);
        let (mut sum, mut bytes) = (crc32fast::Hasher::new(), 0);
        // A body at a time: all of them may take gigabytes.
        for batch in 0..count {
            let body = protocol.body(&scrapes, batch);
            sum.update(&body);
            bytes += body.len();
        }
        Self { protocol, checksum: sum.finalize(), bytes_mean: bytes as f64 / count.max(1) as f64 }
    }
}

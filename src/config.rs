//! The one configuration, and the sole reader of flags, environment and file. What was typed ([`arguments`], every field
//! optional) is kept apart from what was resolved ([`Config`], every field decided). Flags win over `METRICSTREAM_*`
//! variables, those over the file, the file over the defaults.

mod arguments;
mod choices;
pub mod environment;
mod file;
mod keys;
mod listen;
mod parse;
mod placement;
mod query;
mod resolve;
mod telemetry;
#[cfg(test)]
mod tests;

use crate::{
    http::Cors,
    log::AckLevel,
    metric,
    proxy::{ForwardedHeader, TrustedProxies},
};
use std::{collections::HashSet, fmt, path::PathBuf, time::Duration};

pub use arguments::{Arguments, read_file};
pub use choices::{Compression, DriverChoice, LogFormat, StatsAuth, WriterCore};
pub use listen::ListenAddress;
pub use placement::{CoreList, Placement, allowed_cores};
pub use query::Query;
pub use telemetry::{FigureExport, Telemetry, TraceExport};

/// Everything decided. Times and sizes are in the units their names end in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; at least one place.
    pub listen: Vec<ListenAddress>,
    /// Where to listen for connections that begin with a PROXY protocol header when they come from a trusted proxy.
    pub proxy_listen: Vec<ListenAddress>,
    /// Where to serve statistics, and nowhere else; none: everywhere.
    pub admin_listen: Vec<ListenAddress>,
    /// The peers that are believed when they name a client.
    pub trusted_proxies: TrustedProxies,
    /// The field by which they do.
    pub forwarded_header: ForwardedHeader,
    /// Permissions of a unix socket's file.
    pub unix_mode: u32,
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// Which thread runs where.
    pub placement: Placement,
    /// Which network driver was asked for.
    pub driver: DriverChoice,
    /// Acknowledgement level of a request that names none.
    pub ack: AckLevel,
    /// Requests a client may make in one second; `None` is without limit.
    pub rate_limit: Option<u32>,
    /// Decoded bytes a client may send in one second; `None` is without limit.
    pub rate_limit_bytes: Option<u64>,
    /// Clients the limiter remembers.
    pub clients_limit: usize,
    /// Clients of one address that no key proves.
    pub names_limit: u32,
    /// Bits of an IPv6 address that are one client.
    pub ipv6_prefix: u8,
    /// The keys that may post; `None` lets everybody.
    pub api_keys: Option<HashSet<Vec<u8>>>,
    /// The web pages that may read responses.
    pub cors: Cors,
    /// Who may read statistics.
    pub stats_auth: StatsAuth,
    /// Connections served at one time, over all reactors; `None` takes what the descriptor limit allows.
    pub connections_limit: Option<u32>,
    /// Bytes of a body, before and after decompression.
    pub body_bytes_limit: usize,
    /// Bounds of a batch.
    pub metric: metric::Bounds,
    /// Bytes of each reactor's ring; a power of two.
    pub ring_bytes: usize,
    /// How long the writer looks for lines before it sleeps.
    pub writer_poll: Duration,
    /// Deadlines of a connection.
    pub timeouts: Timeouts,
    /// How long a stop may take.
    pub drain_timeout: Duration,
    /// When a segment of the log is sealed, and how long it is kept.
    pub rotation: Rotation,
    /// What queries may use.
    pub query: Query,
    /// How often statistics are logged; `None` is never.
    pub stats_interval: Option<Duration>,
    /// Form of the lines on standard error.
    pub log_format: LogFormat,
    /// What is exported by OTLP.
    pub telemetry: Telemetry,
}

impl Config {
    /// Bytes of a body, before and after decompression. One over a second's budget of its client could never be
    /// admitted, so that bounds a body too.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        let budget = self.rate_limit_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        self.body_bytes_limit.min(budget.unwrap_or(usize::MAX))
    }
}

/// When a segment of the log is sealed, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Length at which the active segment is sealed; `None` is never.
    pub rotate_bytes: Option<u64>,
    /// Age at which it is sealed; `None` is never.
    pub rotate_age: Option<Duration>,
    /// Whether sealed segments are compressed, and how.
    pub compress: Compression,
    /// Bytes of all segments, above which the oldest sealed ones are deleted; `None` keeps them.
    pub retain_bytes: Option<u64>,
    /// Age since its sealing above which a segment is deleted; `None` keeps it.
    pub retain_age: Option<Duration>,
}

/// Deadlines of a connection, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end.
    pub head_ms: u64,
    /// From the end of the head to the end of the body.
    pub body_ms: u64,
    /// From an answer, or from the accept, to the first byte of the next head.
    pub idle_ms: u64,
    /// From the hand-over of answers to the kernel until it has taken them all.
    pub write_ms: u64,
}

/// Why there is no configuration: one line, for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// An error that is this line.
    #[must_use]
    pub fn new(line: String) -> Self {
        Self(line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

//! The server's configuration, and the only module that reads flags, environment and configuration file. The options as
//! given (`arguments`, every field optional) are kept apart from the resolved configuration ([`Config`], every field
//! set). Flags override `METRICSTREAM_*` variables, those override the file, and the file overrides the defaults.

mod arguments;
mod choices;
pub mod environment;
mod file;
mod keys;
mod listen;
mod parse;
mod placement;
mod protocols;
mod query;
mod resolve;
mod telemetry;
#[cfg(test)]
mod tests;

use crate::forward::ForwardConfig;
use crate::proxy::{ForwardedHeader, TrustedProxies};
use http1::Cors;
use log::AckLevel;
use std::{collections::HashSet, fmt, path::PathBuf, time::Duration};

pub use self::query::Query;
pub use arguments::{Arguments, read_file};
pub use choices::{Compression, DriverChoice, LogFormat, PositionHeader, StatsAuth, Ui, WriterCore};
pub use listen::ListenAddress;
pub use placement::{CoreList, Placement, allowed_cores};
pub use protocols::{OtlpNames, OverRate, OverRateStatus, Protocols};
pub use telemetry::{FigureExport, Telemetry, TraceExport};

/// The resolved configuration. Times and sizes are in the units their names end in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; at least one, here or in `proxy_listen`.
    pub listen: Vec<ListenAddress>,
    /// Addresses on which connections from a trusted proxy begin with a PROXY protocol header.
    pub proxy_listen: Vec<ListenAddress>,
    /// Addresses that alone serve statistics; if empty, all addresses do.
    pub admin_listen: Vec<ListenAddress>,
    /// Peers that are trusted to name the client.
    pub trusted_proxies: TrustedProxies,
    /// Header field in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Permissions of a unix socket's file.
    pub unix_mode: u32,
    /// Directory of the log.
    pub data_dir: PathBuf,
    /// Cores of the threads.
    pub placement: Placement,
    /// The configured network driver.
    pub driver: DriverChoice,
    /// Acknowledgement level of a request that names none.
    pub ack: AckLevel,
    /// Requests a client may make in one second; `None` means no limit.
    pub rate_limit: Option<u32>,
    /// Decoded bytes a client may send in one second; `None` means no limit.
    pub rate_limit_bytes: Option<u64>,
    /// Clients that the rate limiter tracks.
    pub clients_limit: usize,
    /// Unverified Authorization values per address that count as separate clients.
    pub names_limit: u32,
    /// Leading bits of an IPv6 address that identify one client.
    pub ipv6_prefix: u8,
    /// Valid API keys; `None` when no key is needed.
    pub api_keys: Option<HashSet<Vec<u8>>>,
    /// Origins whose web pages may read responses.
    pub cors: Cors,
    /// Access to statistics.
    pub stats_auth: StatsAuth,
    /// Maximum number of open connections, over all reactors; `None` takes what the descriptor limit allows.
    pub connections_limit: Option<u32>,
    /// Maximum bytes of a body, before and after decompression.
    pub body_bytes_limit: usize,
    /// Limits on the contents of a batch.
    pub metric: metric::Bounds,
    /// Bytes of each reactor's ring; a power of two.
    pub ring_bytes: usize,
    /// Time that the writer polls for data before it sleeps.
    pub writer_poll: Duration,
    /// Timeouts of a connection.
    pub timeouts: Timeouts,
    /// Timeout for open requests at shutdown.
    pub drain_timeout: Duration,
    /// Rotation, compression and retention of the log's segments.
    pub rotation: Rotation,
    /// Options of the protocols that agents speak.
    pub protocols: Protocols,
    /// Threads, cores and limits of queries.
    pub query: Query,
    /// The log position in responses to batches.
    pub position_header: PositionHeader,
    /// Interval at which statistics are logged; `None` means never.
    pub stats_interval: Option<Duration>,
    /// Format of the log lines on standard error.
    pub log_format: LogFormat,
    /// The live page.
    pub ui: Ui,
    /// Export by OTLP.
    pub telemetry: Telemetry,
    /// The receivers that the log is forwarded to.
    pub forwards: Vec<ForwardConfig>,
}

impl Config {
    /// Maximum bytes of a body, before and after decompression. A body that exceeds one second of its client's byte
    /// budget could never be admitted, so the budget bounds a body too.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max_of(None)
    }

    /// As [`body_bytes_max`](Self::body_bytes_max), for a route whose own bound is this one, unless the configured one
    /// is greater.
    #[must_use]
    pub fn body_bytes_max_of(&self, own: Option<usize>) -> usize {
        let budget = self.rate_limit_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        self.body_bytes_limit.max(own.unwrap_or(0)).min(budget.unwrap_or(usize::MAX))
    }

    /// Maximum bytes of the lines of one body of any protocol but JSON: two of them fit into a ring, and one into the
    /// byte budget of a second.
    #[must_use]
    pub fn line_bytes_max(&self) -> usize {
        let budget = self.rate_limit_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let budget =
            budget.map_or(usize::MAX, |bytes| bytes.saturating_mul(crate::limits::LINE_BYTES_PER_CHARGED_BYTE));
        (self.ring_bytes / 2).min(budget)
    }
}

/// Rotation, compression and retention of the log's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Length at which the active segment is sealed; `None` means never.
    pub rotate_bytes: Option<u64>,
    /// Age at which the active segment is sealed; `None` means never.
    pub rotate_age: Option<Duration>,
    /// Compression of sealed segments.
    pub compress: Compression,
    /// Size of all segments above which the oldest sealed ones are deleted; `None` keeps all.
    pub retain_bytes: Option<u64>,
    /// Age, since it was sealed, above which a segment is deleted; `None` keeps all.
    pub retain_age: Option<Duration>,
    /// Bytes of segments, at most, that are kept beyond these limits for forwards that have not delivered them.
    pub forward_hold_bytes: u64,
}

/// Timeouts of a connection, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end.
    pub head_ms: u64,
    /// From the end of the head to the end of the body.
    pub body_ms: u64,
    /// From a response, or from the accept, to the first byte of the next head.
    pub idle_ms: u64,
    /// From the hand-over of responses to the kernel until it has taken them all.
    pub write_ms: u64,
}

/// A configuration error: one line, for a person.
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

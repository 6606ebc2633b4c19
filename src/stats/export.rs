//! Data shared by the OTLP exporter and the observer: the server's own metrics, and the counters of their export.

use super::{Family, Untraced};
use std::sync::atomic::AtomicU64;

/// Counters of the exporter, and of the deliveries that are handed to it, for statistics.
#[derive(Debug, Default)]
pub struct ExportStatus {
    /// Size of the queue of records, in bytes; 0 if tracing is off.
    pub queue_bytes: u64,
    /// Deliveries of forwards that were handed to the exporter. Counted by the forwards, as what follows.
    pub deliveries: AtomicU64,
    /// Deliveries that were selected and not handed over, by reason.
    pub deliveries_dropped: [AtomicU64; Untraced::ALL.len()],
    /// Records whose spans were exported, of requests and of deliveries.
    pub traces: AtomicU64,
    /// Records whose spans could not be exported.
    pub traces_failed: AtomicU64,
    /// Spans exported.
    pub spans: AtomicU64,
    /// Successful exports of the server's own metrics.
    pub figures: AtomicU64,
    /// Failed exports of the server's own metrics.
    pub figures_failed: AtomicU64,
}

/// The server's own metrics at one moment.
#[derive(Debug)]
pub struct Figures {
    /// The families, as in `GET /metrics`.
    pub families: Vec<Family>,
    /// Start of the server, in nanoseconds since the epoch: the start of all counters.
    pub started_unix_ns: u64,
    /// The moment, in nanoseconds since the epoch.
    pub now_unix_ns: u64,
}

//! What the exporter of OTLP and the observer tell each other: the server's figures, and what became of them.

use super::Family;
use std::sync::atomic::AtomicU64;

/// What the exporter has done so far, for statistics. It alone writes it.
#[derive(Debug, Default)]
pub struct ExportStatus {
    /// Bytes of the queue of records; 0 when nothing is traced.
    pub queue_bytes: u64,
    /// Records whose spans were taken.
    pub traces: AtomicU64,
    /// Records whose spans were not.
    pub traces_failed: AtomicU64,
    /// Spans taken.
    pub spans: AtomicU64,
    /// Times the server's figures were taken.
    pub figures: AtomicU64,
    /// Times they were not, or could not be sent in time.
    pub figures_failed: AtomicU64,
}

/// The server's figures at one moment.
#[derive(Debug)]
pub struct Figures {
    /// As they are shown.
    pub families: Vec<Family>,
    /// When the server started, in nanoseconds since 1970: what has been counted was counted since.
    pub started_unix_ns: u64,
    /// The moment.
    pub now_unix_ns: u64,
}

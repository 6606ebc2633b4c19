//! What maintenance has done so far, for statistics.

use std::sync::atomic::AtomicU64;

/// Counts since the start, and what is there. Maintenance alone writes them; they need not agree with each other while it works.
#[derive(Debug, Default)]
pub struct MaintenanceStatus {
    /// Sidecars made.
    pub indexed: AtomicU64,
    /// Lines that were none of the server's in the segments whose sidecars were made.
    pub foreign_lines: AtomicU64,
    /// Segments compressed.
    pub compressed: AtomicU64,
    /// Bytes of those before.
    pub compressed_from_bytes: AtomicU64,
    /// Bytes of those after.
    pub compressed_to_bytes: AtomicU64,
    /// Segments deleted by retention.
    pub retired: AtomicU64,
    /// Bytes of those, sidecars included.
    pub retired_bytes: AtomicU64,
    /// Attempts that failed, and are made again.
    pub failures: AtomicU64,
    /// Segments found damaged, and left as they are.
    pub damaged: AtomicU64,
    /// Times the wall clock was found set by more than a minute.
    pub clock_steps: AtomicU64,
    /// 1 while retention by age deletes nothing that was sealed before this run, as the clock cannot be compared with
    /// that.
    pub age_held_back: AtomicU64,
    /// Rounds through the directory, finished.
    pub rounds: AtomicU64,
    /// Sealed segments, at the end of the last round.
    pub segments: AtomicU64,
    /// Bytes of those, sidecars included.
    pub segment_bytes: AtomicU64,
    /// Bytes of the file system that holds the log, at the beginning of the last round.
    pub disk_bytes: AtomicU64,
    /// Bytes of it that this user may still fill.
    pub disk_free_bytes: AtomicU64,
}

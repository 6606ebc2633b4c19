//! Counts and gauges of maintenance, for statistics.

use std::sync::atomic::AtomicU64;

/// Counts since the start, and current sizes. Maintenance alone writes them; they need not agree with each other while
/// it works.
#[derive(Debug, Default)]
pub struct MaintenanceStatus {
    /// Sidecars made.
    pub indexed: AtomicU64,
    /// Foreign lines in the segments whose sidecars were made.
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
    /// Segments deleted by retention before a reader that they were held for had read them.
    pub forfeited: AtomicU64,
    /// Bytes of the segments that retention would have deleted, and that are held for a reader.
    pub held_bytes: AtomicU64,
    /// Attempts that failed, and are retried.
    pub failures: AtomicU64,
    /// Segments found damaged, and left as they are.
    pub damaged: AtomicU64,
    /// Times the wall clock was found set by more than a minute.
    pub clock_steps: AtomicU64,
    /// 1 while retention by age deletes nothing that was sealed before this run, as the clock cannot be compared with
    /// those times.
    pub age_held_back: AtomicU64,
    /// Completed rounds through the directory.
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

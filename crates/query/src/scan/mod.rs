//! The one reader of the log for all queries: where lines are, and what can be skipped.
//!
//! ```text
//! Source ── snapshot() ──> Snapshot ── scan() ──> plan: segment, block, segment, block …  (pruned by time and name)
//!                                                   │ one queue, in order
//!                                          worker ──┼── worker     each: read, unpack, compare, parse what matches
//!                                             │     └──── Visitor
//!                                             └──── Visitor
//! ```
//!
//! Promises: a snapshot is the log at one position, and each line before it is shown exactly once, whatever is rotated
//! or compressed meanwhile; a segment that retention deletes meanwhile is read on if it was open, else left out and
//! counted. What is damaged is an error that names the segment, and never a wrong result in silence, as far as
//! checksums show; a foreign line is skipped and counted. No bytes in the directory end the process, and nothing that
//! lies there is waited for. Memory is bounded by a few blocks for each worker, or by the longest line there is. The
//! deadline and the cancellation are looked at for each block.
//!
//! Knows the log's lines and segments; knows no aggregation and no HTTP, and changes nothing on the disk.

mod error;
mod filter;
mod open;
mod plan;
mod sidecar_cache;
mod source;
mod worker;
mod zone_map;

pub use error::{ScanError, Stop};
pub use source::{Snapshot, Source};

use crate::limits::SCAN_THREADS_CAP;
use metric::{Line, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use std::{
    fmt,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicU64},
    thread,
    time::Instant,
};
use worker::Worker;

/// Which names are wanted. Names are as they stand in the log: UTF-8, escaped.
pub enum Names<'p> {
    /// Every name.
    All,
    /// This one.
    Exact(Vec<u8>),
    /// Those for which it holds. It is called once for each name of a segment's list, or once in a while for a name
    /// that comes again and again, so it may be slow; its result for a name must not change. One that takes long looks
    /// at the deadline by itself, and says no once that has passed: the next look of the scan ends it then.
    Matching(NamePredicate<'p>),
}

/// Predicate on a name: returns true if its series are scanned.
pub type NamePredicate<'p> = Box<dyn Fn(&[u8]) -> bool + Send + Sync + 'p>;

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Exact(name) => write!(f, "Exact({:?})", name.escape_ascii().to_string()),
            Self::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}

/// Which lines are wanted.
#[derive(Debug)]
pub struct ScanFilter<'p> {
    /// From this moment on, in epoch milliseconds.
    pub from_ms: i64,
    /// Up to this moment and without it.
    pub to_ms: i64,
    /// With these names.
    pub names: Names<'p>,
}

impl ScanFilter<'_> {
    /// Returns whether no line can have such a time.
    fn is_nothing(&self) -> bool {
        self.from_ms >= self.to_ms || self.from_ms > TIMESTAMP_MS_MAX || self.to_ms <= TIMESTAMP_MS_MIN
    }
}

/// Position of a line in a snapshot. The order of positions is the order in which lines were appended to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinePosition {
    /// Which of the snapshot's segments: see [`Snapshot::segment_name`].
    pub segment: u32,
    /// Bytes of the segment's lines before it, not compressed.
    pub offset: u64,
}

/// Is shown the lines that are wanted. Each worker has one of its own.
pub trait Visitor: Send {
    /// Is shown a line. A block's lines are shown in their order, to one visitor; which visitor gets which block is
    /// open.
    ///
    /// # Errors
    /// The scan is to end here, with [`ScanError::Stopped`].
    fn line(&mut self, place: LinePosition, line: &Line<'_>) -> Result<(), Stop>;
}

/// Limits of one scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits<'a> {
    /// Workers; the calling thread is one of them. At least 1, at most [`SCAN_THREADS_CAP`].
    pub threads: usize,
    /// Time at which it is aborted.
    pub deadline: Instant,
    /// Set to cancel the scan.
    pub cancel: &'a AtomicBool,
    /// Bytes of lines that may be looked at, not compressed.
    pub scanned_bytes_max: u64,
    /// Grows by the bytes that are looked at, for whoever shows how far it is.
    pub scanned_bytes: &'a AtomicU64,
}

/// Counts of one scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes of lines that were looked at, not compressed.
    pub bytes: u64,
    /// Bytes that were read from files to this end: lines, frames and sidecars that were not in memory.
    pub read_bytes: u64,
    /// Bytes of lines, not compressed, that were known to hold nothing wanted, and not read.
    pub skipped_bytes: u64,
    /// Blocks that were looked at.
    pub blocks: u64,
    /// Blocks that were not, those of segments that were skipped as a whole not counted.
    pub skipped_blocks: u64,
    /// Segments of which at least one block was looked at.
    pub segments: u64,
    /// Segments that were known to hold nothing wanted.
    pub skipped_segments: u64,
    /// Segments that retention, or somebody else, deleted after the snapshot was taken and before they were opened.
    pub gone_segments: u64,
    /// Lines of ours that were looked at, as far as that takes: of one that is not wanted, only its beginning.
    pub lines: u64,
    /// Lines that were shown to a visitor.
    pub matched: u64,
    /// Foreign lines in the blocks that were looked at: damaged, or of another program. Each is skipped. In a plain
    /// file that nothing is known of (no sidecar, and no server that learns), only those that were noticed.
    pub foreign_lines: u64,
}

impl Scanned {
    fn add(&mut self, other: &Self) {
        // All fields by name, so that none is forgotten.
        let Self {
            bytes,
            read_bytes,
            skipped_bytes,
            blocks,
            skipped_blocks,
            segments,
            skipped_segments,
            gone_segments,
            lines,
            matched,
            foreign_lines,
        } = other;
        self.bytes += bytes;
        self.read_bytes += read_bytes;
        self.skipped_bytes += skipped_bytes;
        self.blocks += blocks;
        self.skipped_blocks += skipped_blocks;
        self.segments += segments;
        self.skipped_segments += skipped_segments;
        self.gone_segments += gone_segments;
        self.lines += lines;
        self.matched += matched;
        self.foreign_lines += foreign_lines;
    }
}

/// Shows each line of `snapshot` that is wanted to one of the visitors, which `visitors` makes, one for each worker by
/// its number. Returns them in that order.
///
/// # Errors
/// The first thing that went wrong; see [`ScanError`]. What was shown by then means nothing.
pub fn scan<V: Visitor>(
    snapshot: &Snapshot,
    wanted: &ScanFilter<'_>,
    limits: &ScanLimits<'_>,
    visitors: impl FnMut(usize) -> V,
) -> Result<(Vec<V>, Scanned), ScanError> {
    snapshot.shared.memory.tick();
    let run = worker::Run::new(snapshot, wanted, *limits);
    let threads = limits.threads.clamp(1, SCAN_THREADS_CAP);
    let mut workers: Vec<_> = (0..threads).map(visitors).map(|visitor| Worker::new(&run, visitor)).collect();
    thread::scope(|scope| {
        let (first, others) = workers.split_at_mut(1);
        // One that cannot be started has nothing to do: the others do it all.
        let start =
            |worker| thread::Builder::new().name("scan".into()).spawn_scoped(scope, || Worker::work(worker)).ok();
        let running: Vec<_> = others.iter_mut().filter_map(start).collect();
        first.iter_mut().for_each(Worker::work);
        // One by one: the end of a thread is seen by a sanitizer, that of a scope is not.
        running.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
    });
    let (visitors, counts): (Vec<_>, Vec<_>) = workers.into_iter().map(Worker::finish).unzip();
    let mut scanned = run.finish()?;
    counts.iter().for_each(|count| scanned.add(count));
    Ok((visitors, scanned))
}

#[cfg(test)]
mod tests;

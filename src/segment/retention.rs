//! Which segments have to go, and how one goes.
//!
//! Age is told by names, which never go back when the clock does: one that was once far ahead delays retention by age until it
//! has been caught up with, and one that jumps ahead makes segments old. Retention by bytes asks no clock.

use super::draft::sync_directory;
use super::{Catalog, Segment, SegmentFile, SegmentName};
use std::{fs, io, path::Path, time::Duration};

/// How much is kept. Without a limit everything is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of the active segment and the sealed ones with their sidecars. What recovery has set aside does not count.
    pub bytes_limit: Option<u64>,
    /// Time since a segment was sealed, by the wall clock.
    pub age_limit: Option<Duration>,
}

impl Retention {
    /// The segments of `catalog` that have to go, at `now_ms` in epoch milliseconds: always the oldest ones, however many it
    /// takes; never the active one, even where that alone is over the limit.
    #[must_use]
    pub fn overdue<'a>(&self, catalog: &'a Catalog, now_ms: i64) -> &'a [Segment] {
        let segments = &catalog.segments;
        let aged = segments.partition_point(|segment| self.is_aged(segment.name, now_ms));
        let mut bytes = catalog.active_bytes.unwrap_or(0) + catalog.sealed_bytes();
        let mut over = 0;
        while over < segments.len() && self.bytes_limit.is_some_and(|limit| bytes > limit) {
            bytes -= segments[over].bytes();
            over += 1;
        }
        &segments[..aged.max(over)]
    }

    fn is_aged(&self, name: SegmentName, now_ms: i64) -> bool {
        let age_ms = u128::try_from(now_ms.saturating_sub(name.sealed_ms())).unwrap_or(0);
        self.age_limit.is_some_and(|limit| age_ms > limit.as_millis())
    }
}

/// Deletes a segment: its lines first, so that no sidecar is missing that could be needed, then the sidecar. Whoever has its file
/// open can read on. A file that is gone already is no error.
///
/// # Errors
/// If a file cannot be deleted. Those before it are gone.
pub fn retire(directory: &Path, name: SegmentName) -> io::Result<()> {
    for file in [SegmentFile::Compressed, SegmentFile::Plain, SegmentFile::Sidecar] {
        match fs::remove_file(directory.join(name.file(file))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(directory)
}

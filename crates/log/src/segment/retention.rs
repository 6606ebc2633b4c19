//! Retention: selecting the segments to delete, and deleting one. Their age comes from `age`. Retention by bytes uses
//! no clock.

use super::retired::record_retired;
use super::{Catalog, Segment, SegmentFile, SegmentName};
use crate::os::dirent::sync_directory;
use host::fs;
use std::{io, path::Path, time::Duration};

/// Limits of what is kept. Without a limit everything is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of the active segment and the sealed ones with their sidecars. Files that recovery has set aside do not
    /// count.
    pub bytes_limit: Option<u64>,
    /// Time since a segment was sealed.
    pub age_limit: Option<Duration>,
}

impl Retention {
    /// The segments of `catalog` to delete: the oldest ones by name, as many as necessary to meet the limit of bytes,
    /// and all that are over the limit of age by `age_ms`, wherever they are in the order. Never the active one, even
    /// where it alone is over the limit.
    #[must_use]
    pub fn overdue(&self, catalog: &Catalog, mut age_ms: impl FnMut(&Segment) -> i64) -> Vec<Segment> {
        let limit_ms = self.age_limit.map(|limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        let mut bytes = catalog.active_bytes.unwrap_or(0).saturating_add(catalog.sealed_bytes());
        let is_overdue = |segment: &&Segment| {
            let is_overdue = self.bytes_limit.is_some_and(|limit| bytes > limit)
                || limit_ms.is_some_and(|limit_ms| age_ms(segment) > limit_ms);
            if is_overdue {
                bytes = bytes.saturating_sub(segment.bytes());
            }
            is_overdue
        };
        catalog.segments.iter().filter(is_overdue).copied().collect()
    }
}

/// Deletes a segment: its lines first, so that no sidecar is missing that could be needed, then the sidecar. A reader
/// that has its file open can read on. A file that does not exist is not an error.
///
/// # Errors
/// A file cannot be deleted. Those before it are deleted.
pub fn retire(directory: &Path, name: SegmentName) -> io::Result<()> {
    // A full disk must not keep a segment from being deleted, nor must any other failure: without the record a position
    // behind the segment is not found, and no other place is taken for it.
    let _ = record_retired(directory, name);
    for file in [SegmentFile::Compressed, SegmentFile::Plain, SegmentFile::Sidecar] {
        match fs::remove_file(directory.join(name.file(file))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(directory)
}

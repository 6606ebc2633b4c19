//! The operations of the writer and of the group commit on the disk; after the start they perform no others. A trait,
//! so that a test can make each of them fail.

use super::{
    rotation::{Segments, deleted},
    state::StateFile,
    troubles::Troubles,
};
use crate::segment::{MaintenanceBell, SegmentName};
use host::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
};
use std::{
    io::{self, IoSlice, Write},
    ops::Range,
    sync::Arc,
    time::Duration,
};

/// The log on the disk. One thread appends and rotates, and one syncs, at the same time.
pub trait LogFile: Send + Sync {
    /// Appends the pieces in order to the active segment. Returns the number of bytes written, which may be fewer than
    /// given.
    ///
    /// # Errors
    /// Nothing was written.
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Returns when everything appended before the call is on stable storage, in whichever segment it is.
    ///
    /// # Errors
    /// The bytes may not be on stable storage, and never will be.
    fn sync_data(&self) -> io::Result<()>;

    /// Length of the active segment in bytes.
    ///
    /// # Errors
    /// The file was deleted, so that bytes appended to it would be lost; otherwise the error of the system call.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Inode of the active segment, which distinguishes it from every other file that exists.
    ///
    /// # Errors
    /// The error of the system call.
    fn inode(&self) -> io::Result<u64>;

    /// Truncates the active segment to `size_bytes`.
    ///
    /// # Errors
    /// The error of the system call.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Allocates blocks for the bytes of the active segment in `range`, which is behind its end, without a change of
    /// its length. It is a wish: what cannot be allocated is allocated when it is written, or refused then. Returns
    /// false if this file system does no such thing, or gains nothing by it.
    fn preallocate(&self, _range: Range<u64>) -> bool {
        false
    }

    /// Records beside the log that the first `size_bytes` of the active segment are whole batches. Survives a crash of
    /// the process.
    ///
    /// # Errors
    /// The record was not changed.
    fn record(&self, size_bytes: u64) -> io::Result<()>;

    /// Number of times the record beside the log was lost and written again.
    fn notes_lost(&self) -> u64 {
        0
    }

    /// Seals the active segment and begins an empty one, whose directory entry is on stable storage on return. The
    /// lines of the sealed segment are not, before the next [`sync_data`](Self::sync_data). The length has to be
    /// recorded again ([`record`](Self::record)) before anything is appended.
    ///
    /// `requested`: the rotation was requested, rather than due by size or age.
    ///
    /// # Errors
    /// See [`RotateError`].
    fn rotate(&self, requested: bool) -> Result<Rotated, RotateError>;

    /// The active segment, to read it whatever its name is; `None` if it is not a file.
    fn reader(&self) -> Option<Arc<File>>;

    /// The newest segment that was sealed before the active one was begun: its identity for positions.
    fn predecessor(&self) -> Option<SegmentName> {
        None
    }

    /// The list of reasons why the log cannot operate as configured.
    fn troubles(&self) -> Arc<Troubles>;

    /// Age of the active segment.
    fn age(&self) -> Duration;

    /// True if a sealed segment is not synced yet.
    fn has_unsynced_segment(&self) -> bool;

    /// Records on stable storage that the log was closed with everything in it.
    ///
    /// # Errors
    /// The shutdown will be taken for an unclean one.
    fn mark_clean(&self) -> io::Result<()>;
}

/// The outcome of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// No rotation: the active segment is empty, and has its name.
    Unneeded,
    /// A new segment of so many bytes: 0, unless a foreign file had the active segment's name.
    Begun(u64),
}

/// The reason why the active segment was not sealed.
#[derive(Debug)]
pub enum RotateError {
    /// Nothing has changed, and the active segment is continued: no descriptor, no space, a name that is taken.
    Postponed(io::Error),
    /// The log cannot continue.
    Failed(io::Error),
}

/// The log in a data directory, from [`open`](super::open). The directory stays locked until this and its
/// [`DirectoryLock`](super::DirectoryLock) are dropped.
#[derive(Debug)]
pub struct DiskFile {
    /// Holds the lock.
    pub(super) segments: Arc<Segments>,
    pub(super) state: StateFile,
    pub(super) troubles: Arc<Troubles>,
}

impl DiskFile {
    /// Sets the maintenance that is notified of each sealed segment once it is on stable storage.
    pub fn keep_with(&self, maintenance: MaintenanceBell) {
        self.segments.keep_with(maintenance);
    }
}

impl LogFile for DiskFile {
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.segments.active()).write_vectored(pieces)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.segments.sync_data()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        let metadata = self.segments.active().metadata()?;
        if metadata.nlink() == 0 {
            return Err(deleted());
        }
        Ok(metadata.len())
    }

    fn inode(&self) -> io::Result<u64> {
        Ok(self.segments.active().metadata()?.ino())
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.segments.active().set_len(size_bytes)
    }

    fn preallocate(&self, range: Range<u64>) -> bool {
        match fs::preallocate(&self.segments.active(), range) {
            Err(error) => error.kind() != io::ErrorKind::Unsupported,
            Ok(()) => true,
        }
    }

    fn record(&self, size_bytes: u64) -> io::Result<()> {
        self.state.record(size_bytes)
    }

    fn notes_lost(&self) -> u64 {
        self.state.repairs()
    }

    fn rotate(&self, requested: bool) -> Result<Rotated, RotateError> {
        let Some(begun) = self.segments.rotate(requested)? else { return Ok(Rotated::Unneeded) };
        let metadata = begun.file.metadata().map_err(RotateError::Failed)?;
        self.state.begin(metadata.dev(), metadata.ino());
        Ok(Rotated::Begun(begun.bytes))
    }

    fn reader(&self) -> Option<Arc<File>> {
        Some(self.segments.active())
    }

    fn predecessor(&self) -> Option<SegmentName> {
        self.segments.newest()
    }

    fn troubles(&self) -> Arc<Troubles> {
        Arc::clone(&self.troubles)
    }

    fn age(&self) -> Duration {
        self.segments.age()
    }

    fn has_unsynced_segment(&self) -> bool {
        self.segments.has_unsynced()
    }

    fn mark_clean(&self) -> io::Result<()> {
        fs::free_preallocated(&self.segments.active());
        self.state.mark_clean()
    }
}

//! What the writer and the group commit do to the disk, and nothing else does after the start. A trait, so that a test
//! can make each of these fail.

use super::{
    rotation::{Segments, deleted},
    state::StateFile,
    troubles::Troubles,
};
use crate::segment::MaintenanceBell;
use std::{
    fs::File,
    io::{self, IoSlice, Write},
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::Duration,
};

/// The log on the disk. One thread appends and rotates, and one syncs, at the same time.
pub trait LogFile: Send + Sync {
    /// Appends the pieces in order to the active segment. Returns how many bytes were taken, which may be fewer than there are.
    ///
    /// # Errors
    /// Nothing was taken.
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Returns when everything appended before the call is on stable storage, in whichever segment it is.
    ///
    /// # Errors
    /// It may not be, and never will.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes in the active segment.
    ///
    /// # Errors
    /// It was deleted: what is appended to it will be gone. Or as the system says.
    fn size_bytes(&self) -> io::Result<u64>;

    /// What tells the active segment's file from every other that is there.
    ///
    /// # Errors
    /// As the system says.
    fn inode(&self) -> io::Result<u64>;

    /// Cuts the active segment's end off.
    ///
    /// # Errors
    /// As the system says.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Notes beside the log that the first `size_bytes` of the active segment are whole batches. Survives the death of the
    /// process.
    ///
    /// # Errors
    /// The note was not changed.
    fn record(&self, size_bytes: u64) -> io::Result<()>;

    /// Times the note beside the log was lost and made again.
    fn notes_lost(&self) -> u64 {
        0
    }

    /// Seals the active segment and begins an empty one, whose directory entry is on stable storage on return. The lines of the
    /// sealed one are not, before the next [`sync_data`](Self::sync_data). The note of [`record`](Self::record) has to be made
    /// anew before anything is appended.
    ///
    /// `asked`: somebody has asked for it, rather than its size or age.
    ///
    /// # Errors
    /// See [`RotateError`].
    fn rotate(&self, asked: bool) -> Result<Rotated, RotateError>;

    /// The active segment, to read it whatever its name is; `None` if it is no file.
    fn reader(&self) -> Option<Arc<File>>;

    /// The place where it is noted that the log cannot go on as asked.
    fn troubles(&self) -> Arc<Troubles>;

    /// How long ago the active segment was begun.
    fn age(&self) -> Duration;

    /// Whether a sealed segment waits to be synced.
    fn has_unsynced_segment(&self) -> bool;

    /// Notes on stable storage that the log was closed with everything in it.
    ///
    /// # Errors
    /// It will pass for an unclean shutdown.
    fn mark_clean(&self) -> io::Result<()>;
}

/// The outcome of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// Nothing: the active segment is empty, and in its place.
    Unneeded,
    /// Begun a segment, which has so many bytes: none, unless somebody had put a file in the active one's place.
    Begun(u64),
}

/// Why the active segment was not sealed.
#[derive(Debug)]
pub enum RotateError {
    /// Nothing has changed, and it goes on: out of descriptors, out of space, a name that is taken.
    Postponed(io::Error),
    /// The log cannot go on.
    Failed(io::Error),
}

/// The log in a data directory, from [`open`](super::open). The directory is locked as long as it, or its lock, lives.
#[derive(Debug)]
pub struct DiskFile {
    /// Holds the lock.
    pub(super) segments: Arc<Segments>,
    pub(super) state: StateFile,
    pub(super) troubles: Arc<Troubles>,
}

impl DiskFile {
    /// Has `maintenance` told of each sealed segment that has come to stable storage.
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

    fn record(&self, size_bytes: u64) -> io::Result<()> {
        self.state.record(size_bytes)
    }

    fn notes_lost(&self) -> u64 {
        self.state.repairs()
    }

    fn rotate(&self, asked: bool) -> Result<Rotated, RotateError> {
        let Some(begun) = self.segments.rotate(asked)? else { return Ok(Rotated::Unneeded) };
        let metadata = begun.file.metadata().map_err(RotateError::Failed)?;
        self.state.begin(metadata.dev(), metadata.ino());
        Ok(Rotated::Begun(begun.bytes))
    }

    fn reader(&self) -> Option<Arc<File>> {
        Some(self.segments.active())
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
        self.state.mark_clean()
    }
}

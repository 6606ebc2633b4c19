//! What the writer and the group commit do to the disk, and nothing else does after the start. A trait, so that a test
//! can make each of these fail.

use super::state::StateFile;
use std::{
    fs::File,
    io::{self, IoSlice, Write},
};

/// The log on the disk. One thread appends and one syncs, at the same time.
pub trait LogFile: Send + Sync {
    /// Appends the pieces in order. Returns how many bytes were taken, which may be fewer than there are.
    ///
    /// # Errors
    /// Nothing was taken.
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Returns when everything appended before the call is on stable storage.
    ///
    /// # Errors
    /// It may not be, and never will.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// As the system says.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Cuts the file's end off.
    ///
    /// # Errors
    /// As the system says.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Notes beside the file that the first `size_bytes` of it are whole batches. Survives the death of the process.
    ///
    /// # Errors
    /// The note was not changed.
    fn record(&self, size_bytes: u64) -> io::Result<()>;

    /// Notes on stable storage that the log was closed with everything in it.
    ///
    /// # Errors
    /// It will pass for an unclean shutdown.
    fn mark_clean(&self) -> io::Result<()>;
}

/// The log in a data directory, from [`open`](super::open). The directory is locked as long as it lives.
#[derive(Debug)]
pub struct DiskFile {
    /// Opened with `O_APPEND`.
    pub(super) log: File,
    pub(super) state: StateFile,
    /// Held for its lock.
    pub(super) _lock: File,
}

impl LogFile for DiskFile {
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.log).write_vectored(pieces)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.log.sync_data()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.log.metadata()?.len())
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.log.set_len(size_bytes)
    }

    fn record(&self, size_bytes: u64) -> io::Result<()> {
        self.state.record(size_bytes)
    }

    fn mark_clean(&self) -> io::Result<()> {
        self.state.mark_clean()
    }
}

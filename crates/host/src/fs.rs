//! Files: those of the standard library, and some system calls that it lacks.

use rustix::fs::{CWD, FallocateFlags, RenameFlags};
pub use std::fs::*;
use std::{io, ops::Range, os::unix::fs::MetadataExt, path::Path};

/// Renames `from` to `to` unless that exists: renameat2(2) with `RENAME_NOREPLACE` (Linux 3.15), which not every file
/// system supports.
///
/// # Errors
/// `AlreadyExists`: the name is taken. Otherwise the error of the system call.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Allocates blocks for the bytes in `range` of a file that will grow, which changes neither its length nor what it
/// holds (fallocate(2) with `FALLOC_FL_KEEP_SIZE`, Linux 2.6.23). Only on ext4, where a write to such a block costs
/// less CPU than one for which a block has to be reserved; XFS does the like by itself, btrfs would compress no more,
/// and a file system in memory would be filled.
///
/// # Errors
/// `Unsupported`: it is not ext4, or a file of it that has no extents. Otherwise the error of the system call.
pub fn preallocate(file: &File, range: Range<u64>) -> io::Result<()> {
    if rustix::fs::fstatfs(file)?.f_type != libc::EXT4_SUPER_MAGIC {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)?)
}

/// Frees the blocks behind the end of a file that nobody writes to any more, if they are a MiB and more: its length is
/// read and set, so whoever changed it in between would lose that. Best effort: what fails is left, and costs space.
pub fn free_preallocated(file: &File) {
    /// Blocks are counted in such units, whatever their size (stat(2)).
    const UNIT: u64 = 512;
    /// More than the file system's own blocks of a file, such as those of its extents.
    const LEAST_BYTES: u64 = 1 << 20;
    if let Ok(found) = file.metadata()
        && (found.blocks() * UNIT).saturating_sub(found.len()) >= LEAST_BYTES
    {
        let _ = file.set_len(found.len());
    }
}

/// Space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Total bytes.
    pub bytes: u64,
    /// Bytes that this user may still fill.
    pub bytes_free: u64,
    /// Files that the file system can hold; 0 where it does not count them.
    pub inodes: u64,
    /// Files that may still be created.
    pub inodes_free: u64,
}

/// Space of the file system that holds `path`. Blocks while the file system does not respond, so it is not for a thread
/// that others wait for.
///
/// # Errors
/// The error of statvfs(3).
pub fn usage(path: &Path) -> io::Result<Usage> {
    let usage = rustix::fs::statvfs(path)?;
    Ok(Usage {
        bytes: usage.f_blocks.saturating_mul(usage.f_frsize),
        bytes_free: usage.f_bavail.saturating_mul(usage.f_frsize),
        inodes: usage.f_files,
        inodes_free: usage.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Seek, SeekFrom},
        os::unix::fs::FileExt,
    };

    #[test]
    fn blocks_are_allocated_and_freed_behind_the_end() {
        let file = tempfile::tempfile().unwrap();
        let allocated = || file.metadata().unwrap().blocks() * 512;
        let is_ext4 = rustix::fs::fstatfs(&file).unwrap().f_type == libc::EXT4_SUPER_MAGIC;
        file.write_all_at(&[b'x'; 5_000], 0).unwrap();
        match preallocate(&file, 5_000..5_000_000) {
            Ok(()) => assert!(is_ext4 && allocated() >= 5_000_000, "{}", allocated()),
            Err(error) => assert!(error.kind() == io::ErrorKind::Unsupported, "{error}"),
        }
        assert_eq!(file.metadata().unwrap().len(), 5_000);
        free_preallocated(&file);
        assert!(allocated() < 100_000, "{}", allocated());
        let mut held = Vec::new();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        (&file).read_to_end(&mut held).unwrap();
        assert_eq!(held, [b'x'; 5_000]);
    }

    #[test]
    fn free_space_is_part_of_the_whole() {
        let usage = usage(Path::new("/")).unwrap();
        assert!(usage.bytes > 0 && usage.bytes_free <= usage.bytes && usage.inodes_free <= usage.inodes, "{usage:?}");
        assert_eq!(super::usage(Path::new("/nonexistent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

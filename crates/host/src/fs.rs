//! Files: those of the standard library, and two system calls that it lacks.

use rustix::fs::{CWD, RenameFlags};
pub use std::fs::*;
use std::{io, path::Path};

/// Renames `from` to `to` unless that exists: renameat2(2) with `RENAME_NOREPLACE` (Linux 3.15), which not every file
/// system supports.
///
/// # Errors
/// `AlreadyExists`: the name is taken. Otherwise the error of the system call.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
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

    #[test]
    fn free_space_is_part_of_the_whole() {
        let usage = usage(Path::new("/")).unwrap();
        assert!(usage.bytes > 0 && usage.bytes_free <= usage.bytes && usage.inodes_free <= usage.inodes, "{usage:?}");
        assert_eq!(super::usage(Path::new("/nonexistent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

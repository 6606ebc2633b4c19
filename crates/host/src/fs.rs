//! Files: those of the standard library, and two system calls that it lacks.
#![allow(unsafe_code)] // renameat2(2) and statvfs(3) have no safe form in std.

pub use std::fs::*;
use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

/// Renames `from` to `to` unless that exists: renameat2(2) with `RENAME_NOREPLACE` (Linux 3.15), which not every file
/// system supports.
///
/// # Errors
/// `AlreadyExists`: the name is taken. Otherwise the error of the system call.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    let [from, to] = [CString::new(from.as_os_str().as_bytes())?, CString::new(to.as_os_str().as_bytes())?];
    // SAFETY: both paths are live C strings, and the call writes no memory of this process.
    let result =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut usage = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is a live C string, and `usage` a live statvfs; the call writes nothing else.
    if unsafe { libc::statvfs(path.as_ptr(), usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field is an integer, for which zero is a valid value.
    let usage = unsafe { usage.assume_init() };
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

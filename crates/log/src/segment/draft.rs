//! Files that are created whole or not at all: written under a name with `.tmp`, synced, then renamed.

use super::SegmentName;
use crate::os::dirent::{rename_new, sync_directory};
use host::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Suffix of a file's name while it is made.
const SUFFIX: &str = ".tmp";

/// A file that is being made. It is removed if it is dropped before [`keep`](Self::keep).
pub struct Draft<'a> {
    directory: &'a Path,
    path: PathBuf,
    /// The file to write to.
    pub file: File,
    kept: bool,
}

impl<'a> Draft<'a> {
    /// Creates a draft of a file that is to be called `name`, with the permissions of `like` less the umask. A draft
    /// that an earlier run has left is overwritten.
    pub fn create(directory: &'a Path, name: &str, like: &Path) -> io::Result<Self> {
        let mode = fs::metadata(like)?.permissions().mode() & 0o777;
        let path = directory.join(format!("{name}{SUFFIX}"));
        // `O_NONBLOCK`: opening a pipe of that name must not block.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        Ok(Self { directory, path, file, kept: false })
    }

    /// Syncs the file, renames it to its name, and syncs the directory. A regular file of that name is replaced: the
    /// files made by drafts, a sidecar or a compressed segment beside its plain one, can be made again and are useless
    /// where they do not fit. Anything else of that name is left.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken. Otherwise the error of the system call. The draft is removed, unless only
    /// the sync of the directory failed.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let path = self.path.with_extension("");
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            fs::rename(&self.path, &path)?;
        } else {
            rename_new(&self.path, &path)?;
        }
        self.kept = true;
        sync_directory(self.directory)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // If this fails, the next run removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// True for the name of a draft of a sealed segment's file.
pub(super) fn is_draft(file_name: &str) -> bool {
    file_name.strip_suffix(SUFFIX).is_some_and(|name| SegmentName::parse(name).is_some())
}

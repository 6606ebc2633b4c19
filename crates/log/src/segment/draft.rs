//! Files that come into being whole or not at all: made under a name with `.tmp`, synced, then renamed.

use super::SegmentName;
use crate::os::dirent::{rename_new, sync_directory};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What a file is called while it is made: its name, and this.
const SUFFIX: &str = ".tmp";

/// A file that is being made. Dropped before it is kept, it is removed.
pub struct Draft<'a> {
    directory: &'a Path,
    path: PathBuf,
    /// To write to.
    pub file: File,
    kept: bool,
}

impl<'a> Draft<'a> {
    /// Begins a file that is to be called `name` and read by those who may read `like`. What a run before this one left of it
    /// is overwritten.
    pub fn create(directory: &'a Path, name: &str, like: &Path) -> io::Result<Self> {
        let mode = fs::metadata(like)?.permissions().mode() & 0o777;
        let path = directory.join(format!("{name}{SUFFIX}"));
        // A pipe of that name is not waited for.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        Ok(Self { directory, path, file, kept: false })
    }

    /// Syncs the file, gives it its name, and syncs the directory. A regular file that has the name is replaced: what
    /// is made by drafts, a sidecar or a compressed segment beside its plain one, can be made again and is of no use
    /// where it does not fit. Anything else that has the name keeps it.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken. Otherwise as the system says. The draft is gone.
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
            // If it stays, the next run removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file is what is left of a draft of ours.
pub(super) fn is_draft(file_name: &str) -> bool {
    file_name.strip_suffix(SUFFIX).is_some_and(|name| SegmentName::parse(name).is_some())
}

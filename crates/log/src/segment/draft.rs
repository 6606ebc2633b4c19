//! Files that are created whole or not at all: written under a name with `.tmp`, synced, then renamed.

use super::SegmentName;
use crate::os::dirent::{create_draft, rename_new, sync_directory};
use host::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
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
    /// Creates a draft of a file that is to be called `name`, with the permissions of `like` less the umask. What an
    /// earlier run has left under the draft's name is removed.
    ///
    /// # Errors
    /// The draft's name is that of a directory, or the error of the system call.
    pub fn create(directory: &'a Path, name: &str, like: &Path) -> io::Result<Self> {
        let mode = fs::metadata(like)?.permissions().mode() & 0o777;
        let path = directory.join(format!("{name}{SUFFIX}"));
        let file = create_draft(&path, mode)?;
        #[cfg(test)]
        let file = if tests::FULL_FOR.get().is_some_and(|end| name.ends_with(end)) { tests::full()? } else { file };
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::{cell::Cell, os::unix::fs::symlink};

    thread_local! {
        /// The end of the names of files for whose drafts there is no space, in this thread.
        pub(in super::super) static FULL_FOR: Cell<Option<&str>> = const { Cell::new(None) };
    }

    pub(super) fn full() -> io::Result<File> {
        fs::OpenOptions::new().write(true).open("/dev/full")
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let [like, other, draft] = ["like", "other", "made.tmp"].map(|name| directory.path().join(name));
        fs::write(&like, "").unwrap();
        fs::write(&other, "of another").unwrap();
        symlink(&other, &draft).unwrap();
        Draft::create(directory.path(), "made", &like).unwrap().keep().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another");
        assert!(fs::symlink_metadata(directory.path().join("made")).unwrap().is_file() && !draft.exists());
    }
}

//! Directory entries: making a file under a name of its own, renaming it to a name that is free, and syncing a
//! directory's entries to stable storage.
//!
//! Promises that a rename never replaces another file, on every file system, that nothing which stands in place of a
//! draft is followed or waited for, and that a file system which cannot sync a directory is used with a warning instead
//! of being refused.

use host::{
    fs::{self, File, OpenOptions, rename_noreplace},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};
use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Number of syncs of a directory that the file system refused as "not supported". One process serves one directory.
static SYNCS_UNSUPPORTED: AtomicU64 = AtomicU64::new(0);

/// Creates an empty file at `path`, to be renamed once it is whole. What an interrupted attempt has left there is
/// removed and never opened: a link would lead to another file, and a pipe would block whoever opens it to write.
///
/// # Errors
/// The name is that of a directory, or the error of the system call.
pub fn create_draft(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Renames `from` to `to`, which must not exist in any form: neither as a file nor as a directory, nor as a dangling
/// link.
///
/// # Errors
/// `AlreadyExists`: the name is taken. Otherwise the error of rename(2). `from` is unchanged.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_noreplace(from, to) {
        Err(error) if is_unsupported(&error) => rename_reserved(from, to),
        result => result,
    }
}

/// The same on a file system without it: the name is reserved with an empty file, which is then replaced. A crash in
/// between leaves the empty file, which holds nothing, and `from` unchanged.
fn rename_reserved(from: &Path, to: &Path) -> io::Result<()> {
    let reserved = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    fs::rename(from, to).inspect_err(|_| {
        // Only the reservation is removed: a rename whose reply was lost on a network may have succeeded.
        let ours = reserved.metadata().map(|ours| (ours.dev(), ours.ino()));
        let found = fs::symlink_metadata(to).map(|found| (found.dev(), found.ino()));
        if matches!((ours, found), (Ok(ours), Ok(found)) if ours == found) {
            let _ = fs::remove_file(to);
        }
    })
}

/// Syncs the directory's entries to stable storage. A file system that cannot sync a directory (CIFS, some of FUSE) is
/// warned of once and counted: after a loss of power it keeps what it keeps by itself.
///
/// # Errors
/// The directory cannot be opened, or the sync failed.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if is_unsupported(&error) => {
            if SYNCS_UNSUPPORTED.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "the file system of {} cannot sync a directory ({error}): a power loss may lose the names of new \
                     files, and their contents",
                    directory.display()
                );
            }
            Ok(())
        }
        result => result,
    }
}

/// Number of syncs of a directory so far that the file system does not support.
#[must_use]
pub fn syncs_unsupported() -> u64 {
    SYNCS_UNSUPPORTED.load(Ordering::Relaxed)
}

/// True if the error says that the operation is not supported, rather than that it failed.
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EBADF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Rename = fn(&Path, &Path) -> io::Result<()>;
    const WAYS: [Rename; 3] = [rename_new, rename_noreplace, rename_reserved];

    #[test]
    fn a_draft_is_a_file_of_its_own() {
        let directory = tempfile::TempDir::new().unwrap();
        let [draft, other] = ["draft", "other"].map(|name| directory.path().join(name));
        fs::write(&other, "of another").unwrap();
        let pipe = |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        let in_its_place: [&dyn Fn(&Path); 5] = [
            &|_| {},
            &|path| fs::write(path, "left behind").unwrap(),
            &|path| symlink(&other, path).unwrap(),
            &|path| symlink("nowhere", path).unwrap(),
            &pipe,
        ];
        for make in in_its_place {
            make(&draft);
            let file = create_draft(&draft, 0o600).unwrap();
            assert!(fs::symlink_metadata(&draft).unwrap().is_file() && file.metadata().unwrap().len() == 0);
            fs::remove_file(&draft).unwrap();
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another");
        assert!(!directory.path().join("nowhere").exists());
        fs::create_dir(&draft).unwrap();
        assert!(create_draft(&draft, 0o600).is_err());
    }

    #[test]
    fn a_free_name_is_taken() {
        for rename in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
            fs::write(&from, "lines").unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), "lines");
            assert!(!from.exists());
            assert_eq!(rename(&from, &directory.path().join("other")).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a reservation is taken back");
        }
    }

    #[test]
    fn a_taken_name_is_left_to_whatever_has_it() {
        for rename in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let [from, file, empty, link] = ["from", "file", "empty", "link"].map(|name| directory.path().join(name));
            fs::write(&from, "lines").unwrap();
            fs::write(&file, "of another").unwrap();
            fs::create_dir(&empty).unwrap();
            symlink("nowhere", &link).unwrap();
            for to in [&file, &empty, &link] {
                assert_eq!(rename(&from, to).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{to:?}");
            }
            assert_eq!(fs::read_to_string(&from).unwrap(), "lines");
            assert_eq!(fs::read_to_string(&file).unwrap(), "of another");
            assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
        }
    }

    #[test]
    fn only_what_cannot_be_done_at_all_is_unsupported() {
        let is = |errno| is_unsupported(&io::Error::from_raw_os_error(errno));
        assert!([libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP].into_iter().all(is));
        assert!(![libc::EIO, libc::ENOSPC, libc::EROFS, libc::EACCES, libc::EEXIST].into_iter().any(is));
    }
}

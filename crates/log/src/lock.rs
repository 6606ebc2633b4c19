//! The data directory's lock: the directory itself is locked (flock(2)), so that deleting a file in it releases
//! nothing; beside it the lock file is locked, which holds the server's process id and is what servers before this
//! version lock.
//!
//! Promises that of all servers on one directory at most one runs, even if the lock file is deleted or replaced. Where
//! the file system cannot lock a directory (NFS: flock(2) there needs a file that is open for writing) the lock file
//! alone has to do, and a warning is logged.

use super::directory::{LOCK_NAME, OpenError, open_file};
use crate::limits::{LOCK_TRIES_MAX, LOCK_TRY_MS};
use host::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    process,
    sync::{Mutex, MutexGuard},
    thread,
};
use std::{
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

/// Bytes of a process id, at most: 7 digits (PID_MAX_LIMIT is 2^22), and a line end.
const PID_BYTES_MAX: u64 = 8;

/// The lock of a data directory, held until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    /// Locked, where the file system supports it.
    directory: File,
    /// Locked, and restored when it is deleted or replaced.
    file: Mutex<File>,
}

impl DirectoryLock {
    /// Locks `directory`.
    ///
    /// # Errors
    /// [`OpenError::Locked`]: another process holds the lock. Otherwise the error of the system call.
    pub fn take(directory: &Path) -> Result<Self, OpenError> {
        let opened = File::open(directory).map_err(|error| OpenError::new("open", directory, error))?;
        match try_lock(&opened) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(directory)),
            Err(TryLockError::Error(error)) => tracing::warn!(
                "the file system cannot lock the directory {} ({error}): only {LOCK_NAME} keeps a second server \
                 out, so it must not be deleted",
                directory.display()
            ),
        }
        let file = Mutex::new(lock_file(directory)?);
        Ok(Self { path: directory.to_owned(), directory: opened, file })
    }

    /// Checks that the path still leads to the directory that is locked.
    ///
    /// # Errors
    /// It does not: an operation by that path would apply to another directory.
    pub(super) fn check_directory(&self) -> io::Result<()> {
        let ours = identity(&self.directory.metadata()?);
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == ours => Ok(()),
            Ok(_) => Err(io::Error::other("the data directory was replaced by another")),
            Err(error) => Err(error),
        }
    }

    /// A path by which the directory is reached also after it was moved, as long as this lock is held: by its
    /// descriptor (proc(5)). Without /proc it is the path that was opened.
    pub fn lasting_path(&self) -> PathBuf {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
        let is_it =
            |found: fs::Metadata| self.directory.metadata().is_ok_and(|ours| identity(&ours) == identity(&found));
        if fs::metadata(&path).is_ok_and(is_it) { path } else { self.path.clone() }
    }

    /// Checks that the lock file is the one that is locked, and restores it if it was deleted or replaced.
    ///
    /// # Errors
    /// Another process holds the lock of the file that is there, or the file cannot be restored.
    pub(super) fn restore_file(&self) -> io::Result<()> {
        let mut file = self.file();
        let ours = identity(&file.metadata()?);
        let found = fs::symlink_metadata(self.path.join(LOCK_NAME));
        if found.is_ok_and(|found| identity(&found) == ours) {
            return Ok(());
        }
        *file = lock_file(&self.path).map_err(|error| io::Error::other(error.to_string()))?;
        tracing::warn!("{LOCK_NAME} was deleted or replaced while the server runs; it was restored");
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Locks a file, with retries: `verify` and `doctor` lock it for a moment.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES_MAX {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(LOCK_TRY_MS)),
            result => return result,
        }
    }
    file.try_lock()
}

/// Locks the lock file, which is created if it is missing, and writes this process's id into it.
fn lock_file(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let mut file = open_file(&path, OpenOptions::new().read(true).write(true))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(directory)),
        Err(TryLockError::Error(error)) => return Err(OpenError::new("lock", &path, error)),
    }
    let text = format!("{}\n", process::id());
    // Over what is there, and cut behind it: a file that is cut first may not get its block back on a full disk.
    file.write_all(text.as_bytes())
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(|error| OpenError::new("write", &path, error))?;
    Ok(file)
}

fn locked(directory: &Path) -> OpenError {
    let holder = open_to_look(&directory.join(LOCK_NAME)).ok().and_then(|mut file| process_id(&mut file));
    OpenError::Locked { directory: directory.to_owned(), holder }
}

/// The process id in a lock file. The holder of the lock may not have written it yet.
fn process_id(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok())
}

/// Opens a file for reading, without blocking on a pipe.
fn open_to_look(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

/// The state of a data directory's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Never locked: there is no lock file.
    Never,
    /// Not locked.
    Free,
    /// Locked by a server with this process id, if the lock file has it.
    Held(Option<u32>),
}

/// Finds the holder of the lock of `directory`. The locks are taken shared and released at once, so the check keeps no
/// server from starting.
///
/// # Errors
/// The error of the system call.
pub fn holder(directory: &Path) -> io::Result<Holder> {
    let is_held = |file: &File| match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    };
    // A directory that cannot be locked counts as not held.
    let is_directory_held = is_held(&File::open(directory)?).unwrap_or(false);
    let mut file = match open_to_look(&directory.join(LOCK_NAME)) {
        Ok(file) => file,
        Err(_) if is_directory_held => return Ok(Holder::Held(None)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Never),
        Err(error) => return Err(error),
    };
    Ok(if is_directory_held || is_held(&file)? { Holder::Held(process_id(&mut file)) } else { Holder::Free })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn lock_path(directory: &TempDir) -> PathBuf {
        directory.path().join(LOCK_NAME)
    }

    fn refused(directory: &TempDir) -> String {
        DirectoryLock::take(directory.path()).unwrap_err().to_string()
    }

    #[test]
    fn a_lock_outlives_its_file() {
        let directory = TempDir::new().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        assert!(refused(&directory).ends_with(&format!("is in use by process {}", std::process::id())));
        fs::rename(lock_path(&directory), directory.path().join("elsewhere")).unwrap();
        assert!(refused(&directory).ends_with("is in use by another process"));
        assert_eq!(holder(directory.path()).unwrap(), Holder::Held(None));
        fs::write(lock_path(&directory), "17\n").unwrap();
        assert_eq!(holder(directory.path()).unwrap(), Holder::Held(Some(17)));
        assert!(refused(&directory).ends_with("is in use by process 17"));
        lock.restore_file().unwrap();
        assert_eq!(holder(directory.path()).unwrap(), Holder::Held(Some(std::process::id())));
        drop(lock);
        assert_eq!(holder(directory.path()).unwrap(), Holder::Free);
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_server_of_an_older_version_is_respected() {
        let directory = TempDir::new().unwrap();
        let older = File::create(lock_path(&directory)).unwrap();
        older.lock().unwrap();
        fs::write(lock_path(&directory), "23\n").unwrap();
        assert!(refused(&directory).ends_with("is in use by process 23"));
        assert_eq!(holder(directory.path()).unwrap(), Holder::Held(Some(23)));
        // The older server came after the lock file was deleted: that is detected, and the lock is left to it.
        drop(older);
        let lock = DirectoryLock::take(directory.path()).unwrap();
        fs::remove_file(lock_path(&directory)).unwrap();
        let older = File::create(lock_path(&directory)).unwrap();
        older.lock().unwrap();
        assert!(lock.restore_file().unwrap_err().to_string().contains("is in use"));
    }

    #[test]
    fn a_lock_file_that_is_deleted_comes_back() {
        let directory = TempDir::new().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        let own = format!("{}\n", std::process::id());
        for _ in 0..2 {
            fs::remove_file(lock_path(&directory)).unwrap();
            lock.restore_file().unwrap();
            assert_eq!(fs::read_to_string(lock_path(&directory)).unwrap(), own);
            let other = File::open(lock_path(&directory)).unwrap();
            assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)), "it is locked too");
        }
        fs::remove_file(lock_path(&directory)).unwrap();
        symlink("nowhere", lock_path(&directory)).unwrap();
        assert!(lock.restore_file().unwrap_err().to_string().contains(LOCK_NAME));
    }

    #[test]
    fn a_directory_that_was_moved_is_not_worked_in() {
        let parent = TempDir::new().unwrap();
        let [path, moved] = ["data", "moved"].map(|name| parent.path().join(name));
        fs::create_dir(&path).unwrap();
        let lock = DirectoryLock::take(&path).unwrap();
        lock.check_directory().unwrap();
        fs::rename(&path, &moved).unwrap();
        assert_eq!(lock.check_directory().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&path).unwrap();
        assert!(lock.check_directory().unwrap_err().to_string().contains("replaced"));
        fs::write(moved.join("file"), "").unwrap();
        assert!(lock.lasting_path().join("file").exists());
        fs::remove_dir(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
        lock.check_directory().unwrap();
        assert!(lock.lasting_path().join("file").exists());
    }

    #[test]
    fn looking_makes_no_lock_file() {
        let directory = TempDir::new().unwrap();
        assert_eq!(holder(directory.path()).unwrap(), Holder::Never);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(holder(&directory.path().join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

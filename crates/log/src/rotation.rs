//! The active segment and its rotation: the file that is appended to, and the sealed ones that are still to be synced.
//!
//! A segment is sealed by its name alone: no byte of it moves. The order of the steps, and what a crash after each
//! leaves:
//!
//! | step | after a crash |
//! |---|---|
//! | 1. the next segment is made, empty, as `metrics.jsonl.tmp` | a `.tmp`, which the next start removes |
//! | 2. `metrics.jsonl` is renamed to `metrics-<time>.jsonl`, which is free | no `metrics.jsonl`: a start makes it |
//! | 3. `metrics.jsonl.tmp` is renamed to `metrics.jsonl`, which is free now | two segments, the second empty |
//! | 4. the directory is synced | the same, on stable storage |
//! | 5. the state file gets the new identity, before anything is appended | the same |
//! | 6. the group commit syncs it, and notifies maintenance | the next start syncs it, and cuts off a torn last line |
//!
//! The writer does 1 to 5 between two gatherings, so every segment ends with a whole batch, and nothing is acknowledged
//! that is in a file whose name could be lost.
//!
//! The name `metrics.jsonl` is the operator's too: logrotate and people move the file away, and put another in its
//! place. The log continues in the file that it has open until it is rotated, as any daemon does; the rotation then
//! depends on the file that has the name:
//!
//! | file of that name | effect of a rotation |
//! |---|---|
//! | the active segment | seals it, as above; an empty one is left |
//! | none | begins a new file; the moved one is left where it is, and synced |
//! | another regular file | appends to that from now on; a torn last line in it is moved aside first, as at a start |
//! | a directory, a link, a pipe, a file with further names | none: the log continues, and `/ready` shows the reason |
//!
//! A file that was deleted, and not only moved, ends the server unless a rotation was requested: see
//! [`LogFile::size_bytes`].
//!
//! [`LogFile::size_bytes`]: super::LogFile::size_bytes

use super::{
    RotateError,
    directory::FILE_MODE,
    lock::DirectoryLock,
    recovery::{CutReason, cut_off, end_of_last_line_within},
};
use crate::{
    limits::{LINE_BYTES_MAX, NEXT_NAMES_MAX, SEAL_NAMES_MAX},
    os::dirent::{rename_new, sync_directory},
    segment::{ACTIVE_NAME, MaintenanceBell, SegmentFile, SegmentName},
};
use host::{
    fs::{self, File, Metadata, OpenOptions},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    time::{Duration, SystemTime},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError},
};
use wake::{
    clock::Clock,
    sync::{Mutex, MutexGuard},
};

/// Name of the next segment while it is made. It never holds a line.
pub(super) const NEXT_NAME: &str = "metrics.jsonl.tmp";

/// The segments that are open.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    lock: Arc<DirectoryLock>,
    open: Mutex<Open>,
    /// Held while files are renamed, so that no check takes a rotation for a move by an operator.
    renaming: Mutex<()>,
    /// Notified when sealed segments are on stable storage.
    maintenance: OnceLock<MaintenanceBell>,
}

#[derive(Debug)]
struct Open {
    /// Opened with `O_APPEND`.
    active: Arc<File>,
    begun: SystemTime,
    /// Files that are no longer appended to, in order, and not yet synced: sealed under a name, or left where another
    /// process has moved them.
    unsynced: Vec<(Option<SegmentName>, Arc<File>)>,
    newest: Option<SegmentName>,
}

/// The segment that a rotation has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) file: Arc<File>,
    /// Bytes that the file already has, if it was taken over.
    pub(super) bytes: u64,
}

/// The file that has the active segment's name.
enum AtName {
    Active,
    Nothing,
    Another(Metadata),
}

impl Segments {
    /// Creates the state from `active`, the active segment of `directory`, and `newest`, the newest one that was
    /// sealed, whether or not it is still kept.
    pub(super) fn new(
        directory: &Path,
        lock: Arc<DirectoryLock>,
        active: File,
        newest: Option<SegmentName>,
    ) -> io::Result<Self> {
        let metadata = active.metadata()?;
        // Some file systems do not keep the birth time of a file; the last change is the next best.
        let begun = metadata.created().or_else(|_| metadata.modified())?;
        let open = Open { active: Arc::new(active), begun, unsynced: Vec::new(), newest };
        Ok(Self {
            directory: directory.to_owned(),
            lock,
            open: Mutex::new(open),
            renaming: Mutex::new(()),
            maintenance: OnceLock::new(),
        })
    }

    pub(super) fn keep_with(&self, maintenance: MaintenanceBell) {
        // There is one maintenance: a second call is a bug, without effect.
        let _ = self.maintenance.set(maintenance);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change is one assignment, so a thread that panicked leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> Arc<File> {
        Arc::clone(&self.open().active)
    }

    /// Age of the active segment, by the wall clock.
    pub(super) fn age(&self) -> Duration {
        self.open().begun.elapsed().unwrap_or_default()
    }

    /// The newest segment that was sealed before the active one was begun.
    pub(super) fn newest(&self) -> Option<SegmentName> {
        self.open().newest
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.open().unsynced.is_empty()
    }

    /// Syncs the segments that are no longer appended to and not synced yet, and then the active one.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        // Both at one moment: everything appended before is in one of them.
        let (left, active) = {
            let open = self.open();
            (open.unsynced.clone(), Arc::clone(&open.active))
        };
        for (name, segment) in &left {
            // One that was moved away is the operator's, who may cut it or add to it at this moment.
            if name.is_some() {
                fs::free_preallocated(segment);
            }
            segment.sync_data()?;
        }
        active.sync_data()?;
        self.open().unsynced.drain(..left.len());
        if let Some(newest) = left.iter().rev().find_map(|(name, _)| *name)
            && let Some(maintenance) = self.maintenance.get()
        {
            maintenance.sealed(newest);
        }
        Ok(())
    }

    /// Seals the active segment, or leaves it where it was moved to, and begins the next, which it returns. `None`: the
    /// active segment is empty and has its name. `requested`: the rotation was requested, rather than due by size or
    /// age.
    pub(super) fn rotate(&self, requested: bool) -> Result<Option<Begun>, RotateError> {
        self.lock.check_directory().map_err(RotateError::Postponed)?;
        let _renaming = self.renaming.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join(ACTIVE_NAME);
        let ours = self.active().metadata().map_err(RotateError::Postponed)?;
        let (name, file, bytes) = match self.at_name(&ours).map_err(RotateError::Postponed)? {
            AtName::Active if ours.len() == 0 => return Ok(None),
            AtName::Active => {
                let (name, file) = self.seal(&path)?;
                (Some(name), file, 0)
            }
            _ if ours.nlink() == 0 && !requested => return Err(RotateError::Failed(deleted())),
            AtName::Nothing => {
                let (next_path, next) = create_next(&self.directory).map_err(RotateError::Postponed)?;
                rename_new(&next_path, &path).map_err(RotateError::Postponed)?;
                (None, next, 0)
            }
            AtName::Another(found) => {
                let (file, bytes) = take_over(&self.directory, &path, &found).map_err(RotateError::Postponed)?;
                (None, file, bytes)
            }
        };
        sync_directory(&self.directory).map_err(RotateError::Failed)?;
        if name.is_none() {
            tracing::warn!(
                "{ACTIVE_NAME} was moved or replaced: its lines are in the old file, which is not a segment of this \
                 log; the log continues in the current {ACTIVE_NAME}, from byte {bytes}"
            );
        }

        let file = Arc::new(file);
        let mut open = self.open();
        let left = std::mem::replace(&mut open.active, Arc::clone(&file));
        open.begun = SystemTime::now();
        open.unsynced.push((name, left));
        open.newest = name.or(open.newest);
        Ok(Some(Begun { file, bytes }))
    }

    /// Renames the active segment, at `path`, to a sealed segment's name, and an empty file to `path`.
    fn seal(&self, path: &Path) -> Result<(SegmentName, File), RotateError> {
        let (next_path, next) = create_next(&self.directory).map_err(RotateError::Postponed)?;
        let (name, sealed_path) = self.take_name(path).map_err(RotateError::Postponed)?;
        match rename_new(&next_path, path) {
            Ok(()) => Ok((name, next)),
            Err(error) => Err(match rename_new(&sealed_path, path) {
                Ok(()) => RotateError::Postponed(error),
                Err(_) => RotateError::Failed(error),
            }),
        }
    }

    /// Renames `active` to the next name of a sealed segment under which no file of any kind exists.
    fn take_name(&self, active: &Path) -> io::Result<(SegmentName, PathBuf)> {
        let now_ms = Clock::start().wall_ms();
        let mut last = self.open().newest;
        for _ in 0..SEAL_NAMES_MAX {
            let name = SegmentName::after(last, now_ms);
            if last == Some(name) {
                return Err(io::Error::other(format!("no segment name follows {name}")));
            }
            last = Some(name);
            if !self.is_free(name)? {
                continue;
            }
            let path = self.directory.join(name.file(SegmentFile::Plain));
            match rename_new(active, &path) {
                Ok(()) => return Ok((name, path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("the next {SEAL_NAMES_MAX} names for a sealed segment are all taken")))
    }

    /// True if no file of a segment of this name exists. A compressed file without its plain one, or a sidecar, belongs
    /// to a segment too.
    fn is_free(&self, name: SegmentName) -> io::Result<bool> {
        for file in SegmentFile::ALL {
            match fs::symlink_metadata(self.directory.join(name.file(file))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn at_name(&self, ours: &Metadata) -> io::Result<AtName> {
        match fs::symlink_metadata(self.directory.join(ACTIVE_NAME)) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => Ok(AtName::Active),
            Ok(found) => Ok(AtName::Another(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AtName::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Device and inode of the active segment, if its name belongs to another file or to none.
    pub(super) fn displaced_identity(&self) -> Option<(u64, u64)> {
        let _renaming = self.renaming.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.active().metadata().ok()?;
        let is_in_place = matches!(self.at_name(&ours), Ok(AtName::Active));
        (!is_in_place).then(|| (ours.dev(), ours.ino()))
    }

    /// The reason why the file that is appended to does not have the active segment's name; `None` if it does.
    pub(super) fn displaced(&self) -> Option<String> {
        let _renaming = self.renaming.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.active().metadata().ok()?;
        let what = match self.at_name(&ours).ok()? {
            AtName::Active => return None,
            AtName::Nothing => "was moved or deleted".to_owned(),
            AtName::Another(found) => format!("was replaced by {}", kind_of(&found)),
        };
        Some(format!("{ACTIVE_NAME} {what}: the server still writes to the old file, until SIGHUP"))
    }
}

pub(super) fn deleted() -> io::Error {
    io::Error::other("the file was deleted")
}

/// A file's kind, in words.
fn kind_of(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if !kind.is_file() {
        "a device or a socket"
    } else if found.nlink() > 1 {
        "a file with other hard links"
    } else {
        "another file"
    }
}

/// Opens the file that was put in the active segment's place, to append to it, and returns its length in bytes. It is
/// treated as at a start: a torn last line is moved aside, whole lines stay.
fn take_over(directory: &Path, path: &Path, found: &Metadata) -> io::Result<(File, u64)> {
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other(format!("{ACTIVE_NAME} is {}", kind_of(found))));
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
        return Err(io::Error::other(format!("{ACTIVE_NAME} is being replaced")));
    }
    // The last line end of a log is no farther from its end than a line is long, and the writer must not search a disk
    // for it.
    let searched = opened.len().min(LINE_BYTES_MAX as u64);
    let Some(keep_bytes) = end_of_last_line_within(&file, opened.len(), searched)? else {
        return Err(io::Error::other(format!("the new {ACTIVE_NAME} is not text")));
    };
    if keep_bytes < opened.len() {
        let cut = cut_off(directory, &file, keep_bytes, CutReason::TornLine).map_err(|(_, error)| error)?;
        tracing::warn!("{} bytes without a line end were moved to {}", cut.bytes, cut.kept_in.display());
    }
    Ok((file, keep_bytes))
}

/// Creates the file of the next segment, empty, under a name that is free.
fn create_next(directory: &Path) -> io::Result<(PathBuf, File)> {
    for name in next_names() {
        let path = directory.join(name);
        remove_next(&path)?;
        let made = OpenOptions::new().read(true).append(true).create_new(true).mode(FILE_MODE).open(&path);
        match made {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{NEXT_NAME} and the names tried after it are taken")))
}

/// The names under which the next segment is made: the first, unless a foreign file has it.
pub(super) fn next_names() -> impl Iterator<Item = String> {
    (1..=NEXT_NAMES_MAX).map(|number| match number {
        1 => NEXT_NAME.to_owned(),
        _ => format!("{ACTIVE_NAME}.{number}.tmp"),
    })
}

/// Removes the empty file that a failed or interrupted attempt has left. Any other file is foreign, and stays.
pub(super) fn remove_next(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

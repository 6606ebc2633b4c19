//! The active segment and its change: what is appended to, what was sealed and is still to be synced.
//!
//! A segment is sealed by its name alone: no byte of it moves. The order of the steps, and what a crash after each leaves:
//!
//! | step | after a crash |
//! |---|---|
//! | 1. the next segment is made, empty, as `metrics.jsonl.tmp` | a `.tmp`, which the next start removes |
//! | 2. `metrics.jsonl` is renamed to `metrics-<time>.jsonl` | no `metrics.jsonl`: the next start makes one |
//! | 3. `metrics.jsonl.tmp` is renamed to `metrics.jsonl` | two segments, the second empty |
//! | 4. the directory is synced | the same, on stable storage |
//! | 5. the state file is told, before anything is appended | the same |
//! | 6. the group commit syncs the sealed segment, and the keeper of the sealed ones is told | the next start syncs it, and after a loss of power cuts off its torn last line |
//!
//! The writer does 1 to 5 between two gatherings, so every segment ends with a whole batch, and nothing is acknowledged that
//! lies in a file whose name could be lost.

use super::{
    RotateError,
    directory::{FILE_MODE, sync_directory},
};
use crate::{
    clock::Clock,
    segment::{ACTIVE_NAME, KeeperBell, SegmentFile, SegmentName},
    sync::{Mutex, MutexGuard},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

/// The next segment while it is made.
pub(super) const NEXT_NAME: &str = "metrics.jsonl.tmp";

/// The segments that are open.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    open: Mutex<Open>,
    /// Told when sealed segments have come to stable storage.
    keeper: Option<KeeperBell>,
}

#[derive(Debug)]
struct Open {
    /// Opened with `O_APPEND`.
    active: Arc<File>,
    begun: SystemTime,
    /// Sealed, in order, and not yet synced.
    unsynced: Vec<(SegmentName, Arc<File>)>,
    newest: Option<SegmentName>,
}

impl Segments {
    /// `active` is the active segment of `directory`, `newest` the newest sealed one.
    pub(super) fn new(directory: &Path, active: File, newest: Option<SegmentName>) -> io::Result<Self> {
        let metadata = active.metadata()?;
        // Some file systems do not keep the time of a file's birth; the last change is the next best.
        let begun = metadata.created().or_else(|_| metadata.modified())?;
        let open = Open { active: Arc::new(active), begun, unsynced: Vec::new(), newest };
        Ok(Self { directory: directory.to_owned(), open: Mutex::new(open), keeper: None })
    }

    pub(super) fn keep_with(&mut self, keeper: KeeperBell) {
        self.keeper = Some(keeper);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change is one assignment, so a thread that panicked has left nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> Arc<File> {
        Arc::clone(&self.open().active)
    }

    /// How long ago the active segment was begun, by the wall clock.
    pub(super) fn age(&self) -> Duration {
        self.open().begun.elapsed().unwrap_or_default()
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.open().unsynced.is_empty()
    }

    /// Syncs the sealed segments that are not yet, and the active one.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        // Both at one moment: what was appended before is in one of them.
        let (sealed, active) = {
            let open = self.open();
            (open.unsynced.clone(), Arc::clone(&open.active))
        };
        for (_, segment) in &sealed {
            segment.sync_data()?;
        }
        active.sync_data()?;
        if let Some((newest, _)) = sealed.last() {
            self.open().unsynced.drain(..sealed.len());
            if let Some(keeper) = &self.keeper {
                keeper.sealed(*newest);
            }
        }
        Ok(())
    }

    /// Seals the active segment and begins the next, which it returns.
    pub(super) fn rotate(&self) -> Result<Arc<File>, RotateError> {
        let active_path = self.directory.join(ACTIVE_NAME);
        let next_path = self.directory.join(NEXT_NAME);
        let newest = self.open().newest;
        let name = SegmentName::after(newest, Clock::start().wall_ms());
        let sealed_path = self.directory.join(name.file(SegmentFile::Plain));

        let is_in_place = self.is_in_place(&active_path).map_err(RotateError::Postponed)?;
        let next = create_next(&next_path).map_err(RotateError::Postponed)?;
        if is_in_place {
            fs::rename(&active_path, &sealed_path).map_err(RotateError::Postponed)?;
        }
        if let Err(error) = fs::rename(&next_path, &active_path) {
            if !is_in_place {
                return Err(RotateError::Postponed(error));
            }
            return Err(match fs::rename(&sealed_path, &active_path) {
                Ok(()) => RotateError::Postponed(error),
                Err(_) => RotateError::Failed(error),
            });
        }
        sync_directory(&self.directory).map_err(RotateError::Failed)?;

        let next = Arc::new(next);
        let mut open = self.open();
        let sealed = std::mem::replace(&mut open.active, Arc::clone(&next));
        open.begun = SystemTime::now();
        open.unsynced.push((name, sealed));
        open.newest = Some(name);
        Ok(next)
    }

    /// Whether the file of the active segment's name is the active segment. It is not there at all when it was moved away by
    /// hand, as `logrotate` does it: then it is sealed already, wherever it is.
    fn is_in_place(&self, active_path: &Path) -> io::Result<bool> {
        let ours = self.active().metadata()?;
        match fs::symlink_metadata(active_path) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => Ok(true),
            Ok(_) => Err(io::Error::other("its file has been replaced by another")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn create_next(path: &Path) -> io::Result<File> {
    // From an attempt that failed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(path)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

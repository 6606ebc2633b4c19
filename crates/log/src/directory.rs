//! The data directory: its files, its lock, and the order in which it is opened.
//!
//! | file | what |
//! |---|---|
//! | `metrics.jsonl` | the active segment of the log |
//! | `metrics-<time>.jsonl` and more | sealed segments, see `segment` |
//! | `metrics.jsonl.tmp` | the next segment while it is made, see `rotation` |
//! | `metricstream.state` | the committed length of the active segment, see `state` |
//! | `metricstream.lock` | locked by the server that uses the directory; holds its process id |
//! | `torn-<time>.bin` | what recovery has cut off the log |
//!
//! Promises that one process at a time uses the directory, and that an opened log is repaired, on stable storage (its
//! sealed segments too) and marked as not closed before anything is appended.

use super::{
    boot::Boot,
    file::DiskFile,
    lock::DirectoryLock,
    recovery::{Cut, RecoveryReport, recover, repair_segment},
    rotation::{Segments, next_names, remove_next},
    state::{Standing, State, StateFile},
    troubles::Troubles,
    watch::Watch,
};
use crate::{
    limits::CLOCK_STEP_MS_MAX,
    os::dirent::sync_directory,
    segment::{ACTIVE_NAME as LOG_NAME, SegmentFile, SegmentName, newest_retired},
};
use host::{
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};
use wake::clock::Clock;

/// Name of the state file, which records how far the log is committed.
pub const STATE_NAME: &str = "metricstream.state";
/// Name of the lock file, locked by the server that uses the directory.
pub const LOCK_NAME: &str = "metricstream.lock";
/// Mode of files: the owner reads and writes, the group reads. Metrics can be sensitive, so others have no access.
pub(super) const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// An open log, to which lines may be appended.
#[derive(Debug)]
pub struct Opened {
    /// The log, its state and its lock.
    pub file: DiskFile,
    /// Result of the recovery.
    pub report: RecoveryReport,
    /// The directory's lock, for threads that use the directory after the log has ended.
    pub lock: Arc<DirectoryLock>,
    /// Checks that the directory and the log in it have not been moved or replaced.
    pub watch: Arc<Watch>,
}

/// The reason why a data directory cannot be used. The text is one line that names the file.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the lock.
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Id of that process, if the lock file has it.
        holder: Option<u32>,
    },
    /// The data directory, or a part of its path, is not a directory.
    NotADirectory(PathBuf),
    /// The log is a directory, a pipe or a device.
    NotAFile(PathBuf),
    /// No permission, or the file system is mounted read-only.
    NotWritable {
        /// The file or directory that is not writable.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The disk is full, or the quota used up.
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// Any other error.
    Io {
        /// The operation that failed, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotADirectory => Self::NotADirectory(path),
            io::ErrorKind::IsADirectory => Self::NotAFile(path),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotWritable { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, source },
            _ => Self::Io { doing, path, source },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { directory, holder } => {
                write!(f, "the data directory {} is in use by ", directory.display())?;
                match holder {
                    Some(pid) => write!(f, "process {pid}"),
                    None => f.write_str("another process"),
                }
            }
            Self::NotADirectory(path) => write!(f, "{} is not a directory", path.display()),
            Self::NotAFile(path) => write!(f, "{} is not a regular file", path.display()),
            Self::NotWritable { path, source } => write!(f, "{} is not writable: {source}", path.display()),
            Self::NoSpace { path, source } => write!(f, "no space for {}: {source}", path.display()),
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotWritable { source, .. } | Self::NoSpace { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Locked { .. } | Self::NotADirectory(_) | Self::NotAFile(_) => None,
        }
    }
}

/// Opens the log in `directory`, which is created if it is missing: takes the lock, repairs the log's end, and marks
/// the log as not closed.
///
/// # Errors
/// See [`OpenError`]. Nothing is lost: recovery keeps what it cuts off.
pub fn open(directory: &Path) -> Result<Opened, OpenError> {
    create_directory(directory)?;
    let lock = Arc::new(DirectoryLock::take(directory)?);

    let log_path = directory.join(LOG_NAME);
    let log = open_file(&log_path, OpenOptions::new().read(true).append(true))?;
    let state_path = directory.join(STATE_NAME);
    let mut state_file = open_file(&state_path, OpenOptions::new().read(true).write(true))?;
    remove_nexts(directory)?;
    let mut segment_cuts = Vec::new();
    let newest = repair_segments(directory, &mut segment_cuts)?;
    sync_directory(directory).map_err(|error| OpenError::new("sync", directory, error))?;

    let state = read_state(&mut state_file).map_err(|error| OpenError::new("read", &state_path, error))?;
    let boot = Boot::now();
    let report = RecoveryReport {
        segment_cuts,
        ..recover(directory, &log, state.as_ref(), &boot)
            .map_err(|(doing, error)| OpenError::new(doing, &log_path, error))?
    };
    // The content counts as committed from now on, so it has to be on stable storage.
    log.sync_all().map_err(|error| OpenError::new("sync", &log_path, error))?;

    let metadata = log.metadata().map_err(|error| OpenError::new("examine", &log_path, error))?;
    let state = State {
        standing: Standing::Sound,
        boot,
        device: metadata.dev(),
        inode: metadata.ino(),
        committed_bytes: report.log_bytes,
        clean: false,
        unclean_shutdowns: report.unclean_shutdowns,
    };
    let state = StateFile::create(directory, state_file, &state)
        .map_err(|error| OpenError::new("write", &state_path, error))?;
    let retired = newest_retired(directory).map_err(|error| OpenError::new("read", directory, error))?;
    let segments = Segments::new(directory, Arc::clone(&lock), log, newest.max(retired))
        .map_err(|error| OpenError::new("examine", &log_path, error))?;
    let (segments, troubles) = (Arc::new(segments), Arc::new(Troubles::default()));
    let watch = Watch { segments: Arc::clone(&segments), lock: Arc::clone(&lock), troubles: Arc::clone(&troubles) };
    Ok(Opened { file: DiskFile { segments, state, troubles }, report, lock, watch: Arc::new(watch) })
}

/// Removes the files that an interrupted rotation has left. They never hold a line.
fn remove_nexts(directory: &Path) -> Result<(), OpenError> {
    for name in next_names() {
        let path = directory.join(name);
        remove_next(&path).map_err(|error| OpenError::new("remove", &path, error))?;
    }
    Ok(())
}

/// Syncs the sealed segments that the run before may not have synced, and cuts off what a loss of power has torn; a
/// segment that has a sidecar or a compressed file was synced, and is skipped. Returns the newest name of a sealed
/// segment that is taken, by any file, and adds to `cuts`.
fn repair_segments(directory: &Path, cuts: &mut Vec<(SegmentName, Cut)>) -> Result<Option<SegmentName>, OpenError> {
    let cannot_read = |error| OpenError::new("read", directory, error);
    let mut is_kept = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(cannot_read)? {
        let file_name = entry.map_err(cannot_read)?.file_name();
        let Some((name, file)) = file_name.to_str().and_then(SegmentName::parse) else { continue };
        *is_kept.entry(name).or_insert(false) |= file != SegmentFile::Plain;
    }
    for (&name, _) in is_kept.iter().filter(|&(_, &is_kept)| !is_kept) {
        let path = directory.join(name.file(SegmentFile::Plain));
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            tracing::warn!("{} has the name of a segment but is not a regular file; left unchanged", path.display());
            continue;
        }
        let segment = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| OpenError::new("open", &path, error))?;
        let cut = repair_segment(directory, &segment).map_err(|(doing, error)| OpenError::new(doing, &path, error))?;
        cuts.extend(cut.map(|cut| (name, cut)));
    }
    let newest = is_kept.last_key_value().map(|(&name, _)| name);
    if let Some(newest) = newest
        && newest.sealed_ms() > Clock::start().wall_ms().saturating_add(CLOCK_STEP_MS_MAX)
    {
        tracing::warn!(
            "segment {newest} is named in the future: the clock was ahead, or is behind now. New segments are named after it, so \
             that names sort in the order of sealing; its age is taken from its contents"
        );
    }
    Ok(newest)
}

/// Creates the data directory if it is missing, and syncs the directories above it, in which it is an entry, unless an
/// earlier start has: that one then made the lock file. A start that was killed in between leaves a directory that
/// would be lost with the power, and everything in it.
fn create_directory(directory: &Path) -> Result<(), OpenError> {
    // If that cannot be seen, they are synced once more.
    if fs::exists(directory.join(LOCK_NAME)).unwrap_or(false) {
        return Ok(());
    }
    if !fs::metadata(directory).is_ok_and(|found| found.is_dir()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(|error| {
            match error.kind() {
                io::ErrorKind::AlreadyExists => OpenError::NotADirectory(directory.to_owned()),
                _ => OpenError::new("create", directory, error),
            }
        })?;
    }
    for (level, above) in directory.ancestors().skip(1).enumerate() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match sync_directory(above) {
            // A directory of others, which cannot be opened: whoever made it and the entry in it has synced it.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied && level == 0 => {
                return Err(OpenError::new("sync the parent of", directory, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens a regular file, which is created if it is missing. A link, a pipe or a device in its place is refused without
/// blocking: a link could not be renamed with the file, and a dangling one would create a file somewhere else.
pub fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File, OpenError> {
    let file =
        options.create(true).mode(FILE_MODE).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path).map_err(
            |error| match error.raw_os_error() {
                Some(libc::ELOOP) => OpenError::NotAFile(path.to_owned()),
                _ => OpenError::new("open", path, error),
            },
        )?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(OpenError::NotAFile(path.to_owned())),
        Err(error) => Err(OpenError::new("examine", path, error)),
    }
}

/// Reads the state. `None`: it is missing (the file is empty) or garbled.
pub fn read_state(file: &mut File) -> io::Result<Option<State>> {
    /// Bytes that are read, more than any state has.
    const STATE_BYTES_MAX: u64 = 4096;
    let mut text = Vec::new();
    file.take(STATE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(std::str::from_utf8(&text).ok().and_then(State::parse))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

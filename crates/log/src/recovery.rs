//! Recovery of a log at the start: lines may be appended to it only after the end of a batch.
//!
//! The bytes that are cut off:
//! - everything beyond the committed length, if the state file has the right checksum, is of this file and of this boot
//!   by every witness (`boot`), does not mark the log as closed cleanly, and the file is longer than what was
//!   committed: those bytes were never acknowledged as written, and may be half a batch;
//! - in every other case a torn last line, one without its line end.
//!
//! A sealed segment that may not have been synced before a loss of power is such another case. So are a clean shutdown
//! (bytes beyond the committed length were added by another process, and stay), another boot (the state may be newer or
//! older than the bytes that reached the disk), a copied or replaced file, a file cut or edited by hand (shorter than
//! committed, or no line ends there), and a state that is missing, garbled, damaged or of the version that wrote no
//! checksum. After a loss of power a batch can therefore be stored in part, if it was not acknowledged at the level
//! `fsync`.
//!
//! So no whole line is moved aside on a guess. A batch acknowledged at `fsync` is on the disk in every case; it could
//! only be moved aside by a length recorded before it, and a length counts only where the page that holds it cannot be
//! older than the bytes of the log: where only a process has exited since.
//!
//! Nothing is deleted: the bytes that are cut off are first copied to a file of their own beside the log. A crash in
//! the middle of recovery leads to the same recovery again, at worst with the same bytes kept twice. Memory is bounded
//! by one block, whatever the file's length.

use super::{
    boot::Boot,
    state::{Standing, State},
};
use crate::{
    limits::{SET_ASIDE_NAMES_MAX, TAIL_BLOCK_BYTES},
    segment::{SegmentName, stamp},
};
use host::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
};
use std::{
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use wake::clock::Clock;

/// Findings and repairs of a start. The text is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// End of the run before this one.
    pub previous: Previous,
    /// The cut at the end of the active segment.
    pub cut: Option<Cut>,
    /// The cuts at the ends of sealed segments: power was lost before they were synced.
    pub segment_cuts: Vec<(SegmentName, Cut)>,
    /// Bytes in the log after the recovery.
    pub log_bytes: u64,
    /// Number of unclean shutdowns of this log since it was created.
    pub unclean_shutdowns: u64,
}

/// End of the run before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// There was no run before.
    None,
    /// It wrote and synced everything, and recorded that.
    Clean,
    /// It did not record a clean shutdown.
    Unclean,
    /// There is a log, and no readable state file.
    Unknown,
    /// The state file was changed by something other than a server: its checksum is wrong.
    Damaged,
}

/// Bytes that were cut off the log's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Number of bytes.
    pub bytes: u64,
    /// Reason for the cut.
    pub reason: CutReason,
    /// File that keeps the bytes.
    pub kept_in: PathBuf,
}

/// The reason why bytes were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// They lay beyond the last whole batch that was committed.
    Uncommitted,
    /// They were a line without its line end.
    TornLine,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log_bytes, unclean_shutdowns, .. } = self;
        match self.previous {
            Previous::None => write!(f, "the log is new"),
            Previous::Clean => write!(f, "the log was closed cleanly"),
            Previous::Unclean => write!(f, "the log was not closed cleanly"),
            Previous::Unknown => write!(f, "the log has no readable state file"),
            Previous::Damaged => {
                write!(f, "the log's state file is damaged (its checksum is wrong), so it is ignored and rewritten")
            }
        }?;
        if let Some(Cut { bytes, reason, kept_in }) = &self.cut {
            let what = match reason {
                CutReason::Uncommitted => "never acknowledged as written",
                CutReason::TornLine => "of a torn last line",
            };
            write!(f, "; {bytes} bytes {what} were moved to {}", kept_in.display())?;
        }
        for (name, Cut { bytes, kept_in, .. }) in &self.segment_cuts {
            write!(f, "; {bytes} bytes of a torn last line of segment {name} were moved to {}", kept_in.display())?;
        }
        write!(f, "; size {log_bytes} bytes, {unclean_shutdowns} unclean shutdowns")
    }
}

/// Repairs the end of `log` by the state file, if that could be read. The caller holds the directory's lock.
///
/// # Errors
/// The operation that failed, and its error.
pub fn recover(
    directory: &Path,
    log: &File,
    state: Option<&State>,
    boot: &Boot,
) -> Result<RecoveryReport, (&'static str, io::Error)> {
    let size_bytes = log.metadata().map_err(|error| ("examine", error))?.len();
    let (keep_bytes, reason) = whole_bytes(log, size_bytes, state, boot).map_err(|error| ("read", error))?;
    let cut = (keep_bytes < size_bytes).then(|| cut_off(directory, log, keep_bytes, reason)).transpose()?;
    let previous = match state {
        Some(State { standing: Standing::Damaged, .. }) => Previous::Damaged,
        Some(State { clean: true, .. }) => Previous::Clean,
        Some(State { clean: false, .. }) => Previous::Unclean,
        None if size_bytes == 0 => Previous::None,
        None => Previous::Unknown,
    };
    let is_unclean = match previous {
        Previous::Unclean => true,
        // The flag of a damaged state moves no byte, and is more likely right than wrong.
        Previous::Damaged => cut.is_some() || state.is_some_and(|state| !state.clean),
        // Without a state only a torn end shows an unclean shutdown.
        Previous::Unknown => cut.is_some(),
        Previous::None | Previous::Clean => false,
    };
    Ok(RecoveryReport {
        previous,
        cut,
        segment_cuts: Vec::new(),
        log_bytes: keep_bytes,
        unclean_shutdowns: state.map_or(0, |state| state.unclean_shutdowns).saturating_add(u64::from(is_unclean)),
    })
}

/// Repairs the end of a sealed segment that may not have been synced, and syncs it. Returns the cut.
///
/// # Errors
/// The operation that failed, and its error.
pub(super) fn repair_segment(directory: &Path, segment: &File) -> Result<Option<Cut>, (&'static str, io::Error)> {
    let size_bytes = segment.metadata().map_err(|error| ("examine", error))?.len();
    let keep_bytes = end_of_last_line(segment, size_bytes).map_err(|error| ("read", error))?;
    let cut =
        (keep_bytes < size_bytes).then(|| cut_off(directory, segment, keep_bytes, CutReason::TornLine)).transpose()?;
    fs::free_preallocated(segment);
    segment.sync_data().map_err(|error| ("sync", error))?;
    Ok(cut)
}

/// Copies the bytes of `log` from `keep_bytes` on to a file of their own, and cuts them off.
pub(super) fn cut_off(
    directory: &Path,
    log: &File,
    keep_bytes: u64,
    reason: CutReason,
) -> Result<Cut, (&'static str, io::Error)> {
    let size_bytes = log.metadata().map_err(|error| ("examine", error))?.len();
    let kept_in = set_aside(directory, log, keep_bytes).map_err(|error| ("save the damaged end of", error))?;
    log.set_len(keep_bytes).and_then(|()| log.sync_all()).map_err(|error| ("truncate the damaged end of", error))?;
    Ok(Cut { bytes: size_bytes - keep_bytes, reason, kept_in })
}

/// Number of the log's bytes that stay, and the reason why the others are cut off.
pub fn whole_bytes(log: &File, size_bytes: u64, state: Option<&State>, boot: &Boot) -> io::Result<(u64, CutReason)> {
    if let Some(state) = state
        && !state.clean
        && state.is_about(log, boot)?
        && state.committed_bytes < size_bytes
        && ends_a_line(log, state.committed_bytes)?
    {
        return Ok((state.committed_bytes, CutReason::Uncommitted));
    }
    Ok((end_of_last_line(log, size_bytes)?, CutReason::TornLine))
}

/// True if a line ends at `position`, as one does at the start of the file.
fn ends_a_line(log: &File, position: u64) -> io::Result<bool> {
    let mut byte = [b'\n'];
    if let Some(last) = position.checked_sub(1) {
        log.read_exact_at(&mut byte, last)?;
    }
    Ok(byte == [b'\n'])
}

/// The position after the last line end in the first `size_bytes` of `log`; zero if there is none.
pub fn end_of_last_line(log: &File, size_bytes: u64) -> io::Result<u64> {
    Ok(end_of_last_line_within(log, size_bytes, size_bytes)?.unwrap_or(0))
}

/// The same, searched in the last `searched_bytes` only. `None`: it is not among them, and may be before them.
pub(super) fn end_of_last_line_within(log: &File, size_bytes: u64, searched_bytes: u64) -> io::Result<Option<u64>> {
    let floor = size_bytes.saturating_sub(searched_bytes);
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut end = size_bytes;
    while end > floor {
        let start = end.saturating_sub(TAIL_BLOCK_BYTES as u64).max(floor);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(TAIL_BLOCK_BYTES)];
        log.read_exact_at(block, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', block) {
            return Ok(Some(start + newline as u64 + 1));
        }
        end = start;
    }
    Ok((floor == 0).then_some(0))
}

/// Copies the bytes of `log` from `from` on into a new file of `directory`, on stable storage. A copy that is not whole
/// is removed: on a full disk each start that fails would leave one.
fn set_aside(directory: &Path, log: &File, from: u64) -> io::Result<PathBuf> {
    let (path, file) = create_set_aside(directory)?;
    copy_from(log, from, file).inspect_err(|_| {
        // The bytes are still in the log, so nothing depends on it.
        let _ = fs::remove_file(&path);
    })?;
    crate::os::dirent::sync_directory(directory)?;
    Ok(path)
}

/// Copies the bytes of `log` from `from` on into `file`, on stable storage.
fn copy_from(log: &File, from: u64, mut file: File) -> io::Result<()> {
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut position = from;
    loop {
        match log.read_at(&mut block, position) {
            Ok(0) => break,
            Ok(bytes) => {
                file.write_all(&block[..bytes])?;
                position += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.sync_all()
}

/// Creates a file for bytes that are cut off the log, under a name that no file has: `torn-TIME.bin`.
///
/// # Errors
/// The directory cannot be written, or every name is taken.
pub fn create_set_aside(directory: &Path) -> io::Result<(PathBuf, File)> {
    let stamp = stamp(Clock::start().wall_ms());
    let mut names = (1..=SET_ASIDE_NAMES_MAX).map(|number| match number {
        1 => format!("torn-{stamp}.bin"),
        _ => format!("torn-{stamp}-{number}.bin"),
    });
    loop {
        let Some(name) = names.next() else { return Err(io::ErrorKind::AlreadyExists.into()) };
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(super::directory::FILE_MODE).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_found_at_every_distance_from_a_block() {
        let block = TAIL_BLOCK_BYTES as u64;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"a\n", 0).unwrap();
        for size_bytes in [2, 3, block - 1, block, block + 1, block + 2, block + 3, 2 * block + 1, 2 * block + 2] {
            file.set_len(size_bytes).unwrap();
            assert_eq!(end_of_last_line(&file, size_bytes).unwrap(), 2, "{size_bytes} bytes");
        }
        assert_eq!(end_of_last_line(&file, 1).unwrap(), 0);
        assert_eq!(end_of_last_line(&file, 0).unwrap(), 0);
    }
}

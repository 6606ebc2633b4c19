//! What a log needs before lines may be appended to it again: its end has to be the end of a batch.
//!
//! | what the state file knows | what is cut off |
//! |---|---|
//! | this file, this boot, not closed cleanly, and the file is longer than what was committed | all beyond the committed length: it was never acknowledged as written, and may be half a batch |
//! | anything else | a torn last line, one without its line's end |
//!
//! "Anything else" is a clean shutdown (bytes beyond the committed length were added by somebody else, and stay),
//! another boot (the state may be newer or older than the bytes that reached the disk), a copied or replaced file, a
//! file cut or edited by hand (shorter than committed, or no line ends there), and a state that is missing or garbled.
//! After a loss of power a batch can so be stored in part, if it was not acknowledged at the level `fsync`.
//!
//! Nothing is deleted: what is cut off is first kept in a file of its own beside the log. A crash in the middle of
//! recovery leads to the same recovery again, at worst with the same bytes kept twice. Memory is bounded by one block,
//! whatever the file's length.

use super::state::State;
use crate::limits::{SET_ASIDE_NAMES_MAX, TAIL_BLOCK_BYTES};
use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What was found and done at the start. Its text is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// How the run before this one ended.
    pub previous: Previous,
    /// What was cut off the log's end.
    pub cut: Option<Cut>,
    /// Bytes in the log now.
    pub log_bytes: u64,
    /// Shutdowns of this log that were not clean, ever.
    pub unclean_shutdowns: u64,
}

/// How the run before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// There was none.
    None,
    /// It wrote and synced everything, and said so.
    Clean,
    /// It did not.
    Unclean,
    /// There is a log, and no state file that could be read.
    Unknown,
}

/// Bytes that were cut off the log's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// How many.
    pub bytes: u64,
    /// Why.
    pub reason: CutReason,
    /// Where they are kept.
    pub kept_in: PathBuf,
}

/// Why bytes were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// They lay beyond the last whole batch that was committed.
    Uncommitted,
    /// They were a line without its end.
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
        }?;
        if let Some(Cut { bytes, reason, kept_in }) = &self.cut {
            let what = match reason {
                CutReason::Uncommitted => "never acknowledged as written",
                CutReason::TornLine => "of a torn last line",
            };
            write!(f, "; {bytes} bytes {what} were moved to {}", kept_in.display())?;
        }
        write!(f, "; it has {log_bytes} bytes and {unclean_shutdowns} unclean shutdowns")
    }
}

/// Repairs the end of `log`, given what the state file says, if it could be read. The caller has the directory's lock.
///
/// # Errors
/// With what was being done.
pub(super) fn recover(
    directory: &Path,
    log: &File,
    state: Option<&State>,
    boot_id: Option<&str>,
) -> Result<RecoveryReport, (&'static str, io::Error)> {
    let size_bytes = log.metadata().map_err(|error| ("look at", error))?.len();
    let (keep_bytes, reason) = whole_bytes(log, size_bytes, state, boot_id).map_err(|error| ("read", error))?;
    let cut = if keep_bytes < size_bytes {
        let kept_in = set_aside(directory, log, keep_bytes).map_err(|error| ("set aside the damaged end of", error))?;
        log.set_len(keep_bytes).and_then(|()| log.sync_all()).map_err(|error| ("cut the damaged end off", error))?;
        Some(Cut { bytes: size_bytes - keep_bytes, reason, kept_in })
    } else {
        None
    };
    let previous = match state {
        Some(State { clean: true, .. }) => Previous::Clean,
        Some(State { clean: false, .. }) => Previous::Unclean,
        None if size_bytes == 0 => Previous::None,
        None => Previous::Unknown,
    };
    // Without a state a torn end is what tells of it.
    let is_unclean = previous == Previous::Unclean || (previous == Previous::Unknown && cut.is_some());
    Ok(RecoveryReport {
        previous,
        cut,
        log_bytes: keep_bytes,
        unclean_shutdowns: state.map_or(0, |state| state.unclean_shutdowns).saturating_add(u64::from(is_unclean)),
    })
}

/// How many of the log's bytes stay, and why the others do not.
fn whole_bytes(
    log: &File,
    size_bytes: u64,
    state: Option<&State>,
    boot_id: Option<&str>,
) -> io::Result<(u64, CutReason)> {
    if let Some(state) = state
        && !state.clean
        && state.is_about(log, boot_id)?
        && state.committed_bytes < size_bytes
        && ends_a_line(log, state.committed_bytes)?
    {
        return Ok((state.committed_bytes, CutReason::Uncommitted));
    }
    Ok((end_of_last_line(log, size_bytes)?, CutReason::TornLine))
}

/// Whether a line ends at `position`, as one does at the start.
fn ends_a_line(log: &File, position: u64) -> io::Result<bool> {
    let mut byte = [b'\n'];
    if let Some(last) = position.checked_sub(1) {
        log.read_exact_at(&mut byte, last)?;
    }
    Ok(byte == [b'\n'])
}

/// The position after the last line's end in the first `size_bytes` of `log`; zero if there is none.
fn end_of_last_line(log: &File, size_bytes: u64) -> io::Result<u64> {
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut end = size_bytes;
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK_BYTES as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(TAIL_BLOCK_BYTES)];
        log.read_exact_at(block, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', block) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Copies what `log` has from `from` on into a new file of `directory`, on stable storage.
fn set_aside(directory: &Path, log: &File, from: u64) -> io::Result<PathBuf> {
    let (path, mut file) = create_set_aside(directory)?;
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
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(path)
}

fn create_set_aside(directory: &Path) -> io::Result<(PathBuf, File)> {
    let stamp = utc_stamp(SystemTime::now());
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

/// A time as `20260102T030405Z` (ISO 8601, basic format, UTC).
fn utc_stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a count of days since 1970-01-01. Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`, for days from the epoch on. Years begin in March, so that a leap day ends one.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01; an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stamps_are_utc() {
        let stamp = |seconds| utc_stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_399), "20000228T235959Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_767_323_045), "20260102T030405Z");
        assert_eq!(stamp(4_107_542_399), "21000228T235959Z");
        assert_eq!(stamp(4_107_542_400), "21000301T000000Z");
    }

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

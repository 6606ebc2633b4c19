//! Holds: readers of the log, such as forwards, that retention waits for.
//!
//! A segment that retention would delete is kept while a reader has not got past it, as far as the bound of the bytes
//! and the free space of the disk allow. Beyond that the oldest ones go, and what their readers have not read of them
//! is counted, exactly: a reader calls [`Hold::advance`] after each read to learn whether it may use what it read, and
//! a segment that was forfeited before is skipped by it as a whole, even where the reader still has its file open.

use super::{BlockReader, Segment, SegmentError, SegmentFile, SegmentName, Sidecar, open_regular};
use crate::{
    limits::{HOLD_FREE_BYTES_MAX, HOLD_FREE_PERCENT, TAIL_BLOCK_BYTES},
    position::{LogPosition, SegmentId},
};
use memchr::memchr_iter;
use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use wake::sync::real::{Mutex, MutexGuard};

/// One reader's hold on the log, and what it lost.
#[derive(Debug)]
pub struct Hold {
    name: String,
    progress: Mutex<ReaderProgress>,
    lost_bytes: AtomicU64,
    lost_lines: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct ReaderProgress {
    /// The position at which the reader begins after a crash; `None`: it needs nothing that is sealed by now.
    recorded: Option<LogPosition>,
    /// The end of what it has read in this run, if it has.
    taken: Option<LogPosition>,
    /// The newest segment that is deleted without regard to it. A position in it, or before, is void.
    forfeited: Option<SegmentName>,
}

impl ReaderProgress {
    /// The position from which the reader continues.
    fn next(&self) -> Option<LogPosition> {
        self.taken.or(self.recorded)
    }
}

impl Hold {
    /// The hold of a reader that begins at `position`; `None`: at the end of the log.
    #[must_use]
    pub fn new(name: &str, position: Option<LogPosition>) -> Self {
        Self {
            name: name.to_owned(),
            progress: Mutex::new(ReaderProgress { recorded: position, ..ReaderProgress::default() }),
            lost_bytes: AtomicU64::new(0),
            lost_lines: AtomicU64::new(0),
        }
    }

    /// Notes that the reader begins at `position` after a crash: segments before it are no longer held.
    pub fn record(&self, position: LogPosition) {
        self.progress().recorded = Some(position);
    }

    /// Notes that the reader has read up to `position`, and will use it. Returns false if it must not, as the segment
    /// is deleted and was counted as lost: the reader has to look for the oldest line that is kept.
    #[must_use]
    pub fn advance(&self, position: LogPosition) -> bool {
        let mut progress = self.progress();
        let is_void = match (position.segment, progress.forfeited) {
            (_, None) => false,
            (SegmentId::Sealed(name), Some(forfeited)) => name <= forfeited,
            (SegmentId::After(last), Some(forfeited)) => last < Some(forfeited),
        };
        if !is_void {
            progress.taken = Some(position);
        }
        !is_void
    }

    /// Bytes of lines that were deleted before the reader had read them.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    /// The number of those lines.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines.load(Ordering::Relaxed)
    }

    fn progress(&self) -> MutexGuard<'_, ReaderProgress> {
        // Each step leaves it whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs(&self, name: SegmentName) -> bool {
        self.progress().recorded.is_some_and(|position| position.segment.reaches(name))
    }
}

/// The holds on a log, and their bound.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    /// The holds.
    pub all: Vec<Arc<Hold>>,
    /// Bytes of segments, at most, that are kept for them beyond what retention keeps.
    pub bytes_max: u64,
}

/// The actions due for segments that retention no longer keeps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    /// To be deleted, the oldest first; true: although a reader needs it.
    pub delete: Vec<(Segment, bool)>,
    /// Bytes of those that are kept for a reader.
    pub held_bytes: u64,
}

/// The part of a deleted segment that a reader had not read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rest {
    bytes: u64,
    lines: u64,
}

/// Free bytes of a file system of `disk_bytes` below which segments are not held.
pub(super) fn free_bytes_min(disk_bytes: u64) -> u64 {
    (disk_bytes / 100 * HOLD_FREE_PERCENT).min(HOLD_FREE_BYTES_MAX)
}

impl Holds {
    /// Divides the `overdue` segments, the oldest first: the newest ones that a reader needs are held, up to the bound
    /// less `missing_bytes`, by which the disk is too full.
    pub(super) fn divide(&self, overdue: &[Segment], missing_bytes: u64) -> Overdue {
        let is_needed: Vec<bool> =
            overdue.iter().map(|segment| self.all.iter().any(|hold| hold.needs(segment.name))).collect();
        let sum = |needed: bool| {
            let own = overdue.iter().zip(&is_needed).filter(|(_, is_needed)| **is_needed == needed);
            own.fold(0, |sum: u64, (segment, _)| sum.saturating_add(segment.bytes()))
        };
        // What nobody needs goes first, and makes space.
        let missing_bytes = missing_bytes.saturating_sub(sum(false));
        let bytes_max = self.bytes_max.min(sum(true).saturating_sub(missing_bytes));
        let (mut held_bytes, mut is_full) = (0_u64, false);
        let mut delete = Vec::new();
        for (segment, &is_needed) in overdue.iter().zip(&is_needed).rev() {
            // Once one goes, all before it go: what is left is without a gap.
            is_full |= is_needed && held_bytes.saturating_add(segment.bytes()) > bytes_max;
            if is_needed && !is_full {
                held_bytes += segment.bytes();
            } else {
                delete.push((*segment, is_needed));
            }
        }
        delete.reverse();
        Overdue { delete, held_bytes }
    }

    /// Deletes a segment, one of `sealed`, by `delete` although it is needed, and counts what its readers lose by that.
    /// Returns a line for each reader that loses some.
    ///
    /// # Errors
    /// That of `delete`; nothing is counted, and readers may read on.
    pub(super) fn forfeit<E>(
        &self,
        directory: &Path,
        sealed: &[Segment],
        segment: &Segment,
        delete: impl FnOnce() -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        let mut before = Vec::new();
        let mut lost = Vec::new();
        for hold in &self.all {
            let mut progress = hold.progress();
            before.push(progress.forfeited);
            if let Some(next) = progress.next().filter(|next| next.segment.reaches(segment.name)) {
                let from = match next.segment {
                    SegmentId::Sealed(own) if own == segment.name => next.byte,
                    // Sealed since, unless one between was deleted.
                    SegmentId::After(last)
                        if progress.forfeited <= last
                            && sealed.iter().find(|other| Some(other.name) > last) == Some(segment) =>
                    {
                        next.byte
                    }
                    _ => 0,
                };
                progress.forfeited = progress.forfeited.max(Some(segment.name));
                lost.push((hold, from));
            }
        }
        // Counted while there is something to count.
        let lost: Vec<_> = lost.into_iter().map(|(hold, from)| (hold, rest(directory, segment, from))).collect();
        if let Err(error) = delete() {
            self.all.iter().zip(before).for_each(|(hold, before)| hold.progress().forfeited = before);
            return Err(error);
        }
        let mut lines = Vec::new();
        for (hold, rest) in lost {
            let (rest, inexact) = match rest {
                Ok(rest) => (rest, String::new()),
                // Its bytes as they are on the disk.
                Err(error) => {
                    let bytes = segment.plain.or(segment.compressed).unwrap_or(0);
                    (Rest { bytes, lines: 0 }, format!(" (its lines cannot be counted: {error})"))
                }
            };
            if rest.bytes > 0 {
                hold.lost_bytes.fetch_add(rest.bytes, Ordering::Relaxed);
                hold.lost_lines.fetch_add(rest.lines, Ordering::Relaxed);
                lines.push(format!("{}: {} lines, {} bytes{inexact}", hold.name, rest.lines, rest.bytes));
            }
        }
        Ok(lines)
    }
}

/// Counts the lines of a segment from byte `from` on, which is the beginning of one.
fn rest(directory: &Path, segment: &Segment, from: u64) -> Result<Rest, SegmentError> {
    if segment.plain.is_some() {
        return rest_of_plain(directory, segment.name, from);
    }
    let mut reader = BlockReader::open(directory, segment.name)?;
    let sidecar = Sidecar::read(directory, segment.name)?;
    let mut rest = Rest { bytes: sidecar.bytes.saturating_sub(from), lines: 0 };
    let mut lines = Vec::new();
    for block in sidecar.blocks.iter().filter(|block| from < block.offset.saturating_add(block.bytes)) {
        rest.lines += if from <= block.offset {
            block.lines + block.foreign_lines
        } else {
            reader.read(block, &mut lines)?;
            // It is inside the block.
            let behind = usize::try_from(from - block.offset).unwrap_or(usize::MAX);
            count_lines(lines.get(behind..).unwrap_or_default())
        };
    }
    Ok(rest)
}

fn rest_of_plain(directory: &Path, name: SegmentName, from: u64) -> Result<Rest, SegmentError> {
    let mut file = open_regular(&directory.join(name.file(SegmentFile::Plain)))?;
    file.seek(SeekFrom::Start(from))?;
    let mut rest = Rest::default();
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(rest);
        }
        rest.bytes += read as u64;
        rest.lines += count_lines(&block[..read]);
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    memchr_iter(b'\n', lines).count() as u64
}

//! What the log's threads tell each other and the rest of the server: health, counts, who is to be woken.
//!
//! Everything here is read with one relaxed load and taken for what it is: a view. What an answer depends on goes
//! through the rings' positions. Counts have one writer each and are stored without a read-modify-write.

use super::{
    high_watermark::{HighWatermark, Published},
    histogram::AtomicHistogram,
    troubles::Troubles,
};
use wake::Doorbell;
use wake::sync::atomic::{AtomicBool, AtomicU8};
// The counts stay the standard library's also in a model: nobody decides by them, and each would cost it a step.
use std::{
    fmt,
    fs::File,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Whether the log takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogHealth {
    /// It does.
    Healthy,
    /// The disk takes no more for now. What was taken is kept, and written when there is room.
    Stalled(Stall),
    /// It never will again: the server has to end.
    Failed(Failure),
}

/// Why the disk takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// `ENOSPC`.
    NoSpace,
    /// `EDQUOT`.
    Quota,
    /// `EFBIG`: over the largest file of the file system or of `RLIMIT_FSIZE` (whose SIGXFSZ must be ignored).
    FileTooLarge,
}

/// What has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A write.
    Write,
    /// A sync.
    Sync,
}

impl LogHealth {
    /// All of them, in the order of their bytes.
    pub const ALL: [Self; 6] = [
        Self::Healthy,
        Self::Stalled(Stall::NoSpace),
        Self::Stalled(Stall::Quota),
        Self::Stalled(Stall::FileTooLarge),
        Self::Failed(Failure::Write),
        Self::Failed(Failure::Sync),
    ];

    const fn byte(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Stalled(Stall::NoSpace) => 1,
            Self::Stalled(Stall::Quota) => 2,
            Self::Stalled(Stall::FileTooLarge) => 3,
            Self::Failed(Failure::Write) => 4,
            Self::Failed(Failure::Sync) => 5,
        }
    }

    /// As it is written in statistics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Stalled(Stall::NoSpace) => "no_space",
            Self::Stalled(Stall::Quota) => "quota",
            Self::Stalled(Stall::FileTooLarge) => "file_too_large",
            Self::Failed(Failure::Write) => "write_failed",
            Self::Failed(Failure::Sync) => "sync_failed",
        }
    }

    /// Whether the log takes lines.
    #[inline]
    #[must_use]
    pub fn is_healthy(self) -> bool {
        self == Self::Healthy
    }

    /// Whether the log has ended for good.
    #[inline]
    #[must_use]
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for LogHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Stalled(stall) => stall.fmt(f),
            Self::Failed(Failure::Write) => f.write_str("a write to the log failed"),
            Self::Failed(Failure::Sync) => f.write_str("a sync of the log failed"),
        }
    }
}

impl Stall {
    /// The stall that `error` is, if it is one that passes.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::NoSpace),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::FileTooLarge => Some(Self::FileTooLarge),
            _ => None,
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "the disk is full",
            Self::Quota => "the disk quota is used up",
            Self::FileTooLarge => "the log has reached the largest size of a file",
        })
    }
}

/// The log's counts at one moment, since its start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LogCounts {
    /// `writev(2)` calls that took bytes.
    pub writevs: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Gatherings of all rings' bytes that were written whole.
    pub gathers: u64,
    /// `writev(2)` calls that took less than they were given.
    pub short_writes: u64,
    /// Times the disk began to refuse what passes: full, over quota, file too large.
    pub stalls: u64,
    /// Times the writer slept.
    pub sleeps: u64,
    /// Wake-ups of reactors and of the group commit, each of which does something only if they sleep.
    pub wakeups: u64,
    /// Rounds of `fdatasync(2)` that succeeded.
    pub fsyncs: u64,
    /// Segments sealed.
    pub rotations: u64,
    /// Times a segment that was to be sealed had to go on.
    pub rotations_postponed: u64,
    /// Times the active segment was found cut, or added to, by another process.
    pub changed_outside: u64,
    /// Times the state file was deleted, cut off or replaced by somebody else, and made again.
    pub notes_lost: u64,
}

/// Stored by the writer, but for `fsyncs`.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    pub(super) writevs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) gathers: AtomicU64,
    pub(super) short_writes: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) sleeps: AtomicU64,
    pub(super) wakeups: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) rotations_postponed: AtomicU64,
    pub(super) changed_outside: AtomicU64,
    pub(super) notes_lost: AtomicU64,
    /// Stored by the group commit.
    pub(super) fsyncs: AtomicU64,
}

/// How long the log's system calls take, and how much they do.
#[derive(Debug, Default)]
pub struct LogTimes {
    /// Nanoseconds of each `writev(2)` that took bytes. Recorded by the writer.
    pub writev_ns: AtomicHistogram,
    /// Bytes that it took. Recorded by the writer.
    pub writev_bytes: AtomicHistogram,
    /// Nanoseconds of each `fdatasync(2)` that succeeded. Recorded by the group commit.
    pub sync_ns: AtomicHistogram,
}

/// Adds to a count whose only writer is the calling thread.
#[inline]
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// How far the writer has come, for the group commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterEnd {
    /// It has not ended.
    Running = 0,
    /// Every appender is gone, and everything they published is in the file.
    Drained = 1,
    /// It has failed, or was never run.
    Gone = 2,
}

/// What the log tells of itself. Shared by its threads, the reactors, and whoever watches.
#[derive(Debug)]
pub struct LogStatus {
    /// A [`LogHealth`]. On a line with what hardly ever changes: reactors read it for every batch.
    health: AtomicU8,
    /// A [`WriterEnd`].
    writer_end: AtomicU8,
    /// Somebody wants the active segment sealed.
    rotation_asked: AtomicBool,
    pub(super) reactor_bells: Vec<Arc<Doorbell>>,
    pub(super) writer_bell: Doorbell,
    pub(super) group_commit_bell: Doorbell,
    pub(super) counters: Counters,
    pub(super) times: LogTimes,
    position: HighWatermark,
    /// The file that `position` is about. Locked to change both, a few times an hour, and by readers to load both.
    active: Mutex<Option<Arc<File>>>,
    troubles: Arc<Troubles>,
}

impl LogStatus {
    pub(super) fn new(reactor_bells: Vec<Arc<Doorbell>>, troubles: Arc<Troubles>) -> io::Result<Self> {
        Ok(Self {
            health: AtomicU8::new(LogHealth::Healthy.byte()),
            writer_end: AtomicU8::new(WriterEnd::Running as u8),
            rotation_asked: AtomicBool::new(false),
            reactor_bells,
            writer_bell: Doorbell::new()?,
            group_commit_bell: Doorbell::new()?,
            counters: Counters::default(),
            times: LogTimes::default(),
            position: HighWatermark::new(),
            active: Mutex::new(None),
            troubles,
        })
    }

    /// Whether the log takes lines.
    #[inline]
    #[must_use]
    pub fn health(&self) -> LogHealth {
        LogHealth::ALL[usize::from(self.health.load(Ordering::Relaxed))]
    }

    /// What the log has done so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        LogCounts {
            writevs: read(&counters.writevs),
            bytes: read(&counters.bytes),
            gathers: read(&counters.gathers),
            short_writes: read(&counters.short_writes),
            stalls: read(&counters.stalls),
            sleeps: read(&counters.sleeps),
            wakeups: read(&counters.wakeups),
            fsyncs: read(&counters.fsyncs),
            rotations: read(&counters.rotations),
            rotations_postponed: read(&counters.rotations_postponed),
            changed_outside: read(&counters.changed_outside),
            notes_lost: read(&counters.notes_lost),
        }
    }

    /// How far the active segment is written.
    #[inline]
    #[must_use]
    pub fn published(&self) -> Published {
        self.position.load()
    }

    /// The active segment, and how far it is written. `None`: it is no file.
    #[inline]
    #[must_use]
    pub fn active(&self) -> Option<(Published, Arc<File>)> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.as_ref().map(|file| (self.position.load(), Arc::clone(file)))
    }

    /// The active segment is another, or no longer what readers know of it: `file`, with this inode, which has `bytes`
    /// bytes. For the writer alone.
    #[inline]
    pub(super) fn begin(&self, file: Option<Arc<File>>, inode: u64, bytes: u64) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        *active = file;
        self.position.begin(inode, bytes);
    }

    /// The active segment has `bytes` bytes. For the writer alone.
    #[inline]
    pub(super) fn advance(&self, bytes: u64) {
        self.position.advance(bytes);
    }

    /// Reasons why the log cannot go on as asked.
    #[inline]
    #[must_use]
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// Asks for the active segment to be sealed, or for the file that was put in its place to be taken over.
    #[inline]
    pub fn ask_for_rotation(&self) {
        self.rotation_asked.store(true, Ordering::Relaxed);
        self.writer_bell.wake();
    }

    #[inline]
    pub(super) fn is_rotation_asked(&self) -> bool {
        self.rotation_asked.load(Ordering::Relaxed)
    }

    /// Takes note of what was asked for.
    #[inline]
    pub(super) fn take_rotation_asked(&self) -> bool {
        self.rotation_asked.swap(false, Ordering::Relaxed)
    }

    /// What its system calls took.
    #[inline]
    #[must_use]
    pub const fn times(&self) -> &LogTimes {
        &self.times
    }

    /// The disk refuses what passes. A failure stays.
    #[inline]
    pub(super) fn stall(&self, stall: Stall) {
        self.change(LogHealth::Stalled(stall));
    }

    /// The disk takes bytes again. A failure stays.
    #[inline]
    pub(super) fn recover(&self) {
        if !self.health().is_healthy() {
            self.change(LogHealth::Healthy);
        }
    }

    /// The log ends. Everybody is woken, also who does not wait for a position, to see it.
    #[inline]
    pub(super) fn fail(&self, failure: Failure) {
        self.change(LogHealth::Failed(failure));
        self.writer_bell.signal();
        self.group_commit_bell.signal();
        self.reactor_bells.iter().for_each(|bell| bell.signal());
    }

    /// The first failure stays whatever comes after it.
    fn change(&self, health: LogHealth) {
        let _ = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |byte| {
            let failed = LogHealth::ALL[usize::from(byte)].has_failed();
            (!failed).then_some(health.byte())
        });
    }

    /// The writer has ended.
    #[inline]
    pub(super) fn end_writer(&self, end: WriterEnd) {
        // Release: what it wrote to the file comes before.
        self.writer_end.store(end as u8, Ordering::Release);
        self.group_commit_bell.signal();
    }

    pub(super) fn writer_end(&self) -> WriterEnd {
        match self.writer_end.load(Ordering::Acquire) {
            0 => WriterEnd::Running,
            1 => WriterEnd::Drained,
            _ => WriterEnd::Gone,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn health_fits_a_byte_and_comes_back() {
        for (byte, health) in (0_u8..).zip(LogHealth::ALL) {
            assert_eq!(health.byte(), byte);
        }
    }

    #[test]
    fn the_first_failure_stays() {
        let status = LogStatus::new(Vec::new(), Arc::default()).unwrap();
        status.stall(Stall::NoSpace);
        assert_eq!(status.health(), LogHealth::Stalled(Stall::NoSpace));
        status.recover();
        assert_eq!(status.health(), LogHealth::Healthy);
        status.fail(Failure::Sync);
        status.recover();
        status.stall(Stall::Quota);
        status.fail(Failure::Write);
        assert_eq!(status.health(), LogHealth::Failed(Failure::Sync));
    }
}

//! The state that the log's threads share with each other and the rest of the server: health, counts, doorbells.
//!
//! Health and counts are read with one relaxed load each, and are a view only: the responses depend on the rings'
//! positions. Counts have one writer each and are stored without a read-modify-write.

use super::{
    high_watermark::{HighWatermark, Published},
    histogram::AtomicHistogram,
    troubles::Troubles,
};
use wake::{
    Doorbell,
    sync::{
        atomic::{AtomicBool, AtomicU8},
        real::Mutex,
    },
};
// The counts use the standard library's atomics also in a model: no thread decides by them, and each would cost it a
// step.
use host::fs::File;
use std::{
    fmt, io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Health of the log: the condition for accepting lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogHealth {
    /// The log accepts lines.
    Healthy,
    /// The disk takes no more for now. Accepted lines are kept, and written when there is space.
    Stalled(Stall),
    /// The log has failed permanently: the server has to exit.
    Failed(Failure),
}

/// The reason why the disk takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// `ENOSPC`.
    NoSpace,
    /// `EDQUOT`.
    Quota,
    /// `EFBIG`: over the largest file of the file system or of `RLIMIT_FSIZE` (whose SIGXFSZ must be ignored).
    FileTooLarge,
}

/// The operation that failed permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A write or a rotation.
    Write,
    /// A sync.
    Sync,
}

impl LogHealth {
    /// All values, in the order of their bytes.
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

    /// Name in statistics.
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

    /// True if the log accepts lines.
    #[inline]
    #[must_use]
    pub fn is_healthy(self) -> bool {
        self == Self::Healthy
    }

    /// True if the log has failed permanently.
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
    /// The stall that `error` causes, if it is transient.
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
    /// Bytes written to the log.
    pub bytes: u64,
    /// Gatherings of all rings' bytes that were written whole.
    pub gathers: u64,
    /// `writev(2)` calls that took less than they were given.
    pub short_writes: u64,
    /// Times the disk began to refuse writes for a transient reason: full, over quota, file too large.
    pub stalls: u64,
    /// Times the writer slept.
    pub sleeps: u64,
    /// Wake-ups of reactors and of the group commit, each of which has an effect only if they sleep.
    pub wakeups: u64,
    /// Rounds of `fdatasync(2)` that succeeded.
    pub fsyncs: u64,
    /// Rotations that began another segment.
    pub rotations: u64,
    /// Times a segment that was to be sealed had to be continued.
    pub rotations_postponed: u64,
    /// Times the active segment was found cut, or added to, by another process.
    pub changed_outside: u64,
    /// Times the state file was deleted, truncated or replaced by another process, and written again.
    pub notes_lost: u64,
}

/// The counters behind [`LogCounts`]. Stored by the writer, but for `fsyncs`.
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

/// Durations of the log's system calls, and the bytes that they write.
#[derive(Debug, Default)]
pub struct LogTimes {
    /// Nanoseconds of each `writev(2)` that took bytes. Recorded by the writer.
    pub writev_ns: AtomicHistogram,
    /// Bytes that it wrote. Recorded by the writer.
    pub writev_bytes: AtomicHistogram,
    /// Nanoseconds of each `fdatasync(2)` that succeeded. Recorded by the group commit.
    pub sync_ns: AtomicHistogram,
}

/// Adds to a count whose only writer is the calling thread.
#[inline]
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// State of the writer, for the group commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterEnd {
    /// The writer has not ended.
    Running = 0,
    /// Every appender is dropped, and everything they published is in the file.
    Drained = 1,
    /// The writer has failed, or was dropped without a run.
    Gone = 2,
}

/// Status of the log. Shared by its threads, the reactors, and the observers.
#[derive(Debug)]
pub struct LogStatus {
    /// A [`LogHealth`]. On a cache line with fields that hardly ever change: reactors read it for every batch.
    health: AtomicU8,
    /// A [`WriterEnd`].
    writer_end: AtomicU8,
    /// True if sealing the active segment is requested.
    rotation_requested: AtomicBool,
    pub(super) reactor_bells: Vec<Arc<Doorbell>>,
    pub(super) writer_bell: Doorbell,
    pub(super) group_commit_bell: Doorbell,
    pub(super) counters: Counters,
    pub(super) times: LogTimes,
    position: HighWatermark,
    /// The file of `position`. Locked to change both, a few times an hour, and by readers to load both.
    active: Mutex<Active>,
    troubles: Arc<Troubles>,
}

/// The active segment's file.
#[derive(Debug, Default)]
struct Active {
    /// `None`: it is not a file.
    file: Option<Arc<File>>,
    /// Number of times that lines were taken out of the log without being sealed: the file was cut, or moved away. A
    /// byte from before means nothing in the file as it is now.
    breaks: u64,
}

impl LogStatus {
    pub(super) fn new(reactor_bells: Vec<Arc<Doorbell>>, troubles: Arc<Troubles>) -> io::Result<Self> {
        Ok(Self {
            health: AtomicU8::new(LogHealth::Healthy.byte()),
            writer_end: AtomicU8::new(WriterEnd::Running as u8),
            rotation_requested: AtomicBool::new(false),
            reactor_bells,
            writer_bell: Doorbell::new()?,
            group_commit_bell: Doorbell::new()?,
            counters: Counters::default(),
            times: LogTimes::default(),
            position: HighWatermark::new(),
            active: Mutex::default(),
            troubles,
        })
    }

    /// Health of the log: the condition for accepting lines.
    #[inline]
    #[must_use]
    pub fn health(&self) -> LogHealth {
        LogHealth::ALL[usize::from(self.health.load(Ordering::Relaxed))]
    }

    /// Counts of the log so far.
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

    /// The high watermark of the active segment.
    #[inline]
    #[must_use]
    pub fn published(&self) -> Published {
        self.position.load()
    }

    /// The active segment with its high watermark. `None`: it is not a file.
    #[inline]
    #[must_use]
    pub fn active(&self) -> Option<(Published, Arc<File>)> {
        self.active_and_breaks().map(|(published, file, _)| (published, file))
    }

    /// The same, with the number of times that lines were taken out of the log.
    pub(super) fn active_and_breaks(&self) -> Option<(Published, Arc<File>, u64)> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.file.as_ref().map(|file| (self.position.load(), Arc::clone(file), active.breaks))
    }

    /// Begins another active segment, or invalidates what readers know of it: `file`, with this inode, which has
    /// `bytes` bytes. `is_break`: lines of the one before are neither in it nor sealed. For the writer alone.
    #[inline]
    pub(super) fn begin(&self, file: Option<Arc<File>>, inode: u64, bytes: u64, is_break: bool) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.file = file;
        active.breaks += u64::from(is_break);
        self.position.begin(inode, bytes);
    }

    /// Publishes that the active segment has `bytes` bytes. For the writer alone.
    #[inline]
    pub(super) fn advance(&self, bytes: u64) {
        self.position.advance(bytes);
    }

    /// The reasons why the log cannot operate as configured.
    #[inline]
    #[must_use]
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// Requests that the active segment is sealed, or that the file that was put in its place is taken over.
    #[inline]
    pub fn ask_for_rotation(&self) {
        self.rotation_requested.store(true, Ordering::Relaxed);
        self.writer_bell.wake();
    }

    #[inline]
    pub(super) fn is_rotation_requested(&self) -> bool {
        self.rotation_requested.load(Ordering::Relaxed)
    }

    /// Takes the request for a rotation, if there is one.
    #[inline]
    pub(super) fn take_rotation_request(&self) -> bool {
        self.rotation_requested.swap(false, Ordering::Relaxed)
    }

    /// Durations of the log's system calls.
    #[inline]
    #[must_use]
    pub const fn times(&self) -> &LogTimes {
        &self.times
    }

    /// Marks the log as stalled for a transient reason. A failure stays.
    #[inline]
    pub(super) fn stall(&self, stall: Stall) {
        self.change(LogHealth::Stalled(stall));
    }

    /// Marks the log as healthy, once the disk takes bytes again. A failure stays.
    #[inline]
    pub(super) fn recover(&self) {
        if !self.health().is_healthy() {
            self.change(LogHealth::Healthy);
        }
    }

    /// Marks the log as failed, and wakes all its threads and reactors, also those that wait for no position.
    #[inline]
    pub(super) fn fail(&self, failure: Failure) {
        self.change(LogHealth::Failed(failure));
        self.writer_bell.signal();
        self.group_commit_bell.signal();
        self.reactor_bells.iter().for_each(|bell| bell.signal());
    }

    /// Changes the health, unless the log has failed: the first failure stays.
    fn change(&self, health: LogHealth) {
        let _ = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |byte| {
            let failed = LogHealth::ALL[usize::from(byte)].has_failed();
            (!failed).then_some(health.byte())
        });
    }

    /// Publishes that the writer has ended.
    #[inline]
    pub(super) fn end_writer(&self, end: WriterEnd) {
        // Release: its writes to the file come before.
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

//! The log: takes whole batches of lines from the reactors and appends them to one file, which it replaces by a new one
//! when it is full or old.
//!
//! ```text
//! reactor: Appender ─ ring ─┐
//! reactor: Appender ─ ring ─┼─> Writer: writev(2) ─> metrics.jsonl <─ fdatasync(2) :GroupCommit
//! reactor: Appender ─ ring ─┘      │ written                                 │ durable
//!    └──────── doorbell <──────────┴─────────────────────────────────────────┘
//! ```
//!
//! Promises:
//! - A batch is in the file whole or not at all, also after the process is killed at any moment (`recovery`). After a
//!   loss of power only what was acknowledged at the level `fsync` is certain to be stored.
//! - Batches of one reactor are in the file in the order of their commits.
//! - A position is published as written or durable only once every byte below it is.
//! - A full disk loses nothing that was accepted: the writer keeps it and retries, and [`LogHealth`] makes the reactors
//!   accept no more. Any other failure is final: nothing is appended after it, and the writer returns the error. (What
//!   was being appended while a sync failed may still be published as written, which it then is.) A sync that has
//!   failed is never retried, since the kernel may have dropped the pages (Rebello et al., "Can Applications Recover
//!   from fsync Failures?", ATC 2020).
//!
//! - Every line is in exactly one segment, and a segment ends with a whole batch.
//!
//! One thread runs the [`Writer`] and one the [`GroupCommit`]. The log ends when every [`Appender`] is dropped: the
//! writer writes what is left and returns, the group commit syncs it, marks the directory as closed cleanly and
//! returns.
//!
//! Everything on the disk beside the active segment belongs to [`segment`], which also parses lines, by the `metric`
//! crate. This crate does not know HTTP, clients or queries.
//!
//! ```
//! use log::{AckLevel, Log, Settings};
//! use std::{fs, sync::Arc, thread};
//! use wake::Doorbell;
//!
//! const LINE: &[u8] = b"a line\n";
//!
//! let directory = tempfile::tempdir()?;
//! let opened = log::open(directory.path())?;
//! let reactor = Arc::new(Doorbell::new()?);
//! let parts = Log::new(opened.file, &[reactor], 64 * 1024, Settings::default())?;
//! let Log { mut appenders, writer, group_commit, .. } = parts;
//! let threads = [thread::spawn(move || writer.run()), thread::spawn(move || group_commit.run())];
//!
//! let mut appender = appenders.remove(0);
//! appender.reserve(LINE.len()).expect("the ring is empty")[..LINE.len()].copy_from_slice(LINE);
//! appender.commit(LINE.len(), AckLevel::Write);
//! appender.publish();
//! // The log ends with its last appender.
//! drop(appender);
//! for thread in threads {
//!     thread.join().expect("no thread of the log panics")?;
//! }
//! assert_eq!(fs::read(directory.path().join("metrics.jsonl"))?, LINE);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(loom, allow(unused))]

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};
use wake::Doorbell;

mod appender;
mod boot;
mod directory;
#[cfg(not(loom))]
mod extent;
#[cfg(loom)]
pub mod extent;
mod file;
mod follow;
mod group_commit;
mod high_watermark;
mod histogram;
pub mod limits;
mod lock;
pub mod os;
mod position;
mod preallocation;
mod recovery;
pub mod ring;
mod rotation;
pub mod segment;
mod state;
mod status;
mod troubles;
mod watch;
mod writer;

#[cfg(test)]
#[cfg(not(loom))]
mod fake_file;

pub use appender::Appender;
pub use boot::Boot;
pub use directory::{LOCK_NAME, OpenError, Opened, STATE_NAME, open, open_file, read_state};
pub use file::{DiskFile, LogFile, RotateError, Rotated};
pub use follow::{FollowError, Follower, LineBuffer, Start};
pub use group_commit::GroupCommit;
pub use high_watermark::Published;
pub use histogram::{AtomicHistogram, HistogramSnapshot};
pub use lock::{DirectoryLock, Holder, holder};
pub use position::{LogPosition, NotAPosition, SegmentId};
pub use recovery::{
    Cut, CutReason, Previous, RecoveryReport, create_set_aside, end_of_last_line, recover, whole_bytes,
};
pub use state::{Standing, State, StateFile};
pub use status::{Failure, LogCounts, LogHealth, LogStatus, LogTimes, Stall};
pub use troubles::{Trouble, Troubles};
pub use watch::Watch;
pub use writer::Writer;

/// The condition under which a batch is acknowledged to its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// Handed to the writer.
    Memory,
    /// In the file: survives a crash of the process.
    #[default]
    Write,
    /// On stable storage: survives a loss of power.
    Fsync,
}

impl AckLevel {
    /// Name of the level in the configuration and in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Write => "write",
            Self::Fsync => "fsync",
        }
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error: the text names no acknowledgement level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAckLevel;

impl fmt::Display for UnknownAckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected memory, write or fsync")
    }
}

impl std::error::Error for UnknownAckLevel {}

impl FromStr for AckLevel {
    type Err = UnknownAckLevel;

    fn from_str(text: &str) -> Result<Self, UnknownAckLevel> {
        [Self::Memory, Self::Write, Self::Fsync].into_iter().find(|level| level.name() == text).ok_or(UnknownAckLevel)
    }
}

/// Configuration of the writer.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Time for which the writer polls its rings before it sleeps; zero when it shares its core with a reactor.
    pub poll_before_sleep: Duration,
    /// First wait before a write is retried on a full disk; doubles up to `stall_retry_max`.
    pub stall_retry_first: Duration,
    /// Longest wait before a write is retried on a full disk.
    pub stall_retry_max: Duration,
    /// Longest wait for space on a full disk once every appender is dropped.
    pub stall_at_drain_max: Duration,
    /// Length at which the active segment is sealed, in bytes. A gathering that passes it is still written whole.
    pub rotate_bytes: Option<u64>,
    /// Age at which the active segment is sealed.
    pub rotate_age: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_before_sleep: limits::WRITER_POLL_DEFAULT,
            stall_retry_first: Duration::from_millis(limits::STALL_RETRY_MS_FIRST),
            stall_retry_max: Duration::from_millis(limits::STALL_RETRY_MS_MAX),
            stall_at_drain_max: Duration::from_millis(limits::STALL_MS_AT_DRAIN_MAX),
            rotate_bytes: None,
            rotate_age: None,
        }
    }
}

/// The parts of a log, each to be moved to its thread.
#[derive(Debug)]
pub struct Log<F: LogFile> {
    /// One appender for each reactor, in the order of their doorbells.
    pub appenders: Vec<Appender>,
    /// The writer, to run on the writer's core.
    pub writer: Writer<F>,
    /// The group commit, to run on a thread of its own.
    pub group_commit: GroupCommit<F>,
    /// Status of the log, for observers.
    pub status: Arc<LogStatus>,
}

impl<F: LogFile> Log<F> {
    /// Creates a ring of `ring_bytes` from each of `reactors` to `file`.
    ///
    /// # Errors
    /// No descriptor for a doorbell is available, or the file's size cannot be read.
    ///
    /// # Panics
    /// `ring_bytes` is not a power of two.
    pub fn new(file: F, reactors: &[Arc<Doorbell>], ring_bytes: usize, settings: Settings) -> io::Result<Self> {
        let status = Arc::new(LogStatus::new(reactors.to_vec(), file.troubles())?);
        let (producers, consumers): (Vec<_>, Vec<_>) = reactors.iter().map(|_| ring::ring(ring_bytes)).unzip();
        let (senders, receivers): (Vec<_>, Vec<_>) = reactors.iter().map(|_| extent::extents()).unzip();
        let file = Arc::new(file);
        let durabilities = consumers.iter().map(ring::RingConsumer::durability).collect();
        Ok(Self {
            appenders: producers
                .into_iter()
                .zip(receivers)
                .map(|(ring, extents)| Appender::new(ring, extents, Arc::clone(&status)))
                .collect(),
            group_commit: GroupCommit::new(Arc::clone(&file), durabilities, Arc::clone(&status)),
            writer: Writer::new(file, consumers, senders, settings, Arc::clone(&status))?,
            status,
        })
    }
}

/// The reason why the log ended before everything it had accepted was stored.
#[derive(Debug)]
pub enum LogError {
    /// A write failed permanently.
    Write(io::Error),
    /// The active segment could neither be sealed nor be continued.
    Rotate(io::Error),
    /// A sync failed. What was written since the last successful one may be lost.
    Sync(io::Error),
    /// The server drains, and the disk stayed full.
    Unwritten {
        /// Bytes of lines that were accepted and are not in the file.
        bytes: u64,
        /// The disk's reason for refusing writes.
        reason: Stall,
    },
    /// The other thread of the log has failed, and reports the reason.
    Stopped,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => write!(f, "writing to the log failed: {error}"),
            Self::Rotate(error) => write!(f, "rotating the log failed: {error}"),
            Self::Sync(error) => write!(f, "syncing the log failed, and cannot be retried: {error}"),
            Self::Unwritten { bytes, reason } => {
                write!(f, "{bytes} bytes could not be written to the log: {reason}")
            }
            Self::Stopped => f.write_str("the log has stopped after a failure"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(error) | Self::Rotate(error) | Self::Sync(error) => Some(error),
            Self::Unwritten { .. } | Self::Stopped => None,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

//! The place of a forward in the log: from where it reads, what its receiver has, and the cursor on disk.

use super::{
    config::StartAt,
    cursor::{self, Cursor},
    lane::{LastWarning, Shared},
};
use crate::{limits, stats::ForwardStatus};
use host::time::Instant;
use log::{FollowError, Follower, LogPosition, LogStatus, SegmentId, Start, segment::Catalog};
use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The server stops.
#[derive(Debug)]
pub struct Stopped;

/// Reads the log for one forward, and writes its cursor.
pub struct Reading {
    shared: Arc<Shared>,
    directory: PathBuf,
    log: Arc<LogStatus>,
    /// The position that the receiver has everything before; `None` before the first was determined.
    pub delivered: Option<LogPosition>,
    /// The number of lines up to there, where the receiver counts them.
    pub lines: Option<u64>,
    /// The position in the cursor's file, and the time it was written.
    recorded: Option<LogPosition>,
    recorded_at: Instant,
    counted_at: Option<Instant>,
}

impl Reading {
    /// Reads the log in `directory`.
    pub fn new(shared: Arc<Shared>, directory: &Path, log: Arc<LogStatus>) -> Self {
        Self {
            shared,
            directory: directory.to_owned(),
            log,
            delivered: None,
            lines: None,
            recorded: None,
            recorded_at: Instant::now(),
            counted_at: None,
        }
    }

    /// Waits. Fails early if the server stops.
    pub fn wait(&self, time: Duration) -> Result<(), Stopped> {
        if self.shared.stop.wait(time) { Err(Stopped) } else { Ok(()) }
    }

    /// The position that is delivered, that of the cursor on disk, or the place where a new forward begins. `None`: the
    /// cursor cannot be read now.
    pub fn start(&mut self) -> Option<Start> {
        if let Some(position) = self.delivered {
            return Some(Start::At(position));
        }
        let Shared { config, status, .. } = &*self.shared;
        let file = cursor::file_name(&config.name);
        match cursor::read(&self.directory, &config.name) {
            Ok(Some(cursor)) => {
                self.lines = cursor.lines;
                Some(Start::At(cursor.position))
            }
            Ok(None) => Some(match config.start {
                StartAt::End => Start::End,
                StartAt::Beginning => Start::Oldest,
            }),
            // It has begun, and its place is unknown: what was delivered comes again, and nothing is passed by.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let what = format!("{file}: {error}; everything that the log has is sent again");
                status.note_error(&what);
                tracing::warn!("forward {}: {what}", config.name);
                Some(Start::Oldest)
            }
            Err(error) => {
                self.note_unreadable(&format!("{file}: {error}"));
                None
            }
        }
    }

    /// Opens the log at `start`, or at the oldest line if it does not hold that. `None`: it cannot be read now.
    pub fn open(&mut self, start: Start) -> Option<Follower> {
        let opened = match Follower::open(&self.directory, Arc::clone(&self.log), start) {
            Err(error @ (FollowError::Gone { .. } | FollowError::InsideLine)) => {
                self.note_gap(&error);
                Follower::open(&self.directory, Arc::clone(&self.log), Start::Oldest)
            }
            opened => opened,
        };
        match opened {
            Ok(follower) => {
                self.delivered = Some(follower.position());
                Some(follower)
            }
            Err(error) => {
                self.note_unreadable(&error);
                None
            }
        }
    }

    /// Writes the cursor, at once or after an interval, if it has moved.
    pub fn record(&mut self, at_once: bool) {
        let Some(delivered) = self.delivered.filter(|_| self.delivered != self.recorded) else { return };
        if !at_once && self.recorded_at.elapsed() < limits::FORWARD_CURSOR_INTERVAL {
            return;
        }
        self.recorded_at = Instant::now();
        let Shared { config, status, warned, .. } = &*self.shared;
        match cursor::write(&self.directory, &config.name, Cursor { position: delivered, lines: self.lines }) {
            Ok(()) => {
                self.recorded = Some(delivered);
                status.hold.record(delivered);
            }
            Err(error) => {
                ForwardStatus::count(&status.cursor_failures, 1);
                if warned.cursor.is_due() {
                    let file = cursor::file_name(&config.name);
                    tracing::warn!("cannot write {file}: {error}; after a restart samples are sent again");
                }
            }
        }
    }

    /// Counts the backlog, once in a while.
    pub fn count_behind(&mut self, read: usize) {
        if read == 0 {
            self.shared.status.note_caught_up();
            return;
        }
        if self.counted_at.is_some_and(|last| last.elapsed() < limits::FORWARD_COUNT_INTERVAL) {
            return;
        }
        self.counted_at = Some(Instant::now());
        if let Some(Ok(bytes)) = self.delivered.map(|position| self.behind(position)) {
            self.shared.status.bytes_behind.store(bytes, Ordering::Relaxed);
        }
    }

    fn behind(&self, position: LogPosition) -> io::Result<u64> {
        let catalog = Catalog::list(&self.directory)?;
        let active = self.log.published().bytes;
        let is_behind = |name| match position.segment {
            SegmentId::Sealed(own) => name >= own,
            SegmentId::After(last) => Some(name) > last,
        };
        let sealed = catalog.segments.iter().filter(|segment| is_behind(segment.name));
        let sealed: u64 = sealed.map(|segment| segment.plain.or(segment.compressed).unwrap_or(0)).sum();
        Ok((sealed + active).saturating_sub(position.byte))
    }

    /// Notes that the log does not hold the position any more.
    pub fn note_gap(&self, error: &FollowError) {
        let Shared { config, status, .. } = &*self.shared;
        ForwardStatus::count(&status.gaps, 1);
        status.note_error(&error.to_string());
        tracing::warn!(
            "forward {}: {error}; it continues at the oldest line, and what is between is not sent",
            config.name
        );
    }

    /// Notes that the log or the cursor cannot be read.
    pub fn note_unreadable(&self, error: &impl Display) {
        self.shared.status.note_error(&error.to_string());
        let unreadable: &LastWarning = &self.shared.warned.unreadable;
        if unreadable.is_due() {
            tracing::warn!("forward {}: {error}", self.shared.config.name);
        }
    }
}

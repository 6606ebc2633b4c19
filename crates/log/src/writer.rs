//! The writer: one thread that writes the bytes of every ring to the file.
//!
//! Owns the rings' consumers. Promises that a ring's head moves only when everything below it is in the file and the
//! file's length is recorded, that a short write continues at the next byte, that a segment ends with a whole batch,
//! and that the writer never sleeps over published bytes. May not sync the lines: that would delay every response by
//! the disk; `group_commit` does it.

use super::{
    LogError, LogFile, LogStatus, RotateError, Rotated, Settings, Stall, Trouble,
    extent::{Extent, ExtentSender},
    histogram::nanoseconds_since,
    preallocation::Preallocation,
    ring::RingConsumer,
    status::{Failure, WriterEnd, count},
};
use crate::{
    limits::{self, RINGS_PER_GATHER_MAX},
    segment::SegmentName,
};
use host::time::{Duration, Instant};
use std::{
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

/// Writes the rings' bytes to the file, until every appender is dropped.
#[derive(Debug)]
pub struct Writer<F: LogFile> {
    file: Arc<F>,
    /// In the order of `LogStatus::reactor_bells`.
    rings: Vec<RingConsumer>,
    /// The places of the rings' bytes, for the reactors; in the same order.
    extents: Vec<ExtentSender>,
    settings: Settings,
    status: Arc<LogStatus>,
    /// The newest segment that was sealed before the active one was begun.
    predecessor: Option<SegmentName>,
    /// The active segment's length after the last whole gathering.
    committed_bytes: u64,
    preallocation: Preallocation,
    started: Instant,
    /// Time at which the active segment is old enough to be sealed.
    rotate_at: Option<Instant>,
    /// True if a requested rotation was postponed.
    rotation_owed: bool,
    /// Time until which a postponed rotation is not retried, unless one is requested.
    postponed_until: Option<Instant>,
    /// Time of the last warning that another process changed the active segment.
    warned_outside: Option<Instant>,
    drained: bool,
}

impl<F: LogFile> Writer<F> {
    pub(super) fn new(
        file: Arc<F>,
        rings: Vec<RingConsumer>,
        extents: Vec<ExtentSender>,
        settings: Settings,
        status: Arc<LogStatus>,
    ) -> io::Result<Self> {
        assert_eq!((rings.len(), extents.len()), (status.reactor_bells.len(), rings.len()));
        let committed_bytes = file.size_bytes()?;
        status.begin(file.reader(), file.inode()?, committed_bytes, false);
        let started = Instant::now();
        let rotate_at = settings.rotate_age.map(|age| started + age.saturating_sub(file.age()));
        Ok(Self {
            predecessor: file.predecessor(),
            file,
            rings,
            extents,
            settings,
            status,
            committed_bytes,
            preallocation: Preallocation::new(committed_bytes, settings.rotate_bytes),
            started,
            rotate_at,
            rotation_owed: false,
            postponed_until: None,
            warned_outside: None,
            drained: false,
        })
    }

    /// Writes until every appender is dropped and everything they published is in the file.
    ///
    /// # Errors
    /// Not everything could be written. What was acknowledged is in the file, and no part of a batch is left there.
    pub fn run(mut self) -> Result<(), LogError> {
        let result = self.write_all();
        self.drained = result.is_ok();
        match &result {
            Ok(()) | Err(LogError::Stopped) => {}
            Err(_) => self.status.fail(Failure::Write),
        }
        result
    }

    /// Further views of the rings' positions.
    #[cfg(test)]
    #[cfg(not(loom))]
    pub(super) fn watch(&self) -> Vec<super::ring::RingDurability> {
        self.rings.iter().map(RingConsumer::durability).collect()
    }

    fn write_all(&mut self) -> Result<(), LogError> {
        loop {
            if self.status.health().has_failed() {
                return Err(LogError::Stopped);
            }
            if self.is_rotation_due() {
                self.rotate()?;
            }
            if self.write_published()? {
                continue;
            }
            if self.is_drained() {
                return Ok(());
            }
            if !self.poll() {
                self.sleep();
            }
        }
    }

    /// Writes everything that all rings have published. Returns true if there was anything. [`run`](Self::run) calls
    /// this in a loop; a server without a thread for its writer calls it on the thread that published.
    ///
    /// # Errors
    /// A write failed, which is final: the process has to exit.
    pub fn write_published(&mut self) -> Result<bool, LogError> {
        let mut any = false;
        for first in (0..self.rings.len()).step_by(RINGS_PER_GATHER_MAX) {
            let last = (first + RINGS_PER_GATHER_MAX).min(self.rings.len());
            any |= self.write_gathered(first..last)?;
        }
        Ok(any)
    }

    /// Time at which the active segment is to be sealed: at once if a rotation is requested, even if one was postponed
    /// before; otherwise when it is full or old, which an empty one never is.
    fn rotation_at(&self) -> Option<Instant> {
        if self.status.is_rotation_requested() {
            return Some(self.started);
        }
        let is_full = self.settings.rotate_bytes.is_some_and(|bytes| self.committed_bytes >= bytes);
        let at = if self.rotation_owed || (is_full && self.committed_bytes > 0) {
            self.started
        } else {
            self.rotate_at.filter(|_| self.committed_bytes > 0)?
        };
        Some(self.postponed_until.map_or(at, |until| until.max(at)))
    }

    fn is_rotation_due(&self) -> bool {
        // The clock is read only if there is a time to compare with.
        self.rotation_at().is_some_and(|at| at <= Instant::now())
    }

    /// Seals the active segment, or takes over the file that was put in its place. If neither is possible, the segment
    /// is continued, and the rotation is retried later.
    fn rotate(&mut self) -> Result<(), LogError> {
        let requested = self.status.take_rotation_request() || self.rotation_owed;
        let (begun_bytes, had_lines) = match self.file.rotate(requested) {
            Ok(Rotated::Begun(bytes)) => {
                count(&self.status.counters.rotations, 1);
                // The file that is left is synced even if no response waits for it.
                self.status.group_commit_bell.wake();
                (bytes, true)
            }
            // An empty file that had lines was cut.
            Ok(Rotated::Unneeded) => (0, self.committed_bytes > 0),
            Err(RotateError::Postponed(error)) => {
                self.postpone_rotation(requested, &error);
                return Ok(());
            }
            Err(RotateError::Failed(error)) => return Err(LogError::Rotate(error)),
        };
        self.status.troubles().set(Trouble::Rotation, None);
        (self.rotation_owed, self.postponed_until) = (false, None);
        self.rotate_at = self.settings.rotate_age.map(|age| Instant::now() + age);
        self.committed_bytes = begun_bytes;
        self.preallocation.begin(begun_bytes);
        let before = std::mem::replace(&mut self.predecessor, self.file.predecessor());
        let is_break = had_lines && before == self.predecessor;
        let inode = self.file.inode().map_err(LogError::Rotate)?;
        self.status.begin(self.file.reader(), inode, begun_bytes, is_break);
        self.persist(|| self.file.record(begun_bytes))
    }

    fn postpone_rotation(&mut self, requested: bool, error: &io::Error) {
        let retry_after = Duration::from_millis(limits::ROTATE_RETRY_MS);
        let text = format!("rotating the log failed; retry in {retry_after:?}: {error}");
        self.status.troubles().set(Trouble::Rotation, Some(text));
        count(&self.status.counters.rotations_postponed, 1);
        self.rotation_owed = requested;
        self.postponed_until = Some(Instant::now() + retry_after);
    }

    /// Handles a change of the active segment by another process: its length is not the one that the append results in,
    /// as it was cut (logrotate's `copytruncate`) or added to. The bytes written by this gathering are whole all the
    /// same; what readers know of the bytes before them may be outdated.
    fn note_outside_change(&mut self, expected_bytes: u64) -> Result<(), LogError> {
        let inode = self.persist(|| self.file.inode())?;
        self.preallocation.begin(self.committed_bytes);
        self.status.begin(self.file.reader(), inode, self.committed_bytes, self.committed_bytes < expected_bytes);
        count(&self.status.counters.changed_outside, 1);
        let interval = Duration::from_nanos(limits::WARNING_INTERVAL_NS);
        if self.warned_outside.is_none_or(|warned| warned.elapsed() >= interval) {
            self.warned_outside = Some(Instant::now());
            tracing::warn!(
                "another process changed the log: it has {} bytes, expected {expected_bytes}",
                self.committed_bytes
            );
        }
        Ok(())
    }

    /// Writes the bytes that the rings in `range` have published: gathers, appends, records, publishes, wakes.
    fn write_gathered(&mut self, range: Range<usize>) -> Result<bool, LogError> {
        let bytes: usize = self.rings[range.clone()].iter_mut().map(RingConsumer::look).sum();
        if bytes == 0 {
            return Ok(false);
        }
        let expected_bytes = self.committed_bytes + bytes as u64;
        if let Some(range) = self.preallocation.before(self.committed_bytes, expected_bytes)
            && !self.file.preallocate(range)
        {
            self.preallocation.give_up();
        }
        self.committed_bytes = self.append_whole(range.clone(), bytes).inspect_err(|_| self.cut_unrecorded())?;
        // Published before anything of it can be acknowledged.
        if self.committed_bytes == expected_bytes {
            self.status.advance(self.committed_bytes);
            self.pass_extents(range.clone(), expected_bytes - bytes as u64);
        } else {
            self.note_outside_change(expected_bytes)?;
        }
        self.status.recover();
        count(&self.status.counters.gathers, 1);
        for (ring, bell) in self.rings[range.clone()].iter_mut().zip(&self.status.reactor_bells[range]) {
            let awaited = ring.release(ring.seen());
            if awaited.written {
                count(&self.status.counters.wakeups, 1);
                bell.wake();
            }
            if awaited.durable {
                count(&self.status.counters.wakeups, 1);
                self.status.group_commit_bell.wake();
            }
        }
        Ok(true)
    }

    /// Passes the places of the bytes that the last look at the rings in `range` found, which are in the active segment
    /// from `byte` on.
    fn pass_extents(&mut self, range: Range<usize>, mut byte: u64) {
        for (ring, extents) in self.rings[range.clone()].iter().zip(&mut self.extents[range]) {
            let (begin, bytes) = (ring.head(), ring.seen() as u64);
            if bytes > 0 {
                extents.put(&Extent { begin, end: begin + bytes, byte, after: self.predecessor });
                byte += bytes;
            }
        }
    }

    /// Appends the `bytes` that the last look at the rings in `range` found, then records the file's length and returns
    /// it. The length is read from the file, as the log may also have been emptied or added to by hand.
    fn append_whole(&self, range: Range<usize>, bytes: usize) -> Result<u64, LogError> {
        let mut pieces = [IoSlice::new(&[]); 2 * RINGS_PER_GATHER_MAX];
        let mut gathered = 0;
        for piece in self.rings[range].iter().flat_map(RingConsumer::readable).filter(|piece| !piece.is_empty()) {
            pieces[gathered] = IoSlice::new(piece);
            gathered += 1;
        }
        let mut rest = &mut pieces[..gathered];
        let mut left = bytes;
        while left > 0 {
            let taken = self.persist(|| {
                let began = Instant::now();
                match self.file.append(rest) {
                    Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                    Ok(taken) => {
                        self.status.times.writev_ns.record(nanoseconds_since(began));
                        self.status.times.writev_bytes.record(taken as u64);
                        Ok(taken)
                    }
                    result => result,
                }
            })?;
            IoSlice::advance_slices(&mut rest, taken);
            left -= taken;
            count(&self.status.counters.writevs, 1);
            count(&self.status.counters.bytes, taken as u64);
            count(&self.status.counters.short_writes, u64::from(left > 0));
        }
        let size_bytes = self.persist(|| self.file.size_bytes())?;
        self.persist(|| self.file.record(size_bytes))?;
        self.status.counters.notes_lost.store(self.file.notes_lost(), Ordering::Relaxed);
        Ok(size_bytes)
    }

    /// Removes what a failed gathering has left in the file. Best effort: the next start cuts off what remains.
    fn cut_unrecorded(&self) {
        // A file that was emptied by hand must not be made longer.
        if self.file.size_bytes().is_ok_and(|size_bytes| size_bytes > self.committed_bytes) {
            let _ = self.file.truncate(self.committed_bytes);
        }
    }

    /// Runs `operation`, and retries it while the disk refuses it for a transient reason.
    fn persist<T>(&self, mut operation: impl FnMut() -> io::Result<T>) -> Result<T, LogError> {
        let mut stalled_since = None;
        let mut retry_after = self.settings.stall_retry_first;
        loop {
            let error = match operation() {
                Ok(done) => return Ok(done),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let Some(reason) = Stall::of(&error) else { return Err(LogError::Write(error)) };
            if self.status.health().is_healthy() {
                count(&self.status.counters.stalls, 1);
            }
            self.status.stall(reason);
            let stalled_since = *stalled_since.get_or_insert_with(Instant::now);
            if self.rings.iter().all(RingConsumer::is_closed)
                && stalled_since.elapsed() >= self.settings.stall_at_drain_max
            {
                return Err(LogError::Unwritten {
                    bytes: self.rings.iter().map(RingConsumer::unreleased).sum(),
                    reason,
                });
            }
            // The bell ends the wait only for a failure: a writer that has not announced its sleep is not woken.
            self.status.writer_bell.wait(Some(retry_after));
            self.status.writer_bell.drain();
            if self.status.health().has_failed() {
                return Err(LogError::Stopped);
            }
            retry_after = (2 * retry_after).min(self.settings.stall_retry_max);
        }
    }

    /// True if every ring is closed, and everything published is written.
    fn is_drained(&mut self) -> bool {
        self.rings.iter_mut().all(|ring| ring.is_closed() && ring.look() == 0)
    }

    fn has_news(&mut self) -> bool {
        self.rings.iter_mut().any(|ring| ring.look() > 0)
            || self.is_drained()
            || self.status.health().has_failed()
            || self.is_rotation_due()
    }

    /// Polls for news. Returns true if there are any.
    fn poll(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < self.settings.poll_before_sleep {
            if self.has_news() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Sleeps until there may be news.
    fn sleep(&mut self) {
        self.status.writer_bell.announce_sleep();
        if !self.has_news() {
            count(&self.status.counters.sleeps, 1);
            // A segment is sealed in time also when nothing is published.
            let limit = self.rotation_at().map(|at| at.saturating_duration_since(Instant::now()));
            self.status.writer_bell.wait(limit);
        }
        self.status.writer_bell.awake();
        self.status.writer_bell.drain();
    }
}

impl<F: LogFile> Drop for Writer<F> {
    fn drop(&mut self) {
        self.status.end_writer(if self.drained { WriterEnd::Drained } else { WriterEnd::Gone });
    }
}

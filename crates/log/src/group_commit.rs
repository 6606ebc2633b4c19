//! The group commit: one thread that syncs the file for all requests that wait for it.
//!
//! Owns the rings' durable positions, and is the only thread that syncs the active segment: a sync's error is reported
//! once, and must not be consumed by a thread that drops it. There is no tick: it syncs when a response waits for it,
//! and again at once while more do; all that was written while one sync ran shares the next. A sealed segment is synced
//! without a request. Promises that a durable position covers only bytes that were written before their sync began.

use super::{
    LogError, LogFile, LogStatus,
    histogram::nanoseconds_since,
    ring::RingDurability,
    status::{Failure, WriterEnd, count},
};
use host::{thread, time::Instant};
use std::sync::Arc;

/// Makes written bytes durable when a response waits for it or a segment was sealed, until the writer has ended.
#[derive(Debug)]
pub struct GroupCommit<F: LogFile> {
    file: Arc<F>,
    /// In the order of `LogStatus::reactor_bells`.
    rings: Vec<RingDurability>,
    /// The written position of each ring when the sync began.
    snapshot: Vec<u64>,
    status: Arc<LogStatus>,
}

impl<F: LogFile> GroupCommit<F> {
    pub(super) fn new(file: Arc<F>, rings: Vec<RingDurability>, status: Arc<LogStatus>) -> Self {
        assert_eq!(rings.len(), status.reactor_bells.len());
        Self { file, snapshot: vec![0; rings.len()], rings, status }
    }

    /// Syncs until the writer has ended; if it ended without an error, syncs once more and marks the log as closed
    /// cleanly.
    ///
    /// # Errors
    /// A sync failed, which is final, or the writer failed.
    pub fn run(mut self) -> Result<(), LogError> {
        loop {
            match self.status.writer_end() {
                WriterEnd::Running => {}
                WriterEnd::Drained => {
                    self.sync()?;
                    return self.file.mark_clean().map_err(|error| self.fail(error));
                }
                WriterEnd::Gone => return Err(LogError::Stopped),
            }
            if self.is_wanted() {
                self.sync()?;
                // If the reactors share this core, they send what they were woken for before the next sync takes the
                // core to begin, and receive the requests that share it. Measured so, on one core with 64 and 500
                // connections that send requests without a pause: 12 % more requests, 10 % less CPU a request.
                thread::yield_now();
            } else {
                self.sleep();
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.rings.iter().any(RingDurability::is_wanted) || self.file.has_unsynced_segment()
    }

    /// Makes everything written durable. [`run`](Self::run) calls this for all waiting requests; a server without a
    /// thread for its group commit calls it on the thread that waits.
    ///
    /// # Errors
    /// The sync failed, which is final: the process has to exit.
    pub fn sync(&mut self) -> Result<(), LogError> {
        for (written, ring) in self.snapshot.iter_mut().zip(&self.rings) {
            *written = ring.written();
        }
        let began = Instant::now();
        self.file.sync_data().map_err(|error| self.fail(error))?;
        self.status.times.sync_ns.record(nanoseconds_since(began));
        count(&self.status.counters.fsyncs, 1);
        for ((ring, &written), bell) in self.rings.iter_mut().zip(&self.snapshot).zip(&self.status.reactor_bells) {
            if ring.publish(written) {
                bell.wake();
            }
        }
        Ok(())
    }

    fn fail(&self, error: std::io::Error) -> LogError {
        self.status.fail(Failure::Sync);
        LogError::Sync(error)
    }

    fn sleep(&self) {
        let bell = &self.status.group_commit_bell;
        bell.announce_sleep();
        if !self.is_wanted() && self.status.writer_end() == WriterEnd::Running {
            bell.wait(None);
        }
        bell.awake();
        bell.drain();
    }
}

//! The reactor's end of the log. Owns the producer of one ring; wakes the writer when something was published.

use super::{AckLevel, LogHealth, LogPosition, LogStatus, extent::ExtentReceiver, ring::RingProducer};
use crate::limits::{EARLY_PUBLICATIONS_MAX, UNPUBLISHED_BYTES_MAX};
use host::thread;
use std::sync::Arc;

/// Appends one reactor's batches. Dropping it closes the ring.
///
/// The calls for a batch are `reserve` and `commit`; then `publish` once per turn of the reactor for all of them, of
/// which `commit` publishes what is more than [`UNPUBLISHED_BYTES_MAX`] before. A response may be sent when
/// [`acknowledged`](Self::acknowledged) at its level has reached the position that `commit` returned; the reactor's
/// doorbell is woken when a position moved that a response waits for. The caller checks [`health`](Self::health) before
/// it reserves a batch: a log that is not healthy accepts none.
#[derive(Debug)]
pub struct Appender {
    ring: RingProducer,
    extents: ExtentReceiver,
    status: Arc<LogStatus>,
    /// True if the writer runs on this thread's core.
    shares_core: bool,
    /// Publications of this turn before its end.
    early: usize,
}

impl Appender {
    pub(super) fn new(ring: RingProducer, extents: ExtentReceiver, status: Arc<LogStatus>) -> Self {
        Self { ring, extents, status, shares_core: false, early: 0 }
    }

    /// Sets whether the thread that appends is on the writer's core, so that one of the two runs at a time.
    #[must_use]
    pub fn sharing_core(mut self, shares_core: bool) -> Self {
        self.shares_core = shares_core;
        self
    }

    /// Health of the log: the condition for reserving a batch.
    #[inline]
    #[must_use]
    pub fn health(&self) -> LogHealth {
        self.status.health()
    }

    /// Status of the log: health, counts, troubles.
    #[inline]
    #[must_use]
    pub fn status(&self) -> &LogStatus {
        &self.status
    }

    /// Reserves space for the lines of one batch of at most `bytes_max`, in one piece. `None`: the ring is too full,
    /// and the batch is to be refused. The content of the slice is unspecified.
    #[inline]
    pub fn reserve(&mut self, bytes_max: usize) -> Option<&mut [u8]> {
        self.ring.reserve(bytes_max)
    }

    /// Commits the first `bytes` of the reservation as one batch, whose response waits for `level`. Returns the
    /// position of its end. The bytes must end with a line end. Publishes them if much is unpublished, and lets the
    /// writer run first if it [shares the core](Self::sharing_core).
    ///
    /// # Panics
    /// More bytes than were reserved.
    #[inline]
    pub fn commit(&mut self, bytes: usize, level: AckLevel) -> u64 {
        let position = self.ring.commit(bytes);
        match level {
            AckLevel::Memory => {}
            AckLevel::Write => self.ring.await_written(position),
            AckLevel::Fsync => self.ring.await_durable(position),
        }
        if self.ring.unpublished() >= UNPUBLISHED_BYTES_MAX && self.early < EARLY_PUBLICATIONS_MAX {
            self.hand_over();
        }
        position
    }

    /// Publishes everything committed to the writer, and wakes it if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        self.early = 0;
        if self.ring.publish() {
            self.status.writer_bell.wake();
        }
    }

    /// Publishes what is committed in the middle of a turn. A writer on the same core gets it at once, and copies the
    /// lines while they are in a cache; another one begins with them.
    #[cold]
    #[inline(never)]
    fn hand_over(&mut self) {
        self.early += 1;
        if self.ring.publish() {
            self.status.writer_bell.wake();
            if self.shares_core {
                thread::yield_now();
            }
        }
    }

    /// The position at or below which batches are acknowledged at `level`.
    #[inline]
    #[must_use]
    pub fn acknowledged(&self, level: AckLevel) -> u64 {
        match level {
            AckLevel::Memory => self.ring.committed(),
            AckLevel::Write => self.ring.written(),
            AckLevel::Fsync => self.ring.durable(),
        }
    }

    /// The place in the log of the end of a batch at `position`, which is written. To be called in ascending order of
    /// positions, and [`pass`](Self::pass) once per turn. `None`: unknown, as another process changed the file.
    #[inline]
    pub fn locate(&mut self, position: u64) -> Option<LogPosition> {
        self.extents.locate(position)
    }

    /// Notes that no batch at or before `position`, which is written, will be located.
    #[inline]
    pub fn pass(&mut self, position: u64) {
        self.extents.pass(position);
    }

    /// Bytes committed that are not in the file yet; at most [`capacity_bytes`](Self::capacity_bytes).
    #[inline]
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.ring.committed() - self.ring.written()
    }

    /// Gives the ring's free memory back to the kernel, if the ring was hardly used since the last call.
    pub fn trim(&mut self) {
        self.ring.trim();
    }

    /// Capacity of the ring in bytes.
    #[inline]
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.ring.capacity()
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.ring.close();
        self.status.writer_bell.wake();
    }
}

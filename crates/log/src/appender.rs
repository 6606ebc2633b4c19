//! A reactor's end of the log. Owns the producer of one ring; wakes the writer when something was published.

use super::{AckLevel, LogHealth, LogStatus, ring::RingProducer};
use std::sync::Arc;

/// Appends one reactor's batches. Dropping it says that the reactor has nothing more to come.
///
/// A batch goes `reserve`, `commit`; then `publish` once per turn of the reactor for all of them. Its answer may be sent
/// when [`acknowledged`](Self::acknowledged) at its level has come to the position that `commit` gave; the reactor's
/// doorbell is woken when a position moved that an answer waits for. Before a batch is reserved, [`health`](Self::health)
/// is to be asked: a log that is not healthy takes none.
#[derive(Debug)]
pub struct Appender {
    ring: RingProducer,
    status: Arc<LogStatus>,
}

impl Appender {
    pub(super) fn new(ring: RingProducer, status: Arc<LogStatus>) -> Self {
        Self { ring, status }
    }

    /// Whether the log takes lines.
    #[inline]
    #[must_use]
    pub fn health(&self) -> LogHealth {
        self.status.health()
    }

    /// The log's own account: health, counts, troubles.
    #[inline]
    #[must_use]
    pub fn status(&self) -> &LogStatus {
        &self.status
    }

    /// Room for the lines of one batch of at most `bytes_max`, in one piece. `None`: the ring is too full, and the batch
    /// is to be refused. What the slice holds is not specified.
    #[inline]
    pub fn reserve(&mut self, bytes_max: usize) -> Option<&mut [u8]> {
        self.ring.reserve(bytes_max)
    }

    /// Takes the first `bytes` of the reservation as one batch, whose answer waits for `level`. Returns the position of
    /// its end. `bytes` ends with a line's end.
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
        position
    }

    /// Hands everything committed to the writer, and wakes it if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.ring.publish() {
            self.status.writer_bell.wake();
        }
    }

    /// Batches that end at or below this position are acknowledged at `level`.
    #[inline]
    #[must_use]
    pub fn acknowledged(&self, level: AckLevel) -> u64 {
        match level {
            AckLevel::Memory => self.ring.committed(),
            AckLevel::Write => self.ring.written(),
            AckLevel::Fsync => self.ring.durable(),
        }
    }

    /// Bytes committed that are not in the file yet; at most [`capacity_bytes`](Self::capacity_bytes).
    #[inline]
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.ring.committed() - self.ring.written()
    }

    /// Bytes the ring holds when it is full.
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

//! Counters of the live page's streams, for statistics. Written by the reactors and by the thread of the streams, a few
//! times per stream; read by the observer.

use super::labelled;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

labelled! {
    /// The way in which a stream ended. `opened = open + all of these`.
    StreamEnd {
        /// The client left, or its connection was closed.
        Left = "left",
        /// The client did not read, and too much waited for it.
        Unread = "unread",
        /// The server was stopping: the response ended as it should.
        Drained = "drained",
    }
}

/// Counters since startup.
#[derive(Debug, Default)]
pub struct StreamStatus {
    opened: AtomicU64,
    refused: AtomicU64,
    ended: [AtomicU64; StreamEnd::ALL.len()],
    /// Points that were made for the streams.
    pub points: AtomicU64,
    /// Bytes that were handed over for sending.
    pub bytes: AtomicU64,
}

impl StreamStatus {
    /// Counts a stream that begins.
    pub fn open(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// Counts a stream that was refused, as too many were open.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Counts a stream that ended.
    pub fn end(&self, how: StreamEnd) {
        self.ended[how as usize].fetch_add(1, Relaxed);
    }

    /// Streams that have begun.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Streams that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Number of streams that ended in this way.
    #[must_use]
    pub fn ended(&self, how: StreamEnd) -> u64 {
        self.ended[how as usize].load(Relaxed)
    }

    /// Streams that have begun and not ended.
    #[must_use]
    pub fn active(&self) -> u64 {
        let ended: u64 = StreamEnd::ALL.iter().map(|&how| self.ended(how)).sum();
        self.opened().saturating_sub(ended)
    }
}

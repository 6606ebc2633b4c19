//! Counters of a forward, for statistics. Written by its thread, read by the observer.

use super::labelled;
use log::segment::Hold;
use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use wake::sync::real::Mutex;

labelled! {
    /// The status by which a receiver refused samples for good.
    RefusedBy {
        /// 400.
        BadRequest = "bad_request",
        /// 401 or 403.
        Unauthorized = "unauthorized",
        /// 404.
        NotFound = "not_found",
        /// 413.
        TooLarge = "too_large",
        /// 415.
        MediaType = "media_type",
        /// A success of which the receiver says that it wrote fewer, or, to remote write 2.0, not how many.
        NotWritten = "not_written",
        /// Any other 4xx but 429.
        Other = "other",
    }
}

impl RefusedBy {
    /// The reason of a status.
    #[must_use]
    pub const fn status(code: u16) -> Self {
        match code {
            400 => Self::BadRequest,
            401 | 403 => Self::Unauthorized,
            404 => Self::NotFound,
            413 => Self::TooLarge,
            415 => Self::MediaType,
            _ => Self::Other,
        }
    }
}

/// Counters since startup, and the current state.
#[derive(Debug)]
pub struct ForwardStatus {
    /// Name of the forward.
    pub name: String,
    /// The hold on the log: what retention waits for, and what it did not wait for.
    pub hold: Arc<Hold>,
    /// Samples that the receiver acknowledged.
    pub delivered: AtomicU64,
    /// Requests that the receiver acknowledged.
    pub requests: AtomicU64,
    /// Samples that the receiver refused, by reason.
    pub refused: [AtomicU64; RefusedBy::ALL.len()],
    /// Samples replaced in their batch by a later one of the same series and millisecond.
    pub superseded: AtomicU64,
    /// Lines that are no lines of the log.
    pub foreign_lines: AtomicU64,
    /// Attempts that failed and were, or are to be, repeated.
    pub retries: AtomicU64,
    /// Times that the log no longer held the position of the cursor.
    pub gaps: AtomicU64,
    /// Failures to write the cursor.
    pub cursor_failures: AtomicU64,
    /// Bytes of the log behind the position that was delivered; compressed segments count as they are on disk.
    pub bytes_behind: AtomicU64,
    /// The last moment at which everything written was delivered.
    caught_up: Mutex<Instant>,
    last_error: Mutex<String>,
}

impl ForwardStatus {
    /// Counters of a forward that begins.
    #[must_use]
    pub fn new(name: String, hold: Arc<Hold>) -> Self {
        Self {
            name,
            hold,
            delivered: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; RefusedBy::ALL.len()],
            superseded: AtomicU64::new(0),
            foreign_lines: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            cursor_failures: AtomicU64::new(0),
            bytes_behind: AtomicU64::new(0),
            caught_up: Mutex::new(Instant::now()),
            last_error: Mutex::new(String::new()),
        }
    }

    /// Adds to a counter.
    pub fn count(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Relaxed);
    }

    /// Notes that everything written is delivered.
    pub fn note_caught_up(&self) {
        self.bytes_behind.store(0, Relaxed);
        *self.caught_up.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Seconds since everything written was delivered; since the start, if it never was.
    #[must_use]
    pub fn seconds_behind(&self) -> f64 {
        self.caught_up.lock().unwrap_or_else(PoisonError::into_inner).elapsed().as_secs_f64()
    }

    /// Sets the last error.
    pub fn note_error(&self, error: &str) {
        error.clone_into(&mut self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The last error; empty if there was none.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

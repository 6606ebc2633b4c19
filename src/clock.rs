//! The server's one clock: the only place that asks for the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks; the monotonic one counts from the clock's making, the same on every core.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        // Not at zero: a stamp of a whole window ago must be a number too.
        Self { origin: Instant::now().checked_sub(Duration::from_secs(2)).unwrap_or_else(Instant::now) }
    }

    /// Nanoseconds of CLOCK_MONOTONIC since the origin; lasts for 584 years.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds of CLOCK_REALTIME since the epoch.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Nanoseconds from 1970 to the origin of the monotonic clock, by the wall clock as it is set now.
    #[must_use]
    pub fn epoch_ns(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.monotonic_ns())
    }
}

//! Time, by the names of the standard library.

use crate::state::{seam, with};
pub use std::time::Duration;
use std::{
    fmt,
    ops::{Add, Sub},
};

/// As in the standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// As in the standard library.
    #[must_use]
    pub fn now() -> Self {
        let _ = seam("clock", "", 0);
        Self(with(|state| state.now_ns).unwrap_or(0))
    }

    /// As in the standard library.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    /// As in the standard library.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As in the standard library.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// As in the standard library.
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }

    /// As in the standard library.
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).expect("a moment within 584 years")
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// [`Instant`] as a number, as in `host`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    Instant::now().0
}

/// As in the standard library: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTime(pub(crate) i64);

/// As in the standard library.
pub const UNIX_EPOCH: SystemTime = SystemTime(0);

/// As in the standard library: the second moment is later than the first by this.
#[derive(Debug, Clone)]
pub struct SystemTimeError(Duration);

impl SystemTimeError {
    /// As in the standard library.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for SystemTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("second time provided was later than self")
    }
}

impl std::error::Error for SystemTimeError {}

impl SystemTime {
    /// As in the standard library.
    #[must_use]
    pub fn now() -> Self {
        let _ = seam("wall clock", "", 0);
        Self(with(|state| state.wall_ns()).unwrap_or(0))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn duration_since(&self, earlier: Self) -> Result<Duration, SystemTimeError> {
        let ns = self.0.saturating_sub(earlier.0);
        let duration = Duration::from_nanos(ns.unsigned_abs());
        if ns < 0 { Err(SystemTimeError(duration)) } else { Ok(duration) }
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn elapsed(&self) -> Result<Duration, SystemTimeError> {
        Self::now().duration_since(*self)
    }
}

impl Add<Duration> for SystemTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// Nanoseconds since the machine was started.
#[must_use]
pub fn boottime_ns() -> u64 {
    // No seam: a thread that is delayed between two clocks cannot compare them.
    with(|state| {
        state.now_ns += 100;
        state.now_ns - state.booted_ns
    })
    .unwrap_or(0)
}

/// Nanoseconds of the wall clock since the epoch.
#[must_use]
pub fn realtime_ns() -> u64 {
    with(|state| u64::try_from(state.wall_ns()).unwrap_or(0)).unwrap_or(0)
}

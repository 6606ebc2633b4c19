//! Time: the clocks of the standard library, and one that also runs while the machine sleeps.

use rustix::time::{ClockId, Timespec, clock_gettime};
pub use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of CLOCK_BOOTTIME (Linux 2.6.39): since the machine was started, including the time that it slept.
#[must_use]
pub fn boottime_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds of CLOCK_MONOTONIC since an arbitrary moment in the past: [`Instant`] as a number, in a twelfth of the
/// instructions of its difference.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // It counts from the start of the machine: neither part is negative, and 584 years fit.
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

/// Nanoseconds of CLOCK_REALTIME since the epoch; 0 for a clock that is set to a time before it.
#[must_use]
pub fn realtime_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

#[inline]
fn nanoseconds(time: Timespec) -> u64 {
    let whole = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

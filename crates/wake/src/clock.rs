//! The clock of the server: monotonic and wall time.

use host::time::{SystemTime, UNIX_EPOCH, boottime_ns, monotonic_ns};

/// One moment by two clocks: one that can be set, and one that cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of CLOCK_REALTIME since the epoch.
    pub wall_ms: i64,
    /// Milliseconds of CLOCK_BOOTTIME: since the machine was started, including the time that it slept.
    pub boot_ms: i64,
}

impl Moment {
    /// The step of the wall clock since `earlier`, in milliseconds: its advance less the time that has passed.
    #[must_use]
    pub fn step_ms_since(self, earlier: Self) -> i64 {
        let passed_ms = self.boot_ms.saturating_sub(earlier.boot_ms);
        self.wall_ms.saturating_sub(earlier.wall_ms).saturating_sub(passed_ms)
    }
}

/// Age of a clock at its start. Not zero: a stamp of a whole window ago must be a number too.
const AGE_NS: u64 = 2_000_000_000;

/// Reads both clocks; the monotonic one counts from the clock's creation, the same on every core.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The origin, by CLOCK_MONOTONIC; on a machine that was started within [`AGE_NS`], modulo 2^64.
    origin_ns: u64,
}

impl Clock {
    /// Starts a clock, whose origin lies two seconds in the past.
    #[must_use]
    pub fn start() -> Self {
        Self { origin_ns: monotonic_ns().wrapping_sub(AGE_NS) }
    }

    /// Nanoseconds of CLOCK_MONOTONIC since the origin; lasts for 584 years.
    #[inline]
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        monotonic_ns().wrapping_sub(self.origin_ns)
    }

    /// Milliseconds of CLOCK_REALTIME since the epoch.
    #[inline]
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        // By way of the C library, where tests set this clock.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The current moment, by both clocks.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { wall_ms: self.wall_ms(), boot_ms: i64::try_from(boottime_ns() / 1_000_000).unwrap_or(i64::MAX) }
    }

    /// Nanoseconds from 1970 to the origin of the monotonic clock, by the wall clock as it is set now.
    #[must_use]
    pub fn epoch_ns(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.monotonic_ns())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_no_time_passed_for() {
        let start = Moment { wall_ms: 5_000, boot_ms: 100 };
        let after = |wall_ms, boot_ms| Moment { wall_ms, boot_ms }.step_ms_since(start);
        assert_eq!(after(5_000, 100), 0);
        assert_eq!(after(8_000, 3_100), 0, "three seconds later");
        assert_eq!(after(1_767_323_045_678, 3_100), 1_767_323_045_678 - 8_000);
        assert_eq!(after(1_000, 3_100), -7_000);
        assert!(Clock::start().moment().boot_ms > 0);
    }
}

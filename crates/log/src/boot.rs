//! The identity of the machine's boot, as far as it can be known: the condition under which a length that was recorded
//! and never synced is valid.
//!
//! The kernel's id of the boot (random(4)) alone is no proof: a container may hide it, and a board without entropy may
//! produce the same one at every boot. So two more values must agree with it: the moment of the boot by the wall clock,
//! to [`BOOT_MOMENT_TOLERANCE`], and the time since the boot, which does not go back. A wall clock that was never set
//! begins at the same moment at every boot and proves nothing. Where the values do not agree, or the wall clock was
//! stepped since the record, the boot is taken for another one: that costs the cut back to the last whole batch, and
//! never a line that was acknowledged.

use crate::limits::{BOOT_MOMENT_EARLIEST_NS, BOOT_MOMENT_TOLERANCE};
use host::{
    fs,
    time::{boottime_ns as uptime_ns, realtime_ns},
};

/// Bytes of a boot id: a UUID in text.
pub(super) const BOOT_ID_BYTES: usize = 36;

/// A boot of the machine, and a moment in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's id of the boot; `None` if the system reports none, or one that is not a random UUID.
    pub(super) id: Option<String>,
    /// Moment of the boot, in nanoseconds since the epoch by the wall clock as it is set at the time of reading.
    pub(super) began_ns: u64,
    /// Nanoseconds from the boot to the time of reading (`CLOCK_BOOTTIME`).
    pub(super) uptime_ns: u64,
}

impl Boot {
    /// The current boot and moment.
    pub fn now() -> Self {
        // One that cannot be read is none, and proves nothing: the start then cuts off less.
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let id = id.map(|text| text.trim().to_owned()).filter(|id| is_random(id));
        Self { id, began_ns: began_ns(), uptime_ns: uptime_ns() }
    }

    /// True if this is a later moment of the same boot as `earlier`, by all three values.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        self.id.is_some()
            && self.id == earlier.id
            && self.uptime_ns >= earlier.uptime_ns
            && earlier.began_ns >= BOOT_MOMENT_EARLIEST_NS
            && u128::from(self.began_ns.abs_diff(earlier.began_ns)) <= BOOT_MOMENT_TOLERANCE.as_nanos()
    }
}

/// True for text that looks like a random UUID. One with hardly any different digits was generated without entropy, or
/// set by hand.
fn is_random(id: &str) -> bool {
    /// Least number of different digits: 30 random hexadecimal digits have fewer with a probability of 3 x 10^-12.
    const DIFFERENT_DIGITS_MIN: u32 = 6;
    let is_uuid = id.len() == BOOT_ID_BYTES
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let different = id.chars().filter_map(|digit| digit.to_digit(16)).fold(0_u16, |seen, digit| seen | 1 << digit);
    is_uuid && different.count_ones() >= DIFFERENT_DIGITS_MIN
}

/// Moment of the boot by the wall clock, in nanoseconds since the epoch: the same to the microsecond until that clock
/// is stepped.
pub(super) fn began_ns() -> u64 {
    /// Number of tries, of which the best counts: the thread may be preempted between the readings of two clocks.
    const TRIES: usize = 4;
    let look = |_| {
        let before = uptime_ns();
        let wall = realtime_ns();
        let between = uptime_ns().saturating_sub(before);
        (between, wall.saturating_sub(before.saturating_add(between / 2)))
    };
    (0..TRIES).map(look).min().map_or(0, |(_, began_ns)| began_ns)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn boot() -> Boot {
        let id = Some("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21".to_owned());
        Boot { id, began_ns: 1_767_323_045_678_000_000, uptime_ns: 60_000_000_000 }
    }

    #[test]
    fn this_boot_goes_on() {
        let (earlier, now) = (Boot::now(), Boot::now());
        assert_eq!(now.continues(&earlier), now.id.is_some());
        assert!(now.began_ns > BOOT_MOMENT_EARLIEST_NS && now.uptime_ns >= earlier.uptime_ns);
    }

    #[test]
    fn a_boot_id_that_repeats_or_is_hidden_proves_nothing() {
        let earlier = boot();
        let tolerance_ns = u64::try_from(BOOT_MOMENT_TOLERANCE.as_nanos()).unwrap();
        let later = Boot { uptime_ns: 90_000_000_000, began_ns: earlier.began_ns + tolerance_ns, ..boot() };
        assert!(later.continues(&earlier) && earlier.continues(&earlier));
        for other in [
            Boot { id: None, ..boot() },
            Boot { id: Some("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e20".to_owned()), ..boot() },
            // The same id at another moment, or with less time since the boot.
            Boot { began_ns: earlier.began_ns + tolerance_ns + 1, ..boot() },
            Boot { began_ns: earlier.began_ns - tolerance_ns - 1, ..boot() },
            Boot { uptime_ns: earlier.uptime_ns - 1, ..boot() },
        ] {
            assert!(!other.continues(&earlier), "{other:?}");
        }
        // A hidden id and a wall clock that was never set prove nothing either.
        let hidden = Boot { id: None, ..boot() };
        assert!(!hidden.continues(&hidden));
        let unset = Boot { began_ns: BOOT_MOMENT_EARLIEST_NS - 1, ..boot() };
        assert!(!unset.continues(&unset));
    }

    #[test]
    fn an_id_without_entropy_is_none() {
        assert!(is_random("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21"));
        for id in [
            "",
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-4000-8000-000000000000",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
            "5b3c7a529a9c4a2e8f4e1d0c8a6b7e21",
            "5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e2",
            "zb3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21",
            "5b3c7a52 9a9c 4a2e 8f4e 1d0c8a6b7e21",
        ] {
            assert!(!is_random(id), "{id}");
        }
    }
}

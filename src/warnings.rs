//! Warnings at a bounded rate.

/// Lets one warning of its kind through in each [`log::limits::WARNING_INTERVAL_NS`], and counts the others: untrusted
/// clients must not be able to fill the operator's log.
#[derive(Debug, Default)]
pub struct Warnings {
    next_ns: u64,
    suppressed: u64,
}

impl Warnings {
    /// Returns the number of warnings left out since the last one, if one may be logged now.
    pub const fn admit(&mut self, now_ns: u64) -> Option<u64> {
        self.admit_every(log::limits::WARNING_INTERVAL_NS, now_ns)
    }

    /// As [`admit`](Self::admit), for warnings that are to be at least `interval_ns` apart.
    pub const fn admit_every(&mut self, interval_ns: u64, now_ns: u64) -> Option<u64> {
        if now_ns < self.next_ns {
            self.suppressed += 1;
            return None;
        }
        self.next_ns = now_ns + interval_ns;
        Some(std::mem::replace(&mut self.suppressed, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_warnings_one_is_logged_and_says_how_many_were_not() {
        let mut warnings = Warnings::default();
        let second_ns = log::limits::WARNING_INTERVAL_NS;
        assert_eq!(warnings.admit(second_ns), Some(0));
        assert_eq!([1, 2, second_ns - 1].map(|later_ns| warnings.admit(second_ns + later_ns)), [None; 3]);
        assert_eq!(warnings.admit(2 * second_ns), Some(3));
        assert_eq!(warnings.admit(4 * second_ns), Some(0));
    }
}

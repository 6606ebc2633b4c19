//! Warnings at a bounded rate.

/// Lets one warning of its kind through in each [`log::limits::WARNING_INTERVAL_NS`], and counts the others: strangers must not be able to
/// fill the operator's log.
#[derive(Debug, Default)]
pub struct Warnings {
    next_ns: u64,
    suppressed: u64,
}

impl Warnings {
    /// Whether to warn now; then, how many warnings were left out since the last.
    pub const fn admit(&mut self, now_ns: u64) -> Option<u64> {
        if now_ns < self.next_ns {
            self.suppressed += 1;
            return None;
        }
        self.next_ns = now_ns + log::limits::WARNING_INTERVAL_NS;
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

//! Summary of one figure over several rounds, and ratios between two figures of the same round. Pure code.

use std::collections::BTreeMap;

/// The middle and the ends of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; between two, halfway.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Summarizes any number of values in any order; none of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = sorted.len() / 2;
        let lower = (sorted.len() - 1) / 2;
        Some(Self { median: f64::midpoint(sorted[lower], sorted[upper]), min, max })
    }
}

/// A figure by round.
pub type Rounds = BTreeMap<u32, f64>;

/// The spread of `dividends` over `divisors`, each divided within its round; a round that lacks either, or divides by
/// zero, is left out.
#[must_use]
pub fn ratio(dividends: &Rounds, divisors: &Rounds) -> Option<Spread> {
    Spread::of(dividends.iter().filter_map(|(round, dividend)| {
        let divisor = divisors.get(round).filter(|divisor| **divisor > 0.0)?;
        Some(dividend / divisor)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 5.0]), Some(Spread { median: 5.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 100.0]), Some(Spread { median: 3.0, min: 1.0, max: 100.0 }));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is twice as slow in the second round. The ratio of the medians would be 1.
        let slow = Rounds::from([(1, 2.0), (2, 4.0), (3, 8.0)]);
        let fast = Rounds::from([(1, 1.0), (2, 4.0), (3, 4.0)]);
        assert_eq!(ratio(&slow, &fast), Some(Spread { median: 2.0, min: 1.0, max: 2.0 }));
    }

    #[test]
    fn a_round_without_both_has_no_ratio() {
        let some = Rounds::from([(1, 2.0), (2, 6.0), (4, 1.0)]);
        let others = Rounds::from([(2, 2.0), (3, 1.0), (4, 0.0)]);
        assert_eq!(ratio(&some, &others), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(ratio(&some, &Rounds::new()), None);
    }
}

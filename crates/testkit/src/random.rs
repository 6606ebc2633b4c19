//! Random numbers from a seed: the same seed gives the same numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// The mixing function of SplitMix64: every bit of `word` changes about half of the bits of the result.
#[must_use]
#[inline]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Random {
    /// The numbers of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A seed that no run before had.
    #[must_use]
    pub fn new_seed() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs() << 20 | u64::from(since.subsec_micros())
    }

    /// The numbers of a new seed, or of that in `METRICSTREAM_TEST_SEED`; it is printed, so that a failure can be
    /// repeated.
    ///
    /// # Panics
    /// The variable is no number.
    #[must_use]
    pub fn announced(test: &str) -> Self {
        let seed = match std::env::var("METRICSTREAM_TEST_SEED") {
            Ok(text) => text.parse().expect("METRICSTREAM_TEST_SEED is a number"),
            Err(_) => Self::new_seed(),
        };
        println!("{test}: METRICSTREAM_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.number() % u64::from(bound)).unwrap_or(0)
    }

    /// Number from 0 to `bound - 1`. The bias, `bound` / 2^64, does not matter to a test or a load.
    #[inline]
    pub fn below_u64(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.index(high - low + 1)
    }

    /// Exponentially distributed with a mean of one: the gaps of a Poisson process (inverse transform sampling).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn exponential(&mut self) -> f64 {
        // 0 <= uniform < 1, so that the logarithm is finite.
        let uniform = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        -(-uniform).ln_1p()
    }

    /// Index into something of this length, which is at least 1.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.number() % length as u64).unwrap_or(0)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// Once in `times` it is true.
    pub fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, of which there is at least one.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX)) as usize]
    }

    /// From 1 to `max`, small ones as often as large ones: each doubling is as likely as the next.
    pub fn of_any_size(&mut self, max: u32) -> u32 {
        let bits = 1 + self.below(u32::BITS - max.leading_zeros());
        let top = max.min(1_u32.checked_shl(bits).map_or(max, |power| power - 1));
        1 + self.below(top)
    }

    /// Less than `bound`.
    pub fn shorter_than(&mut self, bound: Duration) -> Duration {
        let bound_us = u32::try_from(bound.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(u64::from(self.below(bound_us.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_gaps_have_their_mean_and_their_tail() {
        let mut random = Random::new(7);
        let gaps: Vec<f64> = (0..100_000).map(|_| random.exponential()).collect();
        let share = |bound: f64| gaps.iter().filter(|gap| **gap > bound).count() as f64 / gaps.len() as f64;
        assert!(gaps.iter().all(|gap| gap.is_finite() && *gap >= 0.0));
        assert!((gaps.iter().sum::<f64>() / gaps.len() as f64 - 1.0).abs() < 0.02);
        for bound in [0.1_f64, 0.5, 1.0, 2.0, 4.0] {
            assert!((share(bound) - (-bound).exp()).abs() < 0.01, "{bound}: {}", share(bound));
        }
    }
}

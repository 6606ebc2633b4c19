//! Random numbers of a load: fast, and the same for the same seed.

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014): the mixing function
/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`. The bias, `bound` / 2^64, does not matter to a load.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Exponentially distributed with a mean of one: the gaps of a Poisson process (inverse transform sampling).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn exponential(&mut self) -> f64 {
        // 0 <= uniform < 1, so that the logarithm is finite.
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(-uniform).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_gaps_have_their_mean_and_their_tail() {
        let mut random = SplitMix64(7);
        let gaps: Vec<f64> = (0..100_000).map(|_| random.exponential()).collect();
        let share = |bound: f64| gaps.iter().filter(|gap| **gap > bound).count() as f64 / gaps.len() as f64;
        assert!(gaps.iter().all(|gap| gap.is_finite() && *gap >= 0.0));
        assert!((gaps.iter().sum::<f64>() / gaps.len() as f64 - 1.0).abs() < 0.02);
        for bound in [0.1_f64, 0.5, 1.0, 2.0, 4.0] {
            assert!((share(bound) - (-bound).exp()).abs() < 0.01, "{bound}: {}", share(bound));
        }
    }
}

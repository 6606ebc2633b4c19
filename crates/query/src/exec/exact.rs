//! Sums without an error: of integers as integers, of 64-bit floats exactly, rounded once when they are read. An exact
//! sum does not depend on the order of its terms, so a result does not depend on the number of threads.
//!
//! A float is an integer of 53 bits times a power of two. The sum keeps one 128-bit integer for each run of 32 powers
//! that occurred: a term is shifted to its place within the run and added. That is the accumulator of Kulisch
//! ("Computer Arithmetic and Validity", 2008), of which only the limbs that are used are kept, with their carries left
//! in place until the sum is read.

use crate::exec::number::Number;
use std::cmp::Ordering;

/// Bits of one limb.
const LIMB_BITS: i32 = 32;
/// Power of two of limb 0. The least of a float is -1074; of the product of two, twice that.
const POWER_MIN: i32 = -34 * LIMB_BITS;

/// A limb of a sum, with its carries.
#[derive(Debug, Clone, Copy)]
struct Limb {
    /// Position of the digit: the power of two is [`POWER_MIN`] + 32 x index in a sum, and twice [`POWER_MIN`] + 32 x
    /// index in a sum of squares.
    index: i32,
    /// A term has at most 53 + 31 bits: 2^43 of them fit, each of which was a line of the log.
    total: i128,
}

/// Limbs that occurred, in no order: seldom more than three.
#[derive(Debug, Clone, Default)]
struct Limbs(Vec<Limb>);

impl Limbs {
    /// Adds `mantissa` x 2^(`power` - `power_min`).
    #[inline]
    fn add(&mut self, mantissa: i64, power: i32, power_min: i32) {
        let place = power - power_min;
        self.add_limb(place.div_euclid(LIMB_BITS), i128::from(mantissa) << place.rem_euclid(LIMB_BITS));
    }

    #[inline]
    fn add_limb(&mut self, index: i32, total: i128) {
        match self.0.iter_mut().find(|limb| limb.index == index) {
            Some(limb) => limb.total += total,
            None => self.0.push(Limb { index, total }),
        }
    }

    fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|limb| self.add_limb(limb.index, limb.total));
    }

    /// The whole number of units of limb 0 that this is.
    fn integer(&self) -> Integer {
        let mut limbs = self.0.clone();
        limbs.sort_unstable_by_key(|limb| limb.index);
        let Some(first) = limbs.first().map(|limb| limb.index) else { return Integer::default() };
        let mut rest = limbs.iter().peekable();
        let mut digits = Vec::new();
        let mut carry = 0_i128;
        let mut index = first;
        // Two's complement, until nothing is left but the sign.
        while rest.peek().is_some() || (carry != 0 && carry != -1) {
            if let Some(limb) = rest.next_if(|limb| limb.index == index) {
                carry += limb.total;
            }
            digits.push(low_digit(carry));
            carry >>= LIMB_BITS;
            index += 1;
        }
        let is_negative = carry < 0;
        if is_negative {
            // Invert and add one.
            let mut one = true;
            for digit in &mut digits {
                let (inverted, overflowed) = (!*digit).overflowing_add(u32::from(one));
                *digit = inverted;
                one = overflowed;
            }
            if one {
                digits.push(1);
            }
        }
        Integer { is_negative, digits, first }.trimmed()
    }
}

/// The lowest 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
const fn low_digit(number: i128) -> u32 {
    number as u32
}

/// An integer of any size, times 2^(32 x `first`).
#[derive(Debug, Clone, Default)]
struct Integer {
    is_negative: bool,
    /// From the lowest on; the highest is not 0.
    digits: Vec<u32>,
    first: i32,
}

impl Integer {
    fn trimmed(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        self
    }

    fn times(&self, other: &Self) -> Self {
        let mut digits = vec![0_u32; self.digits.len() + other.digits.len()];
        for (at_a, &a) in self.digits.iter().enumerate() {
            let mut carry = 0;
            for (at_b, &b) in other.digits.iter().enumerate() {
                let sum = i128::from(a) * i128::from(b) + i128::from(digits[at_a + at_b]) + carry;
                digits[at_a + at_b] = low_digit(sum);
                carry = sum >> LIMB_BITS;
            }
            digits[at_a + other.digits.len()] = low_digit(carry);
        }
        Self { is_negative: self.is_negative != other.is_negative, digits, first: self.first + other.first }.trimmed()
    }

    /// Adds it to `limbs`, negated or not.
    fn add_to(&self, limbs: &mut Limbs, negated: bool) {
        for (index, &digit) in (self.first..).zip(&self.digits) {
            let digit = i128::from(digit);
            limbs.add_limb(index, if self.is_negative == negated { digit } else { -digit });
        }
    }

    /// The magnitude as `m` x 2^`power` with 1 <= m < 2, rounded to the nearest, ties to even; the power is counted
    /// from limb 0. `None` for zero.
    fn rounded(&self) -> Option<(f64, i32)> {
        /// 2^63
        const TOP: f64 = 9_223_372_036_854_775_808.0;
        let (&top, _) = self.digits.split_last()?;
        let digit = |back: usize| self.digits.len().checked_sub(back).map_or(0, |at| self.digits[at]);
        let wide = i128::from(digit(1)) << 64 | i128::from(digit(2)) << 32 | i128::from(digit(3));
        let shift = i32::try_from(top.leading_zeros()).unwrap_or_default();
        // The highest 64 bits, the lowest of them set if any bit below is.
        let bits = low_digit(wide >> (LIMB_BITS - shift)) as u64 | (u64::from(low_digit(wide >> (64 - shift))) << 32);
        let below_digits = self.digits.len().saturating_sub(3);
        let is_inexact =
            self.digits[..below_digits].iter().any(|&digit| digit != 0) || wide & ((1 << (LIMB_BITS - shift)) - 1) != 0;
        // The conversion rounds to the nearest, ties to even; 64 bits are more than enough for the last to be such a
        // mark.
        let mantissa = (bits | u64::from(is_inexact)) as f64 / TOP;
        let power =
            i32::try_from(self.digits.len()).unwrap_or(i32::MAX) * LIMB_BITS - 1 - shift + self.first * LIMB_BITS;
        Some(if mantissa >= 2.0 { (mantissa / 2.0, power + 1) } else { (mantissa, power) })
    }
}

/// `mantissa` x 2^`power`, rounded once, and that only where it is subnormal.
fn scale(mantissa: f64, power: i32) -> f64 {
    const STEP: i32 = 1_000;
    let two_to = |power: i32| f64::from_bits(u64::try_from(power + 1_023).unwrap_or_default() << 52);
    if power > STEP {
        scale(mantissa * two_to(STEP), power - STEP)
    } else if power < -STEP {
        scale(mantissa, power + STEP) * two_to(-STEP)
    } else {
        mantissa * two_to(power)
    }
}

/// A float as an integer times a power of two.
#[inline]
fn parts(float: f64) -> (i64, i32) {
    let bits = float.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or_default();
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let (mantissa, power) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if float.is_sign_negative() { -mantissa } else { mantissa }, power)
}

/// Result of a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Total {
    /// Exact sum of integers alone.
    Integer(i128),
    /// Rounded once; infinite if no float is large enough.
    Float(f64),
}

/// A sum of numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sum {
    /// Sum of the integers.
    integers: i128,
    /// Sum of the floats.
    floats: Limbs,
}

impl Sum {
    #[inline]
    pub fn add(&mut self, number: Number) {
        match number {
            Number::Integer(integer) => self.integers += i128::from(integer),
            Number::Float(float) => self.add_float(float),
        }
    }

    #[inline]
    pub fn subtract(&mut self, number: Number) {
        match number {
            Number::Integer(integer) => self.integers -= i128::from(integer),
            Number::Float(float) => self.add_float(-float),
        }
    }

    /// Adds a finite float.
    #[inline]
    pub fn add_float(&mut self, float: f64) {
        let (mantissa, power) = parts(float);
        self.floats.add(mantissa, power, POWER_MIN);
    }

    pub fn merge(&mut self, other: &Self) {
        self.integers += other.integers;
        self.floats.merge(&other.floats);
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.floats.0.capacity() * size_of::<Limb>()
    }

    fn integer(&self) -> Integer {
        let mut limbs = self.floats.clone();
        let mut rest = self.integers;
        for index in -POWER_MIN / LIMB_BITS.. {
            if rest == 0 {
                break;
            }
            // The highest digit carries the sign.
            let digit = if index == -POWER_MIN / LIMB_BITS + 3 { rest } else { i128::from(low_digit(rest)) };
            limbs.add_limb(index, digit);
            rest = (rest - digit) >> LIMB_BITS;
        }
        limbs.integer()
    }

    pub fn total(&self) -> Total {
        if self.floats.0.is_empty() { Total::Integer(self.integers) } else { Total::Float(self.divided(1.0)) }
    }

    /// The sum, rounded, divided by `divisor`. Infinite only if the quotient is too large, not the sum.
    pub fn divided(&self, divisor: f64) -> f64 {
        let integer = self.integer();
        let magnitude = integer.rounded().map_or(0.0, |(mantissa, power)| {
            let quotient = mantissa / divisor;
            scale(quotient, power + POWER_MIN)
        });
        if integer.is_negative { -magnitude } else { magnitude }
    }
}

/// Inputs of a standard deviation: number of values, their sum, and the sum of their squares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    count: u64,
    sum: Limbs,
    squares: Limbs,
}

impl Moments {
    #[inline]
    pub fn add(&mut self, number: Number) {
        let (mantissa, power) = match number {
            Number::Integer(integer) if integer.unsigned_abs() <= 1 << 53 => (integer, 0),
            // Of a larger one the nearest float is taken: its square must fit.
            number => parts(number.as_f64()),
        };
        self.count += 1;
        self.sum.add(mantissa, power, POWER_MIN);
        // 106 bits, in two halves of 53.
        const HALF_BITS: i32 = 53;
        let square = i128::from(mantissa) * i128::from(mantissa);
        let (high, low) = (square >> HALF_BITS, square & ((1 << HALF_BITS) - 1));
        let half = |half: i128| i64::try_from(half).unwrap_or_default();
        self.squares.add(half(low), 2 * power, 2 * POWER_MIN);
        self.squares.add(half(high), 2 * power + HALF_BITS, 2 * POWER_MIN);
    }

    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.sum.0.capacity() + self.squares.0.capacity()) * size_of::<Limb>()
    }

    /// The standard deviation of the population: the square root of (n x the sum of squares - the square of the sum),
    /// which is exact, over n.
    pub fn deviation(&self) -> f64 {
        let count = Integer {
            is_negative: false,
            digits: vec![low_digit(self.count.into()), low_digit(i128::from(self.count) >> 32)],
            first: 0,
        };
        let mut difference = Limbs::default();
        self.squares.integer().times(&count.trimmed()).add_to(&mut difference, false);
        let sum = self.sum.integer();
        sum.times(&sum).add_to(&mut difference, true);
        let Some((mantissa, power)) = difference.integer().rounded() else { return 0.0 };
        let (mantissa, power) = match (power + 2 * POWER_MIN).rem_euclid(2).cmp(&0) {
            Ordering::Equal => (mantissa, power + 2 * POWER_MIN),
            _ => (2.0 * mantissa, power + 2 * POWER_MIN - 1),
        };
        scale(mantissa.sqrt() / self.count as f64, power / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(texts: &[&str]) -> Sum {
        let mut sum = Sum::default();
        texts.iter().for_each(|text| sum.add(Number::read(text.as_bytes())));
        sum
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(sum(&["9007199254740993", "9007199254740993"]).total(), Total::Integer(18_014_398_509_481_986));
        assert_eq!(sum(&["9223372036854775807"; 4]).total(), Total::Integer(4 * i128::from(i64::MAX)));
        assert_eq!(sum(&[]).total(), Total::Integer(0));
        assert_eq!(sum(&["-5", "2"]).total(), Total::Integer(-3));
    }

    #[test]
    fn floats_are_rounded_once() {
        for (texts, total) in [
            (vec!["0.1"; 10], 1.0),
            (vec!["1e308", "1e308", "-1e308", "-1e308", "0.5"], 0.5),
            (vec!["1e308", "1e308"], f64::INFINITY),
            (vec!["-1e308", "-1e308"], f64::NEG_INFINITY),
            (vec!["1.7976931348623157e308", "9.9e291"], f64::MAX),
            (vec!["1e300", "1", "-1e300", "1e-300"], 1.0),
            (vec!["4.9e-324"; 3], 1.5e-323),
            (vec!["0.5", "9007199254740992"], 9_007_199_254_740_992.0),
            (vec!["0.5", "9007199254740992", "5e-324"], 9_007_199_254_740_992.0),
            (vec!["1.0", "9007199254740992", "5e-324"], 9_007_199_254_740_994.0),
            (vec!["1.0", "9007199254740992", "-5e-324"], 9_007_199_254_740_992.0),
            (vec!["-0.5", "-9223372036854775808", "0.5"], -9_223_372_036_854_775_808.0),
            (vec!["-0.0"], 0.0),
            (vec!["2.5", "-2.5"], 0.0),
            (vec!["-1.5", "1"], -0.5),
        ] {
            assert_eq!(sum(&texts).total(), Total::Float(total), "{texts:?}");
        }
        assert_eq!(sum(&["1.7e308", "1.7e308"]).divided(2.0), 1.7e308);
        assert_eq!(sum(&["4.9e-324", "4.9e-324"]).divided(2.0), 5e-324);
    }

    fn deviation(texts: &[&str]) -> f64 {
        let mut moments = Moments::default();
        texts.iter().for_each(|text| moments.add(Number::read(text.as_bytes())));
        moments.deviation()
    }

    #[test]
    fn deviations() {
        assert_eq!(deviation(&["5"]), 0.0);
        assert_eq!(deviation(&["0.1", "0.1", "0.1"]), 0.0);
        assert_eq!(deviation(&["2", "4", "4", "4", "5", "5", "7", "9"]), 2.0);
        // Where the squares of floats have lost everything.
        assert_eq!(deviation(&["1000000000000001", "1000000000000003"]), 1.0);
        assert_eq!(deviation(&["100000000.25", "100000000.75"]), 0.25);
        assert_eq!(deviation(&["1e200", "3e200"]), 1e200);
        assert_eq!(deviation(&["1e-200", "3e-200"]), 1e-200);
        assert_eq!(deviation(&["-1.7e308", "1.7e308"]), 1.7e308);
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_fractions_in_any_order(
            mut terms in prop::collection::vec((any::<i32>(), 0_i32..60), 0..40),
            cut in 0_usize..40,
        ) {
            // Multiples of 2^-60 below 2^31: their sum is an integer of 128 bits.
            let float = |&(term, shift): &(i32, i32)| f64::from(term) / 2_f64.powi(shift);
            let expected: i128 = terms.iter().map(|&(term, shift)| i128::from(term) << (60 - shift)).sum();
            let mut all = Sum::default();
            terms.iter().for_each(|term| all.add_float(float(term)));
            // A conversion of an integer rounds to the nearest, ties to even.
            prop_assert_eq!(all.divided(1.0), expected as f64 / 2_f64.powi(60));
            terms.reverse();
            let (left, right) = terms.split_at(cut.min(terms.len()));
            let [mut left, right] = [left, right].map(|terms| {
                let mut sum = Sum::default();
                terms.iter().for_each(|term| sum.add_float(float(term)));
                sum
            });
            left.merge(&right);
            prop_assert_eq!(left.divided(1.0).to_bits(), all.divided(1.0).to_bits());
        }

        #[test]
        fn a_deviation_is_that_of_two_passes(values in prop::collection::vec(-1e6_f64..1e6, 1..50), cut in 0_usize..50) {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let expected = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            let of = |values: &[f64]| {
                let mut moments = Moments::default();
                values.iter().for_each(|&value| moments.add(Number::Float(value)));
                moments
            };
            let found = of(&values).deviation();
            prop_assert!((found - expected).abs() <= 1e-9 * expected.max(1.0), "{} {}", found, expected);
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(merged.deviation().to_bits(), found.to_bits());
        }

        #[test]
        fn one_float_is_itself(bits in any::<u64>()) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            let mut sum = Sum::default();
            sum.add_float(float);
            prop_assert_eq!(sum.divided(1.0), float);
        }
    }
}

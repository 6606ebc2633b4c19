//! A stored value as a number: read from its digits fast, compared exactly, and its digits kept where they are the
//! result.

use std::cmp::Ordering;

/// A value. Integers that fit 64 bits are exact; anything else is the nearest 64-bit float.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Integer(i64),
    Float(f64),
}

/// Powers of ten that a 64-bit float holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Digits that always fit 64 bits.
const DIGITS_FAST_MAX: usize = 18;
/// Up to here every integer is a 64-bit float.
const INTEGER_FLOAT_MAX: u64 = 1 << 53;

impl Number {
    /// Reads a JSON number that is finite as a 64-bit float. The caller has left out values that are none.
    #[inline]
    pub fn read(text: &[u8]) -> Self {
        let (is_negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        // One more for the point.
        if digits.len() > DIGITS_FAST_MAX + 1 {
            return Self::read_slowly(text);
        }
        let mut mantissa = 0_u64;
        let mut point = digits.len();
        for (at, &byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                mantissa = mantissa * 10 + u64::from(digit);
            } else if byte == b'.' {
                point = at;
            } else {
                return Self::read_slowly(text);
            }
        }
        if point == digits.len() {
            let integer = mantissa.cast_signed();
            return match (is_negative, mantissa) {
                (true, 0) => Self::Float(-0.0),
                // 19 digits may be over 2^63.
                (_, 1_000_000_000_000_000_000..) => Self::read_slowly(text),
                (true, _) => Self::Integer(-integer),
                (false, _) => Self::Integer(integer),
            };
        }
        if mantissa > INTEGER_FLOAT_MAX {
            return Self::read_slowly(text);
        }
        // Both are exact, so their quotient is rounded once (Clinger, "How to Read Floating Point Numbers Accurately",
        // 1990).
        let float = mantissa as f64 / POWERS_OF_TEN[digits.len() - point - 1];
        Self::Float(if is_negative { -float } else { float })
    }

    #[cold]
    fn read_slowly(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.parse() {
            Ok(integer) if text != "-0" => Self::Integer(integer),
            _ => Self::Float(text.parse().unwrap_or(f64::NAN)),
        }
    }

    /// The nearest 64-bit float.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    /// Compares exactly, also an integer that is no float with a float.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Integer(a), Self::Float(b)) => compare_mixed(a, b),
            (Self::Float(a), Self::Integer(b)) => compare_mixed(b, a).reverse(),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        }
    }
}

fn compare_mixed(integer: i64, float: f64) -> Ordering {
    /// 2^63, the first that is over every 64-bit integer.
    const OVER: f64 = 9_223_372_036_854_775_808.0;
    if float >= OVER {
        return Ordering::Less;
    }
    if float < -OVER {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the range")]
    let as_integer = whole as i64;
    integer.cmp(&as_integer).then_with(|| whole.partial_cmp(&float).unwrap_or(Ordering::Equal))
}

/// The digits of a value as they are stored.
#[derive(Clone)]
pub enum Digits {
    /// Length and bytes. Nearly all values are that short.
    Short(u8, [u8; Self::SHORT_BYTES_MAX]),
    /// All others.
    Long(Box<[u8]>),
}

impl Digits {
    const SHORT_BYTES_MAX: usize = 22;

    /// A copy of `text`.
    #[inline]
    pub fn new(text: &[u8]) -> Self {
        match (u8::try_from(text.len()), text.len() <= Self::SHORT_BYTES_MAX) {
            (Ok(length), true) => {
                let mut bytes = [0; Self::SHORT_BYTES_MAX];
                bytes[..text.len()].copy_from_slice(text);
                Self::Short(length, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }

    /// As they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Short(..) => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }
}

impl std::fmt::Debug for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Compares what two numbers mean, to the last digit. Of two spellings of one number the shorter is less, and of two as
/// long the one that sorts first, so that the order is total and no two different texts are equal.
pub(crate) fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    compare_values(a, b).then_with(|| a.len().cmp(&b.len())).then_with(|| a.cmp(b))
}

/// Compares what two numbers mean, to the last digit.
pub(crate) fn compare_values(a: &[u8], b: &[u8]) -> Ordering {
    let (number_a, number_b) = (Number::read(a), Number::read(b));
    // Rounding keeps the order, and makes equal at worst.
    let rounded = number_a.as_f64().partial_cmp(&number_b.as_f64()).unwrap_or(Ordering::Equal);
    match (number_a, number_b) {
        _ if rounded.is_ne() => rounded,
        (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
        _ if a == b => Ordering::Equal,
        _ => Decimal::new(a).compare(&Decimal::new(b)),
    }
}

/// A number as 0.d1 d2 d3… times a power of ten, d1 not 0; no digits are zero.
struct Decimal<'a> {
    is_negative: bool,
    /// Digits in front of the point and behind it, the zeros in front cut off.
    digits: [&'a [u8]; 2],
    power: i64,
}

impl<'a> Decimal<'a> {
    fn new(text: &'a [u8]) -> Self {
        let (is_negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let point = text[..end].iter().position(|&byte| byte == b'.').unwrap_or(end);
        let exponent = text.get(end + 1..).and_then(|text| std::str::from_utf8(text).ok()).map_or(0, |text| {
            // An exponent of more digits belongs to a number that is zero, or has as many digits.
            text.parse::<i64>().unwrap_or(if text.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 })
        });
        let whole = text[..point].trim_ascii_start_zeros();
        let fraction = text.get(point + 1..end).unwrap_or_default();
        let (digits, power) = if whole.is_empty() {
            let significant = fraction.trim_ascii_start_zeros();
            let zeros = fraction.len() - significant.len();
            ([whole, significant], exponent.saturating_sub_unsigned(zeros as u64))
        } else {
            ([whole, fraction], exponent.saturating_add_unsigned(whole.len() as u64))
        };
        Self { is_negative, digits, power }
    }

    fn significant(&self) -> impl Iterator<Item = u8> {
        self.digits.iter().flat_map(|part| part.iter().copied())
    }

    fn compare(&self, other: &Self) -> Ordering {
        let is_zero = |decimal: &Self| decimal.significant().all(|digit| digit == b'0');
        match (is_zero(self), is_zero(other)) {
            (true, true) => return Ordering::Equal,
            (true, false) => return if other.is_negative { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if self.is_negative { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        if self.is_negative != other.is_negative {
            return if self.is_negative { Ordering::Less } else { Ordering::Greater };
        }
        let digits = |decimal: &Self| {
            let last = decimal.significant().enumerate().filter(|(_, digit)| *digit != b'0').last();
            last.map_or(0, |(at, _)| at + 1)
        };
        let magnitude = self
            .power
            .cmp(&other.power)
            .then_with(|| self.significant().take(digits(self)).cmp(other.significant().take(digits(other))));
        if self.is_negative { magnitude.reverse() } else { magnitude }
    }
}

trait TrimZeros {
    fn trim_ascii_start_zeros(&self) -> &Self;
}

impl TrimZeros for [u8] {
    fn trim_ascii_start_zeros(&self) -> &Self {
        let zeros = self.iter().take_while(|&&digit| digit == b'0').count();
        &self[zeros..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_and_floats() {
        for (text, integer) in [
            ("0", 0),
            ("-7", -7),
            ("4823947234", 4_823_947_234),
            ("9007199254740993", 9_007_199_254_740_993),
            ("999999999999999999", 999_999_999_999_999_999),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert!(matches!(Number::read(text.as_bytes()), Number::Integer(read) if read == integer), "{text}");
        }
        for text in [
            "-0",
            "0.1",
            "75.5",
            "-0.0",
            "9223372036854775808",
            "18446744073709551615",
            "1e3",
            "1E-7",
            "0.30000000000000004",
            "123456789012345678.5",
            "1.7976931348623157e308",
            "4.9e-324",
            "1e-999",
            "0.000000000000000001",
        ] {
            let Number::Float(float) = Number::read(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(float.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        let order = [
            "-1e400000",
            "-2",
            "-1.5",
            "-1",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "1",
            "1.5",
            "9007199254740992",
            "9007199254740992.5",
            "9007199254740993",
            "9007199254740993.5",
            "9007199254740994",
            "18446744073709551614",
            "18446744073709551615",
            "18446744073709551615.1",
            "1e300",
        ];
        for (at_a, a) in order.iter().enumerate().skip(1) {
            for (at_b, b) in order.iter().enumerate().skip(1) {
                assert_eq!(compare_values(a.as_bytes(), b.as_bytes()), at_a.cmp(&at_b), "{a} {b}");
            }
        }
        for (a, b) in [
            ("1", "1.0"),
            ("0", "-0"),
            ("0", "0e99999999999999999999"),
            ("1e3", "1000"),
            ("1E-3", "0.001"),
            ("9007199254740993", "9007199254740993.0"),
        ] {
            assert_eq!(compare_values(a.as_bytes(), b.as_bytes()), Ordering::Equal);
            assert_eq!(compare_digits(a.as_bytes(), b.as_bytes()), Ordering::Less);
        }
        assert_eq!(
            Number::Integer(9_007_199_254_740_993).compare(Number::Float(9_007_199_254_740_992.0)),
            Ordering::Greater
        );
        assert_eq!(Number::Integer(-3).compare(Number::Float(-3.5)), Ordering::Greater);
        assert_eq!(Number::Integer(i64::MAX).compare(Number::Float(1e19)), Ordering::Less);
        assert_eq!(Number::Integer(i64::MIN).compare(Number::Float(-1e19)), Ordering::Greater);
    }

    #[test]
    fn digits_stay() {
        for text in ["1", "0.10", "1234567890123456789012", "12345678901234567890123", "-1.50e+07"] {
            assert_eq!(Digits::new(text.as_bytes()).as_bytes(), text.as_bytes());
        }
        assert_eq!(size_of::<Digits>(), 24);
    }

    proptest! {
        #[test]
        fn every_number_is_read_as_the_standard_library_reads_it(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,2})?") {
            let read = Number::read(text.as_bytes()).as_f64();
            prop_assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn decimals_compare_as_integers(a in -10_i128.pow(30)..10_i128.pow(30), b in -10_i128.pow(30)..10_i128.pow(30), shift in 0_usize..8) {
            let spell = |number: i128| format!("{number}e-{shift}");
            prop_assert_eq!(compare_values(spell(a).as_bytes(), spell(b).as_bytes()), a.cmp(&b));
        }
    }
}

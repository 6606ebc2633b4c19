//! Values of other protocols than JSON as text of the log.

use super::timestamp::DIGIT_PAIRS;

/// A value as the log has it: `bytes[..length]`. What is behind it may be copied along where it will be overwritten.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueText {
    pub(super) bytes: [u8; ValueText::BYTES_MAX],
    pub(super) length: usize,
}

impl ValueText {
    /// `-2.2250738585072014e-308` has 24; the rest is spare.
    pub(super) const BYTES_MAX: usize = 32;

    /// The shortest text that reads back as the same float, an integer without a point, and `"NaN"`, `"+Inf"` and
    /// `"-Inf"` with their quotation marks.
    #[inline]
    pub(super) fn float(float: f64) -> Self {
        match integer_of(float) {
            Some(integer) => Self::integer(integer < 0, integer.unsigned_abs()),
            None => Self::no_integer(float),
        }
    }

    fn no_integer(float: f64) -> Self {
        if float.is_nan() {
            return Self::of(br#""NaN""#);
        }
        if float.is_infinite() {
            return Self::of(if float > 0.0 { br#""+Inf""# } else { br#""-Inf""# });
        }
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(float).as_bytes();
        Self::of(shortest.strip_suffix(b".0").unwrap_or(shortest))
    }

    #[inline]
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, length: text.len() }
    }

    /// An integer in decimal digits.
    #[inline]
    pub(super) fn integer(is_negative: bool, magnitude: u64) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = b'-';
        let start = usize::from(is_negative);
        // Two thirds of what an exporter shows are 0, and most of the others are counts.
        let length = if magnitude < 10 {
            bytes[start] = b'0' + low_digit(magnitude);
            start + 1
        } else {
            start + put_digits(magnitude, &mut bytes[start..])
        };
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

const fn low_digit(magnitude: u64) -> u8 {
    (magnitude % 10) as u8
}

/// Writes the digits of `magnitude`, which is at least 10, to the front of `out`, and returns their number.
fn put_digits(mut magnitude: u64, out: &mut [u8]) -> usize {
    let length = magnitude.ilog10() as usize + 1;
    let mut end = length;
    while magnitude >= 10 {
        let pair = DIGIT_PAIRS[(magnitude % 100) as usize];
        out[end - 2..end].copy_from_slice(&pair);
        end -= 2;
        magnitude /= 100;
    }
    // An odd number of digits leaves one, which is no zero.
    if end == 1 {
        out[0] = b'0' + low_digit(magnitude);
    }
    length
}

/// The integer that a float is, up to 2^53, where floats are integers without gaps; `None` for any other float, and for
/// negative zero.
#[inline]
fn integer_of(float: f64) -> Option<i64> {
    const INTEGER_MAX: u64 = 1 << 53;
    // It saturates for what is no i64, and is then above the bound.
    #[expect(clippy::cast_possible_truncation, reason = "the comparison with the float finds what is lost")]
    let integer = float as i64;
    #[expect(clippy::cast_precision_loss, reason = "exact up to the bound")]
    let is_exact = (integer as f64).to_bits() == float.to_bits();
    (is_exact && integer.unsigned_abs() <= INTEGER_MAX).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        String::from_utf8(ValueText::float(value).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn floats_have_their_shortest_text() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (75.5, "75.5"),
            (10.0, "10"),
            (-99.0, "-99"),
            (100.0, "100"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"+Inf\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn integers_keep_every_digit() {
        let integer =
            |negative, magnitude| String::from_utf8(ValueText::integer(negative, magnitude).as_bytes().to_vec());
        assert_eq!(integer(false, u64::MAX).unwrap(), "18446744073709551615");
        assert_eq!(integer(true, i64::MIN.unsigned_abs()).unwrap(), "-9223372036854775808");
        assert_eq!(integer(false, 0).unwrap(), "0");
    }

    proptest! {
        #[test]
        fn an_integer_has_the_digits_of_its_display(bits: u64, shift in 0..64_u32, is_negative: bool) {
            let magnitude = bits >> shift;
            let text = ValueText::integer(is_negative, magnitude);
            let expected = format!("{}{magnitude}", if is_negative { "-" } else { "" });
            prop_assert_eq!(text.as_bytes(), expected.as_bytes());
        }

        #[test]
        fn a_float_reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = float(value);
            prop_assert!(text.len() <= ValueText::BYTES_MAX);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            prop_assert!(serde_json::from_str::<f64>(&text).is_ok(), "{}", text);
        }
    }
}

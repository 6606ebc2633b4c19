//! Values of other protocols than JSON as text of the log.

/// A 64-bit float as the log has it: the shortest text that reads back as the same float, an integer without a point,
/// and `"NaN"`, `"+Inf"` and `"-Inf"` with their quotation marks.
pub(super) struct FloatText {
    bytes: [u8; FloatText::BYTES_MAX],
    length: usize,
}

impl FloatText {
    /// `-2.2250738585072014e-308` has 24; the rest is spare.
    pub(super) const BYTES_MAX: usize = 32;

    #[inline]
    pub(super) fn new(float: f64) -> Self {
        let mut text = Self { bytes: [0; Self::BYTES_MAX], length: 0 };
        if float.is_nan() {
            text.put(br#""NaN""#);
        } else if float.is_infinite() {
            text.put(if float > 0.0 { br#""+Inf""# } else { br#""-Inf""# });
        } else if let Some(integer) = integer_of(float) {
            text.put(IntegerText::new(integer < 0, integer.unsigned_abs()).as_bytes());
        } else {
            let mut buffer = zmij::Buffer::new();
            let shortest = buffer.format_finite(float).as_bytes();
            text.put(shortest.strip_suffix(b".0").unwrap_or(shortest));
        }
        text
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.length = bytes.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
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

/// An integer in decimal digits.
pub(super) struct IntegerText {
    bytes: [u8; IntegerText::BYTES_MAX],
    start: usize,
}

impl IntegerText {
    /// Length of `-9223372036854775808` and of `18446744073709551615`.
    const BYTES_MAX: usize = 20;

    #[inline]
    pub(super) fn new(is_negative: bool, mut magnitude: u64) -> Self {
        let mut text = Self { bytes: [0; Self::BYTES_MAX], start: Self::BYTES_MAX };
        loop {
            text.start -= 1;
            text.bytes[text.start] = b'0' + u8::try_from(magnitude % 10).unwrap_or(0);
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        if is_negative {
            text.start -= 1;
            text.bytes[text.start] = b'-';
        }
        text
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        String::from_utf8(FloatText::new(value).as_bytes().to_vec()).unwrap()
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
            |negative, magnitude| String::from_utf8(IntegerText::new(negative, magnitude).as_bytes().to_vec());
        assert_eq!(integer(false, u64::MAX).unwrap(), "18446744073709551615");
        assert_eq!(integer(true, i64::MIN.unsigned_abs()).unwrap(), "-9223372036854775808");
        assert_eq!(integer(false, 0).unwrap(), "0");
    }

    proptest! {
        #[test]
        fn a_float_reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = float(value);
            prop_assert!(text.len() <= FloatText::BYTES_MAX);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            prop_assert!(serde_json::from_str::<f64>(&text).is_ok(), "{}", text);
        }
    }
}

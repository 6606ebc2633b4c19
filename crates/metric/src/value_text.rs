//! Values of other protocols than JSON as text of the log.

/// Bytes of a value, at most, with some to spare: `-2.2250738585072014e-308` has 24.
pub(super) const VALUE_BYTES_MAX: usize = 32;
/// A place for a value. What is behind the value means nothing.
pub(super) type Place = [u8; VALUE_BYTES_MAX];

/// 2^52: from it to 2^53, floats are integers without gaps. A sum with it is rounded to one, which its last bits are.
const WHOLE: f64 = 4_503_599_627_370_496.0;
/// The first integer that has more than 15 digits.
const FIFTEEN_DIGITS_END: u64 = 1_000_000_000_000_000;

/// Writes the shortest text that reads back as the same float to the front of `out`, an integer without a point, and
/// `"NaN"`, `"+Inf"` and `"-Inf"` with their quotation marks. Returns its length.
#[inline(always)]
pub(super) fn put_float(float: f64, out: &mut Place) -> usize {
    match magnitude_of(float) {
        Some(magnitude) => put_integer(float.is_sign_negative(), magnitude, out),
        None => put_no_integer(float, out),
    }
}

#[inline(never)]
fn put_no_integer(float: f64, out: &mut Place) -> usize {
    if let Some(length) = put_thousandths(float, out) {
        return length;
    }
    if float.is_nan() {
        return put_text(br#""NaN""#, out);
    }
    if float.is_infinite() {
        return put_text(if float > 0.0 { br#""+Inf""# } else { br#""-Inf""# }, out);
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(float).as_bytes();
    put_text(shortest.strip_suffix(b".0").unwrap_or(shortest), out)
}

/// Writes a float with up to three digits behind the point, as seconds and percentages mostly have; `None` for any
/// other. No two texts of up to 15 digits read back as the same float, so the one that does is the shortest.
#[inline(always)]
fn put_thousandths(float: f64, out: &mut Place) -> Option<usize> {
    let sum = float.abs() * 1_000.0 + WHOLE;
    let thousandths = sum.to_bits().wrapping_sub(WHOLE.to_bits());
    // Of two integers that floats have exactly, a quotient is the float next to it.
    if thousandths >= FIFTEEN_DIGITS_END || (sum - WHOLE) / 1_000.0 != float.abs() {
        return None;
    }
    let end = put_integer(float.is_sign_negative(), thousandths / 1_000, out);
    let [low, high] = [thousandths % 10, thousandths / 100 % 10].map(low_byte);
    let digits = u32::from_le_bytes([0, high, low_byte(thousandths / 10 % 10), low]);
    // Zeros at the end are left out.
    let length = 4 - digits.leading_zeros() as usize / 8;
    *out.get_mut(end..)?.first_chunk_mut()? = (digits | u32::from_le_bytes(*b".000")).to_le_bytes();
    Some(end + length)
}

fn put_text(text: &[u8], out: &mut Place) -> usize {
    out[..text.len()].copy_from_slice(text);
    text.len()
}

/// Writes an integer in decimal digits to the front of `out`, and returns their number with the sign.
#[inline(always)]
pub(super) fn put_integer(is_negative: bool, magnitude: u64, out: &mut Place) -> usize {
    // Two thirds of what an exporter shows are 0, and most of the others are counts.
    if magnitude < 10 && !is_negative {
        out[0] = b'0' | low_byte(magnitude);
        return 1;
    }
    put_digits(is_negative, magnitude, out)
}

/// Writes an integer as [`put_integer`] does. Bytes behind its digits are written to.
#[inline(never)]
fn put_digits(is_negative: bool, magnitude: u64, out: &mut Place) -> usize {
    out[0] = b'-';
    let start = usize::from(is_negative);
    if magnitude < EIGHT_DIGITS {
        return start + put_first(magnitude, &mut out[start..]);
    }
    let (high, low) = (magnitude / EIGHT_DIGITS, magnitude % EIGHT_DIGITS);
    let mut end = start;
    if high < EIGHT_DIGITS {
        end += put_first(high, &mut out[end..]);
    } else {
        end += put_first(high / EIGHT_DIGITS, &mut out[end..]);
        put_eight(high % EIGHT_DIGITS, &mut out[end..]);
        end += 8;
    }
    put_eight(low, &mut out[end..]);
    end + 8
}

/// The first number that has more than eight digits.
const EIGHT_DIGITS: u64 = 100_000_000;
/// Eight zeros.
const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// Writes up to eight digits without the zeros in front, of 0 one, and returns their number.
#[inline(always)]
fn put_first(number: u64, out: &mut [u8]) -> usize {
    let digits = eight_digits(number);
    // The last digit counts though it is 0.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    out[..8].copy_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    8 - zeros as usize
}

#[inline]
fn put_eight(number: u64, out: &mut [u8]) {
    out[..8].copy_from_slice(&(eight_digits(number) | ZEROS).to_le_bytes());
}

/// The digits of a number below [`EIGHT_DIGITS`], one a byte, the first of them in the lowest: numbers of four digits,
/// of two and of one are split in their lanes of a word, each quotient by a multiplication.
#[inline]
const fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let quotients = ((fours * 5_243) >> 19) & 0x7f_0000_007f;
    let twos = quotients | ((fours - quotients * 100) << 16);
    let quotients = ((twos * 103) >> 10) & 0xf_000f_000f_000f;
    quotients | ((twos - quotients * 10) << 8)
}

const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// The integer that a float is without its sign, up to 2^52; `None` for any other float.
#[inline(always)]
fn magnitude_of(float: f64) -> Option<u64> {
    let sum = float.abs() + WHOLE;
    // What is no number, or above the sums that are as exact, has other bits in front.
    let integer = sum.to_bits().wrapping_sub(WHOLE.to_bits());
    ((sum - WHOLE).to_bits() == float.abs().to_bits() && integer <= 1 << 52).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(put: impl FnOnce(&mut Place) -> usize) -> String {
        let mut place = [b'x'; VALUE_BYTES_MAX];
        let length = put(&mut place);
        String::from_utf8(place[..length].to_vec()).unwrap()
    }

    fn float(value: f64) -> String {
        text(|place| put_float(value, place))
    }

    fn integer(is_negative: bool, magnitude: u64) -> String {
        text(|place| put_integer(is_negative, magnitude, place))
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
    fn whole_floats_have_the_digits_of_their_integer() {
        for shift in 0..=53 {
            let power = 1_u64 << shift;
            for integer in [power - 1, power, power + 1, power + power / 2].map(|integer| integer.min(1 << 53)) {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                let value = integer as f64;
                assert_eq!((float(value), float(-value)), (integer.to_string(), format!("-{integer}")));
                // Between two integers, where floats are as near.
                let half = value + 0.5;
                let is_exact = half - value == 0.5;
                assert_eq!(float(half).ends_with(".5"), is_exact, "{half}");
            }
        }
    }

    /// The text that the library writes.
    fn shortest(float: f64) -> String {
        zmij::Buffer::new().format_finite(float).trim_end_matches(".0").to_owned()
    }

    #[test]
    fn floats_of_three_decimals_have_the_text_of_any() {
        for thousandths in (0..100_000).chain((0..1_000).map(|number| FIFTEEN_DIGITS_END - 500 + number)) {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let value = thousandths as f64 / 1_000.0;
            for value in [value, -value, value.next_up(), value.next_down(), value / 10.0] {
                assert_eq!(float(value), shortest(value));
            }
        }
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 4_503_599_627_370.5, 0.3 - 0.1, 1e15, 1e16, 1e21] {
            assert_eq!(float(value), shortest(value));
        }
    }

    #[test]
    fn integers_keep_every_digit() {
        assert_eq!(integer(true, i64::MIN.unsigned_abs()), "-9223372036854775808");
        // Where the number of digits changes, and all digits that are 0 or 9.
        for power in (0..20).map(|exponent| 10_u64.pow(exponent)) {
            for magnitude in [power - 1, power, power + 1, power.saturating_mul(9), u64::MAX - power] {
                assert_eq!(integer(false, magnitude), magnitude.to_string());
                assert_eq!(integer(true, magnitude), format!("-{magnitude}"));
            }
        }
    }

    #[test]
    fn numbers_of_four_digits_are_split_exactly() {
        for number in 0..10_000 {
            for all in [number, number * 10_000, number * 10_000 + 9_999] {
                let expected = format!("{all:08}");
                assert_eq!((eight_digits(all) | ZEROS).to_le_bytes(), expected.as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn an_integer_has_the_digits_of_its_display(bits: u64, shift in 0..64_u32, is_negative: bool) {
            let magnitude = bits >> shift;
            let expected = format!("{}{magnitude}", if is_negative { "-" } else { "" });
            prop_assert_eq!(integer(is_negative, magnitude), expected);
        }

        #[test]
        fn a_float_of_few_decimals_has_the_text_of_any(
            digits: u64, shift in 0..64_u32, decimals in 0..6_i32, ulps in -1..2_i64,
        ) {
            #[expect(clippy::cast_precision_loss, reason = "any float will do")]
            let near = (digits >> shift) as f64 / 10_f64.powi(decimals);
            let value = f64::from_bits(near.to_bits().saturating_add_signed(ulps));
            prop_assume!(value.is_finite());
            prop_assert_eq!(float(value), shortest(value));
        }

        #[test]
        fn a_float_reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = float(value);
            prop_assert!(text.len() < VALUE_BYTES_MAX);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            prop_assert!(serde_json::from_str::<f64>(&text).is_ok(), "{}", text);
        }
    }
}

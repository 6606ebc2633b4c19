//! Readers of timestamp and value, which alone are new in a line whose series is known by its bytes.
//!
//! A line is its head with the timestamp, its front (the name, up to the value), the value, and its ending with the
//! line feed. The grammar reads from left to right, and its state in front of each of these is always the same one; so
//! bytes that were the front of a line with a number, and bytes that were an ending of one, are that in every line.
//! Whoever has both from lines that were read reads another one by comparing them, and by reading head and value here.

use super::super::{block, number};
use super::{BEFORE_NAME, BEFORE_TIMESTAMP, Cursor, Minute, TIMESTAMP_BYTES, milliseconds_of_minute};

const HEAD_BYTES: usize = BEFORE_TIMESTAMP.len() + TIMESTAMP_BYTES + BEFORE_NAME.len();
/// Bytes up to the minute, with it.
const MINUTE_END: usize = BEFORE_TIMESTAMP.len() + Minute::BYTES;
/// Bytes of a timestamp behind the minute.
const BELOW_MINUTE_BYTES: usize = TIMESTAMP_BYTES - Minute::BYTES;
/// The powers of ten that a 64-bit float has exactly, and that can stand behind so many digits.
const POWERS: [f64; SHORT_DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];
/// Powers of ten up to that of the digits that are read at once.
const INTEGER_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
const WORD_BYTES: usize = size_of::<u64>();
/// Eight digits that are zeros.
const ZEROS: u64 = u64::from_le_bytes([b'0'; WORD_BYTES]);
/// Digits whose number fits into 64 bits, whatever they are.
const SHORT_DIGITS_MAX: usize = 19;
/// The number up to which each integer is a 64-bit float.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// Reader of heads of lines, which mostly differ in seconds only, or not at all: lines of one turn have one timestamp.
#[derive(Clone)]
pub struct LineHeads {
    /// The latest head up to the minute, with it, and the minute in epoch milliseconds.
    begin: [u8; MINUTE_END],
    minute_ms: i64,
    /// The rest of the latest timestamp, behind the minute, and that timestamp in epoch milliseconds.
    below_minute: [u8; BELOW_MINUTE_BYTES],
    timestamp_ms: i64,
}

impl Default for LineHeads {
    fn default() -> Self {
        // Of a line that could be: no other bytes may be taken for a head.
        Self { begin: *br#"{"timestamp":"1970-01-01T00:00"#, minute_ms: 0, below_minute: *b":00.000Z", timestamp_ms: 0 }
    }
}

impl LineHeads {
    /// Reads the head of the line that begins at `at`: its timestamp in epoch milliseconds, and the offset of its name.
    /// `None` if there is none.
    #[inline]
    pub fn read(&mut self, text: &[u8], at: usize) -> Option<(i64, usize)> {
        let head: &[u8; HEAD_BYTES] = text.get(at..)?.first_chunk()?;
        // Arrays: a comparison of constant length takes no call.
        let (begin, rest) = head.split_first_chunk::<MINUTE_END>()?;
        let (below_minute, behind) = rest.split_first_chunk::<BELOW_MINUTE_BYTES>()?;
        if behind != BEFORE_NAME {
            return None;
        }
        if *begin != self.begin {
            self.read_minute(begin)?;
        }
        if *below_minute != self.below_minute {
            self.timestamp_ms = self.minute_ms + milliseconds_of_minute(u64::from_le_bytes(*below_minute))?;
            self.below_minute = *below_minute;
        }
        Some((self.timestamp_ms, at + HEAD_BYTES))
    }

    /// Reads the beginning of a head with another minute than the latest.
    #[cold]
    fn read_minute(&mut self, begin: &[u8; MINUTE_END]) -> Option<()> {
        let minute = Minute::new(begin.strip_prefix(BEFORE_TIMESTAMP)?.try_into().ok()?)?;
        let below_ms = milliseconds_of_minute(u64::from_le_bytes(self.below_minute))?;
        (self.begin, self.minute_ms, self.timestamp_ms) = (*begin, minute.ms, minute.ms + below_ms);
        Some(())
    }
}

/// Reads the number at `at`: the 64-bit float that is nearest, and the offset behind the number. `None` if it is none
/// of the log: against the grammar, or not finite.
#[inline]
#[must_use]
pub fn read_number(text: &[u8], at: usize) -> Option<(f64, usize)> {
    // In registers, whichever it is: what follows the number waits for its end.
    let (float, end) = match quick_decimal(text, at) {
        Some(found) => found,
        None => slow_number(text, at),
    };
    (end > at).then_some((float, end))
}

/// Reads a number with at most eight digits before its point and behind it, if it has one, and a comma behind them, as
/// [`short_decimal`] does: by two words, and without a loop or a branch that depends on how many digits there are. No
/// place that is read depends on a byte that was, except for the digits behind the point.
#[inline(always)]
fn quick_decimal(text: &[u8], at: usize) -> Option<(f64, usize)> {
    const BYTES: usize = 3 * WORD_BYTES;
    const POINTS: block::Block = [b'.'; block::BLOCK_BYTES];
    let digits: &[u8; BYTES] = text.get(at..)?.first_chunk()?;
    // Whatever is behind the block counts as no digit: the comma must be there then, or what is read is not accepted.
    let others = !block::digits(digits.first_chunk()?);
    let behind = others & (others - 1);
    let point = others.trailing_zeros() as usize;
    let has_point = (others ^ behind) & block::equal(digits.first_chunk()?, &POINTS) != 0;
    let end = if has_point { behind.trailing_zeros() as usize } else { point };
    let fraction = end - point - usize::from(has_point);
    let is_short = (1..=WORD_BYTES).contains(&point) && fraction <= WORD_BYTES;
    let is_number = (digits[0] != b'0' || point == 1) && has_point == (fraction > 0) && digits[end] == b',';
    if !is_short || !is_number {
        return None;
    }
    let word = |from: usize| Some(u64::from_le_bytes(*digits[from..].first_chunk()?) ^ ZEROS);
    // Digits behind as many zeros as there are bytes of others. In halves, as no digits are a shift by 64.
    let (integer_bits, half_bits) = (64 - 8 * point, 32 - 4 * fraction);
    let (integer, behind) = (word(0)? << integer_bits, word(point + 1)? << half_bits << half_bits);
    let mantissa = match point + fraction {
        // As one number, as most are.
        0..=WORD_BYTES => number_of_digits(integer >> (8 * fraction) | behind),
        _ => number_of_digits(integer) * INTEGER_POWERS[fraction] + number_of_digits(behind),
    };
    if mantissa > EXACT_MAX {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to the bound")]
    let float = mantissa.cast_signed() as f64 / POWERS[fraction];
    Some((float, at + end))
}

/// Reads a number that is not as most are, as [`read_number`] does. The offset is `at` if there is none.
#[inline(never)]
fn slow_number(text: &[u8], at: usize) -> (f64, usize) {
    let negative = || {
        let (float, end) = text.get(at).filter(|&&first| first == b'-').and_then(|_| quick_decimal(text, at + 1))?;
        Some((-float, end))
    };
    negative().or_else(|| short_decimal(text, at)).or_else(|| any_number(text, at)).unwrap_or((0.0, at))
}

/// Reads a number with a comma behind it that is a quotient of two integers which floats have exactly: rounding the
/// quotient once is what rounds the number correctly (Clinger, How to Read Floating Point Numbers Accurately, 1990).
fn short_decimal(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let is_negative = text.get(at) == Some(&b'-');
    let begin = at + usize::from(is_negative);
    let (integer, point) = digits(text, begin, 0)?;
    let has_point = text.get(point) == Some(&b'.');
    let (mantissa, end) = if has_point { digits(text, point + 1, integer)? } else { (integer, point) };
    let fraction = end - point - usize::from(has_point);
    let is_number = point > begin && (text[begin] != b'0' || point == begin + 1) && has_point == (fraction > 0);
    let is_short = point - begin + fraction <= SHORT_DIGITS_MAX && mantissa <= EXACT_MAX;
    if !is_number || !is_short || text.get(end) != Some(&b',') {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to the bound")]
    let magnitude = mantissa as f64 / POWERS[fraction];
    Some((if is_negative { -magnitude } else { magnitude }, end))
}

/// Reads digits behind those that made `number`: the number of all, if it fits, and the offset behind them.
fn digits(text: &[u8], begin: usize, number: u64) -> Option<(u64, usize)> {
    match text.get(begin..)?.first_chunk() {
        Some(eight) => {
            let (count, own) = leading_digits(u64::from_le_bytes(*eight));
            let number = number.wrapping_mul(INTEGER_POWERS[count]).wrapping_add(own);
            if count == eight.len() { more_digits(text, begin + count, number) } else { Some((number, begin + count)) }
        }
        None => more_digits(text, begin, number),
    }
}

/// As [`digits`] does, one after the other.
fn more_digits(text: &[u8], begin: usize, mut number: u64) -> Option<(u64, usize)> {
    let mut end = begin;
    for byte in text.get(begin..)? {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
        end += 1;
    }
    Some((number, end))
}

/// The digits that eight characters begin with, the first one in the lowest byte: how many they are, and their number.
fn leading_digits(text: u64) -> (usize, u64) {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let distances = text ^ ZEROS;
    // The highest bit of each byte that is above nine. Nothing is carried from one to the next.
    let others = (((distances & LOW_SEVEN) + 0x7676_7676_7676_7676) | distances) & !LOW_SEVEN;
    let bits = others.trailing_zeros() & !7;
    // Digits behind as many zeros as there are characters of others.
    let number = number_of_digits(distances.checked_shl(u64::BITS - bits).unwrap_or(0));
    ((bits / 8) as usize, number)
}

/// The number of eight digits, the first one in the lowest byte: of pairs, then of fours, then of all.
#[inline(always)]
fn number_of_digits(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

fn any_number(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let rest = text.get(at..)?;
    let mut cursor = Cursor::new(rest);
    let number = number::read(&mut cursor).ok().filter(number::Number::is_finite)?;
    let float = std::str::from_utf8(number.text).ok()?.parse().ok()?;
    Some((float, at + number.text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp;
    use proptest::prelude::*;

    /// Text that stands behind a number, mostly.
    const BEHIND: &str = r#","type":"counter","tags":{"#;

    fn read(number: &str) -> Option<u64> {
        let [short, long] = [",y", BEHIND].map(|behind| {
            let text = format!("x{number}{behind}");
            let (float, end) = read_number(text.as_bytes(), 1)?;
            assert_eq!(end, 1 + number.len(), "{number}");
            Some(float.to_bits())
        });
        assert_eq!(short, long, "{number}");
        long
    }

    #[test]
    fn numbers_at_the_bounds_of_the_short_way_are_exact() {
        for number in [
            "0",
            "-0",
            "0.1",
            "-0.30",
            "1.7976931348623157e308",
            "5e-324",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.5",
            "0.9007199254740992",
            "0.000000000000000001",
            "0.0000000000000000001",
            "1234567.8",
            "1.2345678",
            "123456.78",
            "123456.789",
            "12345678.12345678",
            "-12345678.12345678",
            "90071992.54740993",
            "90071992.54740992",
            "99999999.99999999",
            "123456789.1",
            "1.123456789",
            "0.00000001",
            "-0.0",
            "1.5e3",
            "-7",
            "12345678",
            "1234567890123456",
            "1234567.12345678",
            "1844674407370955162",
            "18446744073709551615",
            "99999999999999999999.25",
            "1.00000000000000011102230246251565404236316680908203125",
        ] {
            assert_eq!(read(number), Some(number.parse::<f64>().unwrap().to_bits()), "{number}");
        }
    }

    #[test]
    fn what_is_no_number_of_the_log_is_none() {
        // No digit behind the point: what stands in front of it is no whole number.
        for text in ["", "-", "x", "01", "-00", "00.5", ".5", "-.5", "\"NaN\"", "1e999", "+1", "1.", "-1."] {
            for behind in [",", BEHIND] {
                assert_eq!(read_number(format!("{text}{behind}").as_bytes(), 0), None, "{text}");
            }
        }
        assert_eq!(read_number(b"1", 2), None);
    }

    #[test]
    fn a_head_has_each_millisecond_and_no_other_text() {
        let mut heads = LineHeads::default();
        for ms in (0..60_000).step_by(7).chain([59_999]) {
            let time = timestamp::format(1_767_323_040_000 + ms);
            let head = [BEFORE_TIMESTAMP, &time, BEFORE_NAME].concat();
            assert_eq!(heads.read(&head, 0), Some((1_767_323_040_000 + ms, head.len())));
        }
        // Another minute with the same seconds, and the first one of all.
        for ms in [1_767_323_099_999, 1_767_323_159_999, 0, 59_999, 60_000] {
            let head = [BEFORE_TIMESTAMP, &timestamp::format(ms), BEFORE_NAME].concat();
            assert_eq!(heads.read(&head, 0), Some((ms, head.len())));
        }
        let head = br#"{"timestamp":"2026-01-02T03:04:05.678Z","name":""#;
        assert_eq!(heads.read(&head[..head.len() - 1], 0), None);
        for place in 0..head.len() {
            for byte in 0..=u8::MAX {
                let mut other = *head;
                other[place] = byte;
                let time = other.strip_prefix(BEFORE_TIMESTAMP).and_then(|rest| rest.strip_suffix(BEFORE_NAME));
                let time = time.and_then(|time| std::str::from_utf8(time).ok());
                let ms = time.and_then(timestamp::parse);
                // A client may write `t` for `T`; the log does not.
                let ms = ms.filter(|&ms| time.map(str::as_bytes) == Some(&timestamp::format(ms)));
                assert_eq!(heads.read(&other, 0).map(|(ms, _)| ms), ms, "{place} {byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_number_is_what_the_library_reads(
            number in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let expected = number.parse::<f64>().unwrap();
            prop_assert_eq!(read(&number), expected.is_finite().then_some(expected.to_bits()), "{}", number);
        }

        #[test]
        fn any_text_is_read_as_the_grammar_does(text in "[-+0-9.eE,x]{0,12}") {
            for text in [text.clone(), text + BEHIND] {
                let text = text.as_bytes();
                let by_grammar = any_number(text, 0).map(|(float, end)| (float.to_bits(), end));
                prop_assert_eq!(read_number(text, 0).map(|(float, end)| (float.to_bits(), end)), by_grammar);
            }
        }
    }
}

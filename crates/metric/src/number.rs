//! JSON numbers (RFC 8259, 6): the grammar, and whether a number is finite as a 64-bit float. The digits are kept as
//! they came; no number is converted.

use super::cursor::Cursor;
use super::error::{Fault, Problem, Step};

/// A number that keeps to the grammar.
pub(super) struct Number<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// The digits in front of the point: `0`, or no leading zero.
    pub integer: &'a [u8],
    /// The digits behind the point; empty if there is no point.
    fraction: &'a [u8],
    /// The power of ten, saturated; `None` if there is none.
    exponent: Option<i64>,
}

/// Reads a number; a digit or a minus sign is next.
#[inline(always)]
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Step<Number<'a>> {
    let text = cursor.rest();
    cursor.eat(b'-');
    let start = cursor.byte();
    let integer = cursor.some_digits()?;
    if let [b'0', _, ..] = integer {
        return Err(Fault { byte: start, problem: Problem::LeadingZero });
    }
    let fraction = if cursor.eat(b'.') { cursor.some_digits()? } else { &[] };
    let exponent = if cursor.eat(b'e') || cursor.eat(b'E') { Some(exponent(cursor)?) } else { None };
    let text = &text[..text.len() - cursor.rest().len()];
    Ok(Number { text, integer, fraction, exponent })
}

/// Reads an exponent behind its `e`.
fn exponent(cursor: &mut Cursor) -> Step<i64> {
    let negative = cursor.eat(b'-');
    if !negative {
        cursor.eat(b'+');
    }
    let digits = cursor.some_digits()?;
    let exponent =
        digits.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Ok(if negative { -exponent } else { exponent })
}

/// Digits of the smallest integers that overflow.
const OVERFLOW_DIGITS: usize = 309;

/// The smallest number that rounds to infinity: 2^1024 - 2^970, half a step above the largest finite float
/// 2^1024 - 2^971 (IEEE 754, 4.3.1: a tie goes to the even neighbour, which is here the overflow).
#[rustfmt::skip]
const OVERFLOW: &[u8; OVERFLOW_DIGITS] = b"\
1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070963\
3028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447573027\
0069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

impl Number<'_> {
    /// Returns whether there is neither fraction nor exponent.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.fraction.is_empty() && self.exponent.is_none()
    }

    /// Returns whether the number, rounded to the nearest 64-bit float, is finite. Exact at any length.
    #[inline]
    pub fn is_finite(&self) -> bool {
        let digits = self.exponent.unwrap_or(0).saturating_add_unsigned(self.integer.len() as u64);
        digits < OVERFLOW_DIGITS as i64 || self.is_finite_exactly()
    }

    /// The number, of seconds, in milliseconds, rounded down. Exact at any length; beyond 64 bits the nearest of these.
    pub fn seconds_to_ms(&self) -> i64 {
        let is_negative = self.text.first() == Some(&b'-');
        // Digits in front of the point once the number is one of milliseconds.
        let whole = self.exponent.unwrap_or(0).saturating_add_unsigned(self.integer.len() as u64).saturating_add(3);
        let mut ms = 0_u64;
        let mut has_remainder = false;
        let mut at = 0;
        for digit in self.integer.iter().chain(self.fraction).map(|digit| digit - b'0') {
            if at < whole {
                ms = ms.saturating_mul(10).saturating_add(u64::from(digit));
            } else {
                has_remainder |= digit != 0;
            }
            at += 1;
        }
        while at < whole && ms != 0 && ms != u64::MAX {
            ms = ms.saturating_mul(10);
            at += 1;
        }
        if is_negative {
            0_i64.saturating_sub_unsigned(ms.saturating_add(u64::from(has_remainder)))
        } else {
            i64::try_from(ms).unwrap_or(i64::MAX)
        }
    }

    /// Writes the number as 0.d1 d2 d3... times a power of ten, with d1 not 0, and compares that with [`OVERFLOW`].
    #[cold]
    fn is_finite_exactly(&self) -> bool {
        let digits = self.integer.iter().chain(self.fraction);
        let zeros = digits.clone().take_while(|&&digit| digit == b'0').count();
        if zeros == self.integer.len() + self.fraction.len() {
            return true;
        }
        let power = self
            .exponent
            .unwrap_or(0)
            .saturating_add_unsigned(self.integer.len() as u64)
            .saturating_sub_unsigned(zeros as u64);
        if power != OVERFLOW_DIGITS as i64 {
            return power < OVERFLOW_DIGITS as i64;
        }
        digits.skip(zeros).chain(std::iter::repeat(&b'0')).take(OVERFLOW_DIGITS).lt(OVERFLOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(text: &str) -> bool {
        let mut cursor = Cursor::new(text.as_bytes());
        let number = read(&mut cursor).unwrap();
        assert_eq!(number.text, text.as_bytes());
        number.is_finite()
    }

    #[test]
    fn finite_to_the_last_digit() {
        let overflow = std::str::from_utf8(OVERFLOW).unwrap();
        assert!(!finite(overflow));
        assert!(!finite(&format!("-{overflow}")));
        assert!(!finite(&format!("{overflow}.000")));
        let below = format!("{}1", &overflow[..OVERFLOW_DIGITS - 1]);
        assert_eq!(below.parse::<f64>().unwrap(), f64::MAX);
        assert!(finite(&below));
        assert!(finite(&format!("{below}.{}", "9".repeat(2_000))));
        assert!(finite(&format!("0.{below}e309")));
        assert!(!finite(&format!("0.{overflow}e309")));
        assert!(!finite(&format!("0.0000{overflow}1e313")));
    }

    #[test]
    fn seconds_become_milliseconds_exactly() {
        for (seconds, ms) in [
            ("1795838679.455", 1_795_838_679_455),
            ("1795838679", 1_795_838_679_000),
            ("1.795838679455e9", 1_795_838_679_455),
            ("17958386794559E-4", 1_795_838_679_455),
            ("1795838679.4559999999999", 1_795_838_679_455),
            ("0.0019", 1),
            ("0.0001", 0),
            ("-0", 0),
            ("-0.0001", -1),
            ("-1.5", -1_500),
            ("-1.5001", -1_501),
            ("1e2", 100_000),
            ("0e99999999999999999999", 0),
            ("1e-99999999999999999999", 0),
            ("1e99999999999999999999", i64::MAX),
            ("-1e99999999999999999999", i64::MIN),
            ("99999999999999999999", i64::MAX),
        ] {
            let number = read(&mut Cursor::new(seconds.as_bytes())).unwrap_or_else(|_| panic!("{seconds}"));
            assert_eq!(number.seconds_to_ms(), ms, "{seconds}");
        }
    }

    #[test]
    fn finite_whatever_the_exponent() {
        for text in [
            "0e999",
            "0.000e99999999999999999999",
            "-0.0E+400",
            "1e-999",
            "1e308",
            "0.1e309",
            "1.7976931348623157e308",
            "17976931348623157E292",
        ] {
            assert!(finite(text), "{text}");
        }
        for text in ["1e309", "-1e999", "0.01e311", "1.7976931348623159e308", "1e99999999999999999999", "2e308"] {
            assert!(!finite(text), "{text}");
        }
        let zeros = "0".repeat(100_000);
        assert!(finite(&format!("0.{zeros}1e100001")));
        assert!(!finite(&format!("0.{zeros}1e200000")));
        assert!(finite(&format!("1{zeros}e-100000")));
        assert!(!finite(&format!("1{zeros}")));
    }
}

//! Values of fields that are no strings.

use super::scan::{COMMA, LINE_FEED, SPACE, is_line_end, until};
use crate::Value;
use crate::block::{self, BLOCK_BYTES};
use crate::cursor::Cursor;
use crate::number;

/// Digits of an integer that is within 64 bits whatever they are, signed or not.
const INTEGER_DIGITS_SAFE: usize = 18;

/// The value of a numeric field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// A JSON number that is finite, at these offsets of the body.
    Digits { start: usize, end: usize },
    /// A float that is no JSON number, such as `.5` or `01.`, at these offsets of the body.
    Respelled { start: usize, end: usize },
    /// An integer whose digits are not those of JSON, or so many that they had to be converted.
    Signed(i64),
    /// As `Signed`, of the unsigned type.
    Unsigned(u64),
    /// 1 for true and 0 for false.
    Boolean(bool),
}

impl Number {
    /// Reads the value that starts at `start`, where the line does not end; returns the offset behind it too.
    #[inline]
    pub(super) fn read(body: &[u8], start: usize) -> Result<(Self, usize), &'static str> {
        match Self::read_plain(body, start) {
            Some(plain) => Ok(plain),
            None => Self::read_any(body, start),
        }
    }

    /// Reads what most values are: a few digits, with a point among them or an `i` behind them, and in front of another
    /// field or a timestamp.
    #[inline(always)]
    fn read_plain(body: &[u8], start: usize) -> Option<(Self, usize)> {
        let block = body.get(start..)?.first_chunk::<BLOCK_BYTES>()?;
        let digits = block::digits(block);
        let whole = digits.trailing_ones() as usize;
        // No zero in front of another digit.
        if !matches!(block[0], b'1'..=b'9') && whole != 1 {
            return None;
        }
        let (bytes, behind) = match block.get(whole)? {
            b'i' => (whole, whole + 1),
            b'.' => {
                let fraction = (digits >> (whole + 1)).trailing_ones() as usize;
                let bytes = whole + 1 + fraction;
                if fraction == 0 {
                    return None;
                }
                (bytes, bytes)
            }
            _ => (whole, whole),
        };
        matches!(block.get(behind)?, b',' | b' ')
            .then_some((Self::Digits { start, end: start + bytes }, start + behind))
    }

    #[inline(never)]
    fn read_any(body: &[u8], start: usize) -> Result<(Self, usize), &'static str> {
        match body[start] {
            b'0'..=b'9' | b'-' => {}
            b'.' => return Self::read_other(body, start),
            b'n' | b'N' => return Err("invalid number"),
            _ => return Self::read_boolean(body, start),
        }
        let Ok(number) = number::read(&mut Cursor::new(&body[start..])) else {
            return Self::read_other(body, start);
        };
        let end = start + number.text.len();
        match body.get(end) {
            Some(b'i') if number.is_whole() && is_end(body, end + 1) => {
                if number.integer.len() > INTEGER_DIGITS_SAFE || number.text == b"-0" {
                    return Self::read_other(body, start);
                }
                Ok((Self::Digits { start, end }, end + 1))
            }
            Some(b'u') if number.is_whole() && number.text[0] != b'-' && is_end(body, end + 1) => {
                if number.integer.len() > INTEGER_DIGITS_SAFE {
                    return Self::read_other(body, start);
                }
                Ok((Self::Digits { start, end }, end + 1))
            }
            _ if !is_end(body, end) => Self::read_other(body, start),
            _ if number.is_finite() => Ok((Self::Digits { start, end }, end)),
            _ => Err("invalid float"),
        }
    }

    /// Reads a value that is not in the digits of a JSON number, or is no number at all.
    #[cold]
    fn read_other(body: &[u8], start: usize) -> Result<(Self, usize), &'static str> {
        let (text, end) = token(body, start);
        let text = std::str::from_utf8(text).map_err(|_| "invalid number")?;
        let number = if let Some(digits) = text.strip_suffix('i') {
            if !is_digits(digits.strip_prefix('-').unwrap_or(digits)) {
                return Err("invalid number");
            }
            Self::Signed(digits.parse().map_err(|_| "integer out of range")?)
        } else if let Some(digits) = text.strip_suffix('u') {
            if !is_digits(digits) {
                return Err("invalid number");
            }
            Self::Unsigned(digits.parse().map_err(|_| "integer out of range")?)
        } else {
            // Of what `parse` takes, this leaves out the names of NaN and the infinities.
            if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
                return Err("invalid number");
            }
            let float: f64 = text.parse().map_err(|_| "invalid number")?;
            if !float.is_finite() {
                return Err("invalid float");
            }
            Self::Respelled { start, end }
        };
        Ok((number, end))
    }

    fn read_boolean(body: &[u8], start: usize) -> Result<(Self, usize), &'static str> {
        let (text, end) = token(body, start);
        match text {
            b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok((Self::Boolean(true), end)),
            b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok((Self::Boolean(false), end)),
            _ => Err("invalid boolean"),
        }
    }

    /// The value as the log has it, in `text` where that is not how the body has it.
    #[inline]
    pub(super) fn value<'a>(self, body: &'a [u8], text: &'a mut Vec<u8>) -> Value<'a> {
        match self {
            Self::Digits { start, end } => Value::Digits(&body[start..end]),
            Self::Respelled { start, end } => {
                text.clear();
                respell(&body[start..end], text);
                Value::Digits(text)
            }
            Self::Signed(integer) => Value::Int(integer),
            Self::Unsigned(integer) => Value::Uint(integer),
            Self::Boolean(boolean) => Value::Uint(u64::from(boolean)),
        }
    }
}

/// Returns whether a value ends at `at`.
#[inline]
fn is_end(body: &[u8], at: usize) -> bool {
    matches!(body.get(at), Some(b',' | b' ')) || is_line_end(body, at)
}

/// The bytes from `start` to the end of the value, and its offset.
fn token(body: &[u8], start: usize) -> (&[u8], usize) {
    let mut end = until(body, start, COMMA | SPACE | LINE_FEED);
    if end > start && body[end - 1] == b'\r' && is_line_end(body, end) {
        end -= 1;
    }
    (&body[start..end], end)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Appends a float as a JSON number: without zeros in front, and with a digit on both sides of its point.
fn respell(float: &[u8], out: &mut Vec<u8>) {
    let magnitude = float.strip_prefix(b"-").unwrap_or(float);
    let exponent = magnitude.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(magnitude.len());
    let (mantissa, exponent) = magnitude.split_at(exponent);
    let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let (integer, fraction) = mantissa.split_at(point);
    let zeros = integer.iter().take_while(|&&digit| digit == b'0').count();
    if magnitude.len() < float.len() {
        out.push(b'-');
    }
    out.extend_from_slice(if zeros == integer.len() { b"0" } else { &integer[zeros..] });
    if fraction.len() > 1 {
        out.extend_from_slice(fraction);
    }
    out.extend_from_slice(exponent);
}

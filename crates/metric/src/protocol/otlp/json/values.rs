//! Values of the members of a request.

use super::super::writer::{CUMULATIVE, DELTA};
use crate::cursor::Cursor;
use crate::error::{Expected, Fault, Problem};
use crate::{Text, number};

pub(super) fn text<'a>(cursor: &mut Cursor<'a>) -> Result<Text<'a>, Fault> {
    cursor.expect(b'"', Expected::String)?;
    cursor.string()
}

pub(super) fn boolean(cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
    if cursor.eat_all(b"true") {
        Ok(true)
    } else if cursor.eat_all(b"false") {
        Ok(false)
    } else {
        Err(cursor.unexpected(Expected::Value))
    }
}

/// Reads a number, bare or in a string, and converts its text.
fn number<'a, T>(
    cursor: &mut Cursor<'a>,
    convert: impl FnOnce(&number::Number<'a>, &dyn Fn() -> &'a str) -> Option<T>,
) -> Result<T, Fault> {
    let start = *cursor;
    let is_string = cursor.eat(b'"');
    if !matches!(cursor.peek(), Some(b'-' | b'0'..=b'9')) {
        return Err(start.unexpected(Expected::Number));
    }
    let number = number::read(cursor)?;
    if is_string {
        cursor.expect(b'"', Expected::Number)?;
    }
    let text = || std::str::from_utf8(number.text).unwrap_or_default();
    convert(&number, &text).ok_or_else(|| start.fault(Problem::ValueInfinite))
}

pub(super) fn float(cursor: &mut Cursor<'_>) -> Result<f64, Fault> {
    for (name, float) in
        [(&b"\"NaN\""[..], f64::NAN), (b"\"Infinity\"", f64::INFINITY), (b"\"-Infinity\"", f64::NEG_INFINITY)]
    {
        if cursor.rest().starts_with(name) {
            cursor.skip(name.len());
            return Ok(float);
        }
    }
    number(cursor, |_, text| text().parse().ok().filter(|float: &f64| float.is_finite()))
}

/// An integer, which may be spelled as a float if that has no fraction, as the JSON of protobuf allows.
fn integer<T: std::str::FromStr + TryFrom<i128>>(cursor: &mut Cursor<'_>) -> Result<T, Fault> {
    number(cursor, |number, text| {
        // Up to 19 digits without a sign fit in 64 bits.
        if number.is_whole() && number.integer.len() == number.text.len() && number.integer.len() <= 19 {
            let integer = number.integer.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
            return T::try_from(i128::from(integer)).ok();
        }
        let text = text();
        if number.is_whole() {
            return text.parse().ok();
        }
        let float: f64 = text.parse().ok().filter(|float: &f64| float.trunc() == *float)?;
        #[expect(clippy::cast_possible_truncation, reason = "what does not fit is not an integer of 64 bits either")]
        let integer = float as i128;
        T::try_from(integer).ok()
    })
}

pub(super) fn signed(cursor: &mut Cursor<'_>) -> Result<i64, Fault> {
    integer(cursor)
}

pub(super) fn signed_32(cursor: &mut Cursor<'_>) -> Result<i32, Fault> {
    integer(cursor)
}

pub(super) fn unsigned(cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
    integer(cursor)
}

pub(super) fn enum_of_temporality(cursor: &mut Cursor<'_>) -> Result<i32, Fault> {
    for (name, number) in [
        (&b"\"AGGREGATION_TEMPORALITY_UNSPECIFIED\""[..], 0),
        (b"\"AGGREGATION_TEMPORALITY_DELTA\"", DELTA),
        (b"\"AGGREGATION_TEMPORALITY_CUMULATIVE\"", CUMULATIVE),
    ] {
        if cursor.rest().starts_with(name) {
            cursor.skip(name.len());
            return Ok(number);
        }
    }
    signed_32(cursor)
}

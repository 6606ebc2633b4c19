//! Timestamps: epoch milliseconds and RFC 3339 text in, the log's one form out (`2026-01-02T03:04:05.678Z`).
//!
//! Of RFC 3339 (5.6) all is taken, lower-case `t` and `z` included, and offsets; only a space in the place of the `T`,
//! which it leaves to applications, is refused. A fraction may have any number of digits, those after the third are cut
//! off. A leap second is taken at 23:59:60 UTC alone, and becomes that minute's 59.999. Years are 0000 to 9999, in UTC.
//! The calendar is the proleptic Gregorian one, by Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
//! (`days_from_civil`, `civil_from_days`). jiff, with a crate for its parser and one for its tables of zones, reads and
//! writes the same form; this is on the path of every metric, has no zone but UTC, and keeps the error's byte.

use super::error::Problem;
use super::number::Number;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds from the epoch to 0000-01-01T00:00:00.000Z.
pub const TIMESTAMP_MS_MIN: i64 = days_from_civil(0, 1, 1) * DAY_MS;
/// Milliseconds from the epoch to 9999-12-31T23:59:59.999Z.
pub const TIMESTAMP_MS_MAX: i64 = days_from_civil(10_000, 1, 1) * DAY_MS - 1;

/// The first whole number that looks like the seconds of a present day: 1973-03-03 in seconds, and 1970-01-02 in
/// milliseconds.
pub const SECONDS_MIN: i64 = 100_000_000;
/// The end of these: the year 5138 in seconds, and 1973-03-03 in milliseconds. A metric of those three years has to be
/// sent as RFC 3339 text.
pub const SECONDS_END: i64 = 100_000_000_000;

/// Length of a timestamp as the log has it.
pub const TIMESTAMP_BYTES: usize = "2026-01-02T03:04:05.678Z".len();

/// The timestamp that a number stands for: epoch milliseconds. Seconds are refused and not guessed: what is stored
/// stays stored, and nobody looks for it in 1970. Microseconds and nanoseconds of a present day are out of range.
#[inline]
pub(super) fn from_number(number: &Number) -> Result<i64, Problem> {
    // 15 digits reach to the year 33658, and cannot overflow.
    const DIGITS_MAX: usize = 15;
    if !number.is_whole() {
        return Err(Problem::TimestampFraction);
    }
    if number.integer.len() > DIGITS_MAX {
        return Err(Problem::TimestampRange);
    }
    let magnitude = number.integer.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let ms = if number.text[0] == b'-' { -magnitude } else { magnitude };
    if (SECONDS_MIN..SECONDS_END).contains(&ms) { Err(Problem::TimestampSeconds) } else { in_range(ms) }
}

fn in_range(ms: i64) -> Result<i64, Problem> {
    if (TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&ms) { Ok(ms) } else { Err(Problem::TimestampRange) }
}

/// The timestamp that RFC 3339 text stands for.
pub(super) fn from_text(text: impl Iterator<Item = u8>) -> Result<i64, Problem> {
    rfc3339(text).ok_or(Problem::TimestampText).and_then(in_range)
}

/// RFC 3339, 5.6: `date-time`, and 5.7: what is a date and what is a time. `None` for anything else.
fn rfc3339(mut text: impl Iterator<Item = u8>) -> Option<i64> {
    let year = number(&mut text, 4)?;
    one_of(&mut text, b"-")?;
    let month = number(&mut text, 2)?;
    one_of(&mut text, b"-")?;
    let day = number(&mut text, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    one_of(&mut text, b"Tt")?;
    let hour = number(&mut text, 2)?;
    one_of(&mut text, b":")?;
    let minute = number(&mut text, 2)?;
    one_of(&mut text, b":")?;
    let second = number(&mut text, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }

    let mut next = text.next()?;
    let mut fraction_ms = 0;
    if next == b'.' {
        let mut unit_ms = 100;
        next = text.next()?;
        if !next.is_ascii_digit() {
            return None;
        }
        while next.is_ascii_digit() {
            fraction_ms += unit_ms * i64::from(next - b'0');
            unit_ms /= 10;
            next = text.next()?;
        }
    }
    let offset_ms = match next {
        b'Z' | b'z' => 0,
        sign @ (b'+' | b'-') => {
            let hours = number(&mut text, 2)?;
            one_of(&mut text, b":")?;
            let minutes = number(&mut text, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset_ms = hours * HOUR_MS + minutes * MINUTE_MS;
            if sign == b'+' { offset_ms } else { -offset_ms }
        }
        _ => return None,
    };
    if text.next().is_some() {
        return None;
    }

    let minute_ms = days_from_civil(year, month, day) * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS - offset_ms;
    if second < 60 {
        Some(minute_ms + second * SECOND_MS + fraction_ms)
    } else if minute_ms.rem_euclid(DAY_MS) == DAY_MS - MINUTE_MS {
        Some(minute_ms + MINUTE_MS - 1)
    } else {
        None
    }
}

/// Reads exactly `digits` digits.
fn number(text: &mut impl Iterator<Item = u8>, digits: usize) -> Option<i64> {
    (0..digits).try_fold(0, |sum, _| {
        let digit = text.next().filter(u8::is_ascii_digit)?;
        Some(sum * 10 + i64::from(digit - b'0'))
    })
}

/// Reads one of `bytes`.
fn one_of(text: &mut impl Iterator<Item = u8>, bytes: &[u8]) -> Option<u8> {
    text.next().filter(|byte| bytes.contains(byte))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date (Hinnant, `days_from_civil`): years begin in March here, so that the leap day is the
/// last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day that lie `days` after 1970-01-01 (Hinnant, `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The timestamp that RFC 3339 text stands for, in epoch milliseconds; `None` if it is none within the years 0000 to
/// 9999.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    from_text(text.bytes()).ok()
}

/// Spells a timestamp as the log has it.
///
/// # Panics
/// `ms` is not within [`TIMESTAMP_MS_MIN`]..=[`TIMESTAMP_MS_MAX`].
#[expect(clippy::cast_possible_truncation, reason = "no number here has more than two digits")]
#[must_use]
pub fn format(ms: i64) -> [u8; TIMESTAMP_BYTES] {
    assert!((TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&ms), "timestamp outside the years 0000 to 9999: {ms} ms");
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let time_ms = ms.rem_euclid(DAY_MS);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, pair: i64| text[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair as usize]);
    put(0, year / 100);
    put(2, year % 100);
    put(5, month);
    put(8, day);
    put(11, time_ms / HOUR_MS);
    put(14, time_ms / MINUTE_MS % 60);
    put(17, time_ms / SECOND_MS % 60);
    put(21, time_ms % 100);
    text[20] = DIGIT_PAIRS[(time_ms / 100 % 10) as usize][1];
    text
}

/// 00 to 99 in two digits each.
pub(super) const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::super::cursor::Cursor;
    use super::*;
    use proptest::prelude::*;

    fn respelled(text: &str) -> Result<String, Problem> {
        from_text(text.bytes()).map(formatted)
    }

    fn formatted(ms: i64) -> String {
        String::from_utf8(format(ms).to_vec()).unwrap()
    }

    #[test]
    fn known_moments() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (TIMESTAMP_MS_MIN, "0000-01-01T00:00:00.000Z"),
            (TIMESTAMP_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(formatted(ms), text);
            assert_eq!(from_text(text.bytes()), Ok(ms));
        }
    }

    #[test]
    fn rfc_3339_in_its_forms() {
        for (text, canonical) in [
            ("2026-01-02t03:04:05z", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05.600Z"),
            ("2026-01-02T03:04:05.6789999999999999999999Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05.5+05:30", "2026-01-01T21:34:05.500Z"),
            ("2026-01-02T03:04:05-23:59", "2026-01-03T03:03:05.000Z"),
            ("0000-02-29T00:00:00Z", "0000-02-29T00:00:00.000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
            ("1990-12-31T23:59:60Z", "1990-12-31T23:59:59.999Z"),
            ("1990-12-31T23:59:60.25Z", "1990-12-31T23:59:59.999Z"),
            ("1990-12-31T15:59:60-08:00", "1990-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(respelled(text).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339() {
        for text in [
            "",
            "2026",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05,6Z",
            "2026-01-02T03:04:05Z ",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05+0530",
            "2026-01-02T03:04:05+05",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+05:60",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:00Z",
            "2026-01-02T03:04:61Z",
            "2026-01-02T03:04:60Z",
            "1990-12-31T23:59:60-08:00",
            "2026-00-02T03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-01-00T03:04:05Z",
            "2026-01-32T03:04:05Z",
            "2026-04-31T03:04:05Z",
            "2026-02-29T03:04:05Z",
            "1900-02-29T03:04:05Z",
            "26-01-02T03:04:05Z",
            "+2026-01-02T03:04:05Z",
            "12026-01-02T03:04:05Z",
            "2026-1-2T3:4:5Z",
            "20260102T030405Z",
        ] {
            assert_eq!(respelled(text), Err(Problem::TimestampText), "{text}");
        }
    }

    #[test]
    fn numbers_that_look_like_seconds_are_refused() {
        let read = |text: &str| from_number(&crate::number::read(&mut Cursor::new(text.as_bytes())).unwrap());
        for ms in [0, 5, -1, 99_999_999, 100_000_000_000, 1_767_323_045_678, -1_767_323_045, TIMESTAMP_MS_MAX] {
            assert_eq!(read(&ms.to_string()), Ok(ms));
        }
        for seconds in [100_000_000, 1_767_323_045, 99_999_999_999_i64] {
            assert_eq!(read(&seconds.to_string()), Err(Problem::TimestampSeconds), "{seconds}");
        }
        for finer in ["1767323045678000", "1767323045678000000"] {
            assert_eq!(read(finer), Err(Problem::TimestampRange));
        }
    }

    #[test]
    fn an_offset_may_not_lead_out_of_the_years() {
        assert_eq!(respelled("0000-01-01T00:00:00+00:01"), Err(Problem::TimestampRange));
        assert_eq!(respelled("9999-12-31T23:59:00-00:01"), Err(Problem::TimestampRange));
        assert_eq!(respelled("0000-01-01T00:01:00+00:01").as_deref(), Ok("0000-01-01T00:00:00.000Z"));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        for days in TIMESTAMP_MS_MIN / DAY_MS..=TIMESTAMP_MS_MAX / DAY_MS {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            day += 1;
            if day > days_in_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(ms in TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX) {
            prop_assert_eq!(from_text(format(ms).into_iter()), Ok(ms));
        }
    }
}

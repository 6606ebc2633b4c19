//! The Date field: seconds since the epoch to an IMF-fixdate (RFC 9110, 5.6.7) and back, without a table of years. The
//! crate httpdate formats through `Display`; this writes the 29 bytes that a response takes, on the path of every
//! response.

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// 9999-12-31T23:59:59Z: the last second that four digits of year can say.
const LAST_SECOND: u64 = 253_402_300_799;
const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// `unix_seconds` as `Sun, 06 Nov 1994 08:49:37 GMT`. Seconds after the year 9999 are taken as its last.
///
/// The day is found by counting years from March, so that the leap day comes last, in eras of 400 years (Howard
/// Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
#[must_use]
pub fn format_date(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let days = seconds / SECONDS_PER_DAY;
    let second_of_day = seconds % SECONDS_PER_DAY;

    // 719,468 days lie between 0000-03-01 and 1970-01-01; an era of 400 years has 146,097.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March come in runs of 153 days for five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);

    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = index(days % 7);
    text[..3].copy_from_slice(&WEEKDAYS[weekday * 3..weekday * 3 + 3]);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(&MONTHS[index(month) * 3..index(month) * 3 + 3]);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(second_of_day / 3600));
    text[20..22].copy_from_slice(&two_digits(second_of_day / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(second_of_day % 60));
    text
}

/// The second of a date as [`format_date`] writes it. `None`: it is none, or in one of the two obsolete forms.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<u64> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0, |number, byte| Some(number * 10 + u64::from(char::from(*byte).to_digit(10)?)))
    };
    let month = (0..12).find(|month| MONTHS[month * 3..month * 3 + 3] == text[8..11])?;
    let (day, year, month) = (number(5..7)?, number(12..16)?, month as u64);
    // As in `format_date`: a year begins with March, and 719,468 days lie before 1970.
    let year = year.checked_sub(u64::from(month < 2))?;
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + day;
    let days = (365 * year + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(1 + 719_468)?;
    let seconds = days * SECONDS_PER_DAY + number(17..19)? * 3600 + number(20..22)? * 60 + number(23..25)?;
    // What has no such day, hour or weekday, or anything else between them, is written in another way.
    (format_date(seconds) == *text).then_some(seconds)
}

/// A weekday or a month as an index.
fn index(below_12: u64) -> usize {
    debug_assert!(below_12 < 12);
    (below_12 % 12) as usize
}

fn two_digits(below_100: u64) -> [u8; 2] {
    debug_assert!(below_100 < 100);
    [b'0' + (below_100 / 10 % 10) as u8, b'0' + (below_100 % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::{format_date, parse_date};

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_767_323_045, "Fri, 02 Jan 2026 03:04:05 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&format_date(seconds)).unwrap(), text);
        }
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let mut month_lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..146_097_u64 {
            let text = format_date(days * 86_400);
            let text = std::str::from_utf8(&text).unwrap();
            assert_eq!(parse_date(text.as_bytes()), Some(days * 86_400));
            assert_eq!(text[5..7].parse::<usize>().unwrap(), day);
            assert_eq!(&text[8..11], &"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3..month * 3 + 3]);
            assert_eq!(text[12..16].parse::<usize>().unwrap(), year);
            month_lengths[1] = if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 29 } else { 28 };
            day += 1;
            if day > month_lengths[month] {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
    }

    #[test]
    fn a_text_with_any_byte_changed_is_another_date_or_none() {
        let text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
        for place in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut other = text;
                other[place] = byte;
                let seconds = parse_date(&other);
                assert!(seconds.is_none_or(|seconds| format_date(seconds) == other), "{place} {byte}");
                assert_eq!(seconds == Some(784_111_777), other == text, "{place} {byte}");
            }
        }
        for text in ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Thu, 01 Jan 0000 00:00:00 GMT"]
        {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }
}

//! Moments and spans of time as a query writes them.
//!
//! | moment | example |
//! |---|---|
//! | RFC 3339 | `2026-01-02T03:04:05Z`, `2026-01-02T03:04:05.678+01:00` |
//! | epoch | `1767323045678` is milliseconds as in a metric; `1767323045` and `1767323045.678`, which a metric may not have, seconds |
//! | relative to now | `-15m`, `-1h30m`, `+5m`, `now` |

use metric::{SECONDS_END, SECONDS_MIN, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, parse_timestamp};
use std::ops::Range;

/// Numbers that a metric may not have, as they look like seconds, are seconds here up to this: the year 2286. Of the
/// rest, 2286 to 5138 in seconds or 1970 to 1973 in milliseconds, nobody can tell what is meant, and nothing is
/// guessed.
const SECONDS_BELOW: u64 = 10_000_000_000;
/// Integers that are read as seconds, and their exclusive end.
const LIKE_SECONDS: Range<u64> = SECONDS_MIN.unsigned_abs()..SECONDS_END.unsigned_abs();
/// Error text that names the accepted forms of a moment.
pub const MOMENT_EXPECTED: &str = "expected a time such as 2026-01-02T03:04:05Z, 1767323045 (seconds), 1767323045678 (milliseconds), -15m or now; \
     10000000000 to 99999999999 could be either";
/// Error text that names the accepted forms of a span.
pub(crate) const SPAN_EXPECTED: &str = "expected a span of time of at least 1ms, such as 500ms, 60s, 5m, 1h30m or 7d";

/// A moment in epoch milliseconds; `now_ms` is what `now` means. `None`: it is none, or outside the years 0000 to 9999.
pub fn moment(text: &str, now_ms: i64) -> Option<i64> {
    let ms = match text.as_bytes() {
        b"now" => now_ms,
        // A `+` that was not encoded has become a space.
        [b'+' | b' ', ..] => now_ms.checked_add(span(&text[1..])?)?,
        [b'-', rest @ ..] if rest.last().is_some_and(u8::is_ascii_alphabetic) => {
            now_ms.checked_sub(span(&text[1..])?)?
        }
        [.., b'0'..=b'9'] if !text.contains([':', 'T', 't']) => epoch(text)?,
        _ => parse_timestamp(text).or_else(|| parse_timestamp(&text.replace(' ', "+")))?,
    };
    // `to` is exclusive, so the end of the last millisecond is one.
    (TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX + 1).contains(&ms).then_some(ms)
}

/// A number of milliseconds since the epoch, or of seconds if it looks like that.
fn epoch(text: &str) -> Option<i64> {
    let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !fraction.is_none_or(all_digits) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let ms = if !LIKE_SECONDS.contains(&whole) {
        // Digits behind the point are less than a millisecond. Of a few they would look like seconds all the same.
        if fraction.is_some() && whole < LIKE_SECONDS.start {
            return None;
        }
        whole
    } else if whole < SECONDS_BELOW {
        // Digits behind the third are cut off.
        let digits = fraction.unwrap_or_default().bytes().chain([b'0'; 3]).take(3);
        digits.fold(whole, |ms, digit| 10 * ms + u64::from(digit - b'0'))
    } else {
        return None;
    };
    let ms = i64::try_from(ms).ok()?;
    Some(if is_negative { -ms } else { ms })
}

/// A span in milliseconds, at least 1: numbers with units, the larger ones first or not.
pub fn span(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut ms = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let unit = &unit[..unit.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(unit.len())];
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        ms = ms.checked_add(count.checked_mul(unit_ms)?)?;
        rest = &rest[digits + unit.len()..];
    }
    (ms > 0).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_767_323_045_678;

    #[test]
    fn moments() {
        for (text, ms) in [
            ("now", NOW_MS),
            ("-15m", NOW_MS - 900_000),
            ("-1h30m", NOW_MS - 5_400_000),
            ("+5s", NOW_MS + 5_000),
            (" 5s", NOW_MS + 5_000),
            ("0", 0),
            ("-1", -1),
            ("99999999", 99_999_999),
            ("100000000", 100_000_000_000),
            ("-1767323045", -1_767_323_045_000),
            ("1767323045", 1_767_323_045_000),
            ("1767323045.6789", 1_767_323_045_678),
            ("1767323045.6", 1_767_323_045_600),
            ("9999999999", 9_999_999_999_000),
            ("100000000000", 100_000_000_000),
            ("1767323045678", 1_767_323_045_678),
            ("1767323045678.9", 1_767_323_045_678),
            ("2026-01-02T03:04:05.678Z", 1_767_323_045_678),
            ("2026-01-02T04:04:05.678+01:00", 1_767_323_045_678),
            ("2026-01-02T04:04:05.678 01:00", 1_767_323_045_678),
            ("2026-01-02t03:04:05z", 1_767_323_045_000),
        ] {
            assert_eq!(moment(text, NOW_MS), Some(ms), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            "1.",
            ".5",
            "1e9",
            "x",
            "yesterday",
            "15m",
            "-15",
            "-0s",
            "-1y",
            "-m",
            "--5m",
            "now-5m",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "999999999999999999",
            "99999999999999999999999",
            "5.5",
            // Seconds of the year 2286 or later, or milliseconds of before April 1973?
            "10000000000",
            "99999999999",
            "-10000000000",
            "-9999999999h",
            "+ 5m",
            "１",
        ] {
            // -15 is 15 ms before the epoch.
            assert_eq!(moment(text, NOW_MS), (text == "-15").then_some(-15), "{text}");
        }
        assert_eq!(moment("9999-12-31T23:59:59.999Z", 0), Some(TIMESTAMP_MS_MAX));
    }

    #[test]
    fn spans() {
        for (text, ms) in [
            ("1ms", 1),
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(span(text), Some(ms), "{text}");
        }
        for text in ["", "0s", "60", "s", "1.5m", "-5m", "1M", "5 m", "99999999999999999w", "5µs"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}

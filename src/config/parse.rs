//! Sizes and times as written in options.

use serde::Deserialize;
use std::{fmt, str::FromStr, time::Duration};

/// A value that is written as a string in the configuration file, in the same form as on the command line.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String", bound(deserialize = "T: FromStr<Err: fmt::Display>"))]
pub struct Text<T: FromStr<Err: fmt::Display>>(pub T);

impl<T: FromStr<Err: fmt::Display>> FromStr for Text<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: T::Err| error.to_string())
    }
}

impl<T: FromStr<Err: fmt::Display>> TryFrom<String> for Text<T> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A number of bytes: `4096`, `64KiB`, `4MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub usize);

/// A span of time: `50us`, `500ms`, `10s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// The leading digits of `text`, and the rest of it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

impl FromStr for Bytes {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a size such as 4096, 64KiB or 4MiB";
        let (count, unit) = number(text).ok_or(EXPECTED)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(EXPECTED),
        };
        count.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok()).map(Self).ok_or(EXPECTED)
    }
}

impl FromStr for Span {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a time such as 500ms, 10s, 5m or 1h";
        let (count, unit) = number(text).ok_or(EXPECTED)?;
        let factor_us: u64 = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return Err(EXPECTED),
        };
        count.checked_mul(factor_us).map(|us| Self(Duration::from_micros(us))).ok_or(EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("4 MiB", 4 << 20), ("2kB", 2_000)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "MiB", "4mib", "-1", "1.5MiB", "99999999999999999999", "18446744073709551615KiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, us) in [("0s", 0), ("50us", 50), ("500ms", 500_000), ("10s", 10_000_000), ("1h", 3_600_000_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_micros(us))), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "18446744073709551615h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}

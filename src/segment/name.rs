//! The names of segments. They sort by time, whatever the clock does: each is later than the one before it.

use crate::metric::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, format_timestamp, parse_timestamp};
use std::fmt;

/// The segment that is appended to.
pub const ACTIVE_NAME: &str = "metrics.jsonl";

const PREFIX: &str = "metrics-";
/// A time in the basic format of ISO 8601, in UTC.
const STAMP_BYTES: usize = "20260102T030405.678Z".len();

/// A sealed segment's name: the moment of its sealing, in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    sealed_ms: i64,
}

/// What a file that belongs to a sealed segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFile {
    /// Its lines.
    Plain,
    /// Its lines, compressed.
    Compressed,
    /// Its sidecar.
    Sidecar,
}

impl SegmentFile {
    const ALL: [Self; 3] = [Self::Plain, Self::Compressed, Self::Sidecar];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => ".jsonl",
            Self::Compressed => ".jsonl.zst",
            Self::Sidecar => ".index.json",
        }
    }
}

impl SegmentName {
    /// The name of a segment that is sealed at `now_ms`, in epoch milliseconds, when `last` is the newest there is. With a clock
    /// that has stood still or gone back it is one millisecond later than `last`.
    #[must_use]
    pub fn after(last: Option<Self>, now_ms: i64) -> Self {
        let earliest_ms = last.map_or(TIMESTAMP_MS_MIN, |last| last.sealed_ms + 1);
        Self { sealed_ms: now_ms.max(earliest_ms).clamp(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX) }
    }

    /// When the segment was sealed, in epoch milliseconds.
    #[must_use]
    pub const fn sealed_ms(self) -> i64 {
        self.sealed_ms
    }

    /// The name of one of its files.
    #[must_use]
    pub fn file(self, file: SegmentFile) -> String {
        format!("{PREFIX}{self}{}", file.suffix())
    }

    /// The segment that a file belongs to, and what the file is of it. `None`: it is none of a sealed segment's.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<(Self, SegmentFile)> {
        let (stamp, suffix) = file_name.strip_prefix(PREFIX)?.split_at_checked(STAMP_BYTES)?;
        let file = SegmentFile::ALL.into_iter().find(|file| file.suffix() == suffix)?;
        // The log's form of the time has three separators more.
        let separated = [(0, 4, "-"), (4, 6, "-"), (6, 11, ":"), (11, 13, ":"), (13, STAMP_BYTES, "")];
        let mut text = String::with_capacity(STAMP_BYTES + 4);
        for (from, to, separator) in separated {
            text.push_str(stamp.get(from..to)?);
            text.push_str(separator);
        }
        let name = Self { sealed_ms: parse_timestamp(&text)? };
        (name.to_string() == stamp).then_some((name, file))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&stamp(self.sealed_ms))
    }
}

/// A moment as it stands in the names of files: `20260102T030405.678Z`.
///
/// # Panics
/// `ms`, in epoch milliseconds, is not within the years 0000 to 9999.
#[must_use]
pub fn stamp(ms: i64) -> String {
    format_timestamp(ms).into_iter().filter(|byte| !matches!(byte, b'-' | b':')).map(char::from).collect()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for sealed_ms in [0, 951_782_399_999, 1_767_323_045_678, TIMESTAMP_MS_MAX] {
            let name = SegmentName::after(None, sealed_ms);
            for file in SegmentFile::ALL {
                assert_eq!(SegmentName::parse(&name.file(file)), Some((name, file)));
            }
        }
        let name = SegmentName::after(None, 1_767_323_045_678);
        assert_eq!(name.file(SegmentFile::Compressed), "metrics-20260102T030405.678Z.jsonl.zst");
    }

    #[test]
    fn other_files_are_none_of_a_segments() {
        for name in [
            "metrics.jsonl",
            "metrics-.jsonl",
            "metrics-20260102T030405.678Z",
            "metrics-20260102T030405.678Z.jsonl.tmp",
            "metrics-20260102T030405.678Z.jsonl.gz",
            "metrics-20261302T030405.678Z.jsonl",
            "metrics-20260102t030405.678z.jsonl",
            "metrics-20260102T030405,678Z.jsonl",
            "metrics-2026-01-02T03:04:05.678Z.jsonl",
            "metrics-20260102T0304é.678Z.jsonl",
            "torn-20260102T030405Z.bin",
        ] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_sort_by_time_whatever_the_clock_does() {
        let mut last = SegmentName::after(None, 1_000);
        for now_ms in [1_000, 999, -5, 5_000, 5_000] {
            let next = SegmentName::after(Some(last), now_ms);
            assert!(last < next && last.file(SegmentFile::Plain) < next.file(SegmentFile::Plain), "{now_ms}");
            last = next;
        }
    }
}

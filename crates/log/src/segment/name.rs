//! Names of segments. They sort by time, independent of the clock: each is later than the one before it. After the last
//! time that can be written, names continue with a sequence number, `metrics-99991231T235959.999Z_000001.jsonl`, which
//! sorts behind it as text too.

use metric::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, format_timestamp, parse_timestamp};
use std::fmt;

/// Name of the segment that is appended to.
pub const ACTIVE_NAME: &str = "metrics.jsonl";

const PREFIX: &str = "metrics-";
/// Bytes of a time in the basic format of ISO 8601, in UTC.
const STAMP_BYTES: usize = "20260102T030405.678Z".len();
/// The character before a sequence number. It sorts behind the dot that ends a name without one.
const SEQUENCE_MARK: char = '_';
const SEQUENCE_DIGITS: usize = 6;
const SEQUENCE_MAX: u32 = 999_999;

/// A sealed segment's name: the moment of its sealing, in epoch milliseconds, and a sequence number at the last such
/// moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    sealed_ms: i64,
    sequence: u32,
}

/// The kind of a file that belongs to a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFile {
    /// The lines.
    Plain,
    /// The lines, compressed.
    Compressed,
    /// The sidecar.
    Sidecar,
}

impl SegmentFile {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Compressed, Self::Sidecar];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => ".jsonl",
            Self::Compressed => ".jsonl.zst",
            Self::Sidecar => ".index.json",
        }
    }
}

impl SegmentName {
    /// The last possible name.
    pub const LAST: Self = Self { sealed_ms: TIMESTAMP_MS_MAX, sequence: SEQUENCE_MAX };

    /// The name of a segment that is sealed at `now_ms`, in epoch milliseconds, when `last` is the newest one. If the
    /// clock has stood still or gone back, it is one millisecond later than `last`, and at the last moment the next in
    /// sequence. [`LAST`](Self::LAST) has no successor: it is returned again.
    #[must_use]
    pub fn after(last: Option<Self>, now_ms: i64) -> Self {
        let now_ms = now_ms.clamp(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX);
        match last {
            Some(Self { sealed_ms: TIMESTAMP_MS_MAX, sequence }) => {
                Self { sealed_ms: TIMESTAMP_MS_MAX, sequence: (sequence + 1).min(SEQUENCE_MAX) }
            }
            Some(last) => Self { sealed_ms: now_ms.max(last.sealed_ms + 1), sequence: 0 },
            None => Self { sealed_ms: now_ms, sequence: 0 },
        }
    }

    /// Time of the sealing, in epoch milliseconds, by the clock that named the segment.
    #[must_use]
    pub const fn sealed_ms(self) -> i64 {
        self.sealed_ms
    }

    /// Time of the sealing, and the sequence number.
    pub(crate) const fn parts(self) -> (i64, u32) {
        (self.sealed_ms, self.sequence)
    }

    /// The name with these [`parts`](Self::parts), which are those of a name.
    pub(crate) const fn from_parts(sealed_ms: i64, sequence: u32) -> Self {
        Self { sealed_ms, sequence }
    }

    /// The name of one of the segment's files.
    #[must_use]
    pub fn file(self, file: SegmentFile) -> String {
        format!("{PREFIX}{self}{}", file.suffix())
    }

    /// The segment that a file belongs to, and the kind of the file. `None`: the file does not belong to a sealed
    /// segment.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<(Self, SegmentFile)> {
        let (stamp, rest) = file_name.strip_prefix(PREFIX)?.split_at_checked(STAMP_BYTES)?;
        let (sequence, suffix) = match rest.strip_prefix(SEQUENCE_MARK) {
            Some(rest) => rest.split_at_checked(SEQUENCE_DIGITS)?,
            None => ("0", rest),
        };
        let file = SegmentFile::ALL.into_iter().find(|file| file.suffix() == suffix)?;
        // The log's format of the time has three separators more.
        let separated = [(0, 4, "-"), (4, 6, "-"), (6, 11, ":"), (11, 13, ":"), (13, STAMP_BYTES, "")];
        let mut text = String::with_capacity(STAMP_BYTES + 4);
        for (from, to, separator) in separated {
            text.push_str(stamp.get(from..to)?);
            text.push_str(separator);
        }
        let name = Self { sealed_ms: parse_timestamp(&text)?, sequence: sequence.parse().ok()? };
        (name.file(file) == file_name).then_some((name, file))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&stamp(self.sealed_ms))?;
        match self.sequence {
            0 => Ok(()),
            sequence => write!(f, "{SEQUENCE_MARK}{sequence:0SEQUENCE_DIGITS$}"),
        }
    }
}

/// A moment in the format of file names: `20260102T030405.678Z`.
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
            "metrics-20260102T030405.678Z_.jsonl",
            "metrics-20260102T030405.678Z_1.jsonl",
            "metrics-20260102T030405.678Z_000000.jsonl",
            "metrics-20260102T030405.678Z_+00001.jsonl",
            "metrics-20260102T030405.678Z_0000001.jsonl",
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

    #[test]
    fn names_continue_at_the_end_of_time() {
        let mut last = SegmentName::after(None, i64::MAX);
        assert_eq!(last.file(SegmentFile::Plain), "metrics-99991231T235959.999Z.jsonl");
        for sequence in 1..=3 {
            let next = SegmentName::after(Some(last), 1_767_323_045_678);
            for file in SegmentFile::ALL {
                assert!(last < next && last.file(file) < next.file(file));
                assert_eq!(SegmentName::parse(&next.file(file)), Some((next, file)));
            }
            assert_eq!(next.to_string(), format!("99991231T235959.999Z_00000{sequence}"));
            last = next;
        }
        assert_eq!(SegmentName::after(Some(SegmentName::LAST), 0), SegmentName::LAST);
        assert_eq!(SegmentName::parse(&SegmentName::LAST.file(SegmentFile::Plain)).unwrap().0, SegmentName::LAST);
    }
}

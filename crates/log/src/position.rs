//! Positions in the log: a segment and a byte of its lines. A position stays valid while its segment is kept: over
//! rotation, compression and restarts.
//!
//! A segment gets its name when it is sealed, so the active one has none. It is identified by its predecessor, which
//! never changes: the newest segment that was sealed before it was begun. Two texts can therefore name one position,
//! before and after the sealing; both remain valid.
//!
//! | text | position |
//! |---|---|
//! | `20260102T030405.678Z:4096` | byte 4096 of the sealed segment `metrics-20260102T030405.678Z` |
//! | `after-20260102T030405.678Z:4096` | byte 4096 of the segment that was begun when that one was sealed |
//! | `first:4096` | byte 4096 of the segment before which none was sealed |
//!
//! What retention deletes is recorded (`metricstream.retired`), so a position in a deleted segment is reported as gone.
//! Of what is changed by hand nothing is recorded: a log that was moved away (logrotate) takes its positions with it,
//! and its successor has the same identity. A position is then refused if it is behind the end or inside a line of the
//! new file, and otherwise is one of that file. Let the server seal and delete segments where positions are used. A
//! reader in the server, such as a forward, notices the change and continues at the beginning of the new file.

use crate::segment::{SegmentFile, SegmentName};
use std::{fmt, str::FromStr};

const AFTER: &str = "after-";
const FIRST: &str = "first";

/// Identity of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentId {
    /// The sealed segment of this name.
    Sealed(SegmentName),
    /// The segment that was begun when this one was sealed; `None`: the first segment of the log.
    After(Option<SegmentName>),
}

/// A byte of the log's lines, at the beginning of a line or at the end of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes of the segment's lines before the position, not compressed.
    pub byte: u64,
}

impl SegmentId {
    /// True if the sealed segment `name` is this segment, or a later one.
    #[must_use]
    pub fn reaches(self, name: SegmentName) -> bool {
        match self {
            Self::Sealed(own) => name >= own,
            Self::After(last) => Some(name) > last,
        }
    }
}

impl LogPosition {
    /// The position that is before every line.
    pub const FIRST: Self = Self { segment: SegmentId::After(None), byte: 0 };
    /// Bytes of a position's text, at most.
    pub const TEXT_BYTES_MAX: usize = "after-99991231T235959.999Z_000001:18446744073709551615".len();
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed(name) => name.fmt(f),
            Self::After(Some(name)) => write!(f, "{AFTER}{name}"),
            Self::After(None) => f.write_str(FIRST),
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.byte)
    }
}

/// Error: the text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPosition;

impl fmt::Display for NotAPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a position of the log, such as 20260102T030405.678Z:4096")
    }
}

impl std::error::Error for NotAPosition {}

impl FromStr for LogPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (segment, byte) = text.split_once(':').ok_or(NotAPosition)?;
        if byte.is_empty() || !byte.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NotAPosition);
        }
        let segment = match (segment, segment.strip_prefix(AFTER)) {
            (FIRST, _) => SegmentId::After(None),
            (_, Some(name)) => SegmentId::After(Some(segment_name(name)?)),
            (name, None) => SegmentId::Sealed(segment_name(name)?),
        };
        Ok(Self { segment, byte: byte.parse().map_err(|_| NotAPosition)? })
    }
}

fn segment_name(text: &str) -> Result<SegmentName, NotAPosition> {
    match SegmentName::parse(&format!("metrics-{text}.jsonl")) {
        Some((name, SegmentFile::Plain)) => Ok(name),
        _ => Err(NotAPosition),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        let mut last = SegmentName::after(None, i64::MAX);
        for name in [SegmentName::after(None, 1_767_323_045_678), last, {
            last = SegmentName::after(Some(last), 0);
            last
        }] {
            for segment in [SegmentId::Sealed(name), SegmentId::After(Some(name)), SegmentId::After(None)] {
                for byte in [0, 4_096, u64::MAX] {
                    let position = LogPosition { segment, byte };
                    let text = position.to_string();
                    assert!(text.len() <= LogPosition::TEXT_BYTES_MAX, "{text}");
                    assert_eq!(text.parse(), Ok(position), "{text}");
                }
            }
        }
    }

    #[test]
    fn other_texts_are_no_positions() {
        for text in [
            "",
            ":",
            "first",
            "first:",
            "first:-1",
            "first:+1",
            "first:18446744073709551616",
            "after-:0",
            "after-first:0",
            "20260102T030405.678Z",
            "20260102T030405.678Z.zst:0",
            "20260102T030405.678:0",
            "after-after-20260102T030405.678Z:0",
            "20260102T030405.678Z:0:0",
        ] {
            assert_eq!(text.parse::<LogPosition>(), Err(NotAPosition), "{text}");
        }
    }
}

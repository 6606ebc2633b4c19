//! Findings of a check: their kind, place and description. Their number is bounded; further ones are only counted.

use crate::limits::{FINDING_EXCERPT_BYTES_MAX, FINDINGS_MAX};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// The kind of a finding. Its name in text and JSON is that of the variant in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    // Damage in the lines.
    /// The last line has no line feed: a crash in the middle of a write. The next start repairs it.
    TornTail,
    /// The active segment continues after the committed length: never acknowledged. The next start repairs it.
    Uncommitted,
    /// A line that ends too early, or in whose middle another begins.
    TornLine,
    /// A line that begins like a valid one and is not.
    GarbledLine,
    /// Bytes that are zero, as after a power loss.
    Zeros,
    /// Bytes that are not text.
    Binary,
    /// Text that is not a line of the log.
    ForeignText,
    /// Every line can be read, but the checksum of the block does not match.
    ChangedBlock,
    /// A frame of a compressed segment that cannot be decompressed.
    BrokenFrame,
    /// The disk returned an error.
    Unreadable,
    // Damage of a file as a whole.
    /// The segment is shorter than its sidecar says.
    Truncated,
    /// The segment is longer than its sidecar says.
    Overlong,
    /// The plain and the compressed form of a segment differ.
    FormsDiffer,
    /// A file with a sidecar's name that is not a valid sidecar.
    SidecarGarbled,
    /// A sidecar that describes another segment.
    SidecarForeign,
    /// A sidecar that describes its segment wrongly.
    SidecarWrong,
    /// A sidecar without its segment.
    SegmentMissing,
    /// Something with the name of a segment's file that is not a regular file.
    NotAFile,
    /// A state file that is invalid, or whose checksum is wrong.
    StateGarbled,
    /// The log is shorter than its committed length: acknowledged lines are missing.
    CommittedMissing,
    // No damage.
    /// A sealed segment has no sidecar.
    SidecarMissing,
    /// Both forms of a segment exist with the same contents: its compression was interrupted.
    BothForms,
    /// A log without a state file.
    StateMissing,
    /// The state file is about another file, as after a copy.
    StateOfAnother,
    /// Unfinished files of a crashed process, or of a running server.
    Leftover,
    /// A segment that a running server removed during the check.
    Vanished,
}

impl Kind {
    /// Returns true if the finding is damage; others are informative.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        !matches!(
            self,
            Self::SidecarMissing
                | Self::BothForms
                | Self::StateMissing
                | Self::StateOfAnother
                | Self::Leftover
                | Self::Vanished
        )
    }
}

/// The variant's name in `snake_case`, as in JSON.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, letter) in format!("{self:?}").chars().enumerate() {
            if letter.is_uppercase() && index > 0 {
                f.write_str("_")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// A place in a segment. Offsets and lines count the uncompressed contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentRange {
    /// Bytes of the segment before the place.
    pub offset: u64,
    /// Bytes of the place.
    pub bytes: u64,
    /// Number of the first line; the first of a segment is 1. 0: lines were not counted.
    pub line: u64,
    /// Lines that the place contains or touches.
    pub lines: u64,
    /// The first and the last block, if a sidecar describes the blocks; the first of a segment is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<(usize, usize)>,
    /// For a compressed segment: bytes of the file before the frame that contains the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_offset: Option<u64>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// The file's name in the directory.
    pub file: String,
    /// The place in the file, unless the finding is about the whole file.
    #[serde(flatten)]
    pub place: Option<SegmentRange>,
    /// A description, for a person.
    pub what: String,
    /// The bytes around it, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl Finding {
    /// A finding about a whole file.
    pub fn of_file(kind: Kind, file: &str, what: impl Into<String>) -> Self {
        Self { kind, file: file.to_owned(), place: None, what: what.into(), excerpt: None }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.kind)?;
        if let Some(place) = &self.place {
            write!(f, " at byte {}", place.offset)?;
            if place.line > 0 {
                write!(f, ", line {}", place.line)?;
            }
            if place.lines > 1 {
                write!(f, " to {}", place.line + place.lines - 1)?;
            }
            match place.blocks {
                Some((first, last)) if first == last => write!(f, ", block {first}")?,
                Some((first, last)) => write!(f, ", blocks {first} to {last}")?,
                None => {}
            }
            if let Some(offset) = place.frame_offset {
                write!(f, ", frame at byte {offset} of the file")?;
            }
            write!(f, ", {} bytes", place.bytes)?;
        }
        write!(f, ": {}", self.what)?;
        self.excerpt.iter().try_for_each(|excerpt| write!(f, "\n    {excerpt}"))
    }
}

/// A bounded list of findings, with the total of each kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// The first ones, in the order of the segments and their bytes.
    #[serde(rename = "findings")]
    pub kept: Vec<Finding>,
    /// Number of findings, by kind.
    pub counts: BTreeMap<Kind, u64>,
}

impl Findings {
    /// Counts a finding, and keeps it while the list has space. A finding that continues the last one is merged with
    /// it.
    pub fn push(&mut self, finding: Finding) {
        if let (Some(last), Some(place)) = (self.kept.last_mut(), &finding.place)
            && last.kind == finding.kind
            && last.file == finding.file
            && last.kind != Kind::ChangedBlock
            && let Some(before) = &mut last.place
            && before.offset + before.bytes == place.offset
            && before.frame_offset == place.frame_offset
        {
            before.bytes += place.bytes;
            before.lines = place.line + place.lines - before.line;
            before.blocks = before.blocks.zip(place.blocks).map(|((first, _), (_, last))| (first, last));
            return;
        }
        *self.counts.entry(finding.kind).or_default() += 1;
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        }
    }

    /// Adds the findings of `others`.
    pub fn append(&mut self, others: Self) {
        let left = FINDINGS_MAX.saturating_sub(self.kept.len());
        self.kept.extend(others.kept.into_iter().take(left));
        others.counts.into_iter().for_each(|(kind, count)| *self.counts.entry(kind).or_default() += count);
    }

    /// Number of findings that are damage.
    #[must_use]
    pub fn damage(&self) -> u64 {
        self.counts.iter().filter(|(kind, _)| kind.is_damage()).map(|(_, count)| count).sum()
    }

    /// Number of findings that were counted and not kept.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.counts.values().sum::<u64>().saturating_sub(self.kept.len() as u64)
    }
}

/// The bytes of `text` around `at`, escaped so that a terminal shows them safely.
#[must_use]
pub fn excerpt(text: &[u8], at: usize) -> String {
    let from = at.min(text.len()).saturating_sub(FINDING_EXCERPT_BYTES_MAX / 2);
    let to = text.len().min(from + FINDING_EXCERPT_BYTES_MAX);
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
    // Quotation marks are harmless, and a line is full of them.
    let escaped = text[from..to].escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    format!("{before}{escaped}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: Kind, offset: u64) -> Finding {
        let place =
            SegmentRange { offset, bytes: 10, line: offset / 10 + 1, lines: 1, blocks: None, frame_offset: None };
        Finding { place: Some(place), ..Finding::of_file(kind, "metrics.jsonl", "x") }
    }

    #[test]
    fn names_in_text_are_those_in_json() {
        for kind in [Kind::TornTail, Kind::Zeros, Kind::StateOfAnother] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }

    #[test]
    fn the_number_kept_is_bounded_and_the_rest_is_counted() {
        let mut findings = Findings::default();
        for index in 0..FINDINGS_MAX as u64 + 7 {
            findings.push(at(Kind::GarbledLine, index * 100));
        }
        assert_eq!((findings.kept.len(), findings.left_out()), (FINDINGS_MAX, 7));
        assert_eq!(findings.damage(), FINDINGS_MAX as u64 + 7);
    }

    #[test]
    fn neighbours_of_one_kind_are_one() {
        let mut findings = Findings::default();
        for (kind, offset) in [(Kind::Binary, 0), (Kind::Binary, 10), (Kind::Zeros, 20), (Kind::Zeros, 40)] {
            findings.push(at(kind, offset));
        }
        assert_eq!(findings.counts, BTreeMap::from([(Kind::Binary, 1), (Kind::Zeros, 2)]));
        let first = findings.kept[0].place.as_ref().unwrap();
        assert_eq!((first.bytes, first.line, first.lines), (20, 1, 2));
    }

    #[test]
    fn excerpts_are_short_and_harmless() {
        assert_eq!(excerpt(b"{\"a\":\x1b\0}", 3), "{\"a\":\\x1b\\x00}");
        let long = excerpt(&[b'x'; 1000], 500);
        assert_eq!(long.chars().count(), FINDING_EXCERPT_BYTES_MAX + 2);
        assert_eq!(excerpt(b"", 9), "");
    }
}

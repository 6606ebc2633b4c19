//! What a check has found: what kind it is, where, and the words for it. Their number is bounded; the rest are counted.

use crate::limits::{FINDING_EXCERPT_BYTES_MAX, FINDINGS_MAX};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What was found. Its name in text and JSON is that of the variant in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    // Damage in the lines.
    /// The last line has no line feed: a crash in the middle of a write. The next start mends it.
    TornTail,
    /// The active segment goes on behind what was committed: never acknowledged. The next start mends it.
    Uncommitted,
    /// A line that ends too early, or in whose middle another begins.
    TornLine,
    /// A line that began as one of ours and is none.
    GarbledLine,
    /// Bytes that are zero, as after a loss of power.
    Zeros,
    /// Bytes that are no text.
    Binary,
    /// Text, and no line of ours.
    ForeignText,
    /// Every line can be read, and the checksum of the block is another.
    ChangedBlock,
    /// A frame of a compressed segment that cannot be unpacked.
    BrokenFrame,
    /// The disk did not give the bytes.
    Unreadable,
    // Damage of a file as a whole.
    /// The segment is shorter than its sidecar says.
    Truncated,
    /// The segment is longer than its sidecar says.
    Overlong,
    /// The plain and the compressed form of a segment differ.
    FormsDiffer,
    /// A sidecar that is none.
    SidecarGarbled,
    /// A sidecar that speaks of another segment.
    SidecarForeign,
    /// A sidecar that says about its segment what is not so.
    SidecarWrong,
    /// A sidecar whose segment is not there.
    SegmentMissing,
    /// Something with the name of a segment's file that is no regular file.
    NotAFile,
    /// A state file that is none, or whose checksum is wrong.
    StateGarbled,
    /// The log is shorter than what was committed: lines that were acknowledged are gone.
    CommittedMissing,
    // No damage.
    /// A sealed segment has no sidecar.
    SidecarMissing,
    /// Both forms of a segment are there and say the same: its compression was interrupted.
    BothForms,
    /// There is a log, and no state file.
    StateMissing,
    /// The state file is about another file, as after a copy.
    StateOfAnother,
    /// Files that were being made when the process died, or are by a running server.
    Leftover,
    /// A segment that was there at the start of the check and is no longer: a running server removed it.
    Vanished,
}

impl Kind {
    /// Whether it makes the log unsound. What is not is worth knowing.
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

/// Where in a segment. Offsets and lines count what the segment holds when it is not compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Bytes of the segment before it.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Number of its first line; the first of a segment is 1. 0: lines were not counted.
    pub line: u64,
    /// Lines that it takes or touches.
    pub lines: u64,
    /// Its first and its last block, if a sidecar tells where blocks are; the first of a segment is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<(usize, usize)>,
    /// For a compressed segment: bytes of the file before the frame that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_offset: Option<u64>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The file's name in the directory.
    pub file: String,
    /// Where in the file, unless it is about all of it.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is known about it, for a person.
    pub what: String,
    /// The bytes around it, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl Finding {
    /// Something about a whole file.
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

/// A bounded list of findings, and how many of each kind there were in all.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// The first ones, in the order of the segments and their bytes.
    #[serde(rename = "findings")]
    pub kept: Vec<Finding>,
    /// How many there were, by kind.
    pub counts: BTreeMap<Kind, u64>,
}

impl Findings {
    /// Counts one, and keeps it while there is room. One that goes on where the last one ended is made one with it.
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

    /// Adds those of `others`.
    pub fn append(&mut self, others: Self) {
        let room = FINDINGS_MAX.saturating_sub(self.kept.len());
        self.kept.extend(others.kept.into_iter().take(room));
        others.counts.into_iter().for_each(|(kind, count)| *self.counts.entry(kind).or_default() += count);
    }

    /// How many there were that are damage.
    #[must_use]
    pub fn damage(&self) -> u64 {
        self.counts.iter().filter(|(kind, _)| kind.is_damage()).map(|(_, count)| count).sum()
    }

    /// How many there were and are not kept.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.counts.values().sum::<u64>().saturating_sub(self.kept.len() as u64)
    }
}

/// The bytes of `text` around `at`, escaped so that a terminal takes no harm.
#[must_use]
pub fn excerpt(text: &[u8], at: usize) -> String {
    let from = at.min(text.len()).saturating_sub(FINDING_EXCERPT_BYTES_MAX / 2);
    let to = text.len().min(from + FINDING_EXCERPT_BYTES_MAX);
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
    // A quotation mark is no danger, and a line is full of them.
    let escaped = text[from..to].escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    format!("{before}{escaped}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: Kind, offset: u64) -> Finding {
        let place = Place { offset, bytes: 10, line: offset / 10 + 1, lines: 1, blocks: None, frame_offset: None };
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

//! Combines the results of a segment's pieces, in their order, and compares the whole with its sidecar.

use super::{
    finding::{Finding, Findings, Kind, SegmentRange},
    piece::{Checked, Verdict},
    subject::{CheckUnit, Expected, Subject},
};
use crc32fast::Hasher;
use metric::format_timestamp;
use serde::Serialize;
use std::sync::Arc;

/// The report of one file of lines.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentReport {
    /// The file's name in the directory.
    pub file: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its lines, decompressed.
    pub bytes: u64,
    /// Number of whole lines.
    pub lines: u64,
    /// The earliest timestamp of those lines, as in the log.
    pub first: Option<String>,
    /// The latest one.
    pub last: Option<String>,
    /// CRC-32 of its bytes, decompressed; meaningless if part of it could not be decompressed.
    pub crc32: u32,
    /// True if the file was compared with a sidecar.
    pub sidecar: bool,
    /// Damages in the file or in its sidecar.
    pub damages: u64,
    /// Bytes of the file that are not valid lines; for a broken frame its compressed bytes.
    pub damaged_bytes: u64,
}

/// One segment, as far as it has been checked.
pub struct SegmentCheck {
    subject: Arc<Subject>,
    /// Bytes of lines before the next piece.
    offset: u64,
    /// Lines before the next piece, damaged or not.
    lines_before: u64,
    lines: u64,
    times: Option<(i64, i64)>,
    crc32: Hasher,
    has_broken: bool,
    /// End of the last damage.
    damaged_to: u64,
    damaged_bytes: u64,
    damages_before: u64,
    /// Whole blocks: those whose checksum is the same, and those where it is not.
    same_blocks: u64,
    changed_blocks: u64,
    /// Changed blocks in which every line can be read: it is not known yet whether the sidecar is to blame.
    suspects: Findings,
    /// The first block that the sidecar describes wrongly, and what is wrong.
    misdescribed: Option<(usize, &'static str)>,
    /// All lines fit what the sidecar says of times and names.
    fits: bool,
}

impl SegmentCheck {
    /// Begins a segment, with so many damages found before it.
    pub fn new(subject: Arc<Subject>, damages_before: u64) -> Self {
        Self {
            subject,
            offset: 0,
            lines_before: 0,
            lines: 0,
            times: None,
            crc32: Hasher::new(),
            has_broken: false,
            damaged_to: 0,
            damaged_bytes: 0,
            damages_before,
            same_blocks: 0,
            changed_blocks: 0,
            suspects: Findings::default(),
            misdescribed: None,
            fits: true,
        }
    }

    /// Adds the next piece.
    pub fn add(&mut self, piece: CheckUnit, checked: Checked, findings: &mut Findings) {
        if let Some((kind, what)) = checked.broken {
            return self.add_broken(piece, kind, what, findings);
        }
        let frame_offset = self.subject.frames.is_some().then_some(piece.from);
        let base = if frame_offset.is_some() { self.offset } else { checked.base };
        let damaged_before = self.damaged_to > self.offset;
        for damage in &checked.walk.damages {
            let (offset, bytes) = (base + damage.range.start as u64, damage.range.len() as u64);
            self.damaged_to = offset + bytes;
            self.damaged_bytes += bytes;
            let place = SegmentRange {
                offset,
                bytes,
                line: self.lines_before + damage.lines_before + 1,
                lines: damage.lines,
                blocks: self.blocks(offset, bytes),
                frame_offset,
            };
            let mut what = damage.what.clone();
            if checked.verdict == Verdict::Same && damage.kind != Kind::TornTail {
                what.push_str(
                    "; the block's checksum is right, so the damage is older than the sealing of the segment",
                );
            }
            findings.push(Finding {
                place: Some(place),
                excerpt: Some(damage.excerpt.clone()),
                ..Finding::of_file(damage.kind, &self.subject.file_name, what)
            });
        }
        self.fits &= checked.fits;
        match (checked.verdict, piece.block) {
            (Verdict::Same, _) => self.same_blocks += 1,
            (Verdict::Changed(flip), Some(block)) => {
                self.changed_blocks += 1;
                if checked.walk.damages.is_empty() && !damaged_before {
                    let place = SegmentRange {
                        offset: self.offset,
                        bytes: checked.bytes,
                        line: self.lines_before + 1,
                        lines: checked.walk.begun,
                        blocks: Some((block, block)),
                        frame_offset,
                    };
                    self.suspect(place, flip);
                }
            }
            (Verdict::Misdescribed(what), Some(block)) => {
                self.same_blocks += 1;
                self.misdescribed.get_or_insert((block, what));
            }
            _ => {}
        }
        self.crc32.combine(&Hasher::new_with_initial_len(checked.crc32, checked.bytes));
        self.times = match (self.times, checked.times) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (before, now) => before.or(now),
        };
        self.offset += checked.bytes;
        self.lines_before += checked.walk.begun;
        self.lines += checked.walk.lines;
    }

    /// Adds a piece that could not be read or decompressed. Its contents are known only from the sidecar.
    fn add_broken(&mut self, piece: CheckUnit, kind: Kind, mut what: String, findings: &mut Findings) {
        let expected = self.subject.expected.clone();
        let block = piece.block.and_then(|index| expected.as_ref()?.sidecar.blocks.get(index));
        let is_frame = self.subject.frames.is_some();
        let (bytes, lines) = match block {
            Some(block) => {
                what.push_str(&format!("; it held {} lines", block.lines));
                if block.lines > 0 {
                    what.push_str(&format!(" from {} to {}", time(block.first_ms), time(block.last_ms)));
                }
                (block.bytes, block.lines)
            }
            None if is_frame => (0, 0),
            None => (piece.bytes(), 0),
        };
        let place = SegmentRange {
            offset: self.offset,
            bytes: if is_frame { piece.bytes() } else { bytes },
            line: self.lines_before + 1,
            lines,
            blocks: piece.block.map(|block| (block, block)),
            frame_offset: is_frame.then_some(piece.from),
        };
        findings.push(Finding { place: Some(place), ..Finding::of_file(kind, &self.subject.file_name, what) });
        self.damaged_bytes += piece.bytes();
        self.has_broken = true;
        self.offset += bytes;
        self.lines_before += lines;
        self.damaged_to = self.offset;
    }

    fn suspect(&mut self, place: SegmentRange, flip: Option<(u64, u8)>) {
        let mut what = format!(
            "a byte changed in lines {} to {}: every line can be read, but the checksum does not match",
            place.line,
            place.line + place.lines.saturating_sub(1)
        );
        if let Some((byte, bit)) = flip {
            let at = place.offset + byte;
            what.push_str(&format!("; if one bit flipped, it is bit {bit} of byte {at} of the segment"));
        }
        let file = &self.subject.file_name;
        self.suspects.push(Finding { place: Some(place), ..Finding::of_file(Kind::ChangedBlock, file, what) });
    }

    fn blocks(&self, offset: u64, bytes: u64) -> Option<(usize, usize)> {
        let expected = self.subject.expected.as_ref()?;
        let first = expected.block_at(offset)?;
        Some((first, expected.block_at(offset + bytes - 1).unwrap_or(first)))
    }

    /// Completes the report after the last piece.
    pub fn finish(mut self, findings: &mut Findings) -> SegmentReport {
        if let Some(expected) = self.subject.expected.clone() {
            self.judge(&expected, findings);
        }
        SegmentReport {
            file: self.subject.file_name.clone(),
            file_bytes: self.subject.bytes,
            bytes: self.offset,
            lines: self.lines,
            first: self.times.map(|(first, _)| time(first)),
            last: self.times.map(|(_, last)| time(last)),
            crc32: self.crc32.finalize(),
            sidecar: self.subject.expected.is_some(),
            damages: findings.damage() - self.damages_before,
            damaged_bytes: self.damaged_bytes,
        }
    }

    fn judge(&mut self, expected: &Expected, findings: &mut Findings) {
        let sidecar = &expected.sidecar;
        let (file, sidecar_file) = (&self.subject.file_name, sidecar_name(&self.subject));
        let is_undamaged = self.damaged_bytes == 0;
        let about_sidecar = |kind, what: String| Finding::of_file(kind, &sidecar_file, what);
        let lines = sidecar.lines + sidecar.foreign_lines;
        let differs = self.offset != sidecar.bytes || self.lines != sidecar.lines || !self.fits;
        // No block matches, and the lines are undamaged.
        if is_undamaged
            && self.same_blocks == 0
            && differs
            && self.lines > 0
            && (self.changed_blocks > 0 || !self.fits || self.subject.frames.is_some())
        {
            let what = format!(
                "describes another segment: {} bytes and {} lines, but {file} has {} and {}, and no block matches",
                sidecar.bytes, sidecar.lines, self.offset, self.lines
            );
            return findings.push(about_sidecar(Kind::SidecarForeign, what));
        }
        if self.offset < sidecar.bytes && !self.has_broken {
            let missing =
                &sidecar.blocks[sidecar.blocks.partition_point(|block| block.offset + block.bytes <= self.offset)..];
            let mut what = format!(
                "the segment is shorter than its sidecar says: {} of {} bytes and about {} of {} lines are missing",
                sidecar.bytes - self.offset,
                sidecar.bytes,
                lines.saturating_sub(self.lines_before),
                lines
            );
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                let first_block = sidecar.blocks.len() - missing.len();
                let from = missing.iter().map(|block| block.first_ms).min().unwrap_or(first.first_ms);
                let to = missing.iter().map(|block| block.last_ms).max().unwrap_or(last.last_ms);
                what.push_str(&format!(
                    ", in blocks {first_block} to {}, with times from {} to {}",
                    sidecar.blocks.len() - 1,
                    time(from),
                    time(to)
                ));
            }
            findings.push(Finding::of_file(Kind::Truncated, file, what));
        } else if self.offset > sidecar.bytes && self.changed_blocks == 0 && !self.has_broken {
            let what = format!("{} bytes follow after the end that its sidecar describes", self.offset - sidecar.bytes);
            findings.push(Finding::of_file(Kind::Overlong, file, what));
        }
        let is_whole = self.offset == sidecar.bytes && !self.has_broken;
        let crc32 = self.crc32.clone().finalize();
        if self.suspects.damage() > 0 && is_whole && crc32 == sidecar.crc32 {
            let what = format!(
                "its checksums of {} blocks are wrong, but that of the whole segment is right",
                self.changed_blocks
            );
            findings.push(about_sidecar(Kind::SidecarWrong, what));
        } else {
            findings.append(std::mem::take(&mut self.suspects));
            if is_whole && is_undamaged && self.changed_blocks == 0 && crc32 != sidecar.crc32 {
                let what = format!(
                    "its checksum of the segment is {:08x} instead of {crc32:08x}, but those of all blocks are right",
                    sidecar.crc32
                );
                findings.push(about_sidecar(Kind::SidecarWrong, what));
            }
        }
        if let Some((block, what)) = self.misdescribed {
            let what = format!("its {what} of block {block} are wrong, but the block's checksum is right");
            findings.push(about_sidecar(Kind::SidecarWrong, what));
        }
    }
}

pub fn sidecar_name(subject: &Subject) -> String {
    subject.segment.map_or_else(String::new, |segment| segment.file(log::segment::SegmentFile::Sidecar))
}

pub fn time(ms: i64) -> String {
    use metric::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
    format_timestamp(ms.clamp(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX)).into_iter().map(char::from).collect()
}

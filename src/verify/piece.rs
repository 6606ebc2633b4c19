//! Checks one piece of a segment: reads it, decompresses it if it is a frame, checks its lines, and compares it with
//! its block.
//!
//! Memory is bounded by the longest possible line and one piece: a run of bytes that is longer than any line is
//! skipped and not kept.

use super::{
    finding::{Kind, excerpt},
    flip,
    subject::{CheckUnit, Expected, Subject},
    walk::{Damage, Walk, first_begin, judge, walk, whole_line_within},
};
use host::{fs::File, os::unix::fs::FileExt};
use log::{
    limits::{BLOCK_BYTES, FRAME_BYTES_MAX, LINE_BYTES_MAX},
    segment::Block,
};
use memchr::{memchr, memmem, memrchr};
use metric::Line;
use std::{fmt, io};
use zstd::bulk::Decompressor;

/// Size of the first read that looks for the end of a line cut by a piece.
const EXTENSION_BYTES: usize = 4096;

/// The result of checking a piece.
#[derive(Debug, Default)]
pub struct Checked {
    /// Bytes of the lines before the run that was walked over: of all of the segment, or for a frame, of the frame.
    pub base: u64,
    /// Bytes of the piece, decompressed.
    pub bytes: u64,
    /// CRC-32 of those bytes.
    pub crc32: u32,
    /// The lines that begin in it.
    pub walk: Walk,
    /// The earliest and the latest timestamp among them, if there are any.
    pub times: Option<(i64, i64)>,
    pub verdict: Verdict,
    /// The lines fit what the block says of times and names. Of part of a block that is all that can be known.
    pub fits: bool,
    /// The reason why the piece could not be read or decompressed.
    pub broken: Option<(Kind, String)>,
}

/// The comparison of a piece with its block.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// There is no block to compare it with, or only part of it is there.
    #[default]
    Unknown,
    /// The checksum is the same, and all else that the sidecar says of it.
    Same,
    /// The checksum is another. If one flipped bit explains it: its byte in the block, and the bit.
    Changed(Option<(u64, u8)>),
    /// The checksum is the same, and something else that the sidecar says is not so.
    Misdescribed(&'static str),
}

/// Checks pieces, one after the other; each thread has one.
pub struct Checker {
    /// The lines that begin in a piece, and what was read before them.
    text: Vec<u8>,
    frame: Vec<u8>,
    unpacker: Decompressor<'static>,
    names: NamesSeen,
}

/// A piece that was read.
struct Read {
    /// Offset in `text` of its first line.
    begin: usize,
    /// Bytes of the piece, and their checksum.
    bytes: u64,
    crc32: u32,
    /// Bytes that follow `text`: a line that is longer than any valid one.
    giant: Option<Giant>,
}

/// Bytes without a line feed, too many to be kept.
struct Giant {
    /// As if `text` went on with it.
    damage: Damage,
    /// A line of ours that ends it; empty if there is none.
    line: Vec<u8>,
}

impl Checker {
    /// # Errors
    /// No memory for the decompressor.
    pub fn new() -> io::Result<Self> {
        let (text, frame) = (Vec::new(), Vec::new());
        Ok(Self { text, frame, unpacker: Decompressor::new()?, names: NamesSeen::default() })
    }

    /// Reads and checks `piece` of `subject`.
    pub fn check(&mut self, subject: &Subject, piece: CheckUnit) -> Checked {
        let is_frame = subject.frames.is_some();
        let read = if is_frame { self.unpack(subject, piece) } else { self.read_lines(subject, piece) };
        match read {
            Ok(read) => {
                let lead = u64::from(piece.from > 0 && !is_frame);
                let base = if is_frame { 0 } else { piece.from - lead + read.begin as u64 };
                let block = subject.expected.as_deref().zip(piece.block);
                // Of a block that was cut off no checksum is known.
                let is_whole =
                    block.is_some_and(|(expected, index)| expected.sidecar.blocks[index].bytes == read.bytes);
                Checked { base, ..self.walk(read, block, is_whole || is_frame) }
            }
            Err(broken) => Checked { base: piece.from, bytes: 0, broken: Some(broken), ..Checked::default() },
        }
    }

    /// The lines that begin in the piece that was checked last, damages and all; without what was too long to be kept.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn walk(&mut self, read: Read, block: Option<(&Expected, usize)>, is_whole: bool) -> Checked {
        let Self { names, text, .. } = self;
        let mut times: Option<(i64, i64)> = None;
        let named = block.filter(|(expected, index)| expected.sidecar.blocks[*index].names.is_some());
        names.begin(named.map_or(0, |(expected, _)| expected.names.len()));
        let mut see = |line: &Line| {
            let at = line.timestamp_ms;
            times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            if let Some((expected, _)) = named {
                names.see(line.name, expected);
            }
        };
        let mut walk = walk(&text[read.begin..], &mut see);
        if let Some(Giant { mut damage, line }) = read.giant {
            damage.lines_before = walk.begun;
            walk.begun += 1;
            walk.push(damage);
            if let Ok(line) = Line::parse(line.trim_ascii_end()) {
                walk.lines += 1;
                see(&line);
            }
        }
        let mut checked =
            Checked { bytes: read.bytes, crc32: read.crc32, walk, times, fits: true, ..Checked::default() };
        if let Some((expected, index)) = block {
            let block = &expected.sidecar.blocks[index];
            let names = named.is_some().then_some(&*names);
            checked.fits = block.foreign_lines > 0
                || times.is_none_or(|(first, last)| block.first_ms <= first && last <= block.last_ms)
                    && names.is_none_or(|names| names.are_among(block));
            if is_whole {
                checked.verdict = checked.against(block, names);
            }
        }
        checked
    }

    /// Reads the lines that begin in `piece`, the last one to its end.
    fn read_lines(&mut self, subject: &Subject, piece: CheckUnit) -> Result<Read, (Kind, String)> {
        // The byte before shows whether a line begins at once.
        let lead = usize::from(piece.from > 0);
        self.text.clear();
        read_more(&mut self.text, &subject.file, piece.from - lead as u64, piece.to)?;
        let crc32 = crc32fast::hash(&self.text[lead..]);
        let begin = lead + first_begin(&self.text[lead..], lead == 0 || self.text[0] == b'\n');
        let is_cut = begin < self.text.len() && self.text.last() != Some(&b'\n') && piece.to < subject.bytes;
        let giant = if is_cut { self.read_on(&subject.file, begin, piece.to, subject.bytes)? } else { None };
        Ok(Read { begin, bytes: piece.bytes(), crc32, giant })
    }

    /// Reads on from `position` to the end of the line that `text` ends in, at most to `end`.
    fn read_on(
        &mut self,
        file: &File,
        begin: usize,
        mut position: u64,
        end: u64,
    ) -> Result<Option<Giant>, (Kind, String)> {
        let line_start = memrchr(b'\n', &self.text[begin..]).map_or(begin, |feed| begin + feed + 1);
        let mut step = EXTENSION_BYTES;
        while position < end {
            let read_from = self.text.len();
            let to = end.min(position + step as u64);
            read_more(&mut self.text, file, position, to)?;
            position = to;
            if let Some(feed) = memchr(b'\n', &self.text[read_from..]) {
                self.text.truncate(read_from + feed + 1);
                return Ok(None);
            }
            // No line of ours has a zero in it, and none is that long.
            let is_foreign = memmem::find(&self.text[read_from..], &[0, 0]).is_some();
            if position < end && (is_foreign || self.text.len() - line_start > LINE_BYTES_MAX) {
                let mut giant = self.run_over(file, line_start, position, end)?;
                let range = &mut giant.damage.range;
                *range = range.start - begin..range.end - begin;
                return Ok(Some(giant));
            }
            step = (2 * step).min(BLOCK_BYTES);
        }
        Ok(None)
    }

    /// Runs over the line at `text[line_start..]`, which was read up to `position` of the file and is foreign, and
    /// takes it off `text`. A line of ours that ends it is found if it is not longer than a block.
    fn run_over(
        &mut self,
        file: &File,
        line_start: usize,
        mut position: u64,
        end: u64,
    ) -> Result<Giant, (Kind, String)> {
        let known = &self.text[line_start..];
        let (kind, what) = match Line::parse(known).map_err(|error| judge(known, error, false)) {
            Err((kind, what)) if kind != Kind::TornTail => (kind, what),
            _ => (Kind::GarbledLine, "a line that is longer than any valid one".to_owned()),
        };
        let excerpt = excerpt(known, memmem::find(known, &[0, 0]).unwrap_or(0));
        let mut bytes = known.len();
        self.text.truncate(line_start);
        let mut tail: Vec<u8> = Vec::new();
        let mut has_ended = false;
        while position < end && !has_ended {
            tail.drain(..tail.len().saturating_sub(BLOCK_BYTES));
            let read_from = tail.len();
            let to = end.min(position + BLOCK_BYTES as u64);
            read_more(&mut tail, file, position, to)?;
            position = to;
            if let Some(feed) = memchr(b'\n', &tail[read_from..]) {
                tail.truncate(read_from + feed + 1);
                has_ended = true;
            }
            bytes += tail.len() - read_from;
        }
        let line = whole_line_within(&tail).map_or(Vec::new(), |(at, _)| tail[at..].to_vec());
        let range = line_start..line_start + bytes - line.len();
        Ok(Giant { damage: Damage { range, lines_before: 0, lines: 1, kind, what, excerpt }, line })
    }

    /// Reads a frame and unpacks it into `text`.
    fn unpack(&mut self, subject: &Subject, piece: CheckUnit) -> Result<Read, (Kind, String)> {
        self.frame.clear();
        self.text.clear();
        // Between two frames there may be anything, and any number of bytes of it.
        if piece.bytes() > FRAME_BYTES_MAX {
            return Err((Kind::BrokenFrame, "the frame is longer than any that the server writes".to_owned()));
        }
        read_more(&mut self.frame, &subject.file, piece.from, piece.to)?;
        let claimed = zstd::zstd_safe::get_frame_content_size(&self.frame).ok().flatten();
        // What stands in a header may be damaged as well.
        let most = BLOCK_BYTES + LINE_BYTES_MAX;
        let bytes = claimed.and_then(|bytes| usize::try_from(bytes).ok()).map_or(most, |bytes| bytes.min(most));
        self.text.reserve(if piece.bytes() == 0 { 0 } else { bytes });
        if piece.bytes() > 0
            && let Err(error) = self.unpacker.decompress_to_buffer(&self.frame[..], &mut self.text)
        {
            self.text.clear();
            return Err((Kind::BrokenFrame, format!("the frame cannot be decompressed: {error}")));
        }
        if piece.bytes() > 0 && self.text.is_empty() {
            return Err((Kind::BrokenFrame, "the frame is empty".to_owned()));
        }
        Ok(Read { begin: 0, bytes: self.text.len() as u64, crc32: crc32fast::hash(&self.text), giant: None })
    }
}

/// Adds the bytes `from..to` of `file` to `text`.
fn read_more(text: &mut Vec<u8>, file: &File, from: u64, to: u64) -> Result<(), (Kind, String)> {
    let broken = |why: &dyn fmt::Display| (Kind::Unreadable, format!("the disk returned an error: {why}"));
    let bytes = usize::try_from(to - from).map_err(|error| broken(&error))?;
    let start = text.len();
    text.resize(start + bytes, 0);
    file.read_exact_at(&mut text[start..], from).map_err(|error| broken(&error))
}

impl Checked {
    /// Compares the piece, which is all of `block`, with it.
    fn against(&self, block: &Block, names: Option<&NamesSeen>) -> Verdict {
        if self.bytes != block.bytes || self.crc32 != block.crc32 {
            let length = usize::try_from(self.bytes).unwrap_or(usize::MAX);
            let is_one_bit = self.bytes == block.bytes && self.walk.damages.is_empty();
            let flip = is_one_bit.then(|| flip::single(length, self.crc32 ^ block.crc32)).flatten();
            return Verdict::Changed(flip.map(|(byte, bit)| (byte as u64, bit)));
        }
        if !self.walk.damages.is_empty() {
            return Verdict::Same;
        }
        if self.walk.lines != block.lines {
            return Verdict::Misdescribed("lines");
        }
        if self.times.is_some_and(|times| times != (block.first_ms, block.last_ms)) {
            return Verdict::Misdescribed("times");
        }
        match names.is_none_or(|names| names.are(block)) {
            true => Verdict::Same,
            false => Verdict::Misdescribed("names"),
        }
    }
}

/// The names of a segment that were seen in a piece.
#[derive(Debug, Default)]
struct NamesSeen {
    /// For each name, the number of the last piece that had it.
    in_piece: Vec<u32>,
    piece: u32,
    distinct: usize,
    has_unknown: bool,
    /// The name of the line before: neighbours often share one.
    last: Vec<u8>,
}

impl NamesSeen {
    /// Begins a piece of a segment with so many names.
    fn begin(&mut self, names: usize) {
        if self.piece == u32::MAX {
            self.in_piece.clear();
            self.piece = 0;
        }
        self.piece += 1;
        if self.in_piece.len() < names {
            self.in_piece.resize(names, 0);
        }
        self.distinct = 0;
        self.has_unknown = false;
        self.last.clear();
    }

    #[inline]
    fn see(&mut self, name: &[u8], expected: &Expected) {
        if self.last == name {
            return;
        }
        self.last.clear();
        self.last.extend_from_slice(name);
        let Some(&index) = expected.names.get(name) else {
            self.has_unknown = true;
            return;
        };
        let seen = &mut self.in_piece[index as usize];
        self.distinct += usize::from(*seen != self.piece);
        *seen = self.piece;
    }

    /// Returns true if all names seen are names of the block.
    fn are_among(&self, block: &Block) -> bool {
        let listed = block
            .names
            .iter()
            .flatten()
            .filter(|&&index| self.in_piece.get(index as usize) == Some(&self.piece))
            .count();
        !self.has_unknown && listed == self.distinct
    }

    /// Returns true if the names seen are exactly those of the block.
    fn are(&self, block: &Block) -> bool {
        self.are_among(block) && self.distinct == block.names.as_ref().map_or(0, Vec::len)
    }
}

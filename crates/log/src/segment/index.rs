//! Making a sidecar from the lines of a segment, block by block.
//!
//! A line that the server did not write (another process appended to the log, a bit has flipped, the last line is torn)
//! is counted as foreign, in its block too: its content is unknown, so no block that has one may be skipped
//! ([`Block::may_hold`]).

use super::blocks::Blocks;
use super::error::ensure;
use super::open::open_regular;
use super::{Block, Frame, SegmentError, SegmentFile, SegmentName, Sidecar};
use crate::limits::{
    BLOCK_NAMES_MAX, FRAME_BYTES_MAX, LINE_BYTES_MAX, SEGMENT_NAMES_BYTES_MAX, SEGMENT_NAMES_MAX,
    SEGMENT_ZSTD_WINDOW_LOG_MAX,
};
use host::fs::File;
use metric::{Lines, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Makes the sidecar of a segment from its plain file, or from its compressed one if there is no plain one. A
/// compressed file must consist of frames that each hold whole lines, as the server writes them. Memory is bounded by a
/// few blocks and the names.
///
/// # Errors
/// The segment cannot be read or cannot be cut into blocks; [`SegmentError::Stopped`] soon after `stop` is set.
pub fn index(directory: &Path, name: SegmentName, stop: &AtomicBool) -> Result<Sidecar, SegmentError> {
    match open_regular(&directory.join(name.file(SegmentFile::Plain))) {
        Ok(file) => index_plain(file, stop),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            index_compressed(open_regular(&directory.join(name.file(SegmentFile::Compressed)))?, stop)
        }
        Err(error) => Err(error.into()),
    }
}

fn index_plain(file: impl Read, stop: &AtomicBool) -> Result<Sidecar, SegmentError> {
    let mut blocks = Blocks::new(file);
    let mut indexer = Indexer::new();
    while let Some(lines) = blocks.next_block()? {
        if stop.load(Ordering::Relaxed) {
            return Err(SegmentError::Stopped);
        }
        indexer.add(lines, None);
    }
    Ok(indexer.finish())
}

fn index_compressed(file: File, stop: &AtomicBool) -> Result<Sidecar, SegmentError> {
    let mut file = BufReader::new(file);
    let mut indexer = Indexer::new();
    let mut lines = Vec::new();
    let mut offset = 0;
    while !file.fill_buf()?.is_empty() {
        if stop.load(Ordering::Relaxed) {
            return Err(SegmentError::Stopped);
        }
        lines.clear();
        let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut file)?.single_frame();
        decoder.window_log_max(SEGMENT_ZSTD_WINDOW_LOG_MAX)?;
        let read = decoder.take(LINE_BYTES_MAX as u64 + 1).read_to_end(&mut lines);
        read.map_err(|error| SegmentError::Malformed(format!("the frame at byte {offset} is damaged: {error}")))?;
        let end = file.stream_position()?;
        let is_ours = lines.len() <= LINE_BYTES_MAX && lines.last() == Some(&b'\n') && end - offset <= FRAME_BYTES_MAX;
        ensure(is_ours, || format!("the frame at byte {offset} was not written by the server, or has no whole lines"))?;
        indexer.add(&lines, Some(Frame { offset, bytes: end - offset }));
        offset = end;
    }
    Ok(indexer.finish())
}

/// Builds a sidecar.
pub struct Indexer {
    sidecar: Sidecar,
    crc32: crc32fast::Hasher,
    names: Names,
}

/// The names found so far.
#[derive(Default)]
struct Names {
    /// Index of each name.
    indices: HashMap<Vec<u8>, u32>,
    bytes: usize,
    /// True if there were more than may be listed.
    over: bool,
}

impl Names {
    /// The index of a name; `None` if the list has no space for it.
    fn index(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(&index) = self.indices.get(name) {
            return Some(index);
        }
        self.bytes += name.len();
        self.over |= self.indices.len() == SEGMENT_NAMES_MAX || self.bytes > SEGMENT_NAMES_BYTES_MAX;
        if self.over {
            return None;
        }
        let index = u32::try_from(self.indices.len()).ok()?;
        self.indices.insert(name.to_vec(), index);
        Some(index)
    }

    /// All names, in the order of their indices.
    fn list(self) -> Option<Vec<String>> {
        if self.over {
            return None;
        }
        let mut names: Vec<_> = self.indices.into_iter().collect();
        names.sort_unstable_by_key(|&(_, index)| index);
        names.into_iter().map(|(name, _)| String::from_utf8(name).ok()).collect()
    }
}

impl Indexer {
    /// Begins with an empty segment.
    #[must_use]
    pub fn new() -> Self {
        let sidecar = Sidecar {
            format: Sidecar::FORMAT,
            bytes: 0,
            lines: 0,
            foreign_lines: 0,
            first_ms: TIMESTAMP_MS_MAX,
            last_ms: TIMESTAMP_MS_MIN,
            crc32: 0,
            names: None,
            blocks: Vec::new(),
        };
        Self { sidecar, crc32: crc32fast::Hasher::new(), names: Names::default() }
    }

    /// Adds the next block, whole lines, and its frame if that is known.
    pub fn add(&mut self, lines: &[u8], frame: Option<Frame>) {
        let mut crc32 = crc32fast::Hasher::new();
        crc32.update(lines);
        self.crc32.combine(&crc32);
        let mut block = Block {
            offset: self.sidecar.bytes,
            bytes: lines.len() as u64,
            crc32: crc32.finalize(),
            frame,
            ..Block::EMPTY
        };
        let mut names = Vec::new();
        let mut listed = vec![0_u64; self.names.indices.len() / 64 + 1];
        for line in Lines::new(lines) {
            let Ok(line) = line else {
                block.foreign_lines += 1;
                continue;
            };
            block.lines += 1;
            block.first_ms = block.first_ms.min(line.timestamp_ms);
            block.last_ms = block.last_ms.max(line.timestamp_ms);
            let Some(index) = self.names.index(line.name) else { continue };
            let word = index as usize / 64;
            if word >= listed.len() {
                listed.resize(word + 1, 0);
            }
            if listed[word] & 1 << (index % 64) == 0 {
                listed[word] |= 1 << (index % 64);
                names.push(index);
            }
        }
        names.sort_unstable();
        block.names = (names.len() <= BLOCK_NAMES_MAX).then_some(names);
        let segment = &mut self.sidecar;
        segment.bytes += block.bytes;
        segment.lines += block.lines;
        segment.foreign_lines += block.foreign_lines;
        segment.first_ms = segment.first_ms.min(block.first_ms);
        segment.last_ms = segment.last_ms.max(block.last_ms);
        segment.blocks.push(block);
    }

    /// The sidecar of all added blocks.
    #[must_use]
    pub fn finish(mut self) -> Sidecar {
        self.sidecar.crc32 = self.crc32.finalize();
        self.sidecar.names = self.names.list();
        if self.sidecar.names.is_none() {
            self.sidecar.blocks.iter_mut().for_each(|block| block.names = None);
        }
        self.sidecar
    }
}

impl Default for Indexer {
    fn default() -> Self {
        Self::new()
    }
}

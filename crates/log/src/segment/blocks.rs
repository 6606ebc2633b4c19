//! Blocks: cutting a segment into blocks, and reading a block that its sidecar describes.

use super::error::ensure;
use super::open::open_regular;
use super::{Block, SegmentError, SegmentFile, SegmentName};
use crate::limits::{BLOCK_BYTES, BLOCK_BYTES_MAX, FRAME_BYTES_MAX, LINE_BYTES_MAX};
use host::{fs::File, os::unix::fs::FileExt};
use memchr::{memchr, memrchr};
use std::{
    io::{self, Read},
    path::Path,
};

/// Cuts a stream of lines into blocks. Memory: two blocks, or one line where that is longer.
pub struct Blocks<R> {
    source: R,
    /// The bytes read. Those at the front were returned as a block.
    buffer: Vec<u8>,
    given_bytes: usize,
    offset: u64,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// Cuts the bytes of `source`.
    pub fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), given_bytes: 0, offset: 0, ended: false }
    }

    /// Returns the next block: as many whole lines as fit into [`BLOCK_BYTES`], or one that does not. Only the last
    /// block can end without a line feed.
    ///
    /// # Errors
    /// Reading fails, or there are more than [`LINE_BYTES_MAX`] bytes without a line feed.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, SegmentError> {
        self.buffer.drain(..self.given_bytes);
        self.offset += self.given_bytes as u64;
        self.given_bytes = 0;
        self.fill(BLOCK_BYTES)?;
        if self.buffer.len() < BLOCK_BYTES {
            self.given_bytes = self.buffer.len();
        } else if let Some(end) = memrchr(b'\n', &self.buffer[..BLOCK_BYTES]) {
            self.given_bytes = end + 1;
        } else {
            self.given_bytes = self.long_line()?;
        }
        Ok(Some(&self.buffer[..self.given_bytes]).filter(|block| !block.is_empty()))
    }

    /// Reads on to the end of the one line that fills the buffer.
    fn long_line(&mut self) -> Result<usize, SegmentError> {
        let mut searched = BLOCK_BYTES;
        loop {
            let end = memchr(b'\n', &self.buffer[searched..]).map(|end| searched + end + 1);
            searched = end.unwrap_or(self.buffer.len());
            ensure(searched <= LINE_BYTES_MAX, || {
                format!("more than {LINE_BYTES_MAX} bytes without a line feed (from byte {})", self.offset)
            })?;
            if end.is_some() {
                return Ok(searched);
            }
            if self.ended {
                return Ok(searched);
            }
            self.fill(searched + BLOCK_BYTES)?;
        }
    }

    /// Reads until the buffer holds `bytes`, or the source ends.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.buffer.len());
        if !self.ended && missing > 0 {
            self.buffer.reserve(missing);
            let read = self.source.by_ref().take(missing as u64).read_to_end(&mut self.buffer)?;
            self.ended = read < missing;
        }
        Ok(())
    }
}

/// Reads blocks of a segment that its sidecar describes, in any order, from the plain file or from the compressed one.
///
/// The file stays readable when the segment is compressed or deleted meanwhile. While that can happen, open the reader
/// first and then read the sidecar: a plain file is read with any sidecar of its segment, and by the time that there is
/// only the compressed one, the sidecar has its frames.
pub struct BlockReader {
    file: File,
    /// Set for the compressed form.
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    frame: Vec<u8>,
}

impl BlockReader {
    /// Opens the plain file of a segment, or the compressed one if there is no plain one.
    ///
    /// # Errors
    /// Neither file can be opened.
    pub fn open(directory: &Path, name: SegmentName) -> Result<Self, SegmentError> {
        match Self::open_file(directory, name, SegmentFile::Plain) {
            Err(error) if error.is_missing() => Self::open_file(directory, name, SegmentFile::Compressed),
            reader => reader,
        }
    }

    /// Opens one given file of a segment. Not a sidecar: it has no blocks.
    pub(super) fn open_file(directory: &Path, name: SegmentName, file: SegmentFile) -> Result<Self, SegmentError> {
        let decompressor = match file {
            SegmentFile::Compressed => Some(zstd::bulk::Decompressor::new()?),
            SegmentFile::Plain | SegmentFile::Sidecar => None,
        };
        Ok(Self { file: open_regular(&directory.join(name.file(file)))?, decompressor, frame: Vec::new() })
    }

    /// True if the compressed file is read.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.decompressor.is_some()
    }

    /// Reads the lines of `block` into `lines`, replacing its content, and verifies the block's checksum.
    ///
    /// # Errors
    /// The lines cannot be read, or are not those that the sidecar describes. The content of `lines` is then
    /// unspecified.
    pub fn read(&mut self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
        let bytes = bounded(block.bytes, BLOCK_BYTES_MAX)?;
        lines.clear();
        match &mut self.decompressor {
            None => {
                lines.resize(bytes, 0);
                self.file.read_exact_at(lines, block.offset)?;
            }
            Some(decompressor) => {
                let Some(frame) = block.frame else {
                    return Err(SegmentError::Malformed("the sidecar does not describe its frames".into()));
                };
                let frame_bytes = bounded(frame.bytes, FRAME_BYTES_MAX)?;
                self.frame.resize(frame_bytes, 0);
                self.file.read_exact_at(&mut self.frame, frame.offset)?;
                lines.reserve_exact(bytes);
                decompressor.decompress_to_buffer(&self.frame, lines).map_err(|error| {
                    SegmentError::Malformed(format!("the frame at byte {} is damaged: {error}", frame.offset))
                })?;
            }
        }
        ensure(lines.len() == bytes && crc32fast::hash(lines) == block.crc32, || {
            format!("the checksum of the {bytes} bytes of lines from byte {} is wrong", block.offset)
        })
    }
}

/// A length from a sidecar, if it is small enough to allocate.
fn bounded(bytes: u64, bytes_max: u64) -> Result<usize, SegmentError> {
    let bounded = usize::try_from(bytes).ok().filter(|_| bytes <= bytes_max);
    bounded.ok_or_else(|| SegmentError::Malformed(format!("a block or frame of {bytes} bytes is too large")))
}

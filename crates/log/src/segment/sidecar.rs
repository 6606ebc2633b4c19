//! The sidecar of a sealed segment: one JSON document that describes its content, block by block, so that a reader can
//! skip what it does not look for, and a check can find the damaged block.
//!
//! Blocks are runs of whole lines of about [`BLOCK_BYTES`](crate::limits::BLOCK_BYTES); together they are the segment,
//! without a gap. Checksums are CRC-32 as in gzip and zlib (`python3 -c 'import zlib; …'` checks one), of the lines
//! before compression.
//!
//! The document ends with a checksum of itself, `,"self_crc32":…}`: of its bytes up to there and a closing brace, which
//! is the document without its checksum. A flipped bit in it must not make a reader skip what it looks for.
//!
//! Promises: a sidecar that was read has the form described here, and is as it was written if it has a checksum of
//! itself; its sums agree; its blocks, and its frames, follow each other without a gap; no number in it is beyond the
//! limits of a segment, and its names are names of the log. Reading any bytes takes a small multiple of their number of
//! memory, and never panics. [`Sidecar::fits`] and the checksums show whether it belongs to the segment beside it.

use super::draft::Draft;
use super::error::ensure;
use super::open::open_regular;
use super::{SegmentError, SegmentFile, SegmentName};
use crate::limits::{
    BLOCK_BYTES_MAX, BLOCK_NAMES_MAX, FRAME_BYTES_MAX, SEGMENT_NAMES_BYTES_MAX, SEGMENT_NAMES_MAX, SIDECAR_BYTES_MAX,
};
use host::fs;
use memchr::memmem;
use metric::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, is_spelled};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use std::{
    collections::HashSet,
    fmt,
    io::{ErrorKind, Read, Write},
    marker::PhantomData,
    path::Path,
};

/// The description of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Version of the format: [`Sidecar::FORMAT`].
    pub format: u32,
    /// Bytes of the segment's lines, not compressed.
    pub bytes: u64,
    /// Number of lines that the server wrote, each one metric.
    pub lines: u64,
    /// Number of other lines: see [`Block::foreign_lines`].
    pub foreign_lines: u64,
    /// The earliest timestamp among the lines, in epoch milliseconds. Lines need not be in the order of their
    /// timestamps. Later than `last_ms` if there is none.
    pub first_ms: i64,
    /// The latest timestamp among the lines.
    pub last_ms: i64,
    /// CRC-32 of all lines.
    pub crc32: u32,
    /// The names that occur in the segment, in the order of their first line, escaped as in the log. `None`: there are
    /// more than [`SEGMENT_NAMES_MAX`](crate::limits::SEGMENT_NAMES_MAX), or they are longer in all than
    /// [`SEGMENT_NAMES_BYTES_MAX`](crate::limits::SEGMENT_NAMES_BYTES_MAX), and any name may occur.
    #[serde(deserialize_with = "list::<_, _, SEGMENT_NAMES_MAX>")]
    pub names: Option<Vec<String>>,
    /// The blocks, in order.
    pub blocks: Vec<Block>,
}

/// A run of whole lines of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Bytes of the segment before the block, not compressed.
    pub offset: u64,
    /// Bytes of the block, not compressed.
    pub bytes: u64,
    /// Number of lines that the server wrote, each one metric.
    pub lines: u64,
    /// Number of other lines: written by another process, damaged, a torn last one. Their times and names are in none
    /// of the other fields, so a block that has one is never to be skipped.
    pub foreign_lines: u64,
    /// The earliest timestamp among the lines, in epoch milliseconds. Later than `last_ms` if there is none.
    pub first_ms: i64,
    /// The latest timestamp among the lines.
    pub last_ms: i64,
    /// CRC-32 of the lines.
    pub crc32: u32,
    /// Indices, ascending, into the segment's `names`, of those that occur in the block. `None`: the segment lists
    /// none, or there are more than [`BLOCK_NAMES_MAX`](crate::limits::BLOCK_NAMES_MAX), and any name may occur.
    #[serde(deserialize_with = "list::<_, _, BLOCK_NAMES_MAX>")]
    pub names: Option<Vec<u32>>,
    /// Place in the compressed segment, if that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
}

/// A block's place in a compressed segment: a zstd frame that can be read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Bytes of the compressed file before the frame.
    pub offset: u64,
    /// Bytes of the frame.
    pub bytes: u64,
}

impl Block {
    /// An empty block, the start value of sums.
    pub(super) const EMPTY: Self = Self {
        offset: 0,
        bytes: 0,
        lines: 0,
        foreign_lines: 0,
        first_ms: TIMESTAMP_MS_MAX,
        last_ms: TIMESTAMP_MS_MIN,
        crc32: 0,
        names: None,
        frame: None,
    };

    /// True if a line of the block may have a timestamp with `from_ms` <= t < `to_ms`, as far as the sidecar can tell.
    #[must_use]
    pub fn may_hold(&self, from_ms: i64, to_ms: i64) -> bool {
        self.foreign_lines > 0 || (self.first_ms < to_ms && from_ms <= self.last_ms)
    }

    /// True if a line of the block may have the name at `index` in the segment's list, as far as the sidecar can tell.
    #[must_use]
    pub fn may_name(&self, index: u32) -> bool {
        self.foreign_lines > 0 || self.names.as_ref().is_none_or(|names| names.binary_search(&index).is_ok())
    }
}

impl Sidecar {
    /// The version that this code writes and reads.
    pub const FORMAT: u32 = 1;

    /// Reads the sidecar of a segment.
    ///
    /// # Errors
    /// The file cannot be read, is longer than [`SIDECAR_BYTES_MAX`], or breaks one of the promises above.
    pub fn read(directory: &Path, name: SegmentName) -> Result<Self, SegmentError> {
        let file = open_regular(&directory.join(name.file(SegmentFile::Sidecar)))?;
        let mut text = Vec::new();
        file.take(SIDECAR_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        ensure(text.len() <= SIDECAR_BYTES_MAX, || format!("longer than {SIDECAR_BYTES_MAX} bytes"))?;
        let text = without_checksum(text)?;
        let sidecar: Self =
            serde_json::from_slice(&text).map_err(|error| SegmentError::Malformed(error.to_string()))?;
        sidecar.validate()?;
        Ok(sidecar)
    }

    /// Reads as [`read`](Self::read) does, for readers that can do without: `None` if there is none, or none that can be
    /// used.
    ///
    /// # Errors
    /// The system could not read it, for lack of a descriptor or because of the disk: then it may be there, and whoever
    /// took it for missing would see the lines of a compressed segment twice, or trust those that it proves damaged.
    pub fn read_usable(directory: &Path, name: SegmentName) -> Result<Option<Self>, SegmentError> {
        match Self::read(directory, name) {
            Ok(sidecar) => Ok(Some(sidecar)),
            Err(SegmentError::Malformed(_)) => Ok(None),
            Err(SegmentError::Io(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the sidecar of a segment, replacing an existing one, and returns when it is on stable storage. Its
    /// permissions are those of the segment less the umask.
    ///
    /// # Errors
    /// It cannot be written, or is longer than [`SIDECAR_BYTES_MAX`]; an existing sidecar is unchanged, unless only the
    /// sync of the directory failed.
    pub fn write(&self, directory: &Path, name: SegmentName) -> Result<(), SegmentError> {
        let mut text = serde_json::to_vec(self).map_err(|error| SegmentError::Malformed(error.to_string()))?;
        add_checksum(&mut text);
        ensure(text.len() <= SIDECAR_BYTES_MAX, || format!("its sidecar would have {} bytes", text.len()))?;
        let data = [SegmentFile::Plain, SegmentFile::Compressed].map(|file| directory.join(name.file(file)));
        let like = if fs::exists(&data[0]).unwrap_or(false) { &data[0] } else { &data[1] };
        let mut draft = Draft::create(directory, &name.file(SegmentFile::Sidecar), like)?;
        draft.file.write_all(&text)?;
        Ok(draft.keep()?)
    }

    /// Bytes of the compressed file, if the sidecar has its frames.
    #[must_use]
    pub fn compressed_bytes(&self) -> Option<u64> {
        self.blocks.last()?.frame.map(|frame| frame.offset + frame.bytes)
    }

    /// True if the sidecar can belong to a segment with these sizes of its existing files, in bytes. Where the plain
    /// file exists it decides.
    #[must_use]
    pub fn fits(&self, plain: Option<u64>, compressed: Option<u64>) -> bool {
        match (plain, compressed) {
            (Some(plain), _) => plain == self.bytes,
            (None, compressed) => compressed.is_some() && compressed == self.compressed_bytes(),
        }
    }

    /// Checks that the sidecar is consistent in itself.
    fn validate(&self) -> Result<(), SegmentError> {
        ensure(self.format == Self::FORMAT, || format!("its format is {}, not {}", self.format, Self::FORMAT))?;
        self.validate_names()?;
        let names = self.names.as_ref().map(Vec::len);
        let framed = self.blocks.first().is_some_and(|block| block.frame.is_some());
        let mut sum = Block::EMPTY;
        let mut frame_offset = 0;
        for (number, block) in self.blocks.iter().enumerate() {
            let listed = match &block.names {
                None => true,
                Some(list) => {
                    let last = list.last().is_none_or(|&last| names.is_some_and(|names| (last as usize) < names));
                    last && names.is_some() && list.is_sorted_by(|a, b| a < b)
                }
            };
            let frame = match block.frame {
                Some(frame) => framed && frame.offset == frame_offset && (1..=FRAME_BYTES_MAX).contains(&frame.bytes),
                None => !framed,
            };
            let is_time = |ms| (TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&ms);
            let times = (block.first_ms <= block.last_ms) == (block.lines > 0)
                && is_time(block.first_ms)
                && is_time(block.last_ms);
            let place = block.offset == sum.bytes && (1..=BLOCK_BYTES_MAX).contains(&block.bytes);
            // A line takes at least one byte.
            let counts = (1..=block.bytes).contains(&block.lines.saturating_add(block.foreign_lines));
            ensure(listed && frame && times && place && counts, || format!("block {number} is inconsistent"))?;
            // No sum overflows: each is at most 2^27 a block, and a sidecar has fewer than 2^28 bytes.
            sum.bytes += block.bytes;
            sum.lines += block.lines;
            sum.foreign_lines += block.foreign_lines;
            frame_offset += block.frame.map_or(0, |frame| frame.bytes);
            sum.first_ms = sum.first_ms.min(block.first_ms);
            sum.last_ms = sum.last_ms.max(block.last_ms);
        }
        let counts = [self.bytes, self.lines, self.foreign_lines] == [sum.bytes, sum.lines, sum.foreign_lines];
        let times = [self.first_ms, self.last_ms] == [sum.first_ms, sum.last_ms];
        ensure(counts && times, || "its totals differ from the sums of its blocks".into())
    }

    /// Checks that the names are valid names of the log, and unique, so that a query for one may rely on the list.
    fn validate_names(&self) -> Result<(), SegmentError> {
        let names = self.names.as_deref().unwrap_or_default();
        let bytes: usize = names.iter().map(String::len).sum();
        ensure(bytes <= SEGMENT_NAMES_BYTES_MAX, || format!("its names have {bytes} bytes"))?;
        let mut seen = HashSet::with_capacity(names.len());
        let wrong = names.iter().find(|name| name.is_empty() || !is_spelled(name.as_bytes()) || !seen.insert(*name));
        wrong.map_or(Ok(()), |name| {
            Err(SegmentError::Malformed(format!("{name:?} is not a valid name, or is repeated")))
        })
    }
}

/// Reads a list of at most `MAX` elements, or `null`: three bytes of JSON can become an element of 24 in memory.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    deserializer.deserialize_option(List::<T, MAX>(PhantomData))
}

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "null or at most {MAX} elements")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(Some(list))
    }
}

/// The bytes before the checksum of the document itself.
const BEFORE_CHECKSUM: &[u8] = br#","self_crc32":"#;

fn add_checksum(text: &mut Vec<u8>) {
    let crc32 = crc32fast::hash(text);
    text.pop();
    text.extend_from_slice(BEFORE_CHECKSUM);
    text.extend_from_slice(format!("{crc32}}}\n").as_bytes());
}

/// The document before its checksum was added, if the checksum is right. A document without one is accepted: it may
/// have been made by another tool.
fn without_checksum(mut text: Vec<u8>) -> Result<Vec<u8>, SegmentError> {
    let Some(at) = memmem::rfind(&text, BEFORE_CHECKSUM) else { return Ok(text) };
    let digits = text[at + BEFORE_CHECKSUM.len()..].strip_suffix(b"}\n").unwrap_or_default();
    let stated = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok());
    text.truncate(at);
    text.push(b'}');
    ensure(stated == Some(crc32fast::hash(&text)), || "its checksum is wrong".into())?;
    Ok(text)
}

//! The sidecar of a sealed segment: one JSON document that says what is in it, block by block, so that a reader can skip
//! what it does not look for, and a check can tell which block was damaged.
//!
//! Blocks are runs of whole lines of about [`BLOCK_BYTES`](crate::limits::BLOCK_BYTES); together they are the segment,
//! without a gap. Checksums are CRC-32 as in gzip and zlib (`python3 -c 'import zlib; …'` checks one), of the lines as they
//! are when they are not compressed.

use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// What is known of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Version of this form: [`Sidecar::FORMAT`].
    pub format: u32,
    /// Bytes of the segment's lines, not compressed.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
    /// The earliest timestamp among its lines, in epoch milliseconds. Lines need not be in the order of their timestamps.
    pub first_ms: i64,
    /// The latest timestamp among its lines.
    pub last_ms: i64,
    /// CRC-32 of all its lines.
    pub crc32: u32,
    /// The names that occur in it, in the order of their first line, as they stand in the log: escaped. `None`: there are more
    /// than [`SEGMENT_NAMES_MAX`](crate::limits::SEGMENT_NAMES_MAX), and any name may occur.
    pub names: Option<Vec<String>>,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
}

/// A run of whole lines of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Bytes of the segment before it, not compressed.
    pub offset: u64,
    /// Its bytes, not compressed.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
    /// The earliest timestamp among its lines, in epoch milliseconds.
    pub first_ms: i64,
    /// The latest timestamp among its lines.
    pub last_ms: i64,
    /// CRC-32 of its lines.
    pub crc32: u32,
    /// Indices, ascending, into the segment's `names`: those that occur in it. Empty if the segment lists none.
    pub names: Vec<u32>,
    /// Where it is in the compressed segment, if that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
}

/// A block's place in a compressed segment: a zstd frame that can be read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Bytes of the compressed file before it.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Why a sidecar cannot be used.
#[derive(Debug)]
pub enum SidecarError {
    /// It could not be read.
    Io(io::Error),
    /// It is not what this version writes.
    Malformed(String),
}

impl fmt::Display for SidecarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SidecarError {}

impl Sidecar {
    /// The version that this code writes and reads.
    pub const FORMAT: u32 = 1;
}

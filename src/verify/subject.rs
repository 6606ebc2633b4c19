//! One file of lines that is to be checked, and the pieces it is checked in.
//!
//! A piece owns the lines that begin in it. Of a segment with a sidecar the pieces are its blocks, so that each can be
//! held to its checksum; of a compressed segment they are its frames; else they are cut blindly, and a line that a cut
//! goes through is read to its end with the piece that has its beginning.

use host::fs::File;
use log::{
    limits::BLOCK_BYTES,
    segment::{Block, SegmentName, Sidecar},
};
use std::{collections::HashMap, sync::Arc};

/// The contents of a sidecar, prepared for comparison.
#[derive(Debug)]
pub struct Expected {
    pub sidecar: Sidecar,
    /// Index of each name.
    pub names: HashMap<Box<[u8]>, u32>,
}

impl Expected {
    pub fn new(sidecar: Sidecar) -> Self {
        let names =
            sidecar.names.iter().flatten().zip(0..).map(|(name, index)| (name.as_bytes().into(), index)).collect();
        Self { sidecar, names }
    }

    /// The block that the byte at `offset` of the lines is in.
    pub fn block_at(&self, offset: u64) -> Option<usize> {
        let next = self.sidecar.blocks.partition_point(|block| block.offset <= offset);
        let index = next.checked_sub(1)?;
        let block = &self.sidecar.blocks[index];
        (offset < block.offset + block.bytes).then_some(index)
    }
}

/// One file of lines.
#[derive(Debug)]
pub struct Subject {
    pub file_name: String,
    /// `None`: the active segment.
    pub segment: Option<SegmentName>,
    pub file: File,
    /// Bytes of the file, as far as it is to be checked.
    pub bytes: u64,
    pub expected: Option<Arc<Expected>>,
    /// The frames of a compressed segment, without a gap; `None`: it is not compressed.
    pub frames: Option<Vec<CheckUnit>>,
}

/// A run of a file that one thread checks at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckUnit {
    pub from: u64,
    pub to: u64,
    /// The block that it should be, all of it.
    pub block: Option<usize>,
}

impl Subject {
    fn blocks(&self) -> &[Block] {
        self.expected.as_ref().map_or(&[], |expected| &expected.sidecar.blocks)
    }

    /// The piece with this index; there is always a first one. Behind the last there is none.
    pub fn piece(&self, index: usize) -> Option<CheckUnit> {
        if let Some(frames) = &self.frames {
            let nothing = (index == 0).then_some(CheckUnit { from: 0, to: 0, block: None });
            return frames.get(index).copied().or(nothing.filter(|_| frames.is_empty()));
        }
        let blocks = self.blocks();
        if let Some(block) = blocks.get(index)
            && (block.offset < self.bytes || index == 0)
        {
            return Some(CheckUnit {
                from: block.offset,
                to: self.bytes.min(block.offset + block.bytes),
                block: Some(index),
            });
        }
        // Behind the blocks, or where no sidecar lists any.
        let known = blocks.last().map_or(0, |block| block.offset + block.bytes);
        let from = known + index.saturating_sub(blocks.len()) as u64 * BLOCK_BYTES as u64;
        let to = self.bytes.min(from + BLOCK_BYTES as u64);
        (from < to || index == 0).then_some(CheckUnit { from, to, block: None })
    }
}

impl CheckUnit {
    pub fn bytes(&self) -> u64 {
        self.to - self.from
    }
}

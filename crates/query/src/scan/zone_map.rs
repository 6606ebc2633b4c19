//! Zone maps: per block of a file without a sidecar, what a sidecar would record of it, for the blocks that were
//! scanned. A block here is the lines that begin in one MiB of the file, counted from its beginning.
//!
//! A block is recorded once its MiB is full, and then never changes, as files are only appended to.

use super::{Names, ScanFilter, filter::hash, open::NamesWanted};
use crate::limits::SCAN_ZONE_MAP_BYTES_MAX;
use log::{
    limits::{BLOCK_BYTES, BLOCK_NAMES_MAX, SEGMENT_NAMES_MAX},
    segment::Block,
};
use metric::{Line, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};
use wake::sync::{Mutex, MutexGuard};

/// Time range and names of each block of one file without a sidecar, filled in as blocks are scanned.
#[derive(Debug, Default)]
pub struct ZoneMap(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    names: HashMap<Arc<[u8]>, u32>,
    /// Blocks by number; `None` for a block that has not been scanned yet.
    blocks: Vec<Option<Block>>,
    /// Approximate memory use, in bytes.
    bytes: usize,
}

/// Result of matching a block against a filter: read it or skip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMatch {
    /// Nothing is known of the block: it is read and recorded.
    Nothing,
    /// The block may hold matching lines and is read; `foreign_lines` of its lines are foreign.
    Wanted { foreign_lines: u64 },
    /// The block holds no matching line and is skipped; its lines have `bytes` bytes.
    Unwanted { bytes: u64 },
}

/// Builder of the entry of one block, filled while the block is read.
pub struct ZoneMapBuilder<'t> {
    block: Block,
    /// Names, some of them more than once.
    names: Vec<&'t [u8]>,
    /// By a name's hash, the one that was seen last.
    last: Vec<&'t [u8]>,
}

impl ZoneMap {
    fn lock(&self) -> MutexGuard<'_, Content> {
        // A block is added whole or not at all.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Matches each recorded block against a filter.
    pub fn known(&self, wanted: &ScanFilter<'_>) -> Vec<BlockMatch> {
        let names = self.names_wanted(&wanted.names);
        let known = |block: &Option<Block>| match block {
            None => BlockMatch::Nothing,
            Some(block) if names.wants(block, wanted) => BlockMatch::Wanted { foreign_lines: block.foreign_lines },
            Some(block) => BlockMatch::Unwanted { bytes: block.bytes },
        };
        self.lock().blocks.iter().map(known).collect()
    }

    fn names_wanted(&self, names: &Names<'_>) -> NamesWanted {
        match names {
            Names::All => NamesWanted::Any,
            Names::Exact(name) => NamesWanted::One(self.lock().names.get(&name[..]).copied()),
            Names::Matching(holds) => {
                // It may be slow, and others want to learn meanwhile. A name that is added later is in no block before.
                let listed: Vec<_> = self.lock().names.iter().map(|(name, &index)| (Arc::clone(name), index)).collect();
                let mut wanted = vec![false; listed.len()];
                for (name, index) in listed {
                    wanted[index as usize] = holds(&name);
                }
                NamesWanted::Some(wanted)
            }
        }
    }

    /// Inserts the entry of the block that begins at `from`, if there is space.
    pub fn keep(&self, from: u64, builder: ZoneMapBuilder<'_>) {
        let Ok(number) = usize::try_from(from / BLOCK_BYTES as u64) else { return };
        let ZoneMapBuilder { mut block, mut names, .. } = builder;
        let mut content = self.lock();
        names.sort_unstable();
        names.dedup();
        let has_space = content.bytes + 4 * names.len() < SCAN_ZONE_MAP_BYTES_MAX && names.len() <= BLOCK_NAMES_MAX;
        let mut indices = has_space.then(|| names.iter().map_while(|name| content.index(name)).collect::<Vec<_>>());
        indices = indices.filter(|indices| indices.len() == names.len());
        if let Some(indices) = &mut indices {
            indices.sort_unstable();
        }
        let blocks = (number + 1).saturating_sub(content.blocks.len());
        let bytes =
            blocks * size_of::<Option<Block>>() + indices.as_ref().map_or(0, |indices| size_of_val(&indices[..]));
        if content.bytes + bytes > SCAN_ZONE_MAP_BYTES_MAX {
            return;
        }
        block.names = indices;
        content.bytes += bytes;
        if blocks > 0 {
            content.blocks.resize(number + 1, None);
        }
        content.blocks[number] = Some(block);
    }
}

impl Content {
    /// The index of a name; `None` if there is no space for it.
    fn index(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(&index) = self.names.get(name) {
            return Some(index);
        }
        let bytes = name.len() + size_of::<(Arc<[u8]>, u32)>() + 2 * size_of::<usize>();
        if self.names.len() >= SEGMENT_NAMES_MAX || self.bytes + bytes > SCAN_ZONE_MAP_BYTES_MAX {
            return None;
        }
        let index = u32::try_from(self.names.len()).ok()?;
        self.bytes += bytes;
        self.names.insert(name.into(), index);
        Some(index)
    }
}

impl<'t> ZoneMapBuilder<'t> {
    const PLACES: usize = 1_024;

    /// Starts the entry of the block of these lines.
    pub fn new(lines: &[u8]) -> Self {
        let block = Block {
            offset: 0,
            bytes: lines.len() as u64,
            lines: 0,
            foreign_lines: 0,
            first_ms: TIMESTAMP_MS_MAX,
            last_ms: TIMESTAMP_MS_MIN,
            crc32: 0,
            names: None,
            frame: None,
        };
        Self { block, names: Vec::new(), last: vec![&[]; Self::PLACES] }
    }

    #[inline]
    pub fn see(&mut self, line: &Line<'t>) {
        self.block.lines += 1;
        self.block.first_ms = self.block.first_ms.min(line.timestamp_ms);
        self.block.last_ms = self.block.last_ms.max(line.timestamp_ms);
        let last = &mut self.last[hash(line.name) % Self::PLACES];
        if *last != line.name {
            *last = line.name;
            self.names.push(line.name);
        }
    }

    pub fn see_foreign(&mut self) {
        self.block.foreign_lines += 1;
    }
}

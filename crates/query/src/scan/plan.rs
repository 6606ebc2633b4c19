//! Work queue of a scan: the pieces to read, in order. All workers take from this one queue.

use super::{
    ScanError, ScanFilter, Scanned, Snapshot,
    open::{NamesWanted, Opened, Opening, ReadLayout, open},
    zone_map::{BlockMatch, ZoneMap},
};
use log::{
    limits::{BLOCK_BYTES, BLOCK_BYTES_MAX},
    segment::{Block, Frame, Sidecar, frames::frame_bytes},
};
use std::sync::Arc;
use zstd::zstd_safe;

/// A piece of a segment, for one worker.
pub struct Work {
    pub opened: Arc<Opened>,
    pub piece: WorkUnit,
}

pub enum WorkUnit {
    /// A block, by its index in the sidecar.
    Block(usize),
    /// The lines that begin in these bytes of the plain file.
    Range { from: u64, to: u64, reading: Reading },
    /// A frame that no sidecar knows, with bytes of lines before it and in it.
    Frame { frame: Frame, offset: u64, bytes: u64 },
}

/// Depth of parsing of the lines of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As far as it takes to know which are wanted. So many are known to be foreign, also where that is not noticed.
    Skim { foreign_lines: u64 },
    /// Each is parsed: nothing else shows how many are foreign.
    Parse,
    /// Each is parsed, and what they are is kept for the next scan.
    Learn,
}

/// The pieces that are left.
pub struct Plan<'a> {
    snapshot: &'a Snapshot,
    wanted: &'a ScanFilter<'a>,
    next_segment: usize,
    current: Option<Current>,
    /// Counts of what was skipped, and of what was read to decide that.
    scanned: Scanned,
    window: Vec<u8>,
}

/// The segment that pieces are taken from.
struct Current {
    opened: Arc<Opened>,
    /// The next block's index, or the next byte of the file.
    next: u64,
    /// Bytes of lines before the next frame.
    offset: u64,
    was_touched: bool,
}

impl<'a> Plan<'a> {
    pub fn new(snapshot: &'a Snapshot, wanted: &'a ScanFilter<'a>) -> Self {
        let scanned = Scanned::default();
        Self { snapshot, wanted, next_segment: 0, current: None, scanned, window: Vec::new() }
    }

    /// The next piece; `None` after the last. Looks whether to go on for each segment: thousands may be skipped.
    pub fn next(&mut self, look: impl Fn() -> Result<(), ScanError>) -> Result<Option<Work>, ScanError> {
        loop {
            look()?;
            if let Some(current) = &mut self.current {
                if let Some(piece) = current.next(self.wanted, &mut self.scanned, &mut self.window)? {
                    self.scanned.segments += u64::from(!current.was_touched);
                    current.was_touched = true;
                    return Ok(Some(Work { opened: Arc::clone(&current.opened), piece }));
                }
                self.scanned.skipped_segments += u64::from(!current.was_touched);
                self.current = None;
            }
            if self.next_segment == self.snapshot.segments() || self.wanted.is_nothing() {
                return Ok(None);
            }
            match open(self.snapshot, self.next_segment, self.wanted, &mut self.scanned)? {
                Opening::Opened(opened) => {
                    self.current = Some(Current { opened: Arc::new(opened), next: 0, offset: 0, was_touched: false });
                }
                Opening::Skipped { bytes } => {
                    self.scanned.skipped_segments += 1;
                    self.scanned.skipped_bytes += bytes;
                }
                Opening::Gone => self.scanned.gone_segments += 1,
            }
            self.next_segment += 1;
        }
    }

    /// Returns the counts of what was skipped.
    pub fn scanned(&self) -> Scanned {
        self.scanned
    }
}

impl Current {
    fn next(
        &mut self,
        wanted: &ScanFilter<'_>,
        scanned: &mut Scanned,
        window: &mut Vec<u8>,
    ) -> Result<Option<WorkUnit>, ScanError> {
        let opened = Arc::clone(&self.opened);
        match &opened.form {
            ReadLayout::Blocks { sidecar, names } => Ok(self.next_block(sidecar, names, wanted, scanned)),
            ReadLayout::Ranges { bytes, zone_map } => Ok(self.next_range(*bytes, zone_map.as_ref(), scanned)),
            ReadLayout::Frames { bytes } => self.next_frame(*bytes, window),
        }
    }

    fn next_block(
        &mut self,
        sidecar: &Sidecar,
        names: &NamesWanted,
        wanted: &ScanFilter<'_>,
        scanned: &mut Scanned,
    ) -> Option<WorkUnit> {
        let index = usize::try_from(self.next).ok()?;
        let (skipped, found) = first(sidecar.blocks.get(index..)?, |block| names.wants(block, wanted));
        scanned.skipped_blocks += skipped.len() as u64;
        scanned.skipped_bytes += skipped.iter().map(|block| block.bytes).sum::<u64>();
        let index = index + skipped.len();
        self.next = index as u64 + 1;
        found.then_some(WorkUnit::Block(index))
    }

    fn next_range(
        &mut self,
        end: u64,
        zone_map: Option<&(Arc<ZoneMap>, Vec<BlockMatch>)>,
        scanned: &mut Scanned,
    ) -> Option<WorkUnit> {
        let mut number = usize::try_from(self.next / BLOCK_BYTES as u64).ok()?;
        let known = |number| zone_map.and_then(|(_, known)| known.get(number)).copied().unwrap_or(BlockMatch::Nothing);
        while let BlockMatch::Unwanted { bytes } = known(number) {
            scanned.skipped_blocks += 1;
            scanned.skipped_bytes += bytes;
            number += 1;
        }
        let from = (number * BLOCK_BYTES) as u64;
        // Beyond the end in the end.
        self.next = from + BLOCK_BYTES as u64;
        let to = self.next.min(end);
        let is_full = to.saturating_sub(from) == BLOCK_BYTES as u64;
        let reading = match known(number) {
            BlockMatch::Wanted { foreign_lines } => Reading::Skim { foreign_lines },
            _ if zone_map.is_none() => Reading::Skim { foreign_lines: 0 },
            _ if is_full => Reading::Learn,
            // It will have more lines.
            _ => Reading::Parse,
        };
        (from < to).then_some(WorkUnit::Range { from, to, reading })
    }

    fn next_frame(&mut self, end: u64, window: &mut Vec<u8>) -> Result<Option<WorkUnit>, ScanError> {
        if self.next == end {
            return Ok(None);
        }
        let file_name = &self.opened.file_name;
        let damaged = || ScanError::damaged(file_name, format!("no whole frame at byte {}", self.next));
        let found = frame_bytes(&self.opened.file, self.next, end, window);
        let frame_bytes = found.map_err(|error| ScanError::segment(file_name, error.into()))?.ok_or_else(damaged)?;
        // Ours say how much they hold.
        let bytes = zstd_safe::get_frame_content_size(window).ok().flatten().ok_or_else(damaged)?;
        if bytes > BLOCK_BYTES_MAX {
            return Err(damaged());
        }
        let piece =
            WorkUnit::Frame { frame: Frame { offset: self.next, bytes: frame_bytes }, offset: self.offset, bytes };
        self.next += frame_bytes;
        self.offset += bytes;
        Ok(Some(piece))
    }
}

/// The blocks before the first that is wanted, and whether there is one.
fn first(blocks: &[Block], is_wanted: impl Fn(&Block) -> bool) -> (&[Block], bool) {
    match blocks.iter().position(is_wanted) {
        Some(index) => (&blocks[..index], true),
        None => (blocks, false),
    }
}

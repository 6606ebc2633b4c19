//! The workers of a scan: each takes a piece, reads it into buffers of its own, unpacks it, and shows what is wanted
//! to its visitor.
//!
//! Files are read by pread(2) and never mapped: one that is cut off meanwhile is an error then, and not a signal.

use super::{
    LinePosition, ScanError, ScanFilter, ScanLimits, Scanned, Snapshot, Visitor,
    filter::{Filter, Verdicts},
    open::{Opened, ReadLayout},
    plan::{Plan, Reading, Work, WorkUnit},
};
use host::{fs::File, os::unix::fs::FileExt};
use log::{
    limits::{BLOCK_BYTES, BLOCK_BYTES_MAX, FRAME_BYTES_MAX, LINE_BYTES_MAX, TAIL_BLOCK_BYTES},
    segment::{Block, Frame},
};
use memchr::{memchr, memrchr};
use std::{
    io::{self, ErrorKind},
    sync::{
        PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use wake::sync::{Mutex, MutexGuard};
use zstd::bulk::Decompressor;

/// State that the workers of one scan share.
pub struct Run<'a> {
    plan: Mutex<Plan<'a>>,
    filter: Filter<'a>,
    limits: ScanLimits<'a>,
    bytes: AtomicU64,
    has_failed: AtomicBool,
    /// The first that came.
    error: Mutex<Option<ScanError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panics takes the scan with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    pub fn new(snapshot: &'a Snapshot, wanted: &'a ScanFilter<'a>, limits: ScanLimits<'a>) -> Self {
        Self {
            plan: Mutex::new(Plan::new(snapshot, wanted)),
            filter: Filter::new(wanted),
            limits,
            bytes: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Returns the counts of the plan, or the first error of a worker.
    pub fn finish(self) -> Result<Scanned, ScanError> {
        match self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(lock(&self.plan).scanned()),
        }
    }

    fn fail(&self, error: ScanError) {
        lock(&self.error).get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Checks for cancellation and for the deadline.
    fn look(&self) -> Result<(), ScanError> {
        if self.limits.cancel.load(Ordering::Relaxed) {
            Err(ScanError::Cancelled)
        } else if Instant::now() >= self.limits.deadline {
            Err(ScanError::Deadline)
        } else {
            Ok(())
        }
    }

    fn next(&self) -> Result<Option<Work>, ScanError> {
        lock(&self.plan).next(|| self.look())
    }

    /// Takes `bytes` from what may be looked at.
    fn charge(&self, bytes: u64) -> Result<(), ScanError> {
        let bound = self.limits.scanned_bytes_max;
        self.limits.scanned_bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > bound { Err(ScanError::BytesBound { bound }) } else { Ok(()) }
    }
}

/// One worker.
pub struct Worker<'r, 'a, V> {
    run: &'r Run<'a>,
    visitor: V,
    verdicts: Verdicts,
    scanned: Scanned,
    buffers: Buffers,
}

impl<'r, 'a, V: Visitor> Worker<'r, 'a, V> {
    pub fn new(run: &'r Run<'a>, visitor: V) -> Self {
        let (verdicts, scanned, buffers) = (Verdicts::new(), Scanned::default(), Buffers::default());
        Self { run, visitor, verdicts, scanned, buffers }
    }

    pub fn finish(self) -> (V, Scanned) {
        (self.visitor, self.scanned)
    }

    /// Works until nothing is left, or something has gone wrong.
    pub fn work(&mut self) {
        while !self.run.has_failed.load(Ordering::Relaxed) {
            let result = match self.run.next() {
                Ok(None) => return,
                Ok(Some(work)) => self.visit(&work),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                return self.run.fail(error);
            }
        }
    }

    fn visit(&mut self, work: &Work) -> Result<(), ScanError> {
        let Self { run, visitor, verdicts, scanned, buffers } = self;
        let Work { opened, piece } = work;
        let mut target = None;
        let (offset, lines, reading) = match (piece, &opened.form) {
            (&WorkUnit::Block(index), ReadLayout::Blocks { sidecar, .. }) => {
                let block = &sidecar.blocks[index];
                run.charge(block.bytes)?;
                let reading = Reading::Skim { foreign_lines: block.foreign_lines };
                (block.offset, buffers.read_block(opened, block, scanned)?, reading)
            }
            (&WorkUnit::Frame { frame, offset, bytes }, _) => {
                run.charge(bytes)?;
                (offset, buffers.unpack(opened, frame, bytes, scanned)?, Reading::Parse)
            }
            (&WorkUnit::Range { from, to, reading }, ReadLayout::Ranges { bytes, zone_map }) => {
                let (skipped, lines) = buffers.read_range(opened, from, to, *bytes, scanned)?;
                run.charge(lines.len() as u64)?;
                target = zone_map.as_ref().map(|(zone_map, _)| (zone_map, from));
                (from + skipped, lines, reading)
            }
            _ => unreachable!("pieces are of their segment's form"),
        };
        scanned.bytes += lines.len() as u64;
        scanned.blocks += 1;
        let place = LinePosition { segment: opened.segment, offset };
        match reading {
            Reading::Skim { foreign_lines } => {
                let (lines_before, foreign_before) = (scanned.lines, scanned.foreign_lines);
                run.filter.visit(lines, place, verdicts, visitor, scanned, || run.look())?;
                // Those that begin as ours do and are not wanted were not looked at, and pass for ours.
                let unnoticed = foreign_lines.saturating_sub(scanned.foreign_lines - foreign_before);
                let unnoticed = unnoticed.min(scanned.lines - lines_before);
                scanned.lines -= unnoticed;
                scanned.foreign_lines += unnoticed;
            }
            Reading::Parse | Reading::Learn => {
                let builder = run.filter.learn(lines, place, verdicts, visitor, scanned, || run.look())?;
                if let Some((zone_map, from)) = target.filter(|_| reading == Reading::Learn) {
                    zone_map.keep(from, builder);
                }
            }
        }
        Ok(())
    }
}

/// A worker's memory.
#[derive(Default)]
struct Buffers {
    lines: Vec<u8>,
    frame: Vec<u8>,
    decompressor: Option<Decompressor<'static>>,
}

impl Buffers {
    /// Reads a block of a sealed segment, and holds it against its checksum.
    fn read_block(&mut self, opened: &Opened, block: &Block, scanned: &mut Scanned) -> Result<&[u8], ScanError> {
        match block.frame {
            Some(frame) if opened.is_compressed => {
                self.unpack(opened, frame, block.bytes, scanned)?;
            }
            _ => {
                let bytes = bounded(opened, block.bytes, BLOCK_BYTES_MAX)?;
                self.lines.resize(bytes, 0);
                read_exact(opened, &mut self.lines, block.offset, scanned)?;
            }
        }
        if crc32fast::hash(&self.lines) != block.crc32 {
            let what =
                format!("the checksum of the {} bytes of lines from byte {} is wrong", block.bytes, block.offset);
            return Err(ScanError::damaged(&opened.file_name, what));
        }
        Ok(&self.lines)
    }

    /// Reads and unpacks a frame that holds `bytes` bytes of lines.
    fn unpack(&mut self, opened: &Opened, frame: Frame, bytes: u64, scanned: &mut Scanned) -> Result<&[u8], ScanError> {
        let bytes = bounded(opened, bytes, BLOCK_BYTES_MAX)?;
        let frame_bytes = bounded(opened, frame.bytes, FRAME_BYTES_MAX)?;
        self.frame.resize(frame_bytes, 0);
        read_exact(opened, &mut self.frame, frame.offset, scanned)?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|error| ScanError::io(&opened.file_name, error))?),
        };
        self.lines.clear();
        self.lines.reserve_exact(bytes);
        let unpacked = decompressor.decompress_to_buffer(&self.frame, &mut self.lines);
        match unpacked {
            Ok(unpacked) if unpacked == bytes => Ok(&self.lines),
            Ok(unpacked) => {
                let what = format!("the frame at byte {} holds {unpacked} bytes, not {bytes}", frame.offset);
                Err(ScanError::damaged(&opened.file_name, what))
            }
            Err(error) => {
                let what = format!("the frame at byte {} is damaged: {error}", frame.offset);
                Err(ScanError::damaged(&opened.file_name, what))
            }
        }
    }

    /// Reads the lines that begin in `from..to` of a plain file, of which `end` bytes count. Returns them, and the
    /// bytes between `from` and the first of them. A line that is longer than any can be is cut off, and so is foreign.
    fn read_range(
        &mut self,
        opened: &Opened,
        from: u64,
        to: u64,
        end: u64,
        scanned: &mut Scanned,
    ) -> Result<(u64, &[u8]), ScanError> {
        // The byte before shows whether a line begins at once.
        let lead = u64::from(from > 0);
        let bytes = bounded(opened, to - from + lead, BLOCK_BYTES as u64 + 1)?;
        self.lines.resize(bytes, 0);
        read_exact(opened, &mut self.lines, from - lead, scanned)?;
        let begin = match lead {
            0 => 0,
            _ => match memchr(b'\n', &self.lines) {
                Some(feed) if feed + 1 < bytes => feed + 1,
                _ => return Ok((to - from, &[])),
            },
        };
        let mut position = to;
        let last_line = memrchr(b'\n', &self.lines).map_or(begin, |feed| feed + 1);
        while position < end && self.lines.last() != Some(&b'\n') && self.lines.len() - last_line <= LINE_BYTES_MAX {
            let read_from = self.lines.len();
            // A little at first: most lines are short. Then as much again as there is of the line.
            let step = (read_from - last_line).max(TAIL_BLOCK_BYTES / 16);
            let step = usize::try_from(end - position).map_or(step, |left| left.min(step));
            self.lines.resize(read_from + step, 0);
            read_exact(opened, &mut self.lines[read_from..], position, scanned)?;
            position += step as u64;
            if let Some(feed) = memchr(b'\n', &self.lines[read_from..]) {
                self.lines.truncate(read_from + feed + 1);
            }
        }
        Ok((begin as u64 - lead, &self.lines[begin..]))
    }
}

/// A length that a file gives, if memory may be taken for it.
fn bounded(opened: &Opened, bytes: u64, bytes_max: u64) -> Result<usize, ScanError> {
    let bounded = usize::try_from(bytes).ok().filter(|_| bytes <= bytes_max);
    bounded
        .ok_or_else(|| ScanError::damaged(&opened.file_name, format!("a block or frame of {bytes} bytes is too large")))
}

fn read_exact(opened: &Opened, buffer: &mut [u8], offset: u64, scanned: &mut Scanned) -> Result<(), ScanError> {
    scanned.read_bytes += buffer.len() as u64;
    let file: &File = &opened.file;
    file.read_exact_at(buffer, offset).map_err(|error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => ScanError::damaged(&opened.file_name, "it became shorter since the scan began"),
        _ => ScanError::io(&opened.file_name, error),
    })
}

//! A segment that a scan has come to: which of its files is read, in which pieces, and what of it is known to hold
//! nothing wanted.
//!
//! The plain file is opened first, the compressed one if that is not there, and the sidecar is read after either: a
//! plain file is read with any sidecar of its segment, and by the time that there is only the compressed one, the
//! sidecar has its frames (`segment::compress`).

use super::{
    Names, ScanError, ScanFilter, Scanned, Snapshot,
    sidecar_cache::{CacheHit, Key},
    source::{Active, Shared, found},
    zone_map::{BlockMatch, ZoneMap},
};
use host::fs::File;
use log::segment::{Block, Segment, SegmentFile, SegmentName, Sidecar, open_regular};
use std::{path::Path, sync::Arc};

/// A segment whose file is open.
pub struct Opened {
    /// Index in the snapshot.
    pub segment: u32,
    /// Name of the file that is read.
    pub file_name: String,
    pub file: Arc<File>,
    pub is_compressed: bool,
    pub form: ReadLayout,
}

/// In which pieces it is read.
pub enum ReadLayout {
    /// By the blocks of its sidecar.
    Blocks { sidecar: Arc<Sidecar>, names: NamesWanted },
    /// The plain file without a sidecar: in ranges of its bytes. So many belong to the snapshot.
    Ranges { bytes: u64, zone_map: Option<(Arc<ZoneMap>, Vec<BlockMatch>)> },
    /// The compressed file of so many bytes without a sidecar that knows its frames: frame by frame.
    Frames { bytes: u64 },
}

/// Result of opening a segment.
pub enum Opening {
    Opened(Opened),
    /// It holds nothing wanted; so many bytes of lines.
    Skipped {
        bytes: u64,
    },
    /// The lines of the segment no longer exist.
    Gone,
}

/// Which of a segment's names are wanted, as its sidecar lists them.
pub enum NamesWanted {
    /// All of them, or it lists none.
    Any,
    /// This one, or none of them.
    One(Option<u32>),
    /// By their indices.
    Some(Vec<bool>),
}

impl NamesWanted {
    fn of(sidecar: &Sidecar, names: &Names<'_>) -> Self {
        let Some(listed) = &sidecar.names else { return Self::Any };
        match names {
            Names::All => Self::Any,
            Names::Exact(wanted) => {
                let index = listed.iter().position(|name| name.as_bytes() == wanted);
                Self::One(index.and_then(|index| u32::try_from(index).ok()))
            }
            Names::Matching(holds) => Self::Some(listed.iter().map(|name| holds(name.as_bytes())).collect()),
        }
    }

    fn are_none(&self) -> bool {
        match self {
            Self::Any => false,
            Self::One(index) => index.is_none(),
            Self::Some(wanted) => !wanted.contains(&true),
        }
    }

    /// Returns whether `block` can have a line with one of them.
    fn may_be_in(&self, block: &Block) -> bool {
        match self {
            Self::Any => true,
            Self::One(index) => block.foreign_lines > 0 || index.is_some_and(|index| block.may_name(index)),
            Self::Some(wanted) => {
                let is_wanted = |&index: &u32| wanted.get(index as usize).is_some_and(|&is_wanted| is_wanted);
                block.foreign_lines > 0
                    || block.names.as_ref().map_or(!self.are_none(), |names| names.iter().any(is_wanted))
            }
        }
    }

    /// Returns whether `block` can have a line that is wanted.
    pub fn wants(&self, block: &Block, wanted: &ScanFilter<'_>) -> bool {
        block.may_hold(wanted.from_ms, wanted.to_ms) && self.may_be_in(block)
    }
}

/// Opens the segment with this number.
pub fn open(
    snapshot: &Snapshot,
    number: usize,
    wanted: &ScanFilter<'_>,
    scanned: &mut Scanned,
) -> Result<Opening, ScanError> {
    let segment = u32::try_from(number).map_err(|_| ScanError::Unsettled)?;
    let shared = &snapshot.shared;
    let Some(listed) = snapshot.sealed.get(number) else {
        let Some(Active { file, bytes, key }) = &snapshot.active else { return Ok(Opening::Gone) };
        let form = ranges(shared, *bytes, *key, wanted);
        let file = Arc::clone(file);
        let file_name = snapshot.segment_name(segment);
        return Ok(Opening::Opened(Opened { segment, file_name, file, is_compressed: false, form }));
    };
    let sidecar = match read_sidecar(shared, listed.name, Some(wanted), scanned)? {
        Some(CacheHit::OutOfTime(summary)) if summary.fits(listed.plain, listed.compressed) => {
            return Ok(Opening::Skipped { bytes: summary.bytes });
        }
        Some(CacheHit::Whole(sidecar)) if sidecar.fits(listed.plain, listed.compressed) => {
            let in_time = sidecar.first_ms < wanted.to_ms && wanted.from_ms <= sidecar.last_ms;
            let is_out = !in_time || NamesWanted::of(&sidecar, &wanted.names).are_none();
            if is_out && sidecar.foreign_lines == 0 {
                return Ok(Opening::Skipped { bytes: sidecar.bytes });
            }
            Some(sidecar)
        }
        _ => None,
    };
    let Some((file, form, file_name)) = open_lines(&shared.directory, listed)? else { return Ok(Opening::Gone) };
    let bytes = file.metadata().map_err(|error| ScanError::io(&file_name, error))?.len();
    let is_compressed = form == SegmentFile::Compressed;
    let fits = |sidecar: &Sidecar| match form {
        SegmentFile::Compressed => sidecar.compressed_bytes() == Some(bytes),
        SegmentFile::Plain | SegmentFile::Sidecar => sidecar.bytes == bytes,
    };
    let sidecar = match sidecar {
        Some(sidecar) if fits(&sidecar) => Some(sidecar),
        // It was compressed meanwhile, or the sidecar was made, or does not fit.
        _ => match read_sidecar(shared, listed.name, None, scanned)? {
            Some(CacheHit::Whole(sidecar)) => Some(sidecar),
            Some(CacheHit::OutOfTime(_)) | None => None,
        },
    };
    let form = match sidecar {
        Some(sidecar) if fits(&sidecar) => {
            let names = NamesWanted::of(&sidecar, &wanted.names);
            ReadLayout::Blocks { sidecar, names }
        }
        _ if is_compressed => ReadLayout::Frames { bytes },
        // The sidecar records what was there: without a part of its lines a segment would give a wrong result.
        Some(sidecar) => {
            let what = format!("it has {bytes} bytes, but had {} when it was sealed", sidecar.bytes);
            return Err(ScanError::damaged(&file_name, what));
        }
        None => ranges(shared, bytes, shared.learns().then_some(Key::Sealed { name: listed.name, bytes }), wanted),
    };
    Ok(Opening::Opened(Opened { segment, file_name, file: Arc::new(file), is_compressed, form }))
}

/// The file to read; `None` if there is none any more.
fn open_lines(directory: &Path, listed: &Segment) -> Result<Option<(File, SegmentFile, String)>, ScanError> {
    for form in [SegmentFile::Plain, SegmentFile::Compressed] {
        let file_name = listed.name.file(form);
        let file =
            found(open_regular(&directory.join(&file_name))).map_err(|error| ScanError::io(&file_name, error))?;
        if let Some(file) = file {
            return Ok(Some((file, form, file_name)));
        }
    }
    Ok(None)
}

/// Reads the sidecar of a segment, if there is one that can be used: without it the scan is only slower. One that the
/// system cannot read is an error, as it may say that lines are missing or damaged. The summary is enough where it
/// rules out the time range of `wanted`.
fn read_sidecar(
    shared: &Shared,
    name: SegmentName,
    wanted: Option<&ScanFilter<'_>>,
    scanned: &mut Scanned,
) -> Result<Option<CacheHit>, ScanError> {
    let times = wanted.map(|wanted| (wanted.from_ms, wanted.to_ms));
    let Some((recalled, read_bytes)) = shared.memory.sidecar(&shared.directory, name, times)? else { return Ok(None) };
    scanned.read_bytes += read_bytes;
    Ok(Some(recalled))
}

/// A plain file of which so many bytes count, with what earlier scans found in it.
fn ranges(shared: &Shared, bytes: u64, key: Option<Key>, wanted: &ScanFilter<'_>) -> ReadLayout {
    let zone_map = key.map(|key| {
        let zone_map = shared.memory.zone_map(key);
        let known = zone_map.known(wanted);
        (zone_map, known)
    });
    ReadLayout::Ranges { bytes, zone_map }
}

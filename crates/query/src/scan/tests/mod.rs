//! The reader against a naive one, which reads every file and every line.

mod damage;
mod live;
mod naive;
mod random;
mod total;
mod zone_map;

use super::*;
use log::{
    limits::BLOCK_BYTES,
    segment::{ACTIVE_NAME, SegmentFile, SegmentName, compress, index},
};
use metric::format_timestamp;
use std::{fs, path::Path, sync::atomic::AtomicBool, time::Duration};
use tempfile::TempDir;

static RUNNING: AtomicBool = AtomicBool::new(false);
static SCANNED_BYTES: AtomicU64 = AtomicU64::new(0);
/// 2026-01-02T03:04:05.678Z
const START_MS: i64 = 1_767_323_045_678;

/// Copy of a line as a visitor received it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    place: LinePosition,
    ms: i64,
    name: Vec<u8>,
    value: Vec<u8>,
    tags: Vec<u8>,
}

#[derive(Default)]
struct Collector(Vec<Seen>);

impl Visitor for Collector {
    fn line(&mut self, place: LinePosition, line: &Line<'_>) -> Result<(), Stop> {
        assert!(self.0.last().is_none_or(|last| last.place < place), "a worker gets its blocks in order");
        self.0.push(Seen {
            place,
            ms: line.timestamp_ms,
            name: line.name.to_vec(),
            value: line.value.to_vec(),
            tags: line.tags.to_vec(),
        });
        Ok(())
    }
}

/// Files that a segment consists of on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    Plain,
    Indexed,
    Compressed,
    CompressedWithoutSidecar,
    /// The compression was interrupted when all was there.
    Both,
}

impl Lies {
    const ALL: [Self; 5] = [Self::Plain, Self::Indexed, Self::Compressed, Self::CompressedWithoutSidecar, Self::Both];
}

fn name(number: usize) -> SegmentName {
    SegmentName::after(None, START_MS + i64::try_from(number).unwrap())
}

fn path(directory: &Path, number: usize, file: SegmentFile) -> std::path::PathBuf {
    directory.join(name(number).file(file))
}

/// A directory with these sealed segments and this active one.
fn directory(sealed: &[(Vec<u8>, Lies)], active: Option<&[u8]>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (number, (lines, lies)) in sealed.iter().enumerate() {
        lay(directory.path(), number, lines, *lies);
    }
    if let Some(lines) = active {
        fs::write(directory.path().join(ACTIVE_NAME), lines).unwrap();
    }
    directory
}

fn lay(directory: &Path, number: usize, lines: &[u8], lies: Lies) {
    let [plain, sidecar] = [SegmentFile::Plain, SegmentFile::Sidecar].map(|file| path(directory, number, file));
    fs::write(&plain, lines).unwrap();
    if lies == Lies::Plain {
        return;
    }
    let indexed = index(directory, name(number), &RUNNING).unwrap();
    indexed.write(directory, name(number)).unwrap();
    // Of no lines, or foreign ones at the end, no compressed file can be made.
    if lies == Lies::Indexed || indexed.blocks.is_empty() || !lines.ends_with(b"\n") {
        return;
    }
    compress(directory, name(number), &indexed, &RUNNING).unwrap();
    match lies {
        Lies::CompressedWithoutSidecar => fs::remove_file(&sidecar).unwrap(),
        Lies::Both => fs::write(&plain, lines).unwrap(),
        Lies::Plain | Lies::Indexed | Lies::Compressed => {}
    }
}

/// A line of ours.
fn line(ms: i64, name: &str, value: usize, tags: &str) -> String {
    let timestamp = String::from_utf8(format_timestamp(ms).to_vec()).unwrap();
    format!(
        "{{\"timestamp\":\"{timestamp}\",\"name\":\"{name}\",\"value\":{value},\"type\":\"gauge\",\"tags\":{tags}}}\n"
    )
}

fn all() -> ScanFilter<'static> {
    ScanFilter { from_ms: i64::MIN, to_ms: i64::MAX, names: Names::All }
}

fn named(name: &str) -> ScanFilter<'static> {
    ScanFilter { names: Names::Exact(name.as_bytes().to_vec()), ..all() }
}

fn budget(threads: usize) -> ScanLimits<'static> {
    ScanLimits {
        threads,
        deadline: Instant::now() + Duration::from_secs(600),
        cancel: &RUNNING,
        scanned_bytes_max: u64::MAX,
        scanned_bytes: &SCANNED_BYTES,
    }
}

fn scanned(source: &Source, wanted: &ScanFilter, threads: usize) -> Result<(Vec<Seen>, Scanned), ScanError> {
    let snapshot = source.snapshot()?;
    let (visitors, scanned) = scan(&snapshot, wanted, &budget(threads), |_| Collector::default())?;
    let mut seen: Vec<Seen> = visitors.into_iter().flat_map(|visitor| visitor.0).collect();
    seen.sort();
    assert_eq!(scanned.matched, seen.len() as u64);
    Ok((seen, scanned))
}

fn scan_all(directory: &Path, wanted: &ScanFilter) -> (Vec<Seen>, Scanned) {
    scanned(&Source::directory(directory), wanted, 2).unwrap()
}

/// Tells the first difference alone: there can be many lines.
fn assert_same(seen: &[Seen], wanted: &[Seen]) {
    let difference = seen.iter().zip(wanted).find(|(seen, wanted)| seen != wanted);
    assert_eq!((difference, seen.len()), (None, wanted.len()));
}

//! Sealed segments, from real scrapes and from bytes made up, in directories of their own.

mod age;
mod catalog;
mod compress;
mod index;
mod maintenance;
mod retention;
mod sidecar;

use super::*;
use metric::{BatchEncoder, Bounds, Lines};
use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};
use tempfile::TempDir;

const NODE_EXPORTER: &str = include_str!("../../../../../bench/data/node_exporter.ndjson");
static RUNNING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(true);
/// 2026-01-02T03:04:05.678Z
const SEALED_MS: i64 = 1_767_323_045_678;

/// The log of the real scrapes: 1.8 MB, two blocks.
fn scrapes() -> Vec<u8> {
    let mut encoder = BatchEncoder::new(Bounds::default());
    let mut log = Vec::new();
    for body in NODE_EXPORTER.lines() {
        let mut lines = vec![0; encoder.encoded_bytes_max(body.len())];
        let encoded = encoder.encode(body.as_bytes(), 0, &mut lines).unwrap();
        log.extend_from_slice(&lines[..encoded.bytes]);
    }
    log
}

/// A line of `bytes` bytes, at least 120.
fn line(ms: i64, name: &str, bytes: usize) -> String {
    let timestamp = String::from_utf8(metric::format_timestamp(ms).to_vec()).unwrap();
    let line = |tag: &str| {
        format!(r#"{{"timestamp":"{timestamp}","name":"{name}","value":1,"type":"gauge","tags":{{"t":"{tag}"}}}}"#)
            + "\n"
    };
    let line = line(&"x".repeat(bytes - line("").len()));
    assert_eq!(line.len(), bytes);
    line
}

fn name(number: i64) -> SegmentName {
    SegmentName::after(None, SEALED_MS + number)
}

/// A directory with segments of these lines, plain and without sidecars.
fn directory(segments: &[&[u8]]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (number, lines) in (0..).zip(segments) {
        fs::write(path(&directory, number, SegmentFile::Plain), lines).unwrap();
    }
    directory
}

fn path(directory: &TempDir, number: i64, file: SegmentFile) -> std::path::PathBuf {
    directory.path().join(name(number).file(file))
}

/// Every file of a directory, and what is in it.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn restore(directory: &Path, wanted: &BTreeMap<String, Vec<u8>>) {
    files(directory).keys().for_each(|name| fs::remove_file(directory.join(name)).unwrap());
    wanted.iter().for_each(|(name, bytes)| fs::write(directory.join(name), bytes).unwrap());
}

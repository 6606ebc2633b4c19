//! Snapshots of a log that is written, rotated, compressed and retired meanwhile.

use super::*;
use log::{
    AckLevel, Log, Settings,
    segment::{Holds, Maintenance, MaintenanceSetup},
};
use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use wake::Doorbell;
use wake::clock::Clock;

/// A batch's lines are numbered on from the batch's before.
const BATCH_LINES: u64 = 7;
const BATCHES: u64 = 4_000;

/// Checks a snapshot: the numbers of the lines are in order and without a gap, from the first that is retained to the
/// end of a batch.
fn check(source: &Source, acknowledged: &AtomicU64, threads: usize, is_retained: bool) -> Scanned {
    let before = acknowledged.load(Ordering::Acquire);
    let (seen, scanned) = scanned(source, &all(), threads).unwrap();
    let numbers: Vec<u64> = seen.iter().map(|seen| String::from_utf8_lossy(&seen.value).parse().unwrap()).collect();
    assert_eq!(scanned.foreign_lines, 0);
    let first = numbers.first().copied().unwrap_or(before);
    let end = numbers.last().map_or(first, |last| last + 1);
    assert!(end >= before, "{before} lines were acknowledged before, {end} are there");
    assert_eq!(end % BATCH_LINES, 0, "half a batch is there");
    assert!(numbers.is_sorted_by(|a, b| a < b), "a line is there twice, or out of order");
    if scanned.gone_segments == 0 {
        assert_eq!(numbers.len() as u64, end - first, "a line is missing");
    }
    if is_retained {
        assert_eq!((first, scanned.gone_segments), (0, 0));
    }
    scanned
}

fn run(compress: bool, retain_bytes: Option<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let opened = log::open(directory.path()).unwrap();
    let maintenance = Maintenance::start(MaintenanceSetup {
        directory: directory.path().to_owned(),
        compress,
        retain_bytes,
        retain_age: None,
        holds: Holds::default(),
        clock: Clock::start(),
        watch: None,
    })
    .unwrap();
    opened.file.keep_with(maintenance.bell());
    let settings = Settings { rotate_bytes: Some(40_000), ..Settings::default() };
    let bells = [Arc::new(Doorbell::new().unwrap())];
    let Log { mut appenders, writer, group_commit, status } =
        Log::new(opened.file, &bells, 16 * 1024, settings).unwrap();
    let source = Source::server(directory.path(), status);
    let acknowledged = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| writer.run());
        let group_commit = scope.spawn(|| group_commit.run());
        let appender = appenders.remove(0);
        scope.spawn(|| {
            let mut appender = appender;
            for batch in 0..BATCHES {
                let numbers = batch * BATCH_LINES..(batch + 1) * BATCH_LINES;
                let lines: String = numbers
                    .clone()
                    .map(|number| line(START_MS, "cpu", usize::try_from(number).unwrap(), "{}"))
                    .collect();
                appender.reserve(lines.len()).unwrap().copy_from_slice(lines.as_bytes());
                let position = appender.commit(lines.len(), AckLevel::Write);
                appender.publish();
                while appender.acknowledged(AckLevel::Write) < position {
                    thread::yield_now();
                }
                acknowledged.store(numbers.end, Ordering::Release);
            }
            is_over.store(true, Ordering::Release);
        });
        let mut snapshots = 0;
        while !is_over.load(Ordering::Acquire) {
            check(&source, &acknowledged, 1 + snapshots % 3, retain_bytes.is_none());
            snapshots += 1;
        }
        writer.join().unwrap().unwrap();
        group_commit.join().unwrap().unwrap();
    });
    let scanned = check(&source, &acknowledged, 2, retain_bytes.is_none());
    assert_eq!(acknowledged.into_inner(), BATCHES * BATCH_LINES);
    assert!(retain_bytes.is_some() || scanned.segments > 3);
    maintenance.stop();
}

#[test]
fn what_was_acknowledged_is_seen_once_while_segments_are_sealed_and_compressed() {
    run(true, None);
}

#[test]
fn what_is_kept_is_seen_once_while_segments_are_retired() {
    run(false, Some(150_000));
}

#[test]
fn between_the_renames_of_a_rotation_all_lines_are_there() {
    let line = line(START_MS, "cpu", 1, "{}").into_bytes();
    let directory = directory(&[(line.clone(), Lies::Plain)], None);
    fs::write(directory.path().join("metrics.jsonl.tmp"), b"").unwrap();
    assert_eq!(scan_all(directory.path(), &all()).0.len(), 1);
}

/// The log as the writer has published it, sealed and compressed before it publishes the next segment.
#[test]
fn a_sidecar_that_cannot_be_read_is_an_error_of_the_query() {
    let lines = line(START_MS, "cpu", 1, "{}").into_bytes();
    let directory = directory(&[], Some(&lines));
    let opened = log::open(directory.path()).unwrap();
    let bells = [Arc::new(Doorbell::new().unwrap())];
    let Log { status, writer, .. } = Log::new(opened.file, &bells, 16 * 1024, Settings::default()).unwrap();
    let source = Source::server(directory.path(), status);
    fs::remove_file(directory.path().join(ACTIVE_NAME)).unwrap();
    lay(directory.path(), 0, &lines, Lies::Compressed);
    assert!(matches!(source.snapshot(), Err(ScanError::Unsettled)), "the lines would be there twice");

    let path = path(directory.path(), 0, SegmentFile::Sidecar);
    fs::write(&path, "{}").unwrap();
    assert!(source.snapshot().is_ok(), "what was compressed just now has a whole sidecar");
    fs::remove_file(&path).unwrap();
    assert!(source.snapshot().is_ok(), "it has one at all");

    // A name that is too long is an error for root, too.
    std::os::unix::fs::symlink("x".repeat(300), &path).unwrap();
    let unread = |error: ScanError| {
        let ScanError::Io { file, error } = error else { panic!("{error}") };
        assert_eq!((file, error.kind()), (name(0).file(SegmentFile::Sidecar), ErrorKind::InvalidFilename));
    };
    unread(source.snapshot().unwrap_err());
    unread(scanned(&Source::directory(directory.path()), &all(), 1).unwrap_err());
    drop(writer);
}

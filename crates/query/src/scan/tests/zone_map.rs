//! Zone maps that a server's source builds of segments without a sidecar.

use super::{naive::read, *};
use log::{AckLevel, Appender, Log, LogFile, Settings, Writer};
use std::sync::Arc;
use wake::Doorbell;

/// A log that is written by the thread of the test.
struct Written<F: LogFile> {
    appender: Appender,
    writer: Writer<F>,
    source: Source,
}

fn written(directory: &Path) -> Written<impl LogFile + use<>> {
    let opened = log::open(directory).unwrap();
    let bells = [Arc::new(Doorbell::new().unwrap())];
    let Log { mut appenders, writer, status, .. } =
        Log::new(opened.file, &bells, 4 * BLOCK_BYTES, Settings::default()).unwrap();
    Written { appender: appenders.remove(0), writer, source: Source::server(directory, status) }
}

impl<F: LogFile> Written<F> {
    fn write(&mut self, lines: &[u8]) {
        self.appender.reserve(lines.len()).unwrap().copy_from_slice(lines);
        self.appender.commit(lines.len(), AckLevel::Memory);
        self.appender.publish();
        assert!(self.writer.write_published().unwrap());
    }
}

/// A block's worth of lines of one name, at one second.
fn block(name: &str, second: i64) -> Vec<u8> {
    let line = line(START_MS + 1_000 * second, name, 1, "{}");
    line.repeat(BLOCK_BYTES / line.len()).into_bytes()
}

#[test]
fn the_second_scan_skips_what_the_first_has_learnt() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = written(directory.path());
    for second in 0..4 {
        log.write(&block(&format!("name_{second}"), second));
    }
    let by_pattern = || ScanFilter { names: Names::Matching(Box::new(|name| name == b"name_2")), ..all() };
    let by_time = || ScanFilter { from_ms: START_MS + 2_000, to_ms: START_MS + 2_001, names: Names::All };
    // The last, which is not full, is read each time.
    let (_, first) = scanned(&log.source, &named("name_0"), 2).unwrap();
    assert_eq!((first.blocks, first.skipped_blocks), (4, 0));
    for wanted in [named("name_2"), by_pattern(), by_time()] {
        let (seen, scanned) = scanned(&log.source, &wanted, 2).unwrap();
        assert_same(&seen, &read(directory.path(), &wanted));
        assert_eq!((scanned.blocks, scanned.skipped_blocks), (3, 1), "{wanted:?}");
        assert!(scanned.skipped_bytes > BLOCK_BYTES as u64 / 2);
    }
    // What comes is learnt too.
    log.write(&block("name_4", 4));
    for is_known in [false, true] {
        let (seen, scanned) = scanned(&log.source, &named("name_0"), 1).unwrap();
        assert_same(&seen, &read(directory.path(), &named("name_0")));
        assert_eq!(scanned.skipped_blocks, 2 + u64::from(is_known));
    }
}

#[test]
fn a_log_that_was_emptied_by_hand_is_learnt_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = written(directory.path());
    let before = [block("a", 0), block("b", 1)].concat();
    log.write(&before);
    scanned(&log.source, &all(), 1).unwrap();
    fs::OpenOptions::new().write(true).open(directory.path().join(ACTIVE_NAME)).unwrap().set_len(0).unwrap();
    log.write(&[block("c", 2), block("d", 3)].concat());
    let (seen, _) = scanned(&log.source, &named("c"), 1).unwrap();
    assert_same(&seen, &read(directory.path(), &named("c")));
    assert!(!seen.is_empty());
}

#[test]
fn more_is_never_there_than_was_written_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = written(directory.path());
    let line = line(START_MS, "cpu", 1, "{}");
    log.write(line.as_bytes());
    // As if a writev(2) had been cut short behind the first line of a batch.
    let mut file = fs::OpenOptions::new().append(true).open(directory.path().join(ACTIVE_NAME)).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    assert_eq!(scanned(&log.source, &all(), 1).unwrap().0.len(), 1);
    // The directory alone does not show it.
    assert_eq!(scan_all(directory.path(), &all()).0.len(), 2);
}

/// Does to the active segment what a rotation and the maintenance do, before the writer says that it has another one.
fn seal_and_compress(directory: &Path) {
    let plain = path(directory, 0, SegmentFile::Plain);
    fs::rename(directory.join(ACTIVE_NAME), &plain).unwrap();
    fs::write(directory.join(ACTIVE_NAME), "").unwrap();
    let indexed = index(directory, name(0), &RUNNING).unwrap();
    indexed.write(directory, name(0)).unwrap();
    compress(directory, name(0), &indexed, &RUNNING).unwrap();
    assert!(!plain.exists());
}

#[test]
fn a_segment_compressed_before_its_end_is_known_is_not_seen_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = written(directory.path());
    log.write(line(START_MS, "cpu", 1, "{}").as_bytes());
    seal_and_compress(directory.path());
    // The writer would say so within a moment; here it never does.
    assert!(matches!(log.source.snapshot(), Err(ScanError::Unsettled)));
}

#[test]
fn a_log_deleted_beside_a_compressed_segment_is_still_read() {
    let directory = directory(&[(line(START_MS, "a", 1, "{}").into_bytes(), Lies::Compressed)], None);
    let mut log = written(directory.path());
    log.write(line(START_MS, "of_another_length", 1, "{}").as_bytes());
    fs::remove_file(directory.path().join(ACTIVE_NAME)).unwrap();
    assert_eq!(scanned(&log.source, &all(), 1).unwrap().0.len(), 2);
}

//! Tests of reading by position, against a writer that rotates.

use super::*;
use crate::{
    AckLevel, Appender, Log, Settings,
    segment::{compress, index, retire},
};
use std::{sync::atomic::AtomicBool, thread::JoinHandle, time::Instant};
use tempfile::TempDir;
use wake::Doorbell;

/// More than any test takes, also on a machine that is busy with other things.
const WAIT: Duration = Duration::from_secs(60);
const MANY: usize = 1 << 20;

/// A log whose writer runs.
struct Running {
    directory: TempDir,
    appender: Appender,
    status: Arc<LogStatus>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(directory: TempDir, rotate_bytes: Option<u64>) -> Self {
        let opened = crate::open(directory.path()).unwrap();
        let bells = [Arc::new(Doorbell::new().unwrap())];
        let settings = Settings { rotate_bytes, ..Settings::default() };
        let Log { mut appenders, writer, group_commit, status } =
            Log::new(opened.file, &bells, 64 * 1024, settings).unwrap();
        let threads =
            vec![thread::spawn(move || writer.run().unwrap()), thread::spawn(move || group_commit.run().unwrap())];
        Self { directory, appender: appenders.remove(0), status, threads }
    }

    fn append(&mut self, line: &str) {
        let begun = Instant::now();
        loop {
            if let Some(reserved) = self.appender.reserve(line.len()) {
                reserved[..line.len()].copy_from_slice(line.as_bytes());
                break;
            }
            assert!(begun.elapsed() < WAIT);
            thread::yield_now();
        }
        self.appender.commit(line.len(), AckLevel::Write);
        self.appender.publish();
    }

    /// Waits until the writer has done what `is_done` looks for.
    fn until(&self, is_done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_done(self) {
            assert!(begun.elapsed() < WAIT);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Appends a line, waits until it is written, and seals the segment.
    fn seal(&mut self, line: &str) -> SegmentName {
        let written = self.status.counts().bytes + line.len() as u64;
        self.append(line);
        self.until(|log| log.status.counts().bytes == written);
        let rotations = self.status.counts().rotations;
        self.status.ask_for_rotation();
        self.until(|log| log.status.counts().rotations > rotations);
        Catalog::list(self.directory.path()).unwrap().newest().unwrap()
    }

    fn follow(&self, start: Start) -> Result<Follower, FollowError> {
        Follower::open(self.directory.path(), Arc::clone(&self.status), start)
    }

    fn rest_from(&self, position: LogPosition) -> String {
        let mut follower = self.follow(Start::At(position)).unwrap();
        let mut lines = LineBuffer::default();
        while follower.read(&mut lines, MANY).unwrap() > 0 {}
        String::from_utf8(lines.into_bytes()).unwrap()
    }

    fn stop(self) -> TempDir {
        drop(self.appender);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.directory
    }
}

fn compress_segment(directory: &Path, name: SegmentName) {
    let stop = AtomicBool::new(false);
    let sidecar = index(directory, name, &stop).unwrap();
    sidecar.write(directory, name).unwrap();
    compress(directory, name, &sidecar, &stop).unwrap();
}

#[test]
fn a_follower_sees_each_line_once_over_rotations() {
    const LINES: usize = 3_000;
    let mut log = Running::start(tempfile::tempdir().unwrap(), Some(2_000));
    let mut follower = log.follow(Start::Oldest).unwrap();
    let reader = thread::spawn(move || {
        let (mut seen, mut lines, begun) = (Vec::new(), LineBuffer::default(), Instant::now());
        while seen.len() < LINES {
            assert!(begun.elapsed() < WAIT, "{} lines seen", seen.len());
            lines.clear();
            // Sometimes one line at a time, sometimes many.
            let bytes_max = if seen.len() % 3 == 0 { 1 } else { 700 };
            if follower.read(&mut lines, bytes_max).unwrap() == 0 {
                thread::yield_now();
            }
            assert!(lines.is_empty() || lines.ends_with(b"\n"));
            seen.extend(str::from_utf8(&lines).unwrap().lines().map(|line| line.parse::<usize>().unwrap()));
        }
        seen
    });
    let mut bytes = 0;
    for number in 0..LINES {
        log.append(&format!("{number}\n"));
        bytes += number.to_string().len() as u64 + 1;
        // So that the lines are of many gatherings, and a rotation may come after each.
        if number % 500 == 0 {
            log.until(|log| log.status.counts().bytes == bytes);
        }
    }
    assert_eq!(reader.join().unwrap(), (0..LINES).collect::<Vec<_>>());
    assert!(log.status.counts().rotations > 0);
    log.stop();
}

#[test]
fn a_position_outlives_sealing_compression_and_restart() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let mut active = log.follow(Start::End).unwrap();
    assert_eq!(active.position().to_string(), "first:0");
    log.append("1\n");
    log.until(|log| log.status.published().bytes == 2);
    let mut lines = LineBuffer::default();
    assert_eq!(active.read(&mut lines, MANY).unwrap(), 2);
    let position = active.position();
    assert_eq!(position.to_string(), "first:2");
    let first = log.seal("2\n");
    let second = log.seal("3\n");
    log.append("4\n");
    log.until(|log| log.status.published().bytes == 2);
    assert_eq!(log.rest_from(position), "2\n3\n4\n");

    let directory = log.stop();
    compress_segment(directory.path(), first);
    let log = Running::start(directory, None);
    let after = |name| LogPosition { segment: SegmentId::After(Some(name)), byte: 0 };
    let sealed = |name, byte| LogPosition { segment: SegmentId::Sealed(name), byte };
    for (position, rest) in [
        (position, "2\n3\n4\n"),
        (sealed(first, 0), "1\n2\n3\n4\n"),
        (sealed(first, 4), "3\n4\n"),
        (after(first), "3\n4\n"),
        (sealed(second, 2), "4\n"),
        (after(second), "4\n"),
    ] {
        assert_eq!(log.rest_from(position), rest, "{position}");
    }
    log.stop();
}

/// A log of one line that was read, and what a reader finds after `change`, a line more than that has, and a third.
fn read_after(change: impl FnOnce(&mut Running, &Path)) -> (Result<(), LogPosition>, String) {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let mut reader = log.follow(Start::Oldest).unwrap();
    let mut lines = LineBuffer::default();
    log.append("1\n");
    log.until(|log| log.status.published().bytes == 2);
    assert_eq!(reader.read(&mut lines, MANY).unwrap(), 2);
    let active = log.directory.path().join(ACTIVE_NAME);
    change(&mut log, &active);
    let before = log.status.counts().bytes;
    // As long as what was read, and longer: its end is the beginning of a line there too.
    log.append("3\n4\n5\n");
    log.until(|log| log.status.counts().bytes == before + 6);
    lines.clear();
    let mut found = Ok(());
    loop {
        match reader.read(&mut lines, MANY) {
            Ok(0) => break,
            Ok(_) => {}
            Err(FollowError::Gone { oldest }) => {
                found = Err(oldest);
                reader.skip_to(oldest);
            }
            Err(error) => panic!("{error}"),
        }
    }
    log.stop();
    (found, String::from_utf8(lines.into_bytes()).unwrap())
}

#[test]
fn a_reader_finishes_a_log_that_is_moved_away() {
    let moved = |log: &mut Running, active: &Path, is_replaced: bool| {
        fs::rename(active, active.with_extension("1")).unwrap();
        log.append("2\n");
        log.until(|log| log.status.published().bytes == 4);
        if is_replaced {
            fs::write(active, "").unwrap();
        }
        log.status.ask_for_rotation();
        log.until(|log| log.status.counts().rotations == 1);
    };
    for is_replaced in [false, true] {
        let found = read_after(|log, active| moved(log, active, is_replaced));
        assert_eq!(found, (Ok(()), "2\n3\n4\n5\n".to_owned()));
    }
}

#[test]
fn a_reader_of_a_log_that_is_cut_begins_anew() {
    let cut = |_: &mut Running, active: &Path| File::options().write(true).open(active).unwrap().set_len(0).unwrap();
    assert_eq!(read_after(cut), (Err(LogPosition::FIRST), "3\n4\n5\n".to_owned()));
    // Found by a rotation, which has nothing to seal.
    let cut_and_rotated = |log: &mut Running, active: &Path| {
        cut(log, active);
        log.status.ask_for_rotation();
        log.until(|log| !log.status.is_rotation_requested());
    };
    assert_eq!(read_after(cut_and_rotated), (Err(LogPosition::FIRST), "3\n4\n5\n".to_owned()));
}

#[test]
fn a_position_that_is_not_kept_is_gone() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let names = ["1\n", "2\n", "3\n"].map(|line| log.seal(line));
    let first = |byte| LogPosition { segment: SegmentId::After(None), byte };
    let after = |name| LogPosition { segment: SegmentId::After(Some(name)), byte: 0 };
    assert_eq!(log.rest_from(first(0)), "1\n2\n3\n");
    retire(log.directory.path(), names[0]).unwrap();
    let gone = |position| match log.follow(Start::At(position)) {
        Err(FollowError::Gone { oldest }) => oldest,
        found => panic!("{position}: {found:?}"),
    };
    let oldest = LogPosition { segment: SegmentId::Sealed(names[1]), byte: 0 };
    assert_eq!(gone(first(2)), oldest);
    assert_eq!(gone(LogPosition { segment: SegmentId::Sealed(names[0]), byte: 0 }), oldest);
    // Its predecessor is deleted, and it is still found.
    assert_eq!(log.rest_from(after(names[0])), "2\n3\n");
    retire(log.directory.path(), names[1]).unwrap();
    assert_eq!(gone(after(names[0])), LogPosition { segment: SegmentId::Sealed(names[2]), byte: 0 });
    retire(log.directory.path(), names[2]).unwrap();
    assert_eq!(gone(after(names[1])), after(names[2]));
    assert_eq!(log.follow(Start::Oldest).unwrap().position(), after(names[2]));
    assert_eq!(gone(LogPosition { byte: 1, ..after(names[2]) }), after(names[2]));
    log.stop();
}

#[test]
fn a_position_inside_a_line_is_refused() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let name = log.seal("12345\n");
    log.append("67890\n");
    log.until(|log| log.status.published().bytes == 6);
    let inside = [SegmentId::Sealed(name), SegmentId::After(None), SegmentId::After(Some(name))];
    let refuses = |segment: SegmentId| {
        let refused = log.follow(Start::At(LogPosition { segment, byte: 3 }));
        assert!(matches!(refused, Err(FollowError::InsideLine)), "{segment}");
    };
    inside.into_iter().for_each(refuses);
    compress_segment(log.directory.path(), name);
    // Found as it is opened, too: who goes on elsewhere then would open it again and again.
    inside.into_iter().for_each(refuses);
    assert_eq!(log.rest_from(LogPosition { segment: SegmentId::Sealed(name), byte: 6 }), "67890\n");
    log.stop();
}

#[test]
fn a_line_longer_than_the_bound_is_read_whole() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let long = "x".repeat(20_000) + "\n";
    let all = format!("1\n{long}2\n");
    log.append(&all);
    log.until(|log| log.status.published().bytes == all.len() as u64);
    let mut follower = log.follow(Start::Oldest).unwrap();
    // Nothing of an earlier read is left in the memory that the next one uses.
    let mut lines = LineBuffer::default();
    let mut read = || {
        lines.clear();
        follower.read(&mut lines, 10).unwrap();
        String::from_utf8(lines.to_vec()).unwrap()
    };
    assert_eq!([read(), read(), read(), read()], ["1\n", &long, "2\n", ""]);
    log.stop();
}

#[test]
fn a_segment_compressed_before_its_end_is_known_is_not_read_twice() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let first = log.seal("1\n");
    log.append("2\n");
    log.until(|log| log.status.published().bytes == 2);
    // What a rotation and the maintenance do, before the writer says so; here it never does.
    let name = SegmentName::after(Some(first), first.sealed_ms());
    let active = log.directory.path().join(ACTIVE_NAME);
    fs::rename(&active, log.directory.path().join(name.file(SegmentFile::Plain))).unwrap();
    fs::write(&active, "").unwrap();
    compress_segment(log.directory.path(), name);
    let unsettled = log.follow(Start::Oldest).unwrap_err();
    assert!(matches!(unsettled, FollowError::Unreadable(_)), "{unsettled}");
    log.stop();
}

#[test]
fn a_log_deleted_beside_a_compressed_segment_is_still_followed() {
    let mut log = Running::start(tempfile::tempdir().unwrap(), None);
    let first = log.seal("1\n");
    compress_segment(log.directory.path(), first);
    log.append("of another length\n");
    log.until(|log| log.status.published().bytes == 18);
    fs::remove_file(log.directory.path().join(ACTIVE_NAME)).unwrap();
    assert_eq!(log.rest_from(LogPosition { segment: SegmentId::Sealed(first), byte: 0 }), "1\nof another length\n");
    // A writer whose file was deleted has failed: it does not stop as the others do.
    drop(log.appender);
}

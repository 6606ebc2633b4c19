//! Tests of the writer and the group commit, over a disk that fails as configured.

use super::{
    fake_file::{FakeFile, Fault, SyncGate},
    *,
};
use crossbeam_channel::{Receiver, Sender};
use std::thread;

const SETTINGS: Settings = Settings {
    poll_before_sleep: Duration::ZERO,
    stall_retry_first: Duration::from_millis(1),
    stall_retry_max: Duration::from_millis(1),
    stall_at_drain_max: Duration::from_secs(60),
    rotate_bytes: None,
    rotate_age: None,
};

fn bells(reactors: usize) -> Vec<Arc<Doorbell>> {
    (0..reactors).map(|_| Arc::new(Doorbell::new().unwrap())).collect()
}

fn log(file: &FakeFile, reactors: usize, settings: Settings) -> Log<FakeFile> {
    let log = Log::new(file.clone(), &bells(reactors), 64, settings).unwrap();
    let rings = log.writer.watch();
    file.content().watched = Some((Arc::clone(&log.status), rings));
    log
}

fn append(appender: &mut Appender, lines: &str, level: AckLevel) -> u64 {
    appender.reserve(lines.len()).unwrap().copy_from_slice(lines.as_bytes());
    let position = appender.commit(lines.len(), level);
    appender.publish();
    position
}

/// Sleeps as a reactor does until `level` has reached `position` or the log has failed.
fn wait_for(appender: &Appender, bell: &Doorbell, level: AckLevel, position: u64) {
    let is_over = || appender.acknowledged(level) >= position || appender.health().has_failed();
    while !is_over() {
        bell.announce_sleep();
        if !is_over() {
            bell.wait(None);
        }
        bell.awake();
        bell.drain();
    }
}

/// Writes the batches of two rings, published before the writer looks for the first time: one gathering. Returns the
/// results of the writer and the group commit, and the log's health after them.
fn write_two_rings(file: &FakeFile, settings: Settings) -> ([Result<(), LogError>; 2], LogHealth) {
    let mut log = log(file, 2, settings);
    append(&mut log.appenders[0], "a1\na2\n", AckLevel::Write);
    append(&mut log.appenders[1], "b1\n", AckLevel::Write);
    append(&mut log.appenders[0], "a3\n", AckLevel::Fsync);
    drop(log.appenders);
    ([log.writer.run(), log.group_commit.run()], log.status.health())
}

const TWO_RINGS: &[u8] = b"a1\na2\na3\nb1\n";

#[track_caller]
fn assert_all_written(file: &FakeFile, (results, health): &([Result<(), LogError>; 2], LogHealth)) {
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(*health, LogHealth::Healthy);
    let content = file.content();
    assert_eq!(content.bytes, TWO_RINGS);
    assert_eq!(content.committed_bytes, TWO_RINGS.len() as u64);
    assert!(content.is_clean);
    assert_eq!(content.syncs, 1);
}

#[test]
fn ack_levels_are_read_as_they_are_written() {
    for level in [AckLevel::Memory, AckLevel::Write, AckLevel::Fsync] {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    assert_eq!("Fsync".parse::<AckLevel>(), Err(UnknownAckLevel));
}

#[test]
fn a_short_write_goes_on_at_its_next_byte() {
    for taken in 1..TWO_RINGS.len() {
        let file = FakeFile::default();
        file.content().append_faults.push_back(Fault::Short(taken));
        let ended = write_two_rings(&file, SETTINGS);
        assert_all_written(&file, &ended);
    }
    let file = FakeFile::default();
    file.content().append_faults.extend([Fault::Short(1); TWO_RINGS.len()]);
    let ended = write_two_rings(&file, SETTINGS);
    assert_all_written(&file, &ended);
}

#[test]
fn blocks_are_requested_before_they_are_written_and_for_each_segment() {
    const MIB: u64 = 1 << 20;
    for preallocates in [true, false] {
        let file = FakeFile::default();
        file.content().preallocates = preallocates;
        let settings = Settings { rotate_bytes: Some(3 * MIB), ..SETTINGS };
        let bells = bells(1);
        let mut log = Log::new(file.clone(), &bells, 1 << 20, settings).unwrap();
        let writer = thread::spawn(|| log.writer.run());
        let line = "x".repeat((MIB / 2) as usize - 1) + "\n";
        for _ in 0..9 {
            let position = append(&mut log.appenders[0], &line, AckLevel::Write);
            wait_for(&log.appenders[0], &bells[0], AckLevel::Write, position);
        }
        drop(log.appenders);
        writer.join().unwrap().unwrap();
        let content = file.content();
        assert_eq!((content.sealed.len(), content.bytes.len() as u64), (1, 3 * MIB / 2));
        // Where nothing is allocated, it is requested once.
        let expected = [MIB..2 * MIB, 2 * MIB..3 * MIB, MIB..2 * MIB];
        assert_eq!(content.preallocated, expected[..if preallocates { 3 } else { 1 }]);
    }
}

#[test]
fn many_lines_are_published_before_the_end_of_the_turn() {
    const BATCHES: usize = 4 * (limits::EARLY_PUBLICATIONS_MAX + 2);
    let file = FakeFile::default();
    let mut log = Log::new(file.clone(), &bells(1), 32 << 20, SETTINGS).unwrap();
    let mut appender = log.appenders.remove(0).sharing_core(true);
    let part = usize::try_from(limits::UNPUBLISHED_BYTES_MAX).unwrap() / 4;
    let commit = |appender: &mut Appender, writer: &mut Writer<FakeFile>| {
        appender.reserve(part).unwrap().fill(b'\n');
        let position = appender.commit(part, AckLevel::Memory);
        (position, writer.write_published().unwrap())
    };
    for _ in 0..2 {
        let turn: Vec<_> = (0..BATCHES).map(|_| commit(&mut appender, &mut log.writer)).collect();
        // So many times a turn, each as soon as there is as much.
        let written: Vec<_> = (0..BATCHES).filter(|&batch| turn[batch].1).collect();
        let expected: Vec<_> = (1..=limits::EARLY_PUBLICATIONS_MAX).map(|time| 4 * time - 1).collect();
        assert_eq!(written, expected);
        appender.publish();
        assert!(log.writer.write_published().unwrap());
        for (position, _) in turn {
            assert_eq!(appender.locate(position).map(|place| place.byte), Some(position));
        }
    }
    assert_eq!(file.content().bytes.len() as u64, appender.acknowledged(AckLevel::Write));
}

#[test]
fn a_signal_is_no_failure() {
    let file = FakeFile::default();
    file.content().append_faults.extend([
        Fault::Errno(libc::EINTR),
        Fault::Short(4),
        Fault::Errno(libc::EINTR),
        Fault::Errno(libc::EINTR),
    ]);
    file.content().record_faults.push_back(libc::EINTR);
    let ended = write_two_rings(&file, SETTINGS);
    assert_all_written(&file, &ended);
    assert!(file.content().health.iter().all(|health| health.is_healthy()));
}

#[test]
fn a_full_disk_is_waited_for_and_loses_nothing() {
    for (errno, stall) in
        [(libc::ENOSPC, Stall::NoSpace), (libc::EDQUOT, Stall::Quota), (libc::EFBIG, Stall::FileTooLarge)]
    {
        for taken in 1..TWO_RINGS.len() {
            let file = FakeFile::default();
            file.content().append_faults.extend([Fault::Short(taken), Fault::Errno(errno), Fault::Errno(errno)]);
            let ended = write_two_rings(&file, SETTINGS);
            assert_all_written(&file, &ended);
            let stalled = LogHealth::Stalled(stall);
            assert_eq!(file.content().health, [LogHealth::Healthy, LogHealth::Healthy, stalled, stalled]);
            let status = Arc::clone(&file.content().watched.as_ref().unwrap().0);
            assert_eq!(status.counts().stalls, 1);
            assert_eq!(status.counts().short_writes, 1);
            assert_eq!(status.counts().bytes, TWO_RINGS.len() as u64);
        }
    }
}

#[test]
fn a_length_that_cannot_be_recorded_is_waited_for_and_written_once() {
    let file = FakeFile::default();
    file.content().record_faults.extend([libc::ENOSPC, libc::ENOSPC]);
    let ended = write_two_rings(&file, SETTINGS);
    assert_all_written(&file, &ended);
}

#[test]
fn a_drain_gives_up_on_a_disk_that_stays_full() {
    let settings = Settings { stall_at_drain_max: Duration::ZERO, ..SETTINGS };
    for taken in 1..TWO_RINGS.len() {
        let file = FakeFile::default();
        file.content().append_faults.extend([Fault::Short(taken), Fault::Errno(libc::ENOSPC)]);
        let ([written, synced], health) = write_two_rings(&file, settings);
        let bytes = TWO_RINGS.len() as u64;
        assert!(
            matches!(written, Err(LogError::Unwritten { bytes: unwritten, reason: Stall::NoSpace }) if unwritten == bytes)
        );
        assert!(matches!(synced, Err(LogError::Stopped)));
        assert!(health.has_failed());
        assert_eq!(file.content().bytes, b"", "no half of a batch stays");
        assert!(!file.content().is_clean);
    }
}

#[test]
fn a_failed_write_is_final() {
    for taken in 1..4 {
        let file = FakeFile::default();
        let mut log = log(&file, 1, SETTINGS);
        file.content().append_faults.extend([Fault::Short(100), Fault::Short(taken), Fault::Errno(libc::EIO)]);
        let first = append(&mut log.appenders[0], "first\n", AckLevel::Write);
        let writer = thread::spawn(|| log.writer.run());
        let bell = Arc::clone(&log.status.reactor_bells[0]);
        wait_for(&log.appenders[0], &bell, AckLevel::Write, first);
        let second = append(&mut log.appenders[0], "second\n", AckLevel::Write);
        wait_for(&log.appenders[0], &bell, AckLevel::Write, second);
        assert_eq!(log.status.health(), LogHealth::Failed(Failure::Write));
        assert!(
            matches!(writer.join().unwrap(), Err(LogError::Write(error)) if error.raw_os_error() == Some(libc::EIO))
        );
        assert!(matches!(log.group_commit.run(), Err(LogError::Stopped)));
        assert_eq!(log.appenders[0].acknowledged(AckLevel::Write), first);
        assert_eq!(log.appenders[0].acknowledged(AckLevel::Fsync), 0);
        assert_eq!(file.content().bytes, b"first\n");
        assert!(!file.content().is_clean);
    }
}

#[test]
fn a_write_of_nothing_is_a_failure_and_not_a_loop() {
    let file = FakeFile::default();
    file.content().append_faults.push_back(Fault::Short(0));
    let ([written, _], _) = write_two_rings(&file, SETTINGS);
    assert!(matches!(written, Err(LogError::Write(_))));
}

#[test]
fn a_writer_that_never_ran_closes_nothing_cleanly() {
    let file = FakeFile::default();
    let log = log(&file, 1, SETTINGS);
    drop(log.writer);
    assert!(matches!(log.group_commit.run(), Err(LogError::Stopped)));
    assert!(!file.content().is_clean);
}

/// A log with syncs that the test blocks.
fn gated() -> (FakeFile, Receiver<()>, Sender<io::Result<()>>) {
    let (began, sync_began) = crossbeam_channel::unbounded();
    let (sync_result, result) = crossbeam_channel::unbounded();
    (FakeFile::gated(SyncGate { began, result }), sync_began, sync_result)
}

#[test]
fn a_sync_makes_durable_what_was_written_before_it_began() {
    let (file, sync_began, sync_result) = gated();
    let Log { mut appenders, writer, group_commit, status } = log(&file, 2, SETTINGS);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    let bells = status.reactor_bells.clone();

    let first = append(&mut appenders[0], "first\n", AckLevel::Fsync);
    sync_began.recv().unwrap();
    // Written while the sync runs, which does not delay it.
    let during = append(&mut appenders[0], "during\n", AckLevel::Write);
    wait_for(&appenders[0], &bells[0], AckLevel::Write, during);
    let beside = append(&mut appenders[1], "beside\n", AckLevel::Fsync);
    while appenders[1].acknowledged(AckLevel::Write) < beside {
        thread::yield_now();
    }
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), 0);
    assert_eq!(appenders[1].acknowledged(AckLevel::Fsync), 0);
    sync_result.send(Ok(())).unwrap();
    wait_for(&appenders[0], &bells[0], AckLevel::Fsync, first);
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), first);

    // The other ring waits for the next sync, which begins at once.
    sync_began.recv().unwrap();
    assert_eq!(appenders[1].acknowledged(AckLevel::Fsync), 0);
    sync_result.send(Ok(())).unwrap();
    wait_for(&appenders[1], &bells[1], AckLevel::Fsync, beside);
    assert_eq!(appenders[1].acknowledged(AckLevel::Fsync), beside);
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), during);

    // No response waits for these, so nothing is synced before the end.
    append(&mut appenders[0], "memory\n", AckLevel::Memory);
    let last = append(&mut appenders[1], "write\n", AckLevel::Write);
    wait_for(&appenders[1], &bells[1], AckLevel::Write, last);
    assert_eq!(file.content().syncs, 2);
    drop(appenders);
    writer.join().unwrap().unwrap();
    sync_began.recv().unwrap();
    assert!(!file.content().is_clean);
    sync_result.send(Ok(())).unwrap();
    group_commit.join().unwrap().unwrap();
    assert!(file.content().is_clean);
    assert_eq!(status.counts().fsyncs, 3);
}

#[test]
fn a_failed_sync_is_final_and_not_tried_again() {
    let (file, sync_began, sync_result) = gated();
    let Log { mut appenders, writer, group_commit, status } = log(&file, 1, SETTINGS);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    let bell = Arc::clone(&status.reactor_bells[0]);
    let position = append(&mut appenders[0], "lost?\n", AckLevel::Fsync);
    sync_began.recv().unwrap();
    sync_result.send(Err(io::Error::from_raw_os_error(libc::EIO))).unwrap();
    wait_for(&appenders[0], &bell, AckLevel::Fsync, position);
    assert_eq!(appenders[0].health(), LogHealth::Failed(Failure::Sync));
    assert!(matches!(group_commit.join().unwrap(), Err(LogError::Sync(_))));
    assert!(matches!(writer.join().unwrap(), Err(LogError::Stopped)));
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), 0);
    assert_eq!(file.content().syncs, 1);
    assert!(!file.content().is_clean);
}

#[test]
fn a_failed_sync_ends_a_writer_that_waits_for_space() {
    let (file, sync_began, sync_result) = gated();
    let settings = Settings {
        stall_retry_first: Duration::from_secs(3_600),
        stall_retry_max: Duration::from_secs(3_600),
        ..SETTINGS
    };
    let Log { mut appenders, writer, group_commit, status } = log(&file, 1, settings);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    append(&mut appenders[0], "first\n", AckLevel::Fsync);
    sync_began.recv().unwrap();
    file.content().append_faults.extend([Fault::Short(1), Fault::Errno(libc::ENOSPC)]);
    append(&mut appenders[0], "second\n", AckLevel::Write);
    while status.health().is_healthy() {
        thread::yield_now();
    }
    sync_result.send(Err(io::Error::from_raw_os_error(libc::EIO))).unwrap();
    assert!(group_commit.join().unwrap().is_err());
    assert!(matches!(writer.join().unwrap(), Err(LogError::Stopped)));
    assert_eq!(status.health(), LogHealth::Failed(Failure::Sync));
    assert_eq!(file.content().bytes, b"first\n");
}

#[test]
fn more_rings_than_one_writev_takes_are_all_written() {
    let reactors = 2 * limits::RINGS_PER_GATHER_MAX + 1;
    let file = FakeFile::default();
    let mut log = log(&file, reactors, SETTINGS);
    let lines: Vec<String> = (0..reactors).map(|reactor| format!("{reactor}\n")).collect();
    for (appender, line) in log.appenders.iter_mut().zip(&lines) {
        append(appender, line, AckLevel::Write);
    }
    drop(log.appenders);
    log.writer.run().unwrap();
    assert_eq!(file.content().bytes, lines.concat().into_bytes());
    assert_eq!(log.status.counts().gathers, 3);
}

/// Writes batches one at a time, each written before the next is appended. Returns the results of the log's threads.
fn write_one_by_one(file: &FakeFile, settings: Settings, batches: &[&str]) -> [Result<(), LogError>; 2] {
    let Log { mut appenders, writer, group_commit, status } = log(file, 1, settings);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    for batch in batches {
        let position = append(&mut appenders[0], batch, AckLevel::Write);
        wait_for(&appenders[0], &status.reactor_bells[0], AckLevel::Write, position);
    }
    drop(appenders);
    [writer.join().unwrap(), group_commit.join().unwrap()]
}

#[test]
fn a_full_segment_is_sealed_before_the_next_batch() {
    let file = FakeFile::default();
    let settings = Settings { rotate_bytes: Some(6), ..SETTINGS };
    let results = write_one_by_one(&file, settings, &["1\n", "22222\n", "3\n", "4444444444\n", "5\n"]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let content = file.content();
    assert_eq!(content.sealed, [b"1\n22222\n".to_vec(), b"3\n4444444444\n".to_vec()]);
    assert_eq!(content.bytes, b"5\n");
    assert_eq!((content.committed_bytes, content.unsynced_segments), (2, 0));
    assert!(content.is_clean);
}

#[test]
fn an_old_segment_is_sealed_also_when_nothing_comes() {
    let file = FakeFile::default();
    let settings = Settings { rotate_age: Some(Duration::from_millis(1)), ..SETTINGS };
    let Log { mut appenders, writer, group_commit, status } = log(&file, 1, settings);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    append(&mut appenders[0], "1\n", AckLevel::Memory);
    // Synced without a request: no response waits for `fsync`.
    while file.content().sealed.is_empty() || file.content().unsynced_segments > 0 {
        thread::yield_now();
    }
    drop(appenders);
    writer.join().unwrap().unwrap();
    group_commit.join().unwrap().unwrap();
    assert_eq!(file.content().sealed, [b"1\n"], "an empty segment is not sealed, however old");
    assert_eq!(status.counts().rotations, 1);
}

#[test]
fn a_segment_is_sealed_when_somebody_asks() {
    let file = FakeFile::default();
    let Log { mut appenders, writer, group_commit, status } = log(&file, 1, SETTINGS);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    status.ask_for_rotation();
    while status.is_rotation_requested() {
        thread::yield_now();
    }
    assert_eq!(status.counts().rotations, 0, "there was nothing to seal");
    for line in ["1\n", "2\n"] {
        let position = append(&mut appenders[0], line, AckLevel::Write);
        wait_for(&appenders[0], &status.reactor_bells[0], AckLevel::Write, position);
        status.ask_for_rotation();
        while status.is_rotation_requested() {
            thread::yield_now();
        }
    }
    drop(appenders);
    writer.join().unwrap().unwrap();
    group_commit.join().unwrap().unwrap();
    assert_eq!(file.content().sealed, [b"1\n", b"2\n"]);
}

#[test]
fn a_sync_covers_what_was_sealed_before_it() {
    let (file, sync_began, sync_result) = gated();
    let settings = Settings { rotate_bytes: Some(1), ..SETTINGS };
    let Log { mut appenders, writer, group_commit, status } = log(&file, 1, settings);
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    let bell = Arc::clone(&status.reactor_bells[0]);
    let first = append(&mut appenders[0], "1\n", AckLevel::Fsync);
    sync_began.recv().unwrap();
    // Sealed while the sync runs, which may or may not have begun before: the next one covers it.
    while file.content().sealed.is_empty() {
        thread::yield_now();
    }
    let second = append(&mut appenders[0], "2\n", AckLevel::Fsync);
    while appenders[0].acknowledged(AckLevel::Write) < second {
        thread::yield_now();
    }
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), 0);
    sync_result.send(Ok(())).unwrap();
    wait_for(&appenders[0], &bell, AckLevel::Fsync, first);
    assert_eq!(appenders[0].acknowledged(AckLevel::Fsync), first);
    sync_began.recv().unwrap();
    assert!(file.content().unsynced_segments > 0);
    sync_result.send(Ok(())).unwrap();
    wait_for(&appenders[0], &bell, AckLevel::Fsync, second);
    drop(appenders);
    writer.join().unwrap().unwrap();
    // One for the segment of the second line, and one at the end.
    for _ in 0..2 {
        sync_result.send(Ok(())).unwrap();
    }
    group_commit.join().unwrap().unwrap();
    let content = file.content();
    assert_eq!((content.sealed.len(), content.unsynced_segments), (2, 0));
}

#[test]
fn a_rotation_that_is_postponed_loses_nothing() {
    let file = FakeFile::default();
    let full = || RotateError::Postponed(io::Error::from_raw_os_error(libc::ENOSPC));
    file.content().rotate_faults.push_back(full());
    let settings = Settings { rotate_bytes: Some(1), ..SETTINGS };
    let results = write_one_by_one(&file, settings, &["1\n", "2\n", "3\n"]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(file.content().bytes, b"1\n2\n3\n", "the segment goes on");
    let status = Arc::clone(&file.content().watched.as_ref().unwrap().0);
    assert_eq!((status.counts().rotations, status.counts().rotations_postponed), (0, 1));
}

#[test]
fn a_failed_rotation_is_final() {
    let file = FakeFile::default();
    file.content().rotate_faults.push_back(RotateError::Failed(io::Error::from_raw_os_error(libc::EIO)));
    let settings = Settings { rotate_bytes: Some(1), ..SETTINGS };
    let [written, synced] = write_one_by_one(&file, settings, &["1\n"]);
    assert!(matches!(written, Err(LogError::Rotate(error)) if error.raw_os_error() == Some(libc::EIO)));
    assert!(matches!(synced, Err(LogError::Stopped)));
    assert_eq!(file.content().bytes, b"1\n");
}

/// S7: each writer has its own ring, waits for space when it is full, and for its last line to be in the file.
#[test]
fn a_hundred_writers_of_a_thousand_events_yield_a_hundred_thousand_lines() {
    const WRITERS: usize = 100;
    const EVENTS: usize = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).unwrap();
    let settings = Settings { poll_before_sleep: Duration::from_micros(20), ..SETTINGS };
    let bells = bells(WRITERS);
    let Log { appenders, writer, group_commit, status } = Log::new(opened.file, &bells, 4096, settings).unwrap();
    drop((opened.lock, opened.watch));
    let writer = thread::spawn(|| writer.run());
    let group_commit = thread::spawn(|| group_commit.run());
    let threads: Vec<_> = appenders
        .into_iter()
        .zip(bells)
        .enumerate()
        .map(|(number, (mut appender, bell))| {
            thread::spawn(move || {
                let level = if number % 10 == 0 { AckLevel::Fsync } else { AckLevel::Write };
                let mut position = 0;
                for event in 0..EVENTS {
                    let line =
                        format!("{{\"writer\":{number},\"event\":{event},\"pad\":\"{:>1$}\"}}\n", "", event % 97);
                    if appender.reserve(line.len()).is_none() {
                        appender.publish();
                        wait_for(&appender, &bell, level, position);
                    }
                    appender.reserve(line.len()).unwrap().copy_from_slice(line.as_bytes());
                    position = appender.commit(line.len(), level);
                    if event % 7 == 0 {
                        appender.publish();
                    }
                }
                appender.publish();
                wait_for(&appender, &bell, level, position);
                assert_eq!(appender.acknowledged(level), position);
                assert_eq!(appender.queued_bytes(), 0);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    writer.join().unwrap().unwrap();
    group_commit.join().unwrap().unwrap();

    let text = std::fs::read_to_string(directory.path().join("metrics.jsonl")).unwrap();
    assert_eq!(status.counts().bytes, text.len() as u64);
    let mut events = [0; WRITERS];
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = usize::try_from(event["writer"].as_u64().unwrap()).unwrap();
        assert_eq!(event["event"], events[number], "in the order of its writer");
        events[number] += 1;
    }
    assert!(text.ends_with('\n'));
    assert_eq!(text.lines().count(), WRITERS * EVENTS);
    assert_eq!(events, [EVENTS; WRITERS]);
    assert_eq!(open(directory.path()).unwrap().report.previous, Previous::Clean);
}

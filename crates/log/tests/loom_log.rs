//! The whole log under the model checker: the real `Appender`, `Writer` and `GroupCommit`, each on its thread, over a
//! file that checks every access. Every interleaving within loom's bounds, and every value that the memory model lets a
//! load return; a lost wake-up shows as a deadlock.
//!
//! `scripts/loom.sh` runs it, and `scripts/loom.sh --mutants` shows that it fails for broken copies of the sources.
#![cfg(loom)]
#![allow(unsafe_code)] // The checker's cells are shared between threads: whether they may be is what it checks.

use log::{
    AckLevel, Appender, GroupCommit, Log, LogError, LogFile, LogHealth, LogStatus, RotateError, Rotated, Settings,
    Troubles, Writer,
};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{Arc, Mutex},
    time::Duration,
};
use wake::Doorbell;

/// Switches between threads that loom may make where no thread had to wait. With four the models take minutes each.
const PREEMPTIONS_MAX: usize = 3;

const RING_BYTES: usize = 2;
/// Bytes of the file, more than a test appends.
const FILE_BYTES: usize = 2;

const EIO: i32 = 5;

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(test);
}

/// The state of the kernel and the disk, in the order of events. Under a lock that loom does not see: it must order
/// nothing between the threads, which is the task of the product's own atomics.
#[derive(Debug, Default)]
struct Disk {
    appended: usize,
    synced: usize,
    is_clean: bool,
}

/// A file with every access to its bytes visible to the checker.
struct ModelFile {
    disk: Mutex<Disk>,
    /// Touched by the append of a byte.
    content: [UnsafeCell<()>; FILE_BYTES],
    /// Touched by the sync that made a byte durable.
    platter: [UnsafeCell<()>; FILE_BYTES],
    /// Loom switches threads at atomics only: this one lets it switch while a sync runs.
    syncing: AtomicUsize,
    append_errno: Option<i32>,
    sync_errno: Option<i32>,
}

// SAFETY: a cell of `()` has no content; the checker reports an access to it that is not ordered with another.
unsafe impl Sync for ModelFile {}

impl ModelFile {
    fn new() -> Self {
        Self {
            disk: Mutex::default(),
            content: std::array::from_fn(|_| UnsafeCell::new(())),
            platter: std::array::from_fn(|_| UnsafeCell::new(())),
            syncing: AtomicUsize::new(0),
            append_errno: None,
            sync_errno: None,
        }
    }

    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Reads the file as a thread may that has seen `position` as written.
    fn read_written(&self, position: u64) {
        let position = usize::try_from(position).unwrap();
        assert!(position <= self.disk().appended, "notified of bytes that are not in the file");
        self.content[..position].iter().for_each(|byte| byte.with(|_| ()));
    }

    /// Reads the disk as a thread may that has seen `position` as durable.
    fn read_durable(&self, position: u64) {
        let position = usize::try_from(position).unwrap();
        assert!(position <= self.disk().synced, "notified of bytes that no sync covers");
        self.platter[..position].iter().for_each(|byte| byte.with(|_| ()));
    }
}

/// The file, shared by the log and the test.
struct SharedFile(Arc<ModelFile>);

impl LogFile for SharedFile {
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(errno) = self.0.append_errno {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        let start = self.0.disk().appended;
        self.0.content[start..start + bytes].iter().for_each(|byte| byte.with_mut(|_| ()));
        self.0.disk().appended += bytes;
        Ok(bytes)
    }

    /// Covers what was appended when it began, and not a byte of what came while it ran: the least that is promised.
    fn sync_data(&self) -> io::Result<()> {
        let from = self.0.disk().synced;
        let to = self.0.disk().appended;
        self.0.syncing.fetch_add(1, Ordering::Relaxed);
        if let Some(errno) = self.0.sync_errno {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.0.platter[from..to].iter().for_each(|byte| byte.with_mut(|_| ()));
        self.0.disk().synced = to;
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.disk().appended as u64)
    }

    fn inode(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.0.disk().appended = usize::try_from(size_bytes).unwrap();
        Ok(())
    }

    fn record(&self, _size_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn rotate(&self, _asked: bool) -> Result<Rotated, RotateError> {
        unreachable!("nobody asks for it");
    }

    fn reader(&self) -> Option<Arc<File>> {
        None
    }

    fn troubles(&self) -> Arc<Troubles> {
        Arc::default()
    }

    fn age(&self) -> Duration {
        Duration::ZERO
    }

    fn has_unsynced_segment(&self) -> bool {
        false
    }

    fn mark_clean(&self) -> io::Result<()> {
        {
            let mut disk = self.0.disk();
            assert_eq!(disk.synced, disk.appended, "closed as clean with bytes that no sync covers");
            disk.is_clean = true;
        }
        // The group commit's thread has seen everything that the writer did.
        self.0.content.iter().for_each(|byte| byte.with(|_| ()));
        Ok(())
    }
}

/// A reactor: its end of the log, and the doorbell that it sleeps on.
struct Reactor {
    appender: Appender,
    bell: Arc<Doorbell>,
    file: Arc<ModelFile>,
    status: Arc<LogStatus>,
}

impl Reactor {
    fn append(&mut self, level: AckLevel) -> u64 {
        self.appender.reserve(1).unwrap()[0] = b'\n';
        let position = self.appender.commit(1, level);
        self.appender.publish();
        position
    }

    /// Waits as a shard does: announces, looks, sleeps. Returns true if the response at `position` may be sent, false
    /// if the log has failed.
    fn wait_for(&self, level: AckLevel, position: u64) -> bool {
        let is_over = || self.appender.acknowledged(level) >= position || self.appender.health().has_failed();
        while !is_over() {
            self.bell.announce_sleep();
            if !is_over() {
                self.bell.wait(None);
            }
            self.bell.awake();
            self.bell.drain();
        }
        let is_acknowledged = self.appender.acknowledged(level) >= position;
        if is_acknowledged {
            self.file.read_written(position);
            if level == AckLevel::Fsync {
                self.file.read_durable(position);
            }
        }
        is_acknowledged
    }
}

/// A log of one ring over `file`.
fn log(file: ModelFile) -> (Reactor, Writer<SharedFile>, GroupCommit<SharedFile>) {
    let settings = Settings {
        poll_before_sleep: Duration::ZERO,
        stall_retry_first: Duration::from_millis(1),
        stall_retry_max: Duration::from_millis(1),
        stall_at_drain_max: Duration::ZERO,
        rotate_bytes: None,
        rotate_age: None,
    };
    let (file, bell) = (Arc::new(file), Arc::new(Doorbell::new().unwrap()));
    let mut log = Log::new(SharedFile(Arc::clone(&file)), &[Arc::clone(&bell)], RING_BYTES, settings).unwrap();
    (Reactor { appender: log.appenders.remove(0), bell, file, status: log.status }, log.writer, log.group_commit)
}

/// Published, written, snapshot, synced, durable, released; whichever of the three threads sleeps, and when. Then the
/// end.
#[test]
fn a_response_at_fsync_is_released_by_a_sync_that_covers_it() {
    model(|| {
        let (mut reactor, writer, group_commit) = log(ModelFile::new());
        let writer = thread::spawn(move || writer.run());
        let group_commit = thread::spawn(move || group_commit.run());
        let position = reactor.append(AckLevel::Fsync);
        assert!(reactor.wait_for(AckLevel::Fsync, position));
        let file = reactor.file;
        drop(reactor.appender);
        assert!(writer.join().unwrap().is_ok());
        assert!(group_commit.join().unwrap().is_ok());
        assert!(file.disk().is_clean);
    });
}

/// The second response begins to wait at every moment of the first one's sync: before its snapshot, while it runs, as
/// it ends. The writer is driven by the reactor's thread here, so that only the sync's moments are interleaved.
#[test]
fn a_response_that_begins_to_wait_while_a_sync_runs_gets_its_own() {
    model(|| {
        let (mut reactor, mut writer, group_commit) = log(ModelFile::new());
        let group_commit = thread::spawn(move || group_commit.run());
        let first = reactor.append(AckLevel::Fsync);
        assert!(writer.write_published().unwrap());
        let second = reactor.append(AckLevel::Fsync);
        assert!(writer.write_published().unwrap());
        assert!(reactor.wait_for(AckLevel::Fsync, first));
        assert!(reactor.wait_for(AckLevel::Fsync, second));
        drop(writer);
        assert!(matches!(group_commit.join().unwrap(), Err(LogError::Stopped)));
    });
}

/// Written while a sync runs: that sync must not be taken for one that covers it, whatever the responses wait for.
#[test]
fn bytes_written_while_a_sync_runs_are_not_covered_by_it() {
    model(|| {
        let (mut reactor, mut writer, mut group_commit) = log(ModelFile::new());
        let first = reactor.append(AckLevel::Fsync);
        assert!(writer.write_published().unwrap());
        let syncing = thread::spawn(move || {
            group_commit.sync().unwrap();
            group_commit
        });
        reactor.append(AckLevel::Fsync);
        assert!(writer.write_published().unwrap());
        let durable = reactor.appender.acknowledged(AckLevel::Fsync);
        reactor.file.read_durable(durable);
        syncing.join().unwrap();
        let durable = reactor.appender.acknowledged(AckLevel::Fsync);
        assert!(durable >= first);
        reactor.file.read_durable(durable);
    });
}

#[test]
fn a_response_at_write_needs_no_sync() {
    model(|| {
        let (mut reactor, writer, group_commit) = log(ModelFile::new());
        let writer = thread::spawn(move || writer.run());
        let position = reactor.append(AckLevel::Write);
        assert!(reactor.wait_for(AckLevel::Write, position));
        assert_eq!(reactor.file.disk().synced, 0);
        drop(reactor.appender);
        assert!(writer.join().unwrap().is_ok());
        assert!(group_commit.run().is_ok());
        assert!(reactor.file.disk().is_clean);
    });
}

/// A reader of the log that has seen a response finds the batch published; it may read everything that it finds
/// published.
#[test]
fn what_was_acknowledged_is_published_and_in_the_file() {
    model(|| {
        let (mut reactor, mut writer, _group_commit) = log(ModelFile::new());
        let position = reactor.append(AckLevel::Write);
        let writing = thread::spawn(move || writer.write_published().map(|_| ()));
        let is_acknowledged = reactor.appender.acknowledged(AckLevel::Write) >= position;
        let published = reactor.status.published();
        assert!(!is_acknowledged || published.bytes >= position, "acknowledged and not published");
        reactor.file.read_written(published.bytes);
        assert!(writing.join().unwrap().is_ok());
        assert_eq!(reactor.status.published().bytes, position);
    });
}

/// No response waits, so only the end itself makes the group commit look; it may see the end without having slept.
#[test]
fn who_sees_the_writers_end_sees_everything_written() {
    model(|| {
        let (mut reactor, writer, group_commit) = log(ModelFile::new());
        reactor.append(AckLevel::Memory);
        drop(reactor.appender);
        let writer = thread::spawn(move || writer.run());
        assert!(group_commit.run().is_ok());
        assert!(writer.join().unwrap().is_ok());
        assert!(reactor.file.disk().is_clean);
    });
}

/// A sync fails while the others sleep, are about to, or work: both see it, and no response is released.
#[test]
fn a_failed_sync_wakes_everybody() {
    model(|| {
        let (mut reactor, writer, group_commit) = log(ModelFile { sync_errno: Some(EIO), ..ModelFile::new() });
        let writer = thread::spawn(move || writer.run());
        let group_commit = thread::spawn(move || group_commit.run());
        let position = reactor.append(AckLevel::Fsync);
        assert!(!reactor.wait_for(AckLevel::Fsync, position));
        assert!(matches!(reactor.appender.health(), LogHealth::Failed(_)));
        // The appender is not dropped: only the failure ends the writer.
        assert!(matches!(writer.join().unwrap(), Err(LogError::Stopped)));
        assert!(matches!(group_commit.join().unwrap(), Err(LogError::Sync(_))));
        assert!(!reactor.file.disk().is_clean);
    });
}

#[test]
fn a_failed_write_wakes_everybody() {
    model(|| {
        let (mut reactor, writer, group_commit) = log(ModelFile { append_errno: Some(EIO), ..ModelFile::new() });
        let writer = thread::spawn(move || writer.run());
        let group_commit = thread::spawn(move || group_commit.run());
        let position = reactor.append(AckLevel::Write);
        assert!(!reactor.wait_for(AckLevel::Write, position));
        assert!(matches!(writer.join().unwrap(), Err(LogError::Write(_))));
        assert!(matches!(group_commit.join().unwrap(), Err(LogError::Stopped)));
        assert!(!reactor.file.disk().is_clean);
    });
}

//! A log in memory for tests: fails as configured, and checks that nothing is acknowledged too early.

use super::{LogFile, LogHealth, LogStatus, RotateError, Rotated, Troubles, ring::RingDurability};
use crossbeam_channel::{Receiver, Sender};
use host::fs::File;
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use wake::sync::{Mutex, MutexGuard};

/// A fault of an append.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Writes so many bytes at most.
    Short(usize),
    /// Fails with this errno.
    Errno(i32),
}

/// State that a test can examine, and set before the start.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The active segment.
    pub(super) bytes: Vec<u8>,
    pub(super) sealed: Vec<Vec<u8>>,
    pub(super) unsynced_segments: usize,
    /// Length of the last record.
    pub(super) committed_bytes: u64,
    pub(super) is_clean: bool,
    /// Ranges that were requested, and whether the file system allocates any.
    pub(super) preallocated: Vec<Range<u64>>,
    pub(super) preallocates: bool,
    pub(super) syncs: u32,
    /// Faults, one for each coming append.
    pub(super) append_faults: VecDeque<Fault>,
    /// Errnos, one for each coming record.
    pub(super) record_faults: VecDeque<i32>,
    /// Faults, one for each coming rotation.
    pub(super) rotate_faults: VecDeque<RotateError>,
    /// The log's health at the beginning of each append.
    pub(super) health: Vec<LogHealth>,
    /// The log's status and rings. The bytes in the file and its segments are those that the rings have written.
    pub(super) watched: Option<(Arc<LogStatus>, Vec<RingDurability>)>,
}

impl Content {
    fn check(&self) {
        if let Some((_, rings)) = &self.watched {
            let written: u64 = rings.iter().map(RingDurability::written).sum();
            let sealed: u64 = self.sealed.iter().map(|segment| segment.len() as u64).sum();
            assert!(written <= sealed + self.committed_bytes && self.committed_bytes <= self.bytes.len() as u64);
        }
    }
}

/// Lets a test block a sync, and choose its result.
#[derive(Debug, Clone)]
pub(super) struct SyncGate {
    pub(super) began: Sender<()>,
    pub(super) result: Receiver<io::Result<()>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FakeFile {
    content: Arc<Mutex<Content>>,
    gate: Option<SyncGate>,
}

impl FakeFile {
    pub(super) fn gated(gate: SyncGate) -> Self {
        Self { gate: Some(gate), ..Self::default() }
    }

    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

impl LogFile for FakeFile {
    fn append(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut content = self.content();
        content.check();
        if let Some(health) = content.watched.as_ref().map(|(status, _)| status.health()) {
            content.health.push(health);
        }
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let taken = match content.append_faults.pop_front() {
            Some(Fault::Short(bytes)) => bytes.min(all.len()),
            Some(Fault::Errno(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            None => all.len(),
        };
        content.bytes.extend_from_slice(&all[..taken]);
        Ok(taken)
    }

    fn sync_data(&self) -> io::Result<()> {
        let unsynced = {
            let mut content = self.content();
            content.syncs += 1;
            content.unsynced_segments
        };
        let result = match &self.gate {
            Some(gate) => {
                gate.began.send(()).unwrap();
                gate.result.recv().unwrap()
            }
            None => Ok(()),
        };
        self.content().unsynced_segments -= unsynced;
        result
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.content().bytes.len() as u64)
    }

    fn inode(&self) -> io::Result<u64> {
        Ok(self.content().sealed.len() as u64)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        let mut content = self.content();
        assert!(size_bytes >= content.committed_bytes);
        content.bytes.truncate(usize::try_from(size_bytes).unwrap());
        Ok(())
    }

    fn preallocate(&self, range: Range<u64>) -> bool {
        let mut content = self.content();
        assert!(range.start >= content.bytes.len() as u64, "{range:?}");
        content.preallocated.push(range);
        content.preallocates
    }

    fn record(&self, size_bytes: u64) -> io::Result<()> {
        let mut content = self.content();
        content.check();
        if let Some(errno) = content.record_faults.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        content.committed_bytes = size_bytes;
        Ok(())
    }

    fn rotate(&self, _requested: bool) -> Result<Rotated, RotateError> {
        let mut content = self.content();
        content.check();
        if let Some(fault) = content.rotate_faults.pop_front() {
            return Err(fault);
        }
        if content.bytes.is_empty() {
            return Ok(Rotated::Unneeded);
        }
        assert_eq!(content.committed_bytes, content.bytes.len() as u64, "only whole batches are sealed");
        let sealed = std::mem::take(&mut content.bytes);
        content.sealed.push(sealed);
        content.unsynced_segments += 1;
        content.committed_bytes = 0;
        Ok(Rotated::Begun(0))
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
        self.content().unsynced_segments > 0
    }

    fn mark_clean(&self) -> io::Result<()> {
        self.content().is_clean = true;
        Ok(())
    }
}

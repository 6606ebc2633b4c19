//! The log as a whole, and a moment of it.
//!
//! A snapshot stops nobody: the active segment comes first, from the writer or from the directory, the directory is
//! listed then, and in the end it is looked whether the active segment still has its name. If it was sealed meanwhile,
//! it is found under its new name by its inode, and what was sealed later is left out. If it is not found it was moved
//! away by hand, which is no matter where the writer's own descriptor is read; otherwise all is done again.

use super::{
    ScanError,
    sidecar_cache::{CacheHit, Key, SidecarCache},
};
use crate::limits::SNAPSHOT_TRIES_MAX;
use host::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    thread,
};
use log::{
    LogStatus, Published, end_of_last_line,
    segment::{ACTIVE_NAME, Catalog, Segment, SegmentFile, open_regular},
};
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Handle of a data directory that is queried. Cheap to clone; clones share their cache.
#[derive(Debug, Clone)]
pub struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub directory: PathBuf,
    /// Status of the log's writer, if the writer runs in this process.
    log: Option<Arc<LogStatus>>,
    pub memory: SidecarCache,
}

impl Shared {
    fn new(directory: &Path, log: Option<Arc<LogStatus>>) -> Arc<Self> {
        Arc::new(Self { directory: directory.to_owned(), log, memory: SidecarCache::default() })
    }

    /// Returns whether it pays to learn what is in segments without a sidecar: whether there will be another scan.
    pub fn learns(&self) -> bool {
        self.log.is_some()
    }
}

/// The log at one position. It stays readable whatever happens to the segments.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) shared: Arc<Shared>,
    /// The oldest first.
    pub(super) sealed: Vec<Segment>,
    pub(super) active: Option<Active>,
}

/// The last segment of a snapshot: the one that was appended to.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub file: Arc<File>,
    /// Up to where it belongs to the snapshot: the end of a line.
    pub bytes: u64,
    /// Key of its zone map.
    pub key: Option<Key>,
}

impl Source {
    /// The log in `directory`, by what is in it alone. If a server appends to it meanwhile, the last batch may be there
    /// in part, in whole lines.
    #[must_use]
    pub fn directory(directory: &Path) -> Self {
        Self { shared: Shared::new(directory, None) }
    }

    /// The log that this process writes in `directory`. What was acknowledged as written before a snapshot is in it,
    /// and no part of a batch that was not written whole.
    #[must_use]
    pub fn server(directory: &Path, log: Arc<LogStatus>) -> Self {
        Self { shared: Shared::new(directory, Some(log)) }
    }

    /// The log as it is now. Opens one descriptor, which the snapshot holds.
    ///
    /// # Errors
    /// If the directory or the active segment cannot be read, or [`ScanError::Unsettled`].
    pub fn snapshot(&self) -> Result<Snapshot, ScanError> {
        for attempt in 1..=SNAPSHOT_TRIES_MAX {
            if let Some(snapshot) = self.try_snapshot()? {
                return Ok(snapshot);
            }
            if attempt > 1 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Err(ScanError::Unsettled)
    }

    /// `None`: what was seen does not fit together.
    fn try_snapshot(&self) -> Result<Option<Snapshot>, ScanError> {
        match self.shared.log.as_ref().and_then(|log| Some((log, log.active()?))) {
            Some((log, (published, file))) => self.try_written(log, published, file),
            None => self.try_found(),
        }
    }

    /// The log that this process writes: its active segment is the file that the writer has, whatever name somebody has
    /// given that.
    fn try_written(
        &self,
        log: &LogStatus,
        published: Published,
        file: Arc<File>,
    ) -> Result<Option<Snapshot>, ScanError> {
        let active_error = |error| ScanError::io(ACTIVE_NAME, error);
        let metadata = file.metadata().map_err(active_error)?;
        let mut sealed = self.list()?;
        let is_in_place = self.inode_at_name()? == Some(metadata.ino());
        if !is_in_place {
            // Sealed meanwhile, or moved away.
            let found = self.sealed_as(&sealed, metadata.ino())?;
            let is_written_still = log.published().segment == published.segment;
            match found {
                // Whoever moved it has given it a segment's name, and others may have later ones.
                Some(index) if is_written_still => drop(sealed.remove(index)),
                Some(index) => sealed.truncate(index),
                None if is_written_still && self.is_compressed_as(&sealed, &file)? => return Ok(None),
                None if is_written_still => {}
                None => return Ok(None),
            }
        }
        let bytes = if metadata.len() < published.bytes {
            // It was cut by hand, and may be growing again: the writer has not said yet up to where it is whole.
            end_of_last_line(&file, metadata.len()).map_err(active_error)?
        } else {
            published.bytes
        };
        let key = Some(Key::Active { inode: published.inode, segment: published.segment });
        Ok(Some(Snapshot { shared: Arc::clone(&self.shared), sealed, active: Some(Active { file, bytes, key }) }))
    }

    /// The log as it is found in the directory.
    fn try_found(&self) -> Result<Option<Snapshot>, ScanError> {
        let active_error = |error| ScanError::io(ACTIVE_NAME, error);
        let opened = found(open_regular(&self.shared.directory.join(ACTIVE_NAME))).map_err(active_error)?;
        let mut sealed = self.list()?;
        let inode_now = self.inode_at_name()?;
        let snapshot = |sealed, active| Some(Snapshot { shared: Arc::clone(&self.shared), sealed, active });
        let Some(file) = opened else {
            // There never was one, or a rotation is between its two renames, and then all lines are in sealed segments.
            return Ok(if inode_now.is_none() { snapshot(sealed, None) } else { None });
        };
        let inode = inode(&file).map_err(active_error)?;
        if inode_now != Some(inode) {
            match self.sealed_as(&sealed, inode)? {
                Some(index) => sealed.truncate(index),
                None => return Ok(None),
            }
        }
        let size_bytes = file.metadata().map_err(active_error)?.len();
        let bytes = end_of_last_line(&file, size_bytes).map_err(active_error)?;
        Ok(snapshot(sealed, Some(Active { file: Arc::new(file), bytes, key: None })))
    }

    /// True if `file` has no name any more, and the newest segment has as many bytes: it was sealed as that and
    /// compressed before the writer published its successor, and its lines would be there twice.
    fn is_compressed_as(&self, sealed: &[Segment], file: &File) -> Result<bool, ScanError> {
        let metadata = file.metadata().map_err(|error| ScanError::io(ACTIVE_NAME, error))?;
        let Some(last) = sealed.last().filter(|_| metadata.nlink() == 0) else { return Ok(false) };
        let sidecar = self.shared.memory.sidecar(&self.shared.directory, last.name, None)?;
        Ok(matches!(sidecar, Some((CacheHit::Whole(sidecar), _)) if sidecar.bytes == metadata.len()))
    }

    fn list(&self) -> Result<Vec<Segment>, ScanError> {
        let directory = &self.shared.directory;
        let error = |error| ScanError::io(&directory.display().to_string(), error);
        Ok(Catalog::list(directory).map_err(error)?.segments)
    }

    /// The inode of what has the active segment's name.
    fn inode_at_name(&self) -> Result<Option<u64>, ScanError> {
        let path = self.shared.directory.join(ACTIVE_NAME);
        let found = found(fs::metadata(&path)).map_err(|error| ScanError::io(ACTIVE_NAME, error))?;
        Ok(found.map(|found| found.ino()))
    }

    /// The place among `segments` of the plain sealed one with this inode. The newest are looked at first.
    fn sealed_as(&self, segments: &[Segment], inode: u64) -> Result<Option<usize>, ScanError> {
        let plain = segments.iter().enumerate().rev().filter(|(_, segment)| segment.plain.is_some());
        for (index, segment) in plain {
            let name = segment.name.file(SegmentFile::Plain);
            let metadata = found(fs::symlink_metadata(self.shared.directory.join(&name)));
            if metadata.map_err(|error| ScanError::io(&name, error))?.is_some_and(|found| found.ino() == inode) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

impl Snapshot {
    /// Returns the number of segments, the active one included.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.active.is_some())
    }

    /// The name of the plain file of a segment, `segment` as in [`LinePosition`](super::LinePosition).
    #[must_use]
    pub fn segment_name(&self, segment: u32) -> String {
        match self.sealed.get(segment as usize) {
            Some(segment) => segment.name.file(SegmentFile::Plain),
            None => ACTIVE_NAME.to_owned(),
        }
    }
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

/// `None` for what is not there.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

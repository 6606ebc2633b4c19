//! Cache of a source, kept between scans: each sidecar is parsed once, and each block of a segment without one is read
//! at most once in vain.
//!
//! Bounded ([`SCAN_SIDECARS_BYTES_MAX`] and its neighbours). The least recently used entry is evicted, but none that
//! the current scan has used: a scan over more than the cache takes would evict each sidecar just before it is read
//! again.

use super::{ScanError, source::found, zone_map::ZoneMap};
use crate::limits::{SCAN_SEGMENTS_MAX, SCAN_SIDECARS_BYTES_MAX, SCAN_ZONE_MAPS_MAX};
use host::{fs, os::unix::fs::MetadataExt};
use log::segment::{Block, SegmentFile, SegmentName, Sidecar};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use wake::sync::{Mutex, MutexGuard};

/// A source's memory. Shared by all its scans.
#[derive(Debug, Default)]
pub struct SidecarCache {
    /// Counts the scans.
    clock: AtomicU64,
    sidecars: Mutex<Sidecars>,
    /// Zone maps of files without a sidecar, the most recently used last.
    zone_maps: Mutex<Vec<(Key, Arc<ZoneMap>)>>,
}

/// Identity of a file without a sidecar, unique over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// An active segment, by its inode and its number: see [`Published`](log::Published).
    Active { inode: u64, segment: u16 },
    /// A sealed one, which does not change.
    Sealed { name: SegmentName, bytes: u64 },
}

#[derive(Debug, Default)]
struct Sidecars {
    segments: BTreeMap<SegmentName, Remembered>,
    /// Bytes of the sidecars that are cached whole.
    bytes: usize,
}

#[derive(Debug)]
struct Remembered {
    file: FileIdentity,
    summary: Summary,
    whole: Option<Arc<Sidecar>>,
    used: u64,
}

/// Files are replaced by renaming and not changed, so that each content has another of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// Summary of a segment, from its sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub bytes: u64,
    pub compressed_bytes: Option<u64>,
    pub foreign_lines: u64,
    pub first_ms: i64,
    pub last_ms: i64,
}

/// Cached data of a segment's sidecar.
pub enum CacheHit {
    Whole(Arc<Sidecar>),
    /// The summary is enough: no line of it can be of the requested time range, if it is that of the segment.
    OutOfTime(Summary),
}

impl Summary {
    fn of(sidecar: &Sidecar) -> Self {
        Self {
            bytes: sidecar.bytes,
            compressed_bytes: sidecar.compressed_bytes(),
            foreign_lines: sidecar.foreign_lines,
            first_ms: sidecar.first_ms,
            last_ms: sidecar.last_ms,
        }
    }

    /// As [`Block::may_hold`], for the whole segment.
    pub fn may_hold(&self, from_ms: i64, to_ms: i64) -> bool {
        self.foreign_lines > 0 || (self.first_ms < to_ms && from_ms <= self.last_ms)
    }

    /// As [`Sidecar::fits`].
    pub fn fits(&self, plain: Option<u64>, compressed: Option<u64>) -> bool {
        match plain {
            Some(plain) => plain == self.bytes,
            None => compressed.is_some() && compressed == self.compressed_bytes,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole after each step, or at worst forgotten.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SidecarCache {
    /// A scan begins.
    pub fn tick(&self) {
        self.clock.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the sidecar of a segment, and the bytes that were read for it. `None`: there is no usable one. Where the
    /// summary rules out `times` (from, to), it is enough.
    ///
    /// # Errors
    /// The system could not read it: see [`Sidecar::read_usable`].
    pub fn sidecar(
        &self,
        directory: &Path,
        name: SegmentName,
        times: Option<(i64, i64)>,
    ) -> Result<Option<(CacheHit, u64)>, ScanError> {
        let now = self.clock.load(Ordering::Relaxed);
        let file_name = name.file(SegmentFile::Sidecar);
        let identity = || identity(&directory.join(&file_name));
        let Some(file) = found(identity()).map_err(|error| ScanError::io(&file_name, error))? else { return Ok(None) };
        if let Some(known) = lock(&self.sidecars).segments.get_mut(&name).filter(|known| known.file == file) {
            known.used = now;
            if times.is_some_and(|(from_ms, to_ms)| !known.summary.may_hold(from_ms, to_ms)) {
                return Ok(Some((CacheHit::OutOfTime(known.summary), 0)));
            }
            if let Some(sidecar) = &known.whole {
                return Ok(Some((CacheHit::Whole(Arc::clone(sidecar)), 0)));
            }
        }
        let read = Sidecar::read_usable(directory, name).map_err(|error| ScanError::segment(&file_name, error))?;
        let Some(sidecar) = read.map(Arc::new) else { return Ok(None) };
        // One that was replaced meanwhile is used, and not kept; so is one that cannot be looked at again.
        if identity().is_ok_and(|still| still == file) {
            lock(&self.sidecars).keep(name, file, &sidecar, now);
        }
        Ok(Some((CacheHit::Whole(sidecar), file.bytes)))
    }

    /// Returns the zone map of a file, to be read and extended.
    pub fn zone_map(&self, key: Key) -> Arc<ZoneMap> {
        let mut files = lock(&self.zone_maps);
        let file = match files.iter().position(|(known, _)| *known == key) {
            Some(index) => files.remove(index),
            None => {
                if files.len() >= SCAN_ZONE_MAPS_MAX {
                    files.remove(0);
                }
                (key, Arc::new(ZoneMap::default()))
            }
        };
        let zone_map = Arc::clone(&file.1);
        files.push(file);
        zone_map
    }
}

impl Sidecars {
    fn keep(&mut self, name: SegmentName, file: FileIdentity, sidecar: &Arc<Sidecar>, now: u64) {
        self.forget(name);
        let bytes = memory_bytes(sidecar);
        let whole = self.make_space(bytes, now).then(|| Arc::clone(sidecar));
        self.bytes += whole.as_ref().map_or(0, |_| bytes);
        self.segments.insert(name, Remembered { file, summary: Summary::of(sidecar), whole, used: now });
        if self.segments.len() > SCAN_SEGMENTS_MAX
            && let Some((&oldest, _)) = self.segments.first_key_value()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, name: SegmentName) {
        if let Some(Remembered { whole: Some(sidecar), .. }) = self.segments.remove(&name) {
            self.bytes -= memory_bytes(&sidecar);
        }
    }

    /// Returns true if there is space for `bytes` more, for which what was used before `now` gives way.
    fn make_space(&mut self, bytes: usize, now: u64) -> bool {
        while self.bytes + bytes > SCAN_SIDECARS_BYTES_MAX {
            let kept = self.segments.values_mut().filter(|known| known.whole.is_some() && known.used < now);
            let Some(known) = kept.min_by_key(|known| known.used) else { return false };
            self.bytes -= known.whole.take().map_or(0, |sidecar| memory_bytes(&sidecar));
        }
        true
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let metadata = fs::symlink_metadata(path)?;
    let changed = (metadata.mtime(), metadata.mtime_nsec());
    Ok(FileIdentity { inode: metadata.ino(), bytes: metadata.len(), changed })
}

/// About what a sidecar takes of memory.
fn memory_bytes(sidecar: &Sidecar) -> usize {
    let names = sidecar.names.iter().flatten().map(|name| size_of::<String>() + name.capacity());
    let blocks = sidecar
        .blocks
        .iter()
        .map(|block| size_of::<Block>() + block.names.as_ref().map_or(0, |names| names.capacity() * size_of::<u32>()));
    names.sum::<usize>() + blocks.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar(name_bytes: usize) -> Arc<Sidecar> {
        let mut sidecar = log::segment::Indexer::new().finish();
        sidecar.names = Some(vec!["x".repeat(name_bytes)]);
        Arc::new(sidecar)
    }

    fn name(number: i64) -> SegmentName {
        SegmentName::after(None, number)
    }

    #[test]
    fn what_was_used_least_lately_gives_way_but_nothing_of_this_scan() {
        let file = FileIdentity { inode: 1, bytes: 1, changed: (1, 1) };
        let third = sidecar(SCAN_SIDECARS_BYTES_MAX / 3 - 100);
        let mut sidecars = Sidecars::default();
        let kept = |sidecars: &Sidecars| {
            let whole = sidecars.segments.iter().filter(|(_, known)| known.whole.is_some());
            whole.map(|(name, _)| name.sealed_ms()).collect::<Vec<_>>()
        };
        for number in 0..5 {
            sidecars.keep(name(number), file, &third, 1);
        }
        assert_eq!((kept(&sidecars), sidecars.segments.len()), (vec![0, 1, 2], 5));
        sidecars.segments.get_mut(&name(0)).unwrap().used = 2;
        sidecars.keep(name(7), file, &third, 2);
        assert_eq!(kept(&sidecars), [0, 2, 7]);
        sidecars.keep(name(7), file, &third, 2);
        assert_eq!((kept(&sidecars), sidecars.bytes), (vec![0, 2, 7], 3 * memory_bytes(&third)));
        sidecars.keep(name(8), file, &sidecar(SCAN_SIDECARS_BYTES_MAX), 3);
        assert_eq!((kept(&sidecars), sidecars.bytes), (vec![], 0));
    }

    #[test]
    fn the_oldest_segments_are_forgotten() {
        let file = FileIdentity { inode: 1, bytes: 1, changed: (1, 1) };
        let mut sidecars = Sidecars::default();
        let small = sidecar(1);
        for number in 0..=SCAN_SEGMENTS_MAX as i64 {
            sidecars.keep(name(number), file, &small, 1);
        }
        assert_eq!(sidecars.segments.first_key_value().map(|(name, _)| name.sealed_ms()), Some(1));
        assert_eq!(sidecars.bytes, SCAN_SEGMENTS_MAX * memory_bytes(&small));
    }

    #[test]
    fn so_many_files_are_learnt_of() {
        let memory = SidecarCache::default();
        let key = |inode| Key::Active { inode, segment: 0 };
        let first = memory.zone_map(key(0));
        for inode in 0..SCAN_ZONE_MAPS_MAX as u64 {
            memory.zone_map(key(inode));
            assert!(Arc::ptr_eq(&first, &memory.zone_map(key(0))));
        }
        assert_eq!(lock(&memory.zone_maps).len(), SCAN_ZONE_MAPS_MAX);
        (1..=SCAN_ZONE_MAPS_MAX as u64).for_each(|inode| drop(memory.zone_map(key(inode))));
        assert!(!Arc::ptr_eq(&first, &memory.zone_map(key(0))));
    }
}

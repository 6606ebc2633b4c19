//! Ages of sealed segments, independent of changes of the wall clock and of the timestamps that clients send.
//!
//! | segment | its age is the time |
//! |---|---|
//! | sealed, or first seen, during this run | since then, by CLOCK_BOOTTIME, which cannot be set |
//! | sealed before this run | since the latest of its dates |
//! | sealed before this run, and without a possible date | since this run began |
//!
//! The dates of a segment are its name and the newest timestamp in it; where one of these is impossible, also its
//! file's modification time. The modification time of its sidecar is one too where it is later: when the clock is set,
//! the sidecars of this run's segments are dated again, by the time that has passed and the clock as it is then, for
//! the next run.
//!
//! A time before 2020, or more than [`CLOCK_STEP_MS_MAX`] ahead of now, cannot be when a segment was sealed: the clock
//! was not set. The latest date counts, so a client that sends old timestamps makes no segment old. A client that sends
//! timestamps ahead of time makes a segment younger once that time comes, and so keeps it for twice the limit at most.
//!
//! When the wall clock is set by more than [`CLOCK_STEP_MS_MAX`], in either direction, no earlier date can be compared
//! with it: no segment that was sealed before this run is older than the time since. The same holds from the start
//! where by the clock no file of the log was written within the limit: then the clock is ahead, or the server was off
//! for so long, and the two cases cannot be distinguished.

use super::{ACTIVE_NAME, Catalog, Segment, SegmentFile, SegmentName, Sidecar};
use crate::limits::CLOCK_STEP_MS_MAX;
use host::{
    fs::{self, File},
    time::{Duration, UNIX_EPOCH},
};
use std::{collections::BTreeMap, path::Path};
use wake::clock::Moment;

/// 2020-01-01T00:00:00Z in epoch milliseconds: clocks that were not set begin in 1970, 1980, 2000 or when their machine
/// was built.
const EARLIEST_MS: i64 = 1_577_836_800_000;

/// The ages of sealed segments, as far as this run knows them.
#[derive(Debug)]
pub(super) struct Ages {
    began: Moment,
    last: Moment,
    /// CLOCK_BOOTTIME since which the wall clock can be compared with itself; `None`: always.
    doubted_since_ms: Option<i64>,
    /// For each existing segment: the time at which this run first saw it, by CLOCK_BOOTTIME; `None` if it existed when
    /// the run began.
    seen: BTreeMap<SegmentName, Option<i64>>,
    /// The newest timestamp in segments, where it was needed: at most one for each existing segment.
    newest: BTreeMap<SegmentName, Option<i64>>,
}

impl Ages {
    /// Begins a run with these segments in `directory`. `limit_ms`: the limit that their age will be compared with.
    pub fn begin(directory: &Path, catalog: &Catalog, now: Moment, limit_ms: Option<i64>) -> Self {
        let seen = catalog.segments.iter().map(|segment| (segment.name, None)).collect();
        let mut ages = Self { began: now, last: now, doubted_since_ms: None, seen, newest: BTreeMap::new() };
        if let (Some(limit_ms), Some(written_ms)) = (limit_ms, last_written_ms(directory, catalog)) {
            let since_ms = now.wall_ms.saturating_sub(written_ms);
            if since_ms > limit_ms {
                tracing::warn!(
                    "by the clock nothing was written to the log for {} s, longer than segments are kept: the clock may be \
                     ahead, so retention by age counts from this start",
                    since_ms / 1_000
                );
                ages.doubted_since_ms = Some(now.boot_ms);
            }
        }
        ages
    }

    /// Checks the clock. Returns the step by which it was set since the last check, in milliseconds, if that is more
    /// than the correction of a clock that is kept right.
    pub fn look(&mut self, now: Moment) -> Option<i64> {
        let step_ms = now.step_ms_since(self.last);
        self.last = now;
        if step_ms.abs() <= CLOCK_STEP_MS_MAX {
            return None;
        }
        self.doubted_since_ms = Some(now.boot_ms);
        Some(step_ms)
    }

    /// Dates the sidecars of the segments that this run saw sealed, by the clock as it is set now.
    pub fn date_again(&self, directory: &Path, now: Moment) {
        for (name, seen_ms) in self.seen.iter().filter_map(|(name, seen_ms)| Some((name, (*seen_ms)?))) {
            let sealed_ms = now.wall_ms.saturating_sub(now.boot_ms.saturating_sub(seen_ms));
            let sealed_at = UNIX_EPOCH + Duration::from_millis(u64::try_from(sealed_ms).unwrap_or(0));
            // A sidecar that is still to be made will have the right time anyway.
            let dated = File::open(directory.join(name.file(SegmentFile::Sidecar)))
                .and_then(|sidecar| sidecar.set_modified(sealed_at));
            if let Err(error) = dated {
                tracing::debug!("cannot update the time of the sidecar of segment {name}: {error}");
            }
        }
    }

    /// Updates the set of existing segments.
    pub fn observe(&mut self, catalog: &Catalog, now: Moment) {
        let is_there = |name: &SegmentName| catalog.segments.binary_search_by_key(name, |segment| segment.name).is_ok();
        self.seen.retain(|name, _| is_there(name));
        self.newest.retain(|name, _| is_there(name));
        for segment in &catalog.segments {
            self.seen.entry(segment.name).or_insert(Some(now.boot_ms));
        }
    }

    /// True if a segment may be older than `limit_ms` and does not count as such, as the clock was set.
    pub fn is_held_back(&self, now: Moment, limit_ms: i64) -> bool {
        self.doubted_since_ms.is_some_and(|since_ms| now.boot_ms.saturating_sub(since_ms) <= limit_ms)
            && self.seen.values().any(Option::is_none)
    }

    /// The age of a segment in milliseconds. It is exact only where it is over `limit_ms`. `is_final`: a missing
    /// sidecar will not be made any more; otherwise a segment without one counts as new.
    pub fn age_ms(&mut self, directory: &Path, segment: &Segment, now: Moment, limit_ms: i64, is_final: bool) -> i64 {
        let since = |boot_ms: i64| now.boot_ms.saturating_sub(boot_ms);
        if let Some(Some(seen_ms)) = self.seen.get(&segment.name) {
            return since(*seen_ms);
        }
        let latest_ms = now.wall_ms.saturating_add(CLOCK_STEP_MS_MAX);
        let possible = |ms: &i64| (EARLIEST_MS..=latest_ms).contains(ms);
        let doubted_ms = self.doubted_since_ms.map_or(i64::MAX, since);
        let named_ms = Some(segment.name.sealed_ms()).filter(possible);
        let named_age_ms = named_ms.map_or(i64::MAX, |ms| now.wall_ms.saturating_sub(ms));
        if named_age_ms.min(doubted_ms) <= limit_ms {
            return named_age_ms.min(doubted_ms);
        }
        let Some(newest_ms) = self.newest_ms(directory, segment, is_final) else { return 0 };
        let newest_ms = newest_ms.filter(possible);
        let modified_ms = modified_ms(directory, segment);
        let spoken_for = match (named_ms, newest_ms) {
            (Some(named_ms), Some(newest_ms)) => Some(named_ms.max(newest_ms)),
            _ => named_ms.max(newest_ms).max(modified_ms.filter(possible)),
        };
        let is_later = |ms: &i64| modified_ms.is_none_or(|modified_ms| ms - modified_ms > CLOCK_STEP_MS_MAX);
        let dated_ms = modified_at(&directory.join(segment.name.file(SegmentFile::Sidecar)));
        let spoken_for = spoken_for.max(dated_ms.filter(possible).filter(is_later));
        let age_ms = spoken_for.map_or_else(|| since(self.began.boot_ms), |ms| now.wall_ms.saturating_sub(ms));
        age_ms.min(doubted_ms)
    }

    /// The newest timestamp in a segment, by its sidecar: `Some(None)` if it has no line of the server, or no usable
    /// sidecar. `None`: a sidecar may still be made, or be read the next time. A segment whose newest timestamp is not
    /// known must not be deleted for its name.
    fn newest_ms(&mut self, directory: &Path, segment: &Segment, is_final: bool) -> Option<Option<i64>> {
        if let Some(newest_ms) = self.newest.get(&segment.name) {
            return Some(*newest_ms);
        }
        let sidecar = Sidecar::read_usable(directory, segment.name).ok()?;
        match sidecar.filter(|sidecar| sidecar.fits(segment.plain, segment.compressed)) {
            Some(sidecar) => {
                let newest_ms = Some(sidecar.last_ms).filter(|_| sidecar.lines > 0);
                self.newest.insert(segment.name, newest_ms);
                Some(newest_ms)
            }
            None if is_final => Some(None),
            None => None,
        }
    }
}

/// Time of the last write to the log, by its files: the sealed segments, and the active one if it is not empty, as
/// opening the log may have created an empty one.
fn last_written_ms(directory: &Path, catalog: &Catalog) -> Option<i64> {
    let active =
        catalog.active_bytes.filter(|&bytes| bytes > 0).and_then(|_| modified_at(&directory.join(ACTIVE_NAME)));
    catalog.segments.iter().filter_map(|segment| modified_ms(directory, segment)).chain(active).max()
}

/// Modification time of a segment's file.
fn modified_ms(directory: &Path, segment: &Segment) -> Option<i64> {
    let form = if segment.plain.is_some() { SegmentFile::Plain } else { SegmentFile::Compressed };
    modified_at(&directory.join(segment.name.file(form)))
}

fn modified_at(path: &Path) -> Option<i64> {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

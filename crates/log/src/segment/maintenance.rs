//! The maintenance: a background thread that processes segments once they are sealed and on stable storage. It makes
//! their sidecars, compresses them, and deletes those that retention no longer keeps.
//!
//! It works from the content of the directory and not from notifications, so it continues where an earlier run was
//! interrupted, and processing a segment twice does no harm. What it remembers only saves repeated checks and repeated
//! messages.
//!
//! Promises: ingestion never waits for it and never fails with it. A failure is counted, logged at most once in
//! [`MAINTENANCE_INTERVAL`], and retried in the next round. A segment that is damaged, or has foreign lines, is left as
//! it is, in plain, and that is logged once. It stops between two blocks. It never touches the active segment, nor a
//! file without the name of a segment's file, nor a segment that is younger than the newest one it was notified of as
//! on stable storage.

use super::age::Ages;
use super::hold::free_bytes_min;
use super::retention::retire;
use super::{
    Catalog, Holds, MaintenanceStatus, Retention, Segment, SegmentError, SegmentFile, SegmentName, Sidecar, compress,
    index,
};
use crate::limits::{MAINTENANCE_INTERVAL, MAINTENANCE_NICE, ROTATE_AGE_MIN, WATCH_INTERVAL};
use crate::os::sched::set_nice;
use crate::os::statvfs;
use host::{
    channel::{Receiver, RecvTimeoutError, Sender, bounded},
    fs,
    os::unix::fs::MetadataExt,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use wake::{
    clock::{Clock, Moment},
    sync::real::Mutex,
};

/// Configuration of maintenance.
#[derive(Debug, Clone)]
pub struct MaintenanceSetup {
    /// The data directory. Its lock must be held as long as maintenance runs.
    pub directory: PathBuf,
    /// True if sealed segments are compressed.
    pub compress: bool,
    /// Limit of the bytes that are kept: see [`Retention::bytes_limit`].
    pub retain_bytes: Option<u64>,
    /// Limit of the age that is kept: see [`Retention::age_limit`].
    pub retain_age: Option<Duration>,
    /// The readers that retention waits for.
    pub holds: Holds,
    /// The clock by which segments are named.
    pub clock: Clock,
    /// The check that the directory is still the one whose lock is held, if there is one.
    pub watch: Option<Arc<dyn DirectoryWatch>>,
}

/// A check that a directory may be worked in.
pub trait DirectoryWatch: fmt::Debug + Send + Sync {
    /// Checks the directory.
    ///
    /// # Errors
    /// It is no longer the same directory: nothing in it may be changed.
    fn look(&self) -> io::Result<()>;

    /// Device and inode of the active segment, if its file no longer has the active segment's name.
    fn moved_active(&self) -> Option<(u64, u64)>;
}

/// A handle of the running maintenance. Dropping it stops the thread, as [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Maintenance {
    bell: MaintenanceBell,
    stop: Arc<AtomicBool>,
    status: Arc<MaintenanceStatus>,
    thread: Option<JoinHandle<()>>,
}

/// The newest segment that, like all before it, is on stable storage.
#[derive(Debug, Default)]
pub(super) struct Durable(Mutex<Option<SegmentName>>);

impl Durable {
    pub fn advance(&self, name: SegmentName) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = newest.max(Some(name));
    }

    #[cfg(test)]
    pub fn take(&self) -> Option<SegmentName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn newest(&self) -> Option<SegmentName> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notifies the maintenance thread of sealed segments. Never blocks on its work.
#[derive(Debug, Clone)]
pub struct MaintenanceBell {
    durable: Arc<Durable>,
    wake: Sender<()>,
}

impl MaintenanceBell {
    /// Notifies that the segment was sealed and is on stable storage, like all before it. Costs a lock and a wake-up.
    pub fn sealed(&self, name: SegmentName) {
        self.durable.advance(name);
        self.wake();
    }

    fn wake(&self) {
        // Full: it has been woken and has not looked yet. Disconnected: it has stopped.
        let _ = self.wake.try_send(());
    }
}

impl Maintenance {
    /// Starts the maintenance. To be called after the log was opened and before the first rotation: the segments that
    /// are sealed by now count as on stable storage, later ones from their [`MaintenanceBell::sealed`] on.
    ///
    /// # Errors
    /// The directory cannot be listed, its file system cannot be queried, or no thread can be started.
    pub fn start(setup: MaintenanceSetup) -> io::Result<Self> {
        let newest = Catalog::list(&setup.directory)?.newest();
        let durable = Arc::new(Durable(Mutex::new(newest)));
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(MaintenanceStatus::default());
        let (wake, woken) = bounded(1);
        let mut round = Rounds::new(setup, durable.clone(), stop.clone(), status.clone());
        round.measure_disk()?;
        // Before the first rotation: the segments listed now were sealed before this run.
        round.list()?;
        let thread = thread::Builder::new().name("maintenance".into()).spawn(move || run(round, &woken))?;
        Ok(Self { bell: MaintenanceBell { durable, wake }, stop, status, thread: Some(thread) })
    }

    /// A bell for the writer or the group commit to notify the maintenance with.
    #[must_use]
    pub fn bell(&self) -> MaintenanceBell {
        self.bell.clone()
    }

    /// Counts of the maintenance so far.
    #[must_use]
    pub fn status(&self) -> Arc<MaintenanceStatus> {
        self.status.clone()
    }

    /// Stops the thread and waits for it: at most the time of one block and one fsync. The next run continues the
    /// interrupted work.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the maintenance thread panicked");
        }
    }
}

fn run(mut rounds: Rounds, woken: &Receiver<()>) {
    if let Err(error) = set_nice(MAINTENANCE_NICE) {
        tracing::debug!("the maintenance thread runs at normal priority: {error}");
    }
    let mut next = Instant::now();
    loop {
        if next <= Instant::now() {
            rounds.round();
            next = Instant::now() + rounds.interval();
        } else if rounds.look() {
            next = Instant::now();
        }
        match woken.recv_timeout(WATCH_INTERVAL.min(next.saturating_duration_since(Instant::now()))) {
            Ok(()) => next = Instant::now(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if rounds.stopping() {
            return;
        }
    }
}

/// The work of the maintenance, without its thread.
pub(super) struct Rounds {
    setup: MaintenanceSetup,
    /// The newest segment that may be processed; all before it may be too.
    durable: Arc<Durable>,
    stop: Arc<AtomicBool>,
    status: Arc<MaintenanceStatus>,
    /// Segments as they were when there was nothing more to do for them. At most one entry for each existing segment.
    up_to_date: BTreeMap<SegmentName, Segment>,
    /// Time of the last logged failure, and the number of failures not logged since.
    said: Option<Instant>,
    unsaid: u64,
    /// Time of the last warning that lines were deleted undelivered.
    forfeit_said: Option<Instant>,
    /// Set by the first listing of the directory.
    ages: Option<Ages>,
    now: Box<dyn Fn() -> Moment + Send>,
}

impl Rounds {
    pub fn new(
        setup: MaintenanceSetup,
        durable: Arc<Durable>,
        stop: Arc<AtomicBool>,
        status: Arc<MaintenanceStatus>,
    ) -> Self {
        let clock = setup.clock;
        let now = Box::new(move || clock.moment());
        Self {
            setup,
            durable,
            stop,
            status,
            up_to_date: BTreeMap::new(),
            said: None,
            unsaid: 0,
            forfeit_said: None,
            ages: None,
            now,
        }
    }

    /// The same with another clock.
    #[cfg(test)]
    pub fn by_clock(self, now: impl Fn() -> Moment + Send + 'static) -> Self {
        Self { now: Box::new(now), ..self }
    }

    /// Time from a round to the next when nothing is sealed.
    fn interval(&self) -> Duration {
        self.setup.retain_age.map_or(MAINTENANCE_INTERVAL, |age| age.clamp(ROTATE_AGE_MIN, MAINTENANCE_INTERVAL))
    }

    /// Checks the clock, that the directory is still in place, and that the disk has space for what is held. Returns
    /// true if there is something to do.
    pub fn look(&mut self) -> bool {
        self.look_at_clock();
        if let Some(watch) = &self.setup.watch {
            // A finding is noted for `/ready`; the next round does nothing then.
            let _ = watch.look();
        }
        self.status.held_bytes.load(Ordering::Relaxed) > 0 && self.measure_disk().is_ok() && self.missing_bytes() > 0
    }

    fn look_at_clock(&mut self) {
        let now = (self.now)();
        let Some(step_ms) = self.ages.as_mut().and_then(|ages| ages.look(now)) else { return };
        count(&self.status.clock_steps, 1);
        if let Some(ages) = &self.ages {
            ages.date_again(&self.setup.directory, now);
        }
        tracing::warn!("the wall clock was set by {} s while the server runs", step_ms / 1_000);
        if let Some(age) = self.setup.retain_age {
            tracing::warn!("retention by age deletes no segment sealed before this start for the next {age:?}");
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs one round over all segments.
    pub fn round(&mut self) {
        if let Err(error) = self.try_round() {
            self.failed("cannot list the data directory", &error.into());
        }
        count(&self.status.rounds, 1);
    }

    fn try_round(&mut self) -> io::Result<()> {
        if let Some(watch) = &self.setup.watch {
            watch.look()?;
        }
        self.measure_disk()?;
        let catalog = self.list()?;
        self.up_to_date.retain(|name, _| catalog.segments.binary_search_by_key(name, |segment| segment.name).is_ok());
        self.remove_leftovers(&catalog);
        // Segments over the age limit are not worth compressing. Those over the byte limit may fit once they are
        // compressed.
        self.retain(&Retention { bytes_limit: None, ..self.retention() }, false)?;
        let mut retained = Instant::now();
        let mut has_space = true;
        for segment in &catalog.segments {
            if self.stopping() {
                return Ok(());
            }
            if self.up_to_date.get(&segment.name) != Some(segment) {
                has_space &= self.process(segment.name, self.setup.compress && has_space);
            }
            if retained.elapsed() >= MAINTENANCE_INTERVAL {
                self.retain(&self.retention(), false)?;
                retained = Instant::now();
            }
        }
        let catalog = self.retain(&self.retention(), true)?;
        self.status.segments.store(catalog.segments.len() as u64, Ordering::Relaxed);
        self.status.segment_bytes.store(catalog.sealed_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Bytes by which the disk is too full to hold segments for readers, at the last measurement.
    fn missing_bytes(&self) -> u64 {
        let [all, free] =
            [&self.status.disk_bytes, &self.status.disk_free_bytes].map(|bytes| bytes.load(Ordering::Relaxed));
        free_bytes_min(all).saturating_sub(free)
    }

    fn measure_disk(&self) -> io::Result<()> {
        let disk = statvfs::usage(&self.setup.directory)?;
        self.status.disk_bytes.store(disk.bytes, Ordering::Relaxed);
        self.status.disk_free_bytes.store(disk.bytes_free, Ordering::Relaxed);
        Ok(())
    }

    fn retention(&self) -> Retention {
        Retention { bytes_limit: self.setup.retain_bytes, age_limit: self.setup.retain_age }
    }

    /// Lists the directory, without the segments that may not be on stable storage yet.
    fn list(&mut self) -> io::Result<Catalog> {
        // Read first: segments that are sealed after it are left out.
        let durable = self.durable.newest();
        let mut catalog = Catalog::list(&self.setup.directory)?;
        catalog.segments.retain(|segment| Some(segment.name) <= durable);
        if let Some(active) = self.setup.watch.as_ref().and_then(|watch| watch.moved_active()) {
            // It may have got the name of a sealed segment, and does not count as one as long as it is written to.
            let is_active = |name: SegmentName| {
                let found = fs::symlink_metadata(self.setup.directory.join(name.file(SegmentFile::Plain)));
                // One that cannot be looked at may be it.
                found.map_or(true, |found| (found.dev(), found.ino()) == active)
            };
            catalog.segments.retain(|segment| !is_active(segment.name));
        }
        let now = (self.now)();
        match &mut self.ages {
            Some(ages) => ages.observe(&catalog, now),
            None => {
                let limit_ms = self.setup.retain_age.map(milliseconds);
                self.ages = Some(Ages::begin(&self.setup.directory, &catalog, now, limit_ms));
            }
        }
        Ok(catalog)
    }

    fn remove_leftovers(&mut self, catalog: &Catalog) {
        for file in &catalog.leftovers {
            match fs::remove_file(self.setup.directory.join(&file.file_name)) {
                Ok(()) => tracing::info!("removed {}, a leftover of interrupted work", file.file_name),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.failed(&format!("cannot remove {}", file.file_name), &error.into()),
            }
        }
    }

    /// Makes the sidecar of a segment and compresses it, as far as necessary. Returns false if there is no space on the
    /// disk.
    pub fn process(&mut self, name: SegmentName, compress: bool) -> bool {
        match self.try_process(name, compress) {
            Ok(up_to_date) => {
                if up_to_date {
                    self.mark_up_to_date(name);
                }
            }
            Err(SegmentError::Stopped) => {}
            // Deleted meanwhile: there is nothing to do.
            Err(error) if error.is_missing() => {}
            Err(SegmentError::Malformed(what)) => {
                count(&self.status.damaged, 1);
                tracing::warn!(
                    "segment {name} is damaged and left unchanged: {what}; `metricstream verify` shows details"
                );
                self.mark_up_to_date(name);
            }
            Err(error @ SegmentError::Io(_)) => {
                self.failed(&format!("cannot process segment {name}"), &error);
                return !error.is_out_of_space();
            }
        }
        true
    }

    /// Marks a segment as one with nothing to do until its files change.
    fn mark_up_to_date(&mut self, name: SegmentName) {
        if let Ok(Some(segment)) = Segment::find(&self.setup.directory, name) {
            self.up_to_date.insert(name, segment);
        }
    }

    /// Processes a segment. Returns true if there is nothing more to do.
    fn try_process(&self, name: SegmentName, may_compress: bool) -> Result<bool, SegmentError> {
        let directory = &self.setup.directory;
        let Some(segment) = Segment::find(directory, name)? else { return Ok(false) };
        let sidecar = match Sidecar::read(directory, name) {
            Ok(sidecar) if sidecar.fits(segment.plain, segment.compressed) => sidecar,
            // Segments never change: the sidecar is the evidence of the earlier content, and stays.
            Ok(sidecar) if segment.plain.is_some_and(|bytes| bytes != sidecar.bytes) => {
                return Err(SegmentError::Malformed("its size differs from that in its sidecar".into()));
            }
            Ok(_) => self.make_sidecar_again(name, "it describes other frames")?,
            Err(SegmentError::Malformed(what)) => self.make_sidecar_again(name, &what)?,
            Err(error) if error.is_missing() => self.make_sidecar(name)?,
            Err(error) => return Err(error),
        };
        if sidecar.foreign_lines > 0 {
            let what = format!("{} of its lines were not written by the server", sidecar.foreign_lines);
            return Err(SegmentError::Malformed(what));
        }
        // If both exist, a compression was interrupted, and is completed even if compression is off.
        let begun = segment.compressed.is_some();
        let Some(plain_bytes) = segment.plain.filter(|_| (self.setup.compress || begun) && !sidecar.blocks.is_empty())
        else {
            return Ok(true);
        };
        if !may_compress && !begun {
            return Ok(false);
        }
        let compressed_bytes = compress::compress(directory, name, &sidecar, &self.stop)?;
        count(&self.status.compressed, 1);
        count(&self.status.compressed_from_bytes, plain_bytes);
        count(&self.status.compressed_to_bytes, compressed_bytes);
        tracing::info!("compressed segment {name}: {plain_bytes} to {compressed_bytes} bytes");
        Ok(true)
    }

    fn make_sidecar(&self, name: SegmentName) -> Result<Sidecar, SegmentError> {
        let sidecar = index(&self.setup.directory, name, &self.stop)?;
        sidecar.write(&self.setup.directory, name)?;
        count(&self.status.indexed, 1);
        count(&self.status.foreign_lines, sidecar.foreign_lines);
        Ok(sidecar)
    }

    fn make_sidecar_again(&self, name: SegmentName, why: &str) -> Result<Sidecar, SegmentError> {
        tracing::warn!("rebuilding the sidecar of segment {name}: {why}");
        self.make_sidecar(name)
    }

    /// Deletes the segments that are not kept, and returns the others. `is_final`: every segment that can have a
    /// sidecar has one.
    fn retain(&mut self, retention: &Retention, is_final: bool) -> io::Result<Catalog> {
        self.look_at_clock();
        let mut catalog = self.list()?;
        let now = (self.now)();
        let limit_ms = retention.age_limit.map_or(i64::MAX, milliseconds);
        let directory = &self.setup.directory;
        let missing_bytes = self.missing_bytes();
        let Some(ages) = &mut self.ages else { return Ok(catalog) };
        let mut age_ms = |segment: &Segment| ages.age_ms(directory, segment, now, limit_ms, is_final);
        let overdue = retention.overdue(&catalog, &mut age_ms);
        let overdue = self.setup.holds.divide(&overdue, missing_bytes);
        let delete: Vec<_> =
            overdue.delete.iter().map(|&(segment, is_needed)| (segment, age_ms(&segment), is_needed)).collect();
        self.status.age_held_back.store(ages.is_held_back(now, limit_ms).into(), Ordering::Relaxed);
        self.status.held_bytes.store(overdue.held_bytes, Ordering::Relaxed);
        for (segment, age_ms, is_needed) in delete {
            let (name, bytes) = (segment.name, segment.bytes());
            if let Err(error) = self.delete(&catalog, &segment, is_needed) {
                self.failed(&format!("cannot delete segment {name}"), &error.into());
                break;
            }
            catalog.segments.retain(|kept| kept.name != name);
            count(&self.status.retired, 1);
            count(&self.status.retired_bytes, bytes);
            tracing::info!("deleted segment {name} by retention: {bytes} bytes, {} s old", age_ms / 1_000);
        }
        Ok(catalog)
    }

    /// Deletes a segment. `is_needed`: although it is not delivered.
    fn delete(&mut self, catalog: &Catalog, segment: &Segment, is_needed: bool) -> io::Result<()> {
        let directory = &self.setup.directory;
        if !is_needed {
            return retire(directory, segment.name);
        }
        let delete = || retire(directory, segment.name);
        let lost = self.setup.holds.forfeit(directory, &catalog.segments, segment, delete)?;
        if lost.is_empty() {
            return Ok(());
        }
        count(&self.status.forfeited, 1);
        if self.forfeit_said.is_none_or(|said| said.elapsed() >= MAINTENANCE_INTERVAL) {
            self.forfeit_said = Some(Instant::now());
            let why = if self.missing_bytes() > 0 {
                "the disk is nearly full".to_owned()
            } else {
                format!("more than {} bytes were held", self.setup.holds.bytes_max)
            };
            tracing::warn!(
                "deleted segment {} before it was delivered, as {why} ({}); statistics count every line that was never \
                 delivered",
                segment.name,
                lost.join("; ")
            );
        }
        Ok(())
    }

    /// Counts a failure, and logs it unless another one was logged a short while ago.
    fn failed(&mut self, doing: &str, error: &SegmentError) {
        count(&self.status.failures, 1);
        if self.said.is_some_and(|said| said.elapsed() < MAINTENANCE_INTERVAL) {
            self.unsaid += 1;
            return;
        }
        tracing::warn!(
            "{doing}: {error}; ingestion is not affected, and it will be retried ({} more failures)",
            self.unsaid
        );
        self.said = Some(Instant::now());
        self.unsaid = 0;
    }
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

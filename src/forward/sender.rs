//! The first thread of a forward: it reads the log on from the cursor, gives batches to the lanes, and moves the cursor
//! to where every lane has delivered everything.

use super::{
    batch::{Batch, Sharding},
    config::StartAt,
    cursor,
    lane::{LastWarning, Shared},
};
use crate::{limits, stats::ForwardStatus};
use crossbeam_channel::{Receiver, Sender, select_biased};
use log::{FollowError, Follower, LogPosition, LogStatus, SegmentId, Start, segment::Catalog};
use metric::Lines;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// The lanes, as seen by the thread that reads.
pub struct Lanes {
    /// The batches of each.
    pub batches: Vec<Sender<Arc<Batch>>>,
    /// The number of a lane, for each batch that it is done with.
    pub done: Receiver<usize>,
}

/// The work of the thread that reads.
pub struct Job {
    shared: Arc<Shared>,
    directory: PathBuf,
    log: Arc<LogStatus>,
    lanes: Lanes,
    sharding: Sharding,
    /// Batches that are being delivered, the oldest first, and the position behind each.
    in_flight: VecDeque<(Arc<Batch>, LogPosition)>,
    /// Number of batches that each lane is done with, of those since the one that is the oldest now.
    done: Vec<usize>,
    /// The batch that is being made, and those to make others of.
    batch: Batch,
    spare: Vec<Batch>,
    /// The position behind the last line that was put into a batch.
    taken: Option<LogPosition>,
    /// The position that the receiver has everything before; `None` before the first was determined.
    delivered: Option<LogPosition>,
    /// The position in the cursor's file, and the time it was written.
    recorded: Option<LogPosition>,
    recorded_at: Instant,
    counted_at: Option<Instant>,
}

/// The server stops.
struct Stopped;

impl Job {
    /// The work of a forward of the log in `directory`.
    pub fn new(shared: Arc<Shared>, directory: &Path, log: Arc<LogStatus>, lanes: Lanes) -> Self {
        let sharding = Sharding::over(lanes.batches.len());
        Self {
            shared,
            directory: directory.to_owned(),
            log,
            done: vec![0; lanes.batches.len()],
            lanes,
            in_flight: VecDeque::new(),
            batch: Batch::new(sharding.clone()),
            spare: Vec::new(),
            sharding,
            taken: None,
            delivered: None,
            recorded: None,
            recorded_at: Instant::now(),
            counted_at: None,
        }
    }

    /// Forwards until the server stops. `follower`: the log, if it is open already.
    pub fn run(mut self, mut follower: Option<Follower>) {
        self.shared.yield_to_reactors();
        let mut lines = Vec::new();
        while let Ok(()) = self.step(&mut follower, &mut lines) {}
        // What the lanes were done with in the meantime.
        while let Ok(lane) = self.lanes.done.try_recv() {
            self.note_done(lane);
        }
        self.record(true);
    }

    /// Reads on, and waits where there is nothing to read.
    fn step(&mut self, follower: &mut Option<Follower>, lines: &mut Vec<u8>) -> Result<(), Stopped> {
        if self.shared.stop.is_over() {
            return Err(Stopped);
        }
        let Some(reader) = follower else {
            *follower = self.open();
            return if follower.is_none() { self.wait(limits::FORWARD_OPEN_INTERVAL) } else { Ok(()) };
        };
        lines.clear();
        match reader.read(lines, limits::FORWARD_READ_BYTES) {
            Ok(read) => {
                let end = reader.position();
                if !self.shared.status.hold.advance(end) {
                    // Deleted, and counted: it goes on at the oldest line that is kept.
                    self.deliver_all()?;
                    *follower = None;
                    return self.wait(limits::FORWARD_WAIT_SLICE);
                }
                self.take(lines, end)?;
                // What was written in the meantime goes together.
                if read < limits::FORWARD_READ_BYTES / 2 && reader.is_in_active() {
                    self.deliver_all()?;
                    self.count_behind(read);
                    self.record(true);
                    let age = self.shared.config.batch_age;
                    return self.wait(age);
                }
                self.count_behind(read);
                Ok(())
            }
            Err(error) => {
                self.deliver_all()?;
                self.note_unreadable(&error);
                *follower = None;
                self.wait(limits::FORWARD_OPEN_INTERVAL)
            }
        }
    }

    fn wait(&self, time: Duration) -> Result<(), Stopped> {
        if self.shared.stop.wait(time) { Err(Stopped) } else { Ok(()) }
    }

    /// Opens the log at the position that is delivered, at that of the cursor, or where a new forward begins.
    pub fn open(&mut self) -> Option<Follower> {
        let name = &self.shared.config.name;
        let start = match self.delivered {
            Some(position) => Start::At(position),
            None => match cursor::read(&self.directory, name) {
                Ok(Some(position)) => Start::At(position),
                Ok(None) => self.first_start(),
                Err(error) => {
                    let start = self.shared.config.start;
                    tracing::warn!("{}: {error}; forwarding starts at the {start:?}", cursor::file_name(name));
                    self.first_start()
                }
            },
        };
        let opened = match Follower::open(&self.directory, Arc::clone(&self.log), start) {
            Err(error @ (FollowError::Gone { .. } | FollowError::InsideLine)) => {
                let status = &self.shared.status;
                ForwardStatus::count(&status.gaps, 1);
                status.note_error(&error.to_string());
                tracing::warn!(
                    "forward {name}: {error}; it continues at the oldest line, and what is between is not sent"
                );
                Follower::open(&self.directory, Arc::clone(&self.log), Start::Oldest)
            }
            opened => opened,
        };
        match opened {
            Ok(follower) => {
                self.delivered = Some(follower.position());
                self.taken = self.delivered;
                // A new forward has its place from now on.
                self.record(true);
                Some(follower)
            }
            Err(error) => {
                self.note_unreadable(&error);
                None
            }
        }
    }

    fn first_start(&self) -> Start {
        match self.shared.config.start {
            StartAt::End => Start::End,
            StartAt::Beginning => Start::Oldest,
        }
    }

    /// Puts the lines that were read, which end at `end`, into batches.
    fn take(&mut self, lines: &[u8], end: LogPosition) -> Result<(), Stopped> {
        let begin = end.byte.saturating_sub(lines.len() as u64);
        let mut lines = Lines::new(lines);
        while let Some(line) = lines.next() {
            match line {
                Ok(line) => self.batch.push(&line),
                Err(_) => ForwardStatus::count(&self.shared.status.foreign_lines, 1),
            }
            if self.batch.is_full(self.shared.config.batch_samples) {
                self.taken = Some(LogPosition { segment: end.segment, byte: begin + lines.byte() as u64 });
                self.dispatch()?;
            }
        }
        self.taken = Some(end);
        Ok(())
    }

    /// Gives the batch to all lanes, once there may be another one.
    fn dispatch(&mut self) -> Result<(), Stopped> {
        let Some(behind) = self.taken else { return Ok(()) };
        self.wait_for_lanes(limits::FORWARD_BATCHES_MAX - 1)?;
        let next = self.spare.pop().unwrap_or_else(|| Batch::new(self.sharding.clone()));
        let batch = Arc::new(std::mem::replace(&mut self.batch, next));
        for lane in &self.lanes.batches {
            // Its channel takes every batch that there may be; it is closed only as the server stops.
            lane.send(Arc::clone(&batch)).map_err(|_| Stopped)?;
        }
        self.in_flight.push_back((batch, behind));
        Ok(())
    }

    /// Delivers everything that was read.
    fn deliver_all(&mut self) -> Result<(), Stopped> {
        if self.batch.len() > 0 {
            self.dispatch()?;
        }
        self.wait_for_lanes(1)?;
        self.delivered = self.taken;
        Ok(())
    }

    /// Waits until fewer than `batches` are being delivered.
    fn wait_for_lanes(&mut self, batches: usize) -> Result<(), Stopped> {
        while self.in_flight.len() >= batches {
            select_biased! {
                recv(self.lanes.done) -> lane => self.note_done(lane.map_err(|_| Stopped)?),
                recv(self.shared.stop.woken) -> _ => return Err(Stopped),
                default(limits::FORWARD_COUNT_INTERVAL) => self.count_behind(limits::FORWARD_READ_BYTES),
            }
            self.record(false);
        }
        Ok(())
    }

    /// Notes that a lane is done with its oldest batch, and those that all lanes are done with as delivered.
    fn note_done(&mut self, lane: usize) {
        self.done[lane] += 1;
        while self.done.iter().all(|&done| done > 0)
            && let Some((batch, behind)) = self.in_flight.pop_front()
        {
            self.done.iter_mut().for_each(|done| *done -= 1);
            ForwardStatus::count(&self.shared.status.superseded, batch.superseded());
            self.delivered = Some(behind);
            if let Some(mut batch) = Arc::into_inner(batch) {
                batch.clear();
                self.spare.push(batch);
            }
        }
    }

    /// Writes the cursor, at once or after an interval, if it has moved.
    fn record(&mut self, at_once: bool) {
        let Some(delivered) = self.delivered.filter(|_| self.delivered != self.recorded) else { return };
        if !at_once && self.recorded_at.elapsed() < limits::FORWARD_CURSOR_INTERVAL {
            return;
        }
        self.recorded_at = Instant::now();
        let Shared { config, status, warned, .. } = &*self.shared;
        match cursor::write(&self.directory, &config.name, delivered) {
            Ok(()) => {
                self.recorded = Some(delivered);
                status.hold.record(delivered);
            }
            Err(error) => {
                ForwardStatus::count(&status.cursor_failures, 1);
                if warned.cursor.is_due() {
                    let file = cursor::file_name(&config.name);
                    tracing::warn!("cannot write {file}: {error}; after a restart samples are sent again");
                }
            }
        }
    }

    /// Counts the backlog, once in a while.
    fn count_behind(&mut self, read: usize) {
        if read == 0 {
            self.shared.status.note_caught_up();
            return;
        }
        if self.counted_at.is_some_and(|last| last.elapsed() < limits::FORWARD_COUNT_INTERVAL) {
            return;
        }
        self.counted_at = Some(Instant::now());
        if let Some(Ok(bytes)) = self.delivered.map(|position| self.behind(position)) {
            self.shared.status.bytes_behind.store(bytes, Ordering::Relaxed);
        }
    }

    fn behind(&self, position: LogPosition) -> io::Result<u64> {
        let catalog = Catalog::list(&self.directory)?;
        let active = self.log.published().bytes;
        let is_behind = |name| match position.segment {
            SegmentId::Sealed(own) => name >= own,
            SegmentId::After(last) => Some(name) > last,
        };
        let sealed = catalog.segments.iter().filter(|segment| is_behind(segment.name));
        let sealed: u64 = sealed.map(|segment| segment.plain.or(segment.compressed).unwrap_or(0)).sum();
        Ok((sealed + active).saturating_sub(position.byte))
    }

    fn note_unreadable(&self, error: &FollowError) {
        self.shared.status.note_error(&error.to_string());
        let unreadable: &LastWarning = &self.shared.warned.unreadable;
        if unreadable.is_due() {
            tracing::warn!("forward {}: {error}", self.shared.config.name);
        }
    }
}

//! The first thread of a forward: it reads the log on from the cursor, gives batches to the lanes, and moves the cursor
//! to where every lane has delivered everything.

use super::{
    batch::{Batch, Sharding},
    known::KnownSeries,
    lane::Shared,
    reading::{Reading, Stopped},
};
use crate::{limits, stats::ForwardStatus};
use host::channel::{Receiver, RecvTimeoutError, Sender};
use log::{FollowError, Follower, LineBuffer, LogPosition};
use metric::Lines;
use std::{collections::VecDeque, sync::Arc};

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
    reading: Reading,
    lanes: Lanes,
    /// Samples of a request, at most.
    batch_samples: usize,
    sharding: Sharding,
    known: KnownSeries,
    /// Batches that are being delivered, the oldest first, and the position behind each.
    in_flight: VecDeque<(Arc<Batch>, LogPosition)>,
    /// Number of batches that each lane is done with, of those since the one that is the oldest now.
    done: Vec<usize>,
    /// The batch that is being made, and those to make others of.
    batch: Batch,
    spare: Vec<Batch>,
    /// The position behind the last line that was put into a batch.
    taken: Option<LogPosition>,
}

impl Job {
    /// The work of a forward.
    pub fn new(shared: Arc<Shared>, reading: Reading, lanes: Lanes, batch_samples: usize) -> Self {
        let sharding = Sharding::over(lanes.batches.len());
        Self {
            shared,
            reading,
            done: vec![0; lanes.batches.len()],
            lanes,
            batch_samples,
            in_flight: VecDeque::new(),
            batch: Batch::new(sharding.clone()),
            spare: Vec::new(),
            sharding,
            known: KnownSeries::new(limits::FORWARD_KNOWN_BYTES),
            taken: None,
        }
    }

    /// Forwards until the server stops. `follower`: the log, if it is open already.
    pub fn run(mut self, mut follower: Option<Follower>) {
        self.shared.yield_to_reactors();
        let mut lines = LineBuffer::default();
        while let Ok(()) = self.step(&mut follower, &mut lines) {}
        // What the lanes were done with in the meantime.
        while let Ok(lane) = self.lanes.done.try_recv() {
            self.note_done(lane);
        }
        self.reading.record(true);
    }

    /// Reads on, and waits where there is nothing to read.
    fn step(&mut self, follower: &mut Option<Follower>, lines: &mut LineBuffer) -> Result<(), Stopped> {
        if self.shared.stop.is_over() {
            return Err(Stopped);
        }
        let Some(reader) = follower else {
            *follower = self.open();
            return if follower.is_none() { self.reading.wait(limits::FORWARD_OPEN_INTERVAL) } else { Ok(()) };
        };
        lines.clear();
        let begun_ns = self.shared.now_ns();
        match reader.read(lines, limits::FORWARD_READ_BYTES) {
            Ok(read) => {
                let end = reader.position();
                if !self.shared.status.hold.advance(end) {
                    // Deleted, and counted: it goes on at the oldest line that is kept.
                    self.deliver_all()?;
                    *follower = None;
                    return self.reading.wait(limits::FORWARD_WAIT_SLICE);
                }
                self.take(lines, end, begun_ns)?;
                // What was written in the meantime goes together.
                if read < limits::FORWARD_READ_BYTES / 2 && reader.is_in_active() {
                    self.deliver_all()?;
                    self.reading.count_behind(read);
                    self.reading.record(true);
                    let age = self.shared.config.batch_age;
                    return self.reading.wait(age);
                }
                self.reading.count_behind(read);
                Ok(())
            }
            Err(error @ FollowError::Gone { oldest }) => {
                self.deliver_all()?;
                self.reading.note_gap(&error);
                reader.skip_to(oldest);
                (self.taken, self.reading.delivered) = (Some(oldest), Some(oldest));
                Ok(())
            }
            Err(error) => {
                self.deliver_all()?;
                self.reading.note_unreadable(&error);
                *follower = None;
                self.reading.wait(limits::FORWARD_OPEN_INTERVAL)
            }
        }
    }

    /// Opens the log at the position that is delivered, at that of the cursor, or where a new forward begins.
    pub fn open(&mut self) -> Option<Follower> {
        let start = self.reading.start()?;
        let follower = self.reading.open(start)?;
        self.taken = self.reading.delivered;
        // A new forward has its place from now on.
        self.reading.record(true);
        Some(follower)
    }

    /// Puts the lines that were read, which end at `end`, into batches. `begun_ns`: when reading them began.
    fn take(&mut self, lines: &[u8], end: LogPosition, begun_ns: u64) -> Result<(), Stopped> {
        if self.batch.len() == 0 {
            self.batch.read_ns.0 = begun_ns;
        }
        let text = lines;
        let begin = end.byte.saturating_sub(text.len() as u64);
        let mut lines = Lines::new(text);
        let samples_max = self.batch.samples_max(self.batch_samples);
        loop {
            let at = self.known.take(text, lines.byte(), &mut self.batch, samples_max);
            lines.skip_to(at);
            if !self.batch.is_full(samples_max) {
                match lines.next() {
                    Some(Ok(line)) => {
                        let series = self.batch.push(&line);
                        self.known.learn(&text[at..lines.byte()], &line, &self.batch, series);
                    }
                    Some(Err(_)) => ForwardStatus::count(&self.shared.status.foreign_lines, 1),
                    None => break,
                }
            }
            if self.batch.is_full(samples_max) {
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
        let mut next = self.spare.pop().unwrap_or_else(|| Batch::new(self.sharding.clone()));
        self.batch.read_ns.1 = self.shared.now_ns();
        next.read_ns.0 = self.batch.read_ns.1;
        let batch = Arc::new(std::mem::replace(&mut self.batch, next));
        self.known.begin_batch();
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
        self.reading.delivered = self.taken;
        Ok(())
    }

    /// Waits until fewer than `batches` are being delivered.
    fn wait_for_lanes(&mut self, batches: usize) -> Result<(), Stopped> {
        while self.in_flight.len() >= batches {
            match self.lanes.done.recv_timeout(limits::FORWARD_WAIT_SLICE) {
                Ok(lane) => self.note_done(lane),
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) if self.shared.stop.is_over() => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => self.reading.count_behind(limits::FORWARD_READ_BYTES),
            }
            self.reading.record(false);
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
            self.reading.delivered = Some(behind);
            if let Some(mut batch) = Arc::into_inner(batch) {
                batch.clear();
                self.spare.push(batch);
            }
        }
    }
}

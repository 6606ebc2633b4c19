//! The thread of one forward: it reads on from the cursor, sends a batch until the receiver has acknowledged or refused
//! it, and only then goes on.

use super::{
    batch::Batch,
    client::{Client, Outcome},
    config::{ForwardConfig, StartAt},
    cursor,
};
use crate::{
    limits,
    stats::{ForwardStatus, RefusedBy},
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{FollowError, Follower, LogPosition, LogStatus, SegmentId, Start, os::sched::set_nice, segment::Catalog};
use metric::Lines;
use std::{
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The end of the server, as a forward learns of it.
#[derive(Debug)]
pub struct Stop {
    /// True once the server stops.
    pub is_over: Arc<AtomicBool>,
    /// Disconnected once the server stops.
    pub woken: Receiver<()>,
}

impl Stop {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits. Returns early, and true, if the server stops.
    fn wait(&self, time: Duration) -> bool {
        self.woken.recv_timeout(time) != Err(RecvTimeoutError::Timeout) || self.is_over()
    }
}

/// The work of one thread.
#[derive(Debug)]
pub struct Job {
    config: ForwardConfig,
    directory: PathBuf,
    log: Arc<LogStatus>,
    status: Arc<ForwardStatus>,
    stop: Stop,
    /// The position that the receiver has everything before; `None` before the first was determined.
    delivered: Option<LogPosition>,
    /// The position in the cursor's file, and the time it was written.
    recorded: Option<LogPosition>,
    recorded_at: Instant,
    counted_at: Option<Instant>,
    warned: Warned,
}

/// The times of the last warnings: at most one of a kind in [`limits::FORWARD_WARN_INTERVAL`].
#[derive(Debug, Default)]
struct Warned {
    refused: Option<Instant>,
    failing: Option<Instant>,
    cursor: Option<Instant>,
    unreadable: Option<Instant>,
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= limits::FORWARD_WARN_INTERVAL);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

impl Job {
    /// The work of a forward of the log in `directory`.
    pub fn new(
        config: ForwardConfig,
        directory: &Path,
        log: Arc<LogStatus>,
        status: Arc<ForwardStatus>,
        stop: Stop,
    ) -> Self {
        Self {
            config,
            directory: directory.to_owned(),
            log,
            status,
            stop,
            delivered: None,
            recorded: None,
            recorded_at: Instant::now(),
            counted_at: None,
            warned: Warned::default(),
        }
    }

    /// Forwards until the server stops.
    pub fn run(mut self) {
        if let Err(error) = set_nice(limits::FORWARD_NICE) {
            tracing::warn!("the thread of the forward {} cannot be made nice: {error}", self.config.name);
        }
        let is_over = Arc::clone(&self.stop.is_over);
        let config = self.config.clone();
        let mut client = Client::new(&config, &is_over);
        let mut work = Work::default();
        let mut follower = None;
        while !self.stop.is_over() {
            let Some(reader) = &mut follower else {
                follower = self.open();
                if follower.is_none() && self.stop.wait(limits::FORWARD_BATCH_AGE) {
                    break;
                }
                continue;
            };
            work.lines.clear();
            match reader.read(&mut work.lines, limits::FORWARD_READ_BYTES) {
                Ok(read) => {
                    let end = reader.position();
                    if !self.deliver(&mut client, &mut work, end) {
                        break;
                    }
                    self.count_behind(read);
                    // What was written in the meantime goes together.
                    if read < limits::FORWARD_READ_BYTES / 2 {
                        self.record(true);
                        if self.stop.wait(limits::FORWARD_BATCH_AGE) {
                            break;
                        }
                    }
                }
                Err(error) => {
                    self.note_unreadable(&error);
                    follower = None;
                    if self.stop.wait(limits::FORWARD_BATCH_AGE) {
                        break;
                    }
                }
            }
        }
        self.record(true);
    }

    /// Opens the log at the position that is delivered, at that of the cursor, or where a new forward begins.
    fn open(&mut self) -> Option<Follower> {
        let name = &self.config.name;
        let start = match self.delivered {
            Some(position) => Start::At(position),
            None => match cursor::read(&self.directory, name) {
                Ok(Some(position)) => Start::At(position),
                Ok(None) => self.first_start(),
                Err(error) => {
                    let start = self.config.start;
                    tracing::warn!("{}: {error}; forwarding starts at the {start:?}", cursor::file_name(name));
                    self.first_start()
                }
            },
        };
        let opened = match Follower::open(&self.directory, Arc::clone(&self.log), start) {
            Err(error @ (FollowError::Gone { .. } | FollowError::InsideLine)) => {
                ForwardStatus::count(&self.status.gaps, 1);
                self.status.note_error(&error.to_string());
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
        match self.config.start {
            StartAt::End => Start::End,
            StartAt::Beginning => Start::Oldest,
        }
    }

    /// Delivers the lines that were read, which end at `end`. Returns false if the server stops before.
    fn deliver(&mut self, client: &mut Client<'_>, work: &mut Work, end: LogPosition) -> bool {
        let begin = end.byte.saturating_sub(work.lines.len() as u64);
        let Work { lines, batch, request, body, encoder } = work;
        let mut lines = Lines::new(lines);
        loop {
            batch.clear();
            let mut count = 0;
            while count < limits::FORWARD_BATCH_SAMPLES {
                match lines.next() {
                    None => break,
                    Some(Ok(line)) => batch.push(&line),
                    Some(Err(_)) => ForwardStatus::count(&self.status.foreign_lines, 1),
                }
                count += 1;
            }
            if batch.len() > 0 {
                batch.write(request);
                body.resize(snap::raw::max_compress_len(request.len()), 0);
                match encoder.0.compress(request, body) {
                    Ok(bytes) => body.truncate(bytes),
                    Err(error) => unreachable!("a batch is far smaller than snappy's limit: {error}"),
                }
                if !self.send(client, body, batch.len()) {
                    return false;
                }
                ForwardStatus::count(&self.status.superseded, batch.superseded());
            }
            self.delivered = Some(LogPosition { segment: end.segment, byte: begin + lines.byte() as u64 });
            if count < limits::FORWARD_BATCH_SAMPLES {
                self.delivered = Some(end);
                return true;
            }
            self.record(false);
        }
    }

    /// Sends a request until it is acknowledged or refused. Returns false if the server stops before.
    fn send(&mut self, client: &mut Client<'_>, body: &[u8], samples: usize) -> bool {
        let mut back_off = limits::FORWARD_BACK_OFF_MIN;
        let mut attempts = 0_u32;
        loop {
            let name = &self.config.name;
            match client.send(body) {
                Outcome::Acknowledged => {
                    ForwardStatus::count(&self.status.delivered, samples);
                    ForwardStatus::count(&self.status.requests, 1);
                    if self.warned.failing.take().is_some() {
                        tracing::info!("forward {name}: the receiver accepts again, after {attempts} failed attempts");
                    }
                    return true;
                }
                Outcome::Refused(code, text) => {
                    ForwardStatus::count(&self.status.refused[RefusedBy::status(code) as usize], samples);
                    self.status.note_error(&format!("status {code}: {text}"));
                    if is_due(&mut self.warned.refused) {
                        tracing::warn!("forward {name}: {samples} samples refused with {code}: {text}");
                    }
                    return true;
                }
                Outcome::Failed(..) if self.stop.is_over() => return false,
                Outcome::Failed(why, asked) => {
                    attempts = attempts.saturating_add(1);
                    ForwardStatus::count(&self.status.retries, 1);
                    self.status.note_error(&why);
                    if is_due(&mut self.warned.failing) {
                        tracing::warn!("forward {name}: {why}; it is tried again until it succeeds");
                    }
                    self.count_behind(limits::FORWARD_READ_BYTES);
                    if self.stop.wait(asked.unwrap_or_default().max(jittered(back_off))) {
                        return false;
                    }
                    back_off = (back_off * 2).min(limits::FORWARD_BACK_OFF_MAX);
                }
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
        match cursor::write(&self.directory, &self.config.name, delivered) {
            Ok(()) => self.recorded = Some(delivered),
            Err(error) => {
                ForwardStatus::count(&self.status.cursor_failures, 1);
                if is_due(&mut self.warned.cursor) {
                    let file = cursor::file_name(&self.config.name);
                    tracing::warn!("cannot write {file}: {error}; after a restart samples are sent again");
                }
            }
        }
    }

    /// Counts the backlog, once in a while.
    fn count_behind(&mut self, read: usize) {
        if read == 0 {
            self.status.note_caught_up();
            return;
        }
        if self.counted_at.is_some_and(|last| last.elapsed() < limits::FORWARD_COUNT_INTERVAL) {
            return;
        }
        self.counted_at = Some(Instant::now());
        if let Some(Ok(bytes)) = self.delivered.map(|position| self.behind(position)) {
            self.status.bytes_behind.store(bytes, Ordering::Relaxed);
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

    fn note_unreadable(&mut self, error: &FollowError) {
        self.status.note_error(&error.to_string());
        if is_due(&mut self.warned.unreadable) {
            tracing::warn!("forward {}: {error}", self.config.name);
        }
    }
}

/// The compressor, whose table is kept between requests.
struct Snappy(snap::raw::Encoder);

impl Default for Snappy {
    fn default() -> Self {
        Self(snap::raw::Encoder::new())
    }
}

/// Memory that batches share.
#[derive(Default)]
struct Work {
    lines: Vec<u8>,
    batch: Batch,
    request: Vec<u8>,
    body: Vec<u8>,
    encoder: Snappy,
}

/// A wait between half of the given one and all of it, so that many senders do not return at one moment.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(Instant::now()) % 1_000;
    wait / 2 + wait / 2 * u32::try_from(random).unwrap_or(0) / 1_000
}

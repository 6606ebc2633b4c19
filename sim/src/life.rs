//! One life of the server's log on the machine: it is opened, written by reactors, maintained, and ends.

use crate::{
    book::{Batch, Book},
    forwarding::{self, Forwarding},
    options::{Options, REACTOR_ENDS},
    oracle,
    querier::Querier,
    service,
};
use host::{
    thread::{self, JoinHandle},
    time::Instant,
};
use log::{
    AckLevel, Appender, Log, LogError, LogStatus, Opened, Previous, Settings,
    segment::{BlockReader, Catalog, Maintenance, MaintenanceSetup, Sidecar},
};
use machine::Random;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use wake::{Doorbell, clock::Clock};

/// The data directory.
pub const DIRECTORY: &str = "/data";

/// The book, shared by the threads of the machine: it is locked only between two calls.
pub type Shared = Arc<Mutex<Book>>;

pub fn locked(book: &Shared) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The inputs of one life of the server.
pub struct Life {
    pub number: usize,
    pub options: Options,
    pub book: Shared,
    pub random: Random,
    /// Faults are off: everything has to succeed.
    pub is_calm: bool,
    /// Set when everything was written and synced.
    pub is_stopped: Arc<Mutex<bool>>,
}

impl Life {
    /// The main thread of the server.
    pub fn run(mut self) {
        let directory = PathBuf::from(DIRECTORY);
        let opened = match log::open(&directory) {
            Ok(opened) => opened,
            // It is started again.
            Err(error) if self.is_calm => panic!("the log cannot be opened: {error}"),
            Err(_) => return,
        };
        {
            let mut book = locked(&self.book);
            let removed = machine::take_removed();
            // Without retention no batch may go: what compression removes is to be there in its other form.
            if self.options.retains() {
                oracle::note_removed(&directory, &mut book, removed);
            }
            book.note_opened(self.number, opened.report.previous == Previous::Clean);
            // In this life: a step before it is known since that one ended.
            if machine::clock_steps() > 0 && !book.clock_was_set {
                book.clock_was_set = true;
                book.expect_torn_batches();
            }
            let is_unread = matches!(opened.report.previous, Previous::Unknown | Previous::Damaged);
            if is_unread && self.options.faults.bit_rot > 0 {
                book.expect_torn_batches();
            }
            if let Err(error) = oracle::check(&directory, &mut book) {
                panic!("after the start of life {}: {error} ({})", self.number, opened.report);
            }
            if self.options.forward.is_some()
                && let Err(error) = forwarding::check(&directory, &book)
            {
                panic!("after the start of life {}: {error} ({})", self.number, opened.report);
            }
        }
        if self.is_calm && !locked(&self.book).sync_failed {
            check_sidecars(&directory);
        }
        match self.serve(opened, &directory) {
            Ok(()) => *self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true,
            Err(error) if self.is_calm => panic!("the log fails: {error}"),
            Err(_) => {}
        }
    }

    /// Starts who asks the log, if there is somebody.
    pub fn start_querier(&mut self, status: &Arc<LogStatus>) -> Option<JoinHandle<Querier>> {
        if self.options.queries == 0 {
            return None;
        }
        let random = Random::new(self.random.bits());
        let querier = Querier::new(self.number, status, &self.book, random, &self.options, self.is_calm);
        Some(thread::spawn(move || querier.run()))
    }

    fn serve(&mut self, opened: Opened, directory: &Path) -> Result<(), LogError> {
        let options = &self.options;
        let settings = Settings {
            poll_before_sleep: options.poll,
            rotate_bytes: options.rotate_bytes,
            rotate_age: options.rotate_age,
            ..Settings::default()
        };
        let holds = forwarding::holds(options.forward.as_ref(), &self.book);
        let setup = MaintenanceSetup {
            directory: directory.to_owned(),
            compress: options.compress,
            retain_bytes: options.retain_bytes,
            retain_age: options.retain_age,
            holds: holds.clone(),
            clock: Clock::start(),
            watch: Some(opened.watch),
        };
        let maintenance = if options.maintenance { Maintenance::start(setup).ok() } else { None };
        if let Some(maintenance) = &maintenance {
            opened.file.keep_with(maintenance.bell());
        }
        let bells: Vec<_> = (0..options.reactors).map(|_| Arc::new(Doorbell::new().expect("an event"))).collect();
        let log = Log::new(opened.file, &bells, options.ring_bytes, settings).map_err(LogError::Write)?;
        let forward = self.options.forward.as_ref();
        let random = if forward.is_some() { Random::new(self.random.bits()) } else { Random::new(0) };
        let forwarding = Forwarding::start(forward, &log.status, &holds, &self.book, random, self.is_calm);
        if let Some(http) = self.options.http.clone() {
            let result = service::serve(self, &http, bells, log, forwarding);
            drop(maintenance);
            return result;
        }
        let Log { appenders, writer, group_commit, status } = log;
        let threads = [thread::spawn(move || writer.run()), thread::spawn(move || group_commit.run())];
        let mut reactors = Vec::new();
        for (number, (appender, bell)) in appenders.into_iter().zip(bells).enumerate() {
            let reactor = Reactor {
                producer: (self.number, number),
                appender,
                bell,
                waiting: VecDeque::new(),
                book: Arc::clone(&self.book),
                random: Random::new(self.random.bits()),
                options: self.options.clone(),
            };
            reactors.push(thread::spawn(move || reactor.run()));
        }
        let querier = self.start_querier(&status);
        for _ in 0..self.options.requested_rotations {
            thread::sleep(Duration::from_micros(self.random.below(20_000)));
            status.ask_for_rotation();
        }
        reactors.into_iter().for_each(join);
        if let Some(mut querier) = querier.map(join) {
            querier.query();
        }
        if let Some(forwarding) = forwarding {
            forwarding.finish(self.is_calm);
        }
        let [writer, group_commit] = threads.map(join);
        drop(maintenance);
        writer?;
        group_commit
    }
}

pub fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("a panic ends the run")
}

/// A reactor with the clients of the log.
struct Reactor {
    producer: (usize, usize),
    appender: Appender,
    bell: Arc<Doorbell>,
    /// Batches that wait for an acknowledgement, with the position that it takes.
    waiting: VecDeque<(usize, u64, AckLevel)>,
    book: Shared,
    random: Random,
    options: Options,
}

impl Reactor {
    fn run(mut self) {
        let mut left = self.options.batches;
        while left > 0 && !self.appender.health().has_failed() {
            let turn = self.random.between(1, 3).min(left);
            for _ in 0..turn {
                left -= u64::from(self.commit());
            }
            self.appender.publish();
            self.acknowledge();
            if self.waiting.len() as u64 >= self.options.outstanding_max {
                self.sleep(None);
            } else if self.random.below(4) == 0 {
                thread::sleep(Duration::from_micros(self.random.below(2_000)));
            } else {
                thread::yield_now();
            }
        }
        while !self.waiting.is_empty() && !self.appender.health().has_failed() {
            self.sleep(None);
        }
        machine::milestone(REACTOR_ENDS);
    }

    /// Hands a batch to the log. Returns false if it is refused.
    fn commit(&mut self) -> bool {
        if !self.appender.health().is_healthy() {
            self.sleep(Some(Duration::from_millis(100)));
            return false;
        }
        let level = self.options.levels.draw(&mut self.random);
        let mut book = locked(&self.book);
        let text = book.write(&mut self.random, self.options.lines_max, self.options.pad_max);
        let bytes_max = (text.len() + self.random.below(200) as usize).min(self.appender.capacity_bytes());
        if text.len() > bytes_max {
            // Longer than the ring: the server refuses it.
            return true;
        }
        let Some(place) = self.appender.reserve(bytes_max) else {
            drop(book);
            // 503: the client comes again.
            self.appender.publish();
            self.sleep(Some(Duration::from_millis(5)));
            return false;
        };
        place[..text.len()].copy_from_slice(&text);
        let position = self.appender.commit(text.len(), level);
        self.waiting.push_back((book.batches.len(), position, level));
        book.batches.push(Batch::new(self.producer, level, text));
        true
    }

    /// Sends the responses that may be sent.
    fn acknowledge(&mut self) {
        let appender = &self.appender;
        let reached = [AckLevel::Memory, AckLevel::Write, AckLevel::Fsync].map(|level| appender.acknowledged(level));
        let mut book = locked(&self.book);
        self.waiting.retain(|&(number, position, level)| {
            let is_reached = reached[level as usize] >= position;
            book.batches[number].is_acknowledged |= is_reached;
            !is_reached
        });
    }

    /// Sleeps as a reactor does: until it is woken, or for a while.
    fn sleep(&mut self, limit: Option<Duration>) {
        let before = self.waiting.len();
        self.bell.announce_sleep();
        self.acknowledge();
        if self.waiting.len() == before && !self.appender.health().has_failed() && (limit.is_some() || before > 0) {
            self.bell.wait(limit);
        }
        self.bell.awake();
        self.bell.drain();
        self.acknowledge();
    }
}

/// Every sidecar describes its segment, to the checksum.
fn check_sidecars(directory: &Path) {
    let began = Instant::now();
    let catalog = Catalog::list(directory).expect("the directory can be listed");
    for segment in catalog.segments.iter().filter(|segment| segment.sidecar.is_some()) {
        let sidecar = match Sidecar::read(directory, segment.name) {
            Ok(sidecar) => sidecar,
            Err(error) => panic!("the sidecar of {} cannot be read: {error}", segment.name),
        };
        assert!(sidecar.fits(segment.plain, segment.compressed), "the sidecar of {} is of another file", segment.name);
        let mut reader = BlockReader::open(directory, segment.name).expect("the segment can be opened");
        let mut lines = Vec::new();
        for block in &sidecar.blocks {
            if let Err(error) = reader.read(block, &mut lines) {
                panic!("segment {}: {error}", segment.name);
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60), "a check without faults takes no time");
}

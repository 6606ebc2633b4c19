//! The thread of a forward to Kafka: it reads the log on from the cursor in Kafka, and commits transaction after
//! transaction, each of what one read of the log has found.
//!
//! The lines of a transaction stay in memory until it is committed. After an abort the same lines are sent again; after
//! the loss of a session, the cursor that Kafka has says whether they were committed. The cursor on disk follows: it is
//! what retention goes by, and where the forward begins if Kafka has forgotten its own.

use super::{
    config::KafkaConfig,
    identity,
    record::Records,
    session::{Committed, Failure, Session},
};
use crate::{
    forward::{
        lane::{Attempts, Shared, jittered},
        reading::{Reading, Stopped},
    },
    limits,
    stats::{ForwardStatus, RefusedBy},
    trace::{DeliveryOutcome, DeliveryStage, DeliveryTracer},
};
use log::{FollowError, Follower, LineBuffer, LogPosition, Start};
use metric::Lines;
use rdkafka::error::RDKafkaErrorCode;
use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// The reason why a transaction is not committed.
#[derive(Debug)]
enum Undone {
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stopped> for Undone {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// The extent of a transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Extent {
    lines: usize,
    bytes: usize,
    /// Lines that are lines of the log, each of which is a record.
    records: usize,
}

/// The work of the thread.
pub struct Job {
    shared: Arc<Shared>,
    reading: Reading,
    config: KafkaConfig,
    identity: String,
    records: Records,
    /// `None`: it was lost, or is not made yet.
    session: Option<Session>,
    /// True once the session has the right to write.
    is_ready: bool,
    /// The cursor that Kafka has, as far as is known; `None` before it was read, or if there is none.
    committed: Option<Committed>,
    /// A cursor of which it is not known whether it is committed.
    pending: Option<Committed>,
    committed_at: Instant,
    back_off: Duration,
    tracer: DeliveryTracer,
    /// By the clock of traces: the begin and end of the last read of the log, and the time at which the brokers had all
    /// records of the last transaction.
    read_ns: (u64, u64),
    flushed_ns: u64,
}

impl Job {
    /// The work of a forward of the log in `directory`.
    ///
    /// # Errors
    /// The identity cannot be had, or librdkafka does not take the configuration.
    pub fn new(shared: Arc<Shared>, reading: Reading, config: &KafkaConfig, directory: &Path) -> io::Result<Self> {
        let identity = identity::of(directory, &shared.config.name)?;
        let session = Session::new(config, &identity)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("forward {}: {why}", config.url)))?;
        Ok(Self {
            tracer: shared.tracer(),
            read_ns: (0, 0),
            flushed_ns: 0,
            shared,
            reading,
            config: config.clone(),
            identity,
            records: Records::new(config.key.clone(), config.value),
            session: Some(session),
            is_ready: false,
            committed: None,
            pending: None,
            committed_at: Instant::now(),
            back_off: limits::FORWARD_BACK_OFF_MIN,
        })
    }

    /// Forwards until the server stops.
    pub fn run(mut self) {
        self.shared.yield_to_reactors();
        let mut lines = LineBuffer::default();
        let mut follower = None;
        while let Ok(()) = self.step(&mut follower, &mut lines) {}
        if let Some(session) = self.session.as_ref().filter(|_| self.is_ready) {
            // Readers need not wait for the end of an open transaction. Without one, it fails.
            drop(session.abort());
        }
        self.reading.record(true);
    }

    /// Reads on, and waits where there is nothing to read.
    fn step(&mut self, follower: &mut Option<Follower>, lines: &mut LineBuffer) -> Result<(), Stopped> {
        if self.shared.stop.is_over() {
            return Err(Stopped);
        }
        if !self.is_ready {
            *follower = None;
            return self.connect();
        }
        let Some(reader) = follower else {
            *follower = self.open()?;
            return if follower.is_none() { self.reading.wait(limits::FORWARD_OPEN_INTERVAL) } else { Ok(()) };
        };
        lines.clear();
        self.read_ns.0 = self.tracer.now_ns();
        let read = match reader.read(lines, limits::KAFKA_TRANSACTION_BYTES) {
            Ok(read) => read,
            Err(error @ FollowError::Gone { oldest }) => {
                self.reading.note_gap(&error);
                reader.skip_to(oldest);
                return Ok(());
            }
            Err(error) => {
                self.reading.note_unreadable(&error);
                *follower = None;
                return self.reading.wait(limits::FORWARD_OPEN_INTERVAL);
            }
        };
        self.read_ns.1 = self.tracer.now_ns();
        let end = reader.position();
        if !self.shared.status.hold.advance(end) {
            // Deleted, and counted: it goes on at the oldest line that is kept.
            *follower = None;
            return self.reading.wait(limits::FORWARD_WAIT_SLICE);
        }
        let is_behind = read >= limits::KAFKA_TRANSACTION_BYTES / 2 || !reader.is_in_active();
        if !self.deliver(lines, end)? {
            return Ok(());
        }
        // Also where nothing was read: at the beginning of the next segment, and before the brokers forget it.
        let is_stale = self.committed_at.elapsed() >= limits::KAFKA_CURSOR_REFRESH;
        if (is_stale || self.reading.delivered != Some(end)) && !self.put_cursor(end, 0)? {
            return Ok(());
        }
        self.reading.count_behind(read);
        self.reading.record(!is_behind);
        if is_behind {
            return Ok(());
        }
        if let Some(session) = &self.session {
            session.poll(Duration::ZERO);
        }
        // What is written in the meantime goes together.
        let age = self.shared.config.batch_age;
        self.reading.wait(age)
    }

    /// Gets the right to write, and reads the cursor. Returns after each attempt.
    fn connect(&mut self) -> Result<(), Stopped> {
        match self.try_connect() {
            Ok(found) => {
                if let Some(found) = found.filter(|found| self.committed.is_some() && !self.knows(*found)) {
                    return self.stand_down(found);
                }
                self.committed = found;
                self.pending = None;
                self.is_ready = true;
                self.back_off = limits::FORWARD_BACK_OFF_MIN;
                Ok(())
            }
            Err(Failure::Again(why)) => self.fail(&why),
            Err(Failure::Lost(why) | Failure::Abort(why)) => {
                self.session = None;
                self.fail(&why)
            }
            Err(Failure::Refused(code)) => self.fail(&code.to_string()),
        }
    }

    /// True for a cursor that this forward has put.
    fn knows(&self, found: Committed) -> bool {
        let is_own =
            |own: Committed| own.lines == found.lines && (found.position.is_none() || own.position == found.position);
        [self.committed, self.pending].into_iter().flatten().any(is_own)
    }

    fn try_connect(&mut self) -> Result<Option<Committed>, Failure> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::new(&self.config, &self.identity).map_err(Failure::Lost)?),
        };
        session.poll(Duration::ZERO);
        session.init()?;
        session.cursor(limits::KAFKA_WAIT_SLICE)
    }

    /// Counts a failed attempt, and waits, each time longer.
    fn fail(&mut self, why: &str) -> Result<(), Stopped> {
        let time = jittered(self.back_off);
        self.back_off = (self.back_off * 2).min(limits::FORWARD_BACK_OFF_MAX);
        if self.shared.wait(why, time) { Ok(()) } else { Err(Stopped) }
    }

    /// Waits for the end of the server: another one has moved the cursor while this one was running. Both have the
    /// identity of one data directory, and each would go on from where the other was in its own log.
    fn stand_down(&mut self, found: Committed) -> Result<(), Stopped> {
        let name = &self.shared.config.name;
        let why = format!(
            "the cursor in Kafka was moved to line {} by another server with a copy of this data directory, or by \
             hand; the forward ends, and continues from there at the next start",
            found.lines
        );
        self.shared.status.note_error(&why);
        tracing::error!("forward {name}: {why}");
        self.session = None;
        loop {
            self.reading.wait(limits::FORWARD_COUNT_INTERVAL)?;
            self.reading.count_behind(limits::FORWARD_READ_BYTES);
        }
    }

    /// Opens the log where Kafka has everything before, and puts the cursor there if Kafka has another one, or none.
    fn open(&mut self) -> Result<Option<Follower>, Stopped> {
        let start = match self.committed {
            Some(Committed { position: Some(position), lines }) => {
                self.reading.lines = Some(lines);
                Start::At(position)
            }
            _ => match self.reading.start() {
                Some(start) => start,
                None => return Ok(None),
            },
        };
        let name = &self.shared.config.name;
        if let (None, Start::At(position)) = (self.committed, start) {
            tracing::warn!(
                "forward {name}: Kafka has no cursor of {}; it continues from {position}, as {} says, and what was \
                 delivered behind that before a crash is delivered again",
                self.identity,
                crate::forward::file_name(name)
            );
        }
        let Some(mut follower) = self.reading.open(start) else { return Ok(None) };
        if let Some(Committed { lines, position: None }) = self.committed {
            // The offset says how many lines are behind the position on disk.
            match self.reading.lines.and_then(|known| lines.checked_sub(known)) {
                Some(0) => {}
                Some(more) => match self.skip(follower, more)? {
                    Some(skipped) => follower = skipped,
                    None => return Ok(None),
                },
                None => tracing::warn!(
                    "forward {name}: Kafka has {lines} lines, but keeps no position, and {} has {}; it continues from \
                     there, and lines may be delivered again",
                    crate::forward::file_name(name),
                    self.reading.lines.map_or_else(|| "no number".to_owned(), |known| known.to_string())
                ),
            }
            // Brokers that return an older cursor: the number stays that of the lines before the position.
            let lines = self.reading.lines.map_or(lines, |known| known.max(lines));
            self.reading.lines = Some(lines);
            self.committed = Some(Committed { lines, position: None });
        }
        let position = follower.position();
        if self.committed.and_then(|cursor| cursor.position) != Some(position) && !self.put_cursor(position, 0)? {
            return Ok(None);
        }
        self.reading.record(true);
        Ok(Some(follower))
    }

    /// Opens the log `count` lines further on. `None`: it cannot be read now.
    fn skip(&mut self, mut follower: Follower, count: u64) -> Result<Option<Follower>, Stopped> {
        let (mut lines, mut left) = (LineBuffer::default(), count);
        loop {
            if self.shared.stop.is_over() {
                return Err(Stopped);
            }
            lines.clear();
            match follower.read(&mut lines, limits::FORWARD_READ_BYTES) {
                Ok(0) => {
                    tracing::warn!("forward {}: the log has {left} lines fewer than Kafka", self.shared.config.name);
                    self.reading.delivered = Some(follower.position());
                    return Ok(Some(follower));
                }
                Ok(_) => {}
                Err(error) => {
                    self.reading.note_unreadable(&error);
                    return Ok(None);
                }
            }
            let skipped = extent(&lines, usize::try_from(left).unwrap_or(usize::MAX));
            left -= skipped.lines as u64;
            if left == 0 {
                let end = follower.position();
                let byte = end.byte.saturating_sub((lines.len() - skipped.bytes) as u64);
                return Ok(self.reading.open(Start::At(LogPosition { segment: end.segment, byte })));
            }
        }
    }

    /// Commits a cursor without records, which passes by so many lines. Returns false if the session is lost.
    fn put_cursor(&mut self, position: LogPosition, passed: u64) -> Result<bool, Stopped> {
        loop {
            match self.transact(&[], 0, passed, |_| position) {
                Ok(_) => return Ok(true),
                Err(Undone::Stopped) => return Err(Stopped),
                Err(Undone::Failed(failure)) => {
                    if !self.settle(&failure)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Delivers lines that end at `end` in the log. Returns false if the session is lost, and with it the knowledge of
    /// what is committed.
    fn deliver(&mut self, lines: &[u8], end: LogPosition) -> Result<bool, Stopped> {
        let begin = end.byte.saturating_sub(lines.len() as u64);
        let position = |byte: usize| LogPosition { segment: end.segment, byte: begin + byte as u64 };
        let (mut from, mut lines_max) = (0, usize::MAX);
        let mut attempts = Attempts::default();
        while from < lines.len() {
            attempts.begin(self.tracer.now_ns());
            match self.transact(&lines[from..], lines_max, 0, |bytes| position(from + bytes)) {
                Ok(extent) => {
                    self.note_delivered(extent);
                    self.trace(std::mem::take(&mut attempts), extent, 0);
                    from += extent.bytes;
                    lines_max = lines_max.saturating_mul(2);
                }
                Err(Undone::Stopped) => return Err(Stopped),
                Err(Undone::Failed(failure)) => {
                    if !self.settle(&failure)? {
                        return Ok(false);
                    }
                    let Failure::Refused(code) = failure else { continue };
                    // One of them is refused: half of them, until it is alone, and then without it.
                    let tried = extent(&lines[from..], lines_max);
                    if tried.lines > 1 {
                        lines_max = tried.lines / 2;
                        continue;
                    }
                    if !self.put_cursor(position(from + tried.bytes), 1)? {
                        return Ok(false);
                    }
                    self.note_refused(code);
                    self.trace(std::mem::take(&mut attempts), tried, 1);
                    from += tried.bytes;
                }
            }
        }
        Ok(true)
    }

    /// Commits the first `lines_max` of `lines` as one transaction, with the position behind them as the cursor. The
    /// `passed` lines behind them are counted, and not sent.
    fn transact(
        &mut self,
        lines: &[u8],
        lines_max: usize,
        passed: u64,
        position: impl Fn(usize) -> LogPosition,
    ) -> Result<Extent, Undone> {
        let session = self.session.as_ref().ok_or_else(no_session)?;
        session.begin()?;
        let mut done = Extent::default();
        let mut reader = Lines::new(lines);
        while done.lines < lines_max
            && let Some(line) = reader.next()
        {
            let text = &lines[done.bytes..reader.byte()];
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            if let Ok(line) = line {
                let (key, value) = self.records.record(&line, text);
                while session.send(key, value)?.is_err() {
                    if self.shared.stop.is_over() {
                        return Err(Undone::Stopped);
                    }
                    session.poll(limits::FORWARD_WAIT_SLICE);
                }
                done.records += 1;
                if done.records % limits::KAFKA_RECORDS_PER_POLL == 0 {
                    session.poll(Duration::ZERO);
                }
            }
            done.lines += 1;
            done.bytes = reader.byte();
        }
        while !session.flush()? {
            if self.shared.stop.is_over() {
                return Err(Undone::Stopped);
            }
        }
        self.flushed_ns = self.tracer.now_ns();
        let before = self.committed.map_or(self.reading.lines, |cursor| Some(cursor.lines)).unwrap_or(0);
        let (position, lines) = (position(done.bytes), before + done.lines as u64 + passed);
        let cursor = Committed { lines, position: Some(position) };
        self.insist(|session| session.put_cursor(position, lines, self.shared.config.timeout))?;
        // From here on, only Kafka knows.
        self.pending = Some(cursor);
        self.insist(Session::commit)?;
        self.pending = None;
        self.committed = Some(cursor);
        self.committed_at = Instant::now();
        self.reading.delivered = Some(position);
        self.reading.lines = Some(lines);
        self.back_off = limits::FORWARD_BACK_OFF_MIN;
        Ok(done)
    }

    /// Makes a call again and again while its failure says so.
    fn insist<T>(&self, call: impl Fn(&Session) -> Result<T, Failure>) -> Result<T, Undone> {
        let mut back_off = limits::FORWARD_BACK_OFF_MIN;
        let session = self.session.as_ref().ok_or_else(no_session)?;
        loop {
            match call(session) {
                Err(Failure::Again(why)) => {
                    if !self.shared.wait(&why, jittered(back_off)) {
                        return Err(Undone::Stopped);
                    }
                    session.poll(Duration::ZERO);
                    back_off = (back_off * 2).min(limits::FORWARD_BACK_OFF_MAX);
                }
                result => return result.map_err(Undone::Failed),
            }
        }
    }

    /// Does what a failure requires. Returns false if the session is lost.
    fn settle(&mut self, failure: &Failure) -> Result<bool, Stopped> {
        let why = match failure {
            // A call that is made again in the same transaction has failed at the bound of its own; begin anew.
            Failure::Abort(why) | Failure::Again(why) => why.clone(),
            Failure::Refused(code) => code.to_string(),
            Failure::Lost(why) => return self.lose(why),
        };
        match self.abort() {
            Ok(()) => self.pending = None,
            Err(Undone::Stopped) => return Err(Stopped),
            Err(Undone::Failed(error)) => {
                return self.lose(&format!("{why}; it cannot be aborted: {error:?}"));
            }
        }
        // The search for a record that is refused makes no pauses.
        if !matches!(failure, Failure::Refused(_)) {
            self.fail(&why)?;
        }
        Ok(true)
    }

    fn abort(&self) -> Result<(), Undone> {
        while !self.insist(Session::abort)? {
            if self.shared.stop.is_over() {
                return Err(Undone::Stopped);
            }
        }
        Ok(())
    }

    fn lose(&mut self, why: &str) -> Result<bool, Stopped> {
        self.session = None;
        self.is_ready = false;
        self.fail(why)?;
        Ok(false)
    }

    fn note_delivered(&self, extent: Extent) {
        self.shared.note_delivered(extent.records);
        ForwardStatus::count(&self.shared.status.foreign_lines, extent.lines - extent.records);
    }

    /// Traces a transaction that was committed just now, or passed by because a record in it is refused.
    fn trace(&mut self, attempts: Attempts, extent: Extent, refused: u64) {
        let now_ns = self.tracer.now_ns();
        self.tracer.finish(DeliveryOutcome {
            stages: [
                DeliveryStage::new("read", self.read_ns.0, self.read_ns.1),
                attempts.retry(),
                DeliveryStage::new("send", attempts.last_ns, self.flushed_ns),
                DeliveryStage::new("commit", self.flushed_ns, now_ns),
                DeliveryStage::default(),
            ],
            first_attempt_ns: attempts.first_ns,
            attempts: attempts.count,
            samples: (extent.records as u64).max(refused),
            refused,
            bytes: extent.bytes as u64,
            status: 0,
        });
    }

    fn note_refused(&self, code: RDKafkaErrorCode) {
        let by = match code {
            RDKafkaErrorCode::MessageSizeTooLarge => RefusedBy::TooLarge,
            _ => RefusedBy::Other,
        };
        self.shared.note_refused(by, 1, 0, &format!("the brokers do not take a record: {code}"));
    }
}

fn no_session() -> Failure {
    Failure::Lost("there is no session".to_owned())
}

/// The extent of the first `lines_max` lines, without looking into them.
fn extent(lines: &[u8], lines_max: usize) -> Extent {
    let mut extent = Extent::default();
    for end in memchr::memchr_iter(b'\n', lines).take(lines_max) {
        extent.lines += 1;
        extent.bytes = end + 1;
    }
    extent
}

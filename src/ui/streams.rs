//! The streams of `GET /ui/stream`, and the thread that feeds them. A reactor only opens a stream and sends the chunks
//! that it finds in its channel; every line is rendered once and shared.
//!
//! A stream whose client does not read holds the chunks of its channel and references to lines. When too many lines
//! wait it is ended, and counted.

use super::{
    history::History,
    jobs::{self, Body, DoctorReports, Done, Examiner, Job, JobResult, refused},
    marks::Marks,
};
use crate::{
    limits,
    query_pool::{
        Full, Seat, Seats, Sharer,
        response_channel::{Open, Permit, Reader, ReadyListener, ResponseEvent, SendError, Writer, pipe},
    },
    stats::{PointSpan, StreamEnd, StreamStatus, Update},
};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use http1::{HttpError, Piece};
use reactor::Token;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};
use wake::clock::Clock;

/// Media type of a stream: a JSON object on each line.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// Command of a reactor to the thread.
#[derive(Debug)]
enum Command {
    /// Feed a stream.
    Open(Stream),
    /// Do a job, and send its result to a stream.
    Start(Stream, Job),
    /// End all streams: the server stops.
    Drain,
}

/// The configuration of the thread.
#[derive(Debug)]
pub struct LiveSetup {
    /// Reactors that open streams.
    pub reactors: usize,
    /// The first line of each stream, but for the time.
    pub hello: Value,
    /// The doctor.
    pub examiner: Examiner,
    /// Points, from the observer.
    pub updates: Receiver<Update>,
    /// Counters of the streams.
    pub status: Arc<StreamStatus>,
    /// The server's clock.
    pub clock: Clock,
}

/// The thread that feeds the streams.
#[derive(Debug)]
pub struct Live {
    entry: Entry,
    thread: JoinHandle<()>,
}

/// State shared by all submitters.
#[derive(Debug, Clone)]
struct Entry {
    commands: Sender<Command>,
    /// The streams that waited for space in their channel and have it.
    spaces: Sender<u64>,
    open: Open,
    profiles: Open,
    profiles_unread: Open,
    small_jobs: Open,
    /// The streams and the doctor's reports, by client.
    stream_seats: Seats,
    doctor_seats: Seats,
    status: Arc<StreamStatus>,
    next_number: Arc<AtomicU64>,
}

/// One reactor's way to open streams.
#[derive(Debug)]
pub struct StreamOpener {
    entry: Entry,
    reactor: Arc<dyn ReadyListener>,
}

impl Live {
    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(setup: LiveSetup) -> io::Result<Self> {
        // A stream has one command under way at most, and a reactor one more.
        let streams_max = limits::STREAMS_MAX + limits::PROFILES_UNREAD_MAX + limits::SMALL_JOBS_MAX;
        let (commands, commanded) = bounded(streams_max + setup.reactors);
        let (spaces, have_space) = bounded(streams_max);
        let entry = Entry {
            commands,
            spaces,
            open: Open::up_to(limits::STREAMS_MAX),
            profiles: Open::up_to(limits::PROFILES_MAX),
            profiles_unread: Open::up_to(limits::PROFILES_UNREAD_MAX),
            small_jobs: Open::up_to(limits::SMALL_JOBS_MAX),
            stream_seats: Seats::new(limits::STREAMS_MAX),
            doctor_seats: Seats::new(limits::SMALL_JOBS_MAX),
            status: Arc::clone(&setup.status),
            next_number: Arc::default(),
        };
        let feeder = Feeder::new(setup);
        let run = move || feeder.run(&commanded, &have_space);
        let thread = thread::Builder::new().name("live".into()).spawn(run)?;
        Ok(Self { entry, thread })
    }

    /// A way to open streams for the reactor with this mailbox.
    #[must_use]
    pub fn opener(&self, reactor: Arc<dyn ReadyListener>) -> StreamOpener {
        StreamOpener { entry: self.entry.clone(), reactor }
    }

    /// Waits for the thread, which ends once every opener is gone. Returns false if it failed.
    #[must_use]
    pub fn stop(self) -> bool {
        let Self { entry, thread } = self;
        drop(entry);
        thread.join().is_ok()
    }
}

impl StreamOpener {
    /// Opens a stream to the connection that `token` names. Never waits.
    ///
    /// # Errors
    /// The refusal, and what the client reads: too many are open, or this client has its share of them.
    pub fn open(&self, token: Token, head_only: bool, sharer: Sharer) -> Result<Reader, (HttpError, &'static str)> {
        let Entry { commands, spaces, open, stream_seats, status, next_number, .. } = &self.entry;
        let taken = stream_seats.take(sharer).and_then(|seat| Ok((seat, open.admit().ok_or(Full::All)?)));
        let (seat, permit) = match taken {
            Ok(taken) => taken,
            Err(full) => {
                status.refuse();
                return Err(full_for(full, "too many live pages are open"));
            }
        };
        // A name that orders nothing.
        let number = next_number.fetch_add(1, Relaxed);
        let (writer, reader) = pipe(token, Arc::clone(&self.reactor), permit, (number, spaces.clone()));
        // Before the thread can have it.
        status.open();
        let stream = Stream { _seat: Some(seat), ..Stream::new(number, writer, head_only) };
        match commands.try_send(Command::Open(stream)) {
            Ok(()) => Ok(reader.of_stream()),
            Err(_) => {
                status.end(StreamEnd::Left);
                Err(full_for(Full::All, "the live page is unavailable"))
            }
        }
    }

    /// Starts a job whose result goes to the connection that `token` names. Never waits.
    ///
    /// # Errors
    /// The refusal, and what the client reads: one is under way, or too many are.
    pub fn start(&self, token: Token, job: Job) -> Result<Reader, (HttpError, &'static str)> {
        const TOO_MANY: &str = "too many requests of the live page are under way";
        let Entry { commands, spaces, profiles, profiles_unread, small_jobs, doctor_seats, next_number, .. } =
            &self.entry;
        let conflict = |text| (HttpError::Conflict(text), text);
        let small = || small_jobs.admit().ok_or_else(|| full_for(Full::All, TOO_MANY));
        let (making, seat, permit) = match job {
            Job::Profile(_) => {
                let making = profiles.admit().ok_or_else(|| conflict("a profile is being made"))?;
                let permit = profiles_unread.admit().ok_or_else(|| conflict("too many profiles are not read yet"))?;
                (Some(making), None, permit)
            }
            Job::Doctor(sharer) => {
                let seat = doctor_seats.take(sharer).map_err(|full| full_for(full, TOO_MANY))?;
                (None, Some(seat), small()?)
            }
            Job::Mark(_) => (None, None, small()?),
        };
        // A name that orders nothing.
        let number = next_number.fetch_add(1, Relaxed);
        let (writer, reader) = pipe(token, Arc::clone(&self.reactor), permit, (number, spaces.clone()));
        let stream = Stream { making, _seat: seat, ..Stream::of_job(number, writer) };
        match commands.try_send(Command::Start(stream, job)) {
            Ok(()) => Ok(reader),
            Err(_) => Err(full_for(Full::All, "the live page is unavailable")),
        }
    }

    /// Ends all streams in order.
    pub fn drain(&self) {
        // There is a place for it. Without the thread there are no streams.
        let _ = self.entry.commands.try_send(Command::Drain);
    }
}

/// The refusal when there is no place.
const fn full_for(full: Full, text_for_all: &'static str) -> (HttpError, &'static str) {
    let retry_after_s = http1::limits::RETRY_AFTER_S;
    match full {
        Full::All => (HttpError::Unavailable { text: text_for_all, retry_after_s }, text_for_all),
        Full::Client => {
            (HttpError::RateLimited { retry_after_s }, "this client, or its address, has its share of the live page")
        }
    }
}

/// Next step of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Everything so far was handed over, or its channel is full.
    Goes,
    /// It has ended.
    Ended(StreamEnd),
}

/// One stream.
struct Stream {
    number: u64,
    writer: Writer,
    /// Held while its profile is made.
    making: Option<Permit>,
    /// Place of its client.
    _seat: Option<Seat>,
    head_only: bool,
    /// The part that found no space.
    unsent: Option<ResponseEvent>,
    /// Lines to be sent, and how much of the first is.
    lines: VecDeque<Arc<[u8]>>,
    taken: usize,
    /// Number of these that are updates which came after it was opened.
    updates: usize,
    /// It waits for space in its channel.
    waits: bool,
    /// It ends after its lines.
    draining: bool,
    /// Bytes handed over that are not counted yet.
    sent_bytes: u64,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("number", &self.number).field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(number: u64, writer: Writer, head_only: bool) -> Self {
        let unsent = Some(ResponseEvent::Head { content_type: CONTENT_TYPE, fields: Box::default() });
        let lines = VecDeque::new();
        Self {
            number,
            writer,
            making: None,
            _seat: None,
            head_only,
            unsent,
            lines,
            taken: 0,
            updates: 0,
            waits: false,
            draining: false,
            sent_bytes: 0,
        }
    }

    /// A stream for the result of a job.
    fn of_job(number: u64, writer: Writer) -> Self {
        Self { unsent: None, ..Self::new(number, writer, false) }
    }

    /// Takes the result of its job, with which it ends.
    fn finish(&mut self, result: JobResult) -> Progress {
        // Another may begin, also before this one is read.
        self.making = None;
        self.draining = true;
        self.unsent = Some(match result {
            Ok(Body { content_type, fields, bytes }) => {
                self.lines.push_back(bytes);
                ResponseEvent::Head { content_type, fields }
            }
            Err((error, text)) => ResponseEvent::Refused { error, text, fields: Box::default() },
        });
        self.resume()
    }

    /// Takes an update, unless too many wait already.
    fn push(&mut self, line: &Arc<[u8]>) -> Progress {
        if self.updates >= limits::STREAM_LINES_WAITING_MAX {
            return Progress::Ended(StreamEnd::Unread);
        }
        self.updates += 1;
        self.lines.push_back(Arc::clone(line));
        self.resume()
    }

    /// Ends it after the line that is under way.
    fn drain(&mut self) -> Progress {
        self.draining = true;
        self.lines.truncate(usize::from(self.taken > 0));
        self.resume()
    }

    /// Hands over as much as its channel takes.
    fn resume(&mut self) -> Progress {
        while !self.waits {
            let part = match self.unsent.take() {
                Some(part) => part,
                None if self.head_only => return Progress::Ended(StreamEnd::Left),
                None => match self.next_part() {
                    Some(part) => part,
                    None => return Progress::Goes,
                },
            };
            let (is_last, bytes) = match &part {
                ResponseEvent::Refused { .. } => (true, 0),
                ResponseEvent::Last(piece) => (true, piece.content().len()),
                ResponseEvent::Piece(piece) => (false, piece.content().len()),
                _ => (false, 0),
            };
            match self.writer.send(part) {
                Ok(()) if is_last => return Progress::Ended(StreamEnd::Drained),
                Ok(()) => self.sent_bytes += bytes as u64,
                Err(SendError::Left) => return Progress::Ended(StreamEnd::Left),
                Err(SendError::Full(part)) => {
                    self.unsent = Some(part);
                    self.waits = self.writer.wait_for_space();
                }
            }
        }
        Progress::Goes
    }

    /// The next part; `None` if nothing is left and more will come.
    fn next_part(&mut self) -> Option<ResponseEvent> {
        // A part of the body that is empty cannot be sent.
        while self.lines.pop_front_if(|line| line.is_empty()).is_some() {}
        let Some(line) = self.lines.front() else {
            return self.draining.then(|| ResponseEvent::Last(Piece::split_from(b"").0));
        };
        let (piece, rest) = Piece::split_from(&line[self.taken..]);
        self.taken = line.len() - rest.len();
        if rest.is_empty() {
            self.lines.pop_front();
            self.taken = 0;
            self.updates = self.updates.min(self.lines.len());
        }
        Some(ResponseEvent::Piece(piece))
    }
}

/// The thread: the history, and the streams that are open.
#[derive(Debug)]
struct Feeder {
    setup: LiveSetup,
    seconds: History,
    minutes: History,
    /// The clients and the last refusals, while a stream is open.
    who: Option<Arc<[u8]>>,
    marks: Marks,
    doctor: DoctorReports,
    streams: HashMap<u64, Stream>,
    /// The streams that wait for the result of a job, or are sent it.
    jobs: HashMap<u64, Stream>,
    done: (Sender<Done>, Receiver<Done>),
    /// Ends the jobs early.
    stop: Arc<AtomicBool>,
    draining: bool,
}

impl Feeder {
    fn new(setup: LiveSetup) -> Self {
        Self {
            doctor: DoctorReports::new(setup.examiner.clone()),
            setup,
            seconds: History::new(PointSpan::Second.seconds(), limits::HISTORY_SECONDS),
            minutes: History::new(PointSpan::Minute.seconds(), limits::HISTORY_MINUTES),
            who: None,
            marks: Marks::default(),
            streams: HashMap::new(),
            jobs: HashMap::new(),
            // A profile's, and the doctor's.
            done: bounded(limits::PROFILES_UNREAD_MAX + 1),
            stop: Arc::default(),
            draining: false,
        }
    }

    /// Serves until every reactor has ended.
    fn run(mut self, commands: &Receiver<Command>, spaces: &Receiver<u64>) {
        let (updates, done) = (self.setup.updates.clone(), self.done.1.clone());
        let never = crossbeam_channel::never();
        let mut updates = &updates;
        loop {
            select! {
                recv(commands) -> command => match command {
                    Ok(Command::Open(stream)) => self.open(stream),
                    Ok(Command::Start(stream, job)) => self.start(stream, job),
                    Ok(Command::Drain) => self.drain(),
                    Err(_) => {
                        self.stop.store(true, Relaxed);
                        return;
                    }
                },
                recv(updates) -> update => match update {
                    Ok(update) => self.take(&update),
                    // The observer is gone: the reactors follow.
                    Err(_) => updates = &never,
                },
                recv(done) -> done => match done {
                    Ok(Done::Profile(number, result)) => self.end_job(number, |stream| stream.finish(result)),
                    Ok(Done::Doctor(result)) => {
                        let waiting = self.doctor.finish(&result);
                        self.end_jobs(waiting, &result);
                    }
                    Err(_) => {}
                },
                recv(spaces) -> number => {
                    let Ok(number) = number else { continue };
                    if let Some(stream) = self.streams.get_mut(&number) {
                        stream.waits = false;
                        self.each(Stream::resume);
                    } else {
                        self.end_job(number, |stream| {
                            stream.waits = false;
                            stream.resume()
                        });
                    }
                }
            }
        }
    }

    fn open(&mut self, mut stream: Stream) {
        let mut hello = self.setup.hello.clone();
        hello["now_ms"] = json!(self.setup.clock.wall_ms());
        stream.lines.push_back(format!("{hello}\n").into_bytes().into());
        stream.lines.extend(self.minutes.lines());
        stream.lines.extend(self.seconds.lines());
        stream.lines.extend(self.marks.line());
        stream.lines.extend(self.who.clone());
        let number = stream.number;
        self.streams.insert(number, stream);
        if self.draining {
            return self.drain();
        }
        self.each(Stream::resume);
    }

    /// Starts a job; one that cannot be started is refused.
    fn start(&mut self, stream: Stream, job: Job) {
        let number = stream.number;
        self.jobs.insert(number, stream);
        match job {
            // The reactor refuses it, too, unless the stop began meanwhile.
            Job::Profile(_) if self.draining => {
                self.end_jobs(vec![number], &Err(refused("the server is stopping".to_owned())));
            }
            Job::Profile(request) => {
                self.stop.store(false, Relaxed);
                let stop = Arc::clone(&self.stop);
                let make = move || Done::Profile(number, jobs::profile(&request, &stop));
                if let Err(error) = jobs::spawn("profile", self.done.0.clone(), make) {
                    self.end_jobs(vec![number], &Err(refused(format!("no thread can be started: {error}"))));
                }
            }
            Job::Doctor(_) => self.start_doctor(number),
            Job::Mark(request) => {
                let result = self.marks.apply(request, self.setup.clock.wall_ms(), self.setup.clock.monotonic_ns());
                self.end_jobs(vec![number], &result);
                self.send_marks();
            }
        }
    }

    /// Sends the doctor's report to a stream: the last one, or the next.
    fn start_doctor(&mut self, number: u64) {
        if let Some(report) = self.doctor.last() {
            let report = Ok(report.clone());
            return self.end_jobs(vec![number], &report);
        }
        if self.draining {
            return self.end_jobs(vec![number], &Err(refused("the server is stopping".to_owned())));
        }
        if let Err((waiting, error)) = self.doctor.wait(number, &self.done.0) {
            self.end_jobs(waiting, &Err(refused(format!("no thread can be started: {error}"))));
        }
    }

    /// Sends the marks to all streams.
    fn send_marks(&mut self) {
        if let Some(line) = self.marks.line() {
            self.each(|stream| stream.push(&line));
        }
    }

    /// Ends jobs with one result.
    fn end_jobs(&mut self, numbers: Vec<u64>, result: &JobResult) {
        for number in numbers {
            self.end_job(number, |stream| stream.finish(result.clone()));
        }
    }

    /// Goes on with the stream of a job, and forgets it when it has ended.
    fn end_job(&mut self, number: u64, step: impl FnOnce(&mut Stream) -> Progress) {
        if let Some(stream) = self.jobs.get_mut(&number)
            && step(stream) != Progress::Goes
        {
            self.jobs.remove(&number);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        // What was sampled so far is sent.
        self.stop.store(true, Relaxed);
        let waiting = self.doctor.stop_waiting();
        self.end_jobs(waiting, &Err(refused("the server is stopping".to_owned())));
        self.each(Stream::drain);
    }

    fn take(&mut self, update: &Update) {
        let (span, point) = match update {
            Update::Point { span, json } => (span, json),
            Update::Who { line } => {
                self.who = (!self.streams.is_empty()).then(|| Arc::clone(line));
                return self.each(|stream| stream.push(line));
            }
        };
        if self.marks.expire(self.setup.clock.monotonic_ns()) {
            self.send_marks();
        }
        let history = if *span == PointSpan::Second { &mut self.seconds } else { &mut self.minutes };
        history.push(Arc::clone(point));
        self.setup.status.points.fetch_add(1, Relaxed);
        if self.jobs.values().any(|stream| stream.making.is_some() && stream.writer.cancelled().load(Relaxed)) {
            // The client of the profile has left.
            self.stop.store(true, Relaxed);
        }
        if !self.streams.is_empty() {
            let start = format!(r#"{{"type":"point","step_s":{},"point":"#, span.seconds());
            let line: Arc<[u8]> = [start.as_bytes(), point, b"}\n"].concat().into();
            self.each(|stream| stream.push(&line));
        }
    }

    /// Goes on with all streams, and forgets those that have ended.
    fn each(&mut self, mut step: impl FnMut(&mut Stream) -> Progress) {
        let status = &self.setup.status;
        self.streams.retain(|_, stream| {
            let progress = step(stream);
            status.bytes.fetch_add(std::mem::take(&mut stream.sent_bytes), Relaxed);
            match progress {
                Progress::Goes => true,
                Progress::Ended(how) => {
                    status.end(how);
                    false
                }
            }
        });
        if self.streams.is_empty() {
            // It is no longer made, and would be old for the next page.
            self.who = None;
        }
    }
}

#[cfg(test)]
mod tests;

//! The threads that answer queries: how a query gets one, how long it may keep it, and who is told when it ends.
//!
//! A query waits in a queue with a bound; over it, it is answered 503. Its deadline counts from its arrival, so what waits too long is
//! never begun. A thread runs one query at a time, and a query that finds threads idle takes some of them for its scan: never are
//! more at work than twice the pool less one. Nothing here runs on a reactor but [`Entrance::submit`], which never waits.

use super::{
    body::Body,
    routes::Asked,
    status::{Outcome, QueryStatus},
};
use crate::{
    http::HttpError,
    limits,
    mail::Mail,
    pipe::{self, Gone, Open, Part, Reader, Writer},
    priority,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use reactor::{Token, mailbox};
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What makes the answers.
pub trait Engine: Send + Sync + 'static {
    /// Answers one query: finds out all it can be refused for, then [begins](Body::begin) the body and writes it.
    ///
    /// # Errors
    /// Why there is no answer, or none that is whole.
    fn answer(&self, asked: &Asked, share: &Share<'_>, body: &mut Body<'_>) -> Result<(), Failure>;
}

/// What one query may use.
#[derive(Debug)]
pub struct Share<'a> {
    /// Threads, with the one that it runs on.
    pub threads: usize,
    /// When it has to be evaluated. Writing the answer may take longer, as long as the client reads.
    pub deadline: Instant,
    /// Set when nobody wants the answer any more.
    pub cancelled: &'a AtomicBool,
}

/// Why a query was not answered.
#[derive(Debug)]
pub enum Failure {
    /// It is refused.
    Refused {
        /// How it is counted among queries.
        outcome: Outcome,
        /// How it is counted among requests, and its status.
        error: HttpError,
        /// What the client reads.
        text: String,
    },
    /// Nobody wants the answer any more.
    Cancelled,
    /// It cannot be handed over.
    Gone(Gone),
}

/// What a pool is made of.
#[derive(Debug)]
pub struct PoolSetup<E> {
    /// How many threads, at least one.
    pub threads: usize,
    /// The cores that they may run on.
    pub cores: Vec<usize>,
    /// Whether others serve on these cores.
    pub yields: bool,
    /// How long a query may take from its arrival to the beginning of its answer.
    pub timeout: Duration,
    /// How long a client may take to read a piece.
    pub write_timeout: Duration,
    /// What makes the answers.
    pub engine: E,
    /// Where it is counted.
    pub status: Arc<QueryStatus>,
}

/// A query on its way to a thread.
#[derive(Debug)]
struct Job {
    asked: Box<Asked>,
    arrived: Instant,
    answer: Writer,
}

/// Threads that answer queries.
#[derive(Debug)]
pub struct Pool {
    jobs: Sender<Job>,
    open: Open,
    status: Arc<QueryStatus>,
    /// Nothing comes through it; it ends with the last thread.
    ended: Receiver<Infallible>,
}

/// One reactor's way into the pool.
#[derive(Debug)]
pub struct Entrance {
    jobs: Sender<Job>,
    open: Open,
    status: Arc<QueryStatus>,
    mailbox: mailbox::Sender<Mail>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be started, or cannot run on these cores.
    pub fn start<E: Engine>(setup: PoolSetup<E>) -> io::Result<Self> {
        let (jobs, waiting) = bounded(limits::QUERIES_WAITING_MAX);
        let (ending, ended) = bounded(0);
        let pool = Self { jobs, open: Open::default(), status: Arc::clone(&setup.status), ended };
        let (started, starts) = bounded(setup.threads);
        let idle = Arc::new(AtomicUsize::new(setup.threads));
        let setup = Arc::new(setup);
        for index in 0..setup.threads {
            let (setup, idle, waiting) = (Arc::clone(&setup), Arc::clone(&idle), waiting.clone());
            let (started, ending) = (started.clone(), ending.clone());
            let body = move || {
                // Dropped in reverse: that it has ended is known when all else is gone.
                let _ending: Sender<Infallible> = ending;
                let (setup, idle, waiting) = (setup, idle, waiting);
                let result = settle_in(&setup);
                let ok = result.is_ok();
                // Received below, before anything else happens.
                let _ = started.send(result);
                if ok {
                    Worker { setup: &setup, idle: &idle }.run(&waiting);
                }
            };
            thread::Builder::new().name(format!("query-{index}")).spawn(body)?;
        }
        starts.iter().take(setup.threads).collect::<io::Result<()>>()?;
        Ok(pool)
    }

    /// A way in for the reactor with this mailbox.
    #[must_use]
    pub fn entrance(&self, mailbox: mailbox::Sender<Mail>) -> Entrance {
        Entrance { jobs: self.jobs.clone(), open: self.open.clone(), status: Arc::clone(&self.status), mailbox }
    }

    /// Waits until all threads have ended, which they do once every entrance is gone: for [`limits::QUERY_STOP_WAIT`] at most. Whether
    /// they have.
    #[must_use]
    pub fn stop(self) -> bool {
        let Self { jobs, ended, .. } = self;
        drop(jobs);
        let ended = ended.recv_timeout(limits::QUERY_STOP_WAIT);
        ended == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    }
}

/// Takes the calling thread to its cores, and makes it yield there if it has to. The threads of a scan come from it and stay with it.
fn settle_in<E>(setup: &PoolSetup<E>) -> io::Result<()> {
    priority::run_on(&setup.cores)?;
    if setup.yields { priority::be_nice(limits::QUERY_NICE) } else { Ok(()) }
}

impl Entrance {
    /// Passes a query on to the pool. Never waits.
    ///
    /// # Errors
    /// The refusal: too many are waiting, or open.
    pub fn submit(&self, asked: Box<Asked>, token: Token) -> Result<Reader, HttpError> {
        let refusal = |text| HttpError::Unavailable { text, retry_after_s: limits::RETRY_AFTER_S };
        let Some(place) = self.open.admit() else {
            self.status.refuse(Outcome::Full);
            return Err(refusal("too many queries at one time"));
        };
        let (answer, reader) = pipe::pipe(token, self.mailbox.clone(), place);
        // Before a thread can have it.
        self.status.receive();
        match self.jobs.try_send(Job { asked, arrived: Instant::now(), answer }) {
            Ok(()) => Ok(reader),
            Err(_) => {
                self.status.turn_away(Outcome::Full);
                Err(refusal("too many queries are waiting"))
            }
        }
    }
}

/// Threads taken from those that are idle, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    idle: Arc<AtomicUsize>,
    taken: usize,
}

impl Loan {
    /// All that are idle.
    fn of(idle: &Arc<AtomicUsize>) -> Self {
        // A count that orders nothing else.
        Self { taken: idle.swap(0, Ordering::Relaxed), idle: Arc::clone(idle) }
    }

    /// How many a query may use with it: its own in any case.
    fn threads(&self) -> usize {
        self.taken.max(1)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.idle.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// One thread of the pool.
struct Worker<'a, E> {
    setup: &'a PoolSetup<E>,
    idle: &'a Arc<AtomicUsize>,
}

impl<E: Engine> Worker<'_, E> {
    /// Serves until every entrance is gone.
    fn run(&self, waiting: &Receiver<Job>) {
        waiting.iter().for_each(|job| self.serve(&job));
    }

    fn serve(&self, job: &Job) {
        let status = &self.setup.status;
        let deadline = job.arrived + self.setup.timeout;
        if Instant::now() >= deadline {
            status.turn_away(Outcome::TimedOut);
            let text = format!("the query found no free thread in time, {:?}", self.setup.timeout);
            // Its reactor may have said so already, or the client left.
            let _ = self.refuse(job, unavailable(), text);
            return;
        }
        if job.answer.cancelled().load(Ordering::Relaxed) {
            return status.turn_away(Outcome::Cancelled);
        }
        status.start();
        let outcome = self.answer(job, deadline);
        status.end(outcome, u64::try_from(job.arrived.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    fn answer(&self, job: &Job, deadline: Instant) -> Outcome {
        let loan = Loan::of(self.idle);
        let share = Share { threads: loan.threads(), deadline, cancelled: job.answer.cancelled() };
        let mut body = Body::new(&job.answer, &self.setup.status, &job.asked, self.setup.write_timeout, loan);
        let gone = |gone| match gone {
            Gone::Left => Outcome::Cancelled,
            Gone::TooSlow => Outcome::CutOff,
        };
        match self.setup.engine.answer(&job.asked, &share, &mut body) {
            Ok(()) => body.finish().map_or_else(gone, |()| Outcome::Answered),
            Err(Failure::Refused { .. }) if body.has_begun() => Outcome::CutOff,
            Err(Failure::Refused { outcome, error, text }) => {
                self.refuse(job, error, text).map_or_else(gone, |()| outcome)
            }
            Err(Failure::Cancelled) => Outcome::Cancelled,
            Err(Failure::Gone(why)) => gone(why),
        }
    }

    fn refuse(&self, job: &Job, error: HttpError, text: String) -> Result<(), Gone> {
        job.answer.send(Part::Refused { error, text }, Instant::now() + self.setup.write_timeout)
    }
}

/// 503, whose text is made for the query.
pub(super) const fn unavailable() -> HttpError {
    HttpError::Unavailable { text: "", retry_after_s: limits::RETRY_AFTER_S }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

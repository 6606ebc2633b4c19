//! The threads that run queries: how a query gets one, how long it may keep it, and who is notified when it ends.
//!
//! ```text
//! reactors ── submit ──> jobs ──┐                     ┌─> evaluate ──> deliver ──> pipe ──> reactor
//!          ── space ────────────┴─> Schedule ─> thread ┘               │ full
//!                                      └────────<── parked <───────────┘
//! ```
//!
//! A query waits in its client's lane, and the lanes take turns; one client has at most half of the waiting places and
//! half of the threads. Its deadline counts from its arrival, so what waits too long is never begun. A thread runs one
//! query at a time, and a query that finds threads idle takes some of them for its scan: never are more at work than
//! twice the pool less one.
//!
//! A response whose client does not read is parked, with what is left to render of it, and its thread goes on with
//! something else; the reactor says when there is space again, and any thread takes it up. Nothing here runs on a
//! reactor but [`QuerySubmitter::submit`], which never waits: it knows channels and counts alone, and the schedule is
//! between the pool's threads.

use super::{
    delivery::{Delivery, Prepared, Progress},
    routes::RawQuery,
    schedule::{Job, Resume, Schedule, Work},
    shares::{Full, Shares},
    waiters::{self, Waiter},
};
use crate::{
    limits,
    query_pool::response_channel::{self, Open, Reader, ReadyListener, ResponseEvent},
    stats::{Outcome, QueryStatus},
};
use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use http1::HttpError;
use log::{LogPosition, Published, os::sched};
use reactor::Token;
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use wake::sync::{Mutex, MutexGuard};

/// Evaluates the queries.
pub trait Engine: Send + Sync + 'static {
    /// Evaluates one query, and finds whatever it may be refused for.
    ///
    /// # Errors
    /// The reason why the query failed.
    fn evaluate(&self, query: &RawQuery, share: &Share<'_>) -> Result<Prepared, Failure>;

    /// True if the log has more than when a request was paused.
    fn has_more(&self, _than: Published) -> bool {
        true
    }
}

/// The threads and deadline of one query.
#[derive(Debug)]
pub struct Share<'a> {
    /// Threads, with the one that it runs on.
    pub threads: usize,
    /// Deadline of the evaluation. Sending the response may take longer, as long as the client reads.
    pub deadline: Instant,
    /// Set when nobody wants the response any more.
    pub cancelled: &'a AtomicBool,
    /// True if the query may be paused until there is more in the log.
    pub may_pause: bool,
    /// The position at which it was paused.
    pub paused_at: Option<LogPosition>,
}

/// A request that waits for the log, without a thread.
#[derive(Debug)]
pub struct Pause {
    /// The position that it goes on from.
    pub at: LogPosition,
    /// The published position before the log was read.
    pub seen: Published,
    /// The longest wait, from the request's arrival on.
    pub wait: Duration,
}

/// The failure of a query.
#[derive(Debug)]
pub enum Failure {
    /// The query is refused.
    Refused {
        /// The outcome that is counted.
        outcome: Outcome,
        /// The error that is counted, with its status.
        error: HttpError,
        /// The text for the client.
        text: String,
        /// More field lines, each from the CR LF before it on.
        fields: Box<[u8]>,
    },
    /// There is nothing yet.
    Paused(Pause),
    /// Nobody wants the response any more.
    Cancelled,
}

/// The configuration of a pool.
#[derive(Debug)]
pub struct PoolSetup<E> {
    /// Number of threads, at least one.
    pub threads: usize,
    /// The cores that they may run on.
    pub cores: Vec<usize>,
    /// True if other threads serve on these cores.
    pub yields: bool,
    /// Timeout of a query, from its arrival to the beginning of its response.
    pub timeout: Duration,
    /// Timeout for a client to read a chunk.
    pub write_timeout: Duration,
    /// Bytes that all responses together may hold which their clients have not taken whole.
    pub unread_bytes_max: usize,
    /// Set when the server stops: nothing waits for the log any more.
    pub draining: Arc<AtomicBool>,
    /// Evaluates the queries.
    pub engine: E,
    /// The counters of queries.
    pub status: Arc<QueryStatus>,
}

/// Threads that run queries.
#[derive(Debug)]
pub struct Pool {
    entry: Entry,
    /// Nothing comes through it; it ends with the last thread.
    ended: Receiver<Infallible>,
}

/// State shared by all submitters.
#[derive(Debug, Clone)]
struct Entry {
    jobs: Sender<Job>,
    /// The parked responses that have space again.
    spaces: Sender<u64>,
    open: Open,
    shares: Shares,
    status: Arc<QueryStatus>,
    next_number: Arc<AtomicU64>,
}

/// One reactor's way into the pool.
#[derive(Debug)]
pub struct QuerySubmitter {
    entry: Entry,
    reactor: Arc<dyn ReadyListener>,
}

/// The queues that the pool's threads take work from.
#[derive(Debug, Clone)]
struct Intake {
    jobs: Receiver<Job>,
    spaces: Receiver<u64>,
    /// Wakes one more thread, as there is more to do.
    wake: (Sender<()>, Receiver<()>),
    /// To the thread that looks for progress of the log.
    waiters: Sender<Waiter>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be started, or cannot run on these cores.
    pub fn start<E: Engine>(setup: PoolSetup<E>) -> io::Result<Self> {
        let (jobs, waiting) = bounded(limits::QUERIES_OPEN_MAX);
        let (space_sender, spaces) = bounded(limits::QUERIES_OPEN_MAX);
        let (ending, ended) = bounded(0);
        let shares = Shares::new(setup.unread_bytes_max);
        let entry = Entry {
            jobs,
            spaces: space_sender,
            open: Open::up_to(limits::QUERIES_OPEN_MAX),
            shares: shares.clone(),
            status: Arc::clone(&setup.status),
            next_number: Arc::default(),
        };
        let (started, starts) = bounded(setup.threads);
        let (waiters, paused) = bounded(limits::LOG_WAITERS_MAX);
        let intake = Intake { jobs: waiting, spaces, wake: bounded(setup.threads), waiters };
        let shared = Arc::new(PoolShared {
            schedule: Mutex::new(Schedule::new(setup.threads)),
            idle: Arc::new(AtomicUsize::new(setup.threads)),
            shares,
            setup,
        });
        if shared.setup.threads > 0 {
            let (shared, wake, ending) = (Arc::clone(&shared), intake.wake.0.clone(), ending.clone());
            thread::Builder::new().name("log-waiters".into()).spawn(move || {
                // Dropped in reverse, as below.
                let _ending: Sender<Infallible> = ending;
                let (shared, paused, wake) = (shared, paused, wake);
                waiters::run(&paused, &*shared, &wake);
            })?;
        }
        for index in 0..shared.setup.threads {
            let (shared, intake) = (Arc::clone(&shared), intake.clone());
            let (started, ending) = (started.clone(), ending.clone());
            let body = move || {
                // Dropped in reverse: that it has ended is known when all else is gone.
                let _ending: Sender<Infallible> = ending;
                let (shared, intake) = (shared, intake);
                let result = settle_in(&shared.setup);
                let ok = result.is_ok();
                // Received below, before anything else happens.
                let _ = started.send(result);
                if ok {
                    Worker { shared: &shared, intake: &intake }.run();
                }
            };
            thread::Builder::new().name(format!("query-{index}")).spawn(body)?;
        }
        starts.iter().take(shared.setup.threads).collect::<io::Result<()>>()?;
        Ok(Self { entry, ended })
    }

    /// A way in for the reactor with this mailbox.
    #[must_use]
    pub fn submitter(&self, reactor: Arc<dyn ReadyListener>) -> QuerySubmitter {
        QuerySubmitter { entry: self.entry.clone(), reactor }
    }

    /// Waits until all threads have ended, which they do once every entrance is gone: for [`limits::QUERY_STOP_WAIT`]
    /// at most. Whether they have.
    #[must_use]
    pub fn stop(self) -> bool {
        let Self { entry, ended } = self;
        drop(entry);
        let ended = ended.recv_timeout(limits::QUERY_STOP_WAIT);
        ended == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    }
}

/// Takes the calling thread to its cores, and makes it yield there if it has to. The threads of a scan come from it
/// and stay with it.
fn settle_in<E>(setup: &PoolSetup<E>) -> io::Result<()> {
    sched::set_affinity(&setup.cores)?;
    if setup.yields { sched::set_nice(limits::QUERY_NICE) } else { Ok(()) }
}

impl QuerySubmitter {
    /// Passes a query on to the pool. Never waits.
    ///
    /// # Errors
    /// The refusal, and what the client reads: too many are waiting, or open, or this client has its share of them.
    pub fn submit(&self, query: Box<RawQuery>, token: Token) -> Result<Reader, (HttpError, &'static str)> {
        let Entry { jobs, spaces, open, shares, status, next_number } = &self.entry;
        let waiting = match shares.wait(query.sharer) {
            Ok(waiting) => waiting,
            Err(full) => {
                let (outcome, error, text) = refusal(full, "too many queries are waiting");
                status.refuse(outcome);
                return Err((error, text));
            }
        };
        let Some(place) = open.admit() else {
            let (outcome, error, text) = refusal(Full::All, "too many queries");
            status.refuse(outcome);
            return Err((error, text));
        };
        // A name that orders nothing.
        let number = next_number.fetch_add(1, Ordering::Relaxed);
        let (response, reader) =
            response_channel::pipe(token, Arc::clone(&self.reactor), place, (number, spaces.clone()));
        // Before a thread can have it.
        status.receive();
        match jobs.try_send(Job { query, arrived: Instant::now(), response, number, waiting, resume: None }) {
            Ok(()) => Ok(reader),
            Err(_) => {
                status.turn_away(Outcome::Full);
                let (_, error, text) = refusal(Full::All, "too many queries are waiting");
                Err((error, text))
            }
        }
    }
}

/// The refusal when a queue is full.
const fn refusal(full: Full, text_for_all: &'static str) -> (Outcome, HttpError, &'static str) {
    match full {
        Full::All => (Outcome::Full, unavailable(), text_for_all),
        Full::Client => (
            Outcome::OverShare,
            HttpError::RateLimited { retry_after_s: http1::limits::RETRY_AFTER_S },
            "this client, or its address, has its share of the waiting and unread queries",
        ),
    }
}

/// Threads taken from those that are idle, given back when it is dropped.
#[derive(Debug)]
struct IdleWorkers {
    idle: Arc<AtomicUsize>,
    taken: usize,
}

impl IdleWorkers {
    /// All that are idle.
    fn of(idle: &Arc<AtomicUsize>) -> Self {
        // A count that orders nothing else.
        Self { taken: idle.swap(0, Ordering::Relaxed), idle: Arc::clone(idle) }
    }

    /// Number of threads that a query may use, including its own.
    fn threads(&self) -> usize {
        self.taken.max(1)
    }
}

impl Drop for IdleWorkers {
    fn drop(&mut self) {
        self.idle.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// State shared by the pool's threads.
pub(super) struct PoolShared<E> {
    pub setup: PoolSetup<E>,
    schedule: Mutex<Schedule>,
    idle: Arc<AtomicUsize>,
    shares: Shares,
}

/// One thread of the pool.
struct Worker<'a, E> {
    shared: &'a PoolShared<E>,
    intake: &'a Intake,
}

impl<E> PoolShared<E> {
    pub fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // Each step leaves it whole.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> Worker<'_, E> {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.shared.schedule()
    }

    /// Serves until every entrance is gone.
    fn run(&self) {
        let Intake { jobs, spaces, wake: (_, wakes), .. } = self.intake;
        loop {
            match self.next() {
                Some(Work::Evaluate(job)) => {
                    let sharer = job.query.sharer;
                    self.serve(job);
                    self.schedule().finish(sharer);
                }
                Some(Work::Deliver(number, delivery)) => self.deliver(number, delivery),
                None => select_biased! {
                    recv(spaces) -> number => match number {
                        Ok(number) => self.schedule().unpark(number),
                        Err(_) => return,
                    },
                    recv(jobs) -> job => match job {
                        Ok(job) => self.schedule().add(job),
                        Err(_) => return,
                    },
                    recv(wakes) -> _ => {}
                },
            }
        }
    }

    /// Takes the next work. If there is more, another thread is woken, because a channel wakes only one.
    fn next(&self) -> Option<Work> {
        let mut schedule = self.schedule();
        self.intake.spaces.try_iter().for_each(|number| schedule.unpark(number));
        self.intake.jobs.try_iter().for_each(|job| schedule.add(job));
        self.shared.setup.status.set_unread(schedule.parked());
        let work = schedule.next()?;
        if schedule.has_next() {
            // Full: all will look anyway.
            let _ = self.intake.wake.0.try_send(());
        }
        Some(work)
    }

    fn serve(&self, job: Job) {
        let Job { query, arrived, response, number, waiting, resume } = job;
        let sharer = query.sharer;
        drop(waiting);
        let PoolSetup { status, timeout, write_timeout, engine, draining, .. } = &self.shared.setup;
        let deadline = arrived + *timeout;
        if Instant::now() >= deadline {
            status.turn_away(Outcome::TimedOut);
            let text = format!("the query timed out after {timeout:?}, waiting for a thread");
            // Its reactor may have said so already, or the client left.
            let _ = response.send(ResponseEvent::Refused { error: unavailable(), text, fields: Box::default() });
            return;
        }
        if response.cancelled().load(Ordering::Relaxed) {
            return status.turn_away(Outcome::Cancelled);
        }
        status.start();
        let workers = IdleWorkers::of(&self.shared.idle);
        let is_due = resume.is_some_and(|resume| resume.until <= Instant::now());
        let share = Share {
            threads: workers.threads(),
            deadline,
            cancelled: response.cancelled(),
            may_pause: !is_due && !draining.load(Ordering::Relaxed),
            paused_at: resume.map(|resume| resume.at),
        };
        let evaluated = engine.evaluate(&query, &share);
        // A response that is being read keeps nobody from scanning.
        drop(workers);
        let refused = match evaluated {
            Ok(prepared) => {
                let mut delivery = Box::new(Delivery::new(prepared, &query, response, arrived, *write_timeout));
                match delivery.to_keep().map(|bytes| self.shared.shares.keep(sharer, bytes)) {
                    None => return self.deliver(number, delivery),
                    Some(Ok(kept)) => {
                        delivery.keep(kept);
                        return self.deliver(number, delivery);
                    }
                    Some(Err(full)) => {
                        let (outcome, error, text) = refusal(full, "too many responses are being read");
                        Ok((delivery.response, outcome, error, text.to_owned(), Box::default()))
                    }
                }
            }
            Err(Failure::Refused { outcome, error, text, fields }) => Ok((response, outcome, error, text, fields)),
            Err(Failure::Paused(Pause { at, seen, wait })) => match self.shared.shares.pause(sharer) {
                Ok(waiting) => {
                    status.pause();
                    let until = resume.map_or(arrived + wait, |resume| resume.until);
                    let resume = Some(Resume { at, until });
                    let job = Job { query, arrived, response, number, waiting, resume };
                    // There is a place for each that may wait, and the thread ends after this one.
                    let _ = self.intake.waiters.try_send(Waiter { job, seen });
                    return;
                }
                Err(full) => {
                    let (outcome, error, text) = refusal(full, "too many requests wait for the log");
                    Ok((response, outcome, error, text.to_owned(), Box::default()))
                }
            },
            Err(Failure::Cancelled) => Err(Outcome::Cancelled),
        };
        let outcome = match refused {
            Ok((response, outcome, error, text, fields)) => {
                match response.send(ResponseEvent::Refused { error, text, fields }) {
                    Ok(()) => outcome,
                    Err(_) => Outcome::Cancelled,
                }
            }
            Err(outcome) => outcome,
        };
        self.end(outcome, arrived);
    }

    /// Hands over what there is space for. The rest is parked, or waits for its turn.
    fn deliver(&self, number: u64, mut delivery: Box<Delivery>) {
        match delivery.resume(&self.shared.setup.status) {
            Progress::Ended(outcome) => self.end(outcome, delivery.arrived),
            Progress::More => self.schedule().deliver_next(number, delivery),
            Progress::Full => {
                let mut schedule = self.schedule();
                schedule.park(number, delivery);
                self.shared.setup.status.set_unread(schedule.parked());
            }
        }
    }

    fn end(&self, outcome: Outcome, arrived: Instant) {
        self.shared.setup.status.end(outcome, u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

/// 503, whose text is made for the query.
pub(super) const fn unavailable() -> HttpError {
    HttpError::Unavailable { text: "", retry_after_s: http1::limits::RETRY_AFTER_S }
}

#[cfg(test)]
mod tests;

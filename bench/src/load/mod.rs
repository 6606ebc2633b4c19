//! A load: clients that send batches and wait for the responses, spread over threads, each thread on its own core with
//! its own driver. The threads share nothing while they run but the word to stop and, one way, their progress; what
//! they counted is merged at the end.

mod baseline;
mod client;
mod client_group;
mod condition;
mod intervals;
mod log;
mod mark;
mod merge;
mod observer;
mod options;
mod payload;
mod plot;
mod progress;
mod protocols;
mod rate_profile;
mod report;
mod requests;
mod schedule;
mod setup;
mod span;
mod stages;
mod tally;
mod template;
mod tls;
mod turns;
mod values;

pub use baseline::{Baseline, Round, Rounds};
pub use condition::Condition;
pub use intervals::{Interval, Intervals};
pub use log::{Log, Logged};
pub use mark::{Mark, MarkBegun};
pub use merge::Merged;
pub use observer::Observed;
pub use options::{BATCHES, Compared, Comparison, Format, Invocation, Merge, Plan, invocation, parse};
pub use payload::{Compression, Payload};
pub use plot::{draw, draw_message};
pub(crate) use protocols::wire as protocol_buffers;
pub use protocols::{Protocol, Spoken};
pub use rate_profile::{RateProfile, Stage};
pub use report::{Report, render_comparison};
pub use requests::{Content, Heads, Requests};
pub use schedule::{Arrivals, Pace};
pub use setup::{Setup, host, workload};
pub use span::{Counts, Ending, Span};
pub use stages::{StageCounts, Stages};
pub use tally::{Arrival, Begun, Failure, Tally};
pub use template::{Template, Variables};
pub use tls::Tls;
pub use turns::{Turns, TurnsOutcome};

use crate::{cores, drivers::Chosen};
use client_group::ClientGroup;
use log::{LogSink, LogWriter};
use progress::Progress;
use reactor::{Driver, epoll::EpollDriver, uring::UringDriver};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fs, io,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};
use wake::Doorbell;

/// Outcome of a load.
#[derive(Debug)]
pub struct Outcome {
    /// All threads' counts.
    pub tally: Tally,
    /// A signal ended it early.
    pub interrupted: bool,
    /// The first connects were refused and none had succeeded, which ended it early.
    pub nothing_listens: bool,
    /// So many requests had failed that it was ended.
    pub too_many_errors: bool,
    /// Seconds from 1970 to its start.
    pub began_s: f64,
    /// Cost of the load to the server.
    pub observed: Observed,
    /// Result of writing the log, if one was written.
    pub logged: Option<Logged>,
}

/// So many refused connects, or one for each client if these are fewer, with none that succeeded: nothing listens.
/// Linux refuses nobody for a full backlog (tcp(7), tcp_abort_on_overflow).
const REFUSALS_ENOUGH: u32 = 8;

/// State shared by the threads of one load.
#[derive(Debug)]
pub(crate) struct Shared {
    refusals_enough: u32,
    stop: AtomicBool,
    interrupted: AtomicBool,
    /// Requests that failed, as far as `--max-errors` counts them.
    errors: AtomicU64,
    errors_max: u64,
    too_many_errors: AtomicBool,
    connected: AtomicBool,
    refusals: AtomicU32,
    nothing_listens: AtomicBool,
    /// The number of the next request that has one, see [`Variables`].
    sequence: AtomicU64,
    /// The moment that all times count from.
    start: OnceLock<Instant>,
    doorbells: Vec<Arc<Doorbell>>,
    /// Progress of each thread.
    progress: Vec<Progress>,
}

impl Shared {
    fn new(plan: &Plan) -> io::Result<Self> {
        let threads = plan.threads;
        Ok(Self {
            refusals_enough: plan.clients.min(REFUSALS_ENOUGH),
            errors: AtomicU64::new(0),
            errors_max: plan.errors_max.unwrap_or(u64::MAX),
            too_many_errors: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
            nothing_listens: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
            start: OnceLock::new(),
            doorbells: (0..threads).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>()?,
            progress: (0..threads).map(|_| Progress::default()).collect(),
        })
    }

    /// Ends all threads' work at once.
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.doorbells.iter().for_each(|doorbell| doorbell.signal());
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Responses so far, those of the warm-up too.
    fn responses(&self) -> u64 {
        self.progress.iter().map(Progress::responses).sum()
    }

    /// So many more requests failed; at the bound they end the load.
    pub(crate) fn failed(&self, requests: u64) {
        if self.errors_max < u64::MAX
            && self.errors.fetch_add(requests, Ordering::Relaxed) + requests >= self.errors_max
        {
            self.too_many_errors.store(true, Ordering::Release);
            self.stop();
        }
    }

    /// A connect succeeded.
    pub(crate) fn connected(&self) {
        // Looked at first, so that the threads do not write to one cache line with every connection.
        if !self.connected.load(Ordering::Relaxed) {
            self.connected.store(true, Ordering::Relaxed);
        }
    }

    /// A connect was refused. When that is all that ever happens, there is no server to load.
    pub(crate) fn connect_refused(&self) {
        if !self.connected.load(Ordering::Relaxed)
            && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 == self.refusals_enough
        {
            self.nothing_listens.store(true, Ordering::Release);
            self.stop();
        }
    }
}

/// Puts the load of `plan` on its server, with the driver `chosen`, until it is done or SIGINT, SIGTERM or SIGHUP
/// comes, and records its requests in `log`.
///
/// # Errors
/// A driver, a descriptor or a thread is unavailable. What happens between the clients and the server is no error but
/// part of the outcome.
pub fn run(plan: &Plan, chosen: Chosen, log: Option<Log>) -> io::Result<Outcome> {
    // Before the mark, so that a signal does not leave it open.
    let signals = Signals::new([SIGINT, SIGTERM])?;
    if !ignores_hangup() {
        signals.add_signal(SIGHUP)?;
    }
    let mark = plan.mark.as_ref().and_then(|mark| mark.begin(&plan.server));
    let outcome = run_until(plan, chosen, log, signals);
    if let Some(mark) = mark {
        mark.end();
    }
    outcome
}

/// Puts the load on the server until it is done or one of `signals` comes.
fn run_until(plan: &Plan, chosen: Chosen, log: Option<Log>, mut signals: Signals) -> io::Result<Outcome> {
    let shared = Shared::new(plan)?;
    let began_s = setup::now_s();
    let pids = if plan.watch { observer::server_pids(plan) } else { Vec::new() };
    let stop_listening = signals.handle();
    let cores = cores::allowed();
    let start = Barrier::new(plan.threads);
    if plan.pace.is_some() {
        cores::sharpen_timers();
    }
    let (ended, wait_for_end) = mpsc::channel();
    let (over, wait_for_over) = mpsc::channel();
    let (log_writer, sinks) = log.map(|log| log.split(plan.threads)).unzip();
    let mut sinks = sinks.unwrap_or_default().into_iter();
    let (tally, observed, log_writer) = thread::scope(|scope| {
        let log_writer = log_writer.map(|writer: LogWriter| scope.spawn(|| writer.run()));
        scope.spawn(|| {
            for _ in &mut signals {
                shared.interrupted.store(true, Ordering::Release);
                shared.stop();
            }
        });
        let shared_progress = &shared;
        scope.spawn(move || progress::print(plan, shared_progress, &wait_for_end));
        let watch = move || observer::watch(plan, shared_progress, &pids, &wait_for_over);
        let observer = plan.watch.then(|| scope.spawn(watch));
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let core = cores.get(index % cores.len().max(1)).copied();
                let (shared, start, log) = (&shared, &start, sinks.next());
                scope.spawn(move || {
                    if let Some(core) = core
                        && !cores::pin(core)
                    {
                        crate::complain!("cannot pin a thread to core {core}: it may wander");
                    }
                    match chosen {
                        Chosen::IoUring => work::<UringDriver>(plan, index, shared, start, log),
                        Chosen::Epoll => work::<EpollDriver>(plan, index, shared, start, log),
                    }
                })
            })
            .collect();
        let tallies = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the load has panicked"))));
        let tallies = tallies.collect::<io::Result<Vec<_>>>();
        drop((ended, over));
        stop_listening.close();
        let observed = observer.and_then(|observer| observer.join().ok()).unwrap_or_default();
        // The threads' ends of the log are gone, and so it ends.
        let log_writer = log_writer.and_then(|writer| writer.join().ok());
        let none = || io::Error::other("a load has at least one thread");
        tallies
            .and_then(|tallies| tallies.into_iter().reduce(merge).ok_or_else(none))
            .map(|tally| (tally, observed, log_writer))
    })?;
    let interrupted = shared.interrupted.load(Ordering::Acquire);
    let too_many_errors = shared.too_many_errors.load(Ordering::Acquire);
    Ok(Outcome {
        logged: log_writer.map(|writer| writer.finish(&tally, interrupted, too_many_errors)),
        tally,
        interrupted,
        nothing_listens: shared.nothing_listens.load(Ordering::Acquire),
        too_many_errors,
        began_s,
        observed,
    })
}

/// Returns true if this process was started to outlive its terminal, as nohup(1) does it: SIGHUP is bit 0 of SigIgn
/// (proc_pid_status(5)).
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn merge(mut sum: Tally, tally: Tally) -> Tally {
    sum.merge(tally);
    sum
}

/// One thread's share: the clients whose number leaves the rest `thread` when divided by the number of threads.
fn work<D: Driver>(
    plan: &Plan,
    thread: usize,
    shared: &Shared,
    start: &Barrier,
    log: Option<LogSink>,
) -> io::Result<Tally> {
    let ready = ClientGroup::new(plan, thread, shared, log).and_then(|group| {
        let driver = D::open(group.setup(Arc::clone(&shared.doorbells[thread])))?;
        Ok((group, driver))
    });
    if ready.is_err() {
        shared.stop();
    }
    // Also by a thread that has failed: the others wait for it.
    start.wait();
    let (group, mut driver) = ready?;
    group.run(&mut driver, *shared.start.get_or_init(Instant::now))
}

//! A load: clients that send batches and wait for their answers, spread over threads, each thread on its own core with its
//! own driver. The threads share nothing while they run but the word to stop and, one way, their progress; what they counted is
//! merged at the end.

mod baseline;
mod client;
mod fleet;
mod intervals;
mod options;
mod plot;
mod progress;
mod report;
mod requests;
mod schedule;
mod span;
mod tally;
mod values;

pub use baseline::Baseline;
pub use intervals::{Interval, Intervals};
pub use options::{Format, Plan, parse};
pub use plot::draw;
pub use report::Report;
pub use requests::{Heads, Requests};
pub use span::{Counts, Ending, Span};
pub use tally::{Arrival, Begun, Failure, Tally};

use crate::{cores, drivers::Chosen};
use fleet::Fleet;
use progress::Progress;
use reactor::{Doorbell, Driver, epoll::EpollDriver, uring::UringDriver};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// All threads' counts.
    pub tally: Tally,
    /// A signal ended it early.
    pub interrupted: bool,
    /// The first connects were refused and none had succeeded, which ended it early.
    pub nothing_listens: bool,
}

/// So many refused connects, or one for each client if these are fewer, with none that succeeded: nothing listens. Linux
/// refuses nobody for a full backlog (tcp(7), tcp_abort_on_overflow).
const REFUSALS_ENOUGH: u32 = 8;

/// What the threads of one load share.
#[derive(Debug)]
pub(crate) struct Shared {
    refusals_enough: u32,
    stop: AtomicBool,
    interrupted: AtomicBool,
    connected: AtomicBool,
    refusals: AtomicU32,
    nothing_listens: AtomicBool,
    /// The moment that all times count from.
    start: OnceLock<Instant>,
    doorbells: Vec<Arc<Doorbell>>,
    /// Of each thread.
    progress: Vec<Progress>,
}

impl Shared {
    fn new(clients: u32, threads: usize) -> io::Result<Self> {
        Ok(Self {
            refusals_enough: clients.min(REFUSALS_ENOUGH),
            stop: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
            nothing_listens: AtomicBool::new(false),
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

/// Puts the load of `plan` on its server, with the driver `chosen`, until it is done or SIGINT or SIGTERM comes.
///
/// # Errors
/// A driver, a descriptor or a thread is not to be had. What happens between the clients and the server is no error but
/// part of the outcome.
pub fn run(plan: &Plan, chosen: Chosen) -> io::Result<Outcome> {
    let shared = Shared::new(plan.clients, plan.threads)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stop_listening = signals.handle();
    let cores = cores::allowed();
    let start = Barrier::new(plan.threads);
    if plan.rate.is_some() {
        cores::sharpen_timers();
    }
    let (ended, wait_for_end) = mpsc::channel();
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in &mut signals {
                shared.interrupted.store(true, Ordering::Release);
                shared.stop();
            }
        });
        let told = &shared;
        scope.spawn(move || progress::tell(plan, told, &wait_for_end));
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let core = cores.get(index % cores.len().max(1)).copied();
                let (shared, start) = (&shared, &start);
                scope.spawn(move || {
                    if let Some(core) = core
                        && !cores::pin(core)
                    {
                        crate::complain!("cannot pin a thread to core {core}: it may wander");
                    }
                    match chosen {
                        Chosen::IoUring => work::<UringDriver>(plan, index, shared, start),
                        Chosen::Epoll => work::<EpollDriver>(plan, index, shared, start),
                    }
                })
            })
            .collect();
        let tallies = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the load has panicked"))));
        let tallies = tallies.collect::<io::Result<Vec<_>>>();
        drop(ended);
        stop_listening.close();
        let none = || io::Error::other("a load has at least one thread");
        tallies.and_then(|tallies| tallies.into_iter().reduce(merge).ok_or_else(none))
    })?;
    Ok(Outcome {
        tally,
        interrupted: shared.interrupted.load(Ordering::Acquire),
        nothing_listens: shared.nothing_listens.load(Ordering::Acquire),
    })
}

fn merge(mut sum: Tally, tally: Tally) -> Tally {
    sum.merge(tally);
    sum
}

/// One thread's share: the clients whose number leaves the rest `thread` when divided by the number of threads.
fn work<D: Driver>(plan: &Plan, thread: usize, shared: &Shared, start: &Barrier) -> io::Result<Tally> {
    let ready = Fleet::new(plan, thread, shared).and_then(|fleet| {
        let driver = D::open(fleet.setup(Arc::clone(&shared.doorbells[thread])))?;
        Ok((fleet, driver))
    });
    if ready.is_err() {
        shared.stop();
    }
    // Also by a thread that has failed: the others wait for it.
    start.wait();
    let (fleet, mut driver) = ready?;
    fleet.run(&mut driver, *shared.start.get_or_init(Instant::now))
}

//! A load: clients that send batches and wait for their answers, spread over threads, each thread on its own core with its
//! own driver. The threads share nothing while they run but the word to stop; what they counted is merged at the end.

mod client;
mod fleet;
mod options;
mod report;
mod requests;
mod tally;

pub use options::{Format, Plan, parse};
pub use report::{json, text};
pub use requests::Requests;
pub use tally::{Failure, Tally};

use crate::{cores, drivers::Chosen};
use fleet::Fleet;
use reactor::{Doorbell, Driver, epoll::EpollDriver, uring::UringDriver};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// All threads' counts.
    pub tally: Tally,
    /// A signal ended it early.
    pub interrupted: bool,
    /// The first connect of every client was refused, which ended it early.
    pub nothing_listens: bool,
}

/// What the threads of one load share.
#[derive(Debug)]
pub(crate) struct Shared {
    clients: u32,
    stop: AtomicBool,
    interrupted: AtomicBool,
    first_connects_refused: AtomicU32,
    doorbells: Vec<Arc<Doorbell>>,
}

impl Shared {
    fn new(clients: u32, threads: usize) -> io::Result<Self> {
        Ok(Self {
            clients,
            stop: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            first_connects_refused: AtomicU32::new(0),
            doorbells: (0..threads).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>()?,
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

    /// A client's first connect was refused. When that has happened to all of them, there is no server to load.
    pub(crate) fn first_connect_refused(&self) {
        if self.first_connects_refused.fetch_add(1, Ordering::AcqRel) + 1 == self.clients {
            self.stop();
        }
    }

    fn nothing_listens(&self) -> bool {
        self.first_connects_refused.load(Ordering::Acquire) == self.clients
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
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in &mut signals {
                shared.interrupted.store(true, Ordering::Release);
                shared.stop();
            }
        });
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let core = cores.get(index % cores.len().max(1)).copied();
                let (shared, start) = (&shared, &start);
                scope.spawn(move || {
                    if let Some(core) = core
                        && !cores::pin(core)
                    {
                        eprintln!("cannot pin a thread to core {core}: it may wander");
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
        let merged = tallies.collect::<io::Result<Vec<_>>>().map(|tallies| {
            tallies.into_iter().fold(Tally::new(), |mut sum, tally| {
                sum.merge(&tally);
                sum
            })
        });
        stop_listening.close();
        merged
    })?;
    Ok(Outcome {
        tally,
        interrupted: shared.interrupted.load(Ordering::Acquire),
        nothing_listens: shared.nothing_listens(),
    })
}

/// One thread's share: the clients whose number leaves the rest `thread` when divided by the number of threads.
fn work<D: Driver>(plan: &Plan, thread: usize, shared: &Shared, start: &Barrier) -> io::Result<Tally> {
    let fleet = Fleet::new(plan, thread, shared);
    let driver = D::open(fleet.setup(Arc::clone(&shared.doorbells[thread])));
    if driver.is_err() {
        shared.stop();
    }
    // Also by a thread that has failed: the others wait for it.
    start.wait();
    fleet.run(&mut driver?)
}

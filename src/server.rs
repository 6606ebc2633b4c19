//! Start, signals, stop: who starts whom and who waits for whom.
//!
//! Start: the log directory is locked and mended, the port is taken, the threads are started, and only when every reactor
//! has its driver is anything said to be listening. Whatever fails before that is one line and exit code 2.
//!
//! Stop: the reactors stop accepting, answer what is in flight and end; then the writer writes what is left in their rings,
//! syncs the file, marks the state clean and ends; then the observer. A second signal ends the process at once.

use crate::{
    clock::Clock,
    config::{Config, DriverChoice},
    limits,
    log::{self, GroupCommit, LogExit, Writer},
    mail::Mail,
    rate::{ClientKeys, Ledger, Limiter, LimiterSetup, event_ring},
    service::{Service, Shared, key_of},
    shard::{self, ShardSetup},
    stats::{Facts, Observer, ObserverSetup},
};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use reactor::{Doorbell, Driver, Setup, epoll::EpollDriver, listen, mailbox, uring::UringDriver};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use std::{
    fmt, io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Why the server did not start, or did not go on: one line, for a person.
#[derive(Debug)]
pub struct ServerError(String);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

/// An error with a line made like `format!`.
macro_rules! error {
    ($($part:tt)*) => { ServerError(format!($($part)*)) };
}

/// What a thread says when it ends.
#[derive(Debug)]
enum Ended {
    Reactor(usize, io::Result<()>),
    Writer(LogExit),
    GroupCommit(LogExit),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    drain_timeout: Duration,
    draining: Arc<AtomicBool>,
    mailboxes: Vec<mailbox::Sender<Mail>>,
    threads: Threads,
    signals: Receiver<i32>,
    ended: Receiver<Ended>,
}

/// The threads that are joined when the server stops.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    group_commit: JoinHandle<()>,
    observer: JoinHandle<()>,
}

/// Starts everything and returns once it listens.
///
/// # Errors
/// Whatever keeps it from starting, and what to do about it.
pub fn start(config: Config) -> Result<Server, ServerError> {
    let connections_limit = connections_limit(&config)?;
    let signals = watch_signals().map_err(|error| error!("cannot watch for signals: {error}"))?;
    let opened = log::open(&config.data_dir).map_err(|error| error!("{error}"))?;
    report_recovery(&opened.report);
    let reactors = config.placement.reactor_cores.len();
    let listeners = listen::listeners(config.listen, reactors, limits::LISTEN_BACKLOG).map_err(|error| cannot_listen(&config, &error))?;
    let address = listeners[0].local_addr().map_err(|error| cannot_listen(&config, &error))?;
    let driver = choose_driver(config.driver)?;

    let doorbell = || Doorbell::new().map(Arc::new).map_err(|error| error!("no descriptor is to be had: {error}"));
    let draining = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let limiter = config.rate_limit.map(|limit| Arc::new(Limiter::new(limiter_setup(limit, &config))));
    let (producers, consumers): (Vec<_>, Vec<_>) = (0..reactors).map(|_| log::ring(config.ring_bytes)).unzip();
    let (event_senders, event_receivers): (Vec<_>, Vec<_>) = (0..reactors).map(|_| event_ring(limits::EVENTS_MAX)).unzip();
    let doorbells = (0..reactors).map(|_| doorbell()).collect::<Result<Vec<_>, _>>()?;
    let (mailboxes, mail): (Vec<_>, Vec<_>) = doorbells
        .iter()
        .map(|doorbell| mailbox::mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::clone(doorbell)))
        .unzip();
    let (questions, asked) = bounded(limits::QUESTIONS_MAX);
    // Every thread says once that it ended, and nobody may block on saying so.
    let (ended_sender, ended) = bounded(reactors + 2);

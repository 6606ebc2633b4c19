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
    stop_log: log::StopHandle,
    signals: Receiver<i32>,
    ended: Receiver<Ended>,
    observer: JoinHandle<()>,
}

//! Forwarding: lines of the log, delivered to remote write receivers.
//!
//! Owns: what to forward and where (`config`, `target`), what a line becomes (`batch`), the request (`encoder`,
//! `format`, `client`), the place in the log that a receiver has acknowledged (`cursor`), and the threads of a forward:
//! one that reads (`sender`), and one for each connection (`lane`). `command` is `metricstream forwards`.
//! Promises: each line behind the cursor is delivered at least once, or refused by the receiver and counted; the order
//! of the log is the order of delivery of each series, and with one connection of all; a receiver that is away costs no
//! memory. May not touch: the reactors, clients.

mod batch;
mod client;
mod command;
mod config;
mod cursor;
mod encoder;
mod format;
mod lane;
mod sender;
mod target;

pub use command::Arguments;
pub use config::{ForwardConfig, ForwardOption, StartAt, resolve};
pub use cursor::file_name;
pub use format::{Compression, Protocol};
pub use target::{Target, Trust};

use crate::{limits, stats::ForwardStatus};
use client::Client;
use crossbeam_channel::{Receiver, Sender, bounded};
use format::Negotiation;
use lane::{Lane, Shared, Stop, Warned};
use log::{LogPosition, LogStatus, segment::Hold};
use sender::{Job, Lanes};
use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// The hold of each forward on the log in `directory`: what retention has to wait for from the start, before any
/// forward runs.
#[must_use]
pub fn holds(configs: &[ForwardConfig], directory: &Path) -> Vec<Arc<Hold>> {
    let position = |config: &ForwardConfig| match (cursor::read(directory, &config.name), config.start) {
        (Ok(Some(position)), _) => Some(position),
        // As the forward itself will begin.
        (Ok(None) | Err(_), StartAt::Beginning) => Some(LogPosition::FIRST),
        (Ok(None) | Err(_), StartAt::End) => None,
    };
    configs.iter().map(|config| Arc::new(Hold::new(&config.name, position(config)))).collect()
}

/// The running forwards.
#[derive(Debug)]
pub struct Forwards {
    status: Vec<Arc<ForwardStatus>>,
    is_over: Arc<AtomicBool>,
    /// Dropped to wake the threads.
    wake: Sender<()>,
    /// Disconnected once all threads have ended.
    running: Receiver<()>,
}

impl Forwards {
    /// Starts the forwards of the log in `directory`, each with its hold of `holds`.
    ///
    /// # Errors
    /// A thread cannot be started, or a receiver's certificate could not be checked.
    pub fn start(
        configs: &[ForwardConfig],
        directory: &Path,
        log: &Arc<LogStatus>,
        holds: &[Arc<Hold>],
    ) -> io::Result<Self> {
        let (wake, woken) = bounded(0);
        let (alive, running) = bounded::<()>(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut status = Vec::new();
        for (number, (config, hold)) in configs.iter().zip(holds).enumerate() {
            let own = Arc::new(ForwardStatus::new(config.name.clone(), Arc::clone(hold)));
            let shared = Arc::new(Shared {
                config: config.clone(),
                status: Arc::clone(&own),
                stop: Stop { is_over: Arc::clone(&is_over), woken: woken.clone() },
                negotiation: Negotiation::new(&config.name, config.protocol, config.compression),
                warned: Warned::default(),
            });
            let lanes = start_lanes(number, &shared, &alive)?;
            let mut job = Job::new(shared, directory, Arc::clone(log), lanes);
            // Before anything is appended: a cursor that is behind the log's end, after a loss of power, is found here.
            let follower = job.open();
            let alive = alive.clone();
            thread::Builder::new().name(format!("forward-{number}")).spawn(move || {
                job.run(follower);
                drop(alive);
            })?;
            tracing::info!(name = config.name, url = config.target.url, "forwarding enabled");
            status.push(own);
        }
        Ok(Self { status, is_over, wake, running })
    }

    /// The counters of each.
    #[must_use]
    pub fn status(&self) -> Vec<Arc<ForwardStatus>> {
        self.status.clone()
    }

    /// Stops all threads, and waits for them for a bounded time. What a receiver has not acknowledged is sent again by
    /// the next server.
    pub fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.wake);
        let deadline = Instant::now() + limits::FORWARD_STOP_WAIT;
        // Nothing is ever sent: it ends by the end of the last thread, or in time.
        if self.running.recv_deadline(deadline) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            let wait: Duration = limits::FORWARD_STOP_WAIT;
            tracing::warn!("a forward did not end within {wait:?}; it continues from its cursor at the next start");
        }
    }
}

/// Starts the threads of a forward's connections. They end with the one that has what is returned.
fn start_lanes(number: usize, shared: &Arc<Shared>, alive: &Sender<()>) -> io::Result<Lanes> {
    let tls = shared.config.target.tls()?;
    let lanes = shared.config.shards;
    let (to_done, done) = bounded(lanes * limits::FORWARD_BATCHES_MAX);
    let mut senders = Vec::new();
    for index in 0..lanes {
        let (sender, batches) = bounded(limits::FORWARD_BATCHES_MAX);
        let ForwardConfig { target, timeout, .. } = shared.config.clone();
        let client = Client::new(target, tls.clone(), timeout, Arc::clone(&shared.stop.is_over));
        let lane = Lane::new(index, Arc::clone(shared), client);
        let (to_done, alive) = (to_done.clone(), alive.clone());
        thread::Builder::new().name(format!("forward-{number}-{index}")).spawn(move || {
            lane.run(&batches, &to_done);
            drop(alive);
        })?;
        senders.push(sender);
    }
    Ok(Lanes { batches: senders, done })
}

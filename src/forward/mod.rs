//! Forwarding: lines of the log, delivered to remote write receivers.
//!
//! Owns: what to forward and where (`config`, `target`), what a line becomes (`known`, `labels`, `batch`), the request
//! (`encoder`, `snappy`, `format`, `client`, `response`), the place in the log that a receiver has acknowledged
//! (`cursor`, `reading`), the threads of a forward: one that reads (`sender`), and one for each connection (`lane`);
//! and, with the feature `kafka`, a topic of Kafka as the receiver (`kafka`). `command` is `metricstream forwards`.
//! Promises: each line behind the cursor is delivered at least once - to Kafka exactly once -, or refused by the
//! receiver and counted; the order of the log is the order of delivery of each series, and with one connection of all;
//! a receiver that is away costs no memory. May not touch: the reactors, clients.

mod batch;
mod client;
mod command;
mod config;
mod cursor;
mod encoder;
mod format;
#[cfg(feature = "kafka")]
mod kafka;
mod known;
mod labels;
mod lane;
mod reading;
mod response;
mod sender;
mod snappy;
mod target;

pub use command::Arguments;
pub use config::{ForwardConfig, ForwardOption, Receiver, RemoteWrite, StartAt, resolve};
pub use cursor::file_name;
pub use format::{Compression, Protocol};
#[cfg(feature = "kafka")]
pub use kafka::KafkaConfig;
pub use target::{Target, Trust};

use crate::{
    limits,
    stats::ForwardStatus,
    trace::{DeliverySetup, DeliveryTarget},
};
use client::Client;
use format::Negotiation;
use host::{
    channel::{self, RecvTimeoutError, Sender, bounded},
    thread,
};
use lane::{Lane, Shared, Stop, Warned};
use log::{LogPosition, LogStatus, segment::Hold};
use reading::Reading;
use sender::{Job, Lanes};
use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

/// The hold of each forward on the log in `directory`: what retention has to wait for from the start, before any
/// forward runs.
#[must_use]
pub fn holds(configs: &[ForwardConfig], directory: &Path) -> Vec<Arc<Hold>> {
    let position = |config: &ForwardConfig| match (cursor::read(directory, &config.name), config.start) {
        (Ok(Some(cursor)), _) => Some(cursor.position),
        // As the forward itself will begin.
        (Err(_), _) | (Ok(None), StartAt::Beginning) => Some(LogPosition::FIRST),
        (Ok(None), StartAt::End) => None,
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
    running: channel::Receiver<()>,
}

impl Forwards {
    /// Starts the forwards of the log in `directory`, each with its hold of `holds`. With `tracing`, deliveries are
    /// traced.
    ///
    /// # Errors
    /// A thread cannot be started, a receiver's certificate could not be checked, or a client of Kafka cannot be made.
    pub fn start(
        configs: &[ForwardConfig],
        directory: &Path,
        log: &Arc<LogStatus>,
        holds: &[Arc<Hold>],
        tracing: Option<&DeliverySetup>,
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
                warned: Warned::default(),
                tracing: tracing.cloned(),
                target: Arc::new(DeliveryTarget {
                    forward: config.name.clone(),
                    receiver: config.receiver.for_traces(),
                }),
            });
            let reading = Reading::new(Arc::clone(&shared), directory, Arc::clone(log));
            match &config.receiver {
                Receiver::RemoteWrite(remote) => {
                    let lanes = start_lanes(number, &shared, remote, &alive)?;
                    let mut job = Job::new(shared, reading, lanes, remote.batch_samples);
                    // Before anything is appended: a cursor that is behind the log's end, after a loss of power, is
                    // found here.
                    let follower = job.open();
                    start_thread(format!("forward-{number}"), &alive, move || job.run(follower))?;
                }
                #[cfg(feature = "kafka")]
                Receiver::Kafka(kafka) => {
                    let job = kafka::Job::new(shared, reading, kafka, directory)?;
                    start_thread(format!("forward-{number}"), &alive, move || job.run())?;
                }
            }
            tracing::info!(name = config.name, url = config.receiver.url(), "forwarding enabled");
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
        let wait: Duration = limits::FORWARD_STOP_WAIT;
        // Nothing is ever sent: it ends by the end of the last thread, or in time.
        if self.running.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a forward did not end within {wait:?}; it continues from its cursor at the next start");
        }
    }
}

/// Starts a thread, by whose end `alive` is dropped.
fn start_thread(name: String, alive: &Sender<()>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let alive = alive.clone();
    thread::Builder::new().name(name).spawn(move || {
        work();
        drop(alive);
    })?;
    Ok(())
}

/// Starts the threads of a forward's connections. They end with the one that has what is returned.
fn start_lanes(number: usize, shared: &Arc<Shared>, remote: &RemoteWrite, alive: &Sender<()>) -> io::Result<Lanes> {
    let RemoteWrite { target, protocol, compression, shards, batch_samples } = remote;
    let tls = target.tls()?;
    let negotiation = Arc::new(Negotiation::new(&shared.config.name, *protocol, *compression));
    let (to_done, done) = bounded(shards * limits::FORWARD_BATCHES_MAX);
    let mut senders = Vec::new();
    for index in 0..*shards {
        let (sender, batches) = bounded(limits::FORWARD_BATCHES_MAX);
        let is_over = Arc::clone(&shared.stop.is_over);
        let clock = shared.tracing.as_ref().map(|tracing| tracing.clock);
        let client = Client::new(target.clone(), tls.clone(), shared.config.timeout, is_over, clock);
        let lane = Lane::new(index, Arc::clone(shared), Arc::clone(&negotiation), *batch_samples, client);
        let to_done = to_done.clone();
        start_thread(format!("forward-{number}-{index}"), alive, move || lane.run(&batches, &to_done))?;
        senders.push(sender);
    }
    Ok(Lanes { batches: senders, done })
}

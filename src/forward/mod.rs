//! Forwarding: lines of the log, delivered to remote write receivers.
//!
//! Owns: what to forward and where (`config`), what a line becomes (`batch`), the request (`client`), the place in the
//! log that a receiver has acknowledged (`cursor`), and the thread of a forward (`sender`).
//! Promises: each line behind the cursor is delivered at least once, or refused by the receiver and counted; the order
//! of the log is the order of delivery; a receiver that is away costs no memory. May not touch: the reactors, clients.

mod batch;
mod client;
mod config;
mod cursor;
mod sender;

pub use config::{ForwardConfig, ForwardOption, StartAt, resolve};
pub use cursor::file_name;

use crate::{limits, stats::ForwardStatus};
use crossbeam_channel::{Receiver, Sender, bounded};
use log::LogStatus;
use sender::{Job, Stop};
use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// The running forwards, one thread each.
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
    /// Starts the forwards of the log in `directory`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(configs: &[ForwardConfig], directory: &Path, log: &Arc<LogStatus>) -> io::Result<Self> {
        let (wake, woken) = bounded(0);
        let (alive, running) = bounded::<()>(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut status = Vec::new();
        for config in configs {
            let own = Arc::new(ForwardStatus::new(config.name.clone()));
            let stop = Stop { is_over: Arc::clone(&is_over), woken: woken.clone() };
            let job = Job::new(config.clone(), directory, Arc::clone(log), Arc::clone(&own), stop);
            let alive = alive.clone();
            thread::Builder::new().name(format!("forward-{}", status.len())).spawn(move || {
                job.run();
                drop(alive);
            })?;
            tracing::info!(name = config.name, url = config.url, "forwarding enabled");
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

//! Requests that wait for lines to be written, without a thread of the pool: one thread looks whether the log has more,
//! and sleeps while nobody waits.

use super::{
    pool::{Engine, PoolShared},
    schedule::Job,
};
use crate::{limits, stats::Outcome};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use log::Published;
use std::{sync::atomic::Ordering::Relaxed, time::Instant};

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub job: Job,
    /// The published position when the wait began.
    pub seen: Published,
}

/// Gives each request back to the schedule once there is more in the log, its time is over or the server stops. Ends
/// with the pool's threads.
pub(super) fn run<E: Engine>(arriving: &Receiver<Waiter>, shared: &PoolShared<E>, wake: &Sender<()>) {
    let mut waiters: Vec<Waiter> = Vec::new();
    loop {
        let arrived = if waiters.is_empty() {
            arriving.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            arriving.recv_timeout(limits::LOG_POLL_INTERVAL)
        };
        match arrived {
            Ok(waiter) => waiters.push(waiter),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let is_over = shared.setup.draining.load(Relaxed);
        let now = Instant::now();
        let status = &shared.setup.status;
        let mut index = 0;
        while let Some(Waiter { job, seen }) = waiters.get(index) {
            let is_left = job.response.cancelled().load(Relaxed);
            let is_due = job.resume.is_none_or(|resume| resume.until <= now);
            if !(is_left || is_due || is_over || shared.setup.engine.has_more(*seen)) {
                index += 1;
                continue;
            }
            let mut job = waiters.swap_remove(index).job;
            if is_left {
                status.turn_away(Outcome::Cancelled);
                continue;
            }
            // Its time to be evaluated begins.
            job.arrived = now;
            shared.schedule().add(job);
            // Full: all will look anyway.
            let _ = wake.try_send(());
        }
        status.set_log_waiting(waiters.len());
    }
}

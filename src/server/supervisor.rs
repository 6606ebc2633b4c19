//! The run of the server: a supervisor that waits for a signal or the end of a thread, and then for all threads.
//!
//! Its phases are `Serving`, `Draining` and `Aborting`, in this order. A signal leads from `Serving` to `Draining`, the
//! failure of a thread to `Aborting`; `Draining` becomes `Aborting` when the connections have not ended in time.

use super::{Server, ServerError, signals::name_of, threads::Ended};
use crate::{limits, shard::ShardMessage};
use crossbeam_channel::select;
use log::{LogError, LogHealth};
use std::{fmt, sync::atomic::Ordering, time::Instant};
use wake::mailbox;

/// The reason why the server stops: the first one reported.
#[derive(Debug, Default)]
pub struct Reason {
    pub error: Option<ServerError>,
    /// All it says is that the log's other thread has failed, whose word may come later.
    is_echo: bool,
}

impl Reason {
    /// Takes the final report of a thread that exited unexpectedly.
    fn note(&mut self, last_word: Option<Ended>) {
        let is_echo = matches!(last_word, Some(Ended::Log(Err(LogError::Stopped))));
        if self.error.is_none() || (self.is_echo && !is_echo) {
            (self.error, self.is_echo) = (Some(Ended::failure_of(last_word)), is_echo);
        }
    }
}

/// The phases of a server that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are served.
    Serving,
    /// The reactors accept no connections and end those that they have, until the deadline.
    Draining(Instant),
    /// The reactors close all connections; what has not exited at the deadline is left behind.
    Aborting(Instant),
    /// The threads have exited, or are no longer waited for.
    Stopped,
}

/// Supervises the threads of a server.
pub struct Supervisor<'a> {
    server: &'a Server,
    phase: Phase,
    reason: Reason,
    /// Reactors that run.
    reactors: usize,
    /// Threads of the log that run: the writer and the group commit.
    log_threads: usize,
}

impl<'a> Supervisor<'a> {
    pub fn new(server: &'a Server) -> Self {
        let reactors = server.mailboxes.len();
        Self { server, phase: Phase::Serving, reason: Reason::default(), reactors, log_threads: 2 }
    }

    /// Goes through the phases, and returns why the server has stopped.
    pub fn run(mut self) -> Reason {
        loop {
            self.phase = match self.phase {
                Phase::Serving => self.serve(),
                Phase::Draining(_) | Phase::Aborting(_) if self.reactors + self.log_threads == 0 => Phase::Stopped,
                Phase::Draining(deadline) | Phase::Aborting(deadline) => self.wait_until(deadline),
                Phase::Stopped => return self.reason,
            };
        }
    }

    /// Waits for a signal or the end of a thread: a signal may rotate the log, anything else ends the phase.
    fn serve(&mut self) -> Phase {
        let server = self.server;
        select! {
            recv(server.signals.rotate) -> signal => {
                tracing::info!("rotating the log: {}", signal.map_or_else(|_| "a signal".into(), name_of));
                server.log.ask_for_rotation();
                Phase::Serving
            }
            recv(server.signals.stop) -> signal => {
                let name = signal.map_or_else(|_| "a signal".into(), name_of);
                // Set before the line is logged, so that readers of the line can rely on it.
                server.draining.store(true, Ordering::Relaxed);
                tracing::info!("shutting down: {name}");
                self.stopping(&name);
                self.post(|| ShardMessage::Drain);
                Phase::Draining(Instant::now() + server.drain_timeout)
            }
            recv(server.ended) -> last_word => {
                server.draining.store(true, Ordering::Relaxed);
                self.reason.note(last_word.ok());
                if let Some(error) = &self.reason.error {
                    tracing::error!("shutting down: {error}");
                    self.stopping(error);
                }
                self.post(|| ShardMessage::Abort);
                Phase::Aborting(Instant::now() + limits::LOG_STOP_WAIT)
            }
        }
    }

    /// Waits for the end of a thread until the deadline, and returns the phase after it. A thread whose end was the
    /// reason to stop is still counted: the channel is closed once the others have exited too.
    fn wait_until(&mut self, deadline: Instant) -> Phase {
        let server = self.server;
        select! {
            recv(server.ended) -> last_word => {
                match last_word {
                    Ok(Ended::Reactor(..)) => self.reactors -= 1,
                    Ok(Ended::Log(_)) => self.log_threads -= 1,
                    Err(_) => return Phase::Stopped,
                }
                if !matches!(last_word, Ok(Ended::Reactor(_, Ok(())) | Ended::Log(Ok(())))) {
                    self.reason.note(last_word.ok());
                }
                self.phase
            }
            default(deadline.saturating_duration_since(Instant::now())) => self.time_out(),
        }
    }

    /// Ends a phase whose deadline has passed.
    fn time_out(&mut self) -> Phase {
        let waited = limits::LOG_STOP_WAIT;
        if let Phase::Aborting(_) = self.phase {
            let log = &self.server.log;
            self.reason.error.get_or_insert_with(|| match log.health() {
                LogHealth::Healthy => error!("the threads did not exit within {waited:?}"),
                health => error!("the threads did not exit within {waited:?}: {health}"),
            });
            return Phase::Stopped;
        }
        if self.reactors > 0 {
            tracing::warn!("connections closed: they did not end within {:?}", self.server.drain_timeout);
            self.post(|| ShardMessage::Abort);
        }
        Phase::Aborting(Instant::now() + waited)
    }

    /// Notifies the service manager that the server stops, and how long that may take.
    fn stopping(&self, why: &dyn fmt::Display) {
        if let Some(sd_notify) = &self.server.sd_notify {
            let timeout = self.server.drain_timeout + limits::LOG_STOP_WAIT + limits::STOP_MARGIN;
            sd_notify.stopping(why, timeout);
        }
    }

    fn post(&self, message: impl Fn() -> ShardMessage) {
        post(&self.server.mailboxes, message);
    }
}

/// Posts a message to every reactor. A full mailbox belongs to a stuck reactor, which the deadline handles.
fn post(mailboxes: &[mailbox::Sender<ShardMessage>], message: impl Fn() -> ShardMessage) {
    for mailbox in mailboxes {
        if mailbox.post(message()).is_err() {
            tracing::warn!("shard mailbox full; message dropped");
        }
    }
}

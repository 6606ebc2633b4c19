//! The observer thread: asks the reactors for their reports, merges them, and makes of them the documents behind
//! `GET /metrics` and `GET /stats` and the line of statistics in the log. It also flushes the limiter's events into its ledger,
//! and has the limiter forget idle clients when nobody asks it anything.
//! The reactors never wait for it: they answer its question between two turns.

use super::{Counters, Report, latency_histogram, render};
use crate::{
    clock::Clock,
    http::Status,
    limits,
    log::LogStatus,
    mail::{LateAnswer, Mail},
    rate::{Ledger, Limiter},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use hdrhistogram::Histogram;
use reactor::{Token, mailbox::Sender};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A document that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// Prometheus text.
    Prometheus,
    /// JSON for people and scripts.
    Json,
}

/// A request for a document.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// What is wanted.
    pub document: Document,
    /// The reactor whose connection asks.
    pub reactor: usize,
    /// The connection.
    pub token: Token,
}

/// What an observer is made of.
#[derive(Debug)]
pub struct ObserverSetup {
    /// Requests for documents. When all senders are gone the observer ends.
    pub questions: Receiver<Question>,
    /// One mailbox a reactor.
    pub reactors: Vec<Sender<Mail>>,
    /// The limiter, when there is one.
    pub limiter: Option<Arc<Limiter>>,
    /// The ledger of the limiter's events.
    pub ledger: Ledger,
    /// What the log says of itself.
    pub log: Arc<LogStatus>,
    /// Whether the server is stopping.
    pub draining: Arc<AtomicBool>,
    /// How often a line of statistics is logged; `None` is never.
    pub stats_interval: Option<Duration>,
    /// The server's clock.
    pub clock: Clock,
    /// Facts that do not change while the server runs.
    pub facts: Facts,
}

/// Facts that do not change while the server runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When the server started.
    pub started: Instant,
    /// Name of the network driver.
    pub driver: &'static str,
    /// Default acknowledgement level.
    pub ack: &'static str,
    /// Starts that found the log of a server which had not stopped cleanly.
    pub unclean_shutdowns: u64,
}

/// The state of the whole server at one moment, merged.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub facts: &'a Facts,
    pub counters: Counters,
    pub latency_us: Histogram<u64>,
    pub reports: Vec<Report>,
    pub reactors: usize,
    pub limiter: Option<LimiterFigures>,
    pub ledger: &'a Ledger,
    pub log: &'a LogStatus,
    pub draining: bool,
}

/// The limiter's own figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct LimiterFigures {
    pub clients: usize,
    pub memory_bytes: usize,
}

/// Runs on a thread of its own.
#[derive(Debug)]
pub struct Observer {
    setup: ObserverSetup,
    /// Latencies up to the last line that was logged: what came since is the interval's.
    logged_latency_us: Histogram<u64>,
    logged_counters: Counters,
    logged_at: Instant,
}

impl Observer {
    /// An observer that has seen nothing yet.
    #[must_use]
    pub fn new(setup: ObserverSetup) -> Self {
        let logged_at = setup.facts.started;
        Self { setup, logged_latency_us: latency_histogram(), logged_counters: Counters::default(), logged_at }
    }

    /// Serves until every reactor has ended.
    pub fn run(mut self) {
        loop {
            let flush = Instant::now() + limits::EVENT_FLUSH_INTERVAL;
            let log = self.setup.stats_interval.map(|interval| self.logged_at + interval);
            let wake = log.map_or(flush, |log| log.min(flush));
            match self.setup.questions.recv_deadline(wake) {
                Ok(question) => self.answer(question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.setup.ledger.drain();
            if let Some(limiter) = &self.setup.limiter {
                limiter.tend(self.setup.clock.monotonic_ns());
            }
            if log.is_some_and(|log| Instant::now() >= log) {
                self.log_line();
            }
        }
        self.setup.ledger.drain();
    }

    fn answer(&mut self, question: Question) {
        self.setup.ledger.drain();
        let snapshot = self.snapshot();
        let (content_type, body) = match question.document {
            Document::Prometheus => ("text/plain; version=0.0.4; charset=utf-8", render::prometheus(&snapshot)),
            Document::Json => ("application/json", render::json(&snapshot)),
        };
        let answer = LateAnswer { token: question.token, status: Status::Ok, content_type, body };
        // A mailbox that is full or gone: the connection's own deadline ends its wait.
        if self.setup.reactors[question.reactor].post(Mail::Answer(answer)).is_err() {
            tracing::warn!(reactor = question.reactor, "a document could not be handed back: the mailbox is full");
        }
    }

    /// Asks every reactor and merges what comes back in time. A reactor that is stuck or gone is left out, and that shows in
    /// the number of reports.
    fn snapshot(&self) -> Snapshot<'_> {
        let setup = &self.setup;
        let (reply, replies) = bounded(setup.reactors.len());
        for mailbox in &setup.reactors {
            // Full or gone: it will be missing among the replies.
            let _ = mailbox.post(Mail::Report(reply.clone()));
        }
        drop(reply);
        let deadline = Instant::now() + limits::REPORT_WAIT;
        let mut reports: Vec<Report> = std::iter::from_fn(|| replies.recv_deadline(deadline).ok()).collect();
        reports.sort_unstable_by_key(|report| report.reactor);
        let mut counters = Counters::default();
        let mut latency_us = latency_histogram();
        for report in &reports {
            counters.add(&report.counters);
            latency_us.add(&report.latency_us).expect("all latency histograms have the same bounds");
        }
        Snapshot {
            facts: &setup.facts,
            counters,
            latency_us,
            reactors: setup.reactors.len(),
            reports,
            limiter: setup
                .limiter
                .as_deref()
                .map(|limiter| LimiterFigures { clients: limiter.clients(), memory_bytes: limiter.memory_bytes() }),
            ledger: &setup.ledger,
            log: &setup.log,
            draining: setup.draining.load(Ordering::Relaxed),
        }
    }

    /// One line with the figures of the time since the last.
    fn log_line(&mut self) {
        let snapshot = self.snapshot();
        let counters = snapshot.counters.clone();
        let latency_us = snapshot.latency_us.clone();
        let mut interval_us = latency_us.clone();
        // A reactor that did not report this time would make the difference negative: then the interval is left empty.
        if interval_us.subtract(&self.logged_latency_us).is_err() {
            interval_us.reset();
        }
        let connections: u64 = snapshot.reports.iter().map(|report| report.connections_active).sum();
        let queued_bytes: u64 = snapshot.reports.iter().map(|report| report.queued_bytes).sum();
        let now = Instant::now();
        let seconds = now.duration_since(self.logged_at).as_secs_f64();
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let stored = since(counters.batches_stored, self.logged_counters.batches_stored);
        let received = since(counters.batches_received, self.logged_counters.batches_received);
        #[allow(clippy::cast_precision_loss)] // Counts of one interval: far below 2^52.
        let (per_second, success_percent) =
            (received as f64 / seconds, if received == 0 { 100.0 } else { 100.0 * stored as f64 / received as f64 });
        tracing::info!(
            connections,
            batches_per_second = format_args!("{per_second:.0}"),
            success_percent = format_args!("{success_percent:.2}"),
            metrics_stored = since(counters.metrics_stored, self.logged_counters.metrics_stored),
            rejected = since(counters.rejected(), self.logged_counters.rejected()),
            shed = since(counters.shed(), self.logged_counters.shed()),
            p50_us = interval_us.value_at_quantile(0.5),
            p95_us = interval_us.value_at_quantile(0.95),
            p99_us = interval_us.value_at_quantile(0.99),
            queued_bytes,
            rss_bytes = super::process::resident_bytes(),
            log = %snapshot.log.health(),
            "statistics",
        );
        self.logged_latency_us = latency_us;
        self.logged_counters = counters;
        self.logged_at = now;
    }
}

//! The observer thread: requests the reactors' reports, merges them, and makes of them the documents behind `GET
//! /metrics`, `/stats` and `/stats/clients` and the line of statistics in the log. It also flushes the limiter's events
//! into the totals of clients, and has the limiter forget idle clients when no request comes. The reactors never wait
//! for it: they send their reports between two turns. And as it sees whether they do, it also checks liveness and pings
//! the service manager's watchdog.

use super::{
    ExportStatus, Format, QueryStatus, Reactor, RenderedDocument, clients,
    collector::{Collector, Span},
    document,
    export::Figures,
    families,
    line::Line,
    points::{Points, Update},
    process::Process,
};
use crate::{
    limits, memory,
    stats::{ForwardStatus, StreamStatus},
    systemd::{LivenessCheck, LivenessSample, SdNotify},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use http1::HttpError;
use log::{LogCounts, LogStatus, segment::MaintenanceStatus};
use rate::{Limiter, TopClients};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use wake::clock::Clock;

/// A document that can be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The figures, in the form that was negotiated.
    Metrics(Format),
    /// The clients, so many of them.
    Clients {
        /// Number of clients.
        top: usize,
    },
}

impl Document {
    /// The document that `GET /metrics` requests with this `Accept`.
    #[must_use]
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        Self::Metrics(Format::negotiate(accept))
    }

    /// The document that `GET /stats/clients` requests with this query string.
    ///
    /// # Errors
    /// An unknown or invalid parameter, by name.
    pub fn clients(query: Option<&str>) -> Result<Self, HttpError> {
        Ok(Self::Clients { top: clients::top_of(query)? })
    }

    /// The lane of the document, below [`limits::DOCUMENT_REQUESTS_PER_REACTOR_MAX`]. Documents of one lane are
    /// rendered one after another for a core, those of different lanes do not wait for each other: each format of the
    /// figures, and the lists of clients together, of which there are a thousand different ones.
    #[must_use]
    pub const fn lane(self) -> usize {
        match self {
            Self::Metrics(Format::Json) => 0,
            Self::Metrics(Format::Prometheus) => 1,
            Self::Metrics(Format::OpenMetrics) => 2,
            Self::Clients { .. } => 3,
        }
    }

    /// Media type of the document.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Metrics(format) => format.content_type(),
            Self::Clients { .. } => Format::Json.content_type(),
        }
    }
}

/// A core's request for a document, for all of its connections that wait for it.
#[derive(Debug, Clone, Copy)]
pub struct DocumentRequest {
    /// The requested document.
    pub document: Document,
    /// The reactor that requests it.
    pub reactor: usize,
}

/// The configuration of an observer.
#[derive(Debug)]
pub struct ObserverSetup {
    /// Requests for documents. When all senders are gone the observer ends.
    pub document_requests: Receiver<DocumentRequest>,
    /// Every reactor, by its index.
    pub reactors: Vec<Arc<dyn Reactor>>,
    /// The limiter, when there is one.
    pub limiter: Option<Arc<Limiter>>,
    /// The totals of clients, from the limiter's events.
    pub top_clients: TopClients,
    /// Status of the log.
    pub log: Arc<LogStatus>,
    /// Status of the maintenance of sealed segments.
    pub maintenance: Arc<MaintenanceStatus>,
    /// Status of the exporter.
    pub exported: Arc<ExportStatus>,
    /// The OTLP export of the server's own metrics, if enabled.
    pub figures: Option<FiguresOut>,
    /// Counters of queries.
    pub queries: Arc<QueryStatus>,
    /// Counters of forwards.
    pub forwards: Vec<Arc<ForwardStatus>>,
    /// The way of points to the live page, unless it is off.
    pub updates: Option<Sender<Update>>,
    /// Counters of the live page's streams.
    pub streams: Arc<StreamStatus>,
    /// True once shutdown has begun.
    pub draining: Arc<AtomicBool>,
    /// Interval at which statistics are logged; `None` means never.
    pub stats_interval: Option<Duration>,
    /// The service manager, if it requested notifications.
    pub sd_notify: Option<Arc<SdNotify>>,
    /// The server's clock.
    pub clock: Clock,
    /// Facts that do not change while the server runs.
    pub facts: Facts,
}

/// The way of the server's own figures to the exporter.
#[derive(Debug)]
pub struct FiguresOut {
    /// Interval between exports.
    pub interval: Duration,
    /// To the exporter, which takes one at a time.
    pub queue: Sender<Figures>,
}

/// Facts that do not change while the server runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Start time of the server.
    pub started: Instant,
    /// Start time, in nanoseconds since the epoch.
    pub started_unix_ns: u64,
    /// Name of the network driver.
    pub driver: &'static str,
    /// Default acknowledgement level.
    pub ack: &'static str,
    /// Most connections served at one time.
    pub connections_limit: u32,
    /// Type of the file system under the log.
    pub file_system: String,
    /// The kernel's clock source.
    pub clock_source: String,
    /// Starts that found the log of a server which had not stopped cleanly.
    pub unclean_shutdowns: u64,
    /// Bytes of segments that may be held for forwards.
    pub forward_hold_bytes: u64,
}

/// The state of the whole server at one moment, merged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot<'a> {
    pub facts: &'a Facts,
    pub collected: &'a Collector,
    pub all: Span<'a>,
    pub interval: Span<'a>,
    pub reactors: usize,
    pub limiter: Option<LimiterFigures>,
    pub top_clients: &'a TopClients,
    pub log: &'a LogStatus,
    pub log_counts: LogCounts,
    pub maintenance: &'a MaintenanceStatus,
    pub exported: &'a ExportStatus,
    pub queries: &'a QueryStatus,
    pub forwards: &'a [Arc<ForwardStatus>],
    pub streams: &'a StreamStatus,
    pub draining: bool,
    pub process: Process,
}

impl Snapshot<'_> {
    /// The snapshot with the counters of reactors and all distributions as of the last interval, so that a statistic
    /// made of these is of the interval. Gauges are as they are. Counters of other owners (queries, forwards, the
    /// exporter, the log) have no interval and stay those since the start.
    pub const fn of_interval(&self) -> Self {
        Self { all: self.interval, ..*self }
    }

    /// The reasons why the server is not ready; empty if it is ready.
    pub fn unready(&self) -> Vec<String> {
        unready(self.draining, self.log)
    }

    /// Bytes of memory by owner.
    pub fn memory(&self) -> [(&'static str, u64); 9] {
        let sum = |of: fn(&super::Memory) -> u64| self.collected.reports().map(|report| of(&report.memory)).sum();
        [
            ("rings", sum(|memory| memory.ring)),
            ("receive_buffers", sum(|memory| memory.receive_buffers)),
            ("connections", sum(|memory| memory.connections)),
            ("bodies", sum(|memory| memory.bodies)),
            ("answers", sum(|memory| memory.responses)),
            ("kept", sum(|memory| memory.kept)),
            ("decoders", sum(|memory| memory.decoders)),
            ("limiter", self.limiter.map_or(0, |limiter| limiter.memory_bytes as u64)),
            ("trace_queue", self.exported.queue_bytes),
        ]
    }
}

/// The reasons why a server is not ready: it does not accept batches, or its log does not work as configured. Empty if
/// it is ready.
#[must_use]
pub fn unready(draining: bool, log: &LogStatus) -> Vec<String> {
    let draining = draining.then(|| "the server is stopping".to_owned());
    let health = log.health();
    let health = (!health.is_healthy()).then(|| health.to_string());
    draining.into_iter().chain(health).chain(log.troubles().list()).collect()
}

/// The limiter's own figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct LimiterFigures {
    pub clients: usize,
    pub memory_bytes: usize,
}

/// A document as it is sent: indented, with a line end.
pub(super) fn pretty(document: &serde_json::Value) -> Vec<u8> {
    // Only maps whose keys are not text could fail.
    let mut text = serde_json::to_vec_pretty(document).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Runs on a thread of its own.
#[derive(Debug)]
pub struct Observer {
    setup: ObserverSetup,
    collector: Collector,
    /// Points of the live page, unless it is off.
    points: Option<Points>,
    /// The next time at which the open pages are sent the clients and the last refusals.
    who_due: Instant,
    /// Watchdog pings, if the service manager expects them.
    watchdog: Option<Watchdog>,
}

/// The next watchdog ping, and the result of the last liveness check.
#[derive(Debug)]
struct Watchdog {
    next: Instant,
    interval: Duration,
    liveness: LivenessCheck,
    /// The fault found by the last check, if any.
    fault: Option<&'static str>,
}

impl Observer {
    /// An observer that has seen nothing yet.
    #[must_use]
    pub fn new(setup: ObserverSetup) -> Self {
        let collector = Collector::new(setup.reactors.clone(), Arc::clone(&setup.log), setup.facts.started);
        let interval = setup.sd_notify.as_ref().and_then(|sd_notify| sd_notify.ping_interval());
        let watchdog = interval.map(|interval| Watchdog {
            next: Instant::now() + interval,
            interval,
            liveness: LivenessCheck::default(),
            fault: None,
        });
        let points = setup.updates.is_some().then(|| Points::new(setup.reactors.len(), setup.facts.started));
        Self { setup, collector, points, who_due: Instant::now(), watchdog }
    }

    /// Serves until every reactor has ended.
    pub fn run(mut self) {
        let interval = self.setup.stats_interval.unwrap_or(limits::INTERVAL_DEFAULT);
        let mut figures_due = self.setup.figures.as_ref().map(|out| Instant::now() + out.interval);
        let mut trim_due = Instant::now() + limits::TRIM_INTERVAL;
        // Rendering rests until then, and requests gather.
        let mut rested = Instant::now();
        loop {
            let interval_end = self.collector.began() + interval;
            let mut wake = interval_end.min(Instant::now() + limits::EVENT_FLUSH_INTERVAL);
            if let Some(watchdog) = &self.watchdog {
                wake = wake.min(watchdog.next);
            }
            if let Some(points) = &self.points {
                wake = wake.min(points.due());
            }
            thread::sleep(rested.min(wake).saturating_duration_since(Instant::now()));
            match self.setup.document_requests.recv_deadline(wake) {
                Ok(request) => {
                    rested = Instant::now() + limits::RENDER_INTERVAL_MIN;
                    self.serve(request);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.setup.top_clients.drain();
            if let Some(limiter) = &self.setup.limiter {
                limiter.forget_idle(self.setup.clock.monotonic_ns());
            }
            if Instant::now() >= trim_due {
                trim_due = Instant::now() + limits::TRIM_INTERVAL;
                self.collector.collect_and_trim();
                memory::give_back();
            }
            if self.watchdog.as_ref().is_some_and(|watchdog| Instant::now() >= watchdog.next) {
                self.check_liveness();
            }
            if self.points.as_ref().is_some_and(|points| Instant::now() >= points.due()) {
                self.make_points();
            }
            if Instant::now() >= interval_end {
                self.collector.collect();
                self.collector.end_interval();
                self.tell_figures();
            }
            if let Some((out, due)) = self.setup.figures.as_ref().zip(figures_due.as_mut())
                && Instant::now() >= *due
            {
                *due = Instant::now() + out.interval;
                self.collector.collect();
                self.export_figures();
            }
        }
        self.setup.top_clients.drain();
        // The reactors have ended, each with a final report that was not requested: what is exported is as of the last
        // report.
        self.export_figures();
    }

    /// Makes the points of the spans that have ended, and passes them on to the live page.
    fn make_points(&mut self) {
        self.collector.collect_within(limits::POINT_REPORT_WAIT);
        let Some(mut points) = self.points.take() else { return };
        let now_ms = self.setup.clock.wall_ms();
        let updates = points.make(&self.snapshot(Process::read_usage()), self.collector.recent(), now_ms);
        self.collector.clear_recent();
        self.points = Some(points);
        for update in updates.into_iter().chain(self.make_who()) {
            // Its thread is behind, which nobody waits for: the page shows a gap.
            let _ = self.setup.updates.as_ref().map(|to| to.try_send(update));
        }
    }

    /// Makes the clients and the last refusals for the open pages, every other second while there are any.
    fn make_who(&mut self) -> Option<Update> {
        if self.setup.streams.active() == 0 {
            self.who_due = Instant::now();
            return None;
        }
        if Instant::now() < self.who_due {
            return None;
        }
        // A little early, as points do not come to the millisecond.
        self.who_due = Instant::now() + limits::WHO_INTERVAL - limits::POINT_REPORT_WAIT;
        self.setup.top_clients.drain();
        let limited = self.setup.limiter.is_some();
        let now_ns = self.setup.clock.monotonic_ns();
        let who = json!({
            "type": "who",
            "clients": clients::to_json(&self.setup.top_clients, limited, limits::CLIENTS_SHOWN_DEFAULT, now_ns),
            "refusals": self.collector.refusals().to_json(),
        });
        Some(Update::Who { line: format!("{who}\n").into_bytes().into() })
    }

    /// Hands the server's figures to the exporter. One that has not sent the last ones yet gets the next.
    fn export_figures(&self) {
        if let Some(out) = &self.setup.figures {
            let families = families::collect(&self.snapshot(Process::read())).into_families();
            let clock = self.setup.clock;
            let figures = Figures {
                families,
                // The same each time: another would say that all counts began anew.
                started_unix_ns: self.setup.facts.started_unix_ns,
                now_unix_ns: clock.epoch_ns().saturating_add(clock.monotonic_ns()),
            };
            if out.queue.try_send(figures).is_err() {
                self.setup.exported.figures_failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn tell_figures(&self) {
        let sd_notify = self.setup.sd_notify.as_ref();
        if sd_notify.is_none() && self.setup.stats_interval.is_none() {
            return;
        }
        let figures = Line::of(&self.snapshot(Process::read()));
        if self.setup.stats_interval.is_some() {
            figures.log();
        }
        // What stops has said so, and why, which is more than figures.
        if let Some(sd_notify) = sd_notify.filter(|_| !self.is_draining()) {
            match self.watchdog.as_ref().and_then(|watchdog| watchdog.fault) {
                Some(fault) => sd_notify.status(&format_args!("{fault}; {figures}")),
                None => sd_notify.status(&figures),
            }
        }
    }

    /// Checks liveness, and pings the watchdog unless a thread is stalled. During shutdown, when the threads exit one
    /// after another, it does nothing.
    fn check_liveness(&mut self) {
        let draining = self.is_draining();
        let (Some(watchdog), Some(sd_notify)) = (&mut self.watchdog, &self.setup.sd_notify) else { return };
        watchdog.next = Instant::now() + watchdog.interval;
        if draining {
            return;
        }
        self.collector.collect();
        let sample = LivenessSample {
            reactors_silent: self.collector.silent(),
            health: self.setup.log.health(),
            queued_bytes: self.collector.reports().map(|report| report.queued_bytes).sum(),
            written_bytes: self.setup.log.counts().bytes,
        };
        let fault = watchdog.liveness.check(sample).err();
        if fault.is_none() {
            sd_notify.ping_watchdog();
        }
        if fault != watchdog.fault {
            match fault {
                Some(fault) => tracing::warn!("watchdog pings suspended: {fault}"),
                None => tracing::info!("watchdog pings resumed"),
            }
        }
        watchdog.fault = fault;
    }

    fn is_draining(&self) -> bool {
        self.setup.draining.load(Ordering::Relaxed)
    }

    /// Serves all requests that wait. Each document is rendered once for all cores that requested it, and begun after
    /// their requests.
    fn serve(&mut self, first: DocumentRequest) {
        let mut document_requests = vec![first];
        // A core sends another request only once it has its document, so this ends.
        document_requests.extend(self.setup.document_requests.try_iter());
        self.setup.top_clients.drain();
        if document_requests.iter().any(|request| matches!(request.document, Document::Metrics(_))) {
            self.collector.collect();
        }
        while let Some(&DocumentRequest { document, .. }) = document_requests.first() {
            let rendered = RenderedDocument { document, body: Arc::new(self.render(document)) };
            for request in document_requests.extract_if(.., |request| request.document == document) {
                self.setup.reactors[request.reactor].deliver(rendered.clone());
            }
        }
    }

    fn render(&self, document: Document) -> Vec<u8> {
        match document {
            Document::Clients { top } => {
                let limited = self.setup.limiter.is_some();
                clients::document(&self.setup.top_clients, limited, top, self.setup.clock.monotonic_ns())
            }
            Document::Metrics(format) => {
                let snapshot = self.snapshot(Process::read());
                match format {
                    Format::Json => document::document(&snapshot),
                    Format::Prometheus | Format::OpenMetrics => families::collect(&snapshot).text(format),
                }
            }
        }
    }

    fn snapshot(&self, process: Process) -> Snapshot<'_> {
        let setup = &self.setup;
        let figures =
            |limiter: &Limiter| LimiterFigures { clients: limiter.clients(), memory_bytes: limiter.memory_bytes() };
        Snapshot {
            facts: &setup.facts,
            collected: &self.collector,
            all: self.collector.since_start(),
            interval: self.collector.interval(),
            reactors: setup.reactors.len(),
            limiter: setup.limiter.as_deref().map(figures),
            top_clients: &setup.top_clients,
            log: &setup.log,
            log_counts: setup.log.counts(),
            maintenance: &setup.maintenance,
            exported: &setup.exported,
            queries: &setup.queries,
            forwards: &setup.forwards,
            streams: &setup.streams,
            draining: self.is_draining(),
            process,
        }
    }
}

//! The service of one core: routes, admits, parses, encodes and acknowledges requests. It uses HTTP, metrics, the
//! limiter and the log, and neither connections, sockets nor the reactor. Besides the response, its only output is the
//! log position that the response has to wait for.

mod admission;
mod ingest;
mod known;
mod refusals;
mod ui;

use crate::{
    config::{Config, StatsAuth},
    listening::Role,
    protocols::{Companion, Decoders, Dialect, Payload, dialect_of, misspelled},
    query_pool::{self, RawQuery, Sharer},
    stats::{
        Counters, Document, Format, Histograms, Outcome, Protocol, QueryStatus, RefusalRing, RefusedBatch, Rejection,
        Shed, Stamps, unready,
    },
    trace::{Context, Request, RequestStages, Tracer, Traces},
    ui::{Job, Page, PageRequest},
    warnings::Warnings,
};
use admission::Payer;
use http1::{Head, HeadId, HttpError, Method, Responder, Rules, Served, Status, parameters};
use ingest::Batch;
use known::KnownHeads;
use log::{AckLevel, Appender};
use metric::BatchEncoder;
use rate::{Charge, ClientAddress, ClientKey, ClientKeys, EventKind, EventSender, Limiter, has_credentials};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wake::clock::Clock;

/// The response on a connection over the limit.
pub const CROWDED: HttpError =
    HttpError::Unavailable { text: "too many connections", retry_after_s: http1::limits::RETRY_AFTER_S };
const JSON: &str = "application/json";

/// The parts of a request head that are kept until the end of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmittedRequest {
    /// Metrics, of any protocol.
    Ingest {
        /// The decoding of the body.
        payload: Payload,
        /// The level at which the batch is acknowledged.
        ack: AckLevel,
        /// The charge of the batch; `None` without a limiter.
        charge: Option<Charge>,
        /// The client.
        client: ClientKey,
        /// The trace context of the batch.
        trace: Context,
    },
    /// `OPTIONS` of any path, by a browser on behalf of a web page.
    Preflight,
    /// A request that agents make beside sending metrics.
    Companion(Companion),
    /// `GET /health`.
    Health,
    /// `GET /ready`.
    Ready,
    /// `GET /metrics`, `/stats` or `/stats/clients`.
    Statistics {
        /// The requested document.
        document: Document,
        /// The client, where the document names it.
        asked_by: Option<ClientKey>,
    },
    /// `GET` or `POST`, `/query`, `/series`, `/names` or `/tags/<key>`.
    Query(Box<RawQuery>),
    /// `GET /` by a browser.
    ToPage,
    /// `GET /ui`.
    Page(PageRequest),
    /// `GET /ui/stream`.
    Stream {
        /// The request was HEAD.
        head_only: bool,
        /// The client.
        sharer: Sharer,
    },
    /// `POST /debug/profile`, `GET /ui/doctor` or `POST /ui/marks`.
    Job(Box<Job>),
}

/// A request whose response is made by another thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeferredRequest {
    /// A document of statistics.
    Document {
        /// The requested document.
        document: Document,
        /// The client, where the document names it.
        asked_by: Option<ClientKey>,
    },
    /// A query.
    Query(Box<RawQuery>),
    /// The live page: it is at hand, and deferred because its length needs memory of its own.
    Page(PageRequest),
    /// A stream of figures for the live page.
    Stream {
        /// The request was HEAD.
        head_only: bool,
        /// The client.
        sharer: Sharer,
    },
    /// A job for the live page.
    Job(Box<Job>),
}

/// The batches of one burst whose responses wait for one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingAck {
    /// Their protocol.
    pub protocol: Protocol,
    /// Number of batches.
    pub batches: u32,
    /// Number of their metrics.
    pub metrics: u32,
    /// Bytes of their decoded bodies.
    pub body_bytes: u64,
    /// Position in the log at which the last of them ends.
    pub position: u64,
}

impl Default for PendingAck {
    fn default() -> Self {
        Self { protocol: Protocol::Json, batches: 0, metrics: 0, body_bytes: 0, position: 0 }
    }
}

/// Decisions about the requests of one burst: the log positions that their responses wait for, and the request whose
/// response is made elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BurstResult {
    /// Batches that have to be written.
    pub write: PendingAck,
    /// Batches that have to be on stable storage.
    pub fsync: PendingAck,
    /// Batches before those, of other protocols, each with its level.
    pub earlier: Vec<(AckLevel, PendingAck)>,
    /// Number of responses to batches, whatever their status.
    pub batch_responses: u32,
    /// The request that ended the burst.
    pub deferred: Option<DeferredRequest>,
}

/// The requests that one call of a connection completes: who makes them, and what is decided about them.
pub type Burst = http1::Burst<Service>;

/// The connection whose bytes are served.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The peer, or the client that a trusted proxy has named in a header.
    pub peer: ClientAddress,
    /// The key of `peer`, if it was computed for all requests of the connection.
    pub peer_key: Option<ClientKey>,
    /// `peer` is a trusted proxy, which may name the client of each request.
    pub is_trusted: bool,
    /// The role of the listener that accepted it.
    pub role: Role,
    /// True if it was accepted after shutdown began.
    pub accepted_during_drain: bool,
    /// True if it is over the connection limit: only `/health` and `/ready` are served.
    pub crowded: bool,
}

impl Caller {
    /// A peer that speaks for itself.
    #[must_use]
    pub const fn new(peer: ClientAddress, role: Role) -> Self {
        Self { peer, peer_key: None, is_trusted: false, role, accepted_during_drain: false, crowded: false }
    }

    /// The address that its connection and what it holds are counted by. A trusted proxy has none: its connections
    /// carry the requests of many clients, and none of them has to give way for the number of the others.
    #[must_use]
    pub fn counted_by(self) -> Option<ClientAddress> {
        (!self.is_trusted).then_some(self.peer)
    }
}

/// State shared by all cores.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The rate limiter, if a limit is configured.
    pub limiter: Option<Arc<Limiter>>,
    /// The source of client names.
    pub keys: ClientKeys,
    /// The clients of the API keys; `None` if no key is needed.
    pub api_keys: Option<HashSet<ClientKey>>,
    /// True once shutdown has begun.
    pub draining: Arc<AtomicBool>,
    /// Counters of queries.
    pub queries: Arc<QueryStatus>,
    /// The live page, unless it is off.
    pub page: Option<Page>,
    /// The one clock.
    pub clock: Clock,
}

/// One core's service.
pub struct Service {
    shared: Arc<Shared>,
    encoder: BatchEncoder,
    decoders: Box<Decoders>,
    log: Appender,
    events: EventSender,
    /// This core's counts.
    pub counters: Counters,
    /// The histograms of this core since the last report.
    pub histograms: Box<Histograms>,
    /// The tracer; `None` if tracing is off.
    tracer: Option<Box<Tracer>>,
    /// The client of the request that is being admitted: the peer, or the client behind it.
    client: ClientAddress,
    /// The client that this request is charged to, once it was looked for.
    payer: Option<ClientKey>,
    /// The batch that was counted as refused, until its refusal is.
    refused_batch: Option<RefusedBatch>,
    /// The refusals since the last report.
    pub refusals: RefusalRing,
    /// Key of that address, if it is the peer's and was computed for all requests of the connection.
    client_key: Option<ClientKey>,
    known_heads: KnownHeads,
    /// Wall-clock time of this turn: the timestamp of metrics that bring none.
    arrival_ms: i64,
    /// Time at which the first request of the current burst was charged; 0 if none was.
    charged_ns: u64,
    /// Warnings of timestamps that are far from now.
    far_warnings: Warnings,
    /// Batches whose position in the log their response is to have: the ring's position, and the place in the output.
    positions: Vec<(u64, usize)>,
}

impl Service {
    /// A service that appends to `log`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, log: Appender, events: EventSender) -> Self {
        Self {
            encoder: BatchEncoder::new(shared.config.metric),
            decoders: Box::new(Decoders::new(&shared.config)),
            arrival_ms: shared.clock.wall_ms(),
            charged_ns: 0,
            shared,
            log,
            events,
            counters: Counters::default(),
            histograms: Box::default(),
            tracer: None,
            client: ClientAddress::User(0),
            payer: None,
            refused_batch: None,
            refusals: RefusalRing::default(),
            client_key: None,
            known_heads: KnownHeads::default(),
            far_warnings: Warnings::default(),
            positions: Vec::new(),
        }
    }

    /// Adds a tracer.
    #[must_use]
    pub fn traced_by(self, tracer: Option<Tracer>) -> Self {
        Self { tracer: tracer.map(Box::new), ..self }
    }

    /// Sets the time that metrics without a timestamp get.
    pub fn set_arrival(&mut self, wall_ms: i64) {
        self.arrival_ms = wall_ms;
        if let Some(tracer) = &mut self.tracer {
            tracer.set_second(u64::try_from(wall_ms).unwrap_or(0) / 1_000);
        }
    }

    /// Begins a burst: requests that have been received, and are charged at one time.
    pub const fn begin_burst(&mut self) {
        self.charged_ns = 0;
    }

    /// This core's end of the log.
    #[must_use]
    pub const fn log(&self) -> &Appender {
        &self.log
    }

    /// This core's end of the log, to locate batches.
    pub const fn log_mut(&mut self) -> &mut Appender {
        &mut self.log
    }

    /// Bytes of scratch memory of this core's decoders.
    #[must_use]
    pub fn decoders_bytes(&self) -> usize {
        self.decoders.kept_bytes()
    }

    /// Hands the turn's lines to the writer, all at once.
    pub fn publish(&mut self) {
        self.log.publish();
    }

    /// The sender of the limiter's events.
    #[must_use]
    pub fn events(&self) -> &EventSender {
        &self.events
    }

    /// Drops a request whose connection ended before its body did: closed by the client, or `evicted` by the server.
    pub fn abandon(&mut self, caller: Caller, request: AdmittedRequest, evicted: bool) {
        if let AdmittedRequest::Ingest { payload, ack, mut trace, charge, .. } = request {
            let protocol = payload.dialect().protocol;
            self.report_admitted(charge, EventKind::Admitted, 0);
            if evicted {
                // We gave it up for our own reasons.
                self.refund(charge);
                self.counters.shed_batch(protocol, Shed::BodiesFull);
            } else {
                self.counters.reject_batch(protocol, Rejection::Abandoned);
            }
            self.trace(&mut trace, Some(ack), RequestStages::default(), caller);
        }
    }

    /// Admits a request by its path and method; `dialect`, if the path takes metrics.
    fn route(
        &mut self,
        head: &Head<'_>,
        dialect: Option<&'static Dialect>,
        burst: &mut Burst,
    ) -> Result<AdmittedRequest, HttpError> {
        let (path, method) = (head.path, head.method);
        if !burst.caller.crowded
            && let Some(browser) = self.admit_browser(head, burst.caller)
        {
            return Ok(browser);
        }
        if !self.is_served_here(path, method, burst.caller.role) {
            return Err(HttpError::NotFound);
        }
        if burst.caller.crowded && !matches!(path, "/health" | "/ready") {
            return Err(CROWDED);
        }
        if method == Method::Other("OPTIONS") && self.shared.config.cors.is_on() && (dialect.is_some() || is_path(path))
        {
            return Ok(AdmittedRequest::Preflight);
        }
        // A DELETE of a push gateway's path is a companion, and no batch.
        if let Some(dialect) = dialect.filter(|_| method != Method::Other("DELETE")) {
            return self.admit_batch(head, dialect, burst);
        }
        match Companion::of(head) {
            Some(companion) => self.admit_companion(head, companion?),
            None => match dialect {
                Some(dialect) => self.admit_batch(head, dialect, burst),
                None => self.admit_other(head, burst.caller),
            },
        }
    }

    /// Admits a request that is no batch.
    fn admit_other(&mut self, head: &Head<'_>, caller: Caller) -> Result<AdmittedRequest, HttpError> {
        match (head.path, head.method) {
            ("/metrics", Method::Get | Method::Head) => self.admit_statistics(head, Document::negotiate(head.accept)),
            ("/metrics", _) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD, POST" }),
            ("/health", Method::Get | Method::Head) => Ok(AdmittedRequest::Health),
            ("/ready", Method::Get | Method::Head) => Ok(AdmittedRequest::Ready),
            ("/stats", Method::Get | Method::Head) => self.admit_statistics(head, Document::Metrics(Format::Json)),
            ("/stats/clients", Method::Get | Method::Head) => {
                Document::clients(head.query).and_then(|document| self.admit_statistics(head, document))
            }
            ("/health" | "/ready" | "/stats" | "/stats/clients", _) => {
                Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" })
            }
            (path, _) if query_pool::is_query(path) => self.admit_query(head),
            (path, _) if ui::is_of_page(path) => self.admit_page(head, caller),
            _ => Err(HttpError::NotFound),
        }
    }

    /// Admits a request that agents make beside sending metrics. Like a batch it needs a key where keys are configured,
    /// except for those that probe whether the server is there.
    fn admit_companion(&mut self, head: &Head<'_>, companion: Companion) -> Result<AdmittedRequest, HttpError> {
        match self.payer(head) {
            keyless @ Payer::Keyless(_) if !matches!(companion, Companion::Root | Companion::InfluxPing) => {
                Err(self.refuse_keyless(keyless))
            }
            _ => Ok(AdmittedRequest::Companion(companion)),
        }
    }

    /// Returns true if the path is served on the listener of the request. With addresses for statistics, these serve
    /// statistics, `/health` and `/ready` only, and no other address serves statistics.
    fn is_served_here(&self, path: &str, method: Method<'_>, role: Role) -> bool {
        let is_statistics = match path {
            "/health" | "/ready" => return true,
            "/metrics" => matches!(method, Method::Get | Method::Head),
            _ => matches!(path, "/stats" | "/stats/clients") || ui::is_of_page(path),
        };
        match role {
            Role::Admin => is_statistics,
            Role::Public | Role::Proxied => !is_statistics || self.shared.config.admin_listen.is_empty(),
        }
    }

    /// Checks access to statistics: open to all, or with a key, as configured.
    fn admit_statistics(&mut self, head: &Head<'_>, document: Document) -> Result<AdmittedRequest, HttpError> {
        let asks_for_key = self.shared.config.stats_auth == StatsAuth::Keys;
        let names_clients = matches!(document, Document::Clients { .. });
        if !asks_for_key && !names_clients {
            return Ok(AdmittedRequest::Statistics { document, asked_by: None });
        }
        let payer = self.payer(head);
        match payer {
            Payer::Keyless(_) if asks_for_key => return Err(self.refuse_keyless(payer)),
            // The document reveals whether the key is valid.
            Payer::Keyless(_) if head.authorization.is_some_and(has_credentials) => {
                let charge = self.charge(payer, 0)?;
                self.report_admitted(charge, EventKind::Admitted, 0);
            }
            _ => {}
        }
        Ok(AdmittedRequest::Statistics { document, asked_by: names_clients.then(|| payer.client()) })
    }

    /// Admits a query. It does not count against the rate unless its key is wrong: the pool has limits of its own, per
    /// client and in total.
    fn admit_query(&mut self, head: &Head<'_>) -> Result<AdmittedRequest, HttpError> {
        match head.method {
            _ if self.shared.queries.threads == 0 => Err(HttpError::NotFound),
            Method::Post if head.path == query_pool::LOG_PATH => {
                Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" })
            }
            Method::Other(_) if head.path == query_pool::LOG_PATH => {
                Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" })
            }
            Method::Get | Method::Head | Method::Post => match self.payer(head) {
                keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
                payer => {
                    if head.method == Method::Post {
                        query_pool::check_form(head)?;
                    }
                    Ok(AdmittedRequest::Query(Box::new(RawQuery::of(head, self.sharer(payer)))))
                }
            },
            Method::Other(_) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD, POST" }),
        }
    }

    /// Passes the query to the pool, unless the server is shutting down.
    fn query(&mut self, mut query: Box<RawQuery>, body: &[u8], respond: Responder<'_>, burst: &mut Burst) -> Served {
        if burst.caller.accepted_during_drain || self.shared.draining.load(Ordering::Relaxed) {
            let refusal =
                HttpError::Unavailable { text: "the server is stopping", retry_after_s: http1::limits::RETRY_AFTER_S };
            self.shared.queries.refuse(Outcome::Draining);
            self.refuse(refusal, query.sharer.client);
            return respond.refuse(refusal);
        }
        if query.has_form
            && let Err(refusal) = query.take_form(body)
        {
            self.refuse(refusal, query.sharer.client);
            return respond.refuse(refusal);
        }
        // InfluxDB's statements come to the same path, in the URL or in a form.
        if query.has_form
            && let Some(companion) = Companion::of_statement(Some(&query.parameters))
        {
            return self.respond_companion(companion, respond);
        }
        burst.result.deferred = Some(DeferredRequest::Query(query));
        respond.defer()
    }

    /// Records a batch that has its response, or whose response waits for the log.
    fn trace(&mut self, context: &mut Context, ack: Option<AckLevel>, stages: RequestStages, caller: Caller) {
        if let Some(tracer) = &mut self.tracer {
            let context = std::mem::take(context);
            tracer.served(Request { context, ack, stages, peer: caller.peer }, &mut self.counters);
        }
    }

    /// Passes the traces of the burst to its connection. Returns true if they need the time at which the turn's lines
    /// are published.
    pub fn hand_over_traces(&mut self, traces: &mut Traces) -> bool {
        self.tracer.as_deref_mut().is_some_and(|tracer| tracer.hand_over(traces))
    }

    /// Records that the responses of a burst with this many batches were sent.
    pub fn trace_responded(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32) {
        if let Some(tracer) = &mut self.tracer {
            tracer.responded(traces, stamps, batches, &mut self.counters);
        }
    }

    /// Records that the connection ended before the responses of its burst were sent.
    pub fn trace_cut_off(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32) {
        if let Some(tracer) = &mut self.tracer {
            tracer.cut_off(traces, stamps, batches, &mut self.counters);
        }
    }

    /// The time, if the request is sampled; otherwise the clock is not read.
    fn stamp(&self, sampled: bool) -> u64 {
        if sampled { self.shared.clock.monotonic_ns() } else { 0 }
    }

    fn respond_companion(&mut self, companion: Companion, respond: Responder<'_>) -> Served {
        self.counters.count_response(companion.status());
        companion.respond(respond)
    }

    /// Responds `{"status":"ready"}`, or 503 with the reasons.
    fn respond_ready(&mut self, respond: Responder<'_>, caller: Caller) -> Served {
        let reasons = unready(self.shared.draining.load(Ordering::Relaxed), self.log.status());
        if reasons.is_empty() {
            self.counters.responses_ok += 1;
            return respond.body(Status::Ok, JSON, br#"{"status":"ready"}"#);
        }
        self.respond_unavailable("unready", &reasons, respond, caller)
    }

    /// Responds 200 while the server runs; once the log has failed the server is about to exit, and the response is
    /// 503.
    fn respond_health(&mut self, respond: Responder<'_>, caller: Caller) -> Served {
        let log = self.log.health();
        if log.has_failed() {
            return self.respond_unavailable("failed", &[log.to_string()], respond, caller);
        }
        self.counters.responses_ok += 1;
        respond.body(Status::Ok, JSON, br#"{"status":"live"}"#)
    }

    fn respond_unavailable(
        &mut self,
        status: &str,
        reasons: &[String],
        respond: Responder<'_>,
        caller: Caller,
    ) -> Served {
        let refusal = HttpError::Unavailable { text: "", retry_after_s: http1::limits::RETRY_AFTER_S };
        self.refuse_caller(refusal, caller);
        let body = serde_json::json!({ "status": status, "reasons": reasons });
        respond.unavailable(JSON, body.to_string().as_bytes())
    }
}

impl http1::Service for Service {
    type AdmittedRequest = AdmittedRequest;
    type Caller = Caller;
    type BurstResult = BurstResult;

    fn admit(&mut self, head: &Head<'_>, rules: &mut Rules, burst: &mut Burst) -> Result<AdmittedRequest, HttpError> {
        self.identify(head, burst.caller);
        let dialect = dialect_of(head);
        let form = dialect.or_else(|| Companion::form_of(head.path));
        if let Some(form) = form.filter(|form| !form.has_default_rules()) {
            *rules = form.rules(&self.shared.config);
        }
        self.route(head, dialect, burst).inspect_err(|&error| self.refuse(error, self.admitted_client()))
    }

    fn admit_again(
        &mut self,
        id: HeadId,
        content_length: Option<u64>,
        burst: &mut Burst,
    ) -> Option<Result<AdmittedRequest, HttpError>> {
        self.admit_known(id, content_length, burst)
    }

    fn serve(
        &mut self,
        mut request: AdmittedRequest,
        body: &[u8],
        respond: Responder<'_>,
        burst: &mut Burst,
    ) -> Served {
        match request {
            AdmittedRequest::Ingest { ref payload, ack, charge, client, ref mut trace } => {
                let batch = Batch { payload, ack, charge, client };
                self.ingest(&batch, trace, body, respond, burst)
            }
            AdmittedRequest::Companion(companion) => self.respond_companion(companion, respond),
            AdmittedRequest::Preflight => {
                self.counters.preflights += 1;
                respond.preflight()
            }
            AdmittedRequest::Health => self.respond_health(respond, burst.caller),
            AdmittedRequest::Ready => self.respond_ready(respond, burst.caller),
            AdmittedRequest::Statistics { document, asked_by } => {
                burst.result.deferred = Some(DeferredRequest::Document { document, asked_by });
                respond.defer()
            }
            AdmittedRequest::Query(query) => self.query(query, body, respond, burst),
            AdmittedRequest::Stream { head_only, sharer } => self.stream(head_only, sharer, respond, burst),
            AdmittedRequest::Job(job) => self.start_job(job, respond, burst),
            AdmittedRequest::ToPage => self.redirect_to_page(respond),
            AdmittedRequest::Page(request) => {
                burst.result.deferred = Some(DeferredRequest::Page(request));
                respond.defer()
            }
        }
    }

    fn charge(&mut self, request: &mut AdmittedRequest, bytes: u64) -> Result<(), HttpError> {
        self.charge_body(request, bytes)
    }

    fn refused(&mut self, request: Option<AdmittedRequest>, error: HttpError, burst: &mut Burst) {
        if let Some(AdmittedRequest::Ingest { payload, ack, charge, client, mut trace }) = request {
            burst.result.batch_responses += 1;
            self.report_admitted(charge, EventKind::Admitted, 0);
            self.count_refused_batch(payload.dialect().protocol, error);
            self.refuse(error, client);
            if error.status() == Status::ServiceUnavailable && !matches!(error, HttpError::Throttled { .. }) {
                self.refund(charge);
            }
            self.trace(&mut trace, Some(ack), RequestStages::refused(error), burst.caller);
        } else {
            self.refuse_caller(error, burst.caller);
        }
    }
}

/// The paths that are served.
fn is_path(path: &str) -> bool {
    matches!(path, "/metrics" | "/health" | "/ready" | "/stats" | "/stats/clients") || query_pool::is_query(path)
}

/// The level in a query string. JSON's has no other parameter, and another is refused because it would silently have no
/// effect; agents send parameters of their own, of which those are refused that are misspelled ones of ours.
fn ack_of(query: Option<&str>, protocol: Protocol, default: AckLevel) -> Result<AckLevel, HttpError> {
    let mut found = None;
    for (name, value) in parameters(query) {
        if !name.means("ack") {
            let meant = if protocol == Protocol::Json { Some("ack") } else { misspelled(name) };
            let Some(known) = meant else { continue };
            return Err(HttpError::UnknownParameter { name: name.into(), known });
        }
        // No level has a longer name than `memory`.
        let mut buffer = [0; 6];
        let level = value.and_then(|value| value.decode(&mut buffer)?.parse().ok());
        let level = level.ok_or(HttpError::BadRequest("ack must be memory, write or fsync"))?;
        if found.replace(level).is_some() {
            return Err(HttpError::BadRequest("ack is repeated"));
        }
    }
    Ok(found.unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_comes_from_the_query() {
        let ack = |query| ack_of(query, Protocol::Json, AckLevel::Write);
        assert_eq!(ack(None), Ok(AckLevel::Write));
        assert_eq!(ack(Some("")), Ok(AckLevel::Write));
        assert_eq!(ack(Some("&ack=memory&")), Ok(AckLevel::Memory));
        for query in ["ack=fsync", "ack=%66sync", "%61ck=fsyn%63"] {
            assert_eq!(ack(Some(query)), Ok(AckLevel::Fsync), "{query}");
        }
        for query in ["ack=disk", "ack=", "ack", "ack=FSYNC", "ack=fsync%", "ack=fsync+", "ack=write&ack=write"] {
            assert!(matches!(ack(Some(query)), Err(HttpError::BadRequest(_))), "{query}");
        }
        for (query, part) in [
            ("akc=fsync", "akc: unknown parameter; expected ack"),
            ("ack=fsync&x=1", "x: unknown parameter"),
            ("ACK=fsync", "ACK: unknown parameter"),
            ("?ack=fsync", "?ack: unknown parameter"),
            ("=fsync", ": unknown parameter"),
        ] {
            let refusal = ack(Some(query)).unwrap_err();
            assert!(refusal.to_string().starts_with(part), "{query}: {refusal}");
        }
        let of_an_agent = |query| ack_of(Some(query), Protocol::Influx, AckLevel::Write);
        assert_eq!(of_an_agent("db=x&ack=fsync&u=y"), Ok(AckLevel::Fsync));
        assert!(of_an_agent("db=x&ack=disk").is_err());
        for (query, known) in [("db=x&akc=fsync", "ack"), ("precison=s", "precision"), ("ACK=fsync", "ack")] {
            assert!(of_an_agent(query).unwrap_err().to_string().ends_with(&format!("expected {known}")), "{query}");
        }
    }
}

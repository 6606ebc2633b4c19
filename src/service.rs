//! What one core does with a request: route, admit, parse, encode, acknowledge. Knows HTTP, metrics, the limiter and
//! the log; knows nothing of connections, sockets or the reactor. Its one output beside the answer is the log position
//! that the answer has to wait for.

use crate::{
    address::ClientAddress,
    clock::Clock,
    config::{Config, StatsAuth},
    http::{self, Head, HttpError, Method, Responder, Served, Status, parameters},
    limits,
    listening::Role,
    log::{AckLevel, Appender},
    metric::BatchEncoder,
    proxy::ForwardedFields,
    query_pool::{self, RawQuery},
    rate::{
        Charge, ClientKey, ClientKeys, Decision, Event, EventKind, EventSender, Limiter, Standing, has_credentials,
    },
    stats::{Counters, Document, Format, Histograms, Outcome, QueryStatus, Rejection, Shed, Stamps, unready},
    trace::{Context, Course, Request, Tracer, Traces},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The answer to a connection over the bound.
pub const CROWDED: HttpError =
    HttpError::Unavailable { text: "too many connections", retry_after_s: limits::RETRY_AFTER_S };
const JSON: &str = "application/json";

/// What is kept of a head between its end and the end of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticket {
    /// `POST /metrics`.
    Ingest {
        /// The level at which the batch is acknowledged.
        ack: AckLevel,
        /// What it was charged; `None`: there is no limiter.
        charge: Option<Charge>,
        /// Its place in a trace.
        trace: Context,
    },
    /// `OPTIONS` of any path, by a browser that asks for a web page.
    Preflight,
    /// `GET /health`.
    Health,
    /// `GET /ready`.
    Ready,
    /// `GET /metrics`, `/stats` or `/stats/clients`.
    Statistics {
        /// Which document.
        document: Document,
        /// The client, where the document names it.
        asked_by: Option<ClientKey>,
    },
    /// `GET` or `POST`, `/query`, `/series`, `/names` or `/tags/<key>`.
    Query(Box<RawQuery>),
}

/// A request whose answer another thread has to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Late {
    /// A document of statistics.
    Document {
        /// Which document.
        document: Document,
        /// The client, where the document names it.
        asked_by: Option<ClientKey>,
    },
    /// Of a query.
    Query(Box<RawQuery>),
}

/// Who a request is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    /// The API key it shows.
    Key(ClientKey),
    /// The `Authorization` value it shows, where anybody may show any; its address where it has no place of its own.
    Name(ClientKey),
    /// Its address, where no key is asked for.
    Address(ClientKey),
    /// Its address, as it shows no key that is known.
    Keyless(ClientKey),
}

impl Payer {
    const fn client(self) -> ClientKey {
        match self {
            Self::Key(client) | Self::Name(client) | Self::Address(client) | Self::Keyless(client) => client,
        }
    }
}

/// Batches of one burst whose answers wait for one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many batches.
    pub batches: u32,
    /// Their metrics.
    pub metrics: u32,
    /// Bytes of their decoded bodies.
    pub body_bytes: u64,
    /// Position in the log at which the last of them ends.
    pub position: u64,
}

/// What the answers of one burst have to wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Burst {
    /// What has to be written.
    pub write: Part,
    /// What has to be on stable storage.
    pub fsync: Part,
    /// Requests answered that were batches, whatever the answer.
    pub batches_answered: u32,
    /// The request that ended it.
    pub late: Option<Late>,
}

/// The connection whose bytes are served.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Its other end, or if a trusted proxy has named one in a header, the client.
    pub peer: ClientAddress,
    /// `peer` is a trusted proxy, which may name the client of each request.
    pub is_trusted: bool,
    /// What the listener that it came in by is for.
    pub role: Role,
    /// It was taken in after the stop had begun.
    pub late: bool,
    /// It is over the bound of connections: only `/health` and `/ready` are answered.
    pub crowded: bool,
}

impl Caller {
    /// A peer that speaks for itself.
    #[must_use]
    pub const fn new(peer: ClientAddress, role: Role) -> Self {
        Self { peer, is_trusted: false, role, late: false, crowded: false }
    }

    /// The address that its connection and what it holds are counted by. A trusted proxy has none: its connections
    /// carry the requests of many clients, and none of them has to give way for the number of the others.
    #[must_use]
    pub fn counted_by(self) -> Option<ClientAddress> {
        (!self.is_trusted).then_some(self.peer)
    }
}

/// What all cores share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The limiter, unless the rate is without limit.
    pub limiter: Option<Arc<Limiter>>,
    /// Makes the names of clients.
    pub keys: ClientKeys,
    /// The clients that the API keys stand for; `None`: no key is asked for.
    pub api_keys: Option<HashSet<ClientKey>>,
    /// Whether the server is stopping.
    pub draining: Arc<AtomicBool>,
    /// What became of queries.
    pub queries: Arc<QueryStatus>,
    /// The one clock.
    pub clock: Clock,
}

/// One core's service.
pub struct Service {
    shared: Arc<Shared>,
    encoder: BatchEncoder,
    log: Appender,
    events: EventSender,
    /// This core's counts.
    pub counters: Counters,
    /// What this core measured since it was last asked.
    pub histograms: Box<Histograms>,
    /// Notes what is traced; `None`: tracing is off.
    tracer: Option<Box<Tracer>>,
    /// The connection whose bytes are being served.
    caller: Caller,
    /// On whose behalf the request is that was judged last: the peer, or who is behind it.
    client: ClientAddress,
    /// Wall-clock time of this turn: the timestamp of metrics that bring none.
    arrival_ms: i64,
    burst: Burst,
}

impl Service {
    /// A service that appends to `log`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, log: Appender, events: EventSender) -> Self {
        Self {
            encoder: BatchEncoder::new(shared.config.metric),
            arrival_ms: shared.clock.wall_ms(),
            shared,
            log,
            events,
            counters: Counters::default(),
            histograms: Box::default(),
            tracer: None,
            caller: Caller::new(ClientAddress::User(0), Role::Public),
            client: ClientAddress::User(0),
            burst: Burst::default(),
        }
    }

    /// The same, with `tracer` to note what is traced.
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

    /// Names the connection whose bytes come next.
    pub fn begin(&mut self, caller: Caller) {
        self.caller = caller;
    }

    /// Finds out on whose behalf a request is. A trusted proxy says so; of anybody else its fields are ignored.
    fn identify(&mut self, head: &Head<'_>) {
        let peer = self.caller.peer;
        self.client = peer;
        if !self.caller.is_trusted {
            return;
        }
        let Config { forwarded_header, trusted_proxies, .. } = &self.shared.config;
        let fields = ForwardedFields { forwarded: head.forwarded, x_forwarded_for: head.x_forwarded_for };
        if let Some(client) = fields.client(*forwarded_header, peer, trusted_proxies) {
            self.client = client;
            self.counters.forwarded_requests += u64::from(client != peer);
            self.counters.forwarded_unusable += u64::from(client == peer);
        }
    }

    /// What has gathered since the last call.
    pub fn take_burst(&mut self) -> Burst {
        std::mem::take(&mut self.burst)
    }

    /// This core's end of the log.
    #[must_use]
    pub const fn log(&self) -> &Appender {
        &self.log
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

    /// A ticket whose request will never be served: its connection ended before its body did, by its client's doing or,
    /// when it was `evicted`, by ours.
    pub fn abandon(&mut self, ticket: Ticket, evicted: bool) {
        if let Ticket::Ingest { ack, trace, charge } = ticket {
            if evicted {
                // We gave it up for our own reasons.
                self.refund(charge);
                self.counters.batches_shed[Shed::BodiesFull as usize] += 1;
            } else {
                self.counters.batches_rejected[Rejection::Abandoned as usize] += 1;
            }
            self.trace(trace, Some(ack), Course::default());
        }
    }

    /// Who a request is charged to. The one place that hashes an `Authorization` value: a key is looked up by its hash,
    /// under hash keys of this process, so the time that it takes says nothing about the keys there are.
    fn payer(&self, head: &Head<'_>) -> Payer {
        let Shared { keys, api_keys, .. } = &*self.shared;
        let named = head.authorization.filter(|value| has_credentials(value)).map(|value| keys.authorization(value));
        match (named, api_keys) {
            (Some(client), None) => Payer::Name(client),
            (Some(client), Some(known)) if known.contains(&client) => Payer::Key(client),
            (_, Some(_)) => Payer::Keyless(keys.address(self.client)),
            (None, None) => Payer::Address(keys.address(self.client)),
        }
    }

    /// Charges a request to `payer` before anything of it costs, with the `bytes` of its body that are known by now.
    fn charge(&mut self, payer: Payer, bytes: u64) -> Result<Option<Charge>, HttpError> {
        let Some(limiter) = &self.shared.limiter else { return Ok(None) };
        let now_ns = self.shared.clock.monotonic_ns();
        let address = || self.shared.keys.address(self.client);
        let (mut client, mut standing) = match payer {
            Payer::Key(client) | Payer::Address(client) => (client, Standing::PROVEN),
            Payer::Keyless(client) => (client, Standing::UNPROVEN),
            // If it is on record already, whose name it is does not matter any more.
            Payer::Name(client) => (client, Standing::UNPROVEN),
        };
        let mut decision = match payer {
            Payer::Name(name) => {
                let named = || {
                    standing = limiter.named(address());
                    standing
                };
                limiter.charge(name, named, bytes, now_ns)
            }
            _ => limiter.charge(client, || standing, bytes, now_ns),
        };
        if decision == Decision::NamesFull {
            (client, standing) = (address(), Standing::PROVEN);
            decision = limiter.charge(client, || standing, bytes, now_ns);
        }
        let allowed = matches!(decision, Decision::Admitted { .. });
        let kind = if allowed { EventKind::Admitted } else { EventKind::Refused };
        self.events.offer(Event { key: client, stamp_ns: now_ns, kind });
        match decision {
            Decision::Admitted { stamp_ns } => {
                self.counters.rate_admitted += 1;
                Ok(Some(Charge { client, standing, stamp_ns, bytes }))
            }
            refusal => Err(over_rate(refusal)),
        }
    }

    /// Gives a charge back: the request is refused for a reason of ours.
    fn refund(&mut self, charge: Option<Charge>) {
        if let (Some(charge), Some(limiter)) = (charge, &self.shared.limiter) {
            limiter.refund(charge, self.shared.clock.monotonic_ns());
            self.counters.rate_refunded += 1;
        }
    }

    /// A request without a key that is known, where one is asked for: it is charged to its address, so keys cannot be
    /// tried faster than the rate.
    fn refuse_keyless(&mut self, payer: Payer) -> HttpError {
        self.charge(payer, 0).err().unwrap_or(HttpError::Unauthorized)
    }

    /// Whether a path belongs to the listener that the request came in by. Where there is one for statistics, it has
    /// them to itself, and nothing else but what says how the server is.
    fn is_served_here(&self, path: &str, method: Method<'_>) -> bool {
        let is_statistics = match path {
            "/health" | "/ready" => return true,
            "/metrics" => matches!(method, Method::Get | Method::Head),
            _ => matches!(path, "/stats" | "/stats/clients"),
        };
        match self.caller.role {
            Role::Admin => is_statistics,
            Role::Public | Role::Proxied => !is_statistics || self.shared.config.admin_listen.is_empty(),
        }
    }

    /// Statistics are open to all, or to those with a key, as configured.
    fn admit_statistics(&mut self, head: &Head<'_>, document: Document) -> Result<Ticket, HttpError> {
        let asks_for_key = self.shared.config.stats_auth == StatsAuth::Keys;
        let names_clients = matches!(document, Document::Clients { .. });
        if !asks_for_key && !names_clients {
            return Ok(Ticket::Statistics { document, asked_by: None });
        }
        match self.payer(head) {
            keyless @ Payer::Keyless(_) if asks_for_key => Err(self.refuse_keyless(keyless)),
            payer => Ok(Ticket::Statistics { document, asked_by: names_clients.then(|| payer.client()) }),
        }
    }

    /// A query counts against no rate, unless its key is wrong: the pool has bounds of its own, for each client and for
    /// all.
    fn admit_query(&mut self, head: &Head<'_>) -> Result<Ticket, HttpError> {
        match head.method {
            _ if self.shared.queries.threads == 0 => Err(HttpError::NotFound),
            Method::Get | Method::Head | Method::Post => match self.payer(head) {
                keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
                payer => {
                    if head.method == Method::Post {
                        query_pool::check_form(head)?;
                    }
                    Ok(Ticket::Query(Box::new(RawQuery::of(head, payer.client()))))
                }
            },
            Method::Other(_) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD, POST" }),
        }
    }

    /// Has the pool answer, unless the server is stopping.
    fn query(&mut self, mut asked: Box<RawQuery>, body: &[u8], respond: Responder<'_>) -> Served {
        if self.caller.late || self.shared.draining.load(Ordering::Relaxed) {
            let refusal =
                HttpError::Unavailable { text: "the server is stopping", retry_after_s: limits::RETRY_AFTER_S };
            self.shared.queries.refuse(Outcome::Draining);
            self.counters.refused(refusal);
            return respond.refuse(refusal);
        }
        if asked.has_form
            && let Err(refusal) = asked.take_form(body)
        {
            self.counters.refused(refusal);
            return respond.refuse(refusal);
        }
        self.burst.late = Some(Late::Query(asked));
        respond.defer()
    }

    /// Judges the head of a batch, and charges it: whatever becomes of it, it is paid for, unless we are to blame.
    fn admit_batch(&mut self, head: &Head<'_>) -> Result<Ticket, HttpError> {
        self.counters.batches_received += 1;
        let mut trace = self.tracer.as_deref_mut().map_or_else(Context::default, |tracer| tracer.begin(head));
        trace.client = Some(self.client);
        let admitted = match self.payer(head) {
            keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
            payer => self.charge(payer, self.known_bytes(head)),
        };
        let level = |charge| {
            let ack = ack_of(head.query, self.shared.config.ack)?;
            Ok((ack, charge))
        };
        match admitted.and_then(level) {
            Ok((ack, charge)) => Ok(Ticket::Ingest { ack, charge, trace }),
            Err(refusal) => {
                self.count_refused_batch(refusal);
                self.burst.batches_answered += 1;
                self.trace(trace, None, Course::refused(refusal));
                Err(refusal)
            }
        }
    }

    /// Bytes of a body that its head states. One over the bound is refused unread, and costs none.
    fn known_bytes(&self, head: &Head<'_>) -> u64 {
        let bytes_max = self.shared.config.body_bytes_max() as u64;
        head.content_length.filter(|&bytes| bytes <= bytes_max).unwrap_or(0)
    }

    /// Counts a batch that was refused before it was parsed.
    fn count_refused_batch(&mut self, error: HttpError) {
        match error {
            HttpError::BodiesFull => self.counters.batches_shed[Shed::BodiesFull as usize] += 1,
            HttpError::Unavailable { .. } => self.counters.batches_shed[Shed::ClientsFull as usize] += 1,
            _ => {
                let reason = match error.status() {
                    Status::Unauthorized => Rejection::Unauthorized,
                    Status::TooManyRequests => Rejection::RateLimited,
                    Status::ContentTooLarge => Rejection::TooLarge,
                    Status::RequestTimeout => Rejection::TimedOut,
                    _ if matches!(error, HttpError::BadRequest(_) | HttpError::UnknownParameter { .. }) => {
                        Rejection::Malformed
                    }
                    _ => Rejection::Framing,
                };
                self.counters.batches_rejected[reason as usize] += 1;
            }
        }
    }

    /// Notes a batch that has its answer, or whose answer waits for the log.
    fn trace(&mut self, context: Context, ack: Option<AckLevel>, course: Course) {
        if let Some(tracer) = &mut self.tracer {
            tracer.served(Request { context, ack, course, peer: self.caller.peer }, &mut self.counters);
        }
    }

    /// Gives what the burst has in tracing to its connection. True: it wants to know when the turn's lines are
    /// published.
    pub fn hand_over_traces(&mut self, traces: &mut Traces) -> bool {
        self.tracer.as_deref_mut().is_some_and(|tracer| tracer.hand_over(traces))
    }

    /// The answers of a burst with this many batches have left.
    pub fn trace_answered(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32) {
        if let Some(tracer) = &mut self.tracer {
            tracer.answered(traces, stamps, batches, &mut self.counters);
        }
    }

    /// The connection ended before the answers of its burst had left.
    pub fn trace_cut_off(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32) {
        if let Some(tracer) = &mut self.tracer {
            tracer.cut_off(traces, stamps, batches, &mut self.counters);
        }
    }

    /// The time, if the request is sampled: else nobody will look at it.
    fn stamp(&self, sampled: bool) -> u64 {
        if sampled { self.shared.clock.monotonic_ns() } else { 0 }
    }

    /// The batch's way: space in the ring, parse and encode in one pass, commit.
    fn ingest(
        &mut self,
        ack: AckLevel,
        charge: Option<Charge>,
        trace: Context,
        body: &[u8],
        respond: Responder<'_>,
    ) -> Served {
        let sampled = trace.sampled.is_some();
        let mut course = Course { begun_ns: self.stamp(sampled), ..Course::default() };
        let served = self.ingest_timed(ack, charge, sampled, &mut course, body, respond);
        self.trace(trace, Some(ack), course);
        served
    }

    /// [`ingest`](Self::ingest), noting its course.
    fn ingest_timed(
        &mut self,
        ack: AckLevel,
        charge: Option<Charge>,
        sampled: bool,
        course: &mut Course,
        body: &[u8],
        respond: Responder<'_>,
    ) -> Served {
        let body_bytes = body.len() as u64;
        self.burst.batches_answered += 1;
        self.counters.body_bytes_received += body_bytes;
        let admitted = self.admit_log();
        course.limited_ns = self.stamp(sampled);
        let space = match admitted {
            Ok(()) => self.log.reserve(self.encoder.encoded_bytes_max(body.len())),
            Err(refusal) => return self.shed_batch(refusal, charge, course, body_bytes, respond),
        };
        let Some(space) = space else {
            let refusal = self.shed(Shed::RingFull, "the queue to the log is full");
            return self.shed_batch(refusal, charge, course, body_bytes, respond);
        };
        let encoded = match self.encoder.encode(body, self.arrival_ms, space) {
            Ok(encoded) => encoded,
            Err(error) => {
                course.status = Status::BadRequest.code();
                course.parsed_ns = self.stamp(sampled);
                // Those before the fault, and the faulty one.
                let metrics = error.index.map_or(0, |index| index as u64 + 1);
                self.counters.metrics_received += metrics;
                self.counters.metrics_rejected += metrics;
                self.counters.body_bytes_rejected += body_bytes;
                self.counters.batches_rejected[Rejection::Malformed as usize] += 1;
                self.counters.refused_content();
                return respond.refuse_content(&error);
            }
        };
        let position = self.log.commit(encoded.bytes, ack);
        course.parsed_ns = self.stamp(sampled);
        (course.status, course.metrics) = (Status::Ok.code(), encoded.metrics);
        self.counters.line_bytes += encoded.bytes as u64;
        self.counters.metrics_received += u64::from(encoded.metrics);
        if encoded.far_from_now > 0 {
            self.note_far_from_now(charge, encoded.far_from_now);
        }
        self.histograms.batch_metrics.record(u64::from(encoded.metrics), 1);
        self.histograms.batch_body_bytes.record(body_bytes, 1);
        self.counters.answered_ok += 1;
        let answer = respond.accepted(encoded.metrics as usize);
        let part = match ack {
            AckLevel::Memory => {
                self.stored(&Part { batches: 1, metrics: encoded.metrics, body_bytes, position });
                return answer;
            }
            AckLevel::Write => &mut self.burst.write,
            AckLevel::Fsync => &mut self.burst.fsync,
        };
        part.batches += 1;
        part.metrics += encoded.metrics;
        part.body_bytes += body_bytes;
        part.position = position;
        answer.held()
    }

    /// Counts metrics that will be looked for at another time than their client means, mostly: its clock, or its unit,
    /// is wrong.
    #[cold]
    fn note_far_from_now(&mut self, charge: Option<Charge>, metrics: u32) {
        self.counters.metrics_far_from_now += u64::from(metrics);
        if let Some(Charge { client, .. }) = charge {
            let stamp_ns = self.shared.clock.monotonic_ns();
            self.events.offer(Event { key: client, stamp_ns, kind: EventKind::FarFromNow });
        }
    }

    /// Refuses a batch for a reason of ours: what it was charged is given back.
    fn shed_batch(
        &mut self,
        refusal: HttpError,
        charge: Option<Charge>,
        course: &mut Course,
        body_bytes: u64,
        respond: Responder<'_>,
    ) -> Served {
        self.refund(charge);
        course.status = refusal.status().code();
        self.counters.body_bytes_shed += body_bytes;
        self.counters.refused(refusal);
        respond.refuse(refusal)
    }

    /// Counts what has reached its level.
    pub fn stored(&mut self, part: &Part) {
        self.counters.batches_stored += u64::from(part.batches);
        self.counters.metrics_stored += u64::from(part.metrics);
        self.counters.body_bytes_stored += part.body_bytes;
    }

    fn admit_log(&mut self) -> Result<(), HttpError> {
        if self.caller.late {
            return Err(self.shed(Shed::Draining, "the server is stopping"));
        }
        if !self.log.health().is_healthy() {
            return Err(self.shed(Shed::LogUnavailable, "the log does not accept data now"));
        }
        Ok(())
    }

    fn shed(&mut self, reason: Shed, text: &'static str) -> HttpError {
        self.counters.batches_shed[reason as usize] += 1;
        HttpError::Unavailable { text, retry_after_s: limits::RETRY_AFTER_S }
    }

    /// `{"status":"ready"}`, or why not with a 503.
    fn answer_ready(&mut self, respond: Responder<'_>) -> Served {
        let reasons = unready(self.shared.draining.load(Ordering::Relaxed), self.log.status());
        if reasons.is_empty() {
            self.counters.answered_ok += 1;
            return respond.answer(Status::Ok, JSON, br#"{"status":"ready"}"#);
        }
        self.answer_unavailable("unready", &reasons, respond)
    }

    /// It lives as long as it answers; once the log has failed it only waits for its end.
    fn answer_health(&mut self, respond: Responder<'_>) -> Served {
        let log = self.log.health();
        if log.has_failed() {
            return self.answer_unavailable("failed", &[log.to_string()], respond);
        }
        self.counters.answered_ok += 1;
        respond.answer(Status::Ok, JSON, br#"{"status":"live"}"#)
    }

    fn answer_unavailable(&mut self, status: &str, reasons: &[String], respond: Responder<'_>) -> Served {
        self.counters.refused(HttpError::Unavailable { text: "", retry_after_s: limits::RETRY_AFTER_S });
        let body = serde_json::json!({ "status": status, "reasons": reasons });
        respond.unavailable(JSON, body.to_string().as_bytes())
    }
}

impl http::Service for Service {
    type Ticket = Ticket;

    fn admit(&mut self, head: &Head<'_>) -> Result<Ticket, HttpError> {
        self.identify(head);
        let admitted = match (head.path, head.method) {
            (path, method) if !self.is_served_here(path, method) => Err(HttpError::NotFound),
            (path, _) if self.caller.crowded && !matches!(path, "/health" | "/ready") => Err(CROWDED),
            (path, Method::Other("OPTIONS")) if self.shared.config.cors.is_on() && is_path(path) => {
                Ok(Ticket::Preflight)
            }
            ("/metrics", Method::Post) => self.admit_batch(head),
            ("/metrics", Method::Get | Method::Head) => self.admit_statistics(head, Document::negotiate(head.accept)),
            ("/metrics", _) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD, POST" }),
            ("/health", Method::Get | Method::Head) => Ok(Ticket::Health),
            ("/ready", Method::Get | Method::Head) => Ok(Ticket::Ready),
            ("/stats", Method::Get | Method::Head) => self.admit_statistics(head, Document::Metrics(Format::Json)),
            ("/stats/clients", Method::Get | Method::Head) => {
                Document::clients(head.query).and_then(|document| self.admit_statistics(head, document))
            }
            ("/health" | "/ready" | "/stats" | "/stats/clients", _) => {
                Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" })
            }
            (path, _) if query_pool::is_query(path) => self.admit_query(head),
            _ => Err(HttpError::NotFound),
        };
        admitted.inspect_err(|&error| self.counters.refused(error))
    }

    fn serve(&mut self, ticket: Ticket, body: &[u8], respond: Responder<'_>) -> Served {
        match ticket {
            Ticket::Ingest { ack, charge, trace } => self.ingest(ack, charge, trace, body, respond),
            Ticket::Preflight => {
                self.counters.preflights += 1;
                respond.preflight()
            }
            Ticket::Health => self.answer_health(respond),
            Ticket::Ready => self.answer_ready(respond),
            Ticket::Statistics { document, asked_by } => {
                self.burst.late = Some(Late::Document { document, asked_by });
                respond.defer()
            }
            Ticket::Query(asked) => self.query(asked, body, respond),
        }
    }

    fn charge(&mut self, ticket: &mut Ticket, bytes: u64) -> Result<(), HttpError> {
        let (Some(limiter), Ticket::Ingest { charge: Some(charge), .. }) = (&self.shared.limiter, ticket) else {
            return Ok(());
        };
        // What the head stated is paid for.
        let Some(more) = bytes.checked_sub(charge.bytes).filter(|&more| more > 0) else { return Ok(()) };
        match limiter.charge_bytes(charge, more, self.shared.clock.monotonic_ns()) {
            Decision::Admitted { .. } => Ok(()),
            refusal => Err(over_rate(refusal)),
        }
    }

    fn refused(&mut self, ticket: Option<Ticket>, error: HttpError) {
        self.counters.refused(error);
        if let Some(Ticket::Ingest { ack, charge, trace }) = ticket {
            self.burst.batches_answered += 1;
            self.count_refused_batch(error);
            if error.status() == Status::ServiceUnavailable {
                self.refund(charge);
            }
            self.trace(trace, Some(ack), Course::refused(error));
        }
    }
}

/// The refusal that says why the limiter did not admit something.
fn over_rate(decision: Decision) -> HttpError {
    let seconds = |ns: u64| u32::try_from(ns.div_ceil(1_000_000_000).max(1)).unwrap_or(u32::MAX);
    match decision {
        Decision::Refused { retry_after_ns } => HttpError::RateLimited { retry_after_s: seconds(retry_after_ns) },
        Decision::OverBytes { retry_after_ns } => {
            HttpError::BytesRateLimited { retry_after_s: seconds(retry_after_ns) }
        }
        Decision::Admitted { .. } | Decision::NamesFull | Decision::TableFull => {
            HttpError::Unavailable { text: "too many clients", retry_after_s: limits::RETRY_AFTER_S }
        }
    }
}

/// The paths that are served.
fn is_path(path: &str) -> bool {
    matches!(path, "/metrics" | "/health" | "/ready" | "/stats" | "/stats/clients") || query_pool::is_query(path)
}

/// The level that a query string asks for. Whatever else it asks for would silently not be done, and is refused.
fn ack_of(query: Option<&str>, default: AckLevel) -> Result<AckLevel, HttpError> {
    let mut found = None;
    for (name, value) in parameters(query) {
        if !name.means("ack") {
            return Err(HttpError::UnknownParameter { name: name.into(), known: "ack" });
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
        let ack = |query| ack_of(query, AckLevel::Write);
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
    }
}

//! The service on the machine: the shards of the server, each with the third driver, in front of the log, and the
//! clients. What the server's `start` wires is wired here: it reads signals and opens sockets of the system.

use crate::{
    client::{Client, responses},
    forwarding::Forwarding,
    life::{Life, join, locked},
    limiter,
    options::Http,
};
use clap::Parser;
use crossbeam_channel::bounded;
use host::thread::{self, JoinHandle};
use log::{Appender, DiskFile, Log, LogError, LogStatus};
use machine::{Random, net::TcpListener};
use metricstream::{
    config::{Arguments, Config},
    limits,
    listening::Role,
    query_pool::{Engine, Failure, Pool, PoolSetup, Prepared, RawQuery, Share},
    service::{Service, Shared},
    shard::{self, ShardMessage, ShardSetup},
    stats::{Closed, Counters, QueryStatus, Rejection, Report, ReportRequest},
};
use rate::{ClientKeys, Limiter, LimiterSetup, event_ring};
use reactor::{DriverConfig, sim::SimDriver};
use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use wake::{Doorbell, clock::Clock, mailbox};

/// The address of the service.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100)), 8080);
/// Milliseconds within which the service is at rest once its clients have left.
const REST_MS_MAX: u64 = 200_000;
/// Places of the ring of events, which nobody reads here.
const EVENTS_PER_RING: usize = 64;
/// Milliseconds that a drain may take.
const DRAIN_MS_MAX: u64 = 30_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: Arguments,
}

/// The configuration: the defaults, and what the seed decides.
fn config(http: &Http) -> Config {
    static DEFAULTS: OnceLock<Config> = OnceLock::new();
    let defaults = DEFAULTS.get_or_init(|| {
        let line = Line::parse_from(["sim", "--cores", "0", "--query-threads", "0", "--ui", "off"]);
        line.serve.resolve(&[0, 1]).expect("the defaults are a configuration")
    });
    Config {
        rate_limit: http.rate_limit,
        body_bytes_limit: 64 << 10,
        ring_bytes: http.ring_bytes,
        connections_limit: Some(http.connections_limit),
        ..defaults.clone()
    }
}

fn shared(http: &Http) -> Arc<Shared> {
    let config = config(http);
    let limiter = config.rate_limit.map(|limit| {
        Arc::new(Limiter::new(LimiterSetup {
            limit,
            bytes_limit: 0,
            names_limit: config.names_limit,
            window_ns: rate::limits::RATE_WINDOW_NS,
            shards: 4,
            clients_max: 64,
            stamp_bytes_max: rate::limits::RATE_STAMP_BYTES_MAX,
        }))
    });
    Arc::new(Shared {
        limiter,
        keys: ClientKeys::new(),
        api_keys: None,
        draining: Arc::new(AtomicBool::new(false)),
        queries: Arc::new(QueryStatus::new(0)),
        page: None,
        clock: Clock::start(),
        config,
    })
}

/// The engine of a pool without threads.
struct NoQueries;

impl Engine for NoQueries {
    fn evaluate(&self, _: &RawQuery, _: &Share<'_>) -> Result<Prepared, Failure> {
        Err(Failure::Cancelled)
    }
}

/// The reactors that run.
struct Reactors {
    mailboxes: Vec<mailbox::Sender<ShardMessage>>,
    /// Connections that count towards the limit.
    connections: Arc<AtomicU32>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Reactors {
    fn start(http: &Http, shared: &Arc<Shared>, bells: Vec<Arc<Doorbell>>, appenders: Vec<Appender>) -> Self {
        let connections = Arc::new(AtomicU32::new(0));
        let (document_requests, _) = bounded(1);
        let pool = Pool::start(PoolSetup {
            threads: 0,
            cores: Vec::new(),
            yields: false,
            timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
            unread_bytes_max: 1,
            draining: Arc::clone(&shared.draining),
            engine: NoQueries,
            status: Arc::clone(&shared.queries),
        })
        .expect("a pool without threads");
        let mut started = Self { mailboxes: Vec::new(), connections, threads: Vec::new() };
        for (index, (doorbell, appender)) in bells.into_iter().zip(appenders).enumerate() {
            let (mailbox, messages) = mailbox::mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::clone(&doorbell));
            let (events, _) = event_ring(EVENTS_PER_RING);
            let listener = TcpListener::bind_shared(ADDRESS).expect("a listener");
            let setup = ShardSetup {
                index,
                service: Service::new(Arc::clone(shared), appender, events),
                shared: Arc::clone(shared),
                roles: [Role::Public].into(),
                connections: Arc::clone(&started.connections),
                connections_limit: http.connections_limit,
                receive_buffers_bytes: 0,
                doorbell: Arc::clone(&doorbell),
                messages,
                document_requests: document_requests.clone(),
                queries: pool.submitter(Arc::new(mailbox.clone())),
                streams: None,
            };
            let driver = DriverConfig {
                listeners: vec![listener.into()],
                connections_max: http.connections_limit + limits::REFUSALS_IN_FLIGHT_MAX,
                receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
                receive_buffers: limits::RECEIVE_BUFFERS,
                doorbell,
            };
            started.mailboxes.push(mailbox);
            started.threads.push(thread::spawn(move || shard::run::<SimDriver>(setup, driver, || {})));
        }
        started
    }

    fn post(&self, message: impl Fn() -> ShardMessage) {
        for mailbox in &self.mailboxes {
            // Full, or its reactor has ended.
            let _ = mailbox.post(message());
        }
    }

    /// The reports of all reactors; `None` once one has ended.
    fn reports(&self, trim: bool) -> Option<Vec<Report>> {
        let mut reports = Vec::new();
        for (mailbox, thread) in self.mailboxes.iter().zip(&self.threads) {
            let (reply, replies) = bounded(1);
            mailbox.post(ShardMessage::Report(ReportRequest { reply, empty: Box::default(), trim })).ok()?;
            reports.push(loop {
                if let Ok(report) = replies.try_recv() {
                    break report;
                }
                if thread.is_finished() {
                    return None;
                }
                thread::sleep(Duration::from_millis(1));
            });
        }
        Some(reports)
    }

    /// Stops them. `is_calm`: they have to drain by themselves.
    fn stop(self, is_calm: bool) {
        self.post(|| ShardMessage::Drain);
        let mut waited_ms = 0;
        while self.threads.iter().any(|thread| !thread.is_finished()) && waited_ms < DRAIN_MS_MAX {
            thread::sleep(Duration::from_millis(10));
            waited_ms += 10;
        }
        if waited_ms >= DRAIN_MS_MAX {
            assert!(!is_calm, "the reactors do not drain");
            self.post(|| ShardMessage::Abort);
        }
        for thread in self.threads {
            join(thread).expect("a driver that works");
        }
    }
}

/// The sum of the counters, if nothing is in progress.
fn at_rest(reports: &[Report]) -> Option<Counters> {
    let mut sum = Counters::default();
    for report in reports {
        // An underflow of what is pending is a panic here.
        let pending =
            report.counters.pending() + report.counters.metrics_pending() + report.counters.body_bytes_pending();
        if pending + report.connections_active + report.bursts_held + report.queued_bytes > 0 {
            return None;
        }
        assert_eq!(report.held_bytes, 0, "memory is counted for connections that are gone");
        assert_eq!((report.memory.responses, report.memory.kept), (0, 0), "memory is counted for nobody");
        sum.add(&report.counters);
    }
    Some(sum)
}

/// Runs the service until its clients have left, and stops it.
pub fn serve(
    life: &mut Life,
    http: &Http,
    bells: Vec<Arc<Doorbell>>,
    log: Log<DiskFile>,
    forwarding: Option<Forwarding>,
) -> Result<(), LogError> {
    {
        let mut book = locked(&life.book);
        (book.connections, book.charges) = (0, Vec::new());
    }
    let shared = shared(http);
    let Log { appenders, writer, group_commit, status } = log;
    let threads = [thread::spawn(move || writer.run()), thread::spawn(move || group_commit.run())];
    let reactors = Reactors::start(http, &shared, bells, appenders);
    let querier = life.start_querier(&status);
    let clients: Vec<_> = (0..http.clients).map(|number| thread::spawn(client(life, http, number))).collect();
    let has_ended = || threads.iter().any(JoinHandle::is_finished);
    while clients.iter().any(|client| !client.is_finished()) && !has_ended() {
        thread::sleep(Duration::from_micros(life.random.below(100_000)));
        if life.random.below(40) == 0 {
            status.ask_for_rotation();
        }
        if life.random.below(20) == 0 {
            reactors.reports(life.random.below(2) == 0);
        }
        if http.drains_early && !life.is_calm && life.random.below(20) == 0 {
            break;
        }
    }
    if has_ended() {
        reactors.post(|| ShardMessage::Abort);
    } else if clients.iter().all(JoinHandle::is_finished) {
        rest(life, &reactors, &status);
    }
    shared.draining.store(true, Ordering::Relaxed);
    reactors.stop(life.is_calm);
    clients.into_iter().for_each(join);
    if let Some(mut querier) = querier.map(join) {
        querier.query();
    }
    if let Some(forwarding) = forwarding {
        forwarding.finish(life.is_calm);
    }
    let [writer, group_commit] = threads.map(join);
    writer?;
    group_commit
}

fn client(life: &mut Life, http: &Http, number: u64) -> impl FnOnce() + Send + 'static {
    let client = Client {
        kind: life.random.pick(&http.kinds),
        life: life.number,
        // Some share an address.
        address: [10, 0, 0, 1 + (number % 4) as u8].into(),
        server: ADDRESS,
        book: Arc::clone(&life.book),
        random: Random::new(life.random.bits()),
        options: life.options.clone(),
        http: http.clone(),
        is_calm: life.is_calm,
        is_prompt: life.is_calm && life.options.faults.delay == 0,
    };
    || client.run()
}

/// Waits until nothing is in progress, and holds what was counted to what the clients know.
fn rest(life: &Life, reactors: &Reactors, status: &LogStatus) {
    let mut waited_ms = 0;
    let counters = loop {
        let Some(reports) = reactors.reports(false) else { return };
        if let Some(counters) = at_rest(&reports) {
            break counters;
        }
        if !status.health().is_healthy() && !life.is_calm {
            return;
        }
        assert!(waited_ms < REST_MS_MAX, "not at rest: {reports:?}");
        waited_ms += 50;
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(reactors.connections.load(Ordering::Relaxed), 0, "connections that are gone count towards the limit");
    let (acknowledged, unknown) = responses(&locked(&life.book).batches, life.number);
    let stored = counters.batches_stored;
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&stored),
        "{stored} batches were counted as stored; {acknowledged} were acknowledged, and {unknown} may be"
    );
    let sum = stored + counters.rejected() + counters.shed();
    assert_eq!(counters.batches_received, sum, "what was received is not the sum of what became of it");
    if life.is_calm {
        // A connection that is forgotten ends so, and its client begins another.
        let timed_out =
            [Closed::SendTimeout, Closed::ReceiveTimeout].map(|of| counters.connections_closed[of as usize]);
        assert_eq!(timed_out, [0, 0], "connections are closed by timeouts of sends and receives, without faults");
    }
    let over_rate = locked(&life.book).charges.iter().filter(|charge| charge.fate == limiter::Fate::OverRate).count();
    let refused = counters.batches_rejected[Rejection::RateLimited as usize];
    assert!(refused >= over_rate as u64, "{over_rate} requests were over the rate, and {refused} are counted");
}

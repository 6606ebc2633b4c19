//! Startup, signals and shutdown of the server: the order in which threads are started and joined.
//!
//! Startup: the addresses are bound, the log directory is locked and repaired, the threads are started, and the server
//! reports that it listens only when every reactor has its driver. Any failure before that is one line and exit code 2.
//!
//! `network` decides and opens what clients reach, `reactors` starts the reactors, and `supervisor` runs the server.
//!
//! Shutdown: the reactors stop accepting, complete the requests in flight and exit; then the writer writes what is left
//! in their rings, syncs the file, marks the state clean and exits; then the observer. A second signal ends the process
//! at once.

/// Builds an error with a line formatted as by `format!`.
macro_rules! error {
    ($($part:tt)*) => { ServerError(format!($($part)*)) };
}

pub mod address_space;
mod dispositions;
mod export;
mod network;
mod reactors;
mod signals;
mod supervisor;
mod threads;

pub use signals::catch_file_size;

use crate::{
    config::{Compression, Config, Ui},
    doctor,
    forward::{self, Forwards},
    limits,
    listening::SocketFiles,
    query_pool::{LogEngine, LogStream, Pool, PoolSetup},
    service::Shared,
    shard::ShardMessage,
    stats::{Facts, Observer, ObserverSetup, QueryStatus, StreamStatus, Update, process},
    systemd::SdNotify,
    trace::{DeliverySetup, Exporter},
    ui::{Examiner, Live, LiveSetup, Page},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use export::{Export, export};
use log::{
    DirectoryLock, DiskFile, Log, LogStatus,
    segment::{Holds, Maintenance, MaintenanceSetup},
};
use network::Network;
use query::scan::Source;
use rate::{ClientKeys, Limiter, LimiterSetup, TopClients};
use reactors::{OtherEnds, Reactors};
use signals::SignalsSeen;
use std::{
    fmt, io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use supervisor::Supervisor;
use threads::{Ended, cannot_spawn, spawn};
use wake::clock::Clock;
use wake::{Doorbell, mailbox};

/// An error at startup or while running: one line, for a person.
#[derive(Debug)]
pub struct ServerError(String);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

fn no_descriptor(error: &io::Error) -> ServerError {
    error!("no file descriptor is available: {error}")
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    log: Arc<LogStatus>,
    maintenance: Maintenance,
    forwards: Forwards,
    lock: Arc<DirectoryLock>,
    listens_at: String,
    socket_files: SocketFiles,
    drain_timeout: Duration,
    draining: Arc<AtomicBool>,
    mailboxes: Vec<mailbox::Sender<ShardMessage>>,
    queries: Pool,
    live: Option<Live>,
    observer: JoinHandle<()>,
    sd_notify: Option<Arc<SdNotify>>,
    exporter: Option<Exporter>,
    signals: SignalsSeen,
    ended: Receiver<Ended>,
}

/// Starts the server and returns once it listens.
///
/// # Errors
/// The reason why the server cannot start, and what to do about it.
pub fn start(config: Config) -> Result<Server, ServerError> {
    let started = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let signals = signals::watch().map_err(|error| error!("cannot handle signals: {error}"))?;
    let sd_notify = SdNotify::from_environment();
    let mut network = Network::open(&config)?;
    let clock = Clock::start();
    let Export { exporter, exported, figures, tracing, deliveries } = export(&config.telemetry, &network.first, clock)?;
    let reactors = config.placement.reactor_cores.len();
    let (reactor_ends, other_ends) = reactors::connect(reactors).map_err(|error| no_descriptor(&error))?;
    let OtherEnds { mailboxes, events, document_requests } = other_ends;
    let shared = Arc::new(shared(config, clock));
    let config = &shared.config;

    // Late: a start that fails after this has opened the log, and counts as an unclean shutdown.
    let (storage, log) = Storage::open(config, &reactor_ends.doorbells, clock)?;
    let facts = facts(config, started, &network, &storage.report);
    let forwards = start_forwards(config, &storage, &log.status, deliveries.as_ref())?;
    let LivePage { live, updates, streams } = start_live(config, &facts, reactors, clock)?;
    let observer = Observer::new(ObserverSetup {
        document_requests,
        reactors: mailboxes.iter().map(|mailbox| Arc::new(mailbox.clone()) as _).collect(),
        limiter: shared.limiter.clone(),
        top_clients: TopClients::new(events, rate::limits::TOP_CLIENTS_MAX),
        log: Arc::clone(&log.status),
        maintenance: storage.maintenance.status(),
        exported,
        figures,
        queries: Arc::clone(&shared.queries),
        forwards: forwards.status(),
        updates,
        streams,
        draining: Arc::clone(&shared.draining),
        stats_interval: config.stats_interval,
        sd_notify: sd_notify.clone(),
        clock,
        facts: facts.clone(),
    });
    let queries = start_queries(&shared, &storage.lock.lasting_path(), &log.status)?;

    // Capacity for every thread's final report, so that no thread blocks on sending it.
    let (ended_sender, ended) = bounded(reactors + 2);
    // The log first: it must outlive the reactors.
    let Log { appenders, writer, group_commit, status: log } = log;
    let writer_core = Some(config.placement.writer_core);
    spawn("writer", writer_core, &ended_sender, move || Ended::Log(writer.run()))?;
    spawn("group-commit", None, &ended_sender, move || Ended::Log(group_commit.run()))?;
    let observer = start_observer(observer)?;
    let reactors = Reactors {
        listeners: std::mem::take(&mut network.listeners),
        network: &network,
        ends: reactor_ends,
        mailboxes: &mailboxes,
        appenders,
        tracing,
        shared: &shared,
        queries: &queries,
        live: live.as_ref(),
    };
    reactors.start(&ended_sender, &ended)?;

    announce(config, &facts, &network, &storage.report, sd_notify.as_deref());
    Ok(Server {
        log,
        maintenance: storage.maintenance,
        forwards,
        lock: storage.lock,
        listens_at: network.listens_at,
        socket_files: network.socket_files,
        drain_timeout: config.drain_timeout,
        draining: Arc::clone(&shared.draining),
        mailboxes,
        queries,
        live,
        observer,
        sd_notify,
        exporter,
        signals,
        ended,
    })
}

/// The state that all cores share, before anything has happened.
fn shared(config: Config, clock: Clock) -> Shared {
    let limited = config.rate_limit.is_some() || config.rate_limit_bytes.is_some();
    let keys = ClientKeys::new().with_ipv6_prefix(config.ipv6_prefix);
    let api_keys = config.api_keys.as_ref();
    Shared {
        limiter: limited.then(|| Arc::new(Limiter::new(limiter_setup(&config)))),
        api_keys: api_keys.map(|known| known.iter().map(|key| keys.authorization(key)).collect()),
        keys,
        draining: Arc::new(AtomicBool::new(false)),
        queries: Arc::new(QueryStatus::new(config.query.threads)),
        page: (config.ui == Ui::On).then(Page::new),
        clock,
        config,
    }
}

/// The log directory in use: its lock, what recovery found in it, the thread that maintains its segments, and the
/// forwards that it waits for.
struct Storage {
    lock: Arc<DirectoryLock>,
    report: log::RecoveryReport,
    maintenance: Maintenance,
    holds: Holds,
}

impl Storage {
    /// Locks and repairs the log directory, starts its maintenance, and creates the log with a ring for each reactor.
    ///
    /// # Errors
    /// The directory cannot be used, or the maintenance thread not be started.
    fn open(config: &Config, doorbells: &[Arc<Doorbell>], clock: Clock) -> Result<(Self, Log<DiskFile>), ServerError> {
        let opened = log::open(&config.data_dir).map_err(|error| error!("{error}"))?;
        // Before maintenance deletes anything.
        let holds = Holds {
            all: forward::holds(&config.forwards, &config.data_dir),
            bytes_max: config.rotation.forward_hold_bytes,
        };
        let maintenance = Maintenance::start(MaintenanceSetup {
            directory: config.data_dir.clone(),
            compress: config.rotation.compress == Compression::Zstd,
            retain_bytes: config.rotation.retain_bytes,
            retain_age: config.rotation.retain_age,
            holds: holds.clone(),
            clock,
            watch: Some(opened.watch),
        })
        .map_err(|error| error!("cannot start the maintenance thread: {error}"))?;
        opened.file.keep_with(maintenance.bell());
        let settings = log::Settings {
            poll_before_sleep: config.writer_poll,
            rotate_bytes: config.rotation.rotate_bytes,
            rotate_age: config.rotation.rotate_age,
            ..log::Settings::default()
        };
        let log = Log::new(opened.file, doorbells, config.ring_bytes, settings).map_err(|error| error!("{error}"))?;
        Ok((Self { lock: opened.lock, report: opened.report, maintenance, holds }, log))
    }
}

/// The facts about this run that statistics report, from the moment at which it began.
fn facts(
    config: &Config,
    (started, started_unix): (Instant, Duration),
    network: &Network,
    report: &log::RecoveryReport,
) -> Facts {
    Facts {
        started,
        started_unix_ns: u64::try_from(started_unix.as_nanos()).unwrap_or(u64::MAX),
        driver: network.chosen.name(),
        ack: config.ack.name(),
        connections_limit: network.connections_limit,
        file_system: process::file_system(&config.data_dir),
        clock_source: process::clock_source(),
        unclean_shutdowns: report.unclean_shutdowns,
        forward_hold_bytes: config.rotation.forward_hold_bytes,
    }
}

/// Starts the observer's thread.
fn start_observer(observer: Observer) -> Result<JoinHandle<()>, ServerError> {
    let thread = thread::Builder::new().name("observer".into());
    thread.spawn(move || observer.run()).map_err(|error| cannot_spawn("observer", &error))
}

/// The thread of the live page, unless the page is off, and what the observer has of it.
struct LivePage {
    live: Option<Live>,
    updates: Option<Sender<Update>>,
    streams: Arc<StreamStatus>,
}

/// Starts the thread of the live page, unless the page is off, and connects it to the observer.
fn start_live(config: &Config, facts: &Facts, reactors: usize, clock: Clock) -> Result<LivePage, ServerError> {
    let streams = Arc::<StreamStatus>::default();
    if config.ui == Ui::Off {
        return Ok(LivePage { live: None, updates: None, streams });
    }
    let (sender, updates) = bounded(limits::UPDATES_WAITING_MAX);
    let hello = serde_json::json!({
        "type": "hello",
        "version": env!("CARGO_PKG_VERSION"),
        "driver": facts.driver,
        "ack": facts.ack,
        "now_ms": 0,
        "start_id": format!("{:016x}", facts.started_unix_ns),
        "reactors": reactors,
        "writer_core": config.placement.writer_core,
        "limits": {
            "connections": facts.connections_limit,
            "ring_bytes": config.ring_bytes,
            "rate": config.rate_limit,
        },
        "profile": true,
    });
    let status = Arc::clone(&streams);
    let config = config.clone();
    let examiner = Examiner::new(move || doctor::json(&config));
    let setup = LiveSetup { reactors, hello, examiner, updates, status, clock };
    let live = Live::start(setup).map_err(|error| cannot_spawn("live", &error))?;
    Ok(LivePage { live: Some(live), updates: Some(sender), streams })
}

/// Starts the forwards of the log.
fn start_forwards(
    config: &Config,
    storage: &Storage,
    log: &Arc<LogStatus>,
    tracing: Option<&DeliverySetup>,
) -> Result<Forwards, ServerError> {
    Forwards::start(&config.forwards, &storage.lock.lasting_path(), log, &storage.holds.all, tracing)
        .map_err(|error| error!("cannot start the threads of forwards: {error}"))
}

/// Starts the query threads.
fn start_queries(shared: &Shared, directory: &Path, log: &Arc<LogStatus>) -> Result<Pool, ServerError> {
    let config = &shared.config;
    let query = &config.query;
    let status = Arc::clone(&shared.queries);
    Pool::start(PoolSetup {
        threads: query.threads,
        cores: query.cores.clone(),
        yields: query.yields,
        timeout: Duration::from_millis(query.timeout_ms),
        write_timeout: Duration::from_millis(config.timeouts.write_ms),
        unread_bytes_max: query.bounds.held_bytes_limit,
        draining: Arc::clone(&shared.draining),
        engine: LogEngine {
            source: Source::server(directory, Arc::clone(log)),
            lines: LogStream { directory: directory.to_owned(), log: Arc::clone(log), clock: shared.clock },
            bounds: query.bounds,
            clock: shared.clock,
            status: Arc::clone(&status),
        },
        status,
    })
    .map_err(|error| error!("cannot start the query threads on cores {:?}: {error}", query.cores))
}

/// Logs the resolved configuration, and last the addresses that the server listens on; then notifies the service
/// manager.
fn announce(
    config: &Config,
    facts: &Facts,
    network: &Network,
    report: &log::RecoveryReport,
    sd_notify: Option<&SdNotify>,
) {
    let Network { chosen_because, listens_at, statistics_at, .. } = network;
    tracing::info!("{chosen_because}");
    if !statistics_at.is_empty() {
        tracing::info!("statistics are served on {statistics_at} only");
    }
    if report.cut.is_none()
        && report.segment_cuts.is_empty()
        && matches!(report.previous, log::Previous::None | log::Previous::Clean)
    {
        tracing::info!(directory = %config.data_dir.display(), "{report}");
    } else {
        tracing::warn!(directory = %config.data_dir.display(), "{report}");
    }
    tracing::info!(
        driver = facts.driver,
        reactor_cores = ?config.placement.reactor_cores,
        writer_core = config.placement.writer_core,
        ack = config.ack.name(),
        rate_limit = config.rate_limit.unwrap_or(0),
        clients_limit = config.clients_limit,
        connections_limit = facts.connections_limit,
        ring_bytes = config.ring_bytes,
        body_bytes_limit = config.body_bytes_limit,
        batch_metrics_limit = config.metric.batch_metrics_limit,
        writer_poll = ?config.writer_poll,
        file_system = facts.file_system,
        clock_source = facts.clock_source,
        "listening on {listens_at}",
    );
    if let Some(sd_notify) = sd_notify {
        sd_notify.ready(&match statistics_at.as_str() {
            "" => listens_at.clone(),
            statistics_at => format!("{listens_at}; statistics on {statistics_at}"),
        });
    }
}

impl Server {
    /// The addresses that it listens on, in one line; for port 0, with the port that the kernel chose.
    #[must_use]
    pub fn listens_at(&self) -> &str {
        &self.listens_at
    }

    /// Serves until a signal stops it, then shuts down. Other signals rotate the log.
    ///
    /// # Errors
    /// A thread failed, or the log could not store everything that had been accepted.
    pub fn run(self) -> Result<(), ServerError> {
        let reason = Supervisor::new(&self).run();
        if !self.queries.stop() {
            tracing::warn!("a query did not end within {:?} of its connection", limits::QUERY_STOP_WAIT);
        }
        // What a forward has not delivered is in the log, for the next start.
        self.forwards.stop();
        self.maintenance.stop();
        drop(self.socket_files);
        // From here on another server may use the directory.
        drop(self.lock);
        if let Some(error) = reason.error {
            return Err(error);
        }
        // The observer exits when the last reactor has dropped its end of the channel.
        if self.observer.join().is_err() {
            return Err(error!("the observer failed"));
        }
        if self.live.is_some_and(|live| !live.stop()) {
            return Err(error!("the thread of the live page failed"));
        }
        // Last, because there may be data to export until here.
        if let Some(exporter) = self.exporter {
            exporter.stop();
        }
        tracing::info!("stopped: everything accepted is in the log and synced");
        Ok(())
    }
}

fn limiter_setup(config: &Config) -> LimiterSetup {
    let wanted = (rate::limits::RATE_SHARDS_PER_CORE * config.placement.reactor_cores.len()).next_power_of_two();
    LimiterSetup {
        limit: config.rate_limit.unwrap_or(0),
        bytes_limit: config.rate_limit_bytes.unwrap_or(0),
        names_limit: config.names_limit,
        window_ns: rate::limits::RATE_WINDOW_NS,
        // A shard holds at least one client.
        shards: wanted.min(1 << config.clients_limit.ilog2()),
        clients_max: config.clients_limit,
        stamp_bytes_max: rate::limits::RATE_STAMP_BYTES_MAX,
    }
}

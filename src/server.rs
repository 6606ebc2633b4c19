//! Startup, signals and shutdown of the server: the order in which threads are started and joined.
//!
//! Startup: the log directory is locked and repaired, the addresses are bound, the threads are started, and the server
//! reports that it listens only when every reactor has its driver. Any failure before that is one line and exit code 2.
//!
//! Shutdown: the reactors stop accepting, complete the requests in flight and exit; then the writer writes what is left
//! in their rings, syncs the file, marks the state clean and exits; then the observer. A second signal ends the process
//! at once.

pub mod address_space;
mod ignored;
mod signals;

use crate::{
    config::{Compression, Config, DriverChoice, Telemetry},
    limits,
    listening::{self, Endpoint, Listening, Place, Role, SocketFiles},
    query_pool::{LogEngine, Pool, PoolSetup},
    service::{Service, Shared},
    shard::{self, ShardMessage, ShardSetup},
    stats::{ExportStatus, Facts, FiguresOut, Observer, ObserverSetup, QueryStatus, process},
    systemd::SdNotify,
    trace::{Exporter, ExporterSetup, Identity, Record, Tracer, TracerSetup},
};
use core_affinity::CoreId;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{
    DirectoryLock, Log, LogError, LogHealth, LogStatus,
    segment::{Maintenance, MaintenanceSetup},
};
use query::scan::Source;
use rate::{ClientKeys, EventSender, Limiter, LimiterSetup, TopClients, event_ring};
use reactor::{
    Setup,
    epoll::EpollDriver,
    nofile,
    uring::{self, UringDriver},
};
use signals::{SignalsSeen, name_of};
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
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

/// Builds an error with a line formatted as by `format!`.
macro_rules! error {
    ($($part:tt)*) => { ServerError(format!($($part)*)) };
}

/// The final report of a thread when it exits.
#[derive(Debug)]
enum Ended {
    Reactor(usize, io::Result<()>),
    Log(Result<(), LogError>),
}

/// The chosen driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    IoUring,
    Epoll,
}

impl Chosen {
    const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// Bytes of one reactor's receive buffers; epoll has one for all its connections.
    fn receive_buffers_bytes(self) -> u64 {
        let buffers = match self {
            Self::IoUring => limits::RECEIVE_BUFFERS,
            Self::Epoll => 1,
        };
        u64::from(buffers) * u64::from(limits::RECEIVE_BUFFER_BYTES)
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    log: Arc<LogStatus>,
    maintenance: Maintenance,
    lock: Arc<DirectoryLock>,
    listens_at: String,
    socket_files: SocketFiles,
    drain_timeout: Duration,
    draining: Arc<AtomicBool>,
    mailboxes: Vec<mailbox::Sender<ShardMessage>>,
    queries: Pool,
    observer: JoinHandle<()>,
    sd_notify: Option<Arc<SdNotify>>,
    exporter: Option<Exporter>,
    signals: SignalsSeen,
    ended: Receiver<Ended>,
}

/// The reason why the server stops: the first one reported.
#[derive(Debug, Default)]
struct Reason {
    error: Option<ServerError>,
    /// All it says is that the log's other thread has failed, whose word may come later.
    is_echo: bool,
}

impl Reason {
    /// Takes the final report of a thread that exited unexpectedly.
    fn note(&mut self, last_word: Option<Ended>) {
        let is_echo = matches!(last_word, Some(Ended::Log(Err(LogError::Stopped))));
        if self.error.is_none() || (self.is_echo && !is_echo) {
            (self.error, self.is_echo) = (Some(failure_of(last_word)), is_echo);
        }
    }
}

/// Starts the server and returns once it listens.
///
/// # Errors
/// The reason why the server cannot start, and what to do about it.
pub fn start(config: Config) -> Result<Server, ServerError> {
    let started = Instant::now();
    let signals = signals::watch().map_err(|error| error!("cannot handle signals: {error}"))?;
    let sd_notify = SdNotify::from_environment();
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started_unix_ns = u64::try_from(started_unix.as_nanos()).unwrap_or(u64::MAX);
    let places = listening::resolve(&listening::asked(&config), listening::look_up).map_err(ServerError)?;
    let connections_limit = connections_limit(&config, &places)?;
    let reactors = config.placement.reactor_cores.len();
    // Twice: public listeners go on while as many slots are free as statistics may take, also when they have taken
    // theirs.
    let admin_slots = 2 * admin_connections_max(&places);
    let connections_max = connections_limit + limits::REFUSALS_IN_FLIGHT_MAX + admin_slots;
    let (chosen, why) = choose_driver(config.driver, reactors, connections_max)?;
    let no_descriptor = |error: io::Error| error!("no file descriptor is available: {error}");
    let listening = Listening::open(places, reactors, config.unix_mode).map_err(ServerError)?;
    let [listens_at, statistics_at] = [false, true].map(|is_admin| listening::list(&listening.places, is_admin));
    let clock = Clock::start();
    let first = &listening.places[0].endpoint;
    let Export { exporter, status: exported, figures, tracing } = export(&config.telemetry, first, clock)?;
    let roles: Arc<[Role]> = listening.places.iter().map(|place| place.role).collect();
    let (listeners, socket_files) = listening.share().map_err(no_descriptor)?;

    // Late: a start that fails after this has opened the log, and counts as an unclean shutdown.
    let opened = log::open(&config.data_dir).map_err(|error| error!("{error}"))?;
    let maintenance = Maintenance::start(MaintenanceSetup {
        directory: config.data_dir.clone(),
        compress: config.rotation.compress == Compression::Zstd,
        retain_bytes: config.rotation.retain_bytes,
        retain_age: config.rotation.retain_age,
        clock,
        watch: Some(opened.watch),
    })
    .map_err(|error| error!("cannot start the maintenance thread: {error}"))?;
    opened.file.keep_with(maintenance.bell());

    let doorbells: Vec<Arc<Doorbell>> =
        (0..reactors).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>().map_err(no_descriptor)?;
    let settings = log::Settings {
        poll_before_sleep: config.writer_poll,
        rotate_bytes: config.rotation.rotate_bytes,
        rotate_age: config.rotation.rotate_age,
        ..log::Settings::default()
    };
    let log = Log::new(opened.file, &doorbells, config.ring_bytes, settings).map_err(|error| error!("{error}"))?;
    let limited = config.rate_limit.is_some() || config.rate_limit_bytes.is_some();
    let limiter = limited.then(|| Arc::new(Limiter::new(limiter_setup(&config))));
    let keys = ClientKeys::new().with_ipv6_prefix(config.ipv6_prefix);
    let api_keys = config.api_keys.as_ref();
    let api_keys = api_keys.map(|known| known.iter().map(|key| keys.authorization(key)).collect());
    let (event_senders, event_receivers): (Vec<EventSender>, Vec<_>) =
        (0..reactors).map(|_| event_ring(rate::limits::RATE_EVENTS_PER_RING)).unzip();
    let (mailboxes, mail): (Vec<_>, Vec<_>) =
        doorbells.iter().map(|doorbell| mailbox::mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::clone(doorbell))).unzip();
    let (questions, asked) = bounded(reactors * limits::QUESTIONS_PER_REACTOR_MAX);
    // Capacity for every thread's final report, so that no thread blocks on sending it.
    let (ended_sender, ended) = bounded(reactors + 2);
    let draining = Arc::new(AtomicBool::new(false));

    let facts = Facts {
        started,
        started_unix_ns,
        driver: chosen.name(),
        ack: config.ack.name(),
        connections_limit,
        file_system: process::file_system(&config.data_dir),
        clock_source: process::clock_source(),
        unclean_shutdowns: opened.report.unclean_shutdowns,
    };
    let query_status = Arc::new(QueryStatus::new(config.query.threads));
    let observer = Observer::new(ObserverSetup {
        questions: asked,
        reactors: mailboxes.iter().map(|mailbox| Arc::new(mailbox.clone()) as _).collect(),
        limiter: limiter.clone(),
        top_clients: TopClients::new(event_receivers, rate::limits::TOP_CLIENTS_MAX),
        log: Arc::clone(&log.status),
        maintenance: maintenance.status(),
        exported,
        figures,
        queries: Arc::clone(&query_status),
        draining: Arc::clone(&draining),
        stats_interval: config.stats_interval,
        sd_notify: sd_notify.clone(),
        clock,
        facts: facts.clone(),
    });
    let shared = Arc::new(Shared {
        limiter,
        keys,
        api_keys,
        draining: Arc::clone(&draining),
        queries: Arc::clone(&query_status),
        clock,
        config,
    });
    let config = &shared.config;
    let source = Source::server(&opened.lock.lasting_path(), Arc::clone(&log.status));
    let queries = start_queries(config, source, clock, query_status)?;

    // The log first: it must outlive the reactors.
    let writer_core = config.placement.writer_core;
    let (writer, group_commit, log_status) = (log.writer, log.group_commit, log.status);
    spawn("writer", Some(writer_core), &ended_sender, move || Ended::Log(writer.run()))?;
    spawn("group-commit", None, &ended_sender, move || Ended::Log(group_commit.run()))?;
    let observer = thread::Builder::new()
        .name("observer".into())
        .spawn(move || observer.run())
        .map_err(|error| cannot_spawn("observer", &error))?;

    let connections = Arc::new(AtomicU32::new(0));
    let (opened_sender, opened_drivers) = bounded(reactors);
    let each = listeners.into_iter().zip(log.appenders).zip(event_senders).zip(doorbells).zip(mail);
    for (index, ((((listeners, appender), events), doorbell), mail)) in each.enumerate() {
        let setup = ShardSetup {
            index,
            service: Service::new(Arc::clone(&shared), appender, events)
                .traced_by(tracing.clone().map(|setup| Tracer::new(setup, index))),
            shared: Arc::clone(&shared),
            roles: Arc::clone(&roles),
            connections: Arc::clone(&connections),
            connections_limit,
            receive_buffers_bytes: chosen.receive_buffers_bytes(),
            doorbell: Arc::clone(&doorbell),
            mail,
            questions: questions.clone(),
            queries: queries.submitter(Arc::new(mailboxes[index].clone())),
        };
        let driver = Setup {
            listeners,
            connections_max,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            receive_buffers: limits::RECEIVE_BUFFERS,
            doorbell,
        };
        let opened = opened_sender.clone();
        // The receiver is gone once startup has failed.
        let tell = move || opened.send(()).unwrap_or(());
        let core = config.placement.reactor_cores[index];
        spawn(&format!("reactor-{index}"), Some(core), &ended_sender, move || {
            let result = match chosen {
                Chosen::IoUring => shard::run::<UringDriver>(setup, driver, tell),
                Chosen::Epoll => shard::run::<EpollDriver>(setup, driver, tell),
            };
            Ended::Reactor(index, result)
        })?;
    }
    drop((questions, opened_sender));
    for _ in 0..reactors {
        select! {
            recv(opened_drivers) -> _ => {}
            recv(ended) -> last_word => return Err(error!("a thread exited during startup: {last_word:?}")),
        }
    }

    tracing::info!("{why}");
    if !statistics_at.is_empty() {
        tracing::info!("statistics are served on {statistics_at} only");
    }
    announce(config, &facts, &listens_at, &opened.report);
    if let Some(sd_notify) = &sd_notify {
        sd_notify.ready(&match statistics_at.as_str() {
            "" => listens_at.clone(),
            statistics_at => format!("{listens_at}; statistics on {statistics_at}"),
        });
    }
    let drain_timeout = config.drain_timeout;
    Ok(Server {
        log: log_status,
        maintenance,
        lock: opened.lock,
        listens_at,
        socket_files,
        drain_timeout,
        draining,
        mailboxes,
        queries,
        observer,
        sd_notify,
        exporter,
        signals,
        ended,
    })
}

/// The parts of tracing and of the export of metrics that other threads hold.
struct Export {
    exporter: Option<Exporter>,
    status: Arc<ExportStatus>,
    figures: Option<FiguresOut>,
    tracing: Option<TracerSetup>,
}

/// Starts the exporter, if anything is to be exported.
fn export(telemetry: &Telemetry, listen: &Endpoint, clock: Clock) -> Result<Export, ServerError> {
    let Telemetry { traces, figures, resource } = telemetry;
    let (queue, records) = bounded(if traces.is_some() { limits::TRACE_QUEUE_RECORDS } else { 0 });
    // The observer and the exporter have one each in hand, and one waits.
    let (figures_queue, figures_made) = bounded(1);
    let queue_bytes = queue.capacity().unwrap_or(0) * size_of::<Record>();
    let status = Arc::new(ExportStatus { queue_bytes: queue_bytes as u64, ..ExportStatus::default() });
    let mut export = Export { exporter: None, status: Arc::clone(&status), figures: None, tracing: None };
    if traces.is_none() && figures.is_none() {
        return Ok(export);
    }
    let setup = ExporterSetup {
        traces: traces.as_ref().map(|traces| (traces.destination.clone(), records)),
        figures: figures.as_ref().map(|figures| (figures.destination.clone(), figures_made)),
        identity: Identity::new(resource, listen, &process::host_name()),
        clock,
        status,
    };
    export.exporter = Some(Exporter::start(setup).map_err(|error| error!("cannot start the exporter: {error}"))?);
    if let Some(traces) = traces {
        let slow_ns = traces.slow.map_or(0, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX));
        export.tracing = Some(TracerSetup { sampler: traces.sampler, slow_ns, queue });
        tracing::info!(
            url = traces.destination.url,
            protocol = traces.destination.protocol.name(),
            ratio = traces.sampler.ratio,
            parent_based = traces.sampler.parent_based,
            slow = ?traces.slow.unwrap_or_default(),
            "tracing enabled",
        );
    }
    if let Some(figures) = figures {
        export.figures = Some(FiguresOut { interval: figures.interval, queue: figures_queue });
        let protocol = figures.destination.protocol.name();
        tracing::info!(url = figures.destination.url, protocol, interval = ?figures.interval, "metrics export enabled");
    }
    Ok(export)
}

/// Starts the query threads.
fn start_queries(config: &Config, source: Source, clock: Clock, status: Arc<QueryStatus>) -> Result<Pool, ServerError> {
    let query = &config.query;
    Pool::start(PoolSetup {
        threads: query.threads,
        cores: query.cores.clone(),
        yields: query.yields,
        timeout: Duration::from_millis(query.timeout_ms),
        write_timeout: Duration::from_millis(config.timeouts.write_ms),
        unread_bytes_max: query.bounds.held_bytes_limit,
        engine: LogEngine { source, bounds: query.bounds, clock, status: Arc::clone(&status) },
        status,
    })
    .map_err(|error| error!("cannot start the query threads on cores {:?}: {error}", query.cores))
}

/// Logs the resolved configuration, and last the addresses that the server listens on.
fn announce(config: &Config, facts: &Facts, listens_at: &str, report: &log::RecoveryReport) {
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
        let Self {
            log,
            maintenance,
            lock,
            listens_at: _,
            socket_files,
            drain_timeout,
            draining,
            mailboxes,
            queries,
            observer,
            sd_notify,
            exporter,
            signals,
            ended,
        } = self;
        let mut reason = Reason::default();
        let stopping = |why: &dyn fmt::Display| {
            if let Some(sd_notify) = &sd_notify {
                sd_notify.stopping(why, drain_timeout + limits::LOG_STOP_WAIT + limits::STOP_MARGIN);
            }
        };
        loop {
            select! {
                recv(signals.rotate) -> signal => {
                    tracing::info!("rotating the log: {}", signal.map_or_else(|_| "a signal".into(), name_of));
                    log.ask_for_rotation();
                    continue;
                }
                recv(signals.stop) -> signal => {
                    let name = signal.map_or_else(|_| "a signal".into(), name_of);
                    // Set before the line is logged, so that readers of the line can rely on it.
                    draining.store(true, Ordering::Relaxed);
                    tracing::info!("shutting down: {name}");
                    stopping(&name);
                }
                recv(ended) -> last_word => reason.note(last_word.ok()),
            }
            break;
        }
        draining.store(true, Ordering::Relaxed);
        let mut reactors = mailboxes.len();
        let mut log_threads = 2;
        match &reason.error {
            None => tell(&mailboxes, || ShardMessage::Drain),
            Some(error) => {
                tracing::error!("shutting down: {error}");
                stopping(error);
                tell(&mailboxes, || ShardMessage::GiveUp);
            }
        }
        let mut gave_up = reason.error.is_some();
        let mut deadline = Instant::now() + if gave_up { limits::LOG_STOP_WAIT } else { drain_timeout };
        // A thread that has already exited is not waited for.
        while reactors + log_threads > 0 {
            select! {
                recv(ended) -> last_word => match last_word {
                    Ok(Ended::Reactor(_, Ok(()))) => reactors -= 1,
                    Ok(Ended::Log(Ok(()))) => log_threads -= 1,
                    last_word => {
                        match last_word {
                            Ok(Ended::Reactor(..)) => reactors -= 1,
                            Ok(Ended::Log(_)) => log_threads -= 1,
                            Err(_) => break,
                        }
                        reason.note(last_word.ok());
                    }
                },
                default(deadline.saturating_duration_since(Instant::now())) => {
                    if gave_up {
                        reason.error.get_or_insert_with(|| match log.health() {
                            LogHealth::Healthy => error!("the threads did not exit within {:?}", limits::LOG_STOP_WAIT),
                            health => error!("the threads did not exit within {:?}: {health}", limits::LOG_STOP_WAIT),
                        });
                        break;
                    }
                    gave_up = true;
                    deadline = Instant::now() + limits::LOG_STOP_WAIT;
                    if reactors > 0 {
                        tracing::warn!("connections closed: they did not end within {drain_timeout:?}");
                        tell(&mailboxes, || ShardMessage::GiveUp);
                    }
                }
            }
        }
        if !queries.stop() {
            tracing::warn!("a query did not end within {:?} of its connection", limits::QUERY_STOP_WAIT);
        }
        maintenance.stop();
        drop(socket_files);
        // From here on another server may use the directory.
        drop(lock);
        if let Some(error) = reason.error {
            return Err(error);
        }
        // The observer exits when the last reactor has dropped its end of the channel.
        if observer.join().is_err() {
            return Err(error!("the observer failed"));
        }
        // Last, because there may be data to export until here.
        if let Some(exporter) = exporter {
            exporter.stop();
        }
        tracing::info!("stopped: everything accepted is in the log and synced");
        Ok(())
    }
}

/// Posts a message to every reactor. A full mailbox belongs to a stuck reactor, which the deadline handles.
fn tell(mailboxes: &[mailbox::Sender<ShardMessage>], mail: impl Fn() -> ShardMessage) {
    for mailbox in mailboxes {
        if mailbox.post(mail()).is_err() {
            tracing::warn!("shard mailbox full; message dropped");
        }
    }
}

fn failure_of(last_word: Option<Ended>) -> ServerError {
    match last_word {
        Some(Ended::Reactor(index, Err(error))) => error!("reactor {index} failed: {error}"),
        Some(Ended::Log(Err(error))) => error!("{error}"),
        Some(Ended::Reactor(index, Ok(()))) => error!("reactor {index} exited unexpectedly"),
        Some(Ended::Log(Ok(()))) => error!("the log exited unexpectedly"),
        None => error!("all threads exited unexpectedly"),
    }
}

/// Starts a thread that reports its result when it exits. With `core`, the thread is pinned; if that fails, it does not
/// start.
fn spawn(
    name: &str,
    core: Option<usize>,
    ended: &Sender<Ended>,
    body: impl FnOnce() -> Ended + Send + 'static,
) -> Result<(), ServerError> {
    let ended = ended.clone();
    let (pinned_sender, pinned) = bounded(1);
    let run = move || {
        let ok = core.is_none_or(|id| core_affinity::set_for_current(CoreId { id }));
        // Received below, before anything else happens.
        let _ = pinned_sender.send(ok);
        if ok {
            let last_word = body();
            // The receiver is gone once the server has stopped waiting for its threads.
            let _ = ended.send(last_word);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| cannot_spawn(name, &error))?;
    match (pinned.recv(), core) {
        (Ok(true), _) => Ok(()),
        (_, core) => Err(error!("cannot pin the thread {name} to core {core:?}")),
    }
}

fn cannot_spawn(name: &str, error: &io::Error) -> ServerError {
    error!("cannot start the thread {name}: {error}")
}

/// Chooses the driver, and returns the reason. A driver that is named explicitly is never replaced.
fn choose_driver(choice: DriverChoice, reactors: usize, connections_max: u32) -> Result<(Chosen, String), ServerError> {
    if choice == DriverChoice::Epoll {
        return Ok((Chosen::Epoll, "epoll, as configured".into()));
    }
    // All rings at once: a small ring may fit the locked-memory limit when those of all reactors together do not.
    let probed = uring::probe()
        .and_then(|report| uring::probe_rings(reactors, connections_max, limits::RECEIVE_BUFFERS).map(|()| report));
    match (probed, choice) {
        (Ok(report), _) => Ok((Chosen::IoUring, report.to_string())),
        (Err(reason), DriverChoice::IoUring) => Err(error!("--driver io_uring: {reason}")),
        (Err(reason), _) => Ok((Chosen::Epoll, format!("epoll, because io_uring is unavailable: {reason}"))),
    }
}

/// Connections that one reactor reserves for statistics, if they have their own addresses.
fn admin_connections_max(places: &[Place]) -> u32 {
    if places.iter().any(|place| place.role == Role::Admin) { limits::ADMIN_CONNECTIONS_MAX } else { 0 }
}

/// Maximum number of connections, from the configuration and the descriptor limit.
fn connections_limit(config: &Config, places: &[Place]) -> Result<u32, ServerError> {
    let descriptors = nofile::raise().map_err(|error| error!("cannot raise the limit of open files: {error}"))?;
    let reactors = u32::try_from(config.placement.reactor_cores.len()).unwrap_or(u32::MAX);
    let query_threads = u32::try_from(config.query.threads).unwrap_or(u32::MAX);
    let listeners = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let reserved = limits::DESCRIPTORS_RESERVED
        + reactors * (limits::DESCRIPTORS_PER_REACTOR + listeners + admin_connections_max(places))
        + query_threads * limits::DESCRIPTORS_PER_QUERY_THREAD;
    let possible = u32::try_from(descriptors).unwrap_or(u32::MAX).saturating_sub(reserved);
    match config.connections_limit {
        Some(wanted) if wanted > possible => Err(error!(
            "--max-connections {wanted} needs {} open files and the limit is {descriptors}: raise the limit (ulimit -Hn, \
             LimitNOFILE= in systemd) or set at most {possible}",
            u64::from(wanted) + u64::from(reserved),
        )),
        Some(wanted) => Ok(wanted),
        None if possible == 0 => Err(error!("the limit of open files, {descriptors}, leaves none for connections")),
        None => Ok(possible.min(limits::CONNECTIONS_DEFAULT)),
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

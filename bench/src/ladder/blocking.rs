//! Shared parts of the blocking stages: the sockets, one connection on one thread, and the one service behind a lock.
//!
//! A thread that has a request takes the lock of the service, in which the request is parsed and its lines are put into
//! the ring; then the lock of the writer, in which it appends what the ring holds to the file. The first thread there
//! writes for all that queue behind it. There is no writer thread: a thread that may block can write by itself, and a
//! hand-over would cost it more (ARCHITECTURE.md, "Sleeping costs more"). So a request here costs a write of its own
//! more often than in a reactor, which has one for all requests of a turn.
//!
//! Promises: a 200 is in the file; every socket is closed on every path, by being dropped; a silent client is closed
//! after the timeout, and one that sends byte by byte after at most twice that; a stop responds to the requests in
//! progress.

use http1::{Bounds, Connection, Deadline, Disposition, HttpContext, HttpError, Next, Progress, format_date};
use log::{DiskFile, GroupCommit, Log, LogError, Settings, Writer};
use metricstream::{
    config::{Config, ListenAddress},
    limits,
    listening::Role,
    service::{AdmittedRequest, Caller, Service, Shared},
    stats::QueryStatus,
};
use rate::{ClientKeys, event_ring};
use reactor::{listen::listen, nofile};
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    iterator::Signals,
};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, Builder, Scope},
    time::{Duration, Instant},
};
use wake::Doorbell;
use wake::clock::Clock;

/// Time that a read blocks before the timeout and the stop flag are checked.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Bytes of one read: what the reactors' receive buffers hold.
const INPUT_BYTES: usize = limits::RECEIVE_BUFFER_BYTES as usize;
/// A thread's stack holds one input buffer, and a parser whose depth is bounded.
const STACK_BYTES: usize = 256 * limits::KIB;
/// Refused connections that wait for their 503. Over it they are closed without one.
const REFUSALS_MAX: usize = 128;
/// Time that a refused client has to read its response: one thread waits for all of them.
const REFUSAL_LINGER: Duration = Duration::from_millis(100);
/// Pause of the accepting thread when a connection cannot be had: no descriptor, no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A thread that serves connections, to be named no further.
pub fn thread() -> Builder {
    Builder::new().stack_size(STACK_BYTES)
}

/// State shared by the threads that serve.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    timeout: Duration,
    clock: Clock,
    stopping: Arc<AtomicBool>,
    guarded: Mutex<Guarded>,
    writer: Mutex<Writer<DiskFile>>,
    group_commit: Mutex<GroupCommit<DiskFile>>,
    /// Counts of failures.
    pub counts: Counts,
}

/// State that only one thread may use at a time.
struct Guarded {
    service: Service,
    core: HttpContext,
    date_s: u64,
}

/// Plain counts that order nothing.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections taken in.
    pub accepted: AtomicU64,
    /// Connections that could not be accepted because descriptors or memory ran out.
    pub accept_failures: AtomicU64,
    /// Threads that the system did not give.
    pub threads_missing: AtomicU64,
    /// Connections refused with 503.
    pub refused: AtomicU64,
    /// Connections closed without the 503 that was due.
    pub refused_without_response: AtomicU64,
    /// Connections that failed: reset, or a response that was not taken.
    pub failed: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} connections, {} refused with 503 and {} without, {} failed, {} accepts failed, {} threads were not given",
            read(&self.accepted),
            read(&self.refused),
            read(&self.refused_without_response),
            read(&self.failed),
            read(&self.accept_failures),
            read(&self.threads_missing),
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts a failure of the system's that passes, and says the first one: untrusted clients must not be able to fill the
/// terminal.
pub fn count_and_warn(counter: &AtomicU64, what: &str, error: &io::Error) {
    if counter.fetch_add(1, Ordering::Relaxed) == 0 {
        crate::complain!("{what}, and further ones are only counted: {error}");
    }
}

/// Opens the log and the port, lets `stage` serve until a signal, then writes and syncs what is left.
///
/// # Errors
/// One line: why it could not start, or what could not be stored.
pub fn run(config: Config, stage: impl FnOnce(&Server) -> Result<(), String>) -> Result<(), String> {
    let drain_timeout = config.drain_timeout;
    let server = Server::open(config)?;
    stop_on_signal(server.address, Arc::clone(&server.stopping), drain_timeout)
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    crate::complain!("listening on {}", server.address);
    let served = stage(&server);
    server.finish().map_err(|error| error.to_string())?;
    served
}

/// At the first signal has the accepting thread look up, at the second, or when the stop takes too long, ends the
/// process.
fn stop_on_signal(address: SocketAddr, stopping: Arc<AtomicBool>, drain_timeout: Duration) -> io::Result<()> {
    // A write over RLIMIT_FSIZE is to fail, and not to kill (setrlimit(2)).
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        stopping.store(true, Ordering::Relaxed);
        // accept(2) blocks until somebody comes. If this one cannot, others do.
        drop(TcpStream::connect_timeout(&address, LOOK_UP));
        let began = Instant::now();
        while began.elapsed() < drain_timeout && signals.pending().next().is_none() {
            thread::sleep(LOOK_UP);
        }
        crate::complain!("stopped at once: by a second signal, or after {drain_timeout:?} of draining");
        std::process::exit(1);
    })?;
    Ok(())
}

/// The log cannot take what it was given: nothing more may be acknowledged. The caller still holds the writer's lock.
fn log_failed(error: &LogError) -> ! {
    crate::complain!("{error}");
    std::process::exit(1);
}

impl Server {
    fn open(config: Config) -> Result<Self, String> {
        let [ListenAddress::Ip(listen_at)] = config.listen[..] else {
            return Err("this stage listens on one address: --listen ADDRESS:PORT".into());
        };
        let cannot_listen = |error: io::Error| format!("cannot listen on {listen_at}: {error}");
        nofile::raise().map_err(|error| format!("cannot raise the limit of open descriptors: {error}"))?;
        let listener = listen(listen_at, limits::LISTEN_BACKLOG, false).map_err(cannot_listen)?;
        listener.set_nonblocking(false).map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;

        let opened = log::open(&config.data_dir).map_err(|error| error.to_string())?;
        let no_descriptor = |error: io::Error| format!("no descriptor is available: {error}");
        let doorbell = Arc::new(Doorbell::new().map_err(no_descriptor)?);
        let Log { appenders, writer, group_commit, .. } =
            Log::new(opened.file, &[doorbell], config.ring_bytes, Settings::default()).map_err(no_descriptor)?;
        let Some(appender) = appenders.into_iter().next() else { unreachable!("one for each doorbell") };

        let clock = Clock::start();
        let stopping = Arc::new(AtomicBool::new(false));
        let core = HttpContext::new(Bounds { body_bytes: config.body_bytes_limit });
        let timeout = Duration::from_millis(config.timeouts.head_ms);
        let draining = Arc::clone(&stopping);
        // No threads: queries are not served.
        let queries = Arc::new(QueryStatus::new(0));
        let shared = Arc::new(Shared {
            config,
            limiter: None,
            keys: ClientKeys::new(),
            api_keys: None,
            draining,
            clock,
            queries,
            page: None,
        });
        // Without a limiter there are no events.
        let (events, _) = event_ring(1);
        Ok(Self {
            listener,
            address,
            timeout,
            clock,
            stopping,
            guarded: Mutex::new(Guarded { service: Service::new(shared, appender, events), core, date_s: u64::MAX }),
            writer: Mutex::new(writer),
            group_commit: Mutex::new(group_commit),
            counts: Counts::default(),
        })
    }

    /// Writes what is left, syncs it, marks the log as closed.
    fn finish(self) -> Result<(), LogError> {
        const NO_PANIC: &str = "no thread panicked while it held a lock";
        let Guarded { service, .. } = self.guarded.into_inner().expect(NO_PANIC);
        let counters = &service.counters;
        crate::complain!("stopped: {}", self.counts);
        crate::complain!(
            "batches: {} received = {} stored + {} rejected + {} shed",
            counters.batches_received,
            counters.batches_stored,
            counters.rejected(),
            counters.shed(),
        );
        drop(service);
        self.writer.into_inner().expect(NO_PANIC).run()?;
        self.group_commit.into_inner().expect(NO_PANIC).run()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The service, for the calling thread alone; its clock is right.
    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        let mut guarded = self.guarded.lock().expect("no thread panicked while it held the service");
        let wall_ms = self.clock.wall_ms();
        guarded.service.set_arrival(wall_ms);
        guarded.service.begin_burst();
        let second = u64::try_from(wall_ms).unwrap_or(0) / 1_000;
        if second != guarded.date_s {
            guarded.date_s = second;
            guarded.core.date = format_date(second);
        }
        guarded
    }

    /// Waits for the next connection. `None`: the server stops.
    pub fn accept(&self) -> Option<(TcpStream, IpAddr)> {
        loop {
            let accepted = self.listener.accept();
            if self.is_stopping() {
                return None;
            }
            match accepted {
                Ok((stream, peer)) => {
                    count(&self.counts.accepted);
                    return Some((stream, peer.ip()));
                }
                // The peer has gone already (accept(2)).
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    count_and_warn(&self.counts.accept_failures, "a connection cannot be accepted", &error);
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Serves one connection on the calling thread until it ends. `is_last` is called before each burst of requests: it
    /// returns true if their responses are the last on this connection.
    pub fn serve(&self, stream: &TcpStream, peer: IpAddr, is_last: impl Fn() -> bool) {
        let mut connection = Connection::new();
        if self.converse(stream, peer, &mut connection, is_last).is_err() {
            count(&self.counts.failed);
        }
        let Guarded { service, core, .. } = &mut *self.guarded();
        if let Some(request) = connection.take_admitted() {
            service.abandon(Caller::new(peer.into(), Role::Public), request, false);
        }
        connection.release(core);
    }

    fn converse(
        &self,
        mut stream: &TcpStream,
        peer: IpAddr,
        connection: &mut Connection<AdmittedRequest>,
        is_last: impl Fn() -> bool,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let (mut input, mut out) = ([0; INPUT_BYTES], Vec::new());
        let (mut until, mut deadline) = (Instant::now() + self.timeout, Deadline::Idle);
        let mut more = false;
        loop {
            let received = match more {
                true => Some(0),
                false => self.read(stream, &mut input, until, deadline == Deadline::Idle)?,
            };
            let next = match received {
                Some(0) if !more => return Ok(()),
                Some(bytes) => {
                    let close = self.is_stopping() || is_last();
                    let progress = self.respond(&input[..bytes], peer, connection, close, &mut out);
                    if let Some(begun) = progress.deadline {
                        (until, deadline) = (Instant::now() + self.timeout, begun);
                    }
                    more = progress.more;
                    progress.next
                }
                None => {
                    let Guarded { service, core, .. } = &mut *self.guarded();
                    // Between two requests this is the end without a word.
                    let caller = Caller::new(peer.into(), Role::Public);
                    connection.timed_out(caller, service, core, &mut out).next
                }
            };
            stream.write_all(&out)?;
            out.clear();
            match next {
                Next::Close | Next::Send(Disposition::Close) => return Ok(()),
                Next::Send(Disposition::Linger) => {
                    return self.linger(stream, Duration::from_millis(limits::LINGER_MS), connection);
                }
                // What was deferred has its response already.
                _ => {}
            }
        }
    }

    /// Reads once, zero bytes at the end of the stream. `None`: it is too late, or the server stops and the connection
    /// is `idle`.
    fn read(&self, mut stream: &TcpStream, input: &mut [u8], until: Instant, idle: bool) -> io::Result<Option<usize>> {
        while Instant::now() < until {
            match stream.read(input) {
                Ok(bytes) => return Ok(Some(bytes)),
                // The time given to set_read_timeout has passed.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if idle && self.is_stopping() {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes the responses to the requests that `bytes` complete into `out`. When it returns, what the responses
    /// promise is in the file.
    fn respond(
        &self,
        bytes: &[u8],
        peer: IpAddr,
        connection: &mut Connection<AdmittedRequest>,
        close: bool,
        out: &mut Vec<u8>,
    ) -> Progress<()> {
        let (progress, result, queued) = {
            let Guarded { service, core, .. } = &mut *self.guarded();
            core.draining = close;
            let caller = Caller::new(peer.into(), Role::Public);
            let Progress { responses, result, next, more, work_bytes, pause, deadline } =
                connection.receive(bytes, caller, service, core, out);
            let mut progress = Progress { responses, result: (), next, more, work_bytes, pause, deadline };
            service.publish();
            if result.deferred.is_some() {
                // Statistics are made by an observer and queries by a pool, and the ladder has neither.
                service.counters.refused(HttpError::NotFound);
                progress = connection.respond_deferred(core, out, |respond| respond.refuse(HttpError::NotFound));
            }
            // A write that fails after this ends the process.
            service.stored(&result.write);
            service.stored(&result.fsync);
            (progress, result, service.log().queued_bytes() > 0)
        };
        if queued {
            let mut writer = self.writer.lock().expect("no thread panicked while it held the writer");
            if let Err(error) = writer.write_published() {
                log_failed(&error);
            }
        }
        if result.fsync.batches > 0 {
            let mut group_commit = self.group_commit.lock().expect("no thread panicked while it held the sync");
            if let Err(error) = group_commit.sync() {
                log_failed(&error);
            }
        }
        progress
    }

    /// Ends the write side, and throws away what still comes until the peer ends its own: closing with bytes unread
    /// would reset the connection, and the peer might lose the response.
    fn linger(
        &self,
        stream: &TcpStream,
        time: Duration,
        connection: &mut Connection<AdmittedRequest>,
    ) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)?;
        let (mut input, until) = ([0; INPUT_BYTES], Instant::now() + time.min(self.timeout));
        while let Some(bytes @ 1..) = self.read(stream, &mut input, until, true)? {
            if connection.drain(&input[..bytes]) {
                break;
            }
        }
        Ok(())
    }

    fn refuse(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.set_write_timeout(Some(LOOK_UP))?;
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        let error = HttpError::Unavailable { text: "no thread is free", retry_after_s: http1::limits::RETRY_AFTER_S };
        let _ = connection.refuse(error, &self.guarded().core, &mut out);
        stream.write_all(&out)?;
        count(&self.counts.refused);
        self.linger(stream, REFUSAL_LINGER, &mut connection)
    }
}

/// Responds with 503 on a thread of its own, so that nobody waits for a client that is being refused.
pub struct Refusals<'a> {
    server: &'a Server,
    queue: SyncSender<Arc<TcpStream>>,
}

impl<'a> Refusals<'a> {
    /// Starts the thread; it ends once this is dropped and its queue is empty.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start<'scope>(server: &'a Server, scope: &'scope Scope<'scope, 'a>) -> Result<Self, String> {
        let (queue, refused) = sync_channel::<Arc<TcpStream>>(REFUSALS_MAX);
        let serve_all = move || {
            for stream in refused {
                // The connection is closed in any case, so a failure is of no consequence.
                let _ = server.refuse(&stream);
            }
        };
        thread()
            .spawn_scoped(scope, serve_all)
            .map_err(|error| format!("the thread that refuses cannot be started: {error}"))?;
        Ok(Self { server, queue })
    }

    /// Queues `stream` to be refused with 503 and closed; closes it at once if too many are queued.
    pub fn push(&self, stream: Arc<TcpStream>) {
        if self.queue.try_send(stream).is_err() {
            count(&self.server.counts.refused_without_response);
        }
    }
}

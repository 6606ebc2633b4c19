//! The floor: the least a server on this reactor can cost. It finds the end of each request and responds with a
//! constant - no JSON, no limits, no log. What any server here costs is reported as a multiple of this.

use clap::Parser;
use metricstream::config::CoreList;
use metricstream_bench::{cores, drivers, drivers::Chosen, head};
use reactor::nofile;
use reactor::{
    Cause, Driver, DriverConfig, Flow, Handler, Peer, Token, epoll::EpollDriver, listen::listeners, uring::UringDriver,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io, mem,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use wake::Doorbell;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n\
    {\"success\": true, \"metrics_processed\":3}";
/// Responses in one send, at most, so that a peer that pipelines without end is served from a bounded buffer.
const RESPONSES_PER_SEND_MAX: usize = 256;
/// Connections of one reactor.
const CONNECTIONS_MAX: u32 = 65_536;
/// 1,024 x 16 KiB = 16 MiB a reactor; one buffer takes 32 pipelined requests of the usual workload.
const RECEIVE_BUFFERS: u16 = 1024;
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
const BACKLOG: i32 = 4096;

/// A server that responds to every request with the same 200: what the reactor and the kernel cost without a service.
#[derive(Debug, Parser)]
#[command(name = "floor", version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Driver to use.
    #[arg(long, value_enum, default_value = "auto")]
    driver: drivers::Choice,
    /// Threads, each with its own listener and driver [default: one a core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    reactors: Option<u16>,
    /// Cores to run on, as 0,2 or 0-3.
    #[arg(long, default_value = "auto")]
    cores: CoreList,
    /// Spin for so many nanoseconds at each request: a cost that is known, to see whether a comparison finds it.
    #[arg(long, value_name = "NS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    extra_ns: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            metricstream_bench::complain!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let cores = match &arguments.cores {
        CoreList::Cores(cores) => cores.clone(),
        CoreList::Auto => cores::allowed(),
    };
    nofile::raise()?;
    let chosen = arguments.driver.settle();
    let reactors = arguments.reactors.map_or(cores.len(), usize::from).max(1);
    let listeners = listeners(arguments.listen, false, reactors, BACKLOG)?;
    let doorbells = (0..reactors).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stop = AtomicBool::new(false);
    metricstream_bench::say!("listening on {}", listeners[0].local_addr()?);
    thread::scope(|scope| {
        for (index, (listener, doorbell)) in listeners.into_iter().zip(&doorbells).enumerate() {
            let core = cores.get(index % cores.len().max(1)).copied();
            let (stop, doorbell) = (&stop, Arc::clone(doorbell));
            let extra = Duration::from_nanos(arguments.extra_ns);
            scope.spawn(move || {
                let pinned = core.is_none_or(cores::pin);
                let served = match chosen {
                    _ if !pinned => Err(io::Error::other(format!("cannot pin to core {core:?}"))),
                    Chosen::IoUring => serve::<UringDriver>(listener, doorbell, stop, extra),
                    Chosen::Epoll => serve::<EpollDriver>(listener, doorbell, stop, extra),
                };
                if let Err(error) = served {
                    metricstream_bench::complain!("floor: {chosen}: {error}");
                    std::process::exit(1);
                }
            });
        }
        if signals.forever().next().is_some() {
            stop.store(true, Ordering::Release);
            doorbells.iter().for_each(|doorbell| doorbell.signal());
        }
    });
    Ok(())
}

fn serve<D: Driver>(
    listener: TcpListener,
    doorbell: Arc<Doorbell>,
    stop: &AtomicBool,
    extra: Duration,
) -> io::Result<()> {
    let mut driver = D::open(DriverConfig {
        listeners: vec![listener.into()],
        connections_max: CONNECTIONS_MAX,
        receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        receive_buffers: RECEIVE_BUFFERS,
        doorbell,
    })?;
    let mut floor = Floor::default();
    while !stop.load(Ordering::Acquire) {
        driver.turn(None, &mut floor)?;
        for token in floor.touched.drain(..) {
            let connection = &mut floor.connections[token.slot()];
            connection.touched = false;
            if connection.token == Some(token) {
                connection.step(&mut driver, token, extra);
            }
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Floor {
    /// By slot.
    connections: Vec<Connection>,
    /// Connections to look at after the turn, each once.
    touched: Vec<Token>,
}

#[derive(Debug, Default)]
struct Connection {
    token: Option<Token>,
    touched: bool,
    /// A head that came in pieces, so far.
    head: Vec<u8>,
    /// Bytes still to come of the body that is being skipped.
    body_left: u64,
    /// The request whose body is being skipped is the last.
    last: bool,
    /// Complete requests without a response yet.
    due: usize,
    /// Nothing more is read: the connection ends with the last response.
    ending: bool,
    sending: bool,
    buffer: Vec<u8>,
}

impl Connection {
    /// Takes in what came; an error ends the connection.
    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), head::Malformed> {
        while !bytes.is_empty() && !self.ending {
            if self.body_left == 0 {
                let earlier = self.head.len();
                let whole = if earlier == 0 {
                    head::scan(bytes)?
                } else {
                    self.head.extend_from_slice(bytes);
                    head::scan(&self.head)?
                };
                let Some(head) = whole else {
                    if earlier == 0 {
                        self.head.extend_from_slice(bytes);
                    }
                    return if self.head.len() > head::HEAD_BYTES_MAX { Err(head::Malformed) } else { Ok(()) };
                };
                bytes = &bytes[head.bytes - earlier..];
                (self.body_left, self.last) = (head.content_length.unwrap_or(0), head.close);
                self.head.clear();
            }
            let taken = usize::try_from(self.body_left).map_or(bytes.len(), |left| left.min(bytes.len()));
            bytes = &bytes[taken..];
            self.body_left -= taken as u64;
            if self.body_left == 0 {
                self.due += 1;
                self.ending = self.last;
            }
        }
        Ok(())
    }

    fn step<D: Driver>(&mut self, driver: &mut D, token: Token, extra: Duration) {
        if self.sending {
            return;
        }
        if self.due > 0 {
            let count = self.due.min(RESPONSES_PER_SEND_MAX);
            let mut buffer = mem::take(&mut self.buffer);
            (0..count).for_each(|_| buffer.extend_from_slice(RESPONSE));
            self.due -= count;
            spin(extra.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)));
            self.sending = true;
            driver.send(token, buffer);
        } else if self.ending {
            driver.close(token);
        }
    }
}

/// Uses the core for `span`.
fn spin(span: Duration) {
    if !span.is_zero() {
        let begun = Instant::now();
        while begun.elapsed() < span {
            std::hint::spin_loop();
        }
    }
}

impl Floor {
    fn touch(&mut self, token: Token) -> &mut Connection {
        let connection = &mut self.connections[token.slot()];
        if !mem::replace(&mut connection.touched, true) {
            self.touched.push(token);
        }
        connection
    }
}

impl Handler for Floor {
    fn accepted(&mut self, token: Token, _: usize, _: Peer) {
        if self.connections.len() <= token.slot() {
            self.connections.resize_with(token.slot() + 1, Connection::default);
        }
        let slot = &mut self.connections[token.slot()];
        // The buffers stay with the slot.
        let (mut head, buffer) = (mem::take(&mut slot.head), mem::take(&mut slot.buffer));
        head.clear();
        *slot = Connection { token: Some(token), head, buffer, ..Connection::default() };
    }

    fn accept_failed(&mut self, error: &io::Error) {
        metricstream_bench::complain!("floor: accept: {error}");
    }

    fn connected(&mut self, _: Token) {
        unreachable!("this server connects to nobody");
    }

    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        let connection = self.touch(token);
        if connection.receive(bytes).is_err() {
            connection.ending = true;
        }
        Flow::Continue
    }

    fn eof(&mut self, token: Token) {
        self.touch(token).ending = true;
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        let connection = &mut self.connections[token.slot()];
        (connection.buffer, connection.sending) = (buffer, false);
        if connection.due > 0 || connection.ending {
            self.touch(token);
        }
    }

    fn closed(&mut self, token: Token, _: Cause) {
        self.connections[token.slot()].token = None;
    }
}

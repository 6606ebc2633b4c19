//! Servers to be loaded, good and bad, and the program that loads them.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output},
    sync::{
        atomic::{AtomicU16, Ordering::Relaxed},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};
use testkit::{
    process::Signal,
    server::{Announces, Server},
};

pub const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// A port of 127.0.0.1 where nothing listens, and no other test can: it stays bound as long as this process runs.
pub fn idle_port() -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    std::mem::forget(socket);
    port
}

/// A listener whose port nobody else takes when it is gone: below those that the kernel gives to other listeners, and
/// to clients, one of which could connect to itself.
pub fn passing_listener() -> TcpListener {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let end: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = start + NEXT.fetch_add(1, Relaxed);
        assert!(port < end, "no port is free");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

/// A floor server on a port of its own; killed when dropped.
pub struct Floor {
    server: Server,
    pub port: u16,
}

impl Floor {
    pub fn start(driver: &str) -> Self {
        let mut floor = Command::new(env!("CARGO_BIN_EXE_floor"));
        floor.args(["--listen", "127.0.0.1:0", "--reactors", "1", "--driver", driver]);
        let mut server = Server::spawn(floor, Path::new(""), Announces::OnStdout).unwrap();
        assert!(server.wait_until_listening());
        Self { port: server.address.port(), server }
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Waits until `client` has a connection to it, and so catches signals.
    pub fn wait_for_connections(&self, client: &Child) {
        let descriptors = format!("/proc/{}/fd", client.id());
        let established = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let port = format!(":{:04X}", self.port);
            // 01 is ESTABLISHED: an earlier server at this port may have left connections in TIME_WAIT.
            table.lines().any(|line| {
                let mut fields = line.split_whitespace().skip(2);
                fields.next().is_some_and(|peer| peer.ends_with(&port)) && fields.next() == Some("01")
            })
        };
        while std::fs::read_dir(&descriptors).is_ok() && !established() {
            thread::yield_now();
        }
    }

    /// Ends it as an operator does.
    pub fn end(self, by: Signal) {
        self.server.signal(by);
        assert!(self.server.end().status.success());
    }
}

/// The program, with its arguments still to come.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_load_test"))
}

pub fn load_test(port: u16, arguments: &str) -> Command {
    let mut command = program();
    command.arg(port.to_string()).args(arguments.split_whitespace()).args(["--format", "json"]);
    command
}

pub fn run(port: u16, arguments: &str) -> Output {
    load_test(port, arguments).output().unwrap()
}

pub fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Runs load_test with `arguments`; returns the report and the exit status.
pub fn reported(port: u16, arguments: &str) -> (Value, i32) {
    let output = run(port, arguments);
    (report(&output), output.status.code().unwrap())
}

/// A server that serves each connection on a thread of its own, as `serve` says, with its number from zero.
pub fn server(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let serve = std::sync::Arc::clone(&serve);
            thread::spawn(move || serve(stream.unwrap(), index));
        }
    });
    port
}

/// Reads one request; false at the end of the connection.
pub fn read_request(reader: &mut impl BufRead) -> bool {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
    }
}

/// A server that sends `response` to every request on a connection, until the client ends it.
pub fn responding(response: &'static str) -> u16 {
    server(move |mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) && stream.write_all(response.as_bytes()).is_ok() {}
    })
}

/// A server that sends `response` to the first request on a connection and then ends it.
pub fn responding_once(response: &'static str) -> u16 {
    server(move |mut stream, _| {
        if read_request(&mut BufReader::new(stream.try_clone().unwrap())) {
            stream.write_all(response.as_bytes()).unwrap();
        }
    })
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Time that a request may take to be reported after its response was sent.
const LIMIT: Duration = Duration::from_secs(20);

/// A request as it arrived: its head, and as many bytes behind it as Content-Length says.
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return None;
            }
        }
        for line in head.lines() {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { head, body })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A server that succeeds and hands over what it was sent.
pub fn recording() -> (u16, Receiver<Request>) {
    let (sender, requests) = channel();
    let port = server(move |mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = Request::read(&mut reader) {
            sender.send(request).unwrap();
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
    });
    (port, requests)
}

pub fn received(requests: &Receiver<Request>, count: usize) -> Vec<Request> {
    (0..count).map(|_| requests.recv_timeout(LIMIT).expect("a request arrives")).collect()
}

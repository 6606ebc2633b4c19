//! The HTTP client of a forward: one request at a time over one connection, which is kept while the receiver keeps it.
//! Every wait is bounded, and all but that for the address of a name end soon after the server begins to stop.

use super::{
    response::{Body, Head, Response},
    target::{Target, Tls},
};
use crate::limits;
use host::{net::TcpStream, time::Instant};
use rustls::{ClientConnection, StreamOwned};
use std::{
    io::{self, IoSlice, Read, Write},
    net::ToSocketAddrs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use wake::clock::Clock;

/// A client of one receiver.
#[derive(Debug)]
pub struct Client {
    target: Target,
    tls: Option<Tls>,
    timeout: Duration,
    is_over: Arc<AtomicBool>,
    connection: Option<Connection>,
    /// The head of a request.
    head: Vec<u8>,
    /// The clock of traces, if deliveries are traced.
    clock: Option<Clock>,
    sent_ns: u64,
}

#[derive(Debug)]
enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// The connection, if it can take another request: it is open, and nothing has come that was not requested.
    /// Receivers close connections that are idle for long, and some say so first (408).
    fn if_idle(mut self) -> Option<Self> {
        self.socket().set_nonblocking(true).ok()?;
        let read = self.read(&mut [0]);
        self.socket().set_nonblocking(false).ok()?;
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock).then_some(self)
    }
}

impl Read for Connection {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(to),
            Self::Tls(stream) => stream.read(to),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write_vectored(parts),
            Self::Tls(stream) => stream.write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The end of the time that a request may take, and of the server.
struct Limit<'a> {
    deadline: Instant,
    is_over: &'a AtomicBool,
}

impl Limit<'_> {
    /// This limit, or `time` from now if that is over earlier.
    fn within(&self, time: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + time), is_over: self.is_over }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the server is stopping"));
        }
        if Instant::now() >= self.deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no response in time"));
        }
        Ok(())
    }
}

impl Client {
    /// A client that connects when there is something to send, and aborts once `is_over` is true. With a `clock` it
    /// records when a request was sent.
    pub fn new(
        target: Target,
        tls: Option<Tls>,
        timeout: Duration,
        is_over: Arc<AtomicBool>,
        clock: Option<Clock>,
    ) -> Self {
        Self { target, tls, timeout, is_over, connection: None, head: Vec::new(), clock, sent_ns: 0 }
    }

    /// The time at which the last request was sent as a whole, by the clock of traces; 0: it was not, or there is none.
    pub const fn sent_ns(&self) -> u64 {
        self.sent_ns
    }

    /// Sends one request, with `fields` of its head that are not those of every request.
    ///
    /// # Errors
    /// There was no response: it may have been received or not.
    pub fn send(&mut self, fields: &str, body: &[u8]) -> io::Result<Response> {
        let response = self.exchange(fields, body);
        if !response.as_ref().is_ok_and(|response| response.is_kept) {
            self.connection = None;
        }
        response
    }

    fn exchange(&mut self, fields: &str, body: &[u8]) -> io::Result<Response> {
        self.sent_ns = 0;
        let limit = Limit { deadline: Instant::now() + self.timeout, is_over: &self.is_over };
        let connection = match self.connection.take().and_then(Connection::if_idle) {
            Some(connection) => connection,
            None => connect(&self.target, self.tls.as_ref(), &limit)?,
        };
        let connection = self.connection.insert(connection);
        self.head.clear();
        write!(self.head, "{}{fields}Content-Length: {}\r\n\r\n", self.target.head, body.len())?;
        let mut request = [&self.head[..], body].map(IoSlice::new);
        // It may have responded before it closed.
        let failed = write_all(connection, &mut request, &limit).err();
        if failed.is_none() {
            self.sent_ns = self.clock.map_or(0, |clock| clock.monotonic_ns());
        }
        match (read_response(connection, &limit), failed) {
            (Ok(response), None) => Ok(response),
            (Ok(response), Some(_)) => Ok(Response { is_kept: false, ..response }),
            (Err(_), Some(error)) | (Err(error), None) => Err(error),
        }
    }
}

fn connect(target: &Target, tls: Option<&Tls>, limit: &Limit<'_>) -> io::Result<Connection> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (target.host.as_str(), target.port).to_socket_addrs()? {
        limit.check()?;
        let stream = match TcpStream::connect_timeout(&address, limits::FORWARD_CONNECT_TIMEOUT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limits::FORWARD_WAIT_SLICE))?;
        stream.set_write_timeout(Some(limits::FORWARD_WAIT_SLICE))?;
        let Some(tls) = tls else { return Ok(Connection::Plain(stream)) };
        let session = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone()).map_err(io::Error::other)?;
        return Ok(Connection::Tls(Box::new(StreamOwned::new(session, stream))));
    }
    Err(last)
}

/// True if a wait of [`limits::FORWARD_WAIT_SLICE`] has passed, or a signal came.
fn is_slice(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Writes all parts. The limit is checked at each step, as a receiver that takes a byte at a time never makes it wait.
fn write_all(to: &mut Connection, mut parts: &mut [IoSlice<'_>], limit: &Limit<'_>) -> io::Result<()> {
    while !parts.is_empty() {
        limit.check()?;
        match to.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if is_slice(&error) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if is_slice(&error) => limit.check()?,
            flushed => return flushed,
        }
    }
}

/// Reads more of a response. Returns false at its end.
fn read_more(from: &mut Connection, to: &mut Vec<u8>, limit: &Limit<'_>) -> io::Result<bool> {
    let mut part = [0; 4096];
    loop {
        limit.check()?;
        match from.read(&mut part) {
            Ok(read) => {
                to.extend_from_slice(&part[..read]);
                return Ok(read > 0);
            }
            Err(error) if is_slice(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_response(connection: &mut Connection, limit: &Limit<'_>) -> io::Result<Response> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = Head::parse(&bytes).map_err(invalid)? {
            bytes.drain(..head.bytes);
            // An informational response is followed by the one that counts.
            if head.is_informational() {
                limit.check()?;
                continue;
            }
            return Ok(read_body(connection, bytes, head, limit));
        }
        if bytes.len() > limits::FORWARD_RESPONSE_BYTES_MAX {
            return Err(invalid("the head of the response is too long".to_owned()));
        }
        if !read_more(connection, &mut bytes, limit)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the response did"));
        }
    }
}

/// Reads the rest of a response, whose body begins with `bytes`. The status counts, also where the text does not come.
fn read_body(connection: &mut Connection, mut bytes: Vec<u8>, head: Head, limit: &Limit<'_>) -> Response {
    let limit = limit.within(limits::FORWARD_BODY_TIMEOUT);
    let mut body = Body::new(head.framing);
    while body.take(&bytes) {
        bytes.clear();
        if !read_more(connection, &mut bytes, &limit).unwrap_or(false) {
            break;
        }
    }
    head.response.with(&body)
}

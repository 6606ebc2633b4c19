//! The HTTP client of a forward: one request at a time over one connection, which is kept while the receiver keeps it.
//! Every wait is bounded, and ends soon after the server begins to stop.

use super::target::{Target, Tls};
use crate::limits;
use host::{net::TcpStream, time::Instant};
use rustls::{ClientConnection, StreamOwned};
use std::{
    io::{self, Read, Write},
    net::ToSocketAddrs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use wake::clock::Clock;

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// The wait that the receiver requests.
    pub retry_after: Option<Duration>,
    /// Samples that were written, by the fields of version 2.0; `None`: there are none of these fields.
    pub written: Option<usize>,
    /// The beginning of the body.
    pub text: String,
    is_kept: bool,
}

/// A client of one receiver.
#[derive(Debug)]
pub struct Client {
    target: Target,
    tls: Option<Tls>,
    timeout: Duration,
    is_over: Arc<AtomicBool>,
    connection: Option<Connection>,
    request: Vec<u8>,
    /// The clock of traces, if deliveries are traced.
    clock: Option<Clock>,
    sent_ns: u64,
}

#[derive(Debug)]
enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
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
        Self { target, tls, timeout, is_over, connection: None, request: Vec::new(), clock, sent_ns: 0 }
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
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.target, self.tls.as_ref(), &limit)?,
        };
        let connection = self.connection.insert(connection);
        self.request.clear();
        write!(self.request, "{}{fields}Content-Length: {}\r\n\r\n", self.target.head, body.len())?;
        self.request.extend_from_slice(body);
        // It may have responded before it closed.
        let failed = write_all(connection, &self.request, &limit).err();
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

/// Writes everything. The limit is checked at each step, as a receiver that takes a byte at a time never makes it wait.
fn write_all(to: &mut Connection, mut bytes: &[u8], limit: &Limit<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        limit.check()?;
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
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
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    loop {
        if let Some((mut response, head, length)) = parse_head(&bytes).map_err(|what| invalid(&what))? {
            // An informational response is followed by the one that counts.
            if (100..200).contains(&response.code) {
                limit.check()?;
                bytes.drain(..head);
                continue;
            }
            let shown = length.unwrap_or(limits::FORWARD_RESPONSE_BYTES_MAX).min(limits::FORWARD_RESPONSE_BYTES_MAX);
            let mut is_whole = true;
            while is_whole && bytes.len() - head < shown {
                // The status counts, also where the text does not come.
                is_whole = read_more(connection, &mut bytes, limit).unwrap_or(false);
            }
            response.is_kept &= length.is_some_and(|length| bytes.len() - head == length);
            let body = &bytes[head..bytes.len().min(head + limits::FORWARD_TEXT_BYTES_MAX)];
            response.text = String::from_utf8_lossy(body).trim().escape_debug().to_string();
            return Ok(response);
        }
        if bytes.len() > limits::FORWARD_RESPONSE_BYTES_MAX {
            return Err(invalid("the head of the response is too long"));
        }
        if !read_more(connection, &mut bytes, limit)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the response did"));
        }
    }
}

/// The head of a response, its bytes, and the length of the body if it is known. `None`: not yet whole.
fn parse_head(bytes: &[u8]) -> Result<Option<(Response, usize, Option<usize>)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; limits::FORWARD_RESPONSE_HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let end = match head.parse(bytes).map_err(|error| format!("the response is not HTTP: {error}"))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(end) => end,
    };
    let code = head.code.unwrap_or(0);
    let field = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).trim().to_owned())
    };
    let length = match field("content-length") {
        _ if code == 204 || code == 304 => Some(0),
        _ if field("transfer-encoding").is_some() => None,
        Some(text) => Some(text.parse().map_err(|_| format!("the response has a Content-Length of {text:?}"))?),
        None => None,
    };
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let seconds = field("retry-after").and_then(|value| value.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(limits::FORWARD_RETRY_AFTER_MAX));
    let of_kind = |kind: &str| field(&format!("x-prometheus-remote-write-{kind}-written"));
    // Where one of them is there, one that is not is zero, by the specification.
    let written = match of_kind("samples") {
        None => of_kind("histograms").or_else(|| of_kind("exemplars")).map(|_| 0),
        Some(samples) => Some(samples.parse().unwrap_or(0)),
    };
    let is_kept = !closes && head.version == Some(1);
    Ok(Some((Response { code, retry_after, written, text: String::new(), is_kept }, end, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Response, Option<usize>) {
        let (response, end, length) = parse_head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(end, text.len());
        (response, length)
    }

    #[test]
    fn what_was_written_is_in_any_of_three_fields() {
        let written = |field: &str| parsed(&format!("HTTP/1.1 200 OK\r\n{field}\r\n")).0.written;
        for (field, expected) in [
            ("", None),
            ("X-Prometheus-Remote-Write-Samples-Written: 17\r\n", Some(17)),
            ("x-prometheus-remote-write-histograms-written: 3\r\n", Some(0)),
            ("X-PROMETHEUS-REMOTE-WRITE-EXEMPLARS-WRITTEN: 0\r\n", Some(0)),
            ("X-Prometheus-Remote-Write-Samples-Written: many\r\n", Some(0)),
        ] {
            assert_eq!(written(field), expected, "{field}");
        }
    }

    #[test]
    fn a_wait_that_a_receiver_asks_for_is_bounded() {
        let wait = |value: &str| parsed(&format!("HTTP/1.1 429 X\r\nRetry-After: {value}\r\n\r\n")).0.retry_after;
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("999999999"), Some(limits::FORWARD_RETRY_AFTER_MAX));
        assert_eq!((wait("99999999999999999999"), wait("-1"), wait("soon")), (None, None, None));
    }

    #[test]
    fn a_length_is_known_or_the_connection_is_not_kept() {
        assert_eq!(parsed("HTTP/1.1 204 X\r\n\r\n").1, Some(0));
        assert_eq!(parsed("HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n").1, Some(5));
        assert_eq!(parsed("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n").1, None);
        assert_eq!(parsed("HTTP/1.1 200 X\r\n\r\n").1, None);
        assert!(!parsed("HTTP/1.0 200 X\r\nContent-Length: 5\r\n\r\n").0.is_kept);
        assert!(!parsed("HTTP/1.1 200 X\r\nConnection: Close\r\n\r\n").0.is_kept);
        for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n", "\0\0\0\0"] {
            assert!(parse_head(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}

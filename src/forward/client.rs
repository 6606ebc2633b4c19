//! The HTTP client of a forward: one request at a time over one connection, which is kept while the receiver keeps it.
//! Every wait is bounded, and ends soon after the server is told to stop.

use super::config::ForwardConfig;
use crate::limits;
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Acknowledged,
    /// A 4xx other than 429: the status, and the beginning of the body.
    Refused(u16, String),
    /// Anything else: why, and the wait that the receiver asked for.
    Failed(String, Option<Duration>),
}

/// A client of one receiver.
#[derive(Debug)]
pub struct Client<'a> {
    config: &'a ForwardConfig,
    is_over: &'a AtomicBool,
    connection: Option<TcpStream>,
}

/// A response, and whether the connection can be used again.
struct Response {
    code: u16,
    retry_after: Option<Duration>,
    text: String,
    is_kept: bool,
}

impl<'a> Client<'a> {
    /// A client that connects when there is something to send, and gives up once `is_over` is true.
    pub fn new(config: &'a ForwardConfig, is_over: &'a AtomicBool) -> Self {
        Self { config, is_over, connection: None }
    }

    /// Sends one request.
    pub fn send(&mut self, body: &[u8]) -> Outcome {
        let response = match self.exchange(body) {
            Ok(response) => response,
            Err(error) => {
                self.connection = None;
                return Outcome::Failed(error.to_string(), None);
            }
        };
        if !response.is_kept {
            self.connection = None;
        }
        match response.code {
            200..=299 => Outcome::Acknowledged,
            code @ 400..=499 if code != 429 => Outcome::Refused(code, response.text),
            code => Outcome::Failed(format!("status {code}: {}", response.text), response.retry_after),
        }
    }

    fn exchange(&mut self, body: &[u8]) -> io::Result<Response> {
        let deadline = Instant::now() + limits::FORWARD_REQUEST_TIMEOUT;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let mut request = format!("{}Content-Length: {}\r\n\r\n", self.config.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        let mut rest = &request[..];
        let mut failed = None;
        while !rest.is_empty() {
            match connection.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_slice(&error) => check(deadline, self.is_over)?,
                // It may have answered before it closed.
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match (read_response(connection, deadline, self.is_over), failed) {
            (Ok(response), None) => Ok(response),
            (Ok(response), Some(_)) => Ok(Response { is_kept: false, ..response }),
            (Err(_), Some(error)) | (Err(error), None) => Err(error),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.config.host.as_str(), self.config.port).to_socket_addrs()? {
            if self.is_over.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match TcpStream::connect_timeout(&address, limits::FORWARD_CONNECT_TIMEOUT) {
                Ok(connection) => {
                    connection.set_nodelay(true)?;
                    connection.set_read_timeout(Some(limits::FORWARD_WAIT_SLICE))?;
                    connection.set_write_timeout(Some(limits::FORWARD_WAIT_SLICE))?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// True if a wait of [`limits::FORWARD_WAIT_SLICE`] has passed, or a signal came.
fn is_slice(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn check(deadline: Instant, is_over: &AtomicBool) -> io::Result<()> {
    if is_over.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the server is stopping"));
    }
    if Instant::now() >= deadline {
        let text = format!("no response within {:?}", limits::FORWARD_REQUEST_TIMEOUT);
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    Ok(())
}

/// Reads more of a response. Returns false at its end.
fn read_more(from: &mut TcpStream, to: &mut Vec<u8>, deadline: Instant, is_over: &AtomicBool) -> io::Result<bool> {
    let mut part = [0; 4096];
    loop {
        match from.read(&mut part) {
            Ok(read) => {
                to.extend_from_slice(&part[..read]);
                return Ok(read > 0);
            }
            Err(error) if is_slice(&error) => check(deadline, is_over)?,
            Err(error) => return Err(error),
        }
    }
}

fn read_response(connection: &mut TcpStream, deadline: Instant, is_over: &AtomicBool) -> io::Result<Response> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    loop {
        if let Some((mut response, head, length)) = parse_head(&bytes).map_err(|what| invalid(&what))? {
            // An informational response is followed by the one that counts.
            if (100..200).contains(&response.code) {
                bytes.drain(..head);
                continue;
            }
            let shown = length.unwrap_or(limits::FORWARD_RESPONSE_BYTES_MAX).min(limits::FORWARD_RESPONSE_BYTES_MAX);
            let mut is_whole = true;
            while is_whole && bytes.len() - head < shown {
                // The status counts, also where the text does not come.
                is_whole = read_more(connection, &mut bytes, deadline, is_over).unwrap_or(false);
            }
            response.is_kept &= length.is_some_and(|length| bytes.len() - head == length);
            let body = &bytes[head..bytes.len().min(head + limits::FORWARD_TEXT_BYTES_MAX)];
            response.text = String::from_utf8_lossy(body).trim().escape_debug().to_string();
            return Ok(response);
        }
        if bytes.len() > limits::FORWARD_RESPONSE_BYTES_MAX {
            return Err(invalid("the head of the response is too long"));
        }
        if !read_more(connection, &mut bytes, deadline, is_over)? {
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
    let response = Response { code, retry_after, text: String::new(), is_kept: !closes && head.version == Some(1) };
    Ok(Some((response, end, length)))
}

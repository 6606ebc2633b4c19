//! A connection that posts batches and is strict about what comes back.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than any response may take: a server that sends nothing for so long hangs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers of a response.
const HEADERS_MAX: usize = 32;

/// One response.
#[derive(Debug)]
pub struct Response {
    /// Status of the response.
    pub status: u16,
    /// Body of the response.
    pub body: String,
    /// Seconds of `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl Response {
    /// The number that is the value of the first field `name` of a JSON body, wherever that stands in it.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let (_, after) = self.body.split_once(&format!("\"{name}\":"))?;
        after.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// Why there is no response.
#[derive(Debug)]
pub enum NoResponse {
    /// The connection ended: nothing was promised.
    Ended,
    /// Something came that is not a response, or nothing for too long.
    Broken(String),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Received, and not yet part of a response that was returned.
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends requests as they are.
    ///
    /// # Errors
    /// The connection has ended, or takes nothing for too long.
    pub fn send(&mut self, requests: &[u8]) -> Result<(), NoResponse> {
        self.stream.write_all(requests).map_err(|error| why(&error))
    }

    /// Waits for the next response.
    ///
    /// # Errors
    /// See [`NoResponse`].
    pub fn response(&mut self) -> Result<Response, NoResponse> {
        loop {
            if let Some((response, bytes)) = parse(&self.unread).map_err(NoResponse::Broken)? {
                self.unread.drain(..bytes);
                return Ok(response);
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => return Err(NoResponse::Ended),
                Ok(bytes) => self.unread.extend_from_slice(&block[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(why(&error)),
            }
        }
    }
}

fn why(error: &io::Error) -> NoResponse {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            NoResponse::Broken(format!("nothing came for {} s", RESPONSE_TIMEOUT.as_secs()))
        }
        _ => NoResponse::Ended,
    }
}

/// The response at the beginning of `bytes`, with its length; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let broken = || format!("not a response: {:?}", String::from_utf8_lossy(bytes));
    let httparse::Status::Complete(head_bytes) = head.parse(bytes).map_err(|_| broken())? else { return Ok(None) };
    let number = |name: &str| -> Option<u64> {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()?.parse().ok()
    };
    let status = head.code.ok_or_else(broken)?;
    let body_bytes = number("Content-Length").and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(broken)?;
    let Some(body) = bytes.get(head_bytes..head_bytes + body_bytes) else { return Ok(None) };
    let body = std::str::from_utf8(body).map_err(|_| broken())?.to_owned();
    Ok(Some((Response { status, body, retry_after_s: number("Retry-After") }, head_bytes + body_bytes)))
}

/// The request that posts `body`, as the client `key`; `level` is requested only if it is given.
#[must_use]
pub fn post(body: &str, key: &str, level: Option<&str>) -> String {
    let query = level.map_or_else(String::new, |level| format!("?ack={level}"));
    let length = body.len();
    format!(
        "POST /metrics{query} HTTP/1.1\r\nHost: torture\r\nAuthorization: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The response to `GET` of `path` on a connection of its own; `None` if there is none.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<Response> {
    let mut connection = Connection::open(address).ok()?;
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: torture\r\n\r\n").as_bytes()).ok()?;
    connection.response().ok()
}

//! A blocking HTTP/1.1 client that sends whatever bytes it is given and is strict about the responses.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use crate::server::DEADLINE;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    ops::Range,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

/// Timeout of connecting, sending and receiving. A server that sends nothing for so long hangs, also where a sanitizer
/// and other work slow it down: then the names of a profile take 40 s.
const RESPONSE_TIMEOUT: Duration = DEADLINE;

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// The socket, for tests of what HTTP has no request for.
    pub stream: TcpStream,
    /// Received, and not yet part of a response that was returned.
    unread: Vec<u8>,
}

/// Reason why there is no response.
#[derive(Debug)]
pub enum NoResponse {
    /// The connection ended, failed, or timed out.
    Io(io::Error),
    /// Bytes that are no response came.
    Malformed(String),
}

impl From<io::Error> for NoResponse {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field that may come once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated: {self:?}");
        value
    }

    /// The body, which is text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body, which is JSON and is labelled so.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("Content-Type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The text of `{"error":"…"}`, after the checks that every refusal has to pass.
    pub fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let document = self.json();
        let fields = document.as_object().unwrap();
        let text = fields["error"].as_str().unwrap();
        assert!(fields.len() == 1 && !text.is_empty() && !text.contains('\n'), "{document}");
        if matches!(status, 429 | 503) {
            self.retry_after_s();
        }
        assert_eq!(self.header("Allow").is_some(), status == 405, "Allow belongs to 405: {self:?}");
        text.to_owned()
    }

    /// Seconds of `Retry-After`, at least one.
    pub fn retry_after_s(&self) -> u64 {
        let text = self.header("Retry-After").unwrap_or_else(|| panic!("no Retry-After: {self:?}"));
        let seconds = text.parse().unwrap_or_else(|_| panic!("Retry-After is {text}"));
        assert!(seconds >= 1);
        seconds
    }

    /// The number of metrics in a success.
    pub fn processed(&self) -> usize {
        assert_eq!(self.status, 200, "{}", self.text());
        let text = self.text();
        let digits =
            text.strip_prefix(r#"{"success":true,"metrics_processed":"#).and_then(|rest| rest.strip_suffix('}'));
        assert_eq!(self.header("Content-Type"), Some("application/json"));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("not the body of a success: {text}"))
    }
}

/// `POST /metrics` with a Content-Length and nothing special.
pub fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    post_to("/metrics", "", body)
}

/// `POST` to `target` with further header lines, each ended by CR LF.
pub fn post_to(target: &str, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request =
        format!("POST {target} HTTP/1.1\r\nHost: metrics.test\r\n{lines}Content-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    request.extend_from_slice(body);
    request
}

/// `POST /metrics` with a chunked body in the pieces given.
#[must_use]
pub fn post_chunked(lines: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let mut request =
        format!("POST /metrics HTTP/1.1\r\nHost: metrics.test\r\n{lines}Transfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    for piece in pieces {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// `GET` of `target`.
#[must_use]
pub fn get(target: &str) -> Vec<u8> {
    request("GET", target, "")
}

/// A request without a body, with further header lines.
#[must_use]
pub fn request(method: &str, target: &str, lines: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: metrics.test\r\n{lines}\r\n").into_bytes()
}

/// A header line that makes the request `client`'s.
#[must_use]
pub fn authorization(client: &str) -> String {
    format!("Authorization: {client}\r\n")
}

impl Client {
    /// Connects to the server.
    ///
    /// # Errors
    /// Errors of connect(2).
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT)?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Connects from an address of this host, such as 127.0.0.2.
    ///
    /// # Errors
    /// Those of bind(2) and connect(2).
    pub fn try_connect_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), RESPONSE_TIMEOUT)?;
        Self::over(socket.into())
    }

    /// A connection to a server that must accept it.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// A connection to a server that must accept it, by the file of its unix socket.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
        // The calls of this client are the same for both kinds of sockets.
        Self { stream: OwnedFd::from(stream).into(), unread: Vec::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the sending direction; responses can still be read.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and returns its response.
    pub fn request(&mut self, request: &[u8]) -> Response {
        self.try_request(request).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(request)))
    }

    /// Sends a request and returns its response.
    ///
    /// # Errors
    /// The connection ended first.
    pub fn try_request(&mut self, request: &[u8]) -> io::Result<Response> {
        self.send(request)?;
        self.try_response()
    }

    /// The next response.
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// The next response.
    ///
    /// # Errors
    /// The connection ended first.
    ///
    /// # Panics
    /// Bytes that are no response came.
    pub fn try_response(&mut self) -> io::Result<Response> {
        well_formed(self.next_response())
    }

    /// The next response, for callers that count malformed ones.
    ///
    /// # Errors
    /// See [`NoResponse`].
    pub fn next_response(&mut self) -> Result<Response, NoResponse> {
        let mut response = self.head()?;
        if response.status < 200 || matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        if let Some(coding) = response.header("Transfer-Encoding") {
            if coding != "chunked" || response.header("Content-Length").is_some() {
                return malformed(format!("{response:?}"));
            }
            response.body = self.whole_chunked_body()?;
            return Ok(response);
        }
        let Some(length) = response.header("Content-Length").and_then(|length| length.parse().ok()) else {
            return malformed(format!("a response has no length: {response:?}"));
        };
        while self.unread.len() < length {
            self.receive()?;
        }
        response.body = self.unread.drain(..length).collect();
        Ok(response)
    }

    /// The next response, to a request whose response has no body: HEAD.
    pub fn response_without_body(&mut self) -> Response {
        well_formed(self.head()).unwrap()
    }

    /// A chunked body, up to and with its last chunk.
    ///
    /// # Errors
    /// The connection ended first.
    ///
    /// # Panics
    /// The body is not chunked.
    pub fn chunked_body(&mut self) -> io::Result<Vec<u8>> {
        well_formed(self.whole_chunked_body())
    }

    fn whole_chunked_body(&mut self) -> Result<Vec<u8>, NoResponse> {
        let (mut body, mut next) = (Vec::new(), 0);
        // The chunks are drained at once: `unread` may hold megabytes.
        loop {
            let data = self.chunk_at(next)?;
            next = data.end + 2;
            if data.is_empty() {
                self.unread.drain(..next);
                return Ok(body);
            }
            body.extend_from_slice(&self.unread[data]);
        }
    }

    /// The next chunk of a chunked body, which may be sent at any time; the last one is empty.
    ///
    /// # Errors
    /// The connection ended first.
    ///
    /// # Panics
    /// The body is not chunked.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let data = well_formed(self.chunk_at(0))?;
        let chunk: Vec<u8> = self.unread.drain(..data.end + 2).collect();
        Ok(chunk[data.start..data.end].to_vec())
    }

    /// The data, as a range of `unread`, of the chunk that begins at `start`. CR LF follows the data.
    fn chunk_at(&mut self, start: usize) -> Result<Range<usize>, NoResponse> {
        let line = loop {
            match self.unread[start..].windows(2).position(|window| window == b"\r\n") {
                Some(length) => break start..start + length,
                None => self.receive()?,
            }
        };
        let begin = line.end + 2;
        let size = std::str::from_utf8(&self.unread[line.clone()]).ok();
        let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let Some(end) = size.and_then(|size| begin.checked_add(size)) else {
            return malformed(format!("not a chunk's size: {}", self.unread[line].escape_ascii()));
        };
        while self.unread.len() < end + 2 {
            self.receive()?;
        }
        if self.unread[end..end + 2] != *b"\r\n" {
            return malformed("a chunk is longer or shorter than its size".to_owned());
        }
        Ok(begin..end)
    }

    /// Waits for the end of the connection, in whatever way; nothing may come before it.
    pub fn expect_end(&mut self) {
        let more = self.rest();
        assert!(more.is_empty(), "more came where the end was due: {}", String::from_utf8_lossy(&more));
    }

    /// Everything up to the end of the connection, in whatever way it ends.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if is_end(&error) => return std::mem::take(&mut self.unread),
                Err(error) => panic!("the connection did not end: {error}"),
            }
        }
    }

    fn head(&mut self) -> Result<Response, NoResponse> {
        let length = loop {
            if let Some(start) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break start + 4;
            }
            self.receive()?;
        };
        let head: Vec<u8> = self.unread.drain(..length).collect();
        let Ok(head) = String::from_utf8(head) else { return malformed("a head is not text".to_owned()) };
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(digits, reason)| (digits.len() == 3 && !reason.is_empty()).then(|| digits.parse().ok())?);
        let Some(status) = status else { return malformed(format!("not a status line: {status_line:?}")) };
        let mut headers = Vec::new();
        for line in lines {
            match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && name.trim() == name => {
                    headers.push((name.to_owned(), value.trim().to_owned()));
                }
                _ => return malformed(format!("not a header line: {line:?}")),
            }
        }
        Ok(Response { status, headers, body: Vec::new() })
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let length = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&buffer[..length]);
        Ok(())
    }
}

fn malformed<T>(text: String) -> Result<T, NoResponse> {
    Err(NoResponse::Malformed(text))
}

/// Panics for a malformed response.
fn well_formed<T>(result: Result<T, NoResponse>) -> io::Result<T> {
    result.map_err(|reason| match reason {
        NoResponse::Io(error) => error,
        NoResponse::Malformed(text) => panic!("malformed response: {text}"),
    })
}

/// Returns true if a connection was ended by its peer, and not by this client's timeout.
#[must_use]
pub fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    /// The response that a client makes of `bytes`, after which the connection ends.
    fn received(bytes: &'static [u8]) -> Result<Response, NoResponse> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).unwrap());
        let mut client = Client::connect(address);
        server.join().unwrap();
        client.next_response()
    }

    #[test]
    fn bodies_are_read_by_length_and_by_chunks() {
        let response = received(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nxyz").unwrap();
        assert_eq!((response.status, response.header("a"), response.text()), (200, Some("b"), "xy"));
        let response = received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n");
        assert_eq!(response.unwrap().text(), "xyz");
        assert_eq!(received(b"HTTP/1.1 304 Not Modified\r\n\r\n").unwrap().status, 304);
    }

    #[test]
    fn malformed_responses_are_not_taken_for_ended_connections() {
        for bytes in [
            &b"HTTP/1.0 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            let result = received(bytes);
            assert!(matches!(result, Err(NoResponse::Malformed(_))), "{}: {result:?}", bytes.escape_ascii());
        }
        for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"] {
            assert!(
                matches!(received(bytes), Err(NoResponse::Io(error)) if is_end(&error)),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}

//! A blocking HTTP/1.1 client that sends whatever bytes it is given and is strict about what comes back.

use crate::server::DEADLINE;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    /// Received, and not yet part of an answer that was returned.
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field that may come once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated: {self:?}");
        value
    }

    /// The body, which is text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body, which is JSON and says so.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("Content-Type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The text of `{"error":"…"}`, after what every refusal must be was checked.
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

    /// Seconds of `Retry-After`: at least one.
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
pub fn get(target: &str) -> Vec<u8> {
    request("GET", target, "")
}

/// A request without a body, with more header lines.
pub fn request(method: &str, target: &str, lines: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: metrics.test\r\n{lines}\r\n").into_bytes()
}

/// A header line that makes the request `client`'s.
pub fn authorization(client: &str) -> String {
    format!("Authorization: {client}\r\n")
}

impl Client {
    /// Connects to the server.
    ///
    /// # Errors
    /// As connect(2).
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Connects from an address of this host, such as 127.0.0.2.
    ///
    /// # Errors
    /// As bind(2) and connect(2).
    pub fn try_connect_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Self::over(socket.into())
    }

    /// A connection to a server that must take it.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// A connection to a server that must take it, by the file of its unix socket.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        // What this client does with its stream is the same for both kinds of sockets.
        Self { stream: OwnedFd::from(stream).into(), unread: Vec::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends nothing more, and goes on reading.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and returns its answer.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.try_ask(request).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(request)))
    }

    /// Sends a request and returns its answer.
    ///
    /// # Errors
    /// The connection ended first.
    pub fn try_ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request)?;
        self.try_answer()
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next answer.
    ///
    /// # Errors
    /// The connection ended first.
    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status < 200 || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        if let Some(coding) = answer.header("Transfer-Encoding") {
            assert!(coding == "chunked" && answer.header("Content-Length").is_none(), "{answer:?}");
            answer.body = self.chunked_body()?;
            return Ok(answer);
        }
        let length: usize = answer.header("Content-Length").expect("an answer says its length").parse().unwrap();
        while self.unread.len() < length {
            self.receive()?;
        }
        answer.body = self.unread.drain(..length).collect();
        Ok(answer)
    }

    /// The next answer, to a request whose answer has no body: HEAD.
    pub fn answer_without_body(&mut self) -> Answer {
        self.head().unwrap()
    }

    /// A chunked body, up to and with its last chunk.
    ///
    /// # Errors
    /// The connection ended first.
    pub fn chunked_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        // Taken off the front in one go: `unread` may hold megabytes.
        let mut used = 0;
        loop {
            let line = loop {
                match self.unread[used..].windows(2).position(|window| window == b"\r\n") {
                    Some(length) => break length,
                    None => self.receive()?,
                }
            };
            let digits = std::str::from_utf8(&self.unread[used..used + line]).unwrap();
            let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a chunk's size: {digits:?}"));
            let end = used + line + 2 + size;
            while self.unread.len() < end + 2 {
                self.receive()?;
            }
            body.extend_from_slice(&self.unread[used + line + 2..end]);
            assert_eq!(&self.unread[end..end + 2], b"\r\n", "a chunk does not end where its size says");
            used = end + 2;
            if size == 0 {
                self.unread.drain(..used);
                return Ok(body);
            }
        }
    }

    /// The next chunk of a chunked body, which may be sent at any time; empty: the last.
    ///
    /// # Errors
    /// The connection ended first.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = loop {
            match self.unread.windows(2).position(|window| window == b"\r\n") {
                Some(length) => break length,
                None => self.receive()?,
            }
        };
        let digits = std::str::from_utf8(&self.unread[..line]).unwrap();
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a chunk's size: {digits:?}"));
        let end = line + 2 + size;
        while self.unread.len() < end + 2 {
            self.receive()?;
        }
        let chunk: Vec<u8> = self.unread.drain(..end + 2).collect();
        assert_eq!(&chunk[end..], b"\r\n", "a chunk does not end where its size says");
        Ok(chunk[line + 2..end].to_vec())
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

    fn head(&mut self) -> io::Result<Answer> {
        let length = loop {
            if let Some(start) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break start + 4;
            }
            self.receive()?;
        };
        let head: Vec<u8> = self.unread.drain(..length).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(digits, reason)| (digits.len() == 3 && !reason.is_empty()).then(|| digits.parse().ok())?)
            .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header line: {line:?}"));
                assert!(!name.is_empty() && name.trim() == name, "not a header line: {line:?}");
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Ok(Answer { status, headers, body: Vec::new() })
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.unread.extend_from_slice(&buffer[..length]);
                Ok(())
            }
        }
    }
}

/// Returns true if a connection was ended by its peer, and not by this client's timeout.
pub fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof
    )
}

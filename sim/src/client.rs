//! A client of the service: it sends batches over connections of its own, and keeps book of what it was promised.

use crate::{
    book::Batch,
    life::{Shared, locked},
    limiter::{Charge, Fate},
    options::{Http, Kind, Options},
};
use host::thread;
use log::AckLevel;
use machine::{
    Random,
    net::{Shutdown, TcpStream, now_ns},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The longest wait for a response, or for the server to take bytes in.
const WAIT: Duration = Duration::from_secs(40);
/// The same where nothing takes time but the calls of the machine, which take less than a microsecond.
const PROMPT_WAIT: Duration = Duration::from_millis(200);
/// Connections that a client opens at most.
const CONNECTIONS_MAX: u32 = 500;
/// Bytes of white space behind a batch, at most.
const PADDING_BYTES_MAX: u64 = 30_000;
/// Bytes of a piece of a dripping client.
const DRIP_BYTES_MAX: u64 = 200;
/// Bytes of a piece of a pipeline that is not sent at once.
const PIECE_BYTES_MAX: u64 = 4_000;

pub struct Client {
    pub kind: Kind,
    pub life: usize,
    pub address: IpAddr,
    pub server: SocketAddr,
    pub book: Shared,
    pub random: Random,
    pub options: Options,
    pub http: Http,
    /// Everything has to be acknowledged in the end.
    pub is_calm: bool,
    /// No thread is delayed, either.
    pub is_prompt: bool,
}

/// A request on its way.
struct Request {
    bytes: Vec<u8>,
    /// The batch in it; `None`: it has none, or one that is malformed.
    batch: Option<usize>,
    /// The limiter decides about it.
    is_charged: bool,
    /// The place among the charges of the book, once it is sent.
    charge: Option<usize>,
}

/// A response.
struct Response {
    status: u16,
    closes: bool,
}

impl Client {
    pub fn run(mut self) {
        let (mut left, mut opened) = (self.http.requests, 0);
        while left > 0 {
            opened += 1;
            if opened > CONNECTIONS_MAX {
                assert!(!self.is_calm, "{left} requests of a client are not responded to on {opened} connections");
                return;
            }
            let Ok(stream) = TcpStream::connect_from(self.address, self.server) else {
                if !self.is_calm && self.random.below(4) == 0 {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let wait = if self.is_prompt { PROMPT_WAIT } else { WAIT };
            let _ = (stream.set_read_timeout(Some(wait)), stream.set_write_timeout(Some(wait)));
            left = left.saturating_sub(self.talk(stream, left));
        }
    }

    /// Sends up to `left` requests on a connection. Returns the number of those that are done with.
    fn talk(&mut self, mut stream: TcpStream, left: u64) -> u64 {
        let connection = {
            let mut book = locked(&self.book);
            book.connections += 1;
            book.connections
        };
        let (wanted, mut done, mut received) = (self.random.between(1, left), 0, Vec::new());
        while done < wanted {
            let burst = match self.kind {
                Kind::Pipelining => self.random.between(2, 6),
                Kind::Resetting => self.random.between(1, 4),
                Kind::Overfilling => self.random.between(5, 10),
                Kind::Flooding => self.random.between(5, 40),
                _ => 1,
            };
            let mut requests: Vec<Request> = (0..burst).map(|place| self.request(connection, place)).collect();
            let resets = matches!(self.kind, Kind::Resetting | Kind::Overfilling) && self.random.below(3) == 0;
            if resets && !self.is_calm {
                self.reset(&mut stream, &mut requests);
                return done;
            }
            if !self.send(&mut stream, &mut requests) {
                return done;
            }
            if self.kind == Kind::SlowReading {
                thread::sleep(Duration::from_millis(self.random.below(3_000)));
            }
            for request in &requests {
                let Some(response) = read_response(&mut stream, &mut received, self.is_calm) else {
                    return done;
                };
                done += self.note(request, &response);
                if response.closes {
                    return done;
                }
            }
            if self.kind == Kind::HalfClosing {
                return done;
            }
            if self.random.below(3) == 0 {
                thread::sleep(Duration::from_micros(self.random.below(300_000)));
            }
        }
        done
    }

    /// The next request, at a place of its burst. It is in the book from now on.
    fn request(&mut self, connection: usize, place: u64) -> Request {
        if self.random.below(12) == 0 {
            let path = self.random.pick(&["/health", "/ready", "/nothing"]);
            let bytes = format!("GET {path} HTTP/1.1\r\nHost: sim\r\n\r\n").into_bytes();
            return Request { bytes, batch: None, is_charged: false, charge: None };
        }
        let level = match self.kind {
            // Its response takes the longest.
            Kind::Overfilling if place == 0 => AckLevel::Fsync,
            _ => self.options.levels.draw(&mut self.random),
        };
        let shared = Shared::clone(&self.book);
        let mut book = locked(&shared);
        let text = book.write(&mut self.random, self.options.lines_max, self.options.pad_max);
        let lines = String::from_utf8_lossy(&text).trim_end().replace('\n', ",");
        let mut body = format!("{{\"metrics\":[{lines}]}}");
        let padding_bytes_min = match self.kind {
            Kind::Pipelining | Kind::Resetting if self.random.below(3) == 0 => Some(0),
            // Together more than a connection may keep while responses are outstanding.
            Kind::Overfilling => Some(PADDING_BYTES_MAX / 2),
            _ => None,
        };
        if let Some(bytes_min) = padding_bytes_min {
            body.push_str(&" ".repeat(self.random.between(bytes_min, PADDING_BYTES_MAX) as usize));
        }
        let is_malformed = self.kind == Kind::Malformed && self.random.below(2) == 0;
        if is_malformed {
            body.truncate(self.random.below(body.len() as u64) as usize);
        }
        let head = format!("POST /metrics?ack={} HTTP/1.1\r\nHost: sim\r\n", level.name());
        let bytes = match self.kind {
            Kind::Chunked => format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", self.chunks(&body)),
            _ => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        };
        let mut batch = Batch::new((self.life, connection), level, text);
        batch.is_refused = is_malformed;
        book.batches.push(batch);
        let number = book.batches.len() - 1;
        Request { bytes: bytes.into(), batch: (!is_malformed).then_some(number), is_charged: true, charge: None }
    }

    fn chunks(&mut self, body: &str) -> String {
        let (mut rest, mut chunks) = (body, String::new());
        while !rest.is_empty() {
            let length = self.random.between(1, rest.len() as u64) as usize;
            chunks += &format!("{length:x}\r\n{}\r\n", &rest[..length]);
            rest = &rest[length..];
        }
        chunks + "0\r\n\r\n"
    }

    /// Sends the requests. Returns false if the connection broke.
    fn send(&mut self, stream: &mut TcpStream, requests: &mut [Request]) -> bool {
        self.note_sent(requests);
        let bytes = requests.iter().map(|request| &request.bytes[..]).collect::<Vec<_>>().concat();
        // So that some of it arrives while responses to what came before are outstanding.
        let is_in_pieces = self.kind == Kind::Pipelining && self.random.below(2) == 0;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let mut length = rest.len();
            if self.kind == Kind::Dripping {
                length = length.min(self.random.between(1, DRIP_BYTES_MAX) as usize);
                thread::sleep(Duration::from_micros(self.random.below(30_000)));
            } else if is_in_pieces {
                length = length.min(self.random.between(1, PIECE_BYTES_MAX) as usize);
                thread::sleep(Duration::from_micros(self.random.below(200)));
            }
            if let Err(error) = stream.write_all(&rest[..length]) {
                let is_late = self.is_calm && error.kind() == ErrorKind::WouldBlock;
                assert!(!is_late, "nothing is taken in for as long as it may take");
                return false;
            }
            rest = &rest[length..];
        }
        self.kind != Kind::HalfClosing || stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Sends requests, of the last one a part or all, and resets the connection.
    fn reset(&mut self, stream: &mut TcpStream, requests: &mut [Request]) {
        self.note_sent(requests);
        let Some((request, whole)) = requests.split_last() else { return };
        let length = self.random.below(request.bytes.len() as u64 + 1) as usize;
        if let Some(batch) = request.batch.filter(|_| length < request.bytes.len()) {
            locked(&self.book).batches[batch].is_refused = true;
        }
        let mut bytes = whole.iter().map(|request| &request.bytes[..]).collect::<Vec<_>>().concat();
        bytes.extend_from_slice(&request.bytes[..length]);
        let _ = stream.write_all(&bytes);
        thread::sleep(Duration::from_micros(self.random.below(5_000)));
        stream.reset_at_close();
    }

    /// Notes that requests are sent: from now on the limiter may charge them.
    fn note_sent(&self, requests: &mut [Request]) {
        let charges = &mut locked(&self.book).charges;
        for request in requests.iter_mut().filter(|request| request.is_charged) {
            request.charge = Some(charges.len());
            charges.push(Charge { client: self.address, sent_ns: now_ns(), done_ns: u64::MAX, fate: Fate::Unknown });
        }
    }

    /// Notes a response. Returns 1 if the request is done with, and 0 if it is to be made again.
    fn note(&mut self, request: &Request, response: &Response) -> u64 {
        let fate = match response.status {
            200 | 400 => Fate::Charged,
            429 => Fate::OverRate,
            503 => Fate::Refunded,
            _ => Fate::Unknown,
        };
        if let Some(place) = request.charge {
            let charge = &mut locked(&self.book).charges[place];
            (charge.done_ns, charge.fate) = (now_ns(), fate);
        }
        if let Some(number) = request.batch {
            let batch = &mut locked(&self.book).batches[number];
            (batch.is_acknowledged, batch.is_refused) = (response.status == 200, response.status != 200);
        } else if request.is_charged {
            assert_ne!(response.status, 200, "a malformed batch is acknowledged");
        }
        match response.status {
            429 | 503 => {
                let pause_ms = if response.status == 429 { 1_000 } else { 100 };
                thread::sleep(Duration::from_millis(self.random.below(pause_ms)));
                u64::from(!self.is_calm)
            }
            400 if request.batch.is_some() => panic!("a batch is refused as malformed"),
            _ => 1,
        }
    }
}

/// Reads a response; `received` has what came behind the one before. `None`: the connection has ended, or, if it may be
/// late, there is none in time.
fn read_response(stream: &mut TcpStream, received: &mut Vec<u8>, is_calm: bool) -> Option<Response> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
            let total = end + 4 + length;
            if received.len() >= total {
                let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
                let closes = field("connection:") == Some("close");
                received.drain(..total);
                assert!((200..600).contains(&status), "no status: {head}");
                return Some(Response { status, closes });
            }
        }
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_calm => {
                panic!("there is no response for as long as it may take")
            }
            Ok(0) | Err(_) => return None,
            Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
        }
    }
}

/// Acknowledged batches of a life, and those of which the client has no response.
pub fn responses(batches: &[Batch], life: usize) -> (u64, u64) {
    let of_life = || batches.iter().filter(|batch| batch.producer.0 == life);
    let acknowledged = of_life().filter(|batch| batch.is_acknowledged).count();
    let unknown = of_life().filter(|batch| !batch.is_acknowledged && !batch.is_refused).count();
    (acknowledged as u64, unknown as u64)
}

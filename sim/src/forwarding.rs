//! A forward of the log to a receiver on the network: what that was sent is a gapless beginning of the log, over all
//! runs of the server, and what it has acknowledged is all of it in the end. A cursor ahead of an acknowledgement
//! would leave a gap.

use crate::{
    book::{Book, number_of},
    life::{DIRECTORY, Shared, locked},
    options::Forward,
    oracle,
};
use host::thread;
use log::{LogStatus, segment::Holds};
use machine::{
    Random,
    net::{TcpListener, TcpStream},
};
use metricstream::forward::{self, ForwardConfig, ForwardOption, Forwards, Protocol, Receiver, StartAt};
use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use testkit::protobuf;

/// The address of the receiver.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200)), 9090);
/// Milliseconds within which another line is acknowledged, once nothing fails any more.
const DELIVERED_MS_MAX: u64 = 120_000;
/// Bytes of segments that are held for a receiver that is behind: more than there are.
const HOLD_BYTES: u64 = 1 << 40;

/// A line: the number of its batch, and its place in that.
pub type LineId = (usize, usize);

fn config(wanted: &Forward) -> ForwardConfig {
    let option: ForwardOption = format!("http://{ADDRESS}/write").parse().expect("any text is an option");
    let mut config = forward::resolve(vec![option]).expect("a configuration").remove(0);
    config.start = StartAt::Beginning;
    config.batch_age = Duration::from_millis(wanted.batch_age_ms);
    let Receiver::RemoteWrite(remote) = &mut config.receiver;
    (remote.batch_samples, remote.compression) = (wanted.batch_samples, wanted.compression);
    remote.protocol = if wanted.is_auto { Protocol::Auto } else { Protocol::V1 };
    config
}

/// The holds of the forward, which retention has to wait for before the forward runs.
pub fn holds(wanted: Option<&Forward>, book: &Shared) -> Holds {
    let Some(wanted) = wanted else { return Holds::default() };
    let all = forward::holds(&[config(wanted)], Path::new(DIRECTORY));
    locked(book).holds.clone_from(&all);
    Holds { all, bytes_max: HOLD_BYTES }
}

/// A running forward with its receiver.
pub struct Forwarding {
    forwards: Forwards,
    book: Shared,
}

impl Forwarding {
    /// Starts both, if the seed has one. Before anything is appended to the log.
    pub fn start(
        wanted: Option<&Forward>,
        status: &Arc<LogStatus>,
        holds: &Holds,
        book: &Shared,
        mut random: Random,
        is_calm: bool,
    ) -> Option<Self> {
        let receiver = Arc::clone(book);
        let forwards = Forwards::start(&[config(wanted?)], Path::new(DIRECTORY), status, &holds.all, None);
        thread::spawn(move || {
            let listener = TcpListener::bind(ADDRESS).expect("the address is free");
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (book, random) = (Arc::clone(&receiver), Random::new(random.bits()));
                        // It ends with the connection, or with the process.
                        thread::spawn(move || drop(serve(stream, &book, random, is_calm)));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Some(Self { forwards: forwards.expect("a forward without a certificate"), book: Arc::clone(book) })
    }

    /// Waits until everything is delivered, if nothing fails any more, and stops the forward.
    pub fn finish(self, is_calm: bool) {
        if is_calm {
            self.wait_for_delivery();
        }
        self.forwards.stop();
    }

    /// Waits until the receiver has acknowledged every line that it has to.
    fn wait_for_delivery(&self) {
        let (mut waited_ms, mut acknowledged) = (0, 0);
        loop {
            let (missing, count) = {
                let book = locked(&self.book);
                (missing(&book), book.acknowledged_lines.len())
            };
            let Some((number, line)) = missing else { return };
            if count > acknowledged {
                (waited_ms, acknowledged) = (0, count);
            }
            let status = &self.forwards.status()[0];
            let last_error = status.last_error();
            assert!(
                waited_ms < DELIVERED_MS_MAX,
                "line {line} of batch {number} is not delivered within {DELIVERED_MS_MAX} ms; last error: {last_error}"
            );
            waited_ms += 100;
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A line that has to be acknowledged by the receiver and is not yet.
fn missing(book: &Book) -> Option<LineId> {
    if book.has_lost_for_forward() {
        return None;
    }
    let batches = book.batches.iter().enumerate();
    let wanted = batches.filter(|(_, batch)| {
        (batch.is_present || batch.is_acknowledged) && !batch.is_retired && !batch.may_be_lost && !batch.may_be_partial
    });
    let mut lines = wanted.flat_map(|(number, batch)| (0..batch.lines().count()).map(move |line| (number, line)));
    lines.find(|line| !book.acknowledged_lines.contains(line))
}

/// Checks that of the log's lines the first so many were sent, and none behind them.
pub fn check(directory: &Path, book: &Book) -> Result<(), String> {
    if book.has_lost_for_forward() {
        return Ok(());
    }
    let mut first_missing = None;
    for (name, lines) in oracle::segments(directory)? {
        for line in lines.split(|&byte| byte == b'\n').filter_map(line_of) {
            if book.batches.get(line.0).is_none_or(|batch| batch.may_be_partial) {
                continue;
            }
            match first_missing {
                Some(missing) if book.sent_lines.contains(&line) => {
                    return Err(format!("{name}: {line:?} was delivered, and {missing:?} before it was not"));
                }
                None if !book.sent_lines.contains(&line) => first_missing = Some(line),
                _ => {}
            }
        }
    }
    Ok(())
}

fn line_of(line: &[u8]) -> Option<LineId> {
    let number = number_of(line)?;
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once(&format!("\"b\":\"{number}."))?;
    Some((number, rest.split('.').next()?.parse().ok()?))
}

/// Receives requests until the connection ends.
fn serve(mut stream: TcpStream, book: &Shared, mut random: Random, is_calm: bool) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let Some((head, body)) = request(&mut stream, &mut received)? else { return Ok(()) };
        thread::sleep(Duration::from_micros(random.below(20_000)));
        if head.contains("x-prometheus-remote-write-version: 2") {
            stream.write_all(b"HTTP/1.1 415 X\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let is_zstd = head.contains("content-encoding: zstd");
        let message = if is_zstd { zstd::decode_all(&body[..])? } else { snappy(&body)? };
        let lines = lines(&message).ok_or_else(|| io::Error::other("a request that cannot be read"))?;
        locked(book).sent_lines.extend(lines.iter().copied());
        let response = match random.below(10) {
            0 if !is_calm => "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nlate",
            1 if !is_calm => "HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            2 if !is_calm => return Ok(()),
            3 => "HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            _ => "HTTP/1.1 204 X\r\n\r\n",
        };
        if response.starts_with("HTTP/1.1 20") {
            // Before the sender can know of it.
            locked(book).acknowledged_lines.extend(lines);
        }
        stream.write_all(response.as_bytes())?;
    }
}

/// The head of the next request in lower case, and its body. `None`: the connection has ended between two.
fn request(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
            if received.len() >= end + 4 + length {
                let rest = received.split_off(end + 4 + length);
                let body = std::mem::replace(received, rest).split_off(end + 4);
                return Ok(Some((head, body)));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            bytes => received.extend_from_slice(&buffer[..bytes]),
        }
    }
}

fn snappy(body: &[u8]) -> io::Result<Vec<u8>> {
    snap::raw::Decoder::new().decompress_vec(body).map_err(io::Error::other)
}

/// The lines whose samples a request of remote write 1.0 has, by the value of the label `b` of each series.
fn lines(mut message: &[u8]) -> Option<BTreeSet<LineId>> {
    let mut lines = BTreeSet::new();
    while !message.is_empty() {
        let (number, mut series) = field(&mut message)?;
        if number != 1 {
            continue;
        }
        while !series.is_empty() {
            let (1, mut label) = field(&mut series)? else { continue };
            let (1, name) = field(&mut label)? else { return None };
            let (2, value) = field(&mut label)? else { return None };
            if name == b"b" {
                let mut parts = std::str::from_utf8(value).ok()?.split('.');
                lines.insert((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?));
            }
        }
    }
    Some(lines)
}

/// The next field of a message, whose fields are all of bytes, with its number.
fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    match protobuf::field(message)? {
        (number, protobuf::Value::Bytes(bytes)) => Some((number, bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricstream::forward::Compression;

    #[test]
    fn lines_are_known_in_the_log_and_in_a_request() {
        let line = br#"{"name":"m1","value":1,"type":"gauge","tags":{"b":"12.3.xx"}}"#;
        assert_eq!(line_of(line), Some((12, 3)));
        assert_eq!(line_of(b"{}"), None);
        // One series: the label b is 7.1., and a sample.
        let message = b"\x0a\x0e\x0a\x09\x0a\x01b\x12\x047.1.\x12\x01\x00";
        assert_eq!(lines(message), Some([(7, 1)].into()));
        assert_eq!(lines(&message[..9]), None);
    }

    #[test]
    fn a_line_that_was_left_out_is_a_gap() {
        let forward = Forward { batch_samples: 10, batch_age_ms: 10, compression: Compression::Snappy, is_auto: false };
        assert_eq!(config(&forward).start, StartAt::Beginning);
        let mut book = Book::default();
        let text = b"{\"tags\":{\"b\":\"0.0.\"}}\n{\"tags\":{\"b\":\"0.1.\"}}\n".to_vec();
        book.batches.push(crate::book::Batch::new((0, 0), log::AckLevel::Write, text));
        book.batches[0].is_present = true;
        assert_eq!(missing(&book), Some((0, 0)));
        book.acknowledged_lines = [(0, 0), (0, 1)].into();
        assert_eq!(missing(&book), None);
    }
}

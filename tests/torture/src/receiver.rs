//! A receiver of Prometheus remote write 1.0 that acknowledges everything, and keeps what it has acknowledged in order.
//! It shares no code with the server: it reads HTTP, snappy and protobuf by itself.

use crate::batch::MarkedLine;
use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use testkit::protobuf::{Value, field};

/// Bytes of a request's body, at most: a request of the server has 1 MiB before compression.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Time that a connection may be idle; the server's own timeout is shorter.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// The acknowledgements so far.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// The lines, in the order of their acknowledgement. Repeated ones are here as often as they came.
    pub lines: Vec<MarkedLine>,
    /// Faults of requests.
    pub problems: Vec<String>,
}

/// A receiver, until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    acknowledged: Arc<Mutex<Acknowledged>>,
    is_over: Arc<AtomicBool>,
}

impl Receiver {
    /// Starts a receiver on a free port.
    ///
    /// # Errors
    /// There is no port.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let acknowledged = Arc::<Mutex<Acknowledged>>::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (taken, over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let taken = Arc::clone(&taken);
                // It ends with the connection: that of a server that was killed is closed by the system.
                thread::spawn(move || serve(stream, &taken));
            }
        });
        Ok(Self { address, acknowledged, is_over })
    }

    /// The URL to forward to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/write", self.address)
    }

    /// The acknowledgements so far.
    pub fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Ends the wait for a connection; if it fails there is none.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve(stream: TcpStream, acknowledged: &Mutex<Acknowledged>) {
    let served = stream.set_read_timeout(Some(IDLE_MAX)).and_then(|()| stream.try_clone()).and_then(|mut writer| {
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        while let Some(body) = request(&mut reader)? {
            let lines = lines_of(&body).ok_or_else(|| io::Error::other("not a remote write request"))?;
            {
                let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                // Before the sender can know of it.
                acknowledged.lines.extend(lines);
            }
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        Ok(())
    });
    // A server that is killed leaves half a request.
    if let Err(error) = served
        && error.kind() == io::ErrorKind::Other
    {
        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).problems.push(error.to_string());
    }
}

/// The body of the next request, decompressed. `None`: the end of the connection.
fn request(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut length = None;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let length: usize = length
        .filter(|length| *length <= BODY_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a request without a length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = snap::raw::Decoder::new().decompress_vec(&body).map_err(io::Error::other)?;
    Ok(Some(body))
}

/// The lines that a request of remote write 1.0 has, in its order. `None`: it is none, or has samples of other lines.
fn lines_of(mut request: &[u8]) -> Option<Vec<MarkedLine>> {
    let mut lines = Vec::new();
    while !request.is_empty() {
        let (1, Value::Bytes(mut series)) = field(&mut request)? else { continue };
        let mut labels = Vec::new();
        while !series.is_empty() {
            match field(&mut series)? {
                (1, Value::Bytes(label)) => labels.push(label_of(label)?),
                (2, Value::Bytes(sample)) => {
                    let (value, timestamp_ms) = sample_of(sample)?;
                    lines.push(MarkedLine::of_sample(&labels, value, timestamp_ms)?);
                }
                _ => {}
            }
        }
    }
    Some(lines)
}

fn label_of(mut label: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    while !label.is_empty() {
        match field(&mut label)? {
            (1, Value::Bytes(text)) => name = std::str::from_utf8(text).ok()?,
            (2, Value::Bytes(text)) => value = std::str::from_utf8(text).ok()?,
            _ => return None,
        }
    }
    Some((name, value))
}

fn sample_of(mut sample: &[u8]) -> Option<(f64, i64)> {
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while !sample.is_empty() {
        match field(&mut sample)? {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(number)) => timestamp_ms = number.cast_signed(),
            _ => return None,
        }
    }
    Some((value, timestamp_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Mark;

    fn number_of(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(number & 0x7f).unwrap();
            number >>= 7;
            bytes.push(if number == 0 { low } else { low | 0x80 });
            if number == 0 {
                return bytes;
            }
        }
    }

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2], &number_of(content.len() as u64)[..], content].concat()
    }

    fn request_of(place: MarkedLine) -> Vec<u8> {
        let label =
            |name: &str, value: &str| bytes(1, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat());
        let mut series: Vec<u8> = place.labels().iter().flat_map(|(name, value)| label(name, value)).collect();
        let value = f64::from(place.index).to_le_bytes();
        let time = number_of(1_767_323_045_678);
        series.extend(bytes(2, &[&[1 << 3 | 1], &value[..], &[2 << 3], &time].concat()));
        bytes(1, &series)
    }

    #[test]
    fn a_request_is_read_as_the_lines_that_were_sent() {
        for index in [0, 7, 19] {
            let place = MarkedLine { mark: Mark { connection: 3, number: 14 }, index, of: 20 };
            let request = request_of(place);
            assert_eq!(lines_of(&request), Some(vec![place]));
            assert_eq!(lines_of(&request[..request.len() - 1]), None);
            let mut other = request;
            let last = other.len() - 1;
            other[last] ^= 1;
            assert_eq!(lines_of(&other), None, "another time");
        }
    }
}

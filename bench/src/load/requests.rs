//! Requests as bytes, made once. A request is a first part that belongs to the client (target, host, credentials) and a
//! second that belongs to the batch (length and body); sending one is two copies into the connection's buffer.

use super::values;
use crate::body::Body;
use std::fmt::Write;

/// The parts of all requests of a load.
#[derive(Debug)]
pub struct Requests {
    /// By identity, and within it by path.
    openings: Vec<Vec<Vec<u8>>>,
    fingerprint: String,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    metrics: u32,
}

/// What the heads of a load's requests say.
#[derive(Debug)]
pub struct Heads<'a> {
    /// The method.
    pub method: &'a str,
    /// Paths with their queries, at least one; requests take them in turn.
    pub paths: &'a [String],
    /// The value of `Host`, unless `headers` has one.
    pub host: &'a str,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Distinct `Authorization` values; none is sent when zero.
    pub identities: u32,
    /// Lines (`Name: value`) to add; a `Host` or `Content-Type` among them takes the usual one's place.
    pub headers: &'a [String],
}

impl Requests {
    /// Requests with these heads that carry `bodies`; without any they have none.
    #[must_use]
    pub fn new(heads: &Heads<'_>, bodies: &[Body]) -> Self {
        let &Heads { method, paths, host, keep_alive, identities, headers } = heads;
        let given = |name: &str| headers.iter().any(|header| values::name(header).eq_ignore_ascii_case(name));
        let mut lines = String::new();
        if !bodies.is_empty() && !given("content-type") {
            lines.push_str("Content-Type: application/json\r\n");
        }
        for header in headers {
            // Writing into a String cannot fail.
            let _ = write!(lines, "{header}\r\n");
        }
        if !keep_alive {
            lines.push_str("Connection: close\r\n");
        }
        let own_host = if given("host") { String::new() } else { format!("Host: {host}\r\n") };
        let of_identity = |identity: String| {
            let opening =
                |path: &String| format!("{method} {path} HTTP/1.1\r\n{own_host}{lines}{identity}").into_bytes();
            paths.iter().map(opening).collect()
        };
        let openings = if identities == 0 {
            vec![of_identity(String::new())]
        } else {
            (0..identities).map(|key| of_identity(format!("Authorization: Bearer client-{key}\r\n"))).collect()
        };
        let mut sum = crc32fast::Hasher::new();
        let parts = [lines.as_str()].into_iter().chain(bodies.iter().map(|body| body.json.as_str()));
        parts.for_each(|part| sum.update(part.as_bytes()));
        let fingerprint = format!("{} bodies, {identities} identities, crc32 {:08x}", bodies.len(), sum.finalize());
        let batch = |body: &Body| Batch {
            bytes: format!("Content-Length: {}\r\n\r\n{}", body.json.len(), body.json).into_bytes(),
            metrics: body.metrics,
        };
        let mut batches: Vec<_> = bodies.iter().map(batch).collect();
        if batches.is_empty() {
            batches.push(Batch { bytes: b"\r\n".to_vec(), metrics: 0 });
        }
        Self { openings, fingerprint, batches }
    }

    /// Appends the request of client `client` with batch `turn` to `buffer`, both taken round the numbers there are; gives
    /// the metrics in it.
    pub fn write(&self, client: usize, turn: usize, buffer: &mut Vec<u8>) -> u32 {
        let batch = &self.batches[turn % self.batches.len()];
        let openings = &self.openings[client % self.openings.len()];
        buffer.extend_from_slice(&openings[turn % openings.len()]);
        buffer.extend_from_slice(&batch.bytes);
        batch.metrics
    }

    /// What tells these requests from others, but for method, paths and host.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Metrics in the request that carries the most.
    #[must_use]
    pub fn metrics_max(&self) -> u32 {
        self.batches.iter().map(|batch| batch.metrics).max().unwrap_or(0)
    }

    /// Bytes of the longest request.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        longest(&mut self.openings.iter().flatten().map(Vec::len))
            + longest(&mut self.batches.iter().map(|batch| batch.bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body, head};

    #[test]
    fn a_request_is_one_head_and_one_body() {
        let bodies = body::generate(1, 2, 3);
        let headers = ["X-Tag: v".to_owned(), "host: other".to_owned()];
        let heads = Heads {
            method: "POST",
            paths: &["/metrics?ack=fsync".to_owned()],
            host: "127.0.0.1:1",
            keep_alive: false,
            identities: 2,
            headers: &headers,
        };
        let requests = Requests::new(&heads, &bodies);
        for (client, turn) in [(0, 0), (3, 1), (2, 2)] {
            let mut buffer = Vec::new();
            assert_eq!(requests.write(client, turn, &mut buffer), 3);
            assert!(buffer.len() <= requests.bytes_max());
            let head = head::scan(&buffer).unwrap().unwrap();
            assert_eq!(head.first_line, b"POST /metrics?ack=fsync HTTP/1.1");
            assert_eq!(head.content_length, Some((buffer.len() - head.bytes) as u64));
            assert!(head.close);
            assert_eq!(&buffer[head.bytes..], bodies[turn % 2].json.as_bytes());
            let lines = String::from_utf8(buffer[..head.bytes].to_vec()).unwrap();
            assert!(lines.contains(&format!("Authorization: Bearer client-{}\r\n", client % 2)));
            assert!(lines.contains("\r\nX-Tag: v\r\n"));
            assert_eq!(lines.to_lowercase().matches("\r\nhost:").count(), 1);
        }
    }
    #[test]
    fn a_request_without_a_body_says_nothing_of_one() {
        let heads = Heads {
            method: "GET",
            paths: &["/health".to_owned()],
            host: "h",
            keep_alive: true,
            identities: 0,
            headers: &[],
        };
        let mut buffer = Vec::new();
        assert_eq!(Requests::new(&heads, &[]).write(7, 7, &mut buffer), 0);
        assert_eq!(buffer, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}

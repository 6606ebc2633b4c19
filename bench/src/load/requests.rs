//! Requests as bytes, made once. A request is a first part that belongs to the client (target, host, credentials) and a
//! second that belongs to the batch (length and body); sending one is two copies into the connection's buffer. Where
//! one of them has variables, their numbers are written between the copies, and the length follows from the body.

use super::{
    payload::{Compression, Payload},
    protocols::Spoken,
    template::{Template, Variables},
    values,
};
use serde_json::{Value, json};
use std::{fmt, io::Write, str};

/// Bytes of a `Content-Length` line with the longest number, and the empty line behind it.
const LENGTH_LINE_BYTES_MAX: usize = 40;

/// The parts of all requests of a load.
#[derive(Debug)]
pub struct Requests {
    /// By identity, and within it by path.
    openings: Vec<Vec<Template>>,
    fingerprint: String,
    content: Content,
    batches: Vec<Batch>,
    /// The bytes of all requests, if they are all the same.
    sole: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Batch {
    bytes: Bytes,
    metrics: u32,
}

/// Part of a request after the first.
#[derive(Debug)]
enum Bytes {
    /// The rest of the head and the body.
    Fixed(Vec<u8>),
    /// The body, from whose length the rest of the head follows.
    Templated(Template),
}

/// Contents of the heads of a load's requests.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// The method.
    pub method: &'a str,
    /// Paths with their queries, at least one; requests take them in turn.
    pub paths: &'a [String],
    /// The value of `Host`, unless `headers` has one.
    pub host: &'a str,
    /// True if a connection carries more than one request.
    pub keep_alive: bool,
    /// Distinct `Authorization` values; none is sent when zero.
    pub identities: u32,
    /// Lines (`Name: value`) to add; a `Host` or `Content-Type` among them takes the usual one's place.
    pub headers: &'a [String],
    /// The value of `Content-Type` [default: of JSON, or of bytes where a body is not UTF-8].
    pub content_type: Option<&'a str>,
    /// The protocol of the bodies, if one was chosen; its lines are added unless `headers` has their like.
    pub spoken: Option<Spoken>,
}

/// Description of the bodies of a load's requests, for its report.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Bodies that are taken in turn; none: requests without.
    pub bodies: usize,
    /// The name of their protocol, if one was chosen.
    pub protocol: Option<&'static str>,
    /// Bytes of a body in the mean; with variables, of an example; of a protocol, before it is compressed, for the
    /// timestamps in it are compressed differently in each run.
    pub bytes_mean: f64,
    /// The value of `Content-Type`, if a flag or the kind of the bodies says it.
    pub content_type: Option<String>,
    /// The value of `Content-Encoding` that `--compress` has set.
    pub content_encoding: Option<String>,
    /// True if something differs from request to request: in bodies, paths or header values.
    pub is_templated: bool,
    /// True if a random number is among that.
    pub has_random: bool,
}

impl Content {
    /// Returns the fields of the workload that must be equal for two loads with these bodies to be comparable.
    #[must_use]
    pub fn setup(&self) -> Value {
        json!({
            "bodies": self.bodies,
            "protocol": self.protocol,
            "body_bytes": self.bytes_mean,
            "content_type": self.content_type,
            "compress": self.content_encoding,
            "templates": self.is_templated,
        })
    }

    /// The bodies that a workload with the fields of [`setup`](Self::setup) has, for people.
    #[must_use]
    pub fn describe(workload: &Value) -> String {
        let bytes = workload["body_bytes"].as_f64().unwrap_or(0.0);
        let mut parts = vec![match workload["bodies"].as_u64() {
            None | Some(0) => "none".to_owned(),
            Some(1) => format!("1 of {bytes:.0} bytes"),
            Some(bodies) => format!("{bodies} of {bytes:.1} bytes in the mean"),
        }];
        parts.extend(
            ["protocol", "content_type", "compress"]
                .iter()
                .filter_map(|name| Some(workload[name].as_str()?.to_owned())),
        );
        if workload["templates"] == true {
            parts.push("{{…}} replaced in each request".to_owned());
        }
        parts.join(", ")
    }
}

/// The type that bodies have unless a flag says another: JSON is UTF-8 (RFC 8259, 8.1).
fn usual_type(bodies: &[Payload]) -> &'static str {
    let is_text = |payload: &Payload| str::from_utf8(&payload.text.example()).is_ok();
    if bodies.iter().all(is_text) { "application/json" } else { "application/octet-stream" }
}

impl Requests {
    /// Requests with these heads that carry `bodies`, compressed by `compress`; without any they have none.
    ///
    /// # Errors
    /// A variable in a path or a header is not known; bodies with variables are to be compressed.
    pub fn new(heads: &Heads<'_>, bodies: Vec<Payload>, compress: Option<Compression>) -> Result<Self, String> {
        let given = |name: &str| heads.headers.iter().any(|header| values::name(header).eq_ignore_ascii_case(name));
        let content_type = match heads.content_type {
            _ if bodies.is_empty() || given("content-type") => None,
            Some(named) => Some(named),
            None => Some(heads.spoken.map_or_else(|| usual_type(&bodies), |spoken| spoken.protocol.content_type())),
        };
        let bodies = match compress {
            Some(by) => bodies.into_iter().map(|body| body.compressed(by)).collect::<Result<Vec<_>, _>>()?,
            None => bodies,
        };
        let lines = lines(heads, content_type, compress);
        let openings = openings(heads, &lines)?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(lines.as_bytes());
        match heads.spoken {
            Some(spoken) => sum.update(&spoken.checksum.to_le_bytes()),
            None => bodies.iter().for_each(|body| body.text.add_to(&mut sum)),
        }
        let (count, identities, sum) = (bodies.len(), heads.identities, sum.finalize());
        let parts = || openings.iter().flatten().chain(bodies.iter().map(|body| &body.text));
        let content = Content {
            bodies: count,
            protocol: heads.spoken.map(|spoken| spoken.protocol.name()),
            bytes_mean: match heads.spoken {
                Some(spoken) => spoken.bytes_mean,
                None => mean(bodies.iter().map(|body| body.text.example().len())),
            },
            content_type: content_type.map(str::to_owned),
            content_encoding: compress.map(|by| by.to_string()),
            is_templated: parts().any(|part| part.fixed().is_none()),
            has_random: parts().any(Template::has_random),
        };
        let mut batches: Vec<_> = bodies.into_iter().map(Batch::from).collect();
        if batches.is_empty() {
            batches.push(Batch { bytes: Bytes::Fixed(b"\r\n".to_vec()), metrics: 0 });
        }
        let sole = match (&openings[..], &batches[..]) {
            ([paths], [Batch { bytes: Bytes::Fixed(rest), .. }]) if let [opening] = &paths[..] => {
                opening.fixed().map(|opening| [opening, &rest[..]].concat())
            }
            _ => None,
        };
        let fingerprint = format!("{count} bodies, {identities} identities, crc32 {sum:08x}");
        Ok(Self { openings, fingerprint, content, batches, sole })
    }

    /// Appends the request of client `client` with batch `turn` to `buffer`, both taken round the numbers there are;
    /// gives the metrics in it.
    pub fn write(&self, client: usize, turn: usize, variables: &mut Variables<'_>, buffer: &mut Vec<u8>) -> u32 {
        if let Some(bytes) = &self.sole {
            buffer.extend_from_slice(bytes);
            return self.batches[0].metrics;
        }
        // Most loads have one path and no identities: a division is dearer than this look.
        let in_turn = |number: usize, count: usize| if count == 1 { 0 } else { number % count };
        let batch = &self.batches[in_turn(turn, self.batches.len())];
        let openings = &self.openings[in_turn(client, self.openings.len())];
        variables.begin();
        openings[in_turn(turn, openings.len())].write(variables, buffer);
        match &batch.bytes {
            Bytes::Fixed(bytes) => buffer.extend_from_slice(bytes),
            Bytes::Templated(text) => {
                let mut body = variables.scratch();
                text.write(variables, &mut body);
                // Writing into a Vec cannot fail.
                let _ = write!(buffer, "Content-Length: {}\r\n\r\n", body.len());
                buffer.extend_from_slice(&body);
                variables.keep(body);
            }
        }
        batch.metrics
    }

    /// Returns the fingerprint of these requests, without method, paths and host.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the description of their bodies.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
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
        longest(&mut self.openings.iter().flatten().map(Template::bytes_max))
            + longest(&mut self.batches.iter().map(Batch::bytes_max))
    }
}

/// The header lines that all requests share.
fn lines(heads: &Heads<'_>, content_type: Option<&str>, compress: Option<Compression>) -> String {
    let mut lines = String::new();
    let mut add = |line: fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut lines, format_args!("{line}\r\n"));
    };
    content_type.iter().for_each(|value| add(format_args!("Content-Type: {value}")));
    compress.iter().for_each(|value| add(format_args!("Content-Encoding: {value}")));
    let given = |line: &str| heads.headers.iter().any(|own| values::name(own).eq_ignore_ascii_case(values::name(line)));
    let demanded = heads.spoken.map_or(&[][..], |spoken| spoken.protocol.headers());
    demanded.iter().filter(|line| !given(line)).for_each(|line| add(format_args!("{line}")));
    heads.headers.iter().for_each(|header| add(format_args!("{header}")));
    if !heads.keep_alive {
        add(format_args!("Connection: close"));
    }
    lines
}

/// The first parts of all requests, by identity and within it by path.
fn openings(heads: &Heads<'_>, lines: &str) -> Result<Vec<Vec<Template>>, String> {
    let &Heads { method, paths, host, identities, headers, .. } = heads;
    let has_host = headers.iter().any(|header| values::name(header).eq_ignore_ascii_case("host"));
    let own_host = if has_host { String::new() } else { format!("Host: {host}\r\n") };
    let of_identity = |identity: String| {
        let opening = |path: &String| {
            Template::parse(format!("{method} {path} HTTP/1.1\r\n{own_host}{lines}{identity}").as_bytes())
        };
        paths.iter().map(opening).collect()
    };
    match identities {
        0 => Ok(vec![of_identity(String::new())?]),
        _ => (0..identities).map(|key| of_identity(format!("Authorization: Bearer client-{key}\r\n"))).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "lengths far below 2^53")]
fn mean(lengths: impl ExactSizeIterator<Item = usize>) -> f64 {
    let count = lengths.len();
    lengths.sum::<usize>() as f64 / count.max(1) as f64
}

impl From<Payload> for Batch {
    fn from(payload: Payload) -> Self {
        let Payload { text, metrics } = payload;
        let bytes = match text.fixed() {
            Some(body) => {
                let head = format!("Content-Length: {}\r\n\r\n", body.len());
                Bytes::Fixed([head.as_bytes(), body].concat())
            }
            None => Bytes::Templated(text),
        };
        Self { bytes, metrics }
    }
}

impl Batch {
    fn bytes_max(&self) -> usize {
        match &self.bytes {
            Bytes::Fixed(bytes) => bytes.len(),
            Bytes::Templated(text) => LENGTH_LINE_BYTES_MAX + text.bytes_max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body, head};
    use std::sync::atomic::AtomicU64;

    /// The request that is written, and the metrics in it.
    fn written(requests: &Requests, client: usize, turn: usize, sequence: &AtomicU64) -> (Vec<u8>, u32) {
        let mut buffer = Vec::new();
        let metrics = requests.write(client, turn, &mut Variables::new(sequence, 1, 0), &mut buffer);
        assert!(buffer.len() <= requests.bytes_max());
        (buffer, metrics)
    }

    const GET: Heads<'static> = Heads {
        method: "GET",
        paths: &[],
        host: "h",
        keep_alive: true,
        identities: 0,
        headers: &[],
        content_type: None,
        spoken: None,
    };

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
            content_type: None,
            spoken: None,
        };
        let payloads = bodies.iter().cloned().map(Payload::from).collect();
        let requests = Requests::new(&heads, payloads, None).unwrap();
        let sequence = AtomicU64::new(0);
        for (client, turn) in [(0, 0), (3, 1), (2, 2)] {
            let (buffer, metrics) = written(&requests, client, turn, &sequence);
            assert_eq!(metrics, 3);
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
        let heads = Heads { paths: &["/health".to_owned()], ..GET };
        let requests = Requests::new(&heads, Vec::new(), None).unwrap();
        let (buffer, metrics) = written(&requests, 7, 7, &AtomicU64::new(0));
        assert_eq!((buffer.as_slice(), metrics), (&b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"[..], 0));
        assert_eq!(Content::describe(&requests.content().setup()), "none");
    }

    #[test]
    fn each_request_has_its_own_numbers_and_length() {
        let headers = ["X-Id: {{seq}}".to_owned()];
        let paths = ["/a/{{seq}}?b={{rand 5 5}}".to_owned()];
        let heads = Heads { method: "PUT", paths: &paths, headers: &headers, ..GET };
        let body = Payload::templated(b"{{seq}},{{seq}}").unwrap();
        let requests = Requests::new(&heads, vec![body], None).unwrap();
        let sequence = AtomicU64::new(9);
        for (number, length) in [("9", 3), ("10", 5)] {
            let (buffer, _) = written(&requests, 0, 0, &sequence);
            let head = format!(
                "PUT /a/{number}?b=5 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-Id: {number}\r\n\
                 Content-Length: {length}\r\n\r\n{number},{number}"
            );
            assert_eq!(String::from_utf8(buffer).unwrap(), head);
        }
        let content = requests.content();
        assert!(content.is_templated && content.has_random);
        let unknown = Heads { paths: &["/{{no}}".to_owned()], ..GET };
        assert!(Requests::new(&unknown, Vec::new(), None).unwrap_err().contains("{{no}} is not known"));
    }

    #[test]
    fn the_kind_of_the_bodies_is_named() {
        let heads = Heads { method: "POST", paths: &["/".to_owned()], ..GET };
        let bytes = || vec![Payload::verbatim(b"\xff\xfe".to_vec()).unwrap()];
        let head = |heads: &Heads<'_>, compress| {
            let requests = Requests::new(heads, bytes(), compress).unwrap();
            String::from_utf8_lossy(&written(&requests, 0, 0, &AtomicU64::new(0)).0).into_owned()
        };
        assert!(head(&heads, None).contains("\r\nContent-Type: application/octet-stream\r\n"));
        let named = Heads { content_type: Some("a/b"), ..heads };
        let compressed = head(&named, Some(Compression::Zstd));
        assert!(compressed.contains("\r\nContent-Type: a/b\r\nContent-Encoding: zstd\r\n"), "{compressed}");
        let headers = ["content-type: c/d".to_owned()];
        let given = head(&Heads { headers: &headers, ..heads }, None);
        assert_eq!(given.to_lowercase().matches("content-type").count(), 1, "{given}");
        let (one, other) = (
            Requests::new(&heads, bytes(), None).unwrap(),
            Requests::new(&heads, bytes(), Some(Compression::Gzip)).unwrap(),
        );
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.content().setup(), other.content().setup());
        let described = Content::describe(&other.content().setup());
        assert!(described.starts_with("1 of ") && described.ends_with("octet-stream, gzip"), "{described}");
    }
}

//! Bodies of requests: batches made up from a seed, texts and lines with variables, and files of any bytes; compressed
//! once before the load, where that is requested.

use super::template::Template;
use crate::body::{self, Body};
use clap::ValueEnum;
use flate2::{Compression as Level, write::GzEncoder};
use std::{
    fmt,
    io::{self, Write},
};

/// Bytes of one body: six times what a batch of 100,000 metrics has. Each connection's send buffer holds one.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The level of zstd(1) by default.
const ZSTD_LEVEL: i32 = 3;

/// A content coding (RFC 9110, 8.4.1; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// gzip at level 6.
    Gzip,
    /// Zstandard at level 3.
    Zstd,
    /// The block format of snappy, without frames: that of remote write.
    Snappy,
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        })
    }
}

impl Compression {
    fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Level::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
            Self::Snappy => snap::raw::Encoder::new().compress_vec(bytes).map_err(io::Error::other),
        }
    }
}

/// The body of one request.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Bytes of the body.
    pub text: Template,
    /// Metrics in it; zero when it has another shape than `POST /metrics` takes.
    pub metrics: u32,
}

impl From<Body> for Payload {
    fn from(body: Body) -> Self {
        Self { text: Template::literal(body.json.into_bytes()), metrics: body.metrics }
    }
}

impl Payload {
    /// A body that is sent as it stands, byte for byte.
    ///
    /// # Errors
    /// It is too long.
    pub fn verbatim(bytes: Vec<u8>) -> Result<Self, String> {
        Self::new(Template::literal(bytes))
    }

    /// A body of `metrics` metrics that is sent as it stands.
    ///
    /// # Errors
    /// It is too long.
    pub fn made_up(bytes: Vec<u8>, metrics: u32) -> Result<Self, String> {
        bounded(Self { text: Template::literal(bytes), metrics })
    }

    /// A body whose variables are replaced in each request.
    ///
    /// # Errors
    /// A variable is not known, or the body is too long.
    pub fn templated(text: &[u8]) -> Result<Self, String> {
        Self::new(Template::parse(text)?)
    }

    fn new(text: Template) -> Result<Self, String> {
        let Self { text, .. } = bounded(Self { text, metrics: 0 })?;
        let metrics = serde_json::from_slice(&text.example()).map_or(0, |document| body::count(&document));
        Ok(Self { text, metrics: u32::try_from(metrics).unwrap_or(u32::MAX) })
    }

    /// The same body, compressed.
    ///
    /// # Errors
    /// It has variables: to compress it for each request would be measured as latency of the server.
    pub fn compressed(self, by: Compression) -> Result<Self, String> {
        let bytes = self.text.fixed().ok_or(
            "--compress takes bodies without {{…}}: compressing one for each request would be measured as latency of \
             the server. Give several lines by --body-file, which are compressed before the load",
        )?;
        let bytes = by.compress(bytes).map_err(|error| format!("cannot compress: {error}"))?;
        Ok(Self { text: Template::literal(bytes), ..self })
    }
}

fn bounded(payload: Payload) -> Result<Payload, String> {
    match payload.text.bytes_max() {
        bytes if bytes > BODY_BYTES_MAX => Err(format!("{bytes} bytes: a body has at most {BODY_BYTES_MAX}")),
        _ => Ok(payload),
    }
}

/// The lines of `bytes`, which is not empty; empty lines are skipped.
///
/// # Errors
/// Says which line is wrong, or that every line is empty.
pub(super) fn lines(bytes: &[u8]) -> Result<Vec<Payload>, String> {
    let numbered = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line.trim_ascii()));
    let payload = |(number, line)| Payload::templated(line).map_err(|error| format!("line {number}: {error}"));
    let payloads: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).map(payload).collect::<Result<_, _>>()?;
    if payloads.is_empty() { Err("no body in it".to_owned()) } else { Ok(payloads) }
}

/// The batches in `bytes`, one JSON document a line, as `POST /metrics` takes them; empty lines are skipped.
///
/// # Errors
/// Says which line is not `{"metrics":[…]}` with at least one metric, or that there is none at all.
pub(super) fn batches(bytes: &[u8]) -> Result<Vec<Payload>, String> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("{{") {
        return Ok(body::read_lines(&text)?.into_iter().map(Payload::from).collect());
    }
    let payloads = lines(bytes)?;
    match payloads.iter().position(|payload| payload.metrics == 0) {
        Some(index) => {
            Err(format!("body {}: what it becomes has no metrics; a batch is {{\"metrics\":[…]}}", index + 1))
        }
        None => Ok(payloads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_body_is_any_bytes() {
        let bytes: Vec<u8> = (0..=255).chain(*b"\r\n{{seq}}{{").collect();
        let payload = Payload::verbatim(bytes.clone()).unwrap();
        assert_eq!((payload.text.fixed(), payload.metrics), (Some(&bytes[..]), 0));
        assert!(Payload::verbatim(vec![0; BODY_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn metrics_are_counted_in_what_a_template_becomes() {
        let text = br#"{"metrics":[{"name":"a","value":{{seq}}},{"name":"b","value":{{rand 1 9}}}]}"#;
        assert_eq!(Payload::templated(text).unwrap().metrics, 2);
        assert_eq!(batches(text).unwrap()[0].metrics, 2);
        assert!(batches(b"{\"metrics\":[{{seq}}").is_err());
        assert!(batches(b"{\"metrics\":[]}").unwrap_err().contains("line 1"));
    }

    #[test]
    fn lines_are_taken_as_they_stand() {
        let payloads = lines(b"cpu,host=a value=1\n\n\xff\x00 {{seq}}\r\n{\"metrics\":[1,2]}\n").unwrap();
        assert_eq!(payloads.iter().map(|payload| payload.metrics).collect::<Vec<_>>(), [0, 0, 2]);
        assert_eq!(payloads[0].text.fixed(), Some(&b"cpu,host=a value=1"[..]));
        assert_eq!(payloads[1].text.example(), b"\xff\x00 0");
        assert!(lines(b"\n \n").is_err());
        assert!(lines(b"ok\n{{no}}").unwrap_err().starts_with("line 2: {{no}} is not known"));
    }

    #[test]
    fn a_compressed_body_is_what_it_was() {
        let text = vec![b'x'; 10_000];
        for by in [Compression::Gzip, Compression::Zstd, Compression::Snappy] {
            let compressed = Payload::verbatim(text.clone()).unwrap().compressed(by).unwrap();
            let bytes = compressed.text.fixed().unwrap();
            assert!(bytes.len() < 1000);
            let mut back = Vec::new();
            match by {
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(bytes).read_to_end(&mut back).unwrap();
                }
                Compression::Zstd => back = zstd::bulk::decompress(bytes, text.len()).unwrap(),
                Compression::Snappy => back = snap::raw::Decoder::new().decompress_vec(bytes).unwrap(),
            }
            assert_eq!(back, text, "{by}");
            let refused = Payload::templated(b"{{seq}}").unwrap().compressed(by).unwrap_err();
            assert!(refused.contains("measured as latency"), "{refused}");
        }
        let batch = Payload::from(body::generate(1, 1, 3).remove(0)).compressed(Compression::Gzip).unwrap();
        assert_eq!(batch.metrics, 3);
    }
}

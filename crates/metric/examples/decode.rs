//! Decodes bodies of a protocol from standard input: prints the lines of the log that each becomes, and behind them one
//! line of JSON that says what was rejected and skipped. The scripts that compare a decoder with a reference
//! implementation run it.
//!
//! usage: decode PROTOCOL [--framed] [--precision P] [--tag KEY=VALUE]
//!
//! With `--framed` there may be any number of bodies, each behind a line with its length in bytes; without, all input
//! is one body. PROTOCOL is one of: influx, text, openmetrics, pushgateway, remote-write-1, remote-write-2,
//! otlp-protobuf, otlp-json, collectd, datadog-1, datadog-2, datadog-2-protobuf. The first line of a body for
//! pushgateway is its path.

use std::io::{self, BufRead, Read, Write};

use metric::protocol::collectd::Collectd;
use metric::protocol::datadog::Datadog;
use metric::protocol::influx::{Influx, Options, Precision};
use metric::protocol::otlp::{self, Otlp};
use metric::protocol::remote_write::RemoteWrite;
use metric::protocol::text::{self, Format, Labels, Text, group_labels};
use metric::{Bounds, DecodeError, Decoded, LineSink, Reject, Skip};
use serde_json::json;

/// Bytes reserved for the lines of one body.
const LINES_BYTES: usize = 64 << 20;
/// The time of arrival of each body: 2026-01-02T03:04:05.678Z.
const ARRIVAL_MS: i64 = 1_767_323_045_678;

/// Decodes one body into a sink.
type Decode = Box<dyn FnMut(&[u8], &mut LineSink<'_>) -> Result<(), DecodeError>>;

#[derive(Default)]
struct Arguments {
    protocol: String,
    is_framed: bool,
    precision: Option<String>,
    tag: Option<(String, String)>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self { protocol: arguments.next().ok_or("no PROTOCOL is given")?, ..Self::default() };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--framed" => parsed.is_framed = true,
                "--precision" => parsed.precision = Some(value()?),
                "--tag" => {
                    let tag = value()?;
                    let (key, value) = tag.split_once('=').ok_or("--tag needs KEY=VALUE")?;
                    parsed.tag = Some((key.to_owned(), value.to_owned()));
                }
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(parsed)
    }

    fn decoder(&self) -> Result<Decode, String> {
        match self.protocol.as_str() {
            "influx" => self.influx(),
            "text" => Ok(self.text(Format::Prometheus)),
            "openmetrics" => Ok(self.text(Format::OpenMetrics)),
            "pushgateway" => Ok(push_gateway()),
            "remote-write-1" => {
                Ok(with(RemoteWrite::new, |decoder, body, sink| decoder.decode_v1(body, sink).map(drop)))
            }
            "remote-write-2" => {
                Ok(with(RemoteWrite::new, |decoder, body, sink| decoder.decode_v2(body, sink).map(drop)))
            }
            "otlp-protobuf" => Ok(with(otlp, Otlp::decode_protobuf)),
            "otlp-json" => Ok(with(otlp, Otlp::decode_json)),
            "collectd" => Ok(with(Collectd::new, Collectd::decode)),
            "datadog-1" => Ok(with(Datadog::new, Datadog::decode_v1)),
            "datadog-2" => Ok(with(Datadog::new, Datadog::decode_v2)),
            "datadog-2-protobuf" => Ok(with(Datadog::new, Datadog::decode_v2_protobuf)),
            unknown => Err(format!("unknown protocol {unknown}")),
        }
    }

    fn text(&self, format: Format) -> Decode {
        let label = |(key, value): &(String, String)| (key.clone().into_bytes(), value.clone().into_bytes());
        let labels: Labels = self.tag.iter().map(label).collect();
        let mut text = Text::new(Bounds::default());
        Box::new(move |body, sink| text.decode(body, &text::Options { format, labels: &labels }, sink))
    }

    fn influx(&self) -> Result<Decode, String> {
        let precision = match &self.precision {
            Some(text) => Precision::of_v1(text.as_bytes()).ok_or(format!("unknown precision {text}"))?,
            None => Precision::default(),
        };
        let tag = self.tag.clone();
        let mut influx = Influx::new(Bounds::default());
        Ok(Box::new(move |body, sink| {
            let tag = tag.as_ref().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
            influx.decode(body, &Options { precision, tag }, sink)
        }))
    }
}

/// A decoder without options.
fn with<D: 'static>(
    new: impl Fn(Bounds) -> D,
    decode: impl Fn(&mut D, &[u8], &mut LineSink<'_>) -> Result<(), DecodeError> + 'static,
) -> Decode {
    let mut decoder = new(Bounds::default());
    Box::new(move |body, sink| decode(&mut decoder, body, sink))
}

fn otlp(bounds: Bounds) -> Otlp {
    Otlp::new(bounds, otlp::Options::default())
}

fn push_gateway() -> Decode {
    let mut text = Text::new(Bounds::default());
    Box::new(move |request, sink| {
        let end = request.iter().position(|&byte| byte == b'\n').unwrap_or(request.len());
        let (path, body) = (&request[..end], request.get(end + 1..).unwrap_or_default());
        let labels = std::str::from_utf8(path).map_err(|_| "the path is not UTF-8").and_then(group_labels);
        let labels = labels.map_err(|text| DecodeError::Malformed { byte: 0, text })?;
        text.decode(body, &text::Options { format: Format::Prometheus, labels: &labels }, sink)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut decode = arguments.decoder()?;
    let mut lines = vec![0; LINES_BYTES];
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    if !arguments.is_framed {
        let mut body = Vec::new();
        input.read_to_end(&mut body)?;
        return Ok(print(&mut decode, &body, &mut lines, &mut output)?);
    }
    let mut length = String::new();
    while input.read_line(&mut length)? > 0 {
        let mut body = vec![0; length.trim_end().parse()?];
        input.read_exact(&mut body)?;
        print(&mut decode, &body, &mut lines, &mut output)?;
        length.clear();
    }
    Ok(())
}

/// Prints the lines of a body and what else became of it.
fn print(decode: &mut Decode, body: &[u8], lines: &mut [u8], output: &mut impl Write) -> io::Result<()> {
    let mut sink = LineSink::new(lines, ARRIVAL_MS);
    let result = decode(body, &mut sink);
    let decoded = sink.decoded();
    let report = match result {
        Ok(()) => {
            output.write_all(&lines[..decoded.bytes])?;
            report(&decoded)
        }
        Err(error) => json!({ "error": error.to_string() }),
    };
    writeln!(output, "{report}")?;
    output.flush()
}

fn report(decoded: &Decoded) -> serde_json::Value {
    let counts = |labels: Vec<&str>, counts: &[u32]| -> serde_json::Map<_, _> {
        let counted = labels.into_iter().zip(counts).filter(|(_, count)| **count > 0);
        counted.map(|(label, count)| (label.to_owned(), json!(count))).collect()
    };
    let first = decoded.first_rejected.map(|first| {
        json!({
            "reason": first.reason.label(), "text": first.text,
            "at": first.at, "offset": first.offset, "len": first.len,
        })
    });
    json!({
        "metrics": decoded.metrics,
        "far_from_now": decoded.far_from_now,
        "rejected": counts(Reject::ALL.iter().map(|reason| reason.label()).collect(), &decoded.rejected),
        "skipped": counts(Skip::ALL.iter().map(|kind| kind.label()).collect(), &decoded.skipped),
        "first_rejected": first,
    })
}

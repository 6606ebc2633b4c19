//! Decoders of the protocols side by side: the service's own, and structs that prost or serde make of the same bodies.
//! `benchmark_decoders` compares what they read, then times them.
//!
//! The service's decoders write the lines of the log as they read. Structs are timed twice: made and dropped, which is
//! the least that a server built on them has to do, and then written as the same lines by the same encoder. Line
//! protocol and text have no decoder to be held against here; their tests hold them against influxd and promtool.

mod agents;
mod structs;

use crate::load::Protocol;
use metric::{
    BatchEncoder, Bounds, DecodeError, LineSink, Lines,
    protocol::{
        collectd::Collectd, datadog::Datadog, influx, influx::Influx, otlp, otlp::Otlp, remote_write::RemoteWrite, text,
    },
};
use serde_json::{Value, json};
use std::{hint::black_box, time::Instant};

/// A decoder under test.
pub struct Decoder {
    /// Name in the table.
    pub name: &'static str,
    /// Reads a body; gives the metrics in it and the bytes of the lines that it has written into the buffer, if it
    /// writes any.
    pub decode: Box<Decode>,
}

type Decode = dyn FnMut(&[u8], &mut [u8]) -> Result<(u32, usize), String>;

/// Bodies of one protocol, and what decodes them: the service's decoder first.
pub struct Case {
    /// Name in the table.
    pub name: &'static str,
    /// Decompressed.
    pub bodies: Vec<Vec<u8>>,
    /// Metrics in all bodies.
    pub metrics: u32,
    /// The decoders.
    pub decoders: Vec<Decoder>,
}

/// Metrics of a body: what Prometheus sends in one.
pub const METRICS: u32 = 2000;
/// Scrapes of a real host that have some 2,000 metrics.
const SCRAPES: usize = 4;
/// Bodies of a case: together more than the nearest caches hold, with 2,000 metrics in each.
pub const BODIES: usize = 8;
const SEED: u64 = 1;
/// When the bodies were made and arrive.
const NOW_MS: i64 = 1_800_000_000_000;
/// Bytes for the lines of a metric.
const LINE_BYTES: usize = 1024;

/// Makes a protocol's body of one that load_test sends: itself, or the same in a protocol that load_test lacks.
type Make = fn(&[u8]) -> Vec<u8>;

/// Origin of the bodies of a case.
#[derive(Clone, Copy)]
enum Source {
    /// Requests that load_test sends, and what makes the bodies of them.
    Load(Protocol, Make),
    /// Real scrapes of so many hosts in each request of remote write 2.0.
    Scrapes(usize),
}

impl Source {
    /// `count` bodies or, with fewer metrics in each, some more; and the metrics in all of them.
    fn bodies(self, count: usize) -> (Vec<Vec<u8>>, u32) {
        match self {
            Self::Load(protocol, make) => {
                let bodies = protocol.generate(SEED, count, METRICS, NOW_MS);
                let metrics = METRICS.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
                (bodies.iter().map(|body| make(body)).collect(), metrics)
            }
            Self::Scrapes(hosts) => agents::scraped(count * SCRAPES / hosts, hosts),
        }
    }
}

/// Name in the table, where its bodies come from, and the decoders.
type Protocols = [(&'static str, Source, fn() -> Vec<Decoder>); 12];

const PROTOCOLS: Protocols = [
    ("remote write 1.0", Source::Load(Protocol::RemoteWrite, <[u8]>::to_vec), remote_write_1),
    ("remote write 2.0", Source::Load(Protocol::RemoteWrite2, <[u8]>::to_vec), remote_write_2),
    ("remote write 2.0, a real scrape", Source::Scrapes(1), remote_write_2),
    ("remote write 2.0, four real scrapes", Source::Scrapes(4), remote_write_2),
    ("line protocol", Source::Load(Protocol::Influx, <[u8]>::to_vec), influx),
    ("text", Source::Load(Protocol::Text, <[u8]>::to_vec), text),
    ("OTLP protobuf", Source::Load(Protocol::Otlp, <[u8]>::to_vec), otlp_protobuf),
    ("OTLP JSON", Source::Load(Protocol::Otlp, agents::otlp_json), otlp_json),
    ("collectd", Source::Load(Protocol::Json, agents::collectd), collectd),
    ("Datadog 1 JSON", Source::Load(Protocol::Json, agents::datadog_v1), datadog_v1),
    ("Datadog 2 protobuf", Source::Load(Protocol::Json, agents::datadog_v2), datadog_v2),
    ("JSON", Source::Load(Protocol::Json, <[u8]>::to_vec), json_batches),
];

/// All protocols with their decoders, or the one that is named so, and `count` bodies of each.
#[must_use]
pub fn cases(count: usize, only: Option<&str>) -> Vec<Case> {
    let named = PROTOCOLS.into_iter().filter(|(name, ..)| only.is_none_or(|only| only == *name));
    let case = |(name, source, decoders): (_, Source, fn() -> Vec<Decoder>)| {
        let (bodies, metrics) = source.bodies(count);
        Case { name, bodies, metrics, decoders: decoders() }
    };
    named.map(case).collect()
}

/// Name of the service's decoder in the table.
pub const OURS: &str = "ours, lines";
const PROST: &str = "prost";
const PROST_LINES: &str = "prost, lines";
const SERDE: &str = "serde_json";
const SERDE_LINES: &str = "serde_json, lines";

/// A decoder that writes lines.
fn lines(
    name: &'static str,
    mut decode: impl FnMut(&[u8], &mut LineSink<'_>) -> Result<(), String> + 'static,
) -> Decoder {
    Decoder {
        name,
        decode: Box::new(move |body, out| {
            let mut sink = LineSink::new(out, NOW_MS);
            decode(body, &mut sink)?;
            let decoded = sink.decoded();
            Ok((decoded.metrics, decoded.bytes))
        }),
    }
}

/// A decoder that makes something, counts the metrics in it and drops it.
fn made<T>(name: &'static str, make: fn(&[u8]) -> Result<T, String>, count: fn(&T) -> usize) -> Decoder
where
    T: 'static,
{
    Decoder {
        name,
        decode: Box::new(move |body, _| {
            let made = make(body)?;
            let metrics = count(black_box(&made));
            Ok((u32::try_from(metrics).unwrap_or(u32::MAX), 0))
        }),
    }
}

fn said(error: DecodeError) -> String {
    error.to_string()
}

fn remote_write_1() -> Vec<Decoder> {
    let mut ours = RemoteWrite::new(Bounds::default());
    let mut writer = structs::Writer::default();
    vec![
        lines(OURS, move |body, sink| ours.decode_v1(body, sink).map(|_| ()).map_err(said)),
        made(PROST, structs::v1, |request| request.timeseries.iter().map(|series| series.samples.len()).sum()),
        lines(PROST_LINES, move |body, sink| writer.v1(&structs::v1(body)?, sink)),
    ]
}

fn remote_write_2() -> Vec<Decoder> {
    let mut ours = RemoteWrite::new(Bounds::default());
    let mut writer = structs::Writer::default();
    vec![
        lines(OURS, move |body, sink| ours.decode_v2(body, sink).map(|_| ()).map_err(said)),
        made(PROST, structs::v2, |request| request.timeseries.iter().map(|series| series.samples.len()).sum()),
        lines(PROST_LINES, move |body, sink| writer.v2(&structs::v2(body)?, sink)),
    ]
}

fn otlp_protobuf() -> Vec<Decoder> {
    let mut ours = Otlp::new(Bounds::default(), otlp::Options::default());
    let mut writer = structs::Writer::default();
    vec![
        lines(OURS, move |body, sink| ours.decode_protobuf(body, sink).map_err(said)),
        made(PROST, structs::otlp, structs::points),
        lines(PROST_LINES, move |body, sink| writer.otlp(&structs::otlp(body)?, sink)),
    ]
}

fn otlp_json() -> Vec<Decoder> {
    let mut ours = Otlp::new(Bounds::default(), otlp::Options::default());
    let mut writer = structs::Writer::default();
    vec![
        lines(OURS, move |body, sink| ours.decode_json(body, sink).map_err(said)),
        made(SERDE, structs::otlp_json, structs::points),
        lines(SERDE_LINES, move |body, sink| writer.otlp(&structs::otlp_json(body)?, sink)),
    ]
}

fn influx() -> Vec<Decoder> {
    let mut ours = Influx::new(Bounds::default());
    vec![lines(OURS, move |body, sink| ours.decode(body, &influx::Options::default(), sink).map_err(said))]
}

fn text() -> Vec<Decoder> {
    let mut ours = text::Text::new(Bounds::default());
    let labels = [(b"job".to_vec(), b"load_test".to_vec())];
    vec![lines(OURS, move |body, sink| {
        let options = text::Options { format: text::Format::Prometheus, labels: &labels };
        ours.decode(body, &options, sink).map_err(said)
    })]
}

fn collectd() -> Vec<Decoder> {
    let mut ours = Collectd::new(Bounds::default());
    vec![lines(OURS, move |body, sink| ours.decode(body, sink).map_err(said))]
}

fn datadog_v1() -> Vec<Decoder> {
    let mut ours = Datadog::new(Bounds::default());
    vec![lines(OURS, move |body, sink| ours.decode_v1(body, sink).map_err(said))]
}

fn datadog_v2() -> Vec<Decoder> {
    let mut ours = Datadog::new(Bounds::default());
    vec![lines(OURS, move |body, sink| ours.decode_v2_protobuf(body, sink).map_err(said))]
}

fn json_batches() -> Vec<Decoder> {
    let metrics = usize::try_from(METRICS).unwrap_or(usize::MAX);
    let mut ours = BatchEncoder::new(Bounds { batch_metrics_limit: metrics, ..Bounds::default() });
    vec![Decoder {
        name: OURS,
        decode: Box::new(move |body, out| {
            let encoded = ours.encode(body, NOW_MS, out).map_err(|error| error.to_string())?;
            Ok((encoded.metrics, encoded.bytes))
        }),
    }]
}

/// One line of the log, with its tags in order.
type Read = (String, Vec<(String, String)>, String, &'static str, i64);

fn read(lines: &[u8]) -> Result<Vec<Read>, String> {
    let mut all = Vec::new();
    for line in Lines::new(lines) {
        let line = line.map_err(|error| format!("a line that is none: {error:?}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut tags: Vec<_> = line.tags().map(|(key, value)| (text(key), text(value))).collect();
        tags.sort_unstable();
        all.push((text(line.name), tags, text(line.value), line.kind.name(), line.timestamp_ms));
    }
    all.sort_unstable();
    Ok(all)
}

/// Buffer with capacity for the lines of a body.
#[must_use]
pub fn output_buffer() -> Vec<u8> {
    vec![0; usize::try_from(METRICS).unwrap_or(0) * LINE_BYTES]
}

/// Checks that all decoders of a case read all metrics of each body, and that those that write lines write the same.
///
/// # Errors
/// The text names the decoder that differs from the service's.
pub fn compare(case: &mut Case) -> Result<(), String> {
    let mut out = output_buffer();
    let mut totals = vec![0; case.decoders.len()];
    for body in &case.bodies {
        let mut expected: Option<Vec<Read>> = None;
        for (decoder, total) in case.decoders.iter_mut().zip(&mut totals) {
            let fault = |what: String| format!("{}, {}: {what}", case.name, decoder.name);
            let (metrics, bytes) = (decoder.decode)(body, &mut out).map_err(fault)?;
            *total += metrics;
            if bytes > 0 {
                let lines = read(&out[..bytes]).map_err(fault)?;
                let first = expected.get_or_insert_with(|| lines.clone());
                if let Some((one, other)) = first.iter().zip(&lines).find(|(one, other)| one != other) {
                    return Err(fault(format!("{other:?} is not {one:?}")));
                }
            }
        }
    }
    match case.decoders.iter().zip(totals).find(|(_, total)| *total != case.metrics) {
        Some((decoder, total)) => Err(format!("{}, {}: {total} metrics of {}", case.name, decoder.name, case.metrics)),
        None => Ok(()),
    }
}

/// Decodes the bodies of a case `passes` times with one of its decoders; says what one pass has read and written.
///
/// # Errors
/// There is no decoder of this name, or it refuses a body.
pub fn decode(case: &mut Case, decoder: &str, passes: u16) -> Result<String, String> {
    let Case { bodies, decoders, .. } = case;
    let named = decoders.iter_mut().find(|one| one.name == decoder);
    let decoder = named.ok_or_else(|| format!("{} has no decoder {decoder}", case.name))?;
    let mut out = output_buffer();
    let (mut metrics, mut bytes_out) = (0, 0);
    for _ in 0..passes {
        (metrics, bytes_out) = (0, 0);
        for body in &*bodies {
            let decoded = black_box((decoder.decode)(black_box(body), &mut out)?);
            metrics += decoded.0;
            bytes_out += decoded.1;
        }
    }
    let bytes_in: usize = bodies.iter().map(Vec::len).sum();
    Ok(format!("{metrics} metrics, {bytes_in} bytes in, {bytes_out} bytes out"))
}

/// Timing of one decoder, over the rounds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Nanoseconds for each metric: the median, the least and the greatest of the rounds.
    pub ns_per_metric: [f64; 3],
    /// Decoded input in a second, in the median round: 10^9 bytes.
    pub gb_per_s: f64,
    /// Time as a multiple of the service's decoder's, in the median of the rounds.
    pub ratio: f64,
}

/// Times the decoders of a case, in turns, `rounds` times.
///
/// # Errors
/// A decoder refuses a body that it took before.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn measure(case: &mut Case, rounds: usize) -> Result<Vec<Timing>, String> {
    let mut out = output_buffer();
    let bytes: usize = case.bodies.iter().map(Vec::len).sum();
    let mut spans = vec![Vec::with_capacity(rounds); case.decoders.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for (decoder, spans) in case.decoders.iter_mut().zip(&mut spans) {
            let mut pass = || {
                let begin = Instant::now();
                for body in &case.bodies {
                    black_box((decoder.decode)(black_box(body), &mut out)?);
                }
                Ok::<_, String>(begin.elapsed().as_secs_f64())
            };
            // The first pass finds in the processor's caches what the decoder before it has left there.
            pass()?;
            let span = pass()?;
            if round > 0 {
                spans.push(span);
            }
        }
    }
    let ours = spans[0].clone();
    Ok(spans.into_iter().map(|spans| timing(spans, &ours, case.metrics.into(), bytes as f64)).collect())
}

fn timing(mut spans: Vec<f64>, ours: &[f64], metrics: f64, bytes: f64) -> Timing {
    let mut ratios: Vec<_> = spans.iter().zip(ours).map(|(span, ours)| span / ours).collect();
    ratios.sort_by(f64::total_cmp);
    spans.sort_by(f64::total_cmp);
    let middle = spans.len() / 2;
    let ns = |span: f64| span * 1e9 / metrics;
    Timing {
        ns_per_metric: [ns(spans[middle]), ns(spans[0]), ns(spans[spans.len() - 1])],
        gb_per_s: bytes / spans[middle] / 1e9,
        ratio: ratios[middle],
    }
}

/// One case's rows, for people.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn table(case: &Case, timings: &[Timing]) -> String {
    let bytes: usize = case.bodies.iter().map(Vec::len).sum();
    let per_metric = bytes as f64 / f64::from(case.metrics);
    let mut table = format!(
        "{} ({per_metric:.0} bytes a metric)\n{:<20}{:>12}{:>22}{:>10}{:>8}\n",
        case.name, "decoder", "ns/metric", "(lowest..highest)", "GB/s", "ratio"
    );
    for (decoder, Timing { ns_per_metric: [ns, least, most], gb_per_s, ratio }) in case.decoders.iter().zip(timings) {
        let range = format!("({least:.1}..{most:.1})");
        table += &format!("{:<20}{ns:>12.1}{range:>22}{gb_per_s:>10.2}{ratio:>8.2}\n", decoder.name);
    }
    table
}

/// One case's figures, for scripts.
#[must_use]
pub fn json(case: &Case, timings: &[Timing]) -> Value {
    let rows = case.decoders.iter().zip(timings).map(|(decoder, timing)| {
        let [ns, least, most] = timing.ns_per_metric;
        json!({
            "decoder": decoder.name,
            "ns_per_metric": ns,
            "ns_per_metric_min": least,
            "ns_per_metric_max": most,
            "gb_per_s": timing.gb_per_s,
            "ratio": timing.ratio,
        })
    });
    let bytes: usize = case.bodies.iter().map(Vec::len).sum();
    json!({"protocol": case.name, "bytes": bytes, "bodies": case.bodies.len(), "metrics": case.metrics,
        "decoders": rows.collect::<Vec<_>>()})
}

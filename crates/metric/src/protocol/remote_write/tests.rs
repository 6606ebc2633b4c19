use super::*;
use crate::{Decoded, Line};
use prost::Message as _;

mod cache;
mod conformance;
mod differential;
mod encoder;
mod histograms;
mod hostile;
mod messages;
mod reference;
mod references;
mod tables;
use messages::{v1, v2};

const ARRIVAL_MS: i64 = 1_767_323_045_678;

/// Result of decoding a body: lines without their timestamps' text, counts, and what is reported as written.
#[derive(Debug, PartialEq)]
struct Outcome {
    lines: Vec<String>,
    decoded: Decoded,
    written: Written,
}

fn decode(version: Version, body: &[u8]) -> Result<Outcome, DecodeError> {
    decode_into(version, body, 1 << 20)
}

fn decode_into(version: Version, body: &[u8], bytes: usize) -> Result<Outcome, DecodeError> {
    let mut out = vec![0; bytes];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let mut decoder = RemoteWrite::new(Bounds::default());
    let written = match version {
        Version::V1 => decoder.decode_v1(body, &mut sink),
        Version::V2 => decoder.decode_v2(body, &mut sink),
    }?;
    let decoded = sink.decoded();
    let text = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        Line::parse(line.as_bytes()).unwrap();
    }
    assert_eq!(lines.len(), decoded.metrics as usize);
    Ok(Outcome { lines, decoded, written })
}

fn written(samples: u64, histograms: u64) -> Written {
    Written { samples, histograms, exemplars: 0 }
}

/// The line without its timestamp.
fn tail(line: &str) -> &str {
    &line[r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"#.len()..]
}

fn series(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> v1::TimeSeries {
    v1::TimeSeries {
        labels: labels.iter().map(|&(name, value)| v1::Label::new(name.as_bytes(), value.as_bytes())).collect(),
        samples: samples.iter().map(|&(value, timestamp)| v1::Sample { value, timestamp }).collect(),
        ..v1::TimeSeries::default()
    }
}

fn body(timeseries: Vec<v1::TimeSeries>) -> Vec<u8> {
    v1::WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec()
}

#[test]
fn a_sample_of_1_0_is_a_line() {
    let body = body(vec![
        series(&[("__name__", "http_requests_total"), ("code", "200"), ("job", "a\"b")], &[(1027.0, ARRIVAL_MS)]),
        series(&[("Zone", "x"), ("__name__", "up"), ("le", "1")], &[(0.5, ARRIVAL_MS), (f64::NAN, 0)]),
    ]);
    let outcome = decode(Version::V1, &body).unwrap();
    let tails: Vec<_> = outcome.lines.iter().map(|line| tail(line)).collect();
    assert_eq!(
        tails,
        [
            r#""http_requests_total","value":1027,"type":"counter","tags":{"code":"200","job":"a\"b"}}"#,
            r#""up","value":0.5,"type":"gauge","tags":{"Zone":"x","le":"1.0"}}"#,
            r#""up","value":"NaN","type":"gauge","tags":{"Zone":"x","le":"1.0"}}"#,
        ]
    );
    assert!(outcome.lines[1].starts_with(r#"{"timestamp":"2026-01-02T03:04:05.678Z""#));
    assert!(outcome.lines[2].starts_with(r#"{"timestamp":"1970-01-01T00:00:00.000Z""#));
    assert_eq!(outcome.written, written(3, 0));
    assert_eq!((outcome.decoded.far_from_now, outcome.decoded.rejected()), (1, 0));
}

#[test]
fn the_stale_marker_is_recognised_by_its_bits() {
    let stale = f64::from_bits(crate::STALE_NAN_BITS);
    let outcome = decode(Version::V1, &body(vec![series(&[("__name__", "up")], &[(stale, ARRIVAL_MS)])])).unwrap();
    assert_eq!(tail(&outcome.lines[0]), r#""up","value":"NaN","stale":true,"type":"gauge","tags":{}}"#);
}

#[test]
fn a_series_that_breaks_a_rule_is_rejected_alone() {
    let long = "n".repeat(256);
    for (labels, (reason, text)) in [
        (&[("job", "a")][..], (Reject::Name, "a series has no label __name__")),
        (&[], (Reject::Name, "a series has no label __name__")),
        (&[("__name__", "")], (Reject::Name, "a series has no label __name__")),
        (&[("__name__", &long)], (Reject::Name, Reject::Name.text())),
        (&[("__name__", "m"), ("", "v")], (Reject::Tags, "the name of a label is empty")),
        (&[("__name__", "m"), ("a", "1"), ("a", "2")], (Reject::Tags, "the name of a label comes twice")),
        (&[("a", "1"), ("__name__", "m"), ("a", "1")], (Reject::Tags, "the name of a label comes twice")),
        (&[("__name__", "m"), ("__name__", "n")], (Reject::Tags, "the name of a label comes twice")),
    ] {
        let good = series(&[("__name__", "up")], &[(1.0, ARRIVAL_MS)]);
        let bad = series(labels, &[(1.0, ARRIVAL_MS), (2.0, ARRIVAL_MS)]);
        let outcome = decode(Version::V1, &body(vec![good.clone(), bad, good])).unwrap();
        assert_eq!(outcome.written, written(2, 0), "{labels:?}");
        assert_eq!(outcome.decoded.rejected[reason as usize], 2, "{labels:?}");
        let first = outcome.decoded.first_rejected.unwrap();
        assert_eq!((first.reason, first.text, first.at), (reason, text, 1));
    }
}

#[test]
fn labels_are_sorted_and_empty_ones_left_out() {
    let labels = [("z", "1"), ("empty", ""), ("__name__", "m"), ("a", "2"), ("empty", ""), ("B", "3")];
    let outcome = decode(Version::V1, &body(vec![series(&labels, &[(1.0, ARRIVAL_MS)])])).unwrap();
    assert_eq!(tail(&outcome.lines[0]), r#""m","value":1,"type":"gauge","tags":{"B":"3","a":"2","z":"1"}}"#);
}

#[test]
fn metadata_of_1_0_comes_without_series() {
    let body = v1::WriteRequest { timeseries: Vec::new(), metadata: vec![b"\x08\x01\x12\x02up".to_vec(); 3] };
    let outcome = decode(Version::V1, &body.encode_to_vec()).unwrap();
    assert_eq!((outcome.written, outcome.decoded.metrics), (written(0, 0), 0));
    assert_eq!(outcome.decoded.skipped[Skip::Metadata as usize], 3);
}

#[test]
fn fields_of_a_series_come_in_any_order() {
    let mut bytes =
        v1::TimeSeries { samples: vec![v1::Sample { value: 1.0, timestamp: 0 }], ..Default::default() }.encode_to_vec();
    bytes.extend(series(&[("__name__", "m")], &[]).encode_to_vec());
    let outcome = decode(Version::V1, &messages::field(1, &bytes)).unwrap();
    assert_eq!(tail(&outcome.lines[0]), r#""m","value":1,"type":"gauge","tags":{}}"#);
}

/// A request of 2.0, with each text a symbol of its own.
struct Builder {
    request: v2::Request,
}

impl Builder {
    fn new() -> Self {
        Self { request: v2::Request { symbols: vec![Vec::new()], timeseries: Vec::new() } }
    }

    fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        let texts = labels.iter().flat_map(|&(name, value)| [name, value]);
        texts
            .map(|text| {
                let symbols = &mut self.request.symbols;
                let known = symbols.iter().position(|symbol| symbol == text.as_bytes());
                let index = known.unwrap_or_else(|| {
                    symbols.push(text.as_bytes().to_vec());
                    symbols.len() - 1
                });
                u32::try_from(index).unwrap()
            })
            .collect()
    }

    fn series(mut self, labels: &[(&str, &str)], mut series: v2::TimeSeries) -> Self {
        series.labels_refs = self.refs(labels);
        self.request.timeseries.push(series);
        self
    }

    fn sample(self, labels: &[(&str, &str)], value: f64) -> Self {
        self.series(labels, v2::TimeSeries { samples: vec![sample_v2(value)], ..Default::default() })
    }

    fn decode(&self) -> Result<Outcome, DecodeError> {
        decode(Version::V2, &self.request.encode_to_vec())
    }
}

fn sample_v2(value: f64) -> v2::Sample {
    v2::Sample { value, timestamp: ARRIVAL_MS, start_timestamp: 1 }
}

#[test]
fn a_sample_of_2_0_is_a_line() {
    let outcome = Builder::new().sample(&[("__name__", "x_total"), ("job", "j")], 7.0).decode().unwrap();
    assert_eq!(tail(&outcome.lines[0]), r#""x_total","value":7,"type":"counter","tags":{"job":"j"}}"#);
    assert_eq!(outcome.written, written(1, 0));
}

#[test]
fn the_type_of_2_0_is_that_of_the_metadata() {
    for (metadata_type, kind) in [
        (0, "counter"),
        (1, "counter"),
        (2, "gauge"),
        (3, "histogram"),
        (4, "histogram"),
        (5, "summary"),
        (6, "gauge"),
        (7, "gauge"),
        (8, "counter"),
        (-1, "counter"),
    ] {
        let metadata = v2::Metadata { r#type: metadata_type, help_ref: 99, unit_ref: 0 };
        let series = v2::TimeSeries { samples: vec![sample_v2(1.0)], metadata: Some(metadata), ..Default::default() };
        let outcome = Builder::new().series(&[("__name__", "a_total")], series).decode().unwrap();
        assert!(outcome.lines[0].contains(&format!(r#""type":"{kind}""#)), "{metadata_type}: {}", outcome.lines[0]);
    }
}

#[test]
fn symbols_may_come_after_the_series() {
    let request = Builder::new().sample(&[("__name__", "m"), ("k", "v")], 1.0).request;
    let series = v2::Request { symbols: Vec::new(), ..request.clone() }.encode_to_vec();
    let symbols = v2::Request { timeseries: Vec::new(), ..request.clone() }.encode_to_vec();
    let expected = decode(Version::V2, &request.encode_to_vec()).unwrap();
    assert_eq!(decode(Version::V2, &[series.clone(), symbols.clone()].concat()).unwrap(), expected);
    // Half of the table before them and half behind.
    let (first, second) = symbols.split_at(2 + 2 + "__name__".len());
    assert_eq!(decode(Version::V2, &[first, &series, second].concat()).unwrap(), expected);
}

#[test]
fn the_first_symbol_is_the_empty_one() {
    let mut builder = Builder::new().sample(&[("__name__", "m")], 1.0);
    builder.request.symbols[0] = b"x".to_vec();
    let error = builder.decode().unwrap_err();
    assert_eq!(error, DecodeError::Malformed { byte: 2, text: "the first symbol is not the empty string" });
    let outcome = decode(Version::V2, b"").unwrap();
    assert_eq!((outcome.written, outcome.decoded.rejected()), (written(0, 0), 0));
}

#[test]
fn references_come_in_pairs_and_in_range() {
    for refs in [vec![1], vec![1, 2, 3], vec![1, 2, 3, 99], vec![99, 2], vec![1, 2, u32::MAX, 2], vec![1, 2, 0, 2]] {
        let mut builder =
            Builder::new().sample(&[("__name__", "m"), ("k", "v")], 1.0).sample(&[("__name__", "n")], 2.0);
        builder.request.timeseries[0].labels_refs = refs.clone();
        let outcome = builder.decode().unwrap();
        assert_eq!(outcome.decoded.rejected[Reject::Tags as usize], 1, "{refs:?}");
        assert_eq!((outcome.written, outcome.lines.len()), (written(1, 0), 1), "{refs:?}");
    }
}

#[test]
fn a_series_of_2_0_has_samples_or_histograms() {
    let name = &[("__name__", "m")];
    let histogram = v2::Histogram { timestamp: ARRIVAL_MS, ..Default::default() };
    let mixed = v2::TimeSeries { samples: vec![sample_v2(1.0); 2], histograms: vec![histogram], ..Default::default() };
    let outcome = Builder::new().series(name, mixed).decode().unwrap();
    assert_eq!((outcome.decoded.rejected[Reject::Value as usize], outcome.written), (3, written(0, 0)));
    let outcome = Builder::new().series(name, v2::TimeSeries::default()).decode().unwrap();
    assert_eq!(outcome.decoded.rejected[Reject::Value as usize], 1);
    let exemplars = v2::TimeSeries { exemplars: vec![b"\x11".to_vec(); 2], ..Default::default() };
    let outcome = Builder::new().series(name, exemplars).decode().unwrap();
    assert_eq!((outcome.decoded.rejected(), outcome.decoded.skipped[Skip::Exemplar as usize]), (0, 2));
}

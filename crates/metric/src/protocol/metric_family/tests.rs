use super::*;
use crate::protocol::text::{Format, Options, Text};
use crate::{Decoded, Line};
use proptest::prelude::*;
use std::fmt::Write as _;

const ARRIVAL_MS: i64 = 1_767_323_045_678;

#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    unit: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Single>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Single>,
    #[prost(message, optional, tag = "4")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Single>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Single {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    quantiles: Vec<Quantile>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Quantile {
    #[prost(double, optional, tag = "1")]
    quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    float_count: Option<f64>,
    #[prost(double, optional, tag = "2")]
    sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    float_count: Option<f64>,
    #[prost(double, optional, tag = "2")]
    bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

type Decoding = (Result<(), DecodeError>, Vec<String>, Decoded);

fn lines(decode: impl FnOnce(&mut LineSink<'_>) -> Result<(), DecodeError>) -> Decoding {
    let mut out = vec![0; 256 * 1024];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let result = decode(&mut sink);
    let decoded = sink.decoded();
    let text = str::from_utf8(&out[..decoded.bytes]).unwrap();
    assert!(text.lines().all(|line| Line::parse(line.as_bytes()).is_ok()), "{text}");
    (result, text.lines().map(str::to_owned).collect(), decoded)
}

fn decode_with(body: &[u8], labels: &Labels) -> Decoding {
    lines(|sink| MetricFamilies::new(Bounds::default()).decode(body, labels, sink))
}

fn decode(families: &[MetricFamily]) -> Decoding {
    decode_with(&body(families), &[])
}

fn body(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect()
}

fn family(name: &str, kind: i32, metrics: Vec<Metric>) -> MetricFamily {
    let (name, help) = (Some(name.to_owned()), Some("Help.".to_owned()));
    MetricFamily { name, help, kind: Some(kind), metrics, unit: None }
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| LabelPair { name: Some(name.into()), value: Some(value.into()) };
    pairs.iter().map(pair).collect()
}

fn gauge(pairs: &[(&str, &str)], value: f64) -> Metric {
    Metric { labels: labels(pairs), gauge: Some(Single { value: Some(value), exemplar: None }), ..Default::default() }
}

/// The families in the text format, as Go's `expfmt` has them.
fn text(families: &[MetricFamily]) -> String {
    const TYPES: [&str; 5] = ["counter", "gauge", "summary", "untyped", "histogram"];
    let mut text = String::new();
    let number = |value: f64| match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    for family in families {
        let name = family.name.as_deref().unwrap();
        let kind = family.kind.unwrap_or(0);
        writeln!(text, "# TYPE {name} {}", TYPES[usize::try_from(kind).unwrap()]).unwrap();
        for metric in &family.metrics {
            let mut line = |suffix: &str, more: Option<(&str, f64)>, value: &str| {
                let pairs = metric.labels.iter().map(|pair| (pair.name.clone().unwrap(), pair.value.clone().unwrap()));
                let pairs = pairs.chain(more.map(|(key, bound)| (key.to_owned(), number(bound))));
                let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value:?}")).collect();
                let time = metric.timestamp_ms.map_or(String::new(), |time| format!(" {time}"));
                writeln!(text, "{name}{suffix}{{{}}} {value}{time}", pairs.join(",")).unwrap();
            };
            if let Some(single) = metric.gauge.as_ref().or(metric.counter.as_ref()).or(metric.untyped.as_ref()) {
                line("", None, &number(single.value.unwrap_or(0.0)));
            } else if let Some(summary) = &metric.summary {
                for quantile in &summary.quantiles {
                    line("", Some(("quantile", quantile.quantile.unwrap())), &number(quantile.value.unwrap()));
                }
                line("_sum", None, &number(summary.sum.unwrap_or(0.0)));
                line("_count", None, &summary.count.unwrap_or(0).to_string());
            } else if let Some(histogram) = &metric.histogram {
                for bucket in &histogram.buckets {
                    line("_bucket", Some(("le", bucket.bound.unwrap())), &bucket.count.unwrap().to_string());
                }
                let count = histogram.count.unwrap_or(0).to_string();
                if !histogram.buckets.last().is_some_and(|bucket| bucket.bound == Some(f64::INFINITY)) {
                    line("_bucket", Some(("le", f64::INFINITY)), &count);
                }
                line("_sum", None, &number(histogram.sum.unwrap_or(0.0)));
                line("_count", None, &count);
            }
        }
    }
    text
}

#[test]
fn each_type_becomes_the_lines_of_the_text_format() {
    let single = |value| Some(Single { value: Some(value), exemplar: Some(Exemplar { value: Some(1.0) }) });
    let quantile = |quantile, value| Quantile { quantile: Some(quantile), value: Some(value) };
    let bucket = |bound, count| Bucket { bound: Some(bound), count: Some(count), ..Default::default() };
    let families = [
        family("jobs_total", 0, vec![Metric { counter: single(3.0), ..Default::default() }]),
        family("temp", 1, vec![gauge(&[("a", "x\"\\\n")], 0.1), gauge(&[("empty", "")], f64::NEG_INFINITY)]),
        family(
            "took",
            2,
            vec![Metric {
                labels: labels(&[("a", "b")]),
                summary: Some(Summary {
                    count: Some(5),
                    sum: Some(1.5),
                    quantiles: vec![quantile(0.5, 0.25), quantile(1.0, f64::INFINITY)],
                }),
                timestamp_ms: Some(1_767_000_000_123),
                ..Default::default()
            }],
        ),
        family("any", 3, vec![Metric { untyped: single(-1.0), ..Default::default() }]),
        family(
            "size",
            4,
            vec![Metric {
                histogram: Some(Histogram {
                    count: Some(9),
                    sum: Some(7.5),
                    buckets: vec![bucket(0.1, 1), bucket(1.0, 4)],
                    schema: Some(3),
                    ..Default::default()
                }),
                ..Default::default()
            }],
        ),
    ];
    let (result, lines, decoded) = decode(&families);
    assert_eq!((result, decoded.rejected()), (Ok(()), 0));
    assert_eq!(decoded.skipped[Skip::Exemplar as usize], 1, "that of the counter, as others have none");
    let text = text(&families);
    let options = Options { format: Format::Prometheus, labels: &[] };
    let of_text = self::lines(|sink| Text::new(Bounds::default()).decode(text.as_bytes(), &options, sink));
    assert_eq!((&lines, decoded.metrics), (&of_text.1, of_text.2.metrics), "{text}");
    let bucket = r#""name":"size_bucket","value":9,"type":"histogram","tags":{"le":"+Inf"}}"#;
    assert!(lines.iter().any(|line| line.ends_with(bucket)), "{lines:#?}");
}

#[test]
fn labels_of_the_path_win_over_those_of_a_metric() {
    let path = [(b"job".to_vec(), b"j".to_vec()), (b"gone".to_vec(), vec![])];
    let metric = gauge(&[("gone", "x"), ("job", "y"), ("a", "b")], 1.0);
    let (_, lines, _) = decode_with(&body(&[family("m", 1, vec![metric])]), &path);
    assert!(lines[0].ends_with(r#""name":"m","value":1,"type":"gauge","tags":{"job":"j","a":"b"}}"#), "{lines:?}");
}

#[test]
fn a_metric_is_rejected_as_one_and_the_others_are_stored() {
    let histogram = |bounds: &[f64], label: &str| {
        let bucket = |&bound: &f64| Bucket { bound: Some(bound), count: Some(1), ..Default::default() };
        let buckets = bounds.iter().map(bucket).collect();
        let histogram = Histogram { count: Some(1), buckets, ..Default::default() };
        Metric { labels: labels(&[(label, "1")]), histogram: Some(histogram), ..Default::default() }
    };
    let summary = Metric { labels: labels(&[("quantile", "1")]), summary: Some(Summary::default()), ..gauge(&[], 0.0) };
    for (kind, metric, reason) in [
        (1, gauge(&[("a", "1"), ("a", "2")], 1.0), Reject::Tags),
        (1, gauge(&[("__name__", "m")], 1.0), Reject::Tags),
        (1, gauge(&[("", "m")], 1.0), Reject::Tags),
        (0, gauge(&[], 1.0), Reject::Value),
        (6, gauge(&[], 1.0), Reject::Value),
        (1, Metric::default(), Reject::Value),
        (1, Metric { timestamp_ms: Some(i64::MAX), ..gauge(&[], 1.0) }, Reject::Timestamp),
        (2, summary, Reject::Tags),
        (4, histogram(&[1.0], "le"), Reject::Tags),
        (4, histogram(&[1.0, 0.5], "a"), Reject::Histogram),
        (4, histogram(&[f64::NAN, 0.5], "a"), Reject::Histogram),
        (4, histogram(&vec![1.0; HISTOGRAM_BUCKETS_MAX + 1], "a"), Reject::Histogram),
    ] {
        let good = family("good", 1, vec![gauge(&[], 1.0)]);
        let (result, lines, decoded) = decode(&[family("bad", kind, vec![metric.clone()]), good]);
        assert_eq!((result, decoded.rejected(), lines.len()), (Ok(()), 1, 1), "{metric:?}");
        let first = decoded.first_rejected.unwrap();
        assert_eq!((first.reason, first.at), (reason, 0), "{metric:?}");
        assert!(lines[0].contains(r#""name":"good""#), "{lines:?}");
    }
    let (_, lines, decoded) = decode(&[family("", 1, vec![gauge(&[], 1.0), gauge(&[], 2.0)])]);
    assert_eq!((lines.len(), decoded.rejected[Reject::Name as usize]), (0, 2));
}

#[test]
fn counts_of_floats_are_stored_where_there_are_some() {
    let bucket = Bucket { float_count: Some(0.5), bound: Some(1.0), exemplar: Some(Exemplar::default()), count: None };
    let histogram = Histogram {
        float_count: Some(1.5),
        buckets: vec![bucket],
        exemplars: vec![Exemplar::default(); 2],
        ..Default::default()
    };
    let metric = Metric { histogram: Some(histogram), ..Default::default() };
    let (_, lines, decoded) = decode(&[family("h", 5, vec![metric])]);
    for (line, value) in lines.iter().zip(["0.5", "1.5", "0", "1.5"]) {
        assert!(line.contains(&format!(r#""value":{value},"type":"histogram""#)), "{line}");
    }
    assert_eq!((lines.len(), decoded.skipped[Skip::Exemplar as usize]), (4, 3));
}

#[test]
fn what_is_no_sequence_of_families_is_malformed() {
    let whole = body(&[family("m", 1, vec![gauge(&[("a", "b")], 1.0)])]);
    assert_eq!(decode_with(b"", &[]).0, Ok(()));
    for end in 1..whole.len() {
        let (result, _, _) = decode_with(&whole[..end], &[]);
        assert!(matches!(result, Err(DecodeError::Malformed { byte: 0, .. })), "{end}");
    }
    for bytes in [
        &b"# TYPE m gauge\n"[..],
        b"\x02\x08\x01",
        b"\x02\x20\x01",
        b"\x04\x22\x02\x08\x01",
        b"\x04\x22\x02\x10\x01",
        b"\x0b\x0a\x01m\x18\x01\x22\x04\x12\x02\x08\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        let (result, _, _) = decode_with(bytes, &[]);
        assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{}", bytes.escape_ascii());
    }
}

prop_compose! {
    fn metric()(
        kind in 0..5_i32,
        values in prop::collection::vec(-4..4_i32, 1..4),
        pairs in prop::collection::btree_map("[a-c]", "[ -~é]{0,3}", 0..3),
        timestamp_ms in prop::option::of(0..4_000_000_000_000_i64),
    ) -> (i32, Metric) {
        let value = f64::from(values[0]) / 8.0;
        let single = |of: i32| (kind == of).then_some(Single { value: Some(value), exemplar: None });
        let quantiles = || values.iter().map(|&value| {
            Quantile { quantile: Some(f64::from(value + 4) / 8.0), value: Some(f64::from(value)) }
        });
        let buckets = || (1..).zip(&values).map(|(bound, &value)| {
            Bucket { bound: Some(f64::from(bound)), count: Some(value.unsigned_abs().into()), ..Default::default() }
        });
        let (count, sum) = (Some(values.len() as u64), Some(value));
        (kind, Metric {
            labels: pairs.into_iter().map(|(name, value)| LabelPair { name: Some(name), value: Some(value) }).collect(),
            counter: single(0),
            gauge: single(1),
            summary: (kind == 2).then(|| Summary { count, sum, quantiles: quantiles().collect() }),
            untyped: single(3),
            histogram: (kind == 4).then(|| {
                Histogram { count, sum, buckets: buckets().collect(), ..Default::default() }
            }),
            timestamp_ms,
        })
    }
}

proptest! {
    #[test]
    fn lines_are_those_of_the_text_format(metrics in prop::collection::vec(metric(), 0..6)) {
        let families: Vec<_> = (0..).zip(metrics)
            .map(|(index, (kind, metric))| family(&format!("m{index}"), kind, vec![metric]))
            .collect();
        let text = text(&families);
        let options = Options { format: Format::Prometheus, labels: &[] };
        let of_text = lines(|sink| Text::new(Bounds::default()).decode(text.as_bytes(), &options, sink));
        let numbers = |lines: Vec<String>| lines.into_iter().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
            line["value"] = line["value"].as_f64().into();
            line
        }).collect::<Vec<_>>();
        let (result, of_families, decoded) = decode(&families);
        prop_assert_eq!((result, decoded.rejected(), of_text.2.rejected()), (Ok(()), 0, 0));
        prop_assert_eq!(numbers(of_families), numbers(of_text.1), "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = decode_with(&bytes, &[]);
    }

    #[test]
    fn no_damage_makes_it_panic(metrics in prop::collection::vec(metric(), 1..4), at: prop::sample::Index, byte: u8) {
        let families: Vec<_> = metrics.into_iter().map(|(kind, metric)| family("m", kind, vec![metric])).collect();
        let mut body = body(&families);
        let at = at.index(body.len());
        body[at] = byte;
        let (result, lines, decoded) = decode_with(&body, &[]);
        prop_assert!(result.is_err() || lines.len() == decoded.metrics as usize);
    }
}

//! The cache of series: bodies decode alike behind any others.

use super::differential::{compare_with, float, mutated, timestamp};
use super::messages::field;
use super::reference::{BOUNDS, Expected};
use super::*;
use crate::protocol::remote_write::cached::Lookup;
use crate::sink::Part;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const LABELS: &[(&str, &str)] = &[("__name__", "cpu_total"), ("instance", "a:9100"), ("job", "node"), ("mode", "idle")];

fn with(name: &str, value: &str) -> Vec<(String, String)> {
    let mut labels: Vec<_> = LABELS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    match labels.iter_mut().find(|label| label.0 == name) {
        Some(label) => value.clone_into(&mut label.1),
        None => labels.push((name.to_owned(), value.to_owned())),
    }
    labels
}

fn one_series(labels: &[(String, String)], samples: &[(f64, i64)]) -> Vec<u8> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    series(&labels, samples).encode_to_vec()
}

#[test]
fn a_series_of_1_0_is_cached_by_all_but_its_instance() {
    let sample = &[(1.0, ARRIVAL_MS)];
    let mut decoder = RemoteWrite::new(Bounds::default());
    let mut out = vec![0; 1 << 16];
    decoder.decode_v1(&body(vec![series(LABELS, sample)]), &mut LineSink::new(&mut out, ARRIVAL_MS)).unwrap();
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let long = "x".repeat(200);
    let mut swapped = with("job", "node");
    swapped.swap(1, 2);
    for (labels, samples, expected) in [
        (with("job", "node"), &sample[..], Lookup::Stored),
        (with("instance", "b:9100"), sample, Lookup::Stored),
        (with("instance", "\u{e9}"), sample, Lookup::Passed),
        (with("instance", "\""), sample, Lookup::Passed),
        (with("instance", ""), sample, Lookup::Missed),
        (with("instance", &long), sample, Lookup::Passed),
        (with("job", "nod"), sample, Lookup::Missed),
        (with("job", "nodes"), sample, Lookup::Missed),
        (with("mode", "idlf"), sample, Lookup::Missed),
        (with("mode", ""), sample, Lookup::Missed),
        (with("zone", "a"), sample, Lookup::Missed),
        (with("__name__", "cpu_totam"), sample, Lookup::Missed),
        (swapped, sample, Lookup::Missed),
        (with("job", "node"), &[], Lookup::Passed),
        (with("job", "node"), &[(1.0, ARRIVAL_MS), (2.0, ARRIVAL_MS)], Lookup::Passed),
        (with("job", "node"), &[(1.0, i64::MAX)], Lookup::Passed),
        (with("job", "node"), &[(0.0, ARRIVAL_MS)], Lookup::Stored),
    ] {
        let lookup = decoder.push_cached_v1(&one_series(&labels, samples), &mut sink);
        assert_eq!(lookup, expected, "{labels:?} {samples:?}");
    }
    assert_eq!(sink.metrics(), 3);
    let lines = String::from_utf8(out).unwrap();
    let tails: Vec<_> = lines.lines().take(3).map(tail).collect();
    assert_eq!(
        tails,
        [
            r#""cpu_total","value":1,"type":"counter","tags":{"instance":"a:9100","job":"node","mode":"idle"}}"#,
            r#""cpu_total","value":1,"type":"counter","tags":{"instance":"b:9100","job":"node","mode":"idle"}}"#,
            r#""cpu_total","value":0,"type":"counter","tags":{"instance":"a:9100","job":"node","mode":"idle"}}"#,
        ]
    );
}

#[test]
fn a_series_of_2_0_is_cached_whatever_its_references() {
    let mut decoder = RemoteWrite::new(Bounds::default());
    let mut run = |builder: Builder| {
        let mut out = vec![0; 1 << 16];
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        let request = builder.request.encode_to_vec();
        decoder.decode_v2(&request, &mut sink).unwrap();
        let series = builder.request.timeseries[0].encode_to_vec();
        let cached = decoder.push_cached_v2(&request, Part::of(&series), &mut sink);
        (cached, decoder.cached.kept_bytes())
    };
    let plain =
        || v2::TimeSeries { samples: vec![v2::Sample { start_timestamp: 0, ..sample_v2(1.0) }], ..Default::default() };
    let (cached, kept_bytes) = run(Builder::new().series(LABELS, plain()));
    assert_eq!(cached, Lookup::Stored);
    // Symbols in another order.
    let other = Builder::new().series(&[("x", "job"), ("y", "idle"), ("__name__", "z")], plain());
    let mut other = other.series(LABELS, plain());
    other.request.timeseries.remove(0);
    assert_eq!(run(other), (Lookup::Stored, kept_bytes));
    let not_cached = v2::TimeSeries { exemplars: vec![vec![]], ..plain() };
    assert_eq!(run(Builder::new().series(LABELS, not_cached)).0, Lookup::Passed);
}

/// Labels of scrapes: names, jobs and modes of which there are few, and an instance.
fn labels() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let texts = |texts: &'static [&'static [u8]]| select(texts).prop_map(<[u8]>::to_vec);
    let names = texts(&[b"up", b"x_total"]);
    let instances = texts(&[b"a", b"b:9100", b"", b"\"", b"\xc3\xa9", b"\xff", &[b'i'; 32], &[b'i'; 33], &[b'i'; 128]]);
    let others = vec((texts(&[b"job", b"le", b"mode", b"instance"]), texts(&[b"1", b"idle", b"", b"\\"])), 0..3);
    (names, proptest::option::weighted(0.8, instances), others, 0..8_u8).prop_map(|(name, instance, others, order)| {
        let mut labels = vec![(b"__name__".to_vec(), name)];
        labels.extend(instance.map(|instance| (b"instance".to_vec(), instance)));
        labels.extend(others);
        if order > 0 {
            labels.sort();
        }
        labels
    })
}

/// Result of decoding a body, to the byte.
pub(super) type Decoding = (Result<Written, DecodeError>, Vec<u8>, Decoded);

pub(super) fn run(decoder: &mut RemoteWrite, version: Version, body: &[u8]) -> Decoding {
    let mut out = vec![0; 1 << 16];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let result = match version {
        Version::V1 => decoder.decode_v1(body, &mut sink),
        Version::V2 => decoder.decode_v2(body, &mut sink),
    };
    let decoded = sink.decoded();
    out.truncate(decoded.bytes);
    (result, out, decoded)
}

/// Holds `decoder`, which has decoded other bodies, to the reference, and to a decoder without a cache.
pub(super) fn check(
    decoder: &mut RemoteWrite,
    version: Version,
    body: &[u8],
    expected: Option<&Expected>,
) -> Result<(), TestCaseError> {
    let mut uncached = RemoteWrite::new(BOUNDS);
    uncached.cached.disable();
    let alone = run(&mut uncached, version, body);
    prop_assert_eq!(&run(decoder, version, body), &alone);
    // It has decoded this very body, too.
    prop_assert_eq!(&run(decoder, version, body), &alone);
    compare_with(decoder, version, body, expected)
}

type SeriesParts = (Vec<(Vec<u8>, Vec<u8>)>, Vec<(f64, i64)>);

type BodyParts = (Vec<SeriesParts>, Vec<(u16, u8, u8)>);

/// Bodies of a few series each, most of which have one sample; and changes of their bytes, mostly none.
fn bodies() -> impl Strategy<Value = Vec<BodyParts>> {
    let samples = prop_oneof![
        8 => (float(), timestamp()).prop_map(|sample| vec![sample]),
        1 => vec((float(), timestamp()), 0..3),
    ];
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<(u16, u8, u8)>(), 1..3)];
    vec((vec((labels(), samples), 1..6), changes), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn bodies_of_1_0_decode_alike_behind_any_others(bodies in bodies()) {
        let mut decoder = RemoteWrite::new(BOUNDS);
        for (parts, changes) in &bodies {
            let series = parts.iter().map(|(labels, samples)| v1::TimeSeries {
                labels: labels.iter().map(|(name, value)| v1::Label::new(name, value)).collect(),
                samples: samples.iter().map(|&(value, timestamp)| v1::Sample { value, timestamp }).collect(),
                ..Default::default()
            });
            let body = mutated(body(series.collect()), changes);
            let expected = v1::WriteRequest::decode(&body[..]).ok().map(|request| Expected::of_v1(&request));
            check(&mut decoder, Version::V1, &body, expected.as_ref())?;
        }
    }

    #[test]
    fn bodies_of_2_0_decode_alike_behind_any_others(
        bodies in bodies(),
        kinds in vec(-1..8_i32, 1..6),
        tables in vec((select(vec![0, 0, 1, 126, 127, 130]), 0..4_usize), 8),
    ) {
        let mut decoder = RemoteWrite::new(BOUNDS);
        for ((parts, changes), (unused, first_repeated)) in bodies.iter().zip(tables) {
            // Symbols that nothing refers to, so that the references to the same texts are others, and longer.
            let unused = (0..unused).map(|number: i32| number.to_string().into_bytes());
            let mut request = v2::Request { symbols: vec![Vec::new()], timeseries: Vec::new() };
            request.symbols.extend(unused);
            for (index, (labels, samples)) in parts.iter().enumerate() {
                let mut labels_refs = Vec::new();
                for text in labels.iter().flat_map(|(name, value)| [name, value]) {
                    // From some series on, a symbol for each reference.
                    let known = request.symbols.iter().position(|symbol| symbol == text);
                    let known = known.filter(|_| first_repeated == 0 || index < first_repeated);
                    labels_refs.push(u32::try_from(known.unwrap_or(request.symbols.len())).unwrap());
                    if known.is_none() {
                        request.symbols.push(text.clone());
                    }
                }
                let sample = |&(value, timestamp): &_| v2::Sample { value, timestamp, start_timestamp: 0 };
                let samples = samples.iter().map(sample);
                let kind = kinds[index % kinds.len()];
                let metadata = (kind >= 0).then_some(v2::Metadata { r#type: kind, help_ref: 1, unit_ref: 0 });
                let samples = samples.collect();
                request.timeseries.push(v2::TimeSeries { labels_refs, samples, metadata, ..Default::default() });
            }
            let body = mutated(request.encode_to_vec(), changes);
            let expected = v2::Request::decode(&body[..]).ok().and_then(|request| Expected::of_v2(&request));
            check(&mut decoder, Version::V2, &body, expected.as_ref())?;
        }
    }
}

#[test]
fn more_series_than_are_cached_decode_alike() {
    let labels = |number: usize| with("mode", &format!("{}", number % 6000));
    let bodies: Vec<_> = (0..12)
        .map(|body| {
            (body * 1000..(body + 1) * 1000)
                .flat_map(|number| field(1, &one_series(&labels(number), &[(1.0, ARRIVAL_MS)])))
                .collect::<Vec<u8>>()
        })
        .collect();
    let mut decoder = RemoteWrite::new(Bounds::default());
    for body in &bodies {
        let mut out = vec![0; 1 << 20];
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        decoder.decode_v1(body, &mut sink).unwrap();
        let bytes = sink.decoded().bytes;
        let text = String::from_utf8(out[..bytes].to_vec()).unwrap();
        assert_eq!(text.lines().map(str::to_owned).collect::<Vec<_>>(), decode(Version::V1, body).unwrap().lines);
    }
    decoder.trim();
    assert!(decoder.kept_bytes() < 4 << 20, "{}", decoder.kept_bytes());
}

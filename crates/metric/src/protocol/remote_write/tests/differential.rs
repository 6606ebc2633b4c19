//! The decoder against prost and the reference, on bodies that are valid, nearly valid, and broken.

use super::messages::v1::{BucketSpan, Count, Histogram, ZeroCount};
use super::reference::{BOUNDS, Expected, Sample};
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

/// Decodes `body` and compares with what `expected` says, which is `None` if it is to be refused.
fn compare(version: Version, body: &[u8], expected: Option<&Expected>) -> Result<(), TestCaseError> {
    compare_with(&mut RemoteWrite::new(BOUNDS), version, body, expected)
}

/// As [`compare`], with a decoder that has decoded other bodies.
pub(super) fn compare_with(
    decoder: &mut RemoteWrite,
    version: Version,
    body: &[u8],
    expected: Option<&Expected>,
) -> Result<(), TestCaseError> {
    let mut out = vec![0; 1 << 20];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let result = match version {
        Version::V1 => decoder.decode_v1(body, &mut sink),
        Version::V2 => decoder.decode_v2(body, &mut sink),
    };
    let Some(expected) = expected else {
        prop_assert!(matches!(result, Err(DecodeError::Malformed { byte, .. }) if byte <= body.len()), "{result:?}");
        return Ok(());
    };
    // The one difference: prost skips groups of unknown fields.
    if let Err(DecodeError::Malformed { text: "a field has an unsupported wire type", .. }) = result {
        prop_assert!(body.iter().any(|byte| byte & 7 == 3));
        return Ok(());
    }
    let decoded = sink.decoded();
    let text = std::str::from_utf8(&out[..decoded.bytes]).unwrap();
    prop_assert_eq!(text.lines().count(), expected.lines.len(), "{}\n{:#?}", text, expected.lines);
    for (line, sample) in text.lines().zip(&expected.lines) {
        prop_assert_eq!(&Sample::read(line, sample), sample);
    }
    prop_assert_eq!(result.unwrap(), written(expected.samples, expected.histograms));
    prop_assert_eq!(decoded.metrics as usize, expected.lines.len());
    prop_assert_eq!(decoded.rejected(), expected.rejected, "{:?}", decoded);
    prop_assert_eq!(decoded.skipped[Skip::Exemplar as usize], expected.exemplars);
    prop_assert_eq!(decoded.skipped[Skip::Metadata as usize], expected.metadata);
    Ok(())
}

fn compare_v1(body: &[u8]) -> Result<(), TestCaseError> {
    let expected = v1::WriteRequest::decode(body).ok().map(|request| Expected::of_v1(&request));
    compare(Version::V1, body, expected.as_ref())
}

fn compare_v2(body: &[u8]) -> Result<(), TestCaseError> {
    let expected = v2::Request::decode(body).ok().and_then(|request| Expected::of_v2(&request));
    compare(Version::V2, body, expected.as_ref())
}

const TEXTS: &[&str] =
    &["a", "b", "job", "le", "quantile", "x_total", "up", "1", "1.0", "0.50", "+Inf", "\u{e9}\n\"", "Z"];
/// Texts that mostly break a rule: empty, not UTF-8, taken, or too long for a name or a tag.
const ODD_TEXTS: &[&[u8]] = &[b"", b"\xff", b"__name__", &[b'n'; 17], &[b'n'; 33]];

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => select(TEXTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => select(ODD_TEXTS).prop_map(<[u8]>::to_vec),
    ]
}

fn labels() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = prop_oneof![9 => text().prop_map(|value| Some((b"__name__".to_vec(), value))), 1 => Just(None)];
    (name, vec((text(), text()), 0..4), any::<bool>()).prop_map(|(name, mut labels, is_sorted)| {
        labels.extend(name);
        if is_sorted {
            labels.sort();
            labels.dedup_by(|a, b| a.0 == b.0);
        }
        labels
    })
}

type LabelTexts = Vec<(Vec<u8>, Vec<u8>)>;

/// Gives each series labels in common with the one before it, as agents do: all, all but one value, or the first.
fn share(series: &mut [&mut LabelTexts], choices: &[(u8, u8)]) {
    for (index, &(choice, place)) in (1..series.len()).zip(choices) {
        let before = series[index - 1].clone();
        let labels = &mut *series[index];
        let at = usize::from(place) % before.len().max(1);
        let value = labels.first().map_or_else(|| b"v".to_vec(), |label| label.1.clone());
        match choice % 5 {
            0 => *labels = before,
            1 => labels.splice(..at.min(labels.len()), before[..at.min(before.len())].iter().cloned()).for_each(drop),
            2 | 3 => {
                *labels = before;
                let name = labels.iter().position(|label| label.0 == b"__name__");
                let changed = if choice % 5 == 2 { name } else { Some(at) };
                if let Some(label) = changed.and_then(|at| labels.get_mut(at)) {
                    label.1 = value;
                }
            }
            _ => {}
        }
    }
}

fn choices() -> impl Strategy<Value = Vec<(u8, u8)>> {
    vec(any::<(u8, u8)>(), 6)
}

pub(super) fn float() -> impl Strategy<Value = f64> {
    let stale = f64::from_bits(crate::STALE_NAN_BITS);
    prop_oneof![
        4 => any::<f64>(),
        4 => (-1000..1000_i32).prop_map(|value| f64::from(value) / 8.0),
        1 => select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, stale]),
    ]
}

pub(super) fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![9 => Just(ARRIVAL_MS), 1 => any::<i64>(), 1 => Just(0)]
}

/// Spans and the counts that belong to them.
fn side() -> impl Strategy<Value = (Vec<BucketSpan>, Vec<u16>)> {
    vec((0..4_i32, vec(any::<u16>(), 0..4)), 0..4).prop_flat_map(|spans| {
        (-40..40_i32).prop_map(move |first| {
            let of = |(index, (offset, counts)): (usize, &(i32, Vec<u16>))| BucketSpan {
                offset: offset + if index == 0 { first } else { 0 },
                length: u32::try_from(counts.len()).unwrap(),
            };
            (spans.iter().enumerate().map(of).collect(), spans.iter().flat_map(|span| span.1.clone()).collect())
        })
    })
}

/// A histogram whose parts fit together, but for its timestamp and sum.
fn valid_histogram() -> impl Strategy<Value = Histogram> {
    let schema = prop_oneof![8 => -4..=8, 1 => -9..=52];
    let zero = (select(vec![0.0, 0.001, 2.0]), any::<u16>());
    (any::<bool>(), schema, zero, side(), side(), float(), timestamp()).prop_map(
        |(
            is_float,
            schema,
            (zero_threshold, zero),
            (negative_spans, negative),
            (positive_spans, positive),
            sum,
            timestamp,
        )| {
            let deltas = |counts: &[u16]| -> Vec<i64> {
                let mut before = 0;
                counts
                    .iter()
                    .map(|&count| i64::from(count) - std::mem::replace(&mut before, i64::from(count)))
                    .collect()
            };
            let floats = |counts: &[u16]| -> Vec<f64> { counts.iter().map(|&count| f64::from(count) / 4.0).collect() };
            let total = negative.iter().chain(&positive).chain([&zero]).map(|&count| u64::from(count)).sum::<u64>();
            let mut histogram = Histogram {
                sum,
                schema,
                zero_threshold,
                negative_spans,
                positive_spans,
                timestamp,
                ..Histogram::default()
            };
            if is_float {
                histogram.count = Some(Count::Float(total as f64 / 4.0));
                histogram.zero_count = Some(ZeroCount::Float(f64::from(zero) / 4.0));
                (histogram.negative_counts, histogram.positive_counts) = (floats(&negative), floats(&positive));
            } else {
                histogram.count = Some(Count::Int(total));
                histogram.zero_count = Some(ZeroCount::Int(u64::from(zero)));
                (histogram.negative_deltas, histogram.positive_deltas) = (deltas(&negative), deltas(&positive));
            }
            histogram
        },
    )
}

/// A histogram with bounds of its own.
fn custom_histogram() -> impl Strategy<Value = Histogram> {
    (valid_histogram(), vec(float(), 0..12), 0..6_i32, any::<bool>()).prop_map(
        |(mut histogram, mut bounds, first, is_sorted)| {
            histogram.negative_spans.clear();
            histogram.negative_deltas.clear();
            histogram.negative_counts.clear();
            (histogram.zero_count, histogram.zero_threshold, histogram.schema) = (None, 0.0, -53);
            if let Some(span) = histogram.positive_spans.first_mut() {
                span.offset = first;
            }
            let mut before = 0;
            let counts = histogram.positive_deltas.iter().map(|delta| {
                before += delta;
                before.unsigned_abs()
            });
            let total = counts.sum();
            if let Some(Count::Int(count)) = &mut histogram.count {
                *count = total;
            }
            if is_sorted {
                bounds.retain(|bound| bound.is_finite());
                bounds.sort_by(f64::total_cmp);
                bounds.dedup();
            }
            histogram.custom_values = bounds;
            histogram
        },
    )
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let broken = (valid_histogram(), 0..9, any::<(i32, i64)>(), float()).prop_map(
        |(mut histogram, fault, (schema, integer), float)| {
            match fault {
                0 => histogram.count = Some(Count::Int(integer.unsigned_abs())),
                1 => histogram.count = Some(Count::Float(float)),
                2 => histogram.positive_deltas.push(integer),
                3 => histogram.positive_counts.push(float),
                4 => histogram.negative_spans.push(BucketSpan { offset: -1, length: 0 }),
                5 => histogram.positive_spans.push(BucketSpan { offset: i32::MAX, length: u32::MAX }),
                6 => histogram.zero_threshold = float,
                7 => histogram.custom_values.push(float),
                _ => histogram.schema = schema,
            }
            histogram
        },
    );
    prop_oneof![4 => valid_histogram(), 2 => custom_histogram(), 1 => broken]
}

fn request_v1() -> impl Strategy<Value = v1::WriteRequest> {
    let sample = (float(), timestamp()).prop_map(|(value, timestamp)| v1::Sample { value, timestamp });
    let parts = (labels(), vec(sample, 0..4), vec(vec(any::<u8>(), 0..4), 0..2), vec(histogram(), 0..2));
    (vec(parts, 0..6), choices(), vec(vec(any::<u8>(), 0..4), 0..2)).prop_map(|(mut parts, choices, metadata)| {
        share(&mut parts.iter_mut().map(|parts| &mut parts.0).collect::<Vec<_>>(), &choices);
        let series = parts.into_iter().map(|(labels, samples, exemplars, histograms)| v1::TimeSeries {
            labels: labels.into_iter().map(|(name, value)| v1::Label { name, value }).collect(),
            samples,
            exemplars,
            histograms,
        });
        v1::WriteRequest { timeseries: series.collect(), metadata }
    })
}

fn request_v2() -> impl Strategy<Value = v2::Request> {
    let samples = || {
        (float(), timestamp(), any::<i64>()).prop_map(|(value, timestamp, start_timestamp)| v2::Sample {
            value,
            timestamp,
            start_timestamp,
        })
    };
    let metadata = (-1..9_i32, any::<u32>(), any::<u32>()).prop_map(|(r#type, help_ref, unit_ref)| v2::Metadata {
        r#type,
        help_ref,
        unit_ref,
    });
    let values = prop_oneof![
        4 => (vec(samples(), 0..4), Just(Vec::new())),
        2 => (Just(Vec::new()), vec(histogram(), 0..3)),
        1 => (vec(samples(), 0..2), vec(histogram(), 0..2)),
    ];
    let stray = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some), 1 => Just(Some(0))];
    let parts = (labels(), values, vec(vec(any::<u8>(), 0..4), 0..2), proptest::option::of(metadata), stray);
    (vec(parts, 0..6), choices()).prop_map(|(mut parts, choices)| {
        share(&mut parts.iter_mut().map(|parts| &mut parts.0).collect::<Vec<_>>(), &choices);
        let mut builder = Builder::new();
        for (labels, (samples, histograms), exemplars, metadata, stray) in parts {
            let mut labels_refs = Vec::new();
            for text in labels.into_iter().flat_map(|(name, value)| [name, value]) {
                let symbols = &mut builder.request.symbols;
                let known = symbols.iter().skip(1).position(|symbol| *symbol == text).map(|at| at + 1);
                labels_refs.push(u32::try_from(known.unwrap_or(symbols.len())).unwrap());
                if known.is_none() {
                    symbols.push(text);
                }
            }
            labels_refs.extend(stray);
            let histograms = histograms.into_iter().map(v2::Histogram::from).collect();
            builder.request.timeseries.push(v2::TimeSeries { labels_refs, samples, histograms, exemplars, metadata });
        }
        builder.request
    })
}

/// Changes of a body's bytes, each at a place in 1/65536 of its length.
pub(super) fn mutated(mut body: Vec<u8>, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(place, change, byte) in changes {
        let at = (body.len() * usize::from(place)) >> 16;
        match change % 5 {
            0 if at < body.len() => body[at] = byte,
            1 if at < body.len() => body[at] ^= 1 << (byte % 8),
            2 => body.insert(at, byte),
            3 if at < body.len() => drop(body.remove(at)),
            4 if byte < 32 => body.truncate(at),
            _ => {}
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn bodies_of_1_0_decode_as_the_reference_does(request in request_v1()) {
        compare_v1(&request.encode_to_vec())?;
    }

    #[test]
    fn bodies_of_2_0_decode_as_the_reference_does(request in request_v2()) {
        compare_v2(&request.encode_to_vec())?;
    }

    #[test]
    fn broken_bodies_of_1_0_are_judged_as_by_prost(
        request in request_v1(),
        changes in vec(any::<(u16, u8, u8)>(), 1..4),
    ) {
        compare_v1(&mutated(request.encode_to_vec(), &changes))?;
    }

    #[test]
    fn broken_bodies_of_2_0_are_judged_as_by_prost(
        request in request_v2(),
        changes in vec(any::<(u16, u8, u8)>(), 1..4),
    ) {
        compare_v2(&mutated(request.encode_to_vec(), &changes))?;
    }

    #[test]
    fn random_bytes_are_judged_as_by_prost(body in vec(any::<u8>(), 0..64)) {
        compare_v1(&body)?;
        compare_v2(&body)?;
    }

    #[test]
    fn histograms_decode_as_the_reference_does(histogram in histogram()) {
        let series = v1::TimeSeries { histograms: vec![histogram], ..series(&[("__name__", "h")], &[]) };
        compare_v1(&body(vec![series]))?;
    }
}

#[test]
fn the_generated_bodies_hold_every_case() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 5];
    for _ in 0..300 {
        let request = request_v2().new_tree(&mut runner).unwrap().current();
        let expected = Expected::of_v2(&request).unwrap();
        counts[0] += expected.samples;
        counts[1] += expected.histograms;
        counts[2] += u64::from(expected.rejected);
        counts[3] += u64::from(expected.exemplars);
        let body = mutated(request.encode_to_vec(), &[(40_000, 1, 3)]);
        counts[4] += u64::from(v2::Request::decode(&body[..]).is_ok());
    }
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

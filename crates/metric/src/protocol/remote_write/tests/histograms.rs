//! Native histograms and the classic series that they become.

use super::messages::v1::{BucketSpan, Count, Histogram, ZeroCount};
use super::*;

fn outcome(histogram: Histogram) -> Outcome {
    let histogram = Histogram { timestamp: ARRIVAL_MS, ..histogram };
    let of_1_0 =
        v1::TimeSeries { histograms: vec![histogram.clone()], ..series(&[("__name__", "h"), ("a", "b")], &[]) };
    let outcome = decode(Version::V1, &body(vec![of_1_0])).unwrap();
    let of_2_0 = v2::TimeSeries { histograms: vec![histogram.into()], ..Default::default() };
    assert_eq!(Builder::new().series(&[("__name__", "h"), ("a", "b")], of_2_0).decode().unwrap(), outcome);
    outcome
}

/// `le`, or the suffix of the name, and the value of each line.
fn lines(histogram: Histogram) -> Vec<(String, String)> {
    let outcome = outcome(histogram);
    assert_eq!(outcome.written, written(0, 1), "{outcome:?}");
    let read = |line: &String| {
        let line = Line::parse(line.as_bytes()).unwrap();
        assert_eq!(line.kind, Kind::Histogram);
        let mut tags = line.tags();
        assert_eq!(tags.next(), Some((&b"a"[..], &b"b"[..])));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let place = match tags.next() {
            Some((key, bound)) => {
                assert_eq!((line.name, key), (&b"h_bucket"[..], &b"le"[..]));
                text(bound)
            }
            None => text(line.name),
        };
        (place, if line.is_stale { "stale".to_owned() } else { text(line.value) })
    };
    outcome.lines.iter().map(read).collect()
}

fn expect(histogram: Histogram, expected: &[(&str, &str)]) {
    let lines = lines(histogram);
    let lines: Vec<_> = lines.iter().map(|(place, value)| (&place[..], &value[..])).collect();
    assert_eq!(lines, expected);
}

fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
    spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect()
}

/// Two negative buckets, the zero bucket, and three positive ones, of which the last is by itself.
fn integers() -> Histogram {
    Histogram {
        count: Some(Count::Int(16)),
        sum: 18.4,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Int(2)),
        negative_spans: spans(&[(0, 2)]),
        negative_deltas: vec![1, 1],
        positive_spans: spans(&[(0, 2), (1, 1)]),
        positive_deltas: vec![2, 2, 1],
        ..Histogram::default()
    }
}

const INTEGERS: &[(&str, &str)] = &[
    ("-2.0", "0"),
    ("-1.0", "2"),
    ("-0.5", "3"),
    ("-0.001", "3"),
    ("0.001", "5"),
    ("0.5", "5"),
    ("1.0", "7"),
    ("2.0", "11"),
    ("4.0", "11"),
    ("8.0", "16"),
    ("+Inf", "16"),
    ("h_sum", "18.4"),
    ("h_count", "16"),
];

#[test]
fn a_histogram_of_integers_is_cumulative() {
    expect(integers(), INTEGERS);
}

#[test]
fn a_histogram_of_floats_is_cumulative() {
    let floats = Histogram {
        count: Some(Count::Float(16.0)),
        zero_count: Some(ZeroCount::Float(2.0)),
        negative_deltas: Vec::new(),
        negative_counts: vec![1.0, 2.0],
        positive_deltas: Vec::new(),
        positive_counts: vec![2.0, 4.0, 5.0],
        ..integers()
    };
    expect(floats, INTEGERS);
}

#[test]
fn every_custom_bound_is_written() {
    let custom = Histogram {
        count: Some(Count::Int(4)),
        sum: 2.5,
        schema: -53,
        custom_values: vec![0.005, 1.0, 2.5, 10.0],
        positive_spans: spans(&[(1, 1), (2, 1)]),
        positive_deltas: vec![3, -2],
        ..Histogram::default()
    };
    expect(
        custom.clone(),
        &[("0.005", "0"), ("1.0", "3"), ("2.5", "3"), ("10.0", "3"), ("+Inf", "4"), ("h_sum", "2.5"), ("h_count", "4")],
    );
    let none =
        Histogram { custom_values: Vec::new(), positive_spans: spans(&[(0, 1)]), positive_deltas: vec![4], ..custom };
    expect(none, &[("+Inf", "4"), ("h_sum", "2.5"), ("h_count", "4")]);
}

#[test]
fn an_empty_histogram_is_zero() {
    expect(Histogram::default(), &[("+Inf", "0"), ("h_sum", "0"), ("h_count", "0")]);
}

#[test]
fn a_stale_histogram_ends_its_series() {
    let stale = Histogram { sum: f64::from_bits(crate::STALE_NAN_BITS), ..integers() };
    expect(stale, &[("+Inf", "stale"), ("h_sum", "stale"), ("h_count", "stale")]);
}

#[test]
fn observations_of_nan_are_in_no_bucket() {
    let histogram = Histogram { count: Some(Count::Int(17)), sum: f64::NAN, ..integers() };
    let lines = lines(histogram);
    assert_eq!(lines[9], ("8.0".to_owned(), "16".to_owned()));
    assert_eq!(lines[10], ("+Inf".to_owned(), "17".to_owned()));
    assert_eq!(lines[11], ("h_sum".to_owned(), "\"NaN\"".to_owned()));
}

#[test]
fn buckets_within_the_zero_bucket_belong_to_it() {
    let histogram = Histogram { zero_threshold: 1.5, ..integers() };
    let lines = lines(histogram);
    let places: Vec<_> = lines.iter().map(|(place, value)| format!("{place}={value}")).collect();
    assert_eq!(places[..6], ["-2.0=0", "-1.0=2", "-0.5=3", "1.5=7", "2.0=11", "4.0=11"]);
}

#[test]
fn buckets_at_the_end_of_floats_keep_their_bounds() {
    let histogram = Histogram {
        count: Some(Count::Int(6)),
        positive_spans: spans(&[(1023, 3)]),
        positive_deltas: vec![1, 1, 1],
        ..Histogram::default()
    };
    let lines = lines(histogram);
    assert_eq!(lines[1].0, "8.98846567431158e+307");
    assert_eq!(lines[2], ("1.7976931348623157e+308".to_owned(), "3".to_owned()));
    assert_eq!(lines[3], ("+Inf".to_owned(), "6".to_owned()));
}

#[test]
fn a_histogram_whose_parts_do_not_fit_is_rejected() {
    let custom = Histogram {
        count: Some(Count::Int(1)),
        schema: -53,
        custom_values: vec![1.0, 2.0],
        positive_spans: spans(&[(0, 1)]),
        positive_deltas: vec![1],
        ..Histogram::default()
    };
    assert_eq!(outcome(custom.clone()).written, written(0, 1));
    let float = Histogram { count: Some(Count::Float(1.0)), positive_deltas: Vec::new(), ..custom.clone() };
    for (fault, histogram) in [
        ("count", Histogram { count: Some(Count::Int(15)), ..integers() }),
        ("no count", Histogram { count: None, ..integers() }),
        ("deltas of a float", Histogram { count: Some(Count::Float(16.0)), ..integers() }),
        ("negative count", Histogram { positive_deltas: vec![2, -3, 1], ..integers() }),
        ("overflow", Histogram { positive_deltas: vec![i64::MAX, 1, 1], ..integers() }),
        ("sum of counts", Histogram { positive_deltas: vec![i64::MAX, 0, 0], ..integers() }),
        ("missing bucket", Histogram { positive_deltas: vec![2, 2], ..integers() }),
        ("missing span", Histogram { positive_spans: spans(&[(0, 2)]), ..integers() }),
        ("span of 4 GiB", Histogram { positive_spans: spans(&[(0, u32::MAX), (0, u32::MAX)]), ..integers() }),
        ("gap below 0", Histogram { positive_spans: spans(&[(0, 2), (-1, 1)]), ..integers() }),
        ("schema", Histogram { schema: -10, ..integers() }),
        ("schema", Histogram { schema: 53, ..integers() }),
        ("zero threshold", Histogram { zero_threshold: f64::NAN, ..integers() }),
        ("bounds of exponential", Histogram { custom_values: vec![1.0], ..integers() }),
        ("NaN among the bounds", Histogram { custom_values: vec![f64::NAN], ..custom.clone() }),
        ("infinity among the bounds", Histogram { custom_values: vec![1.0, f64::INFINITY], ..custom.clone() }),
        ("bounds descend", Histogram { custom_values: vec![2.0, 1.0], ..custom.clone() }),
        ("bucket beyond the bounds", Histogram { positive_spans: spans(&[(3, 1)]), ..custom.clone() }),
        ("bucket below the bounds", Histogram { positive_spans: spans(&[(-1, 1)]), ..custom.clone() }),
        ("custom with a threshold", Histogram { zero_threshold: 1.0, ..custom.clone() }),
        ("custom and negative", Histogram { negative_spans: spans(&[(0, 0)]), ..custom }),
        ("NaN", Histogram { positive_counts: vec![f64::NAN], ..float.clone() }),
        ("infinite", Histogram { positive_counts: vec![f64::INFINITY], ..float.clone() }),
        ("below 0", Histogram { positive_counts: vec![-1.0], ..float.clone() }),
        ("count below 0", Histogram { positive_counts: vec![1.0], count: Some(Count::Float(-1.0)), ..float }),
    ] {
        let outcome = outcome(histogram);
        assert_eq!(outcome.written, written(0, 0), "{fault}");
        assert_eq!(outcome.decoded.rejected[Reject::Histogram as usize], 1, "{fault}");
    }
}

#[test]
fn a_rejected_histogram_leaves_the_samples_beside_it() {
    let far = Histogram { timestamp: i64::MAX, ..Histogram::default() };
    let good = Histogram { timestamp: ARRIVAL_MS, ..integers() };
    let name = [("__name__", "h")];
    let series = v1::TimeSeries { histograms: vec![far, good], ..series(&name, &[(1.0, i64::MIN), (2.0, ARRIVAL_MS)]) };
    let outcome = decode(Version::V1, &body(vec![series])).unwrap();
    assert_eq!(outcome.written, written(1, 1));
    assert_eq!(outcome.decoded.rejected[Reject::Timestamp as usize], 2);
    assert_eq!(outcome.decoded.metrics as usize, 1 + INTEGERS.len());
}

#[test]
fn a_histogram_needs_a_place_for_le() {
    let histogram = || vec![Histogram { timestamp: ARRIVAL_MS, ..integers() }];
    for labels in [[("__name__", "h"), ("le", "1")], [("__name__", &"n".repeat(250)[..]), ("a", "b")]] {
        let series = v1::TimeSeries { histograms: histogram(), ..series(&labels, &[]) };
        let outcome = decode(Version::V1, &body(vec![series])).unwrap();
        assert_eq!((outcome.written, outcome.decoded.rejected()), (written(0, 0), 1));
    }
}

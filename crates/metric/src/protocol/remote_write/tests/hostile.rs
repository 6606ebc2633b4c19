//! Bodies made to break a decoder, or to make it work or allocate more than they weigh.

use super::messages::v1::{BucketSpan, Count, Histogram};
use super::*;
use crate::limits::{HISTOGRAM_BUCKETS_MAX, PROTOCOL_METRICS_MAX, SYMBOLS_MAX};

/// One series, wrapped in its request, with `content` behind its name.
fn series_with(content: &[u8]) -> Vec<u8> {
    messages::field(1, &[&series(&[("__name__", "m")], &[]).encode_to_vec(), content].concat())
}

fn is_malformed(version: Version, body: &[u8]) -> bool {
    matches!(decode(version, body), Err(DecodeError::Malformed { byte, .. }) if byte <= body.len())
}

#[test]
fn malformed_bodies_store_nothing() {
    let long_varint = [b"\x10".to_vec(), vec![0x80; 11]].concat();
    for content in [
        &b"\x12"[..],
        b"\x12\x05\x09",
        b"\x12\x02\x09\x00",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        &messages::field(2, &long_varint),
        // A sample, a label, a histogram and an exemplar of the wrong wire type, and fields within them.
        b"\x10\x01",
        b"\x08\x01",
        b"\x20\x01",
        b"\x18\x01",
        &messages::field(2, b"\x08\x01"),
        &messages::field(2, b"\x12\x00"),
        &messages::field(1, b"\x08\x01"),
        &messages::field(4, b"\x0a\x00"),
        &messages::field(4, &messages::field(11, b"\x0a\x00")),
        &messages::field(4, &messages::field(12, b"\x80")),
        &messages::field(4, &messages::field(13, b"\x00\x00")),
        // A group, and the number 0.
        b"\x3b\x3c",
        b"\x02\x00",
    ] {
        assert!(is_malformed(Version::V1, &series_with(content)), "{content:x?}");
    }
    // The place is that of the fault.
    let body = series_with(b"\x12\x02\x09\x00");
    let error = decode(Version::V1, &body).unwrap_err();
    assert_eq!(error, DecodeError::Malformed { byte: body.len() - 2, text: "the message is truncated" });
    for body in [&b"\x22"[..], b"\x20\x01", b"\x28\x01", b"\x22\x00\x2a\x02\x0d\x01", b"\x22\x00\x2a\x02\x28\x01"] {
        assert!(is_malformed(Version::V2, body), "{body:x?}");
    }
}

#[test]
fn a_body_that_ends_early_is_malformed_or_shorter() {
    let request = body(vec![series(&[("__name__", "m"), ("k", "v")], &[(1.0, 2), (3.0, 4)])]);
    for length in 1..request.len() {
        assert!(is_malformed(Version::V1, &request[..length]), "{length}");
    }
}

#[test]
fn a_rejected_series_is_read_to_its_end() {
    let bad = messages::field(1, &messages::field(2, b"\x09"));
    assert!(is_malformed(Version::V1, &bad));
}

#[test]
fn unknown_fields_are_ignored_at_every_level() {
    let unknown = b"\xfa\x01\x01x\xf0\x01\x07\xf9\x01\0\0\0\0\0\0\0\0\xfd\x01\0\0\0\0";
    let label = [&messages::field(1, b"__name__"), &messages::field(2, b"m"), &unknown[..]].concat();
    let sample = [&b"\x09\0\0\0\0\0\0\xf0\x3f"[..], unknown].concat();
    let series = [&messages::field(1, &label), &unknown[..], &messages::field(2, &sample)].concat();
    let outcome = decode(Version::V1, &[&messages::field(1, &series), &unknown[..]].concat()).unwrap();
    assert_eq!(tail(&outcome.lines[0]), r#""m","value":1,"type":"gauge","tags":{}}"#);
}

#[test]
fn samples_beyond_the_bound_refuse_the_body() {
    let samples = |count| vec![(1.0, ARRIVAL_MS); count];
    let full = body(vec![series(&[("__name__", "m")], &samples(PROTOCOL_METRICS_MAX))]);
    let outcome = decode_into(Version::V1, &full, 32 << 20).unwrap();
    assert_eq!(outcome.written, written(100_000, 0));
    for labels in [&[("__name__", "m")][..], &[("job", "j")]] {
        let over = body(vec![series(labels, &samples(PROTOCOL_METRICS_MAX + 1))]);
        assert_eq!(decode_into(Version::V1, &over, 32 << 20), Err(DecodeError::TooManyMetrics));
    }
}

#[test]
fn a_symbol_that_multiplies_is_bounded_by_the_lines() {
    let long = "x".repeat(1024);
    let mut builder = Builder::new();
    for _ in 0..10_000 {
        builder = builder.sample(&[("__name__", "m"), ("k", &long)], 1.0);
    }
    let request = builder.request.encode_to_vec();
    assert!(request.len() < 400_000);
    assert_eq!(decode_into(Version::V2, &request, 4 << 20), Err(DecodeError::TooLarge));
    assert_eq!(decode_into(Version::V2, &request, 16 << 20).unwrap().written, written(10_000, 0));
}

#[test]
fn lists_of_two_bytes_an_entry_are_bounded() {
    let symbols = b"\x22\x00".repeat(SYMBOLS_MAX + 1);
    assert_eq!(decode(Version::V2, &symbols), Err(DecodeError::TooLarge));
    let mut decoder = RemoteWrite::new(Bounds::default());
    let mut out = vec![0; 4096];
    let many = 200_000;
    let labels = messages::field(1, &b"\x0a\x00".repeat(many));
    let named = messages::field(1, &messages::field(1, b"\x0a\x01a\x12\x01b").repeat(many));
    let spans = messages::field(1, &messages::field(4, &b"\x5a\x00\x60\x00".repeat(many)));
    for body in [&labels, &named, &spans] {
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        decoder.decode_v1(body, &mut sink).unwrap();
        assert_eq!((sink.metrics(), sink.decoded().rejected()), (0, 1));
        assert!(decoder.kept_bytes() < 1 << 20, "{}", decoder.kept_bytes());
    }
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    decoder.decode_v2(&symbols[..SYMBOLS_MAX], &mut sink).unwrap();
    assert!(decoder.kept_bytes() > REMOTE_WRITE_KEPT_BYTES_MAX);
    decoder.trim();
    assert!(decoder.kept_bytes() <= REMOTE_WRITE_KEPT_BYTES_MAX);
}

#[test]
fn a_histogram_of_too_many_buckets_is_rejected() {
    for (buckets, is_stored) in [(HISTOGRAM_BUCKETS_MAX, true), (HISTOGRAM_BUCKETS_MAX + 1, false)] {
        let length = u32::try_from(buckets).unwrap();
        let histogram = Histogram {
            count: Some(Count::Int(buckets as u64)),
            schema: 8,
            positive_spans: vec![BucketSpan { offset: 0, length }],
            positive_deltas: [vec![1], vec![0; buckets - 1]].concat(),
            timestamp: ARRIVAL_MS,
            ..Histogram::default()
        };
        let series = v1::TimeSeries { histograms: vec![histogram], ..series(&[("__name__", "h")], &[]) };
        let outcome = decode(Version::V1, &body(vec![series])).unwrap();
        assert_eq!(outcome.written, written(0, u64::from(is_stored)));
        // Each bucket, the lower end of the first, and three more.
        assert_eq!(outcome.lines.len(), if is_stored { buckets + 4 } else { 0 });
    }
}

#[test]
fn many_labels_out_of_order_cost_no_more_than_a_sort() {
    let names: Vec<_> = (0..128).rev().map(|index| format!("k{index:03}")).collect();
    let labels: Vec<_> = names.iter().map(|name| (&name[..], "v")).chain([("__name__", "m")]).collect();
    let outcome = decode(Version::V1, &body(vec![series(&labels, &[(1.0, ARRIVAL_MS)])])).unwrap();
    assert!(outcome.lines[0].contains(r#""tags":{"k000":"v","k001":"v""#), "{}", outcome.lines[0]);
    let more: Vec<_> = labels.iter().copied().chain([("z", "v")]).collect();
    let outcome = decode(Version::V1, &body(vec![series(&more, &[(1.0, ARRIVAL_MS)])])).unwrap();
    assert_eq!(outcome.decoded.rejected[Reject::Tags as usize], 1);
}

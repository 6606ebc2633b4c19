//! The cases of the public conformance suite of receivers that are about decoding, by their names there
//! (<https://github.com/prometheus/compliance>, `remotewrite/receiver`). The others are about HTTP.
//!
//! One thing is not matched: the suite asks for the number of exemplars in the header
//! `X-Prometheus-Remote-Write-Exemplars-Written`, which is 0 here, as none is stored.

use super::messages::v1::{BucketSpan, Count, Histogram, ZeroCount};
use super::*;

type LabelSet = &'static [(&'static str, &'static str)];

enum Data {
    Sample(f64),
    Histogram(Box<Histogram>),
    Nothing,
}
use Data::{Nothing, Sample};

struct Sent {
    labels: LabelSet,
    data: Data,
    exemplars: usize,
    metadata: Option<i32>,
}

fn plain(labels: LabelSet, data: Data) -> Sent {
    Sent { labels, data, exemplars: 0, metadata: None }
}

fn with(labels: LabelSet, data: Data, exemplars: usize, metadata: i32) -> Sent {
    Sent { labels, data, exemplars, metadata: Some(metadata) }
}

/// Decodes a request; its labels come in the opposite order, as the suite sends them in any.
fn run(name: &str, sent: &[Sent], is_success: bool, expected: Written) {
    let mut builder = Builder::new();
    for Sent { labels, data, exemplars, metadata } in sent {
        let mut series = v2::TimeSeries { exemplars: vec![Vec::new(); *exemplars], ..Default::default() };
        series.metadata = metadata.map(|r#type| v2::Metadata { r#type, help_ref: 0, unit_ref: 0 });
        match data {
            Sample(value) => series.samples.push(sample_v2(*value)),
            Data::Histogram(histogram) => series.histograms.push((**histogram).clone().into()),
            Nothing => {}
        }
        let labels: Vec<_> = labels.iter().rev().copied().collect();
        builder = builder.series(&labels, series);
    }
    let outcome = builder.decode().unwrap();
    assert_eq!(outcome.decoded.rejected() == 0, is_success, "{name}: {:?}", outcome.decoded);
    assert_eq!(outcome.written, expected, "{name}");
}

/// The histogram that the suite makes of its switches.
fn histogram(sum: f64, positive: bool, negative: bool, zero: bool, custom: bool, bad_count: bool) -> Data {
    let span = |offset, length| BucketSpan { offset, length };
    let mut histogram = Histogram { sum, timestamp: ARRIVAL_MS, ..Default::default() };
    let mut count = 0;
    if positive {
        histogram.positive_spans = vec![span(0, 3), span(2, 2)];
        histogram.positive_deltas = vec![1, 2, 1, 3, 1];
        count += 23;
    }
    if negative {
        histogram.negative_spans = vec![span(0, 2)];
        histogram.negative_deltas = vec![1, 1];
        count += 3;
    }
    if zero {
        histogram.zero_count = Some(ZeroCount::Int(1));
        count += 1;
    }
    if custom {
        histogram.schema = -53;
        histogram.custom_values = vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0];
        histogram.positive_spans = vec![span(0, 6)];
        histogram.positive_deltas = vec![2, 1, 2, 3, -1, -2];
        count = 30;
    }
    histogram.count = Some(Count::Int(if bad_count { 99 } else { count }));
    Data::Histogram(Box::new(histogram))
}

const UP: LabelSet = &[("__name__", "up")];
const UP_JOB: LabelSet = &[("__name__", "up"), ("instance", "localhost:9090"), ("job", "testjob")];
const NO_NAME: LabelSet = &[("instance", "localhost:9090"), ("job", "testjob")];

#[test]
fn samples_are_judged_as_by_the_conformance_suite() {
    let values = [1.0, f64::from_bits(crate::STALE_NAN_BITS), f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for value in values {
        let single: [(&str, LabelSet, bool); 7] = [
            ("simple metric", UP, true),
            ("simple metric with multiple labels", UP_JOB, true),
            ("simple metric with newlines", &[("__name__", "up"), ("job", "test\njob\n")], true),
            ("simple metric with dots", &[("__name__", "resource.cpu.usage"), ("job.name", "testjob")], true),
            ("simple metric with spaces", &[("__name__", "resource cpu usage"), ("job name", "testjob")], true),
            ("simple metric without name label", NO_NAME, false),
            ("empty metric", &[], false),
        ];
        for (name, labels, is_success) in single {
            run(name, &[plain(labels, Sample(value))], is_success, written(u64::from(is_success), 0));
        }
        let many = |first, others| [first, others, others, others].map(|labels| plain(labels, Sample(value)));
        run("multiple metrics", &many(UP_JOB, UP_JOB), true, written(4, 0));
        run("multiple metrics, without name label", &many(NO_NAME, NO_NAME), false, written(0, 0));
        run("multiple metrics, 1 without name label", &many(NO_NAME, UP_JOB), false, written(3, 0));
    }
    let counter: LabelSet = &[("__name__", "http_requests_total"), ("job", "api")];
    run("TestCounterWithCreatedTimestamp", &[plain(counter, Sample(100.0))], true, written(1, 0));
}

#[test]
fn histograms_are_judged_as_by_the_conformance_suite() {
    const NAME: LabelSet = &[("__name__", "test_histogram"), ("job", "test")];
    for (name, data, is_success) in [
        ("basic_histogram", histogram(1.0, true, true, true, false, false), true),
        ("custom_buckets_histogram", histogram(1.0, false, false, false, true, false), true),
        ("positive_only_histogram", histogram(1.0, true, false, true, false, false), true),
        ("negative_only_histogram", histogram(1.0, false, true, false, false, false), true),
        ("minimal_histogram", histogram(1.0, false, false, true, false, false), true),
        ("bad_count_histogram", histogram(1.0, true, false, false, false, true), false),
        ("TestHistogramWithCreatedTimestamp", histogram(1.5, true, true, true, false, false), true),
        ("TestEmptyHistogram", histogram(0.0, false, false, false, false, false), true),
    ] {
        run(name, &[plain(NAME, data)], is_success, written(0, u64::from(is_success)));
    }
    let two = [
        plain(&[("__name__", "hist1")], histogram(10.5, true, false, true, false, false)),
        plain(&[("__name__", "hist2")], histogram(5.2, false, true, false, false, false)),
    ];
    run("TestMultipleHistograms", &two, true, written(0, 2));
    let basic = || histogram(2.5, true, true, true, false, false);
    run("TestHistogramWithMetadata", &[with(NAME, basic(), 0, 3)], true, written(0, 1));
    run("TestHistogramWithExemplar", &[with(NAME, basic(), 1, 0)], true, written(0, 1));
    run("TestHistogramWithMetadataAndExemplar", &[with(NAME, basic(), 1, 3)], true, written(0, 1));
    let two = [with(NAME, basic(), 0, 3), with(&[("__name__", "memory")], basic(), 0, 3)];
    run("TestMultipleHistogramsWithMetadata", &two, true, written(0, 2));
    let custom = histogram(0.05, false, false, false, true, false);
    run("TestCustomBucketsHistogramWithExemplar", &[with(NAME, custom, 1, 0)], true, written(0, 1));
}

#[test]
fn metadata_is_judged_as_by_the_conformance_suite() {
    let single: [(&str, LabelSet, i32); 11] = [
        ("counter_metadata", &[("__name__", "http_requests_total")], 1),
        ("gauge_metadata", &[("__name__", "cpu_usage_percent")], 2),
        ("metadata_no_help_no_unit", &[("__name__", "simple_counter")], 1),
        ("metadata_with_special_chars", &[("__name__", "test_metric")], 2),
        ("unspecified_metadata_type", &[("__name__", "unknown_metric")], 0),
        ("info_metadata_type", &[("__name__", "build_info")], 6),
        ("stateset_metadata_type", &[("__name__", "node_state")], 7),
        ("summary_metadata_type", &[("__name__", "request_latency_summary")], 5),
        ("gauge_histogram_metadata_type", &[("__name__", "temperature_histogram")], 4),
        ("metadata_with_valid_name", &[("__name__", "valid_metric_name")], 1),
        ("TestMetadataWithSamples", &[("__name__", "http_requests_total")], 1),
    ];
    for (name, labels, metadata_type) in single {
        run(name, &[with(labels, Sample(1.0), 0, metadata_type)], true, written(1, 0));
    }
    let basic = histogram(1.0, true, true, true, false, false);
    run("histogram_metadata", &[with(&[("__name__", "request_duration_seconds")], basic, 0, 3)], true, written(0, 1));
    run("metadata_without_name_label", &[with(&[("job", "test")], Sample(1.0), 0, 1)], false, written(0, 0));
    run("metadata_with_empty_name", &[with(&[("__name__", "")], Sample(1.0), 0, 2)], false, written(0, 0));
    run("metadata_without_data", &[with(&[("__name__", "orphan_metric")], Nothing, 0, 1)], true, written(0, 0));
    let three: [LabelSet; 3] =
        [&[("__name__", "cpu_usage")], &[("__name__", "memory_usage")], &[("__name__", "disk_usage")]];
    let three = three.map(|labels| with(labels, Sample(85.5), 0, 2));
    run("TestMultipleMetadata", &three, true, written(3, 0));
    const COMPLEX: LabelSet = &[
        ("__name__", "http_request_duration_seconds"),
        ("endpoint", "/api/v1/users"),
        ("instance", "localhost:8080"),
        ("job", "api-server"),
        ("method", "GET"),
        ("status", "200"),
    ];
    let basic = histogram(0.25, true, true, true, false, false);
    run("TestMetadataWithComplexLabels", &[with(COMPLEX, basic, 0, 3)], true, written(0, 1));
}

#[test]
fn exemplars_are_judged_as_by_the_conformance_suite() {
    const UNICODE: LabelSet = &[("__name__", "unicode_test"), ("region", "🌍")];
    for (name, labels, is_success) in [
        ("basic_exemplar", UP, true),
        ("exemplar_with_unicode", UNICODE, true),
        ("TestExemplarWithCreatedTimestamp", UP_JOB, true),
        ("exemplar_with_valid_name", UP, true),
        ("exemplar_without_name_label", &[("job", "test")], false),
        ("exemplar_with_empty_name", &[("__name__", "")], false),
    ] {
        run(name, &[with(labels, Sample(1.0), 1, 0)], is_success, written(u64::from(is_success), 0));
    }
    for value in [0.0, -123.456, 1e10, 1e-10, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        run("TestExemplarSpecialValues", &[with(UP, Sample(value), 1, 0)], true, written(1, 0));
    }
    run("exemplars_without_data", &[with(UP, Nothing, 1, 0)], true, written(0, 0));
}

#[test]
fn mixed_requests_are_judged_as_by_the_conformance_suite() {
    const TOTAL: LabelSet = &[("__name__", "http_requests_total"), ("job", "api"), ("method", "POST")];
    const SPECIAL: LabelSet = &[
        ("__name__", "test_metric"),
        ("environment", "test🚀"),
        ("instance", "localhost:9090"),
        ("job", "test-job_with.special@chars"),
    ];
    let basic = || histogram(0.456, true, true, true, false, false);
    run("TestSamplesWithMetadataAndExemplars", &[with(TOTAL, Sample(1.0), 1, 1)], true, written(1, 0));
    run("TestHistogramsWithMetadataAndExemplars", &[with(TOTAL, basic(), 1, 3)], true, written(0, 1));
    let two = [with(UP, Sample(0.85), 1, 2), with(UP_JOB, Sample(8_589_934_592.0), 0, 2)];
    run("TestComplexSamplesRequest", &two, true, written(2, 0));
    run("TestComplexHistogramsRequest", &[with(UP, basic(), 0, 3), with(TOTAL, basic(), 1, 3)], true, written(0, 2));
    let two = [with(TOTAL, Sample(1000.0), 1, 1), with(UP, Sample(23.5), 0, 2)];
    run("TestMultipleMetricFamiliesSamples", &two, true, written(2, 0));
    run("TestMultipleMetricFamiliesHistograms", &[with(TOTAL, basic(), 1, 3)], true, written(0, 1));
    run("TestSpecialCharactersCombined", &[with(SPECIAL, Sample(42.0), 1, 2)], true, written(1, 0));
    let many: Vec<_> = (0..50).map(|index| with(TOTAL, Sample(f64::from(index) * 100.0), 1, 1)).collect();
    run("TestManySamples", &many, true, written(50, 0));
    let many: Vec<_> = (0..50).map(|_| with(TOTAL, basic(), 1, 3)).collect();
    run("TestManyHistograms", &many, true, written(0, 50));
}

#[test]
fn bodies_of_1_0_are_judged_as_by_the_conformance_suite() {
    // TestRW1BasicCompatibility, with the labels out of order.
    let shuffled = [("job", "testjob"), ("__name__", "up"), ("instance", "localhost:9090")];
    let total = [("__name__", "http_requests_total")];
    let body = body(vec![series(&shuffled, &[(1.0, ARRIVAL_MS)]), series(&total, &[(100.0, ARRIVAL_MS)])]);
    let outcome = decode(Version::V1, &body).unwrap();
    assert_eq!((outcome.written, outcome.decoded.rejected()), (written(2, 0), 0));
    // TestCorruptRequestBody.
    let broken = [b"0", &body[1..]].concat();
    assert!(matches!(decode(Version::V1, &broken), Err(DecodeError::Malformed { .. })));
}

//! Requests of all shapes, valid and not, as proptest strategies.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Finite: the oracle's JSON has no others. And not -0.0, which prost leaves out as if it were the default.
fn float() -> BoxedStrategy<f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        3 => (-1_000_i32..1_000).prop_map(|number| f64::from(number) / 8.0),
        1 => (POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO).prop_map(|float| if float == 0.0 { 0.0 } else { float }),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![3 => "[a-z./]{0,12}", 1 => any::<String>()].boxed()
}

fn any_value() -> BoxedStrategy<AnyValue> {
    let leaf = prop_oneof![
        6 => text().prop_map(|text| Some(any_value::Value::StringValue(text))),
        1 => any::<bool>().prop_map(|value| Some(any_value::Value::BoolValue(value))),
        1 => any::<i64>().prop_map(|value| Some(any_value::Value::IntValue(value))),
        1 => float().prop_map(|value| Some(any_value::Value::DoubleValue(value))),
        1 => vec(any::<u8>(), 0..8).prop_map(|value| Some(any_value::Value::BytesValue(value))),
        1 => Just(None),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        let array = vec(inner.clone(), 0..3).prop_map(|values| any_value::Value::ArrayValue(ArrayValue { values }));
        let entry = (text(), option::of(inner)).prop_map(|(key, value)| KeyValue { key, value, ..Default::default() });
        let map = vec(entry, 0..3).prop_map(|values| any_value::Value::KvlistValue(KeyValueList { values }));
        prop_oneof![array, map].prop_map(|value| AnyValue { value: Some(value) })
    });
    nested.boxed()
}

fn attributes() -> BoxedStrategy<Vec<KeyValue>> {
    // Few, so that they repeat and override each other, with those that mean something.
    const KEYS: [&str; 10] =
        ["a", "b", "c.d", "le", "quantile", "service.name", "service.instance.id", "job", "é\"\n", "__temporality__"];
    let key = prop_oneof![9 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => text()];
    let attribute = (key, option::weighted(0.95, any_value())).prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..Default::default()
    });
    vec(attribute, 0..5).boxed()
}

/// Generates timestamps of the years 1970 to 2286, or none.
fn nanos() -> BoxedStrategy<u64> {
    prop_oneof![1 => Just(0), 3 => 0_u64..10_000_000_000_000_000_000].boxed()
}

fn flags() -> BoxedStrategy<u32> {
    prop_oneof![6 => Just(0), 1 => Just(1), 1 => any::<u32>()].boxed()
}

fn exemplars() -> BoxedStrategy<Vec<Exemplar>> {
    let exemplar = (attributes(), any::<i64>()).prop_map(|(filtered_attributes, value)| Exemplar {
        filtered_attributes,
        time_unix_nano: 1,
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        value: Some(exemplar::Value::AsInt(value)),
    });
    vec(exemplar, 0..2).boxed()
}

fn number_points() -> BoxedStrategy<Vec<NumberDataPoint>> {
    let value = prop_oneof![
        float().prop_map(number_data_point::Value::AsDouble),
        any::<i64>().prop_map(number_data_point::Value::AsInt)
    ];
    let parts = (attributes(), nanos(), flags(), exemplars(), option::weighted(0.9, value));
    let point = parts.prop_map(|(attributes, time_unix_nano, flags, exemplars, value)| NumberDataPoint {
        attributes,
        start_time_unix_nano: 5,
        time_unix_nano,
        exemplars,
        flags,
        value,
    });
    vec(point, 0..4).boxed()
}

fn histogram_points() -> BoxedStrategy<Vec<HistogramDataPoint>> {
    let bounds = prop_oneof![
        4 => (0_usize..5).prop_map(|count| [-1.0, 0.0, 0.5, 10.0, 2.5e7][..count].to_vec()),
        1 => vec(float(), 0..4),
    ];
    let counts = vec(prop_oneof![9 => 0_u64..20, 1 => any::<u64>()], 5);
    let parts =
        (attributes(), nanos(), flags(), exemplars(), option::of(float()), bounds, counts, 0_usize..12, 0_u64..12);
    let point = parts.prop_map(|(attributes, nanos, flags, exemplars, sum, bounds, mut counts, miss, more)| {
        counts.truncate(match miss {
            0 => 0,
            1 => bounds.len(),
            _ => bounds.len() + 1,
        });
        let count = counts.iter().fold(more / 10, |sum: u64, count| sum.wrapping_add(*count));
        HistogramDataPoint {
            attributes,
            start_time_unix_nano: 5,
            time_unix_nano: nanos,
            count: if more == 0 { count.saturating_sub(1) } else { count },
            sum,
            bucket_counts: counts,
            explicit_bounds: bounds,
            exemplars,
            flags,
            min: sum,
            max: Some(1.0),
        }
    });
    vec(point, 0..3).boxed()
}

fn buckets() -> BoxedStrategy<Option<Buckets>> {
    let counts = vec(prop_oneof![1 => Just(0), 2 => 0_u64..20], 0..6);
    option::of((-20..20, counts).prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts })).boxed()
}

/// Scales with which boundaries are exact.
fn exponential_points() -> BoxedStrategy<Vec<ExponentialHistogramDataPoint>> {
    let parts =
        (attributes(), nanos(), flags(), option::of(float()), -2_i32..=0, buckets(), buckets(), 0_u64..3, 0_u64..12);
    let point = parts.prop_map(|(attributes, nanos, flags, sum, scale, positive, negative, zero_count, more)| {
        let sides = [&positive, &negative].into_iter().flatten().flat_map(|buckets| &buckets.bucket_counts);
        let count = sides.sum::<u64>() + zero_count + more / 10;
        ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: 5,
            time_unix_nano: nanos,
            count: if more == 0 { count.saturating_sub(1) } else { count },
            sum,
            scale,
            zero_count,
            positive,
            negative,
            flags,
            exemplars: Vec::new(),
            min: None,
            max: sum,
            zero_threshold: if more == 1 { -1.0 } else { 0.0 },
        }
    });
    vec(point, 0..3).boxed()
}

fn summary_points() -> BoxedStrategy<Vec<SummaryDataPoint>> {
    let quantile = prop_oneof![9 => (0_u32..=20).prop_map(|number| f64::from(number) / 20.0), 1 => float()];
    let values = vec((quantile, float()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value }), 0..4);
    let parts = (attributes(), nanos(), flags(), any::<u64>(), float(), values);
    let point = parts.prop_map(|(attributes, nanos, flags, count, sum, quantile_values)| SummaryDataPoint {
        attributes,
        start_time_unix_nano: 5,
        time_unix_nano: nanos,
        count,
        sum,
        quantile_values,
        flags,
    });
    vec(point, 0..3).boxed()
}

fn metric() -> BoxedStrategy<Metric> {
    let gauge = number_points().prop_map(|data_points| metric::Data::Gauge(Gauge { data_points }));
    let sum =
        (number_points(), 0..4, any::<bool>()).prop_map(|(data_points, aggregation_temporality, is_monotonic)| {
            metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        });
    let histogram = (histogram_points(), 0..3).prop_map(|(data_points, aggregation_temporality)| {
        metric::Data::Histogram(Histogram { data_points, aggregation_temporality })
    });
    let exponential = (exponential_points(), 0..3).prop_map(|(data_points, aggregation_temporality)| {
        metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
    });
    let summary = summary_points().prop_map(|data_points| metric::Data::Summary(Summary { data_points }));
    let data = prop_oneof![gauge, sum, histogram, exponential, summary];
    let name = prop_oneof![9 => "[a-z][a-z.]{0,20}", 1 => text()];
    (name, option::weighted(0.95, data), attributes())
        .prop_map(|(name, data, metadata)| Metric {
            name,
            description: "text".into(),
            unit: "s".into(),
            metadata,
            data,
        })
        .boxed()
}

pub fn request() -> BoxedStrategy<ExportMetricsServiceRequest> {
    let scope = vec(metric(), 0..4).prop_map(|metrics| ScopeMetrics { metrics, ..Default::default() });
    let resource = option::of(attributes().prop_map(|attributes| Resource { attributes, ..Default::default() }));
    let of_resource = (resource, vec(scope, 0..3)).prop_map(|(resource, scope_metrics)| ResourceMetrics {
        resource,
        scope_metrics,
        schema_url: "https://opentelemetry.io/schemas/1.27.0".into(),
    });
    vec(of_resource, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics }).boxed()
}

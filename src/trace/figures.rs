//! The server's own metrics in OTLP: the families of `GET /metrics`, under the same names.
//!
//! A counter is a cumulative monotonic sum, without the `_total` that belongs to Prometheus' text; a histogram keeps
//! its bounds. What a name ends in, `_seconds` or `_bytes`, is the unit.

use super::Identity;
use crate::stats::{Family, Figures, Kind, Number, Sample, Value};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric, number_data_point,
    },
    resource::v1::Resource,
};

/// The message that carries `figures`.
#[must_use]
pub fn request(figures: Figures, identity: &Identity) -> ExportMetricsServiceRequest {
    let Figures { families, started_unix_ns, now_unix_ns } = figures;
    let times = Times { started_unix_ns, now_unix_ns };
    let metrics = families.into_iter().map(|family| times.metric(family)).collect();
    let attributes = identity.resource.iter().map(|(key, value)| attribute(key, value)).collect();
    let scope = InstrumentationScope {
        name: "metricstream".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample.labels().map(|(key, value)| attribute(key, value)).collect()
}

#[derive(Debug, Clone, Copy)]
struct Times {
    started_unix_ns: u64,
    now_unix_ns: u64,
}

impl Times {
    fn metric(self, family: Family) -> Metric {
        let unit = match family.unit() {
            Some("seconds") => "s",
            Some("bytes") => "By",
            _ => "",
        };
        let numbers = || family.samples.iter().filter_map(|sample| self.number(sample)).collect();
        let (data, suffix) = match family.kind {
            Kind::Counter => {
                let sum = Sum {
                    data_points: numbers(),
                    aggregation_temporality: AggregationTemporality::Cumulative as i32,
                    is_monotonic: true,
                };
                (metric::Data::Sum(sum), "")
            }
            Kind::Gauge => (metric::Data::Gauge(Gauge { data_points: numbers() }), ""),
            Kind::Info => (metric::Data::Gauge(Gauge { data_points: numbers() }), "_info"),
            Kind::Histogram => {
                let data_points = family.samples.iter().filter_map(|sample| self.distribution(sample)).collect();
                let temporality = AggregationTemporality::Cumulative as i32;
                (metric::Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }), "")
            }
        };
        Metric {
            name: format!("{}{suffix}", family.name),
            description: family.help,
            unit: unit.into(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number(self, sample: &Sample) -> Option<NumberDataPoint> {
        let Value::Number(number) = sample.value else { return None };
        let value = match number {
            // Beyond 2^63 a count would have to grow for 292 years by one each nanosecond.
            Number::Whole(number) => number_data_point::Value::AsInt(i64::try_from(number).unwrap_or(i64::MAX)),
            Number::Real(number) => number_data_point::Value::AsDouble(number),
        };
        Some(NumberDataPoint {
            attributes: attributes(sample),
            start_time_unix_nano: self.started_unix_ns,
            time_unix_nano: self.now_unix_ns,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn distribution(self, sample: &Sample) -> Option<HistogramDataPoint> {
        let Value::Distribution { bounds, cumulative, count, sum } = &sample.value else { return None };
        // Here each bucket has its own count, and one more than there are bounds has the rest.
        let mut below = 0;
        let counts = cumulative.iter().chain([count]).map(|&at_most| {
            let own = at_most - below;
            below = at_most;
            own
        });
        Some(HistogramDataPoint {
            attributes: attributes(sample),
            start_time_unix_nano: self.started_unix_ns,
            time_unix_nano: self.now_unix_ns,
            count: *count,
            sum: Some(*sum),
            bucket_counts: counts.collect(),
            explicit_bounds: bounds.clone(),
            ..HistogramDataPoint::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(family: Family) -> Metric {
        let identity = Identity::new(
            &[("a".into(), "b".into())],
            &crate::listening::Endpoint::Tcp("127.0.0.1:1".parse().unwrap()),
            "",
        );
        let figures = Figures { families: vec![family], started_unix_ns: 5, now_unix_ns: 9 };
        let mut request = request(figures, &identity);
        let mut resource = request.resource_metrics.remove(0);
        assert!(resource.resource.unwrap().attributes.contains(&attribute("a", "b")));
        resource.scope_metrics.remove(0).metrics.remove(0)
    }

    fn family(name: &'static str, kind: Kind) -> Family {
        Family { name, kind, help: "Help.".into(), samples: Vec::new() }
    }

    #[test]
    fn a_counter_is_a_cumulative_sum() {
        let mut counter = family("a_bytes", Kind::Counter);
        counter.labelled("reason", "x", 7_u64);
        let metric = exported(counter);
        assert_eq!((&*metric.name, &*metric.unit, &*metric.description), ("a_bytes", "By", "Help."));
        let Some(metric::Data::Sum(sum)) = metric.data else { panic!("not a sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!(point.attributes, [attribute("reason", "x")]);
    }

    #[test]
    fn a_gauge_is_one() {
        let mut gauge = family("a_seconds", Kind::Gauge);
        gauge.sample("", 0.5);
        let metric = exported(gauge);
        assert_eq!(metric.unit, "s");
        let Some(metric::Data::Gauge(gauge)) = metric.data else { panic!("not a gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(0.5)));
        assert_eq!(exported(family("build", Kind::Info)).name, "build_info");
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up_to_its_count() {
        let mut histogram = family("a", Kind::Histogram);
        let (bounds, cumulative) = (vec![1.0, 2.0, 5.0], vec![3, 3, 10]);
        histogram.sample("", 0_u64);
        histogram.samples[0].value = Value::Distribution { bounds: bounds.clone(), cumulative, count: 12, sum: 40.0 };
        let Some(metric::Data::Histogram(histogram)) = exported(histogram).data else { panic!("not a histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, &point.explicit_bounds), (12, Some(40.0), &bounds));
        assert_eq!(point.bucket_counts, [3, 0, 7, 2]);
    }
}

//! OTLP metrics as protobuf: <https://opentelemetry.io/docs/specs/otlp/>. A resource for each host, a metric for each
//! name of its scrape, a data point for each series of that name. Counters are monotonic cumulative sums, all else
//! gauges; whole numbers are integers.

use super::{
    exporter::Kind,
    scrape::{Number, Sample},
    wire::Writer,
};

/// Counters have counted since a quarter of an hour before the load.
const COUNTED_NS: u64 = 900 * 1_000_000_000;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// An `ExportMetricsServiceRequest`.
pub(super) fn request(samples: &[Sample<'_>]) -> Vec<u8> {
    let mut request = Writer::default();
    for host in samples.chunk_by(|one, next| (one.host, one.timestamp_ms) == (next.host, next.timestamp_ms)) {
        request.message_field(1, |resource_metrics| {
            resource_metrics.message_field(1, |resource| {
                attribute(resource, 1, "service.name", "node");
                attribute(resource, 1, "service.instance.id", host[0].instance);
                attribute(resource, 1, "host.arch", "amd64");
                attribute(resource, 1, "os.type", "linux");
            });
            resource_metrics.message_field(2, |scope_metrics| {
                scope_metrics.message_field(1, |scope| {
                    scope.string_field(1, "load_test");
                    scope.string_field(2, env!("CARGO_PKG_VERSION"));
                });
                // A name's series are brought together.
                let mut sorted: Vec<_> = host.iter().collect();
                sorted.sort_by(|one, next| one.series.name.cmp(&next.series.name));
                for points in sorted.chunk_by(|one, next| one.series.name == next.series.name) {
                    scope_metrics.message_field(2, |metric| write_metric(metric, points));
                }
            });
        });
    }
    request.into_bytes()
}

fn write_metric(metric: &mut Writer, points: &[&Sample<'_>]) {
    let series = points[0].series;
    metric.string_field(1, &series.name);
    metric.string_field(2, &series.help);
    match series.kind {
        Kind::Counter => metric.message_field(7, |sum| {
            points.iter().for_each(|sample| sum.message_field(1, |point| write_point(point, sample)));
            sum.varint_field(2, CUMULATIVE);
            sum.varint_field(3, 1);
        }),
        Kind::Gauge | Kind::Summary => metric.message_field(5, |gauge| {
            points.iter().for_each(|sample| gauge.message_field(1, |point| write_point(point, sample)));
        }),
    }
}

fn write_point(point: &mut Writer, sample: &Sample<'_>) {
    let time_ns = sample.timestamp_ms.cast_unsigned().saturating_mul(1_000_000);
    if sample.series.kind == Kind::Counter {
        point.fixed64_field(2, time_ns.saturating_sub(COUNTED_NS));
    }
    point.fixed64_field(3, time_ns);
    match sample.number {
        Number::Float(float) => point.fixed64_in_oneof(4, float.to_bits()),
        Number::Integer(integer) => point.fixed64_in_oneof(6, integer.cast_unsigned()),
    }
    // The resource says what `instance` and `job` are.
    for (name, value) in sample.series.labels.iter().filter(|(name, _)| !["instance", "job"].contains(name)) {
        attribute(point, 7, name, value);
    }
}

fn attribute(holder: &mut Writer, number: u32, key: &str, value: &str) {
    holder.message_field(number, |attribute| {
        attribute.string_field(1, key);
        attribute.message_field(2, |any| any.string_field(1, value));
    });
}

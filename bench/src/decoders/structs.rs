//! Structs that prost and serde make of a body, and their metrics as lines of the log.

use crate::messages::{v1, v2};
use metric::{Bounds, DecodeError, Kind, LineSink, Reject, Series, Value};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{AggregationTemporality, Metric, NumberDataPoint, metric::Data, number_data_point::Value as Number},
};
use prost::Message;
use std::borrow::Cow;

/// Remote write 1.0.
pub(super) fn v1(body: &[u8]) -> Result<v1::WriteRequest, String> {
    v1::WriteRequest::decode(body).map_err(|error| error.to_string())
}

/// Remote write 2.0.
pub(super) fn v2(body: &[u8]) -> Result<v2::Request, String> {
    v2::Request::decode(body).map_err(|error| error.to_string())
}

/// OTLP as protobuf.
pub(super) fn otlp(body: &[u8]) -> Result<ExportMetricsServiceRequest, String> {
    ExportMetricsServiceRequest::decode(body).map_err(|error| error.to_string())
}

/// OTLP as JSON.
pub(super) fn otlp_json(body: &[u8]) -> Result<ExportMetricsServiceRequest, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn number_points(metric: &Metric) -> (&[NumberDataPoint], Kind) {
    match &metric.data {
        Some(Data::Gauge(gauge)) => (&gauge.data_points, Kind::Gauge),
        Some(Data::Sum(sum)) => {
            let cumulative = sum.aggregation_temporality == AggregationTemporality::Cumulative as i32;
            (&sum.data_points, if sum.is_monotonic && cumulative { Kind::Counter } else { Kind::Gauge })
        }
        _ => (&[], Kind::Gauge),
    }
}

/// Data points of a request of gauges and sums.
pub(super) fn points(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(|metric| number_points(metric).0.len()).sum()
}

/// Writes lines as the service does, with what it keeps from body to body.
pub(super) struct Writer {
    series: Series,
}

impl Default for Writer {
    fn default() -> Self {
        Self { series: Series::new(Bounds::default()) }
    }
}

/// The value of a label; the bounds of summaries and histograms are floats, as the service spells them.
fn bound<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    let is_whole = matches!(key, "quantile" | "le") && value.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole { Cow::Owned(format!("{value}.0")) } else { Cow::Borrowed(value) }
}

fn refused(reason: Reject) -> String {
    reason.text().to_owned()
}

fn failed(error: DecodeError) -> String {
    error.to_string()
}

impl Writer {
    pub fn v1(&mut self, request: &v1::WriteRequest, sink: &mut LineSink<'_>) -> Result<(), String> {
        for series in &request.timeseries {
            let labels = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
            let name = self.labels(labels)?;
            let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            self.samples(&series.samples, kind, sink)?;
        }
        Ok(())
    }

    pub fn v2(&mut self, request: &v2::Request, sink: &mut LineSink<'_>) -> Result<(), String> {
        for series in &request.timeseries {
            let (pairs, _) = series.labels_refs.as_chunks();
            let symbol = |index: u32| request.symbols.get(index as usize).map_or("", String::as_str);
            self.labels(pairs.iter().map(|[name, value]| (symbol(*name), symbol(*value))))?;
            let kind = match series.metadata.map(|metadata| metadata.kind) {
                Some(1) => Kind::Counter,
                Some(5) => Kind::Summary,
                _ => Kind::Gauge,
            };
            self.samples(&series.samples, kind, sink)?;
        }
        Ok(())
    }

    /// Takes the labels of a series; gives its name.
    fn labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Result<&'a str, String> {
        self.series.clear();
        let mut name = "";
        for (key, value) in labels {
            if key == "__name__" {
                name = value;
                self.series.push_name(value.as_bytes()).map_err(refused)?;
            } else {
                self.series.push_unique_tag(key.as_bytes(), bound(key, value).as_bytes()).map_err(refused)?;
            }
        }
        Ok(name)
    }

    fn samples(&mut self, samples: &[v1::Sample], kind: Kind, sink: &mut LineSink<'_>) -> Result<(), String> {
        for sample in samples {
            let value = Value::Float(sample.value);
            sink.push(&self.series, kind, value, Some(sample.timestamp), 0).map_err(failed)?;
        }
        Ok(())
    }

    pub fn otlp(&mut self, request: &ExportMetricsServiceRequest, sink: &mut LineSink<'_>) -> Result<(), String> {
        for resource in &request.resource_metrics {
            self.series.clear();
            self.attributes(resource.resource.as_ref().map_or(&[], |resource| &resource.attributes))?;
            let of_resource = self.series.mark();
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                self.series.push_name(metric.name.as_bytes()).map_err(refused)?;
                let named = self.series.mark();
                let (points, kind) = number_points(metric);
                for point in points {
                    self.attributes(&point.attributes)?;
                    let value = match point.value {
                        Some(Number::AsDouble(float)) => Value::Float(float),
                        Some(Number::AsInt(integer)) => Value::Int(integer),
                        None => return Err("a point has no value".to_owned()),
                    };
                    let time_ms = i64::try_from(point.time_unix_nano / 1_000_000).ok();
                    sink.push(&self.series, kind, value, time_ms, 0).map_err(failed)?;
                    self.series.reset_to(named);
                }
                self.series.reset_to(of_resource);
            }
        }
        Ok(())
    }

    fn attributes(&mut self, attributes: &[KeyValue]) -> Result<(), String> {
        for attribute in attributes {
            let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
            let Some(Any::StringValue(text)) = value else { return Err("an attribute is no string".to_owned()) };
            self.series.push_tag(attribute.key.as_bytes(), text.as_bytes()).map_err(refused)?;
        }
        Ok(())
    }
}

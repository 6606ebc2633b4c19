//! The lines of a request, in the most obvious way: over the structs of the oracle, without regard to speed.

use std::collections::BTreeMap;

use metric::protocol::bucket::{BoundText, normalise_bound};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, metric::Data,
    number_data_point,
};

pub const ARRIVAL_MS: i64 = 1_767_323_045_678;

#[derive(Default)]
pub struct Reference {
    pub lines: Vec<String>,
    pub rejected: u64,
    pub exemplars: u32,
    tags: Vec<(String, String)>,
}

/// Fields that the lines of a point share.
struct Point<'a> {
    name: &'a str,
    kind: &'static str,
    nanos: u64,
    is_stale: bool,
    tags: Vec<(String, String)>,
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn float(value: f64) -> String {
    if value.is_nan() {
        return r#""NaN""#.into();
    }
    if value.is_infinite() {
        return if value > 0.0 { r#""+Inf""# } else { r#""-Inf""# }.into();
    }
    let text = serde_json::to_string(&value).unwrap();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn bound(value: f64) -> String {
    String::from_utf8(BoundText::new(value).as_bytes().to_vec()).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |six: &[u8]| (0..6).fold(0, |digit, bit| digit << 1 | six.get(bit).copied().unwrap_or(0));
    let mut text: String = bits.chunks(6).map(|six| char::from(DIGITS[usize::from(digit(six))])).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn json(any: &AnyValue) -> String {
    match &any.value {
        None | Some(Value::StringValueStrindex(_)) => "null".into(),
        Some(Value::StringValue(text)) => string(text),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => float(*value),
        Some(Value::BytesValue(bytes)) => string(&base64(bytes)),
        Some(Value::ArrayValue(array)) => {
            let values: Vec<_> = array.values.iter().map(json).collect();
            format!("[{}]", values.join(","))
        }
        Some(Value::KvlistValue(map)) => {
            let entry = |entry: &KeyValue| {
                let value = entry.value.as_ref().map_or("null".into(), json);
                format!("{}:{value}", string(&entry.key))
            };
            let entries: Vec<_> = map.values.iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

fn text(any: Option<&AnyValue>) -> String {
    let Some(any) = any else { return String::new() };
    match &any.value {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BytesValue(bytes)) => base64(bytes),
        Some(Value::DoubleValue(value)) => float(*value).trim_matches('"').to_owned(),
        _ => json(any),
    }
}

/// The last value of a key counts, at the place of the last. A bound has one spelling.
fn set(tags: &mut Vec<(String, String)>, key: &str, mut value: String) {
    if matches!(key, "le" | "quantile") {
        let mut buffer = BoundText::default();
        value = String::from_utf8(normalise_bound(value.as_bytes(), &mut buffer).to_vec()).unwrap();
    }
    tags.retain(|(present, _)| present != key);
    tags.push((key.to_owned(), value));
}

fn set_all(tags: &mut Vec<(String, String)>, attributes: &[KeyValue]) {
    for attribute in attributes {
        set(tags, &attribute.key, text(attribute.value.as_ref()));
    }
}

impl Point<'_> {
    fn line(&self, suffix: &str, value: impl ToString, own: Option<(&str, f64)>) -> String {
        let nanos = i64::try_from(self.nanos / 1_000_000).unwrap();
        let timestamp_ms = if self.nanos == 0 { ARRIVAL_MS } else { nanos };
        let timestamp = String::from_utf8(metric::format_timestamp(timestamp_ms).to_vec()).unwrap();
        let value = if self.is_stale { r#""NaN","stale":true"#.to_owned() } else { value.to_string() };
        let mut tags = self.tags.clone();
        if let Some((key, value)) = own {
            set(&mut tags, key, bound(value));
        }
        let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{}:{}", string(key), string(value))).collect();
        format!(
            r#"{{"timestamp":"{timestamp}","name":{},"value":{value},"type":"{}","tags":{{{}}}}}"#,
            string(&format!("{}{suffix}", self.name)),
            self.kind,
            tags.join(",")
        )
    }
}

impl Reference {
    pub fn of(request: &ExportMetricsServiceRequest) -> Self {
        let mut this = Self::default();
        for resource_metrics in &request.resource_metrics {
            this.tags.clear();
            let attributes = resource_metrics.resource.iter().flat_map(|resource| &resource.attributes);
            set_all(&mut this.tags, &attributes.cloned().collect::<Vec<_>>());
            for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                this.metric(&metric.name, metric.data.as_ref());
            }
        }
        this
    }

    fn metric(&mut self, name: &str, data: Option<&Data>) {
        match data {
            None => {}
            Some(Data::Gauge(gauge)) => gauge.data_points.iter().for_each(|point| self.number(name, "gauge", 0, point)),
            Some(Data::Sum(sum)) => {
                let is_counter = sum.is_monotonic && sum.aggregation_temporality == 2;
                let kind = if is_counter { "counter" } else { "gauge" };
                sum.data_points.iter().for_each(|point| self.number(name, kind, sum.aggregation_temporality, point));
            }
            Some(Data::Histogram(data)) => {
                data.data_points.iter().for_each(|point| self.histogram(name, data.aggregation_temporality, point));
            }
            Some(Data::ExponentialHistogram(data)) => {
                data.data_points.iter().for_each(|point| self.exponential(name, data.aggregation_temporality, point));
            }
            Some(Data::Summary(data)) => data.data_points.iter().for_each(|point| self.summary(name, point)),
        }
    }

    fn point<'a>(
        &self,
        (name, kind): (&'a str, &'static str),
        nanos: u64,
        flags: u32,
        temporality: i32,
        attributes: &[KeyValue],
    ) -> Point<'a> {
        let mut tags = self.tags.clone();
        set_all(&mut tags, attributes);
        if temporality == 1 {
            set(&mut tags, "__temporality__", "delta".into());
        }
        Point { name, kind, nanos, is_stale: flags & 1 == 1, tags }
    }

    fn store(&mut self, point: &Point<'_>, lines: Option<Vec<String>>) {
        // `_count` is behind every histogram and summary, `_bucket` is the longest.
        let suffix = match point.kind {
            "histogram" => "_bucket",
            "summary" => "_count",
            _ => "",
        };
        match lines {
            Some(lines) if !point.name.is_empty() && point.name.len() + suffix.len() <= 255 => self.lines.extend(lines),
            _ => self.rejected += 1,
        }
    }

    fn number(&mut self, name: &str, kind: &'static str, temporality: i32, data: &NumberDataPoint) {
        self.exemplars += u32::try_from(data.exemplars.len()).unwrap();
        let point = self.point((name, kind), data.time_unix_nano, data.flags, temporality, &data.attributes);
        let value = match data.value {
            Some(number_data_point::Value::AsDouble(value)) => Some(float(value)),
            Some(number_data_point::Value::AsInt(value)) => Some(value.to_string()),
            None => point.is_stale.then(String::new),
        };
        let lines = value.map(|value| vec![point.line("", value, None)]);
        self.store(&point, lines);
    }

    fn histogram(&mut self, name: &str, temporality: i32, data: &HistogramDataPoint) {
        self.exemplars += u32::try_from(data.exemplars.len()).unwrap();
        let point = self.point((name, "histogram"), data.time_unix_nano, data.flags, temporality, &data.attributes);
        let (bounds, counts) = (&data.explicit_bounds, &data.bucket_counts);
        let sum: u128 = counts.iter().map(|count| u128::from(*count)).sum();
        let ascends = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = counts.len() == bounds.len() + 1 || counts.is_empty() && (bounds.is_empty() || point.is_stale);
        if !fits || !ascends || !point.is_stale && sum > u128::from(data.count) {
            return self.store(&point, None);
        }
        let up_to = |index: usize| counts.iter().take(index + 1).map(|count| u128::from(*count)).sum::<u128>();
        let ends = bounds.iter().enumerate().map(|(index, end)| (*end, up_to(index))).collect();
        self.classic(&point, ends, data.count, data.sum);
    }

    fn classic(&mut self, point: &Point<'_>, ends: Vec<(f64, u128)>, count: u64, sum: Option<f64>) {
        let mut lines: Vec<_> =
            ends.iter().map(|(end, count)| point.line("_bucket", count, Some(("le", *end)))).collect();
        lines.push(point.line("_bucket", count, Some(("le", f64::INFINITY))));
        let mut bare = Point { tags: point.tags.clone(), ..*point };
        bare.tags.retain(|(key, _)| key != "le");
        if sum.is_some() || point.is_stale {
            lines.push(bare.line("_sum", float(sum.unwrap_or_default()), None));
        }
        lines.push(bare.line("_count", count, None));
        self.store(point, Some(lines));
    }

    /// Adds the lines of a point with a scale of up to 0, without overflow.
    fn exponential(&mut self, name: &str, temporality: i32, data: &ExponentialHistogramDataPoint) {
        let point = self.point((name, "histogram"), data.time_unix_nano, data.flags, temporality, &data.attributes);
        let base = 2_f64.powi(1 << -data.scale);
        let mut buckets = vec![(0.0, 0.0, data.zero_count)];
        for (sign, side) in [(1.0, &data.positive), (-1.0, &data.negative)] {
            let Some(side) = side else { continue };
            for (index, count) in (side.offset..).zip(&side.bucket_counts) {
                let (from, to) = (sign * base.powi(index), sign * base.powi(index + 1));
                buckets.push((from.min(to), from.max(to), *count));
            }
        }
        buckets.retain(|(.., count)| *count > 0);
        let sum: u64 = buckets.iter().map(|(.., count)| count).sum();
        if data.zero_threshold < 0.0 || !point.is_stale && sum > data.count {
            return self.store(&point, None);
        }
        // Floats above 0 are ordered as their bits are.
        let order = |end: f64| if end < 0.0 { -((-end).to_bits().cast_signed()) } else { end.to_bits().cast_signed() };
        let ends: BTreeMap<_, _> =
            buckets.iter().flat_map(|(low, high, _)| [*low, *high]).map(|end| (order(end), end)).collect();
        let up_to = |end: f64| {
            let below = buckets.iter().filter(|(_, high, _)| *high <= end);
            below.map(|(.., count)| u128::from(*count)).sum()
        };
        let ends = ends.into_values().map(|end| (end, up_to(end))).collect();
        self.classic(&point, ends, data.count, data.sum);
    }

    fn summary(&mut self, name: &str, data: &SummaryDataPoint) {
        let point = self.point((name, "summary"), data.time_unix_nano, data.flags, 0, &data.attributes);
        let mut lines = Vec::new();
        for value in &data.quantile_values {
            if !(0.0..=1.0).contains(&value.quantile) {
                return self.store(&point, None);
            }
            lines.push(point.line("", float(value.value), Some(("quantile", value.quantile))));
        }
        let mut bare = Point { tags: point.tags.clone(), ..point };
        bare.tags.retain(|(key, _)| key != "quantile");
        lines.push(bare.line("_sum", float(data.sum), None));
        lines.push(bare.line("_count", data.count, None));
        self.store(&bare, Some(lines));
    }
}

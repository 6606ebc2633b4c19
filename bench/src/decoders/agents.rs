//! Bodies of the protocols that load_test does not speak, with the metrics of a batch of `POST /metrics`.

use super::structs;
use crate::load::protocol_buffers::Writer;
use serde_json::{Value, json};

/// OTLP in JSON, of the same request as protobuf.
pub(super) fn otlp_json(body: &[u8]) -> Vec<u8> {
    let request = structs::otlp(body).unwrap_or_default();
    serde_json::to_vec(&request).unwrap_or_default()
}

fn metrics(batch: &[u8]) -> Vec<Value> {
    let mut document: Value = serde_json::from_slice(batch).unwrap_or_default();
    let metrics = document["metrics"].take();
    if let Value::Array(metrics) = metrics { metrics } else { Vec::new() }
}

fn seconds(metric: &Value) -> f64 {
    metric["timestamp"].as_f64().unwrap_or(0.0) / 1e3
}

/// Value lists of collectd's write_http, of one value each.
pub(super) fn collectd(batch: &[u8]) -> Vec<u8> {
    let list = |metric: &Value| {
        let is_counter = metric["type"] == "counter";
        json!({
            "values": [metric["value"]],
            "dstypes": [if is_counter { "derive" } else { "gauge" }],
            "dsnames": ["value"],
            "time": seconds(metric),
            "interval": 10.0,
            "host": metric["tags"]["instance"],
            "plugin": metric["name"].as_str().unwrap_or_default().split('_').next(),
            "plugin_instance": metric["tags"].get("device").or_else(|| metric["tags"].get("cpu")).unwrap_or(&json!("")),
            "type": metric["name"],
            "type_instance": "",
        })
    };
    let lists: Vec<_> = metrics(batch).iter().map(list).collect();
    serde_json::to_vec(&lists).unwrap_or_default()
}

/// The tags of a metric as `key:value`, but for the host.
fn tags(metric: &Value) -> impl Iterator<Item = String> {
    let tags = metric["tags"].as_object().into_iter().flatten().filter(|(key, _)| *key != "instance");
    tags.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or_default()))
}

/// Series of Datadog's version 1.
pub(super) fn datadog_v1(batch: &[u8]) -> Vec<u8> {
    let series = |metric: &Value| {
        json!({
            "metric": metric["name"],
            "points": [[seconds(metric).floor(), metric["value"]]],
            "type": "gauge",
            "host": metric["tags"]["instance"],
            "tags": tags(metric).collect::<Vec<_>>(),
            "interval": 10,
        })
    };
    let series: Vec<_> = metrics(batch).iter().map(series).collect();
    serde_json::to_vec(&json!({ "series": series })).unwrap_or_default()
}

/// A `MetricPayload` of Datadog's version 2.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds of the present")]
pub(super) fn datadog_v2(batch: &[u8]) -> Vec<u8> {
    let mut payload = Writer::default();
    for metric in metrics(batch) {
        payload.message_field(1, |series| {
            series.message_field(1, |resource| {
                resource.string_field(1, "host");
                resource.string_field(2, metric["tags"]["instance"].as_str().unwrap_or_default());
            });
            series.string_field(2, metric["name"].as_str().unwrap_or_default());
            tags(&metric).for_each(|tag| series.string_field(3, &tag));
            series.message_field(4, |point| {
                point.double_field(1, metric["value"].as_f64().unwrap_or(0.0));
                point.varint_field(2, seconds(&metric) as u64);
            });
            series.varint_field(5, 3);
        });
    }
    payload.into_bytes()
}

//! Bodies of the protocols that load_test does not speak, with the metrics of a batch of `POST /metrics`; and requests
//! with real scrapes.

use super::structs;
use crate::load::protocol_buffers::Writer;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Scrapes of a real node exporter, a batch of `POST /metrics` a line.
const SCRAPES: &str = include_str!("../../data/node_exporter.ndjson");

/// `count` requests of remote write 2.0 with a scrape of each of `hosts` hosts, as Prometheus sends them: the labels in
/// order, those without a value left out, each text once, and metadata with a help. And the metrics in all of them.
pub(super) fn scraped(count: usize, hosts: usize) -> (Vec<Vec<u8>>, u32) {
    let scrapes: Vec<_> = SCRAPES.lines().map(|line| metrics(line.as_bytes())).collect();
    let mut numbered = scrapes.iter().cycle().enumerate();
    let mut total = 0;
    let bodies = (0..count).map(|_| {
        let scrapes: Vec<_> = numbered.by_ref().take(hosts).collect();
        total += scrapes.iter().map(|(_, metrics)| metrics.len()).sum::<usize>();
        remote_write_2(&scrapes)
    });
    (bodies.collect(), u32::try_from(total).unwrap_or(u32::MAX))
}

/// Adds the reference to a text to `references`.
fn refer(symbols: &mut HashMap<String, u32>, text: &str, references: &mut Vec<u32>) {
    let next = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
    references.push(*symbols.entry(text.to_owned()).or_insert(next));
}

fn remote_write_2(scrapes: &[(usize, &Vec<Value>)]) -> Vec<u8> {
    let mut symbols = HashMap::from([(String::new(), 0)]);
    let mut all_series = Writer::default();
    for (host, metric) in scrapes.iter().flat_map(|(host, metrics)| metrics.iter().map(move |metric| (host, metric))) {
        let name = metric["name"].as_str().unwrap_or_default();
        let instance = format!("node-{host}:9100");
        let tags = metric["tags"].as_object().into_iter().flatten();
        let mut labels: Vec<_> = tags.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect();
        labels.retain(|(key, value)| *key != "instance" && !value.is_empty());
        labels.extend([("__name__", name), ("instance", &instance), ("job", "node")]);
        labels.sort_unstable();
        let mut references = Vec::new();
        labels.iter().for_each(|(key, value)| {
            refer(&mut symbols, key, &mut references);
            refer(&mut symbols, value, &mut references);
        });
        let family = ["_sum", "_count", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let mut help = Vec::new();
        refer(&mut symbols, &format!("What the exporter says of {}.", family.replace('_', " ")), &mut help);
        all_series.message_field(5, |series| {
            series.packed_field(1, &references);
            series.message_field(2, |point| {
                point.double_field(1, metric["value"].as_f64().unwrap_or(0.0));
                point.varint_field(2, metric["timestamp"].as_u64().unwrap_or(0));
            });
            series.message_field(5, |metadata| {
                metadata.varint_field(1, metric_type(metric["type"].as_str().unwrap_or_default()));
                metadata.varint_field(3, help.first().copied().unwrap_or(0).into());
            });
        });
    }
    let mut texts: Vec<_> = symbols.into_iter().collect();
    texts.sort_unstable_by_key(|(_, reference)| *reference);
    let mut request = Writer::default();
    texts.iter().for_each(|(text, _)| request.string_field(4, text));
    [request.into_bytes(), all_series.into_bytes()].concat()
}

/// `Metadata.MetricType` of remote write 2.0.
fn metric_type(kind: &str) -> u64 {
    match kind {
        "counter" => 1,
        "gauge" => 2,
        "histogram" => 3,
        "summary" => 5,
        _ => 0,
    }
}

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

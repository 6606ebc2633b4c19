//! OTLP decoders that have seen other bodies read a body as one does that keeps nothing of the series that came before.

#![expect(clippy::unwrap_used, reason = "clippy exempts functions marked as tests only, not what they call")]

#[path = "otlp/requests.rs"]
mod requests;

use metric::limits::SERIES_CACHED_MAX;
use metric::protocol::otlp::{Names, Options, Otlp};
use metric::{Bounds, DecodeError, Decoded, LineSink};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

const ARRIVAL_MS: i64 = 1_767_323_045_678;

/// The lines, the counts, and the points that were rejected.
type Outcome = (Result<(), DecodeError>, String, Option<(Decoded, u64)>);

fn decode(otlp: &mut Otlp, body: &[u8], is_json: bool, out: &mut [u8]) -> Outcome {
    let mut sink = LineSink::new(out, ARRIVAL_MS);
    let result = if is_json { otlp.decode_json(body, &mut sink) } else { otlp.decode_protobuf(body, &mut sink) };
    let decoded = sink.decoded();
    if result.is_err() {
        // Nothing of it is stored.
        return (result, String::new(), None);
    }
    let lines = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    (result, lines, Some((decoded, otlp.rejected_points())))
}

/// A decoder without a cache.
fn uncached(bounds: Bounds, options: Options) -> Otlp {
    Otlp::new(bounds, options).without_cache()
}

/// A body to be made of the requests at hand: the resource of one with the metrics of the other, with some of its bytes
/// changed, or cut.
#[derive(Debug, Clone)]
struct Recipe {
    resources_of: Index,
    metrics_of: Index,
    is_json: bool,
    changes: Vec<(Index, u8, u8)>,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let change = (any::<Index>(), 0_u8..5, any::<u8>());
    let changes = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(change, 1..3)];
    let parts = (any::<Index>(), any::<Index>(), any::<bool>(), changes);
    parts.prop_map(|(resources_of, metrics_of, is_json, changes)| Recipe { resources_of, metrics_of, is_json, changes })
}

impl Recipe {
    fn body(&self, requests: &[ExportMetricsServiceRequest]) -> Vec<u8> {
        let mut request = self.metrics_of.get(requests).clone();
        let resources = &self.resources_of.get(requests).resource_metrics;
        for (metrics, other) in request.resource_metrics.iter_mut().zip(resources) {
            metrics.resource.clone_from(&other.resource);
        }
        let mut body = if self.is_json { serde_json::to_vec(&request).unwrap() } else { request.encode_to_vec() };
        for (place, kind, byte) in &self.changes {
            let place = place.index(body.len() + 1);
            match kind {
                0 => body.insert(place, *byte),
                1 if place < body.len() => drop(body.remove(place)),
                2 if place < body.len() => body[place] ^= 1 << (byte % 8),
                3 => body.truncate(place),
                _ if place < body.len() => body[place] = *byte,
                _ => {}
            }
        }
        body
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_body_is_read_the_same_behind_any_other(
        requests in prop::collection::vec(requests::request(), 1..4),
        recipes in prop::collection::vec(recipe(), 1..12),
        is_narrow: bool,
        are_prometheus: bool,
        job_instance: bool,
    ) {
        let mut bounds = Bounds::default();
        if is_narrow {
            bounds = Bounds { name_bytes_limit: 12, tags_limit: 3, tag_bytes_limit: 10, ..bounds };
        }
        let names = if are_prometheus { Names::Prometheus } else { Names::AsSent };
        let options = Options { names, job_instance };
        let (mut known, mut out) = (Otlp::new(bounds, options), vec![0; 1 << 20]);
        for recipe in &recipes {
            let body = recipe.body(&requests);
            let expected = decode(&mut uncached(bounds, options), &body, recipe.is_json, &mut out);
            prop_assert_eq!(&decode(&mut known, &body, recipe.is_json, &mut out), &expected, "{:?}", recipe);
            // It has decoded this very body, too.
            prop_assert_eq!(&decode(&mut known, &body, recipe.is_json, &mut out), &expected, "{:?}", recipe);
        }
    }
}

fn attribute(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

/// A body of gauges, in both encodings.
fn gauges(resource: &str, count: usize, value: usize) -> [Vec<u8>; 2] {
    let metric = |index: usize| {
        let attributes = [attribute("index", &index.to_string()), attribute("host.name", "of the point")].join(",");
        let point = format!(r#"{{"attributes":[{attributes}],"timeUnixNano":"0","asInt":"{value}"}}"#);
        format!(r#"{{"name":"m","gauge":{{"dataPoints":[{point}]}}}}"#)
    };
    let metrics = (0..count).map(metric).collect::<Vec<_>>().join(",");
    let resource = format!(r#""resource":{{"attributes":[{resource}]}}"#);
    let json = format!(r#"{{"resourceMetrics":[{{{resource},"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#);
    let request: ExportMetricsServiceRequest = serde_json::from_str(&json).unwrap();
    [request.encode_to_vec(), json.into_bytes()]
}

#[test]
fn a_full_cache_still_reads_every_series() {
    let count = SERIES_CACHED_MAX + 500;
    let mut out = vec![0; 4 << 20];
    for is_json in [false, true] {
        let mut known = Otlp::new(Bounds::default(), Options::default());
        for value in 0..4 {
            let body = &gauges("", count, value)[usize::from(is_json)];
            let expected = decode(&mut uncached(Bounds::default(), Options::default()), body, is_json, &mut out);
            assert_eq!(expected.1.lines().count(), count);
            assert_eq!(decode(&mut known, body, is_json, &mut out), expected);
        }
        let kept = known.kept_bytes();
        known.trim();
        assert!(known.kept_bytes() <= kept && known.kept_bytes() < SERIES_CACHED_MAX * 560, "{kept}");
    }
}

#[test]
fn the_tags_of_a_resource_are_those_of_its_points() {
    let mut known = Otlp::new(Bounds::default(), Options::default());
    let mut out = vec![0; 1 << 20];
    for round in 0..3 {
        for key in ["a", "host.name", "index", ""] {
            let resource = attribute(key, &format!("{round}"));
            for (body, is_json) in gauges(&resource, 3, round).iter().zip([false, true]) {
                let (result, lines, _) = decode(&mut known, body, is_json, &mut out);
                assert_eq!((result, lines.lines().count()), (Ok(()), 3));
                // The point's value counts where both have the key.
                let tag = format!(r#""{key}":"{round}""#);
                let is_overridden = key == "host.name" || key == "index";
                let has_tag = lines.lines().next().unwrap().contains(&tag);
                assert_eq!(has_tag, !is_overridden || (key == "index" && round == 0), "{lines}");
                assert!(lines.contains(r#""index":"1","host.name":"of the point""#), "{lines}");
            }
        }
    }
}

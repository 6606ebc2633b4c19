mod cache;

use super::*;
use crate::limits::JSON_DEPTH_MAX;
use crate::{Decoded, Line, Rejected};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

const ARRIVAL_MS: i64 = 1_795_838_680_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    One,
    Two,
    Protobuf,
}

fn decode(encoding: Encoding, body: &[u8]) -> Result<(Vec<Json>, Decoded), DecodeError> {
    let mut out = vec![0; 256 * 1024];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let mut decoder = Datadog::new(Bounds::default());
    match encoding {
        Encoding::One => decoder.decode_v1(body, &mut sink)?,
        Encoding::Two => decoder.decode_v2(body, &mut sink)?,
        Encoding::Protobuf => decoder.decode_v2_protobuf(body, &mut sink)?,
    }
    let decoded = sink.decoded();
    let text = str::from_utf8(&out[..decoded.bytes]).unwrap();
    assert!(text.lines().all(|line| Line::parse(line.as_bytes()).is_ok()), "{text}");
    Ok((text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), decoded))
}

fn decode_json(encoding: Encoding, body: &Json) -> (Vec<Json>, Decoded) {
    decode(encoding, body.to_string().as_bytes()).unwrap()
}

/// A line of the log with the time 04:04:39 of the day of `ARRIVAL_MS`, and `millis`.
fn line(millis: &str, name: &str, value: impl Into<Json>, kind: &str, tags: &Json) -> Json {
    let timestamp = format!("2026-11-28T04:04:39.{millis}Z");
    json!({"timestamp": timestamp, "name": name, "value": value.into(), "type": kind, "tags": tags})
}

/// A body of the Python client 0.56: `api.Metric.send` and the flush of its threads.
const CAPTURED: &str = concat!(
    r#"{"series": [{"metric": "my.series", "points": [[1795838679.4551, 15.0], [1795838679, 0.1]], "type": "rate", "#,
    r#""host": "a1", "device": null, "tags": ["env:prod", "bare", "url:http://x"], "interval": 10}, "#,
    r#"{"points": [[1795838679, 18446744073709551615]], "metric": "c", "tags": null, "type": "count"}, "#,
    r#"{"metric": "d", "points": [[1795838679, null], [1795838679, 1]], "device": "sda"}]}"#,
);

#[test]
fn captured_series_become_lines() {
    let (lines, decoded) = decode(Encoding::One, CAPTURED.as_bytes()).unwrap();
    let tags = json!({"host": "a1", "env": "prod", "bare": "", "url": "http://x"});
    assert_eq!(
        lines,
        [
            line("455", "my.series", 15.0, "gauge", &tags),
            line("000", "my.series", 0.1, "gauge", &tags),
            line("000", "c", u64::MAX, "gauge", &json!({"__temporality__": "delta"})),
            line("000", "d", 1, "gauge", &json!({"device": "sda"})),
        ]
    );
    assert_eq!((decoded.metrics, decoded.rejected(), decoded.skipped[Skip::Null as usize]), (4, 0, 1));
}

#[test]
fn version_two_is_the_same_in_both_encodings() {
    let body = json!({"series": [{
        "metric": "system.load", "type": 3, "points": [{"timestamp": 1_795_838_679, "value": 0.7}], "unit": "u",
        "resources": [{"type": "host", "name": "a1"}, {"name": "sda", "type": "device"}, {"type": "pod", "name": "p"}],
        "tags": ["env:prod"], "source_type_name": "s", "interval": 10, "metadata": {"origin": {"product": 1}},
    }, {
        "metric": "c", "type": 1, "points": [{"value": 2, "timestamp": 1_795_838_679}],
    }, {
        "metric": "u", "points": [{"value": 3, "timestamp": 1_795_838_679}],
    }]});
    let expected = [
        line(
            "000",
            "system.load",
            0.7,
            "gauge",
            &json!({"host": "a1", "device": "sda", "resource_pod": "p", "env": "prod"}),
        ),
        line("000", "c", 2, "gauge", &json!({"__temporality__": "delta"})),
        line("000", "u", 3, "untyped", &json!({})),
    ];
    assert_eq!(decode_json(Encoding::Two, &body).0, expected);
    assert_eq!(decode(Encoding::Protobuf, &payload(&body).encode_to_vec()).unwrap().0, expected);
}

#[test]
fn tags_of_one_key_are_joined() {
    for (host, tags, expected) in [
        (Json::Null, json!(["a:2", "b", "a:1"]), json!({"a": "1,2", "b": ""})),
        (Json::Null, json!(["a:1", "a:1", "a", "a:1:2"]), json!({"a": ",1,1:2"})),
        (json!("h"), json!(["host:x", "host:h"]), json!({"host": "h,x"})),
        (json!("h"), json!(["", ":v", ":"]), json!({"host": "h", "": ",v"})),
        (Json::Null, json!(["\u{e9}\":\n"]), json!({"\u{e9}\"": "\n"})),
        (Json::Null, json!([]), json!({})),
    ] {
        let body = json!({"series": [{"metric": "m", "points": [[1_795_838_679, 1]], "host": host, "tags": tags}]});
        assert_eq!(decode_json(Encoding::One, &body).0, [line("000", "m", 1, "gauge", &expected)], "{tags}");
    }
}

#[test]
fn each_type_has_its_kind() {
    for (encoding, kind, expected, is_delta) in [
        (Encoding::One, json!("gauge"), "gauge", false),
        (Encoding::One, json!("rate"), "gauge", false),
        (Encoding::One, json!("count"), "gauge", true),
        (Encoding::One, Json::Null, "gauge", false),
        (Encoding::One, json!("else"), "untyped", false),
        (Encoding::Two, json!(0), "untyped", false),
        (Encoding::Two, json!(1), "gauge", true),
        (Encoding::Two, json!(2), "gauge", false),
        (Encoding::Two, json!(3), "gauge", false),
        (Encoding::Two, json!(-1), "untyped", false),
    ] {
        let point = if encoding == Encoding::One { json!([1, 2]) } else { json!({"timestamp": 1, "value": 2}) };
        let (lines, _) = decode_json(encoding, &json!({"series": [{"metric": "m", "points": [point], "type": kind}]}));
        let tags = if is_delta { json!({"__temporality__": "delta"}) } else { json!({}) };
        assert_eq!((&lines[0]["type"], &lines[0]["tags"]), (&json!(expected), &tags), "{kind}");
    }
}

#[test]
fn a_series_that_cannot_be_stored_is_rejected_alone() {
    let tags: Vec<_> = (0..129).map(|index| format!("k{index}:v")).collect();
    for (series, reason, rejected) in [
        (json!(1), Reject::Syntax, 1),
        (json!({"metric": "m"}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": 1}), Reject::Syntax, 1),
        (json!({"metric": 1, "points": [[1, 1], [2, 2]]}), Reject::Syntax, 2),
        (json!({"metric": "m", "points": [[1, 1]], "tags": [1]}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": [[1, 1]], "tags": "a:b"}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": [[1, 1]], "type": {}}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": [[1, 1]], "resources": [1]}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": [[1, 1]], "resources": [{"name": 1}]}), Reject::Syntax, 1),
        (json!({"metric": "m", "points": [[1], [1, 2, 3], [], {}, 1]}), Reject::Syntax, 5),
        (json!({"metric": "m", "points": [["1", 1], [null, 1], [1e15, 1]]}), Reject::Timestamp, 3),
        (json!({"metric": "m", "points": [[1, "1"], [1, [1]], [1, true]]}), Reject::Value, 3),
        (json!({"metric": "", "points": [[1, 1]]}), Reject::Name, 1),
        (json!({"points": [[1, 1], [1, null]]}), Reject::Name, 1),
        (json!({"metric": "m".repeat(256), "points": [[1, 1]]}), Reject::Name, 1),
        (json!({"metric": "m", "points": [[1, 1]], "tags": tags}), Reject::Tags, 1),
        (json!({"metric": "m", "type": "count", "points": [[1, 1]], "tags": tags[1..]}), Reject::Tags, 1),
    ] {
        let good = json!({"metric": "m", "points": [[1, 1]], "tags": tags[1..]});
        let (lines, decoded) = decode_json(Encoding::One, &json!({"series": [good, series, good]}));
        assert_eq!((lines.len(), decoded.rejected()), (2, rejected), "{series}");
        assert_eq!(decoded.first_rejected, Some(Rejected::new(reason, 1)), "{series}");
    }
    let points = json!([{}, {"value": 1}, {"timestamp": 1}, [1, 1], {"timestamp": 1, "value": null}]);
    let (lines, decoded) = decode_json(Encoding::Two, &json!({"series": [{"metric": "m", "points": points}]}));
    assert_eq!((lines.len(), decoded.rejected(), decoded.skipped[Skip::Null as usize]), (0, 4, 1));
}

#[test]
fn values_that_json_cannot_say_are_rejected() {
    for value in [f64::NAN, f64::INFINITY, f64::from_bits(crate::STALE_NAN_BITS)] {
        let series = MetricSeries {
            metric: "m".to_owned(),
            points: vec![MetricPoint { value, timestamp: 1 }, MetricPoint { value: 1.0, timestamp: i64::MAX }],
            ..MetricSeries::default()
        };
        let (lines, decoded) =
            decode(Encoding::Protobuf, &MetricPayload { series: vec![series] }.encode_to_vec()).unwrap();
        assert_eq!(lines.len(), 0);
        assert_eq!((decoded.rejected[Reject::Value as usize], decoded.rejected[Reject::Timestamp as usize]), (1, 1));
    }
    let infinite = br#"{"series":[{"metric":"m","points":[[1,1e999]]}]}"#;
    assert_eq!(decode(Encoding::One, infinite).unwrap().1.first_rejected, Some(Rejected::new(Reject::Value, 0)));
}

#[test]
fn a_body_of_another_protocol_is_malformed() {
    for body in ["", "[]", "{}", "1", r#"{"metrics":[]}"#, r#"{"series":{}}"#, r#"{"series":[]}}"#, r#"{"series":[{]}"#]
    {
        for encoding in [Encoding::One, Encoding::Two] {
            assert!(matches!(decode(encoding, body.as_bytes()), Err(DecodeError::Malformed { .. })), "{body}");
        }
    }
    for body in [&b"{}"[..], b"\x0a", b"\x0a\x02\x22\x05", b"\x0a\x03\x22\x01\x09"] {
        assert!(matches!(decode(Encoding::Protobuf, body), Err(DecodeError::Malformed { .. })), "{body:x?}");
    }
    for end in 0..CAPTURED.len() {
        let error = decode(Encoding::One, &CAPTURED.as_bytes()[..end]).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { byte, .. } if byte <= end));
    }
    assert_eq!(decode(Encoding::One, br#" { "series" : [ ] } "#).unwrap().1.metrics, 0);
    assert_eq!(decode(Encoding::Protobuf, b"").unwrap().1.metrics, 0);
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth| format!(r#"{{"series":[{{"x":{}{},"points":[]}}]}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(decode(Encoding::Two, nested(JSON_DEPTH_MAX - 3).as_bytes()).is_ok());
    for depth in [JSON_DEPTH_MAX - 2, 1_000_000] {
        assert!(matches!(decode(Encoding::Two, nested(depth).as_bytes()), Err(DecodeError::Malformed { .. })));
    }
    let points = format!(r#"{{"series":[{{"points":[{}1]}}]}}"#, "1,".repeat(PROTOCOL_METRICS_MAX));
    assert_eq!(decode(Encoding::One, points.as_bytes()).unwrap_err(), DecodeError::TooManyMetrics);
    let series = MetricSeries { points: vec![MetricPoint::default(); PROTOCOL_METRICS_MAX + 1], ..Default::default() };
    let payload = MetricPayload { series: vec![series] }.encode_to_vec();
    assert_eq!(decode(Encoding::Protobuf, &payload).unwrap_err(), DecodeError::TooManyMetrics);
}

#[test]
fn memory_of_a_large_body_is_freed() {
    let mut decoder = Datadog::new(Bounds::default());
    let points = format!(r#"{{"series":[{{"points":[{}1]}}]}}"#, "1,".repeat(PROTOCOL_METRICS_MAX - 1));
    decoder.decode_v1(points.as_bytes(), &mut LineSink::new(&mut [], ARRIVAL_MS)).unwrap();
    assert!(decoder.kept_bytes() > SERIES_KEPT_BYTES_MAX);
    decoder.trim();
    assert!(decoder.kept_bytes() <= 2 * SERIES_KEPT_BYTES_MAX);
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricPayload {
    #[prost(message, repeated, tag = "1")]
    series: Vec<MetricSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricSeries {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<PayloadResource>,
    #[prost(string, tag = "2")]
    metric: String,
    #[prost(string, repeated, tag = "3")]
    tags: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    points: Vec<MetricPoint>,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    unit: String,
    #[prost(int64, tag = "8")]
    interval: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PayloadResource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct MetricPoint {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// The message that says what `body`, of version 2 in JSON, says.
fn payload(body: &Json) -> MetricPayload {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let series = list(&body["series"]).into_iter().map(|series| MetricSeries {
        resources: list(&series["resources"])
            .iter()
            .map(|resource| PayloadResource { kind: text(&resource["type"]), name: text(&resource["name"]) })
            .collect(),
        metric: text(&series["metric"]),
        tags: list(&series["tags"]).iter().map(text).collect(),
        points: list(&series["points"])
            .iter()
            .map(|point| MetricPoint {
                value: point["value"].as_f64().unwrap(),
                timestamp: point["timestamp"].as_i64().unwrap(),
            })
            .collect(),
        kind: i32::try_from(series["type"].as_i64().unwrap_or(0)).unwrap(),
        unit: text(&series["unit"]),
        interval: series["interval"].as_i64().unwrap_or(0),
    });
    MetricPayload { series: series.collect() }
}

prop_compose! {
    fn series()(
        metric in "[a-z.é\"]{1,8}",
        kind in 0..4,
        tags in prop::collection::vec("[ab]{0,1}:?[xy:\n]{0,2}", 0..6),
        host in "[a-z]{0,3}",
        points in prop::collection::vec((0..4_000_000_000_i64, any::<i32>()), 0..3),
    ) -> Json {
        let points = points.iter().map(|(seconds, eighths)| {
            json!({"timestamp": seconds, "value": f64::from(*eighths) / 8.0, "x": [{}]})
        });
        json!({"metric": metric, "type": kind, "tags": tags, "points": points.collect::<Vec<_>>(),
            "resources": [{"type": "host", "name": host}], "unit": null, "interval": 10})
    }
}

/// `series`, of version 2, in version 1.
fn in_version_one(series: &Json) -> Json {
    let points = series["points"].as_array().unwrap().iter();
    let points: Vec<_> = points.map(|point| json!([point["timestamp"], point["value"]])).collect();
    let kind = ["other", "count", "rate", "gauge"][usize::try_from(series["type"].as_u64().unwrap()).unwrap()];
    let host = &series["resources"][0]["name"];
    json!({"metric": series["metric"], "type": kind, "tags": series["tags"], "points": points, "host": host})
}

/// The lines of `series`, without their timestamps, by way of `serde_json`.
fn reference(series: &[Json]) -> Vec<Json> {
    let mut lines = Vec::new();
    for series in series {
        let mut tags = std::collections::BTreeMap::<&str, std::collections::BTreeSet<&str>>::new();
        let host = series["resources"][0]["name"].as_str().unwrap();
        if !host.is_empty() {
            tags.entry("host").or_default().insert(host);
        }
        for tag in series["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()) {
            let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
            if !tag.is_empty() {
                tags.entry(key).or_default().insert(value);
            }
        }
        let mut tags: serde_json::Map<_, _> = tags
            .into_iter()
            .map(|(key, values)| (key.to_owned(), values.into_iter().collect::<Vec<_>>().join(",").into()))
            .collect();
        if series["type"] == 1 {
            tags.insert("__temporality__".to_owned(), "delta".into());
        }
        let kind = if series["type"] == 0 { "untyped" } else { "gauge" };
        for point in series["points"].as_array().unwrap() {
            let value = point["value"].as_f64();
            lines.push(json!({"name": series["metric"], "value": value, "type": kind, "tags": tags}));
        }
    }
    lines
}

/// The members of `series` in the order of `keys`, as text.
fn spelled(series: &Json, keys: &[usize]) -> String {
    let members: Vec<_> = series.as_object().unwrap().iter().collect();
    let ordered = keys.iter().filter_map(|&index| members.get(index));
    let spelled = ordered.map(|(name, value)| format!("\"{}\" : {value}", name.replace('t', "\\u0074")));
    format!("{{ {} }}", spelled.collect::<Vec<_>>().join(" , "))
}

proptest! {
    #[test]
    fn series_of_every_form_are_those_of_the_reference(
        series in prop::collection::vec(series(), 0..4),
        keys in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let body = json!({"series": series});
        let (lines, decoded) = decode_json(Encoding::Two, &body);
        let untimed: Vec<Json> = lines.iter().cloned().map(|mut line| {
            line.as_object_mut().unwrap().remove("timestamp");
            line["value"] = line["value"].as_f64().into();
            line
        }).collect();
        prop_assert_eq!(untimed, reference(&series));

        let shuffled: Vec<_> = series.iter().map(|series| spelled(series, &keys)).collect();
        let shuffled = format!(r#"{{ "x" : {{ }} , "series" : [ {} ] }}"#, shuffled.join(" , "));
        prop_assert_eq!(decode(Encoding::Two, shuffled.as_bytes()).unwrap(), (lines.clone(), decoded));

        let one: Vec<_> = series.iter().map(in_version_one).collect();
        prop_assert_eq!(decode_json(Encoding::One, &json!({"series": one})).0, &lines[..]);

        // Floats of the message have no digits to keep: 1.0 is written as 1.
        let protobuf = decode(Encoding::Protobuf, &payload(&body).encode_to_vec()).unwrap();
        prop_assert_eq!(protobuf.1.metrics, decoded.metrics);
        for (seen, line) in protobuf.0.iter().zip(&lines) {
            let mut line = line.clone();
            prop_assert_eq!(seen["value"].as_f64(), line["value"].as_f64());
            line["value"] = seen["value"].clone();
            prop_assert_eq!(seen, &line);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        for encoding in [Encoding::One, Encoding::Two, Encoding::Protobuf] {
            let _ = decode(encoding, &bytes);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        series in prop::collection::vec(series(), 1..3),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let body = json!({"series": series});
        for (encoding, mut body) in [
            (Encoding::One, CAPTURED.as_bytes().to_vec()),
            (Encoding::Two, body.to_string().into_bytes()),
            (Encoding::Protobuf, payload(&body).encode_to_vec()),
        ] {
            let at = at.index(body.len());
            body[at] = byte;
            if let Ok((lines, decoded)) = decode(encoding, &body) {
                prop_assert_eq!(lines.len(), decoded.metrics as usize);
            }
        }
    }
}

/// Series in JSON of either version that differ in few of their members.
fn series_alike() -> impl Strategy<Value = Vec<Json>> {
    let members = || {
        [
            ("metric", json!("m"), [json!("n"), json!(""), json!("\u{e9}"), json!(1)]),
            ("type", json!(3), [json!(1), json!(0), json!("x"), json!(null)]),
            ("host", json!("h"), [json!("i"), json!(""), json!("a\"b"), json!(null)]),
            ("device", json!("d"), [json!("e"), json!(""), json!(null), json!([])]),
            (
                "tags",
                json!(["a:1", "b:2"]),
                [json!(["a:1"]), json!(["b:2", "a:1"]), json!(["a:1", "b:3", "c"]), json!(7)],
            ),
            (
                "resources",
                json!([{"type": "host", "name": "r"}]),
                [
                    json!([]),
                    json!([{"type": "x", "name": "r"}]),
                    json!(null),
                    json!([{"type": "host", "name": "s"}, {}]),
                ],
            ),
        ]
    };
    let changes = prop::collection::vec((0..6_usize, 0..6_usize), 0..3);
    prop::collection::vec((changes, 0..2_i64), 1..6).prop_map(move |all| {
        let mut series: serde_json::Map<_, _> =
            members().into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect();
        all.into_iter()
            .map(|(changes, value)| {
                for (member, other) in changes {
                    let (name, first, others) = members()[member].clone();
                    match other {
                        0 => drop(series.remove(name)),
                        1 => drop(series.insert(name.to_owned(), first)),
                        other => drop(series.insert(name.to_owned(), others[other - 2].clone())),
                    }
                }
                let mut series = series.clone();
                series.insert("points".to_owned(), json!([{"timestamp": 1_795_838_679, "value": value}]));
                Json::Object(series)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_series_is_read_the_same_behind_any_other(all in series_alike()) {
        for encoding in [Encoding::One, Encoding::Two, Encoding::Protobuf] {
            let body = |series: &[Json]| match encoding {
                Encoding::One => {
                    let mut series = series.to_vec();
                    for series in &mut series {
                        let point = series["points"][0].clone();
                        series["points"] = json!([[point["timestamp"], point["value"]]]);
                    }
                    json!({"series": series}).to_string().into_bytes()
                }
                Encoding::Two => json!({"series": series}).to_string().into_bytes(),
                Encoding::Protobuf => {
                    let messages = series.iter().map(|series| {
                        let mut message = vec![];
                        let text = |number, text: &str, out: &mut Vec<u8>| {
                            prost::encoding::string::encode(number, &text.to_owned(), out);
                        };
                        for tag in series["tags"].as_array().into_iter().flatten() {
                            text(3, tag.as_str().unwrap(), &mut message);
                        }
                        for resource in series["resources"].as_array().into_iter().flatten() {
                            let mut inner = Vec::new();
                            text(1, resource["type"].as_str().unwrap_or_default(), &mut inner);
                            text(2, resource["name"].as_str().unwrap_or_default(), &mut inner);
                            prost::encoding::bytes::encode(1, &inner, &mut message);
                        }
                        text(2, series["metric"].as_str().unwrap_or_default(), &mut message);
                        let mut point = Vec::new();
                        prost::encoding::double::encode(1, &1.0, &mut point);
                        prost::encoding::bytes::encode(4, &point, &mut message);
                        prost::encoding::uint64::encode(5, &series["type"].as_u64().unwrap_or(0), &mut message);
                        message
                    });
                    let mut body = Vec::new();
                    messages.for_each(|message| prost::encoding::bytes::encode(1, &message, &mut body));
                    body
                }
            };
            let (together, decoded) = decode(encoding, &body(&all)).unwrap();
            let mut apart = Vec::new();
            let mut rejected = [0; Reject::COUNT];
            for series in &all {
                let (lines, decoded) = decode(encoding, &body(std::slice::from_ref(series))).unwrap();
                apart.extend(lines);
                rejected.iter_mut().zip(decoded.rejected).for_each(|(sum, count)| *sum += count);
            }
            prop_assert_eq!(together, apart);
            prop_assert_eq!(decoded.rejected, rejected);
        }
    }
}

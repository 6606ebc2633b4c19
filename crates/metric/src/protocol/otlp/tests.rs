use super::*;
use crate::{Decoded, Reject, Skip};
use proptest::prelude::*;

const ARRIVAL_MS: i64 = 1_767_323_045_678;
/// `timeUnixNano` of all points here: 2026-01-02T03:04:05.678999999Z.
const AT: &str = "1767323045678999999";

fn decode_with(bounds: Bounds, options: Options, body: &str) -> Result<(Vec<String>, Decoded, u64), DecodeError> {
    let mut out = vec![0; 1 << 20];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let mut otlp = Otlp::new(bounds, options);
    otlp.decode_json(body.as_bytes(), &mut sink)?;
    let decoded = sink.decoded();
    let text = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    Ok((text.lines().map(short).collect(), decoded, otlp.rejected_points()))
}

/// A line without what all lines here share, as `name value kind {tags}`.
fn short(line: &str) -> String {
    let line = line.strip_prefix(r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":""#).unwrap();
    let name = line.split_once('"').unwrap().0;
    let value = line.split_once("\"value\":").unwrap().1.split_once(",\"type\":").unwrap();
    let (kind, tags) = value.1.split_once(",\"tags\":").unwrap();
    format!("{name} {} {} {}", value.0, kind.trim_matches('"'), tags.strip_suffix('}').unwrap())
}

/// The body of one metric.
fn body(resource: &str, metric: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#
    )
}

fn lines(metric: &str) -> Vec<String> {
    let (lines, decoded, rejected) = decode_with(Bounds::default(), Options::default(), &body("", metric)).unwrap();
    assert_eq!((decoded.rejected(), rejected), (0, 0), "{metric}");
    lines
}

/// The reason for which the one point of `metric` is rejected.
fn rejection(metric: &str) -> Reject {
    let (lines, decoded, rejected) = decode_with(Bounds::default(), Options::default(), &body("", metric)).unwrap();
    assert_eq!((lines.as_slice(), decoded.rejected(), rejected), (&[][..], 1, 1), "{metric}");
    decoded.first_rejected.unwrap().reason
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

#[test]
fn a_gauge_keeps_integers_and_shortens_floats() {
    let point = |value: &str| format!(r#"{{"timeUnixNano":"{AT}",{value}}}"#);
    let points = [
        point(r#""asInt":"-9223372036854775808""#),
        point(r#""asInt":9223372036854775807"#),
        point(r#""asInt":1e3"#),
        point(r#""asDouble":0.1"#),
        point(r#""asDouble":"NaN""#),
        point(r#""asDouble":"-Infinity""#),
        point(r#""asDouble":"1.50""#),
        r#"{"asInt":"1"}"#.to_owned(),
        r#"{"asInt":"1","flags":1}"#.to_owned(),
        r#"{"flags":1}"#.to_owned(),
    ];
    let values: Vec<_> = lines(&format!(r#"{{"name":"a.b","gauge":{{"dataPoints":[{}]}}}}"#, points.join(",")))
        .iter()
        .map(|line| line.strip_prefix("a.b ").unwrap().strip_suffix(" gauge {}").unwrap().to_owned())
        .collect();
    assert_eq!(
        values,
        [
            "-9223372036854775808",
            "9223372036854775807",
            "1000",
            "0.1",
            r#""NaN""#,
            r#""-Inf""#,
            "1.5",
            "1",
            r#""NaN","stale":true"#,
            r#""NaN","stale":true"#,
        ]
    );
}

#[test]
fn a_sum_is_a_counter_only_if_it_cannot_fall() {
    let sum = |rest: &str| {
        lines(&format!(r#"{{"sum":{{"dataPoints":[{{"timeUnixNano":{AT},"asInt":"5"}}]{rest}}},"name":"s"}}"#))
            .remove(0)
    };
    for cumulative in ["2", r#""2""#, r#""AGGREGATION_TEMPORALITY_CUMULATIVE""#] {
        assert_eq!(sum(&format!(r#","aggregationTemporality":{cumulative},"isMonotonic":true"#)), "s 5 counter {}");
    }
    assert_eq!(sum(r#","aggregationTemporality":2"#), "s 5 gauge {}");
    assert_eq!(sum(r#","isMonotonic":true"#), "s 5 gauge {}");
    for delta in ["1", r#""AGGREGATION_TEMPORALITY_DELTA""#] {
        let line = sum(&format!(r#","aggregationTemporality":{delta},"isMonotonic":true"#));
        assert_eq!(line, r#"s 5 gauge {"__temporality__":"delta"}"#);
    }
}

#[test]
fn points_before_their_temporality_are_read_once_it_is_known() {
    let point = |number: u32| format!(r#"{{"timeUnixNano":"{AT}","asInt":{number}}}"#);
    let sum = |number: u32, temporality: &str, is_monotonic: bool| {
        let points = format!("[{},{}]", point(number), point(number + 1));
        let totals = format!(r#""aggregationTemporality":{temporality},"isMonotonic":{is_monotonic}"#);
        format!(r#"{{"name":"s","sum":{{"dataPoints":{points},{totals}}}}}"#)
    };
    let histogram = |temporality: &str| {
        let points = format!(r#"[{{"timeUnixNano":"{AT}","count":1,"bucketCounts":[1]}}]"#);
        format!(r#"{{"name":"h","histogram":{{"dataPoints":{points},"aggregationTemporality":{temporality}}}}}"#)
    };
    let metrics = [
        sum(1, "2", true),
        sum(3, "\"AGGREGATION_TEMPORALITY_DELTA\"", true),
        histogram("1"),
        sum(5, "2", false),
        histogram("2"),
        sum(7, "2", true),
        format!(r#"{{"name":"n","sum":{{"isMonotonic":true,"dataPoints":[{}]}}}}"#, point(9)),
    ];
    let delta = r#"{"__temporality__":"delta"}"#;
    let all = lines(&metrics.join(","));
    let sums: Vec<_> = all.iter().filter(|line| !line.starts_with('h')).cloned().collect();
    let expected = [
        "s 1 counter {}".to_owned(),
        "s 2 counter {}".to_owned(),
        format!("s 3 gauge {delta}"),
        format!("s 4 gauge {delta}"),
        "s 5 gauge {}".to_owned(),
        "s 6 gauge {}".to_owned(),
        "s 7 counter {}".to_owned(),
        "s 8 counter {}".to_owned(),
        "n 9 gauge {}".to_owned(),
    ];
    assert_eq!(sums, expected);
    let alone: Vec<_> = metrics.iter().flat_map(|metric| lines(metric)).collect();
    assert_eq!(all, alone);
    // What is rejected or refused is counted once.
    let bad = metrics[1].replace(r#""asInt":4"#, r#""flags":0"#);
    let (stored, decoded, rejected) = decode_with(Bounds::default(), Options::default(), &body("", &bad)).unwrap();
    assert_eq!((stored.len(), decoded.rejected(), rejected), (1, 1, 1));
    assert_eq!(decoded.first_rejected.unwrap().at, 1);
}

#[test]
fn what_is_not_read_of_a_point_is_as_deep_as_in_any_order() {
    let nested = |levels: usize| {
        let member = format!(r#""x":{}1{}"#, "[".repeat(levels), "]".repeat(levels));
        let sum =
            format!(r#"{{"name":"s","sum":{{"dataPoints":[{{"asInt":1,{member}}}],"aggregationTemporality":1}}}}"#);
        decode_with(Bounds::default(), Options::default(), &body("", &sum)).map(|(lines, ..)| lines.len())
    };
    // The array of points and the point are around it.
    let deepest = crate::limits::JSON_DEPTH_MAX - 2;
    assert_eq!(nested(deepest), Ok(1));
    assert!(matches!(nested(deepest + 1), Err(DecodeError::Malformed { text: "the JSON is nested too deep", .. })));
}

#[test]
fn a_histogram_is_cumulative_buckets_sum_and_count() {
    let histogram = |point: &str, temporality: u32| {
        lines(&format!(
            r#"{{"name":"h","histogram":{{"dataPoints":[{{"timeUnixNano":"{AT}",{point}}}],"aggregationTemporality":{temporality}}}}}"#
        ))
    };
    assert_eq!(
        histogram(r#""count":"6","sum":2.5,"bucketCounts":["1",2,"3"],"explicitBounds":[-0.0,1],"min":0"#, 2),
        [
            r#"h_bucket 1 histogram {"le":"0.0"}"#,
            r#"h_bucket 3 histogram {"le":"1.0"}"#,
            r#"h_bucket 6 histogram {"le":"+Inf"}"#,
            "h_sum 2.5 histogram {}",
            "h_count 6 histogram {}",
        ]
    );
    let own = text("le", "mine");
    assert_eq!(
        histogram(&format!(r#""count":"6","attributes":[{own}]"#), 1),
        [
            r#"h_bucket 6 histogram {"__temporality__":"delta","le":"+Inf"}"#,
            r#"h_count 6 histogram {"__temporality__":"delta"}"#,
        ]
    );
    let stale = r#""NaN","stale":true"#;
    assert_eq!(
        histogram(r#""flags":1,"explicitBounds":[0.5]"#, 2),
        [
            format!(r#"h_bucket {stale} histogram {{"le":"0.5"}}"#),
            format!(r#"h_bucket {stale} histogram {{"le":"+Inf"}}"#),
            format!("h_sum {stale} histogram {{}}"),
            format!("h_count {stale} histogram {{}}"),
        ]
    );
}

#[test]
fn an_exponential_histogram_has_the_ends_of_its_buckets() {
    let exponential = |point: &str| {
        let lines = lines(&format!(
            r#"{{"name":"e","exponentialHistogram":{{"dataPoints":[{{"timeUnixNano":"{AT}",{point}}}]}}}}"#
        ));
        let buckets = lines.iter().filter_map(|line| line.strip_prefix("e_bucket "));
        buckets.map(|line| line.replace(" histogram {\"le\":\"", " ").replace("\"}", "")).collect::<Vec<_>>()
    };
    assert_eq!(
        exponential(
            r#""count":12,"sum":1,"scale":0,"zeroCount":"2","positive":{"offset":1,"bucketCounts":[1,0,"2",3]},
            "negative":{"offset":-1,"bucketCounts":[0,4]}"#
        ),
        ["0 -2.0", "4 -1.0", "6 0.0", "6 2.0", "7 4.0", "7 8.0", "9 16.0", "12 32.0", "12 +Inf"]
    );
    // A zero bucket with a width, which its neighbour begins within.
    assert_eq!(
        exponential(r#""count":3,"zeroCount":1,"zeroThreshold":1.5,"positive":{"bucketCounts":[2]}"#),
        ["0 -1.5", "1 1.5", "3 2.0", "3 +Inf"]
    );
    // Bounds beyond the range of floats.
    assert_eq!(
        exponential(r#""count":3,"scale":-10,"positive":{"offset":-2,"bucketCounts":[1,1,1]}"#),
        ["0 0.0", "1 5.562684646268003e-309", "2 1.0", "3 1.7976931348623157e+308", "3 +Inf"]
    );
    assert_eq!(exponential(r#""count":0"#), ["0 +Inf"]);
}

#[test]
fn a_summary_is_quantiles_sum_and_count() {
    let own = text("quantile", "mine");
    assert_eq!(
        lines(&format!(
            r#"{{"name":"q","summary":{{"dataPoints":[{{"timeUnixNano":"{AT}","count":"3","sum":1.5,"attributes":[{own}],
            "quantileValues":[{{"quantile":0.5,"value":"NaN"}},{{"quantile":1,"value":2}},{{}}]}}]}}}}"#
        )),
        [
            r#"q "NaN" summary {"quantile":"0.5"}"#,
            r#"q 2 summary {"quantile":"1.0"}"#,
            r#"q 0 summary {"quantile":"0.0"}"#,
            "q_sum 1.5 summary {}",
            "q_count 3 summary {}",
        ]
    );
}

#[test]
fn points_that_do_not_fit_together_are_rejected_whole() {
    assert_eq!(rejection(r#"{"name":"g","gauge":{"dataPoints":[{}]}}"#), Reject::Value);
    assert_eq!(rejection(r#"{"name":"","gauge":{"dataPoints":[{"asInt":1}]}}"#), Reject::Name);
    assert_eq!(
        rejection(&format!(r#"{{"name":"{}","gauge":{{"dataPoints":[{{"asInt":1}}]}}}}"#, "n".repeat(256))),
        Reject::Name
    );
    // The suffix is too much.
    let name = "n".repeat(255 - "_sum".len());
    assert_eq!(
        rejection(&format!(r#"{{"name":"{name}","summary":{{"dataPoints":[{{"quantileValues":[{{}}]}}]}}}}"#)),
        Reject::Name
    );
    for histogram in [
        r#""count":3,"bucketCounts":[1,1,1],"explicitBounds":[1,1]"#,
        r#""count":3,"bucketCounts":[1,1,1],"explicitBounds":[2,1]"#,
        r#""count":3,"bucketCounts":[1,1],"explicitBounds":["NaN"]"#,
        r#""count":1,"bucketCounts":[1,1],"explicitBounds":[1]"#,
        r#""count":1,"explicitBounds":[1]"#,
        r#""count":5,"bucketCounts":["18446744073709551615","18446744073709551615"],"explicitBounds":[1]"#,
    ] {
        let metric = format!(r#"{{"name":"h","histogram":{{"dataPoints":[{{{histogram}}}]}}}}"#);
        assert_eq!(rejection(&metric), Reject::Histogram, "{histogram}");
    }
    for exponential in [
        r#""zeroThreshold":-1"#,
        r#""zeroThreshold":"NaN""#,
        r#""zeroCount":1"#,
        r#""count":1,"zeroCount":1,"positive":{"bucketCounts":["18446744073709551615"]}"#,
    ] {
        let metric = format!(r#"{{"name":"h","exponentialHistogram":{{"dataPoints":[{{{exponential}}}]}}}}"#);
        assert_eq!(rejection(&metric), Reject::Histogram, "{exponential}");
    }
    for quantile in ["-0.1", "1.1", "\"NaN\""] {
        let metric =
            format!(r#"{{"name":"q","summary":{{"dataPoints":[{{"quantileValues":[{{"quantile":{quantile}}}]}}]}}}}"#);
        assert_eq!(rejection(&metric), Reject::Histogram);
    }
    let counts = ["0"; crate::limits::HISTOGRAM_BUCKETS_MAX + 1].join(",");
    let metric = format!(
        r#"{{"name":"h","exponentialHistogram":{{"dataPoints":[{{"positive":{{"bucketCounts":[{counts}]}}}}]}}}}"#
    );
    assert_eq!(rejection(&metric), Reject::Histogram);
}

#[test]
fn attributes_of_a_point_win_over_its_resource() {
    let resource = [text("host", "a"), text("x", "1"), text("host", "b"), text(r"\u0041\n", "q")].join(",");
    let point = |attributes: &[String]| {
        format!(r#"{{"timeUnixNano":"{AT}","asInt":"1","attributes":[{}]}}"#, attributes.join(","))
    };
    let points = [
        point(&[]),
        point(&[text("host", "c"), text("y", "2"), text("y", "3")]),
        point(&[text("y", "4"), text("A\\n", "5")]),
    ];
    let metric = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{}]}}}}"#, points.join(","));
    let (lines, ..) = decode_with(Bounds::default(), Options::default(), &body(&resource, &metric)).unwrap();
    assert_eq!(
        lines,
        [
            r#"m 1 gauge {"x":"1","host":"b","A\n":"q"}"#,
            r#"m 1 gauge {"x":"1","A\n":"q","host":"c","y":"3"}"#,
            r#"m 1 gauge {"x":"1","host":"b","y":"4","A\n":"5"}"#,
        ]
    );
}

#[test]
fn values_of_attributes_become_text() {
    let value = |value: &str| {
        let attribute = format!(r#"{{"value":{value},"key":"k"}}"#);
        let line = lines(&format!(
            r#"{{"name":"m","gauge":{{"dataPoints":[{{"timeUnixNano":"{AT}","asInt":"1","attributes":[{attribute}]}}]}}}}"#
        ));
        let tags: serde_json::Value = serde_json::from_str(line[0].strip_prefix("m 1 gauge ").unwrap()).unwrap();
        tags["k"].as_str().unwrap().to_owned()
    };
    for (sent, stored) in [
        (r#"{"stringValue":"a\u00e9\n"}"#, "aé\n"),
        (r#"{"boolValue":true}"#, "true"),
        (r#"{"intValue":"-5"}"#, "-5"),
        (r#"{"doubleValue":1.0}"#, "1"),
        (r#"{"doubleValue":"Infinity"}"#, "+Inf"),
        (r#"{"bytesValue":"AAE="}"#, "AAE="),
        (r#"{}"#, ""),
        ("null", ""),
        (r#"{"unknown":[{}]}"#, ""),
        (r#"{"arrayValue":{}}"#, "[]"),
        (
            r#"{"arrayValue":{"values":[{"intValue":1},{"doubleValue":"NaN"},{"stringValue":"\""},{},{"boolValue":false}]}}"#,
            r#"[1,"NaN","\"",null,false]"#,
        ),
        (
            r#"{"kvlistValue":{"values":[{"value":{"intValue":1},"key":"a"},{"key":"b"},{"key":"c","value":{"arrayValue":{"values":null}}}]}}"#,
            r#"{"a":1,"b":null,"c":[]}"#,
        ),
    ] {
        assert_eq!(value(sent), stored, "{sent}");
    }
}

#[test]
fn too_many_or_too_deep_attributes_reject_their_points() {
    let nested = |depth: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        format!(r#"{{"key":"k","value":{open}{}}}"#, "]}}".repeat(depth))
    };
    let gauge = |attributes: &str| {
        format!(
            r#"{{"name":"m","gauge":{{"dataPoints":[{{"timeUnixNano":"{AT}","asInt":"1","attributes":[{attributes}]}}]}}}}"#
        )
    };
    assert_eq!(lines(&gauge(&nested(crate::limits::OTLP_VALUE_DEPTH_MAX))).len(), 1);
    assert_eq!(rejection(&gauge(&nested(crate::limits::OTLP_VALUE_DEPTH_MAX + 2))), Reject::Tags);
    assert!(decode_with(Bounds::default(), Options::default(), &body("", &gauge(&nested(10_000)))).is_err());

    let many: Vec<_> = (0..10_000).map(|index| text(&format!("k{index}"), "v")).collect();
    assert_eq!(lines(&gauge(&many[..128].join(","))).len(), 1);
    assert_eq!(rejection(&gauge(&many.join(","))), Reject::Tags);
    let points = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{}]}}}}"#, [r#"{"asInt":1}"#; 50].join(","));
    let (lines, decoded, rejected) =
        decode_with(Bounds::default(), Options::default(), &body(&many.join(","), &points)).unwrap();
    assert_eq!((lines.len(), decoded.rejected[Reject::Tags as usize], rejected), (0, 50, 50));
}

#[test]
fn job_and_instance_come_from_the_service() {
    let options = Options { job_instance: true, ..Options::default() };
    let metric = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{{"timeUnixNano":"{AT}","asInt":"1"}}]}}}}"#);
    let resource =
        [text("service.name", "api"), text("service.instance.id", "i-1"), text("service.namespace", "shop")].join(",");
    let (lines, ..) = decode_with(Bounds::default(), options, &body(&resource, &metric)).unwrap();
    assert_eq!(
        lines,
        [
            r#"m 1 gauge {"service.name":"api","service.instance.id":"i-1","service.namespace":"shop","job":"shop/api","instance":"i-1"}"#
        ]
    );
    let (lines, ..) = decode_with(Bounds::default(), options, &body(&text("service.name", "api"), &metric)).unwrap();
    assert_eq!(lines, [r#"m 1 gauge {"service.name":"api","job":"api"}"#]);
    let (lines, ..) = decode_with(Bounds::default(), options, &body("", &metric)).unwrap();
    assert_eq!(lines, ["m 1 gauge {}"]);
}

#[test]
fn prometheus_names_go_by_unit_and_kind() {
    let options = Options { names: Names::Prometheus, job_instance: true };
    let metric = format!(
        r#"{{"name":"process.cpu.time","sum":{{"aggregationTemporality":2,"isMonotonic":true,
        "dataPoints":[{{"timeUnixNano":"{AT}","asInt":"1"}}]}},"unit":"s"}}"#
    );
    let (lines, ..) = decode_with(Bounds::default(), options, &body(&text("service.name", "api"), &metric)).unwrap();
    assert_eq!(lines, [r#"process_cpu_time_seconds_total 1 counter {"service_name":"api","job":"api"}"#]);
}

#[test]
fn json_that_is_no_request_is_malformed() {
    for body in [
        "",
        "null",
        "[]",
        "{",
        "{}x",
        "\u{feff}{}",
        r#"{"resourceMetrics":{}}"#,
        r#"{"resourceMetrics":[],"resourceMetrics":[]}"#,
        r#"{"resourceMetrics":[1]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{},"sum":{}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"x"}]}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":1.5}]}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":9223372036854775808}]}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asDouble":1e400}]}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asDouble":1,"asInt":1}]}}]}]}]}"#,
        r#"{"unknown":[1,]}"#,
    ] {
        let error = decode_with(Bounds::default(), Options::default(), body).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{body}");
    }
    for body in [r#" { } "#, r#"{"resourceMetrics":null}"#, r#"{"resourceMetrics":[{}],"x":[{"y":null}]}"#] {
        assert_eq!(decode_with(Bounds::default(), Options::default(), body).unwrap().1.metrics, 0);
    }
}

#[test]
fn exemplars_are_counted_and_left_out() {
    let metric = r#"{"name":"m","gauge":{"dataPoints":[{"asInt":1,"exemplars":[{"asInt":"1"},{}]}]}}"#;
    let (lines, decoded, _) = decode_with(Bounds::default(), Options::default(), &body("", metric)).unwrap();
    assert_eq!((lines.len(), decoded.skipped[Skip::Exemplar as usize]), (1, 2));
}

#[test]
fn memory_of_a_large_body_is_freed() {
    let mut otlp = Otlp::new(Bounds::default(), Options { names: Names::Prometheus, job_instance: true });
    let escaped = format!("\\n{}", "v".repeat(500_000));
    let metric = format!(r#"{{"name":"{escaped}","gauge":{{"dataPoints":[{{"asInt":1}}]}}}}"#);
    let nested =
        format!(r#"{{"key":"{escaped}","value":{{"arrayValue":{{"values":[{{"stringValue":"{escaped}"}}]}}}}}}"#);
    let mut out = vec![0; 1 << 23];
    let resource = [text("service.name", &escaped), nested].join(",");
    otlp.decode_json(body(&resource, &metric).as_bytes(), &mut LineSink::new(&mut out, 0)).unwrap();
    assert!(otlp.kept_bytes() > 1_500_000, "{}", otlp.kept_bytes());
    otlp.trim();
    assert!(otlp.kept_bytes() < 1_000_000, "{}", otlp.kept_bytes());
}

#[test]
fn copies_for_rejected_points_are_bounded() {
    let resource = [text("host", "a"), text("large", &"v".repeat(1 << 19))].join(",");
    let point = format!(r#"{{"attributes":[{}],"bucketCounts":[1],"explicitBounds":[1]}}"#, text("host", "b"));
    let decode = |points: usize| {
        let points = vec![point.as_str(); points].join(",");
        let metric = format!(r#"{{"name":"h","histogram":{{"dataPoints":[{points}]}}}}"#);
        decode_with(Bounds::default(), Options::default(), &body(&resource, &metric))
    };
    assert_eq!(decode(120).unwrap().2, 120);
    assert_eq!(decode(140), Err(DecodeError::TooLarge));
}

/// Metrics of points that differ in few of their attributes: texts, numbers, nothing, an override, one too deep.
fn metrics_alike() -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    let attribute = (0..4_usize, prop_oneof![6 => Just(0_usize), 1 => 1..8_usize]).prop_map(|(key, value)| {
        let key = ["a", "b", "host", "le"][key];
        match value {
            0 => text(key, "1"),
            1 => text(key, "12"),
            2 => text(key, "\\u0031"),
            3 => format!(r#"{{"value":{{"intValue":7}},"key":"{key}"}}"#),
            4 => format!(r#"{{ "key":"{key}","value":null }}"#),
            5 => "null".to_owned(),
            6 => text(key, "\u{e9}"),
            _ => format!(
                r#"{{"key":"{key}","value":{}{}}}"#,
                r#"{"arrayValue":{"values":["#.repeat(18),
                "]}}".repeat(18)
            ),
        }
    });
    let point = prop::collection::vec(attribute, 0..4);
    prop::collection::vec(prop::collection::vec(point, 1..5), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_point_is_read_the_same_behind_any_other(metrics in metrics_alike(), prometheus: bool, shape in 0..3_usize) {
        let names = if prometheus { Names::Prometheus } else { Names::AsSent };
        let options = Options { names, job_instance: prometheus };
        let bounds = Bounds { tags_limit: 4, ..Bounds::default() };
        let metric = |index: usize, points: &[Vec<String>]| {
            let points: Vec<_> = points.iter().map(|attributes| {
                let attributes = attributes.join(",");
                let buckets = r#""count":1,"bucketCounts":[1],"explicitBounds":[]"#;
                let value = [r#""asInt":1"#, r#""asInt":2"#, buckets][shape];
                format!(r#"{{"attributes":[{attributes}],"timeUnixNano":"{AT}",{value}}}"#)
            }).collect();
            let kind = ["gauge", "sum", "histogram"][shape];
            let points = points.join(",");
            format!(r#"{{"name":"m{index}","{kind}":{{"aggregationTemporality":1,"dataPoints":[{points}]}}}}"#)
        };
        let body = |metrics: Vec<String>| body(&text("host", "h"), &metrics.join(",").replace(
            if shape == 0 { r#""aggregationTemporality":1,"# } else { "\0" }, "",
        ));
        let all = metrics.iter().enumerate().map(|(index, points)| metric(index, points)).collect();
        let (together, decoded, rejected_points) = decode_with(bounds, options, &body(all)).unwrap();
        let mut apart = Vec::new();
        let (mut rejected, mut points_rejected) = ([0; Reject::COUNT], 0);
        for (index, points) in metrics.iter().enumerate() {
            for point in points {
                let alone = body(vec![metric(index, std::slice::from_ref(point))]);
                let (lines, decoded, rejected_alone) = decode_with(bounds, options, &alone).unwrap();
                apart.extend(lines);
                rejected.iter_mut().zip(decoded.rejected).for_each(|(sum, count)| *sum += count);
                points_rejected += rejected_alone;
            }
        }
        prop_assert_eq!(together, apart);
        prop_assert_eq!((decoded.rejected, rejected_points), (rejected, points_rejected));
    }
}

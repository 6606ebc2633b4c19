//! Results that a person can check, and their forms to the byte.

use super::{log::Metric, *};

/// 2026-01-02T03:04:00Z
const MINUTE_MS: i64 = 1_767_323_040_000;

fn metrics() -> Vec<Metric> {
    let at = |second: i64| MINUTE_MS + 1_000 * second;
    vec![
        Metric::new(at(0), "cpu_usage", "75.5", &[("host", "web1"), ("dc", "a")]),
        Metric::new(at(30), "cpu_usage", "50", &[("dc", "a"), ("host", "web1")]),
        Metric::new(at(59), "cpu_usage", "1.50", &[("host", "web2"), ("dc", "b")]),
        Metric::new(at(60), "cpu_usage", "10", &[("host", "web1"), ("dc", "a")]),
        Metric::new(at(200), "cpu_usage", "20", &[]),
        Metric::new(at(0), "big", "4823947234", &[("quote\"", "line\n,")]),
        Metric::new(at(1), "big", "9007199254740993", &[("quote\"", "line\n,")]),
    ]
}

fn points(parameters: &str) -> String {
    let log = Log::new(&metrics(), &[(3, log::Lies::Compressed)]);
    let whole = format!("from=2026-01-02T03:04:00Z&to=2026-01-02T03:10:00Z&{parameters}");
    let document = written(&ask(&log, Kind::Query, &whole, 2).unwrap(), Format::Json);
    let (series, _) = document.split_once(",\"stats\":").unwrap();
    series.trim_start_matches("{\"series\":").replace(&MINUTE_MS.to_string(), "T")
}

#[test]
fn without_by_all_fall_into_one_series_and_without_step_into_one_bucket() {
    assert_eq!(points("name=cpu_usage&agg=max"), r#"[{"name":"cpu_usage","tags":{},"points":[[T,75.5]]}]"#);
    assert_eq!(points("name=cpu_usage&agg=count"), r#"[{"name":"cpu_usage","tags":{},"points":[[T,5]]}]"#);
    assert_eq!(points("name=cpu_usage"), r#"[{"name":"cpu_usage","tags":{},"points":[[T,31.4]]}]"#);
    assert_eq!(points("name=nothing"), "[]");
}

#[test]
fn a_bucket_takes_its_start_and_not_its_end_and_empty_ones_are_left_out() {
    assert_eq!(
        points("name=cpu_usage&agg=sum&step=60s"),
        r#"[{"name":"cpu_usage","tags":{},"points":[[T,127],[1767323100000,10],[1767323220000,20]]}]"#
    );
}

#[test]
fn series_are_told_apart_by_tags_in_any_order() {
    assert_eq!(
        points("name=cpu_usage&agg=count&by=host"),
        r#"[{"name":"cpu_usage","tags":{"host":"web1"},"points":[[T,3]]},{"name":"cpu_usage","tags":{"host":"web2"},"points":[[T,1]]},{"name":"cpu_usage","tags":{},"points":[[T,1]]}]"#
    );
    assert_eq!(
        points("name=cpu_usage&agg=last&by=*&order=-value&limit=2"),
        r#"[{"name":"cpu_usage","tags":{},"points":[[T,20]]},{"name":"cpu_usage","tags":{"dc":"a","host":"web1"},"points":[[T,10]]}]"#
    );
    assert_eq!(
        points("name=~cpu.*|big&agg=count&order=-name"),
        r#"[{"name":"cpu_usage","tags":{},"points":[[T,5]]},{"name":"big","tags":{},"points":[[T,2]]}]"#
    );
    assert_eq!(
        points("name=cpu_usage&agg=count&tag.host!~web1|"),
        r#"[{"name":"cpu_usage","tags":{},"points":[[T,1]]}]"#
    );
}

#[test]
fn stored_digits_stay() {
    for (agg, value) in [
        ("first", "4823947234"),
        ("last", "9007199254740993"),
        ("max", "9007199254740993"),
        ("sum", "9007204078688227"),
        ("p100", "9007199254740993"),
    ] {
        assert_eq!(
            points(&format!("name=big&agg={agg}")),
            format!(r#"[{{"name":"big","tags":{{}},"points":[[T,{value}]]}}]"#)
        );
    }
    assert!(points("name=cpu_usage&agg=min").contains("[T,1.50]"));
    assert!(points("name=cpu_usage&agg=raw&tag.host=web2").contains(r#""points":[[1767323099000,1.50]]"#));
    assert!(points("name=cpu_usage&agg=raw&tag.host=web1&points=1").contains(r#""points":[[1767323100000,10]]"#));
}

#[test]
fn counters_begin_again_at_zero_and_each_series_is_for_itself() {
    let reading = |second: i64, value: &str, host: &str| {
        Metric::new(MINUTE_MS + 1_000 * second, "requests", value, &[("host", host)])
    };
    let log = Log::new(
        &[
            reading(0, "100", "a"),
            reading(30, "160", "a"),
            // Begun again: 20 since.
            reading(60, "20", "a"),
            reading(90, "50", "a"),
            // Later in the log, earlier in time.
            reading(45, "170", "a"),
            reading(0, "1000", "b"),
            reading(90, "1900", "b"),
            // One reading alone grows by nothing.
            reading(0, "5", "c"),
        ],
        &[(2, log::Lies::Plain), (2, log::Lies::Indexed)],
    );
    let points = |parameters: &str| {
        let whole = format!("name=requests&from={MINUTE_MS}&to={}&{parameters}", MINUTE_MS + 120_000);
        let result = written(&ask(&log, Kind::Query, &whole, 3).unwrap(), Format::JsonLines);
        result.replace(r#""name":"requests","#, "").replace(&MINUTE_MS.to_string(), "T")
    };
    // 60 + 10 + 20 + 30 of a, 900 of b.
    assert_eq!(points("agg=increase"), "{\"timestamp\":T,\"value\":1020,\"tags\":{}}\n");
    assert_eq!(
        points("agg=increase&step=60s&by=host"),
        "{\"timestamp\":T,\"value\":70,\"tags\":{\"host\":\"a\"}}\n\
         {\"timestamp\":1767323100000,\"value\":50,\"tags\":{\"host\":\"a\"}}\n\
         {\"timestamp\":1767323100000,\"value\":900,\"tags\":{\"host\":\"b\"}}\n"
    );
    // 70 in the 45 s from 0 to 45; 50 in the 45 s from 45 to 90; 900 in 90 s.
    assert_eq!(
        points("agg=rate&step=60s&by=host"),
        format!(
            "{{\"timestamp\":T,\"value\":{},\"tags\":{{\"host\":\"a\"}}}}\n\
             {{\"timestamp\":1767323100000,\"value\":{},\"tags\":{{\"host\":\"a\"}}}}\n\
             {{\"timestamp\":1767323100000,\"value\":10,\"tags\":{{\"host\":\"b\"}}}}\n",
            70.0 / 45.0,
            50.0 / 45.0
        )
    );
}

#[test]
fn two_values_at_one_moment_are_no_reset_of_a_counter() {
    let reading = |second: i64, value: &str| Metric::new(MINUTE_MS + 1_000 * second, "requests", value, &[]);
    let [start, high, low, end] = [reading(0, "1000"), reading(10, "1010"), reading(10, "1005"), reading(20, "1020")];
    let grown = |metrics: &[Metric], parameters: &str| {
        let log = Log::new(metrics, &[(2, log::Lies::Compressed)]);
        let whole = format!("name=requests&from={MINUTE_MS}&to={}&{parameters}", MINUTE_MS + 60_000);
        written(&ask(&log, Kind::Query, &whole, 2).unwrap(), Format::Csv)
            .lines()
            .nth(1)
            .map(|line| line.rsplit(',').next().unwrap().to_owned())
    };
    for metrics in [
        [&start, &high, &low, &end].map(Metric::clone),
        [&start, &low, &high, &end].map(Metric::clone),
        [&end, &high, &start, &low].map(Metric::clone),
    ] {
        assert_eq!(grown(&metrics, "agg=increase").as_deref(), Some("20"));
        assert_eq!(grown(&metrics, "agg=rate").as_deref(), Some("1"));
    }
    // What is sent twice, as after a response that was lost, counts once; below the largest it has begun again.
    let twice = [&start, &high, &high, &start].map(Metric::clone);
    assert_eq!(grown(&twice, "agg=increase").as_deref(), Some("10"));
    let again = [start.clone(), high.clone(), reading(10, "3"), reading(20, "5")];
    assert_eq!(grown(&again, "agg=increase").as_deref(), Some("15"));
    // Values of one moment alone are one value, and one value has no increase.
    assert_eq!(grown(&[high.clone(), low.clone()], "agg=increase"), None);
    assert_eq!(grown(&[high, low], "agg=rate"), None);
}

#[test]
fn names_and_tags_may_be_any_of_several() {
    let count = |parameters: &str| points(&format!("agg=count&{parameters}")).matches("\"name\"").count();
    assert_eq!(count("name=cpu_usage&name=big&name=none"), 2);
    assert_eq!(count("name=cpu_usage&name=cpu_usage"), 1);
    assert_eq!(count("name=cpu_usage&by=host&tag.host=web1&tag.host=web2"), 2);
    assert_eq!(count("name=cpu_usage&by=host&tag.host!=web1&tag.host!=web2"), 1);
    assert_eq!(count("name=~^(cpu_usage|big)$&by=host&tag.host=~(web1|web2)"), 2);
}

#[test]
fn what_is_beyond_the_range_of_floats_is_null() {
    let log = Log::new(&[Metric::new(0, "n", "1.7e308", &[]), Metric::new(0, "n", "1.7e308", &[])], &[]);
    let value = |agg: &str| {
        let result = ask(&log, Kind::Query, &format!("name=n&from=0&to=1&agg={agg}"), 1).unwrap();
        let points: serde_json::Value = serde_json::from_str(&written(&result, Format::Json)).unwrap();
        (points["series"][0]["points"][0][1].clone(), written(&result, Format::Csv))
    };
    assert_eq!(value("sum"), (serde_json::Value::Null, "name,timestamp,value\nn,0,\n".into()));
    assert_eq!(value("avg").0, 1.7e308);
    assert_eq!(value("stddev").0, 0);
}

#[test]
fn values_that_are_no_numbers_are_left_out_and_counted() {
    let at = |second: i64| MINUTE_MS + 1_000 * second;
    let up = |second: i64, value: &str, host: &str| Metric::new(at(second), "up", value, &[("host", host)]);
    let stale = r#""NaN","stale":true"#;
    let metrics = [
        up(0, "3", "a"),
        up(10, r#""NaN""#, "a"),
        up(20, "5", "a"),
        up(30, stale, "a"),
        up(5, r#""+Inf""#, "b"),
        up(6, r#""-Inf""#, "b"),
        Metric::new(at(7), "other", r#""NaN""#, &[]),
    ];
    let log = Log::new(&metrics, &[(2, log::Lies::Compressed), (2, log::Lies::Plain)]);
    let asked = |kind: Kind, parameters: &str| {
        let whole = format!("from=2026-01-02T03:04:00Z&to=2026-01-02T03:10:00Z&{parameters}");
        ask(&log, kind, &whole, 2).unwrap()
    };
    for (agg, value) in [
        ("count", "2"),
        ("sum", "8"),
        ("avg", "4"),
        ("min", "3"),
        ("max", "5"),
        ("first", "3"),
        ("last", "5"),
        ("stddev", "1"),
        ("p100", "5"),
        ("increase", "2"),
        ("rate", "0.1"),
    ] {
        let result = asked(Kind::Query, &format!("name=up&agg={agg}&by=host"));
        let table = written(&result, Format::Csv);
        assert_eq!(table, format!("name,tag.host,timestamp,value\nup,a,{MINUTE_MS},{value}\n"), "{agg}");
        assert_eq!((result.stats.non_finite, result.stats.scanned.matched), (4, 6), "{agg}");
    }
    let raw = asked(Kind::Query, "name=up&agg=raw&tag.host=a");
    assert_eq!(raw.series[0].points.len(), 2);
    assert_eq!(raw.stats.non_finite, 2);
    assert!(written(&raw, Format::Json).contains(r#","non_finite_metrics":2,"series":1,"#));
    // A series without a single number is one all the same.
    let series = written(&asked(Kind::Series, "name=up"), Format::Csv);
    assert_eq!(series, "name,tag.host\nup,a\nup,b\n");
    let names = asked(Kind::Names, "");
    assert_eq!((written(&names, Format::Csv).as_str(), names.stats.non_finite), ("name\nother\nup\n", 0));
    assert_eq!(written(&asked(Kind::TagValues("host".into()), ""), Format::Csv), "value\na\nb\n");
}

#[test]
fn the_forms_to_the_byte() {
    let log = Log::new(&metrics(), &[]);
    let range = "from=2026-01-02T03:04:00Z&to=2026-01-02T03:10:00Z";
    let ask = |kind: Kind, parameters: &str, format| {
        written(&super::ask(&log, kind, &format!("{range}{parameters}"), 1).unwrap(), format)
    };
    let series = "&name=~cpu.*|big&agg=max&by=host,quote\"";
    assert_eq!(
        ask(Kind::Query, series, Format::Csv),
        "name,tag.host,\"tag.quote\"\"\",timestamp,value\n\
         big,,\"line\n,\",1767323040000,9007199254740993\n\
         cpu_usage,web1,,1767323040000,75.5\n\
         cpu_usage,web2,,1767323040000,1.50\n\
         cpu_usage,,,1767323040000,20\n"
    );
    assert_eq!(
        ask(Kind::Query, series, Format::JsonLines).lines().next(),
        Some(r#"{"timestamp":1767323040000,"name":"big","value":9007199254740993,"tags":{"quote\"":"line\n,"}}"#)
    );
    assert_eq!(ask(Kind::Names, "", Format::Csv), "name\nbig\ncpu_usage\n");
    assert_eq!(ask(Kind::Names, "&limit=1", Format::JsonLines), "{\"name\":\"big\"}\n");
    assert_eq!(ask(Kind::TagValues("host".into()), "", Format::Csv), "value\nweb1\nweb2\n");
    assert_eq!(ask(Kind::TagValues("host".into()), "&tag.dc=b", Format::JsonLines), "{\"value\":\"web2\"}\n");
    assert_eq!(
        ask(Kind::Series, "&name=cpu_usage", Format::Csv),
        "name,tag.dc,tag.host\ncpu_usage,a,web1\ncpu_usage,b,web2\ncpu_usage,,\n"
    );
    assert_eq!(
        ask(Kind::Series, "&name=big", Format::JsonLines),
        "{\"name\":\"big\",\"tags\":{\"quote\\\"\":\"line\\n,\"}}\n"
    );
    for (kind, beginning, counts) in [
        (Kind::Names, r#"{"names":["big","cpu_usage"],"stats":{"scanned_bytes":"#, r#""names":2,"left_out_names":0"#),
        (
            Kind::TagValues("host".into()),
            r#"{"tag":"host","values":["web1","web2"],"stats":{"#,
            r#""values":2,"left_out_values":0"#,
        ),
        (
            Kind::Series,
            r#"{"series":[{"name":"big","tags":{"quote\"":"line\n,"}},"#,
            r#""series":4,"left_out_series":0"#,
        ),
    ] {
        let document = ask(kind, "", Format::Json);
        assert!(
            document.starts_with(beginning) && document.contains(counts) && document.ends_with("}}\n"),
            "{document}"
        );
        serde_json::from_str::<serde_json::Value>(&document).unwrap();
    }
    let document: serde_json::Value =
        serde_json::from_str(&ask(Kind::Query, "&name=big&agg=count&by=*", Format::Json)).unwrap();
    let stats = &document["stats"];
    assert_eq!((&stats["scanned_metrics"], &stats["matched_metrics"]), (&7.into(), &2.into()));
    assert_eq!((&stats["series"], &stats["points"]), (&1.into(), &1.into()));
    assert_eq!(stats["scanned_bytes"], std::fs::metadata(log.path().join("metrics.jsonl")).unwrap().len());
    assert!(stats["elapsed_ms"].is_number());
}

#[test]
fn an_empty_directory_has_an_empty_result() {
    let directory = tempfile::tempdir().unwrap();
    let request = Request::parse(Kind::Query, "name=cpu", 0).unwrap();
    let result = run(&request, &Source::directory(directory.path()), Bounds::default(), &limits(2)).unwrap();
    assert!(result.series.is_empty());
}

#[test]
fn the_widest_range_and_the_shortest_step() {
    let metrics = [
        Metric::new(metric::TIMESTAMP_MS_MIN, "n", "1", &[]),
        Metric::new(0, "n", "2", &[]),
        Metric::new(metric::TIMESTAMP_MS_MAX - 1, "n", "3", &[]),
    ];
    let log = Log::new(&metrics, &[]);
    for agg in ["last", "increase", "p50", "stddev"] {
        for step in ["", "&step=1ms", "&step=9999999w"] {
            let parameters = format!("name=n&from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59.999Z&agg={agg}{step}");
            let result = ask(&log, Kind::Query, &parameters, 2).unwrap();
            let points = &result.series[0].points;
            let expected = match (step, agg) {
                ("&step=1ms", "increase") => 2,
                ("&step=1ms", _) => 3,
                _ => 1,
            };
            assert_eq!(points.len(), expected, "{parameters}");
            if step == "&step=1ms" {
                assert_eq!(points[expected - 1].timestamp_ms, metric::TIMESTAMP_MS_MAX - 1);
            }
        }
    }
}

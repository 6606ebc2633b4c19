//! The language of queries where it was misleading or too short: lists, forms, counters, times.

use super::{number, queries_hold_together};
use crate::{
    http::{Response, get, post},
    on_both_drivers,
    server::{Driver, Server},
    with_driver,
};

const FORM: &str = "application/x-www-form-urlencoded";

fn post_form(server: &Server, target: &str, content_type: &str, form: &[u8]) -> Response {
    let length = form.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    server.request(&[head.as_bytes(), form].concat())
}

/// `All` of a dashboard: thousands of names, escaped as dashboards do.
fn lists_of_names_are_sets(driver: Driver) {
    let server = with_driver(driver).start();
    let metric = |host: usize| format!(r#"{{"name":"n{host}","value":1,"tags":{{"host":"web{host}.example"}}}}"#);
    let metrics: Vec<String> = (0..300).map(metric).collect();
    assert_eq!(server.request(&post(format!(r#"{{"metrics":[{}]}}"#, metrics.join(",")))).processed(), 300);
    let list = |hosts: usize| {
        (0..hosts).map(|host| format!(r"web{host}\.example")).collect::<Vec<_>>().join("|").replace('\\', "%5C")
    };
    let rows = |response: &Response| {
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["series"].as_array().unwrap().len()
    };
    // In a URL as many as fit into a head.
    for (before, after) in [("", ""), ("(", ")"), ("^(?:", ")$")] {
        let target = format!("/series?tag.host=~{before}{}{after}", list(500));
        assert_eq!(rows(&server.request(&get(&target))), 300);
    }
    // In a form many more.
    let form = format!("tag.host=~({})&limit=1000", list(20_000));
    assert_eq!(rows(&post_form(&server, "/series", FORM, form.as_bytes())), 300);
    let repeated: String = (100..5_000).map(|host| format!("&tag.host=web{host}.example")).collect();
    assert_eq!(rows(&post_form(&server, "/series", FORM, repeated.as_bytes())), 200);
    let names: String = (100..5_000).map(|name| format!("name=n{name}&")).collect();
    assert_eq!(rows(&post_form(&server, "/query?agg=last", FORM, names.as_bytes())), 200);
    let without: String = (0..290).map(|host| format!("&tag.host!=web{host}.example")).collect();
    assert_eq!(rows(&server.request(&get(&format!("/series?{without}")))), 10);
    queries_hold_together(&server);
}

fn a_form_queries_what_a_url_queries(driver: Driver) {
    let server = with_driver(driver).start();
    let batch = r#"{"metrics":[{"name":"a","value":1,"tags":{"h":"x y"}},{"name":"a","value":2,"tags":{"h":"z"}}]}"#;
    assert_eq!(server.request(&post(batch)).processed(), 2);
    let series = |response: &Response| {
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["series"].clone()
    };
    let expected = series(&server.request(&get("/query?name=a&agg=last&by=h&tag.h=x+y&from=0")));
    assert_eq!(expected.as_array().unwrap().len(), 1);
    for (target, form) in [
        ("/query", "name=a&agg=last&by=h&tag.h=x+y&from=0"),
        ("/query?", "name=a&agg=last&by=h&tag.h=x%20y&from=0"),
        ("/query?name=a&agg=last&from=0", "by=h&tag.h=x+y&"),
        ("/query?name=a&agg=last&by=h&tag.h=x+y&from=0", ""),
    ] {
        for content_type in [FORM, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
            assert_eq!(series(&post_form(&server, target, content_type, form.as_bytes())), expected, "{target} {form}");
        }
    }
    assert_eq!(post_form(&server, "/names", FORM, b"").json()["names"], serde_json::json!(["a"]));
    assert_eq!(post_form(&server, "/tags/h", FORM, b"limit=1").json()["values"], serde_json::json!(["x y"]));
    // What stands in both places comes twice.
    assert!(post_form(&server, "/query?name=a&agg=last", FORM, b"agg=last").refusal(400).contains("agg: repeated"));
    assert!(post_form(&server, "/query", FORM, b"name=a&nme=b").refusal(400).contains("nme"));
    assert!(post_form(&server, "/query", FORM, b"name=\xff").refusal(400).contains("UTF-8"));
    for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain", ""] {
        assert!(post_form(&server, "/query", content_type, b"name=a").refusal(415).contains(FORM), "{content_type}");
    }
    let long = format!("name=a&tag.h={}", "x".repeat(1 << 20));
    post_form(&server, "/query", FORM, long.as_bytes()).refusal(413);
    queries_hold_together(&server);
    assert_eq!(server.stat("/responses/415"), 4);
}

fn counters_do_not_depend_on_the_order_of_arrival(driver: Driver) {
    let server = with_driver(driver).start();
    let orders = [[0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0], [1, 3, 0, 2]];
    for (name, order) in orders.iter().enumerate() {
        let readings = [(0, 1_000), (10, 1_010), (10, 1_005), (20, 1_020)];
        for &at in order {
            let (second, value) = readings[at];
            let timestamp = 1_767_323_040_000_u64 + 1_000 * second;
            let batch = format!(r#"{{"metrics":[{{"name":"c{name}","value":{value},"timestamp":{timestamp}}}]}}"#);
            assert_eq!(server.request(&post(batch)).processed(), 1);
        }
        let of = |agg: &str| format!("/query?name=c{name}&agg={agg}&from=1767323040&to=1767323100");
        assert_eq!(number(&server.request(&get(&of("increase")))), 20, "{order:?}");
        assert_eq!(number(&server.request(&get(&of("rate")))), 1, "{order:?}");
    }
}

fn what_could_be_seconds_or_milliseconds_is_refused(driver: Driver) {
    let server = with_driver(driver).start();
    let batch = r#"{"metrics":[{"name":"a","value":1,"timestamp":1767323045678}]}"#;
    assert_eq!(server.request(&post(batch)).processed(), 1);
    for (from, to) in [
        ("1767323045", "1767323046"),
        ("1767323045.678", "1767323045.679"),
        ("1767323045678", "1767323045679"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"),
        ("0", "1767323046"),
    ] {
        let response = server.request(&get(&format!("/query?name=a&agg=count&from={from}&to={to}")));
        assert_eq!(number(&response), 1, "{from}");
    }
    for wrong in ["17673230456", "99999999999", "1767323045678000"] {
        for parameters in [format!("from={wrong}"), format!("to={wrong}")] {
            let text = server.request(&get(&format!("/query?name=a&{parameters}"))).refusal(400);
            assert!(text.contains("seconds") && text.contains("milliseconds"), "{text}");
        }
    }
}

fn values_that_are_no_numbers_are_skipped_and_counted(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let line = |value: &str, host: &str| {
        format!(
            r#"{{"timestamp":"2026-01-02T03:04:05.678Z","name":"up","value":{value},"type":"untyped","tags":{{"host":"{host}"}}}}"#
        ) + "\n"
    };
    let text: String = [("1", "a"), (r#""NaN","stale":true"#, "a"), (r#""+Inf""#, "b"), (r#""-Inf""#, "b")]
        .map(|(value, host)| line(value, host))
        .concat();
    std::fs::write(directory.path().join("metrics-20260102T030406.000Z.jsonl"), &text).unwrap();
    std::fs::write(directory.path().join("metrics.jsonl"), &text).unwrap();
    let server = with_driver(driver).start_in(directory.path());
    let range = "from=2026-01-02T03:00:00Z&to=2026-01-02T04:00:00Z";
    let fetch = |of: &str| {
        serde_json::from_slice::<serde_json::Value>(&server.request(&get(&format!("{of}&{range}"))).body).unwrap()
    };
    let counted = fetch("/query?name=up&agg=count&by=host");
    assert_eq!(counted["series"].as_array().unwrap().len(), 1, "{counted}");
    assert_eq!(
        (&counted["series"][0]["points"][0][1], &counted["stats"]["non_finite_metrics"]),
        (&2.into(), &6.into())
    );
    assert_eq!(counted["stats"]["foreign_lines"], 0);
    assert_eq!(fetch("/series?name=up")["series"].as_array().unwrap().len(), 2);
    assert_eq!(fetch("/names?name=up")["names"], serde_json::json!(["up"]));
}

on_both_drivers!(
    lists_of_names_are_sets,
    a_form_queries_what_a_url_queries,
    counters_do_not_depend_on_the_order_of_arrival,
    what_could_be_seconds_or_milliseconds_is_refused,
    values_that_are_no_numbers_are_skipped_and_counted,
);

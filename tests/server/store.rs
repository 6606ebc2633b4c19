//! Acknowledged metrics are in the log: every one, in order, digit for digit.

use crate::{
    http::{Client, get, post, post_to},
    log,
    metric::{self, Metric, metrics_of, rfc3339},
    on_both_drivers,
    server::{Driver, until},
    with_driver,
};
use std::time::{SystemTime, UNIX_EPOCH};

/// Batches of a real node_exporter, one a line.
const NODE_EXPORTER: &str = include_str!("../../bench/data/node_exporter.ndjson");

fn the_whole_file(driver: Driver) {
    let sent: Vec<Vec<Metric>> = NODE_EXPORTER.lines().map(metrics_of).collect();
    assert_eq!((sent.len(), sent.iter().map(Vec::len).sum::<usize>()), (24, 12_168), "the file itself");
    for ack in ["memory", "write", "fsync"] {
        for reactors in [1, 3] {
            let mut server = with_driver(driver).flag("--ack", ack).flag("--reactors", reactors).start();
            let mut client = server.connect();
            for (line, metrics) in NODE_EXPORTER.lines().zip(&sent) {
                assert_eq!(client.request(&post(line)).processed(), metrics.len());
            }
            drop(client);
            server.stop();
            let stored = server.metrics();
            assert_eq!(stored.len(), 12_168, "{ack}, {reactors} reactors");
            for (stored, sent) in stored.iter().zip(sent.iter().flatten()) {
                assert_eq!(stored, sent, "{ack}, {reactors} reactors");
            }
        }
    }
}

/// At `write` and `fsync` the lines are in the file when the response comes.
fn an_acknowledged_line_is_in_the_file(driver: Driver) {
    let server = with_driver(driver).flag("--ack", "memory").flag("--reactors", 2).start();
    let mut client = server.connect();
    for count in 1..=20 {
        let target = if count % 2 == 0 { "/metrics?ack=write" } else { "/metrics?&ack=fsync" };
        let response = client.request(&post_to(target, "", metric::marked_batch(&count.to_string(), 3)));
        assert_eq!(response.processed(), 3);
        assert_eq!(log::lines(&server.directory).len(), 3 * count);
    }
    assert_eq!(client.request(&post_to("/metrics?ack=memory", "", metric::marked_batch("21", 3))).processed(), 3);
    until("the batch acknowledged at memory is written", || {
        // Read raw: the file may be caught in the middle of a write.
        let text = std::fs::read_to_string(server.directory.join("metrics.jsonl")).unwrap();
        (text.matches('\n').count() == 63).then_some(())
    });
    for query in ["ack=disk", "ack=", "ack=write&ack=write"] {
        assert!(
            client
                .request(&post_to(&format!("/metrics?{query}"), "", metric::marked_batch("x", 1)))
                .refusal(400)
                .contains("ack")
        );
    }
    assert_eq!(server.metrics().len(), 63);
}

fn numbers_keep_their_digits(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let kept = [
        "4823947234",
        "0.1",
        "1.800784e+06",
        "-0",
        "0",
        "-0.0",
        "75.5",
        "1E5",
        "1e-400",
        "0.30000000000000004",
        "-17",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1.7976931348623157e308",
        "5e-324",
    ];
    for digits in kept {
        assert_eq!(
            client.request(&post(format!(r#"{{"metrics":[{{"name":"n","value":{digits}}}]}}"#))).processed(),
            1,
            "{digits}"
        );
    }
    let refused = [
        "1E400",
        "-1e309",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "0x10",
        "\"1\"",
        "null",
        "true",
        "NaN",
        "-NaN",
        "Infinity",
        "-Infinity",
        "Inf",
        "\"NaN\"",
        "\"+Inf\"",
        "\"-Inf\"",
        "\"NaN\",\"stale\":true",
    ];
    for digits in refused {
        let response = client.request(&post(format!(r#"{{"metrics":[{{"name":"n","value":{digits}}}]}}"#)));
        let text = response.refusal(400);
        assert!(text.contains("metrics[0]"), "{digits}: {text}");
    }
    drop(client);
    server.stop();
    let stored: Vec<String> = server.metrics().into_iter().map(|metric| metric.value).collect();
    assert_eq!(stored, kept);
}

fn strings_come_out_as_they_went_in(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let texts = [
        "plain",
        "with \"quotes\" and \\ and /",
        "tab\tline\nreturn\rback\u{8}form\u{c}",
        "nul \u{0} unit \u{1f}",
        "grüße",
        "温度",
        "🌡 and \u{10ffff}",
        "\u{7f} \u{2028} \u{feff}",
        " leading and trailing ",
    ];
    let mut sent = Vec::new();
    for text in texts {
        // Escaped as little, and as much, as JSON allows.
        let short = serde_json::to_string(text).unwrap();
        let long: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        for written in [short, format!("\"{long}\"")] {
            let batch = format!(
                r#"{{"metrics":[{{"name":{written},"value":1,"timestamp":0,"tags":{{{written}:{written},"":""}}}}]}}"#
            );
            sent.extend(metrics_of(&batch));
            assert_eq!(client.request(&post(batch)).processed(), 1, "{written}");
        }
    }
    drop(client);
    server.stop();
    assert_eq!(server.metrics(), sent);
}

/// The line of the manual, to the byte.
fn a_line_is_as_the_manual_shows_it(driver: Driver) {
    let mut server = with_driver(driver).start();
    let batch = r#" { "metrics" : [ { "tags" : { "host" : "web1" } , "unknown": [1, {"a": null}], "type":"gauge",
        "timestamp":"2026-01-02T05:04:05.678+02:00","value":75.5,"name":"cpu_usage"} ] , "more": {} } "#;
    assert_eq!(server.request(&post(batch)).processed(), 1);
    server.stop();
    assert_eq!(
        log::lines(&server.directory),
        [
            r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}}"#
        ]
    );
}

fn timestamps(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let mut fetch = |timestamp: &str| {
        client.request(&post(format!(r#"{{"metrics":[{{"name":"n","value":1,"timestamp":{timestamp}}}]}}"#)))
    };
    let taken = [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("1767323045678", "2026-01-02T03:04:05.678Z"),
        ("-1", "1969-12-31T23:59:59.999Z"),
        (r#""2026-01-02T03:04:05Z""#, "2026-01-02T03:04:05.000Z"),
        (r#""2026-01-02T03:04:05.6Z""#, "2026-01-02T03:04:05.600Z"),
        (r#""2026-01-01T22:04:05.678-05:00""#, "2026-01-02T03:04:05.678Z"),
        (r#""2024-02-29T23:59:59.999Z""#, "2024-02-29T23:59:59.999Z"),
    ];
    for (sent, _) in taken {
        assert_eq!(fetch(sent).processed(), 1, "{sent}");
    }
    for refused in [
        "1.5",
        "1e3",
        "true",
        "1767323045",
        "1767323045678000",
        r#""yesterday""#,
        r#""2026-02-30T00:00:00Z""#,
        r#""2026-01-02""#,
        "99999999999999999999",
    ] {
        let text = fetch(refused).refusal(400);
        assert!(text.contains("metrics[0].timestamp"), "{refused}: {text}");
    }
    drop(client);
    server.stop();
    let stored: Vec<String> = server.metrics().into_iter().map(|metric| metric.timestamp).collect();
    assert_eq!(stored, taken.map(|(_, stored)| stored));
}

/// Reactors and writer on one core: they share it, and nobody waits for ever.
fn everything_on_one_core(driver: Driver) {
    let core = core_affinity::get_core_ids().unwrap()[0].id;
    for reactors in [1, 3] {
        for ack in ["memory", "fsync"] {
            let mut server =
                with_driver(driver).flag("--cores", core).flag("--reactors", reactors).flag("--ack", ack).start();
            let mut client = server.connect();
            for line in NODE_EXPORTER.lines().take(4) {
                assert_eq!(client.request(&post(line)).processed(), 507);
            }
            drop(client);
            server.stop();
            assert_eq!(server.metrics().len(), 4 * 507);
        }
    }
}

/// Without one of its own, a metric has the time of its arrival.
fn the_time_of_arrival_is_the_default(driver: Driver) {
    fn now() -> String {
        rfc3339(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
    }
    let mut server = with_driver(driver).flag("--rate-limit", 1_000).start();
    let mut client = server.connect();
    // The first after a pause of the client's: a clock read long before the request would show.
    assert_eq!(client.request(&get("/health")).status, 200);
    let before = now();
    let body = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2,"timestamp":5},{"name":"c","value":3}]}"#;
    assert_eq!(client.request(&post(body)).processed(), 3);
    let after = now();
    let far_from_now = server.stat("/metrics_far_from_now");
    let clients: serde_json::Value = serde_json::from_slice(&client.request(&get("/stats/clients")).body).unwrap();
    assert_eq!(clients["heaviest"][0]["far_from_now"], 1, "{clients}");
    drop(client);
    server.stop();
    let stored = server.metrics();
    assert_eq!(stored[1].timestamp, rfc3339(5));
    assert_eq!(far_from_now, 1, "what lies in 1970 is stored and counted");
    for metric in [&stored[0], &stored[2]] {
        assert!(before <= metric.timestamp && metric.timestamp <= after, "{before} <= {} <= {after}", metric.timestamp);
    }
}

fn null_for_an_optional_field_is_absence(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let absent = r#"{"metrics":[{"name":"a","value":1,"type":null,"timestamp":null,"tags":null}]}"#;
    let before = server.stat("/metrics_far_from_now");
    assert_eq!(client.request(&post(absent)).processed(), 1);
    for needed in ["name", "value"] {
        let other = if needed == "name" { r#""value":1"# } else { r#""name":"a""# };
        let text = client.request(&post(format!(r#"{{"metrics":[{{"{needed}":null,{other}}}]}}"#))).refusal(400);
        assert!(text.contains(&format!("metrics[0].{needed}")), "{text}");
    }
    assert_eq!(server.stat("/metrics_far_from_now"), before, "its time is that of its arrival");
    drop(client);
    server.stop();
    let stored = server.metrics();
    assert_eq!((stored.len(), stored[0].kind.as_str(), stored[0].tags.len()), (1, "gauge", 0));
}

/// The log is appended to, over restarts too.
fn a_restart_appends(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    for round in 1..=3 {
        let mut server = with_driver(driver).start_in(directory.path());
        assert_eq!(server.request(&post(metric::marked_batch(&round.to_string(), 10))).processed(), 10);
        server.stop();
        assert_eq!(metric::marked_batches(&server.metrics()).len(), round);
    }
}

/// Lines of many connections on many cores never mix, and those of one connection keep their order.
fn each_connection_keeps_its_order(driver: Driver) {
    const CONNECTIONS: usize = 8;
    const BATCHES: usize = 50;
    for reactors in [2, 4] {
        let mut server = with_driver(driver).flag("--reactors", reactors).start();
        std::thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let address = server.address;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for batch in 0..BATCHES {
                        let metrics = 1 + (connection * 7 + batch) % 20;
                        let body = metric::marked_batch(&format!("{connection}-{batch:04}"), metrics);
                        assert_eq!(client.request(&post(body)).processed(), metrics);
                    }
                });
            }
        });
        server.stop();
        let stored = server.metrics();
        let found = metric::marked_batches(&stored);
        assert_eq!(found.len(), CONNECTIONS * BATCHES);
        assert!(found.values().all(|&times| times == 1));
        let mut last = vec![String::new(); CONNECTIONS];
        for metric in &stored {
            let (connection, batch) = metric.tags[0].1.split_once('-').unwrap();
            let last = &mut last[connection.parse::<usize>().unwrap()];
            assert!(last.as_str() <= batch, "connection {connection}: {batch} after {last}");
            *last = batch.to_owned();
        }
    }
}

on_both_drivers!(
    the_whole_file,
    an_acknowledged_line_is_in_the_file,
    numbers_keep_their_digits,
    strings_come_out_as_they_went_in,
    a_line_is_as_the_manual_shows_it,
    timestamps,
    everything_on_one_core,
    the_time_of_arrival_is_the_default,
    null_for_an_optional_field_is_absence,
    a_restart_appends,
    each_connection_keeps_its_order,
);

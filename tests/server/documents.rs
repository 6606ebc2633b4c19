//! Documents that the server serves of itself: `/health`, `/ready`, `/stats`, `/metrics` parse, and agree with each
//! other. The relations between their figures are in `stats`.

use crate::{
    http::{get, post},
    on_both_drivers,
    server::{Driver, number_at},
    with_driver,
};
use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

fn health_and_ready(driver: Driver) {
    let server = with_driver(driver).start();
    for (path, word) in [("/health", "live"), ("/ready", "ready")] {
        let response = server.request(&get(path));
        assert_eq!((response.status, response.json()["status"].as_str()), (200, Some(word)));
    }
}

fn stats(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 3).flag("--rate-limit", 100).start();
    let mut client = server.connect();
    for _ in 0..5 {
        assert_eq!(
            client.request(&post(r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}"#)).processed(),
            2
        );
    }
    client.request(&post("{}")).refusal(400);
    let stats = client.request(&get("/stats")).json();
    assert_eq!((stats["driver"].as_str(), stats["ack"].as_str()), (Some(driver.name()), Some("write")), "{stats:#}");
    for (pointer, number) in [
        ("/batches/received", 6),
        ("/batches/stored", 5),
        ("/batches/rejected", 1),
        ("/batches/rejected_by/malformed", 1),
        ("/batches/shed", 0),
        ("/batches/pending", 0),
        ("/metrics_stored", 10),
        ("/responses/200", 5),
        ("/responses/400", 1),
        ("/connections/active", 1),
        ("/limiter/clients", 1),
        ("/limiter/allowed", 6),
        ("/limiter/refused", 0),
        ("/limiter/events_dropped", 0),
        ("/log/unclean_shutdowns", 0),
        ("/reactors_silent", 0),
        ("/latency_us/count", 6),
    ] {
        assert_eq!(number_at(&stats, pointer), number, "{pointer}: {stats:#}");
    }
    assert_eq!(stats["reactors"].as_array().unwrap().len(), 3);
    assert_eq!(stats["draining"], false);
    for name in ["p50", "p95", "p99"] {
        let latency_us = stats["latency_us"][name].as_f64().unwrap();
        assert!(latency_us > 0.0 && latency_us <= stats["latency_us"]["max"].as_f64().unwrap(), "{stats:#}");
    }
    assert!(number_at(&stats, "/process/resident_bytes") > 1 << 20);
    assert!(number_at(&stats, "/log/written_bytes") >= number_at(&stats, "/line_bytes"));
}

/// Prometheus text, and the same figures in it as in `/stats`.
fn metrics(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.request(&post(r#"{"metrics":[{"name":"a","value":1}]}"#)).processed(), 1);
    }
    client.request(&post("{}")).refusal(400);
    let response = client.request(&get("/metrics"));
    assert_eq!(
        (response.status, response.header("Content-Type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    let samples = samples(response.text());
    for (sample, value) in [
        ("metricstream_batches_received_total", 4.0),
        ("metricstream_batches_stored_total", 3.0),
        (r#"metricstream_batches_rejected_total{reason="malformed"}"#, 1.0),
        ("metricstream_batches_pending", 0.0),
        ("metricstream_metrics_stored_total", 3.0),
        (r#"metricstream_http_requests_total{status="200",reason="ok"}"#, 3.0),
        ("metricstream_log_available", 1.0),
        (r#"metricstream_http_requests_total{status="400",reason="content_invalid"}"#, 1.0),
        (r#"metricstream_request_duration_seconds_count{route="batch"}"#, 4.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}: {}", response.text());
    }
    for accept in ["application/json", "text/html, application/json;q=0.9"] {
        let json = client.request(format!("GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n").as_bytes());
        assert_eq!(number_at(&json.json(), "/batches/stored"), 3);
    }
    for accept in ["*/*", "text/plain", "text/html"] {
        let text = client.request(format!("GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n").as_bytes());
        assert!(text.header("Content-Type").unwrap().starts_with("text/plain"), "{accept}");
    }
}

/// The samples of a document in the Prometheus text format 0.0.4, every line of which is checked: names and labels by
/// their grammar, `HELP` then `TYPE` then the samples of each family, each family in one piece, no sample twice.
pub fn samples(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(families.insert(name.to_owned()), "the family comes twice: {line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of_kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(name, helped, "TYPE follows its own HELP");
            assert!(matches!(of_kind, "counter" | "gauge" | "histogram"), "{line}");
            assert!(of_kind != "counter" || name.ends_with("_total"), "{line}");
            (family, kind) = (name.to_owned(), of_kind.to_owned());
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let (name, labels) = match sample.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
                None => (sample, ""),
            };
            let belongs = name == family
                || kind == "histogram"
                    && name
                        .strip_prefix(family.as_str())
                        .is_some_and(|end| matches!(end, "_bucket" | "_sum" | "_count"));
            assert!(is_name(name) && belongs, "outside its family {family}: {line}");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                let plain =
                    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(key) && !plain.contains(['"', '\\', '\n']), "{line}");
            }
            assert!(value >= 0.0 && (kind != "counter" || value.is_finite()), "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "the sample comes twice: {line}");
        }
    }
    samples
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Asking never waits for the reactors' work, and many may ask at once.
fn documents_for_many(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = server.connect();
                for path in ["/stats", "/metrics", "/health", "/ready"].repeat(10) {
                    assert_eq!(client.request(&get(path)).status, 200, "{path}");
                }
            });
        }
    });
}

/// Anonymous clients that send requests in a loop, with and without keys: a scrape among them succeeds each time, and
/// so does `/health`. None of the crowd is refused either: one document is sent to all who wait for it.
fn a_scrape_among_a_crowd_succeeds(driver: Driver) {
    const CROWD: usize = 150;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..CROWD {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut client = server.connect();
                let path = ["/metrics", "/stats", "/stats/clients?top=7"][number % 3];
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.request(&get(path)).status, 200, "{path}");
                }
            });
        }
        for _ in 0..20 {
            for path in ["/metrics", "/stats", "/health", "/ready"] {
                assert_eq!(server.request(&get(path)).status, 200, "{path}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.stat("/responses/503"), 0);
}

/// A request after a batch was acknowledged finds it in the document, however many requests come at the same time.
fn a_document_is_no_older_than_its_request(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    let stored = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..10 {
                    assert_eq!(client.request(&post(r#"{"metrics":[{"name":"a","value":1}]}"#)).processed(), 1);
                    let at_least = stored.fetch_add(1, Ordering::SeqCst) + 1;
                    let shown = number_at(&client.request(&get("/stats")).json(), "/batches/stored");
                    assert!(shown >= at_least, "{shown} shown, {at_least} acknowledged before");
                }
            });
        }
    });
}

/// With `--stats-auth keys` statistics take a key; `/health` is open to all.
fn statistics_may_take_a_key(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).flag("--stats-auth", "keys").start();
    let with =
        |path: &str, key: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: {key}\r\n\r\n").into_bytes();
    for path in ["/metrics", "/stats", "/stats/clients"] {
        server.request(&get(path)).refusal(401);
        server.request(&with(path, "beta")).refusal(401);
        assert_eq!(server.request(&with(path, "Bearer alpha")).status, 200, "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(server.request(&get(path)).status, 200, "{path}");
    }
    let stats = server.request(&with("/stats", "alpha")).json();
    assert_eq!(number_at(&stats, "/refused_by/unauthorized"), 6);
}

on_both_drivers!(
    health_and_ready,
    stats,
    metrics,
    documents_for_many,
    a_scrape_among_a_crowd_succeeds,
    a_document_is_no_older_than_its_request,
    statistics_may_take_a_key,
);

/// A line of statistics every `--stats-interval`.
#[test]
fn the_line_of_statistics() {
    let server = with_driver(Driver::Epoll).flag("--stats-interval", "50ms").start();
    assert_eq!(server.request(&post(r#"{"metrics":[{"name":"a","value":1}]}"#)).processed(), 1);
    let line = server.wait_for_line("the figures of the batch", |line| {
        (line.contains("statistics") && line.contains("metrics_stored=1")).then(|| line.to_owned())
    });
    for part in ["connections=", "p50_us=", "p95_us=", "p99_us=", "queued_bytes=", "rss_bytes=", "success_percent=100"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    // It is of its interval alone.
    let later = server.wait_for_line("a later interval, without a batch", |later| {
        (later > line.as_str() && later.contains("metrics_stored=0")).then(|| later.to_owned())
    });
    for part in ["batches_per_second=0", "p99_us=0", "success_percent=100"] {
        assert!(later.contains(part), "{part}: {later}");
    }
}

//! The figures hang together: every family that is promised is there, histograms count what the counters count, the
//! stages add up to the whole, the interval is part of all, and each form says the same.

use crate::{
    documents::samples,
    http::{Client, authorization, get, post, post_to},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, Server, number_at, until},
    with_driver,
};
use std::collections::HashMap;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}"#;

/// Every family that dashboards and alert rules may name.
const FAMILIES: &[&str] = &[
    "metricstream_build_info",
    "metricstream_ready",
    "metricstream_draining",
    "metricstream_reactors",
    "metricstream_http_requests_total",
    "metricstream_batches_received_total",
    "metricstream_batches_stored_total",
    "metricstream_batches_pending",
    "metricstream_batches_rejected_total",
    "metricstream_batches_shed_total",
    "metricstream_metrics_received_total",
    "metricstream_metrics_stored_total",
    "metricstream_metrics_rejected_total",
    "metricstream_metrics_pending",
    "metricstream_metrics_far_from_now_total",
    "metricstream_body_received_bytes_total",
    "metricstream_body_stored_bytes_total",
    "metricstream_body_rejected_bytes_total",
    "metricstream_body_shed_bytes_total",
    "metricstream_body_pending_bytes",
    "metricstream_line_bytes_total",
    "metricstream_responses_abandoned_total",
    "metricstream_answers_abandoned_total",
    "metricstream_request_duration_seconds",
    "metricstream_stage_duration_seconds",
    "metricstream_batch_metrics",
    "metricstream_batch_body_bytes",
    "metricstream_reactor_turn_duration_seconds",
    "metricstream_reactor_turn_longest_seconds",
    "metricstream_warnings_suppressed_total",
    "metricstream_connections_limit",
    "metricstream_connections_accepted_total",
    "metricstream_connections_refused_total",
    "metricstream_accept_failures_total",
    "metricstream_proxy_headers_total",
    "metricstream_forwarded_requests_total",
    "metricstream_connections_closed_total",
    "metricstream_limiter_clients",
    "metricstream_limiter_decisions_total",
    "metricstream_limiter_given_back_total",
    "metricstream_limiter_events_dropped_total",
    "metricstream_log_available",
    "metricstream_log_health",
    "metricstream_unclean_shutdowns_total",
    "metricstream_log_written_bytes_total",
    "metricstream_log_gathers_total",
    "metricstream_log_short_writes_total",
    "metricstream_log_stalls_total",
    "metricstream_log_rotations_total",
    "metricstream_log_rotations_postponed_total",
    "metricstream_log_changed_outside_total",
    "metricstream_log_directory_syncs_unsupported_total",
    "metricstream_log_state_files_lost_total",
    "metricstream_log_writer_sleeps_total",
    "metricstream_log_wakes_total",
    "metricstream_log_write_duration_seconds",
    "metricstream_log_write_size_bytes",
    "metricstream_log_sync_duration_seconds",
    "metricstream_segments",
    "metricstream_segments_bytes",
    "metricstream_segments_indexed_total",
    "metricstream_segments_compressed_total",
    "metricstream_segments_retired_total",
    "metricstream_segments_retired_bytes_total",
    "metricstream_segments_forfeited_total",
    "metricstream_segments_held_bytes",
    "metricstream_segments_failures_total",
    "metricstream_segments_damaged_total",
    "metricstream_clock_steps_total",
    "metricstream_segments_age_held_back",
    "metricstream_disk_size_bytes",
    "metricstream_disk_free_bytes",
    "metricstream_traces_recorded_total",
    "metricstream_traces_dropped_total",
    "metricstream_traces_exported_total",
    "metricstream_traces_failed_total",
    "metricstream_traces_queued",
    "metricstream_spans_exported_total",
    "metricstream_otlp_figures_total",
    "metricstream_memory_bytes",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_cpu_seconds_total",
    "process_threads",
    "process_open_fds",
    "process_max_fds",
    "metricstream_connections_active",
    "metricstream_ring_queued_bytes",
    "metricstream_ring_queued_peak_bytes",
    "metricstream_held_bytes",
    "metricstream_held_limit_bytes",
    "metricstream_ring_capacity_bytes",
    "metricstream_bursts_held",
    "metricstream_reactor_turns_total",
    "metricstream_reactor_stalls_total",
    "metricstream_reactor_full_turns_total",
    "metricstream_reactor_enters_total",
    "metricstream_reactor_completions_total",
    "metricstream_reactor_buffers_exhausted_total",
    "metricstream_reactor_rearms_total",
    "metricstream_reactor_overflows_total",
    "metricstream_reactor_short_sends_total",
    "metricstream_reactor_accept_pauses_total",
    "metricstream_reactor_timers_fired_total",
    "metricstream_reactors_silent",
    "metricstream_query_threads",
    "metricstream_queries_received_total",
    "metricstream_queries_waiting",
    "metricstream_queries_running",
    "metricstream_queries_unread",
    "metricstream_queries_log_waiting",
    "metricstream_queries_ended_total",
    "metricstream_query_scanned_bytes_total",
    "metricstream_query_read_bytes_total",
    "metricstream_query_foreign_lines_total",
    "metricstream_query_response_bytes_total",
    "metricstream_query_answer_bytes_total",
    "metricstream_query_pieces_total",
    "metricstream_query_duration_seconds",
    "metricstream_ui_streams",
    "metricstream_ui_streams_opened_total",
    "metricstream_ui_streams_refused_total",
    "metricstream_ui_streams_ended_total",
    "metricstream_protocol_batches_received_total",
    "metricstream_protocol_batches_stored_total",
    "metricstream_protocol_batches_rejected_total",
    "metricstream_protocol_batches_shed_total",
    "metricstream_protocol_metrics_received_total",
    "metricstream_protocol_metrics_stored_total",
    "metricstream_protocol_metrics_rejected_total",
    "metricstream_metrics_rejected_alone_total",
    "metricstream_elements_skipped_total",
    "metricstream_log_lines_written_total",
    "metricstream_log_lines_dropped_total",
];

fn exposed(client: &mut Client) -> String {
    client.request(&get("/metrics")).text().to_owned()
}

/// Batches at each level, bad ones, and other requests.
fn mixed_load(server: &Server) -> Client {
    let mut client = server.connect();
    for number in 0..30 {
        let ack = ["memory", "write", "fsync"][number % 3];
        client.request(&post_to(&format!("/metrics?ack={ack}"), "", metric::marked_batch("m", 1 + number))).processed();
        client.request(&get("/health"));
        client.request(&post("{")).refusal(400);
    }
    // A body that comes after its head, and a pipeline whose responses wait for both levels.
    let request = post(BATCH);
    client.send(&request[..request.len() - 10]).unwrap();
    client.send(&request[request.len() - 10..]).unwrap();
    client.response().processed();
    client.send(&[post_to("/metrics?ack=fsync", "", BATCH), post(BATCH), post(BATCH)].concat()).unwrap();
    for _ in 0..3 {
        client.response().processed();
    }
    client
}

/// Every family is there, with the type its name promises, and no other.
fn the_families(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 1_000).start();
    let mut client = mixed_load(&server);
    let text = exposed(&mut client);
    drop(samples(&text));
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(found, FAMILIES);
    let of_a_client = text.lines().filter(|line| line.contains("client=") || line.contains("127.0.0.1"));
    assert_eq!(of_a_client.count(), 0, "no client is a label");
}

/// The members of `/stats`, which scripts and the live page read by their names: each of them, in their order. A list
/// has the members of its first element.
fn the_members(driver: Driver) {
    fn collect(value: &serde_json::Value, path: &str, members: &mut String) {
        match value {
            serde_json::Value::Object(object) => {
                for (name, value) in object {
                    collect(value, &format!("{path}/{name}"), members);
                }
            }
            serde_json::Value::Array(list) if list.first().is_some_and(serde_json::Value::is_object) => {
                collect(&list[0], &format!("{path}/0"), members);
            }
            _ => members.extend([path, "\n"]),
        }
    }
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 1_000).start();
    let mut members = String::new();
    let stats = server.stats();
    collect(&stats, "", &mut members);
    for (name, in_0_1) in [
        ("/responses", "/answers"),
        ("/responses_abandoned", "/answers_abandoned"),
        ("/queries/response_bytes", "/queries/answer_bytes"),
    ] {
        assert_eq!(stats.pointer(name).unwrap(), stats.pointer(in_0_1).unwrap(), "{name}");
    }
    assert!(members == include_str!("stats_members.txt"), "tests/server/stats_members.txt should be:\n{members}");
}

/// Buckets ascend and end with the count; the count is what the counters say; the stages add up to the whole.
fn the_histograms(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = mixed_load(&server);
    let samples = samples(&exposed(&mut client));
    let mut buckets: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    for (sample, &count) in &samples {
        if let Some((series, bound)) = sample.split_once("le=\"") {
            let bound = bound.trim_end_matches("\"}");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            let series = series.trim_end_matches(['{', ',']).replace("_bucket", "_count");
            let series = if series.contains('{') { format!("{series}}}") } else { series };
            buckets.entry(series).or_default().push((bound, count));
        }
    }
    assert_eq!(buckets.len(), 2 + 5 + 2 + 3 + 1 + 1);
    for (series, mut buckets) in buckets {
        buckets.sort_by(|one, next| one.0.total_cmp(&next.0));
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{series}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, samples[&series])), "{series}");
    }
    let whole = |end: &str| samples[&format!("metricstream_request_duration_seconds_{end}{{route=\"batch\"}}")];
    let stage =
        |end: &str, stage: &str| samples[&format!("metricstream_stage_duration_seconds_{end}{{stage=\"{stage}\"}}")];
    assert_eq!(whole("count"), samples["metricstream_batches_received_total"]);
    assert_eq!(whole("count"), stage("count", "decide"));
    assert_eq!(whole("count"), stage("count", "send"));
    // Of thirty a third each, and one more. The three of the pipeline arrive at once or not: they wait for one level,
    // or both.
    assert!((11.0..=14.0).contains(&stage("count", "write")), "{}", stage("count", "write"));
    assert!((11.0..=13.0).contains(&stage("count", "sync")), "{}", stage("count", "sync"));
    let parts: f64 = ["decide", "write", "sync", "send"].iter().map(|name| stage("sum", name)).sum();
    assert!((parts - whole("sum")).abs() <= 1e-9 * whole("count"), "{parts} {}", whole("sum"));
    assert_eq!(samples["metricstream_batch_metrics_sum"], samples["metricstream_metrics_stored_total"]);
    assert_eq!(samples["metricstream_batch_body_bytes_sum"], samples["metricstream_body_stored_bytes_total"]);
    assert_eq!(samples["metricstream_log_write_size_bytes_sum"], samples["metricstream_log_written_bytes_total"]);
    let requests: f64 =
        samples.iter().filter(|(name, _)| name.starts_with("metricstream_http_requests_total")).map(|(_, n)| n).sum();
    let other = samples[r#"metricstream_request_duration_seconds_count{route="other"}"#];
    assert_eq!(requests, whole("count") + other, "every request with a response was measured");
}

/// The forms of one document: the wish decides, and they say the same.
fn the_forms(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = mixed_load(&server);
    let mut fetch = |accept: &str| {
        client.request(format!("GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n").as_bytes())
    };
    let open = fetch("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    assert_eq!(open.header("Content-Type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = open.text();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    for line in [
        "# TYPE metricstream_batches_stored counter",
        "# TYPE metricstream_build info",
        "# UNIT metricstream_stage_duration_seconds seconds",
        "# UNIT metricstream_line_bytes bytes",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let plain = fetch("text/plain");
    let stored = samples(plain.text())["metricstream_batches_stored_total"];
    assert!(text.contains(&format!("\nmetricstream_batches_stored_total {stored}\n")));
    let json = fetch("text/plain;q=0.1, application/json").json();
    assert_eq!(json["batches"]["stored"].as_f64(), Some(stored));
}

/// `/stats` shows the interval that is over beside all since the start, and what each core and owner holds.
fn the_interval(driver: Driver) {
    let server = with_driver(driver).flag("--stats-interval", "300ms").start();
    // An interval with batches in it comes to its end, and then one without. It is polled as long as batches come:
    // on a busy machine the one after it may be over before the next look.
    let mut batches = 0;
    let with = until("an interval with a batch is over", || {
        assert_eq!(server.request(&post(BATCH)).processed(), 2);
        batches += 1;
        let stats = server.stats();
        (number_at(&stats, "/latency_us/interval/count") > 0).then_some(stats)
    });
    assert!(number_at(&with, "/stages_us/write/interval/count") > 0);
    let later = until("the next is over", || {
        let stats = server.stats();
        (number_at(&stats, "/latency_us/interval/count") == 0).then_some(stats)
    });
    assert_eq!(number_at(&later, "/latency_us/count"), batches);
    assert_eq!(later["interval"]["batches_per_second"], 0.0);
    assert_eq!(later["since_start"]["success_ratio"], 1.0);
    assert!(later["since_start"]["batches_per_second"].as_f64() > Some(0.0));
    assert!(later["interval"]["seconds"].as_f64() >= Some(0.3));
    for pointer in
        ["/memory_bytes/rings", "/memory_bytes/receive_buffers", "/memory_bytes/connections", "/turn_us/count"]
    {
        assert!(number_at(&later, pointer) > 0, "{pointer}: {later:#}");
    }
    assert_ne!(later["clock_source"], "unknown");
    assert_ne!(later["log"]["file_system"], "unknown");
}

/// Top clients by requests, by metrics and by refusals, without a word by which a client could be identified; and the
/// accepted values of `top`.
fn the_clients(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 3).start();
    let send = |who: &str, times: usize| {
        let mut client = server.connect();
        client.send(&post_to("/metrics", &authorization(who), BATCH).repeat(times)).unwrap();
        (0..times).filter(|_| client.response().status == 429).count() as u64
    };
    let refused =
        [("secret-key-a", 20), ("secret-key-b", 10), ("secret-key-c", 2)].map(|(who, times)| send(who, times));
    let fetch = |target: &str, who: &str| {
        server.request(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{}\r\n", authorization(who)).as_bytes())
    };
    let response = fetch("/stats/clients", "secret-key-a");
    let clients = response.json();
    assert!(!response.text().contains("secret") && !response.text().contains("127.0.0.1"), "{clients:#}");
    let heaviest = clients["heaviest"].as_array().unwrap();
    assert_eq!(heaviest.len(), 3);
    assert_eq!(heaviest[0]["client"], clients["asked_by"], "the one who asks is the heaviest");
    for (client, (times, refused)) in heaviest.iter().zip([20, 10, 2].into_iter().zip(refused)) {
        assert_eq!((number_at(client, "/allowed"), number_at(client, "/refused")), (times - refused, refused));
        assert_eq!(number_at(client, "/missed_max"), 0);
        // Each batch has as many metrics.
        assert_eq!(number_at(client, "/metrics"), 2 * (times - refused));
    }
    let most_metrics = clients["most_metrics"].as_array().unwrap().iter().map(|client| number_at(client, "/metrics"));
    assert!(most_metrics.is_sorted_by(|one, next| one >= next), "{clients:#}");
    let most_refused = clients["most_refused"].as_array().unwrap();
    assert_eq!(most_refused.len(), refused.iter().filter(|&&count| count > 0).count());
    assert_eq!(number_at(&clients, "/refused"), refused.iter().sum::<u64>());
    assert_eq!(fetch("/stats/clients?top=1", "x").json()["heaviest"].as_array().unwrap().len(), 1);
    for top in ["0", "1025", "x", "", "-1", "1&top=2"] {
        assert!(fetch(&format!("/stats/clients?top={top}"), "x").refusal(400).contains("top"), "{top}");
    }
    assert_eq!(server.request(b"POST /stats/clients HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").status, 405);
}

/// A server that stops says so to who still asks.
fn ready_says_why_not(driver: Driver) {
    let server = with_driver(driver).flag("--drain-timeout", "20s").start();
    // Its head is begun, so that it is not ended as idle.
    let mut client = server.connect();
    let ready = get("/ready");
    client.send(&ready[..10]).unwrap();
    until("the head's beginning was read", || (server.stat("/reactors/0/connections_active") == 2).then_some(()));
    server.signal(Signal::Terminate);
    until("nobody is taken in any more", || Client::try_connect(server.address).err());
    client.send(&ready[10..]).unwrap();
    let response = client.response();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    assert_eq!(response.json(), serde_json::json!({"status": "unready", "reasons": ["the server is stopping"]}));
}

on_both_drivers!(the_families, the_members, the_histograms, the_forms, the_interval, the_clients, ready_says_why_not,);

/// With `--log-format json` every line is an object, the line of statistics with numbers in it.
#[test]
fn lines_as_json() {
    let mut server = with_driver(Driver::Epoll).flag("--stats-interval", "50ms").flag("--log-format", "json").start();
    // Several: one alone is less than half a batch a second in an interval that a busy machine made a long one.
    for _ in 0..20 {
        assert_eq!(server.request(&post(BATCH)).processed(), 2);
    }
    let wait_for = |name: &str| {
        server.wait_for_line(name, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["message"] == "statistics" && line[name].as_f64() > Some(0.0)).then_some(line)
        })
    };
    // It may be received in one interval, and stored in the next.
    wait_for("batches_per_second");
    let line = wait_for("metrics_stored");
    for name in [
        "connections",
        "batches_per_second",
        "success_percent",
        "failure_percent",
        "metrics_stored",
        "rejected",
        "shed",
        "p50_us",
        "p95_us",
        "p99_us",
        "queued_bytes",
        "queued_bytes_max",
        "bursts_held",
        "longest_turn_us",
        "rss_bytes",
        "memory_bytes",
        "descriptors",
        "reactors_silent",
    ] {
        assert!(line[name].is_number(), "{name}: {line}");
    }
    assert_eq!((line["log"].as_str(), line["rejected"].as_u64()), (Some("healthy"), Some(0)));
    assert!(line["p50_us"].as_f64() > Some(0.0), "{line}");
    server.stop();
    for line in server.said() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

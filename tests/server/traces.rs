//! Traces and figures as an OTLP receiver gets them: whose they are, how they nest, which are sent and which are not,
//! and what becomes of them when nobody takes them. The same over gRPC, with a receiver that is not ours, is
//! `scripts/otlp.sh`.

use crate::{
    http::{authorization, get, post, post_to},
    metric::marked_batch,
    on_both_drivers,
    otlp::{Receiver, attributes},
    receiver::{self, Act, Knows, TAKE},
    server::{Driver, Server, Setup, number_at, until},
    with_driver,
};
use opentelemetry_proto::tonic::{
    metrics::v1::{Metric, metric, number_data_point},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use std::{
    collections::{BTreeSet, HashMap},
    net::TcpListener,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}"#;
/// The caller's span.
const CALLER: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

/// The trace of this number, and the header lines with which its caller asks for it to be recorded, or not.
fn trace(number: u8, sampled: bool) -> ([u8; 16], String) {
    let lines =
        format!("traceparent: 00-{}-00f067aa0ba902b7-0{}\r\n", format!("{number:02x}").repeat(16), u8::from(sampled));
    ([number; 16], lines)
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn names(parts: &[Span]) -> Vec<&str> {
    parts.iter().map(|part| part.name.as_str()).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    attributes(&span.attributes).remove(name)
}

/// A server that samples nothing of its own accord and sends to `receiver`.
fn setup(driver: Driver, receiver: &Receiver) -> Setup {
    with_driver(driver).flag("--otlp-endpoint", receiver.url()).flag("--trace-ratio", 0).flag("--trace-slow", "0s")
}

/// Trace of a request: its id and parent, its spans at each level, their nesting and attributes.
fn a_trace_goes_on(driver: Driver) {
    let receiver = Receiver::start();
    let server = setup(driver, &receiver)
        .variable("OTEL_SERVICE_NAME", "the-door")
        .variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret")
        .start();
    let mut client = server.connect();
    let began_ns = now_ns();
    for (number, ack, parts) in [
        (1, "memory", &["limit", "parse", "enqueue", "send"][..]),
        (2, "write", &["limit", "parse", "enqueue", "write", "send"]),
        (3, "fsync", &["limit", "parse", "enqueue", "sync", "send"]),
    ] {
        let (trace_id, lines) = trace(number, true);
        let lines = format!("{lines}tracestate: a=1\r\nTraceState: b=2\r\n");
        let request = post_to(&format!("/metrics?ack={ack}"), &lines, BATCH);
        assert_eq!(client.request(&request).processed(), 2);
        let (request, found) = receiver.trace(&trace_id);
        assert_eq!(names(&found), parts, "{ack}");
        assert_eq!((request.kind, &request.parent_span_id[..]), (SpanKind::Server as i32, &CALLER[..]));
        assert_eq!(request.trace_state, "a=1,b=2");
        let mut at_ns = request.start_time_unix_nano;
        assert!(began_ns <= at_ns && request.end_time_unix_nano <= now_ns(), "{request:?}");
        for part in &found {
            assert!(at_ns <= part.start_time_unix_nano && part.start_time_unix_nano <= part.end_time_unix_nano);
            assert_eq!((part.kind, &part.trace_id[..]), (SpanKind::Internal as i32, &trace_id[..]));
            at_ns = part.end_time_unix_nano;
        }
        assert!(at_ns <= request.end_time_unix_nano);
        let said = attributes(&request.attributes);
        for (name, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/metrics"),
            ("url.path", "/metrics"),
            ("url.scheme", "http"),
            ("http.response.status_code", "200"),
            ("http.request.body.size", &BATCH.len().to_string()),
            ("network.protocol.version", "1.1"),
            ("server.address", "127.0.0.1"),
            ("server.port", &server.address.port().to_string()),
            ("client.address", "127.0.0.1"),
            ("metricstream.ack", ack),
            ("metricstream.batch.metrics", "2"),
            ("metricstream.reactor", "0"),
            ("metricstream.sampled_by", "parent"),
        ] {
            assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}: {said:?}");
        }
        assert_eq!(request.status.unwrap().code, StatusCode::Unset as i32);
    }
    receiver.wait("who sends", |received| {
        let is = |name, value| received.resource.get(name).is_some_and(|found| found == value);
        let named = is("service.name", "the-door") && is("deployment.environment.name", "test");
        (named && received.fields["x-key"] == "a secret").then_some(())
    });
}

fn a_trace_names_the_client_behind_a_proxy(driver: Driver) {
    let receiver = Receiver::start();
    let server = setup(driver, &receiver).flag("--trusted-proxies", "127.0.0.1").start();
    let mut proxy = server.connect();
    for (number, line, client) in [(1, "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"), (2, "", "127.0.0.1")] {
        let (trace_id, lines) = trace(number, true);
        proxy.request(&post_to("/metrics", &format!("{lines}{line}"), BATCH)).processed();
        let (request, _) = receiver.trace(&trace_id);
        assert_eq!(attribute(&request, "client.address").as_deref(), Some(client));
        assert_eq!(attribute(&request, "network.peer.address").as_deref(), Some("127.0.0.1"));
    }
}

/// A body that comes after its head is in the request's time; a pipeline's requests each have their trace.
fn what_comes_in_pieces_or_together(driver: Driver) {
    let receiver = Receiver::start();
    let server = setup(driver, &receiver).start();
    let mut client = server.connect();
    let (in_pieces, lines) = trace(1, true);
    let request = post_to("/metrics", &lines, BATCH);
    let (head, body) = request.split_at(request.len() - BATCH.len());
    client.send(head).unwrap();
    until("the head has been read", || (server.stat("/batches/pending") == 1).then_some(()));
    client.send(body).unwrap();
    client.response().processed();
    let (_, parts) = receiver.trace(&in_pieces);
    assert_eq!(names(&parts), ["receive", "limit", "parse", "enqueue", "write", "send"]);

    let together: Vec<([u8; 16], String)> = (2..6).map(|number| trace(number, true)).collect();
    let requests = together.iter().map(|(_, lines)| post_to("/metrics", lines, BATCH));
    client.send(&requests.chain([post(BATCH)]).flatten().collect::<Vec<u8>>()).unwrap();
    for _ in 0..5 {
        client.response().processed();
    }
    for (trace_id, _) in &together {
        let (request, parts) = receiver.trace(trace_id);
        assert_eq!(names(&parts).last(), Some(&"send"), "{parts:?}");
        assert_eq!(attribute(&request, "metricstream.batch.metrics").as_deref(), Some("2"));
    }
}

/// The caller's "no" is a no; without a caller the ratio decides; what is no traceparent is none.
fn who_decides(driver: Driver) {
    let receiver = Receiver::start();
    let server = setup(driver, &receiver).start();
    let mut client = server.connect();
    let (_, refused) = trace(1, false);
    let (sampled_id, sampled) = trace(2, true);
    let broken = sampled.replace("00-", "ff-");
    let twice = sampled.repeat(2);
    for lines in [&refused, "", &broken, &twice, &sampled] {
        client.request(&post_to("/metrics", lines, BATCH)).processed();
    }
    receiver.trace(&sampled_id);
    // They are sent in the order of the responses: nothing else can still come.
    receiver.wait("no other", |received| received.spans.iter().all(|span| span.trace_id == sampled_id).then_some(()));
    assert_eq!(server.stat("/traces/recorded"), 1);

    let all = setup(driver, &receiver).flag("--trace-ratio", 1).start();
    let mut client = all.connect();
    for lines in [&refused, "", &broken] {
        client.request(&post_to("/metrics", lines, BATCH)).processed();
    }
    let roots = receiver.wait("two that begin a trace", |received| {
        let roots: Vec<Span> =
            received.spans.iter().filter(|span| span.kind == SpanKind::Server as i32).cloned().collect();
        (roots.len() == 3).then_some(roots)
    });
    for root in &roots[1..] {
        assert!(root.parent_span_id.is_empty() && root.trace_id != sampled_id, "{root:?}");
        assert_eq!(attribute(root, "metricstream.sampled_by").as_deref(), Some("ratio"));
    }
    assert_ne!(roots[1].trace_id, roots[2].trace_id);
}

/// A request that fails by the server's fault, or is slow, is exported although its caller said no. One that fails by
/// the client's fault is not.
fn the_failed_and_the_slow(driver: Driver) {
    let receiver = Receiver::start();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), (0..100).map(|number| format!("client-{number}\n")).collect::<String>()).unwrap();
    let setup_limited = setup(driver, &receiver).flag("--rate-limit", 1).flag("--max-clients", 4);
    let server = setup_limited.flag("--api-keys", keys.path().display()).start();
    let mut client = server.connect();
    let (failed_id, lines) = trace(1, false);
    let shed = (0..100).find(|number| {
        let lines = format!("{lines}{}", authorization(&format!("client-{number}")));
        client.request(&post_to("/metrics", &lines, BATCH)).status == 503
    });
    assert!(shed.is_some(), "the table of clients is never full");
    let (request, parts) = receiver.trace(&failed_id);
    assert_eq!(request.status.clone().unwrap().code, StatusCode::Error as i32);
    for (name, value) in
        [("http.response.status_code", "503"), ("error.type", "503"), ("metricstream.sampled_by", "failed")]
    {
        assert_eq!(attribute(&request, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(names(&parts), ["decide", "send"]);

    // Refused for their rate, and for what is in them: as the caller says.
    for (number, sampled) in [(2, false), (3, true)] {
        let (_, lines) = trace(number, sampled);
        let lines = format!("{lines}{}", authorization("client-0"));
        until("the client is over its rate", || {
            (client.request(&post_to("/metrics", &lines, BATCH)).status == 429).then_some(())
        });
        until("its window is over", || {
            (client.request(&post_to("/metrics?ack=never", &lines, BATCH)).status == 400).then_some(())
        });
    }
    let refusals = receiver.wait("both refusals", |received| {
        let statuses: BTreeSet<String> = received
            .spans
            .iter()
            .filter(|span| span.trace_id == [3; 16] && span.kind == SpanKind::Server as i32)
            .map(|span| attribute(span, "http.response.status_code").unwrap())
            .collect();
        assert!(received.spans.iter().all(|span| span.trace_id != [2; 16]), "a client's fault is no failure");
        (statuses.contains("429") && statuses.contains("400")).then_some(statuses)
    });
    assert!(!refusals.contains("503"));

    // Everything takes longer than a microsecond.
    let slow = setup(driver, &receiver).flag("--trace-slow", "1us").start();
    let (slow_id, lines) = trace(4, false);
    let mut client = slow.connect();
    client.send(&[post_to("/metrics", &lines, BATCH), post(BATCH), post(BATCH)].concat()).unwrap();
    for _ in 0..3 {
        client.response().processed();
    }
    let (request, parts) = receiver.trace(&slow_id);
    assert_eq!(names(&parts), ["decide", "write", "send"]);
    assert_eq!(attribute(&request, "metricstream.sampled_by").as_deref(), Some("slow"));
    // However the three were cut on their way, none got a response alone and was counted twice.
    let batches: u32 = attribute(&request, "metricstream.burst.batches").map_or(1, |text| text.parse().unwrap());
    assert!((1..=3).contains(&batches));
}

/// A delivery that is tried three times and one that is refused, without any sampling; and one that is sampled.
fn deliveries_of_a_forward(driver: Driver) {
    let receiver = Receiver::start();
    let acts = [Act::Respond(503, ""), Act::Respond(500, ""), TAKE, Act::Respond(404, ""), TAKE];
    let store = receiver::Receiver::start(Knows::Both, &acts);
    let config = tempfile::NamedTempFile::new().unwrap();
    let table = format!("[[forward]]\nname = \"store\"\nurl = \"{}\"\nbatch_age = \"20ms\"\n", store.url());
    std::fs::write(config.path(), table).unwrap();
    let setup = || setup(driver, &receiver).flag("--config", config.path().display());
    let delivery = |server: &Server, number: usize| {
        server.request(&post(BATCH)).processed();
        receiver.wait("the spans of a delivery", |received| {
            let whole = received.spans.iter().filter(|span| span.name == "forward").nth(number)?;
            let parts = received.spans.iter().filter(|span| span.parent_span_id == whole.span_id);
            Some((whole.clone(), parts.cloned().collect::<Vec<_>>()))
        })
    };
    let server = setup().start();
    let (whole, parts) = delivery(&server, 0);
    assert_eq!(names(&parts), ["read", "encode", "retry", "send", "acknowledge"]);
    assert_eq!((whole.kind, whole.parent_span_id.len()), (SpanKind::Client as i32, 0));
    let mut at_ns = whole.start_time_unix_nano;
    for part in &parts {
        assert!(at_ns <= part.start_time_unix_nano && part.start_time_unix_nano <= part.end_time_unix_nano);
        at_ns = part.end_time_unix_nano;
    }
    assert!(at_ns <= whole.end_time_unix_nano && whole.end_time_unix_nano <= now_ns());
    let port = store.address.port().to_string();
    let common = [("metricstream.forward", "store"), ("server.address", "127.0.0.1"), ("server.port", &port)];
    let of_this = [
        ("metricstream.forward.attempts", "3"),
        ("metricstream.forward.samples", "2"),
        ("metricstream.forward.refused_samples", "0"),
        ("metricstream.sampled_by", "failed"),
        ("http.request.resend_count", "2"),
        ("http.response.status_code", "204"),
    ];
    for (name, value) in common.into_iter().chain(of_this) {
        assert_eq!(attribute(&whole, name).as_deref(), Some(value), "{name}: {whole:?}");
    }
    assert!(attribute(&whole, "http.request.body.size").is_some_and(|bytes| bytes.parse::<u64>().unwrap() > 0));
    let (refused, parts) = delivery(&server, 1);
    assert_eq!(names(&parts), ["read", "encode", "send", "acknowledge"]);
    assert_eq!(refused.status.clone().unwrap().code, StatusCode::Error as i32);
    for (name, value) in [("error.type", "404"), ("metricstream.forward.refused_samples", "2")] {
        assert_eq!(attribute(&refused, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(server.stat("/traces/recorded"), 2);
    drop(server);
    let (sampled, _) = delivery(&setup().flag("--trace-ratio", 1).start(), 2);
    assert_eq!(attribute(&sampled, "metricstream.sampled_by").as_deref(), Some("ratio"));
    assert_eq!(attribute(&sampled, "metricstream.forward.attempts").as_deref(), Some("1"));
}

/// A client that goes away before its response: its trace shows that.
fn a_connection_that_ends_early(driver: Driver) {
    let receiver = Receiver::start();
    let server = setup(driver, &receiver).start();
    let (trace_id, lines) = trace(1, true);
    let request = post_to("/metrics", &lines, BATCH);
    let mut client = server.connect();
    client.send(&request[..request.len() - 1]).unwrap();
    until("the head has been read", || (server.stat("/batches/pending") == 1).then_some(()));
    drop(client);
    let (request, parts) = receiver.trace(&trace_id);
    assert_eq!(attribute(&request, "error.type").as_deref(), Some("connection_ended"));
    assert_eq!(attribute(&request, "http.response.status_code"), None);
    assert!(!names(&parts).contains(&"send"), "{parts:?}");
}

on_both_drivers!(
    a_trace_goes_on,
    a_trace_names_the_client_behind_a_proxy,
    what_comes_in_pieces_or_together,
    who_decides,
    the_failed_and_the_slow,
    deliveries_of_a_forward,
    a_connection_that_ends_early,
);

/// While nobody listens the server serves, and counts what is lost; once somebody does, traces arrive.
#[test]
fn a_receiver_that_is_down_and_comes_back() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let mut server = with_driver(Driver::Epoll)
        .variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{address}/v1/traces"))
        .variable("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .start();
    let mut client = server.connect();
    let (_, lines) = trace(1, true);
    client.request(&post_to("/metrics", &lines, BATCH)).processed();
    until("the loss is counted", || (server.stat("/traces/failed") == 1).then_some(()));
    server.wait_for_line("the warning", |line| {
        (line.contains("traces could not be exported") && line.contains("refused")).then_some(())
    });
    let receiver = Receiver::on(TcpListener::bind(address).unwrap());
    let (trace_id, lines) = trace(2, true);
    client.request(&post_to("/metrics", &lines, BATCH)).processed();
    receiver.trace(&trace_id);
    server.wait_for_line("the end of it", |line| line.contains("traces are exported again").then_some(()));
    let traces = until("it is counted", || {
        let traces = server.stats()["traces"].clone();
        (number_at(&traces, "/exported") == 1).then_some(traces)
    });
    assert_eq!((number_at(&traces, "/recorded"), number_at(&traces, "/failed")), (2, 1), "{traces:#}");
    server.stop();
}

/// A receiver that accepts connections and never responds: the queue fills, what does not fit is dropped and counted,
/// every batch is acknowledged and stored, and the server stops.
#[test]
fn a_receiver_that_hangs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = with_driver(Driver::Epoll)
        .flag("--otlp-endpoint", format!("http://{}", silent.local_addr().unwrap()))
        .flag("--trace-ratio", 1)
        .variable("OTEL_EXPORTER_OTLP_TIMEOUT", "86400000")
        .variable("OTEL_METRICS_EXPORTER", "none")
        .start();
    let mut client = server.connect();
    let burst = post(BATCH).repeat(50);
    let mut sent = 0;
    let traces = until("the queue is full", || {
        client.send(&burst).unwrap();
        (0..50).for_each(|_| assert_eq!(client.response().processed(), 2));
        sent += 50;
        let traces = server.stats()["traces"].clone();
        (number_at(&traces, "/dropped_by/queue_full") > 0).then_some(traces)
    });
    assert_eq!(number_at(&traces, "/recorded") + number_at(&traces, "/dropped_by/queue_full"), sent);
    server.stop();
    server
        .said()
        .iter()
        .find(|line| line.contains("traces were not exported before shutdown"))
        .expect("it says what was lost");
    assert_eq!(server.metrics().len() as u64, 2 * sent);
}

fn metric<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    metrics.iter().find(|metric| metric.name == name)
}

fn count(metric: &Metric) -> i64 {
    let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("not a sum: {metric:?}") };
    let point = |value: &Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsInt(count)) => *count,
        other => panic!("not a count: {other:?}"),
    };
    sum.data_points.iter().map(|sample| point(&sample.value)).sum()
}

/// The server's own figures are those of `/metrics`, under the same names.
#[test]
fn the_servers_own_figures() {
    let receiver = Receiver::start();
    let server = with_driver(Driver::Epoll)
        .variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &format!("{}/v1/metrics", receiver.url()))
        .variable("OTEL_METRIC_EXPORT_INTERVAL", "50")
        .start();
    let mut client = server.connect();
    for number in 0..7 {
        client.request(&post(marked_batch("m", 1 + number))).processed();
    }
    client.request(&post("{")).refusal(400);
    let metrics = receiver.wait("figures of after that", |received| {
        let received = &received.metrics;
        let stored = metric(received, "metricstream_batches_stored").map(count);
        (stored == Some(7)).then(|| received.clone())
    });
    assert_eq!(count(metric(&metrics, "metricstream_batches_rejected").unwrap()), 1);
    let Some(metric::Data::Histogram(sizes)) = &metric(&metrics, "metricstream_batch_metrics").unwrap().data else {
        panic!("not a histogram")
    };
    let sizes = &sizes.data_points[0];
    assert_eq!((sizes.count, sizes.sum, sizes.bucket_counts.iter().sum::<u64>()), (7, Some(28.0), 7));
    assert_eq!(sizes.bucket_counts.len(), sizes.explicit_bounds.len() + 1);

    let text = client.request(&get("/metrics")).text().to_owned();
    let types: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let shown: BTreeSet<&str> = types.keys().map(|name| name.trim_end_matches("_total")).collect();
    let exported: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(shown, exported);
}

#[test]
fn a_wrong_variable_is_named_at_the_start() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ] {
        let mut setup = with_driver(Driver::Epoll);
        if name != "OTEL_EXPORTER_OTLP_ENDPOINT" {
            setup = setup.variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        }
        let refused = setup.variable(name, value).refused(TempDir::new().unwrap().path());
        assert!(refused.line().contains(name) && refused.line().contains(value), "{refused:?}");
    }
}

/// Nothing is started for what is not configured: no thread, no connection, no descriptor.
#[test]
fn without_an_endpoint_there_is_no_exporter() {
    let server = with_driver(Driver::Epoll).variable("OTEL_SERVICE_NAME", "x").start();
    let (_, lines) = trace(1, true);
    server.request(&post_to("/metrics", &lines, BATCH)).processed();
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let names: Vec<String> =
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("exporter")), "{names:?}");
    assert_eq!(number_at(&server.stats(), "/traces/recorded"), 0);
}

//! The protocols of agents: what is stored, the response to each, and that the accounts close for each of them.

use crate::{
    http::{get, post_to, request},
    on_both_drivers,
    server::{Driver, Server, number_at, until},
    with_driver,
};

/// The lowest eight bits.
fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// Snappy's block format, all of it literal.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(low_byte(length) | 0x80);
        length >>= 7;
    }
    out.push(low_byte(length));
    for chunk in bytes.chunks(60) {
        out.push((low_byte(chunk.len()) - 1) << 2);
        out.extend_from_slice(chunk);
    }
    out
}

/// A field of protobuf with bytes in it; all lengths here have one or two bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let length = bytes.len();
    if length < 0x80 {
        out.push(low_byte(length));
    } else {
        out.extend([low_byte(length) | 0x80, low_byte(length >> 7)]);
    }
    out.extend_from_slice(bytes);
    out
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn integer(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

const STAMP_MS: u64 = 1_790_000_000_123;
const STAMP: &str = "2026-09-21T14:13:20.123Z";

/// A series of remote write 1.0 with one sample.
fn series_1(labels: &[(&str, &str)], value: f64) -> Vec<u8> {
    let labels =
        labels.iter().map(|(name, value)| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
    let sample = field(2, &[double(1, value), integer(2, STAMP_MS)].concat());
    field(1, &labels.chain([sample]).collect::<Vec<_>>().concat())
}

fn remote_write_1(series: &[Vec<u8>]) -> Vec<u8> {
    let fields = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                  X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
    post_to("/api/v1/write", fields, snappy(&series.concat()))
}

fn remote_write_2() -> Vec<u8> {
    let symbols = ["", "__name__", "up_total", "job", "x"].map(|symbol| field(4, symbol.as_bytes())).concat();
    let sample = field(2, &[double(1, 5.0), integer(2, STAMP_MS)].concat());
    let series = field(5, &[field(1, &[1, 2, 3, 4]), sample].concat());
    let fields = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                  Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\n";
    post_to("/api/v1/write", fields, snappy(&[symbols, series].concat()))
}

/// A gauge of OTLP with one point.
fn otlp_gauge(name: &str) -> Vec<u8> {
    let point = [
        [&[3 << 3 | 1][..], &(STAMP_MS * 1_000_000).to_le_bytes()].concat(),
        [&[6 << 3 | 1][..], &7_u64.to_le_bytes()].concat(),
    ]
    .concat();
    let metric = [field(1, name.as_bytes()), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

/// A push of Go's client: a family, behind its length.
fn metric_family() -> Vec<u8> {
    let label = field(1, &[field(1, b"a"), field(2, b"b")].concat());
    let metric = [label, field(2, &double(1, 4.0)), integer(6, STAMP_MS)].concat();
    let family = [field(1, b"t"), field(2, b"Help."), integer(3, 1), field(4, &metric)].concat();
    let fields = "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                  encoding=delimited\r\n";
    let put = post_to("/metrics/job/j", fields, [&[low_byte(family.len())], &family[..]].concat());
    [b"PUT", &put[b"POST".len()..]].concat()
}

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const OTLP_JSON: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a.b","gauge":{"dataPoints":[{"timeUnixNano":"1790000000123000000","asInt":"7"}]}}]}]}]}"#;
const COLLECTD: &str = r#"[{"values":[1.5,null],"dstypes":["gauge","derive"],"dsnames":["rx","tx"],"time":1790000000.123,"interval":10.0,"host":"h","plugin":"net","plugin_instance":"eth0","type":"octets","type_instance":""}]"#;
const DATADOG_1: &str =
    r#"{"series":[{"metric":"dd.one","points":[[1790000000,1.5]],"type":"gauge","host":"h","tags":["env:prod"]}]}"#;
const DATADOG_2: &str = r#"{"series":[{"metric":"dd.two","type":3,"points":[{"timestamp":1790000000,"value":2}],"resources":[{"type":"host","name":"h"}]}]}"#;

/// A request of each protocol with one metric, its status, its body, and the line that it becomes.
pub fn one_of_each() -> Vec<(&'static str, Vec<u8>, u16, &'static str, String)> {
    let line = |name: &str, value: &str, kind: &str, tags: &str, stamp: &str| {
        format!(r#"{{"timestamp":"{stamp}","name":"{name}","value":{value},"type":"{kind}","tags":{{{tags}}}}}"#)
    };
    let second = "2026-09-21T14:13:20.000Z";
    vec![
        (
            "remote_write",
            remote_write_1(&[series_1(&[("__name__", "up"), ("job", "x")], 0.1)]),
            204,
            "",
            line("up", "0.1", "gauge", r#""job":"x""#, STAMP),
        ),
        ("remote_write", remote_write_2(), 204, "", line("up_total", "5", "counter", r#""job":"x""#, STAMP)),
        (
            "influx",
            post_to("/write?db=t&precision=ms&u=a&p=b", "", format!("cpu,host=a usage=1.50,note=\"x\" {STAMP_MS}\n")),
            204,
            "",
            line("cpu_usage", "1.50", "gauge", r#""host":"a""#, STAMP),
        ),
        (
            "influx",
            post_to("/api/v2/write?org=o&bucket=b&precision=ms", "", format!("mem value=3i {STAMP_MS}")),
            204,
            "",
            line("mem", "3", "gauge", "", STAMP),
        ),
        ("otlp", post_to("/v1/metrics", PROTOBUF, otlp_gauge("a.b")), 200, "", line("a.b", "7", "gauge", "", STAMP)),
        ("otlp", post_to("/v1/metrics", JSON, OTLP_JSON), 200, "{}", line("a.b", "7", "gauge", "", STAMP)),
        (
            "text",
            request_with("PUT", "/metrics/job/j/instance/i", format!("# TYPE t counter\nt 4 {STAMP_MS}\n").as_bytes()),
            200,
            "",
            line("t", "4", "counter", r#""job":"j","instance":"i""#, STAMP),
        ),
        (
            "text",
            post_to("/api/v1/import/prometheus", "", format!("t{{a=\"b\"}} 4 {STAMP_MS}\n")),
            204,
            "",
            line("t", "4", "untyped", r#""a":"b""#, STAMP),
        ),
        ("text", metric_family(), 200, "", line("t", "4", "gauge", r#""job":"j","a":"b""#, STAMP)),
        (
            "collectd",
            post_to("/collectd", JSON, COLLECTD),
            200,
            "{}",
            line("collectd_net_octets_rx", "1.5", "gauge", r#""host":"h","plugin_instance":"eth0""#, STAMP),
        ),
        (
            "datadog",
            post_to("/api/v1/series?api_key=k", JSON, DATADOG_1),
            202,
            r#"{"status":"ok"}"#,
            line("dd.one", "1.5", "gauge", r#""host":"h","env":"prod""#, second),
        ),
        (
            "datadog",
            post_to("/api/v2/series", &format!("{JSON}DD-API-KEY: k\r\n"), DATADOG_2),
            202,
            r#"{"errors":[]}"#,
            line("dd.two", "2", "gauge", r#""host":"h""#, second),
        ),
    ]
}

fn request_with(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let post = post_to(target, "", body);
    [method.as_bytes(), &post[b"POST".len()..]].concat()
}

/// The same tags in whatever order.
fn sorted(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

/// The tags `le` and `quantile` are those of a histogram and a summary in each protocol that can send them.
fn a_bound_has_one_spelling_in_every_protocol(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let attribute = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let point = format!(r#"{{"asInt":"1","attributes":[{}]}}"#, attribute("quantile", "5e-1"));
    let metric = format!(r#"{{"name":"b","gauge":{{"dataPoints":[{point}]}}}}"#);
    let resource = format!(r#"{{"attributes":[{}]}}"#, attribute("le", "1"));
    let scopes = format!(r#"[{{"metrics":[{metric}]}}]"#);
    let otlp = format!(r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":{scopes}}}]}}"#);
    let datadog = r#"{"series":[{"metric":"b","points":[[1790000000,1]],"tags":["quantile:.5","le:1.00"]}]}"#;
    for request in [
        remote_write_1(&[series_1(&[("__name__", "b"), ("le", "1"), ("quantile", "0.50")], 1.0)]),
        post_to("/write", "", "b,le=1,quantile=.5 value=1"),
        post_to("/write", "", "b,quantile=0.50,l\\e=2,le=1e0 value=1"),
        post_to("/v1/metrics", JSON, otlp),
        post_to("/api/v1/import/prometheus", "", "b{le=\"1\",quantile=\"0.50\"} 1\n"),
        post_to("/metrics/job/j/le/1/quantile/0.50", "", "b{le=\"2\"} 1\n"),
        post_to("/api/v1/series", JSON, datadog),
    ] {
        // The second time, its series is in the cache.
        for _ in 0..2 {
            assert!(matches!(client.request(&request).status, 200..300), "{}", String::from_utf8_lossy(&request));
        }
    }
    server.stop();
    let lines = crate::log::lines(&server.directory);
    assert_eq!(lines.len(), 14);
    for line in lines {
        let tags = &sorted(&line)["tags"];
        assert_eq!([&tags["le"], &tags["quantile"]], ["1.0", "0.5"], "{line}");
    }
}

/// Case means nothing in a media type, and its parameters nothing to the protocols that have none.
fn media_types_are_compared_without_case(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let series = [field(2, b"d"), field(4, &[double(1, 5.0), integer(2, STAMP_MS / 1000)].concat())].concat();
    let open_metrics = "# TYPE t counter\nt_total 4 1790000000.123\n# EOF\n";
    for (path, media_type, body) in [
        ("/v1/metrics", "Application/JSON; charset=utf-8", OTLP_JSON.as_bytes().to_vec()),
        ("/v1/metrics", "APPLICATION/X-PROTOBUF", otlp_gauge("a.b")),
        ("/api/v2/series", "Application/X-Protobuf", field(1, &series)),
        ("/api/v1/import/prometheus", "Application/OpenMetrics-Text; version=1.0.0", open_metrics.into()),
    ] {
        let response = client.request(&post_to(path, &format!("Content-Type: {media_type}\r\n"), body));
        assert!(matches!(response.status, 200..300), "{path}: {response:?}");
    }
    for (encoding, status) in [("delimited", 200), ("Delimited", 200), ("text", 415), ("compact-text", 415)] {
        let fields = format!("Content-Type: Application/Vnd.Google.Protobuf; proto=x; Encoding={encoding}\r\n");
        assert_eq!(client.request(&post_to("/metrics/job/j", &fields, "")).status, status, "{encoding}");
    }
    assert_eq!(number_at(&closed(&server), "/metrics_stored"), 4);
    server.stop();
    let open_metrics =
        r#"{"timestamp":"2026-09-21T14:13:20.123Z","name":"t_total","value":4,"type":"counter","tags":{}}"#;
    assert_eq!(crate::log::lines(&server.directory).last().unwrap(), open_metrics);
}

/// Checks that the accounts of each protocol close, and returns the statistics.
fn closed(server: &Server) -> serde_json::Value {
    let stats = until("no batch is pending", || {
        let stats = server.stats();
        (number_at(&stats, "/batches/pending") == 0).then_some(stats)
    });
    let mut sums = [0; 4];
    for (protocol, counts) in stats["protocols"].as_object().unwrap() {
        let number = |name: &str| counts[name].as_u64().unwrap();
        let batches = ["stored", "rejected", "shed"].map(|fate| number(&format!("batches_{fate}")));
        assert_eq!(number("batches_received"), batches.iter().sum::<u64>(), "{protocol}: {stats:#}");
        let metrics = ["stored", "rejected"].map(|fate| number(&format!("metrics_{fate}")));
        assert_eq!(number("metrics_received"), metrics.iter().sum::<u64>(), "{protocol}: {stats:#}");
        for (sum, count) in sums.iter_mut().zip([batches[0], batches[1], metrics[0], metrics[1]]) {
            *sum += count;
        }
    }
    let totals = ["/batches/stored", "/batches/rejected", "/metrics_stored", "/metrics_rejected"]
        .map(|at| number_at(&stats, at));
    assert_eq!(sums, totals, "{stats:#}");
    stats
}

fn each_protocol_is_stored_and_gets_its_response(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let cases = one_of_each();
    for (protocol, request, status, body, _) in &cases {
        let response = client.request(request);
        assert_eq!((response.status, response.text()), (*status, *body), "{protocol}: {response:?}");
        let written = response.header("X-Prometheus-Remote-Write-Samples-Written");
        assert_eq!(written, (*protocol == "remote_write").then_some("1"), "{protocol}");
    }
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/metrics_stored"), cases.len() as u64);
    assert_eq!(number_at(&stats, "/elements_skipped_by/text"), 1);
    assert_eq!(number_at(&stats, "/elements_skipped_by/null"), 1);
    assert_eq!([202, 204].map(|status| number_at(&stats, &format!("/responses/{status}"))), [2, 5]);
    server.stop();
    let lines = crate::log::lines(&server.directory);
    for ((protocol, _, _, _, expected), line) in cases.iter().zip(&lines) {
        assert_eq!(sorted(line), sorted(expected), "{protocol}");
    }
    assert_eq!(lines.len(), cases.len());
}

fn pipelined_requests_of_many_protocols_are_counted(driver: Driver) {
    let mut server = with_driver(driver).flag("--reactors", 1).start();
    let mut client = server.connect();
    let cases = one_of_each();
    let burst: Vec<u8> = (0..3).flat_map(|_| cases.iter().flat_map(|(_, request, ..)| request.clone())).collect();
    client.send(&burst).unwrap();
    for _ in 0..3 {
        for (protocol, _, status, ..) in &cases {
            assert_eq!(client.response().status, *status, "{protocol}");
        }
    }
    let stats = closed(&server);
    for (protocol, batches) in
        [("remote_write", 6), ("influx", 6), ("otlp", 6), ("text", 9), ("collectd", 3), ("datadog", 6)]
    {
        assert_eq!(number_at(&stats, &format!("/protocols/{protocol}/batches_stored")), batches, "{protocol}");
        assert_eq!(number_at(&stats, &format!("/protocols/{protocol}/metrics_stored")), batches, "{protocol}");
    }
    server.stop();
    assert_eq!(crate::log::lines(&server.directory).len(), 3 * cases.len());
}

fn the_valid_part_of_a_batch_is_stored(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let repeated = series_1(&[("__name__", "up"), ("job", "x"), ("job", "y")], 1.0);
    let response = client.request(&remote_write_1(&[series_1(&[("__name__", "up")], 1.0), repeated]));
    assert_eq!(response.status, 400, "{response:?}");
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.header("X-Prometheus-Remote-Write-Samples-Written"), Some("1"));
    assert_eq!(response.header("X-Prometheus-Remote-Write-Histograms-Written"), Some("0"));
    let response = client.request(&post_to("/write", "", "a f=1\nb f=\nc f=3\n"));
    let error = response.refusal(400);
    assert!(error.starts_with("partial write: unable to parse 'b f=': ") && error.ends_with(" dropped=1"), "{error}");
    let response = client.request(&post_to("/api/v2/write", "", "a f=1\nb f=\n"));
    assert_eq!((response.status, response.json()["code"].as_str()), (400, Some("invalid")), "{response:?}");
    let response = client.request(&post_to("/api/v1/import/prometheus", "", "a 1\nb x\n"));
    assert_eq!(response.status, 400, "{response:?}");
    assert!(response.text().contains("1 rejected, 1 stored"), "{response:?}");
    let response = client.request(&post_to("/v1/metrics", JSON, OTLP_JSON.replace(r#""name":"a.b","#, "")));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["partialSuccess"]["rejectedDataPoints"].as_str(), Some("1"), "{response:?}");
    let stats = closed(&server);
    assert_eq!([number_at(&stats, "/metrics_stored"), number_at(&stats, "/metrics_rejected")], [5, 5], "{stats:#}");
    assert_eq!(number_at(&stats, "/batches/rejected"), 1, "the one of which nothing is stored");
    server.stop();
    assert_eq!(crate::log::lines(&server.directory).len(), 5);
}

fn bodies_that_are_of_no_protocol_are_refused(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let response = client.request(&post_to("/api/v1/write", "Content-Encoding: snappy\r\n", snappy(b"\x0a\xff")));
    assert_eq!(response.status, 400, "{response:?}");
    assert_eq!(response.header("X-Prometheus-Remote-Write-Samples-Written"), Some("0"));
    let response = client.request(&post_to("/api/v1/write", "Content-Type: application/json\r\n", "{}"));
    assert_eq!((response.status, response.header("X-Prometheus-Remote-Write-Samples-Written")), (415, Some("0")));
    let response = client.request(&post_to("/api/v1/write", "Content-Type: application/x-protobuf;proto=x.Y\r\n", ""));
    assert_eq!(response.status, 415, "{response:?}");
    let response = client.request(&post_to("/v1/metrics", PROTOBUF, "\x0a\x7f"));
    assert_eq!((response.status, response.header("Content-Type")), (400, Some("application/x-protobuf")));
    assert_eq!(response.body[..2], [0x08, 3], "INVALID_ARGUMENT");
    let response = client.request(&post_to("/v1/metrics", JSON, "{"));
    assert_eq!((response.status, response.json()["code"].as_u64()), (400, Some(3)), "{response:?}");
    assert_eq!(client.request(&post_to("/v1/metrics", "Content-Type: text/plain\r\n", "{}")).status, 415);
    let response = client.request(&post_to("/api/v2/series", JSON, "[]"));
    assert!(response.status == 400 && response.json()["errors"].is_array(), "{response:?}");
    assert_eq!(client.request(&post_to("/collectd", JSON, "{}")).status, 400);
    assert_eq!(client.request(&post_to("/write?precision=y", "", "a f=1")).status, 400);
    assert_eq!(client.request(&post_to("/write?precision=s&precision=ms", "", "a f=1")).status, 400);
    assert_eq!(client.request(&post_to("/metrics/job/", "", "a 1\n")).status, 400);
    for path in ["/metrics/jobs", "/metrics/job", "/metrics/jobs/x"] {
        client.request(&post_to(path, "", "a 1\n")).refusal(404);
    }
    for (path, allow) in [("/api/v1/write", "POST"), ("/write", "POST"), ("/metrics/job/x", "DELETE, POST, PUT")] {
        let response = client.request(&get(path));
        assert_eq!((response.status, response.header("Allow")), (405, Some(allow)), "{path}");
    }
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/metrics_stored"), 0);
    assert_eq!(number_at(&stats, "/batches/received"), 11, "a wrong method is no batch");
}

/// The cases of the public conformance suite of receivers that are about HTTP, by their names there
/// (<https://github.com/prometheus/compliance>, `remotewrite/receiver`). The others are with the decoder.
fn remote_write_is_judged_as_by_the_conformance_suite(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let body = snappy(&series_1(&[("__name__", "up")], 1.0));
    let corrupt = [b"0", &body[1..]].concat();
    let protobuf = "Content-Type: application/x-protobuf\r\n";
    for (name, fields, body, status) in [
        (
            "TestBadContentTypes/application_json",
            "Content-Type: application/json\r\nContent-Encoding: snappy\r\n",
            &corrupt,
            415,
        ),
        ("TestBadContentTypes/image_png", "Content-Type: image/png\r\nContent-Encoding: snappy\r\n", &corrupt, 415),
        ("TestBadContentEncodings/gzip", &format!("{protobuf}Content-Encoding: gzip\r\n"), &corrupt, 415),
        ("TestBadContentEncodings/deflate", &format!("{protobuf}Content-Encoding: deflate\r\n"), &corrupt, 415),
        ("TestCorruptRequestBody", &format!("{protobuf}Content-Encoding: snappy\r\n"), &corrupt, 400),
        ("TestRW1BasicCompatibility", &format!("{protobuf}Content-Encoding: snappy\r\n"), &body, 204),
        ("TestRW1ErrorHandling", &format!("{protobuf}Content-Encoding: snappy\r\n"), &snappy(b"x"), 400),
    ] {
        let response = client.request(&post_to("/api/v1/write", fields, body));
        let written = response.header("X-Prometheus-Remote-Write-Samples-Written");
        let expected = if status == 204 { "1" } else { "0" };
        assert_eq!((response.status, written), (status, Some(expected)), "{name}: {response:?}");
    }
}

fn a_client_over_its_rate_gets_what_its_agent_retries(driver: Driver) {
    for (option, all) in [(None, None), (Some("429"), Some(429)), (Some("503"), Some(503))] {
        let mut setup = with_driver(driver).flag("--rate-limit", 1);
        if let Some(status) = option {
            setup = setup.flag("--over-rate-status", status);
        }
        let server = setup.start();
        let mut client = server.connect();
        // Uses up the limit of every second.
        let mut flood = || while !matches!(client.request(&post_to("/metrics", "", "")).status, 429 | 503) {};
        let mut other = server.connect();
        for (protocol, request, ..) in one_of_each() {
            flood();
            let response = other.request(&request);
            if matches!(response.status, 200..300) {
                // A second went by in between.
                continue;
            }
            let own = if matches!(protocol, "otlp" | "datadog") { 429 } else { 503 };
            let is_v2 = request.starts_with(b"POST /api/v2/write");
            let expected = all.unwrap_or(if is_v2 { 429 } else { own });
            assert_eq!(response.status, expected, "{protocol}: {response:?}");
            assert!(response.header("Retry-After").is_some(), "{protocol}");
        }
        closed(&server);
    }
}

fn companion_routes_of_agents_respond(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let ping = client.request(&get("/ping"));
    assert_eq!((ping.status, ping.text()), (204, ""));
    assert!(ping.header("X-Influxdb-Version").is_some());
    let head = client.request(&request("HEAD", "/ping", ""));
    assert_eq!(head.status, 204);
    let created = r#"{"results":[{"statement_id":0}]}"#;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for request in [
        get("/query?q=CREATE+DATABASE+%22telegraf%22"),
        post_to("/query", form, "q=CREATE DATABASE telegraf"),
        post_to("/query?q=SHOW+DATABASES", "", ""),
    ] {
        let response = client.request(&request);
        assert_eq!((response.status, response.text()), (200, created));
    }
    client.request(&get("/query?q=SELECT+1")).refusal(400);
    assert_eq!(client.request(&get("/query?name=cpu")).status, 200, "a query of our own");
    assert_eq!(client.request(&get("/api/v1/validate?api_key=x")).json()["valid"], true);
    assert_eq!(client.request(&get("/")).status, 200);
    assert_eq!(client.request(&request("DELETE", "/metrics/job/x", "")).status, 202);
    let no_group = client.request(&request("DELETE", "/metrics/job/x/instance", ""));
    assert_eq!((no_group.status, no_group.text()), (400, "a grouping label has no value\n"));
    assert_eq!(client.request(&post_to("/ping", "", "")).status, 405);
    // An agent of Datadog drops what gets a 400 and sends again what gets a 404.
    for path in ["/intake/?api_key=x", "/api/v1/check_run", "/api/v2/events", "/api/beta/sketches"] {
        let response = client.request(&post_to(path, "Content-Encoding: deflate\r\n", "no deflate"));
        assert_eq!((response.status, response.json()["errors"].is_array()), (400, true), "{path}: {response:?}");
    }
}

fn keys_are_found_where_each_protocol_puts_them(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "secret\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    let mut client = server.connect();
    // user:secret, :secret, secret: and user:other
    for (fields, query, path, is_valid) in [
        ("Authorization: Bearer secret\r\n", "", "/write", true),
        ("Authorization: Basic dXNlcjpzZWNyZXQ=\r\n", "", "/write", true),
        ("Authorization: Basic OnNlY3JldA==\r\n", "", "/api/v1/write", true),
        ("Authorization: Basic c2VjcmV0Og==\r\n", "", "/write", true),
        ("Authorization: Basic dXNlcjpvdGhlcg==\r\n", "", "/write", false),
        ("Authorization: Token secret\r\n", "", "/api/v2/write", true),
        ("Authorization: Token user:secret\r\n", "", "/write", true),
        ("Authorization: Token other\r\n", "", "/write", false),
        ("DD-API-KEY: secret\r\n", "", "/api/v2/series", true),
        ("DD-API-KEY: other\r\n", "", "/api/v2/series", false),
        ("DD-API-KEY: secret\r\n", "", "/write", false),
        ("", "?api_key=secret", "/api/v1/series", true),
        ("", "?u=user&p=secret", "/write", true),
        ("", "?u=secret&p=other", "/write", false),
        ("", "", "/write", false),
    ] {
        let response = client.request(&post_to(&format!("{path}{query}"), fields, ""));
        assert_eq!(response.status != 401, is_valid, "{fields}{path}{query}: {response:?}");
        // Clients built on libcurl send a password only after Basic was offered.
        let offered = response.header("WWW-Authenticate").unwrap_or_default();
        assert_eq!(offered.contains("Basic realm="), !is_valid, "{path}: {offered}");
    }
    // A browser that is offered Basic would ask its user for a password.
    assert_eq!(client.request(&post_to("/metrics", "", "[]")).header("WWW-Authenticate"), Some("Bearer"));
    assert_eq!(client.request(&get("/ping")).status, 204);
    assert_eq!(client.request(&get("/api/v1/validate")).status, 401);
    assert_eq!(client.request(&get("/api/v1/validate?api_key=secret")).status, 200);
}

fn a_header_field_can_name_the_client(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 3).flag("--client-header", "X-Scope-OrgID").start();
    let mut client = server.connect();
    let tenant = |name: &str| post_to("/write", &format!("x-scope-orgid: {name}\r\n"), "a f=1");
    let mut statuses = Vec::new();
    for name in ["a", "b", "c", "d"] {
        statuses.push(client.request(&tenant(name)).status);
    }
    assert_eq!(statuses, [204; 4], "each is a client of its own");
    let refused = (0..50).filter(|_| client.request(&tenant("a")).status == 503).count();
    assert!(refused > 0, "one of them is over its rate");
    assert_eq!(client.request(&tenant("e")).status, 204);
}

/// Milliseconds that are taken for nanoseconds are in 1970: the commonest fault of line protocol.
fn a_wrong_unit_is_counted_and_warned_of(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    assert_eq!(client.request(&post_to("/write", "", format!("m a=1,b=2 {STAMP_MS}"))).status, 204);
    let line = server.wait_for_line("a warning", |line| line.contains("over a day from now").then(|| line.to_owned()));
    assert!(line.contains("client=127.0.0.1") && line.contains("metrics=2"), "{line}");
    assert_eq!(number_at(&closed(&server), "/metrics_far_from_now"), 2);
}

fn bodies_may_be_larger_than_those_of_json(driver: Driver) {
    let mut server = with_driver(driver).flag("--max-body", "64KiB").flag("--ring-size", "32MiB").start();
    let mut client = server.connect();
    let lines: String = (0..20_000).map(|index| format!("m f{index}=1 {STAMP_MS}000000\n")).collect();
    assert!(lines.len() > 64 * 1024);
    assert_eq!(client.request(&post_to("/write", "", &lines)).status, 204);
    client.request(&post_to("/metrics", "", &lines)).refusal(413);
    drop(client);
    let mut client = server.connect();
    let many: String = (0..100_001).map(|_| "m f=1\n").collect();
    client.request(&post_to("/write", "", &many)).refusal(413);
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/protocols/influx/metrics_stored"), 20_000);
    assert_eq!(number_at(&stats, "/protocols/influx/metrics_rejected"), 100_001);
    server.stop();
    assert_eq!(crate::log::lines(&server.directory).len(), 20_000);
}

fn lines_of_a_body_are_bounded_by_half_a_ring(driver: Driver) {
    let server =
        with_driver(driver).flag("--max-body", "8KiB").flag("--max-batch", 10).flag("--ring-size", "64KiB").start();
    let mut client = server.connect();
    let fields = (0..200).map(|index| format!("f{index}=1")).collect::<Vec<_>>().join(",");
    // 200 lines of some 600 bytes each.
    let response = client.request(&post_to("/write", "", format!("m,t={} {fields}", "x".repeat(500))));
    assert_eq!(response.status, 413, "{response:?}");
    assert_eq!(client.request(&post_to("/write", "", "m f=1")).status, 204);
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/metrics_stored"), 1);
}

/// A body of each protocol in which one text of 600 bytes stands for the lines of 200 metrics.
fn multiplying_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let text = "x".repeat(600);
    let repeated = |element: &str, separator: &str| vec![element; 200].join(separator);
    let samples = field(2, &[double(1, 5.0), integer(2, STAMP_MS)].concat()).repeat(200);
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let series_1 = [label("__name__", "m"), label("t", &text), samples.clone()].concat();
    let symbols = ["", "__name__", "m", "t", &text].map(|symbol| field(4, symbol.as_bytes())).concat();
    let series_2 = [field(1, &[1, 2, 3, 4]), samples].concat();
    let remote_write_2 = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                          Content-Encoding: snappy\r\n";
    let attribute = |holder: u8| {
        let value = field(2, &field(1, text.as_bytes()));
        field(holder, &[field(1, b"t"), value].concat())
    };
    let points = field(1, &[&[6 << 3 | 1][..], &7_u64.to_le_bytes()].concat()).repeat(200);
    let metric = [field(1, b"m"), field(5, &points)].concat();
    let otlp = field(1, &[field(1, &attribute(1)), field(2, &field(2, &metric))].concat());
    let otlp_json = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"t","value":{{"stringValue":"{text}"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{}]}}}}]}}]}}]}}"#,
        repeated(r#"{"asInt":7}"#, ",")
    );
    let collectd = format!(
        r#"[{{"values":[{}],"dstypes":[{}],"dsnames":[{}],"host":"{text}","plugin":"p","type":"t"}}]"#,
        repeated("1", ","),
        repeated("\"gauge\"", ","),
        repeated("\"v\"", ",")
    );
    let datadog = |point: &str| {
        format!(r#"{{"series":[{{"metric":"m","points":[{}],"tags":["t:{text}"]}}]}}"#, repeated(point, ","))
    };
    let dd_point = field(4, &[double(1, 5.0), integer(2, STAMP_MS / 1000)].concat()).repeat(200);
    let dd_series = [field(2, b"m"), field(3, format!("t:{text}").as_bytes()), dd_point].concat();
    let gateway = format!("/metrics/job/j/t/{text}");
    vec![
        ("remote_write", remote_write_1(&[field(1, &series_1)])),
        ("remote_write", post_to("/api/v1/write", remote_write_2, snappy(&[symbols, field(5, &series_2)].concat()))),
        ("influx", post_to("/write", "", format!("m,t={text} {}", repeated("f=1", ",")))),
        ("otlp", post_to("/v1/metrics", PROTOBUF, otlp)),
        ("otlp", post_to("/v1/metrics", JSON, otlp_json)),
        ("text", request_with("PUT", &gateway, (repeated("m 1", "\n") + "\n").as_bytes())),
        ("collectd", post_to("/collectd", JSON, collectd)),
        ("datadog", post_to("/api/v1/series", JSON, datadog("[1790000000,1.5]"))),
        ("datadog", post_to("/api/v2/series", JSON, datadog(r#"{"timestamp":1790000000,"value":2}"#))),
        ("datadog", post_to("/api/v2/series", PROTOBUF, field(1, &dd_series))),
    ]
}

/// 200 lines of some 700 bytes are over half a ring.
fn multiplied_lines_are_refused_in_every_protocol(driver: Driver) {
    let setup = with_driver(driver).flag("--max-body", "8KiB").flag("--max-batch", 10).flag("--ring-size", "64KiB");
    let mut server = setup.start();
    let mut client = server.connect();
    for (protocol, request) in multiplying_bodies() {
        let response = client.request(&request);
        assert_eq!(response.status, 413, "{protocol}: {response:?}");
    }
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/metrics_stored"), 0);
    assert_eq!(number_at(&stats, "/batches/rejected"), multiplying_bodies().len() as u64);
    server.stop();
    assert!(crate::log::lines(&server.directory).is_empty());
}

/// Their 140 KB are charged as 18 KB, of which the budget of a second has three; the bodies have 1 to 9 KB.
fn multiplied_lines_are_charged_in_every_protocol(driver: Driver) {
    let mut server = with_driver(driver).flag("--rate-limit-bytes", "64KiB").start();
    let mut stored = 0;
    for (protocol, request) in multiplying_bodies() {
        let mut client = server.connect();
        let refusal = until("the budget is used up", || {
            let response = client.request(&request);
            if matches!(response.status, 200..300) {
                stored += 200;
                return None;
            }
            Some(response)
        });
        let is_retried = matches!(protocol, "otlp" | "datadog");
        assert_eq!(refusal.status, if is_retried { 429 } else { 503 }, "{protocol}: {refusal:?}");
        assert!(refusal.header("Retry-After").is_some(), "{protocol}");
    }
    let stats = closed(&server);
    assert_eq!(number_at(&stats, "/metrics_stored"), stored);
    server.stop();
    assert_eq!(crate::log::lines(&server.directory).len() as u64, stored);
}

on_both_drivers!(
    each_protocol_is_stored_and_gets_its_response,
    multiplied_lines_are_refused_in_every_protocol,
    multiplied_lines_are_charged_in_every_protocol,
    pipelined_requests_of_many_protocols_are_counted,
    the_valid_part_of_a_batch_is_stored,
    bodies_that_are_of_no_protocol_are_refused,
    remote_write_is_judged_as_by_the_conformance_suite,
    a_client_over_its_rate_gets_what_its_agent_retries,
    companion_routes_of_agents_respond,
    a_bound_has_one_spelling_in_every_protocol,
    media_types_are_compared_without_case,
    keys_are_found_where_each_protocol_puts_them,
    a_header_field_can_name_the_client,
    a_wrong_unit_is_counted_and_warned_of,
    bodies_may_be_larger_than_those_of_json,
    lines_of_a_body_are_bounded_by_half_a_ring,
);

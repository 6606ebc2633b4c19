//! The table of responses, row by row: status, media type, body, `Retry-After`, `Allow`.

use crate::{
    http::{authorization, get, post, post_chunked, post_to},
    metric, on_both_drivers,
    server::Driver,
    with_driver,
};
use std::io::Write;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2},{"name":"c","value":3}]}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

fn success(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let mut expected = 0;
    for lines in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n", // what curl -d sends
        "Content-Type: text/plain; charset=latin-1\r\nAccept: */*\r\nUser-Agent: curl/8.0\r\n",
        "Content-Encoding: identity\r\n",
    ] {
        let response = client.request(&post_to("/metrics", lines, BATCH));
        assert_eq!((response.status, response.text()), (200, r#"{"success":true,"metrics_processed":3}"#), "{lines}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert!(response.header("Date").is_some_and(|date| date.len() == 29 && date.ends_with(" GMT")), "{response:?}");
        assert_ne!(response.header("Connection"), Some("close"));
        expected += 3;
    }
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), expected);
}

fn compressed_bodies(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let many = metric::marked_batch("compressed", 1_000);
    for (coding, body) in [
        ("gzip", gzip(BATCH.as_bytes())),
        ("zstd", zstd(BATCH.as_bytes())),
        ("GZIP", gzip(many.as_bytes())),
        ("x-gzip", gzip(BATCH.as_bytes())), // RFC 9110, 8.4.1.3: the same as gzip
        ("zstd", zstd(many.as_bytes())),
    ] {
        let lines = format!("Content-Encoding: {coding}\r\n");
        client.request(&post_to("/metrics", &lines, &body)).processed();
        let pieces: Vec<&[u8]> = body.chunks(7).collect();
        client.request(&post_chunked(&lines, &pieces)).processed();
    }
    let torn = gzip(BATCH.as_bytes());
    for (coding, body) in [
        ("gzip", torn[..torn.len() - 1].to_vec()),
        ("gzip", BATCH.into()),
        ("gzip", Vec::new()),
        ("zstd", torn.clone()),
        ("zstd", [zstd(BATCH.as_bytes()).as_slice(), b"x"].concat()),
    ] {
        let response = server.request(&post_to("/metrics", &format!("Content-Encoding: {coding}\r\n"), body));
        response.refusal(400);
    }
    for coding in ["br", "compress", "deflate", "snappy", "gzip, zstd"] {
        server.request(&post_to("/metrics", &format!("Content-Encoding: {coding}\r\n"), BATCH)).refusal(415);
    }
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), 2 * (3 * 3 + 2 * 1_000));
}

/// An error says which metric, which field, and at which byte; and the connection goes on.
fn malformed_batches(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let long_name = "n".repeat(256);
    let cases: Vec<(String, &str, &str)> = vec![
        // The body, what the error has to name, and the text whose first byte the error has to point at.
        (
            r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2},{"name":"c","value":"x"}]}"#.into(),
            "metrics[2].value",
            r#""x""#,
        ),
        (r#"{"metrics":[{"name":7,"value":1}]}"#.into(), "metrics[0].name", "7"),
        (r#"{"metrics":[{"name":"a","value":1,"type":"rate"}]}"#.into(), "metrics[0].type", r#""rate""#),
        (r#"{"metrics":[{"name":"a","value":1,"type":"untyped"}]}"#.into(), "metrics[0].type", r#""untyped""#),
        (r#"{"metrics":[{"name":"a","value":"NaN","stale":true}]}"#.into(), "metrics[0].value", r#""NaN""#),
        (
            r#"{"metrics":[{"name":"a","value":1},{"name":"a","value":1,"tags":{"k":5}}]}"#.into(),
            "metrics[1].tags",
            "5}",
        ),
        (r#"{"metrics":[{"name":"a","value":1,"tags":[]}]}"#.into(), "metrics[0].tags", "[]"),
        (r#"{"metrics":[{"name":"a","value":1,"tags":{"k":"1","k":"2"}}]}"#.into(), "metrics[0].tags", r#""k":"2""#),
        (r#"{"metrics":[{"name":"a","value":1,"value":2}]}"#.into(), "metrics[0].value", r#""value":2"#),
        (r#"{"metrics":[{"name":"","value":1}]}"#.into(), "metrics[0].name", r#""","value""#),
        (format!(r#"{{"metrics":[{{"name":"{long_name}","value":1}}]}}"#), "metrics[0].name", "\"nnn"),
        (r#"{"metrics":{}}"#.into(), "metrics", "{}"),
        (r#"{"metrics":[{"name":"a","value":1}]} x"#.into(), "", "x"),
        (r#"{"metrics":[{"name":"a","value":1},]}"#.into(), "metrics[1]", "]}"),
    ];
    for (body, names, points_at) in &cases {
        let text = client.request(&post(body)).refusal(400);
        let byte = body.rfind(points_at).unwrap();
        assert!(text.contains(names) && text.ends_with(&format!("(byte {byte})")), "{body}: {text}");
    }
    for (body, names) in [
        (r#"{"metrics":[{"value":1}]}"#, "metrics[0].name"),
        (r#"{"metrics":[{"name":"a","value":1},{"name":"a"}]}"#, "metrics[1].value"),
        (r#"{"metrics":[]}"#, "metrics"),
        ("{}", "metrics"),
        (r#"{"metrics":[{"name":"a","value":1}],"metrics":[]}"#, "metrics"),
        ("", "(byte 0)"),
        ("[]", "(byte 0)"),
        ("null", "(byte 0)"),
        (r#"{"metrics":[{"name":"a","value":1}"#, "(byte 34)"),
    ] {
        let text = client.request(&post(body)).refusal(400);
        assert!(text.contains(names) && text.contains("byte"), "{body}: {text}");
    }
    for body in [
        &b"{\"metrics\":[{\"name\":\"\xff\",\"value\":1}]}"[..],
        b"{\"metrics\":[{\"name\":\"\xed\xa0\x80\",\"value\":1}]}",
        b"{\"metrics\":[{\"name\":\"\\ud800\",\"value\":1}]}",
        b"{\"metrics\":[{\"name\":\"a\nb\",\"value\":1}]}",
        b"\xef\xbb\xbf{\"metrics\":[{\"name\":\"a\",\"value\":1}]}",
        &[b"{\"metrics\":[{\"name\":\"a\",\"value\":1,\"x\":".as_slice(), &[b'['; 10_000]].concat(),
    ] {
        client.request(&post(body)).refusal(400);
    }
    assert_eq!(client.request(&post(BATCH)).processed(), 3, "the connection goes on");
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), 3, "a batch is stored whole or not at all");
}

fn bounds_of_a_batch(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    assert_eq!(client.request(&post(metric::marked_batch("most", 1_000))).processed(), 1_000);
    assert!(client.request(&post(metric::marked_batch("over", 1_001))).refusal(400).contains("1000"));
    let named = |bytes: usize| {
        format!(r#"{{"metrics":[{{"name":"{}","value":1}}]}}"#, "é".repeat(bytes / 2) + &"n".repeat(bytes % 2))
    };
    assert_eq!(client.request(&post(named(255))).processed(), 1);
    assert!(client.request(&post(named(256))).refusal(400).contains("metrics[0].name"));

    let server = with_driver(driver).flag("--max-batch", 2).flag("--max-name", 3).flag("--max-tags", 1).start();
    let mut client = server.connect();
    assert_eq!(
        client
            .request(&post(r#"{"metrics":[{"name":"abc","value":1,"tags":{"a":"b"}},{"name":"a","value":1}]}"#))
            .processed(),
        2
    );
    assert!(client.request(&post(BATCH)).refusal(400).contains("metrics"));
    assert!(
        client.request(&post(r#"{"metrics":[{"name":"abcd","value":1}]}"#)).refusal(400).contains("metrics[0].name")
    );
    let server = with_driver(driver).flag("--max-tag-value", 4).flag("--max-tags", 1).start();
    let mut client = server.connect();
    let tagged =
        |key: &str, value: &str| format!(r#"{{"metrics":[{{"name":"a","value":1,"tags":{{"{key}":"{value}"}}}}]}}"#);
    // Bytes of what is meant, not of how it is escaped.
    for (key, value) in [("abcd", "abcd"), ("éé", r"\u0061bcd"), ("", "")] {
        assert_eq!(client.request(&post(tagged(key, value))).processed(), 1);
    }
    for (key, value) in [("k", "abcde"), ("k", "ééé"), ("abcde", "v")] {
        let text = client.request(&post(tagged(key, value))).refusal(400);
        assert!(text.contains(&format!("metrics[0].tags.{key}: longer than 4 bytes (byte ")), "{text}");
    }
    let two_tags = r#"{"metrics":[{"name":"a","value":1,"tags":{"a":"b","c":"d"}}]}"#;
    assert!(client.request(&post(two_tags)).refusal(400).contains("metrics[0].tags"));
}

fn paths_and_methods(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    for request in [get("/nope"), get("/metrics/"), get("/Metrics"), post_to("/nope", "", BATCH), get("/healthz")] {
        client.request(&request).refusal(404);
    }
    for (method, path, allowed) in [
        ("PUT", "/metrics", "GET, HEAD, POST"),
        ("DELETE", "/metrics", "GET, HEAD, POST"),
        ("OPTIONS", "/metrics", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("POST", "/ready", "GET, HEAD"),
        ("PATCH", "/stats", "GET, HEAD"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}");
        let response = client.request(request.as_bytes());
        response.refusal(405);
        assert_eq!(response.header("Allow"), Some(allowed), "{method} {path}");
    }
    assert_eq!(client.request(&get("/health")).status, 200, "the connection goes on");
}

/// A parameter that there is none of asks for something that would silently not be done; probes may have any.
fn parameters_are_known_or_refused(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    for target in ["/metrics?ack=fsync", "/metrics?ack=%66sync", "/metrics?%61ck=memory&", "/metrics?"] {
        assert_eq!(client.request(&post_to(target, "", BATCH)).processed(), 3, "{target}");
    }
    for (target, part) in [
        ("/metrics?akc=fsync", "akc: unknown parameter; expected ack"),
        ("/metrics?ack=fsync&level=fsync", "level: unknown parameter"),
        ("/metrics?ACK=fsync", "ACK: unknown parameter"),
        ("/metrics?ack", "ack must be memory, write or fsync"),
        ("/metrics?ack=fsync%", "ack must be"),
        ("/metrics?ack=fsync&ack=fsync", "ack is repeated"),
    ] {
        let text = client.request(&post_to(target, "", BATCH)).refusal(400);
        assert!(text.contains(part), "{target}: {text}");
    }
    for target in ["/health?x=1", "/ready?_=17", "/stats?x", "/metrics?name[]=up"] {
        assert_eq!(client.request(&get(target)).status, 200, "{target}");
    }
    assert!(client.request(&get("/stats/clients?tpo=5")).refusal(400).contains("tpo: unknown parameter"));
    assert_eq!(server.stat("/metrics_stored"), 12);
    drop(client);
    server.stop();
}

/// An agent's own parameters are ignored, but not one that is nearly ours: the batch would be stored at a weaker level,
/// or with another unit of time, than the client believes.
fn misspelled_parameters_of_agents_are_refused(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    for (target, known) in [
        ("/write?db=x&akc=fsync", "ack"),
        ("/write?db=x&precison=s", "precision"),
        ("/api/v2/write?bucket=x&Precision=s", "precision"),
        ("/api/v1/write?%41CK=fsync", "ack"),
        ("/api/v1/import/prometheus?acks=fsync", "ack"),
        ("/v1/metrics?akc=fsync", "ack"),
        ("/collectd?akc=fsync", "ack"),
        ("/api/v2/series?api_key=x&ak=fsync", "ack"),
        ("/metrics/job/x?akc=fsync", "ack"),
    ] {
        let response = client.request(&post_to(target, "Content-Type: application/json\r\n", "{}"));
        let text = response.text();
        assert_eq!(response.status, 400, "{target}: {text}");
        assert!(text.contains(&format!("unknown parameter; expected {known}")), "{target}: {text}");
    }
    let response = client.request(&post_to("/write?db=x&rp=y&u=a&consistency=one&extra=1&ack=fsync", "", "a f=1"));
    assert_eq!(response.status, 204, "{}", response.text());
    assert_eq!(server.stat("/metrics_stored"), 1);
    drop(client);
    server.stop();
}

fn api_keys(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "# ours\nalpha\n\nbeta\n").unwrap();
    let mut server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    let mut client = server.connect();
    for value in ["alpha", "beta", "Bearer alpha", "BEARER \t beta "] {
        assert_eq!(client.request(&post_to("/metrics", &authorization(value), BATCH)).processed(), 3, "{value}");
    }
    for lines in [
        "",
        "Authorization: gamma\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: alpha beta\r\n",
        "Authorization: # ours\r\n",
    ] {
        let response = server.request(&post_to("/metrics", lines, BATCH));
        response.refusal(401);
        assert!(
            response.header("WWW-Authenticate").is_some(),
            "RFC 9110, 15.5.2: a 401 names its scheme: {response:?}"
        );
    }
    // Whoever watches the server needs no key.
    for path in ["/health", "/ready", "/stats", "/metrics"] {
        assert_eq!(server.request(&get(path)).status, 200, "{path}");
    }
    assert_eq!(server.stat("/batches/rejected_by/unauthorized"), 5);
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), 12);
}

fn slow_heads_and_bodies(driver: Driver) {
    let server = with_driver(driver).flag("--head-timeout", "200ms").flag("--body-timeout", "200ms").start();
    let whole = post(BATCH);
    let head_length = whole.len() - BATCH.len();
    for cut in [1, 10, head_length - 1, head_length, head_length + 1, whole.len() - 1] {
        let mut client = server.connect();
        client.send(&whole[..cut]).unwrap();
        let response = client.response();
        response.refusal(408);
        assert_eq!(response.header("Connection"), Some("close"));
        client.expect_end();
    }
    let mut client = server.connect();
    client.send(b"POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"met").unwrap();
    client.response().refusal(408);
    client.expect_end();
    assert_eq!(server.stat("/metrics_stored"), 0);
    assert_eq!(server.request(&whole).processed(), 3);
}

/// A head cannot be kept alive by dripping: its time counts from its first byte.
fn a_dripping_head_is_cut_off(driver: Driver) {
    let server = with_driver(driver).flag("--head-timeout", "300ms").start();
    let mut client = server.connect();
    client.send(b"POST /metrics HTTP/1.1\r\n").unwrap();
    client.stream.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    let response = crate::server::until("the drip has a response", || {
        // Fails once the server has ended the connection; its response is still to be read.
        let _ = client.send(b"X-Drip: y\r\n");
        client.try_response().ok()
    });
    response.refusal(408);
}

fn idle_connections_are_closed(driver: Driver) {
    let server = with_driver(driver).flag("--idle-timeout", "200ms").start();
    let mut fresh = server.connect();
    let mut used = server.connect();
    assert_eq!(used.request(&get("/health")).status, 200);
    fresh.expect_end();
    used.expect_end();
    assert_eq!(server.stat("/connections/closed_by/idle"), 2);
}

fn bodies_over_the_bound(driver: Driver) {
    let mut server = with_driver(driver).flag("--max-body", "64KiB").start();
    let body = metric::marked_batch("fits", 500);
    assert!(body.len() < 64 * 1024);
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    assert_eq!(server.request(&post(padded(64 * 1024))).processed(), 500);
    let over = padded(64 * 1024 + 1);
    let half = over.len() / 2;
    let mut requests = vec![
        post(&over),
        post_chunked("", &[&over.as_bytes()[..half], &over.as_bytes()[half..]]),
        b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\n".to_vec(),
        b"POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n".to_vec(),
    ];
    // The bound counts after decompression: 50 MiB that are sent as 50 KiB.
    let bomb = vec![b' '; 50 << 20];
    for (coding, body) in [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb)), ("zstd", zstd(over.as_bytes()))] {
        assert!(body.len() < 64 * 1024);
        requests.push(post_to("/metrics", &format!("Content-Encoding: {coding}\r\n"), body));
    }
    let count = requests.len() as u64;
    for request in requests {
        server.request(&request).refusal(413);
    }
    assert_eq!(server.stat("/responses/413"), count);
    server.stop();
    assert_eq!(server.metrics().len(), 500);
}

fn heads_over_the_bound(driver: Driver) {
    let server = with_driver(driver).start();
    let line = format!("X-Filler: {}\r\n", "f".repeat(1_000));
    server.request(&post_to("/metrics", &line.repeat(17), BATCH)).refusal(431);
    server.request(&post_to("/metrics", &"X: y\r\n".repeat(100), BATCH)).refusal(431);
    server.request(&get(&format!("/{}", "p".repeat(20_000)))).refusal(431);
    // One that never ends is refused when it is too large, not when its time is over.
    server.request(&[b'A'; 17 * 1024]).refusal(431);
    assert_eq!(server.request(&post_to("/metrics", &line.repeat(14), BATCH)).processed(), 3);
    assert_eq!(server.request(&post_to("/metrics", &"X: y\r\n".repeat(60), BATCH)).processed(), 3);
}

fn what_is_not_served(driver: Driver) {
    let server = with_driver(driver).start();
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/3.0", "HTTP/0.9"] {
        let mut client = server.connect();
        let request = format!("POST /metrics {version}\r\nHost: h\r\nContent-Length: {}\r\n\r\n{BATCH}", BATCH.len());
        client.request(request.as_bytes()).refusal(505);
        client.expect_end();
    }
    for coding in ["gzip, chunked", "gzip", "xchunked", "identity"] {
        let mut client = server.connect();
        let request = format!("POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        client.request(request.as_bytes()).refusal(501);
        client.expect_end();
    }
    assert_eq!(server.stat("/metrics_stored"), 0);
}

on_both_drivers!(
    success,
    compressed_bodies,
    malformed_batches,
    bounds_of_a_batch,
    paths_and_methods,
    parameters_are_known_or_refused,
    misspelled_parameters_of_agents_are_refused,
    api_keys,
    slow_heads_and_bodies,
    a_dripping_head_is_cut_off,
    idle_connections_are_closed,
    bodies_over_the_bound,
    heads_over_the_bound,
    what_is_not_served,
);

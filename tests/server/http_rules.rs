//! HTTP/1.1 where a client can notice: keep-alive, pipelining, HTTP/1.0, `Connection`, chunks, `Expect`, HEAD; and
//! what is refused because two readers could read it in two ways.

use crate::{
    http::{get, post, post_chunked, post_to},
    metric, on_both_drivers,
    server::Driver,
    with_driver,
};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// A hundred requests in one segment: a hundred responses, in their order.
fn pipelining_keeps_the_order(driver: Driver) {
    for ack in ["memory", "write", "fsync"] {
        let mut server = with_driver(driver).flag("--ack", ack).start();
        let mut client = server.connect();
        let mut bytes = Vec::new();
        for index in 0..100 {
            match index % 5 {
                0 => bytes.extend(get("/nope")),
                1 => bytes.extend(get("/health")),
                2 => bytes.extend(post("{}")),
                _ => bytes.extend(post(metric::marked_batch(&format!("p{index}"), 1 + index))),
            }
        }
        client.send(&bytes).unwrap();
        let mut stored = 0;
        for index in 0..100 {
            let response = client.response();
            match index % 5 {
                0 => drop(response.refusal(404)),
                1 => assert_eq!(response.status, 200),
                2 => drop(response.refusal(400)),
                _ => {
                    assert_eq!(response.processed(), 1 + index, "{ack}");
                    stored += 1 + index;
                }
            }
        }
        drop(client);
        server.stop();
        assert_eq!(server.metrics().len(), stored);
        assert_eq!(metric::marked_batches(&server.metrics()).len(), 40);
    }
}

/// Documents are made off the reactor; the responses around them keep their order all the same.
fn pipelining_past_a_document(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    let mut client = server.connect();
    let round = [post(BATCH), get("/stats"), get("/metrics"), post(BATCH), get("/health")].concat();
    client.send(&round.repeat(10)).unwrap();
    for number in 0..10 {
        assert_eq!(client.response().processed(), 1);
        assert_eq!(client.response().json()["batches"]["received"], 2 * number + 1);
        assert!(client.response().header("Content-Type").unwrap().starts_with("text/plain"));
        assert_eq!(client.response().processed(), 1);
        assert_eq!(client.response().json()["status"], "live");
    }
}

/// Half a close: a client that has sent its last request still reads its responses.
fn responses_come_after_the_clients_end_of_file(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    client.send(&[post(BATCH), get("/stats"), post(BATCH)].concat()).unwrap();
    client.finish();
    assert_eq!(client.response().processed(), 1);
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().processed(), 1);
    client.expect_end();
}

fn connection_close_is_kept(driver: Driver) {
    let server = with_driver(driver).start();
    for lines in [
        "Connection: close\r\n",
        "connection: Close\r\n",
        "Connection: x, close\r\n",
        "Connection: x\r\nConnection: close\r\n",
    ] {
        let mut client = server.connect();
        // What comes after it is not served.
        client.send(&[post_to("/metrics", lines, BATCH), post(BATCH)].concat()).unwrap();
        let response = client.response();
        assert_eq!(response.processed(), 1);
        assert_eq!(response.header("Connection"), Some("close"), "{lines}");
        client.expect_end();
    }
    assert_eq!(server.stat("/metrics_stored"), 4);
}

fn http_1_0(driver: Driver) {
    let server = with_driver(driver).start();
    let request =
        |lines: &str| format!("POST /metrics HTTP/1.0\r\n{lines}Content-Length: {}\r\n\r\n{BATCH}", BATCH.len());
    let mut client = server.connect();
    assert_eq!(client.request(request("").as_bytes()).processed(), 1);
    client.expect_end();
    let mut client = server.connect();
    for _ in 0..3 {
        let response = client.request(request("Connection: keep-alive\r\n").as_bytes());
        assert_eq!(response.processed(), 1);
        assert!(response.header("Connection").unwrap().eq_ignore_ascii_case("keep-alive"));
    }
    assert_eq!(client.request(b"GET /health HTTP/1.0\r\n\r\n").status, 200);
    client.expect_end();
}

fn chunked_bodies(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let body = metric::marked_batch("chunks", 40);
    for size in [1, 2, 7, 100, 5_000] {
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
        assert_eq!(client.request(&post_chunked("", &pieces)).processed(), 40, "chunks of {size}");
    }
    let (first, second) = BATCH.split_at(9);
    let odd = format!(
        "POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n\
         0009;name=value;quoted=\"a;b\"\r\n{first}\r\n{:X}\r\n{second}\r\n000\r\nX-Trailer: ignored\r\n\r\n",
        second.len()
    );
    assert_eq!(client.request(odd.as_bytes()).processed(), 1);
    assert_eq!(client.request(&post(BATCH)).processed(), 1, "the connection goes on behind a trailer");
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), 202);
}

fn expect_100_continue(driver: Driver) {
    let server = with_driver(driver).flag("--max-body", "4KiB").start();
    let mut client = server.connect();
    for _ in 0..3 {
        let request = post_to("/metrics", "Expect: 100-continue\r\n", BATCH);
        client.send(&request[..request.len() - BATCH.len()]).unwrap();
        let interim = client.response();
        assert_eq!(interim.status, 100, "{interim:?}");
        client.send(BATCH.as_bytes()).unwrap();
        assert_eq!(client.response().processed(), 1);
    }
    // A body that is already there needs no invitation (RFC 9110, 10.1.1 allows either).
    client.send(&post_to("/metrics", "Expect: 100-continue\r\n", BATCH)).unwrap();
    let mut response = client.response();
    if response.status == 100 {
        response = client.response();
    }
    assert_eq!(response.processed(), 1);
    // A refusal comes without one.
    let mut client = server.connect();
    client
        .request(b"POST /metrics HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
        .refusal(413);
    let mut client = server.connect();
    client
        .request(b"POST /nope HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n")
        .refusal(404);
    // HTTP/1.0 has no interim response.
    let mut client = server.connect();
    let head = format!("POST /metrics HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", BATCH.len());
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.request(BATCH.as_bytes()).processed(), 1);
}

fn head_has_the_head_alone(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    for path in ["/health", "/ready", "/stats", "/metrics", "/nope"] {
        let expected = client.request(&get(path));
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        let response = client.response_without_body();
        assert_eq!(response.status, expected.status, "{path}");
        assert_eq!(response.header("Content-Type"), expected.header("Content-Type"), "{path}");
        assert!(response.header("Content-Length").unwrap().parse::<usize>().unwrap() > 0, "{path}");
        // The next bytes are those of the next response.
        assert_eq!(client.request(&post(BATCH)).processed(), 1, "{path}");
    }
}

fn forms_of_the_target(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    for target in ["/health", "/health?x=y", "http://metrics.test/health", "HTTP://metrics.test:80/health?x"] {
        assert_eq!(client.request(&get(target)).status, 200, "{target}");
    }
    assert_eq!(client.request(&get("http://metrics.test")).status, 200, "the root");
    server.request(&get("http://metrics.test#/health")).refusal(400);
    client.request(b"\r\n\r\nGET /nope HTTP/1.1\r\nHost: h\r\n\r\n").refusal(404);
}

/// Two readers could disagree about where each of these ends: 400, the connection ends, nothing is stored, and the
/// request that hides behind it is not served.
fn smuggling(driver: Driver) {
    let mut server = with_driver(driver).start();
    let length = BATCH.len();
    let head = |lines: &str| format!("POST /metrics HTTP/1.1\r\nHost: h\r\n{lines}\r\n{BATCH}");
    let chunked = |body: &str| format!("POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let chunk = format!("{length:x}\r\n{BATCH}\r\n0\r\n\r\n");
    let cases = [
        head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        head(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")),
        head("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        head(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")),
        head(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n")),
        head(&format!("Content-Length: {length}, {length}\r\n")),
        head(&format!("Content-Length: +{length}\r\n")),
        head(&format!("Content-Length: -{length}\r\n")),
        head(&format!("Content-Length: 0x{length:x}\r\n")),
        head(&format!("Content-Length: {length}.0\r\n")),
        head(&format!("Content-Length: {length} 1\r\n")),
        head("Content-Length: \r\n"),
        head("Content-Length: 99999999999999999999999999\r\n"),
        head("Content-Length: 18446744073709551652\r\n"), // 2^64 + 36: the length of the batch, modulo 2^64
        head(&format!("Content-Length : {length}\r\n")),
        head(&format!(" Content-Length: {length}\r\n")),
        head(&format!("X: y\r\n folded\r\nContent-Length: {length}\r\n")),
        head(&format!("X: y\nContent-Length: {length}\r\n")),
        head(&format!("X: y\rContent-Length: {length}\r\n")),
        head(&format!("X: a\0b\r\nContent-Length: {length}\r\n")),
        head(&format!("X y\r\nContent-Length: {length}\r\n")),
        head(&format!(": y\r\nContent-Length: {length}\r\n")),
        head(&format!("Content-Length: {length}\r\nHost: other\r\n")),
        head("Transfer-Encoding: chunked, chunked\r\n"),
        head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: chunked, gzip\r\n"),
        head("Transfer-Encoding: chunked, identity\r\n"),
        head("Transfer-Encoding : chunked\r\n"),
        head("Transfer-Encoding: \x0bchunked\r\n"),
        head("Transfer-Encoding: chunked;q=1\r\n"),
        head("Transfer-Encoding:\r\n chunked\r\n"),
        head("Transfer-Encoding: \r\n"),
        format!("POST /metrics HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("POST /metrics HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{BATCH}"), // no Host
        format!("POST /metrics HTTP/1.1\r\nHost: a b\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        format!("POST  /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        format!("POST /metrics\tHTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        format!("POST /metrics HTTP/1.1 \r\nHost: h\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        format!("POST /metrics HTTP/1.1\nHost: h\nContent-Length: {length}\n\n{BATCH}"),
        format!("POST /metrics x HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        format!("P\x01ST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{BATCH}"),
        chunked(&format!("0x{chunk}")),
        chunked(&format!("+{chunk}")),
        chunked(&format!("-{chunk}")),
        chunked(&format!(" {chunk}")),
        chunked(&format!("\r\n{chunk}")),
        chunked(&format!(";a=b\r\n{BATCH}\r\n0\r\n\r\n")),
        chunked(&format!("{length:x} \n{BATCH}\r\n0\r\n\r\n")),
        chunked(&format!("{length:x}\n{BATCH}\n0\n\n")),
        chunked(&format!("{length:x}\r{BATCH}\r\n0\r\n\r\n")),
        chunked(&format!("{length:x};a=b\nX\r\n{BATCH}\r\n0\r\n\r\n")),
        chunked(&format!("{:x}\r\n{BATCH}\r\n0\r\n\r\n", length - 1)),
        chunked(&format!("{length:x}\r\n{BATCH}0\r\n\r\n")),
        chunked(&format!("{length:x}\r\n{BATCH}\n0\r\n\r\n")),
        chunked(&format!("1000000000000000{length:x}\r\n{BATCH}\r\n0\r\n\r\n")), // the length, modulo 2^64
        chunked(&format!("{length:x}\r\n{BATCH}\r\n0\r\nTrailer\r\n\r\n")),
        chunked(&format!("{length:x}\r\n{BATCH}\r\n0\r\n folded: x\r\n\r\n")),
        chunked(&format!("{length:x}\r\n{BATCH}\r\n0\r\nX: y\n\r\n")),
    ];
    assert_eq!(length, 36, "the arithmetic above");
    for case in &cases {
        let mut client = server.connect();
        client.send(&[case.as_bytes(), &post(BATCH)].concat()).unwrap();
        let response = client.try_response().unwrap_or_else(|error| panic!("{error}: {case:?}"));
        assert!(matches!(response.status, 400 | 413), "{} {}: {case:?}", response.status, response.text());
        assert_eq!(response.header("Connection"), Some("close"), "{case:?}");
        let rest = client.rest();
        assert!(rest.is_empty(), "{case:?}: {}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(server.stat("/metrics_stored"), 0);
    server.stop();
    assert_eq!(server.metrics(), []);
}

/// Requests that look odd and have one meaning all the same.
fn odd_and_valid(driver: Driver) {
    let server = with_driver(driver).start();
    let length = BATCH.len();
    let mut client = server.connect();
    for lines in [
        format!("content-length:{length}\r\n"),
        format!("CONTENT-LENGTH: \t {length} \t \r\n"),
        format!("Content-Length: 000{length}\r\n"),
        format!("Content-Length: {length}\r\nX-Empty:\r\nX-Latin: \u{e9}\r\nX-Content-Length: 5\r\n"),
    ] {
        let request = format!("POST /metrics HTTP/1.1\r\nHost: [::1]:8080\r\n{lines}\r\n{BATCH}");
        assert_eq!(client.request(request.as_bytes()).processed(), 1, "{lines}");
    }
}

on_both_drivers!(
    pipelining_keeps_the_order,
    pipelining_past_a_document,
    responses_come_after_the_clients_end_of_file,
    connection_close_is_kept,
    http_1_0,
    chunked_bodies,
    expect_100_continue,
    head_has_the_head_alone,
    forms_of_the_target,
    smuggling,
    odd_and_valid,
);

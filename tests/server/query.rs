//! Queries over HTTP: the content of the response, how it is sent, and what becomes of one that nobody reads. The
//! values are tested in the crate that evaluates; here it is the transfer.
//!
//! A response is held up without a sleep by not reading it: a point has as many digits as its value came with, so a few
//! thousand points are more than the sockets between take in. A thread is held up by an expression that takes minutes,
//! and ends with its client.

mod ending;
mod language;
mod load;
mod shares;

use crate::{
    http::{Client, Response, authorization, get, post, post_to},
    metric, on_both_drivers,
    server::{Driver, Server, number_at, until},
    with_driver,
};
use std::io::Read;

/// Every point of `wide`, as it is stored.
const WIDE: &str = "/query?name=wide&agg=raw&from=1970-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";

/// Stores points of `wide`, one a millisecond, each with this many digits.
fn store_wide(server: &Server, points: usize, digits: usize) {
    let value = format!("0.{}", "1234567890".repeat(digits / 10));
    let mut client = server.connect();
    for start in (0..points).step_by(1_000) {
        let metrics: Vec<String> = (start..points.min(start + 1_000))
            .map(|point| format!(r#"{{"name":"wide","value":{value},"timestamp":{}}}"#, 1_000_000_000_000 + point))
            .collect();
        let count = metrics.len();
        let batch = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
        assert_eq!(client.request(&post(batch)).processed(), count);
    }
}

/// More than sockets take in: 40 MB.
fn store_much(server: &Server) {
    store_wide(server, 20_000, 2_000);
}

/// A query that takes minutes, once [`store_slow`] was there.
const SLOW: &str = "/query?name=slow&from=1970-01-01T00:00:00Z&tag.v=~%5B01%5D*1%5B01%5D%7B3400%7D2";

/// Stores texts that an expression takes long for. `fields` are of the request's head.
fn store_slow(server: &Server, fields: &str) {
    let bit = |at: u32| if (at.wrapping_mul(2_654_435_761) >> 13) & 1 == 1 { '1' } else { '0' };
    let text: String = (0..50_000).map(bit).collect();
    let metrics: Vec<String> =
        (0..60).map(|number| format!(r#"{{"name":"slow","value":1,"tags":{{"v":"{text}{number}"}}}}"#)).collect();
    let batch = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
    assert_eq!(server.request(&post_to("/metrics", fields, batch)).processed(), 60);
}

/// A client whose query holds a thread.
fn busy(server: &Server, fields: &str) -> Client {
    let mut client = server.connect();
    let running = server.stat("/queries/running");
    client.send(&get_with(SLOW, fields)).unwrap();
    until("it runs", || (server.stat("/queries/running") > running).then_some(()));
    client
}

fn get_with(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

/// The points of a result's only series.
fn points(response: &Response) -> Vec<serde_json::Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let document = response.json();
    let [series] = document["series"].as_array().unwrap().as_slice() else { panic!("not one series: {document}") };
    series["points"].as_array().unwrap().clone()
}

/// The one number of a result without steps; 0 of a result without series.
fn number(response: &Response) -> u64 {
    assert_eq!(response.status, 200, "{}", response.text());
    let document = response.json();
    document.pointer("/series/0/points/0/1").map_or(0, |number| number.as_u64().unwrap())
}

fn count_of(name: &str) -> Vec<u8> {
    get(&format!("/query?name={name}&agg=count"))
}

/// Waits until so many queries have ended so.
fn wait_for_end(server: &Server, outcome: &str, count: u64) {
    let pointer = format!("/queries/ended_by/{outcome}");
    until(&format!("{count} queries have ended as {outcome}"), || (server.stat(&pointer) == count).then_some(()));
}

/// Every query that came in is somewhere, and nothing is going on any more.
fn queries_hold_together(server: &Server) {
    until("no query is open", || {
        let stats = server.stats();
        (number_at(&stats, "/queries/running") + number_at(&stats, "/queries/waiting") == 0).then_some(())
    });
    let stats = server.stats();
    let ended = stats.pointer("/queries/ended_by").and_then(serde_json::Value::as_object).unwrap();
    let sum: u64 = ended.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(number_at(&stats, "/queries/received"), sum, "{stats:#}");
}

fn what_is_acknowledged_is_in_the_next_result(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rotate-size", "64KiB").start();
    let mut client = server.connect();
    for round in 1..=200 {
        assert_eq!(client.request(&post(metric::marked_batch(&format!("r{round}"), 3))).processed(), 3);
        // On a connection of its own, to whichever reactor.
        let target = format!("/query?name=crash_test&tag.batch=r{round}&agg=count");
        assert_eq!(number(&server.request(&get(&target))), 3);
        let batches = server.request(&get("/tags/batch")).json();
        assert_eq!(batches["values"].as_array().unwrap().len(), round, "{batches}");
    }
    queries_hold_together(&server);
}

/// Batches and queries in one segment: each query finds what the batches before it have stored.
fn pipelined_with_batches(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    const ROUNDS: usize = 30;
    let batch = r#"{"metrics":[{"name":"p","value":1},{"name":"p","value":2}]}"#;
    for ack in ["memory", "write", "fsync"] {
        let before = number(&server.request(&count_of("p")));
        let round = [post_to(&format!("/metrics?ack={ack}"), "", batch), count_of("p"), get("/health")].concat();
        client.send(&round.repeat(ROUNDS)).unwrap();
        for round in 1..=ROUNDS as u64 {
            assert_eq!(client.response().processed(), 2);
            let found = number(&client.response());
            // At the level `memory` a response does not mean that the lines are in the file.
            assert!(found == before + 2 * round || (ack == "memory" && found <= before + 2 * round), "{ack}: {found}");
            assert_eq!(client.response().status, 200);
        }
        let metrics = before + 2 * ROUNDS as u64;
        until("all is written", || (number(&server.request(&count_of("p"))) == metrics).then_some(()));
    }
    drop(client);
    queries_hold_together(&server);
    let stats = server.stats();
    assert_eq!(number_at(&stats, "/batches/stored"), 3 * ROUNDS as u64);
    server.stop();
}

fn small_results_have_a_length_and_large_ones_are_chunked(driver: Driver) {
    let server = with_driver(driver).start();
    store_wide(&server, 3_000, 1_000);
    let mut client = server.connect();
    let small = client.request(&count_of("wide&from=0"));
    assert!(small.header("Content-Length").is_some() && small.header("Transfer-Encoding").is_none(), "{small:?}");
    let large = client.request(&get(WIDE));
    assert_eq!(large.header("Transfer-Encoding"), Some("chunked"));
    let all = points(&large);
    assert_eq!(all.len(), 3_000);
    for (number, point) in all.iter().enumerate() {
        assert_eq!(point[0].as_u64(), Some(1_000_000_000_000 + number as u64));
    }
    // The same connection goes on.
    assert_eq!(client.request(&get("/health")).status, 200);

    // HTTP/1.0 gets it bare, up to the end of the connection. All but the time that it took is the same.
    let mut old = server.connect();
    old.send(format!("GET {WIDE} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").as_bytes()).unwrap();
    let head = old.response_without_body();
    assert_eq!((head.status, head.header("Connection")), (200, Some("close")));
    assert!(head.header("Transfer-Encoding").is_none() && head.header("Content-Length").is_none(), "{head:?}");
    let body = old.rest();
    let series = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap()["series"].take();
    assert!(series(&body) == series(&large.body));

    // Byte by byte.
    let mut slow = server.connect();
    slow.send(&[get(WIDE), get("/health")].concat()).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        slow.stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    assert!(bytes.len() > large.body.len());
    assert_eq!(slow.response().status, 200);
    let pieces = server.stat("/queries/pieces");
    assert!(pieces > 3 * 45, "{pieces} pieces of three responses of 3 MB");
    queries_hold_together(&server);
}

fn head_of_a_query_has_no_body(driver: Driver) {
    let server = with_driver(driver).start();
    store_wide(&server, 2_000, 200);
    let mut client = server.connect();
    let head = |target: &str| format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    client.send(&[head(WIDE), head("/query"), head("/names"), get("/health")].concat()).unwrap();
    let large = client.response_without_body();
    assert_eq!((large.status, large.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(client.response_without_body().status, 400);
    assert_eq!(client.response_without_body().status, 200);
    assert_eq!(client.response().json()["status"], "live");
}

fn each_path_and_form(driver: Driver) {
    let server = with_driver(driver).start();
    let batch = r#"{"metrics":[{"name":"a","value":1.50,"tags":{"host":"w/1"}},{"name":"b","value":2}]}"#;
    assert_eq!(server.request(&post(batch)).processed(), 2);
    let json = |target: &str| server.request(&get(target)).json();
    assert_eq!(json("/names")["names"], serde_json::json!(["a", "b"]));
    assert_eq!(json("/tags/ho%73t")["values"], serde_json::json!(["w/1"]));
    assert_eq!(json("/series?name=a")["series"][0]["tags"], serde_json::json!({"host": "w/1"}));
    let with = |accept: &str| {
        let request = format!("GET /query?name=a&agg=last HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n");
        server.request(request.as_bytes())
    };
    assert!(with("application/json").text().contains(",1.50]"));
    let csv = with("text/csv");
    assert!(csv.header("Content-Type").unwrap().starts_with("text/csv") && csv.text().contains(",1.50\n"), "{csv:?}");
    assert_eq!(with("application/x-ndjson").header("Content-Type"), Some("application/x-ndjson"));
}

fn wrong_ones_are_refused(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "key\n").unwrap();
    let server = with_driver(driver)
        .flag("--api-keys", keys.path().display())
        .flag("--query-max-points", 10)
        .flag("--query-max-series", 10)
        .start();
    let key = authorization("Bearer key");
    let metrics: Vec<String> = (0..20).map(|number| format!(r#"{{"name":"n{number}","value":1}}"#)).collect();
    let batch = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
    assert_eq!(server.request(&post_to("/metrics", &key, batch)).processed(), 20);
    let mut client = server.connect();
    let mut fetch = |method: &str, target: &str, fields: &str| {
        client.request(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes())
    };
    for (target, part) in [
        ("/query", "name"),
        ("/query?name=a&step=never", "step"),
        ("/query?name=~(", "name"),
        ("/names?agg=avg", "agg"),
        ("/tags/%zz", "%zz"),
    ] {
        let text = fetch("GET", target, &key).refusal(400);
        assert!(text.contains(part), "{target}: {text}");
    }
    for target in ["/query?name=~.*&agg=raw", "/names", "/series"] {
        assert!(fetch("GET", target, &key).refusal(422).contains("10"), "{target}");
    }
    for target in ["/query?name=n1", "/series?name=n1", "/names?name=n1", "/tags/a"] {
        assert_eq!(fetch("GET", target, &key).status, 200, "{target}");
        fetch("GET", target, "").refusal(401);
        fetch("GET", target, &authorization("other")).refusal(401);
        let refused = fetch("PUT", target, &key);
        assert_eq!(refused.header("Allow"), Some("GET, HEAD, POST"));
        refused.refusal(405);
        fetch("POST", target, &key).refusal(415);
    }
    fetch("GET", "/tags", &key).refusal(404);
    queries_hold_together(&server);
    let stats = server.stats();
    assert_eq!(number_at(&stats, "/queries/ended_by/invalid"), 5);
    assert_eq!(number_at(&stats, "/responses/422"), number_at(&stats, "/queries/ended_by/over_bound"));
    assert_eq!(number_at(&stats, "/responses/401"), 8);

    let without = with_driver(driver).flag("--query-threads", 0).start();
    for target in ["/query?name=a", "/names", "/tags/a"] {
        without.request(&get(target)).refusal(404);
    }
}

on_both_drivers!(
    what_is_acknowledged_is_in_the_next_result,
    pipelined_with_batches,
    small_results_have_a_length_and_large_ones_are_chunked,
    head_of_a_query_has_no_body,
    each_path_and_form,
    wrong_ones_are_refused,
);

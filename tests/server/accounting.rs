//! received = stored + rejected + shed, whatever happens to a batch; and the client's own counts, and the log, say the
//! same.

use crate::{
    http::{Client, authorization, get, post, post_chunked, post_to},
    metric, on_both_drivers,
    process::{self, Resource},
    server::{Driver, Server, number_at, until},
    with_driver,
};
use std::{ops::AddAssign, thread};

/// Requests that one client sent, by the expected outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sent {
    stored: u64,
    stored_bytes: u64,
    metrics: u64,
    metrics_rejected: u64,
    malformed: u64,
    framing: u64,
    too_large: u64,
    unauthorized: u64,
    rate_limited: u64,
    timed_out: u64,
    abandoned: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.stored_bytes += other.stored_bytes;
        self.metrics += other.metrics;
        self.metrics_rejected += other.metrics_rejected;
        self.malformed += other.malformed;
        self.framing += other.framing;
        self.too_large += other.too_large;
        self.unauthorized += other.unauthorized;
        self.rate_limited += other.rate_limited;
        self.timed_out += other.timed_out;
        self.abandoned += other.abandoned;
    }
}

impl Sent {
    /// The same counts, as the server has them.
    fn seen_by(stats: &serde_json::Value) -> Self {
        let number = |pointer: &str| number_at(stats, pointer);
        let by = |reason: &str| number_at(stats, &format!("/batches/rejected_by/{reason}"));
        Self {
            stored: number("/batches/stored"),
            stored_bytes: number("/body_bytes/stored"),
            metrics: number("/metrics_stored"),
            metrics_rejected: number("/metrics_rejected"),
            malformed: by("malformed"),
            framing: by("framing"),
            too_large: by("too_large"),
            unauthorized: by("unauthorized"),
            rate_limited: by("rate_limited"),
            timed_out: by("timed_out"),
            abandoned: by("abandoned"),
        }
    }

    /// The batches that the server is to reject.
    fn rejected(&self) -> u64 {
        self.malformed
            + self.framing
            + self.too_large
            + self.unauthorized
            + self.rate_limited
            + self.timed_out
            + self.abandoned
    }
}

/// One of everything, some of it many times.
fn one_of_everything(server: &Server, thread: usize) -> Sent {
    let key = authorization("key");
    let mut sent = Sent::default();
    let mut client = server.connect();
    for round in 0..10 {
        let mark = format!("{thread}-{round}");
        let metrics = 1 + (thread + round) % 7;
        // Good, in every framing.
        let body = metric::marked_batch(&mark, metrics);
        let request = match round % 3 {
            0 => post_to("/metrics", &key, &body),
            1 => post_to("/metrics?ack=memory", &key, &body),
            _ => post_chunked(&key, &[body.as_bytes()]),
        };
        assert_eq!(client.request(&request).processed(), metrics);
        sent.stored += 1;
        sent.stored_bytes += body.len() as u64;
        sent.metrics += metrics as u64;
        // Malformed after good metrics: stored in no part.
        let torn = body.replace(r#"}}]}"#, r#"},"value":2}]}"#);
        client.request(&post_to("/metrics", &key, torn)).refusal(400);
        client.request(&post_to("/metrics?ack=never", &key, &body)).refusal(400);
        sent.malformed += 2;
        // The last one's `value` comes twice; the others were read before it.
        sent.metrics_rejected += metrics as u64;
        client.request(&post_to("/metrics", "Authorization: nobody\r\n", &body)).refusal(401);
        sent.unauthorized += 1;
        // None of these is a batch.
        client.request(&get("/nope")).refusal(404);
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    let end = |request: &[u8], status: u16| {
        let mut client = server.connect();
        client.request(request).refusal(status);
        drop(client);
    };
    end(&post_to("/metrics", &key, " ".repeat(64 * 1024 + 1)), 413);
    end(&post_chunked(&key, &[&[b' '; 40_000], &[b' '; 40_000]]), 413);
    sent.too_large += 2;
    end(&post_to("/metrics", &format!("{key}Content-Encoding: gzip\r\n"), "this is not gzip"), 400);
    end(format!("POST /metrics HTTP/1.1\r\nHost: h\r\n{key}Transfer-Encoding: chunked\r\n\r\nzz\r\n").as_bytes(), 400);
    end(&post_to("/metrics", &format!("{key}Content-Encoding: br\r\n"), "x"), 415);
    sent.framing += 3;
    let whole = post_to("/metrics", &key, metric::marked_batch("never", 5));
    let mut client = server.connect();
    client.send(&whole[..whole.len() - 1]).unwrap();
    client.response().refusal(408);
    sent.timed_out += 1;
    // Closed in the middle of the body, by a reset and by an end of file; `100 Continue` proves that the head was read.
    for reset in [true, false] {
        let mut client = server.connect();
        let head =
            format!("POST /metrics HTTP/1.1\r\nHost: h\r\n{key}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n");
        assert_eq!(client.request(head.as_bytes()).status, 100);
        client.send(br#"{"metrics":[{"name":"#).unwrap();
        if reset {
            process::reset_on_drop(&client.stream);
        }
        sent.abandoned += 1;
    }
    // No batch at all: the connection ends within a head.
    let mut client: Client = server.connect();
    client.send(b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-").unwrap();
    sent
}

/// A client of its own goes over its rate: 3,000 requests in few segments, whatever part of them is admitted.
fn over_its_rate(server: &Server) -> Sent {
    let mut sent = Sent::default();
    let mut client = server.connect();
    let flood_body = metric::marked_batch("flood", 1);
    let flood = post_to("/metrics?ack=memory", &authorization("hot"), &flood_body).repeat(100);
    for _ in 0..30 {
        client.send(&flood).unwrap();
        for _ in 0..100 {
            match client.response() {
                response if response.status == 429 => {
                    response.refusal(429);
                    sent.rate_limited += 1;
                }
                response => {
                    assert_eq!(response.processed(), 1);
                    sent.stored += 1;
                    sent.stored_bytes += flood_body.len() as u64;
                    sent.metrics += 1;
                }
            }
        }
    }
    sent
}

fn every_batch_is_accounted_for(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "key\nhot\n").unwrap();
    let mut server = with_driver(driver)
        .flag("--reactors", 3)
        .flag("--api-keys", keys.path().display())
        .flag("--max-body", "64KiB")
        .flag("--body-timeout", "500ms")
        .flag("--rate-limit", 1_000)
        .start();
    let mut sent = Sent::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let server = &server;
                scope.spawn(move || one_of_everything(server, thread))
            })
            .collect();
        for thread in threads {
            sent += thread.join().unwrap();
        }
    });
    sent += over_its_rate(&server);
    let stats = until("the server has seen every end", || {
        let stats = server.stats();
        let closed = number_at(&stats, "/connections/active") == 1;
        (closed && number_at(&stats, "/batches/pending") == 0).then_some(stats)
    });
    let number = |pointer: &str| number_at(&stats, pointer);
    assert_eq!(Sent::seen_by(&stats), sent, "{stats:#}");
    assert_eq!(number("/batches/shed"), 0);
    holds_together(&stats);
    refusals_are_counted(&stats, &sent);
    server.stop();
    assert_eq!(server.metrics().len() as u64, sent.metrics);
}

/// Checks that a server's counts of refusals and responses are those of `sent`.
fn refusals_are_counted(stats: &serde_json::Value, sent: &Sent) {
    let number = |pointer: &str| number_at(stats, pointer);
    for (reason, count) in [
        ("rate_limited", sent.rate_limited),
        ("unauthorized", sent.unauthorized),
        ("bad_request", sent.malformed / 2),
        ("content_invalid", sent.malformed / 2),
        ("content_corrupt", 6),
        ("chunk_size", 6),
        ("content_coding", 6),
        ("body_too_large", sent.too_large),
        ("body_timeout", sent.timed_out),
        ("not_found", 60),
    ] {
        assert_eq!(number(&format!("/refused_by/{reason}")), count, "{reason}");
    }
    assert_eq!(number("/batches/rejected"), sent.rejected());
    assert_eq!(number("/batches/received"), sent.stored + sent.rejected());
    assert_eq!(number("/responses/429"), sent.rate_limited);
    assert_eq!(number("/responses/413"), sent.too_large);
    assert_eq!(number("/responses/401"), sent.unauthorized);
    assert_eq!(number("/limiter/refused"), sent.rate_limited);
}

/// The sums of a server at rest: batches, metrics and bytes each end in exactly one place.
fn holds_together(stats: &serde_json::Value) {
    let number = |pointer: &str| number_at(stats, pointer);
    let sum = |pointer: &str| {
        let parts = stats.pointer(pointer).and_then(serde_json::Value::as_object).unwrap();
        parts.values().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(number("/batches/pending"), 0, "{stats:#}");
    assert_eq!(
        number("/batches/received"),
        number("/batches/stored") + number("/batches/rejected") + number("/batches/shed"),
        "{stats:#}"
    );
    assert_eq!(number("/batches/rejected"), sum("/batches/rejected_by"));
    assert_eq!(number("/batches/shed"), sum("/batches/shed_by"));
    assert_eq!(number("/metrics_pending"), 0);
    assert_eq!(number("/metrics_received"), number("/metrics_stored") + number("/metrics_rejected"));
    assert_eq!(number("/body_bytes/pending"), 0);
    assert_eq!(
        number("/body_bytes/received"),
        number("/body_bytes/stored") + number("/body_bytes/rejected") + number("/body_bytes/shed"),
    );
    assert_eq!(sum("/responses"), sum("/refused_by") + number("/responses/200"));
    // Each batch that was taken was measured.
    assert_eq!(number("/batch_metrics/count"), number("/batches/stored"));
    assert_eq!(number("/batch_body_bytes/count"), number("/batches/stored"));
}

/// Responses that one client of a server in trouble got.
#[derive(Debug, Default)]
struct Got {
    stored: u64,
    shed: u64,
    bytes: u64,
}

/// A client table of four, a ring of one batch's worst case and a file that grows no further: batches are shed for
/// each reason, and every one of them, every metric and every byte is accounted for.
fn what_is_shed_is_accounted_for(driver: Driver) {
    const UNLIMITED: u64 = u64::MAX;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), (1..1_000).map(|key| format!("c{key}\n")).collect::<String>()).unwrap();
    let mut server = with_driver(driver)
        .flag("--api-keys", keys.path().display())
        .flag("--rate-limit", 100_000)
        .flag("--max-clients", 4)
        .flag("--max-body", "4KiB")
        .flag("--ring-size", "64KiB")
        .limit(Resource::FileBytes, 256 * 1024, UNLIMITED)
        .start();
    let mut got = Got::default();
    let mut exchange = |client: &mut Client, requests: &[(String, String)]| {
        let bytes: Vec<u8> =
            requests.iter().flat_map(|(who, body)| post_to("/metrics?ack=memory", &authorization(who), body)).collect();
        client.send(&bytes).unwrap();
        for (_, body) in requests {
            got.bytes += body.len() as u64;
            match client.response() {
                response if response.status == 503 => {
                    response.refusal(503);
                    got.shed += 1;
                }
                response => {
                    response.processed();
                    got.stored += 1;
                }
            }
        }
    };
    let shed_by = |reason: &str| number_at(&server.stats(), &format!("/batches/shed_by/{reason}"));
    let mut client = server.connect();
    let mut next = 0;
    until("the table of clients is full", || {
        next = next % 999 + 1;
        exchange(&mut client, &[(format!("c{next}"), metric::marked_batch("few", 1))]);
        (shed_by("clients_full") > 0).then_some(())
    });
    let metric = r#"{"name":"n","value":1}"#;
    let full = format!(r#"{{"metrics":[{}]}}"#, vec![metric; 150].join(","));
    let burst = vec![("c1".to_owned(), full); 100];
    until("the ring is full", || {
        exchange(&mut client, &burst);
        (shed_by("ring_full") > 0).then_some(())
    });
    until("the disk is full", || {
        exchange(&mut client, &burst[..1]);
        (shed_by("log_unavailable") > 0).then_some(())
    });
    let ready = server.request(&get("/ready"));
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("unready")));
    assert!(ready.retry_after_s() >= 1);
    // RLIMIT_FSIZE is what fills this disk.
    assert_eq!(ready.json()["reasons"], serde_json::json!(["the log has reached the largest size of a file"]));
    process::change_limit(server.pid(), Resource::FileBytes, UNLIMITED);
    until("what was taken is in the file", || (server.stat("/queued_bytes") == 0).then_some(()));
    let stats = server.stats();
    holds_together(&stats);
    assert_eq!(number_at(&stats, "/batches/stored"), got.stored);
    assert_eq!(number_at(&stats, "/batches/shed"), got.shed);
    assert_eq!(number_at(&stats, "/responses/503"), got.shed + 1, "and /ready's");
    // Who finds no place among the clients is refused at the head: that body is not read.
    let unread = metric::marked_batch("few", 1).len() as u64 * number_at(&stats, "/batches/shed_by/clients_full");
    assert_eq!(number_at(&stats, "/body_bytes/received"), got.bytes - unread);
    let metrics = number_at(&stats, "/metrics_stored");
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len() as u64, metrics);
}

/// Batches whose client never reads the response are stored, and counted as stored.
fn a_client_that_does_not_wait(driver: Driver) {
    let mut server = with_driver(driver).flag("--reactors", 2).start();
    const CLIENTS: u64 = 20;
    for number in 0..CLIENTS {
        let mut client = server.connect();
        client.send(&post(metric::marked_batch(&number.to_string(), 3)).repeat(2)).unwrap();
    }
    let stats = until("all of them are received and none is pending", || {
        let stats = server.stats();
        let done = number_at(&stats, "/batches/received") == 2 * CLIENTS && number_at(&stats, "/batches/pending") == 0;
        done.then_some(stats)
    });
    assert_eq!(number_at(&stats, "/batches/stored"), 2 * CLIENTS);
    server.stop();
    assert_eq!(server.metrics().len() as u64, 2 * CLIENTS * 3);
}

/// Bodies of exactly `--max-body` whose one string is all that they can hold, six bytes a character in the body and in
/// the line, as fast as they go and beyond the rate in bytes.
fn maximal_strings_are_stored_whole_or_refused(driver: Driver) {
    const BODY_BYTES: usize = 1024 * 1024;
    const BODIES: u64 = 24;
    let flags = with_driver(driver).flag("--max-body", "1MiB").flag("--rate-limit-bytes", "4MiB");
    let mut server = flags.flag("--ring-size", "4MiB").start();
    let (head, tail) = (r#"{"metrics":[{"name":"a","value":1,"tags":{"k":""#, r#""}}]}"#);
    let characters = (BODY_BYTES - head.len() - tail.len()) / 6;
    let body = format!("{head}{}", r"\u0001".repeat(characters));
    let body = format!("{body}{}{tail}", "x".repeat(BODY_BYTES - body.len() - tail.len()));
    assert_eq!(body.len(), BODY_BYTES);
    let request = post(&body);
    let (mut stored, mut limited) = (0, 0);
    for _ in 0..BODIES {
        // A refusal at the head closes its connection.
        match server.connect().request(&request) {
            response if response.status == 429 => limited += 1,
            response => stored += response.processed() as u64,
        }
    }
    let stats = server.stats();
    assert_eq!(stored + limited, BODIES);
    assert_eq!(number_at(&stats, "/batches/stored"), stored);
    assert_eq!(number_at(&stats, "/batches/rejected"), limited);
    assert_eq!(number_at(&stats, "/body_bytes/stored"), stored * BODY_BYTES as u64);
    server.stop();
    let metrics = server.metrics();
    assert_eq!(metrics.len() as u64, stored);
    let value = format!("{}{}", "\u{1}".repeat(characters), "x".repeat((BODY_BYTES - head.len() - tail.len()) % 6));
    assert!(metrics.iter().all(|metric| metric.tags == [("k".to_owned(), value.clone())]));
}

on_both_drivers!(
    every_batch_is_accounted_for,
    what_is_shed_is_accounted_for,
    a_client_that_does_not_wait,
    maximal_strings_are_stored_whole_or_refused,
);

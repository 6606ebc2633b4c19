//! The live page: the document, its policy, where it is served, and the stream of figures that it reads.

use crate::{
    http::{Client, Response, authorization, get, post, request},
    on_both_drivers,
    process::Signal,
    server::{DEADLINE, Driver, Server, number_at, until},
    with_driver,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::{collections::VecDeque, io::Read, net::SocketAddr, time::Instant};

const HTML: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

/// The text between two markers, of which there is one each.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    assert_eq!((text.matches(start).count(), text.matches(end).count()), (1, 1), "{start} {end}");
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// The sources that a directive of the policy allows.
fn allowed<'a>(page: &'a Response, directive: &str) -> &'a str {
    let policy = page.header("Content-Security-Policy").unwrap();
    let mut directives = policy.split("; ").filter_map(|part| part.split_once(' '));
    directives.find(|(name, _)| *name == directive).unwrap_or_else(|| panic!("no {directive}: {policy}")).1
}

fn page_allows_its_own_script_and_style_alone(driver: Driver) {
    let server = with_driver(driver).start();
    let page = server.request(&request("GET", "/ui", ""));
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    for (start, end, directive) in [("<script>", "</script>", "script-src"), ("<style>", "</style>", "style-src")] {
        let hash = STANDARD.encode(digest(&SHA256, between(page.text(), start, end).as_bytes()));
        assert_eq!(allowed(&page, directive), format!("'sha256-{hash}'"));
    }
    assert_eq!(allowed(&page, "default-src"), "'none'");
    assert_eq!(allowed(&page, "connect-src"), "'self'");
    for (name, value) in
        [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-cache")]
    {
        assert_eq!(page.header(name), Some(value));
    }
}

fn page_is_compressed_and_known_by_its_tag(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let plain = client.request(&request("GET", "/ui", ""));
    let gzip = client.request(&request("GET", "/ui", "Accept-Encoding: br, gzip\r\n"));
    assert_eq!((plain.header("Content-Encoding"), gzip.header("Content-Encoding")), (None, Some("gzip")));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
    let [plain_tag, gzip_tag] = [&plain, &gzip].map(|page| page.header("ETag").unwrap());
    assert_ne!(plain_tag, gzip_tag, "two representations have two tags");
    for (lines, tag) in [("", plain_tag), ("Accept-Encoding: gzip\r\n", gzip_tag)] {
        let known = client.request(&request("GET", "/ui", &format!("{lines}If-None-Match: {tag}\r\n")));
        assert_eq!((known.status, known.header("ETag"), known.body.len()), (304, Some(tag), 0));
    }
    assert_eq!(client.request(&request("GET", "/ui", &format!("If-None-Match: {gzip_tag}\r\n"))).status, 200);
    client.send(&request("HEAD", "/ui", "")).unwrap();
    let head = client.response_without_body();
    assert_eq!(head.header("Content-Length"), Some(plain.body.len().to_string().as_str()));
    // Many at once, each as long as the first.
    client.send(&request("GET", "/ui", "").repeat(20)).unwrap();
    for _ in 0..20 {
        assert_eq!(client.response().body, plain.body);
    }
    client.request(&request("POST", "/ui", "Content-Length: 0\r\n")).refusal(405);
    let stats = client.request(&request("GET", "/stats", "")).json();
    assert_eq!((&stats["responses"]["304"], &stats["responses"]["200"]), (&2.into(), &24.into()), "{stats:#}");
}

fn a_browser_at_the_root_is_sent_to_the_page(driver: Driver) {
    let server = with_driver(driver).start();
    let sent = server.request(&request("GET", "/", HTML));
    assert_eq!((sent.status, sent.header("Location"), sent.header("Vary")), (303, Some("/ui"), Some("Accept")));
    for lines in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        let line = server.request(&request("GET", "/", lines));
        assert!(line.status == 200 && line.text().lines().count() == 1, "{lines}");
    }
    assert_eq!(server.stat("/responses/303"), 1);
}

fn page_can_be_turned_off(driver: Driver) {
    let server = with_driver(driver).flag("--ui", "off").start();
    server.request(&request("GET", "/ui", HTML)).refusal(404);
    server.request(&get("/ui/stream")).refusal(404);
    assert_eq!(server.request(&request("GET", "/", HTML)).status, 200, "the line of text");
}

fn page_is_served_where_statistics_are(driver: Driver) {
    let server = with_driver(driver).flag("--admin-listen", "127.0.0.1:0").start();
    let admin = server.wait_for_line("where statistics are", |line| {
        line.split_once("statistics are served on ")?.1.split(' ').next()?.parse().ok()
    });
    server.request(&request("GET", "/ui", "")).refusal(404);
    assert_eq!(server.request(&request("GET", "/", HTML)).status, 200);
    assert_eq!(Client::connect(admin).request(&request("GET", "/ui", "")).status, 200);
    assert_eq!(Client::connect(admin).request(&request("GET", "/", HTML)).status, 303);
}

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}"#;

/// A stream that is read.
pub struct Stream {
    client: Client,
    rest: Vec<u8>,
    lines: VecDeque<Value>,
}

impl Stream {
    /// Opens a stream by a request with these header lines.
    pub fn open(address: SocketAddr, lines: &str) -> Self {
        Self::open_by(Client::connect(address), lines)
    }

    /// Opens a stream on this connection.
    fn open_by(client: Client, lines: &str) -> Self {
        Self::try_open_by(client, lines).expect("a stream that is not refused")
    }

    /// Opens a stream on this connection, if its client has not too many.
    fn try_open_by(mut client: Client, lines: &str) -> Option<Self> {
        client.send(&request("GET", "/ui/stream", lines)).unwrap();
        let head = client.response_without_body();
        if head.status == 429 {
            return None;
        }
        assert_eq!((head.status, head.header("Content-Type")), (200, Some("application/x-ndjson")));
        assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
        Some(Self { client, rest: Vec::new(), lines: VecDeque::new() })
    }

    /// The next line; `None` at the end of the response.
    pub fn next(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let chunk = self.client.chunk().unwrap();
            if chunk.is_empty() {
                assert!(self.rest.is_empty(), "the last line is cut off");
                return None;
            }
            self.rest.extend_from_slice(&chunk);
            while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.lines.push_back(serde_json::from_slice(&line).unwrap());
            }
        }
        self.lines.pop_front()
    }

    /// The next line of this type in which `find` finds something.
    pub fn find<T>(&mut self, kind: &str, mut find: impl FnMut(&Value) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "waited in vain for a line of the type {kind}");
            let line = self.next().expect("the stream goes on");
            if line["type"] == kind
                && let Some(found) = find(&line)
            {
                return found;
            }
        }
    }

    /// The points of a second up to now, and those that come, until there are enough by `is_enough`.
    fn seconds(&mut self, mut is_enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + DEADLINE;
        let mut points = Vec::new();
        while !is_enough(&points) {
            assert!(Instant::now() < end, "waited in vain for points: {points:#?}");
            let line = self.next().expect("the stream goes on");
            match line["type"].as_str() {
                Some("history") if line["step_s"] == 1 => points.extend(line["points"].as_array().unwrap().clone()),
                Some("point") if line["step_s"] == 1 => points.push(line["point"].clone()),
                _ => {}
            }
        }
        points
    }
}

/// The sum of a number over points.
fn sum(points: &[Value], pointer: &str) -> u64 {
    points.iter().map(|point| point.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)).sum()
}

fn stream_begins_with_the_server_and_its_history(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    assert_eq!(server.request(&post(BATCH)).processed(), 2);
    let mut early = Stream::open(server.address, "");
    let hello = early.next().unwrap();
    assert_eq!((&hello["type"], &hello["version"]), (&"hello".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!((&hello["driver"], &hello["reactors"]), (&driver.name().into(), &2.into()));
    assert!(hello["now_ms"].as_u64() > Some(1_700_000_000_000) && hello["start_id"].is_string());
    let [minutes, seconds] = [early.next().unwrap(), early.next().unwrap()];
    assert_eq!((&minutes["type"], &minutes["step_s"]), (&"history".into(), &60.into()));
    assert_eq!((&seconds["type"], &seconds["step_s"]), (&"history".into(), &1.into()));
    let before = early.seconds(|points| sum(points, "/metrics_stored") == 2);
    // Who opens the page now is shown what was before.
    let mut late = Stream::open(server.address, "");
    assert_eq!(late.next().unwrap()["start_id"], hello["start_id"]);
    let history = late.seconds(|points| points.len() >= before.len());
    assert!(history.ends_with(&before) || history.starts_with(&before), "{before:#?} {history:#?}");
}

/// Both are made of one registry, so the sum of all points is what `/stats` says.
fn points_add_up_to_the_statistics(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 40).start();
    let mut stream = Stream::open(server.address, "");
    for number in 0..30 {
        let mut client = server.connect();
        client.request(&post(BATCH));
        client.request(&post(if number % 3 == 0 { "{}" } else { BATCH }));
        client.request(&get("/nowhere")).refusal(404);
    }
    // What asks for the sums is the last response that is counted before them.
    let points = stream.seconds(|points| sum(points, "/responses/404") == 30);
    let stats = server.stats();
    for (pointer, expected) in [
        ("/metrics_received", "/metrics_received"),
        ("/metrics_stored", "/metrics_stored"),
        ("/metrics_rejected", "/metrics_rejected"),
        ("/body_bytes", "/body_bytes/received"),
        ("/line_bytes", "/line_bytes"),
        ("/responses/200", "/responses/200"),
        ("/responses/400", "/responses/400"),
        ("/responses/429", "/responses/429"),
        ("/refused_by/not_found", "/refused_by/not_found"),
        ("/refused_by/rate_limited", "/refused_by/rate_limited"),
        ("/rejected_by/malformed", "/batches/rejected_by/malformed"),
        ("/latency_us/count", "/latency_us/count"),
        ("/stages_us/decide/count", "/stages_us/decide/count"),
        ("/writer/written_bytes", "/log/written_bytes"),
        ("/writer/writevs", "/log/writevs"),
        ("/accepted", "/connections/accepted"),
    ] {
        // The request for `/stats` is in the statistics, and not yet in a point.
        let own = u64::from(matches!(pointer, "/accepted"));
        assert_eq!(sum(&points, pointer), number_at(&stats, expected) - own, "{pointer}: {points:#?}");
    }
    assert!(sum(&points, "/responses/429") > 0, "nothing was refused: {points:#?}");
    for point in &points {
        assert_eq!(point["reactors"].as_array().unwrap().len(), 2);
        assert!(point["resident_bytes"].as_u64() > Some(1 << 20), "{point:#}");
        assert_eq!(point["log"]["health"], "healthy");
        assert!(point["latency_us"].is_null() || point["latency_us"]["p99"].as_f64() > Some(0.0), "{point:#}");
    }
}

fn streams_need_a_key_where_there_are_keys(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    assert_eq!(server.request(&get("/ui")).status, 200, "the page has no figure in it");
    server.request(&get("/ui/stream")).refusal(401);
    server.request(&request("GET", "/ui/stream", &authorization("Bearer beta"))).refusal(401);
    let mut stream = Stream::open(server.address, &authorization("Bearer alpha"));
    assert_eq!(stream.next().unwrap()["type"], "hello");
}

fn streams_have_a_bound(driver: Driver) {
    let server = with_driver(driver).start();
    let mut streams: Vec<Stream> = (0..32).map(|_| Stream::open(server.address, "")).collect();
    server.request(&get("/ui/stream")).refusal(429);
    // Names that no key proves share what their address has: three quarters. One in 4,096 is counted as the client that
    // has its share already, and refused.
    let name = |number: usize| authorization(&format!("name {number}"));
    let of_name = |number| Stream::try_open_by(Client::connect(server.address), &name(number));
    streams.extend((0..32).filter_map(of_name).take(16));
    server.request(&request("GET", "/ui/stream", &name(32))).refusal(429);
    let from_another = || Client::try_connect_from([127, 0, 0, 2].into(), server.address).unwrap();
    streams.extend((0..16).map(|_| Stream::open_by(from_another(), "")));
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap()["type"], "hello");
    }
    from_another().request(&get("/ui/stream")).refusal(503);
    assert_eq!(server.stat("/live_page/streams"), 64);
    assert!(server.stat("/live_page/streams_refused") >= 3);
    // Batches are served as before.
    assert_eq!(server.request(&post(BATCH)).processed(), 2);
    streams.pop();
    until("a client that leaves makes space for another", || {
        let mut client = from_another();
        client.send(&get("/ui/stream")).unwrap();
        (client.response_without_body().status == 200).then_some(())
    });
}

fn a_stop_ends_streams_with_their_last_chunk(driver: Driver) {
    let mut server = with_driver(driver).flag("--reactors", 2).start();
    let mut streams: Vec<Stream> = (0..4).map(|_| Stream::open(server.address, "")).collect();
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap()["type"], "hello");
    }
    server.signal(Signal::Terminate);
    for stream in &mut streams {
        while stream.next().is_some() {}
        stream.client.expect_end();
    }
    assert_eq!(server.wait().code(), Some(0));
}

fn a_stream_behind_batches_waits_for_their_responses(driver: Driver) {
    let server: Server = with_driver(driver).start();
    let mut client = server.connect();
    client.send(&[post(BATCH), post(BATCH), get("/ui/stream")].concat()).unwrap();
    assert_eq!((client.response().processed(), client.response().processed()), (2, 2));
    assert_eq!(client.response_without_body().status, 200);
    assert!(!client.chunk().unwrap().is_empty());
    assert_eq!(server.stat("/latency_us/count"), 2, "their time is measured when they are sent");
    let mut head = server.connect();
    head.send(&request("HEAD", "/ui/stream", "")).unwrap();
    assert_eq!(head.response_without_body().status, 200);
    assert_eq!(head.request(&get("/health")).status, 200, "the connection goes on");
    head.request(&request("POST", "/ui/stream", "Content-Length: 0\r\n")).refusal(405);
}

on_both_drivers!(
    stream_begins_with_the_server_and_its_history,
    points_add_up_to_the_statistics,
    streams_need_a_key_where_there_are_keys,
    streams_have_a_bound,
    a_stop_ends_streams_with_their_last_chunk,
    a_stream_behind_batches_waits_for_their_responses,
    page_allows_its_own_script_and_style_alone,
    page_is_compressed_and_known_by_its_tag,
    a_browser_at_the_root_is_sent_to_the_page,
    page_can_be_turned_off,
    page_is_served_where_statistics_are,
);

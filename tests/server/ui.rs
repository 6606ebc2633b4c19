//! The live page: the document, its policy, and where it is served.

use crate::{
    http::{Answer, Client, request},
    on_both_drivers,
    server::{Driver, Setup},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use std::io::Read;

const HTML: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

/// The text between two markers, of which there is one each.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    assert_eq!((text.matches(start).count(), text.matches(end).count()), (1, 1), "{start} {end}");
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// The sources that a directive of the policy allows.
fn allowed<'a>(page: &'a Answer, directive: &str) -> &'a str {
    let policy = page.header("Content-Security-Policy").unwrap();
    let mut directives = policy.split("; ").filter_map(|part| part.split_once(' '));
    directives.find(|(name, _)| *name == directive).unwrap_or_else(|| panic!("no {directive}: {policy}")).1
}

fn page_allows_its_own_script_and_style_alone(driver: Driver) {
    let server = Setup::new(driver).start();
    let page = server.ask(&request("GET", "/ui", ""));
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
    let server = Setup::new(driver).start();
    let mut client = server.connect();
    let plain = client.ask(&request("GET", "/ui", ""));
    let gzip = client.ask(&request("GET", "/ui", "Accept-Encoding: br, gzip\r\n"));
    assert_eq!((plain.header("Content-Encoding"), gzip.header("Content-Encoding")), (None, Some("gzip")));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
    let [plain_tag, gzip_tag] = [&plain, &gzip].map(|page| page.header("ETag").unwrap());
    assert_ne!(plain_tag, gzip_tag, "two representations have two tags");
    for (lines, tag) in [("", plain_tag), ("Accept-Encoding: gzip\r\n", gzip_tag)] {
        let known = client.ask(&request("GET", "/ui", &format!("{lines}If-None-Match: {tag}\r\n")));
        assert_eq!((known.status, known.header("ETag"), known.body.len()), (304, Some(tag), 0));
    }
    assert_eq!(client.ask(&request("GET", "/ui", &format!("If-None-Match: {gzip_tag}\r\n"))).status, 200);
    client.send(&request("HEAD", "/ui", "")).unwrap();
    let head = client.answer_without_body();
    assert_eq!(head.header("Content-Length"), Some(plain.body.len().to_string().as_str()));
    // Many at once, each as long as the first.
    client.send(&request("GET", "/ui", "").repeat(20)).unwrap();
    for _ in 0..20 {
        assert_eq!(client.answer().body, plain.body);
    }
    client.ask(&request("POST", "/ui", "Content-Length: 0\r\n")).refusal(405);
    let stats = client.ask(&request("GET", "/stats", "")).json();
    assert_eq!((&stats["answers"]["304"], &stats["answers"]["200"]), (&2.into(), &24.into()), "{stats:#}");
}

fn a_browser_at_the_root_is_sent_to_the_page(driver: Driver) {
    let server = Setup::new(driver).start();
    let sent = server.ask(&request("GET", "/", HTML));
    assert_eq!((sent.status, sent.header("Location"), sent.header("Vary")), (303, Some("/ui"), Some("Accept")));
    for lines in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        let line = server.ask(&request("GET", "/", lines));
        assert!(line.status == 200 && line.text().lines().count() == 1, "{lines}");
    }
    assert_eq!(server.stat("/answers/303"), 1);
}

fn page_can_be_turned_off(driver: Driver) {
    let server = Setup::new(driver).flag("--ui", "off").start();
    server.ask(&request("GET", "/ui", HTML)).refusal(404);
    assert_eq!(server.ask(&request("GET", "/", HTML)).status, 200, "the line of text");
}

fn page_is_served_where_statistics_are(driver: Driver) {
    let server = Setup::new(driver).flag("--admin-listen", "127.0.0.1:0").start();
    let admin = server.wait_for_line("where statistics are", |line| {
        line.split_once("statistics are served on ")?.1.split(' ').next()?.parse().ok()
    });
    server.ask(&request("GET", "/ui", "")).refusal(404);
    assert_eq!(server.ask(&request("GET", "/", HTML)).status, 200);
    assert_eq!(Client::connect(admin).ask(&request("GET", "/ui", "")).status, 200);
    assert_eq!(Client::connect(admin).ask(&request("GET", "/", HTML)).status, 303);
}

on_both_drivers!(
    page_allows_its_own_script_and_style_alone,
    page_is_compressed_and_known_by_its_tag,
    a_browser_at_the_root_is_sent_to_the_page,
    page_can_be_turned_off,
    page_is_served_where_statistics_are,
);

//! Web pages: which of them may read responses, and the response to a browser's preflight.

use crate::{
    http::{get, post_to, request},
    on_both_drivers,
    server::Driver,
    with_driver,
};

use std::iter::repeat;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;
const ALLOWED: &str = "Access-Control-Allow-Origin";

fn preflight(path: &str, origin: &str) -> Vec<u8> {
    let lines = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
    request("OPTIONS", path, &lines)
}

fn preflight_requests_are_served(driver: Driver) {
    let server = with_driver(driver).flag("--cors-origin", "https://a.example,http://localhost:3000").start();
    let mut client = server.connect();
    for path in ["/metrics", "/metrics?ack=fsync", "/query", "/health", "/stats"] {
        for origin in ["https://a.example", "http://localhost:3000"] {
            let response = client.request(&preflight(path, origin));
            assert_eq!((response.status, response.text()), (204, ""), "{path}");
            assert_eq!(response.header(ALLOWED), Some(origin), "{path}");
            assert_eq!(response.header("Access-Control-Allow-Methods"), Some("GET, HEAD, POST"));
            let fields = response.header("Access-Control-Allow-Headers").unwrap();
            assert!(fields.contains("Authorization") && fields.contains("Content-Encoding"), "{fields}");
            assert_eq!(response.header("Content-Length"), None, "a 204 has none (RFC 9110, 8.6)");
        }
    }
    let response = client.request(&preflight("/metrics", "https://evil.example"));
    assert_eq!((response.status, response.header(ALLOWED), response.header("Vary")), (204, None, Some("Origin")));
    assert_eq!(client.request(&preflight("/nothing", "https://a.example")).status, 404);
    assert_eq!(server.stat("/responses/204"), 11);
}

fn every_response_names_an_allowed_origin(driver: Driver) {
    let server = with_driver(driver).flag("--cors-origin", "https://a.example").flag("--rate-limit", 2).start();
    let mut client = server.connect();
    let origin = "Origin: https://a.example\r\n";
    let mut seen = Vec::new();
    for request in
        [post_to("/metrics?ack=disk", origin, BATCH)].into_iter().chain(repeat(post_to("/metrics", origin, BATCH)))
    {
        let response = client.request(&request);
        assert_eq!(response.header(ALLOWED), Some("https://a.example"), "{response:?}");
        assert_eq!(response.header("Vary"), Some("Origin"));
        let exposed = "Retry-After, X-MetricsStream-Next, X-MetricsStream-Oldest, X-MetricsStream-Position";
        assert_eq!(response.header("Access-Control-Expose-Headers"), Some(exposed));
        seen.push(response.status);
        if response.status == 429 {
            break;
        }
    }
    assert!(seen[0] == 400 && seen.contains(&200), "{seen:?}");
    let deferred = client.request(&request("GET", "/stats", origin));
    assert_eq!((deferred.status, deferred.header(ALLOWED)), (200, Some("https://a.example")));
    let other = client.request(&request("GET", "/stats", "Origin: https://b.example\r\n"));
    assert_eq!((other.status, other.header(ALLOWED), other.header("Vary")), (200, None, Some("Origin")));
}

fn any_page_may_read_where_all_are_allowed(driver: Driver) {
    let server = with_driver(driver).flag("--cors-origin", "*").start();
    let mut client = server.connect();
    for request in [get("/health"), preflight("/metrics", "https://a.example")] {
        assert_eq!(client.request(&request).header(ALLOWED), Some("*"));
    }
}

fn without_the_option_nothing_is_shared(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    assert_eq!(client.request(&preflight("/metrics", "https://a.example")).status, 405);
    let response = client.request(&post_to("/metrics", "Origin: https://a.example\r\n", BATCH));
    assert_eq!((response.status, response.header(ALLOWED), response.header("Vary")), (200, None, None));
}

on_both_drivers! {
    preflight_requests_are_served,
    every_response_names_an_allowed_origin,
    any_page_may_read_where_all_are_allowed,
    without_the_option_nothing_is_shared,
}

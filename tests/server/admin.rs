//! `--admin-listen`: statistics have a place of their own, which a crowd at the public one cannot fill.

use crate::{
    http::{Client, get, post},
    on_both_drivers,
    server::{Driver, Server, Setup, until},
    with_driver,
};
use std::net::SocketAddr;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// A server with a place for statistics, and where that is.
fn with_admin(setup: Setup) -> (Server, SocketAddr) {
    let server = setup.flag("--admin-listen", "127.0.0.1:0").start();
    let address = server.wait_for_line("where statistics are", |line| {
        line.split_once("statistics are served on ")?.1.split(' ').next()?.parse().ok()
    });
    (server, address)
}

fn statistics_are_served_there_alone(driver: Driver) {
    let (server, admin) = with_admin(with_driver(driver).flag("--reactors", 2));
    for path in ["/metrics", "/stats", "/stats/clients", "/stats/clients?top=3"] {
        server.request(&get(path)).refusal(404);
        assert_eq!(Client::connect(admin).request(&get(path)).status, 200, "{path}");
    }
    for path in ["/health", "/ready"] {
        for address in [server.address, admin] {
            assert_eq!(Client::connect(address).request(&get(path)).status, 200, "{path}");
        }
    }
    // Batches and queries stay public.
    assert_eq!(server.request(&post(BATCH)).processed(), 1);
    assert_eq!(server.request(&get("/query?name=a&agg=count")).status, 200);
    Client::connect(admin).request(&post(BATCH)).refusal(404);
    Client::connect(admin).request(&get("/query?name=a&agg=count")).refusal(404);
    Client::connect(admin).request(&get("/names")).refusal(404);
    let wrong = b"POST /stats HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    Client::connect(admin).request(wrong).refusal(405);
    server.request(wrong).refusal(404);
    server.request(b"PUT /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").refusal(405);
    let stats = Client::connect(admin).request(&get("/stats")).json();
    assert_eq!(stats["batches"]["received"], 1);
}

/// The public bound is reached, and over it as many are refused as can be at one time.
fn a_crowd_does_not_keep_the_monitoring_out(driver: Driver) {
    let (server, admin) = with_admin(with_driver(driver).flag("--max-connections", 8));
    let mut crowd: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut crowd {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    // These do not read their 503, so they stay for a while, and those behind them wait in the kernel's queue.
    let _refused: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let refused = |admin| Client::connect(admin).request(&get("/stats")).json()["connections"]["refused"].as_u64();
    until("the crowd is refused", || (refused(admin) >= Some(64)).then_some(()));
    for _ in 0..20 {
        for path in ["/health", "/ready", "/stats", "/metrics"] {
            assert_eq!(Client::connect(admin).request(&get(path)).status, 200, "{path}");
        }
    }
}

/// Statistics have a bound of their own, which costs the public nothing.
fn connections_of_statistics_are_bounded(driver: Driver) {
    let (server, admin) = with_admin(with_driver(driver).flag("--max-connections", 4));
    let mut scrapers: Vec<Client> = (0..16).map(|_| Client::connect(admin)).collect();
    for scraper in &mut scrapers {
        assert_eq!(scraper.request(&get("/stats")).status, 200);
    }
    Client::connect(admin).request(&get("/stats")).refusal(503);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.request(&post(BATCH)).processed(), 1);
    }
    // A scraper that leaves makes space for the next.
    drop(scrapers.pop());
    until("a scraper is served", || (Client::connect(admin).request(&get("/stats")).status == 200).then_some(()));
}

on_both_drivers!(
    statistics_are_served_there_alone,
    a_crowd_does_not_keep_the_monitoring_out,
    connections_of_statistics_are_bounded,
);

#[test]
fn statistics_may_be_at_a_unix_socket() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("admin.sock");
    let place = format!("unix:{}", path.display());
    let mut server = with_driver(Driver::Epoll).flag("--admin-listen", &place).start();
    assert_eq!(Client::connect_unix(&path).request(&get("/metrics")).status, 200);
    server.request(&get("/metrics")).refusal(404);
    server.stop();
    assert!(!path.exists());
}

//! The clients and the host on the live page, and the marks on its charts: the last refusals, the doctor's
//! report, `POST /ui/marks`. Each is the same as in its machine-readable form.

use crate::{
    BINARY,
    http::{Client, Response, authorization, get, post, post_to, request},
    on_both_drivers,
    process::Signal,
    server::{Driver, Server, program},
    ui::Stream,
    with_driver,
};
use serde_json::Value;
use std::collections::BTreeMap;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// Counts by reason in a list of refusals.
fn by_reason(refusals: &Value) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for refusal in refusals.as_array().unwrap() {
        *counts.entry(refusal["reason"].as_str().unwrap().to_owned()).or_default() +=
            refusal["count"].as_u64().unwrap();
    }
    counts
}

/// The counts of `refused_by` that are not zero.
fn counted(stats: &Value) -> BTreeMap<String, u64> {
    let counts = stats["refused_by"].as_object().unwrap().iter();
    counts.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap())).filter(|&(_, count)| count > 0).collect()
}

/// The name of a client in `/stats/clients`.
fn name_of(server: &Server, lines: &str) -> Value {
    server.request(&request("GET", "/stats/clients", lines)).json()["asked_by"].clone()
}

fn last_refusals_are_all_that_are_counted(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 20).flag("--max-body", 4096).start();
    let alpha = authorization("Bearer alpha");
    let mut stream = Stream::open(server.address, "");
    for _ in 0..30 {
        server.request(&post_to("/metrics", &alpha, BATCH));
    }
    let mut client = server.connect();
    client.request(&get("/nowhere")).refusal(404);
    client.request(&post_to("/metrics", &authorization("Bearer beta"), "{}")).refusal(400);
    client.request(&request("DELETE", "/stats", "")).refusal(405);
    client.request(&post_to("/metrics?akc=write", "", BATCH)).refusal(400);
    server.request(&post("x".repeat(5_000))).refusal(413);
    server.request(&get("/query?name=a&agg=nothing")).refusal(400);
    let stats = server.stats();
    let listed = &stats["refused_last"];
    assert_eq!(by_reason(listed), counted(&stats), "{listed:#}");
    assert!(counted(&stats).len() >= 6, "{listed:#}");
    // Clients have the names of /stats/clients, and batches the reasons that they are counted by.
    let of = |reason: &str| listed.as_array().unwrap().iter().find(|one| one["reason"] == reason).unwrap();
    let limited = of("rate_limited");
    assert_eq!((&limited["client"], &limited["status"]), (&name_of(&server, &alpha), &429.into()));
    assert_eq!((&limited["protocol"], &limited["batch"]), (&"json".into(), &"rate_limited".into()));
    let malformed = of("content_invalid");
    assert_eq!(malformed["client"], name_of(&server, &authorization("Bearer beta")));
    assert_eq!(malformed["batch"], "malformed");
    let lost = of("not_found");
    assert_eq!((&lost["client"], &lost["batch"]), (&name_of(&server, ""), &Value::Null));
    assert_eq!(of("body_too_large")["batch"], "too_large");
    assert!(listed.as_array().unwrap().is_sorted_by_key(|one| std::cmp::Reverse(one["t_ms"].as_u64())));
    // The page is sent the same, with the clients of /stats/clients.
    let who = stream.find("who", |line| (&line["refusals"] == listed).then(|| line["clients"].clone()));
    let clients = server.request(&get("/stats/clients")).json();
    for field in ["limited", "allowed", "refused", "events_dropped"] {
        assert_eq!(who[field], clients[field], "{field}");
    }
    assert_eq!(who["most_refused"][0]["client"], limited["client"]);
}

fn a_refusal_names_no_key(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha-key\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    server.request(&post_to("/metrics", &authorization("Bearer wrong-key"), BATCH)).refusal(401);
    server.request(&post_to("/metrics", &authorization("Bearer alpha-key"), "{}")).refusal(400);
    let response = server.request(&get("/stats"));
    let listed = response.json()["refused_last"].clone();
    assert_eq!(by_reason(&listed), BTreeMap::from([("content_invalid".into(), 1), ("unauthorized".into(), 1)]));
    assert!(!response.text().contains("-key"), "{listed:#}");
    assert_ne!(listed[0]["client"], listed[1]["client"], "a key, and an address without one");
}

fn doctor_of_the_page_is_that_of_the_command(driver: Driver) {
    let server = with_driver(driver).start();
    let page = server.request(&get("/ui/doctor")).json();
    let output = program(BINARY)
        .args(["doctor", "--json", "--listen", "127.0.0.1:0", "--reactors", "1", "--rate-limit", "0"])
        .args(["--driver", driver.name(), "--data-dir"])
        .arg(&server.directory)
        .output()
        .unwrap();
    let command: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&page["version"], &page["configuration"]), (&command["version"], &command["configuration"]));
    let checks = |report: &Value| -> BTreeMap<String, Value> {
        let checks = report["checks"].as_array().unwrap().iter();
        checks.map(|check| (check["id"].as_str().unwrap().to_owned(), check.clone())).collect()
    };
    let (page, command) = (checks(&page), checks(&command));
    let topics = |checks: &BTreeMap<String, Value>| -> Vec<(String, Value)> {
        checks.iter().map(|(id, check)| (id.clone(), check["topic"].clone())).collect()
    };
    assert_eq!(topics(&page), topics(&command), "one catalogue");
    // What is of the host and does not change from one second to the next.
    for id in ["filesystem", "mount_options", "cpuset", "numa", "somaxconn", "log_files", "directory_sync"] {
        assert_eq!(page[id], command[id], "{id}");
    }
    // Only the server itself holds its directory.
    let [own, other] = [&page, &command].map(|checks| &checks["data_dir"]);
    assert_eq!(own["severity"], "ok", "{own:#}");
    assert!(own["finding"].as_str().unwrap().contains("this server runs on it"), "{own:#}");
    assert!(other["finding"].as_str().unwrap().contains("a server already runs"), "{other:#}");
}

fn doctor_needs_a_key_where_there_are_keys(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let mut server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    server.request(&get("/ui/doctor")).refusal(401);
    server.request(&request("POST", "/ui/doctor", "Content-Length: 0\r\n")).refusal(405);
    let mut client = server.connect();
    client.send(&request("HEAD", "/ui/doctor", &authorization("Bearer alpha"))).unwrap();
    assert_eq!(client.response_without_body().status, 200);
    let report = client.request(&request("GET", "/ui/doctor", &authorization("Bearer alpha"))).json();
    assert!(report["checks"].as_array().unwrap().len() > 20);
    // A stop does not wait for a report that is being made.
    client.send(&request("GET", "/ui/doctor", &authorization("Bearer alpha"))).unwrap();
    server.signal(Signal::Terminate);
    assert!(matches!(client.response().status, 200 | 503));
    assert_eq!(server.wait().code(), Some(0));
}

fn mark(query: &str, lines: &str) -> Vec<u8> {
    request("POST", &format!("/ui/marks{query}"), &format!("{lines}Content-Length: 0\r\n"))
}

/// The marks of the next line that has them.
fn marks(stream: &mut Stream) -> Vec<Value> {
    stream.find("marks", |line| line["marks"].as_array().cloned())
}

fn marks_are_on_open_pages_and_on_late_ones(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    let mut early = Stream::open(server.address, "");
    let begun = server.request(&mark("?name=run%20A", "")).json();
    assert_eq!((&begun["name"], &begun["to_ms"], &begun["end"]), (&"run A".into(), &Value::Null, &"none".into()));
    assert_eq!(marks(&mut early)[0], begun);
    let number = &begun["mark"];
    let ended = server.request(&mark(&format!("?end={number}"), "")).json();
    assert!(ended["to_ms"].as_u64() >= begun["from_ms"].as_u64() && ended["end"] == "posted", "{ended}");
    assert_eq!(marks(&mut early)[0], ended);
    assert_eq!(marks(&mut Stream::open(server.address, "")), [ended]);
    server.request(&mark(&format!("?end={number}"), "")).refusal(404);
}

fn marks_are_checked_and_bounded(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client: Client = server.connect();
    let long = format!("?name={}", "x".repeat(65));
    for query in ["", "?name=", "?name=%00", "?name=%C3%A4", "?end=x", "?name=a&end=1", "?nmae=a", &long] {
        client.request(&mark(query, "")).refusal(400);
    }
    client.request(&mark("?end=1", "")).refusal(404);
    client.request(&get("/ui/marks")).refusal(405);
    for _ in 0..100 {
        assert_eq!(client.request(&mark("?name=again", "")).status, 200);
    }
    assert_eq!(marks(&mut Stream::open(server.address, "")).len(), 32);
    with_driver(driver).flag("--ui", "off").start().request(&mark("?name=a", "")).refusal(404);
}

fn a_mark_needs_a_key_or_a_client_on_this_host(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    let fetch = |lines: &str| -> Response { server.request(&mark("?name=a", lines)) };
    assert_eq!(fetch("").status, 200);
    for lines in ["X-Forwarded-For: 192.0.2.1\r\n", "Origin: http://elsewhere.example\r\n"] {
        fetch(lines).refusal(403);
        assert_eq!(fetch(&format!("{lines}{}", authorization("Bearer alpha"))).status, 200);
    }
}

on_both_drivers!(
    last_refusals_are_all_that_are_counted,
    a_refusal_names_no_key,
    doctor_of_the_page_is_that_of_the_command,
    doctor_needs_a_key_where_there_are_keys,
    marks_are_on_open_pages_and_on_late_ones,
    marks_are_checked_and_bounded,
    a_mark_needs_a_key_or_a_client_on_this_host,
);

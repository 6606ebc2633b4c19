//! `POST /debug/profile`: what it shows, who may have one, and that there is one at a time.
//!
//! Where the kernel does not permit to sample (perf_event_paranoid over 2, a seccomp filter), the response says so, and
//! what is in a profile is not tested.

use crate::{
    http::{Client, Response, authorization, get, post, request},
    on_both_drivers,
    process::Signal,
    server::{Driver, Server, until},
    with_driver,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn profile(parameters: &str, lines: &str) -> Vec<u8> {
    request("POST", &format!("/debug/profile{parameters}"), &format!("{lines}Content-Length: 0\r\n"))
}

/// The response, which is chunked; `None` where the kernel does not permit it.
fn permitted(response: Response) -> Option<Response> {
    if response.status == 503 {
        let text = response.refusal(503);
        assert!(text.starts_with("no thread can be sampled"), "{text}");
        eprintln!("skipped: {text}");
        return None;
    }
    assert_eq!(response.status, 200, "{}", response.text());
    Some(response)
}

/// A number of the field that says what is in a profile.
fn number(response: &Response, name: &str) -> u64 {
    let field = response.header("X-MetricsStream-Profile").unwrap();
    let value = field.split("; ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}: {field}")).parse().unwrap()
}

/// Has the server serve batches while `work` is done.
fn under_load<T>(server: &Server, work: impl FnOnce() -> T) -> T {
    let body = log::batch();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.connect();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.request(&post(&body)).status, 200);
                }
            });
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

mod log {
    /// A batch of 100 metrics.
    pub fn batch() -> String {
        let metric = r#"{"name":"cpu_usage","value":75.5,"tags":{"host":"web1","zone":"a"}}"#;
        format!(r#"{{"metrics":[{}]}}"#, [metric; 100].join(","))
    }
}

fn folded_stacks_name_the_work_of_a_reactor(driver: Driver) {
    let server = with_driver(driver).start();
    let request = profile("?seconds=2&hz=997&thread=reactor", "Accept: text/plain\r\n");
    let response = under_load(&server, || server.request(&request));
    let Some(response) = permitted(response) else { return };
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    let text = response.text();
    let mut sum = 0;
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        assert!(stack.starts_with("reactor-0;"), "another thread: {line}");
        sum += count.parse::<u64>().unwrap();
    }
    assert_eq!(sum, number(&response, "samples"));
    assert!(text.contains("metricstream::shard::run"), "no reactor in\n{text}");
    let to_the_parser = text.lines().any(|line| {
        let places = ["http1::", "metricstream::service", "metric::parser"].map(|part| line.find(part));
        places.iter().all(Option::is_some) && places.is_sorted()
    });
    assert!(to_the_parser, "no stack from the connection to the parser in\n{text}");
    let unknown = text.lines().filter(|line| line.contains("[unknown]"));
    let unknown: u64 = unknown.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert!(unknown * 10 <= sum, "{unknown} of {sum} have frames that are not known:\n{text}");
    // The stacks of an unoptimised build are deeper than what is copied of them at first, and then they are not: of
    // 1,632 samples 52 are cut off. Of the few samples that a busy machine leaves, it may be any part.
    const FEW: u64 = 500;
    let truncated = number(&response, "truncated");
    assert!(truncated * 2 <= sum || sum < FEW, "{truncated} of {sum} are cut off:\n{text}");
}

fn formats_of_a_profile_are_negotiated(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let Some(svg) = permitted(client.request(&profile("?seconds=1&hz=99", ""))) else { return };
    assert_eq!(svg.header("Content-Type"), Some("image/svg+xml"));
    assert!(svg.text().trim_end().ends_with("</svg>"));
    let pprof = client.request(&profile("?seconds=1&hz=99", "Accept: application/octet-stream\r\n"));
    assert_eq!(pprof.header("Content-Type"), Some("application/vnd.google.protobuf"));
    assert_eq!(pprof.body[..2], [0x1f, 0x8b], "gzip");
    assert_eq!(client.request(&get("/health")).status, 200, "the connection goes on");
    let text = client.request(&profile("?seconds=1&thread=nobody", "")).refusal(503);
    assert!(text.contains("no thread has this name"), "{text}");
}

fn one_profile_is_made_at_a_time(driver: Driver) {
    let server = with_driver(driver).start();
    let mut first = server.connect();
    first.send(&profile("?seconds=60", "Accept: text/plain\r\n")).unwrap();
    until("the first is under way, or not permitted", || {
        let response = server.request(&profile("?seconds=1", ""));
        (response.status == 409 || permitted(response).is_none()).then_some(())
    });
    // A client that leaves ends its profile, and another may have one.
    drop(first);
    until("there is none under way", || (server.request(&profile("?seconds=1&hz=1", "")).status != 409).then_some(()));
}

fn a_stop_sends_what_was_sampled_so_far(driver: Driver) {
    // Names are looked up after the stop, which takes its time in a build for tests.
    let mut server = with_driver(driver).flag("--drain-timeout", "60s").start();
    let mut client = server.connect();
    client.send(&profile("?seconds=60", "Accept: text/plain\r\n")).unwrap();
    until("it is under way, or not permitted", || {
        let response = server.request(&profile("?seconds=1", ""));
        (response.status == 409 || permitted(response).is_none()).then_some(())
    });
    server.signal(Signal::Terminate);
    permitted(client.response());
    assert_eq!(server.wait().code(), Some(0));
}

fn no_profile_begins_once_the_server_stops(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let request = profile("?seconds=1", "");
    let (first, rest) = request.split_at(request.len() - 10);
    client.send(first).unwrap();
    // On the same reactor: at the response to this, what was sent before it has arrived there.
    let mut idle = server.connect();
    assert_eq!(idle.request(&get("/health")).status, 200);
    server.signal(Signal::Terminate);
    // The stop has begun when it closes what is idle.
    idle.expect_end();
    client.send(rest).unwrap();
    let text = client.response().refusal(503);
    assert!(text.contains("the server is stopping"), "{text}");
    assert_eq!(server.wait().code(), Some(0));
}

fn a_profile_needs_a_key_or_a_client_on_this_host(driver: Driver) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    let ask = |lines: &str| server.request(&profile("?seconds=1&hz=1", lines));
    permitted(ask(""));
    for lines in [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "Forwarded: for=192.0.2.1\r\n",
        "Origin: http://elsewhere.example\r\n",
        "Origin: null\r\n",
    ] {
        ask(lines).refusal(403);
        ask(&format!("{lines}{}", authorization("Bearer beta"))).refusal(403);
    }
    permitted(ask(&format!("Origin: null\r\n{}", authorization("Bearer alpha"))));
    permitted(ask("Origin: http://metrics.test\r\n"));
    assert_eq!(server.stat("/refused_by/forbidden"), 8);
}

fn states_of_a_thread_add_up_to_the_time(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client = server.connect();
    let response = client.request(&profile("?mode=states&seconds=1&thread=reactor", "Accept: text/plain\r\n"));
    let Some(response) = permitted_states(response) else { return };
    let mut sum = 0;
    for line in response.text().lines() {
        let (stack, ms) = line.rsplit_once(' ').unwrap();
        let state = stack.strip_prefix("reactor-0;").unwrap_or_else(|| panic!("another thread: {line}"));
        assert!(["on a CPU", "waits for a CPU", "off CPU;"].iter().any(|known| state.starts_with(known)), "{line}");
        sum += ms.parse::<u64>().unwrap();
    }
    // Each state is rounded.
    assert!(sum >= 950, "{}", response.text());
    assert!(number(&response, "samples") > 0);
    let svg = client.request(&profile("?mode=states&seconds=1", ""));
    assert!(svg.status == 200 && svg.text().contains("states of threads"));
}

/// The response, where the kernel has the states of threads in /proc.
fn permitted_states(response: Response) -> Option<Response> {
    if response.status != 503 {
        return Some(response);
    }
    let text = response.refusal(503);
    assert!(text.contains("schedstat"), "{text}");
    eprintln!("skipped: {text}");
    None
}

fn parameters_of_a_profile_are_checked(driver: Driver) {
    let server = with_driver(driver).start();
    let mut client: Client = server.connect();
    for parameters in [
        "?seconds=0",
        "?seconds=61",
        "?hz=0",
        "?hz=2000",
        "?hz=x",
        "?seconds=-1",
        "?thread=",
        "?second=1",
        "?seconds",
        "?mode=x",
    ] {
        client.request(&profile(parameters, "")).refusal(400);
    }
    client.request(&get("/debug/profile")).refusal(405);
    with_driver(driver).flag("--ui", "off").start().request(&profile("", "")).refusal(404);
}

on_both_drivers!(
    folded_stacks_name_the_work_of_a_reactor,
    formats_of_a_profile_are_negotiated,
    one_profile_is_made_at_a_time,
    a_stop_sends_what_was_sampled_so_far,
    no_profile_begins_once_the_server_stops,
    a_profile_needs_a_key_or_a_client_on_this_host,
    states_of_a_thread_add_up_to_the_time,
    parameters_of_a_profile_are_checked,
);

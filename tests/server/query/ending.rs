//! Queries that do not end as they should: nobody reads the result, there is no thread, no time, or no server any more.

use super::{
    SLOW, WIDE, busy, count_of, get_with, number, points, queries_hold_together, store_much, store_slow, wait_for_end,
};
use crate::{
    http::{Client, authorization, get},
    on_both_drivers,
    process::{self, Signal},
    server::{Driver, Server, until},
    with_driver,
};

/// A client whose response has begun, and which reads no more of it.
pub(super) fn stuck(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(&get(WIDE)).unwrap();
    assert_eq!(client.response_without_body().status, 200);
    client
}

fn a_client_that_leaves_stops_its_query(driver: Driver) {
    let server = with_driver(driver).flag("--query-threads", 1).flag("--query-timeout", "10m").start();
    store_much(&server);
    store_slow(&server, "");
    // In the middle of the response, by a reset and by an end.
    for (round, reset) in [true, false].into_iter().enumerate() {
        let client = stuck(&server);
        if reset {
            process::reset_on_drop(&client.stream);
        }
        drop(client);
        wait_for_end(&server, "cancelled", round as u64 + 1);
    }
    // While it waits for a thread.
    let holds = busy(&server, "");
    let mut waits = server.connect();
    waits.send(&count_of("wide&from=0")).unwrap();
    until("the second waits", || (server.stat("/queries/waiting") == 1).then_some(()));
    drop(waits);
    until("its connection is closed", || (server.stat("/connections/active") == 2).then_some(()));
    drop(holds);
    wait_for_end(&server, "cancelled", 4);
    queries_hold_together(&server);
    assert_eq!(server.stat("/queries/ended_by/answered"), 0);
    // Nothing stays behind.
    assert_eq!(number(&server.request(&count_of("wide&from=0"))), 20_000);
}

/// A client that has only ended its side of the connection gets the whole result.
fn a_client_that_ends_its_side_still_reads(driver: Driver) {
    let server = with_driver(driver).start();
    store_much(&server);
    let mut client = server.connect();
    client.send(&get(WIDE)).unwrap();
    // Its response has begun, so the rest of it may take as long as it does.
    assert_eq!(client.response_without_body().status, 200);
    client.finish();
    let rest = client.rest();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "{} bytes came", rest.len());
    // Nothing of this one has been sent when the client ends its side: it has a second for that on a busy machine too.
    let (response, mut client) = until("a response within that time", || {
        let mut client = server.connect();
        client.send(&count_of("none")).unwrap();
        client.finish();
        client.try_response().ok().map(|response| (response, client))
    });
    assert_eq!(number(&response), 0);
    client.expect_end();
    wait_for_end(&server, "answered", 2);
}

fn a_client_that_does_not_read_is_cut_off(driver: Driver) {
    let server = with_driver(driver).flag("--query-threads", 1).flag("--write-timeout", "2s").start();
    store_much(&server);
    let mut client = stuck(&server);
    until("the query has ended", || {
        let ended = |outcome| server.stat(&format!("/queries/ended_by/{outcome}"));
        (ended("cancelled") + ended("cut_off") == 1).then_some(())
    });
    let rest = client.rest();
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "what was cut off looks whole");
    queries_hold_together(&server);
}

/// One query runs; the queue fills up behind it, half of it by one client; and all of it is served when there is a
/// thread again.
fn too_many_queries_are_refused_for_now(driver: Driver) {
    const SHARE: usize = 32;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "one\ntwo\nthree\n").unwrap();
    let server = with_driver(driver)
        .flag("--api-keys", keys.path().display())
        .flag("--query-threads", 1)
        .flag("--query-timeout", "10m")
        .flag("--reactors", 2)
        .start();
    let [one, two, three] = ["one", "two", "three"].map(|key| authorization(&format!("Bearer {key}")));
    store_slow(&server, &one);
    let fetch = |fields: &str| server.request(&get_with("/query?name=none&agg=count", fields));
    let holds = busy(&server, &three);
    let mut waiting = Vec::new();
    for fields in [&one, &two] {
        for _ in 0..SHARE {
            let mut client = server.connect();
            client.send(&get_with("/query?name=none&agg=count", fields)).unwrap();
            waiting.push(client);
        }
        until("they wait", || (server.stat("/queries/waiting") == waiting.len() as u64).then_some(()));
        let refused = fetch(fields);
        assert!(refused.header("Retry-After").is_some());
        // Once all places are taken, it does not matter by whom.
        assert!(refused.status == 429 && refused.text().contains("share"), "{refused:?}");
    }
    for _ in 0..3 {
        assert!(fetch(&three).refusal(503).contains("queries"));
    }
    // What is not a query goes on.
    assert_eq!(server.request(&get("/health")).status, 200);
    drop(holds);
    for client in &mut waiting {
        assert_eq!(number(&client.response()), 0);
    }
    queries_hold_together(&server);
    assert_eq!((server.stat("/queries/ended_by/full"), server.stat("/queries/ended_by/over_share")), (3, 2));
    assert_eq!(server.stat("/queries/ended_by/answered"), 2 * SHARE as u64);
    assert_eq!((server.stat("/responses/503"), server.stat("/responses/429")), (3, 2));
}

/// An expression that would take minutes ends when its time is over, and its thread is free.
fn an_expression_does_not_outlive_the_timeout(driver: Driver) {
    let server = with_driver(driver).flag("--query-threads", 1).flag("--query-timeout", "1s").start();
    store_slow(&server, "");
    assert!(server.request(&get(SLOW)).refusal(503).contains("timed out"));
    // On a busy machine its reactor may say so first, and its thread then finds nobody who waits for it.
    let ended = |outcome| server.stat(&format!("/queries/ended_by/{outcome}"));
    until("it has ended", || (ended("timed_out") + ended("cancelled") == 1).then_some(()));
    queries_hold_together(&server);
    let counted = until("another is in time", || {
        let response = server.request(&count_of("slow"));
        (response.status != 503).then_some(response)
    });
    assert_eq!(number(&counted), 60);
}

/// SIGTERM: the response under way is finished; new queries are refused with `Retry-After`.
fn a_stop_finishes_responses_under_way(driver: Driver) {
    let mut server = with_driver(driver).flag("--query-threads", 1).start();
    store_much(&server);
    let mut client = stuck(&server);
    let mut late = server.connect();
    // In the middle of a head, so that it is not closed as idle.
    late.send(b"GET /names HTTP/1.1\r\nHos").unwrap();
    until("both are there", || (server.stat("/connections/active") == 3).then_some(()));
    server.signal(Signal::Terminate);
    server.wait_for_line("the stop", |line| line.contains("shutting down").then_some(()));
    late.send(b"t: h\r\n\r\n").unwrap();
    assert!(late.response().refusal(503).contains("stopping"));
    assert!(client.chunked_body().is_ok());
    assert_eq!(server.wait().code(), Some(0));
}

/// Neither a client that does not read nor a long query keeps the server from stopping.
fn a_stop_does_not_wait_for_ever(driver: Driver) {
    let mut server = with_driver(driver).flag("--query-threads", 1).flag("--drain-timeout", "300ms").start();
    store_much(&server);
    store_slow(&server, "");
    let mut client = stuck(&server);
    let mut runs = busy(&server, "");
    let mut waits = server.connect();
    waits.send(&count_of("wide")).unwrap();
    until("it waits", || (server.stat("/queries/waiting") == 1).then_some(()));
    server.stop();
    assert!(!client.rest().ends_with(b"\r\n0\r\n\r\n"), "what was cut off looks whole");
    runs.expect_end();
    waits.expect_end();
    assert!(server.said().iter().any(|line| line.contains("connections closed")));
}

/// The response to a query does not block those behind it: it is read in one go, and they follow.
fn responses_come_in_order_behind_a_large_one(driver: Driver) {
    let server = with_driver(driver).start();
    store_much(&server);
    let mut client = server.connect();
    client.send(&[get("/health"), get(WIDE), count_of("wide&from=0"), get("/health")].concat()).unwrap();
    assert_eq!(client.response().json()["status"], "live");
    assert_eq!(points(&client.response()).len(), 20_000);
    assert_eq!(number(&client.response()), 20_000);
    assert_eq!(client.response().json()["status"], "live");
}

on_both_drivers!(
    a_client_that_leaves_stops_its_query,
    a_client_that_ends_its_side_still_reads,
    a_client_that_does_not_read_is_cut_off,
    too_many_queries_are_refused_for_now,
    an_expression_does_not_outlive_the_timeout,
    a_stop_finishes_responses_under_way,
    a_stop_does_not_wait_for_ever,
    responses_come_in_order_behind_a_large_one,
);

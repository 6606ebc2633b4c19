//! Queries that do not end as they should: nobody takes the answer, there is no thread, no time, or no server any more.

use super::{WIDE, count_of, number, points, queries_hold_together, store_much, wait_for_end};
use crate::{
    http::{Client, get},
    on_both_drivers,
    process::{self, Signal},
    server::{Driver, Server, Setup, until},
};

/// A client whose answer has begun, and of which it reads no more.
fn stuck(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(&get(WIDE)).unwrap();
    assert_eq!(client.answer_without_body().status, 200);
    client
}

fn a_client_that_leaves_stops_its_query(driver: Driver) {
    let server = Setup::new(driver).flag("--query-threads", 1).start();
    store_much(&server);
    // In the middle of the answer, by a reset and by an end.
    for (round, reset) in [true, false].into_iter().enumerate() {
        let client = stuck(&server);
        if reset {
            process::reset_on_drop(&client.stream);
        }
        drop(client);
        wait_for_end(&server, "cancelled", round as u64 + 1);
    }
    // While it waits for a thread.
    let holds = stuck(&server);
    let mut waits = server.connect();
    waits.send(&count_of("wide&from=0")).unwrap();
    until("the second waits", || (server.stat("/queries/waiting") == 1).then_some(()));
    drop(waits);
    until("its connection is given up", || (server.stat("/connections/active") == 2).then_some(()));
    drop(holds);
    wait_for_end(&server, "cancelled", 4);
    queries_hold_together(&server);
    assert_eq!(server.stat("/queries/ended_by/answered"), 0);
    // Nothing stays behind.
    assert_eq!(number(&server.ask(&count_of("wide&from=0"))), 20_000);
}

/// Who has only nothing more to ask gets the answer, whole.
fn a_client_that_ends_its_side_still_reads(driver: Driver) {
    let server = Setup::new(driver).start();
    store_much(&server);
    let mut client = server.connect();
    client.send(&get(WIDE)).unwrap();
    // Its answer has begun, so what is left of it may take as long as it does.
    assert_eq!(client.answer_without_body().status, 200);
    client.finish();
    let rest = client.rest();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "{} bytes came", rest.len());
    let mut client = server.connect();
    client.send(&count_of("none")).unwrap();
    client.finish();
    assert_eq!(number(&client.answer()), 0);
    client.expect_end();
    wait_for_end(&server, "answered", 2);
}

fn a_client_that_does_not_read_is_cut_off(driver: Driver) {
    let server = Setup::new(driver).flag("--query-threads", 1).flag("--write-timeout", "2s").start();
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

/// One query runs, as its answer is not read; the queue fills up behind it; and all of it is answered when it is read.
fn too_many_are_told_to_come_again(driver: Driver) {
    const WAITING_MAX: usize = 64;
    let server = Setup::new(driver).flag("--query-threads", 1).flag("--reactors", 2).start();
    store_much(&server);
    let mut holds = stuck(&server);
    let mut waiting: Vec<Client> = (0..WAITING_MAX)
        .map(|_| {
            let mut client = server.connect();
            client.send(&count_of("wide&from=0")).unwrap();
            client
        })
        .collect();
    until("the queue is full", || (server.stat("/queries/waiting") == WAITING_MAX as u64).then_some(()));
    for _ in 0..3 {
        assert!(server.ask(&count_of("wide")).refusal(503).contains("queries"));
    }
    // What is not a query goes on.
    assert_eq!(server.ask(&get("/health")).status, 200);
    assert!(holds.chunked_body().is_ok());
    for client in &mut waiting {
        assert_eq!(number(&client.answer()), 20_000);
    }
    queries_hold_together(&server);
    assert_eq!(server.stat("/queries/ended_by/full"), 3);
    assert_eq!(server.stat("/queries/ended_by/answered"), WAITING_MAX as u64 + 1);
    assert_eq!(server.stat("/answers/503"), 3);
}

/// What waits too long is told so, though no thread has looked at it yet.
fn a_query_without_a_thread_is_told_in_time(driver: Driver) {
    let server = Setup::new(driver).flag("--query-threads", 1).flag("--query-timeout", "5s").start();
    store_much(&server);
    let holds = stuck(&server);
    let mut waits = server.connect();
    assert!(waits.ask(&count_of("wide")).refusal(503).contains("in time"));
    assert_eq!(waits.ask(&get("/health")).status, 200);
    drop(holds);
    wait_for_end(&server, "timed_out", 1);
    queries_hold_together(&server);
}

/// SIGTERM: the answer under way is finished; who asks now is told to come again.
fn a_stop_finishes_what_is_being_answered(driver: Driver) {
    let mut server = Setup::new(driver).flag("--query-threads", 1).start();
    store_much(&server);
    let mut client = stuck(&server);
    let mut late = server.connect();
    // In the middle of a head, so that it is not closed as idle.
    late.send(b"GET /names HTTP/1.1\r\nHos").unwrap();
    until("both are there", || (server.stat("/connections/active") == 3).then_some(()));
    server.signal(Signal::Terminate);
    server.wait_for_line("the stop", |line| line.contains("stopping").then_some(()));
    late.send(b"t: h\r\n\r\n").unwrap();
    assert!(late.answer().refusal(503).contains("stopping"));
    assert!(client.chunked_body().is_ok());
    assert_eq!(server.wait().code(), Some(0));
}

/// A client that does not read does not keep the server from stopping.
fn a_stop_does_not_wait_for_ever(driver: Driver) {
    let mut server = Setup::new(driver).flag("--query-threads", 1).flag("--drain-timeout", "300ms").start();
    store_much(&server);
    let mut client = stuck(&server);
    let mut waits = server.connect();
    waits.send(&count_of("wide")).unwrap();
    until("it waits", || (server.stat("/queries/waiting") == 1).then_some(()));
    server.stop();
    assert!(!client.rest().ends_with(b"\r\n0\r\n\r\n"), "what was cut off looks whole");
    waits.expect_end();
    assert!(server.said().iter().any(|line| line.contains("connections were cut off")));
}

/// The answer to a query is not in the way of those behind it: it is read in one go, and they are answered.
fn answers_come_in_order_behind_a_large_one(driver: Driver) {
    let server = Setup::new(driver).start();
    store_much(&server);
    let mut client = server.connect();
    client.send(&[get("/health"), get(WIDE), count_of("wide&from=0"), get("/health")].concat()).unwrap();
    assert_eq!(client.answer().json()["status"], "live");
    assert_eq!(points(&client.answer()).len(), 20_000);
    assert_eq!(number(&client.answer()), 20_000);
    assert_eq!(client.answer().json()["status"], "live");
}

on_both_drivers!(
    a_client_that_leaves_stops_its_query,
    a_client_that_ends_its_side_still_reads,
    a_client_that_does_not_read_is_cut_off,
    too_many_are_told_to_come_again,
    a_query_without_a_thread_is_told_in_time,
    a_stop_finishes_what_is_being_answered,
    a_stop_does_not_wait_for_ever,
    answers_come_in_order_behind_a_large_one,
);

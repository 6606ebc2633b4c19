//! Clients that do not read: they hold no thread, and no more than their share of memory.

use super::{count_of, ending::stuck, number, points, queries_hold_together, store_much};
use crate::{
    http::Client,
    http::get,
    on_both_drivers,
    server::{Driver, until},
    with_driver,
};

fn slow_readers_delay_nobody(driver: Driver) {
    const READERS: usize = 5;
    let server = with_driver(driver).flag("--query-threads", 1).start();
    store_much(&server);
    let mut slow: Vec<Client> = (0..READERS).map(|_| stuck(&server)).collect();
    until("none has a thread", || (server.stat("/queries/unread") == READERS as u64).then_some(()));
    for _ in 0..3 {
        assert_eq!(number(&server.request(&count_of("wide&from=0"))), 20_000);
    }
    assert_eq!(server.stat("/queries/running"), READERS as u64);
    // Each gets all of its response once it reads, whoever else does not.
    let mut last = slow.pop().unwrap();
    assert!(last.chunked_body().is_ok());
    drop(slow);
    until("they are gone", || (server.stat("/queries/unread") == 0).then_some(()));
    queries_hold_together(&server);
}

/// Twice the memory that one client's responses may hold is requested, and those over it are refused before they begin.
fn responses_that_are_not_read_are_bounded_in_memory(driver: Driver) {
    let server = with_driver(driver).flag("--query-threads", 1).flag("--query-max-memory", "100MiB").start();
    store_much(&server);
    let slow = stuck(&server);
    let refused = server.request(&get(super::WIDE));
    assert!(refused.refusal(429).contains("share"));
    assert_eq!(refused.header("Retry-After"), Some("1"));
    // Small ones are not kept.
    assert_eq!(number(&server.request(&count_of("wide&from=0"))), 20_000);
    drop(slow);
    until("it is gone", || (server.stat("/queries/unread") == 0).then_some(()));
    assert_eq!(points(&server.request(&get(super::WIDE))).len(), 20_000);
    queries_hold_together(&server);
    assert_eq!(server.stat("/queries/ended_by/over_share"), 1);
}

on_both_drivers!(slow_readers_delay_nobody, responses_that_are_not_read_are_bounded_in_memory);

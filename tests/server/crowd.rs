//! One address that uses up everything: connections, memory, responses. Others get in, `/health` responds to whoever
//! requests it, no batch that was acknowledged is lost, and what is held is counted.

use crate::{
    http::{Client, Response, get, post, post_to},
    metric, on_both_drivers,
    server::{Driver, Server, number_at, until},
    with_driver,
};
use std::{
    io::Write,
    iter,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// A connection from 127.0.0.`host`.
fn from(server: &Server, host: u8) -> Client {
    Client::try_connect_from(IpAddr::from([127, 0, 0, host]), server.address).unwrap()
}

/// So many connections from there that each have a place. (One over the bound is served `/health`, too, but no batch.)
fn placed(server: &Server, host: u8, count: usize) -> Vec<Client> {
    let place = || {
        until("there is a place", || {
            let mut client = from(server, host);
            (client.request(&post(BATCH)).status == 200).then_some(client)
        })
    };
    iter::repeat_with(place).take(count).collect()
}

/// A request from there on a connection of its own; `None` when that was ended without a response.
fn try_request(server: &Server, host: u8, request: &[u8]) -> Option<Response> {
    let mut client = Client::try_connect_from(IpAddr::from([127, 0, 0, host]), server.address).ok()?;
    client.try_request(request).ok()
}

/// Every connection is half a head of one address: the server is live, others get in at once, and that address itself
/// too once its heads have proven slow.
fn half_heads_do_not_shut_others_out(driver: Driver) {
    let server = with_driver(driver).flag("--max-connections", 20).start();
    let mut slow: Vec<Client> = (0..20).map(|_| from(&server, 1)).collect();
    for client in &mut slow {
        client.send(b"POST /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    }
    for _ in 0..3 {
        for host in [1, 2] {
            for path in ["/health", "/ready"] {
                assert_eq!(from(&server, host).request(&get(path)).status, 200, "{path} from {host}");
            }
        }
    }
    assert_eq!(from(&server, 2).request(&post(BATCH)).processed(), 1, "another address displaces one");
    until("the address that fills the table gets in", || {
        try_request(&server, 1, &post(BATCH)).filter(|response| response.status == 200)
    });
    // An evicted client reads the reason.
    let refused =
        slow.iter_mut().filter(|client| client.stream.set_read_timeout(Some(Duration::from_millis(50))).is_ok());
    let refused = refused.filter_map(|client| client.try_response().ok().map(|response| response.refusal(503))).count();
    assert!(refused >= 1);
    drop(slow);
    until("those evicted are counted", || {
        let stats = from(&server, 2).request(&get("/stats")).json();
        (number_at(&stats, "/connections/closed_by/evicted") >= 1).then_some(())
    });
}

/// The connections of a trusted proxy carry the requests of many clients: their number is held against none of them.
fn a_trusted_proxy_is_no_crowd(driver: Driver) {
    let server = with_driver(driver).flag("--max-connections", 6).flag("--trusted-proxies", "127.0.0.1").start();
    let mut proxied = placed(&server, 1, 6);
    from(&server, 2).request(&post(BATCH)).refusal(503);
    for client in &mut proxied {
        assert_eq!(client.request(&post(BATCH)).processed(), 1, "none of them was evicted");
    }
}

/// Connections are shared: a newcomer displaces an idle connection of who has more, until both have as many.
fn connections_are_shared_by_address(driver: Driver) {
    let server = with_driver(driver).flag("--max-connections", 20).start();
    let mut first = placed(&server, 1, 20);
    from(&server, 1).request(&post(BATCH)).refusal(503);
    let mut second: Vec<Client> = (0..10).map(|_| from(&server, 2)).collect();
    for client in &mut second {
        assert_eq!(client.request(&post(BATCH)).processed(), 1);
    }
    from(&server, 2).request(&post(BATCH)).refusal(503);
    for client in &mut second {
        assert_eq!(client.request(&post(BATCH)).processed(), 1, "none of them was evicted");
    }
    let left = first.iter_mut().filter_map(|client| client.try_request(&post(BATCH)).ok());
    assert_eq!(left.map(|response| response.processed()).collect::<Vec<_>>(), [1; 10]);
    // By one of them, as a newcomer may displace another.
    let stats = second[0].request(&get("/stats")).json();
    assert_eq!(number_at(&stats, "/connections/closed_by/evicted"), 10);
    drop((first, second));
    until("all are gone", || {
        let response = try_request(&server, 3, &get("/stats")).filter(|response| response.status == 200)?;
        (number_at(&response.json(), "/connections/active") == 1).then_some(())
    });
}

/// Evictions lose no batch that was acknowledged, and none is stored twice or in part.
fn no_batch_is_lost_to_an_eviction(driver: Driver) {
    let mut server = with_driver(driver).flag("--max-connections", 6).start();
    let over = AtomicBool::new(false);
    let (acknowledged, sent) = thread::scope(|scope| {
        let busy: Vec<_> = (0..12)
            .map(|number| {
                let (server, over) = (&server, &over);
                scope.spawn(move || {
                    let (mut acknowledged, mut sent) = (Vec::new(), 0);
                    let mut client = None;
                    while !over.load(Ordering::Relaxed) {
                        let mark = format!("{number}-{sent}");
                        let connected = client
                            .take()
                            .or_else(|| Client::try_connect_from(IpAddr::from([127, 0, 0, 1]), server.address).ok());
                        let Some(mut connected) = connected else { continue };
                        sent += 1;
                        match connected.try_request(&post(metric::marked_batch(&mark, 3))) {
                            Ok(response) if response.status == 200 => {
                                acknowledged.push(mark);
                                client = Some(connected);
                            }
                            Ok(response) => drop(response.refusal(503)),
                            Err(_) => {}
                        }
                    }
                    (acknowledged, sent)
                })
            })
            .collect();
        for host in (2..8).cycle().take(300) {
            let _ = try_request(&server, host, &post(BATCH));
        }
        over.store(true, Ordering::Relaxed);
        let ended = busy.into_iter().map(|thread| thread.join().unwrap());
        ended.fold((Vec::new(), 0), |(mut all, sent), (acknowledged, more)| {
            all.extend(acknowledged);
            (all, sent + more)
        })
    });
    let stats = until("the server is at rest", || {
        let stats = try_request(&server, 9, &get("/stats")).filter(|response| response.status == 200)?.json();
        (number_at(&stats, "/batches/pending") == 0).then_some(stats)
    });
    assert!(number_at(&stats, "/connections/closed_by/evicted") > 0, "{stats:#}");
    assert_eq!(
        number_at(&stats, "/batches/received"),
        number_at(&stats, "/batches/stored")
            + number_at(&stats, "/batches/rejected")
            + number_at(&stats, "/batches/shed")
    );
    server.stop();
    let metrics: Vec<_> = server.metrics().into_iter().filter(|metric| metric.name != "a").collect();
    let stored = metric::marked_batches(&metrics);
    assert!(acknowledged.len() <= sent && stored.len() <= sent);
    for mark in &acknowledged {
        assert!(stored.contains_key(mark), "{mark} was acknowledged");
    }
}

/// Bodies of one address, stopped one byte short, fill the memory: another address's batch is stored
/// at once, and that address's own once those have proven slow.
fn slow_bodies_do_not_shut_others_out(driver: Driver) {
    const BODY_BYTES: usize = 4 << 20;
    let server = with_driver(driver).start();
    let head = format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    let spaces = vec![b' '; BODY_BYTES - 1];
    let mut slow: Vec<Client> = (0..66).map(|_| from(&server, 1)).collect();
    for client in &mut slow {
        client.send(head.as_bytes()).unwrap();
        let _ = client.send(&spaces);
    }
    let large = post(metric::marked_batch("large", 1_000));
    assert!(large.len() > 2 * 16 * 1024, "more than a receive buffer");
    let shed = until("the memory is used up", || {
        let stats = from(&server, 2).request(&get("/stats")).json();
        let limit = number_at(&stats, "/reactors/0/held_bytes_limit");
        assert!(number_at(&stats, "/reactors/0/held_bytes") <= limit, "{stats:#}");
        Some(number_at(&stats, "/batches/shed_by/bodies_full")).filter(|&shed| shed > 0)
    });
    assert_eq!(from(&server, 2).request(&large).processed(), 1_000);
    until("its own batches are taken", || try_request(&server, 1, &large).filter(|response| response.status == 200));
    assert!(shed < 66, "not all of them were evicted");
    assert_eq!(from(&server, 1).request(&get("/health")).status, 200);
}

/// Two thousand half heads of nearly 16 KB: what they hold is counted by capacity, by owner, and no more than they
/// sent, rounded up.
fn half_heads_are_counted(driver: Driver) {
    const HEADS: u64 = 2_000;
    const HEAD_BYTES: usize = 15_900;
    let server = with_driver(driver).start();
    let head = format!("POST /metrics HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(HEAD_BYTES - 41));
    assert_eq!(head.len(), HEAD_BYTES);
    let mut clients: Vec<Client> = (0..HEADS).map(|_| from(&server, 1)).collect();
    for client in &mut clients {
        let (first, rest) = head.as_bytes().split_at(9_000);
        client.send(first).unwrap();
        client.send(rest).unwrap();
    }
    let held = |stats: &serde_json::Value| number_at(stats, "/reactors/0/held_bytes");
    let stats = until("all have come", || {
        let stats = server.stats();
        (held(&stats) >= HEADS * HEAD_BYTES as u64).then_some(stats)
    });
    assert!(held(&stats) <= HEADS * 17 * 1024, "{stats:#}");
    assert!(number_at(&stats, "/memory_bytes/bodies") >= HEADS * HEAD_BYTES as u64);
    drop(clients);
    until("all of it is free again", || (held(&server.stats()) < 64 * 1024).then_some(()));
}

/// Clients that send and do not read: what waits for them is held in the inbox, in their responses and in the driver,
/// and all of it is counted within the bound. Others are served meanwhile.
fn what_waits_behind_unread_responses_is_counted(driver: Driver) {
    let server = with_driver(driver).flag("--ack", "memory").start();
    let requests = get("/nowhere").repeat(2_000);
    let clients: Vec<Client> = (0..24).map(|_| from(&server, 1)).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in &clients {
            let (mut stream, requests, over) = (client.stream.try_clone().unwrap(), &requests, &over);
            stream.set_nonblocking(true).unwrap();
            scope.spawn(move || {
                let mut at = 0;
                while !over.load(Ordering::Relaxed) {
                    match stream.write(&requests[at..]) {
                        Ok(bytes) => at = (at + bytes) % requests.len(),
                        Err(_) => thread::yield_now(),
                    }
                }
            });
        }
        let stats = until("responses wait, and requests behind them", || {
            let stats = from(&server, 2).request(&get("/stats")).json();
            let by = |owner: &str| number_at(&stats, &format!("/memory_bytes/{owner}"));
            let behind = if driver == Driver::IoUring { by("kept") } else { by("bodies") };
            (by("answers") > 24 * 512 && behind > 64 * 1024).then_some(stats)
        });
        over.store(true, Ordering::Relaxed);
        let held = number_at(&stats, "/reactors/0/held_bytes");
        let by = |owner: &str| number_at(&stats, &format!("/memory_bytes/{owner}"));
        assert!(held >= by("answers") + by("kept") && held <= by("answers") + by("kept") + by("bodies"), "{stats:#}");
        assert!(held <= number_at(&stats, "/reactors/0/held_bytes_limit"));
        assert_eq!(from(&server, 2).request(&post(BATCH)).processed(), 1);
    });
    drop(clients);
    until("all of it is free again", || (server.stat("/reactors/0/held_bytes") < 64 * 1024).then_some(()));
}

/// More newcomers than the server has space for, which send nothing: each is closed, and `/health` responds to whoever
/// requests it.
fn silent_newcomers_do_not_hide_the_health(driver: Driver) {
    let server = with_driver(driver).flag("--max-connections", 4).start();
    let mut served = placed(&server, 1, 4);
    let mut silent = Vec::new();
    for round in 0..300 {
        silent.push(from(&server, 1));
        if round % 10 == 0 {
            for path in ["/health", "/ready"] {
                assert_eq!(from(&server, 1).request(&get(path)).status, 200, "{path} after {round}");
            }
            let mut other = from(&server, 1);
            other.request(&post_to("/metrics", "", BATCH)).refusal(503);
        }
    }
    for client in &mut silent {
        client.response().refusal(503);
    }
    for client in &mut served {
        assert_eq!(client.request(&post(BATCH)).processed(), 1, "those who were there first are served");
    }
}

/// A flood of bodies and heads leaves no memory behind, though a connection that came in the middle of it stays.
fn memory_is_given_back_after_a_flood(driver: Driver) {
    let server = with_driver(driver).start();
    let mut staying = server.connect();
    // Every receive buffer has been filled once: those are never given back.
    let padded = post(format!("{BATCH}{}", " ".repeat(40_000)));
    for _ in 0..400 {
        assert_eq!(staying.request(&padded).processed(), 1);
    }
    // So has the code that renders statistics been loaded.
    assert!(server.stat("/reactors/0/held_bytes") < 1_000_000);
    let before = server.resident_bytes();
    let head = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n";
    let part = vec![b' '; 2_000_000];
    let mut flood = Vec::new();
    let mut middle = None;
    for number in 0..1_000 {
        let mut client = server.connect();
        if number % 20 == 0 {
            client.send(head.as_bytes()).unwrap();
            client.send(&part).unwrap();
        } else {
            client.send(&[b'x'; 15_000]).unwrap();
        }
        flood.push(client);
        if number == 500 {
            let client = middle.insert(server.connect());
            assert_eq!(client.request(&post(BATCH)).processed(), 1);
        }
    }
    until("the flood is held", || (server.stat("/reactors/0/held_bytes") > 100_000_000).then_some(()));
    assert!(server.resident_bytes() > before + 60_000_000);
    drop(flood);
    // The tables of connections keep the slots of the thousand, and the code that served them stays resident: 4 MB or
    // so.
    until("it is given back", || (server.resident_bytes() <= before + before / 5 + 4_000_000).then_some(()));
    assert_eq!(middle.unwrap().request(&post(BATCH)).processed(), 1);
}

on_both_drivers!(
    memory_is_given_back_after_a_flood,
    half_heads_do_not_shut_others_out,
    a_trusted_proxy_is_no_crowd,
    connections_are_shared_by_address,
    no_batch_is_lost_to_an_eviction,
    slow_bodies_do_not_shut_others_out,
    half_heads_are_counted,
    what_waits_behind_unread_responses_is_counted,
    silent_newcomers_do_not_hide_the_health,
);

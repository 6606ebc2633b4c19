//! At most N requests of a client in any one second, exact over all cores.

use crate::{
    http::{Client, authorization, get, post, post_to},
    on_both_drivers,
    server::{Driver, Server, Setup, until},
};
use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;
const WINDOW: Duration = Duration::from_secs(1);

/// The statuses of `count` quick requests of `client`, each on a connection of its own, unless they took a whole window.
fn quick(server: &Server, client: &str, count: usize) -> Option<Vec<u16>> {
    let request = post_to("/metrics", &authorization(client), BATCH);
    let began = Instant::now();
    let statuses = (0..count)
        .map(|_| {
            let answer = server.ask(&request);
            match answer.status {
                200 => assert_eq!(answer.processed(), 1),
                _ => drop(answer.refusal(429)),
            }
            answer.status
        })
        .collect();
    (began.elapsed() < WINDOW).then_some(statuses)
}

/// The trial, with a new client each time, until one of them was quick.
fn quick_trial(server: &Server, name: &str, count: usize) -> (String, Vec<u16>) {
    let mut number = 0;
    until("requests within one second", || {
        number += 1;
        let client = format!("{name}-{number}");
        quick(server, &client, count).map(|statuses| (client, statuses))
    })
}

fn fifteen_quick_requests(driver: Driver) {
    for reactors in 1..=4 {
        let server = Setup::new(driver).flag("--reactors", reactors).flag("--rate-limit", 10).start();
        for trial in 0..3 {
            let (_, statuses) = quick_trial(&server, &format!("trial{trial}"), 15);
            let expected: Vec<u16> = [vec![200; 10], vec![429; 5]].concat();
            assert_eq!(statuses, expected, "{reactors} reactors");
        }
    }
}

/// The same fifteen in one segment: the first ten are the ones that are admitted.
fn fifteen_pipelined_requests(driver: Driver) {
    let server = Setup::new(driver).flag("--reactors", 2).flag("--rate-limit", 10).start();
    for trial in 0..5 {
        let mut client = server.connect();
        client.send(&post_to("/metrics", &authorization(&format!("pipe{trial}")), BATCH).repeat(15)).unwrap();
        let statuses: Vec<u16> = (0..15).map(|_| client.answer().status).collect();
        assert_eq!(statuses, [vec![200; 10], vec![429; 5]].concat());
    }
}

/// Without an Authorization the client is the peer's address.
fn an_address_is_a_client(driver: Driver) {
    let server = Setup::new(driver).flag("--reactors", 2).flag("--rate-limit", 5).start();
    let statuses = until("eight requests within one second", || {
        let began = Instant::now();
        let statuses: Vec<u16> = (0..8).map(|_| server.ask(&post(BATCH)).status).collect();
        if began.elapsed() < WINDOW {
            return Some(statuses);
        }
        thread::sleep(WINDOW); // the window is emptied by time alone
        None
    });
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    // A named client has a window of its own, and what is no batch is not limited.
    assert_eq!(server.ask(&post_to("/metrics", &authorization("somebody"), BATCH)).processed(), 1);
    assert_eq!(server.ask(&get("/health")).status, 200);
    assert_eq!(server.ask(&get("/metrics")).status, 200);
}

fn clients_do_not_share_a_window(driver: Driver) {
    let server = Setup::new(driver).flag("--reactors", 2).flag("--rate-limit", 2).start();
    for name in ["alpha", "beta", "Alpha", "Bearer alpha"] {
        let (_, statuses) = quick_trial(&server, name, 3);
        assert_eq!(statuses, [200, 200, 429], "{name}");
    }
}

/// After the wait that `Retry-After` names, the client is served.
fn retry_after_is_true(driver: Driver) {
    let server = Setup::new(driver).flag("--rate-limit", 3).start();
    let (client, statuses) = quick_trial(&server, "patient", 3);
    assert_eq!(statuses, [200; 3]);
    let request = post_to("/metrics", &authorization(&client), BATCH);
    // On a busy machine the window may be over by now: then the first answer is the success that is waited for.
    let answer = server.ask(&request);
    if answer.status == 429 {
        answer.refusal(429);
        assert!(answer.retry_after_s() <= 1, "a window is one second: {answer:?}");
        thread::sleep(Duration::from_secs(answer.retry_after_s()));
        assert_eq!(server.ask(&request).processed(), 1);
    } else {
        assert_eq!(answer.processed(), 1);
    }
}

/// 200 threads, one client, all reactors. From the clients' own stamps no window of one second can be proven to hold more
/// than the limit; and as many were admitted as one sequential limiter admits at least.
fn hammered_from_all_sides(driver: Driver) {
    const LIMIT: usize = 50;
    let server = Setup::new(driver).flag("--reactors", 4).flag("--rate-limit", LIMIT).start();
    let request = post_to("/metrics", &authorization("hot"), BATCH);
    let successes: Mutex<Vec<(Instant, Instant)>> = Mutex::default();
    let refusals = Mutex::new(0_usize);
    // Connected first: the time of the hammering is that of requests alone.
    let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let began = Instant::now();
    let end = began + 3 * WINDOW + WINDOW / 2;
    thread::scope(|scope| {
        for mut client in clients {
            let (request, successes, refusals) = (&request, &successes, &refusals);
            scope.spawn(move || {
                let (mut own, mut refused) = (Vec::new(), 0);
                while Instant::now() < end {
                    let sent = Instant::now();
                    match client.ask(request) {
                        answer if answer.status == 200 => own.push((sent, Instant::now())),
                        answer => {
                            answer.refusal(429);
                            refused += 1;
                        }
                    }
                }
                successes.lock().unwrap().extend(own);
                *refusals.lock().unwrap() += refused;
            });
        }
    });
    let successes = successes.into_inner().unwrap();
    for (from, _) in &successes {
        let to = *from + WINDOW;
        let inside = successes.iter().filter(|(sent, received)| sent >= from && *received < to).count();
        assert!(inside <= LIMIT, "{inside} in one second");
    }
    assert!(successes.len() >= 3 * LIMIT, "{} admitted in three and a half seconds", successes.len());
    let stats = server.stats();
    assert_eq!(stats["batches"]["stored"], successes.len());
    assert_eq!(stats["batches"]["rejected_by"]["rate_limited"], refusals.into_inner().unwrap());
    assert_eq!(stats["reactors"].as_array().unwrap().len(), 4);
}

/// The table of clients is bounded: one more than it holds is answered 503, until a window in it has passed.
fn more_clients_than_are_remembered(driver: Driver) {
    let server = Setup::new(driver).flag("--rate-limit", 10).flag("--max-clients", 4).start();
    let mut shed = 0;
    let mut client = server.connect();
    for number in 0..10_000 {
        let answer = client.ask(&post_to("/metrics", &authorization(&format!("c{number}")), BATCH));
        if answer.status == 503 {
            answer.refusal(503);
            shed += 1;
            break;
        }
        assert_eq!(answer.processed(), 1);
    }
    assert_eq!(shed, 1, "ten thousand clients, four remembered");
    assert_eq!(server.stat("/batches/shed_by/clients_full"), 1);
    until("a window passes and its place is free", || {
        let answer = client.ask(&post_to("/metrics", &authorization("late"), BATCH));
        (answer.status == 200).then_some(())
    });
}

on_both_drivers!(
    fifteen_quick_requests,
    fifteen_pipelined_requests,
    an_address_is_a_client,
    clients_do_not_share_a_window,
    retry_after_is_true,
    hammered_from_all_sides,
    more_clients_than_are_remembered,
);

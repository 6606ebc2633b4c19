//! At most N requests of a client in any one second, exact over all cores.

use crate::{
    http::{Client, authorization, get, post, post_to},
    on_both_drivers,
    process::Resource,
    server::{Driver, Server, until},
    with_driver,
};
use std::{
    io::Write,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;
const WINDOW: Duration = Duration::from_secs(1);

/// The statuses of `count` quick requests of `client`, each on a connection of its own, unless they took a whole
/// window.
fn quick(server: &Server, client: &str, count: usize) -> Option<Vec<u16>> {
    let request = post_to("/metrics", &authorization(client), BATCH);
    let began = Instant::now();
    let statuses = (0..count)
        .map(|_| {
            let response = server.request(&request);
            match response.status {
                200 => assert_eq!(response.processed(), 1),
                _ => drop(response.refusal(429)),
            }
            response.status
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
        let server = with_driver(driver).flag("--reactors", reactors).flag("--rate-limit", 10).start();
        for trial in 0..3 {
            let (_, statuses) = quick_trial(&server, &format!("trial{trial}"), 15);
            let expected: Vec<u16> = [vec![200; 10], vec![429; 5]].concat();
            assert_eq!(statuses, expected, "{reactors} reactors");
        }
    }
}

/// The same fifteen in one segment: the first ten are the ones that are admitted.
fn fifteen_pipelined_requests(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 10).start();
    for trial in 0..5 {
        let mut client = server.connect();
        client.send(&post_to("/metrics", &authorization(&format!("pipe{trial}")), BATCH).repeat(15)).unwrap();
        let statuses: Vec<u16> = (0..15).map(|_| client.response().status).collect();
        assert_eq!(statuses, [vec![200; 10], vec![429; 5]].concat());
    }
}

/// Heads that come again on one connection, in turns: each is charged to the client that it names, or to the address.
fn heads_that_come_again_charge_their_own_clients(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 1).flag("--rate-limit", 4).start();
    let requests = [
        post_to("/metrics", &authorization("one"), BATCH),
        post_to("/metrics?ack=memory", &authorization("two"), BATCH),
        post(BATCH),
        post_to("/metrics?ack=never", &authorization("three"), BATCH),
    ];
    let mut client = server.connect();
    client.send(&requests.concat().repeat(6)).unwrap();
    for round in 0..6 {
        let statuses = requests.each_ref().map(|_| client.response().status);
        assert_eq!(statuses, if round < 4 { [200, 200, 200, 400] } else { [429; 4] }, "round {round}");
    }
    assert_eq!((server.stat("/batches/received"), server.stat("/batches/stored")), (24, 12));
    assert_eq!(server.stat("/batches/rejected_by/rate_limited"), 8);
}

/// A field whose value differs between heads that are otherwise the same may name the client.
fn the_length_of_a_body_can_name_a_client(driver: Driver) {
    let setup = with_driver(driver).flag("--reactors", 1).flag("--rate-limit", 3);
    let server = setup.flag("--client-header", "Content-Length").start();
    let mut client = server.connect();
    client.send(&[post(BATCH), post(format!("{BATCH} "))].concat().repeat(4)).unwrap();
    let statuses: Vec<u16> = (0..8).map(|_| client.response().status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 429, 429]);
}

/// Without an Authorization the client is the peer's address.
fn an_address_is_a_client(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 5).start();
    let statuses = until("eight requests within one second", || {
        let began = Instant::now();
        let statuses: Vec<u16> = (0..8).map(|_| server.request(&post(BATCH)).status).collect();
        if began.elapsed() < WINDOW {
            return Some(statuses);
        }
        thread::sleep(WINDOW); // the window is emptied by time alone
        None
    });
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    // A named client has a window of its own, and what is no batch is not limited.
    assert_eq!(server.request(&post_to("/metrics", &authorization("somebody"), BATCH)).processed(), 1);
    assert_eq!(server.request(&get("/health")).status, 200);
    assert_eq!(server.request(&get("/metrics")).status, 200);
}

fn clients_do_not_share_a_window(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--rate-limit", 2).start();
    for name in ["alpha", "beta", "Alpha", "Basic alpha"] {
        let (_, statuses) = quick_trial(&server, name, 3);
        assert_eq!(statuses, [200, 200, 429], "{name}");
    }
}

/// After the wait that `Retry-After` names, the client is served.
fn retry_after_is_true(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 3).start();
    let (client, statuses) = quick_trial(&server, "patient", 3);
    assert_eq!(statuses, [200; 3]);
    let request = post_to("/metrics", &authorization(&client), BATCH);
    // On a busy machine the window may be over by now: then the first response is the success that is waited for.
    let response = server.request(&request);
    if response.status == 429 {
        response.refusal(429);
        assert!(response.retry_after_s() <= 1, "a window is one second: {response:?}");
        thread::sleep(Duration::from_secs(response.retry_after_s()));
        assert_eq!(server.request(&request).processed(), 1);
    } else {
        assert_eq!(response.processed(), 1);
    }
}

/// 200 threads, one client, all reactors. From the clients' own stamps no window of one second can be proven to hold
/// more than the limit; and as many were admitted as one sequential limiter admits at least.
fn hammered_from_all_sides(driver: Driver) {
    const LIMIT: usize = 50;
    let server = with_driver(driver).flag("--reactors", 4).flag("--rate-limit", LIMIT).start();
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
                    match client.request(request) {
                        response if response.status == 200 => own.push((sent, Instant::now())),
                        response => {
                            response.refusal(429);
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

/// The table of clients is bounded: one more than it holds gets 503, until a window in it has passed.
fn more_clients_than_are_remembered(driver: Driver) {
    let keys = keys((0..500).map(|number| format!("c{number}")));
    let server = with_driver(driver)
        .flag("--api-keys", keys.path().display())
        .flag("--rate-limit", 10)
        .flag("--max-clients", 4)
        .start();
    let mut client = server.connect();
    let shed = (0..500).any(|number| {
        let response = client.request(&post_to("/metrics", &authorization(&format!("c{number}")), BATCH));
        match response.status {
            503 => drop(response.refusal(503)),
            _ => assert_eq!(response.processed(), 1),
        }
        response.status == 503
    });
    assert!(shed, "five hundred clients, four remembered");
    assert_eq!(server.stat("/batches/shed_by/clients_full"), 1);
    until("a window passes and its place is free", || {
        let response = client.request(&post_to("/metrics", &authorization("c499"), BATCH));
        (response.status == 200).then_some(())
    });
}

/// A file of API keys.
fn keys(keys: impl Iterator<Item = String>) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), keys.map(|key| key + "\n").collect::<String>()).unwrap();
    file
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The statuses of requests, each on a connection of its own and all within one second; `request` is given the number
/// of the trial, to name a client that was not seen before, and that of the request.
fn within_a_second(server: &Server, count: usize, request: impl Fn(usize, usize) -> Vec<u8>) -> Vec<u16> {
    let mut trial = 0;
    until("all requests within one second", || {
        trial += 1;
        let began = Instant::now();
        let statuses: Vec<u16> = (0..count).map(|number| server.request(&request(trial, number)).status).collect();
        (began.elapsed() < WINDOW).then_some(statuses)
    })
}

/// Whatever becomes of a batch, it is charged: what does not decode, does not parse, is too large or in an unknown
/// coding.
fn every_failure_is_charged(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 3).flag("--max-body", "64KiB").start();
    let bomb = zipped(&vec![b' '; 1024 * 1024]);
    let cases: [(&str, &str, &str, &[u8], u16); 7] = [
        ("a bomb", "/metrics", "Content-Encoding: gzip\r\n", &bomb, 413),
        ("what is no gzip", "/metrics", "Content-Encoding: gzip\r\n", b"not gzip", 400),
        ("an unknown coding", "/metrics", "Content-Encoding: br\r\n", b"x", 415),
        ("no JSON", "/metrics", "", b"{]", 400),
        ("an empty batch", "/metrics", "", br#"{"metrics":[]}"#, 400),
        ("an unknown level", "/metrics?ack=never", "", BATCH.as_bytes(), 400),
        ("a long body", "/metrics", "", &[b' '; 70_000], 413),
    ];
    for (what, target, fields, body, status) in cases {
        let statuses = within_a_second(&server, 5, |trial, _| {
            let fields = format!("{}{fields}", authorization(&format!("{} {trial}", what.replace(' ', "-"))));
            post_to(target, &fields, body)
        });
        assert_eq!(statuses, [status, status, status, 429, 429], "{what}");
    }
}

/// Over the rate there is no `100 Continue` for the body.
fn who_expects_continue_is_refused_at_once(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 1).start();
    let statuses = within_a_second(&server, 2, |trial, number| {
        let who = authorization(&format!("waits{trial}"));
        if number == 0 {
            return post_to("/metrics", &who, BATCH);
        }
        format!("POST /metrics HTTP/1.1\r\nHost: h\r\n{who}Expect: 100-continue\r\nContent-Length: 4000000\r\n\r\n")
            .into()
    });
    assert_eq!(statuses, [200, 429]);
    assert_eq!(server.stat("/body_bytes/rejected"), 0, "the body of a 429 is not read");
}

/// A request that the server refuses for a reason of its own is not charged: the full disk never becomes a 429.
fn what_is_shed_is_given_back(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit", 3).limit(Resource::FileBytes, 4096, u64::MAX).start();
    let long = format!(r#"{{"metrics":[{{"name":"a","value":1,"tags":{{"t":"{}"}}}}]}}"#, "x".repeat(3_000));
    let mut client = server.connect();
    let mut number = 0;
    let mut status_of = |who: &str| client.request(&post_to("/metrics?ack=memory", &authorization(who), &long)).status;
    until("the disk is full", || {
        number += 1;
        (status_of(&format!("c{number}")) == 503).then_some(())
    });
    for _ in 0..50 {
        assert_eq!(status_of("shed"), 503);
    }
    assert!(server.stat("/limiter/given_back") >= 50);
}

/// Bytes count decoded, whatever they were sent as; others are not affected; and what can never fit is a 413.
fn decoded_bytes_have_a_budget(driver: Driver) {
    let server = with_driver(driver).flag("--rate-limit-bytes", "64KiB").flag("--reactors", 2).start();
    let batch = format!(r#"{{"metrics":[{{"name":"a","value":1}}]}}{}"#, " ".repeat(40 * 1024));
    for (coding, body) in [("identity", batch.clone().into_bytes()), ("gzip", zipped(batch.as_bytes()))] {
        let request =
            |who: &str| post_to("/metrics", &format!("{}Content-Encoding: {coding}\r\n", authorization(who)), &body);
        let statuses = within_a_second(&server, 3, |trial, number| match number {
            2 => request(&format!("other-{coding}{trial}")),
            _ => request(&format!("{coding}{trial}")),
        });
        // A trial of over a third of a second would have let the second one in.
        assert!([[200, 429, 200], [200, 200, 200]].contains(&[statuses[0], statuses[1], statuses[2]]), "{statuses:?}");
        let refusal = until("the budget is used up", || {
            let response = server.request(&request(coding));
            (response.status != 200).then_some(response)
        });
        assert!(refusal.refusal(429).contains("decoded bytes"));
        assert_eq!(refusal.retry_after_s(), 1);
        until("the budget is there again", || (server.request(&request(coding)).status == 200).then_some(()));
    }
    let larger = [batch.as_bytes(), &[b' '; 30 * 1024]].concat();
    assert!(server.request(&post_to("/metrics", "", &larger)).refusal(413).contains("--rate-limit-bytes"));
    let response = server.request(&post_to("/metrics", "Content-Encoding: gzip\r\n", zipped(&larger)));
    assert!(response.refusal(413).contains("--rate-limit-bytes"));
}

/// The key is the client, however it is spelled.
fn spelling_makes_no_client(driver: Driver) {
    let keys = keys((0..500).map(|number| format!("key{number}")));
    for keyed in [true, false] {
        let setup = with_driver(driver).flag("--rate-limit", 5);
        let server = if keyed { setup.flag("--api-keys", keys.path().display()) } else { setup }.start();
        let spelled = ["", "Bearer ", "bearer ", "BEARER  ", "bEaReR \t ", " \tBearer "];
        let statuses = within_a_second(&server, 12, |trial, number| {
            let scheme = spelled[number % spelled.len()];
            post_to("/metrics", &format!("Authorization:{scheme}key{trial}{}\r\n", " ".repeat(number)), BATCH)
        });
        assert_eq!(statuses, [vec![200; 5], vec![429; 7]].concat(), "keyed: {keyed}");
    }
}

/// Without keys anybody can make names up. An address has only so many, and the rest count as the address.
fn names_are_bounded_for_each_address(driver: Driver) {
    let server =
        with_driver(driver).flag("--rate-limit", 2).flag("--max-names-per-address", 3).flag("--max-clients", 4).start();
    let mut trial = 0;
    let statuses = until("forty names within one second, of an address that was idle", || {
        trial += 1;
        let began = Instant::now();
        let name = |number: usize| authorization(&format!("name{trial}-{number}"));
        let statuses: Vec<u16> =
            (0..40).map(|number| server.request(&post_to("/metrics", &name(number), BATCH)).status).collect();
        if began.elapsed() < WINDOW {
            return Some(statuses);
        }
        thread::sleep(WINDOW); // the windows are emptied by time alone
        None
    });
    // Three names, or fewer if earlier ones are still on record, and the two of the address: nobody gets 503.
    let admitted = statuses.iter().filter(|&&status| status == 200).count();
    assert!((2..=5).contains(&admitted), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(server.stat("/batches/shed"), 0);
}

/// Keys cannot be tried faster than the rate, whatever the path of the request; a known key is not delayed by that.
fn wrong_keys_count_against_their_address(driver: Driver) {
    let keys = keys(["right".to_owned()].into_iter());
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).flag("--rate-limit", 4).start();
    let statuses = until("eight wrong keys within one second", || {
        let began = Instant::now();
        let wrong = |number: usize| authorization(&format!("wrong{number}"));
        let mut statuses: Vec<u16> =
            (0..6).map(|number| server.request(&post_to("/metrics", &wrong(number), BATCH)).status).collect();
        statuses.push(server.request(format!("GET /names HTTP/1.1\r\nHost: h\r\n{}\r\n", wrong(7)).as_bytes()).status);
        statuses.push(server.request(&post_to("/metrics", &authorization("right"), BATCH)).status);
        if began.elapsed() < WINDOW {
            return Some(statuses);
        }
        thread::sleep(WINDOW); // the window is emptied by time alone
        None
    });
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429, 429, 200]);
}

/// Neither where a key is needed by those of other hosts alone, nor where statistics name the client.
fn keys_cannot_be_tried_where_no_batch_is_posted(driver: Driver) {
    let keys = keys(["right".to_owned()].into_iter());
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).flag("--rate-limit", 4).start();
    // It is one of another host, behind a proxy that nobody trusts.
    let away = "X-Forwarded-For: 192.0.2.1\r\nContent-Length: 0\r\n";
    for (method, target, fields, status) in [
        ("POST", "/debug/profile?seconds=1", away, 403),
        ("POST", "/ui/marks?name=x", away, 403),
        ("GET", "/stats/clients", "", 200),
        ("GET", "/ui/stream", "", 401),
        ("GET", "/ui/doctor", "", 401),
        ("GET", "/log", "", 401),
        ("GET", "/api/v1/validate", "", 401),
    ] {
        let request = |key: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{}{fields}\r\n", authorization(key)).into_bytes()
        };
        let statuses = until("six wrong keys within one second", || {
            thread::sleep(WINDOW); // the window is emptied by time alone
            let began = Instant::now();
            let wrong = |number: usize| server.request(&request(&format!("wrong{number}"))).status;
            let statuses: Vec<u16> = (0..6).map(wrong).collect();
            (began.elapsed() < WINDOW).then_some(statuses)
        });
        assert_eq!(statuses, [vec![status; 4], vec![429; 2]].concat(), "{target}");
        // Who brings no key guesses none, and a right one is not delayed.
        if target == "/stats/clients" {
            assert_eq!(server.request(&get(target)).status, 200);
            assert_eq!(server.request(&request("right")).status, 200);
        }
    }
}

on_both_drivers!(
    fifteen_quick_requests,
    fifteen_pipelined_requests,
    heads_that_come_again_charge_their_own_clients,
    the_length_of_a_body_can_name_a_client,
    an_address_is_a_client,
    clients_do_not_share_a_window,
    retry_after_is_true,
    hammered_from_all_sides,
    more_clients_than_are_remembered,
    every_failure_is_charged,
    who_expects_continue_is_refused_at_once,
    what_is_shed_is_given_back,
    decoded_bytes_have_a_budget,
    spelling_makes_no_client,
    names_are_bounded_for_each_address,
    wrong_keys_count_against_their_address,
    keys_cannot_be_tried_where_no_batch_is_posted,
);

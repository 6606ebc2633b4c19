//! More than the server has space for: descriptors, receive buffers, rings, accept queues. Every bound is met on
//! purpose; what is over it is refused and counted, and nothing hangs, is lost or stays behind.

use crate::{
    http::{Client, Response, get, post, post_to},
    metric, on_both_drivers,
    process::{self, Resource, Signal},
    server::{Driver, number_at, until},
    with_driver,
};
use std::{io::Write, thread};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// A pipeline makes more lines in one burst than the ring has space for: some batches are stored, the others are
/// refused with 503, and each response is true.
fn a_full_ring_sheds(driver: Driver) {
    const REQUESTS: usize = 200;
    const METRICS: usize = 150;
    // 22 bytes of a metric become 80 of a line: 64 KiB that arrive together are more than the ring takes.
    let batch = |number| {
        let metric = format!(r#"{{"name":"{number}","value":1}}"#);
        format!(r#"{{"metrics":[{}]}}"#, vec![metric; METRICS].join(","))
    };
    for ack in ["memory", "write"] {
        let mut server =
            with_driver(driver).flag("--max-body", "4KiB").flag("--ring-size", "64KiB").flag("--ack", ack).start();
        let mut stored = Vec::new();
        let mut shed = 0;
        let mut next = 0;
        until("the ring is full", || {
            let numbers = next..next + REQUESTS;
            next = numbers.end;
            let mut client = server.connect();
            let requests: Vec<u8> = numbers.clone().flat_map(|number| post(batch(number))).collect();
            client.send(&requests).unwrap();
            for number in numbers {
                let response = client.response();
                if response.status == 503 {
                    assert!(response.refusal(503).contains("full"));
                    shed += 1;
                } else {
                    assert_eq!(response.processed(), METRICS);
                    stored.push(number.to_string());
                }
            }
            (shed > 0).then_some(())
        });
        let stats = server.stats();
        assert_eq!(number_at(&stats, "/batches/shed_by/ring_full"), shed, "{ack}");
        assert_eq!(number_at(&stats, "/batches/stored"), stored.len() as u64, "{ack}");
        assert_eq!(number_at(&stats, "/batches/pending"), 0);
        server.stop();
        let names: Vec<String> = server.metrics().into_iter().map(|metric| metric.name).collect();
        let expected: Vec<String> = stored.iter().flat_map(|name| vec![name.clone(); METRICS]).collect();
        assert_eq!(names, expected, "{ack}");
    }
}

/// accept(2) fails with EMFILE: connected clients are served, nothing spins or exits, and when descriptors are
/// available again accepting resumes.
fn out_of_descriptors(driver: Driver) {
    let server = with_driver(driver).flag("--max-connections", 4).start();
    let mut served: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut served {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    let before = process::change_limit(server.pid(), Resource::Descriptors, 3);
    // An accept of io_uring's keeps the limit of the time when it was armed: it takes a crowd over the bound of
    // connections to have it armed again.
    let crowd: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let failures = until("accepting fails", || {
        for client in &mut served {
            assert_eq!(client.request(&post(BATCH)).processed(), 1);
        }
        let failures = number_at(&served[0].request(&get("/stats")).json(), "/connections/accept_failures");
        (failures > 0).then_some(failures)
    });
    // A pause follows each failure: were there none, a core would do nothing but fail.
    let mut now = failures;
    while now < failures + 5 {
        let later = number_at(&served[0].request(&get("/stats")).json(), "/connections/accept_failures");
        assert!(later - now <= 50, "{} failures between two questions", later - now);
        now = later;
    }
    process::change_limit(server.pid(), Resource::Descriptors, before);
    drop((crowd, served));
    until("accepting resumes", || {
        let response = server.connect().try_request(&post(BATCH)).ok()?;
        (response.status == 200).then_some(())
    });
}

/// With few descriptors the bound of connections is what they allow: over it 503, as over any other bound.
fn few_descriptors(driver: Driver) {
    let server = with_driver(driver).limit(Resource::Descriptors, 512, 512).flag("--reactors", 2).start();
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..500 {
        let mut client = server.connect();
        let response = client.request(&post(BATCH));
        match response.status {
            200 => clients.push(client),
            _ => {
                response.refusal(503);
                refused += 1;
            }
        }
    }
    assert!(!clients.is_empty() && refused > 0, "{} served, {refused} refused", clients.len());
    for client in &mut clients {
        assert_eq!(client.request(&post(BATCH)).processed(), 1);
    }
    drop(clients);
    until("there is space again", || (server.connect().request(&post(BATCH)).status == 200).then_some(()));
}

/// The server stands still while 24 clients fill their sockets: when it goes on there is more to receive at once than
/// it has buffers for. All of it is received.
fn more_to_receive_than_there_are_buffers(driver: Driver) {
    const CLIENTS: usize = 24;
    let mut server = with_driver(driver).flag("--ack", "memory").start();
    let batch = metric::marked_batch("large", 1_000);
    let padding = " ".repeat(3 << 20);
    let requests = post(format!("{padding}{batch}")).repeat(2);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    server.signal(Signal::Stop);
    thread::scope(|scope| {
        let mut full = Vec::new();
        for client in &clients {
            let (requests, mut stream) = (&requests, client.stream.try_clone().unwrap());
            full.push(scope.spawn(move || {
                // As much as the sockets hold, and the rest when they are read again.
                stream.set_nonblocking(true).unwrap();
                let mut sent = 0;
                while sent < requests.len()
                    && let Ok(bytes) = stream.write(&requests[sent..])
                {
                    sent += bytes;
                }
                stream.set_nonblocking(false).unwrap();
                sent
            }));
        }
        let sent: Vec<usize> = full.into_iter().map(|thread| thread.join().unwrap()).collect();
        server.signal(Signal::Continue);
        for (client, sent) in clients.iter().zip(sent) {
            let (requests, mut stream) = (&requests, client.stream.try_clone().unwrap());
            scope.spawn(move || stream.write_all(&requests[sent..]).unwrap());
        }
    });
    for client in &mut clients {
        for _ in 0..2 {
            // The ring has space for 16 MiB: a batch for which none is free in time may be refused.
            match client.response() {
                response if response.status == 503 => drop(response.refusal(503)),
                response => assert_eq!(response.processed(), 1_000),
            }
        }
    }
    let stats = server.stats();
    assert_eq!(number_at(&stats, "/batches/received"), 2 * CLIENTS as u64);
    if driver == Driver::IoUring {
        assert!(number_at(&stats, "/reactors/0/buffers_exhausted") > 0, "the bound was not met: {stats:#}");
    }
    let stored = number_at(&stats, "/batches/stored");
    drop(clients);
    server.stop();
    assert_eq!(server.metrics().len() as u64, 1_000 * stored);
}

/// A thousand clients connect and ask while the server stands still.
fn accept_backlog_of_a_stopped_server(driver: Driver) {
    for reactors in [1, 3] {
        let server = with_driver(driver).flag("--reactors", reactors).start();
        server.signal(Signal::Stop);
        let mut clients: Vec<Client> = (0..1_000).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send(&post(BATCH)).unwrap();
        }
        server.signal(Signal::Continue);
        for client in &mut clients {
            assert_eq!(client.response().processed(), 1);
        }
        drop(clients);
        until("all are gone", || (server.stat("/connections/active") == 1).then_some(()));
    }
}

/// The same before a door that lets eight in: everyone is served, refused, or, when more refusals than the server
/// keeps at one time are on their way, closed without a response. No client is left waiting, and the counts agree.
fn accept_backlog_overflow(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).flag("--max-connections", 8).start();
    server.signal(Signal::Stop);
    let mut clients: Vec<Client> = (0..600).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&post_to("/metrics", "Connection: close\r\n", BATCH)).unwrap();
    }
    server.signal(Signal::Continue);
    let (mut served, mut refused) = (0_u64, 0_u64);
    for mut client in clients {
        let response = client.response();
        if response.status == 200 {
            served += response.processed() as u64;
        } else {
            response.refusal(503);
            refused += 1;
        }
    }
    assert!(served >= 8 && refused >= 128, "{served} served, {refused} refused");
    // A question may itself be refused, and counts as such.
    let mut questions = 0;
    let stats = until("there is space again", || {
        questions += 1;
        let response: Response = server.connect().try_request(&get("/stats")).ok()?;
        (response.status == 200).then(|| response.json())
    });
    assert_eq!(number_at(&stats, "/metrics_stored"), served);
    assert_eq!(number_at(&stats, "/connections/refused"), refused + questions - 1);
}

/// Thirty thousand requests in one pipeline that never pauses: thirty thousand responses, in order.
fn a_deep_pipeline(driver: Driver) {
    const REQUESTS: usize = 30_000;
    for ack in ["memory", "fsync"] {
        let mut server = with_driver(driver).flag("--ack", ack).start();
        let mut client = server.connect();
        let mut sender = client.stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            let mut bytes = Vec::new();
            for number in 0..REQUESTS {
                bytes.extend(post(metric::marked_batch(&number.to_string(), 1 + number % 3)));
                if bytes.len() > 50_000 || number + 1 == REQUESTS {
                    sender.write_all(&bytes).unwrap();
                    bytes.clear();
                }
            }
        });
        for number in 0..REQUESTS {
            assert_eq!(client.response().processed(), 1 + number % 3, "{ack}: request {number}");
        }
        writer.join().unwrap();
        drop(client);
        server.stop();
        let found = metric::marked_batches(&server.metrics());
        assert_eq!(found.len(), REQUESTS);
    }
}

/// More arrives at once than one turn of a core serves, over connections of which none has more than its share: it is
/// served in several turns, all of it.
fn a_turn_has_a_bound_over_all_connections(driver: Driver) {
    const CONNECTIONS: usize = 20;
    // Each is small on the wire, so that they do arrive together, and a quarter of a turn's work.
    let body = format!("{}{}", BATCH, " ".repeat((1 << 20) - BATCH.len()));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let request = post_to("/metrics", "Content-Encoding: gzip\r\n", encoder.finish().unwrap());
    let mut server = with_driver(driver).start();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    server.signal(Signal::Stop);
    clients.iter_mut().for_each(|client| client.send(&request).unwrap());
    server.signal(Signal::Continue);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().processed(), 1));
    assert!(server.stat("/turns_full") >= 1);
    assert_eq!(server.stat("/batches/stored"), CONNECTIONS as u64);
    server.stop();
    assert_eq!(server.metrics().len(), CONNECTIONS);
}

/// Two thousand connections of one request each: all served, all counted, all given back.
fn connections_come_and_go(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    let before = server.descriptors();
    let address = server.address;
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in 0..250 {
                    let mut client = Client::connect(address);
                    let lines = if (thread + number) % 2 == 0 { "Connection: close\r\n" } else { "" };
                    assert_eq!(client.request(&post_to("/metrics", lines, BATCH)).processed(), 1);
                    if number % 3 == 0 {
                        process::reset_on_drop(&client.stream);
                    }
                }
            });
        }
    });
    until("every descriptor is given back", || (server.descriptors() == before).then_some(()));
    let stats = server.stats();
    assert_eq!(number_at(&stats, "/batches/stored"), 2_000);
    assert_eq!(number_at(&stats, "/connections/accepted"), 2_001);
}

/// A client that sends on after it was refused can still read why: its connection is not reset under it.
fn a_refusal_reaches_a_client_that_sends_on(driver: Driver) {
    let server = with_driver(driver).flag("--max-body", "64KiB").start();
    for _ in 0..5 {
        let mut client = server.connect();
        // All of it before the first look at the response, as simple clients do.
        client.send(&post(" ".repeat(3 << 20))).unwrap();
        client.response().refusal(413);
    }
    assert_eq!(server.request(&post(BATCH)).processed(), 1);
}

/// Bodies that never end, of more connections than there is memory for: those over the bound get 503, the
/// server's memory stays within it, and small batches are served all the while.
fn more_bodies_than_memory(driver: Driver) {
    /// Bytes of bodies that a reactor retains at one time (`http1::limits::HELD_BYTES_MAX`).
    const HELD_BYTES_MAX: u64 = 256 << 20;
    const BODY_BYTES: usize = 4 << 20;
    let server = with_driver(driver).flag("--reactors", 1).start();
    let before = server.resident_bytes();
    let head = format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    let spaces = vec![b' '; BODY_BYTES - 1];
    let mut clients: Vec<Client> = (0..80).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(head.as_bytes()).unwrap();
        // A server that refuses in the middle of it may end the connection under the sender's hands.
        let _ = client.send(&spaces);
    }
    until("the bound is met", || (server.stat("/batches/shed_by/bodies_full") >= 10).then_some(()));
    assert!(server.resident_bytes() - before < HELD_BYTES_MAX + (64 << 20), "{} bytes", server.resident_bytes());
    assert_eq!(server.request(&post(BATCH)).processed(), 1);
    let (mut whole, mut refused) = (0, 0);
    for client in &mut clients[..40] {
        let _ = client.send(b" ");
        let response = client.response();
        if response.status == 503 {
            assert!(response.retry_after_s() >= 1);
            refused += 1;
        } else {
            response.refusal(400);
            whole += 1;
        }
    }
    assert!(whole > 0, "{whole} whole, {refused} refused");
    // Closed connections free their memory.
    drop(clients);
    until("the abandoned are counted", || (server.stat("/batches/pending") == 0).then_some(()));
    let mut client = server.connect();
    client.send(head.as_bytes()).unwrap();
    client.send(&spaces).unwrap();
    client.send(b" ").unwrap();
    client.response().refusal(400);
}

on_both_drivers!(
    a_full_ring_sheds,
    out_of_descriptors,
    few_descriptors,
    more_to_receive_than_there_are_buffers,
    accept_backlog_of_a_stopped_server,
    accept_backlog_overflow,
    more_bodies_than_memory,
    a_deep_pipeline,
    a_turn_has_a_bound_over_all_connections,
    connections_come_and_go,
    a_refusal_reaches_a_client_that_sends_on,
);

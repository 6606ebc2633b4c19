//! Many connections at once: none delays another, none is lost, and nothing is left behind.

use crate::{
    http::{Client, get, is_end, post},
    metric, on_both_drivers, process,
    server::{Driver, number_at, until},
    with_driver,
};
use std::{
    io::{ErrorKind, Write},
    net::Shutdown,
    thread,
    time::Duration,
};

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// Time for which a response may wait for its client. Longer where ThreadSanitizer holds threads up to look stacks up:
/// it ends those too that read.
const WRITE_TIMEOUT: &str = if cfg!(tsan) { "10s" } else { "1s" };

fn three_hundred_connections(driver: Driver) {
    const THREADS: usize = 10;
    const CONNECTIONS: usize = 30;
    const REQUESTS: usize = 10;
    for reactors in [1, 3] {
        let mut server = with_driver(driver).flag("--reactors", reactors).start();
        assert_eq!(server.request(&get("/health")).status, 200);
        until("the first connection is gone", || (server.stat("/connections/active") == 1).then_some(()));
        let at_rest = until("no connection is left", || at_rest(&server));

        thread::scope(|scope| {
            for thread in 0..THREADS {
                let address = server.address;
                scope.spawn(move || {
                    // All of a thread's connections have a request in flight at the same time.
                    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
                    for request in 0..REQUESTS {
                        for (index, client) in clients.iter_mut().enumerate() {
                            let mark = format!("{thread}-{index}-{request}");
                            client.send(&post(metric::marked_batch(&mark, 3))).unwrap();
                        }
                        for client in &mut clients {
                            assert_eq!(client.response().processed(), 3);
                        }
                    }
                });
            }
        });
        until("every descriptor is given back", || (server.descriptors() == at_rest).then_some(()));
        let stats = server.stats();
        let batches = (THREADS * CONNECTIONS * REQUESTS) as u64;
        assert_eq!(number_at(&stats, "/batches/stored"), batches);
        assert_eq!(number_at(&stats, "/metrics_stored"), 3 * batches);
        assert!(number_at(&stats, "/connections/accepted") >= (THREADS * CONNECTIONS) as u64);
        server.stop();
        assert_eq!(metric::marked_batches(&server.metrics()).len() as u64, batches);
    }
}

/// The number of descriptors, once it stands still over a few looks.
fn at_rest(server: &crate::server::Server) -> Option<usize> {
    let first = server.descriptors();
    let still = (0..10).all(|_| {
        thread::sleep(Duration::from_millis(1));
        server.descriptors() == first
    });
    still.then_some(first)
}

/// A connection per request, ended in every way there is: descriptors and connections come back to where they were.
fn every_end_gives_its_descriptor_back(driver: Driver) {
    let server = with_driver(driver).flag("--reactors", 2).start();
    drop(server.stats());
    let before = until("no connection is left", || at_rest(&server));
    for round in 0..50 {
        let mut client = server.connect();
        match round % 7 {
            0 => drop(client.request(&post(BATCH))),
            1 => client.send(&post(BATCH)[..10]).unwrap(),
            2 => client.send(&post(BATCH)).unwrap(),
            3 => {
                client.send(&post(BATCH)[..60]).unwrap();
                process::reset_on_drop(&client.stream);
            }
            4 => process::reset_on_drop(&client.stream),
            5 => drop(client.request(b"nonsense\r\n\r\n").refusal(400)),
            _ => client.finish(),
        }
    }
    until("every descriptor is given back", || (server.descriptors() == before).then_some(()));
    until("no connection is counted", || (server.stat("/connections/active") == 1).then_some(()));
}

/// A hundred clients that drip their heads, a byte now and then, take nothing from one that does not.
fn slow_clients_delay_nobody(driver: Driver) {
    let server = with_driver(driver).start();
    let request = post(BATCH);
    let mut slow: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    let mut quick = server.connect();
    // Each byte of the slow ones is sent only after the quick one was served: were it to wait for them, it would for
    // ever.
    for (index, byte) in request.iter().enumerate() {
        for client in &mut slow {
            client.send(&[*byte]).unwrap();
        }
        if index + 1 < request.len() {
            assert_eq!(quick.request(&request).processed(), 1);
        }
    }
    for client in &mut slow {
        assert_eq!(client.response().processed(), 1);
    }
}

fn connections_over_the_bound(driver: Driver) {
    for reactors in [1, 2] {
        let server = with_driver(driver).flag("--reactors", reactors).flag("--max-connections", 8).start();
        let mut clients: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = server.connect();
                assert_eq!(client.request(&get("/health")).status, 200);
                client
            })
            .collect();
        for _ in 0..5 {
            let mut ninth = server.connect();
            let response = ninth.request(&post(BATCH));
            response.refusal(503);
            assert_eq!(response.header("Connection"), Some("close"));
            ninth.expect_end();
        }
        // Those that were there are served as before.
        for client in &mut clients {
            assert_eq!(client.request(&post(BATCH)).processed(), 1);
        }
        let stats = clients[0].request(&get("/stats")).json();
        assert_eq!(number_at(&stats, "/connections/refused"), 5);
        assert_eq!(number_at(&stats, "/connections/active"), 8);
        clients.pop();
        until("the place of one that left is free", || {
            let mut client = server.connect();
            match client.try_request(&post(BATCH)) {
                Ok(response) if response.status == 200 => Some(response.processed()),
                Ok(response) => {
                    response.refusal(503);
                    None
                }
                Err(error) => panic!("neither served nor refused: {error}"),
            }
        });
    }
}

/// A client that sends and never reads stops itself and nobody else, and is closed.
fn a_client_that_never_reads(driver: Driver) {
    let server = with_driver(driver).flag("--write-timeout", WRITE_TIMEOUT).start();
    let before = server.resident_bytes();
    let mut peer = server.connect();
    assert_eq!(peer.request(&post(BATCH)).processed(), 1);
    let client = server.connect();
    process::limit_receive_buffer(&client.stream, 4_096);
    let mut most = before;
    thread::scope(|scope| {
        let mut stream = &client.stream;
        let sender = scope.spawn(move || {
            let requests = get("/nope").repeat(1_000);
            let mut sent = 0;
            while stream.write_all(&requests).is_ok() {
                sent += requests.len();
            }
            sent
        });
        until("it is closed", || {
            assert_eq!(peer.request(&post(BATCH)).processed(), 1);
            most = most.max(server.resident_bytes());
            (server.stat("/connections/closed_by/send_timeout") == 1).then_some(())
        });
        // The kernel reports it to the sender; whether or not the sender has noticed, it has to end.
        let _ = client.stream.shutdown(Shutdown::Both);
        assert!(sender.join().unwrap() > 0);
    });
    assert!(most - before < 64 << 20, "{before} bytes grew to {most}");
    assert_eq!(peer.request(&post(BATCH)).processed(), 1);
}

/// So does one that asks for large documents.
fn a_client_that_never_reads_documents(driver: Driver) {
    let server = with_driver(driver).flag("--write-timeout", WRITE_TIMEOUT).start();
    let mut peer = server.connect();
    let mut client = server.connect();
    process::limit_receive_buffer(&client.stream, 4_096);
    client.stream.set_nonblocking(true).unwrap();
    let requests = get("/stats").repeat(100);
    until("it is closed", || {
        assert_eq!(peer.request(&post(BATCH)).processed(), 1);
        match client.stream.write(&requests) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                assert!(is_end(&error), "{error}");
                Some(())
            }
            _ => None,
        }
    });
}

on_both_drivers!(
    three_hundred_connections,
    every_end_gives_its_descriptor_back,
    slow_clients_delay_nobody,
    connections_over_the_bound,
    a_client_that_never_reads,
    a_client_that_never_reads_documents,
);

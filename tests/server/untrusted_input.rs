//! Bytes that no client would send. The server goes on, hangs on nothing, and serves the next client.

use crate::{
    http::{get, is_end, post, post_chunked, post_to},
    metric, on_both_drivers,
    server::{Driver, Server, number_at, until},
    with_driver,
};
use std::io::{ErrorKind, Read};
use testkit::random::Random;

/// Rounds of each driver; a round is one connection.
const ROUNDS: usize = 600;

/// Requests of every kind, to be mutated.
fn seeds() -> [Vec<u8>; 8] {
    let body = metric::marked_batch("seed", 3);
    let mut zipped = Vec::new();
    flate2::read::GzEncoder::new(body.as_bytes(), flate2::Compression::fast()).read_to_end(&mut zipped).unwrap();
    [
        post(&body),
        post_to("/metrics?ack=memory&x=%00", "Authorization: a\r\nConnection: keep-alive\r\n", &body),
        post_chunked("Expect: 100-continue\r\n", &[&body.as_bytes()[..9], &body.as_bytes()[9..]]),
        post_to("/metrics", "Content-Encoding: gzip\r\n", &zipped),
        post_to("/metrics", "Content-Encoding: zstd\r\n", zstd::stream::encode_all(body.as_bytes(), 1).unwrap()),
        get("/stats"),
        get("/metrics"),
        [post(&body), get("/health"), post(&body)].concat(),
    ]
}

/// Random bytes, or one of the `seeds` with something changed.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.index(seeds.len())].clone();
    match random.index(6) {
        0 => bytes = (0..random.index(3_000)).map(|_| random.byte()).collect(),
        1 => bytes.truncate(random.index(bytes.len())),
        2 => {
            for _ in 0..=random.index(4) {
                let at = random.index(bytes.len());
                bytes[at] = random.byte();
            }
        }
        3 => {
            let (from, to) = (random.index(bytes.len()), random.index(bytes.len()));
            bytes.drain(from.min(to)..from.max(to));
        }
        4 => {
            let (from, to) = (random.index(bytes.len()), random.index(bytes.len()));
            let piece = bytes[from.min(to)..from.max(to)].to_vec();
            let at = random.index(bytes.len());
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = &seeds[random.index(seeds.len())];
            bytes.truncate(random.index(bytes.len()));
            bytes.extend(&other[random.index(other.len())..]);
        }
    }
    bytes
}

/// Sends `bytes` on a connection, and reads responses up to its end, which must come.
fn one_connection(server: &Server, bytes: &[u8], round: usize) {
    let mut client = server.connect();
    let sent = client.send(bytes).and_then(|()| client.stream.shutdown(std::net::Shutdown::Write));
    match sent {
        Ok(()) => {}
        Err(error) => assert!(is_end(&error), "{error}"),
    }
    loop {
        match client.try_response() {
            // The response to a HEAD, should a mutation have made one, would not parse; none of the seeds is near it.
            Ok(response) => assert!((100..600).contains(&response.status)),
            Err(error) => {
                assert!(
                    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "round {round} hangs: {bytes:?}"
                );
                break;
            }
        }
    }
}

fn random_bytes_and_mutations(driver: Driver) {
    let mut random = Random::announced("random_bytes_and_mutations");
    let mut server = with_driver(driver)
        .flag("--reactors", 2)
        .flag("--max-body", "64KiB")
        .flag("--head-timeout", "5s")
        .flag("--body-timeout", "5s")
        .start();
    let seeds = seeds();
    for round in 0..ROUNDS {
        let bytes = mutated(&seeds, &mut random);
        one_connection(&server, &bytes, round);
        if round % 50 == 0 {
            assert_eq!(server.request(&post(r#"{"metrics":[{"name":"still_alive","value":1}]}"#)).processed(), 1);
        }
    }
    let stats = until("nothing is left of them", || {
        let stats = server.stats();
        let done = number_at(&stats, "/connections/active") == 1 && number_at(&stats, "/batches/pending") == 0;
        done.then_some(stats)
    });
    let number = |pointer: &str| number_at(&stats, pointer);
    assert_eq!(
        number("/batches/received"),
        number("/batches/stored") + number("/batches/rejected") + number("/batches/shed"),
        "{stats:#}"
    );
    server.stop();
    // Every line is whole and right, and there are as many as were counted.
    assert_eq!(server.metrics().len() as u64, number("/metrics_stored"));
}

/// Faults of untrusted clients are counted, not logged: the operator's log has the start and the stop in it, however
/// many came.
fn untrusted_input_does_not_fill_the_log(driver: Driver) {
    let mut server = with_driver(driver).flag("--max-connections", 64).start();
    let malformed = [
        b"no http at all\r\n\r\n".to_vec(),
        post("{"),
        post_to("/metrics", "Content-Length: 7\r\n", "{}"),
        b"GET /\0 HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for round in 0..400 {
        assert_eq!(server.request(&malformed[round % malformed.len()]).status, 400);
    }
    let crowd: Vec<_> = (0..200).map(|_| server.connect()).collect();
    until("some of the crowd are refused", || (server.request(&get("/stats")).status == 503).then_some(()));
    drop(crowd);
    server.stop();
    let said = server.said();
    assert!(said.len() <= 6, "{said:#?}");
}

on_both_drivers!(random_bytes_and_mutations, untrusted_input_does_not_fill_the_log);

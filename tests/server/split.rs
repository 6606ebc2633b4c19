//! The bytes of a connection may be cut anywhere.

use crate::{
    http::{get, post, post_chunked, post_to},
    metric, on_both_drivers,
    server::Driver,
    with_driver,
};
use testkit::random::Random;

/// A batch of 507 metrics and 70 KB, as a node_exporter makes it.
fn large_batch() -> &'static str {
    include_str!("../../bench/data/node_exporter.ndjson").lines().next().unwrap()
}

/// Every byte is a segment of its own: whole requests of each kind, one behind the other.
fn a_byte_at_a_time(driver: Driver) {
    let mut server = with_driver(driver).start();
    let mut client = server.connect();
    let body = metric::marked_batch("drip", 2);
    let requests = [
        post(&body),
        post_to("/metrics?ack=memory", "Content-Type: text/plain\r\n", metric::marked_batch("drip2", 2)),
        post_chunked("", &[&metric::marked_batch("drip3", 2).into_bytes()]),
    ];
    for request in &requests {
        for byte in request {
            client.send(&[*byte]).unwrap();
        }
        assert_eq!(client.response().processed(), 2);
    }
    for byte in get("/nope") {
        client.send(&[byte]).unwrap();
    }
    client.response().refusal(404);
    drop(client);
    server.stop();
    assert_eq!(metric::marked_batches(&server.metrics()).len(), 3);
}

/// Requests of every framing, joined and then cut at random places over many writes.
fn cut_at_random(driver: Driver) {
    let mut random = Random::announced("cut_at_random");
    let mut server = with_driver(driver).flag("--reactors", 2).start();
    let large = large_batch();
    let expected = metric::metrics_of(large);
    assert_eq!(expected.len(), 507);
    let rounds = 12;
    for _ in 0..rounds {
        let mut bytes = post(large);
        let pieces: Vec<&[u8]> = large.as_bytes().chunks(1 + random.index(5_000)).collect();
        bytes.extend(post_chunked("", &pieces));
        bytes.extend(get("/health"));
        bytes.extend(post(large));
        let mut client = server.connect();
        let mut sender = client.stream.try_clone().unwrap();
        let mut cuts: Vec<usize> = (0..60).map(|_| random.index(bytes.len())).collect();
        // Around the seams, where a parser is most easily wrong.
        let seam = bytes.len() - large.len();
        cuts.extend([seam - 3, seam - 2, seam - 1, seam, seam + 1, bytes.len()]);
        cuts.sort_unstable();
        let writer = std::thread::spawn(move || {
            let mut start = 0;
            for cut in cuts {
                std::io::Write::write_all(&mut sender, &bytes[start..cut]).unwrap();
                start = cut;
                std::thread::yield_now();
            }
        });
        assert_eq!(client.response().processed(), 507);
        assert_eq!(client.response().processed(), 507);
        assert_eq!(client.response().status, 200);
        assert_eq!(client.response().processed(), 507);
        writer.join().unwrap();
    }
    server.stop();
    let stored = server.metrics();
    assert_eq!(stored.len(), rounds * 3 * 507);
    assert!(stored.chunks(507).all(|batch| batch == expected));
}

on_both_drivers!(a_byte_at_a_time, cut_at_random);

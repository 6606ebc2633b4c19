//! Heavy queries and many clients at the same time: neither loses anything to the other.

use super::{WIDE, points, queries_hold_together, store_wide};
use crate::{
    http::{Client, get, post},
    metric, on_both_drivers,
    server::{Driver, number_at},
    with_driver,
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

fn eight_heavy_queries_and_two_hundred_clients(driver: Driver) {
    const THREADS: usize = 10;
    const CONNECTIONS: usize = 20;
    const ROUNDS: usize = 10;
    const METRICS: usize = 5;
    let mut server = with_driver(driver)
        .flag("--reactors", 2)
        .flag("--query-threads", 3)
        .flag("--query-timeout", "10m")
        .flag("--rotate-size", "1MiB")
        .start();
    store_wide(&server, 2_000, 500);
    let stored_before = server.stat("/batches/stored");
    let done = AtomicBool::new(false);
    let responses = AtomicU64::new(0);
    let address = server.address;
    thread::scope(|scope| {
        let askers: Vec<_> = (0..8)
            .map(|asker| {
                let (done, responses) = (&done, &responses);
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let everything = "/query?name=~.*&agg=p99&by=*&from=0&step=1s";
                    while !done.load(Ordering::Relaxed) {
                        if asker % 2 == 0 {
                            assert_eq!(points(&client.request(&get(WIDE))).len(), 2_000);
                        } else {
                            let response = client.request(&get(everything));
                            assert_eq!(response.status, 200, "{}", response.text());
                            assert!(!response.json()["series"].as_array().unwrap().is_empty());
                        }
                        responses.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
                    for round in 0..ROUNDS {
                        for (index, client) in clients.iter_mut().enumerate() {
                            let mark = format!("{thread}-{index}-{round}");
                            client.send(&post(metric::marked_batch(&mark, METRICS))).unwrap();
                        }
                        for client in &mut clients {
                            assert_eq!(client.response().processed(), METRICS);
                        }
                    }
                })
            })
            .collect();
        let written: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        written.into_iter().for_each(|written| written.unwrap());
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
    queries_hold_together(&server);
    let batches = (THREADS * CONNECTIONS * ROUNDS) as u64;
    let stats = server.stats();
    assert_eq!(number_at(&stats, "/batches/stored"), stored_before + batches);
    assert_eq!(number_at(&stats, "/batches/pending"), 0);
    assert_eq!(number_at(&stats, "/queries/ended_by/answered"), responses.load(Ordering::Relaxed));
    assert_eq!(number_at(&stats, "/queries/received"), responses.load(Ordering::Relaxed));
    server.stop();
}

on_both_drivers!(eight_heavy_queries_and_two_hundred_clients);

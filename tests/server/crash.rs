//! SIGKILL under load. The oracle is the clients' own list of what was acknowledged: each such batch is in the log exactly
//! once and whole; what was not acknowledged is there whole or not at all; the tail is whole.

use crate::{
    http::{Client, is_end, post_to},
    log, on_both_drivers,
    random::Random,
    server::{Driver, Setup, until},
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tempfile::TempDir;

/// Posts pipelines of batches until the connection breaks; returns the marks of the acknowledged ones.
fn post_until_killed(address: SocketAddr, name: &str, mut random: Random, acknowledged: &AtomicUsize) -> Vec<String> {
    let mut marks = Vec::new();
    let Ok(mut client) = Client::try_connect(address) else { return marks };
    for number in 0.. {
        // Small ones, and some of more than a page or a hundred of them: a kill may hit the middle of a write.
        let depth = 1 + random.below(4);
        let sizes: Vec<usize> =
            (0..depth).map(|_| if random.below(8) == 0 { 1_000 } else { 1 + random.below(30) }).collect();
        let mut bytes = Vec::new();
        for (index, &metrics) in sizes.iter().enumerate() {
            let target = if random.below(4) == 0 { "/metrics?ack=fsync" } else { "/metrics" };
            bytes.extend(post_to(target, "", log::marked_batch(&format!("{name}-{number}-{index}"), metrics)));
        }
        if client.send(&bytes).is_err() {
            return marks;
        }
        for (index, &metrics) in sizes.iter().enumerate() {
            match client.try_answer() {
                Ok(answer) => {
                    assert_eq!(answer.processed(), metrics);
                    marks.push(format!("{name}-{number}-{index}"));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(is_end(&error), "{error}");
                    return marks;
                }
            }
        }
    }
    marks
}

fn what_was_acknowledged_survives(driver: Driver) {
    const ROUNDS: usize = 6;
    const THREADS: usize = 6;
    let mut random = Random::announced("what_was_acknowledged_survives");
    let directory = TempDir::new().unwrap();
    let mut marks: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut server =
            Setup::new(driver).flag("--reactors", 1 + round % 3).flag("--ack", "write").start_in(directory.path());
        let acknowledged = AtomicUsize::new(0);
        let enough = 20 + random.below(300);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (address, random, acknowledged) = (server.address, Random::new(random.next()), &acknowledged);
                    scope.spawn(move || post_until_killed(address, &format!("{round}-{thread}"), random, acknowledged))
                })
                .collect();
            until("load", || (acknowledged.load(Ordering::Relaxed) >= enough).then_some(()));
            server.kill();
            for thread in threads {
                marks.extend(thread.join().unwrap());
            }
        });
        // The next start repairs what the kill has torn. Started once more for each round, so that repairs add up.
        let mut server = Setup::new(driver).start_in(directory.path());
        assert!(server.stat("/log/unclean_shutdowns") > 0);
        server.stop();
        let found = log::marked_batches(&server.metrics());
        for mark in &marks {
            assert_eq!(found.get(mark), Some(&1), "round {round}: {mark} was acknowledged");
        }
        assert!(found.values().all(|&times| times == 1), "round {round}: a batch is there twice");
    }
    assert!(marks.len() >= 20 * ROUNDS);
}

on_both_drivers!(what_was_acknowledged_survives);

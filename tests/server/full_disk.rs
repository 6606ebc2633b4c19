//! A file that may not grow (RLIMIT_FSIZE: SIGXFSZ and EFBIG, write(2)) stands for a disk that is full: 503 while it lasts,
//! nothing acknowledged is lost, and the server goes on by itself when there is room again. `scripts/full_disk.sh` does the
//! same with a real file system and ENOSPC.

use crate::{
    http::{get, is_end, post_to},
    log, on_both_drivers,
    process::{self, Resource, Signal},
    server::{Driver, Setup, until},
};

/// RLIM_INFINITY.
const UNLIMITED: u64 = u64::MAX;

fn full_and_free_again(driver: Driver) {
    for ack in ["write", "fsync"] {
        let mut server = Setup::new(driver)
            .flag("--ack", ack)
            .flag("--write-timeout", "1s")
            .limit(Resource::FileBytes, 64 * 1024, UNLIMITED)
            .start();
        let mut acknowledged = Vec::new();
        let mut number = 0;
        let mut try_batch = || {
            number += 1;
            let mark = format!("{ack}-{number}");
            // A connection each: one whose batch waits for the disk may be closed without an answer.
            let mut client = server.connect();
            match client.try_ask(&post_to("/metrics", "", log::marked_batch(&mark, 10))) {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.processed(), 10);
                    acknowledged.push(mark);
                    200
                }
                Ok(answer) => {
                    answer.refusal(503);
                    503
                }
                Err(error) => {
                    assert!(is_end(&error), "{error}");
                    0
                }
            }
        };
        until("the disk is full and new batches are refused", || (try_batch() == 503).then_some(()));
        let ready = server.ask(&get("/ready"));
        assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("unready")));
        assert!(ready.retry_after_s() >= 1);
        // RLIMIT_FSIZE is what fills this disk.
        assert_eq!(ready.json()["reasons"], serde_json::json!(["the log has reached the largest size of a file"]));
        assert_eq!(server.ask(&get("/health")).status, 200, "it lives all the same");
        for _ in 0..20 {
            assert_ne!(try_batch(), 200, "nothing is acknowledged that is not stored");
        }
        let stats = server.stats();
        assert!(crate::server::number_at(&stats, "/batches/shed_by/log_unavailable") > 0, "{stats:#}");
        assert_ne!(stats["log"]["state"], "healthy");

        process::change_limit(server.pid(), Resource::FileBytes, UNLIMITED);
        until("there is room and batches are taken again", || (try_batch() == 200).then_some(()));
        assert_eq!(server.ask(&get("/ready")).status, 200);
        for _ in 0..20 {
            assert_eq!(try_batch(), 200);
        }
        server.stop();
        let found = log::marked_batches(&server.metrics());
        for mark in &acknowledged {
            assert_eq!(found.get(mark), Some(&1), "{mark} was acknowledged");
        }
        assert!(found.values().all(|&times| times == 1));
    }
}

/// Stopped, or killed, while it is full: what was acknowledged is there, and the next start makes the tail whole.
fn ended_while_full(driver: Driver) {
    for kill in [false, true] {
        let directory = tempfile::TempDir::new().unwrap();
        let mut server = Setup::new(driver)
            .flag("--write-timeout", "1s")
            .flag("--drain-timeout", "1s")
            .limit(Resource::FileBytes, 64 * 1024, UNLIMITED)
            .start_in(directory.path());
        let mut acknowledged = Vec::new();
        until("the disk is full", || {
            let mark = acknowledged.len().to_string();
            match server.connect().try_ask(&post_to("/metrics", "", log::marked_batch(&mark, 10))) {
                Ok(answer) if answer.status == 200 => acknowledged.push(mark),
                Ok(answer) => drop(answer.refusal(503)),
                Err(error) => assert!(is_end(&error), "{error}"),
            }
            (server.ask(&get("/ready")).status == 503).then_some(())
        });
        if kill {
            server.kill();
        } else {
            server.signal(Signal::Terminate);
            let code = server.wait().code();
            assert_eq!(code, Some(1), "lines were given up: not a clean stop");
        }
        let mut server = Setup::new(driver).start_in(directory.path());
        assert_eq!(server.ask(&post_to("/metrics", "", log::marked_batch("after", 1))).processed(), 1);
        server.stop();
        let found = log::marked_batches(&server.metrics());
        for mark in acknowledged.iter().map(String::as_str).chain(["after"]) {
            assert_eq!(found.get(mark), Some(&1), "{mark} was acknowledged");
        }
    }
}

on_both_drivers!(full_and_free_again, ended_while_full);

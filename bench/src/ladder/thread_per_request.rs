//! Stage 2, a thread per request: each connection gets a thread of its own, made for it and gone with it. A client that
//! closes after each response makes it a thread per request to the letter; one that stays keeps its thread.
//!
//! Takes away: nobody waits for another client any more. Shows: what making a thread costs each new connection, a stack
//! for each that only waits, and the one lock they all take. Their number is bounded; over the bound, or when the
//! system has no thread to give, the response is 503.

use super::blocking::{self, Refusals};
use metricstream::config::Config;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Threads at one time, by default: with a stack of 256 KiB each, at most 256 MiB of address space.
const THREADS_DEFAULT: usize = 1024;

/// Serves until a signal, with at most `threads` connections at one time.
///
/// # Errors
/// One line: why it could not start, or what could not be stored.
pub fn run(config: Config, threads: Option<usize>) -> Result<(), String> {
    let threads_max = threads.unwrap_or(THREADS_DEFAULT);
    let running = AtomicUsize::new(0);
    blocking::run(config, |server| {
        thread::scope(|scope| {
            let (running, refusals) = (&running, Refusals::start(server, scope)?);
            while let Some((stream, peer)) = server.accept() {
                let stream = Arc::new(stream);
                // Only this thread counts up, so the bound holds.
                if running.load(Ordering::Relaxed) >= threads_max {
                    refusals.push(stream);
                    continue;
                }
                running.fetch_add(1, Ordering::Relaxed);
                let served = Arc::clone(&stream);
                let spawned = blocking::thread().spawn_scoped(scope, move || {
                    server.serve(&served, peer, || false);
                    drop(served);
                    running.fetch_sub(1, Ordering::Relaxed);
                });
                if let Err(error) = spawned {
                    running.fetch_sub(1, Ordering::Relaxed);
                    blocking::count_and_warn(&server.counts.threads_missing, "a thread cannot be had", &error);
                    refusals.push(stream);
                }
            }
            Ok(())
        })
    })
}

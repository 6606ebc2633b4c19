//! Stage 3, a thread pool: a fixed number of threads takes connections from a bounded queue. When the queue is full the
//! response is 503 with Retry-After, at once.
//!
//! Takes away: no thread is made for a connection, and memory is bounded whatever the crowd. Shows: a thread is
//! occupied as long as its connection only waits, so as many silent clients as there are threads hold up everybody; and
//! all threads take the one lock. A connection is kept after its response only while nobody queues.

use super::blocking::{self, Refusals};
use metricstream::config::Config;
use std::{
    net::{IpAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{TrySendError, sync_channel},
    },
    thread,
};

/// Threads, by default: many for a core, as nearly all of them wait for their clients.
const THREADS_DEFAULT: usize = 64;

/// Serves until a signal, with `threads` threads and at most `queue` connections waiting for one.
///
/// # Errors
/// One line: why it could not start, or what could not be stored.
pub fn run(config: Config, threads: Option<usize>, queue: usize) -> Result<(), String> {
    let waiting = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel::<(TcpStream, IpAddr)>(queue);
    let receiver = Mutex::new(receiver);
    blocking::run(config, |server| {
        thread::scope(|scope| {
            // Moved in: the workers end when it is dropped and the queue is empty.
            let sender = sender;
            let (waiting, receiver, refusals) = (&waiting, &receiver, Refusals::start(server, scope)?);
            for _ in 0..threads.unwrap_or(THREADS_DEFAULT) {
                let worker = move || {
                    loop {
                        let next = receiver.lock().expect("nothing panics while it waits for the queue").recv();
                        let Ok((stream, peer)) = next else { return };
                        waiting.fetch_sub(1, Ordering::Relaxed);
                        server.serve(&stream, peer, || waiting.load(Ordering::Relaxed) > 0);
                    }
                };
                let spawned = blocking::thread().spawn_scoped(scope, worker);
                spawned.map_err(|error| format!("a thread of the pool cannot be started: {error}"))?;
            }
            while let Some(connection) = server.accept() {
                waiting.fetch_add(1, Ordering::Relaxed);
                if let Err(TrySendError::Full((stream, _)) | TrySendError::Disconnected((stream, _))) =
                    sender.try_send(connection)
                {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    refusals.push(Arc::new(stream));
                }
            }
            Ok(())
        })
    })
}

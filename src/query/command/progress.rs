//! How far a scan is, on a terminal: bytes scanned, and how fast.

use std::{
    io::{IsTerminal, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often the line is written anew; what takes less shows none.
const INTERVAL: Duration = Duration::from_millis(500);

/// Shows progress on standard error, if that is a terminal.
pub struct Meter<'a> {
    scanned_bytes: &'a AtomicU64,
    is_shown: bool,
}

impl<'a> Meter<'a> {
    pub fn new(scanned_bytes: &'a AtomicU64) -> Self {
        Self { scanned_bytes, is_shown: std::io::stderr().is_terminal() }
    }

    /// Does `work` and shows how far it is.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.is_shown {
            return work();
        }
        let (done, is_done) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let began = Instant::now();
                let mut has_shown = false;
                while is_done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    show(&line(self.scanned_bytes.load(Ordering::Relaxed), began.elapsed()));
                    has_shown = true;
                }
                if has_shown {
                    // The line gives way to the answer.
                    show("");
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

fn show(line: &str) {
    // A terminal that is gone is no reason to stop.
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
}

fn line(bytes: u64, elapsed: Duration) -> String {
    let (gigabytes, elapsed_s) = (bytes as f64 / 1e9, elapsed.as_secs_f64());
    format!("{gigabytes:.2} GB scanned  {:.2} GB/s  {elapsed_s:.1} s", gigabytes / elapsed_s.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_was_scanned() {
        assert_eq!(line(3_000_000_000, Duration::from_secs(2)), "3.00 GB scanned  1.50 GB/s  2.0 s");
        assert_eq!(Meter { scanned_bytes: &AtomicU64::new(0), is_shown: true }.run(|| 7), 7);
    }
}

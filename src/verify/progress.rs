//! What a check has done so far, on a terminal: lines, bytes, rate and the time that is left.

use std::{
    io::{IsTerminal, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(200);

/// What was done so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of files.
    pub file_bytes: AtomicU64,
    /// Bytes of lines, unpacked.
    pub bytes: AtomicU64,
    /// Whole lines.
    pub lines: AtomicU64,
}

/// Shows progress on standard error, if that is a terminal.
pub struct Meter<'a> {
    progress: &'a Progress,
    total_bytes: u64,
    is_shown: bool,
}

impl<'a> Meter<'a> {
    pub fn new(progress: &'a Progress, total_bytes: u64) -> Self {
        Self { progress, total_bytes, is_shown: std::io::stderr().is_terminal() }
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
                while is_done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    self.show(&self.line(began.elapsed()));
                }
                // The line gives way to the report.
                self.show("");
            });
            let result = work();
            drop(done);
            result
        })
    }

    fn show(&self, line: &str) {
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    fn line(&self, elapsed: Duration) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (file_bytes, bytes, lines) =
            (read(&self.progress.file_bytes), read(&self.progress.bytes), read(&self.progress.lines));
        let elapsed_s = elapsed.as_secs_f64().max(1e-9);
        let part = file_bytes as f64 / self.total_bytes.max(1) as f64;
        let left_s = if part > 0.0 { elapsed_s * (1.0 - part).max(0.0) / part } else { 0.0 };
        format!(
            "{:3.0} %  {:.2} GB  {:.1} million lines  {:.2} GB/s  {left_s:.0} s left",
            100.0 * part.min(1.0),
            bytes as f64 / 1e9,
            lines as f64 / 1e6,
            bytes as f64 / 1e9 / elapsed_s
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let progress = Progress::default();
        progress.file_bytes.store(500_000_000, Ordering::Relaxed);
        progress.bytes.store(1_000_000_000, Ordering::Relaxed);
        progress.lines.store(7_500_000, Ordering::Relaxed);
        let meter = Meter { progress: &progress, total_bytes: 2_000_000_000, is_shown: false };
        let line = meter.line(Duration::from_secs(2));
        assert_eq!(line, " 25 %  1.00 GB  7.5 million lines  0.50 GB/s  6 s left");
        assert_eq!(meter.run(|| 7), 7);
    }
}

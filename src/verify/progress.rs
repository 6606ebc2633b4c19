//! Progress of a check, and its progress line: lines, bytes, rate and the remaining time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Progress so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of files.
    pub file_bytes: AtomicU64,
    /// Bytes of lines, decompressed.
    pub bytes: AtomicU64,
    /// Whole lines.
    pub lines: AtomicU64,
}

impl Progress {
    /// The progress line, for `total_bytes` of files, after `elapsed`.
    pub fn line(&self, total_bytes: u64, elapsed: Duration) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (file_bytes, bytes, lines) = (read(&self.file_bytes), read(&self.bytes), read(&self.lines));
        let elapsed_s = elapsed.as_secs_f64().max(1e-9);
        let part = file_bytes as f64 / total_bytes.max(1) as f64;
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
        let line = progress.line(2_000_000_000, Duration::from_secs(2));
        assert_eq!(line, " 25 %  1.00 GB  7.5 million lines  0.50 GB/s  6 s left");
    }
}

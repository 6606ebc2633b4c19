//! What the disk itself takes to make an append durable: the denominator of latencies at the level `fsync`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

/// Appends of a page, each followed by fdatasync(2).
const SYNCS: usize = 500;
const APPEND_BYTES: usize = 4096;
/// A disk slower than that is measured by fewer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The 99th percentile of an append and its fdatasync(2) in `directory`, in microseconds, alone on the disk.
///
/// # Errors
/// As the system says.
pub fn sync_p99_us(directory: &Path) -> io::Result<f64> {
    let path = directory.join("disk");
    let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
    let began = Instant::now();
    let mut spans = Vec::with_capacity(SYNCS);
    while spans.len() < SYNCS && (spans.is_empty() || began.elapsed() < TIME_MAX) {
        let begin = Instant::now();
        file.write_all(&[b'x'; APPEND_BYTES])?;
        file.sync_data()?;
        spans.push(begin.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(p99(spans).as_secs_f64() * 1e6)
}

/// The nearest rank. There is at least one span.
fn p99(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[(spans.len() * 99).div_ceil(100) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_is_the_99th() {
        assert_eq!(p99((1..=100).map(Duration::from_millis).collect()), Duration::from_millis(99));
        assert_eq!(p99(vec![Duration::from_millis(7)]), Duration::from_millis(7));
    }

    #[test]
    fn a_sync_takes_time_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(sync_p99_us(directory.path()).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

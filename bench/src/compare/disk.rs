//! Cost of making appends durable on the disk itself: the denominators of latencies at the level `fsync`.

use serde::Serialize;
use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

/// Bytes appended before each fdatasync(2): a page.
const APPEND_BYTES: usize = 4096;

/// A disk that had nothing else to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DiskSyncs {
    /// An append and its fdatasync(2), 99th percentile in microseconds.
    pub disk_sync_p99_us: f64,
    /// Latency of a group commit that itself costs nothing, for requests that arrive at any time: each waits until the
    /// running sync is over, and for the next. 99th percentile in microseconds. A sync that takes long meets as many
    /// more requests as it takes longer, so a stall that is far beyond the other percentile may well be in this one.
    pub disk_group_commit_p99_us: f64,
}

/// Appends to a file in `directory`, and syncs it, for so long, but at least twice.
///
/// # Errors
/// As the system says.
pub fn measure(directory: &Path, length: Duration) -> io::Result<DiskSyncs> {
    let path = directory.join("disk");
    let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
    let began = Instant::now();
    let mut spans_us = Vec::new();
    while spans_us.len() < 2 || began.elapsed() < length {
        let begin = Instant::now();
        file.write_all(&[b'x'; APPEND_BYTES])?;
        file.sync_data()?;
        spans_us.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(&path)?;
    Ok(DiskSyncs { disk_group_commit_p99_us: group_commit_p99(&spans_us), disk_sync_p99_us: p99(spans_us) })
}

/// The nearest rank. There is at least one span.
fn p99(mut spans: Vec<f64>) -> f64 {
    spans.sort_by(f64::total_cmp);
    spans[(spans.len() * 99).div_ceil(100) - 1]
}

/// The wait that one of a hundred exceeds, of those who come at any time during all `spans` but the last, which follow
/// one another: the rest of a span and the whole of the next. There are at least two.
fn group_commit_p99(spans: &[f64]) -> f64 {
    // Who comes in a span `first` and still waits after `wait` came while more than `wait - next` of it was left.
    let exceeding =
        |wait: f64| -> f64 { spans.windows(2).map(|pair| pair[0] - (wait - pair[1]).clamp(0.0, pair[0])).sum() };
    let hundredth = spans[..spans.len() - 1].iter().sum::<f64>() / 100.0;
    let (mut low, mut high) = (0.0, 2.0 * spans.iter().copied().fold(0.0, f64::max));
    while high - low > 1e-6 * high {
        let middle = f64::midpoint(low, high);
        if exceeding(middle) > hundredth { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-3 * expected
    }

    #[test]
    fn the_99th_of_a_hundred_is_the_99th() {
        assert_eq!(p99((1..=100).map(f64::from).collect()), 99.0);
        assert_eq!(p99(vec![7.0]), 7.0);
    }

    #[test]
    fn on_an_even_disk_a_request_waits_for_two_syncs_at_most() {
        assert!(close(group_commit_p99(&[100.0; 50]), 199.0));
        assert!(close(group_commit_p99(&[100.0; 2]), 199.0));
    }

    #[test]
    fn a_stall_is_waited_for_by_those_who_come_in_it() {
        let mut spans = vec![1.0; 1000];
        spans[500] = 1000.0;
        // A hundredth of the 1,998 us waits longer: the whole of the span before the stall, and those of its first
        // 18.98 us.
        assert_eq!(p99(spans.clone()), 1.0);
        assert!(close(group_commit_p99(&spans), 982.0), "{}", group_commit_p99(&spans));
    }

    #[test]
    fn a_sync_takes_time_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let DiskSyncs { disk_sync_p99_us, disk_group_commit_p99_us } =
            measure(directory.path(), Duration::ZERO).unwrap();
        assert!(disk_sync_p99_us > 0.0 && disk_group_commit_p99_us > 0.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

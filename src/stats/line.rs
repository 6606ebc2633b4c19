//! The line of statistics, every `--stats-interval`: in the log, and shorter for the service manager. Each of its
//! fields is a statistic of the `registry`, by its place in the document of `/stats`, as it is of the interval that has
//! ended.

use super::{document, observer::Snapshot};
use std::fmt;

/// Declares the line: each field, the function that makes its value, and the place of its statistic.
macro_rules! line {
    ($($field:ident: $value:ty = $read:ident($place:literal);)*) => {
        /// The statistics of an interval that has ended, and of the moment of its end. Times are in microseconds;
        /// ratios are in per cent, and 100 of success says that all went well. A value that is unavailable is left out.
        #[derive(Debug)]
        pub struct Line {
            $($field: Option<$value>,)*
            log: String,
        }

        impl Line {
            /// The statistics of the last interval.
            pub fn of(snapshot: &Snapshot<'_>) -> Self {
                let interval = &snapshot.of_interval();
                Self { $($field: $read(interval, $place),)* log: text(interval, "log/health") }
            }

            /// Logs all statistics.
            pub fn log(&self) {
                tracing::info!($($field = self.$field,)* log = %self.log, "statistics");
            }
        }

        /// The places of the statistics.
        #[cfg(test)]
        const PLACES: &[&str] = &[$($place,)* "log/health"];
    };
}

line! {
    connections: u64 = sum("connections/active");
    batches_per_second: f64 = rounded("interval/batches_per_second");
    success_percent: f64 = percent("interval/success_ratio");
    failure_percent: f64 = percent("interval/failure_ratio");
    metrics_stored: u64 = sum("metrics_stored");
    rejected: u64 = sum("batches/rejected");
    shed: u64 = sum("batches/shed");
    p50_us: f64 = real("latency_us/p50");
    p95_us: f64 = real("latency_us/p95");
    p99_us: f64 = real("latency_us/p99");
    queued_bytes: u64 = sum("queued_bytes");
    queued_bytes_max: u64 = greatest("reactors/queued_bytes_max");
    bursts_held: u64 = sum("reactors/bursts_held");
    longest_turn_us: f64 = real("turn_us/max");
    rss_bytes: u64 = sum("process/resident_bytes");
    memory_bytes: u64 = sum("memory_bytes");
    descriptors: u64 = sum("process/open_descriptors");
    reactors_silent: u64 = sum("reactors_silent");
}

/// The sum of a statistic over its owners and its labels.
fn sum(snapshot: &Snapshot<'_>, place: &str) -> Option<u64> {
    document::values(snapshot, place).iter().map(serde_json::Value::as_u64).sum()
}

/// The greatest value of a statistic among its owners and its labels.
fn greatest(snapshot: &Snapshot<'_>, place: &str) -> Option<u64> {
    document::values(snapshot, place).iter().filter_map(serde_json::Value::as_u64).max()
}

fn real(snapshot: &Snapshot<'_>, place: &str) -> Option<f64> {
    document::values(snapshot, place).first()?.as_f64()
}

fn rounded(snapshot: &Snapshot<'_>, place: &str) -> Option<f64> {
    real(snapshot, place).map(f64::round)
}

/// A ratio in per cent, to two digits.
fn percent(snapshot: &Snapshot<'_>, place: &str) -> Option<f64> {
    real(snapshot, place).map(|ratio| (ratio * 10_000.0).round() / 100.0)
}

fn text(snapshot: &Snapshot<'_>, place: &str) -> String {
    document::values(snapshot, place).first().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// The statistics that fit in a line of `systemctl status`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Option::unwrap_or_default;
        let time = Option::unwrap_or_default;
        write!(
            f,
            "{} connections, {} batches/s, {} % stored, p50 {:.0} us, p99 {:.0} us, {} bytes queued, log {}",
            number(self.connections),
            time(self.batches_per_second),
            time(self.success_percent),
            time(self.p50_us),
            time(self.p99_us),
            number(self.queued_bytes),
            self.log,
        )?;
        match number(self.reactors_silent) {
            0 => Ok(()),
            silent => write!(f, ", {silent} reactors silent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_line_is_a_statistic_of_the_registry() {
        for place in PLACES {
            assert!(document::has_place(place), "{place} is no place of the table");
        }
    }
}

//! The line of statistics, every `--stats-interval`: in the log, and shorter for the service manager.

use super::{document::ratio, exposition::in_units, observer::Snapshot};
use log::LogHealth;
use std::fmt;

/// The figures of an interval that has ended, and of the moment of its end. Times are in microseconds; ratios are in
/// per cent, and 100 of success says that all went well.
#[derive(Debug)]
pub struct Line {
    connections: u64,
    batches_per_second: f64,
    success_percent: f64,
    failure_percent: f64,
    metrics_stored: u64,
    rejected: u64,
    shed: u64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    queued_bytes: u64,
    queued_bytes_max: u64,
    bursts_held: u64,
    longest_turn_us: f64,
    rss_bytes: Option<u64>,
    memory_bytes: u64,
    descriptors: Option<u64>,
    reactors_silent: usize,
    log: LogHealth,
}

impl Line {
    /// The statistics of the last interval.
    pub fn of(snapshot: &Snapshot<'_>) -> Self {
        let (counters, cores) = (snapshot.interval.counters, &snapshot.interval.measures.cores);
        let sum = |of: fn(&super::Report) -> u64| snapshot.collected.reports().map(of).sum::<u64>();
        let decided = counters.batches_stored + counters.rejected() + counters.shed();
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
        let batches_per_second =
            (counters.batches_received as f64 / snapshot.interval.length.as_secs_f64().max(1e-9)).round();
        let success_percent = (ratio(counters.batches_stored, decided) * 10_000.0).round() / 100.0;
        let microseconds = |quantile: f64| in_units(cores.batch_ns.quantile(quantile), 1_000);
        Self {
            connections: sum(|report| report.connections_active),
            batches_per_second,
            success_percent,
            failure_percent: (10_000.0 - 100.0 * success_percent).round() / 100.0,
            metrics_stored: counters.metrics_stored,
            rejected: counters.rejected(),
            shed: counters.shed(),
            p50_us: microseconds(0.5),
            p95_us: microseconds(0.95),
            p99_us: microseconds(0.99),
            queued_bytes: sum(|report| report.queued_bytes),
            queued_bytes_max: snapshot.collected.reports().map(|report| report.queued_bytes_max).max().unwrap_or(0),
            bursts_held: sum(|report| report.bursts_held),
            longest_turn_us: in_units(cores.turn_ns.max(), 1_000),
            rss_bytes: snapshot.process.resident_bytes,
            memory_bytes: snapshot.memory().iter().map(|(_, bytes)| bytes).sum::<u64>(),
            descriptors: snapshot.process.open_descriptors,
            reactors_silent: snapshot.collected.silent(),
            log: snapshot.log.health(),
        }
    }

    /// Logs all statistics.
    pub fn log(&self) {
        tracing::info!(
            connections = self.connections,
            batches_per_second = self.batches_per_second,
            success_percent = self.success_percent,
            failure_percent = self.failure_percent,
            metrics_stored = self.metrics_stored,
            rejected = self.rejected,
            shed = self.shed,
            p50_us = self.p50_us,
            p95_us = self.p95_us,
            p99_us = self.p99_us,
            queued_bytes = self.queued_bytes,
            queued_bytes_max = self.queued_bytes_max,
            bursts_held = self.bursts_held,
            longest_turn_us = self.longest_turn_us,
            rss_bytes = self.rss_bytes,
            memory_bytes = self.memory_bytes,
            descriptors = self.descriptors,
            reactors_silent = self.reactors_silent,
            log = %self.log,
            "statistics",
        );
    }
}

/// The statistics that fit in a line of `systemctl status`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} batches/s, {} % stored, p50 {:.0} us, p99 {:.0} us, {} bytes queued, log {}",
            self.connections,
            self.batches_per_second,
            self.success_percent,
            self.p50_us,
            self.p99_us,
            self.queued_bytes,
            self.log,
        )?;
        match self.reactors_silent {
            0 => Ok(()),
            silent => write!(f, ", {silent} reactors silent"),
        }
    }
}

//! The line of figures in the log, every `--stats-interval`.

use super::{document::ratio, exposition::in_units, observer::Snapshot};

/// Logs the figures of the interval that has just ended. Times are in microseconds, ratios of 1 say that all went well.
pub fn log(snapshot: &Snapshot<'_>) {
    let (counters, cores) = (snapshot.interval.counters, &snapshot.interval.measures.cores);
    let sum = |of: fn(&super::Report) -> u64| snapshot.collected.reports().map(of).sum::<u64>();
    let decided = counters.batches_stored + counters.rejected() + counters.shed();
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
    let batches_per_second =
        (counters.batches_received as f64 / snapshot.interval.length.as_secs_f64().max(1e-9)).round();
    let percent = |part: u64| (ratio(part, decided) * 10_000.0).round() / 100.0;
    let microseconds = |quantile: f64| in_units(cores.batch_ns.quantile(quantile), 1_000);
    tracing::info!(
        connections = sum(|report| report.connections_active),
        batches_per_second,
        success_percent = percent(counters.batches_stored),
        failure_percent = (10_000.0 - 100.0 * percent(counters.batches_stored)).round() / 100.0,
        metrics_stored = counters.metrics_stored,
        rejected = counters.rejected(),
        shed = counters.shed(),
        p50_us = microseconds(0.5),
        p95_us = microseconds(0.95),
        p99_us = microseconds(0.99),
        queued_bytes = sum(|report| report.queued_bytes),
        queued_bytes_max = snapshot.collected.reports().map(|report| report.queued_bytes_max).max().unwrap_or(0),
        bursts_held = sum(|report| report.bursts_held),
        longest_turn_us = in_units(cores.turn_ns.max(), 1_000),
        rss_bytes = snapshot.process.resident_bytes,
        memory_bytes = snapshot.memory().iter().map(|(_, bytes)| bytes).sum::<u64>(),
        descriptors = snapshot.process.open_descriptors,
        reactors_silent = snapshot.collected.silent(),
        log = %snapshot.log.health(),
        "statistics",
    );
}

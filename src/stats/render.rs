//! Statistics as documents: JSON for people and scripts, and the Prometheus text format.

use super::{Closed, Counters, Rejection, Shed, observer::Snapshot, process};
use crate::http::Status;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The quantiles that are shown.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99_9")];

fn by_label<'a>(labels: impl Iterator<Item = &'a str>, counts: &[u64]) -> Value {
    Value::Object(labels.zip(counts).map(|(label, &count)| (label.to_owned(), json!(count))).collect::<Map<_, _>>())
}

/// The whole state as one JSON document.
pub fn json(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let counters = &snapshot.counters;
    let latency = &snapshot.latency_us;
    let mut latency_us: Map<String, Value> = QUANTILES
        .iter()
        .map(|&(quantile, name)| (name.to_owned(), json!(latency.value_at_quantile(quantile))))
        .collect();
    latency_us.insert("count".into(), json!(latency.len()));
    latency_us.insert("max".into(), json!(latency.max()));
    let answers: Map<String, Value> = Status::ALL
        .iter()
        .zip(counters.answers)
        .map(|(status, count)| (status.code().to_string(), json!(count)))
        .collect();
    let totals = snapshot.ledger.totals();
    let log = snapshot.log.counts();
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": snapshot.facts.started.elapsed().as_secs(),
        "driver": snapshot.facts.driver,
        "ack": snapshot.facts.ack,
        "draining": snapshot.draining,
        "batches": {
            "received": counters.batches_received,
            "stored": counters.batches_stored,
            "rejected": counters.rejected(),
            "shed": counters.shed(),
            "pending": counters.pending(),
            "rejected_by": by_label(Rejection::ALL.iter().map(|reason| reason.label()), &counters.batches_rejected),
            "shed_by": by_label(Shed::ALL.iter().map(|reason| reason.label()), &counters.batches_shed),
        },
        "metrics_stored": counters.metrics_stored,
        "body_bytes": counters.body_bytes,
        "line_bytes": counters.line_bytes,
        "answers": answers,
        "answers_abandoned": counters.answers_abandoned,
        "latency_us": latency_us,
        "connections": {
            "active": snapshot.reports.iter().map(|report| report.connections_active).sum::<u64>(),
            "accepted": counters.connections_accepted,
            "refused": counters.connections_refused,
            "accept_failures": counters.accept_failures,
            "closed_by": by_label(Closed::ALL.iter().map(|reason| reason.label()), &counters.connections_closed),
        },
        "limiter": snapshot.limiter.map(|limiter| json!({
            "clients": limiter.clients,
            "memory_bytes": limiter.memory_bytes,
            "allowed": totals.allowed,
            "refused": totals.refused,
            "events_dropped": totals.dropped,
        })),
        "log": {
            "health": snapshot.log.health().to_string(),
            "unclean_shutdowns": snapshot.facts.unclean_shutdowns,
            "written_bytes": log.bytes,
            "writevs": log.writevs,
            "gathers": log.gathers,
            "short_writes": log.short_writes,
            "stalls": log.stalls,
            "fsyncs": log.fsyncs,
            "writer_sleeps": log.sleeps,
            "wakes": log.rings,
        },
        "process": {
            "resident_bytes": process::resident_bytes(),
            "open_descriptors": process::open_descriptors(),
        },
        "reactors": snapshot.reports.iter().map(|report| json!({
            "reactor": report.reactor,
            "connections_active": report.connections_active,
            "queued_bytes": report.queued_bytes,
            "queued_bytes_max": report.queued_bytes_max,
            "ring_bytes": report.ring_bytes,
            "turns": report.driver.turns,
            "enters": report.driver.enters,
            "completions": report.driver.completions,
            "buffers_exhausted": report.driver.buffers_exhausted,
            "rearms": report.driver.rearms,
            "overflows": report.driver.overflows,
            "short_sends": report.driver.short_sends,
            "accept_pauses": report.driver.accept_pauses,
        })).collect::<Vec<_>>(),
        "reactors_silent": snapshot.reactors - snapshot.reports.len(),
    });
    let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    text.push(b'\n');
    text
}

/// One family of the Prometheus text format: its head, then a sample for each label value.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(text: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Self { text, name }
    }

    fn sample(self, value: u64) -> Self {
        let _ = writeln!(self.text, "{} {value}", self.name);
        self
    }

    fn labelled(self, label: &str, value_of_label: &str, value: u64) -> Self {
        let _ = writeln!(self.text, "{}{{{label}=\"{value_of_label}\"}} {value}", self.name);
        self
    }
}

/// The state in the Prometheus text format, version 0.0.4.
pub fn prometheus(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(8 * 1024);
    let text_ref = &mut text;
    let log = snapshot.log.counts();
    let counters: &Counters = &snapshot.counters;
    let sum = |of: fn(&super::Report) -> u64| snapshot.reports.iter().map(of).sum::<u64>();

    Family::new(text_ref, "metricstream_build_info", "gauge", "Version of this server.").labelled(
        "version",
        env!("CARGO_PKG_VERSION"),
        1,
    );
    Family::new(text_ref, "metricstream_batches_received_total", "counter", "Batches that came in.")
        .sample(counters.batches_received);
    Family::new(text_ref, "metricstream_batches_stored_total", "counter", "Batches stored at the level asked for.")
        .sample(counters.batches_stored);
    let mut family =
        Family::new(text_ref, "metricstream_batches_rejected_total", "counter", "Batches rejected, by reason.");
    for (reason, &count) in Rejection::ALL.iter().zip(&counters.batches_rejected) {
        family = family.labelled("reason", reason.label(), count);
    }
    let mut family = Family::new(text_ref, "metricstream_batches_shed_total", "counter", "Batches shed, by reason.");
    for (reason, &count) in Shed::ALL.iter().zip(&counters.batches_shed) {
        family = family.labelled("reason", reason.label(), count);
    }
    Family::new(text_ref, "metricstream_batches_pending", "gauge", "Batches being received or waiting for the log.")
        .sample(counters.pending());
    Family::new(text_ref, "metricstream_metrics_stored_total", "counter", "Metrics stored.")
        .sample(counters.metrics_stored);
    Family::new(text_ref, "metricstream_body_bytes_total", "counter", "Bytes of decoded bodies that were parsed.")
        .sample(counters.body_bytes);
    Family::new(text_ref, "metricstream_line_bytes_total", "counter", "Bytes of lines handed to the writer.")
        .sample(counters.line_bytes);
    let mut family = Family::new(text_ref, "metricstream_http_answers_total", "counter", "Answers given, by status.");
    for (status, &count) in Status::ALL.iter().zip(&counters.answers) {
        family = family.labelled("status", &status.code().to_string(), count);
    }
    Family::new(text_ref, "metricstream_connections", "gauge", "Connections open.")
        .sample(sum(|report| report.connections_active));
    Family::new(text_ref, "metricstream_connections_accepted_total", "counter", "Connections taken in and served.")
        .sample(counters.connections_accepted);
    Family::new(
        text_ref,
        "metricstream_connections_refused_total",
        "counter",
        "Connections answered 503 at the bound.",
    )
    .sample(counters.connections_refused);
    let mut family =
        Family::new(text_ref, "metricstream_connections_closed_total", "counter", "Connections ended, by reason.");
    for (reason, &count) in Closed::ALL.iter().zip(&counters.connections_closed) {
        family = family.labelled("reason", reason.label(), count);
    }
    Family::new(text_ref, "metricstream_ring_queued_bytes", "gauge", "Bytes that wait for the writer.")
        .sample(sum(|report| report.queued_bytes));
    Family::new(text_ref, "metricstream_ring_size_bytes", "gauge", "Size of all rings to the writer.")
        .sample(sum(|report| report.ring_bytes));
    Family::new(text_ref, "metricstream_log_written_bytes_total", "counter", "Bytes written to the log.")
        .sample(log.bytes);
    Family::new(text_ref, "metricstream_log_writes_total", "counter", "Calls of writev(2).").sample(log.writevs);
    Family::new(text_ref, "metricstream_log_syncs_total", "counter", "Calls of fdatasync(2).").sample(log.fsyncs);
    Family::new(
        text_ref,
        "metricstream_log_available",
        "gauge",
        "1 when the log takes data, 0 when the disk is full or failing.",
    )
    .sample(u64::from(snapshot.log.health().is_healthy()));
    if let Some(limiter) = snapshot.limiter {
        let totals = snapshot.ledger.totals();
        Family::new(text_ref, "metricstream_limiter_clients", "gauge", "Clients the limiter remembers.")
            .sample(limiter.clients as u64);
        Family::new(text_ref, "metricstream_limiter_decisions_total", "counter", "Decisions of the limiter.")
            .labelled("decision", "allowed", totals.allowed)
            .labelled("decision", "refused", totals.refused);
    }
    if let Some(bytes) = process::resident_bytes() {
        Family::new(text_ref, "process_resident_memory_bytes", "gauge", "Resident memory.").sample(bytes);
    }
    if let Some(count) = process::open_descriptors() {
        Family::new(text_ref, "process_open_fds", "gauge", "Open descriptors.").sample(count);
    }
    latency(text_ref, snapshot);
    text.into_bytes()
}

/// The latency as a summary in seconds.
fn latency(text: &mut String, snapshot: &Snapshot<'_>) {
    const NAME: &str = "metricstream_request_duration_seconds";
    let latency = &snapshot.latency_us;
    #[allow(clippy::cast_precision_loss)] // Microseconds of at most a minute.
    let seconds = |microseconds: u64| microseconds as f64 / 1e6;
    let _ = writeln!(
        text,
        "# HELP {NAME} From the receipt of a request's last bytes to the hand-over of its answer.\n# TYPE {NAME} summary"
    );
    for (quantile, _) in QUANTILES {
        let _ = writeln!(text, "{NAME}{{quantile=\"{quantile}\"}} {}", seconds(latency.value_at_quantile(quantile)));
    }
    #[allow(clippy::cast_precision_loss)]
    let sum = latency.mean() * latency.len() as f64 / 1e6;
    let _ = writeln!(text, "{NAME}_sum {sum}\n{NAME}_count {}", latency.len());
}

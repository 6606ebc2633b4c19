//! `GET /stats`: the whole state as one JSON document, for people and scripts.

use super::{
    Closed, Counters, Distribution, Protocol, Rejection, Shed, Stage, Untraced,
    collector::Span,
    exposition::in_units,
    observer::{LimiterFigures, Snapshot},
};
use crate::{
    logging,
    stats::{ForwardStatus, Outcome, RefusedBy, StreamEnd},
};
use http1::{REASONS, Status};
use log::os::dirent;
use metric::{Reject, Skip};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// The quantiles in the document.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99_9")];
/// Nanoseconds shown as microseconds.
const MICROSECONDS: u64 = 1_000;

fn by_label<'a>(labels: impl Iterator<Item = &'a str>, counts: &[u64]) -> Value {
    Value::Object(labels.zip(counts).map(|(label, &count)| (label.to_owned(), json!(count))).collect::<Map<_, _>>())
}

/// The fraction `part / whole`; 1 if `whole` is 0, because nothing failed.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { in_units(part, whole) }
}

/// Quantiles, maximum and count.
fn quantiles(distribution: &Distribution, per_unit: u64) -> Map<String, Value> {
    let shown = |value: u64| if per_unit == 1 { json!(value) } else { json!(in_units(value, per_unit)) };
    let mut map: Map<String, Value> =
        QUANTILES.iter().map(|&(quantile, name)| (name.to_owned(), shown(distribution.quantile(quantile)))).collect();
    map.insert("max".into(), shown(distribution.max()));
    map.insert("count".into(), json!(distribution.count()));
    map
}

/// Quantiles of a distribution since startup, with those of the last interval inside.
fn both(snapshot: &Snapshot<'_>, per_unit: u64, of: impl Fn(&Span<'_>) -> Distribution) -> Value {
    let mut map = quantiles(&of(&snapshot.all), per_unit);
    map.insert("interval".into(), Value::Object(quantiles(&of(&snapshot.interval), per_unit)));
    Value::Object(map)
}

/// Rates per second, and the fractions of success and failure.
fn rates(span: &Span<'_>) -> Value {
    let seconds = span.length.as_secs_f64().max(f64::EPSILON);
    let counters = span.counters;
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
    let per_second = |count: u64| json!((count as f64 / seconds * 10.0).round() / 10.0);
    let decided = counters.batches_stored + counters.rejected() + counters.shed();
    json!({
        "seconds": seconds,
        "requests_per_second": per_second(counters.requests()),
        "connections_per_second": per_second(counters.connections_accepted),
        "batches_per_second": per_second(counters.batches_received),
        "metrics_per_second": per_second(counters.metrics_stored),
        "body_bytes_per_second": per_second(counters.body_bytes_received),
        "line_bytes_per_second": per_second(counters.line_bytes),
        "success_ratio": ratio(counters.batches_stored, decided),
        "failure_ratio": 1.0 - ratio(counters.batches_stored, decided),
        "rejected_ratio": 1.0 - ratio(decided - counters.rejected(), decided),
        "shed_ratio": 1.0 - ratio(decided - counters.shed(), decided),
    })
}

fn batches(counters: &Counters) -> Value {
    json!({
        "received": counters.batches_received,
        "stored": counters.batches_stored,
        "rejected": counters.rejected(),
        "shed": counters.shed(),
        "pending": counters.pending(),
        "rejected_by": by_label(Rejection::ALL.iter().map(|reason| reason.label()), &counters.batches_rejected),
        "shed_by": by_label(Shed::ALL.iter().map(|reason| reason.label()), &counters.batches_shed),
    })
}

/// Batches and metrics by protocol.
fn protocols(counters: &Counters) -> Value {
    let of = |protocol: &Protocol| {
        let index = *protocol as usize;
        let [received, stored, rejected, shed] = [
            counters.protocol_batches_received[index],
            counters.protocol_batches_stored[index],
            counters.protocol_batches_rejected[index],
            counters.protocol_batches_shed[index],
        ];
        let metrics = [
            counters.protocol_metrics_received[index],
            counters.protocol_metrics_stored[index],
            counters.protocol_metrics_rejected[index],
        ];
        let value = json!({
            "batches_received": received,
            "batches_stored": stored,
            "batches_rejected": rejected,
            "batches_shed": shed,
            "batches_pending": received - stored - rejected - shed,
            "metrics_received": metrics[0],
            "metrics_stored": metrics[1],
            "metrics_rejected": metrics[2],
            "metrics_pending": metrics[0] - metrics[1] - metrics[2],
        });
        (protocol.label().to_owned(), value)
    };
    Value::Object(Protocol::ALL.iter().map(of).collect::<Map<_, _>>())
}

fn log(snapshot: &Snapshot<'_>) -> Value {
    let log = snapshot.log.counts();
    json!({
        "health": snapshot.log.health().to_string(),
        "unclean_shutdowns": snapshot.facts.unclean_shutdowns,
        "file_system": snapshot.facts.file_system,
        "written_bytes": log.bytes,
        "writevs": log.writevs,
        "gathers": log.gathers,
        "short_writes": log.short_writes,
        "stalls": log.stalls,
        "fsyncs": log.fsyncs,
        "rotations": log.rotations,
        "rotations_postponed": log.rotations_postponed,
        "changed_outside": log.changed_outside,
        "directory_syncs_unsupported": dirent::syncs_unsupported(),
        "troubles": snapshot.log.troubles().list(),
        "state_files_lost": log.notes_lost,
        "writer_sleeps": log.sleeps,
        "wakes": log.wakeups,
        "batches_per_writev": if log.writevs == 0 { 0.0 } else { in_units(snapshot.all.counters.batches_stored, log.writevs) },
        "writev_us": both(snapshot, MICROSECONDS, |span| span.measures.writev_ns.clone()),
        "writev_bytes": both(snapshot, 1, |span| span.measures.writev_bytes.clone()),
        "fsync_us": both(snapshot, MICROSECONDS, |span| span.measures.sync_ns.clone()),
    })
}

fn segments(snapshot: &Snapshot<'_>) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let maintenance = snapshot.maintenance;
    json!({
        "sealed": read(&maintenance.segments),
        "bytes": read(&maintenance.segment_bytes),
        "indexed": read(&maintenance.indexed),
        "foreign_lines": read(&maintenance.foreign_lines),
        "compressed": read(&maintenance.compressed),
        "compressed_from_bytes": read(&maintenance.compressed_from_bytes),
        "compressed_to_bytes": read(&maintenance.compressed_to_bytes),
        "retired": read(&maintenance.retired),
        "retired_bytes": read(&maintenance.retired_bytes),
        "forfeited": read(&maintenance.forfeited),
        "held_bytes": read(&maintenance.held_bytes),
        "held_bytes_limit": snapshot.facts.forward_hold_bytes,
        "failures": read(&maintenance.failures),
        "damaged": read(&maintenance.damaged),
        "clock_steps": read(&maintenance.clock_steps),
        "age_held_back": read(&maintenance.age_held_back) > 0,
        "rounds": read(&maintenance.rounds),
        "disk_bytes": read(&maintenance.disk_bytes),
        "disk_free_bytes": read(&maintenance.disk_free_bytes),
    })
}

fn traces(snapshot: &Snapshot<'_>) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (counters, exported) = (snapshot.all.counters, snapshot.exported);
    json!({
        "recorded": counters.traced,
        "dropped_by": by_label(Untraced::ALL.iter().map(|reason| reason.label()), &counters.untraced),
        "exported": read(&exported.traces),
        "failed": read(&exported.traces_failed),
        "spans_exported": read(&exported.spans),
        "figures_exported": read(&exported.figures),
        "figures_failed": read(&exported.figures_failed),
    })
}

fn forwards(snapshot: &Snapshot<'_>) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let one = |status: &ForwardStatus| {
        json!({
            "name": status.name,
            "delivered": read(&status.delivered),
            "requests": read(&status.requests),
            "refused_by": by_label(RefusedBy::ALL.iter().map(|by| by.label()), &status.refused.each_ref().map(read)),
            "superseded": read(&status.superseded),
            "foreign_lines": read(&status.foreign_lines),
            "retries": read(&status.retries),
            "gaps": read(&status.gaps),
            "cursor_failures": read(&status.cursor_failures),
            "undelivered_lines": status.hold.lost_lines(),
            "undelivered_bytes": status.hold.lost_bytes(),
            "bytes_behind": read(&status.bytes_behind),
            "seconds_behind": status.seconds_behind(),
            "last_error": status.last_error(),
        })
    };
    snapshot.forwards.iter().map(|status| one(status)).collect()
}

fn queries(snapshot: &Snapshot<'_>) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let queries = snapshot.queries;
    let ended: Map<String, Value> =
        Outcome::ALL.iter().map(|&outcome| (outcome.label().to_owned(), json!(queries.ended(outcome)))).collect();
    json!({
        "threads": queries.threads,
        "received": queries.received(),
        "waiting": queries.waiting(),
        "running": queries.running(),
        "unread": queries.unread(),
        "log_waiting": queries.log_waiting(),
        "ended_by": ended,
        "scanned_bytes": read(&queries.scanned_bytes),
        "read_bytes": read(&queries.read_bytes),
        "foreign_lines": read(&queries.foreign_lines),
        "answer_bytes": read(&queries.body_bytes),
        "pieces": read(&queries.pieces),
        "duration_us": quantiles(&queries.durations(), MICROSECONDS),
    })
}

fn live_page(snapshot: &Snapshot<'_>) -> Value {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let streams = snapshot.streams;
    let ended: Map<String, Value> =
        StreamEnd::ALL.iter().map(|&how| (how.label().to_owned(), json!(streams.ended(how)))).collect();
    json!({
        "streams": streams.active(),
        "streams_opened": streams.opened(),
        "streams_refused": streams.refused(),
        "streams_ended_by": ended,
        "points": read(&streams.points),
        "bytes": read(&streams.bytes),
    })
}

fn limiter(snapshot: &Snapshot<'_>, limiter: LimiterFigures) -> Value {
    let counters = snapshot.all.counters;
    json!({
        "clients": limiter.clients,
        "memory_bytes": limiter.memory_bytes,
        "allowed": counters.rate_admitted,
        "given_back": counters.rate_refunded,
        "refused": counters.batches_rejected[Rejection::RateLimited as usize],
        "no_room": counters.batches_shed[Shed::ClientsFull as usize],
        "events_dropped": snapshot.top_clients.totals().dropped,
    })
}

fn reactors(snapshot: &Snapshot<'_>) -> Value {
    let each = snapshot.collected.reports().map(|report| {
        let driver = report.driver;
        json!({
            "reactor": report.reactor,
            "connections_active": report.connections_active,
            "queued_bytes": report.queued_bytes,
            "queued_bytes_max": report.queued_bytes_max,
            "held_bytes": report.held_bytes,
            "held_bytes_limit": report.held_bytes_limit,
            "ring_bytes": report.ring_bytes,
            "bursts_held": report.bursts_held,
            "turns": driver.turns,
            "turns_stalled": report.counters.turns_stalled,
            "turns_full": report.counters.turns_full,
            "enters": driver.enters,
            "completions": driver.completions,
            "completions_per_enter": if driver.enters == 0 { 0.0 } else { in_units(driver.completions, driver.enters) },
            "buffers_exhausted": driver.buffers_exhausted,
            "rearms": driver.rearms,
            "overflows": driver.overflows,
            "short_sends": driver.short_sends,
            "accept_pauses": driver.accept_pauses,
            "timers_fired": report.counters.timers_fired,
        })
    });
    each.collect()
}

fn process(snapshot: &Snapshot<'_>) -> Value {
    let process = &snapshot.process;
    json!({
        "resident_bytes": process.resident_bytes,
        "virtual_bytes": process.virtual_bytes,
        "cpu_seconds": process.cpu_seconds,
        "threads": process.threads,
        "open_descriptors": process.open_descriptors,
        "descriptors_limit": process.descriptors_limit,
    })
}

fn stages(snapshot: &Snapshot<'_>) -> Map<String, Value> {
    let stage = |&stage: &Stage| {
        let of = |span: &Span<'_>| span.measures.cores.stage_ns[stage as usize].clone();
        (stage.label().to_owned(), both(snapshot, MICROSECONDS, of))
    };
    Stage::ALL.iter().map(stage).collect()
}

/// The document.
pub fn document(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let counters = snapshot.all.counters;
    let answers: Map<String, Value> =
        Status::ALL.iter().map(|status| (status.code().to_string(), json!(counters.answered(*status)))).collect();
    let refused_by: Map<String, Value> =
        REASONS.iter().zip(counters.refused).map(|((reason, _), count)| ((*reason).to_owned(), json!(count))).collect();
    let memory: Map<String, Value> =
        snapshot.memory().into_iter().map(|(owner, bytes)| (owner.to_owned(), json!(bytes))).collect();
    let sum = |of: fn(&super::Report) -> u64| snapshot.collected.reports().map(of).sum::<u64>();
    let mut document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": snapshot.all.length.as_secs(),
        "driver": snapshot.facts.driver,
        "ack": snapshot.facts.ack,
        "clock_source": snapshot.facts.clock_source,
        "ready": snapshot.unready().is_empty(),
        "draining": snapshot.draining,
        "batches": batches(counters),
        "metrics_received": counters.metrics_received,
        "metrics_stored": counters.metrics_stored,
        "metrics_rejected": counters.metrics_rejected,
        "metrics_pending": counters.metrics_pending(),
        "metrics_far_from_now": counters.metrics_far_from_now,
        "body_bytes": {
            "received": counters.body_bytes_received,
            "stored": counters.body_bytes_stored,
            "rejected": counters.body_bytes_rejected,
            "shed": counters.body_bytes_shed,
            "pending": counters.body_bytes_pending(),
        },
        "line_bytes": counters.line_bytes,
        "answers": answers,
        "refused_by": refused_by,
        "answers_abandoned": counters.answers_abandoned,
        "since_start": rates(&snapshot.all),
        "interval": rates(&snapshot.interval),
        "latency_us": both(snapshot, MICROSECONDS, |span| span.measures.cores.batch_ns.clone()),
        "other_latency_us": both(snapshot, MICROSECONDS, |span| span.measures.cores.other_ns.clone()),
        "stages_us": stages(snapshot),
        "batch_metrics": both(snapshot, 1, |span| span.measures.cores.batch_metrics.clone()),
        "batch_body_bytes": both(snapshot, 1, |span| span.measures.cores.batch_body_bytes.clone()),
        "turn_us": both(snapshot, MICROSECONDS, |span| span.measures.cores.turn_ns.clone()),
        "turns_stalled": counters.turns_stalled,
        "turns_full": counters.turns_full,
        "timers_fired": counters.timers_fired,
        "warnings_suppressed": counters.warnings_suppressed,
        "queued_bytes": sum(|report| report.queued_bytes),
        "connections": {
            "active": sum(|report| report.connections_active),
            "limit": snapshot.facts.connections_limit,
            "accepted": counters.connections_accepted,
            "refused": counters.connections_refused,
            "accept_failures": counters.accept_failures,
            "proxy_headers": counters.proxy_headers,
            "forwarded_requests": counters.forwarded_requests,
            "forwarded_unusable": counters.forwarded_unusable,
            "closed_by": by_label(Closed::ALL.iter().map(|reason| reason.label()), &counters.connections_closed),
        },
        "limiter": snapshot.limiter.map(|figures| limiter(snapshot, figures)),
        "log": log(snapshot),
        "segments": segments(snapshot),
        "traces": traces(snapshot),
        "memory_bytes": memory,
        "process": process(snapshot),
        "reactors": reactors(snapshot),
        "reactors_silent": snapshot.collected.silent(),
    });
    // Not in it: the macro goes no deeper.
    document["queries"] = queries(snapshot);
    document["live_page"] = live_page(snapshot);
    document["forwards"] = forwards(snapshot);
    document["protocols"] = protocols(counters);
    document["metrics_rejected_alone_by"] =
        by_label(Reject::ALL.iter().map(|reason| reason.label()), &counters.metrics_rejected_alone);
    document["elements_skipped_by"] = by_label(Skip::ALL.iter().map(|kind| kind.label()), &counters.elements_skipped);
    let lines = logging::counts();
    document["log_lines"] =
        json!({ "written": lines.written, "dropped": lines.dropped, "queued_bytes": lines.queued_bytes });
    super::observer::pretty(&document)
}

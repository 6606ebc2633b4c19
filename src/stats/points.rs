//! Points of the live page: what happened in one second, and in one minute, from the same counters as `/stats`. The
//! observer makes each once, as JSON; the threads that show them share those bytes.

use super::{
    Counters, Distribution, Rejection, Shed, Stage,
    collector::Measures,
    exposition::in_units,
    observer::Snapshot,
    threads::{CpuTimes, ThreadTimes},
};
use http1::{REASONS, Status};
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The time that a point covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointSpan {
    /// One second.
    Second,
    /// One minute.
    Minute,
}

impl PointSpan {
    /// Length of the span, in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
        }
    }

    const fn length(self) -> Duration {
        Duration::from_secs(self.seconds())
    }
}

/// Update that the observer sends to the thread of the streams.
#[derive(Debug, Clone)]
pub enum Update {
    /// A point.
    Point {
        /// The time that it covers.
        span: PointSpan,
        /// The point, a JSON object.
        json: Arc<[u8]>,
    },
    /// The clients and the last refusals.
    Who {
        /// The line of the stream.
        line: Arc<[u8]>,
    },
}

/// The counts at one moment: a point is the difference of two.
#[derive(Debug)]
struct Moment {
    at: Instant,
    counters: Counters,
    writevs: u64,
    written_bytes: u64,
    queries_received: u64,
    cpu_seconds: Option<f64>,
    cpu: CpuTimes,
    /// Turns of each reactor; `None` for one that did not report in time.
    turns: Vec<Option<u64>>,
}

impl Moment {
    fn start(at: Instant) -> Self {
        Self {
            at,
            counters: Counters::default(),
            writevs: 0,
            written_bytes: 0,
            queries_received: 0,
            cpu_seconds: None,
            cpu: CpuTimes::default(),
            turns: Vec::new(),
        }
    }

    fn of(snapshot: &Snapshot<'_>, cpu: CpuTimes) -> Self {
        let log = snapshot.log.counts();
        let turns = |reactor| snapshot.collected.report_in_time(reactor).map(|report| report.driver.turns);
        Self {
            at: Instant::now(),
            counters: snapshot.all.counters.clone(),
            writevs: log.writevs,
            written_bytes: log.bytes,
            queries_received: snapshot.queries.received(),
            cpu_seconds: snapshot.process.cpu_seconds,
            cpu,
            turns: (0..snapshot.reactors).map(turns).collect(),
        }
    }
}

/// A span that is under way.
#[derive(Debug)]
struct Current {
    span: PointSpan,
    since: Moment,
    due: Instant,
    measures: Measures,
}

impl Current {
    fn new(span: PointSpan, started: Instant) -> Self {
        Self { span, since: Moment::start(started), due: started + span.length(), measures: Measures::default() }
    }
}

/// Makes the points. For use by the observer.
#[derive(Debug)]
pub struct Points {
    threads: ThreadTimes,
    current: [Current; 2],
}

impl Points {
    /// Points from the start of the server on.
    #[must_use]
    pub fn new(reactors: usize, started: Instant) -> Self {
        let current = [PointSpan::Second, PointSpan::Minute].map(|span| Current::new(span, started));
        Self { threads: ThreadTimes::new(reactors), current }
    }

    /// The end of the second that is under way.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.current[0].due
    }

    /// Adds what was measured since the last call, and makes the points whose spans have ended. To be called once a
    /// second: one that is missed makes the next span longer, and what is shown of it a gap.
    pub fn make(&mut self, snapshot: &Snapshot<'_>, measures: &Measures, now_ms: i64) -> Vec<Update> {
        let cpu = self.threads.read();
        let mut made = Vec::new();
        for current in &mut self.current {
            current.measures.add(measures);
            let now = Moment::of(snapshot, cpu.clone());
            if now.at < current.due {
                continue;
            }
            let point = point(snapshot, &current.since, &now, &current.measures, now_ms);
            // Only maps whose keys are not text could fail.
            let json = serde_json::to_vec(&point).unwrap_or_default().into();
            made.push(Update::Point { span: current.span, json });
            current.due = (current.due + current.span.length()).max(now.at);
            current.since = now;
            current.measures.reset();
        }
        made
    }
}

/// Counts by label, without those that are zero.
fn by_label<'a>(labels: impl Iterator<Item = &'a str>, counts: &[u64]) -> Value {
    let counted = labels.zip(counts).filter(|&(_, &count)| count > 0);
    Value::Object(counted.map(|(label, &count)| (label.to_owned(), json!(count))).collect::<Map<_, _>>())
}

/// Quantiles in microseconds, from nanoseconds; null without values.
fn quantiles(of: &Distribution) -> Value {
    if of.count() == 0 {
        return Value::Null;
    }
    let us = |ns: u64| in_units(ns, 1_000);
    json!({
        "p50": us(of.quantile(0.5)),
        "p99": us(of.quantile(0.99)),
        "p99_9": us(of.quantile(0.999)),
        "max": us(of.max()),
        "count": of.count(),
    })
}

/// The part of a span that a thread was on a CPU, from 0 to 1.
fn busy(before: Option<u64>, after: Option<u64>, span: Duration) -> Option<f64> {
    let used = Duration::from_nanos(after?.saturating_sub(before?));
    let part = used.as_secs_f64() / span.as_secs_f64().max(f64::EPSILON);
    Some((part.min(1.0) * 10_000.0).round() / 10_000.0)
}

fn reactors(snapshot: &Snapshot<'_>, before: &Moment, after: &Moment, span: Duration) -> Value {
    let each = (0..snapshot.reactors).map(|reactor| {
        let Some(report) = snapshot.collected.report_in_time(reactor) else { return Value::Null };
        let at = |moment: &Moment| moment.cpu.reactors_ns.get(reactor).copied().flatten();
        let turns_before = before.turns.get(reactor).copied().flatten();
        json!({
            "busy": busy(at(before), at(after), span),
            "turns": turns_before.map(|turns| report.driver.turns.saturating_sub(turns)),
            "connections": report.connections_active,
            "ring_used_bytes": report.queued_bytes,
            "ring_high_bytes": report.queued_bytes_max,
            "ring_bytes": report.ring_bytes,
        })
    });
    each.collect()
}

fn forwards(snapshot: &Snapshot<'_>) -> Value {
    let each = snapshot.forwards.iter().map(|forward| {
        json!({
            "name": forward.name,
            "bytes_behind": forward.bytes_behind.load(Relaxed),
            "seconds_behind": forward.seconds_behind(),
            "is_failing": !forward.last_error().is_empty() && forward.bytes_behind.load(Relaxed) > 0,
        })
    });
    each.collect()
}

fn point(snapshot: &Snapshot<'_>, before: &Moment, after: &Moment, measures: &Measures, now_ms: i64) -> Value {
    let span = after.at.saturating_duration_since(before.at);
    let counters = after.counters.since(&before.counters);
    let statuses = Status::ALL.iter().filter_map(|&status| {
        let count = counters.responses(status);
        (count > 0).then(|| (status.code().to_string(), json!(count)))
    });
    let stages =
        Stage::ALL.iter().map(|&stage| (stage.label().to_owned(), quantiles(&measures.cores.stage_ns[stage as usize])));
    let memory = snapshot.memory().into_iter().map(|(owner, bytes)| (owner.to_owned(), json!(bytes)));
    let maintenance = snapshot.maintenance;
    let log_bytes = maintenance.segment_bytes.load(Relaxed) + snapshot.log.published().bytes;
    let cpu_seconds = after.cpu_seconds.zip(before.cpu_seconds).map(|(after, before)| after - before);
    let connections: u64 = snapshot.collected.reports().map(|report| report.connections_active).sum();
    json!({
        "t_ms": now_ms,
        "span_ms": u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        "requests": counters.requests(),
        "metrics_received": counters.metrics_received,
        "metrics_stored": counters.metrics_stored,
        "metrics_rejected": counters.metrics_rejected,
        // Most batches that are shed are never read.
        "metrics_shed": (counters.shed() == 0).then_some(0),
        "body_bytes": counters.body_bytes_received,
        "line_bytes": counters.line_bytes,
        "connections": connections,
        "accepted": counters.connections_accepted,
        "responses": statuses.collect::<Map<_, _>>(),
        "refused_by": by_label(REASONS.iter().map(|&(reason, _)| reason), &counters.refused),
        "rejected_by": by_label(Rejection::ALL.iter().map(|reason| reason.label()), &counters.batches_rejected),
        "shed_by": by_label(Shed::ALL.iter().map(|reason| reason.label()), &counters.batches_shed),
        "latency_us": quantiles(&measures.cores.batch_ns),
        "stages_us": stages.collect::<Map<_, _>>(),
        "writev_us": quantiles(&measures.writev_ns),
        "fsync_us": quantiles(&measures.sync_ns),
        "reactors": reactors(snapshot, before, after, span),
        "writer": {
            "busy": busy(before.cpu.writer_ns, after.cpu.writer_ns, span),
            "writevs": after.writevs - before.writevs,
            "written_bytes": after.written_bytes - before.written_bytes,
        },
        "memory_bytes": memory.collect::<Map<_, _>>(),
        "resident_bytes": snapshot.process.resident_bytes,
        "cpu_seconds": cpu_seconds,
        "log": {
            "bytes": log_bytes,
            "segments": maintenance.segments.load(Relaxed) + 1,
            "disk_free_bytes": maintenance.disk_free_bytes.load(Relaxed),
            "health": snapshot.log.health().to_string(),
        },
        "forwards": forwards(snapshot),
        "queries": {
            "running": snapshot.queries.running(),
            "received": after.queries_received.saturating_sub(before.queries_received),
        },
    })
}

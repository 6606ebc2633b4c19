//! The report for scripts: one JSON object on one line. Latencies are in microseconds, those of an open loop from the
//! intended start; what was not measured is null.

use super::{Report, Row, StageRow, percentiles};
use crate::load::{Failure, Outcome, baseline};
use serde_json::{Map, Value, json};

impl Report<'_> {
    /// The report for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut report = Map::new();
        for part in [self.json_setup(), self.json_counts(), self.json_figures(), self.json_course()] {
            if let Value::Object(fields) = part {
                report.extend(fields);
            }
        }
        Value::Object(report)
    }

    fn json_setup(&self) -> Value {
        let setup = &self.setup;
        json!({
            "form": baseline::FORM,
            "load_test": setup.maker,
            "host": setup.host,
            "began_unix_s": setup.began_s,
            "setup": setup.workload,
            "server": setup.server,
            "url": setup.url,
            "method": setup.method,
            "model": if setup.pace.is_some() { "open" } else { "closed" },
            "target_rate": setup.rate(),
            "arrivals": setup.pace.as_ref().map(|pace| pace.arrivals),
            "clients": setup.clients,
            "threads": setup.threads,
            "driver": setup.driver,
            "keep_alive": setup.keep_alive,
            "pipeline": setup.pipeline,
        })
    }

    fn json_counts(&self) -> Value {
        let (tally, figures) = (&self.outcome.tally, &self.figures);
        let statuses: Map<String, Value> =
            tally.statuses().map(|(status, count)| (status.to_string(), json!(count))).collect();
        let errors: Map<String, Value> =
            Failure::ALL.iter().map(|&(failure, name)| (name.to_owned(), json!(tally.failures(failure)))).collect();
        let open = |count: u64| self.setup.pace.as_ref().map(|_| count);
        let stopped_by = match self.outcome {
            Outcome { too_many_errors: true, .. } => Some("max_errors"),
            Outcome { interrupted: true, .. } => Some("signal"),
            _ => None,
        };
        json!({
            "requests": tally.requests(),
            "successes": tally.successes(),
            "success_percent": figures.success_percent,
            "statuses": statuses,
            "errors": errors,
            "other_reason": tally.other_reason,
            "tls_reason": tally.tls_reason,
            "tls": tally.tls,
            "failed": tally.requests() - tally.successes(),
            "interrupted": self.outcome.interrupted || self.outcome.too_many_errors,
            "stopped_by": stopped_by,
            "unanswered": tally.unanswered,
            "connections_opened": tally.connections,
            "connections_unclosed": tally.unclosed,
            "connections_unsolicited": tally.unsolicited,
            "scheduled_sends": open(tally.scheduled + tally.missed),
            "late_sends": open(tally.late),
            "late_sends_by_itself": open(tally.late_by_itself),
            "missed_sends": open(tally.missed),
            "metrics_acknowledged": tally.metrics,
            "bytes_sent": tally.bytes,
            "bytes_received": tally.bytes_received,
        })
    }

    fn json_figures(&self) -> Value {
        let (tally, figures, seen) = (&self.outcome.tally, &self.figures, &self.outcome.observed);
        let by_status: Map<String, Value> =
            tally.latency_by_status().map(|(status, all)| (status.to_string(), latency(&percentiles(all)))).collect();
        json!({
            "measured_s": figures.measured_s,
            "successes_in_span": tally.span.counts().successes,
            "requests_per_second": figures.requests_per_second,
            "achieved_percent": figures.achieved_percent,
            "metrics_per_second": figures.metrics_per_second,
            "megabytes_per_second": figures.megabytes_per_second,
            "latency_us": latency(&figures.latency_us),
            "latency_raw_us": figures.raw_us.as_deref().map(latency),
            "latency_by_status_us": by_status,
            "connect_us": latency(&figures.connect_us),
            "first_byte_us": latency(&figures.first_byte_us),
            "cpu_us_per_request": figures.cpu_us_per_request,
            "cpu_cores": figures.cpu_cores,
            "busiest_thread_percent": figures.cpu_cores.map(|_| 100.0 * tally.busiest),
            "starved_thread_percent": figures.cpu_cores.map(|_| 100.0 * tally.starved),
            "server_pids": seen.pids,
            "server_cpu_us_per_request": seen.server_cpu_us,
            "server_cpu_us_intervals": seen.intervals_us,
            "server_starved_percent": seen.server_cpu_us.map(|_| 100.0 * seen.server_starved),
            "other_cores": seen.other_cores,
            "host_cores": seen.host_cores,
            "elapsed_s": figures.elapsed_s,
        })
    }

    fn json_course(&self) -> Value {
        json!({
            "stages": self.setup.pace.as_ref().map(|_| self.stages.iter().map(stage).collect::<Vec<_>>()),
            "intervals": self.rows.iter().map(interval).collect::<Vec<_>>(),
            "baseline": self.changes.iter().map(|change| change.json()).collect::<Vec<_>>(),
            "remarks": self.remarks,
        })
    }
}

fn latency(all_us: &[(&'static str, Option<f64>)]) -> Value {
    all_us.iter().map(|&(name, micros)| (name.to_owned(), json!(micros))).collect::<Map<_, _>>().into()
}

fn stage(row: &StageRow) -> Value {
    json!({
        "from_s": row.from_s,
        "seconds": row.seconds,
        "rate_from": row.rate_from,
        "rate_to": row.rate_to,
        "rate_wanted": row.rate_wanted,
        "requests_per_second": row.requests_per_second,
        "sends": row.sends,
        "missed_sends": row.missed,
        "requests": row.requests,
        "successes": row.successes,
        "success_percent": row.success_percent,
        "latency_us": latency(&row.latency_us),
    })
}

fn interval(row: &Row) -> Value {
    json!({
        "start_s": row.start_s,
        "seconds": row.seconds,
        "whole": row.whole,
        "requests": row.requests,
        "successes": row.successes,
        "failures": row.failures,
        "other_statuses": row.other_statuses,
        "requests_per_second": row.requests_per_second,
        "cpu_us_per_request": row.cpu_us_per_request,
        "p50_us": row.p50_us,
        "p90_us": row.p90_us,
        "p99_us": row.p99_us,
        "max_us": row.max_us,
    })
}

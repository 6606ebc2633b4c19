//! The report for people and the one for scripts.

use super::{Report, Row, ratio};
use crate::load::Failure;
use serde_json::{Map, Value, json};
use std::fmt::Write;

impl Report<'_> {
    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let (plan, tally, figures) = (self.plan, &self.outcome.tally, &self.figures);
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{name:<12}{text}");
        };
        let connection = match (plan.keep_alive, plan.pipeline) {
            (false, _) => "a connection per request".to_owned(),
            (true, 1) => "keep-alive".to_owned(),
            (true, deep) => format!("keep-alive, {deep} in flight"),
        };
        line("server", format!("{} {} ({})", plan.method, plan.url, plan.server));
        line("clients", format!("{}, threads {}, {}, {connection}", plan.clients, plan.threads, self.chosen));
        line(
            "model",
            match plan.rate {
                None => "closed loop: a client sends when its last answer has come".to_owned(),
                Some(rate) => format!("open loop: sends scheduled at {rate} requests/s, none skipped"),
            },
        );
        line("requests", format!("{}", tally.requests()));
        line("success", format!("{} ({} %)", tally.successes(), percent(figures.success_percent)));
        for (status, count) in tally.statuses() {
            line("  status", format!("{status}  {count}"));
        }
        for (failure, name) in Failure::ALL {
            let reason = tally.other_reason.as_deref().filter(|_| failure == Failure::Other);
            if tally.failures(failure) > 0 {
                let reason = reason.map_or_else(String::new, |reason| format!("  ({reason})"));
                line("  error", format!("{name}  {}{reason}", tally.failures(failure)));
            }
        }
        if tally.unanswered > 0 {
            line("unanswered", format!("{} when the load was interrupted", tally.unanswered));
        }
        let of_target = plan.rate.map_or_else(String::new, |rate| {
            format!(" of {rate} ({:.2} %)", 100.0 * figures.requests_per_second / rate)
        });
        line("throughput", format!("{:.0} requests/s{of_target}", figures.requests_per_second));
        line("", format!("{:.0} metrics/s", figures.metrics_per_second));
        line("", format!("{:.2} MB/s sent", figures.megabytes_per_second));
        if plan.rate.is_some() {
            line("late sends", format!("{} by more than 1 ms, {} missed", tally.late, tally.missed));
        }
        let raw_us = figures.raw_us.as_deref();
        if raw_us.is_some() {
            line("latency 2xx", format!("{:<6}{:>12}{:>12}", "", "corrected", "raw"));
        }
        for (index, (name, micros)) in figures.latency_us.iter().enumerate() {
            let raw = raw_us.map_or_else(String::new, |raw_us| format!("{:>12}", span(raw_us[index].1)));
            let title = if index == 0 && raw_us.is_none() { "latency 2xx" } else { "" };
            line(title, format!("{name:<6}{:>12}{raw}", span(*micros)));
        }
        line(
            "own CPU",
            format!(
                "{:.2} us/request, {:.2} cores, busiest thread {:.0} %",
                figures.cpu_us_per_request,
                figures.cpu_cores,
                100.0 * tally.busiest
            ),
        );
        line("elapsed", format!("{:.3} s", figures.elapsed_s));
        out + &self.changes_and_remarks()
    }

    pub(super) fn changes_and_remarks(&self) -> String {
        let mut out = String::new();
        for (index, change) in self.changes.iter().enumerate() {
            let _ = writeln!(out, "{:<12}{change}", if index == 0 { "baseline" } else { "" });
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "{remark}");
        }
        out
    }

    /// The report for scripts: one JSON object on one line. Latencies are in microseconds, those of an open loop from the
    /// intended start.
    #[must_use]
    pub fn json(&self) -> Value {
        let (plan, tally, figures) = (self.plan, &self.outcome.tally, &self.figures);
        let statuses: Map<String, Value> =
            tally.statuses().map(|(status, count)| (status.to_string(), json!(count))).collect();
        let errors: Map<String, Value> =
            Failure::ALL.iter().map(|&(failure, name)| (name.to_owned(), json!(tally.failures(failure)))).collect();
        let latency = |all_us: &[(&'static str, f64)]| -> Map<String, Value> {
            all_us.iter().map(|&(name, micros)| (name.to_owned(), json!(micros))).collect()
        };
        json!({
            "server": plan.server.to_string(),
            "url": plan.url,
            "method": plan.method,
            "model": if plan.rate.is_some() { "open" } else { "closed" },
            "target_rate": plan.rate,
            "clients": plan.clients,
            "threads": plan.threads,
            "driver": self.chosen.to_string(),
            "keep_alive": plan.keep_alive,
            "pipeline": plan.pipeline,
            "requests": tally.requests(),
            "successes": tally.successes(),
            "success_percent": figures.success_percent,
            "statuses": statuses,
            "errors": errors,
            "other_reason": tally.other_reason,
            "interrupted": self.outcome.interrupted,
            "unanswered": tally.unanswered,
            "late_sends": tally.late,
            "late_sends_by_itself": tally.late_by_itself,
            "missed_sends": tally.missed,
            "metrics_acknowledged": tally.metrics,
            "bytes_sent": tally.bytes,
            "requests_per_second": figures.requests_per_second,
            "achieved_percent": plan.rate.map(|rate| 100.0 * ratio(figures.requests_per_second, rate)),
            "metrics_per_second": figures.metrics_per_second,
            "megabytes_per_second": figures.megabytes_per_second,
            "latency_us": latency(&figures.latency_us),
            "latency_raw_us": figures.raw_us.as_deref().map(latency),
            "cpu_us_per_request": figures.cpu_us_per_request,
            "cpu_cores": figures.cpu_cores,
            "busiest_thread_percent": 100.0 * tally.busiest,
            "starved_thread_percent": 100.0 * tally.starved,
            "elapsed_s": figures.elapsed_s,
            "intervals": self.rows.iter().map(interval).collect::<Vec<_>>(),
            "baseline": self.changes.iter().map(|change| change.json()).collect::<Vec<_>>(),
            "remarks": self.remarks,
        })
    }
}

fn interval(row: &Row) -> Value {
    json!({
        "start_s": row.start_s,
        "seconds": row.seconds,
        "whole": row.whole,
        "requests": row.requests,
        "successes": row.successes,
        "requests_per_second": row.requests_per_second,
        "cpu_us_per_request": row.cpu_us_per_request,
        "p50_us": row.p50_us,
        "p90_us": row.p90_us,
        "p99_us": row.p99_us,
        "max_us": row.max_us,
    })
}

/// A share that is 100 only when nothing is missing.
pub(super) fn percent(share: f64) -> String {
    if share >= 100.0 { "100".to_owned() } else { format!("{:.3}", share.min(99.999)) }
}

/// Microseconds in the unit that suits them.
fn span(micros: f64) -> String {
    if micros < 1e3 {
        format!("{micros:.1} us")
    } else if micros < 1e6 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

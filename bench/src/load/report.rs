//! What a load came to, for people and for scripts. Both forms show the same figures.
//!
//! Rates count successes only: a refusal is not throughput. They are over the time from the end of the warm-up to the last
//! answer.

use super::{Failure, Outcome, Plan};
use crate::drivers::Chosen;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Quantiles shown, with their names.
const QUANTILES: [(f64, &str); 6] =
    [(0.50, "p50"), (0.75, "p75"), (0.90, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9")];

/// Figures derived from an outcome; all finite, zero where there is nothing to divide by.
struct Figures {
    success_percent: f64,
    requests_per_second: f64,
    metrics_per_second: f64,
    megabytes_per_second: f64,
    cpu_us_per_request: f64,
    elapsed_s: f64,
    /// Name and microseconds, least first.
    latency_us: Vec<(&'static str, f64)>,
}

#[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
fn figures(outcome: &Outcome) -> Figures {
    let tally = &outcome.tally;
    let ratio = |count: f64, by: f64| if by > 0.0 { count / by } else { 0.0 };
    let elapsed_s = tally.elapsed_ns as f64 / 1e9;
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let latency = &tally.latency;
    let mut latency_us = vec![("min", micros(latency.min())), ("mean", latency.mean() / 1e3)];
    latency_us.extend(QUANTILES.map(|(quantile, name)| (name, micros(latency.value_at_quantile(quantile)))));
    latency_us.push(("max", micros(latency.max())));
    Figures {
        success_percent: ratio(100.0 * tally.successes() as f64, tally.requests() as f64),
        requests_per_second: ratio(tally.successes() as f64, elapsed_s),
        metrics_per_second: ratio(tally.metrics as f64, elapsed_s),
        megabytes_per_second: ratio(tally.bytes as f64 / 1e6, elapsed_s),
        cpu_us_per_request: ratio(micros(tally.cpu_ns), tally.requests() as f64),
        elapsed_s,
        latency_us,
    }
}

/// The report for people.
#[must_use]
pub fn text(plan: &Plan, chosen: Chosen, outcome: &Outcome) -> String {
    let (tally, figures) = (&outcome.tally, figures(outcome));
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
    line("server", plan.server.to_string());
    line("clients", format!("{}, threads {}, {chosen}, {connection}", plan.clients, plan.threads));
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
    line("throughput", format!("{:.0} requests/s", figures.requests_per_second));
    line("", format!("{:.0} metrics/s", figures.metrics_per_second));
    line("", format!("{:.2} MB/s sent", figures.megabytes_per_second));
    for (index, (name, micros)) in figures.latency_us.iter().enumerate() {
        line(if index == 0 { "latency 2xx" } else { "" }, format!("{name:<6}{:>12}", span(*micros)));
    }
    line("own CPU", format!("{:.2} us/request", figures.cpu_us_per_request));
    line("elapsed", format!("{:.3} s", figures.elapsed_s));
    out
}

/// The report for scripts: one JSON object on one line. Latencies are in microseconds.
#[must_use]
pub fn json(plan: &Plan, chosen: Chosen, outcome: &Outcome) -> String {
    let (tally, figures) = (&outcome.tally, figures(outcome));
    let statuses: Map<String, Value> =
        tally.statuses().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let errors: Map<String, Value> =
        Failure::ALL.iter().map(|&(failure, name)| (name.to_owned(), json!(tally.failures(failure)))).collect();
    let latency: Map<String, Value> =
        figures.latency_us.iter().map(|&(name, micros)| (name.to_owned(), json!(micros))).collect();
    let report = json!({
        "server": plan.server.to_string(),
        "clients": plan.clients,
        "threads": plan.threads,
        "driver": chosen.to_string(),
        "keep_alive": plan.keep_alive,
        "pipeline": plan.pipeline,
        "requests": tally.requests(),
        "successes": tally.successes(),
        "success_percent": figures.success_percent,
        "statuses": statuses,
        "errors": errors,
        "other_reason": tally.other_reason,
        "interrupted": outcome.interrupted,
        "unanswered": tally.unanswered,
        "metrics_acknowledged": tally.metrics,
        "bytes_sent": tally.bytes,
        "requests_per_second": figures.requests_per_second,
        "metrics_per_second": figures.metrics_per_second,
        "megabytes_per_second": figures.megabytes_per_second,
        "latency_us": latency,
        "cpu_us_per_request": figures.cpu_us_per_request,
        "elapsed_s": figures.elapsed_s,
    });
    format!("{report}\n")
}

/// A share that is 100 only when nothing is missing.
fn percent(share: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::super::Tally;
    use super::*;

    fn outcome() -> Outcome {
        let mut tally = Tally::new();
        for latency_us in 1..=1000 {
            tally.answered(200, 3, latency_us * 1000);
        }
        tally.answered(429, 3, 1);
        tally.failed(Failure::Reset);
        (tally.elapsed_ns, tally.cpu_ns, tally.bytes) = (2_000_000_000, 5_010_000, 4_000_000);
        Outcome { tally, interrupted: false, nothing_listens: false }
    }

    #[test]
    fn both_forms_show_the_same_figures() {
        let plan = super::super::parse(["load_test", "8080", "10", "100", "-t", "1"]).unwrap();
        let report: Value = serde_json::from_str(&json(&plan, Chosen::Epoll, &outcome())).unwrap();
        assert_eq!((&report["requests"], &report["successes"]), (&json!(1002), &json!(1000)));
        assert_eq!(report["statuses"], json!({"200": 1000, "429": 1}));
        assert_eq!(report["errors"]["reset"], 1);
        assert_eq!(report["requests_per_second"], 500.0);
        assert_eq!(report["metrics_per_second"], 1500.0);
        assert_eq!(report["megabytes_per_second"], 2.0);
        assert_eq!(report["cpu_us_per_request"], 5.0);
        let p99 = report["latency_us"]["p99"].as_f64().unwrap();
        assert!((989.0..=991.0).contains(&p99), "{p99}");
        let text = text(&plan, Chosen::Epoll, &outcome());
        for part in [
            "1000 (99.800 %)",
            "429  1",
            "reset  1",
            "500 requests/s",
            "1500 metrics/s",
            "2.00 MB/s",
            "5.00 us/request",
        ] {
            assert!(text.contains(part), "{part} is in\n{text}");
        }
    }

    #[test]
    fn a_hundred_percent_is_never_rounded_up_to() {
        assert_eq!(percent(100.0), "100");
        assert_eq!(percent(99.999_99), "99.999");
    }

    #[test]
    fn nothing_done_is_reported_without_dividing_by_it() {
        let nothing = Outcome { tally: Tally::new(), interrupted: true, nothing_listens: false };
        let plan = super::super::parse(["load_test", "8080", "10", "100"]).unwrap();
        let report: Value = serde_json::from_str(&json(&plan, Chosen::Epoll, &nothing)).unwrap();
        assert_eq!(report["requests_per_second"], 0.0);
        assert_eq!(report["success_percent"], 0.0);
    }
}

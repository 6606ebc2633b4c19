//! The report for people.

use super::{Report, percentiles};
use crate::load::{Failure, baseline::Change};
use std::fmt::Write;

impl Report<'_> {
    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Lines::default();
        self.write_setup(&mut lines);
        self.write_counts(&mut lines);
        self.write_rates(&mut lines);
        self.write_stages(&mut lines);
        self.write_times(&mut lines);
        lines.0 + &changes_and_remarks(&self.changes, &self.remarks)
    }

    fn write_setup(&self, lines: &mut Lines) {
        let setup = &self.setup;
        let connection = match (setup.keep_alive, setup.pipeline) {
            (false, _) => "a connection per request".to_owned(),
            (true, 1) => "keep-alive".to_owned(),
            (true, deep) => format!("keep-alive, {deep} in flight"),
        };
        lines.add("server", format!("{} {} ({})", setup.method, setup.url, setup.server));
        lines.add("clients", format!("{}, threads {}, {}, {connection}", setup.clients, setup.threads, setup.driver));
        lines.add("bodies", setup.bodies());
        let rule = if setup.pace.is_some() { "none skipped" } else { "a client sends when its last response has come" };
        lines.add("model", format!("{}: {rule}", setup.model()));
    }

    fn write_counts(&self, lines: &mut Lines) {
        let tally = &self.outcome.tally;
        lines.add("requests", tally.requests().to_string());
        let share = self.figures.success_percent.map_or_else(|| "-".to_owned(), percent);
        lines.add("success", format!("{} ({share} %)", tally.successes()));
        for (status, count) in tally.statuses() {
            let latency = tally.latency_by_status().find(|(known, _)| usize::from(*known) == status);
            let latency = latency.map_or_else(String::new, |(_, latency)| {
                let all_us = percentiles(latency);
                format!("  p50 {}, p99 {}, max {}", value(&all_us, "p50"), value(&all_us, "p99"), value(&all_us, "max"))
            });
            lines.add("  status", format!("{status}  {count}{latency}"));
        }
        for (failure, name) in Failure::ALL {
            let reason = match failure {
                Failure::Tls => tally.tls_reason.as_deref(),
                Failure::Other => tally.other_reason.as_deref(),
                _ => None,
            };
            if tally.failures(failure) > 0 {
                let reason = reason.map_or_else(String::new, |reason| format!("  ({reason})"));
                lines.add("  error", format!("{name}  {}{reason}", tally.failures(failure)));
            }
        }
        if tally.unanswered > 0 {
            lines.add("unanswered", format!("{} when the load was interrupted", tally.unanswered));
        }
        if let Some(protocol) = &tally.tls {
            let verified = self.setup.workload["tls"].as_str().unwrap_or_default();
            lines.add("TLS", format!("{protocol}, a full handshake for each connection, certificate {verified}"));
        }
        let again = tally.connections.saturating_sub(self.setup.clients);
        let connect_us = &self.figures.connect_us;
        lines.add(
            "connections",
            format!(
                "{} opened, {again} of them after others; connect p50 {}, p99 {}, max {}",
                tally.connections,
                value(connect_us, "p50"),
                value(connect_us, "p99"),
                value(connect_us, "max")
            ),
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^53")]
    fn write_rates(&self, lines: &mut Lines) {
        let (tally, figures) = (&self.outcome.tally, &self.figures);
        let of_target = self.setup.pace.as_ref().map_or_else(String::new, |pace| {
            let (achieved, successes) = (shown(figures.achieved_percent, 2), tally.span.counts().successes);
            let rate = pace.profile.rate().map_or_else(String::new, |rate| format!(" of {rate}"));
            format!("{rate} ({achieved} %: {successes} of {} sends)", tally.scheduled + tally.missed)
        });
        lines.add("throughput", format!("{} requests/s{of_target}", shown(figures.requests_per_second, 0)));
        lines.add("", format!("{} metrics/s", shown(figures.metrics_per_second, 0)));
        lines.add(
            "",
            format!(
                "{} MB/s sent, {:.2} MB received in all",
                shown(figures.megabytes_per_second, 2),
                tally.bytes_received as f64 / 1e6
            ),
        );
        if self.setup.pace.is_some() {
            lines.add("late sends", format!("{} by more than 1 ms, {} missed", tally.late, tally.missed));
        }
    }

    /// A line for each stage.
    fn write_stages(&self, lines: &mut Lines) {
        if self.stages.is_empty() {
            return;
        }
        let line = |cells: [String; 7]| {
            let [time, wanted, cells @ ..] = cells;
            format!("{time:<16}{wanted:<18}") + &cells.map(|cell| format!("{cell:>11}")).concat()
        };
        let heads = ["seconds", "wanted/s", "reached/s", "success %", "p50", "p99", "max"];
        lines.add("stages", line(heads.map(str::to_owned)));
        for (number, row) in (1..).zip(&self.stages) {
            let wanted = if row.rate_from == row.rate_to {
                row.rate_to.to_string()
            } else {
                format!("{} to {}", row.rate_from, row.rate_to)
            };
            let cells = [
                format!("{} to {}", row.from_s, row.from_s + row.seconds),
                wanted,
                shown(row.requests_per_second, 1),
                row.success_percent.map_or_else(|| "-".to_owned(), percent),
                value(&row.latency_us, "p50"),
                value(&row.latency_us, "p99"),
                value(&row.latency_us, "max"),
            ];
            lines.add(&format!("  {number}"), line(cells));
        }
    }

    fn write_times(&self, lines: &mut Lines) {
        let (tally, figures) = (&self.outcome.tally, &self.figures);
        let raw_us = figures.raw_us.as_deref();
        if raw_us.is_some() {
            lines.add("latency 2xx", format!("{:<6}{:>12}{:>12}", "", "corrected", "raw"));
        }
        for (index, (name, micros)) in figures.latency_us.iter().enumerate() {
            let raw = raw_us.map_or_else(String::new, |raw_us| format!("{:>12}", span(raw_us[index].1)));
            let title = if index == 0 && raw_us.is_none() { "latency 2xx" } else { "" };
            lines.add(title, format!("{name:<6}{:>12}{raw}", span(*micros)));
        }
        let first_us = &figures.first_byte_us;
        let named = |name| value(first_us, name);
        lines.add("first byte", format!("p50 {}, p99 {}, max {}", named("p50"), named("p99"), named("max")));
        lines.add(
            "own CPU",
            format!(
                "{} us/request, {} cores, busiest thread {} %",
                shown(figures.cpu_us_per_request, 2),
                shown(figures.cpu_cores, 2),
                shown(figures.cpu_cores.map(|_| 100.0 * tally.busiest), 0)
            ),
        );
        let seen = &self.outcome.observed;
        if let Some(micros) = seen.server_cpu_us {
            let pids = seen.pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
            lines.add("server CPU", format!("{micros:.2} us/request, process {pids}"));
        }
        lines.add("measured", format!("{:.3} s, which rates are over", figures.measured_s));
        lines.add("elapsed", format!("{:.3} s", figures.elapsed_s));
    }
}

/// Formats the differences between the runs, and the remarks.
pub(in crate::load) fn changes_and_remarks(changes: &[Change], remarks: &[String]) -> String {
    let mut out = String::new();
    for (index, change) in changes.iter().enumerate() {
        let _ = writeln!(out, "{:<12}{change}", if index == 0 { "baseline" } else { "" });
    }
    for remark in remarks {
        let _ = writeln!(out, "{remark}");
    }
    out
}

/// The lines of the report for people: a name, and what is to be said about it.
#[derive(Default)]
struct Lines(String);

impl Lines {
    #[expect(clippy::needless_pass_by_value, reason = "each text is made for its line")]
    fn add(&mut self, name: &str, text: String) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{name:<12}{text}");
    }
}

/// A share that is 100 only when nothing is missing.
pub(super) fn percent(share: f64) -> String {
    if share >= 100.0 { "100".to_owned() } else { format!("{:.3}", share.min(99.999)) }
}

/// A figure with so many digits behind the point; `-` where nothing was measured.
pub(super) fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// The percentile of this name, in the unit that suits it.
fn value(all_us: &[(&'static str, Option<f64>)], name: &str) -> String {
    span(all_us.iter().find(|(known, _)| *known == name).and_then(|(_, micros)| *micros))
}

/// Microseconds in the unit that suits them; `-` where nothing was measured.
fn span(micros: Option<f64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros) if micros < 1e3 => format!("{micros:.1} us"),
        Some(micros) if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        Some(micros) => format!("{:.2} s", micros / 1e6),
    }
}

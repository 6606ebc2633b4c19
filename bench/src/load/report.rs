//! What a load came to: the figures, what is to be remarked about them, and the forms they are written in. All forms show the
//! same figures.
//!
//! Rates count successes only: a refusal is not throughput. They are over the time from the end of the warm-up to the last
//! answer.

mod forms;
mod table;

use super::{Format, Outcome, Plan, baseline, baseline::Change};
use crate::drivers::Chosen;
use hdrhistogram::Histogram;

/// Quantiles shown, with their names.
const QUANTILES: [(f64, &str); 7] =
    [(0.50, "p50"), (0.75, "p75"), (0.90, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
/// A thread that ran for more than this share of the time may have had no time left for more requests.
const BUSY: f64 = 0.9;
/// A thread that was kept from its core for more than this share of the time measures its neighbours.
const STARVED: f64 = 0.1;
/// More than this share of the sends late by the load's own fault is worth a word.
const LATE_BY_ITSELF: f64 = 0.001;

/// Figures derived from an outcome; all finite, zero where there is nothing to divide by.
#[derive(Debug)]
struct Figures {
    success_percent: f64,
    requests_per_second: f64,
    metrics_per_second: f64,
    megabytes_per_second: f64,
    cpu_us_per_request: f64,
    /// Mean cores in use by the load itself.
    cpu_cores: f64,
    elapsed_s: f64,
    /// Name and microseconds, least first.
    latency_us: Vec<(&'static str, f64)>,
    /// The same from the handing over, in an open loop.
    raw_us: Option<Vec<(&'static str, f64)>>,
}

/// One interval of the run.
#[derive(Debug)]
pub(super) struct Row {
    pub start_s: f64,
    pub seconds: f64,
    /// It lies in the measured part from end to end, so that its rate can be compared with others'.
    pub whole: bool,
    pub requests: u64,
    pub successes: u64,
    pub requests_per_second: f64,
    pub cpu_us_per_request: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// An outcome, ready to be written.
#[derive(Debug)]
pub struct Report<'a> {
    plan: &'a Plan,
    chosen: Chosen,
    outcome: &'a Outcome,
    figures: Figures,
    pub(super) rows: Vec<Row>,
    changes: Vec<Change>,
    /// Whole sentences, without an end of line.
    remarks: Vec<String>,
}

impl<'a> Report<'a> {
    /// Derives the figures of `outcome`, and compares them with the plan's baseline.
    #[must_use]
    pub fn new(plan: &'a Plan, chosen: Chosen, outcome: &'a Outcome) -> Self {
        let mut report = Self {
            plan,
            chosen,
            outcome,
            figures: figures(outcome),
            rows: rows(plan, outcome),
            changes: Vec::new(),
            remarks: remarks(plan, chosen, outcome),
        };
        if let Some(baseline) = &plan.baseline {
            let (changes, remarks) = baseline.compare(&baseline::Run::new(&report.json()));
            report.changes = changes;
            report.remarks.extend(remarks);
        }
        report
    }

    /// The report in the form that the plan asks for.
    #[must_use]
    pub fn render(&self) -> String {
        match self.plan.format {
            Format::Text => self.text(),
            Format::Json => format!("{}\n", self.json()),
            Format::Csv => self.csv(),
            Format::Hgrm => self.hgrm(),
        }
    }

    /// What the form has no place for: remarks, and the comparison with the baseline.
    #[must_use]
    pub fn aside(&self) -> String {
        let in_it = matches!(self.plan.format, Format::Text);
        if in_it { String::new() } else { self.changes_and_remarks() }
    }

    /// The histograms to draw, with their names.
    pub(super) fn curves(&self) -> Vec<(&'static str, &'a Histogram<u64>)> {
        let tally = &self.outcome.tally;
        match &tally.raw {
            None => vec![("latency", &tally.latency)],
            Some(raw) => vec![("corrected", &tally.latency), ("raw", raw)],
        }
    }

    /// What was measured, in one line.
    pub(super) fn title(&self) -> String {
        let plan = self.plan;
        let model = plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} requests/s"));
        format!(
            "{} {}: {model}, {} clients, {:.0} requests/s answered 2xx",
            plan.method, plan.url, plan.clients, self.figures.requests_per_second
        )
    }
}

fn ratio(count: f64, by: f64) -> f64 {
    if by > 0.0 { count / by } else { 0.0 }
}

#[allow(clippy::cast_precision_loss)] // Times and counts far below 2^53.
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

fn percentiles(latency: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let mut all = vec![("min", micros(latency.min())), ("mean", latency.mean() / 1e3)];
    all.extend(QUANTILES.map(|(quantile, name)| (name, micros(latency.value_at_quantile(quantile)))));
    all.push(("max", micros(latency.max())));
    all
}

#[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
fn figures(outcome: &Outcome) -> Figures {
    let tally = &outcome.tally;
    let elapsed_s = tally.elapsed_ns as f64 / 1e9;
    Figures {
        success_percent: ratio(100.0 * tally.successes() as f64, tally.requests() as f64),
        requests_per_second: ratio(tally.successes() as f64, elapsed_s),
        metrics_per_second: ratio(tally.metrics as f64, elapsed_s),
        megabytes_per_second: ratio(tally.bytes as f64 / 1e6, elapsed_s),
        cpu_us_per_request: ratio(micros(tally.cpu_ns), tally.requests() as f64),
        cpu_cores: ratio(tally.cpu_ns as f64 / 1e9, elapsed_s),
        elapsed_s,
        latency_us: percentiles(&tally.latency),
        raw_us: tally.raw.as_ref().map(percentiles),
    }
}

#[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
fn rows(plan: &Plan, outcome: &Outcome) -> Vec<Row> {
    let tally = &outcome.tally;
    let width_s = tally.intervals.width_ns() as f64 / 1e9;
    let elapsed_s = tally.elapsed_ns as f64 / 1e9;
    let load_s = plan.duration.map_or(elapsed_s, |duration| duration.as_secs_f64().min(elapsed_s));
    let row = |(index, interval): (usize, &super::Interval)| {
        let start_s = index as f64 * width_s;
        let seconds = width_s.min((elapsed_s - start_s).max(0.0));
        let successes = interval.latency.len();
        let at = |quantile| micros(interval.latency.value_at_quantile(quantile));
        Row {
            start_s,
            seconds,
            // A rounding error of a nanosecond makes no interval partial.
            whole: start_s + width_s <= load_s + 1e-9,
            requests: interval.requests,
            successes,
            requests_per_second: ratio(successes as f64, seconds),
            cpu_us_per_request: ratio(micros(interval.cpu_ns), interval.requests as f64),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: micros(interval.latency.max()),
        }
    };
    tally.intervals.all().iter().enumerate().map(row).collect()
}

#[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
fn remarks(plan: &Plan, chosen: Chosen, outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let mut remarks = Vec::new();
    if tally.busiest > BUSY {
        remarks.push(format!(
            "warning: load_test, not the server, may be the limit: one of its threads ran {:.0} % of the time (more cores: -t)",
            100.0 * tally.busiest.min(1.0)
        ));
    }
    if tally.starved > STARVED {
        remarks.push(format!(
            "warning: a thread of load_test was kept waiting for its core {:.0} % of the time: something else runs there, and the \
             latencies hold that wait",
            100.0 * tally.starved.min(1.0)
        ));
    }
    if ratio(tally.late_by_itself as f64, tally.requests() as f64) > LATE_BY_ITSELF {
        let cause = match chosen {
            Chosen::IoUring => "load_test or its core was behind, not the server",
            Chosen::Epoll => "waits on epoll are whole milliseconds, and load_test or its core may have been behind",
        };
        remarks.push(format!("warning: {} sends were late although a client was free: {cause}", tally.late_by_itself));
    }
    if tally.missed > 0 {
        let first = if outcome.interrupted { "interrupted" } else { "time was over" };
        remarks.push(format!(
            "warning: {first} with {} sends still waiting for a free client: the rate is too high for the server or for {} \
             clients, and what these sends would have waited is in no figure",
            tally.missed, plan.clients
        ));
    }
    remarks
}

#[cfg(test)]
mod tests;

//! Report of a load: the figures, remarks about them, and the formats they are written in. All formats show the same
//! figures.
//!
//! Rates count successes only: a refusal is not throughput. They are over the measured span, see [`Span`](super::Span).
//! A figure that nothing was measured for is none: `null`, an empty field or `-`, never zero.

mod forms;
mod json;
mod prometheus;
mod table;

pub(super) use forms::changes_and_remarks;

use super::{
    Compared, Comparison, Condition, Failure, Format, Outcome, Plan, Setup, Tally, baseline, baseline::Change,
    stages::StageCounts,
};
use crate::drivers::Chosen;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Quantiles shown, with their names.
const QUANTILES: [(f64, &str); 7] =
    [(0.50, "p50"), (0.75, "p75"), (0.90, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
/// A thread that ran for more than this share of the time may have had no time left for more requests.
const BUSY: f64 = 0.9;
/// A thread that was kept from its core for more than this share of the time measures its neighbours.
const STARVED: f64 = 0.1;
/// More than this share of the sends late by the load's own fault is worth a word.
const LATE_BY_ITSELF: f64 = 0.001;

/// Names and microseconds, least first; none where nothing was measured.
type Percentiles = Vec<(&'static str, Option<f64>)>;

/// Figures derived from an outcome; none where there is nothing to divide by.
#[derive(Debug)]
struct Figures {
    success_percent: Option<f64>,
    requests_per_second: Option<f64>,
    /// None where the requests carry no metrics, too.
    metrics_per_second: Option<f64>,
    megabytes_per_second: Option<f64>,
    /// Responses in the span by the sends that were scheduled for it; open loop only.
    achieved_percent: Option<f64>,
    cpu_us_per_request: Option<f64>,
    /// Mean cores in use by the load itself.
    cpu_cores: Option<f64>,
    elapsed_s: f64,
    measured_s: f64,
    latency_us: Percentiles,
    /// The same from the handing over, in an open loop.
    raw_us: Option<Percentiles>,
    connect_us: Percentiles,
    first_byte_us: Percentiles,
}

/// One interval of the run.
#[derive(Debug)]
pub(super) struct Row {
    pub start_s: f64,
    pub seconds: f64,
    /// It lies in the measured span from end to end, so that its rate can be compared with others'.
    pub whole: bool,
    pub requests: u64,
    pub successes: u64,
    /// Requests without a response, and those with another status than 2xx.
    pub failures: u64,
    pub other_statuses: u64,
    pub requests_per_second: Option<f64>,
    pub cpu_us_per_request: Option<f64>,
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub max_us: Option<f64>,
}

/// One stage of an open loop.
#[derive(Debug)]
struct StageRow {
    from_s: f64,
    seconds: f64,
    rate_from: f64,
    rate_to: f64,
    /// The mean of the wanted rates.
    rate_wanted: f64,
    requests_per_second: Option<f64>,
    /// Sends that were due, and those of them that were not made.
    sends: u64,
    missed: u64,
    requests: u64,
    successes: u64,
    success_percent: Option<f64>,
    latency_us: Percentiles,
}

/// An outcome, ready to be written.
#[derive(Debug)]
pub struct Report<'a> {
    pub(super) setup: Setup,
    format: Format,
    fail_if: &'a [Condition],
    outcome: &'a Outcome,
    figures: Figures,
    stages: Vec<StageRow>,
    pub(super) rows: Vec<Row>,
    changes: Vec<Change>,
    /// Whole sentences, without an end of line.
    remarks: Vec<String>,
}

impl<'a> Report<'a> {
    /// Derives the figures of `outcome`, and compares them with the plan's baseline.
    #[must_use]
    pub fn new(plan: &'a Plan, chosen: Chosen, outcome: &'a Outcome) -> Self {
        let setup = Setup::of(plan, chosen, outcome.began_s);
        let mut report = Self::of(setup, plan.format, &plan.fail_if, outcome);
        if let Some(baseline) = &plan.baseline {
            let (changes, remarks) = baseline.compare(Some(baseline::Run::new(&report.json())));
            report.changes = changes;
            report.remarks.extend(remarks);
        }
        report
    }

    /// Derives the figures of `outcome`, of a load that `setup` describes.
    pub(super) fn of(setup: Setup, format: Format, fail_if: &'a [Condition], outcome: &'a Outcome) -> Self {
        let stages = outcome.tally.stages.iter().flat_map(|stages| stages.all().iter().map(stage_row)).collect();
        Self {
            figures: figures(&setup, outcome),
            stages,
            rows: rows(outcome),
            changes: Vec::new(),
            remarks: remarks(&setup, outcome),
            setup,
            format,
            fail_if,
            outcome,
        }
    }

    /// Remarks further things.
    pub(super) fn with_remarks(mut self, remarks: &[String]) -> Self {
        self.remarks.extend_from_slice(remarks);
        self
    }

    /// The report in the form that was requested.
    #[must_use]
    pub fn render(&self) -> String {
        match self.format {
            Format::Text => self.text(),
            Format::Json => format!("{}\n", self.json()),
            Format::Csv => self.csv(),
            Format::Hgrm => self.hgrm(),
            Format::Prometheus => self.prometheus(),
        }
    }

    /// Returns what the format has no field for: remarks, and the comparison with the baseline.
    #[must_use]
    pub fn aside(&self) -> String {
        let in_it = matches!(self.format, Format::Text);
        if in_it { String::new() } else { forms::changes_and_remarks(&self.changes, &self.remarks) }
    }

    /// Reasons for which the run fails by the conditions of `--fail-if`.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let report = self.json();
        self.fail_if.iter().filter_map(|condition| condition.failure(&report, &self.changes)).collect()
    }

    /// The histograms to draw, with their names.
    pub(super) fn curves(&self) -> Vec<(&'static str, &'a Histogram<u64>)> {
        let tally = &self.outcome.tally;
        match &tally.raw {
            None => vec![("latency", &tally.latency)],
            Some(raw) => vec![("corrected", &tally.latency), ("raw", raw)],
        }
    }

    /// Returns the title of the measurement, in one line.
    pub(super) fn title(&self) -> String {
        let Setup { method, url, clients, .. } = &self.setup;
        let model = match self.stages.len() {
            // Each has a line of its own, and many are longer than a title.
            3.. => format!("open loop in {} stages", self.stages.len()),
            _ => self.setup.model(),
        };
        let rate = forms::shown(self.figures.requests_per_second, 0);
        format!("{method} {url}: {model}, {clients} clients, {rate} requests/s with 2xx")
    }
}

/// Compares reports without a load: the comparison in its form, and why it fails.
#[must_use]
pub fn render_comparison(comparison: &Comparison) -> (String, Vec<String>) {
    let (changes, remarks) = match &comparison.compared {
        Compared::Runs(baseline) => baseline.compare(None),
        Compared::Rounds(rounds) => rounds.compare(None),
    };
    let failures =
        comparison.fail_if.iter().filter_map(|condition| condition.failure(&Value::Null, &changes)).collect();
    let text = match comparison.format {
        Format::Json => {
            let changes: Vec<_> = changes.iter().map(Change::json).collect();
            format!("{}\n", json!({"baseline": changes, "remarks": remarks}))
        }
        _ => forms::changes_and_remarks(&changes, &remarks),
    };
    (text, failures)
}

fn ratio(count: f64, by: f64) -> Option<f64> {
    (by > 0.0).then(|| count / by)
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^53")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

fn percentiles(latency: &Histogram<u64>) -> Percentiles {
    let mut all = vec![("min", micros(latency.min())), ("mean", latency.mean() / 1e3)];
    all.extend(QUANTILES.map(|(quantile, name)| (name, micros(latency.value_at_quantile(quantile)))));
    all.push(("max", micros(latency.max())));
    all.into_iter().map(|(name, micros)| (name, (!latency.is_empty()).then_some(micros))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn figures(setup: &Setup, outcome: &Outcome) -> Figures {
    let tally = &outcome.tally;
    let (elapsed_s, measured_s) = (tally.elapsed_ns as f64 / 1e9, tally.span.length_ns() as f64 / 1e9);
    let in_span = tally.span.counts();
    let scheduled = (tally.scheduled + tally.missed) as f64;
    // The kernel had not yet counted any of it.
    let cpu_is_known = tally.cpu_ns > 0;
    Figures {
        success_percent: ratio(100.0 * tally.successes() as f64, tally.requests() as f64),
        requests_per_second: ratio(in_span.successes as f64, measured_s),
        metrics_per_second: ratio(in_span.metrics as f64, measured_s).filter(|_| setup.carries_metrics),
        megabytes_per_second: ratio(in_span.bytes_sent as f64 / 1e6, measured_s),
        achieved_percent: setup.pace.as_ref().and_then(|_| ratio(100.0 * in_span.successes as f64, scheduled)),
        cpu_us_per_request: ratio(micros(tally.cpu_ns), tally.requests() as f64).filter(|_| cpu_is_known),
        cpu_cores: ratio(tally.cpu_ns as f64 / 1e9, elapsed_s).filter(|_| cpu_is_known),
        elapsed_s,
        measured_s,
        latency_us: percentiles(&tally.latency),
        raw_us: tally.raw.as_ref().map(percentiles),
        connect_us: percentiles(&tally.connect),
        first_byte_us: percentiles(&tally.first_byte()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn stage_row(counts: &StageCounts) -> StageRow {
    let (stage, seconds) = (&counts.stage, counts.length_ns as f64 / 1e9);
    let successes = counts.latency.len();
    StageRow {
        from_s: stage.from_ns as f64 / 1e9,
        seconds,
        rate_from: stage.from_rate,
        rate_to: stage.to_rate,
        rate_wanted: counts.wanted_rate,
        requests_per_second: ratio(counts.in_time as f64, seconds),
        sends: counts.begun + counts.missed,
        missed: counts.missed,
        requests: counts.requests,
        successes,
        success_percent: ratio(100.0 * successes as f64, counts.requests as f64),
        latency_us: percentiles(&counts.latency),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn rows(outcome: &Outcome) -> Vec<Row> {
    let tally = &outcome.tally;
    let width_s = tally.intervals.width_ns() as f64 / 1e9;
    let (elapsed_s, measured_s) = (tally.elapsed_ns as f64 / 1e9, tally.span.length_ns() as f64 / 1e9);
    let row = |(index, interval): (usize, &super::Interval)| {
        let start_s = index as f64 * width_s;
        let seconds = width_s.min((elapsed_s - start_s).max(0.0));
        let successes = interval.latency.len();
        let measured = |micros: f64| (successes > 0).then_some(micros);
        let at = |quantile| measured(micros(interval.latency.value_at_quantile(quantile)));
        Row {
            start_s,
            seconds,
            // A rounding error of a nanosecond makes no interval partial.
            whole: start_s + width_s <= measured_s + 1e-9,
            requests: interval.requests,
            successes,
            failures: interval.failures,
            other_statuses: interval.requests.saturating_sub(interval.failures + successes),
            requests_per_second: ratio(successes as f64, seconds),
            cpu_us_per_request: ratio(micros(interval.cpu_ns), interval.requests as f64).filter(|cpu| *cpu > 0.0),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: measured(micros(interval.latency.max())),
        }
    };
    tally.intervals.all().iter().enumerate().map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn remarks(setup: &Setup, outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let mut remarks = Vec::new();
    if tally.busiest > BUSY {
        remarks.push(format!(
            "warning: load_test, not the server, may be the limit: one of its threads ran {:.0} % of the time (more cores: -t)",
            100.0 * tally.busiest
        ));
    }
    if tally.starved > STARVED {
        remarks.push(format!(
            "warning: a thread of load_test was kept waiting for its core {:.0} % of the time: something else runs there, and the \
             latencies hold that wait",
            100.0 * tally.starved
        ));
    }
    if ratio(tally.late_by_itself as f64, tally.requests() as f64).is_some_and(|share| share > LATE_BY_ITSELF) {
        let cause = match setup.driver.as_str() {
            "epoll" => "waits on epoll are whole milliseconds, and load_test or its core may have been behind",
            _ => "load_test or its core was behind, not the server",
        };
        remarks.push(format!("warning: {} sends were late although a client was free: {cause}", tally.late_by_itself));
    }
    remarks.extend(of_connections(setup, tally));
    if outcome.too_many_errors {
        remarks.push("stopped: as many requests have failed as --max-errors allows".to_owned());
    }
    if let Some(logged) = outcome.logged.as_ref().filter(|logged| logged.dropped > 0) {
        remarks.push(format!(
            "warning: {} requests have no record in the log, because the disk was behind or failed: it has {}",
            logged.dropped, logged.records
        ));
    }
    if tally.missed > 0 {
        let first = if outcome.interrupted { "interrupted" } else { "time was over" };
        remarks.push(format!(
            "warning: {first} with {} sends still waiting for a free client: the rate is too high for the server or for {} \
             clients, and what these sends would have waited is in no figure",
            tally.missed, setup.clients
        ));
    }
    remarks
}

/// Returns remarks about failures between the clients and the server.
#[expect(clippy::cast_precision_loss, reason = "times far below 2^53 ns")]
fn of_connections(setup: &Setup, tally: &Tally) -> Vec<String> {
    let mut remarks = Vec::new();
    let hung = tally.failures(Failure::Timeout);
    if hung > 0 {
        remarks.push(format!(
            "warning: {hung} requests hung: no complete response within {} s. Rates are over the measured span of {:.3} s, which \
             does not hold the wait for them at the end",
            setup.timeout_s,
            tally.span.length_ns() as f64 / 1e9
        ));
    }
    if tally.unsolicited > 0 {
        remarks.push(format!(
            "warning: {} connections were closed because bytes came that belong to no request, such as a response longer than its \
             Content-Length",
            tally.unsolicited
        ));
    }
    if tally.unclosed > 0 {
        remarks.push(format!(
            "warning: the server left {} connections open after their last response, and load_test closed them: their ports stay \
             taken for a minute on this side (TIME_WAIT)",
            tally.unclosed
        ));
    }
    remarks
}

#[cfg(test)]
mod tests;

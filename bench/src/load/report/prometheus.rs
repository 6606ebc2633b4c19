//! The report in Prometheus' text format, version 0.0.4: counts and figures of one finished run as gauges. What was not
//! measured has no sample.

use super::{Percentiles, QUANTILES, Report};
use crate::load::Failure;
use std::fmt::Write;

/// The text, family by family.
struct Families(String);

impl Families {
    fn begin(&mut self, name: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP load_test_{name} {help}\n# TYPE load_test_{name} gauge");
    }

    fn sample(&mut self, name: &str, labels: &str, value: Option<f64>) {
        if let Some(value) = value {
            let _ = writeln!(self.0, "load_test_{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.begin(name, help);
        self.sample(name, "", value);
    }

    fn quantiles(&mut self, name: &str, help: &str, all_us: &Percentiles) {
        self.begin(name, help);
        self.quantile_samples(name, "", all_us);
    }

    /// Those of a family that has begun; `labels` ends with a comma unless it is empty.
    fn quantile_samples(&mut self, name: &str, labels: &str, all_us: &Percentiles) {
        for (quantile, known) in QUANTILES {
            let micros = all_us.iter().find(|(name, _)| *name == known).and_then(|(_, micros)| *micros);
            self.sample(name, &format!("{{{labels}quantile=\"{quantile}\"}}"), micros.map(|micros| micros / 1e6));
        }
    }
}

impl Report<'_> {
    /// The figures for Prometheus, in its base units.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn prometheus(&self) -> String {
        let (tally, figures) = (&self.outcome.tally, &self.figures);
        let mut out = Families(String::new());
        out.begin("responses", "Responses by status.");
        for (status, count) in tally.statuses() {
            out.sample("responses", &format!("{{status=\"{status}\"}}"), Some(count as f64));
        }
        out.begin("errors", "Requests without a response, by reason.");
        for (failure, name) in Failure::ALL {
            out.sample("errors", &format!("{{reason=\"{name}\"}}"), Some(tally.failures(failure) as f64));
        }
        let share = figures.success_percent.map(|percent| percent / 100.0);
        out.one("success_ratio", "Requests with a 2xx response, by all.", share);
        out.one(
            "requests_per_second",
            "Responses with 2xx in the measured span, by its length.",
            figures.requests_per_second,
        );
        out.one("measured_seconds", "The span that rates are over.", Some(figures.measured_s));
        out.one("connections_opened", "Connections that were established.", Some(tally.connections as f64));
        let unsolicited = Some(tally.unsolicited as f64);
        out.one("connections_unsolicited", "Connections closed for bytes that belong to no request.", unsolicited);
        out.quantiles("latency_seconds", "Latency of the responses with 2xx.", &figures.latency_us);
        if let Some(raw_us) = &figures.raw_us {
            out.quantiles("latency_raw_seconds", "The same from the handing over.", raw_us);
        }
        out.quantiles(
            "first_byte_seconds",
            "From the handing over to the first byte of the response.",
            &figures.first_byte_us,
        );
        self.prometheus_stages(&mut out);
        let server_cpu = self.outcome.observed.server_cpu_us.map(|micros| micros / 1e6);
        out.one("server_cpu_seconds_per_request", "CPU time of the server by its responses.", server_cpu);
        out.0
    }

    /// The stages by their number, from 1.
    fn prometheus_stages(&self, out: &mut Families) {
        if self.stages.is_empty() {
            return;
        }
        let label = |index: usize| format!("{{stage=\"{}\"}}", index + 1);
        out.begin("stage_rate_wanted", "Mean rate that a stage wanted, per second.");
        for (index, row) in self.stages.iter().enumerate() {
            out.sample("stage_rate_wanted", &label(index), Some(row.rate_wanted));
        }
        out.begin("stage_requests_per_second", "Responses with 2xx in the time of a stage, by its length.");
        for (index, row) in self.stages.iter().enumerate() {
            out.sample("stage_requests_per_second", &label(index), row.requests_per_second);
        }
        out.begin("stage_success_ratio", "Requests of a stage with a 2xx response, by all.");
        for (index, row) in self.stages.iter().enumerate() {
            out.sample("stage_success_ratio", &label(index), row.success_percent.map(|percent| percent / 100.0));
        }
        out.begin("stage_latency_seconds", "Latency of the responses with 2xx to the requests of a stage.");
        for (index, row) in self.stages.iter().enumerate() {
            let stage = format!("stage=\"{}\",", index + 1);
            out.quantile_samples("stage_latency_seconds", &stage, &row.latency_us);
        }
    }
}

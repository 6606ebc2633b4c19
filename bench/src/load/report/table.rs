//! The reports that other programs draw: the course over time as CSV (RFC 4180), and the distribution in the format of
//! HdrHistogram's `outputPercentileDistribution`.

use super::{Report, forms::shown, micros};
use std::fmt::Write;

/// Rows between one halving of the rest and the next, as HdrHistogram's own programs have them.
const ROWS_PER_HALVING: u32 = 5;

impl Report<'_> {
    /// One row an interval. Latencies are of successes, in an open loop from the intended start. What was not measured
    /// is empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out = String::from(
            "start_s,seconds,requests,successes,requests_per_second,cpu_us_per_request,p50_us,p90_us,p99_us,max_us\n",
        );
        for row in &self.rows {
            // Writing into a String cannot fail.
            let _ = write!(out, "{:.3},{:.3},{},{}", row.start_s, row.seconds, row.requests, row.successes);
            for (value, digits) in [
                (row.requests_per_second, 1),
                (row.cpu_us_per_request, 3),
                (row.p50_us, 1),
                (row.p90_us, 1),
                (row.p99_us, 1),
                (row.max_us, 1),
            ] {
                let _ = write!(out, ",{}", value.map_or_else(String::new, |value| format!("{value:.digits$}")));
            }
            out.push('\n');
        }
        out
    }

    /// The distribution in milliseconds, to the nanosecond; in an open loop from the intended start, with the raw
    /// percentiles in comments.
    #[must_use]
    pub fn hgrm(&self) -> String {
        let millis = |nanos: u64| micros(nanos) / 1e3;
        let latency = &self.outcome.tally.latency;
        let mut out =
            format!("{:>15} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        let mut total = 0;
        for step in latency.iter_quantiles(ROWS_PER_HALVING).take_while(|_| !latency.is_empty()) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = millis(step.value_iterated_to());
            let _ = if quantile < 1.0 {
                writeln!(out, "{value:15.6} {quantile:14.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(out, "{value:15.6} {quantile:14.12} {total:10}")
            };
        }
        let measured = |millis: f64| {
            if latency.is_empty() { format!("{:>15}", "-") } else { format!("{millis:15.6}") }
        };
        let _ = writeln!(
            out,
            "#[Mean    = {}, StdDeviation   = {}]\n#[Max     = {}, Total count    = {:12}]",
            measured(latency.mean() / 1e6),
            measured(latency.stdev() / 1e6),
            measured(millis(latency.max())),
            latency.len()
        );
        let _ = writeln!(out, "#[{}]", self.title());
        for (name, raw_us) in self.figures.raw_us.iter().flatten() {
            let _ = writeln!(out, "#[raw {name} = {}]", shown(raw_us.map(|micros| micros / 1e3), 6));
        }
        out
    }
}

//! The reports that other programs draw: the course over time as CSV (RFC 4180), and the distribution in the format of
//! HdrHistogram's `outputPercentileDistribution`.

use super::{Report, micros};
use std::fmt::Write;

/// Rows between one halving of the rest and the next, as HdrHistogram's own programs have them.
const ROWS_PER_HALVING: u32 = 5;

impl Report<'_> {
    /// One row an interval. Latencies are of successes, in an open loop from the intended start.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out = String::from(
            "start_s,seconds,requests,successes,requests_per_second,cpu_us_per_request,p50_us,p90_us,p99_us,max_us\n",
        );
        for row in &self.rows {
            // Writing into a String cannot fail.
            let _ = writeln!(
                out,
                "{:.3},{:.3},{},{},{:.1},{:.3},{:.1},{:.1},{:.1},{:.1}",
                row.start_s,
                row.seconds,
                row.requests,
                row.successes,
                row.requests_per_second,
                row.cpu_us_per_request,
                row.p50_us,
                row.p90_us,
                row.p99_us,
                row.max_us
            );
        }
        out
    }

    /// The distribution in milliseconds; in an open loop from the intended start, with the raw percentiles in comments.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
    pub fn hgrm(&self) -> String {
        let millis = |nanos: u64| micros(nanos) / 1e3;
        let latency = &self.outcome.tally.latency;
        let mut out =
            format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        let mut total = 0;
        for step in latency.iter_quantiles(ROWS_PER_HALVING) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = millis(step.value_iterated_to());
            let _ = if quantile < 1.0 {
                writeln!(out, "{value:12.3} {quantile:14.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(out, "{value:12.3} {quantile:14.12} {total:10}")
            };
        }
        let _ = writeln!(
            out,
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]",
            latency.mean() / 1e6,
            latency.stdev() / 1e6,
            millis(latency.max()),
            latency.len()
        );
        let _ = writeln!(out, "#[{}]", self.title());
        for (name, raw_us) in self.figures.raw_us.iter().flatten() {
            let _ = writeln!(out, "#[raw {name} = {:.3}]", raw_us / 1e3);
        }
        out
    }
}

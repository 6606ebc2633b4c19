//! Whether a run differs from an earlier one by more than noise. Both come as the JSON report; each has its figures for the
//! whole run and, interval by interval, how far they scatter.
//!
//! The noise of a figure is the larger of the two runs' interquartile ranges over their intervals: half of a run's intervals
//! lie within it. A difference below that could be found within one of the runs. No test of significance is made: intervals
//! follow each other too closely to be independent, and with a hundred of them such a test finds any difference significant.

use serde_json::{Value, json};
use std::{fmt, fs, path::Path};

/// Fewer intervals than this tell nothing about their scatter.
const INTERVALS_MIN: usize = 8;
/// Differences below this are never more than noise, however even the runs: a histogram is true to 0.1 % and the kernel counts
/// CPU time by ticks.
const NOISE_PERCENT_MIN: f64 = 1.0;

/// What is compared: name, unit, where the whole run's figure and the intervals' stand, and the words for more and for less.
const FIGURES: [Figure; 4] = [
    Figure {
        name: "throughput",
        unit: "requests/s",
        whole: "/requests_per_second",
        interval: "requests_per_second",
        more: "faster",
        less: "slower",
    },
    Figure { name: "p50", unit: "us", whole: "/latency_us/p50", interval: "p50_us", more: "slower", less: "faster" },
    Figure { name: "p99", unit: "us", whole: "/latency_us/p99", interval: "p99_us", more: "slower", less: "faster" },
    Figure {
        name: "own CPU",
        unit: "us/request",
        whole: "/cpu_us_per_request",
        interval: "cpu_us_per_request",
        more: "more",
        less: "less",
    },
];

/// What makes two runs unlike, so that their difference says nothing about the server.
const SETUP: [&str; 9] =
    ["url", "method", "model", "target_rate", "clients", "threads", "driver", "keep_alive", "pipeline"];

#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    whole: &'static str,
    interval: &'static str,
    more: &'static str,
    less: &'static str,
}

/// A figure of one run.
#[derive(Debug, Clone)]
struct Sample {
    whole: f64,
    intervals: Vec<f64>,
}

/// What is compared of one run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    setup: [Value; SETUP.len()],
    success_percent: f64,
    samples: [Option<Sample>; FIGURES.len()],
}

/// An earlier run.
#[derive(Debug)]
pub struct Baseline {
    run: Run,
}

/// What a difference amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Beyond(&'static str),
    Noise,
    TooShort,
}

/// How a figure differs.
#[derive(Debug)]
pub(super) struct Change {
    name: &'static str,
    unit: &'static str,
    before: f64,
    now: f64,
    /// Per cent of the figure before.
    difference_percent: f64,
    noise_percent: f64,
    verdict: Verdict,
}

impl Run {
    pub fn new(report: &Value) -> Self {
        let intervals = report["intervals"].as_array().map_or(&[][..], Vec::as_slice);
        let sample = |figure: &Figure| {
            let whole = report.pointer(figure.whole)?.as_f64()?;
            let comparable = intervals.iter().filter(|row| row["whole"] == true && row["successes"] != 0);
            let intervals = comparable.filter_map(|row| row[figure.interval].as_f64()).collect();
            Some(Sample { whole, intervals })
        };
        Self {
            setup: SETUP.map(|name| report[name].clone()),
            success_percent: report["success_percent"].as_f64().unwrap_or(0.0),
            samples: FIGURES.each_ref().map(sample),
        }
    }
}

impl Baseline {
    /// Reads a report of `--format json`.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |what: String| format!("{}: {what}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        let report: Value = serde_json::from_str(&text).map_err(|error| told(format!("not JSON: {error}")))?;
        let run = Run::new(&report);
        for (figure, sample) in FIGURES.iter().zip(&run.samples) {
            if sample.is_none() {
                return Err(told(format!("not a report of load_test --format json: it has no {}", figure.whole)));
            }
        }
        Ok(Self { run })
    }

    /// How `now` differs, and what is to be said about the comparison.
    pub(super) fn compare(&self, now: &Run) -> (Vec<Change>, Vec<String>) {
        let before = &self.run;
        let pairs = FIGURES.iter().zip(before.samples.iter().zip(&now.samples));
        let changes = pairs.filter_map(|(figure, (before, now))| Some(change(figure, before.as_ref()?, now.as_ref()?)));
        let mut remarks: Vec<_> = SETUP
            .iter()
            .zip(before.setup.iter().zip(&now.setup))
            .filter(|(_, (before, now))| before != now)
            .map(|(name, (before, now))| format!("warning: the baseline was run with {name} {before}, this with {now}"))
            .collect();
        if before.success_percent < 100.0 || now.success_percent < 100.0 {
            remarks.push(format!(
                "warning: {} % of the baseline's requests succeeded, {} % of these: latencies are of successes only",
                before.success_percent, now.success_percent
            ));
        }
        (changes.collect(), remarks)
    }
}

fn change(figure: &Figure, before: &Sample, now: &Sample) -> Change {
    let relative = |difference: f64| if before.whole > 0.0 { 100.0 * difference / before.whole } else { 0.0 };
    let difference_percent = relative(now.whole - before.whole);
    let scatter = interquartile_range(&before.intervals).max(interquartile_range(&now.intervals));
    let noise_percent = relative(scatter).max(NOISE_PERCENT_MIN);
    let verdict = if before.intervals.len().min(now.intervals.len()) < INTERVALS_MIN || before.whole <= 0.0 {
        Verdict::TooShort
    } else if difference_percent.abs() <= noise_percent {
        Verdict::Noise
    } else {
        Verdict::Beyond(if difference_percent > 0.0 { figure.more } else { figure.less })
    };
    Change {
        name: figure.name,
        unit: figure.unit,
        before: before.whole,
        now: now.whole,
        difference_percent,
        noise_percent,
        verdict,
    }
}

/// The distance between the first and the third quartile, interpolated (type 7 of Hyndman and Fan, "Sample quantiles in
/// statistical packages", 1996); zero without values.
fn interquartile_range(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.75) - quantile(&sorted, 0.25)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At most 128 values.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let position = at * sorted.len().saturating_sub(1) as f64;
    let below = position as usize;
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(low), Some(high)) => low + (high - low) * position.fract(),
        (low, _) => low.copied().unwrap_or(0.0),
    }
}

impl Change {
    pub fn json(&self) -> Value {
        json!({
            "figure": self.name,
            "unit": self.unit,
            "before": self.before,
            "now": self.now,
            "difference_percent": self.difference_percent,
            "noise_percent": self.noise_percent,
            "verdict": self.verdict.to_string(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Beyond(word) => word,
            Self::Noise => "no difference beyond noise",
            Self::TooShort => "too few intervals to tell: run longer",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:<11}{:>10.2} -> {:>10.2} {:<11}{:+7.1} %, noise {:.1} %: {}",
            self.name, self.before, self.now, self.unit, self.difference_percent, self.noise_percent, self.verdict
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report whose intervals have `rate` plus each of `scatter`, and a hundredth of that as latencies.
    fn report(rate: f64, scatter: &[f64]) -> Value {
        let rows: Vec<_> = scatter
            .iter()
            .map(|by| {
                let rate = rate + by;
                json!({"whole": true, "successes": 9, "requests_per_second": rate, "cpu_us_per_request": 4.0,
                       "p50_us": rate / 100.0, "p99_us": rate / 10.0})
            })
            .collect();
        json!({"model": "closed", "clients": 64, "success_percent": 100.0, "requests_per_second": rate, "cpu_us_per_request": 4.0,
               "latency_us": {"p50": rate / 100.0, "p99": rate / 10.0}, "intervals": rows})
    }

    const EVEN: [f64; 12] = [0.0; 12];
    const ROUGH: [f64; 12] = [-90.0, 90.0, -80.0, 80.0, -70.0, 70.0, -60.0, 60.0, -50.0, 50.0, -40.0, 40.0];

    fn verdicts(before: &Value, now: &Value) -> Vec<String> {
        let (changes, remarks) = Baseline { run: Run::new(before) }.compare(&Run::new(now));
        assert_eq!(remarks, [""; 0]);
        changes.iter().map(|change| change.verdict.to_string()).collect()
    }

    #[test]
    fn a_difference_counts_when_it_is_larger_than_the_scatter() {
        let noise = "no difference beyond noise";
        let (base, more) = (report(1000.0, &EVEN), report(1050.0, &EVEN));
        assert_eq!(verdicts(&base, &more), ["faster", "slower", "slower", noise]);
        assert_eq!(verdicts(&more, &base), ["slower", "faster", "faster", noise]);
        // The middle half of ROUGH spans 125: more than 50, less than 200; whichever of the two runs is the rough one.
        assert_eq!(verdicts(&report(1000.0, &ROUGH), &more), [noise; 4]);
        assert_eq!(verdicts(&base, &report(1050.0, &ROUGH)), [noise; 4]);
        assert_eq!(verdicts(&report(1000.0, &ROUGH), &report(1200.0, &ROUGH)), ["faster", "slower", "slower", noise]);
        assert_eq!(verdicts(&base, &report(1009.0, &EVEN)), [noise; 4], "below one per cent nothing is claimed");
    }

    #[test]
    fn a_short_run_tells_nothing() {
        let too_short = "too few intervals to tell: run longer";
        assert_eq!(verdicts(&report(1000.0, &EVEN[..7]), &report(2000.0, &EVEN)), [too_short; 4]);
        let mut partial = report(2000.0, &EVEN);
        partial["intervals"].as_array_mut().unwrap().iter_mut().for_each(|row| row["whole"] = json!(false));
        assert_eq!(verdicts(&report(1000.0, &EVEN), &partial), [too_short; 4]);
    }

    #[test]
    fn unlike_runs_are_told() {
        let mut other = report(1000.0, &EVEN);
        other["clients"] = json!(500);
        other["success_percent"] = json!(99.0);
        let (_, remarks) = Baseline { run: Run::new(&report(1000.0, &EVEN)) }.compare(&Run::new(&other));
        assert_eq!(remarks[0], "warning: the baseline was run with clients 64, this with 500");
        assert!(remarks[1].contains("99 % of these"), "{remarks:?}");
    }

    #[test]
    fn quartiles_are_those_of_the_textbook() {
        assert_eq!(interquartile_range(&[]), 0.0);
        assert_eq!(interquartile_range(&[7.0]), 0.0);
        assert_eq!(interquartile_range(&[4.0, 1.0, 3.0, 2.0, 5.0]), 2.0);
        assert_eq!(interquartile_range(&[1.0, 2.0, 3.0, 4.0]), 1.5);
    }

    #[test]
    fn a_file_that_is_no_report_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (text, says) in
            [("", "not JSON"), ("[]", "/requests_per_second"), ("{\"latency_us\":1}", "/requests_per_second")]
        {
            file.as_file_mut().set_len(0).unwrap();
            fs::write(file.path(), text).unwrap();
            let told = Baseline::read(file.path()).unwrap_err();
            assert!(told.contains(says) && told.contains(&*file.path().to_string_lossy()), "{told}");
        }
        fs::write(file.path(), report(1.0, &EVEN).to_string()).unwrap();
        assert!(Baseline::read(file.path()).is_ok());
    }
}

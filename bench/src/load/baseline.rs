//! Comparison of runs with earlier ones: whether they differ by more than noise. All come as JSON reports; each holds
//! what it was made of, its figures for the whole run, and how they went over its intervals. Runs of another workload,
//! or of another host, are refused.

mod rounds;
mod statistics;

pub use rounds::{Round, Rounds};
use serde_json::{Value, json};
use statistics::{Comparison, Finding, Sample};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// The form of the reports that can be compared: it goes up when a figure changes its meaning.
pub(super) const FORM: u64 = 2;
/// A run whose threads had to wait for their cores for more than this share of the time measures its neighbours.
const STARVED_PERCENT: f64 = 10.0;
/// So does one during which others used more than this share of the host's cores,
const OTHERS_SHARE: f64 = 0.1;
/// or more than this part of one core while the load or the server had to wait for theirs.
const OTHERS_CORES: f64 = 0.2;
/// Below this share of successes a run measures its failures.
const SUCCESS_PERCENT_MIN: f64 = 99.0;

#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    /// JSON pointer to the whole run's figure.
    whole: &'static str,
    /// Location of the intervals' figures: a field of each row, or the list itself.
    interval: Interval,
    /// Smaller differences are never claimed, per cent.
    floor_percent: f64,
    more: &'static str,
    less: &'static str,
    /// The word that is to the worse for the server, if one is.
    worse: Option<&'static str>,
    /// True if the figure depends on when the load got its core.
    needs_core: bool,
}

#[derive(Debug)]
enum Interval {
    OfRows(&'static str),
    List(&'static str),
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "throughput",
        unit: "requests/s",
        whole: "/requests_per_second",
        interval: Interval::OfRows("requests_per_second"),
        floor_percent: 5.0,
        more: "faster",
        less: "slower",
        worse: Some("slower"),
        needs_core: true,
    },
    Figure {
        name: "p50",
        unit: "us",
        whole: "/latency_us/p50",
        interval: Interval::OfRows("p50_us"),
        floor_percent: 5.0,
        more: "slower",
        less: "faster",
        worse: Some("slower"),
        needs_core: true,
    },
    Figure {
        name: "p99",
        unit: "us",
        whole: "/latency_us/p99",
        interval: Interval::OfRows("p99_us"),
        floor_percent: 10.0,
        more: "slower",
        less: "faster",
        worse: Some("slower"),
        needs_core: true,
    },
    Figure {
        name: "server CPU",
        unit: "us/request",
        whole: "/server_cpu_us_per_request",
        interval: Interval::List("/server_cpu_us_intervals"),
        floor_percent: 2.5,
        more: "more",
        less: "less",
        worse: Some("more"),
        needs_core: false,
    },
    Figure {
        name: "own CPU",
        unit: "us/request",
        whole: "/cpu_us_per_request",
        interval: Interval::OfRows("cpu_us_per_request"),
        floor_percent: 5.0,
        more: "more",
        less: "less",
        worse: None,
        needs_core: true,
    },
];

/// Figures of one run that are compared.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// The file that it came from; none: it has just been made.
    name: Option<PathBuf>,
    workload: Value,
    host: Value,
    maker: Value,
    began_s: f64,
    success_percent: f64,
    starved_percent: f64,
    disturbed: bool,
    samples: [Option<Sample>; FIGURES.len()],
}

/// Earlier runs, and those of what is compared with them that were made before.
#[derive(Debug, Default)]
pub struct Baseline {
    before: Vec<Run>,
    with: Vec<Run>,
}

/// Verdict on a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Beyond { word: &'static str, worse: bool },
    Noise,
    OneRunEach,
    TooShort,
    Starved,
    Failing,
}

/// Difference of one figure.
#[derive(Debug)]
pub(super) struct Change {
    figure: &'static Figure,
    runs: (usize, usize),
    /// Pairs of slices, where the runs are rounds of two servers in turns.
    pairs: Option<usize>,
    comparison: Option<Comparison>,
    verdict: Verdict,
}

impl Run {
    /// The run of a report.
    pub fn new(report: &Value) -> Self {
        let rows = report["intervals"].as_array().map_or(&[][..], Vec::as_slice);
        let sample = |figure: &Figure| {
            let whole = report.pointer(figure.whole)?.as_f64()?;
            let intervals = match figure.interval {
                Interval::OfRows(name) => {
                    let comparable = rows.iter().filter(|row| row["whole"] == true);
                    comparable.filter_map(|row| row[name].as_f64()).collect()
                }
                Interval::List(name) => {
                    let list = report.pointer(name).and_then(Value::as_array);
                    list.into_iter().flatten().filter_map(Value::as_f64).collect()
                }
            };
            Some(Sample { whole, intervals })
        };
        let percent = |name: &str| report[name].as_f64();
        let starved_percent = percent("starved_thread_percent").unwrap_or(0.0);
        let others = percent("other_cores").unwrap_or(0.0);
        let waited = starved_percent.max(percent("server_starved_percent").unwrap_or(0.0)) > STARVED_PERCENT;
        let host_cores = percent("host_cores").unwrap_or(1.0).max(1.0);
        Self {
            name: None,
            workload: report["setup"].clone(),
            host: report["host"].clone(),
            maker: report["load_test"].clone(),
            began_s: percent("began_unix_s").unwrap_or(0.0),
            success_percent: percent("success_percent").unwrap_or(0.0),
            starved_percent,
            disturbed: others / host_cores > OTHERS_SHARE
                || (waited && others > OTHERS_CORES)
                || (report["other_cores"].is_null() && starved_percent > STARVED_PERCENT),
            samples: FIGURES.each_ref().map(sample),
        }
    }

    /// Reads a report of `--format json`.
    fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: String| format!("{}: {what}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let report: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
        if !report["latency_us"].is_object() || !report["intervals"].is_array() {
            return Err(wrong("not a report of load_test --format json".to_owned()));
        }
        if report["form"] != FORM || !report["setup"].is_object() {
            return Err(wrong(
                "made by another version of load_test, without all of its setup: run it again".to_owned(),
            ));
        }
        if report["interrupted"] != false {
            return Err(wrong("this run was interrupted".to_owned()));
        }
        Ok(Self { name: Some(path.to_owned()), ..Self::new(&report) })
    }

    fn name(&self) -> String {
        self.name.as_ref().map_or_else(|| "this run".to_owned(), |path| path.display().to_string())
    }

    /// The sample of a figure, if this run says something about it.
    fn usable(&self, index: usize) -> Option<&Sample> {
        let starved = FIGURES[index].needs_core && self.starved_percent > STARVED_PERCENT;
        self.samples[index].as_ref().filter(|_| !starved && !self.disturbed)
    }
}

/// Says in which fields two objects differ; none: they are equal.
pub(super) fn differences(kind: &str, before: &Value, now: &Value) -> Vec<String> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, now) = (fields(before), fields(now));
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let of = |fields: &serde_json::Map<String, Value>, name: &String| fields.get(name).cloned().unwrap_or_default();
    names
        .map(|name| (name, of(&before, name), of(&now, name)))
        .filter(|(_, before, now)| before != now)
        .map(|(name, before, now)| format!("{kind}{name} {before} there, {now} here"))
        .collect()
}

impl Baseline {
    /// Reads the reports of earlier runs, and those of runs that belong to the one that is compared.
    ///
    /// # Errors
    /// A file cannot be read, is something else, or holds a run that cannot be compared with the first.
    pub fn read(before: &[PathBuf], with: &[PathBuf]) -> Result<Self, String> {
        let all = |paths: &[PathBuf]| paths.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>();
        let baseline = Self { before: all(before)?, with: all(with)? };
        if let Some(first) = baseline.before.first() {
            baseline.check(&first.workload, &first.host)?;
        }
        Ok(baseline)
    }

    /// Refuses a comparison of what is not comparable.
    ///
    /// # Errors
    /// The files whose workload or host is another, and in what.
    pub fn check(&self, workload: &Value, host: &Value) -> Result<(), String> {
        for run in self.before.iter().chain(&self.with) {
            let mut unlike = differences("", &run.workload, workload);
            unlike.extend(differences("host ", &run.host, host));
            if !unlike.is_empty() {
                return Err(format!("{}: not comparable: {}", run.name(), unlike.join("; ")));
            }
        }
        Ok(())
    }

    /// Compares `now`, with the runs that belong to it, to the baseline: returns the differences, and remarks about the
    /// comparison.
    pub(super) fn compare(&self, now: Option<Run>) -> (Vec<Change>, Vec<String>) {
        let now: Vec<Run> = self.with.iter().cloned().chain(now).collect();
        let known = |runs: &[Run], index: usize| runs.iter().any(|run| run.samples[index].is_some());
        let changes = FIGURES.iter().enumerate();
        let changes = changes.filter(|(index, _)| known(&self.before, *index) && known(&now, *index));
        let changes = changes.map(|(index, figure)| change(index, figure, &self.before, &now)).collect();
        (changes, remarks(&self.before, &now))
    }
}

fn remarks(before: &[Run], now: &[Run]) -> Vec<String> {
    let both = || before.iter().chain(now);
    let mut remarks = Vec::new();
    for run in both().filter(|run| run.disturbed || run.starved_percent > STARVED_PERCENT) {
        let what = if run.disturbed { "none of its figures is" } else { "none of its figures but the server's CPU is" };
        remarks.push(format!("warning: something else had the cores during {}: {what} compared", run.name()));
    }
    let successes = both().map(|run| run.success_percent).fold(100.0, f64::min);
    if successes < 100.0 {
        remarks
            .push(format!("warning: in one of the runs only {successes} % succeeded: latencies are of successes only"));
    }
    if both().any(|run| run.maker != before[0].maker) {
        remarks.push(
            "warning: not all runs were made by the same build of load_test: own CPU is of different programs"
                .to_owned(),
        );
    }
    let latest_before = before.iter().map(|run| run.began_s).fold(f64::NEG_INFINITY, f64::max);
    let first_now = now.iter().map(|run| run.began_s).fold(f64::INFINITY, f64::min);
    if before.len() > 1 && now.len() > 1 && latest_before < first_now {
        remarks.push(
            "warning: the runs were not made in turns: what changed on the host meanwhile looks like a difference"
                .to_owned(),
        );
    }
    remarks
}

fn change(index: usize, figure: &'static Figure, before: &[Run], now: &[Run]) -> Change {
    let usable = |runs: &[Run]| runs.iter().filter_map(|run| run.usable(index).cloned()).collect::<Vec<_>>();
    let known = |runs: &[Run]| runs.iter().filter_map(|run| run.samples[index].clone()).collect::<Vec<_>>();
    let (mut these, mut those) = (usable(before), usable(now));
    let starved = these.is_empty() || those.is_empty();
    if starved {
        // Shown, but not judged.
        (these, those) = (known(before), known(now));
    }
    let comparison =
        (!these.is_empty() && !those.is_empty()).then(|| statistics::compare(&these, &those, figure.floor_percent));
    let failing = before.iter().chain(now).any(|run| run.success_percent < SUCCESS_PERCENT_MIN);
    let verdict = verdict_of(figure, comparison.map(|comparison| comparison.finding), failing, starved);
    Change { figure, runs: (these.len(), those.len()), pairs: None, comparison, verdict }
}

/// The verdict of a comparison that found `finding`; `None`: there was nothing to compare.
fn verdict_of(figure: &Figure, finding: Option<Finding>, failing: bool, starved: bool) -> Verdict {
    match finding {
        _ if failing => Verdict::Failing,
        None => Verdict::TooShort,
        _ if starved => Verdict::Starved,
        Some(Finding::More) => Verdict::Beyond { word: figure.more, worse: figure.worse == Some(figure.more) },
        Some(Finding::Less) => Verdict::Beyond { word: figure.less, worse: figure.worse == Some(figure.less) },
        Some(Finding::Noise) => Verdict::Noise,
        Some(Finding::OneRunEach) => Verdict::OneRunEach,
        Some(Finding::TooShort) => Verdict::TooShort,
    }
}

impl Change {
    /// It differs to the worse, beyond noise.
    pub fn is_worse(&self) -> bool {
        matches!(self.verdict, Verdict::Beyond { worse: true, .. })
    }

    /// The runs do not allow a verdict.
    pub fn is_undecided(&self) -> bool {
        !matches!(self.verdict, Verdict::Beyond { .. } | Verdict::Noise)
    }

    pub fn json(&self) -> Value {
        let of = |value: fn(&Comparison) -> f64| self.comparison.as_ref().map(value);
        json!({
            "figure": self.figure.name,
            "unit": self.figure.unit,
            "runs_before": self.runs.0,
            "runs_now": self.runs.1,
            "pairs": self.pairs,
            "before": of(|comparison| comparison.before),
            "now": of(|comparison| comparison.now),
            "difference_percent": of(|comparison| comparison.difference_percent),
            "noise_percent": of(|comparison| comparison.noise_percent),
            "verdict": self.verdict.to_string(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Beyond { word, .. } => word,
            Self::Noise => "no difference beyond noise",
            Self::OneRunEach => "no verdict: one run each does not show what changes between runs, give more",
            Self::TooShort => "no verdict: too few intervals, run longer",
            Self::Starved => "no verdict: something else had the cores",
            Self::Failing => "no verdict: too many requests failed",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<11}", self.figure.name)?;
        if let Some(comparison) = &self.comparison {
            let Comparison { before, now, difference_percent, noise_percent, .. } = comparison;
            let unit = self.figure.unit;
            write!(
                formatter,
                "{before:>10.2} -> {now:>10.2} {unit:<11}{difference_percent:+7.1} %, noise {noise_percent:.1} %"
            )?;
            match self.pairs {
                Some(pairs) => write!(formatter, ", {pairs} pairs in {} rounds: ", self.runs.0)?,
                None => write!(formatter, ", {} and {} runs: ", self.runs.0, self.runs.1)?,
            }
        }
        write!(formatter, "{}", self.verdict)
    }
}

#[cfg(test)]
mod tests;

//! Comparison of two servers that were loaded in turns, slice by slice.
//!
//! What a host does to the CPU time of a request (its frequency, its neighbours on the same hardware threads, its other
//! guests) changes within seconds, and by more than what is looked for. Two slices that follow each other within half a
//! second have nearly the same host, so the ratio of the two is nearly free of it; in which order they are is random,
//! so that a drift favours neither. The difference is the median of the pairs' ratios, and the noise is how far the
//! median's interval reaches that the sign test gives at 99.9 %: no distribution is assumed, and single slices that
//! something disturbed move neither by much.
//!
//! A round is such a comparison of two processes. What changes from one start of a server to the next shows between
//! rounds only: all rounds have to differ in the same direction, and of a single round only twice the floor is claimed.

use super::{
    Change, Comparison, FIGURES, FORM, Figure, Finding, Run, SUCCESS_PERCENT_MIN, Value, differences, json, verdict_of,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Fewer pairs than this tell nothing about their scatter: of 16 the interval is from the least to the most.
const PAIRS_MIN: usize = 16;
/// A round of which less than this share of the pairs is left measures its neighbours.
const USABLE_SHARE_MIN: f64 = 0.5;
/// The quantile of the normal distribution for 99.9 %, both sides.
const NORMAL_999: f64 = 3.29;
/// Fields of a slice's report that are kept.
const KEPT: [&str; 10] = [
    "began_unix_s",
    "requests_per_second",
    "latency_us",
    "server_cpu_us_per_request",
    "cpu_us_per_request",
    "success_percent",
    "starved_thread_percent",
    "server_starved_percent",
    "other_cores",
    "host_cores",
];

/// Slices of two servers, in pairs that followed each other.
#[derive(Debug)]
pub struct Round {
    /// Setup, host and program, as a report has them.
    origin: Value,
    /// Parts of the reports of each pair that are kept: of the server that is the baseline, and of the other.
    slices: Vec<[Value; 2]>,
}

/// Earlier rounds that belong to the one that is compared.
#[derive(Debug, Default)]
pub struct Rounds(Vec<Round>);

impl Round {
    /// The round of the reports of these slices; none without any.
    #[must_use]
    pub fn of(reports: &[[Value; 2]]) -> Option<Self> {
        let of = |name: &str| reports.first().map(|pair| pair[0][name].clone());
        let origin = json!({
            "form": FORM, "load_test": of("load_test")?, "host": of("host"), "setup": of("setup"),
        });
        let kept = |report: &Value| KEPT.iter().map(|name| ((*name).to_owned(), report[*name].clone())).collect();
        Some(Self { origin, slices: reports.iter().map(|pair| pair.each_ref().map(kept)).collect() })
    }

    fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        let report: Value = serde_json::from_str(&text).map_err(|error| wrong(&format!("not JSON: {error}")))?;
        let slices = report["slices"].as_array().filter(|_| report["setup"].is_object());
        let slices = slices.ok_or_else(|| wrong("not a report of load_test --against --format json"))?;
        if report["form"] != FORM {
            return Err(wrong("made by another version of load_test: run it again"));
        }
        let pair = |pair: &Value| Some([pair.get(0)?.clone(), pair.get(1)?.clone()]);
        let slices = slices.iter().map(pair).collect::<Option<_>>().ok_or_else(|| wrong("a slice has no partner"))?;
        let origin = json!({
            "form": FORM, "load_test": report["load_test"], "host": report["host"], "setup": report["setup"],
        });
        Ok(Self { origin, slices })
    }

    /// The round as it is stored, with the verdicts on it.
    #[must_use]
    pub(in crate::load) fn json(&self, changes: &[Change], remarks: &[String]) -> Value {
        let mut stored = self.origin.clone();
        stored["slices"] = json!(self.slices);
        stored["baseline"] = changes.iter().map(Change::json).collect();
        stored["remarks"] = json!(remarks);
        stored
    }

    /// The pairs in which something came of the requests: a load that never got its core measures no failures.
    fn pairs(&self) -> Vec<[Run; 2]> {
        let measured = |pair: &&[Value; 2]| pair.iter().all(|slice| !slice["success_percent"].is_null());
        self.slices.iter().filter(measured).map(|pair| pair.each_ref().map(Run::new)).collect()
    }
}

impl Rounds {
    /// Reads the reports of earlier rounds.
    ///
    /// # Errors
    /// A file cannot be read, is something else, or holds a round that cannot be compared with the first.
    pub fn read(paths: &[PathBuf]) -> Result<Self, String> {
        let rounds = Self(paths.iter().map(|path| Round::read(path)).collect::<Result<_, _>>()?);
        if let Some(first) = rounds.0.first() {
            rounds.check(&first.origin["setup"], &first.origin["host"])?;
        }
        Ok(rounds)
    }

    /// Refuses a comparison of what is not comparable.
    ///
    /// # Errors
    /// In what the workload or the host of a round is another.
    pub fn check(&self, workload: &Value, host: &Value) -> Result<(), String> {
        for (round, number) in self.0.iter().zip(1..) {
            let mut unlike = differences("", &round.origin["setup"], workload);
            unlike.extend(differences("host ", &round.origin["host"], host));
            if !unlike.is_empty() {
                return Err(format!("round {number}: not comparable: {}", unlike.join("; ")));
            }
        }
        Ok(())
    }

    /// Compares the two servers of all rounds, `now` among them: returns the differences, and remarks.
    pub(in crate::load) fn compare(&self, now: Option<&Round>) -> (Vec<Change>, Vec<String>) {
        let rounds: Vec<_> = self.0.iter().chain(now).map(Round::pairs).collect();
        let known =
            |index: usize| rounds.iter().flatten().any(|pair| pair.iter().all(|run| run.samples[index].is_some()));
        let figures = FIGURES.iter().enumerate().filter(|(index, _)| known(*index));
        let changes = figures.map(|(index, figure)| change(index, figure, &rounds)).collect();
        (changes, remarks(&rounds))
    }
}

fn remarks(rounds: &[Vec<[Run; 2]>]) -> Vec<String> {
    let mut remarks = Vec::new();
    let all = || rounds.iter().flatten();
    let disturbed = all().filter(|pair| pair.iter().any(|run| run.disturbed)).count();
    if disturbed > 0 {
        let pairs = all().count();
        remarks.push(format!("warning: something else had the cores during {disturbed} of {pairs} pairs: left out"));
    }
    let successes = all().flatten().map(|run| run.success_percent).fold(100.0, f64::min);
    if successes < 100.0 {
        remarks.push(format!("warning: in one of the slices only {successes} % succeeded"));
    }
    if rounds.len() == 1 {
        remarks.push(
            "one round compares two processes: start both servers anew and give it with --round, to see what a start \
             changes"
                .to_owned(),
        );
    }
    remarks
}

/// Values of one figure in the pairs of one round.
fn values(index: usize, pairs: &[[Run; 2]], usable: bool) -> Vec<[f64; 2]> {
    let sample = |run: &Run| if usable { run.usable(index).cloned() } else { run.samples[index].clone() };
    let value = |run: &Run| sample(run).map(|sample| sample.whole).filter(|value| *value > 0.0);
    pairs.iter().filter_map(|[before, now]| Some([value(before)?, value(now)?])).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of slices")]
fn change(index: usize, figure: &'static Figure, rounds: &[Vec<[Run; 2]>]) -> Change {
    let of = |usable| rounds.iter().map(|pairs| values(index, pairs, usable)).collect::<Vec<_>>();
    let (known, usable) = (of(false), of(true));
    let is_enough = |(known, usable): (&Vec<_>, &Vec<_>)| usable.len() as f64 >= known.len() as f64 * USABLE_SHARE_MIN;
    let starved = !known.iter().zip(&usable).all(is_enough);
    // Shown, but not judged.
    let judged = if starved { known } else { usable };
    let comparison = compare(&judged, figure.floor_percent);
    let failing = rounds.iter().flatten().flatten().any(|run| run.success_percent < SUCCESS_PERCENT_MIN);
    let verdict = verdict_of(figure, comparison.map(|comparison| comparison.finding), failing, starved);
    let pairs = judged.iter().map(Vec::len).sum();
    Change { figure, runs: (rounds.len(), rounds.len()), pairs: Some(pairs), comparison, verdict }
}

/// Compares the two sides of the pairs of some rounds; none without pairs.
fn compare(rounds: &[Vec<[f64; 2]>], floor_percent: f64) -> Option<Comparison> {
    let side = |side: usize| median(sorted(rounds.iter().flatten().map(|pair| pair[side])));
    let ratios = |pairs: &[[f64; 2]]| sorted(pairs.iter().map(|[before, now]| (now / before).ln()));
    let all = ratios(&rounds.concat());
    let (before, now) = (side(0)?, side(1)?);
    let middle = median(all.clone())?;
    let percent = |logarithm: f64| 100.0 * (logarithm.exp() - 1.0);
    let difference_percent = percent(middle);
    let floor_percent = if rounds.len() == 1 { 2.0 * floor_percent } else { floor_percent };
    let reach_percent =
        interval(&all).map(|(low, high)| (difference_percent - percent(low)).max(percent(high) - difference_percent));
    let noise_percent = reach_percent.unwrap_or(f64::INFINITY).max(floor_percent);
    let agree = rounds.iter().all(|pairs| median(ratios(pairs)).is_some_and(|one| one * middle > 0.0));
    let finding = match reach_percent {
        None => Finding::TooShort,
        Some(_) if difference_percent.abs() <= noise_percent || !agree => Finding::Noise,
        Some(_) if middle > 0.0 => Finding::More,
        Some(_) => Finding::Less,
    };
    Some(Comparison { before, now, difference_percent, noise_percent, finding })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[expect(clippy::needless_pass_by_value, reason = "made for it")]
fn median(sorted: Vec<f64>) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// The interval of the median at 99.9 % by the sign test: from the k-th of the values to the k-th last (Conover,
/// "Practical Nonparametric Statistics", 3.2; the normal approximation, rounded to the safe side). None of too few.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number below that of the slices"
)]
fn interval(sorted: &[f64]) -> Option<(f64, f64)> {
    let count = sorted.len();
    if count < PAIRS_MIN {
        return None;
    }
    let beyond = ((count as f64 - NORMAL_999 * (count as f64).sqrt()) / 2.0).floor().max(1.0) as usize - 1;
    Some((sorted[beyond], sorted[count - 1 - beyond]))
}

#[cfg(test)]
mod tests;

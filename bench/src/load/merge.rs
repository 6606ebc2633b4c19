//! One report out of the logs of several runs. Their requests are counted anew, as those of one run: percentiles are
//! those of all requests together.
//!
//! The runs stand where their hosts' clocks say that they began. A rate is what came in all measured spans, by the time
//! that at least one of them covers: runs beside each other add up, and those after each other do not. The same holds
//! for each stage.
#![expect(clippy::cast_precision_loss, reason = "times of a few days are far below 2^53 ns")]

use super::{
    Counts, Merge, Observed, Outcome, Pace, Report, Setup, Span, Tally,
    baseline::differences,
    log::{
        Ended, Record, Totals,
        read::{LogReader, Tail},
    },
    rate_profile::RateProfile,
    schedule::LATE_NS,
    stages::{StageCounts, Stages},
    tally::{Arrival, Begun},
};
use serde_json::{Value, json};
use std::{io::BufRead, path::PathBuf};

/// Logs of loads that began further apart are of no one load, seconds: a year.
const APART_S_MAX: f64 = 366.0 * 24.0 * 3600.0;

/// Result of a merge: the load as a whole, its outcome, and remarks about the logs.
#[derive(Debug)]
pub struct Merged {
    setup: Setup,
    /// Outcome of all loads together.
    pub outcome: Outcome,
    remarks: Vec<String>,
}

impl Merged {
    /// Reads the logs that `merge` names.
    ///
    /// # Errors
    /// A file is no log, or damaged, or of another kind of load than the first.
    pub fn read(merge: &Merge) -> Result<Self, String> {
        read(&merge.logs)
    }

    /// The report of all loads together, as `merge` requires it.
    #[must_use]
    pub fn report<'a>(&'a self, merge: &'a Merge) -> Report<'a> {
        let report = Report::of(self.setup.clone(), merge.format, &merge.fail_if, &self.outcome);
        report.with_remarks(&self.remarks)
    }
}

/// One log that was counted. Times are nanoseconds since the start of the first load of all.
struct Run {
    setup: Setup,
    totals: Totals,
    stages: Option<Stages>,
    shift_ns: u64,
    from_ns: u64,
}

fn read(paths: &[PathBuf]) -> Result<Merged, String> {
    let mut logs = paths.iter().map(|path| LogReader::open(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = logs.first() else { return Err("no log to merge".to_owned()) };
    for log in &logs[1..] {
        let unlike = differences("", &kind(&first.header.setup), &kind(&log.header.setup));
        if !unlike.is_empty() {
            return Err(format!("{} and {}: no one load: {}", first.name, log.name, unlike.join("; ")));
        }
    }
    let began_s = logs.iter().map(|log| log.header.setup.began_s).fold(f64::INFINITY, f64::min);
    if let Some(late) = logs.iter().find(|log| log.header.setup.began_s - began_s > APART_S_MAX) {
        return Err(format!("{}: it began over a year after another", late.name));
    }
    let shift_ns = |log: &LogReader| nanoseconds(log.header.setup.began_s - began_s);
    let from_ns = logs.iter().map(|log| shift_ns(log) + log.header.warm_ns).min().unwrap_or(0);
    let open_loop = first.header.setup.pace.is_some();
    let (mut tally, mut runs, mut remarks) = (Tally::new(from_ns, None, open_loop), Vec::new(), Vec::new());
    for log in &mut logs {
        let shift_ns = shift_ns(log);
        runs.push(count(log, shift_ns, &mut tally, &mut remarks)?);
    }
    if runs.len() > 1 {
        let last_s = runs.iter().map(|run| run.setup.began_s).fold(began_s, f64::max);
        remarks.push(format!("merged: {} logs of loads that began within {:.3} s", runs.len(), last_s - began_s));
    }
    add_up(&runs, from_ns, &mut tally);
    tally.stages = stages(&runs);
    let outcome = Outcome {
        tally,
        interrupted: runs.iter().any(|run| run.totals.interrupted),
        nothing_listens: false,
        too_many_errors: runs.iter().any(|run| run.totals.too_many_errors),
        began_s,
        observed: Observed::default(),
        logged: None,
    };
    Ok(Merged { setup: setup(&runs, began_s), outcome, remarks })
}

/// Returns the fields that must be the same in all logs.
fn kind(setup: &Setup) -> Value {
    let stages = setup.pace.as_ref().map(|pace| pace.profile.stages().iter());
    json!({
        "method": setup.method,
        "path": setup.workload["path"],
        "model": if setup.pace.is_some() { "open" } else { "closed" },
        "keep_alive": setup.keep_alive,
        "pipeline": setup.pipeline,
        "ends of stages, ns": stages.map(|stages| stages.map(|stage| stage.end_ns).collect::<Vec<_>>()),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1970 on; a cast ends at the bounds")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Figures that the records of a log show by themselves.
#[derive(Default)]
struct Seen {
    totals: Totals,
    last_ns: u64,
}

impl Seen {
    fn add(&mut self, record: &Record, end_ns: Option<u64>) {
        let totals = &mut self.totals;
        totals.records += 1;
        totals.scheduled += 1;
        totals.late += u64::from(record.sent_ns.saturating_sub(record.intended_ns) > LATE_NS);
        totals.bytes = totals.bytes.saturating_add(u64::from(record.bytes_sent));
        totals.bytes_received = totals.bytes_received.saturating_add(record.bytes_received);
        if matches!(record.ended, Ended::Status(200..300)) && end_ns.is_none_or(|end_ns| record.ended_ns < end_ns) {
            totals.span_successes += 1;
            totals.span_metrics += u64::from(record.metrics);
        }
        self.last_ns = self.last_ns.max(record.ended_ns);
    }

    /// The totals of a log without its end: the load is taken to have lasted up to its last record.
    fn totals(self, warm_ns: u64, end_ns: Option<u64>, stages: Option<&Stages>) -> Totals {
        let until_ns = self.last_ns.min(end_ns.unwrap_or(u64::MAX));
        let stages = stages.iter().flat_map(|stages| stages.all()).map(|counts| {
            let (from_ns, end_ns) = (counts.stage.from_ns, counts.stage.end_ns);
            (self.last_ns.clamp(from_ns, end_ns) - from_ns, counts.requests, 0)
        });
        Totals {
            elapsed_ns: self.last_ns.saturating_sub(warm_ns),
            span_ns: until_ns.saturating_sub(warm_ns),
            span_bytes: self.totals.bytes,
            interrupted: true,
            stages: stages.collect(),
            ..self.totals
        }
    }
}

/// Counts the records of a log.
fn count<R: BufRead>(
    log: &mut LogReader<R>,
    shift_ns: u64,
    tally: &mut Tally,
    remarks: &mut Vec<String>,
) -> Result<Run, String> {
    let setup = log.header.setup.clone();
    let (warm_ns, end_ns) = (log.header.warm_ns, log.header.end_ns);
    let mut stages = setup.pace.as_ref().and_then(|pace| Stages::of(&pace.profile));
    let mut seen = Seen::default();
    let tail = log.read(|record| {
        replay(record, shift_ns, tally);
        seen.add(record, end_ns);
        if let Some(stages) = &mut stages {
            let success = matches!(record.ended, Ended::Status(200..300));
            stages.ended(record.intended_ns, record.ended_ns, success, 1);
        }
    })?;
    let records = seen.totals.records;
    let totals = match tail {
        Tail::Whole(totals) => *totals,
        Tail::Cut { torn_bytes } => {
            let torn =
                if torn_bytes > 0 { format!(" and {torn_bytes} bytes of one that is cut") } else { String::new() };
            remarks.push(format!(
                "warning: {}: it has no end: the load was killed, or the file was cut. It has {records} records{torn}; \
                 what no record says, as missed sends and CPU time, is in no figure",
                log.name
            ));
            seen.totals(warm_ns, end_ns, stages.as_ref())
        }
    };
    if totals.dropped > 0 {
        remarks.push(format!(
            "warning: {}: {} requests have no record, because the disk was behind: percentiles and counts are without \
             them",
            log.name, totals.dropped
        ));
    } else if totals.records != records && !totals.interrupted {
        return Err(format!("{}: damaged: {records} records, and its end says {}", log.name, totals.records));
    }
    Ok(Run { setup, totals, stages, shift_ns, from_ns: shift_ns + warm_ns })
}

/// Counts one request of a load that began `shift_ns` after the first.
fn replay(record: &Record, shift_ns: u64, tally: &mut Tally) {
    let now_ns = record.ended_ns + shift_ns;
    match record.ended {
        Ended::Failed(failure) => tally.failed(failure, now_ns, true),
        Ended::Status(status) => {
            let first_ns = record.first_ns.filter(|first_ns| *first_ns < record.ended_ns);
            // In a closed loop both are the same, and the figures are from there.
            let sent_ns = if tally.raw.is_some() { record.sent_ns } else { record.intended_ns };
            let begun = Begun { intended_ns: record.intended_ns + shift_ns, start_ns: sent_ns + shift_ns };
            let arrival = Arrival { now_ns, first_ns: first_ns.map(|first_ns| first_ns + shift_ns), steady: true };
            tally.add_response(status, record.metrics, begun, arrival);
        }
    }
}

/// The time that at least one of the spans, from and to, covers.
fn covered_ns(mut spans: Vec<(u64, u64)>) -> u64 {
    spans.sort_unstable();
    let (mut covered_ns, mut until_ns) = (0, 0);
    for (from_ns, end_ns) in spans {
        covered_ns += end_ns.saturating_sub(from_ns.max(until_ns));
        until_ns = until_ns.max(end_ns);
    }
    covered_ns
}

/// Adds up what no record says, and sets the span.
fn add_up(runs: &[Run], from_ns: u64, tally: &mut Tally) {
    let mut in_spans = Counts::default();
    let sum = |sum: &mut u64, one: u64| *sum = sum.saturating_add(one);
    for Run { totals, from_ns: run_ns, .. } in runs {
        sum(&mut in_spans.successes, totals.span_successes);
        sum(&mut in_spans.metrics, totals.span_metrics);
        sum(&mut in_spans.bytes_sent, totals.span_bytes);
        sum(&mut tally.scheduled, totals.scheduled);
        sum(&mut tally.missed, totals.missed);
        sum(&mut tally.late, totals.late);
        sum(&mut tally.late_by_itself, totals.late_by_itself);
        sum(&mut tally.unanswered, totals.unanswered);
        sum(&mut tally.connections, totals.connections);
        sum(&mut tally.unclosed, totals.unclosed);
        sum(&mut tally.unsolicited, totals.unsolicited);
        sum(&mut tally.bytes, totals.bytes);
        sum(&mut tally.bytes_received, totals.bytes_received);
        sum(&mut tally.cpu_ns, totals.cpu_ns);
        tally.busiest = tally.busiest.max(totals.busiest);
        tally.starved = tally.starved.max(totals.starved);
        tally.elapsed_ns = tally.elapsed_ns.max(run_ns + totals.elapsed_ns - from_ns);
        tally.other_reason = tally.other_reason.take().or_else(|| totals.other_reason.clone());
    }
    let spans = runs.iter().map(|run| (run.from_ns, run.from_ns + run.totals.span_ns)).collect();
    tally.span = Span::closed(in_spans, covered_ns(spans));
}

/// The stages of all runs: what each counted, over the time that at least one of them was in it.
fn stages(runs: &[Run]) -> Option<Stages> {
    let mut all = runs.first()?.stages.clone()?;
    for (index, counts) in all.all_mut().iter_mut().enumerate() {
        *counts = StageCounts::new(&counts.stage);
        let (mut spans, mut wanted, mut from, mut to) = (Vec::new(), 0.0, 0.0, 0.0);
        for run in runs {
            let Some((own, (length_ns, begun, missed))) = run
                .stages
                .as_ref()
                .and_then(|stages| stages.all().get(index))
                .zip(run.totals.stages.get(index).copied())
            else {
                continue;
            };
            counts.add(own);
            counts.begun = counts.begun.saturating_add(begun);
            counts.missed = counts.missed.saturating_add(missed);
            let from_ns = run.shift_ns + own.stage.from_ns;
            spans.push((from_ns, from_ns + length_ns));
            // By time: what two runs want at once adds up, and what they want after each other does not.
            let weight = length_ns as f64;
            wanted += own.stage.mean_rate(length_ns) * weight;
            from += own.stage.from_rate * weight;
            to += own.stage.to_rate * weight;
        }
        counts.length_ns = covered_ns(spans);
        if counts.length_ns > 0 {
            let covered = counts.length_ns as f64;
            counts.wanted_rate = wanted / covered;
            (counts.stage.from_rate, counts.stage.to_rate) = (from / covered, to / covered);
        }
    }
    Some(all)
}

/// One text where all are the same, else all of them.
fn texts(runs: &[Run], of: impl Fn(&Setup) -> &String) -> String {
    let mut all: Vec<&str> = Vec::new();
    for text in runs.iter().map(|run| of(&run.setup).as_str()) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all.join(" and ")
}

/// Returns the value that is the same in all runs, or a list of each one's.
fn values(runs: &[Run], of: impl Fn(&Setup) -> &Value) -> Value {
    let first = of(&runs[0].setup);
    let all = runs.iter().map(|run| of(&run.setup));
    if all.clone().all(|value| value == first) { first.clone() } else { json!({"of_runs": all.collect::<Vec<_>>()}) }
}

/// Returns the setup that the report has for all runs together.
fn setup(runs: &[Run], began_s: f64) -> Setup {
    let sum = |of: fn(&Setup) -> u64| runs.iter().map(|run| of(&run.setup)).fold(0, u64::saturating_add);
    let workloads: Vec<_> = runs.iter().map(|run| &run.setup.workload).collect();
    Setup {
        workload: if runs.len() > 1 { json!({"of_runs": workloads}) } else { runs[0].setup.workload.clone() },
        host: values(runs, |setup| &setup.host),
        maker: values(runs, |setup| &setup.maker),
        began_s,
        server: texts(runs, |setup| &setup.server),
        url: texts(runs, |setup| &setup.url),
        driver: texts(runs, |setup| &setup.driver),
        clients: sum(|setup| setup.clients),
        threads: sum(|setup| setup.threads),
        pace: pace(runs),
        is_merged: runs.len() > 1,
        carries_metrics: runs.iter().any(|run| run.setup.carries_metrics),
        timeout_s: runs.iter().map(|run| run.setup.timeout_s).fold(0.0, f64::max),
        ..runs[0].setup.clone()
    }
}

/// Returns the pace of all runs together.
fn pace(runs: &[Run]) -> Option<Pace> {
    let first = runs[0].setup.pace.clone()?;
    let rates: Option<Vec<f64>> = runs.iter().map(|run| run.setup.rate()).collect();
    let spans = runs.iter().map(|run| (run.from_ns, run.from_ns + run.totals.span_ns)).collect();
    let covered_ns = covered_ns(spans);
    let profile = match rates {
        Some(rates) if covered_ns > 0 => {
            let sends = rates.iter().zip(runs).map(|(rate, run)| rate * run.totals.span_ns as f64).sum::<f64>();
            // To a thousandth, for people.
            RateProfile::steady((sends / covered_ns as f64 * 1e3).round() / 1e3)
        }
        _ => first.profile,
    };
    Some(Pace { profile, ..first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Failure, Format, log::read::tests::log};
    use std::{fs, path::Path};

    const S: u64 = 1_000_000_000;

    /// Requests of a second, each so many microseconds later than the one before, the first also in latency.
    fn records(count: u64, step_us: u64, stage: u16) -> Vec<Record> {
        let of = |index: u64| Record {
            intended_ns: index * S / count,
            sent_ns: index * S / count + 1000,
            first_ns: Some(index * S / count + 2000),
            ended_ns: index * S / count + 2000 + index * step_us * 1000,
            ended: if index % 10 == 9 { Ended::Status(503) } else { Ended::Status(200) },
            connection: 0,
            stage,
            metrics: 3,
            bytes_sent: 300,
            bytes_received: 100,
        };
        (0..count).map(of).collect()
    }

    fn totals(records: &[Record], span_ns: u64, stages: Vec<(u64, u64, u64)>) -> Totals {
        let count = records.len() as u64;
        let span_successes = records.iter().filter(|record| record.ended == Ended::Status(200)).count() as u64;
        Totals {
            records: count,
            scheduled: count,
            span_ns,
            elapsed_ns: span_ns,
            span_successes,
            stages,
            ..Totals::default()
        }
    }

    fn written(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn json(merged: &Merged) -> Value {
        let merge = Merge { logs: Vec::new(), format: Format::Json, plot: None, fail_if: Vec::new() };
        serde_json::from_str(&merged.report(&merge).render()).unwrap()
    }

    #[test]
    fn merged_percentiles_are_those_of_one_run_with_all_requests() {
        let directory = tempfile::tempdir().unwrap();
        let (fast, slow) = (records(1000, 1, 0), records(500, 90, 0));
        let one = |name: &str, records: &[Record]| {
            written(
                directory.path(),
                name,
                &log("4 -d 1s --rate 1000", 1e9, records, Some(&totals(records, S, vec![]))),
            )
        };
        let all = [fast.clone(), slow.clone()].concat();
        let parts = read(&[one("a", &fast), one("b", &slow)]).unwrap();
        let whole = read(&[one("c", &all)]).unwrap();
        let (of_parts, of_whole) = (&parts.outcome.tally, &whole.outcome.tally);
        assert_eq!((&of_parts.latency, &of_parts.raw), (&of_whole.latency, &of_whole.raw));
        let (merged, whole) = (json(&parts), json(&whole));
        for field in [
            "requests",
            "successes",
            "statuses",
            "latency_us",
            "latency_raw_us",
            "latency_by_status_us",
            "first_byte_us",
            "requests_per_second",
            "measured_s",
            "achieved_percent",
            "intervals",
        ] {
            assert_eq!(merged[field], whole[field], "{field}");
        }
        assert_eq!((&merged["clients"], &merged["target_rate"]), (&json!(8), &json!(2000.0)));
        assert!(merged["remarks"].to_string().contains("2 logs"), "{merged}");
    }

    #[test]
    fn runs_after_each_other_do_not_add_their_rates_up() {
        let directory = tempfile::tempdir().unwrap();
        let all = records(1000, 1, 0);
        let one = |name: &str, began_s| {
            written(directory.path(), name, &log("4 -d 1s --rate 1000", began_s, &all, Some(&totals(&all, S, vec![]))))
        };
        let rate = |report: &Value| report["requests_per_second"].as_f64().unwrap();
        let beside = json(&read(&[one("a", 1e9), one("b", 1e9)]).unwrap());
        let behind = json(&read(&[one("a", 1e9), one("b", 1e9 + 5.0)]).unwrap());
        assert_eq!((rate(&beside), rate(&behind)), (1800.0, 900.0));
        assert_eq!((&beside["target_rate"], &behind["target_rate"]), (&json!(2000.0), &json!(1000.0)));
        assert_eq!((&beside["measured_s"], &behind["measured_s"]), (&json!(1.0), &json!(2.0)));
    }

    #[test]
    fn stages_of_several_runs_are_merged_each() {
        let directory = tempfile::tempdir().unwrap();
        let all = records(1000, 1, 1);
        let stages = vec![(S, 1000, 0), (S, 0, 5)];
        let bytes = log("4 --stages 1s:2000,1s:0", 1e9, &all, Some(&totals(&all, 2 * S, stages)));
        let path = written(directory.path(), "a", &bytes);
        let report = json(&read(&[path.clone(), path.clone()]).unwrap());
        let first = &report["stages"][0];
        assert_eq!(
            (&first["sends"], &first["requests"], &first["successes"]),
            (&json!(2000), &json!(2000), &json!(1800))
        );
        assert_eq!((&first["rate_wanted"], &first["rate_to"]), (&json!(2000.0), &json!(4000.0)), "both at once");
        assert_eq!(report["stages"][1]["missed_sends"], 10);
        let other = written(directory.path(), "b", &log("4 --stages 1s:2000,2s:0", 1e9, &[], None));
        assert!(read(&[path, other]).unwrap_err().contains("ends of stages"));
    }

    #[test]
    fn a_log_without_its_end_is_counted_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let all = records(1000, 1, 0);
        let mut bytes = log("4 -d 2s", 1e9, &all, None);
        bytes.truncate(bytes.len() - 5);
        let merged = read(&[written(directory.path(), "cut.csv", &bytes)]).unwrap();
        assert_eq!(merged.outcome.tally.requests(), 999);
        assert!(merged.outcome.interrupted);
        assert!(merged.remarks[0].contains("cut.csv: it has no end") && merged.remarks[0].contains("999 records and"));
        let report = json(&merged);
        assert!(report["requests_per_second"].as_f64().unwrap() > 0.0, "over what its records cover: {report}");
        let failed = Record { ended: Ended::Failed(Failure::Timeout), ..all[0] };
        let bytes = log("4 -d 2s", 1e9, &[failed], Some(&totals(&all, S, vec![])));
        assert!(
            read(&[written(directory.path(), "d", &bytes)]).unwrap_err().contains("1 records, and its end says 1000")
        );
    }

    #[test]
    fn logs_of_different_loads_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let one = |name: &str, line: &str, began_s| written(directory.path(), name, &log(line, began_s, &[], None));
        let first = one("first", "4 9 --rate 10", 1e9);
        for (line, began_s, says) in [
            ("4 9", 1e9, "model \"open\" there, \"closed\" here"),
            ("4 9 --rate 10 --pipeline 2", 1e9, "pipeline 1 there, 2 here"),
            ("4 9 --rate 10 --ack fsync", 1e9, "path"),
            ("4 9 --rate 10", 2e9, "over a year"),
        ] {
            let error = read(&[first.clone(), one("other", line, began_s)]).unwrap_err();
            assert!(error.contains(says) && error.contains("other"), "{line}: {error}");
        }
        let other_host = one("other", "9 3 --rate 500 --seed 7 -t 1", 1e9);
        assert!(read(&[first, other_host]).is_ok(), "clients, rates and seeds may differ");
    }

    #[test]
    fn spans_that_overlap_are_covered_once() {
        assert_eq!(covered_ns(vec![]), 0);
        assert_eq!(covered_ns(vec![(5, 9), (0, 3), (2, 4), (6, 7), (20, 20)]), 8);
    }
}

//! `load_test PORT CLIENTS REQUESTS [INTERVAL_MS]`: puts a load on a server, and says what came back. See `--help`.

use metricstream_bench::{
    complain,
    load::{self, Comparison, Invocation, Log, Merge, Merged, Outcome, Plan, Report, Turns},
    output,
};
use reactor::nofile;
use std::{env, path::Path, process::ExitCode};

/// Some requests did not succeed.
const FAILED: u8 = 1;
/// Used wrongly, there is nothing to load, or the report cannot be written.
const WRONG_USE: u8 = 2;
/// A condition of `--fail-if` holds.
const CONDITION_HOLDS: u8 = 3;
/// Descriptors that are not connections: standard streams, and per thread a ring, an epoll instance and a doorbell.
const DESCRIPTORS_BESIDE: u64 = 64;

fn main() -> ExitCode {
    let outcome = match load::invocation(env::args_os()) {
        Ok(Invocation::Load(mut plan)) => run(&mut plan),
        Ok(Invocation::Turns(mut turns)) => take_turns(&mut turns),
        Ok(Invocation::Compare(comparison)) => compare(&comparison),
        Ok(Invocation::Merge(logs)) => merge(&logs),
        Err(error) => return output::refuse(&error),
    };
    outcome.unwrap_or_else(|message| {
        complain!("load_test: {message}");
        ExitCode::from(WRONG_USE)
    })
}

fn print(text: &str) -> Result<(), String> {
    // A reader that has seen enough is no failure of the load.
    output::print(text).map(|_| ()).map_err(|error| format!("cannot write the report: {error}"))
}

/// Names the conditions that hold. Whether there is one.
fn fails(failures: &[String]) -> bool {
    failures.iter().for_each(|failure| complain!("load_test: --fail-if {failure}"));
    !failures.is_empty()
}

fn compare(comparison: &Comparison) -> Result<ExitCode, String> {
    let (text, failures) = load::render_comparison(comparison);
    print(&text)?;
    Ok(if fails(&failures) { ExitCode::from(CONDITION_HOLDS) } else { ExitCode::SUCCESS })
}

fn merge(logs: &Merge) -> Result<ExitCode, String> {
    let merged = Merged::read(logs)?;
    write(&merged.report(logs), logs.plot.as_deref(), &merged.outcome)
}

/// Prints a report, and draws it. The exit code for what it says.
fn write(report: &Report<'_>, plot: Option<&Path>, outcome: &Outcome) -> Result<ExitCode, String> {
    print(&report.render())?;
    output::complain(format_args!("{}", report.aside()));
    if let Some(path) = plot {
        load::draw(report, path)?;
    }
    if let Some(error) = outcome.logged.as_ref().and_then(|logged| logged.error.as_ref()) {
        return Err(format!("cannot write the log: {error}"));
    }
    if fails(&report.failures()) {
        return Ok(ExitCode::from(CONDITION_HOLDS));
    }
    let (tally, requests) = (&outcome.tally, outcome.tally.requests());
    let complete =
        !outcome.interrupted && requests > 0 && tally.successes() == requests && tally.missed + tally.unsolicited == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn raise_limit(plan: &Plan) -> Result<(), String> {
    let limit = nofile::raise().map_err(|error| format!("cannot raise the limit of open files: {error}"))?;
    if u64::from(plan.clients) + DESCRIPTORS_BESIDE > limit {
        return Err(format!(
            "{} clients are more than the limit of open files allows: ulimit -Hn is {limit}",
            plan.clients
        ));
    }
    Ok(())
}

fn take_turns(turns: &mut Turns) -> Result<ExitCode, String> {
    turns.plans.iter().try_for_each(raise_limit)?;
    let chosen = turns.plans[0].driver.settle();
    turns.check(chosen)?;
    turns.plans.iter_mut().for_each(Plan::settle_address);
    let outcome = turns.run(chosen).map_err(|error| format!("cannot run on {chosen}: {error}"))?;
    if let Some(url) = outcome.silent {
        return Err(format!("nothing listens at {url}"));
    }
    let Some(round) = outcome.round else { return Ok(ExitCode::from(FAILED)) };
    let (text, failures) = turns.render(&round);
    print(&text)?;
    Ok(match (fails(&failures), outcome.interrupted) {
        (true, _) => ExitCode::from(CONDITION_HOLDS),
        (false, true) => ExitCode::from(FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn run(plan: &mut Plan) -> Result<ExitCode, String> {
    raise_limit(plan)?;
    let chosen = plan.driver.settle();
    if let Some(baseline) = &plan.baseline {
        baseline.check(&load::workload(plan, chosen), &load::host())?;
    }
    plan.settle_address();
    let title = format!("{} {}", plan.method, plan.url);
    if let Some(path) = &plan.plot {
        // Tried before the load, not after it; and a load that is killed leaves no picture of an earlier one.
        load::draw_message(path, &title, "the load has not ended")?;
    }
    let log = plan.log.as_deref().map(|path| Log::create(path, plan, chosen)).transpose()?;
    let outcome = load::run(plan, chosen, log).map_err(|error| format!("cannot run on {chosen}: {error}"))?;
    if outcome.nothing_listens {
        let addresses = plan.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let message = format!("nothing listens on {addresses}");
        if let Some(path) = &plan.plot {
            load::draw_message(path, &title, &message)?;
        }
        return Err(message);
    }
    write(&Report::new(plan, chosen, &outcome), plan.plot.as_deref(), &outcome)
}

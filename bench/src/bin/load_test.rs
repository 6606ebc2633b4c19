//! `load_test PORT CLIENTS REQUESTS [INTERVAL_MS]`: puts a load on a server, and says what came back. See `--help`.

use metricstream_bench::{
    complain,
    load::{self, Plan, Report},
    output,
};
use reactor::nofile;
use std::{env, fs::OpenOptions, process::ExitCode};

/// Some requests did not succeed.
const FAILED: u8 = 1;
/// Used wrongly, or there is nothing to load.
const WRONG_USE: u8 = 2;
/// Descriptors that are not connections: standard streams, and per thread a ring, an epoll instance and a doorbell.
const DESCRIPTORS_BESIDE: u64 = 64;

fn main() -> ExitCode {
    let plan = match load::parse(env::args_os()) {
        Ok(plan) => plan,
        Err(error) => return output::refuse(&error),
    };
    run(&plan).unwrap_or_else(|message| {
        complain!("load_test: {message}");
        ExitCode::from(WRONG_USE)
    })
}

fn run(plan: &Plan) -> Result<ExitCode, String> {
    let limit = nofile::raise().map_err(|error| format!("cannot raise the limit of open files: {error}"))?;
    if u64::from(plan.clients) + DESCRIPTORS_BESIDE > limit {
        return Err(format!(
            "{} clients are more than the limit of open files allows: ulimit -Hn is {limit}",
            plan.clients
        ));
    }
    if let Some(path) = &plan.plot {
        // Tried before the load, not after it.
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let chosen = plan.driver.settle();
    let outcome = load::run(plan, chosen).map_err(|error| format!("cannot run on {chosen}: {error}"))?;
    if outcome.nothing_listens {
        return Err(format!("nothing listens on {}", plan.server));
    }
    let report = Report::new(plan, chosen, &outcome);
    // A reader that has seen enough is no failure of the load.
    output::print(&report.render()).map_err(|error| format!("cannot write the report: {error}"))?;
    output::complain(format_args!("{}", report.aside()));
    if let Some(path) = &plan.plot {
        load::draw(&report, path)?;
    }
    let (tally, requests) = (&outcome.tally, outcome.tally.requests());
    let complete =
        !outcome.interrupted && requests > 0 && tally.successes() == requests && tally.missed + tally.unsolicited == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

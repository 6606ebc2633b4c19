//! `load_test PORT CLIENTS REQUESTS [INTERVAL_MS]`: puts a load on a server, and says what came back. See `--help`.

use metricstream_bench::load::{self, Format, Plan};
use reactor::nofile;
use std::{env, process::ExitCode};

/// Some requests did not succeed.
const FAILED: u8 = 1;
/// Used wrongly, or there is nothing to load.
const WRONG_USE: u8 = 2;
/// Descriptors that are not connections: standard streams, and per thread a ring, an epoll instance and a doorbell.
const DESCRIPTORS_BESIDE: u64 = 64;

fn main() -> ExitCode {
    let plan = match load::parse(env::args_os()) {
        Ok(plan) => plan,
        Err(error) => error.exit(),
    };
    run(&plan).unwrap_or_else(|message| {
        eprintln!("load_test: {message}");
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
    let chosen = plan.driver.settle();
    let outcome = load::run(plan, chosen).map_err(|error| format!("cannot run on {chosen}: {error}"))?;
    if outcome.nothing_listens {
        return Err(format!("nothing listens on {}", plan.server));
    }
    match plan.format {
        Format::Text => print!("{}", load::text(plan, chosen, &outcome)),
        Format::Json => print!("{}", load::json(plan, chosen, &outcome)),
    }
    let requests = outcome.tally.requests();
    let complete = !outcome.interrupted && requests > 0 && outcome.tally.successes() == requests;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

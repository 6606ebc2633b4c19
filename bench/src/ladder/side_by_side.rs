//! The whole ladder: every stage under the same loads, interleaved over rounds, as a table and as a picture.

use super::{
    Stage,
    measure::{Bench, Load, Sample, Server, medians, percent},
    plot,
};
use crate::output;
use reactor::uring;
use std::{fmt::Write, path::PathBuf, time::Duration};

/// Plan of the run.
#[derive(Debug)]
pub struct Plan {
    /// Concurrent clients.
    pub clients: u32,
    /// Length of each load.
    pub duration: Duration,
    /// Number of times that each stage is loaded in each way.
    pub rounds: usize,
    /// File that the picture is written to.
    pub plot: PathBuf,
}

/// The two loads, with their titles: as the textbooks' servers were used, and as an agent uses a server.
pub const LOADS: [(bool, &str); 2] = [(false, "a connection for each request"), (true, "connections kept alive")];

/// The medians of one load, a stage each.
pub type Column = Vec<(Stage, Sample)>;

/// Runs everything, prints the tables, draws the picture. `goes_on` is called before each run.
///
/// # Errors
/// One line: what could not be run, or was lost. It stops there.
pub fn run(bench: &Bench, plan: &Plan, goes_on: impl Fn() -> bool) -> Result<(), String> {
    crate::say!(
        "{} clients, {:.1} s a run, {} rounds interleaved, medians; {}",
        plan.clients,
        plan.duration.as_secs_f64(),
        plan.rounds,
        bench.places(),
    );
    if bench.server_cores.as_deref().is_none_or(|cores| cores.parse::<usize>().is_ok()) {
        crate::say!("the server has one core: {} is {} here", Stage::EpollCores.name(), Stage::EpollSingle.name());
    }
    let mut stages = Stage::ALL.to_vec();
    if let Err(reason) = uring::probe() {
        crate::say!("{} is left out: {reason}", Stage::UringCores.name());
        stages.retain(|&stage| stage != Stage::UringCores);
    }
    let mut samples = vec![Vec::new(); LOADS.len() * stages.len()];
    for round in 0..plan.rounds {
        for (index, samples) in samples.iter_mut().enumerate() {
            if output::has_ended() {
                return Ok(());
            }
            if !goes_on() {
                return Err("interrupted".to_owned());
            }
            let (keep_alive, title) = LOADS[index / stages.len()];
            let stage = stages[index % stages.len()];
            crate::complain!("round {} of {}, {title}: {}", round + 1, plan.rounds, stage.name());
            let load = Load { clients: plan.clients, duration: plan.duration, keep_alive };
            samples.push(bench.run(Server::Stage(stage), &load)?);
        }
    }
    let columns: Vec<Column> = samples
        .chunks(stages.len())
        .map(|runs| stages.iter().copied().zip(runs.iter().map(|runs| medians(runs))).collect())
        .collect();
    for ((_, title), column) in LOADS.iter().zip(&columns) {
        crate::say!("{}", table(title, column).trim_end_matches('\n'));
    }
    plot::ladder(&plan.plot, plan.clients, &columns)?;
    crate::say!("\nplot: {}", plan.plot.display());
    Ok(())
}

fn table(title: &str, column: &Column) -> String {
    let mut out = format!(
        "\n{title}\n{:<19}{:<24}{:>11}{:>7}{:>10}{:>10}{:>10}{:>13}{:>9}{:>9}\n",
        "stage", "shows", "requests/s", "ratio", "p50 us", "p99 us", "success %", "CPU us/req.", "threads", "RSS MiB"
    );
    let first = column[0].1.requests_per_second.max(f64::MIN_POSITIVE);
    for (stage, sample) in column {
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "{:<19}{:<24}{:>11.0}{:>7.2}{:>10.0}{:>10.0}{:>10}{:>13.1}{:>9}{:>9.1}",
            stage.name(),
            stage.shows(),
            sample.requests_per_second,
            sample.requests_per_second / first,
            sample.p50_us,
            sample.p99_us,
            percent(sample.success_percent),
            sample.server_cpu_us,
            sample.threads,
            sample.resident_mib,
        );
    }
    out
}

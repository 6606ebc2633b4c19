//! `compare`: servers under the same loads, in turns. See `--help`; scripts/compare.sh builds what it needs and
//! installs the peers.

use metricstream_bench::{
    compare::{Bench, Measurement, environment::Environment, options, options::Plan, report},
    memory::{self, Touched},
    output,
};
use reactor::nofile;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Runs of one day on one host that get directories of their own.
const RUNS_A_DAY_MAX: u32 = 1000;

fn main() -> ExitCode {
    let plan = match options::parse(env::args_os()) {
        Ok(plan) => plan,
        Err(error) => error.exit(),
    };
    match run(&plan) {
        Ok(complete) => output::finish(ExitCode::from(u8::from(!complete))),
        Err(error) => {
            metricstream_bench::complain!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A directory that is deleted when it goes out of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("compare-{}", std::process::id()));
        fs::create_dir_all(parent)?;
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the plan; returns true if every cell was measured in every round.
fn run(plan: &Plan) -> io::Result<bool> {
    // Servers and clients inherit it: a thousand connections are more than the usual limit.
    nofile::raise()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let scratch = Scratch::new(&plan.work_dir)?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut environment = Environment::look(plan, &arguments, &scratch.0);
    let touched = if plan.touch_memory { Some(memory::touch_free()?) } else { None };
    environment.touched_bytes = touched.as_ref().map_or(Ok(0), Touched::bytes)?;
    let results = results(plan.out.as_deref().unwrap_or(&scratch.0), &environment)?;
    for skipped in &plan.skipped {
        metricstream_bench::complain!("skipped {skipped}");
    }
    let minutes = plan.total().as_secs_f64() / 60.0;
    metricstream_bench::complain!("{} cells x {} rounds: about {minutes:.1} minutes", plan.cells.len(), plan.rounds);

    fs::write(results.join("compare.json"), serde_json::to_string_pretty(&environment)? + "\n")?;
    let mut raw = File::create_new(results.join("compare.jsonl"))?;
    let bench = Bench::new(plan, &scratch.0)?;
    let mut measurements: Vec<Measurement> = Vec::new();
    let mut complete = true;
    'rounds: for round in 1..=plan.rounds {
        for cell in &plan.cells {
            let (scenario, subject, client) = (cell.scenario.name, cell.subject.name, cell.client.name());
            let name = format!("{round}/{} {scenario} {subject} {client}", plan.rounds);
            let measured = bench.measure(round, cell);
            if interrupted.load(Ordering::Relaxed) {
                // The signal of a terminal has reached the client and the server as well.
                metricstream_bench::complain!("interrupted: {name} is left out");
                complete = false;
                break 'rounds;
            }
            match measured {
                Ok(measured) => {
                    let Measurement { server_cpu_us_per_request: cpu_us, reported, .. } = &measured;
                    metricstream_bench::complain!(
                        "{name}: {cpu_us:.2} us/request, {:.0} requests/s",
                        reported.requests_per_second
                    );
                    writeln!(raw, "{}", serde_json::to_string(&measured)?)?;
                    measurements.push(measured);
                }
                Err(error) => {
                    metricstream_bench::complain!("{name}: {error}");
                    complete = false;
                }
            }
        }
    }
    let report = report::markdown(&environment, &measurements);
    fs::write(results.join("compare.md"), &report)?;
    metricstream_bench::say!("{}", report.trim_end());
    if plan.out.is_some() {
        metricstream_bench::complain!("stored in {}", results.display());
    }
    Ok(complete)
}

/// A new directory in `parent`: a second run of a day gets a number.
fn results(parent: &Path, environment: &Environment) -> io::Result<PathBuf> {
    let name = environment.directory();
    for number in 1..=RUNS_A_DAY_MAX {
        let path = parent.join(if number == 1 { name.clone() } else { format!("{name}.{number}") });
        fs::create_dir_all(&path)?;
        if !path.join("compare.jsonl").exists() {
            return Ok(path);
        }
    }
    Err(io::Error::other(format!("{} has {RUNS_A_DAY_MAX} runs of today", parent.display())))
}

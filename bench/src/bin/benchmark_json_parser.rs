//! `benchmark_json_parser [FILE]`: parsers of batches side by side. See `--help`.

use clap::{Parser, ValueEnum};
use metricstream_bench::{
    output,
    parsers::{self, CountingAllocator, NAIVE, Pace, Reading, Table},
};
use std::{path::PathBuf, process::ExitCode};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The parsers do not agree, or the gate is not passed.
const FAILED: u8 = 1;
/// Used wrongly: the file cannot be read, or is not made of batches. (clap's own code for a wrong argument is the
/// same.)
const WRONG_USE: u8 = 2;

const SMOKE: Pace = Pace { rounds: 3, turn_ns: 100_000 };
const TURN_NS: u128 = 500_000;

/// Times parsers of metric batches side by side: a naive one, the service's, serde_json, sonic-rs and simd-json.
///
/// What they read is compared first. Then each is timed in turn, round after round; a figure is the median of the
/// rounds, and a ratio is how many times as long as the service's parser it takes (`ours`: parse and validate). The
/// service's parser is also timed with the encoder that writes the lines of the log behind it.
#[derive(Debug, Parser)]
#[command(name = "benchmark_json_parser", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Batches to parse, one JSON document a line, instead of the inputs that come with the program
    file: Option<PathBuf>,
    /// Rounds to measure
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Format of the figures
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also time the program that scripts/simdjson.sh builds
    #[arg(long, value_name = "PROGRAM")]
    simdjson: Option<PathBuf>,
    /// Fail unless the service's parser is at least twice as fast as the naive one on every input
    #[arg(long)]
    gate: bool,
    /// Only see that all of it works: the figures mean nothing
    #[arg(long, conflicts_with_all = ["gate", "rounds"])]
    smoke: bool,
}

const AFTER_HELP: &str = "\
The naive parser checks neither syntax nor repeated tags. The libraries make a float of a value and lose its digits; the
service keeps them. simd-json writes into its input, so the copy it needs is timed with it; its bare tape is parsed and not
read, which is the least it can cost. The clock is the monotonic one; run it on a quiet machine.

sonic-rs chooses its vector instructions when it is compiled: RUSTFLAGS='-C target-cpu=native' gives it all there are.

Exit codes: 0 done, 1 the parsers do not agree or the gate is not passed, 2 used wrongly.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For scripts: one object
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::finish(run(&arguments).unwrap_or_else(|message| {
        metricstream_bench::complain!("benchmark_json_parser: {message}");
        ExitCode::from(WRONG_USE)
    }))
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let inputs = match &arguments.file {
        Some(path) => vec![parsers::from_file(path)?],
        None => parsers::built_in(),
    };
    let pace = if arguments.smoke { SMOKE } else { Pace { rounds: usize::from(arguments.rounds), turn_ns: TURN_NS } };
    let mut candidates = parsers::candidates();
    if let Some(program) = &arguments.simdjson {
        let external = parsers::External::start(program)?;
        metricstream_bench::complain!("{}: {}", program.display(), external.version());
        candidates.push(Box::new(external));
    }

    // All are compared before any is timed.
    let mut readings = Vec::with_capacity(inputs.len());
    for input in &inputs {
        readings.push(parsers::compare(input, &mut candidates).map_err(|why| format!("{}: {why}", input.name))?);
    }
    let mut disagree = false;
    for (input, readings) in inputs.iter().zip(&readings) {
        for (candidate, reading) in candidates.iter().zip(readings) {
            if let Reading::Differs(what) = reading {
                // The naive parser is known to be wrong on some inputs; that is one of the reasons for the other one.
                disagree |= candidate.name() != NAIVE;
                metricstream_bench::complain!("{}: {} reads it differently: {what}", input.name, candidate.name());
            }
        }
    }
    if disagree {
        return Ok(ExitCode::from(FAILED));
    }

    if arguments.format == Format::Text {
        metricstream_bench::say!("{} rounds, compiled for {}\n", pace.rounds, parsers::compiled_for());
    }
    let mut tables: Vec<Table> = Vec::with_capacity(inputs.len());
    for (input, readings) in inputs.iter().zip(readings) {
        if output::has_ended() {
            return Ok(ExitCode::SUCCESS);
        }
        let table = parsers::measure(input, &mut candidates, readings, pace);
        if arguments.format == Format::Text {
            metricstream_bench::say!("{}", parsers::text(&table));
        }
        tables.push(table);
    }
    if arguments.format == Format::Json {
        metricstream_bench::say!("{}", parsers::json(&tables, pace).trim_end());
    }
    if arguments.gate {
        let (passed, lines) = parsers::gate(&tables);
        metricstream_bench::complain!("{}", lines.trim_end());
        if !passed {
            return Ok(ExitCode::from(FAILED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

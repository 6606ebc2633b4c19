//! `benchmark_decoders`: decoders of the protocols side by side. See `--help`.

use clap::{Parser, ValueEnum};
use metricstream_bench::{decoders, output, parsers};
use std::process::ExitCode;

/// The decoders do not agree.
const FAILED: u8 = 1;

/// Times decoders of some 2,000 metrics a body: the service's, and structs of prost or serde_json.
///
/// What they read is compared first. Then they are timed in turn, round after round, on one thread; a figure is the
/// median of the rounds, and a ratio is how many times as long as the service's decoder it takes. Each decodes its
/// bodies twice in its turn, and the second time is measured: it is alone then, as on a core of a server. The service's
/// decoders write the lines of the log. The others make structs, alone, and with the same lines written from them.
/// Bodies are decoded from memory, after the content coding: the scrapes that load_test --protocol sends, or those of a
/// real node exporter where the name says so. GB/s are of this input.
#[derive(Debug, Parser)]
#[command(name = "benchmark_decoders", version)]
struct Arguments {
    /// Rounds to measure.
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// Format of the figures.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only see that all of it works: the figures mean nothing.
    #[arg(long, conflicts_with = "rounds")]
    smoke: bool,
    /// Only the protocol that the table names so.
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Decode all bodies this many times and time nothing, for scripts/decoder_instructions.sh. Prints the metrics and
    /// bytes of one pass.
    #[arg(long, value_name = "PASSES", conflicts_with_all = ["rounds", "smoke", "format"])]
    decode: Option<u16>,
    /// With --decode, the decoder that the table names so.
    #[arg(long, value_name = "NAME", requires = "decode", default_value = decoders::OURS)]
    decoder: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For scripts: one object a line, one line a protocol
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::finish(match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            metricstream_bench::complain!("benchmark_decoders: {message}");
            ExitCode::from(FAILED)
        }
    })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let (rounds, bodies) = if arguments.smoke { (1, 1) } else { (usize::from(arguments.rounds), decoders::BODIES) };
    let mut cases = decoders::cases(bodies, arguments.protocol.as_deref());
    if cases.is_empty() {
        return Err(format!("there is no protocol {}", arguments.protocol.as_deref().unwrap_or_default()));
    }
    if let Some(passes) = arguments.decode {
        return cases.iter_mut().try_for_each(|case| {
            let decoded = decoders::decode(case, &arguments.decoder, passes)?;
            metricstream_bench::say!("{}: {decoded}", case.name);
            Ok(())
        });
    }
    // All are compared before any is timed.
    cases.iter_mut().try_for_each(decoders::compare)?;
    if arguments.format == Format::Text {
        metricstream_bench::say!("{rounds} rounds, compiled for {}\n", parsers::compiled_for());
    }
    for case in &mut cases {
        if output::has_ended() {
            break;
        }
        let timings = decoders::measure(case, rounds)?;
        match arguments.format {
            Format::Text => metricstream_bench::say!("{}", decoders::table(case, &timings)),
            Format::Json => metricstream_bench::say!("{}", decoders::json(case, &timings)),
        }
    }
    Ok(())
}

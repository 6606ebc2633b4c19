//! `flamegraph`: from the text of `perf script` to folded stacks, and from folded stacks to a picture. perf/*.sh call
//! it.
//!
//! The stacks are folded here and not by inferno, because two things are wanted of them that it does not do: frames
//! that the compiler inlined are put back (`inlined`), and the time between two events is counted (`off_cpu`). inferno
//! draws. All input is read from standard input, all output goes to standard output.

mod diff;
mod draw;
mod inlined;
mod modules;
mod off_cpu;
mod samples;
mod stacks;

use clap::{Parser, Subcommand, ValueEnum};
use diff::{Comparison, Widths};
use stacks::Stacks;
use std::{
    fs,
    io::{self, BufRead, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Stacks with frames of a program that have no name, in per cent of those with frames of one: over it there is no
/// picture.
const UNNAMED_PERCENT_MAX: f64 = 50.0;
/// The same: from it on there is a warning.
const UNNAMED_PERCENT_WARNING: f64 = 1.0;

/// Folds, sums up and draws what perf recorded.
#[derive(Debug, Parser)]
#[command(name = "flamegraph", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// `perf script` on standard input -> folded stacks, one a line: thread;outermost;…;innermost samples
    Collapse {
        /// Put inlined functions back with addr2line(1), from the debug information of each object.
        #[arg(long)]
        inline: bool,
    },
    /// `perf script` of sched:sched_switch and sched:sched_wakeup -> folded stacks, in microseconds off a core
    Offcpu {
        /// The threads to follow, by id.
        #[arg(long, value_delimiter = ',', required = true)]
        threads: Vec<u32>,
        /// The threads as they were before the recording: lines `TID STATE NAME`, then their kernel stacks behind tabs.
        #[arg(long)]
        snapshot: Option<PathBuf>,
        /// Minimum length of the recording, in seconds.
        #[arg(long, default_value_t = 0)]
        seconds: u32,
        /// Put inlined functions back with addr2line(1).
        #[arg(long)]
        inline: bool,
    },
    /// Folded stacks -> a table: the share of each module of the server, by thread
    #[command(alias = "rooms")]
    Modules,
    /// Folded stacks -> SVG
    Draw {
        /// Words above the picture.
        #[arg(long, default_value = "On-CPU time")]
        title: String,
        /// Unit of the weights.
        #[arg(long, default_value = "samples")]
        unit: String,
        /// Colours.
        #[arg(long, value_enum, default_value = "modules")]
        palette: Palette,
        /// Frames narrower than this share of the picture, in per cent, are left out.
        #[arg(long, default_value_t = 0.05)]
        min_width: f64,
    },
    /// Two files of folded stacks -> SVG of one, each frame coloured by the change of its inclusive share
    Diff {
        /// Folded stacks before.
        before: PathBuf,
        /// Folded stacks after.
        after: PathBuf,
        /// Words above the picture.
        #[arg(long, default_value = "Difference")]
        title: String,
        /// Frames narrower than this share of the picture, in per cent, are left out.
        #[arg(long, default_value_t = 0.05)]
        min_width: f64,
        /// The recording whose shares are the widths: what is in the other one only cannot be seen.
        #[arg(long, value_enum, default_value = "after")]
        widths: Widths,
    },
    /// Two files of folded stacks -> a table of the functions that gained and lost most, by inclusive share
    Changes {
        /// Folded stacks before.
        before: PathBuf,
        /// Folded stacks after.
        after: PathBuf,
    },
}

/// Colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Palette {
    /// One hue a module of the server, grey for the kernel.
    #[value(alias = "rooms")]
    Modules,
    /// Blue for blocked, orange for waiting for a core: time off a core.
    Waiting,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has all that it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            metricstream_bench::complain!("flamegraph: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    let input = io::stdin().lock();
    let mut output = io::BufWriter::new(io::stdout().lock());
    match command {
        Command::Collapse { inline } => {
            let mut stacks = Stacks::default();
            samples::read(input, |sample| stacks.add(&sample.thread, &sample.stack, "", 1))?;
            fold(&stacks, inline, &mut output)?;
        }
        Command::Offcpu { threads, snapshot, seconds, inline } => {
            let mut off_cpu = off_cpu::OffCpu::new(&threads);
            if let Some(path) = snapshot {
                off_cpu.snapshot(&fs::read_to_string(path)?)?;
            }
            samples::read(input, |sample| off_cpu.event(sample))?;
            fold(&off_cpu.finish(u64::from(seconds) * 1_000_000_000), inline, &mut output)?;
        }
        Command::Modules => modules::table(&folded(input)?, &mut output)?,
        Command::Draw { title, unit, palette, min_width } => {
            draw::draw(&folded(input)?, draw::Look { title, unit, palette, min_width }, &mut output)?;
        }
        Command::Diff { before, after, title, min_width, widths } => {
            Comparison::read(&before, &after)?.draw(title, min_width, widths, &mut output)?;
        }
        Command::Changes { before, after } => Comparison::read(&before, &after)?.table(&mut output)?,
    }
    output.flush()
}

fn fold(stacks: &Stacks, inline: bool, output: &mut impl Write) -> io::Result<()> {
    let inlined = if inline { inlined::look_up(stacks.frames()) } else { inlined::Inlined::default() };
    stacks.write(&inlined, output)?;
    output.flush()?;
    let Some(unnamed) = stacks.unnamed(&inlined) else { return Ok(()) };
    let message = format!(
        "{:.0} % of the stacks have frames without a name, most of them in {}: it has no symbols (stripped?), or is another \
         file than the one that ran",
        unnamed.percent, unnamed.object
    );
    if unnamed.percent > UNNAMED_PERCENT_MAX {
        return Err(io::Error::other(message));
    }
    if unnamed.percent >= UNNAMED_PERCENT_WARNING {
        metricstream_bench::complain!("flamegraph: {message}");
    }
    Ok(())
}

/// The lines of a folded file. An empty one is an error: a picture of nothing would be taken for a quiet server.
fn folded(input: impl BufRead) -> io::Result<Vec<String>> {
    let lines = input.lines().collect::<io::Result<Vec<_>>>()?;
    if lines.is_empty() { Err(io::Error::other("there is no stack in the input")) } else { Ok(lines) }
}

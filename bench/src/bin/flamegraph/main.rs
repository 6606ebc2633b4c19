//! `flamegraph`: from the text of `perf script` to folded stacks, and from folded stacks to a picture. perf/*.sh call it.
//!
//! The stacks are folded here and not by inferno, because two things are wanted of them that it does not do: frames that
//! the compiler inlined are put back (`inlined`), and the time between two events is counted (`off_cpu`). inferno draws.
//! All input is read from standard input, all output goes to standard output.

mod draw;
mod inlined;
mod off_cpu;
mod rooms;
mod samples;
mod stacks;

use clap::{Parser, Subcommand, ValueEnum};
use stacks::Stacks;
use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
    process::ExitCode,
};

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
        /// Put inlined functions back with addr2line(1).
        #[arg(long)]
        inline: bool,
    },
    /// Folded stacks -> a table: the share of each room of the server, by thread
    Rooms,
    /// Folded stacks -> SVG
    Draw {
        /// Words above the picture.
        #[arg(long, default_value = "On-CPU time")]
        title: String,
        /// What one unit is.
        #[arg(long, default_value = "samples")]
        unit: String,
        /// Colours.
        #[arg(long, value_enum, default_value = "rooms")]
        palette: Palette,
        /// Frames narrower than this share of the picture, in per cent, are left out.
        #[arg(long, default_value_t = 0.05)]
        min_width: f64,
    },
    /// Two files of folded stacks -> SVG of the second, red where it has more than the first, blue where it has less
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
    },
}

/// Colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Palette {
    /// One hue a room of the server, grey for the kernel.
    Rooms,
    /// Blues, for time off a core.
    Waiting,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flamegraph: {error}");
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
        Command::Offcpu { threads, inline } => {
            let mut off_cpu = off_cpu::OffCpu::new(&threads);
            samples::read(input, |sample| off_cpu.event(sample))?;
            fold(&off_cpu.finish(), inline, &mut output)?;
        }
        Command::Rooms => rooms::table(&folded(input)?, &mut output)?,
        Command::Draw { title, unit, palette, min_width } => {
            draw::draw(&folded(input)?, draw::Look { title, unit, palette, min_width }, &mut output)?;
        }
        Command::Diff { before, after, title, min_width } => {
            draw::difference(&before, &after, title, min_width, &mut output)?;
        }
    }
    output.flush()
}

fn fold(stacks: &Stacks, inline: bool, output: &mut impl Write) -> io::Result<()> {
    let inlined = if inline { inlined::look_up(stacks.frames()) } else { inlined::Inlined::default() };
    stacks.write(&inlined, output)
}

/// The lines of a folded file. An empty one is an error: a picture of nothing would be taken for a quiet server.
fn folded(input: impl BufRead) -> io::Result<Vec<String>> {
    let lines = input.lines().collect::<io::Result<Vec<_>>>()?;
    if lines.is_empty() { Err(io::Error::other("there is no stack in the input")) } else { Ok(lines) }
}

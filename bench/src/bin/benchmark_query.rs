//! Benchmark of queries over a big log: CPU and wall time, GB/s, and the bytes that were read.
//!
//! The log is made straight through the product's encoder and segments (`big_log`), once as one plain file, once in
//! sealed segments with their sidecars, and once in compressed ones. Queries take turns within a round, so that a noisy
//! machine is noisy for all; what is printed is the median over the rounds, with the lowest and the highest. The files
//! are read through once before, so that the page cache is warm as far as memory goes. Each query is parsed and
//! evaluated anew as by the command line, with nothing remembered.
//!
//! "reading" and "reading, CRC-32" are what it costs to read the plain file into a block's buffer at all, and to check
//! it.

use clap::Parser;
use log::{limits::BLOCK_BYTES, segment::ACTIVE_NAME};
use metricstream_bench::{
    big_log::{LogLayout, START_MS, STEP_MS, Shape, write_scrapes},
    cores::thread_cpu_ns,
    output,
};
use query::{
    Bounds, ExecLimits, Kind, Request, run,
    scan::{Scanned, Source},
};
use std::{
    error::Error,
    fs::{self, File},
    hint::black_box,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64},
    time::{Duration, Instant},
};

/// Measures the cost of queries over a big log.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory of the logs. They are made, or were made before with the same numbers, and stay: twice the plain log
    /// and a little.
    #[arg(long, default_value = "target/benchmark_query")]
    directory: PathBuf,
    /// Series; ten of each name.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    series: u32,
    /// Samples of each series, one every ten seconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    samples: u32,
    /// Rounds in which each query is measured once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Threads that scan. Times of the CPU are shown for one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// File for the raw data, one JSON object a measurement.
    #[arg(long)]
    raw: Option<PathBuf>,
    /// Only makes the logs, and prints where they are and the name to query.
    #[arg(long)]
    make: bool,
    /// Only makes a log of real scrapes in this directory, in segments of each layout.
    #[arg(long)]
    scrapes: Option<PathBuf>,
    /// A small log and one round, to see that it works.
    #[arg(long)]
    smoke: bool,
}

/// Bytes of a sealed segment.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Something to be measured.
struct Case {
    name: String,
    work: Work,
    measured: Vec<Measured>,
}

enum Work {
    Query { directory: PathBuf, parameters: String },
    Read { file: PathBuf, is_checked: bool },
}

#[derive(Clone, Copy, Default)]
struct Measured {
    wall: Duration,
    cpu: Duration,
    scanned: Scanned,
    points: usize,
}

fn main() -> ExitCode {
    match measure(Arguments::parse()) {
        Ok(()) => output::finish(ExitCode::SUCCESS),
        Err(error) => {
            metricstream_bench::complain!("benchmark_query: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(mut arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(directory) = &arguments.scrapes {
        return Ok(write_scrapes(directory)?);
    }
    if arguments.smoke {
        (arguments.samples, arguments.rounds) = (200, 1);
        arguments.directory = arguments.directory.with_extension("smoke");
    }
    let shape = Shape { series: arguments.series as usize, samples: arguments.samples as usize };
    let root = arguments.directory.join(format!("{}x{}", shape.series, shape.samples));
    let layouts = [
        ("plain", LogLayout::Active),
        ("sealed", LogLayout::Sealed(SEGMENT_BYTES)),
        ("compressed", LogLayout::Compressed(SEGMENT_BYTES)),
    ];
    for (name, layout) in layouts {
        make(&shape, &root.join(name), layout)?;
    }
    if arguments.make {
        metricstream_bench::say!("{} {}", root.display(), requested_name(&shape));
        return Ok(());
    }
    let mut cases = cases(&shape, &root);
    for round in 0..arguments.rounds {
        for case in &mut cases {
            if round == 0 {
                case.work.run(arguments.threads as usize)?;
            }
            case.measured.push(case.work.run(arguments.threads as usize)?);
        }
    }
    if let Some(path) = &arguments.raw {
        write_raw(path, &cases, arguments.threads)?;
    }
    metricstream_bench::say!(
        "{} series x {} samples, {} threads, {} rounds",
        shape.series,
        shape.samples,
        arguments.threads,
        arguments.rounds
    );
    metricstream_bench::say!(
        "{:44} {:>24} {:>24} {:>8} {:>10} {:>10} {:>10} {:>8}",
        "",
        "wall ms",
        "CPU ms",
        "GB/s",
        "scanned",
        "read",
        "skipped",
        "points"
    );
    cases.iter().for_each(|case| metricstream_bench::say!("{}", case.row(arguments.threads)));
    Ok(())
}

/// Makes a log, unless it was made before.
fn make(shape: &Shape, directory: &Path, layout: LogLayout) -> io::Result<()> {
    let done = directory.join("made");
    if done.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    shape.write(directory, layout)?;
    fs::write(done, "")
}

/// One in the middle.
fn requested_name(shape: &Shape) -> String {
    let names = shape.names();
    names[names.len() / 2].clone()
}

fn cases(shape: &Shape, root: &Path) -> Vec<Case> {
    let names = shape.names();
    let name = requested_name(shape);
    let some = names.iter().take(5).cloned().collect::<Vec<_>>().join("|");
    let all = format!("from={START_MS}&to={}", shape.end_ms());
    // A hundredth of the time, in the middle.
    let middle = START_MS + STEP_MS * (shape.samples as i64 / 2);
    let narrow = format!("from={middle}&to={}", middle + STEP_MS * (shape.samples as i64 / 100).max(1));
    let queries = [
        ("one name, avg", format!("name={name}&agg=avg&{all}")),
        ("one name, avg by instance, 1 h", format!("name={name}&agg=avg&by=instance&step=1h&{all}")),
        ("one name, p95 by instance, 1 h", format!("name={name}&agg=p95&by=instance&step=1h&{all}")),
        ("five names by pattern, max", format!("name=~{some}&agg=max&{all}")),
        ("no such name", format!("name=no_such_name&agg=avg&{all}")),
        ("all names, count", format!("name=~.*&agg=count&{all}")),
        ("one name, a hundredth of the time", format!("name={name}&agg=avg&{narrow}")),
    ];
    let mut cases = Vec::new();
    for (is_checked, name) in [(false, "reading"), (true, "reading, CRC-32")] {
        let work = Work::Read { file: root.join("plain").join(ACTIVE_NAME), is_checked };
        cases.push(Case { name: name.to_owned(), work, measured: Vec::new() });
    }
    for layout in ["plain", "sealed", "compressed"] {
        for (name, parameters) in &queries {
            let work = Work::Query { directory: root.join(layout), parameters: parameters.clone() };
            cases.push(Case { name: format!("{layout}: {name}"), work, measured: Vec::new() });
        }
    }
    cases
}

impl Work {
    fn run(&self, threads: usize) -> Result<Measured, Box<dyn Error>> {
        let (began, cpu_began) = (Instant::now(), thread_cpu_ns()?);
        let (scanned, points) = match self {
            Self::Query { directory, parameters } => query(directory, parameters, threads)?,
            Self::Read { file, is_checked } => (read(file, *is_checked)?, 0),
        };
        let cpu = Duration::from_nanos(thread_cpu_ns()?.saturating_sub(cpu_began));
        Ok(Measured { wall: began.elapsed(), cpu, scanned, points })
    }
}

fn query(directory: &Path, parameters: &str, threads: usize) -> Result<(Scanned, usize), Box<dyn Error>> {
    let request = Request::parse(Kind::Query, parameters, START_MS)?;
    let cancel = AtomicBool::new(false);
    let scanned_bytes = AtomicU64::new(0);
    let deadline = Instant::now() + Duration::from_secs(600);
    let limits = ExecLimits { threads, deadline, cancel: &cancel, scanned_bytes: &scanned_bytes };
    let bounds = Bounds { scanned_bytes_limit: u64::MAX, ..Bounds::default() };
    let result = run(&request, &Source::directory(directory), bounds, &limits)?;
    Ok((result.stats.scanned, result.stats.points))
}

fn read(file: &Path, is_checked: bool) -> io::Result<Scanned> {
    let file = File::open(file)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    loop {
        let bytes = file.read_at(&mut block, offset)?;
        if bytes == 0 {
            return Ok(Scanned { bytes: offset, read_bytes: offset, ..Scanned::default() });
        }
        if is_checked {
            black_box(crc32fast::hash(&block[..bytes]));
        }
        offset += bytes as u64;
    }
}

impl Case {
    fn row(&self, threads: u32) -> String {
        let spread = |time: fn(&Measured) -> Duration| {
            let mut times: Vec<f64> = self.measured.iter().map(|measured| 1e3 * time(measured).as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            (times[times.len() / 2], times[0], times[times.len() - 1])
        };
        let (wall, cpu) = (spread(|measured| measured.wall), spread(|measured| measured.cpu));
        let shown = |(median, least, most)| format!("{median:.1} ({least:.1} - {most:.1})");
        let last = self.measured.last().copied().unwrap_or_default();
        let scanned = last.scanned;
        let median_s = if threads == 1 { cpu.0 } else { wall.0 } / 1e3;
        let gb_per_s = scanned.bytes as f64 / 1e9 / median_s.max(1e-9);
        let cpu = if threads == 1 { shown(cpu) } else { "-".to_owned() };
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let (looked_at, read, skipped) = (mb(scanned.bytes), mb(scanned.read_bytes), mb(scanned.skipped_bytes));
        let (name, wall, points) = (&self.name, shown(wall), last.points);
        format!("{name:44} {wall:>24} {cpu:>24} {gb_per_s:8.2} {looked_at:>10} {read:>10} {skipped:>10} {points:8}")
    }
}

fn write_raw(path: &Path, cases: &[Case], threads: u32) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    for round in 0..cases.first().map_or(0, |case| case.measured.len()) {
        for Case { name, measured, .. } in cases {
            let Measured { wall, cpu, scanned, points } = measured[round];
            let line = serde_json::json!({
                "round": round,
                "case": name,
                "threads": threads,
                "wall_s": wall.as_secs_f64(),
                "cpu_s": (threads == 1).then_some(cpu.as_secs_f64()),
                "scanned_bytes": scanned.bytes,
                "read_bytes": scanned.read_bytes,
                "skipped_bytes": scanned.skipped_bytes,
                "matched": scanned.matched,
                "points": points,
            });
            writeln!(file, "{line}")?;
        }
    }
    file.flush()
}

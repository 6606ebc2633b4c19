//! `metricstream query`: the engine over a data directory, without a server or beside one that runs. The parameters
//! are those of `GET /query`, so what was tried here can be put behind a URL.
//!
//! The map: `table`, `chart` and `svg` are forms for people, `plot` is what the latter two have in common.

mod chart;
mod plot;
mod svg;
mod table;

use crate::{config::allowed_cores, logging, progress::with_progress};
use metric::printable::{TerminalWriter, printable};
use query::{
    Bounds, ExecLimits, Format, Kind, QueryResult, Refusal, Request, limits::SCAN_THREADS_CAP, meaning, run,
    scan::Source,
};
use std::{
    borrow::Cow,
    fmt, fs,
    io::{self, ErrorKind, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use wake::clock::Clock;

/// The flags of `metricstream query`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Parameters are written as in a URL, percent-encoded where necessary (%26 is &, %25 is %, a + is a space); QUERY.md describes \
                        them: name=, from=, to=, step=, agg=, by=, tag.KEY=, limit=, points=, order=.\n\n\
                        metricstream query 'name=cpu_usage&from=-1h&step=60s&agg=max&by=host' /srv/metrics\n\n\
                        metricstream query --path tags/host 'from=-7d' /srv/metrics\n\n\
                        metricstream query --format svg 'name=~http_.*&agg=rate&step=1m' >rates.svg\n\n\
                        A running server is not disturbed.\n\n\
                        On a terminal, control and format characters in names and tags are escaped in every format.\n\n\
                        Exit codes: 0 the query succeeded, also with an empty result or a closed pipe; 1 the query failed: over a limit, the log \
                        cannot be read, or the result cannot be written; 2 invalid flags or parameters, or no such directory."
)]
pub struct Arguments {
    /// Parameters, written as after the ? of a URL
    #[arg(value_name = "PARAMETERS", default_value = "", hide_default_value = true)]
    parameters: String,
    /// Directory of the log
    #[arg(value_name = "DIR", env = "METRICSTREAM_DATA_DIR", default_value = "data")]
    directory: PathBuf,
    /// Kind of query: query (points), series, names, or tags/KEY (the values of a tag)
    #[arg(long, value_name = "PATH", default_value = "query")]
    path: Path,
    /// Output format: table, chart (for a terminal), svg, json, csv or jsonl [default: table on a terminal, else json]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<OutputFormat>,
    /// Number of threads [default: one for each core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=SCAN_THREADS_CAP as i64))]
    threads: Option<u16>,
    /// Remove the limits on series, points, memory and bytes scanned: the query may use all memory
    #[arg(long)]
    unbounded: bool,
}

/// A query path of the server, as given on the command line.
#[derive(Debug, Clone)]
struct Path(Kind);

impl FromStr for Path {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim_start_matches('/') {
            "query" => Ok(Self(Kind::Query)),
            "series" => Ok(Self(Kind::Series)),
            "names" => Ok(Self(Kind::Names)),
            other => match other.strip_prefix("tags/").filter(|key| !key.is_empty()) {
                Some(key) => Ok(Self(Kind::TagValues(key.into()))),
                None => Err("expected query, series, names or tags/KEY"),
            },
        }
    }
}

/// A format of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputFormat {
    Table,
    Chart,
    Svg,
    Document(Format),
}

impl FromStr for OutputFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "table" => Ok(Self::Table),
            "chart" => Ok(Self::Chart),
            "svg" => Ok(Self::Svg),
            "json" => Ok(Self::Document(Format::Json)),
            "csv" => Ok(Self::Document(Format::Csv)),
            "jsonl" => Ok(Self::Document(Format::JsonLines)),
            _ => Err("expected table, chart, svg, json, csv or jsonl"),
        }
    }
}

/// An error that keeps a query from running: one line, for a person.
#[derive(Debug)]
pub enum QueryError {
    /// A parameter is wrong.
    Refused(Refusal),
    /// Points are needed for a chart.
    NoPoints,
    /// There is no such directory.
    Directory(PathBuf, io::Error),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoPoints => f.write_str("--format chart and svg draw points, which only --path query returns"),
            Self::Directory(path, error) if error.kind() == ErrorKind::NotFound => {
                write!(f, "{} does not exist", path.display())
            }
            Self::Directory(path, error) => write!(f, "cannot read {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for QueryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Directory(_, error) => Some(error),
            Self::NoPoints => None,
        }
    }
}

impl Arguments {
    /// Runs the query, and prints the result on standard output.
    ///
    /// # Errors
    /// The query could not be run.
    pub fn run(&self) -> Result<ExitCode, QueryError> {
        let kind = self.path.0.clone();
        let request =
            Request::parse(kind.clone(), &self.parameters, Clock::start().wall_ms()).map_err(QueryError::Refused)?;
        let is_terminal = io::stdout().is_terminal();
        let format =
            self.format.unwrap_or(if is_terminal { OutputFormat::Table } else { OutputFormat::Document(Format::Json) });
        if matches!(format, OutputFormat::Chart | OutputFormat::Svg) && kind != Kind::Query {
            return Err(QueryError::NoPoints);
        }
        let found = fs::metadata(&self.directory)
            .and_then(|found| if found.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) });
        found.map_err(|error| QueryError::Directory(self.directory.clone(), error))?;
        let result = match self.evaluate(&request) {
            Ok(result) => result,
            Err(refusal) => {
                logging::say(&format_args!("metricstream: {refusal}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        match print(&result, &request, format, is_terminal) {
            Ok(()) => {
                let skipped = result.stats.scanned.foreign_lines;
                if skipped > 0 {
                    logging::say(&format_args!(
                        "metricstream: skipped {skipped} damaged or foreign lines; `metricstream verify` shows details"
                    ));
                }
                if matches!(format, OutputFormat::Table | OutputFormat::Chart) {
                    print_cost(&result, &request);
                }
                Ok(ExitCode::SUCCESS)
            }
            // A closed pipe is not a failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => {
                logging::say(&format_args!("metricstream: cannot write the result: {error}"));
                Ok(ExitCode::FAILURE)
            }
        }
    }

    fn evaluate(&self, request: &Request) -> Result<QueryResult, Refusal> {
        /// Longer than anybody waits.
        const FOREVER: Duration = Duration::from_secs(365 * 86_400);
        let cores = allowed_cores().map_or(1, |cores| cores.len());
        let bounds = if self.unbounded {
            let most = usize::MAX;
            Bounds { series_limit: most, points_limit: most, held_bytes_limit: most, scanned_bytes_limit: u64::MAX }
        } else {
            Bounds::default()
        };
        let scanned_bytes = AtomicU64::new(0);
        let limits = ExecLimits {
            threads: self.threads.map_or(cores, usize::from).clamp(1, SCAN_THREADS_CAP),
            deadline: Instant::now() + FOREVER,
            cancel: &AtomicBool::new(false),
            scanned_bytes: &scanned_bytes,
        };
        with_progress(
            |elapsed| scanned(&scanned_bytes, elapsed),
            || run(request, &Source::directory(&self.directory), bounds, &limits),
        )
    }
}

/// The line about a scan that goes on.
fn scanned(bytes: &AtomicU64, elapsed: Duration) -> String {
    let (gigabytes, elapsed_s) = (bytes.load(Ordering::Relaxed) as f64 / 1e9, elapsed.as_secs_f64());
    format!("{gigabytes:.2} GB scanned  {:.2} GB/s  {elapsed_s:.1} s", gigabytes / elapsed_s.max(1e-9))
}

fn print(result: &QueryResult, request: &Request, format: OutputFormat, is_terminal: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        OutputFormat::Table => table::write(result, &mut out)?,
        OutputFormat::Chart => {
            chart::write(&plot::Plot::new(result, request, chart::LINES_MAX), is_terminal, &mut out)?
        }
        OutputFormat::Svg => svg::write(&plot::Plot::new(result, request, svg::LINES_MAX), &mut out)?,
        OutputFormat::Document(Format::Csv) if is_terminal => {
            let mut out = TerminalWriter::csv(&mut out);
            result.write_to(Format::Csv, |piece| out.write_all(piece))?;
        }
        OutputFormat::Document(format) if is_terminal => {
            let mut out = TerminalWriter::json(&mut out);
            result.write_to(format, |piece| out.write_all(piece))?;
        }
        OutputFormat::Document(format) => result.write_to(format, |piece| out.write_all(piece))?,
    }
    out.flush()
}

/// Prints the cost of the query on standard error, and the time range if nothing was found.
fn print_cost(result: &QueryResult, request: &Request) {
    let stats = &result.stats;
    if result.series.is_empty() {
        let [from, to] = [request.from_ms, request.to_ms].map(plot::shown_moment);
        logging::say(&format_args!(
            "no data from {from} to {to}; set from= and to= for a range other than the last hour"
        ));
    }
    if stats.non_finite > 0 {
        logging::say(&format_args!("skipped {} metrics whose values are NaN or infinite", stats.non_finite));
    }
    if !io::stderr().is_terminal() {
        return;
    }
    let left_out =
        if stats.left_out_series > 0 { format!(" ({} left out)", stats.left_out_series) } else { String::new() };
    logging::say(&format_args!(
        "{} series{left_out}, {} points; {:.1} MB scanned, {:.1} MB skipped, {:.0} ms",
        stats.series,
        stats.points,
        stats.scanned.bytes as f64 / 1e6,
        stats.scanned.skipped_bytes as f64 / 1e6,
        stats.elapsed.as_secs_f64() * 1e3
    ));
}

/// A text of the log, given escaped, fit for a terminal: nothing in it can move the cursor, or look like something
/// else.
fn for_terminal(escaped: &[u8]) -> Cow<'_, str> {
    match meaning(escaped) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => Cow::Owned(printable(&text).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_was_scanned() {
        let line = scanned(&AtomicU64::new(3_000_000_000), Duration::from_secs(2));
        assert_eq!(line, "3.00 GB scanned  1.50 GB/s  2.0 s");
    }
}

//! `metricstream verify`: the offline check of a data directory. It reads every line, sidecar and checksum, says what is damaged,
//! where and how, and with `--repair` moves it aside.
//!
//! ```text
//! survey: what is there ─> subject: a file and its pieces ─> sweep: threads that take pieces
//!                                                              │ piece: read, unpack, checksum ─> walk: line by line
//!                                                              └> tally: put together in order ─> findings, report
//! repair: what is damaged goes to torn-*.bin, what is not goes to a new file, then the check is done again
//! ```
//!
//! Promises: nothing is written without `--repair`, and no server is kept from starting; a directory that a running server has
//! is read as far as its last whole line; no panic whatever the bytes; memory is bounded by the threads and the longest line.
//! It knows lines, blocks and files. It knows no HTTP and no ring.

pub mod finding;
mod flip;
mod frames;
mod piece;
mod progress;
mod repair;
pub mod report;
mod subject;
mod survey;
mod sweep;
mod tally;
mod walk;

use crate::{
    config::allowed_cores, limits::CHECK_THREADS_CAP, log::OpenError, progress::metered, segment::SegmentFile,
};
use finding::{Finding, Findings, Kind};
use progress::Progress;
pub use repair::repair;
use report::Report;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use survey::Survey;
use tally::SegmentReport;

/// The flags of `metricstream verify`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 sound, 1 damage was found (with --repair: and moved aside), 2 it could not be checked, or its report could \
                        not be written (that its reader has left is no failure).\n\n\
                        A server that runs on the directory is not disturbed; its active segment is checked up to the last \
                        whole line. --repair needs the directory for itself."
)]
pub struct Arguments {
    /// Directory of the log
    #[arg(value_name = "DIR", env = "METRICSTREAM_DATA_DIR", default_value = "data")]
    directory: PathBuf,
    /// Move what is damaged aside, into torn-*.bin beside the log, and make sidecars anew; nothing is deleted
    #[arg(long)]
    repair: bool,
    /// Print the report as one JSON document
    #[arg(long)]
    json: bool,
    /// Threads that check [default: one for each core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CHECK_THREADS_CAP as i64))]
    threads: Option<u16>,
}

/// Why a directory could not be checked. One line, for a person.
#[derive(Debug)]
pub enum VerifyError {
    /// A file or the directory could not be used.
    Io {
        /// What was being done to it, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its lock could not be had.
    Lock(OpenError),
    /// A sidecar could not be made.
    Sidecar(PathBuf, crate::segment::SegmentError),
    /// The report could not be printed.
    Print(io::Error),
}

impl VerifyError {
    fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                write!(f, "{} does not exist", path.display())
            }
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                write!(f, "{} is not a directory", path.display())
            }
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                write!(f, "{} is not a regular file", path.display())
            }
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::Lock(error) => error.fmt(f),
            Self::Sidecar(path, error) => write!(f, "cannot make the sidecar {}: {error}", path.display()),
            Self::Print(error) => write!(f, "cannot print the report: {error}"),
        }
    }
}

impl std::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Print(source) => Some(source),
            Self::Lock(error) => Some(error),
            Self::Sidecar(_, error) => Some(error),
        }
    }
}

impl Arguments {
    /// Checks, repairs if asked to, and prints the report on standard output. The exit code is 0 for a sound log and 1 for one
    /// in which damage was found, whether or not it was repaired.
    ///
    /// # Errors
    /// The directory could not be checked.
    pub fn run(&self) -> Result<ExitCode, VerifyError> {
        let cores = allowed_cores().map_or(1, |cores| cores.len());
        let threads = self.threads.map_or(cores, usize::from).clamp(1, CHECK_THREADS_CAP);
        let report =
            if self.repair { repair::repair(&self.directory, threads)? } else { check(&self.directory, threads)? };
        match report.print(self.json, &mut io::stdout().lock()) {
            // Whoever reads has enough; what was found does not change.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.map_err(VerifyError::Print)?,
        }
        Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Checks all of `directory` on `threads` threads. Writes nothing.
///
/// # Errors
/// It could not be read. Damage is no error.
pub fn check(directory: &Path, threads: usize) -> Result<Report, VerifyError> {
    check_with(directory, threads, false).map(|(report, _)| report)
}

/// `is_locked`: we have the directory's lock, and no server does.
fn check_with(directory: &Path, threads: usize, is_locked: bool) -> Result<(Report, Survey), VerifyError> {
    let began = Instant::now();
    let survey = Survey::take(directory, is_locked)?;
    let progress = Progress::default();
    let mut failure = None;
    let mut subjects = survey.subjects();
    let line = |elapsed| progress.line(survey.file_bytes(), elapsed);
    let swept = metered(line, || {
        sweep::sweep(threads, &progress, |findings| match subjects(findings)? {
            Ok(subject) => Some(subject),
            Err(error) => {
                failure = Some(error);
                None
            }
        })
    });
    drop(subjects);
    let (segments, mut findings) = swept.map_err(|error| VerifyError::new("start a thread for", directory, error))?;
    if let Some(error) = failure {
        return Err(error);
    }
    compare_forms(&survey, &segments, &mut findings);
    survey.leftovers(&mut findings);
    let report = Report::new(&survey, segments, findings, threads, began.elapsed());
    Ok((report, survey))
}

/// Where a segment is there both plain and compressed: whether they are the same.
fn compare_forms(survey: &Survey, reports: &[SegmentReport], findings: &mut Findings) {
    for segment in &survey.catalog.segments {
        let report = |form| reports.iter().find(|report| report.file == segment.name.file(form));
        if let (Some(plain), Some(compressed)) = (report(SegmentFile::Plain), report(SegmentFile::Compressed)) {
            let (kind, what) = if (plain.bytes, plain.crc32) == (compressed.bytes, compressed.crc32) {
                (Kind::BothForms, format!("{} is there too, and the same: its compression was interrupted", plain.file))
            } else {
                (Kind::FormsDiffer, format!("it is not {}, compressed", plain.file))
            };
            findings.push(Finding::of_file(kind, &compressed.file, what));
        }
    }
}

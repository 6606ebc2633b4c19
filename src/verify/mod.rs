//! `metricstream verify`: the offline check of a data directory. It reads every line, sidecar and checksum, reports
//! what is damaged, where and how, and with `--repair` moves it out of the log.
//!
//! ```text
//! survey: list of files ─> subject: a file and its pieces ─> sweep: threads that take pieces
//!                                                              │ piece: read, decompress, checksum ─> walk: line by line
//!                                                              └> tally: results in order ─> findings, report
//! repair: damaged bytes go to torn-*.bin, the others to a new file, then the check runs again
//! ```
//!
//! Promises: nothing is written without `--repair`, and no server is kept from starting; the log of a running server
//! is read up to its last whole line; no input causes a panic; memory is bounded by the threads and the longest line.
//! The module handles lines, blocks and files; it uses neither HTTP nor rings.

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

use crate::{config::allowed_cores, limits::CHECK_THREADS_CAP, progress::with_progress};
use finding::{Finding, Findings, Kind};
use log::{OpenError, segment::SegmentFile};
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
    after_help = "Exit codes: 0 the log is sound, 1 damage was found (and repaired, with --repair), 2 the check failed, or its report could \
                        not be written (a closed pipe is not a failure).\n\n\
                        A running server is not disturbed; its active segment is checked up to the last whole line. --repair \
                        needs exclusive access to the directory."
)]
pub struct Arguments {
    /// Directory of the log
    #[arg(value_name = "DIR", env = "METRICSTREAM_DATA_DIR", default_value = "data")]
    directory: PathBuf,
    /// Move damaged data out of the log, into torn-*.bin files beside it, and rebuild sidecars; nothing is deleted
    #[arg(long)]
    repair: bool,
    /// Print the report as one JSON document
    #[arg(long)]
    json: bool,
    /// Number of threads [default: one for each core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CHECK_THREADS_CAP as i64))]
    threads: Option<u16>,
}

/// An error that keeps a directory from being checked: one line, for a person.
#[derive(Debug)]
pub enum VerifyError {
    /// A file or the directory could not be used.
    Io {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The lock of the directory could not be taken.
    Lock(OpenError),
    /// A sidecar could not be built.
    Sidecar(PathBuf, log::segment::SegmentError),
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
            Self::Sidecar(path, error) => write!(f, "cannot build the sidecar {}: {error}", path.display()),
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
    /// Checks, repairs with `--repair`, and prints the report on standard output. The exit code is 0 for a sound log
    /// and 1 if damage was found, whether or not it was repaired.
    ///
    /// # Errors
    /// The directory could not be checked.
    pub fn run(&self) -> Result<ExitCode, VerifyError> {
        let cores = allowed_cores().map_or(1, |cores| cores.len());
        let threads = self.threads.map_or(cores, usize::from).clamp(1, CHECK_THREADS_CAP);
        let report =
            if self.repair { repair::repair(&self.directory, threads)? } else { check(&self.directory, threads)? };
        match report.print(self.json, &mut io::stdout().lock()) {
            // A closed pipe is not a failure, and does not change the result.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.map_err(VerifyError::Print)?,
        }
        Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Checks all of `directory` on `threads` threads. Writes nothing.
///
/// # Errors
/// The directory could not be read. Damage is not an error.
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
    let swept = with_progress(line, || {
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

/// Compares the plain and the compressed form of a segment that has both.
fn compare_forms(survey: &Survey, reports: &[SegmentReport], findings: &mut Findings) {
    for segment in &survey.catalog.segments {
        let report = |form| reports.iter().find(|report| report.file == segment.name.file(form));
        if let (Some(plain), Some(compressed)) = (report(SegmentFile::Plain), report(SegmentFile::Compressed)) {
            let (kind, what) = if (plain.bytes, plain.crc32) == (compressed.bytes, compressed.crc32) {
                (
                    Kind::BothForms,
                    format!("{} exists too, with the same contents: its compression was interrupted", plain.file),
                )
            } else {
                (Kind::FormsDiffer, format!("its contents differ from those of {}", plain.file))
            };
            findings.push(Finding::of_file(kind, &compressed.file, what));
        }
    }
}

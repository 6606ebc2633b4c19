//! `metricstream forwards`: the cursors of a data directory and what is behind each, beside a running server or without
//! one; and `--reset`, which moves one while no server runs.
//!
//! Promises: a listing writes nothing; a reset is durable, or has not happened; no content of a cursor or of a log
//! causes a panic. It knows no configuration: a cursor of a forward that is no longer configured is listed too.

use super::{
    config::is_name,
    cursor::{self, Cursor},
};
use crate::limits;
use log::{
    DirectoryLock, FollowError, Follower, Holder, LineBuffer, LogPosition, NotAPosition, OpenError, Start, holder,
    segment::{Catalog, Segment},
};
use metric::{Lines, format_timestamp, printable::TerminalWriter};
use serde::Serialize;
use std::{
    fmt, fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

/// The flags of `metricstream forwards`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "A position is SEGMENT:BYTE, as this command, GET /log and X-MetricsStream-Position have it. A \
                  running server is not disturbed by a listing, which shows what it has recorded: at most a second \
                  less than it has delivered. --reset needs exclusive access to the directory: stop the server \
                  first.\n\n\
                  metricstream forwards --data-dir /srv/metrics\n\n\
                  metricstream forwards --data-dir /srv/metrics --reset store --to beginning\n\n\
                  Exit codes: 0 listed, or moved (a closed pipe is not a failure); 1 a cursor is damaged, or the log \
                  does not hold its position; 2 it could not be done: one line gives the reason."
)]
pub struct Arguments {
    /// Directory of the log
    #[arg(long, value_name = "DIR", env = "METRICSTREAM_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Output format: text or json
    #[arg(long, short, value_name = "text|json", default_value = "text", hide_default_value = true)]
    format: OutputFormat,
    /// Move the cursor of this forward, while no server uses the directory
    #[arg(long, value_name = "NAME", requires = "to")]
    reset: Option<String>,
    /// The place to move it to: beginning, end, or SEGMENT:BYTE
    #[arg(long, value_name = "PLACE", requires = "reset")]
    to: Option<ResetTarget>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputFormat {
    Text,
    Json,
}

impl FromStr for OutputFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// The place of `--to`.
#[derive(Debug, Clone, Copy)]
struct ResetTarget(Start);

impl FromStr for ResetTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "beginning" => Ok(Self(Start::Oldest)),
            "end" => Ok(Self(Start::End)),
            _ => match text.parse() {
                Ok(position) => Ok(Self(Start::At(position))),
                Err(NotAPosition) => Err(format!("expected beginning, end or a position ({NotAPosition})")),
            },
        }
    }
}

/// The reason why cursors cannot be listed, or one cannot be moved: one line, for a person.
#[derive(Debug)]
pub enum ForwardsError {
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
    /// There is no such forward; those that there are.
    Unknown(String, Vec<String>),
    /// The cursor cannot be moved there.
    ResetTarget(FollowError),
    /// More cursors than are listed.
    TooMany,
    /// The report could not be printed.
    Print(io::Error),
}

impl ForwardsError {
    fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

impl fmt::Display for ForwardsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => {
                write!(f, "{} does not exist", path.display())
            }
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::Lock(error) => write!(f, "{error}; stop the server before a forward is moved"),
            Self::Unknown(name, known) if known.is_empty() => {
                write!(f, "there is no forward {name}, and no cursor of any in this directory")
            }
            Self::Unknown(name, known) => write!(f, "there is no forward {name}; there is {}", known.join(", ")),
            Self::ResetTarget(error) => write!(f, "--to: {error}"),
            Self::TooMany => write!(f, "there are more than {} cursors", limits::FORWARDS_LISTED_MAX),
            Self::Print(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl std::error::Error for ForwardsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Print(source) => Some(source),
            Self::Lock(error) => Some(error),
            Self::ResetTarget(error) => Some(error),
            Self::Unknown(..) | Self::TooMany => None,
        }
    }
}

/// The report: the same contents as text and as JSON.
#[derive(Debug, Serialize)]
struct Report {
    /// The data directory.
    directory: PathBuf,
    /// The server that uses it, if one runs.
    server: Option<Server>,
    /// The cursors, by name.
    forwards: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Server {
    /// Process id, if the lock names it.
    pid: Option<u32>,
}

/// A cursor, and what is behind it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    /// As the file has it. `None`: the file is damaged.
    position: Option<String>,
    /// Why the log cannot be read on from there.
    error: Option<String>,
    /// Seconds since the cursor was recorded.
    recorded_seconds_ago: Option<u64>,
    /// Bytes of the log behind the position; compressed segments count as they are on disk.
    bytes_behind: Option<u64>,
    /// The timestamp of the first line behind it; `None`: everything is delivered.
    next_timestamp: Option<String>,
    /// Sealed segments that it needs, which retention keeps for it up to `--forward-hold`.
    held_segments: usize,
    /// Bytes of their files.
    held_bytes: u64,
}

impl Arguments {
    /// Lists the cursors, or moves one, and prints the report on standard output. The exit code is 1 if a cursor is
    /// of no use.
    ///
    /// # Errors
    /// The log or a cursor cannot be read or written, or the arguments do not fit what is there: one line for a person.
    pub fn run(&self) -> Result<ExitCode, ForwardsError> {
        if let (Some(name), Some(ResetTarget(start))) = (&self.reset, self.to) {
            reset(&self.data_dir, name, start)?;
        }
        let report = list(&self.data_dir, self.reset.as_deref())?;
        match report.print(self.format, &mut io::stdout().lock()) {
            // A closed pipe is not a failure, and does not change the result.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            printed => printed.map_err(ForwardsError::Print)?,
        }
        let is_sound = report.forwards.iter().all(|forward| forward.error.is_none());
        Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The names of the forwards with a cursor in `directory`, sorted.
fn names(directory: &Path) -> Result<Vec<String>, ForwardsError> {
    let cannot = |error| ForwardsError::new("list", directory, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let Ok(file_name) = entry.map_err(cannot)?.file_name().into_string() else { continue };
        let name = file_name.strip_prefix("forward-").and_then(|rest| rest.strip_suffix(".state"));
        // Others are no names of forwards, and may have any character.
        let Some(name) = name.filter(|name| is_name(name)) else { continue };
        if names.len() == limits::FORWARDS_LISTED_MAX {
            return Err(ForwardsError::TooMany);
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Moves the cursor of `name` to `start`, on stable storage.
fn reset(directory: &Path, name: &str, start: Start) -> Result<(), ForwardsError> {
    let known = names(directory)?;
    if !known.iter().any(|known| known == name) {
        return Err(ForwardsError::Unknown(name.to_owned(), known));
    }
    let _lock = DirectoryLock::take(directory).map_err(ForwardsError::Lock)?;
    let position = Follower::open_offline(directory, start).map_err(ForwardsError::ResetTarget)?.position();
    let path = || directory.join(cursor::file_name(name));
    // Kafka would know the former place by this identity: without it, the forward begins anew, at this position.
    let identity = directory.join(cursor::identity_file_name(name));
    match fs::remove_file(&identity) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(ForwardsError::new("remove", &identity, error));
        }
        _ => {}
    }
    let cursor = Cursor { position, lines: None };
    cursor::write(directory, name, cursor).map_err(|error| ForwardsError::new("write", &path(), error))
}

/// Lists the cursors in `directory`, or the one of the forward `only`.
fn list(directory: &Path, only: Option<&str>) -> Result<Report, ForwardsError> {
    let cannot = |doing| move |error| ForwardsError::new(doing, directory, error);
    let names = names(directory)?;
    let server = match holder(directory).map_err(cannot("examine"))? {
        Holder::Held(pid) => Some(Server { pid }),
        Holder::Free | Holder::Never => None,
    };
    let catalog = Catalog::list(directory).map_err(cannot("list"))?;
    let listed = names.into_iter().filter(|name| only.is_none_or(|only| only == name));
    let forwards = listed.map(|name| Listed::new(directory, &catalog, name)).collect();
    Ok(Report { directory: directory.to_owned(), server, forwards })
}

impl Listed {
    fn new(directory: &Path, catalog: &Catalog, name: String) -> Self {
        let path = directory.join(cursor::file_name(&name));
        let age = fs::metadata(path).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
        let mut listed = Self {
            position: None,
            error: None,
            recorded_seconds_ago: age.map(|age| age.as_secs()),
            bytes_behind: None,
            next_timestamp: None,
            held_segments: 0,
            held_bytes: 0,
            name,
        };
        let position = match cursor::read(directory, &listed.name) {
            Ok(Some(cursor)) => cursor.position,
            Ok(None) => return Self { error: Some("the cursor was deleted".to_owned()), ..listed },
            Err(error) => return Self { error: Some(format!("the cursor cannot be read: {error}")), ..listed },
        };
        listed.position = Some(position.to_string());
        if let Err(error) = listed.look_behind(directory, catalog, position) {
            listed.error = Some(error.to_string());
        }
        listed
    }

    fn look_behind(&mut self, directory: &Path, catalog: &Catalog, position: LogPosition) -> Result<(), FollowError> {
        let held = catalog.segments.iter().filter(|segment| position.segment.reaches(segment.name));
        self.held_segments = held.clone().count();
        self.held_bytes = held.clone().map(Segment::bytes).fold(0, u64::saturating_add);
        let mut follower = Follower::open_offline(directory, Start::At(position))?;
        let mut line = LineBuffer::default();
        let end = Follower::open_offline(directory, Start::End)?.position().byte;
        if follower.read(&mut line, 1)? == 0 {
            self.bytes_behind = Some(0);
            return Ok(());
        }
        let sealed =
            held.map(|segment| segment.plain.or(segment.compressed).unwrap_or(0)).fold(end, u64::saturating_add);
        self.bytes_behind = Some(sealed.saturating_sub(position.byte));
        let first = Lines::new(&line).next().and_then(Result::ok);
        self.next_timestamp =
            first.map(|line| String::from_utf8_lossy(&format_timestamp(line.timestamp_ms)).into_owned());
        Ok(())
    }
}

impl Report {
    fn print(&self, form: OutputFormat, out: &mut impl Write) -> io::Result<()> {
        match form {
            OutputFormat::Json => {
                let mut out = TerminalWriter::json(&mut *out);
                serde_json::to_writer_pretty(&mut out, self)?;
                writeln!(out)?;
            }
            OutputFormat::Text => self.print_text(&mut TerminalWriter::lines(&mut *out))?,
        }
        out.flush()
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(Server { pid }) = &self.server {
            let who = pid.map_or("a server".to_owned(), |pid| format!("a server (process {pid})"));
            writeln!(out, "{who} uses the directory: this is what it has recorded")?;
        }
        if self.forwards.is_empty() {
            return writeln!(out, "no forward has a cursor in this directory");
        }
        for forward in &self.forwards {
            writeln!(out, "{}", forward.name)?;
            writeln!(out, "  position  {}", forward.position.as_deref().unwrap_or("unknown"))?;
            if let Some(seconds) = forward.recorded_seconds_ago {
                writeln!(out, "  recorded  {seconds} s ago")?;
            }
            match (forward.bytes_behind, &forward.next_timestamp) {
                (None, _) => {}
                (Some(0), _) => writeln!(out, "  behind    nothing: everything is delivered")?,
                (Some(bytes), None) => writeln!(out, "  behind    {bytes} bytes")?,
                (Some(bytes), Some(time)) => writeln!(out, "  behind    {bytes} bytes, from a line of {time} on")?,
            }
            let Listed { held_segments, held_bytes, .. } = forward;
            writeln!(out, "  needs     {held_segments} sealed segments, {held_bytes} bytes")?;
            if let Some(error) = &forward.error {
                writeln!(out, "  error     {error}")?;
            }
        }
        Ok(())
    }
}

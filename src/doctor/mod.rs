//! `metricstream doctor`: reads the host and the configuration, and says in order of what it costs what is wrong and the
//! command that mends it.
//!
//! Owns the catalogue of checks, one file a topic. Every check states what it read; what cannot be read is said to be
//! unknown, with the reason, and never guessed. Doctor changes nothing: it binds no port for longer than a look, makes no
//! directory, and removes the one file that it measures the disk with. All reading goes through [`Host`], so that a test
//! can hand it a made host.

mod calls;
mod cgroup;
mod clock;
mod cores;
mod disk;
mod host;
mod kernel;
#[cfg(test)]
mod made;
mod mount;
mod network;
mod placement;
mod report;
mod storage;
#[cfg(test)]
mod tests;

use crate::{config::Config, printable::TerminalWriter};
use serde::Serialize;
use std::{
    io::{self, Write},
    process::ExitCode,
};

use host::Examination;
pub use host::{Host, Reading, Unknown};

/// How much a finding matters. In rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be, or of no matter here.
    Ok,
    /// It could not be found out.
    Unknown,
    /// It costs little, or only some.
    Note,
    /// It costs speed that can be felt, or data in a case that does happen.
    Warning,
    /// The server will not start, will refuse, or will lose what it acknowledged.
    Critical,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// What the process says with its exit code: 0, 10 for warnings, 20 for what is critical. 1 and 2 are taken: a failure
    /// while running, and flags that cannot be understood.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Unknown | Self::Note => 0,
            Self::Warning => 10,
            Self::Critical => 20,
        }
    }
}

/// What a finding costs. In rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Nothing.
    Nothing,
    /// Requests take longer, or fewer of them fit.
    Speed,
    /// The server does not start, or refuses what it should take.
    Service,
    /// Metrics are lost or wrong.
    Data,
}

impl Cost {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Speed => "speed",
            Self::Service => "service",
            Self::Data => "data",
        }
    }
}

/// What an examination came to.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    cost: Cost,
    text: String,
    mend: Option<String>,
}

impl Finding {
    fn new(severity: Severity, cost: Cost, text: impl Into<String>) -> Self {
        Self { severity, cost, text: text.into(), mend: None }
    }

    fn ok(text: impl Into<String>) -> Self {
        Self::new(Severity::Ok, Cost::Nothing, text)
    }

    fn note(cost: Cost, text: impl Into<String>) -> Self {
        Self::new(Severity::Note, cost, text)
    }

    fn warning(cost: Cost, text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, cost, text)
    }

    fn critical(cost: Cost, text: impl Into<String>) -> Self {
        Self::new(Severity::Critical, cost, text)
    }

    /// With the command that mends it.
    fn mend(self, command: impl Into<String>) -> Self {
        Self { mend: Some(command.into()), ..self }
    }
}

type Verdict = Result<Finding, Unknown>;

/// `1 reactor`, `2 reactors`.
fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// One entry of the catalogue.
struct Subject {
    id: &'static str,
    topic: &'static str,
    examine: fn(&mut Examination) -> Verdict,
}

/// One check, done.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name, which stays the same from version to version.
    pub id: &'static str,
    /// What it is about: kernel, cores, network, disk or clock.
    pub topic: &'static str,
    /// How much the finding matters.
    pub severity: Severity,
    /// What the finding costs.
    pub cost: Cost,
    /// What was read to come to the finding.
    pub read: Vec<Reading>,
    /// What was found, in a sentence.
    pub finding: String,
    /// The command that mends it, where there is something to mend.
    pub mend: Option<String>,
}

/// The form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For a person: what is not as it should be.
    Text,
    /// For a person: every check, and what it read.
    All,
    /// One JSON document.
    Json,
}

/// Every check, done on `host` for a server of this configuration, the costliest finding first.
#[must_use]
pub fn examine(host: &Host, config: &Config) -> Vec<Check> {
    let catalogue = [disk::SUBJECTS, storage::SUBJECTS, clock::SUBJECTS, kernel::SUBJECTS, network::SUBJECTS];
    let cores = [placement::SUBJECTS, cgroup::SUBJECTS, cores::SUBJECTS];
    let subjects = catalogue.into_iter().chain(cores).flatten();
    let mut checks: Vec<Check> = subjects.map(|subject| check(subject, host, config)).collect();
    // Stable: what costs the same stays in the order of the catalogue.
    checks.sort_by_key(|check| std::cmp::Reverse((check.severity, check.cost)));
    checks
}

fn check(subject: &Subject, host: &Host, config: &Config) -> Check {
    let mut examination = Examination::new(host, config);
    let Finding { severity, cost, text, mend } = (subject.examine)(&mut examination)
        .unwrap_or_else(|unknown| Finding::new(Severity::Unknown, Cost::Nothing, unknown.to_string()));
    let read = examination.into_readings();
    Check { id: subject.id, topic: subject.topic, severity, cost, read, finding: text, mend }
}

/// Examines this host, prints the report, and says how bad it is.
///
/// # Errors
/// The report cannot be written to standard output.
pub fn run(config: &Config, form: Form) -> io::Result<ExitCode> {
    let checks = examine(&Host::this(), config);
    let worst = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    let out = io::stdout().lock();
    let printed = match form {
        Form::Json => TerminalWriter::json(out).write_all(report::json(&checks, config, worst).as_bytes()),
        Form::Text => TerminalWriter::lines(out).write_all(report::text(&checks, config, false).as_bytes()),
        Form::All => TerminalWriter::lines(out).write_all(report::text(&checks, config, true).as_bytes()),
    };
    match printed.and_then(|()| io::stdout().flush()) {
        // Whoever reads has enough; how bad it is does not change.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(ExitCode::from(worst.exit_code()))
}

//! `metricstream doctor`: checks the host and the configuration, and reports each problem with a command that fixes it,
//! ordered by what it costs.
//!
//! Owns the catalogue of checks, one file per topic. Every check reports what it read; what cannot be read is reported
//! as unknown, with the reason, and never guessed. Doctor changes nothing: it binds a port only to test it, creates no
//! directory, and removes the one file that it measures the disk with. All reads go through [`Host`], so that a test
//! can substitute a simulated host.

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

use crate::config::Config;
use metric::printable::TerminalWriter;
use serde::Serialize;
use std::{
    io::{self, Write},
    process::ExitCode,
};

use host::Examination;
pub use host::{Host, Reading, Unknown};

/// Severity of a finding, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No problem, or not relevant here.
    Ok,
    /// The check could not be made.
    Unknown,
    /// A small cost, or a cost for some workloads only.
    Note,
    /// A noticeable cost in speed, or a realistic loss of data.
    Warning,
    /// The server will not start, will refuse requests, or will lose acknowledged data.
    Critical,
}

impl Severity {
    /// The name of the severity in reports.
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

    /// The exit code of the process: 0, 10 for warnings, 20 for critical findings. 1 and 2 are reserved for a failure
    /// while running and for invalid flags.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Unknown | Self::Note => 0,
            Self::Warning => 10,
            Self::Critical => 20,
        }
    }
}

/// The cost of a finding, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// No cost.
    Nothing,
    /// Higher latency or lower throughput.
    Speed,
    /// The server does not start, or refuses requests that it should accept.
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

/// The result of a check.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    cost: Cost,
    text: String,
    fix: Option<String>,
}

impl Finding {
    fn new(severity: Severity, cost: Cost, text: impl Into<String>) -> Self {
        Self { severity, cost, text: text.into(), fix: None }
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

    /// Adds the command that fixes the problem.
    fn fix(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
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

/// The report of one check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Name of the check, stable across versions.
    pub id: &'static str,
    /// Topic of the check: kernel, cores, network, disk or clock.
    pub topic: &'static str,
    /// Severity of the finding.
    pub severity: Severity,
    /// Cost of the finding.
    pub cost: Cost,
    /// The values that the check read.
    pub read: Vec<Reading>,
    /// The finding, in one sentence.
    pub finding: String,
    /// The command that fixes the problem, if there is one.
    pub fix: Option<String>,
}

/// The format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// Text: the checks that found a problem.
    Text,
    /// Text: every check, and the values that it read.
    All,
    /// One JSON document.
    Json,
}

/// Runs every check on `host` for a server of this configuration. Returns the costliest findings first.
#[must_use]
pub fn examine(host: &Host, config: &Config) -> Vec<Check> {
    let catalogue = [disk::SUBJECTS, storage::SUBJECTS, clock::SUBJECTS, kernel::SUBJECTS, network::SUBJECTS];
    let cores = [placement::SUBJECTS, cgroup::SUBJECTS, cores::SUBJECTS];
    let subjects = catalogue.into_iter().chain(cores).flatten();
    let mut checks: Vec<Check> = subjects.map(|subject| check(subject, host, config)).collect();
    // Stable sort: findings of equal cost stay in the order of the catalogue.
    checks.sort_by_key(|check| std::cmp::Reverse((check.severity, check.cost)));
    checks
}

fn check(subject: &Subject, host: &Host, config: &Config) -> Check {
    let mut examination = Examination::new(host, config);
    let Finding { severity, cost, text, fix } = (subject.examine)(&mut examination)
        .unwrap_or_else(|unknown| Finding::new(Severity::Unknown, Cost::Nothing, unknown.to_string()));
    let read = examination.into_readings();
    Check { id: subject.id, topic: subject.topic, severity, cost, read, finding: text, fix }
}

/// The report of this host for a server of this configuration: one JSON document, as `--json` prints it.
#[must_use]
pub fn json(config: &Config) -> String {
    let checks = examine(&Host::this(), config);
    report::json(&checks, config, worst(&checks))
}

/// The severity of the worst finding.
fn worst(checks: &[Check]) -> Severity {
    checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok)
}

/// Checks this host, prints the report, and returns the exit code of the worst finding.
///
/// # Errors
/// The report cannot be written to standard output.
pub fn run(config: &Config, format: ReportFormat) -> io::Result<ExitCode> {
    let checks = examine(&Host::this(), config);
    let worst = worst(&checks);
    let out = io::stdout().lock();
    let printed = match format {
        ReportFormat::Json => TerminalWriter::json(out).write_all(report::json(&checks, config, worst).as_bytes()),
        ReportFormat::Text => TerminalWriter::lines(out).write_all(report::text(&checks, config, false).as_bytes()),
        ReportFormat::All => TerminalWriter::lines(out).write_all(report::text(&checks, config, true).as_bytes()),
    };
    match printed.and_then(|()| io::stdout().flush()) {
        // A closed pipe is not a failure, and does not change the exit code.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(ExitCode::from(worst.exit_code()))
}

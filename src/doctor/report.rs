//! Rendering of the report: text for people, or one JSON document.

use super::{Check, Cost, Severity};
use crate::{config::Config, listening};
use metric::printable::printable;
use serde_json::json;
use std::fmt::Write;

/// Width of the column that holds the severity.
const SEVERITY_WIDTH: usize = 9;
/// Columns after which the list of passed checks is wrapped.
const LIST_WIDTH: usize = 108;

/// The addresses that the server would listen on, as configured.
fn listed(config: &Config) -> String {
    listening::addresses(config).iter().map(|(_, place)| place.to_string()).collect::<Vec<_>>().join(", ")
}

/// One line per finding, followed by the command that fixes it. With `all`, also the passed checks and the values read.
pub(super) fn text(checks: &[Check], config: &Config, all: bool) -> String {
    let mut text = format!(
        "metricstream doctor: {}, data in {}, reactors on cores {}, writer on core {}, level {}\n\n",
        listed(config),
        printable(&config.data_dir.display().to_string()),
        list(&config.placement.reactor_cores),
        config.placement.writer_core,
        config.ack.name(),
    );
    for check in checks.iter().filter(|check| all || check.severity != Severity::Ok) {
        // Writing to a String cannot fail, here and below.
        let cost = match check.cost {
            Cost::Nothing => String::new(),
            cost => format!(" ({})", cost.name()),
        };
        let _ = writeln!(text, "{:SEVERITY_WIDTH$} {}{cost}: {}", check.severity.name(), check.id, check.finding);
        if let Some(fix) = &check.fix {
            let _ = writeln!(text, "{:SEVERITY_WIDTH$}   fix: {fix}", "");
        }
        for reading in check.read.iter().filter(|_| all) {
            let _ = writeln!(text, "{:SEVERITY_WIDTH$}   read: {}: {}", "", reading.source, reading.value);
        }
    }
    let fine: Vec<&str> = checks.iter().filter(|check| check.severity == Severity::Ok).map(|check| check.id).collect();
    if !all && !fine.is_empty() {
        text.push_str(&wrapped(&format!("{:SEVERITY_WIDTH$} ", "ok"), &fine));
    }
    let _ = writeln!(text, "\n{}", sums(checks));
    text
}

fn wrapped(start: &str, words: &[&str]) -> String {
    let indent = " ".repeat(start.len());
    let mut text = String::new();
    let mut line = start.to_owned();
    for (index, word) in words.iter().enumerate() {
        if line.len() + word.len() > LIST_WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line.clone_from(&indent);
        }
        line.push_str(word);
        line.push_str(if index + 1 == words.len() { "\n" } else { ", " });
    }
    text + &line
}

/// Cores without repetition, in rising order: `0, 2`.
fn list(cores: &[usize]) -> String {
    let mut cores = cores.to_vec();
    cores.sort_unstable();
    cores.dedup();
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn count(checks: &[Check], severity: Severity) -> usize {
    checks.iter().filter(|check| check.severity == severity).count()
}

const SEVERITIES: [Severity; 5] =
    [Severity::Critical, Severity::Warning, Severity::Note, Severity::Unknown, Severity::Ok];

fn sums(checks: &[Check]) -> String {
    let parts: Vec<String> =
        SEVERITIES.iter().map(|&severity| format!("{} {}", count(checks, severity), severity.name())).collect();
    parts.join(", ")
}

/// One document: every check, the values it read, and the counts by severity.
pub(super) fn json(checks: &[Check], config: &Config, worst: Severity) -> String {
    let mut counts = serde_json::Map::new();
    for severity in SEVERITIES {
        counts.insert(severity.name().into(), count(checks, severity).into());
    }
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            let mut check = json!(check);
            // The key of 0.1, served beside the new one in 0.2.
            check["mend"] = check["fix"].clone();
            check
        })
        .collect();
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "worst": worst,
        "exit_code": worst.exit_code(),
        "counts": counts,
        "configuration": {
            "listen": listed(config),
            // A path need not be UTF-8; JSON is.
            "data_dir": config.data_dir.to_string_lossy(),
            "reactor_cores": config.placement.reactor_cores,
            "writer_core": config.placement.writer_core,
            "ack": config.ack.name(),
        },
        "checks": checks,
    });
    format!("{document:#}\n")
}

//! Environment of a comparison, without which its figures mean nothing: the host, the commit, the programs.

use super::options::Plan;
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Environment that is stored with the figures. What cannot be determined is "unknown".
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// As typed.
    pub command: String,
    /// Commit of the working tree that the comparison was started in.
    pub commit: String,
    /// True if the working tree had changes beside the results.
    pub dirty: bool,
    /// UTC, RFC 3339.
    pub date: String,
    /// Name of the host, or the one given in its place.
    pub host: String,
    /// Model of the processor.
    pub cpu: String,
    /// Cores online.
    pub cores: String,
    /// Release of the kernel.
    pub kernel: String,
    /// File system of the directory that servers write to.
    pub filesystem: String,
    /// Load averages of 1, 5 and 15 minutes, before the first round.
    pub load_average: String,
    /// Bytes of free memory that were touched before the first round.
    pub touched_bytes: u64,
    /// Versions of Debian's packages.
    pub packages: BTreeMap<&'static str, String>,
    /// Rounds meant to be run.
    pub rounds: u32,
    /// Measured in each cell.
    pub measured_s: f64,
    /// Load before that.
    pub warmup_s: f64,
    /// Cores of every server.
    pub server_cores: Vec<usize>,
    /// Cores of every client.
    pub client_cores: Vec<usize>,
    /// Cells that were left out, and why.
    pub skipped: Vec<String>,
}

const UNKNOWN: &str = "unknown";

impl Environment {
    /// Looks around. `arguments` are the program's, its own name not among them.
    #[must_use]
    pub fn look(plan: &Plan, arguments: &[String], work: &Path) -> Self {
        let file = |path: &str| fs::read_to_string(path).map_or(UNKNOWN.to_owned(), |text| text.trim().to_owned());
        let own_host = || file("/proc/sys/kernel/hostname");
        let load_average = file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        let packages = ["nginx", "victoria-metrics", "influxdb", "wrk"]
            .into_iter()
            .filter_map(|name| Some((name, said("dpkg-query", &["-W", "-f", "${Version}", name])?)))
            .collect();
        let work = work.to_string_lossy();
        Self {
            command: arguments.iter().fold("scripts/compare.sh".to_owned(), |line, word| line + " " + &quoted(word)),
            commit: said("git", &["rev-parse", "HEAD"]).unwrap_or(UNKNOWN.to_owned()),
            dirty: said("git", &["status", "--porcelain", "--", ":/", ":(top,exclude)perf/runs"]).is_some(),
            date: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or(UNKNOWN.to_owned()),
            host: plan.name.clone().unwrap_or_else(own_host),
            cpu: cpu_model(&file("/proc/cpuinfo")).unwrap_or(UNKNOWN).to_owned(),
            cores: file("/sys/devices/system/cpu/online"),
            kernel: file("/proc/sys/kernel/osrelease"),
            filesystem: said("stat", &["--file-system", "--format", "%T", &work]).unwrap_or(UNKNOWN.to_owned()),
            load_average,
            touched_bytes: 0,
            packages,
            rounds: plan.rounds,
            measured_s: plan.measured.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            server_cores: plan.server_cores.clone(),
            client_cores: plan.client_cores.clone(),
            skipped: plan.skipped.clone(),
        }
    }

    /// The name of the results' directory: `<date>-<host>-<kernel>`.
    #[must_use]
    pub fn directory(&self) -> String {
        let date = self.date.split('T').next().unwrap_or_default();
        format!("{date}-{}-{}", reduced(&self.host, ""), reduced(&self.kernel, "._"))
    }
}

/// Returns the output of a program as one line; none when it fails or prints nothing.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,=:+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Small letters, digits and what `also` has; every run of anything else becomes one hyphen.
fn reduced(name: &str, also: &str) -> String {
    let mut reduced = String::new();
    for letter in name.to_lowercase().chars() {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() || also.contains(letter) {
            reduced.push(letter);
        } else if !reduced.ends_with('-') {
            reduced.push('-');
        }
    }
    reduced.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reduced_to_what_a_directory_may_be_called() {
        assert_eq!(reduced("Bench 01.Example.org", ""), "bench-01-example-org");
        assert_eq!(reduced("6.18.44-fc_v669+", "._"), "6.18.44-fc_v669");
        assert_eq!(reduced("../../etc", ""), "etc");
        assert_eq!(reduced("..", "._"), "");
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("--out=a/b.c"), "--out=a/b.c");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_model_of_the_processor_is_found() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\n"), Some("AMD EPYC"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }

    #[test]
    fn a_program_that_fails_says_nothing() {
        assert_eq!(said("false", &[]), None);
        assert_eq!(said("true", &[]), None);
        assert_eq!(said("no-such-program", &[]), None);
        assert_eq!(said("echo", &["a", "b"]).as_deref(), Some("a b"));
    }
}

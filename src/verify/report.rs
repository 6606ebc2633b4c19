//! What a check has found, as text and as JSON: the same in both.

use super::{finding::Findings, repair::Repair, survey::Survey, tally::SegmentReport};
use crate::printable::{TerminalWriter, printable};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// The report of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The data directory.
    pub directory: PathBuf,
    /// No damage was found. (What a repair has mended was found.)
    pub sound: bool,
    /// How many damages were found.
    pub damages: u64,
    /// A running server had the directory, so the active segment was checked up to its last whole line at the beginning.
    pub server: Option<Server>,
    /// Sums over all files of lines.
    pub totals: Totals,
    /// The files of lines, in the order of their names, the active segment last.
    pub segments: Vec<SegmentReport>,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
    /// How many findings there were that are not listed.
    pub findings_left_out: u64,
    /// Files `torn-*.bin` that recovery or a repair has set aside, before this run.
    pub set_aside: u64,
    /// Their bytes.
    pub set_aside_bytes: u64,
    /// What was repaired, if that was asked for.
    pub repair: Option<Repair>,
}

/// A server that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Its process id, if its lock tells.
    pub pid: Option<u32>,
}

/// Sums, and how fast they came about.
#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    /// Files of lines.
    pub files: usize,
    /// Their bytes.
    pub file_bytes: u64,
    /// Bytes of lines, unpacked.
    pub bytes: u64,
    /// Lines that are whole.
    pub lines: u64,
    /// Threads that checked.
    pub threads: usize,
    /// How long it took, in seconds.
    pub elapsed_s: f64,
    /// Bytes of lines in a second, over all threads.
    pub bytes_per_s: f64,
}

impl Report {
    pub(super) fn new(
        survey: &Survey,
        segments: Vec<SegmentReport>,
        findings: Findings,
        threads: usize,
        elapsed: Duration,
    ) -> Self {
        let sum = |of: fn(&SegmentReport) -> u64| segments.iter().map(of).sum::<u64>();
        let elapsed_s = elapsed.as_secs_f64();
        let bytes = sum(|segment| segment.bytes);
        let totals = Totals {
            files: segments.len(),
            file_bytes: sum(|segment| segment.file_bytes),
            bytes,
            lines: sum(|segment| segment.lines),
            threads,
            elapsed_s,
            bytes_per_s: bytes as f64 / elapsed_s.max(1e-9),
        };
        let set_aside = &survey.catalog.set_aside;
        Self {
            directory: survey.directory.clone(),
            sound: findings.damage() == 0,
            damages: findings.damage(),
            server: survey.server.map(|pid| Server { pid }),
            totals,
            segments,
            findings_left_out: findings.left_out(),
            findings,
            set_aside: set_aside.len() as u64,
            set_aside_bytes: set_aside.iter().map(|file| file.bytes).sum(),
            repair: None,
        }
    }

    /// Prints it as text, or as one JSON document; in both, whatever is not printable in names of files is escaped.
    ///
    /// # Errors
    /// If `out` cannot be written to.
    pub fn print(&self, as_json: bool, out: &mut impl Write) -> io::Result<()> {
        if as_json {
            let mut out = TerminalWriter::json(&mut *out);
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            self.print_text(&mut TerminalWriter::lines(&mut *out))?;
        }
        out.flush()
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        for finding in &self.findings.kept {
            writeln!(out, "{finding}")?;
        }
        if self.findings_left_out > 0 {
            writeln!(out, "and {} more that are not listed", self.findings_left_out)?;
        }
        if let Some(Server { pid }) = &self.server {
            let who = pid.map_or("a server".to_owned(), |pid| format!("a server, process {pid},"));
            writeln!(
                out,
                "{who} runs on it: its active segment was checked up to its last whole line at the beginning"
            )?;
        }
        if self.set_aside > 0 {
            writeln!(
                out,
                "{} files torn-*.bin, {} bytes, were set aside before",
                self.set_aside, self.set_aside_bytes
            )?;
        }
        let Totals { files, file_bytes, bytes, lines, threads, elapsed_s, bytes_per_s } = self.totals;
        let directory = self.directory.display().to_string();
        let directory = printable(&directory);
        if files == 0 {
            writeln!(out, "{directory}: there is no log in it")?;
        } else {
            writeln!(
                out,
                "{directory}: {lines} lines, {bytes} bytes in {files} files of {file_bytes} bytes; {elapsed_s:.2} s, \
                 {:.2} GB/s with {threads} threads",
                bytes_per_s / 1e9
            )?;
        }
        let counts: Vec<_> = self.findings.counts.iter().filter(|(kind, _)| kind.is_damage()).collect();
        if counts.is_empty() {
            writeln!(out, "sound")?;
        } else {
            let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(out, "damaged: {}", counts.join(", "))?;
        }
        self.repair.as_ref().map_or(Ok(()), |repair| repair.print_text(out))
    }
}

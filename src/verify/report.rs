//! The report of a check, with the same contents as text and as JSON.

use super::{finding::Findings, repair::Repair, survey::Survey, tally::SegmentReport};
use metric::printable::{TerminalWriter, printable};
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
    /// No damage was found. (Repaired damage counts as found.)
    pub sound: bool,
    /// Number of damages found.
    pub damages: u64,
    /// The running server that uses the directory, if any: the active segment was then checked up to the last whole
    /// line at the start of the check.
    pub server: Option<Server>,
    /// Sums over all files of lines.
    pub totals: Totals,
    /// The files of lines, in the order of their names, the active segment last.
    pub segments: Vec<SegmentReport>,
    /// The findings.
    #[serde(flatten)]
    pub findings: Findings,
    /// Number of findings that are not listed.
    pub findings_left_out: u64,
    /// Number of `torn-*.bin` files that recovery or a repair made before this run.
    pub set_aside: u64,
    /// Bytes of those files.
    pub set_aside_bytes: u64,
    /// The result of `--repair`.
    pub repair: Option<Repair>,
}

/// A server that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Process id, if the lock names it.
    pub pid: Option<u32>,
}

/// Totals, and the speed of the check.
#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    /// Files of lines.
    pub files: usize,
    /// Bytes of those files.
    pub file_bytes: u64,
    /// Bytes of lines, decompressed.
    pub bytes: u64,
    /// Lines that are whole.
    pub lines: u64,
    /// Number of threads.
    pub threads: usize,
    /// Duration of the check, in seconds.
    pub elapsed_s: f64,
    /// Bytes of lines per second, over all threads.
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

    /// Prints the report as text or as one JSON document; unprintable characters in file names are escaped in both.
    ///
    /// # Errors
    /// `out` cannot be written to.
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
            writeln!(out, "{} more findings are not listed", self.findings_left_out)?;
        }
        if let Some(Server { pid }) = &self.server {
            let who = pid.map_or("a server".to_owned(), |pid| format!("a server (process {pid})"));
            writeln!(
                out,
                "{who} uses the directory: its active segment was checked up to the last whole line at the start of the check"
            )?;
        }
        if self.set_aside > 0 {
            writeln!(
                out,
                "{} torn-*.bin files with {} bytes from earlier repairs",
                self.set_aside, self.set_aside_bytes
            )?;
        }
        let Totals { files, file_bytes, bytes, lines, threads, elapsed_s, bytes_per_s } = self.totals;
        let directory = self.directory.display().to_string();
        let directory = printable(&directory);
        if files == 0 {
            writeln!(out, "{directory}: no log in this directory")?;
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

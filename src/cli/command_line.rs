//! The command line of `metricstream`: its subcommands and their arguments.

use super::{manual, query};
use crate::{
    config::{Arguments, Config, ConfigError, allowed_cores, read_file},
    doctor, forward, verify,
};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// The command line of `metricstream`.
#[derive(Debug, Parser)]
#[command(
    name = "metricstream",
    version,
    about = "Receives batches of metrics over HTTP, rate-limits each client, and appends them to a readable log.",
    after_help = "Flags override METRICSTREAM_* variables, and variables override the --config file. --help shows more \
                  detail; `metricstream man | man -l -` shows the manual page.",
    after_long_help = manual::AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    #[command(after_long_help = manual::AFTER_HELP)]
    Serve(Box<Arguments>),
    /// Check this host and the configuration of `serve` for what costs speed or data, and print fixes.
    Doctor(Box<DoctorArguments>),
    /// Check a log offline: every line, sidecar and checksum. Reports damage, and repairs it with --repair.
    Verify(verify::Arguments),
    /// Query the log for points, series, names or tag values. Needs no server, and does not disturb a running one.
    Query(query::Arguments),
    /// List the forwards of a data directory and what each has to deliver yet, or move one with --reset.
    Forwards(forward::Arguments),
    /// Print a manual page: that of metricstream, or that of one command.
    #[command(after_help = "metricstream man | man -l -\n\n\
        metricstream man doctor >/usr/local/share/man/man1/metricstream-doctor.1")]
    Man {
        /// serve, doctor, verify, query, forwards, man or completions
        command: Option<String>,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "metricstream completions bash >/etc/bash_completion.d/metricstream")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "doctor changes nothing. It takes one to three seconds: half a second to measure stolen CPU time, the \
                        rest to measure fdatasync on an 800 KiB file in the data directory, which is removed \
                        afterwards.\n\n\
                        Exit codes: 0 nothing worse than notes, 10 warnings, 20 critical findings; 1 the report could \
                        not be written, 2 invalid flags."
)]
struct DoctorArguments {
    /// Print one JSON document with every check and the values it read
    #[arg(long)]
    json: bool,
    /// Also print the checks that passed, and the values that each check read
    #[arg(long, short = 'v', visible_alias = "verbose", conflicts_with = "json")]
    all: bool,
    #[command(flatten)]
    serve: Arguments,
}

impl CommandLine {
    /// The format of the report, if the command is doctor.
    #[must_use]
    pub fn doctor(&self) -> Option<doctor::ReportFormat> {
        match &self.command {
            Some(Command::Doctor(arguments)) if arguments.json => Some(doctor::ReportFormat::Json),
            Some(Command::Doctor(arguments)) if arguments.all => Some(doctor::ReportFormat::All),
            Some(Command::Doctor(_)) => Some(doctor::ReportFormat::Text),
            _ => None,
        }
    }

    /// The arguments of verify, if that is the command.
    #[must_use]
    pub fn verify(&self) -> Option<&verify::Arguments> {
        match &self.command {
            Some(Command::Verify(arguments)) => Some(arguments),
            _ => None,
        }
    }

    /// The arguments of query, if that is the command.
    #[must_use]
    pub fn query(&self) -> Option<&query::Arguments> {
        match &self.command {
            Some(Command::Query(arguments)) => Some(arguments),
            _ => None,
        }
    }

    /// The arguments of forwards, if that is the command.
    #[must_use]
    pub fn forwards(&self) -> Option<&forward::Arguments> {
        match &self.command {
            Some(Command::Forwards(arguments)) => Some(arguments),
            _ => None,
        }
    }

    /// The text to print, if the command only prints: a manual page, or a completion script.
    ///
    /// # Errors
    /// The command has no manual page.
    pub fn print(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        match &self.command {
            Some(Command::Man { command }) => match manual::page(command.as_deref()) {
                Some(page) => Ok(Some(page)),
                None => Err(ConfigError::new(format!("unknown command {}", command.as_deref().unwrap_or_default()))),
            },
            Some(Command::Completions { shell }) => Ok(Some(manual::completions(*shell))),
            _ => Ok(None),
        }
    }

    /// Reads the configuration file, if one is given, and resolves all options.
    ///
    /// # Errors
    /// The invalid value, its place, and what is expected.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let examined = self.doctor().is_some();
        let typed = match self.command {
            Some(Command::Serve(arguments)) => *arguments,
            Some(Command::Doctor(arguments)) => arguments.serve,
            // The other commands do not use the server's configuration.
            Some(_) | None => self.serve,
        };
        let arguments = match &typed.config {
            Some(path) => typed.clone().or(read_file(path)?),
            None => typed,
        };
        let mut allowed =
            allowed_cores().map_err(|error| ConfigError::new(format!("cannot read the CPU affinity: {error}")))?;
        if examined {
            // doctor reports cores that this process may not use, so they are no error here.
            allowed.extend(arguments.named_cores());
        }
        arguments.resolve(&allowed)
    }
}

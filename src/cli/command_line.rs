//! The command line: what `metricstream` is asked to do.

use super::{manual, query};
use crate::{
    config::{Arguments, Config, ConfigError, allowed_cores, read_file},
    doctor, verify,
};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// The command line of `metricstream`.
#[derive(Debug, Parser)]
#[command(
    name = "metricstream",
    version,
    about = "Takes batches of metrics over HTTP, holds each client to its rate, and appends them to a log you can read.",
    after_help = "Flags win over METRICSTREAM_* variables, variables over the file of --config. --help says more of everything, and \
                  `metricstream man | man -l -` shows it as a manual page.",
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
    /// Say what on this host, or in the configuration that `serve` would have, costs speed or data, and how to mend it.
    Doctor(Box<DoctorArguments>),
    /// Check a log offline: every line, sidecar and checksum. Says what is damaged, and moves it aside if asked to.
    Verify(verify::Arguments),
    /// Ask the log: points, series, names, values of tags. Needs no server, and disturbs none.
    Query(query::Arguments),
    /// Print a manual page: of the whole, or of one command.
    #[command(
        after_help = "metricstream man | man -l -\n\nmetricstream man doctor >/usr/local/share/man/man1/metricstream-doctor.1"
    )]
    Man {
        /// serve, doctor, verify, query, man or completions
        command: Option<String>,
    },
    /// Print a script that completes this command line in a shell.
    #[command(after_help = "metricstream completions bash >/etc/bash_completion.d/metricstream")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "It changes nothing, and takes one to three seconds: half of one to watch for stolen time, the rest to time fdatasync on a \
                        file of 800 KiB in the data directory, which it removes.\n\n\
                        Exit codes: 0 nothing worse than notes, 10 warnings, 20 something critical; 1 the report could not be \
                        written, 2 wrong flags."
)]
struct DoctorArguments {
    /// Print one JSON document: every check, and what it read
    #[arg(long)]
    json: bool,
    /// Print also what is in order, and what each check read
    #[arg(long, short = 'v', visible_alias = "verbose", conflicts_with = "json")]
    all: bool,
    #[command(flatten)]
    serve: Arguments,
}

impl CommandLine {
    /// The form of the report, if it is doctor that is asked for.
    #[must_use]
    pub fn doctor(&self) -> Option<doctor::Form> {
        match &self.command {
            Some(Command::Doctor(arguments)) if arguments.json => Some(doctor::Form::Json),
            Some(Command::Doctor(arguments)) if arguments.all => Some(doctor::Form::All),
            Some(Command::Doctor(_)) => Some(doctor::Form::Text),
            _ => None,
        }
    }

    /// What is to be checked, if it is verify that is asked for.
    #[must_use]
    pub fn verify(&self) -> Option<&verify::Arguments> {
        match &self.command {
            Some(Command::Verify(arguments)) => Some(arguments),
            _ => None,
        }
    }

    /// What is asked of the log, if it is query that is asked for.
    #[must_use]
    pub fn query(&self) -> Option<&query::Arguments> {
        match &self.command {
            Some(Command::Query(arguments)) => Some(arguments),
            _ => None,
        }
    }

    /// What is to be printed, if it is only that: a manual page, or a script for a shell.
    ///
    /// # Errors
    /// There is no such page.
    pub fn print(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        match &self.command {
            Some(Command::Man { command }) => match manual::page(command.as_deref()) {
                Some(page) => Ok(Some(page)),
                None => {
                    Err(ConfigError::new(format!("there is no command {}", command.as_deref().unwrap_or_default())))
                }
            },
            Some(Command::Completions { shell }) => Ok(Some(manual::completions(*shell))),
            _ => Ok(None),
        }
    }

    /// Reads the file that was named, if any, and decides everything.
    ///
    /// # Errors
    /// What is wrong, where it stood, and what would be right.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let examined = self.doctor().is_some();
        let typed = match self.command {
            Some(Command::Serve(arguments)) => *arguments,
            Some(Command::Doctor(arguments)) => arguments.serve,
            // The others have no need of what the server is configured to do.
            Some(_) | None => self.serve,
        };
        let arguments = match &typed.config {
            Some(path) => typed.clone().or(read_file(path)?),
            None => typed,
        };
        let mut allowed =
            allowed_cores().map_err(|error| ConfigError::new(format!("cannot read the CPU affinity: {error}")))?;
        if examined {
            // That a core is withheld is for doctor to find.
            allowed.extend(arguments.named_cores());
        }
        arguments.resolve(&allowed)
    }
}

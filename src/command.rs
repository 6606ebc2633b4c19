//! The command line: arguments to configuration to server to exit code. No logic.

use crate::{
    config::{CommandLine, LogFormat},
    doctor, server,
};
use clap::Parser;
use std::{io::Write, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// It could not start: wrong flags, a taken port, a directory that cannot be written.
const COULD_NOT_START: u8 = 2;

/// Does what the command line of this process says, and returns what it exits with.
#[must_use]
pub fn run() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.use_stderr() => return refuse(&first_line(&error)),
        // --help and --version.
        Err(error) => error.exit(),
    };
    if let Some(arguments) = line.verify() {
        return arguments.run().unwrap_or_else(|error| refuse(&error));
    }
    if let Some(arguments) = line.query() {
        return arguments.run().unwrap_or_else(|error| refuse(&error));
    }
    match line.print() {
        Ok(None) => {}
        Ok(Some(text)) => {
            return std::io::stdout().write_all(&text).map_or_else(|error| refuse(&error), |()| ExitCode::SUCCESS);
        }
        Err(error) => return refuse(&error),
    }
    let examination = line.doctor();
    let config = match line.resolve() {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    log_to_stderr(config.log_format);
    if let Some(form) = examination {
        return doctor::run(&config, form).unwrap_or_else(|error| {
            eprintln!("metricstream: {error}");
            ExitCode::FAILURE
        });
    }
    let server = match server::start(config) {
        Ok(server) => server,
        Err(error) => return refuse(&error),
    };
    match server.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metricstream: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has every line go to standard error in `format`, from the level that METRICSTREAM_LOG names (`info` without it).
fn log_to_stderr(format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(EnvFilter::try_from_env("METRICSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("info")));
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// What is wrong with the flags, in one line. clap adds hints in further paragraphs.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    format!("{} (see --help)", paragraph.join(" ").trim_start_matches("error: "))
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("metricstream: {error}");
    ExitCode::from(COULD_NOT_START)
}

//! The command line: arguments to configuration to server to exit code. No logic.
//!
//! The map: `command_line` (the commands and their flags), `manual` (manual pages and completions), `query`
//! (`metricstream query`).

mod command_line;
mod manual;
pub mod query;

pub use command_line::CommandLine;

use crate::{
    config::{ConfigError, environment},
    doctor, limits, logging, server,
};
use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};
use std::{
    env, fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// Exit code of a failed start: invalid flags, a port in use, a directory that is not writable.
const COULD_NOT_START: u8 = 2;

/// Runs the command line of this process, and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    // First, in a function that needs next to none itself: beyond the limit the kernel kills the process.
    let stack_bytes = host::stack::let_grow(limits::MAIN_STACK_BYTES);
    if stack_bytes < limits::MAIN_STACK_BYTES_MIN {
        let _ = writeln!(
            io::stderr(),
            "metricstream: the limit of the stack (ulimit -s, RLIMIT_STACK) is {} KiB, and {} are needed: raise it",
            stack_bytes / limits::KIB as u64,
            limits::MAIN_STACK_BYTES_MIN / limits::KIB as u64,
        );
        return ExitCode::from(COULD_NOT_START);
    }
    run_command()
}

/// Apart from [`run`], so that the memory of what is called here is not part of that function's.
#[inline(never)]
fn run_command() -> ExitCode {
    logging::install_panic_hook();
    let caught = server::catch_file_size().map_err(|error| boxed(format!("cannot handle signals: {error}")));
    let code = caught.and_then(|()| obey()).unwrap_or_else(|error| {
        complain(&*error);
        ExitCode::from(COULD_NOT_START)
    });
    logging::flush();
    code
}

/// # Errors
/// The reason why the command cannot start: one line.
fn obey() -> Result<ExitCode, Box<dyn fmt::Display>> {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.use_stderr() => return Err(Box::new(refusal_of(&error))),
        // --help and --version.
        Err(error) => return Ok(printed(error.print())),
    };
    if let Some(text) = line.print().map_err(boxed)? {
        return Ok(printed(io::stdout().write_all(&text)));
    }
    check_environment().map_err(boxed)?;
    if let Some(arguments) = line.verify() {
        return arguments.run().map_err(boxed);
    }
    if let Some(arguments) = line.query() {
        return arguments.run().map_err(boxed);
    }
    if let Some(arguments) = line.forwards() {
        return arguments.run().map_err(boxed);
    }
    let examination = line.doctor();
    let config = line.resolve().map_err(boxed)?;
    if examination.is_none()
        && let Err(error) = server::address_space::check(&config)
    {
        // With so little address space the logging thread may not even start.
        let _ = writeln!(io::stderr(), "metricstream: {error}");
        return Ok(ExitCode::from(COULD_NOT_START));
    }
    logging::start(config.log_format, environment::log_filter().map_err(boxed)?).map_err(boxed)?;
    if let Some(form) = examination {
        return Ok(doctor::run(&config, form).unwrap_or_else(|error| failed(&error)));
    }
    let server = server::start(config).map_err(boxed)?;
    Ok(server.run().map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS))
}

/// # Errors
/// A variable that begins like the server's and is none.
fn check_environment() -> Result<(), ConfigError> {
    environment::check(&CommandLine::command())
}

fn boxed(error: impl fmt::Display + 'static) -> Box<dyn fmt::Display> {
    Box::new(error)
}

/// The exit code of a command that only prints. A closed pipe is not a failure.
fn printed(result: io::Result<()>) -> ExitCode {
    match result.and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&format_args!("cannot write to standard output: {error}")),
    }
}

/// Describes an error in the flags in one line. Errors in the variables come first, because clap reports a value from a
/// variable as that of a flag.
fn refusal_of(error: &clap::Error) -> String {
    check_environment().map_or_else(|error: ConfigError| error.to_string(), |()| first_line(error))
}

/// clap adds hints in further paragraphs.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let what = paragraph.join(" ");
    let source = variable_of(error).map(|name| format!(", from {name}")).unwrap_or_default();
    format!("{}{source} (see --help)", what.trim_start_matches("error: "))
}

/// The variable that an invalid value comes from, if any.
fn variable_of(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = argument.split_whitespace().next()?.strip_prefix("--")?;
    let is_typed = env::args_os().any(|typed| {
        let typed = typed.to_string_lossy();
        typed.strip_prefix("--").is_some_and(|typed| typed.split('=').next() == Some(flag))
    });
    let variable = format!("METRICSTREAM_{}", flag.to_uppercase().replace('-', "_"));
    (!is_typed && env::var_os(&variable).is_some()).then_some(variable)
}

fn failed(error: &dyn fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

fn complain(error: &dyn fmt::Display) {
    logging::say(&format_args!("metricstream: {error}"));
}

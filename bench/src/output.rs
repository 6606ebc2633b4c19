//! Standard output and standard error of a program whose reader may leave. `println!` and `eprintln!` panic then; here
//! a closed pipe is the end of the output, and any other failure to write (a full disk) is an error that the caller
//! reports.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::atomic::{AtomicU8, Ordering},
};

/// The exit code of a program whose output could not be written, or that was used wrongly.
const WRONG_USE: u8 = 2;

/// Result of printing a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed {
    /// All of it was taken.
    Whole,
    /// The reader has closed the pipe: whatever follows has no reader either.
    Closed,
}

/// Writes `text` to standard output.
///
/// # Errors
/// It could not be written, for another reason than a closed pipe.
pub fn print(text: &str) -> io::Result<Printed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::Whole),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::Closed),
        Err(error) => Err(error),
    }
}

/// Nothing that `say!` wrote was refused.
const OPEN: u8 = 0;
/// The reader of standard output has left.
const CLOSED: u8 = 1;
/// Standard output cannot be written, and that was said.
const FAILED: u8 = 2;

/// State of standard output for `say!`. A flag of its own that orders nothing else.
static STANDARD_OUTPUT: AtomicU8 = AtomicU8::new(OPEN);

/// Writes to standard output, until its end: what follows a closed pipe or a failed write is dropped.
pub fn say(text: fmt::Arguments<'_>) {
    if has_ended() {
        return;
    }
    match print(&text.to_string()) {
        Ok(Printed::Whole) => {}
        Ok(Printed::Closed) => STANDARD_OUTPUT.store(CLOSED, Ordering::Relaxed),
        Err(error) => {
            STANDARD_OUTPUT.store(FAILED, Ordering::Relaxed);
            crate::complain!("cannot write to standard output: {error}");
        }
    }
}

/// Nothing that is said from now on is read: a program that only prints stops working.
#[must_use]
pub fn has_ended() -> bool {
    STANDARD_OUTPUT.load(Ordering::Relaxed) != OPEN
}

/// The exit code of a program that would end with `code`, had its output been taken.
#[must_use]
pub fn finish(code: ExitCode) -> ExitCode {
    if STANDARD_OUTPUT.load(Ordering::Relaxed) == FAILED { ExitCode::from(WRONG_USE) } else { code }
}

/// Writes a line to standard output like `println!`, see [`say`].
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::output::say(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Writes one message to standard error, in one write. A message that nobody can read any more is dropped.
pub fn complain(message: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(message.to_string().as_bytes());
}

/// Writes a line to standard error like `eprintln!`, without its panic when standard error is closed or full.
#[macro_export]
macro_rules! complain {
    ($($argument:tt)*) => {
        $crate::output::complain(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Prints what clap has to say, `--help` too, and gives the exit code for it.
#[must_use]
pub fn refuse(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(WRONG_USE);
    match error.print() {
        Err(failed) if failed.kind() != ErrorKind::BrokenPipe => {
            crate::complain!("cannot write: {failed}");
            ExitCode::from(WRONG_USE)
        }
        _ => ExitCode::from(code),
    }
}

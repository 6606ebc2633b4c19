//! Standard output and standard error of a program whose reader may leave. `println!` and `eprintln!` panic then; here a closed
//! pipe is the end of the output, and any other failure to write (a full disk) is an error that the caller reports.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// The exit code of a program whose output could not be written, or that was used wrongly.
const WRONG_USE: u8 = 2;

/// How far a text got.
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

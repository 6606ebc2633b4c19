//! The program: all that it does begins in `command.rs`.

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    metricstream::command::run()
}

/// The model checker gets the lock-free rooms of the library alone.
#[cfg(loom)]
fn main() {}

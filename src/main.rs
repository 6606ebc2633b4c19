//! The program: all that it does begins in `cli`.

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    metricstream::cli::run()
}

/// The model checker gets the lock-free rooms of the library alone.
#[cfg(loom)]
fn main() {}

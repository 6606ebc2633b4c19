//! The program: all that it does begins in `cli`.

fn main() -> std::process::ExitCode {
    metricstream::cli::run()
}

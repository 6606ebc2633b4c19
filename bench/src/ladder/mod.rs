//! The ladder: six servers around one service, each built to take away what held the one before it back.
//!
//! All of them run metricstream's own parser, encoder, HTTP state machine and log, without a rate limit and at the
//! level `write`, so what differs between two steps is who waits for whom, and nothing else. The first three are the
//! blocking servers of the textbooks ([`blocking`] is what they share); the last three are the product itself
//! ([`reactors`]). Each file says at its top which bottleneck its stage shows.

pub mod blocking;
pub mod measure;
pub mod plot;
pub mod progressive;
pub mod reactors;
pub mod sequential;
pub mod side_by_side;
pub mod subject;
pub mod thread_per_request;
pub mod thread_pool;

use clap::{Parser, ValueEnum};
use metricstream::{cli::CommandLine, config::Config};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

/// The steps, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// One thread, one connection after the other.
    Sequential,
    /// A new thread for each connection.
    ThreadPerRequest,
    /// A fixed number of threads behind a bounded queue.
    ThreadPool,
    /// One reactor on epoll.
    EpollSingle,
    /// A reactor on epoll for each core.
    EpollCores,
    /// A reactor on io_uring for each core.
    UringCores,
}

impl Stage {
    /// All of them, lowest first.
    pub const ALL: [Self; 6] = [
        Self::Sequential,
        Self::ThreadPerRequest,
        Self::ThreadPool,
        Self::EpollSingle,
        Self::EpollCores,
        Self::UringCores,
    ];

    /// As it is typed and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::ThreadPerRequest => "thread-per-request",
            Self::ThreadPool => "thread-pool",
            Self::EpollSingle => "epoll-single",
            Self::EpollCores => "epoll-cores",
            Self::UringCores => "uring-cores",
        }
    }

    /// The bottleneck that it shows, in three words.
    #[must_use]
    pub const fn shows(self) -> &'static str {
        match self {
            Self::Sequential => "one blocks all",
            Self::ThreadPerRequest => "threads are made",
            Self::ThreadPool => "waiting occupies threads",
            Self::EpollSingle => "one core only",
            Self::EpollCores => "calls per event",
            Self::UringCores => "the kernel's TCP",
        }
    }

    /// Serves as this stage until SIGTERM or SIGINT, and says on standard error where it listens. What was accepted is
    /// in the log when it returns.
    ///
    /// # Errors
    /// One line: why it could not start, or what could not be stored.
    pub fn serve(self, settings: &Settings) -> Result<(), String> {
        match self {
            Self::Sequential => sequential::run(settings.resolve(&[])?),
            Self::ThreadPerRequest => thread_per_request::run(settings.resolve(&[])?, settings.threads),
            Self::ThreadPool => thread_pool::run(settings.resolve(&[])?, settings.threads, settings.queue),
            Self::EpollSingle => reactors::run(settings.resolve(reactors::EPOLL_SINGLE)?),
            Self::EpollCores => reactors::run(settings.resolve(reactors::EPOLL_CORES)?),
            Self::UringCores => reactors::run(settings.resolve(reactors::URING_CORES)?),
        }
    }
}

/// Settings that every stage is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Directory of the log.
    pub data_dir: PathBuf,
    /// Timeout of a request, or of the rest of one.
    pub timeout: Duration,
    /// Most threads that serve, in the stages that have them; `None` is the stage's own bound.
    pub threads: Option<usize>,
    /// Connections that wait for a thread of the pool.
    pub queue: usize,
}

impl Settings {
    /// The product's own configuration from these settings, and `flags` of the product on top. `METRICSTREAM_*`
    /// variables count for what is not set here, in every stage alike.
    ///
    /// # Errors
    /// One line: which of them cannot be.
    pub fn resolve(&self, flags: &[&str]) -> Result<Config, String> {
        let timeout = format!("{}ms", self.timeout.as_millis());
        let mut line: Vec<OsString> = vec!["ladder".into(), "--data-dir".into(), self.data_dir.clone().into()];
        line.extend(["--listen".into(), self.listen.to_string().into()]);
        line.extend(["--rate-limit", "0", "--ack", "write", "--stats-interval", "0s"].map(Into::into));
        for flag in ["--head-timeout", "--body-timeout", "--idle-timeout"] {
            line.extend([flag.into(), timeout.clone().into()]);
        }
        line.extend(flags.iter().map(Into::into));
        let line = CommandLine::try_parse_from(line).map_err(|error| error.to_string())?;
        line.resolve().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_typed() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_str(stage.name(), false), Ok(stage));
            assert_eq!(stage.shows().split(' ').count(), 3, "{}", stage.shows());
        }
    }
}

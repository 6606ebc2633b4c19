//! Torture for the server: it is killed at random moments, its disk is filled, its disk fails; and each time an oracle
//! compares the log with the responses that the clients received.
//!
//! Drives the real binary over loopback, and knows it only by its HTTP contract, its flags and its log: nothing here
//! shares code with what is tested. Choices come from a seed, which is printed; what the kernel and the threads make
//! of them does not come again, so a seed repeats the plan of a run and not its every moment.
//!
//! The map: `batch` (lines whose every byte is known), `clients` (the load), `sent_batches` (what was acknowledged),
//! `oracle` (the comparison), `receiver` and `delivery` (the same for what is forwarded), `figures` (the table), `shim`
//! and `power` (faults, loss of power); and the three tests: `crash`, `full_disk`, `failing_disk`. The process of the
//! server, the HTTP client and the reader of the log are those of `testkit`.

pub mod batch;
pub mod clients;
pub mod crash;
pub mod delivery;
pub mod failing_disk;
pub mod figures;
pub mod full_disk;
pub mod oracle;
pub mod power;
pub mod receiver;
pub mod sent_batches;
pub mod shim;

use std::{fmt, net::SocketAddr, path::PathBuf, process::Command};
use testkit::{
    http::{self, Client, Response},
    log, process, random, server,
};

/// Promise of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Handed to the writer.
    Memory,
    /// In the file.
    Write,
    /// On stable storage.
    Fsync,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Write, Self::Fsync];

    /// As `--ack` and `?ack=` take it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Write => "write",
            Self::Fsync => "fsync",
        }
    }
}

/// A network driver of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// io_uring, forced.
    #[value(name = "io_uring")]
    IoUring,
    /// epoll, forced.
    Epoll,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// As `--driver` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Server under test: its binary, driver, level, directory and seed.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The server.
    pub binary: PathBuf,
    /// Network driver of the server.
    pub driver: Driver,
    /// The level at which it acknowledges by default.
    pub level: Level,
    /// Data directory of the server.
    pub directory: PathBuf,
    /// Seed of all choices.
    pub seed: u64,
}

impl Subject {
    /// The command that starts it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = server::program(&self.binary);
        command.args(["--listen", "127.0.0.1:0", "--stats-interval", "0s", "--data-dir"]).arg(&self.directory);
        command.args(["--driver", self.driver.name(), "--ack", self.level.name()]);
        command
    }
}

/// The response to `GET` of `target` on a connection of its own; `None` if there is none.
fn get(address: SocketAddr, target: &str) -> Option<Response> {
    Client::try_connect(address).ok()?.try_request(&http::get(target)).ok()
}

/// The number that is the value of the first field `name` of `/stats`, wherever it stands.
fn stat(address: SocketAddr, name: &str) -> Option<u64> {
    let response = get(address, "/stats")?;
    let (_, after) = response.text().split_once(&format!("\"{name}\":"))?;
    after.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The name of its row.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8} {:6}", self.driver.name(), self.level.name())
    }
}

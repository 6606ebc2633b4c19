//! Stages 4 to 6, the product itself with its reactors: it starts `metricstream` as `main.rs` does, and adds nothing.
//!
//! Stage 4, one reactor on epoll. Takes away: a connection that waits costs a few hundred bytes and no thread, nobody
//! shares anything on the way of a request, and a writer thread of its own takes the disk off it. Shows: one core's
//! worth of everything, however many there are.
//!
//! Stage 5, a reactor on epoll for each core. Takes away: the bound of one core. Shows: two system calls for each
//! burst of requests, a receive and a send, on top of the waits.
//!
//! Stage 6, a reactor on io_uring for each core. Takes away: those calls; receives stay armed and sends go along with
//! the wait. Shows: what is left, which is the kernel's TCP (ARCHITECTURE.md has the figures).

use metricstream::{config::Config, server};

/// Flags of stage 4.
pub const EPOLL_SINGLE: &[&str] = &["--driver", "epoll", "--reactors", "1"];
/// Flags of stage 5.
pub const EPOLL_CORES: &[&str] = &["--driver", "epoll"];
/// Flags of stage 6.
pub const URING_CORES: &[&str] = &["--driver", "io_uring"];

/// Serves until a signal.
///
/// # Errors
/// One line: why it could not start, or what could not be stored.
pub fn run(config: Config) -> Result<(), String> {
    let server = server::start(config).map_err(|error| error.to_string())?;
    crate::complain!("listening on {}", server.listens_at());
    server.run().map_err(|error| error.to_string())
}

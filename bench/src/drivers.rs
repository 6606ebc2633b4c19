//! Which driver a program runs on: the one requested, or the best that is available.

use clap::ValueEnum;
use reactor::{Driver, DriverConfig, uring::UringDriver};
use std::{fmt, io, sync::Arc};
use wake::Doorbell;

/// Value of `--driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// `io_uring`, or else `epoll`, saying why.
    Auto,
    /// Fails where io_uring is unavailable.
    #[value(name = "io_uring")]
    IoUring,
    /// Readiness, on any Linux.
    Epoll,
}

/// The driver that a program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// [`UringDriver`].
    IoUring,
    /// [`reactor::epoll::EpollDriver`].
    Epoll,
}

impl fmt::Display for Chosen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

impl Choice {
    /// Settles it. `auto` opens an io_uring driver for a moment, and says on standard error why that failed, if it did.
    #[must_use]
    pub fn settle(self) -> Chosen {
        match self {
            Self::IoUring => Chosen::IoUring,
            Self::Epoll => Chosen::Epoll,
            Self::Auto => match try_uring() {
                Ok(()) => Chosen::IoUring,
                Err(error) => {
                    crate::complain!("io_uring is unavailable ({error}): running on epoll");
                    Chosen::Epoll
                }
            },
        }
    }
}

fn try_uring() -> io::Result<()> {
    UringDriver::open(DriverConfig {
        listeners: Vec::new(),
        connections_max: 1,
        receive_buffer_bytes: 4096,
        receive_buffers: 1,
        doorbell: Arc::new(Doorbell::new()?),
    })
    .map(drop)
}

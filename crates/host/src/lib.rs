//! The operating system as the server sees it: files, time, threads, channels, events and random keys, by the names
//! that the standard library and crossbeam have for them.
//!
//! Everything here is a re-export, or one system call that the standard library lacks, so it costs nothing. It exists
//! so that there is one place to replace: a crate that names files, time and threads only through this one can run on a
//! machine that is simulated (`tests/tidy` lists the crates that do).
//!
//! With the feature `sim` the names are those of `machine`, the simulated one. The workspace never turns it on: `sim/`
//! is a workspace of its own, which does.
//!
//! ```
//! use host::{fs, time::Instant};
//!
//! let began = Instant::now();
//! assert!(fs::metadata("/")?.is_dir());
//! println!("{:?}", began.elapsed());
//! # Ok::<(), std::io::Error>(())
//! ```

#[cfg(not(feature = "sim"))]
mod event;
#[cfg(not(feature = "sim"))]
pub mod fs;
#[cfg(tsan)]
mod ordered;
pub mod sched;
pub mod stack;
#[cfg(not(feature = "sim"))]
pub mod time;

#[cfg(not(feature = "sim"))]
pub use event::Event;
#[cfg(not(feature = "sim"))]
pub use std::{process, thread};

#[cfg(feature = "sim")]
pub use machine::{Event, channel, fs, hash, net, os, process, sync, thread, time};

/// Channels between threads.
#[cfg(not(feature = "sim"))]
pub mod channel {
    pub use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
}

/// Connections of threads that wait for them.
#[cfg(not(feature = "sim"))]
pub mod net {
    pub use std::net::TcpStream;
}

/// Locks that may be held across a call of this crate.
#[cfg(not(feature = "sim"))]
pub mod sync {
    pub use super::real::{Condvar, Mutex, MutexGuard};
}

/// Locks of the machine that runs this, simulated or not, for a few instructions without a call of this crate. All are
/// named through here, and not through the standard library, so that ThreadSanitizer sees them.
pub mod real {
    #[cfg(tsan)]
    pub use super::ordered::{Condvar, Mutex, MutexGuard};
    #[cfg(not(tsan))]
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

/// Random keys of hash functions.
#[cfg(not(feature = "sim"))]
pub mod hash {
    pub use std::hash::RandomState;
}

/// Extensions for Unix.
#[cfg(not(feature = "sim"))]
pub mod os {
    /// As in the standard library.
    pub mod unix {
        pub use std::os::unix::fs;
    }
}

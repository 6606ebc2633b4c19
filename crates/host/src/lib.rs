//! The operating system as the server sees it: files, time, threads, channels and events, by the names that the
//! standard library and crossbeam have for them.
//!
//! Everything here is a re-export, or one system call that the standard library lacks, so it costs nothing. It exists
//! so that there is one place to replace: a crate that names files, time and threads only through this one can run on a
//! machine that is simulated (`tests/tidy` lists the crates that do). Depends on no other crate of the workspace.
//!
//! ```
//! use host::{fs, time::Instant};
//!
//! let began = Instant::now();
//! assert!(fs::metadata("/")?.is_dir());
//! println!("{:?}", began.elapsed());
//! # Ok::<(), std::io::Error>(())
//! ```

mod event;
pub mod fs;
pub mod time;

pub use event::Event;
pub use std::{process, thread};

/// Channels between threads.
pub mod channel {
    pub use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
}

/// Locks that may be held across a call of this crate.
pub mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

/// What is of Unix only.
pub mod os {
    /// As in the standard library.
    pub mod unix {
        pub use std::os::unix::fs;
    }
}

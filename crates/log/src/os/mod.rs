//! Thin wrappers of the system calls that the standard library lacks, each with its promises.

pub mod dirent;

/// Priority and cores of the calling thread.
pub mod sched {
    pub use host::sched::{set_affinity, set_nice};
}

/// Space of a file system.
pub mod statvfs {
    pub use host::fs::{Usage, usage};
}

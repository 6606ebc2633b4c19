//! Thin wrappers of the system calls that the standard library lacks, each with its promises.

pub mod dirent;
pub mod sched;

/// Space of a file system.
pub mod statvfs {
    pub use host::fs::{Usage, usage};
}

//! Thin wrappers of the system calls that the standard library lacks, each with its promises.

pub mod dirent;
pub mod sched;
pub mod statvfs;

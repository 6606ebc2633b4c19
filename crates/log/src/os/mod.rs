//! Thin wrappers of the system calls that the standard library does not have, each with what it promises and on which kernel.

pub mod dirent;
pub mod sched;
pub mod statvfs;

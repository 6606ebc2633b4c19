//! Signals and limits by way of libc: the only file with `unsafe` in it.
#![allow(unsafe_code)] // kill(2) and prlimit(2) have no safe form in std.

use std::{io, process::Child, ptr};

/// A signal that std does not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in order.
    Terminate,
    /// SIGHUP: seal the segment.
    HangUp,
}

fn pid_of(child: &Child) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(child.id()).map_err(io::Error::other)
}

/// Sends `signal` to a child that was not waited for yet.
///
/// # Errors
/// What kill(2) says.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::HangUp => libc::SIGHUP,
    };
    // SAFETY: kill(2) touches no memory of ours, and the pid is that of a child that was not reaped (the caller's promise).
    match unsafe { libc::kill(pid_of(child)?, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bounds the size of the files that a running child may write (RLIMIT_FSIZE; `None`: without limit). The hard limit stays.
///
/// # Errors
/// What prlimit(2) says.
pub fn limit_files(child: &Child, bytes: Option<u64>) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the new limit is a live structure, and a null pointer says that the old one is not wanted.
    match unsafe { libc::prlimit(pid_of(child)?, libc::RLIMIT_FSIZE, &raw const limit, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

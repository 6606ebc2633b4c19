//! Signals, limits and sockets by way of libc: the only file of the tests with `unsafe` in it.
#![allow(unsafe_code)] // kill(2), setrlimit(2), prlimit(2) and setsockopt(2) have no safe form in std.

use std::{io, mem, net::TcpStream, os::fd::AsRawFd, os::unix::process::CommandExt, process::Command, ptr};

/// A signal that the server handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM
    Terminate,
    /// SIGINT
    Interrupt,
    /// SIGKILL
    Kill,
}

/// Sends `signal` to the child process `pid`, which must not have been waited for yet.
pub fn signal(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Interrupt => libc::SIGINT,
        Signal::Kill => libc::SIGKILL,
    };
    // SAFETY: kill(2) touches no memory of ours; the pid is that of a child that was not reaped (the caller's promise).
    let result = unsafe { libc::kill(i32::try_from(pid).unwrap(), number) };
    assert_eq!(result, 0, "kill({pid}): {}", io::Error::last_os_error());
}

/// Lets the process that `command` starts make no file longer than `bytes` (RLIMIT_FSIZE, getrlimit(2)). Only the soft
/// limit: [`lift_file_size`] takes it back.
pub fn limit_file_size(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: between fork and exec only setrlimit(2) runs, which is async-signal-safe and reads a structure that the
    // closure owns.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Takes [`limit_file_size`] back while the process runs (prlimit(2), Linux 2.6.36).
pub fn lift_file_size(pid: u32) {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: the new limit is a live structure, and a null pointer says that the old one is not wanted.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, ptr::null_mut()) };
    assert_eq!(result, 0, "prlimit({pid}): {}", io::Error::last_os_error());
}

/// Fixes the receive buffer of `stream` (SO_RCVBUF, socket(7); the kernel doubles it), so that a peer's sends soon stall.
pub fn limit_receive_buffer(stream: &TcpStream, bytes: i32) {
    let length = libc::socklen_t::try_from(mem::size_of::<i32>()).unwrap();
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the value is a live i32 of that length.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const bytes).cast(), length)
    };
    assert_eq!(result, 0, "SO_RCVBUF: {}", io::Error::last_os_error());
}

/// Makes `stream` end with a reset instead of an end of file when it is dropped (SO_LINGER of zero, socket(7)).
pub fn reset_on_drop(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(mem::size_of::<libc::linger>()).unwrap();
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the value is a live structure of that length.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length)
    };
    assert_eq!(result, 0, "SO_LINGER: {}", io::Error::last_os_error());
}

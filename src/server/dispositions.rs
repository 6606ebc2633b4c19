//! Dispositions and masks of signals: those that are ignored, and those that must not be blocked.
#![expect(unsafe_code, reason = "signal(2) and pthread_sigmask(3) have no safe form in std or signal-hook")]

use std::{io, mem, ptr};

/// Ignores every real-time signal from now on: the kernel would queue each of them (signal(7)), and a flood would keep
/// every thread in handlers.
pub fn ignore_real_time_signals() -> io::Result<()> {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: SIG_IGN is no function of ours that could be called, and the C library keeps those it needs itself
        // out of this range.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Unblocks `signals` in the calling thread, and in the threads that it starts from now on. A process inherits the mask
/// of the one that has started it, and a server with SIGTERM blocked could only be killed.
pub fn unblock(signals: impl IntoIterator<Item = i32>) -> io::Result<()> {
    // SAFETY: a sigset_t is an array of integers, for which zeros are a value; sigemptyset(3) then makes it a set.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is a live sigset_t of this function's, and the call writes nothing else.
    if unsafe { libc::sigemptyset(&raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for signal in signals {
        // SAFETY: as above, and the set is initialised.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the call only reads `set`; a null pointer says that the former mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

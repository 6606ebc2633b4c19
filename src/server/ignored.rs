//! Ignores real-time signals: the kernel would queue each of them (signal(7)), and a flood would keep every thread in
//! handlers.
#![expect(unsafe_code, reason = "signal(2) has no safe form in std or signal-hook")]

use std::io;

/// Ignores every real-time signal from now on.
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

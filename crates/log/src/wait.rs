//! Blocks the calling thread on its doorbell by poll(2).
#![allow(unsafe_code)] // poll(2) has no safe wrapper in the standard library.

use std::time::Duration;
#[cfg(not(loom))]
use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Waits until `descriptor` is readable or `timeout` has passed (`None`: without limit). Returns early on a signal, so
/// callers check their condition again.
///
/// # Panics
/// poll(2) refuses its arguments, which only a bug can cause.
#[cfg(not(loom))]
pub(super) fn readable(descriptor: &impl AsFd, timeout: Option<Duration>) {
    let timeout_ms =
        timeout.map_or(-1, |timeout| libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX));
    let mut poll = libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one valid pollfd that outlives the call, and the count says one.
    if unsafe { libc::poll(&raw mut poll, 1, timeout_ms) } < 0 {
        let error = io::Error::last_os_error();
        // ENOMEM, the other error that can occur, is transient: the caller retries.
        assert!(error.kind() != io::ErrorKind::InvalidInput, "poll(2) refused one descriptor: {error}");
    }
}

/// The wait in a model: a timeout passes at once, or after another thread has run.
#[cfg(loom)]
pub(super) fn readable(bell: &wake::Doorbell, timeout: Option<Duration>) {
    match timeout {
        None => bell.wait(),
        Some(_) => loom::thread::yield_now(),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use wake::Doorbell;

    #[test]
    fn a_signal_ends_the_wait_and_a_timeout_does() {
        let bell = Doorbell::new().unwrap();
        readable(&bell, Some(Duration::from_millis(1)));
        bell.signal();
        readable(&bell, None);
    }
}

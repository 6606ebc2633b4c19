//! The eventfd that a thread sleeps on.
#![allow(unsafe_code)] // eventfd(2) and poll(2) have no safe wrapper in the standard library.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// A non-blocking eventfd.
#[derive(Debug)]
pub struct Event(File);

impl Event {
    /// Creates an eventfd without a signal.
    ///
    /// # Errors
    /// No descriptor is available.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so the descriptor is open, and nothing else owns it.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) })))
    }

    /// Makes the eventfd readable.
    pub fn signal(&self) {
        // The counter overflows after 2^64 - 2 unread signals (EAGAIN); the eventfd is readable all the same.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Clears the signals. Returns true if there was one.
    pub fn drain(&self) -> bool {
        // EAGAIN: there was none.
        (&self.0).read(&mut [0; 8]).is_ok()
    }

    /// Waits until there is a signal or `timeout` has passed (`None`: without limit). Returns early on a signal of the
    /// process, so callers check their condition again.
    ///
    /// # Panics
    /// poll(2) refuses its arguments, which only a bug can cause.
    pub fn wait(&self, timeout: Option<Duration>) {
        let timeout_ms =
            timeout.map_or(-1, |timeout| libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX));
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid pollfd that outlives the call, and the count says one.
        if unsafe { libc::poll(&raw mut poll, 1, timeout_ms) } < 0 {
            let error = io::Error::last_os_error();
            // ENOMEM, the other error that can occur, is transient: the caller retries.
            assert!(error.kind() != io::ErrorKind::InvalidInput, "poll(2) refused one descriptor: {error}");
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_the_wait_and_a_timeout_does() {
        let event = Event::new().unwrap();
        event.wait(Some(Duration::from_millis(1)));
        event.signal();
        event.wait(None);
        assert!(event.drain() && !event.drain());
    }
}

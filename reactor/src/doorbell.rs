//! Wakes a thread that sleeps, and costs one load when it does not.
//!
//! Whoever has news publishes it and then rings; whoever sleeps says so and then looks at the news once more. Each side
//! stores before it loads, with a full fence between (Dekker's pattern), so that at least one of them sees the other:
//! a wake-up cannot be lost. A bell is rung into its eventfd at most once per sleep.

use crate::sync::atomic::{AtomicBool, Ordering, fence};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The wake-up of one thread. Shared: any thread may [`ring`](Self::ring), only its owner sleeps on it.
#[derive(Debug)]
pub struct Doorbell {
    sleeping: Sleeping,
    event: File,
}

/// The protocol without the eventfd: this is what the model checker runs.
#[derive(Debug)]
pub struct Sleeping(AtomicBool);

impl Default for Sleeping {
    fn default() -> Self {
        Self::new()
    }
}

impl Sleeping {
    /// Awake.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// For the sleeper, before it looks at its sources for the last time.
    pub fn announce(&self) {
        // A swap, so that it follows the swap of a publisher that was late for the sleep before. The fence needs only a
        // store; loom, though, leaves a store unordered with another thread's swap, and could not run two sleeps in a row.
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// For the sleeper, once it is awake or has found something to do after all.
    pub fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// For the publisher, after publishing: whether this caller, and no other, has to wake the sleeper.
    #[must_use]
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

impl Doorbell {
    /// A bell on a fresh, non-blocking eventfd.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { sleeping: Sleeping::new(), event: File::from(eventfd()?) })
    }

    /// Wakes the owner if it sleeps. Call it after the news is published.
    pub fn ring(&self) {
        if self.sleeping.must_wake() {
            self.signal();
        }
    }

    /// Wakes the owner whether or not it has announced its sleep: for rare news that come outside the protocol.
    pub fn signal(&self) {
        // The counter of an eventfd overflows after 2^64 - 2 unread rings (EAGAIN); it is then readable all the same.
        let _ = (&self.event).write(&1_u64.to_ne_bytes());
    }

    /// Says that the owner is about to sleep. It must look at all its sources after this and before it sleeps.
    pub fn announce_sleep(&self) {
        self.sleeping.announce();
    }

    /// Says that the owner is awake.
    pub fn awake(&self) {
        self.sleeping.awake();
    }

    /// Empties the eventfd, so that the next wait on it sleeps. Never blocks.
    pub fn drain(&self) {
        // EAGAIN: nobody had rung.
        let _ = (&self.event).read(&mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[allow(unsafe_code)] // eventfd(2) has no safe wrapper in the standard library.
fn eventfd() -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: eventfd takes no pointers.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeper_is_rung_and_only_once() {
        let bell = Doorbell::new().unwrap();
        let pending = |bell: &Doorbell| (&bell.event).read(&mut [0; 8]).is_ok();
        bell.ring();
        assert!(!pending(&bell));
        bell.announce_sleep();
        bell.ring();
        bell.ring();
        assert!(pending(&bell));
        assert!(!pending(&bell));
        bell.announce_sleep();
        bell.awake();
        bell.ring();
        assert!(!pending(&bell));
    }
}

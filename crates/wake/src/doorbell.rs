//! Wakes a thread that sleeps, and costs one fence and one load when it does not.
//!
//! A thread with news publishes it and then wakes the sleeper; the sleeper announces its sleep and then checks for news
//! once more. Each side stores before it loads, with a full fence between (Dekker's pattern), so that at least one of
//! them sees the other: a wake-up cannot be lost. The eventfd is written at most once per sleep, apart from
//! [`Doorbell::signal`].

use crate::{
    event::Event,
    sync::atomic::{AtomicBool, Ordering, fence},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

/// The wake-up of one thread. Shared: any thread may [`wake`](Self::wake), only its owner sleeps on it.
#[derive(Debug)]
pub struct Doorbell {
    sleeping: Sleeping,
    event: Event,
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
    /// Starts awake.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Announces the sleep: called by the sleeper before it checks its sources for the last time.
    #[inline]
    pub fn announce(&self) {
        // A swap, so that it follows the swap of a publisher that was late for the sleep before. The fence needs only a
        // store; loom, though, leaves a store unordered with another thread's swap, and could not run two sleeps in a
        // row.
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends the sleep: called by the sleeper once it is awake or has found something to do after all.
    #[inline]
    pub fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// True if this caller, and no other, has to wake the sleeper: called by the publisher after publishing.
    #[inline]
    #[must_use]
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

impl Doorbell {
    /// Creates a doorbell on a fresh, non-blocking eventfd.
    ///
    /// # Errors
    /// No descriptor is available.
    pub fn new() -> io::Result<Self> {
        Ok(Self { sleeping: Sleeping::new(), event: Event::new()? })
    }

    /// Wakes the owner if it sleeps. To be called after the news is published.
    #[inline]
    pub fn wake(&self) {
        if self.sleeping.must_wake() {
            self.signal();
        }
    }

    /// Wakes the owner whether or not it has announced its sleep: for rare news outside the protocol.
    pub fn signal(&self) {
        self.event.signal();
    }

    /// Announces that the owner is about to sleep. It must check all its sources after this and before it sleeps.
    #[inline]
    pub fn announce_sleep(&self) {
        self.sleeping.announce();
    }

    /// Marks the owner as awake.
    #[inline]
    pub fn awake(&self) {
        self.sleeping.awake();
    }

    /// Empties the eventfd, so that the next wait on it sleeps. Never blocks.
    pub fn drain(&self) {
        self.event.drain();
    }

    /// The event that its owner waits for.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// Sleeps until the eventfd is readable or `timeout` has passed (`None`: without limit). Returns early on a signal
    /// of the process, so the owner checks its sources again.
    #[inline]
    pub fn wait(&self, timeout: Option<Duration>) {
        self.event.wait(timeout);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let bell = Doorbell::new().unwrap();
        let pending = |bell: &Doorbell| bell.event.drain();
        bell.wake();
        assert!(!pending(&bell));
        bell.announce_sleep();
        bell.wake();
        bell.wake();
        assert!(pending(&bell));
        assert!(!pending(&bell));
        bell.announce_sleep();
        bell.awake();
        bell.wake();
        assert!(!pending(&bell));
    }
}

//! The object that a thread sleeps on: an eventfd without a descriptor.

use crate::{
    state::{seam, with},
    tasks,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// An event, by the names that `host` has for it.
#[derive(Debug)]
pub struct Event {
    id: u64,
    is_signalled: AtomicBool,
}

impl Event {
    /// An event without a signal.
    ///
    /// # Errors
    /// None.
    pub fn new() -> io::Result<Self> {
        Ok(Self { id: with(crate::state::State::id).unwrap_or(0), is_signalled: AtomicBool::new(false) })
    }

    /// The name among the machine's events.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Wakes who waits.
    pub fn signal(&self) {
        self.is_signalled.store(true, Ordering::Relaxed);
        with(|state| state.ring(self.id));
        let _ = seam("signal", "", self.id);
    }

    /// Clears the signals. Returns true if there was one.
    pub fn drain(&self) -> bool {
        self.is_signalled.swap(false, Ordering::Relaxed)
    }

    /// Waits until there is a signal or `timeout` has passed.
    pub fn wait(&self, timeout: Option<Duration>) {
        if seam("wait", "", self.id).is_err() || self.is_signalled.load(Ordering::Relaxed) {
            return;
        }
        // poll(2) takes whole milliseconds.
        let timeout_ns = timeout.map(|timeout| timeout.as_millis() as u64 * 1_000_000);
        let until_ns = timeout_ns.and_then(|ns| with(|state| state.now_ns.saturating_add(ns)));
        tasks::wait(until_ns, Some(self.id));
    }

    /// Waits until there is a signal, a connection that it is rung by has changed, or `until_ns` has come. It may also
    /// return before.
    pub fn wait_until(&self, until_ns: Option<u64>) {
        if seam("wait", "", self.id).is_err() || self.is_signalled.load(Ordering::Relaxed) {
            return;
        }
        if !with(|state| state.net.take_rung(self.id)).unwrap_or(true) {
            tasks::wait(until_ns, Some(self.id));
            with(|state| state.net.take_rung(self.id));
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("a simulated event has no descriptor: its threads wait for the event itself")
    }
}

//! Locks: a thread that finds one taken gives its turn away until it is given back.

use crate::{state::with, tasks};
use std::{
    ops::{Deref, DerefMut},
    ptr::from_ref,
    sync::{LockResult, PoisonError, TryLockError},
};

/// As in the standard library.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

/// As in the standard library.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    /// `None` once it is given back.
    guard: Option<std::sync::MutexGuard<'a, T>>,
    lock: &'a Mutex<T>,
    event: u64,
}

impl<T> Mutex<T> {
    /// As in the standard library.
    pub const fn new(content: T) -> Self {
        Self(std::sync::Mutex::new(content))
    }

    /// The event that rings when the lock is given back: its address, which the trace of a run does not show.
    fn event(&self) -> u64 {
        1 << 63 | from_ref(self).cast::<u8>() as usize as u64
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    ///
    /// # Panics
    /// The process has ended and another thread has the lock, or it is taken outside of a process.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let event = self.event();
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Ok(MutexGuard { guard: Some(guard), lock: self, event }),
                Err(TryLockError::Poisoned(poisoned)) => {
                    return Err(PoisonError::new(MutexGuard { guard: Some(poisoned.into_inner()), lock: self, event }));
                }
                Err(TryLockError::WouldBlock) => {
                    let is_dead = with(|state| state.is_dead).unwrap_or(true);
                    assert!(!is_dead && tasks::current().is_some(), "a lock is taken that cannot be given back");
                    tasks::wait(None, Some(event));
                }
            }
        }
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_deref().expect("a guard has its lock")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("a guard has its lock")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        drop(self.guard.take());
        with(|state| state.ring(self.event));
    }
}

/// As in the standard library.
#[derive(Debug, Default)]
pub struct Condvar {
    /// So that each has an address of its own.
    _place: u8,
}

impl Condvar {
    /// As in the standard library.
    #[must_use]
    pub const fn new() -> Self {
        Self { _place: 0 }
    }

    /// The event that rings when it is notified: its address, as that of a lock.
    fn event(&self) -> u64 {
        1 << 62 | from_ref(self).cast::<u8>() as usize as u64
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    ///
    /// # Panics
    /// As [`Mutex::lock`].
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let lock = guard.lock;
        drop(guard);
        tasks::wait(None, Some(self.event()));
        lock.lock()
    }

    /// As in the standard library.
    pub fn notify_all(&self) {
        with(|state| state.ring(self.event()));
    }
}

//! The standard library's lock and condition variable for ThreadSanitizer (`--cfg tsan`, by `scripts/sanitize.sh`). The
//! library itself is not instrumented, so the sanitizer does not see a lock change hands where a thread had to wait for
//! it: an atomic shows it the order.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        self, LockResult, PoisonError, WaitTimeoutResult,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// As in the standard library.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    lock: sync::Mutex<T>,
    /// Stored before the lock is released, loaded after it is taken. The value has no meaning.
    handover: AtomicBool,
}

/// As in the standard library.
pub struct MutexGuard<'a, T> {
    /// `None` once the guard waits for a condition.
    guard: Option<sync::MutexGuard<'a, T>>,
    handover: &'a AtomicBool,
}

/// As in the standard library.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// As in the standard library.
    pub const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// As in the standard library.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let handover = guard.handover;
        let inner = guard.guard.take().expect("a guard holds its lock until it waits");
        drop(guard);
        taken(self.0.wait(inner), handover)
    }

    /// As in the standard library.
    pub fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        longest: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let handover = guard.handover;
        let inner = guard.guard.take().expect("a guard holds its lock until it waits");
        drop(guard);
        let (inner, result) = self.0.wait_timeout(inner, longest).unwrap_or_else(PoisonError::into_inner);
        Ok((taken(Ok(inner), handover).unwrap_or_else(PoisonError::into_inner), result))
    }

    /// As in the standard library.
    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        longest: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let begun = Instant::now();
        loop {
            let left = if condition(&mut guard) { longest.saturating_sub(begun.elapsed()) } else { Duration::ZERO };
            let (waited, result) = self.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
            guard = waited;
            if left.is_zero() {
                return Ok((guard, result));
            }
        }
    }

    /// As in the standard library.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// As in the standard library.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Loads the atomic after the lock has been taken, and wraps the guard.
fn taken<'a, T>(
    result: LockResult<sync::MutexGuard<'a, T>>,
    handover: &'a AtomicBool,
) -> LockResult<MutexGuard<'a, T>> {
    let _ = handover.load(Ordering::Acquire);
    match result {
        Ok(guard) => Ok(MutexGuard { guard: Some(guard), handover }),
        Err(poisoned) => Err(PoisonError::new(MutexGuard { guard: Some(poisoned.into_inner()), handover })),
    }
}

impl<T> Mutex<T> {
    /// As in the standard library.
    pub const fn new(content: T) -> Self {
        Self { lock: sync::Mutex::new(content), handover: AtomicBool::new(false) }
    }

    /// As in the standard library.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        taken(self.lock.lock(), &self.handover)
    }

    /// As in the standard library.
    pub fn into_inner(self) -> LockResult<T> {
        let _ = self.handover.load(Ordering::Acquire);
        self.lock.into_inner()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_deref().expect("a guard holds its lock until it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("a guard holds its lock until it waits")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The inner guard releases the lock only after this.
        self.handover.store(true, Ordering::Release);
    }
}

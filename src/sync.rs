//! The atomics, cells and locks of the lock-free rooms: the standard library's, or loom's when its model checker runs
//! (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, MutexGuard, atomic},
};
#[cfg(not(loom))]
pub use std::sync::{Arc, atomic};
#[cfg(not(any(loom, tsan)))]
pub use std::sync::{Mutex, MutexGuard};

#[cfg(all(tsan, not(loom)))]
pub use told::{Mutex, MutexGuard};

/// The standard library's lock for ThreadSanitizer (`--cfg tsan`, by `scripts/sanitize.sh`). The library itself is not
/// instrumented, so the sanitizer does not see a lock change hands where one had to wait for it: an atomic tells it.
#[cfg(all(tsan, not(loom)))]
mod told {
    use std::{
        ops::{Deref, DerefMut},
        sync::{
            self, LockResult, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
    };

    #[derive(Debug)]
    pub struct Mutex<T> {
        lock: sync::Mutex<T>,
        /// Stored before the lock is given up, loaded after it is taken. The value means nothing.
        told: AtomicBool,
    }

    pub struct MutexGuard<'a, T> {
        guard: sync::MutexGuard<'a, T>,
        told: &'a AtomicBool,
    }

    impl<T> Mutex<T> {
        pub fn new(content: T) -> Self {
            Self { lock: sync::Mutex::new(content), told: AtomicBool::new(false) }
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let result = self.lock.lock();
            let _ = self.told.load(Ordering::Acquire);
            match result {
                Ok(guard) => Ok(MutexGuard { guard, told: &self.told }),
                Err(poisoned) => Err(PoisonError::new(MutexGuard { guard: poisoned.into_inner(), told: &self.told })),
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.guard
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.guard
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            // The guard within gives the lock up only after this.
            self.told.store(true, Ordering::Release);
        }
    }
}

//! The eventfd that a thread sleeps on, once the protocol of the [`Doorbell`](crate::Doorbell) allows it.
//!
//! For the model checker, which has no descriptors, a flag under a lock replaces it. That gives no more order than the
//! kernel does: a thread that has read an eventfd sees what came before the write, as both take the lock of its
//! counter.

#[cfg(not(loom))]
pub use host::Event;
#[cfg(loom)]
pub use model::Event;

#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex};
    use std::{
        io,
        os::fd::{AsFd, BorrowedFd},
        time::Duration,
    };

    /// A flag that a thread can wait for.
    #[derive(Debug)]
    pub struct Event {
        is_signalled: Mutex<bool>,
        signalled: Condvar,
    }

    impl Event {
        pub fn new() -> io::Result<Self> {
            Ok(Self { is_signalled: Mutex::new(false), signalled: Condvar::new() })
        }

        pub fn signal(&self) {
            *self.is_signalled.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
            self.signalled.notify_one();
        }

        pub fn drain(&self) -> bool {
            std::mem::take(&mut *self.is_signalled.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        }

        /// Sleeps until the flag is set, as poll(2) without a limit does on the eventfd: the flag stays set. A timeout
        /// passes at once, or after another thread has run.
        pub fn wait(&self, timeout: Option<Duration>) {
            if timeout.is_some() {
                return loom::thread::yield_now();
            }
            let mut is_signalled = self.is_signalled.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            while !*is_signalled {
                is_signalled = self.signalled.wait(is_signalled).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }

    impl AsFd for Event {
        fn as_fd(&self) -> BorrowedFd<'_> {
            unreachable!("a model has no descriptors: it waits on the event itself")
        }
    }
}

//! The eventfd that a thread sleeps on, once the protocol of the [`Doorbell`](crate::Doorbell) allows it.
//!
//! For the model checker, which has no descriptors, a flag under a lock replaces it. That gives no more order than the
//! kernel does: a thread that has read an eventfd sees what came before the write, as both take the lock of its
//! counter.

#[cfg(not(loom))]
pub use eventfd::Event;
#[cfg(loom)]
pub use model::Event;

#[cfg(not(loom))]
mod eventfd {
    #![allow(unsafe_code)] // eventfd(2) has no safe wrapper in the standard library.

    use std::{
        fs::File,
        io::{self, Read, Write},
        os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
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
    }

    impl AsFd for Event {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex};
    use std::{
        io,
        os::fd::{AsFd, BorrowedFd},
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

        /// Sleeps until the flag is set, as poll(2) without a limit does on the eventfd: the flag stays set.
        pub fn wait(&self) {
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

//! The atomics, cells and locks of lock-free code: the standard library's, or loom's when its model checker runs
//! (`RUSTFLAGS="--cfg loom"`).

#[cfg(not(loom))]
pub use host::sync::{Condvar, Mutex, MutexGuard};
#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, MutexGuard, atomic},
};
#[cfg(not(loom))]
pub use std::sync::{Arc, atomic};

/// Locks under which nothing is called that a model or the simulator takes turns at, so that neither has to know them.
pub use host::real;

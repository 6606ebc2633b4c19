//! The atomics, cells and locks of the lock-free rooms: the standard library's, or loom's when its model checker runs
//! (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, MutexGuard, atomic},
};
#[cfg(not(loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, atomic};

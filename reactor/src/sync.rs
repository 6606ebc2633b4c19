//! The atomics of the lock-free rooms: the standard library's, or loom's when its model checker runs
//! (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub use loom::sync::atomic;
#[cfg(not(loom))]
pub use std::sync::atomic;

//! MetricsStream: takes batches of metrics over HTTP, holds each client to its rate, and appends them to a log that a
//! person can read. See ARCHITECTURE.md for the map and for the line a request takes through it.

#![cfg_attr(loom, allow(unused))]

pub mod address;
pub mod clock;
mod dirent;
mod disk;
pub mod limits;
pub mod log;
pub mod metric;
pub mod priority;
pub mod rate;
pub mod segment;
mod sync;

// The model checker (`--cfg loom`) gets the lock-free rooms above and what they lean on. The others have nothing for it, and some of
// what they depend on takes the flag for its own.
#[cfg(not(loom))]
pub mod cli;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod doctor;
#[cfg(not(loom))]
pub mod http;
#[cfg(not(loom))]
pub mod listening;
#[cfg(not(loom))]
pub mod logging;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
pub mod notify;
#[cfg(not(loom))]
pub mod printable;
#[cfg(not(loom))]
mod progress;
#[cfg(not(loom))]
pub mod proxy;
#[cfg(not(loom))]
pub mod query;
#[cfg(not(loom))]
pub mod query_pool;
#[cfg(not(loom))]
pub mod scan;
#[cfg(not(loom))]
pub mod server;
#[cfg(not(loom))]
pub mod service;
#[cfg(not(loom))]
pub mod shard;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod trace;
#[cfg(not(loom))]
pub mod verify;

//! MetricsStream: receives batches of metrics over HTTP, rate-limits each client, and appends them to a readable log.
//! ARCHITECTURE.md has the map of the modules and the path of a request through them.

#![cfg_attr(loom, allow(unused))]

mod dirent;
mod disk;
pub mod limits;
pub mod log;
pub mod priority;
pub mod segment;

// The model checker (`--cfg loom`) compiles the lock-free modules above and their dependencies only. The others have
// nothing to model, and some of their dependencies react to the flag themselves.
#[cfg(not(loom))]
pub mod cli;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod doctor;
#[cfg(not(loom))]
pub mod listening;
#[cfg(not(loom))]
pub mod logging;
#[cfg(not(loom))]
mod memory;
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
pub mod systemd;
#[cfg(not(loom))]
pub mod trace;
#[cfg(not(loom))]
pub mod verify;

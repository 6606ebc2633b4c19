//! MetricsStream: receives batches of metrics over HTTP, rate-limits each client, and appends them to a readable log.
//! ARCHITECTURE.md has the map of the modules and the path of a request through them.

pub mod limits;

pub mod cli;
pub mod config;
pub mod doctor;
pub mod forward;
pub mod listening;
pub mod logging;
mod memory;
pub mod profile;
mod progress;
mod protocols;
pub mod proxy;
pub mod query_pool;
pub mod server;
pub mod service;
pub mod shard;
pub mod stats;
pub mod systemd;
pub mod trace;
pub mod ui;
pub mod verify;
mod warnings;

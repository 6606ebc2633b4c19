//! MetricsStream: takes batches of metrics over HTTP, holds each client to its rate, and appends them to a log that a
//! person can read. See ARCHITECTURE.md for the map and for the line a request takes through it.

pub mod clock;
pub mod config;
mod disk;
pub mod doctor;
pub mod http;
pub mod limits;
pub mod log;
pub mod mail;
pub mod metric;
pub mod notify;
pub mod pipe;
pub mod priority;
pub mod query;
pub mod rate;
pub mod scan;
pub mod segment;
pub mod server;
pub mod service;
pub mod shard;
pub mod stats;
mod sync;
pub mod trace;
pub mod verify;

//! The queries of the server: the threads that run them, whose turn it is, and the way of a response to its connection.
//!
//! The map: `routes` (which requests are queries), `pool` (the threads), `schedule` (whose turn it is), `shares` (what
//! one client may have), `engine` (what one thread does), `log_stream` (lines of the log by position), `waiters`
//! (requests that wait for lines to be written, without a thread), `negotiation` (the format of the response),
//! `delivery` (a response on its way to its connection), `response_channel` (that way: a bounded channel from the
//! thread to the reactor). What is evaluated and how is [`query`]; what is counted is [`crate::stats::QueryStatus`].

mod delivery;
mod engine;
mod log_stream;
mod negotiation;
mod pool;
pub mod response_channel;
mod routes;
mod schedule;
mod shares;
mod waiters;

pub use delivery::{Prepared, Render};
pub use engine::LogEngine;
pub use log_stream::LogStream;
pub use pool::{Engine, Failure, Pause, Pool, PoolSetup, QuerySubmitter, Share};
pub use routes::{LOG_PATH, RawQuery, check_form, is_query};
pub use shares::{Full, Seat, Seats, Sharer};

//! The queries of the server: the threads that answer them, whose turn it is, and the way of a response to its connection.
//!
//! The map: `routes` (which requests are queries), `pool` (the threads), `schedule` (whose turn it is), `shares` (what one client may
//! have), `engine` (what one thread does), `negotiation` (the format of the response), `delivery` (a response on its way to its
//! connection), `response_channel` (that way: a bounded channel from the thread to the reactor). What is evaluated and how is
//! [`query`]; what is counted is [`crate::stats::QueryStatus`].

mod delivery;
mod engine;
mod negotiation;
mod pool;
pub mod response_channel;
mod routes;
mod schedule;
mod shares;

pub use delivery::{Prepared, Render};
pub use engine::LogEngine;
pub use pool::{Engine, Failure, Pool, PoolSetup, QuerySubmitter, Share};
pub use routes::{RawQuery, check_form, is_query};

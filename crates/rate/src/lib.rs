//! Exact rate limits per client, also when a client's connections are spread over cores, and totals of who was allowed
//! and who was refused, without ever blocking the request path.
//!
//! Owns the sliding-window log of every client ([`Limiter`]), the hash that identifies a client ([`ClientKeys`]), the
//! rings that carry allow and deny events off the reactors ([`event_ring`]) and the totals per client that are kept
//! from them ([`TopClients`]). Takes `now` from its caller: it reads no clock, makes no system call of its own and does
//! not know HTTP. Depends on `wake` alone.

#![cfg_attr(loom, allow(unused))]

mod address;
mod events;
mod key;
mod limiter;
pub mod limits;
mod stamps;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;
mod top_clients;
mod window;

pub use address::ClientAddress;
pub use events::{Event, EventKind, EventReceiver, EventSender, event_ring};
pub use key::{ClientKey, ClientKeys, has_credentials};
pub use limiter::{Charge, Decision, Limiter, LimiterSetup};
pub use table::Standing;
pub use top_clients::{ClientTotals, TopClients, Totals};

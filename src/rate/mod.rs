//! Holds each client to its rate, exactly, also when its connections are spread over cores; and tells who was allowed and
//! who was refused without ever making the request path wait.
//!
//! Owns the sliding-window log of every client ([`Limiter`]), the hash that stands for a client ([`ClientKeys`]), the
//! rings that carry allow and deny events off the reactors ([`event_ring`]) and the book kept from them ([`Ledger`]).
//! Takes `now` from its caller: it reads no clock, makes no system call of its own and knows no HTTP.

mod events;
mod key;
mod ledger;
mod limiter;
mod stamps;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;
mod window;

pub use events::{Event, EventKind, EventReceiver, EventSender, event_ring};
pub use key::{ClientKey, ClientKeys, has_credentials};
pub use ledger::{ClientTotals, Ledger, Totals};
pub use limiter::{Charge, Decision, Limiter, LimiterSetup};
pub use table::Standing;

//! The protocols that agents speak, beside JSON batches: which request is of which, and what differs between them.
//!
//! One data path serves all: a request is admitted and charged, its body is decoded straight into the ring to the
//! writer, and its response waits for the acknowledgement level. What differs is in one table of [`Dialect`]s: the form
//! of errors, the bound of a body, and the status for a client over its rate; and in [`Payload`], which says how a body
//! is decoded.
//!
//! The map: `dialect` (the table), `route` (request to payload), `decoders` (payload to decoder), `response` (what was
//! decoded to response), `companion` (requests that agents make beside sending metrics), `credentials` (where each
//! protocol puts its key), `misspelled` (parameters that are nearly ours).

mod companion;
pub mod credentials;
mod decoders;
mod dialect;
mod misspelled;
mod response;
mod route;

pub use companion::Companion;
pub use decoders::{Decoders, Yield};
pub use dialect::Dialect;
pub use misspelled::misspelled;
pub use response::respond;
pub use route::{Payload, dialect_of, payload_of};

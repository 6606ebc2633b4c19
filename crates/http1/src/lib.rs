//! HTTP/1: bytes to requests, responses to bytes, and the state machine of one connection.
//!
//! Owns the whole of the protocol and nothing else: no syscall, clock, thread or reactor is named here, and nothing
//! below knows what a metric is. The owner of a connection hands in the bytes that arrived and a [`Service`]; it gets
//! back the bytes to send and a [`Progress`] that says what to do next.
//!
//! Promises:
//! - A request that arrives whole in one slice is judged and served over that slice: no copy, no allocation.
//! - The bytes of a connection may be cut anywhere; the requests, their bodies and the responses are the same.
//! - What could be read in two ways is refused, never guessed at (RFC 9112, 11.2: request smuggling).
//! - No peer can make it panic, loop without end, or hold more memory than `limits.rs` states.
//!
//! The map: `head` (request line and fields), `parameters` (query strings), `fields` (grammar of single fields),
//! `chunked` (chunked bodies), `content` (gzip, zstd, deflate, snappy), `response` (responses), `rules` (what differs
//! between routes), `piece` (of responses without a known length), `accept` (content negotiation), `error` (every
//! refusal, and its status), `buffers` (memory that connections of one core share), `connection` (the state machine
//! that ties them together).

pub mod accept;
mod buffers;
mod chunked;
mod connection;
mod content;
mod cors;
mod date;
mod error;
mod fields;
mod head;
pub mod limits;
mod memo;
mod parameters;
mod piece;
mod response;
mod rules;
mod status;

pub use buffers::{Bounds, HttpContext};
pub use chunked::Chunked;
pub use connection::{Burst, Connection, Deadline, Disposition, Next, Progress, Service};
pub use cors::{Cors, Origin, OriginError};
pub use date::{format_date, parse_date};
pub use error::{CONTENT_INDEX, HttpError, REASONS};
pub use fields::LastValues;
pub use head::{Fields, Head, HeadId, Method, Version};
pub use parameters::{Encoded, Quoted, parameters};
pub use piece::Piece;
pub use response::{ReservedField, Responder, Served};
pub use rules::{Codings, ErrorBody, Rules, Schemes};
pub use status::Status;

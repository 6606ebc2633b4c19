//! The HTTP crate from outside: bytes go in, recorded calls and bytes come out. No socket, no clock.
#![expect(
    clippy::unwrap_used,
    reason = "what fails to unwrap here is a test that fails; the lint looks into test functions only, not into what they share"
)]

mod chunked;
mod content;
mod corpus;
mod cuts;
mod known_heads;
mod memory;
mod owner;
mod random;
mod sequences;
mod statuses;

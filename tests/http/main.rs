//! The HTTP room from outside: bytes go in, recorded calls and bytes come out. No socket, no clock.

mod chunked;
mod content;
mod corpus;
mod cuts;
mod owner;
mod random;
mod sequences;
mod statuses;

//! The kit that tests of several crates share. For `[dev-dependencies]`, and for `torture` and `bench`, which are tests
//! themselves: no crate of the server depends on it (tests/tidy/borders.rs), and it depends on none of them, so that it
//! shares no code with what is tested.
//!
//! The map: `server` (a process: started, observed, stopped, killed) and `transcript` (its output), `process` (signals,
//! limits, terminals, threads that stand still), `http` (a client that is strict about responses), `log` (the lines of
//! a data directory), `metric` and `json` (what a line and a batch contain), `allocations` (an allocator that counts),
//! `random` (numbers from a seed), `protobuf` (the fields of a message).
//!
//! Apart from it stay: the client of `sim`, whose sockets and threads are simulated; the source of chance of `machine`,
//! which is a part of the simulated machine; the choices of `fuzz`, which is not in the workspace; and the receivers of
//! `tests/server` and `torture`, which are servers and no clients.

pub mod allocations;
pub mod http;
pub mod json;
pub mod log;
pub mod metric;
pub mod process;
pub mod protobuf;
pub mod random;
pub mod server;
mod transcript;

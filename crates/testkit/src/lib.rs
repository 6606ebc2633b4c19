//! The kit that tests of several crates share. For `[dev-dependencies]`, and for `torture` and `bench`, which are tests
//! themselves: no crate of the server depends on it (tests/tidy/borders.rs), and it depends on none of them, so that it
//! shares no code with what is tested.
//!
//! The map: `server` (the binary: started, killed, stopped), `process` (signals, limits, terminals, threads that are
//! held), `http` (a client that is strict about responses), `log` (the lines of a data directory), `allocations` (an
//! allocator that counts), `random` (numbers from a seed).

pub mod allocations;
pub mod http;
pub mod log;
pub mod process;
pub mod random;
pub mod server;

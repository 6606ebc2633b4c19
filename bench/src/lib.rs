//! The instruments: what the benchmark programs share.
//!
//! `load_test` drives a server and reports what it did; `floor` is the least a server on this reactor can cost, and so
//! the denominator of every figure. Both are generic over the reactor's drivers and know the service only by its HTTP
//! contract.

pub mod big_log;
pub mod body;
pub mod compare;
pub mod cores;
pub mod decoders;
pub mod drivers;
pub mod head;
pub mod ladder;
pub mod load;
pub mod memory;
pub mod messages;
pub mod output;
pub mod parsers;
pub mod response;

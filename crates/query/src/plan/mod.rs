//! Plan of a query: its parameters, parsed and checked before anything is read.

pub mod filter;
pub mod labels;
pub mod moment;
pub mod parameters;
pub mod pattern;
pub mod request;

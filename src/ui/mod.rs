//! The live page: what a browser shows of this server, and the figures that it reads.
//!
//! `page` is the one document, made of `assets/` when the server starts.

mod page;

pub use page::{Page, PageRequest};

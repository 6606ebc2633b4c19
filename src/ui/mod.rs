//! The live page: what a browser shows of this server, and the figures that it reads.
//!
//! The map: `page` (the document, made of `assets/` when the server starts), `streams` (what it reads: the thread that
//! feeds all pages, and a reactor's way to it), `history` (what a page that opens late is shown of the time before),
//! `jobs` (what takes longer, on threads of its own: a profile, the doctor's report), `marks` (named spans of time).

mod history;
mod jobs;
mod marks;
mod page;
mod streams;

pub use jobs::{Examiner, Job};
pub use marks::MarkRequest;
pub use page::{Page, PageRequest};
pub use streams::{Live, LiveSetup, StreamOpener};

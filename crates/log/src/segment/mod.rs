//! The segments of the log on the disk: the active one, the sealed ones beside it, and the files that describe them.
//!
//! | file | what |
//! |---|---|
//! | `metrics.jsonl` | the active segment: the only one that is ever appended to |
//! | `metrics-20260102T030405.678Z.jsonl` | a sealed segment; the time is that of its sealing, and names sort by it |
//! | `metrics-20260102T030405.678Z.jsonl.zst` | the same, compressed: a zstd frame per block, `zstd -d` reads it |
//! | `metrics-20260102T030405.678Z.index.json` | its sidecar: counts, times, checksums and names, block by block |
//! | `metricstream.retired` | the name of the newest segment that retention has deleted |
//! | `*.tmp` | a file that is being made; useless after a crash |
//!
//! A sealed segment never changes: its lines are those of the active segment as they were, in their order. Where a
//! segment exists both plain and compressed, the compression was interrupted, and the plain one is to be read. The
//! sidecar is made after the sealing and can be made again from the segment at any time; a segment without one is only
//! slower to query.
//!
//! This module parses the log's lines. It does not know HTTP, rings or queries; it only ever reads the active segment.

mod age;
mod blocks;
mod catalog;
mod compress;
mod draft;
mod error;
pub mod frames;
mod hold;
mod index;
mod maintenance;
mod name;
mod open;
mod retention;
mod retired;
mod sidecar;
mod status;

pub use blocks::{BlockReader, Blocks};
pub use catalog::{Catalog, OtherFile, Segment};
pub use compress::compress;
pub use draft::Draft;
pub use error::SegmentError;
pub use hold::{Hold, Holds};
pub use index::{Indexer, index};
pub use maintenance::{DirectoryWatch, Maintenance, MaintenanceBell, MaintenanceSetup};
pub use name::{ACTIVE_NAME, SegmentFile, SegmentName, stamp};
pub use open::open_regular;
pub use retention::{Retention, retire};
pub use retired::{RETIRED_NAME, newest_retired};
pub use sidecar::{Block, Frame, Sidecar};
pub use status::MaintenanceStatus;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

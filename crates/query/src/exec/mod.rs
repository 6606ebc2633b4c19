//! The evaluation: a collector for each thread of the scan, what it keeps of each bucket, and how that is merged and
//! sorted.

pub mod accumulator;
pub mod budget;
pub mod collector;
pub mod evaluate;
pub mod exact;
pub mod groups;
pub mod number;
pub mod order;
pub mod samples;

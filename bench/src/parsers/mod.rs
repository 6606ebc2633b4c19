//! Parsers of a batch side by side: the service's own, the naive one it began from, and the general-purpose libraries
//! as a careful user would write them for this schema. `benchmark_json_parser` compares what they read, then times
//! them.
//!
//! All do the same work: they read every metric of a batch and hold it to the service's rules (a known type, a finite
//! value, a name of 1 to 255 bytes, 1 to 1,000 metrics, no tag twice), as far as each can. Two do not: [`Naive`]
//! checks neither syntax nor repeated tags, and [`Tape`] does nothing but parse. Where they differ in what they keep:
//!
//! - The service's parser keeps a value's digits and checks that they make a finite float. The others make a float of
//!   them, and the digits are lost: 4823947234.10 is written back as 4823947234.1, and 9007199254740993 as
//!   9007199254740992.
//! - A timestamp in RFC 3339 text is read by the service's parser alone; the others refuse it.

mod external;
mod inputs;
mod measure;
mod naive;
mod ours;
mod report;
mod serde_json;
mod simd_json;
mod sonic_rs;
mod typed;

pub use self::serde_json::SerdeJson;
pub use self::simd_json::{Tape, TapeRead, Typed as SimdJson};
pub use self::sonic_rs::SonicRs;
pub use external::External;
pub use inputs::{Input, built_in, from_file};
pub use measure::{Pace, Reading, Row, Table, Timing, compare, measure};
pub use naive::Naive;
pub use ours::{Encode, Ours};
pub use report::{compiled_for, gate, json, text};
pub use testkit::allocations::{CountingAllocator, allocations};

use metric::Kind;
use std::collections::HashSet;

/// One metric as a parser read it, for comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name, unescaped.
    pub name: String,
    /// Value as a float.
    pub value: f64,
    /// Type, or the default.
    pub kind: Kind,
    /// Epoch milliseconds, if sent.
    pub timestamp_ms: Option<i64>,
    /// Keys and values, unescaped, in the order they were sent.
    pub tags: Vec<(String, String)>,
}

/// A parser under test. What it may keep from batch to batch (buffers) it keeps in itself, as in a server.
pub trait BatchParser {
    /// Returns the name in the table.
    fn name(&self) -> &'static str;

    /// Reads a batch and checks it: the work that is timed. Gives the number of metrics.
    ///
    /// # Errors
    /// Says why it refuses the batch.
    fn parse(&mut self, body: &[u8]) -> Result<usize, String>;

    /// Reads a batch by the same code and gives out all of it; `None` from a parser that reads nothing out.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String>;

    /// Returns true if it times its walks through `input` itself, because it runs in another process.
    fn times_itself(&mut self, _input: &Input) -> bool {
        false
    }

    /// Walks through the input `walks` times and returns the nanoseconds this took; only of a parser that times itself.
    ///
    /// # Errors
    /// Says what went wrong.
    fn walks_ns(&mut self, _walks: u32) -> Result<u64, String> {
        Err("it does not time itself".to_owned())
    }
}

/// The candidate that the others are set in relation to.
pub const OURS: &str = "ours";
/// The candidate that the gate is about.
pub const NAIVE: &str = "naive find/substr";

/// All candidates, [`OURS`] first.
#[must_use]
pub fn candidates() -> Vec<Box<dyn BatchParser>> {
    vec![
        Box::new(Ours::default()),
        Box::new(Encode::default()),
        Box::new(Naive),
        Box::new(SerdeJson),
        Box::new(SonicRs),
        Box::new(SimdJson::default()),
        Box::new(TapeRead::default()),
        Box::new(Tape::default()),
    ]
}

/// Up to so many keys are compared pair by pair, which is cheaper than hashing them.
const KEYS_PAIRWISE: usize = 16;

/// Returns true if one of `count` keys occurs twice, as a careful user of a library would determine it.
fn has_repeated<'a>(count: usize, mut keys: impl Iterator<Item = &'a str>) -> bool {
    if count > KEYS_PAIRWISE {
        let mut seen = HashSet::with_capacity(count);
        return !keys.all(|key| seen.insert(key));
    }
    let mut seen = [""; KEYS_PAIRWISE];
    keys.enumerate().any(|(index, key)| {
        seen[index] = key;
        seen[..index].contains(&key)
    })
}

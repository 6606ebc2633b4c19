//! serde_json, typed and borrowed. Its floats of many digits are at times off by two units in the last place
//! (its feature `float_roundtrip` would fix that, and cost time).

use super::{BatchParser, Sample, typed::Batch};
use std::hint::black_box;

/// See the module.
#[derive(Debug)]
pub struct SerdeJson;

fn read(body: &[u8]) -> Result<Batch<'_>, String> {
    let batch: Batch = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    batch.check()?;
    Ok(batch)
}

impl BatchParser for SerdeJson {
    fn name(&self) -> &'static str {
        "serde_json"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        read(body).map(|batch| black_box(batch).metrics())
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        read(body).map(|batch| Some(batch.samples()))
    }
}

//! sonic-rs, typed and borrowed. It chooses its vector instructions when it is compiled: see `--help` on `target-cpu`.

use super::{BatchParser, Sample, typed::Batch};
use std::hint::black_box;

/// See the module.
#[derive(Debug)]
pub struct SonicRs;

fn read(body: &[u8]) -> Result<Batch<'_>, String> {
    let batch: Batch = sonic_rs::from_slice(body).map_err(|error| error.to_string())?;
    batch.check()?;
    Ok(batch)
}

impl BatchParser for SonicRs {
    fn name(&self) -> &'static str {
        "sonic-rs"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        read(body).map(|batch| black_box(batch).metrics())
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        read(body).map(|batch| Some(batch.samples()))
    }
}

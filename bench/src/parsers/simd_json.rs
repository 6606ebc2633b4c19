//! simd-json in three ways: typed, as a tape whose fields are read out and checked, and as a bare tape of which
//! nothing is read. It writes into its input, so a server's receive buffer, which may hold the next request too, has
//! to be copied first: the copy is part of the price, and saves the one that the library would make for its padding.
//! Buffers and tape are kept from batch to batch.

use super::{BatchParser, Sample, has_repeated, typed::Batch};
use metric::{
    Kind,
    limits::{BATCH_METRICS_DEFAULT, NAME_BYTES_DEFAULT, TAGS_DEFAULT},
};
use simd_json::{Buffers, Deserializer, INPUT_PADDING, fill_tape_padded, prelude::*, tape};
use std::hint::black_box;

/// Buffers that are kept from batch to batch.
#[derive(Default)]
struct Kept {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Option<simd_json::Tape<'static>>,
}

impl Kept {
    /// Parses a copy of `body` into a tape and has it read.
    fn with_tape<T>(
        &mut self,
        body: &[u8],
        read: impl FnOnce(&simd_json::Tape) -> Result<T, String>,
    ) -> Result<T, String> {
        self.parse(body, |tape| {
            let result = read(&tape);
            (result, tape)
        })
    }

    /// The same for a reader that takes the tape and gives it back.
    fn parse<T>(
        &mut self,
        body: &[u8],
        read: impl for<'a> FnOnce(simd_json::Tape<'a>) -> (Result<T, String>, simd_json::Tape<'a>),
    ) -> Result<T, String> {
        self.input.clear();
        self.input.extend_from_slice(body);
        self.input.resize(body.len() + INPUT_PADDING, 0);
        let mut tape = self.tape.take().unwrap_or_else(simd_json::Tape::null).reset();
        let filled = fill_tape_padded(&mut self.input, body.len(), &mut self.buffers, &mut tape);
        let (result, tape) = match filled {
            Ok(()) => read(tape),
            Err(error) => (Err(error.to_string()), tape),
        };
        self.tape = Some(tape.reset());
        result
    }
}

/// Typed and borrowed.
#[derive(Default)]
pub struct Typed(Kept);

impl Typed {
    fn read<T>(&mut self, body: &[u8], take: impl FnOnce(Batch) -> T) -> Result<T, String> {
        self.0.parse(body, |tape| {
            let mut deserializer = Deserializer::from_tape(tape);
            let batch = serde::Deserialize::deserialize(&mut deserializer).map_err(|error| error.to_string());
            let result = batch.and_then(|batch: Batch| batch.check().map(|()| take(batch)));
            (result, deserializer.into_tape())
        })
    }
}

impl BatchParser for Typed {
    fn name(&self) -> &'static str {
        "simd-json"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        self.read(body, |batch| black_box(batch).metrics())
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        self.read(body, |batch| Some(batch.samples()))
    }
}

/// A tape of which nothing is read: not a parser of batches, but the least that one with this library can cost.
#[derive(Default)]
pub struct Tape(Kept);

impl BatchParser for Tape {
    fn name(&self) -> &'static str {
        "simd-json bare tape"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        self.0.with_tape(body, |tape| Ok(black_box(tape).0.len()))
    }

    fn samples(&mut self, _: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        Ok(None)
    }
}

/// A tape, and the batch read out of it without a serde in between.
#[derive(Default)]
pub struct TapeRead(Kept);

/// A metric on the tape: its tags stay where they are.
struct Metric<'tape, 'input> {
    name: &'input str,
    value: f64,
    kind: Kind,
    timestamp_ms: Option<i64>,
    tags: Option<tape::Object<'tape, 'input>>,
}

fn metric<'tape, 'input>(value: tape::Value<'tape, 'input>) -> Option<Metric<'tape, 'input>> {
    let (mut name, mut number, mut kind, mut timestamp_ms, mut tags) = (None, None, None, None, None);
    for (key, value) in &value.as_object()? {
        let repeated = match key {
            "name" => name.replace(value.into_string()?).is_some(),
            "value" => number.replace(value.cast_f64()?).is_some(),
            "type" => {
                let sent = value.as_str()?;
                kind.replace(Kind::OF_JSON.into_iter().find(|kind| kind.name() == sent)?).is_some()
            }
            "timestamp" => timestamp_ms.replace(value.as_i64()?).is_some(),
            "tags" => tags.replace(value.as_object()?).is_some(),
            _ => false,
        };
        if repeated {
            return None;
        }
    }
    let (name, value): (&str, f64) = (name?, number?);
    let tags_are_good = tags.as_ref().is_none_or(|tags: &tape::Object| {
        tags.len() <= TAGS_DEFAULT
            && tags.values().all(|value| value.is_str())
            && !has_repeated(tags.len(), tags.keys())
    });
    let good = (1..=NAME_BYTES_DEFAULT).contains(&name.len()) && value.is_finite() && tags_are_good;
    good.then_some(Metric { name, value, kind: kind.unwrap_or_default(), timestamp_ms, tags })
}

/// Reads the batch out of a tape, one metric at a time, as the service's parser gives them.
fn read(tape: &simd_json::Tape, mut take: impl FnMut(&Metric)) -> Result<usize, String> {
    let batch = tape.as_value();
    let metrics = batch.get("metrics").and_then(|metrics| metrics.as_array()).ok_or("no array of metrics")?;
    if !(1..=BATCH_METRICS_DEFAULT).contains(&metrics.len()) {
        return Err(format!("{} metrics", metrics.len()));
    }
    for (index, value) in metrics.iter().enumerate() {
        take(&metric(value).ok_or_else(|| format!("metrics[{index}] breaks a rule"))?);
    }
    Ok(metrics.len())
}

fn sample(metric: &Metric) -> Sample {
    let tags = metric.tags.iter().flatten();
    Sample {
        name: metric.name.to_owned(),
        value: metric.value,
        kind: metric.kind,
        timestamp_ms: metric.timestamp_ms,
        tags: tags.map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned())).collect(),
    }
}

impl BatchParser for TapeRead {
    fn name(&self) -> &'static str {
        "simd-json tape"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        self.0.with_tape(body, |tape| {
            read(tape, |metric| {
                black_box(metric);
            })
        })
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        let mut samples = Vec::new();
        self.0.with_tape(body, |tape| read(tape, |metric| samples.push(sample(metric))))?;
        Ok(Some(samples))
    }
}

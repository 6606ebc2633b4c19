//! The service's parser, by itself and with the encoder behind it, as the service uses them.

use super::{BatchParser, OURS, Sample};
use metric::{BatchEncoder, Bounds, Metric, Parser, Scratch, Text};
use std::hint::black_box;

/// Parse and validate.
#[derive(Default)]
pub struct Ours {
    /// Lent to the parser of each batch; made by the first.
    scratch: Option<Scratch>,
}

impl Ours {
    fn read(&mut self, body: &[u8], mut take: impl FnMut(&Metric)) -> Result<usize, String> {
        let bounds = Bounds::default();
        let scratch = self.scratch.get_or_insert_with(|| Scratch::new(&bounds));
        let mut parser = Parser::new(body, bounds, scratch);
        let mut metrics = 0;
        loop {
            match parser.next_metric() {
                Ok(Some(metric)) => take(metric),
                Ok(None) => return Ok(metrics),
                Err(error) => return Err(error.to_string()),
            }
            metrics += 1;
        }
    }
}

impl BatchParser for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        self.read(body, |metric| {
            black_box(metric);
        })
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        let mut samples = Vec::new();
        self.read(body, |metric| samples.push(sample(metric)))?;
        Ok(Some(samples))
    }
}

fn sample(metric: &Metric) -> Sample {
    let digits = String::from_utf8_lossy(metric.value);
    Sample {
        name: plain(&metric.name),
        value: digits.parse().unwrap_or(f64::NAN),
        kind: metric.kind,
        timestamp_ms: metric.timestamp_ms,
        tags: metric.tags.iter().map(|tag| (plain(&tag.key), plain(&tag.value))).collect(),
    }
}

fn plain(text: &Text) -> String {
    String::from_utf8_lossy(&text.decoded().collect::<Vec<u8>>()).into_owned()
}

/// Parse, validate and encode to the lines of the log: all that the service does with a batch.
pub struct Encode {
    encoder: BatchEncoder,
    /// Stands for the ring's reserved bytes.
    lines: Vec<u8>,
}

impl Default for Encode {
    fn default() -> Self {
        Self { encoder: BatchEncoder::new(Bounds::default()), lines: Vec::new() }
    }
}

/// When the batches arrive: a moment that no batch was sent with.
const ARRIVAL_MS: i64 = 1;

impl Encode {
    fn encode(&mut self, body: &[u8]) -> Result<(u32, &[u8]), String> {
        let bytes_max = self.encoder.encoded_bytes_max(body.len());
        if self.lines.len() < bytes_max {
            self.lines.resize(bytes_max, 0);
        }
        let encoded = self.encoder.encode(body, ARRIVAL_MS, &mut self.lines).map_err(|error| error.to_string())?;
        Ok((encoded.metrics, &self.lines[..encoded.bytes]))
    }
}

impl BatchParser for Encode {
    fn name(&self) -> &'static str {
        "ours + encode"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        let (metrics, lines) = self.encode(body)?;
        black_box(lines);
        Ok(metrics as usize)
    }

    /// Parses the lines that were written: each is a metric, of which the service's parser can make a batch again.
    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        let (_, lines) = self.encode(body)?;
        let metrics = lines.trim_ascii_end().split(|&byte| byte == b'\n').collect::<Vec<_>>().join(&b',');
        let batch = [b"{\"metrics\":[", metrics.as_slice(), b"]}"].concat();
        let mut samples = Vec::new();
        Ours::default().read(&batch, |metric| samples.push(sample(metric)))?;
        for sample in &mut samples {
            sample.timestamp_ms = sample.timestamp_ms.filter(|&sent_ms| sent_ms != ARRIVAL_MS);
        }
        Ok(Some(samples))
    }
}

//! Lines of the log as a remote write request: the name becomes `__name__`, tags become labels, sorted by name.
//!
//! What a receiver of version 1.0 refuses is mapped: a character that is not allowed in a name becomes an underscore;
//! a label without a value is left out; values of labels whose names became equal are joined by a semicolon. Of equal
//! series and milliseconds in one batch, only the last is sent, in the place of the first.

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use metric::{
    Line, STALE_NAN_BITS, Text,
    protocol::remote_write::encode::{EncodedLabels, put_series},
};
use std::{hash::BuildHasher, ops::Range};

/// The bits of a NaN that is a value, as Prometheus has them.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;
const NAME: &str = "__name__";

/// A sample of a batch.
#[derive(Debug)]
struct Sample {
    /// Its labels, in the batch's.
    labels: Range<usize>,
    value_bits: u64,
    timestamp_ms: i64,
}

/// A batch that is being made, with memory that batches share.
#[derive(Debug, Default)]
pub struct Batch {
    /// Labels of all samples, encoded.
    labels: Vec<u8>,
    samples: Vec<Sample>,
    /// Indexes of the samples by series and millisecond.
    known: HashTable<usize>,
    hasher: RandomState,
    /// Labels of the line in hand, by name.
    line: Vec<(String, String)>,
    encoded: EncodedLabels,
    superseded: usize,
}

impl Batch {
    /// Empties the batch.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.known.clear();
        self.superseded = 0;
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Number of samples that a later one took the place of.
    pub fn superseded(&self) -> usize {
        self.superseded
    }

    /// Adds a line.
    pub fn push(&mut self, line: &Line<'_>) {
        self.encode_labels(line);
        let (value_bits, timestamp_ms) = (value_bits(line), line.timestamp_ms);
        let hash_of = |labels: &[u8], timestamp_ms: i64| self.hasher.hash_one((labels, timestamp_ms));
        let (all, samples, own) = (&self.labels, &self.samples, self.encoded.bytes());
        let labels_of = |index: usize| &all[samples[index].labels.clone()];
        let entry = self.known.entry(
            hash_of(own, timestamp_ms),
            |&index| samples[index].timestamp_ms == timestamp_ms && labels_of(index) == own,
            |&index| hash_of(labels_of(index), samples[index].timestamp_ms),
        );
        match entry {
            Entry::Occupied(entry) => {
                let index = *entry.get();
                self.samples[index].value_bits = value_bits;
                self.superseded += 1;
            }
            Entry::Vacant(entry) => {
                entry.insert(samples.len());
                let begin = self.labels.len();
                self.labels.extend_from_slice(own);
                self.samples.push(Sample { labels: begin..self.labels.len(), value_bits, timestamp_ms });
            }
        }
    }

    /// Writes the request into `request`, not compressed.
    pub fn write(&self, request: &mut Vec<u8>) {
        request.clear();
        for sample in &self.samples {
            put_series(request, &self.labels[sample.labels.clone()], sample.value_bits, sample.timestamp_ms);
        }
    }

    fn encode_labels(&mut self, line: &Line<'_>) {
        let name = decoded(line.name);
        self.line.clear();
        for (key, value) in line.tags() {
            let value = decoded(value);
            let key = sanitised(&decoded(key), false);
            if !value.is_empty() && key != NAME {
                self.line.push((key, value));
            }
        }
        self.line.push((NAME.to_owned(), sanitised(&name, true)));
        // Stable: values that are joined keep the order of their tags.
        self.line.sort_by(|one, other| one.0.cmp(&other.0));
        self.line.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1.push(';');
                kept.1.push_str(&next.1);
            }
            is_same
        });
        self.encoded.clear();
        for (name, value) in &self.line {
            self.encoded.push(name.as_bytes(), value.as_bytes());
        }
    }
}

/// The text of a string of a line, which is UTF-8.
fn decoded(raw: &[u8]) -> String {
    let text = Text::of_line(raw);
    if text.has_escapes() {
        String::from_utf8_lossy(&text.decoded().collect::<Vec<u8>>()).into_owned()
    } else {
        String::from_utf8_lossy(raw).into_owned()
    }
}

/// A name of which every character is allowed in one of a metric, or of a label: those have no colons.
fn sanitised(name: &str, is_metric: bool) -> String {
    let mut text = String::new();
    for (index, character) in name.chars().enumerate() {
        if index == 0 && character.is_ascii_digit() {
            text.push('_');
        }
        let is_allowed = character.is_ascii_alphanumeric() || (is_metric && character == ':');
        text.push(if is_allowed { character } else { '_' });
    }
    if text.is_empty() { "_".to_owned() } else { text }
}

fn value_bits(line: &Line<'_>) -> u64 {
    match line.value {
        _ if line.is_stale => STALE_NAN_BITS,
        b"\"NaN\"" => NAN_BITS,
        b"\"+Inf\"" => f64::INFINITY.to_bits(),
        b"\"-Inf\"" => f64::NEG_INFINITY.to_bits(),
        digits => {
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<f64>().ok());
            number.map_or(NAN_BITS, f64::to_bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: &str, second: u32, tags: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-01-02T03:04:{second:02}.678Z","name":"{name}","value":{value},"type":"gauge","tags":{{{tags}}}}}"#
        )
    }

    /// Labels and value bits of each sample.
    fn sent(lines: &[String]) -> (Vec<(Vec<u8>, u64)>, usize) {
        let mut batch = Batch::default();
        for line in lines {
            batch.push(&Line::parse(line.as_bytes()).unwrap());
        }
        let of = |sample: &Sample| (batch.labels[sample.labels.clone()].to_vec(), sample.value_bits);
        (batch.samples.iter().map(of).collect(), batch.superseded())
    }

    fn labels(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut encoded = EncodedLabels::default();
        labels.iter().for_each(|(name, value)| encoded.push(name.as_bytes(), value.as_bytes()));
        encoded.bytes().to_vec()
    }

    #[test]
    fn names_that_a_receiver_refuses_are_mapped() {
        let tags = r#""z.b":"2","a":"","z-b":"3","Z":"1","__name__":"x","1":"é""#;
        let (sent, _) = sent(&[line("cpu.load:x", "1", 5, tags)]);
        let expected = [("Z", "1"), ("_1", "é"), ("__name__", "cpu_load:x"), ("z_b", "2;3")];
        assert_eq!(sent[0].0, labels(&expected));
    }

    #[test]
    fn values_that_are_no_numbers_keep_their_bits() {
        let values = ["\"NaN\"", "\"NaN\",\"stale\":true", "\"+Inf\"", "\"-Inf\"", "-0.0", "1e3"];
        let lines: Vec<String> = (0..).zip(values).map(|(second, value)| line("m", value, second, "")).collect();
        let bits: Vec<u64> = sent(&lines).0.into_iter().map(|(_, bits)| bits).collect();
        let expected = [f64::INFINITY, f64::NEG_INFINITY, -0.0, 1000.0].map(f64::to_bits);
        assert_eq!(bits, [&[NAN_BITS, STALE_NAN_BITS][..], &expected].concat());
    }

    #[test]
    fn the_last_of_equal_samples_is_sent() {
        let lines = [line("m", "1", 5, ""), line("m", "2", 6, ""), line("n", "3", 5, ""), line("m", "4", 5, "")];
        let (sent, superseded) = sent(&lines);
        let values: Vec<f64> = sent.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
        assert_eq!((values, superseded), (vec![4.0, 2.0, 3.0], 1));
    }
}

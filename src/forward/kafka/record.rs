//! A line of the log as a record: its key, and its value.

use super::config::{Key, Value};
use crate::forward::{
    batch::{Batch, Place, Sharding},
    encoder::Encoder,
    format::Format,
};
use metric::{Line, Tags, Text, protocol::remote_write::encode::Put};

/// Makes records, with memory that is used again from line to line.
pub struct Records {
    key: Key,
    value: Value,
    key_bytes: Vec<u8>,
    batch: Batch,
    encoder: Encoder,
}

impl Records {
    /// Records with such keys and values.
    pub fn new(key: Key, value: Value) -> Self {
        Self { key, value, key_bytes: Vec::new(), batch: Batch::new(Sharding::over(1)), encoder: Encoder::new() }
    }

    /// The key and the value of a line, which is `text` in the log, without its line feed.
    pub fn record<'a>(&'a mut self, line: &Line<'_>, text: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        self.key_bytes.clear();
        let wanted = match &self.key {
            Key::Series => None,
            Key::Tag(name) => Tags::new(line.tags)
                .find(|(key, _)| Text::of_line(key).decoded().eq(name.bytes()))
                .map(|(_, value)| value),
        };
        match wanted {
            Some(value) => self.key_bytes.extend(Text::of_line(value).decoded()),
            None => self.key_bytes.extend_from_slice(format!("{:016x}", series_hash(line)).as_bytes()),
        }
        let value = match self.value {
            Value::Line => text,
            Value::RemoteWrite2 => {
                self.batch.clear();
                self.batch.push(line);
                self.encoder.assemble(&self.batch, 0, Place::BEGIN, 1, Format::V2, Put::All);
                self.encoder.message()
            }
        };
        (&self.key_bytes, value)
    }
}

/// A hash of a line's name and tags, whatever the order of these. It stays the same for ever, as the partition of a
/// series depends on it: FNV-1a with 64 bits, the tags' hashes added up.
fn series_hash(line: &Line<'_>) -> u64 {
    let tags = Tags::new(line.tags).map(|(key, value)| {
        // No byte of UTF-8 is 0xff: it ends the key.
        fnv(fnv(fnv(FNV_BASIS, key), &[0xff]), value)
    });
    let tags = tags.fold(0, u64::wrapping_add);
    fnv(fnv(FNV_BASIS, line.name), &tags.to_le_bytes())
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metric::{
        Bounds, LineSink,
        protocol::remote_write::{RemoteWrite, Written},
    };

    fn line(name: &str, tags: &str) -> String {
        let timestamp = "2026-01-02T03:04:05.678Z";
        format!(r#"{{"timestamp":"{timestamp}","name":"{name}","value":1.5,"type":"gauge","tags":{tags}}}"#)
    }

    fn key(key: Key, text: &str) -> String {
        let mut records = Records::new(key, Value::Line);
        let line = Line::parse(text.as_bytes()).unwrap();
        let (key, value) = records.record(&line, text.as_bytes());
        assert_eq!(value, text.as_bytes());
        String::from_utf8(key.to_vec()).unwrap()
    }

    #[test]
    fn the_key_of_a_series_stays_the_same_for_ever() {
        assert_eq!(fnv(FNV_BASIS, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(key(Key::Series, &line("m", "{}")), key(Key::Series, &line("m", "{}")));
        let (one, other) = (line("m", r#"{"a":"1","b":"2"}"#), line("m", r#"{"b":"2","a":"1"}"#));
        assert_eq!(key(Key::Series, &one), key(Key::Series, &other));
        for different in [r#"{"a":"2","b":"1"}"#, r#"{"a":"1"}"#, r#"{"a":"1b2"}"#, r#"{"a":"1","b":"2","c":""}"#] {
            assert_ne!(key(Key::Series, &one), key(Key::Series, &line("m", different)), "{different}");
        }
        assert_ne!(key(Key::Series, &one), key(Key::Series, &line("n", r#"{"a":"1","b":"2"}"#)));
    }

    #[test]
    fn the_key_of_a_tag_is_its_text() {
        let by_host = || Key::Tag("host".to_owned());
        assert_eq!(key(by_host(), &line("m", r#"{"a":"1","host":"x\"y"}"#)), "x\"y");
        assert_eq!(key(by_host(), &line("m", r#"{"a":"1"}"#)), key(Key::Series, &line("m", r#"{"a":"1"}"#)));
    }

    #[test]
    fn a_value_of_remote_write_is_a_request_of_one_sample() {
        let mut records = Records::new(Key::Series, Value::RemoteWrite2);
        for number in 0..3 {
            let text = line("m", &format!(r#"{{"i":"{number}"}}"#));
            let (_, value) = records.record(&Line::parse(text.as_bytes()).unwrap(), text.as_bytes());
            let mut out = vec![0; 4096];
            let mut sink = LineSink::new(&mut out, 0);
            let written = RemoteWrite::new(Bounds::default()).decode_v2(value, &mut sink).unwrap();
            assert_eq!(written, Written { samples: 1, histograms: 0, exemplars: 0 });
            let bytes = sink.decoded().bytes;
            assert_eq!(String::from_utf8_lossy(&out[..bytes]).trim_end(), text);
        }
    }
}

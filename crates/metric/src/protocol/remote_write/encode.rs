//! Encoder of remote write 1.0: a `prometheus.WriteRequest`, one series a sample, in the order given.

/// The labels of one series in the wire format, written once and used for each of its samples.
#[derive(Debug, Default)]
pub struct EncodedLabels(Vec<u8>);

impl EncodedLabels {
    /// Removes all labels.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends a label. The names have to be in their order.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(LABELS_KEY);
        put_varint(&mut self.0, (text_bytes(name) + text_bytes(value)) as u64);
        put_text(&mut self.0, NAME_KEY, name);
        put_text(&mut self.0, VALUE_KEY, value);
    }

    /// The labels as they are in a message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

// Keys of fields: the number of the field, and the wire type in the lowest three bits.
const TIMESERIES_KEY: u8 = 1 << 3 | 2;
const LABELS_KEY: u8 = 1 << 3 | 2;
const SAMPLES_KEY: u8 = 2 << 3 | 2;
const NAME_KEY: u8 = 1 << 3 | 2;
const VALUE_KEY: u8 = 2 << 3 | 2;
const SAMPLE_VALUE_KEY: u8 = 1 << 3 | 1;
const SAMPLE_TIMESTAMP_KEY: u8 = 2 << 3;

/// Appends a series with one sample to `request`. The value is given in its bits, as those of a stale marker matter.
pub fn put_series(request: &mut Vec<u8>, labels: &[u8], value_bits: u64, timestamp_ms: i64) {
    let timestamp = timestamp_ms.cast_unsigned();
    let sample_bytes = 1 + size_of::<u64>() + 1 + varint_bytes(timestamp);
    request.push(TIMESERIES_KEY);
    put_varint(request, (labels.len() + 1 + varint_bytes(sample_bytes as u64) + sample_bytes) as u64);
    request.extend_from_slice(labels);
    request.push(SAMPLES_KEY);
    put_varint(request, sample_bytes as u64);
    request.push(SAMPLE_VALUE_KEY);
    request.extend_from_slice(&value_bits.to_le_bytes());
    request.push(SAMPLE_TIMESTAMP_KEY);
    put_varint(request, timestamp);
}

/// Bytes of a text as a field.
fn text_bytes(text: &[u8]) -> usize {
    1 + varint_bytes(text.len() as u64) + text.len()
}

fn put_text(to: &mut Vec<u8>, key: u8, text: &[u8]) {
    to.push(key);
    put_varint(to, text.len() as u64);
    to.extend_from_slice(text);
}

fn varint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::protobuf::{Content, Message};

    fn fields(bytes: &[u8]) -> Vec<(u32, Content<'_>)> {
        let mut message = Message::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next_field().unwrap() {
            fields.push((field.number, field.content));
        }
        fields
    }

    fn nested<'a>(field: &(u32, Content<'a>)) -> Vec<(u32, Content<'a>)> {
        match field.1 {
            Content::Bytes(bytes) => {
                let mut message = Message::new(bytes);
                let mut fields = Vec::new();
                while let Some(field) = message.next_field().unwrap() {
                    fields.push((field.number, field.content));
                }
                fields
            }
            _ => panic!("no message: {field:?}"),
        }
    }

    #[test]
    fn an_encoded_series_is_read_back() {
        let long = vec![b'x'; 300];
        let mut labels = EncodedLabels::default();
        labels.push(b"__name__", b"up");
        labels.push(b"long", &long);
        for (bits, timestamp_ms) in [(0, 0), (crate::STALE_NAN_BITS, i64::MAX), (1.5_f64.to_bits(), -1)] {
            let mut request = Vec::new();
            put_series(&mut request, labels.bytes(), bits, timestamp_ms);
            let all = fields(&request);
            assert_eq!((all.len(), all[0].0), (1, 1));
            let series = nested(&all[0]);
            assert_eq!(nested(&series[0]), [(1, Content::Bytes(b"__name__")), (2, Content::Bytes(b"up"))]);
            assert_eq!(nested(&series[1]), [(1, Content::Bytes(b"long")), (2, Content::Bytes(&long))]);
            let sample = [(1, Content::Fixed64(bits)), (2, Content::Varint(timestamp_ms.cast_unsigned()))];
            assert_eq!(nested(&series[2]), sample);
        }
    }
}

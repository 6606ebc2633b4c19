//! The wire format of Protocol Buffers, written: <https://protobuf.dev/programming-guides/encoding/>. Fields with the
//! default value of their type are left out, as proto3 has it.

/// Appends fields to a message.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

/// Bytes that a nested message's length is given at first: enough for most.
const LENGTH_BYTES: usize = 1;

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// An integer, an enum or a boolean.
    pub fn varint_field(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, 0);
            self.varint(value);
        }
    }

    pub fn double_field(&mut self, number: u32, value: f64) {
        // Negative zero is not the default.
        if value.to_bits() != 0 {
            self.fixed64_in_oneof(number, value.to_bits());
        }
    }

    pub fn fixed64_field(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.fixed64_in_oneof(number, value);
        }
    }

    /// Eight bytes that are written whatever they are, as the members of a `oneof` are.
    pub fn fixed64_in_oneof(&mut self, number: u32, value: u64) {
        self.key(number, 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A string of any length: an empty one is left out by the callers that may.
    pub fn string_field(&mut self, number: u32, text: &str) {
        self.key(number, 2);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Integers, packed.
    pub fn packed_field(&mut self, number: u32, values: &[u32]) {
        if !values.is_empty() {
            self.message_field(number, |packed| values.iter().for_each(|value| packed.varint(u64::from(*value))));
        }
    }

    /// A message, which `write` writes.
    pub fn message_field(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        self.key(number, 2);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        write(self);
        let length = self.bytes.len() - begin - LENGTH_BYTES;
        let mut prefix = Self::default();
        prefix.varint(length as u64);
        // A longer length moves the message.
        self.bytes.splice(begin..begin + LENGTH_BYTES, prefix.bytes);
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metric::protocol::protobuf::{Content, Message};

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.varint_field(1, 300);
        writer.varint_field(2, 0);
        writer.double_field(3, 1.5);
        writer.double_field(4, 0.0);
        writer.double_field(5, -0.0);
        let long = "x".repeat(200);
        writer.message_field(6, |inner| {
            inner.string_field(1, &long);
            inner.message_field(2, |_| ());
        });
        writer.packed_field(7, &[1, 0, 1000]);
        writer.fixed64_in_oneof(8, 0);
        let bytes = writer.into_bytes();
        let mut message = Message::new(&bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next_field().unwrap() {
            fields.push((field.number, field.content));
        }
        let inner = [&[0x0a, 200, 1][..], long.as_bytes(), &[0x12, 0]].concat();
        let expected = [
            (1, Content::Varint(300)),
            (3, Content::Fixed64(1.5_f64.to_bits())),
            (5, Content::Fixed64((-0.0_f64).to_bits())),
            (6, Content::Bytes(&inner)),
            (7, Content::Bytes(&[1, 0, 0xe8, 7])),
            (8, Content::Fixed64(0)),
        ];
        assert_eq!(fields, expected);
    }
}

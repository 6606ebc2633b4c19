//! The wire format of Protocol Buffers: fields of a message, borrowed from the body, read in one pass.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. As in the reference implementations, a field may come
//! in any order and any number of times, unknown ones are ignored, and the deprecated groups are refused.

use crate::DecodeError;
use crate::sink::Part;

/// The content of a field, by its wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content<'a> {
    /// Wire type 0: an integer, an enum or a boolean.
    Varint(u64),
    /// Wire type 1: a double or a fixed integer, little-endian.
    Fixed64(u64),
    /// Wire type 2: a string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5: a float or a fixed integer, little-endian.
    Fixed32(u32),
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    /// Number of the field, at least 1.
    pub number: u32,
    /// Content of the field.
    pub content: Content<'a>,
}

impl<'a> Content<'a> {
    /// A string, bytes or a message; `None` if the wire type is another one.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// A varint.
    #[inline]
    #[must_use]
    pub const fn varint(self) -> Option<u64> {
        if let Self::Varint(integer) = self { Some(integer) } else { None }
    }

    /// A double.
    #[inline]
    #[must_use]
    pub const fn double(self) -> Option<f64> {
        if let Self::Fixed64(bits) = self { Some(f64::from_bits(bits)) } else { None }
    }
}

/// The fields of a message, in the order of the wire. The offsets in errors count from the beginning of the body, which
/// the messages within it are slices of.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    rest: &'a [u8],
}

impl<'a> Message<'a> {
    /// The fields of `bytes`.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// A text that says what is wrong: a varint or a length without end, a group, a field number of 0.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, &'static str> {
        match self.plain_field() {
            Some((number, content, rest)) => {
                self.rest = rest;
                Ok(Some(Field { number, content }))
            }
            None => self.any_field(),
        }
    }

    /// Most fields of what agents send: a string or message of less than 16 KiB, a small integer, or a double, with a
    /// key of one byte.
    #[inline]
    fn plain_field(&self) -> Option<(u32, Content<'a>, &'a [u8])> {
        let [key @ 0x08..0x80, rest @ ..] = self.rest else { return None };
        let (content, rest) = match (key & 7, rest) {
            (0, [integer @ 0..0x80, rest @ ..]) => (Content::Varint(u64::from(*integer)), rest),
            (1, rest) => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Content::Fixed64(u64::from_le_bytes(*bits)), rest)
            }
            (2, [length @ 0..0x80, rest @ ..]) => {
                let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
                (Content::Bytes(bytes), rest)
            }
            (2, [low, high @ 0..0x80, rest @ ..]) => {
                let length = usize::from(low & 0x7f) | usize::from(*high) << 7;
                let (bytes, rest) = rest.split_at_checked(length)?;
                (Content::Bytes(bytes), rest)
            }
            _ => return None,
        };
        Some((u32::from(*key >> 3), content, rest))
    }

    fn any_field(&mut self) -> Result<Option<Field<'a>>, &'static str> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| "a field number is out of range")?;
        if number == 0 || number >= 1 << 29 {
            return Err("a field number is out of range");
        }
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                if length > self.rest.len() {
                    return Err(TRUNCATED);
                }
                let (bytes, rest) = self.rest.split_at(length);
                self.rest = rest;
                Content::Bytes(bytes)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err("a field has an unsupported wire type"),
        };
        Ok(Some(Field { number, content }))
    }

    /// The content of the next field if its key is `key`, of one byte and the wire type of messages, and it is shorter
    /// than 16 KiB; if not, nothing is taken.
    #[inline]
    pub(super) fn next_with_key(&mut self, key: u8) -> Option<&'a [u8]> {
        let (length, behind) = self.length_with_key(key)?;
        let (content, rest) = behind.split_at_checked(length)?;
        self.rest = rest;
        Some(content)
    }

    /// As [`next_with_key`](Self::next_with_key), with the memory behind the content.
    #[inline]
    pub(super) fn next_part_with_key(&mut self, key: u8) -> Option<Part<'a>> {
        let (length, from_here) = self.length_with_key(key)?;
        self.rest = from_here.get(length..)?;
        Some(Part::new(from_here, length))
    }

    /// The length that a field with this key has, and what is behind it.
    #[inline(always)]
    fn length_with_key(&self, key: u8) -> Option<(usize, &'a [u8])> {
        match self.rest {
            [first, length @ 0..0x80, rest @ ..] if *first == key => Some((usize::from(*length), rest)),
            [first, low, high @ 0..0x80, rest @ ..] if *first == key => {
                Some((usize::from(low & 0x7f) | usize::from(*high) << 7, rest))
            }
            _ => None,
        }
    }

    /// A varint of at most 10 bytes.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, &'static str> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(*second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has one bit left in 64.
            if index == 9 && byte > 1 {
                return Err("a varint is longer than 64 bits");
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { TRUNCATED } else { "a varint is longer than 64 bits" })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*array)
    }

    /// The bytes that are left.
    #[inline]
    #[must_use]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Drops `bytes` bytes at the front, which are known to be whole fields.
    #[inline]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// True if nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The offset in `body`, which this message is a part of, at which the next field begins.
    #[must_use]
    pub fn offset_in(&self, body: &[u8]) -> usize {
        (self.rest.as_ptr() as usize).saturating_sub(body.as_ptr() as usize).min(body.len())
    }

    /// The next field, with the error that a decoder returns for the whole body.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`], as [`next_field`](Self::next_field) says.
    #[inline]
    pub fn next_of(&mut self, body: &[u8]) -> Result<Option<Field<'a>>, DecodeError> {
        let at = self.rest;
        match self.next_field() {
            Ok(field) => Ok(field),
            Err(text) => Err(DecodeError::Malformed { byte: Message::new(at).offset_in(body), text }),
        }
    }
}

const TRUNCATED: &str = "the message is truncated";

/// Numbers of a packed or repeated field: calls `take` for each varint of `content`.
///
/// # Errors
/// As [`Message::next_field`], or a wire type that is none of integers.
pub fn each_varint(content: Content<'_>, mut take: impl FnMut(u64)) -> Result<(), &'static str> {
    match content {
        Content::Varint(integer) => take(integer),
        Content::Bytes(packed) => {
            let mut packed = Message::new(packed);
            while !packed.is_empty() {
                take(packed.varint()?);
            }
        }
        _ => return Err("a field has an unsupported wire type"),
    }
    Ok(())
}

/// As [`each_varint`], for doubles and 64-bit fixed integers, as bits.
///
/// # Errors
/// As [`Message::next_field`], or a wire type that is none of these.
pub fn each_fixed64(content: Content<'_>, mut take: impl FnMut(u64)) -> Result<(), &'static str> {
    match content {
        Content::Fixed64(bits) => take(bits),
        Content::Bytes(packed) => {
            let (numbers, []) = packed.as_chunks() else { return Err(TRUNCATED) };
            numbers.iter().for_each(|&number| take(u64::from_le_bytes(number)));
        }
        _ => return Err("a field has an unsupported wire type"),
    }
    Ok(())
}

/// The signed integer of a zigzag varint (`sint32`, `sint64`).
#[must_use]
pub const fn zigzag(integer: u64) -> i64 {
    (integer >> 1).cast_signed() ^ -(integer & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, &'static str> {
        let mut message = Message::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next_field()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let bytes = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02ab\x25\x02\0\0\0";
        assert_eq!(
            fields(bytes).unwrap(),
            [
                Field { number: 1, content: Content::Varint(150) },
                Field { number: 2, content: Content::Fixed64(1) },
                Field { number: 3, content: Content::Bytes(b"ab") },
                Field { number: 4, content: Content::Fixed32(2) },
            ]
        );
    }

    #[test]
    fn malformed_messages_are_refused() {
        for (bytes, integer) in [(&b"\x08\x7f"[..], 127), (b"\x08\x80\x01", 128), (b"\x08\xff\x7f", 16383)] {
            assert_eq!(fields(bytes).unwrap(), [Field { number: 1, content: Content::Varint(integer) }]);
        }
        for bytes in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x11\x01\0\0",
            b"\x1a\x05ab",
            b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x03",
            b"\x04",
            b"\x00\x01",
            b"\x26",
        ] {
            assert!(fields(bytes).is_err(), "{bytes:x?}");
        }
        assert_eq!(
            fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").unwrap()[0].content,
            Content::Varint(u64::MAX)
        );
    }

    #[test]
    fn zigzag_is_that_of_the_specification() {
        for (from, to) in [(0, 0), (1, -1), (2, 1), (3, -2), (0xffff_fffe, 0x7fff_ffff), (u64::MAX, i64::MIN)] {
            assert_eq!(zigzag(from), to);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = fields(&bytes);
            let _ = each_varint(Content::Bytes(&bytes), |_| ());
            let _ = each_fixed64(Content::Bytes(&bytes), |_| ());
        }
    }
}

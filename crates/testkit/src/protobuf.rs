//! A reader of protobuf messages, field by field (protobuf.dev, "Encoding"). It shares no code with the server.

/// The value of a protobuf field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An integer of variable length.
    Varint(u64),
    /// Eight bytes, the least significant first.
    Fixed64(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
}

/// The next field of a protobuf message, with its number. `None`: there is no such field.
pub fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(message)?;
    let value = match key & 7 {
        0 => Value::Varint(varint(message)?),
        1 => Value::Fixed64(u64::from_le_bytes(message.split_off(..8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            Value::Bytes(message.split_off(..length)?)
        }
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order() {
        let mut message = &b"\x08\x96\x01\x12\x02ab\x19\x01\0\0\0\0\0\0\0"[..];
        assert_eq!(field(&mut message), Some((1, Value::Varint(150))));
        assert_eq!(field(&mut message), Some((2, Value::Bytes(b"ab"))));
        assert_eq!(field(&mut message), Some((3, Value::Fixed64(1))));
        assert_eq!(field(&mut message), None);
    }

    #[test]
    fn what_is_cut_is_no_field() {
        for mut message in [&b"\x08"[..], b"\x08\x96", b"\x12\x02a", b"\x19\x01", b"\x0b", &[0xff; 11]] {
            assert_eq!(field(&mut message), None);
        }
    }
}

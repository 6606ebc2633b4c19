//! Values of attributes that are no strings, as text.

use crate::sink::spell;
use crate::value_text::{VALUE_BYTES_MAX, put_float, put_integer};

/// Appends `text` as a JSON string.
pub(super) fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    spell(text, out);
    out.push(b'"');
}

pub(super) fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub(super) fn integer(value: i64, out: &mut Vec<u8>) {
    let mut place = [0; VALUE_BYTES_MAX];
    let length = put_integer(value.is_negative(), value.unsigned_abs(), &mut place);
    out.extend_from_slice(&place[..length]);
}

/// Appends a float: a JSON number within an array or a map, where NaN and the infinities are strings; else bare.
pub(super) fn double(value: f64, is_nested: bool, out: &mut Vec<u8>) {
    let mut place = [0; VALUE_BYTES_MAX];
    let length = put_float(value, &mut place);
    let text = &place[..length];
    let bare = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    out.extend_from_slice(bare.filter(|_| !is_nested).unwrap_or(text));
}

/// Appends `bytes` in base64 with padding (RFC 4648, 4).
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            out.push(if is_padding { b'=' } else { DIGITS[(group >> (18 - 6 * digit)) as usize & 0x3f] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            base64(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        base64(&[0xfb, 0xff, 0xbf], &mut out);
        assert_eq!(out, b"+/+/");
    }

    #[test]
    fn floats_are_bare_or_valid_in_json() {
        for (float, bare, nested) in
            [(0.5, "0.5", "0.5"), (f64::NAN, "NaN", "\"NaN\""), (f64::INFINITY, "+Inf", "\"+Inf\"")]
        {
            let mut out = Vec::new();
            double(float, false, &mut out);
            assert_eq!(out, bare.as_bytes());
            out.clear();
            double(float, true, &mut out);
            assert_eq!(out, nested.as_bytes());
        }
    }
}

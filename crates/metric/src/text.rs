//! JSON strings: the text between two quotation marks, its meaning, and its one canonical spelling in the log.
//!
//! A [`Text`] is made only of what [`Cursor::string`](super::cursor::Cursor::string) has checked: valid UTF-8, no
//! raw control character, every escape well formed, every surrogate paired.
//!
//! The canonical spelling escapes `"`, `\`, and the control characters below 0x20: by `\b \f \n \r \t` where there is
//! one, else by `\u00xx` in lower case. Everything else is raw UTF-8. It is never longer than the spelling it came in:
//! - a byte that was sent raw is none of those that need an escape, and is copied: 1 byte for 1;
//! - `\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t` stay as they are, 2 for 2, and `\/` becomes `/`, 1 for 2;
//! - `\uXXXX` becomes a short escape (2 for 6), `\u00xx` (6 for 6), or raw UTF-8 of at most 3 bytes (for 6);
//! - a pair of surrogates becomes 4 bytes of raw UTF-8 for 12.

use memchr::{memchr, memchr_iter};

use super::error::Problem;

/// The content of a JSON string as it was sent, escapes and all. Two are equal if they were sent alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Text<'a> {
    pub(super) raw: &'a [u8],
    /// Number of escapes in `raw`. (A count and not a flag also because a flag's padding is copied in odd pieces, each
    /// of which waits for the store before it.)
    pub(super) escapes: usize,
}

impl<'a> Text<'a> {
    /// A string of a line of the log, as it stands between its quotation marks, checked by [`Line`](super::Line) or
    /// [`is_spelled`](super::is_spelled).
    #[inline]
    pub fn of_line(raw: &'a [u8]) -> Self {
        Self { raw, escapes: memchr_iter(b'\\', raw).count() }
    }

    /// Returns the bytes between the quotation marks.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Returns whether [`raw`](Self::raw) has escapes in it. If not, it is what the text means.
    #[inline]
    pub fn has_escapes(&self) -> bool {
        self.escapes > 0
    }

    /// The bytes of UTF-8 that the text means.
    #[inline]
    pub fn decoded(&self) -> Decoded<'a> {
        Decoded { raw: self.raw, pending: [0; 4], pending_from: 4 }
    }

    /// Returns whether the text means `bytes`.
    pub(super) fn means(&self, bytes: &[u8]) -> bool {
        if self.has_escapes() { self.decoded().eq(bytes.iter().copied()) } else { self.raw == bytes }
    }

    /// Returns whether both mean the same.
    pub(super) fn means_the_same(&self, other: &Text) -> bool {
        if self.has_escapes() || other.has_escapes() {
            self.decoded().eq(other.decoded())
        } else {
            self.raw == other.raw
        }
    }

    /// Gives out what the text means, eight bytes at a time, the last ones filled up with zeros.
    #[inline]
    pub(super) fn for_each_word(&self, mut take: impl FnMut(u64)) {
        if self.has_escapes() {
            return self.for_each_word_decoded(take);
        }
        let (words, tail) = self.raw.as_chunks();
        words.iter().for_each(|&word| take(u64::from_le_bytes(word)));
        take(tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }

    fn for_each_word_decoded(&self, mut take: impl FnMut(u64)) {
        let (mut word, mut bits) = (0, 0);
        self.decoded().for_each(|byte| {
            word |= u64::from(byte) << bits;
            bits += 8;
            if bits == u64::BITS {
                take(word);
                (word, bits) = (0, 0);
            }
        });
        take(word);
    }

    /// Writes the canonical spelling to the front of `out` and returns its length, which is at most `self.raw().len()`.
    pub(super) fn write_canonical(&self, out: &mut [u8]) -> usize {
        if !self.has_escapes() {
            out[..self.raw.len()].copy_from_slice(self.raw);
            return self.raw.len();
        }
        let mut raw = self.raw;
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        while let Some(plain) = memchr(b'\\', raw) {
            put(&raw[..plain]);
            let (character, escape_bytes) = checked_escape(&raw[plain..]);
            spell(character, &mut put);
            raw = &raw[plain + escape_bytes..];
        }
        put(raw);
        at
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Puts the canonical spelling of one character.
pub(super) fn spell(character: char, put: &mut impl FnMut(&[u8])) {
    match character {
        '"' => put(b"\\\""),
        '\\' => put(b"\\\\"),
        '\x08' => put(b"\\b"),
        '\x0c' => put(b"\\f"),
        '\n' => put(b"\\n"),
        '\r' => put(b"\\r"),
        '\t' => put(b"\\t"),
        '\0'..'\x20' => {
            let code = character as usize;
            put(&[b'\\', b'u', b'0', b'0', HEX[code >> 4], HEX[code & 0xf]]);
        }
        _ => put(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// `text` as it would stand between the quotation marks of a line of the log.
#[must_use]
pub fn spelled(text: &str) -> Vec<u8> {
    let mut spelling = Vec::with_capacity(text.len());
    text.chars().for_each(|character| spell(character, &mut |bytes| spelling.extend_from_slice(bytes)));
    spelling
}

/// Iterator over the bytes that a [`Text`] means.
#[derive(Debug, Clone)]
pub struct Decoded<'a> {
    raw: &'a [u8],
    /// The UTF-8 of a character that was escaped, at the end of the array; what is left of it starts at `pending_from`.
    pending: [u8; 4],
    pending_from: usize,
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let Some(&byte) = self.pending.get(self.pending_from) {
            self.pending_from += 1;
            return Some(byte);
        }
        let (&first, rest) = self.raw.split_first()?;
        if first != b'\\' {
            self.raw = rest;
            return Some(first);
        }
        let (character, escape_bytes) = checked_escape(self.raw);
        self.raw = &self.raw[escape_bytes..];
        self.pending_from = 4 - character.len_utf8();
        character.encode_utf8(&mut self.pending[self.pending_from..]);
        self.next()
    }

    /// Folds the bytes, for `for_each` and `count`: faster than one byte after the other.
    fn fold<T, F: FnMut(T, u8) -> T>(self, init: T, mut take: F) -> T {
        let mut taken = self.pending[self.pending_from..].iter().fold(init, |taken, &byte| take(taken, byte));
        let mut raw = self.raw;
        while let [first, rest @ ..] = raw {
            if *first == b'\\' {
                let (character, escape_bytes) = checked_escape(raw);
                taken = character.encode_utf8(&mut [0; 4]).bytes().fold(taken, &mut take);
                raw = &raw[escape_bytes..];
            } else {
                taken = take(taken, *first);
                raw = rest;
            }
        }
        taken
    }
}

/// Reads the escape that a text has at its front. Every [`Text`] was checked; should one not have been (files rot), a
/// backslash that begins no escape stands for itself: no bytes of a file may end the process.
fn checked_escape(raw: &[u8]) -> (char, usize) {
    escape(raw).unwrap_or(('\\', 1))
}

/// Reads the escape at the front of `raw`, which begins with its backslash: the character, and how many bytes
/// spelled it.
/// `raw` may end anywhere.
pub(super) fn escape(raw: &[u8]) -> Result<(char, usize), Problem> {
    debug_assert_eq!(raw[0], b'\\');
    let character = match raw.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\x08',
        Some(b'f') => '\x0c',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(raw),
        Some(_) => return Err(Problem::EscapeUnknown),
        None => return Err(Problem::StringUnended),
    };
    Ok((character, 2))
}

/// `\uXXXX`, or the two of them that make a pair of surrogates (RFC 8259, 7).
fn unicode_escape(raw: &[u8]) -> Result<(char, usize), Problem> {
    let first = code_unit(raw)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    // Not a character, so a surrogate: 0xD800..=0xDBFF, which a second one from 0xDC00..=0xDFFF must follow.
    if first >= 0xdc00 || !raw[6..].starts_with(b"\\u") {
        return Err(Problem::SurrogateUnpaired);
    }
    let second = code_unit(&raw[6..])?;
    if !(0xdc00..=0xdfff).contains(&second) {
        return Err(Problem::SurrogateUnpaired);
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code).map(|character| (character, 12)).ok_or(Problem::SurrogateUnpaired)
}

/// The number that the four digits after `\u` stand for.
fn code_unit(raw: &[u8]) -> Result<u32, Problem> {
    let digits = raw.get(2..6).ok_or(Problem::EscapeDigits)?;
    digits.iter().try_fold(0, |unit, &digit| {
        let value = char::from(digit).to_digit(16).ok_or(Problem::EscapeDigits)?;
        Ok(unit << 4 | value)
    })
}

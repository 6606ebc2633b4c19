//! The place in the body that has been read up to, and the pieces of JSON that are read there (RFC 8259). Knows
//! nothing of metrics.
//!
//! Strings and digits are looked at eight bytes at a time in one general register; only what is left of a body's last
//! seven bytes goes by single bytes, so nothing past the slice is ever needed.

use super::error::{Expected, Fault, Found, Problem, Step};
use super::number;
use super::text::{self, Text};
use crate::limits::JSON_DEPTH_MAX;

/// Reads a body from its front.
///
/// The hot path works on a copy of its own in registers. What it hands to a function that is not inlined would have to
/// live in memory, every step a store and a load; so such a function gets another copy ([`apart`](Self::apart)).
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    body_bytes: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { body_bytes: body.len(), rest: body }
    }

    /// Returns the bytes that have not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Offset of the next byte in the body.
    #[inline]
    pub fn byte(&self) -> usize {
        self.body_bytes - self.rest.len()
    }

    /// The next byte, not yet read.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Moves on by `bytes`, which have been looked at in [`rest`](Self::rest).
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Reads `byte` if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads `bytes` if they come next.
    #[inline]
    pub fn eat_all<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((first, rest)) if first == bytes => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The next byte is not what was `expected`.
    #[cold]
    pub fn unexpected(self, expected: Expected) -> Fault {
        let found = Found::at(self.rest, expected);
        self.fault(Problem::Unexpected { expected, found })
    }

    /// There is a `problem` at the next byte.
    #[cold]
    pub fn fault(self, problem: Problem) -> Fault {
        Fault { byte: self.byte(), problem }
    }

    /// Runs `read`, a function that is not inlined, on a copy of the cursor and moves on to where it got.
    #[inline]
    fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut copy = *self;
        let result = read(&mut copy);
        *self = copy;
        result
    }

    /// Reads `byte`, or finds it missing.
    #[inline]
    pub fn expect(&mut self, byte: u8, expected: Expected) -> Step<()> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Reads the four kinds of whitespace that JSON has.
    #[inline]
    pub fn whitespace(&mut self) {
        self.rest = after_whitespace(self.rest);
    }

    /// Reads the colon after a key and the whitespace around it. First as clients write it: no space, or one behind the
    /// colon.
    #[inline]
    pub fn colon(&mut self) -> Step<()> {
        match self.rest {
            [b':', rest @ ..] | [b':', b' ', rest @ ..] if rest.first().is_some_and(|&byte| byte > b' ') => {
                self.rest = rest;
                Ok(())
            }
            _ => self.apart(Self::colon_anywhere),
        }
    }

    #[cold]
    fn colon_anywhere(&mut self) -> Step<()> {
        self.whitespace();
        self.expect(b':', Expected::Colon)?;
        self.whitespace();
        Ok(())
    }

    /// Reads what stands between two members of an object: `true` for a comma, with the next key's quotation mark read
    /// too; `false` for the end of the object. First as clients write it: no space, or one behind the comma.
    #[inline]
    pub fn next_member(&mut self) -> Step<bool> {
        match self.rest {
            [b',', b'"', rest @ ..] | [b',', b' ', b'"', rest @ ..] => {
                self.rest = rest;
                Ok(true)
            }
            [b'}', rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            rest => match next_member_anywhere(rest) {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    Ok(true)
                }
                [b'}', rest @ ..] => {
                    self.rest = rest;
                    Ok(false)
                }
                _ => Err(self.no_next_member()),
            },
        }
    }

    /// Returns the fault between two members of an object.
    #[cold]
    fn no_next_member(mut self) -> Fault {
        self.whitespace();
        if !self.eat(b',') {
            return self.unexpected(Expected::CommaOrBrace);
        }
        self.whitespace();
        self.unexpected(Expected::Key)
    }

    /// Reads what follows the opening brace of an object: as [`next_member`](Self::next_member), without the comma.
    #[inline]
    pub fn first_member(&mut self) -> Step<bool> {
        self.whitespace();
        match self.peek() {
            Some(b'"') => {
                self.rest = &self.rest[1..];
                Ok(true)
            }
            Some(b'}') => {
                self.rest = &self.rest[1..];
                Ok(false)
            }
            _ => Err(self.unexpected(Expected::KeyOrEnd)),
        }
    }

    /// Reads what stands between two elements of an array: `true` for a comma, `false` for the end of the array.
    #[inline]
    pub fn next_element(&mut self) -> Step<bool> {
        self.whitespace();
        if self.eat(b',') {
            return Ok(true);
        }
        self.expect(b']', Expected::CommaOrBracket)?;
        Ok(false)
    }

    /// Reads a string whose opening quotation mark has been read.
    #[inline(always)]
    pub fn string(&mut self) -> Step<Text<'a>> {
        let text = self.rest;
        let mut seen = 0;
        while let Some(word) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(*word);
            let stops = string_stops(word);
            seen |= word;
            if stops != 0 {
                let stop = first_flagged(stops);
                if self.rest[stop] != b'"' {
                    break;
                }
                let raw = &text[..text.len() - self.rest.len() + stop];
                self.rest = &self.rest[stop + 1..];
                // `seen` may have taken in bytes behind the string; then the check is made for nothing.
                if seen & EACH_HIGH_BIT != 0 {
                    self.check_utf8(raw)?;
                }
                return Ok(Text { raw, escapes: 0 });
            }
            self.rest = &self.rest[8..];
            if text.len() - self.rest.len() == LONG_BYTES {
                let (rest, seen_there) = after_plain_blocks(self.rest);
                self.rest = rest;
                seen |= seen_there;
            }
        }
        self.apart(|cursor| cursor.string_slowly(text))
    }

    /// Reads the remainder of the string that began at `text`: one with escapes, one that ends close to the end of the
    /// body, or one that is at fault.
    #[cold]
    fn string_slowly(&mut self, text: &'a [u8]) -> Step<Text<'a>> {
        let mut escapes = 0;
        loop {
            while let Some(word) = self.rest.first_chunk() {
                let stops = string_stops(u64::from_le_bytes(*word));
                if stops != 0 {
                    self.rest = &self.rest[first_flagged(stops)..];
                    break;
                }
                self.rest = &self.rest[8..];
            }
            match self.rest {
                [b'"', rest @ ..] => {
                    let raw = &text[..text.len() - self.rest.len()];
                    self.rest = rest;
                    self.check_utf8(raw)?;
                    return Ok(Text { raw, escapes });
                }
                [b'\\', ..] => {
                    let (_, escape_bytes) = text::escape(self.rest).map_err(|problem| self.fault(problem))?;
                    self.rest = &self.rest[escape_bytes..];
                    escapes += 1;
                }
                [byte @ 0..0x20, ..] => return Err(self.fault(Problem::ControlCharacter(*byte))),
                [_, rest @ ..] => self.rest = rest,
                [] => return Err(self.fault(Problem::StringUnended)),
            }
        }
    }

    /// Checks the text of the string just read.
    #[cold]
    fn check_utf8(self, raw: &[u8]) -> Step<()> {
        match std::str::from_utf8(raw) {
            Ok(_) => Ok(()),
            Err(error) => {
                let start = self.byte() - 1 - raw.len();
                Err(Fault { byte: start + error.valid_up_to(), problem: Problem::Utf8Invalid })
            }
        }
    }

    /// Reads the digits that come next, perhaps none.
    #[inline]
    pub fn digits(&mut self) -> &'a [u8] {
        let (digits, rest) = self.rest.split_at(digits_count(self.rest));
        self.rest = rest;
        digits
    }

    /// Reads digits, at least one.
    #[inline]
    pub fn some_digits(&mut self) -> Step<&'a [u8]> {
        let digits = self.digits();
        if digits.is_empty() { Err(self.unexpected(Expected::Digit)) } else { Ok(digits) }
    }

    /// Checks the value of a field that is ignored. `depth` is the number of objects and arrays around it.
    #[inline]
    pub fn skip_value(&mut self, depth: usize) -> Step<()> {
        self.apart(|cursor| cursor.skip_value_apart(depth))
    }

    #[inline(never)]
    fn skip_value_apart(&mut self, depth: usize) -> Step<()> {
        // One bit for each object or array that was opened here, the innermost lowest: 1 is an object.
        let mut kinds = 0_u64;
        const { assert!(JSON_DEPTH_MAX <= 64, "the kinds of all open objects and arrays must fit in 64 bits") };
        let mut open = 0;
        loop {
            self.whitespace();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth + open == JSON_DEPTH_MAX {
                        return Err(self.fault(Problem::TooDeep));
                    }
                    self.rest = &self.rest[1..];
                    open += 1;
                    kinds = kinds << 1 | u64::from(bracket == b'{');
                    let empty = if bracket == b'{' {
                        let empty = !self.first_member()?;
                        if !empty {
                            self.string()?;
                            self.colon()?;
                        }
                        empty
                    } else {
                        self.whitespace();
                        self.eat(b']')
                    };
                    if !empty {
                        continue;
                    }
                    open -= 1;
                    kinds >>= 1;
                }
                Some(b'"') => {
                    self.rest = &self.rest[1..];
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    number::read(self)?;
                }
                _ if self.eat_all(b"true") || self.eat_all(b"false") || self.eat_all(b"null") => {}
                _ => return Err(self.unexpected(Expected::Value)),
            }
            // A value has ended, and with it perhaps some of what is around it.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let more = if kinds & 1 == 1 {
                    let more = self.next_member()?;
                    if more {
                        self.string()?;
                        self.colon()?;
                    }
                    more
                } else {
                    self.next_element()?
                };
                if more {
                    break;
                }
                open -= 1;
                kinds >>= 1;
            }
        }
    }
}

/// From this length on a string is looked at in blocks.
const LONG_BYTES: usize = 64;

/// Skips blocks of bytes that neither end a string nor need care in one: returns the rest, and all bits that were seen
/// in the blocks. (The compiler makes vector instructions of it.)
#[inline(never)]
fn after_plain_blocks(mut rest: &[u8]) -> (&[u8], u64) {
    let mut seen = 0;
    while let Some((block, behind)) = rest.split_first_chunk::<32>() {
        let stops = block
            .iter()
            .fold(0, |stops, &byte| stops | u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20));
        if stops != 0 {
            break;
        }
        seen |= block.iter().fold(0, |seen, byte| seen | byte);
        rest = behind;
    }
    (rest, u64::from(seen))
}

/// Skips whitespace, most of which, if there is any, is indentation.
#[inline]
fn after_whitespace(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', behind @ ..] = rest {
        let spaces = behind.first_chunk().map_or(0, |word| spaces_count(u64::from_le_bytes(*word)));
        rest = &behind[spaces..];
    }
    rest
}

/// Returns the text from the next member of an object on, its quotation mark, or from the end of the object on, its
/// brace, with whitespace anywhere; nothing at all if neither comes. (A slice comes and goes in registers, as a cursor
/// would not.)
#[inline(never)]
fn next_member_anywhere(rest: &[u8]) -> &[u8] {
    match after_whitespace(rest) {
        end @ [b'}', ..] => end,
        [b',', rest @ ..] => match after_whitespace(rest) {
            key @ [b'"', ..] => key,
            _ => &[],
        },
        _ => &[],
    }
}

/// The byte 1 in each of the eight.
const EACH_ONE: u64 = u64::MAX / 0xff;
/// The highest bit of each of the eight.
const EACH_HIGH_BIT: u64 = EACH_ONE * 0x80;

/// Flags, by the high bit of their bytes, the quotation marks, backslashes and control characters among eight bytes.
///
/// Subtracting sets a byte's high bit where the byte was smaller than what was subtracted. It then borrows from the
/// byte above, which may be flagged wrongly, but only above a byte that is flagged rightly: the lowest flag can be
/// trusted. Bytes that had the high bit before never borrow, and are not flagged.
/// (Alan Mycroft's test for a zero byte; S. E. Anderson, "Bit Twiddling Hacks".)
#[inline]
fn string_stops(word: u64) -> u64 {
    let quote = (word ^ (EACH_ONE * b'"' as u64)).wrapping_sub(EACH_ONE);
    let backslash = (word ^ (EACH_ONE * b'\\' as u64)).wrapping_sub(EACH_ONE);
    let control = word.wrapping_sub(EACH_ONE * 0x20);
    (quote | backslash | control) & !word & EACH_HIGH_BIT
}

/// Flags what is no digit among eight bytes. Every flag can be trusted: with its high bit taken off, no byte overflows
/// into the next.
#[inline]
fn digit_stops(word: u64) -> u64 {
    let values = word ^ (EACH_ONE * b'0' as u64);
    (((values & !EACH_HIGH_BIT) + EACH_ONE * (0x80 - 10)) | values) & EACH_HIGH_BIT
}

/// Returns the number of spaces that eight bytes begin with.
#[inline]
fn spaces_count(word: u64) -> usize {
    first_flagged(word ^ (EACH_ONE * b' ' as u64))
}

/// Index of the lowest byte flagged, by any of its bits: the first in memory, as words are read in little-endian order.
/// 8 if there is none.
#[inline]
fn first_flagged(flags: u64) -> usize {
    flags.trailing_zeros() as usize / 8
}

/// Returns the number of digits that `bytes` begins with.
#[inline]
fn digits_count(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(word) = rest.first_chunk() {
        let stops = digit_stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return bytes.len() - rest.len() + first_flagged(stops);
        }
        rest = &rest[8..];
    }
    let tail = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.len() - rest.len() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_of_a_word() {
        for filler in [b'a', b'0', 0x7f, 0x80, 0xff] {
            for byte in 0..=u8::MAX {
                for place in 0..8 {
                    let mut word = [filler; 8];
                    word[place] = byte;
                    let first = |stops: u64| if stops == 0 { 8 } else { first_flagged(stops) };
                    let string = word.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(8);
                    let digits = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(8);
                    let word = u64::from_le_bytes(word);
                    assert_eq!(first(string_stops(word)), string, "{word:016x}");
                    assert_eq!(first(digit_stops(word)), digits, "{word:016x}");
                }
            }
        }
    }

    #[test]
    fn whitespace_of_every_length_ends_where_it_ends() {
        for indentation in 0..20 {
            let spaces = " ".repeat(indentation);
            for behind in ["", "x", "\u{b}", "!1234567890", "\u{a0}1234567890"] {
                for before in ["", " ", "\r\n", "\t\t\n"] {
                    let text = [before, &spaces, behind].concat();
                    assert_eq!(after_whitespace(text.as_bytes()), behind.as_bytes(), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn members_are_parted_by_one_comma_whatever_the_whitespace() {
        for space in ["", " ", "\n", "  ", "\r\n          ", " \t"] {
            let next = |text: &str| Cursor::new(text.replace('_', space).as_bytes()).next_member();
            assert_eq!(next("_,_\"k\""), Ok(true));
            assert_eq!(next("_}_"), Ok(false));
            for text in ["_\"k\"", "_,_}", "_,_,_\"k\"", "_,_k", "_", "_,_", "_]"] {
                assert!(next(text).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn every_kind_of_byte_at_every_place_of_a_long_string() {
        const BYTES: usize = LONG_BYTES + 3 * 32 + 8;
        for place in 0..BYTES {
            let read = |bytes: &[u8]| {
                let mut text = vec![b'a'; BYTES];
                text.splice(place..place, bytes.iter().copied());
                text.push(b'"');
                // With enough behind it for a block, and with nothing.
                let alone = Cursor::new(&text).string().map(|text| (text.raw.len(), text.escapes));
                let followed = [text.as_slice(), &[b' '; 40]].concat();
                assert_eq!(Cursor::new(&followed).string().map(|text| (text.raw.len(), text.escapes)), alone);
                alone.map_err(|fault| (fault.byte, fault.problem))
            };
            assert_eq!(read(b""), Ok((BYTES, 0)));
            assert_eq!(read("é".as_bytes()), Ok((BYTES + 2, 0)));
            assert_eq!(read(br"\n"), Ok((BYTES + 2, 1)));
            assert_eq!(read(b"\""), Ok((place, 0)));
            assert_eq!(read(b"\x1f"), Err((place, Problem::ControlCharacter(0x1f))));
            assert_eq!(read(b"\xff"), Err((place, Problem::Utf8Invalid)));
        }
    }

    #[test]
    fn digits_are_counted_at_every_length() {
        for count in 0..40 {
            let mut bytes = vec![b'7'; count];
            assert_eq!(digits_count(&bytes), count);
            bytes.extend_from_slice(b"e1234567890");
            assert_eq!(digits_count(&bytes), count);
        }
    }
}

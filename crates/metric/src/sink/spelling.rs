//! Text between the quotation marks of a line. Nearly all of it is plain, and that is found out by blocks.

use crate::block::{BLOCK_BYTES, Block, string_stops};

/// Bytes of a word; shorter texts are looked at as one.
const WORD_BYTES: usize = 8;
const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES * 0x80;

/// True if each byte stands for itself in a line: ASCII without control characters, `"` and `\`.
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    if let Some(last) = text.last_chunk() {
        let (blocks, _) = text.as_chunks();
        return blocks.iter().fold(string_stops(last), |stops, block| stops | string_stops(block)) == 0;
    }
    is_short_plain(text)
}

/// Returns what [`is_plain`] does, for less than a block.
#[inline]
fn is_short_plain(text: &[u8]) -> bool {
    match (text.first_chunk::<WORD_BYTES>(), text.last_chunk::<WORD_BYTES>()) {
        (Some(first), Some(last)) => string_stops(&block_of(first, last)) == 0,
        _ => odd_bytes(last_word(text)) == 0,
    }
}

/// A block of two words, which may overlap where they come from.
#[inline]
fn block_of(first: &[u8; WORD_BYTES], last: &[u8; WORD_BYTES]) -> Block {
    let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    (u128::from(first) | u128::from(last) << 64).to_le_bytes()
}

/// Copies `text` to `out`, which is as long, and returns true if it is plain.
#[inline]
pub(super) fn copy_plain(text: &[u8], out: &mut [u8]) -> bool {
    debug_assert_eq!(text.len(), out.len());
    let (Some(&last), Some(last_out)) = (text.last_chunk::<BLOCK_BYTES>(), out.last_chunk_mut()) else {
        return copy_short(text, out);
    };
    // Behind the other blocks, of which it may cover a part.
    *last_out = last;
    let mut stops = string_stops(&last);
    let ((blocks, _), (out_blocks, _)) = (text.as_chunks::<BLOCK_BYTES>(), out.as_chunks_mut());
    for (block, out_block) in blocks.iter().zip(out_blocks) {
        stops |= string_stops(block);
        *out_block = *block;
    }
    stops == 0
}

/// Copies as [`copy_plain`] does, for less than a block. Some bytes are copied twice, so that there is no loop.
#[inline]
fn copy_short(text: &[u8], out: &mut [u8]) -> bool {
    if let (Some(&first), Some(&last)) = (text.first_chunk::<WORD_BYTES>(), text.last_chunk::<WORD_BYTES>())
        && let Some(first_out) = out.first_chunk_mut()
    {
        *first_out = first;
        if let Some(last_out) = out.last_chunk_mut() {
            *last_out = last;
        }
        return string_stops(&block_of(&first, &last)) == 0;
    }
    if let (Some(&first), Some(&last)) = (text.first_chunk::<4>(), text.last_chunk::<4>())
        && let Some(first_out) = out.first_chunk_mut()
    {
        *first_out = first;
        if let Some(last_out) = out.last_chunk_mut() {
            *last_out = last;
        }
    } else if let ([first, .., last], [first_out, rest_out @ ..]) = (text, &mut *out) {
        *first_out = *first;
        if let [middle_out, .., last_out] = rest_out {
            (*middle_out, *last_out) = (text[1], *last);
        } else if let [last_out] = rest_out {
            *last_out = *last;
        }
    } else if let ([only], [only_out]) = (text, out) {
        *only_out = *only;
    }
    odd_bytes(last_word(text)) == 0
}

/// Bytes of a text of less than eight, all of them, some of them twice, and letters in place of the missing ones.
#[inline]
fn last_word(text: &[u8]) -> u64 {
    if let (Some(&first), Some(&last)) = (text.first_chunk(), text.last_chunk()) {
        return u64::from(u32::from_le_bytes(first)) | u64::from(u32::from_le_bytes(last)) << 32;
    }
    const LETTERS: u64 = ONES * b'a' as u64;
    match *text {
        [] => LETTERS,
        [first, .., last] => {
            let middle = text[text.len() / 2];
            LETTERS << 24 | u64::from(first) | u64::from(middle) << 8 | u64::from(last) << 16
        }
        [only] => LETTERS << 8 | u64::from(only),
    }
}

/// The high bits of bytes that do not stand for themselves. A byte above such a one may be marked without reason.
#[inline]
fn odd_bytes(word: u64) -> u64 {
    let is = |byte: u8| byte as u64 * ONES;
    let control = word.wrapping_sub(is(0x20)) & !word;
    let (quotes, backslashes) = (word ^ is(b'"'), word ^ is(b'\\'));
    let quotes = quotes.wrapping_sub(ONES) & !quotes;
    let backslashes = backslashes.wrapping_sub(ONES) & !backslashes;
    (word | control | quotes | backslashes) & HIGH
}

/// Appends UTF-8 text as it stands between the quotation marks of a line.
#[inline]
pub(crate) fn spell(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) { out.extend_from_slice(text) } else { spell_escaped(text, out) }
}

/// As [`spell`], for text that is not plain.
#[cold]
fn spell_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        // Bytes from 0x80 on are parts of characters that stand for themselves.
        if byte < 0x80 {
            crate::text::spell(char::from(byte), &mut |bytes| out.extend_from_slice(bytes));
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; length];
                    text[place] = byte;
                    let plain = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), plain, "{byte:#x} at {place} of {length}");
                    let mut copy = vec![0; length];
                    assert_eq!(copy_plain(&text, &mut copy), plain, "{byte:#x} at {place} of {length}");
                    assert_eq!(copy, text);
                }
            }
        }
        assert!(is_plain(b""));
    }
}

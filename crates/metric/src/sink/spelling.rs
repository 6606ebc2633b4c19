//! Text between the quotation marks of a line. Nearly all of it is plain, and that is found out eight bytes at a time.

const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES * 0x80;

/// True if each byte stands for itself in a line: ASCII without control characters, `"` and `\`.
#[inline]
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    let (words, _) = text.as_chunks();
    let odd = words.iter().fold(0, |odd, &word| odd | odd_bytes(u64::from_le_bytes(word)));
    odd | odd_bytes(last_word(text)) == 0
}

/// The last eight bytes; of a shorter text all bytes, some of them twice, and letters in place of the missing ones.
#[inline]
fn last_word(text: &[u8]) -> u64 {
    if let Some(&word) = text.last_chunk() {
        return u64::from_le_bytes(word);
    }
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
pub fn spell(text: &[u8], out: &mut Vec<u8>) {
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
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; length];
                    text[place] = byte;
                    let plain = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), plain, "{byte:#x} at {place} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }
}

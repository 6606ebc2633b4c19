//! Scanner for the ends of the parts of a line.

use crate::block::{BLOCK_BYTES, line_separators};
use memchr::{memchr_iter, memchr2};

pub(super) const COMMA: u8 = 1 << 0;
pub(super) const SPACE: u8 = 1 << 1;
pub(super) const EQUALS: u8 = 1 << 2;
pub(super) const BACKSLASH: u8 = 1 << 3;
pub(super) const LINE_FEED: u8 = 1 << 4;

/// The class of each byte that may end an element.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    classes[b',' as usize] = COMMA;
    classes[b' ' as usize] = SPACE;
    classes[b'=' as usize] = EQUALS;
    classes[b'\\' as usize] = BACKSLASH;
    classes[b'\n' as usize] = LINE_FEED;
    classes
};

/// Returns whether `byte` is of one of `classes`.
#[inline]
pub(super) fn is_of(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// Offset of the first byte of one of `classes` from `at` on, or the length of the body.
#[inline]
pub(super) fn until(body: &[u8], at: usize, classes: u8) -> usize {
    let mut rest = body.get(at..).unwrap_or_default();
    // Elements are a few bytes long: most end in the first block.
    while let Some((block, behind)) = rest.split_first_chunk() {
        let mut flags = line_separators(block);
        while flags != 0 {
            let bytes = flags.trailing_zeros() as usize;
            if is_of(block[bytes % BLOCK_BYTES], classes) {
                return body.len() - rest.len() + bytes;
            }
            flags &= flags - 1;
        }
        rest = behind;
    }
    let bytes = rest.iter().position(|&byte| is_of(byte, classes)).unwrap_or(rest.len());
    body.len() - rest.len() + bytes
}

/// Offset of the first byte from `at` on that is not whitespace, which to InfluxDB is a space, a tab or a zero byte.
#[inline]
pub(super) fn skip_whitespace(body: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | 0) = body.get(at) {
        at += 1;
    }
    at
}

/// Returns whether the line ends at `at`: with the body, a line feed, or a carriage return before either.
#[inline]
pub(super) fn is_line_end(body: &[u8], at: usize) -> bool {
    match body.get(at) {
        None | Some(b'\n') => true,
        Some(b'\r') => matches!(body.get(at + 1), None | Some(b'\n')),
        Some(_) => false,
    }
}

/// Offset of the line feed, or of the body's end, of a line that [ends](is_line_end) at `at`.
#[inline]
pub(super) fn line_feed(body: &[u8], at: usize) -> usize {
    at + usize::from(body.get(at) == Some(&b'\r'))
}

/// Offset behind the quotation mark that ends a string whose first byte is at `at`; `None` if it never ends.
#[inline]
pub(super) fn string_end(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Offset of the line feed, or of the body's end, of a line that starts at `start` and does not parse.
#[cold]
pub(super) fn line_end(body: &[u8], start: usize) -> usize {
    let is_escaped = |at: usize| at > start && body[at - 1] == b'\\';
    let mut fields = start;
    loop {
        fields = until(body, fields, SPACE | LINE_FEED);
        if body.get(fields) != Some(&b' ') {
            return fields;
        }
        if !is_escaped(fields) {
            break;
        }
        fields += 1;
    }
    let mut at = fields;
    while let Some(bytes) = memchr2(b'\n', b'"', &body[at..]) {
        at += bytes;
        if body[at] == b'\n' {
            return at;
        }
        at += 1;
        // The space before the fields is behind `start`, so there are two bytes before any quotation mark.
        if at >= fields + 3 && body[at - 2] == b'=' && !is_escaped(at - 2) {
            match string_end(body, at) {
                Some(end) => at = end,
                None => return body.len(),
            }
        }
    }
    body.len()
}

/// Appends an element without its escapes: a backslash before a byte of `separators`.
#[cold]
pub(super) fn unescape(element: &[u8], separators: u8, out: &mut Vec<u8>) {
    let mut copied = 0;
    for backslash in memchr_iter(b'\\', element) {
        if element.get(backslash + 1).is_some_and(|&byte| is_of(byte, separators)) {
            out.extend_from_slice(&element[copied..backslash]);
            copied = backslash + 1;
        }
    }
    out.extend_from_slice(&element[copied..]);
}

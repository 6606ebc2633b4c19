//! Sixteen bytes at once: which of them stop a string, which are digits, which two are equal.
//!
//! Each test returns flags, bit n for byte n. On x86-64 it takes SSE2, which every such processor has, so nothing is
//! dispatched; elsewhere, and as the reference of the tests, two words in general registers ([`scalar`]). Wider vectors
//! would gain little: of the strings in a metric, two of three end within one block.
#![allow(unsafe_code)] // The compiler lets intrinsics be called only with the processor's features named in each caller.

/// Bytes that are looked at together.
pub(super) const BLOCK_BYTES: usize = 16;
pub(super) type Block = [u8; BLOCK_BYTES];

#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{digits, equal, line_separators, string_stops};

#[cfg(not(target_arch = "x86_64"))]
pub(super) use scalar::{digits, equal, line_separators, string_stops};

/// Flags the places where both blocks have the same byte, the first one by the lowest bit.
#[inline(always)]
#[must_use]
pub fn equal_bytes(one: &[u8; BLOCK_BYTES], other: &[u8; BLOCK_BYTES]) -> u32 {
    equal(one, other)
}

/// A text of at least one block, of which blocks can be taken anywhere without a check of bounds.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    text: &'a [u8],
    /// The start of the last whole block: `text.len() - BLOCK_BYTES`.
    last: usize,
}

impl<'a> Blocks<'a> {
    /// `None` for a text shorter than a block.
    #[inline]
    pub fn new(text: &'a [u8]) -> Option<Self> {
        Some(Self { text, last: text.len().checked_sub(BLOCK_BYTES)? })
    }

    /// The text.
    #[inline(always)]
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// The block at `at`; `None` if fewer bytes are left.
    #[inline(always)]
    pub fn whole(self, at: usize) -> Option<&'a Block> {
        (at <= self.last).then(|| self.at(at).0)
    }

    /// The block at `at`, or the last whole one if it begins earlier, and the number of bytes by which it does.
    #[inline(always)]
    pub fn at(self, at: usize) -> (&'a Block, usize) {
        let start = at.min(self.last);
        // SAFETY: `start` is at most `last`, from where `new` has found a whole block within the text; a block is
        // bytes.
        (unsafe { &*self.text.as_ptr().add(start).cast() }, at - start)
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::Block;
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    #[inline(always)]
    fn load(block: &Block) -> __m128i {
        // SAFETY: SSE2 is part of x86-64; the reference is valid for the 16 bytes, and no alignment is needed.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    /// Flags quotation marks, backslashes, control characters and bytes that are not ASCII.
    #[inline(always)]
    pub(crate) fn string_stops(block: &Block) -> u32 {
        let bytes = load(block);
        // SAFETY: SSE2 is part of x86-64. (Signed, bytes that are not ASCII are less than a space.)
        let flags = unsafe {
            let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
            let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
            let others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(b' '.cast_signed()));
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), others))
        };
        flags.cast_unsigned()
    }

    /// Flags what ends an element of line protocol: commas, spaces, equals signs, backslashes and line feeds.
    #[inline(always)]
    pub(crate) fn line_separators(block: &Block) -> u32 {
        let bytes = load(block);
        // SAFETY: SSE2 is part of x86-64.
        let flags = unsafe {
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            let pairs = (_mm_or_si128(is(b','), is(b'=')), _mm_or_si128(is(b' '), is(b'\\')));
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(pairs.0, pairs.1), is(b'\n')))
        };
        flags.cast_unsigned()
    }

    /// Flags digits.
    #[inline(always)]
    pub(crate) fn digits(block: &Block) -> u32 {
        let bytes = load(block);
        // SAFETY: SSE2 is part of x86-64. (The ten digits are moved to the bottom of the signed bytes.)
        let flags = unsafe {
            let moved = _mm_add_epi8(bytes, _mm_set1_epi8(0x80_u8.wrapping_sub(b'0').cast_signed()));
            _mm_movemask_epi8(_mm_cmplt_epi8(moved, _mm_set1_epi8(i8::MIN + 10)))
        };
        flags.cast_unsigned()
    }

    /// Flags the places where both have the same byte.
    #[inline(always)]
    pub(crate) fn equal(left: &Block, right: &Block) -> u32 {
        let (left, right) = (load(left), load(right));
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(left, right)) }.cast_unsigned()
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod scalar {
    use super::Block;

    /// The byte 1 in each of the eight.
    const EACH_ONE: u64 = u64::MAX / 0xff;
    /// The highest bit of each of the eight.
    const EACH_HIGH_BIT: u64 = EACH_ONE * 0x80;

    /// Flags, by their highest bits, the bytes of a word that are 0, and only these.
    #[inline]
    fn zeros(word: u64) -> u64 {
        !(((word & !EACH_HIGH_BIT) + !EACH_HIGH_BIT) | word) & EACH_HIGH_BIT
    }

    /// The flags of both words of a block, each byte's highest bit made one bit of the result.
    #[inline]
    fn flags(block: &Block, flag: impl Fn(u64) -> u64) -> u32 {
        // The multiplication moves bit 8n to bit 56 + n; no two of its partial products meet.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let gather = |word: u64| (flag(word) >> 7).wrapping_mul(GATHER) >> 56;
        let word = u128::from_le_bytes(*block);
        #[expect(clippy::cast_possible_truncation, reason = "each half of the block, and 16 flags")]
        let both = (gather(word as u64) | gather((word >> 64) as u64) << 8) as u32;
        both
    }

    /// Flags quotation marks, backslashes, control characters and bytes that are not ASCII.
    #[inline]
    pub(crate) fn string_stops(block: &Block) -> u32 {
        flags(block, |word| {
            let quotes = zeros(word ^ (EACH_ONE * u64::from(b'"')));
            let backslashes = zeros(word ^ (EACH_ONE * u64::from(b'\\')));
            let controls = zeros(word & (EACH_ONE * 0xe0));
            quotes | backslashes | controls | (word & EACH_HIGH_BIT)
        })
    }

    /// Flags digits.
    #[inline]
    pub(crate) fn digits(block: &Block) -> u32 {
        flags(block, |word| {
            let values = word ^ (EACH_ONE * u64::from(b'0'));
            !(((values & !EACH_HIGH_BIT) + EACH_ONE * (0x80 - 10)) | values) & EACH_HIGH_BIT
        })
    }

    /// Flags what ends an element of line protocol: commas, spaces, equals signs, backslashes and line feeds.
    #[inline]
    pub(crate) fn line_separators(block: &Block) -> u32 {
        flags(block, |word| {
            let is = |byte: u8| zeros(word ^ (EACH_ONE * u64::from(byte)));
            is(b',') | is(b'=') | is(b' ') | is(b'\\') | is(b'\n')
        })
    }

    /// Flags the places where both have the same byte.
    #[inline]
    pub(crate) fn equal(left: &Block, right: &Block) -> u32 {
        let differences = u128::from_le_bytes(*left) ^ u128::from_le_bytes(*right);
        flags(&differences.to_le_bytes(), zeros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_at_the_end_begin_earlier() {
        assert!(Blocks::new(&[0; BLOCK_BYTES - 1]).is_none());
        let text: Vec<u8> = (0..40).collect();
        for length in BLOCK_BYTES..text.len() {
            let blocks = Blocks::new(&text[..length]).unwrap();
            for at in 0..length + 20 {
                let (block, skipped) = blocks.at(at);
                let start = at.min(length - BLOCK_BYTES);
                assert_eq!((&block[..], skipped), (&text[start..start + BLOCK_BYTES], at - start));
                assert_eq!(blocks.whole(at), (skipped == 0).then_some(block));
            }
        }
    }

    fn expected(block: &Block, is_flagged: impl Fn(usize, u8) -> bool) -> u32 {
        block.iter().enumerate().fold(0, |flags, (index, &byte)| flags | u32::from(is_flagged(index, byte)) << index)
    }

    #[test]
    fn every_byte_at_every_place_of_a_block() {
        for filler in [b'a', b'0', b'"', 0x1f, 0x7f, 0x80, 0xff] {
            for byte in 0..=u8::MAX {
                for place in 0..BLOCK_BYTES {
                    let mut block = [filler; BLOCK_BYTES];
                    block[place] = byte;
                    let stops = expected(&block, |_, byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..));
                    let are_digits = expected(&block, |_, byte| byte.is_ascii_digit());
                    let separators = expected(&block, |_, byte| b",= \\\n".contains(&byte));
                    let same = expected(&block, |_, byte| byte == filler);
                    for (flag, all) in [
                        (scalar::string_stops(&block), stops),
                        (string_stops(&block), stops),
                        (scalar::digits(&block), are_digits),
                        (digits(&block), are_digits),
                        (scalar::line_separators(&block), separators),
                        (line_separators(&block), separators),
                        (scalar::equal(&block, &[filler; BLOCK_BYTES]), same),
                        (equal(&block, &[filler; BLOCK_BYTES]), same),
                    ] {
                        assert_eq!(flag, all, "{block:x?}");
                    }
                }
            }
        }
    }
}

//! Parts of a body that are remembered while the next element of it is read: neighbours in a body have most of their
//! bytes in common, and the same bytes have the same meaning.

use crate::block::{self, BLOCK_BYTES};
use crate::sink::Part;

/// The place of a part of a body. One beyond the first 4 GiB, which no bound allows, is nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The place of `text`, a part of `body`.
    #[inline]
    pub(super) fn new(body: &[u8], text: &[u8]) -> Self {
        Self::at((text.as_ptr() as usize).saturating_sub(body.as_ptr() as usize), text.len())
    }

    /// The place of `bytes` bytes from `start` on.
    #[inline]
    pub(super) fn at(start: usize, bytes: usize) -> Self {
        match (u32::try_from(start), u32::try_from(start.saturating_add(bytes))) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    /// The bytes there.
    #[inline]
    pub(super) fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The bytes there, in the memory of the body.
    #[inline]
    pub(super) fn part_of(self, body: &[u8]) -> Part<'_> {
        let from_here = body.get(self.start as usize..).unwrap_or_default();
        Part::new(from_here, self.end.saturating_sub(self.start) as usize)
    }

    /// The bytes from here up to the end of `last`.
    #[inline]
    pub(super) fn up_to(self, last: Self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..last.end as usize).unwrap_or_default()
    }

    /// Bytes from the start of `first` to the end of this one.
    #[inline]
    pub(super) const fn end_from(self, first: Self) -> usize {
        self.end.saturating_sub(first.start) as usize
    }

    /// The place that is as far from `to` as this one is from `from`.
    #[inline]
    pub(super) const fn moved(self, from: Self, to: Self) -> Self {
        let by = to.start.wrapping_sub(from.start);
        Self { start: self.start.wrapping_add(by), end: self.end.wrapping_add(by) }
    }

    /// Offset in the body at which it ends.
    #[inline]
    pub(super) const fn end(self) -> usize {
        self.end as usize
    }

    /// True if nothing is there.
    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// True if `next` begins where this one ends.
    #[inline]
    pub(super) const fn meets(self, next: Self) -> bool {
        self.end == next.start
    }
}

/// The number of bytes at the front that both have.
#[inline]
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let ((a_blocks, _), (b_blocks, _)) = (a.as_chunks(), b.as_chunks());
    let mut bytes = 0;
    for (a_block, b_block) in a_blocks.iter().zip(b_blocks) {
        let equal = block::equal(a_block, b_block);
        if equal != u32::from(u16::MAX) {
            return bytes + equal.trailing_ones() as usize;
        }
        bytes += BLOCK_BYTES;
    }
    bytes + a[bytes..].iter().zip(&b[bytes..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_found_in_its_body() {
        let body = b"one two three";
        let (two, three) = (Span::new(body, &body[4..7]), Span::new(body, &body[8..]));
        assert_eq!((two.of(body), two.is_empty(), three.end_from(two)), (&b"two"[..], false, 9));
        assert_eq!(Span::new(body, &body[1..3]).moved(Span::at(0, 9), two).of(body), b"wo");
        assert_eq!(two.up_to(three, body), b"two three");
        assert!(!two.meets(three) && two.meets(Span::new(body, &body[7..9])));
        assert_eq!(two.of(b"short"), b"");
    }

    proptest! {
        #[test]
        fn shared_bytes_are_those_that_both_have(front: Vec<u8>, a: Vec<u8>, b: Vec<u8>) {
            let (a, b) = ([&front[..], &a].concat(), [&front[..], &b].concat());
            let expected = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shared_bytes(&a, &b), expected);
        }
    }
}

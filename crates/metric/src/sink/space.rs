//! The place for one line: found to be long enough once, then written from its front.

use super::spelling::copy_plain;
use crate::value_text::{Place, VALUE_BYTES_MAX};

/// A text in memory that goes on behind its end: those bytes may be copied along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    from_here: &'a [u8],
    length: usize,
}

impl<'a> Part<'a> {
    /// No text.
    pub(crate) const EMPTY: Self = Self { from_here: &[0; 64], length: 0 };

    /// The first `length` bytes of `from_here`, or all if there are fewer.
    #[inline(always)]
    pub(crate) fn new(from_here: &'a [u8], length: usize) -> Self {
        Self { from_here, length: length.min(from_here.len()) }
    }

    /// A text of which it is not known what is behind it.
    #[inline(always)]
    pub(crate) const fn of(text: &'a [u8]) -> Self {
        Self { from_here: text, length: text.len() }
    }

    #[inline(always)]
    pub(crate) const fn len(self) -> usize {
        self.length
    }

    /// The text alone.
    #[inline(always)]
    pub(crate) fn text(self) -> &'a [u8] {
        &self.from_here[..self.length]
    }

    /// The text and what is behind it.
    #[inline(always)]
    pub(crate) fn memory(self) -> &'a [u8] {
        self.from_here
    }

    /// The block of memory that the text begins, and the length of the text; `None` if it is longer than the block, or
    /// the memory is shorter.
    #[inline(always)]
    pub(crate) fn block<const N: usize>(self) -> Option<(&'a [u8; N], u8)> {
        const { assert!(N <= u8::MAX as usize) };
        if self.length > N { None } else { Some((self.from_here.first_chunk()?, self.length.to_le_bytes()[0])) }
    }
}

/// The rest of the place.
pub(crate) struct LineSpace<'s> {
    rest: &'s mut [u8],
}

impl<'s> LineSpace<'s> {
    /// The first `bytes` of `rest`; `None` if it has fewer.
    #[inline]
    pub(crate) fn new(rest: &'s mut [u8], bytes: usize) -> Option<Self> {
        if rest.len() < bytes { None } else { Some(Self { rest }) }
    }

    /// The bytes that are left of all that was given.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.rest = rest;
    }

    /// Puts as [`put`](Self::put) does, a number of bytes that is known when this is compiled: no call copies them.
    #[inline(always)]
    pub(crate) fn put_array<const N: usize>(&mut self, bytes: &[u8; N]) {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(N);
        if let Some(place) = place.first_chunk_mut() {
            *place = *bytes;
        }
        self.rest = rest;
    }

    /// Writes `text` if it is plain; if not, returns false, and what is written means nothing.
    #[inline]
    pub(super) fn put_plain(&mut self, text: &[u8]) -> bool {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(text.len());
        self.rest = rest;
        copy_plain(text, place)
    }

    /// Writes a part by whole blocks of `N` bytes, so that their number is known when this is compiled: most parts take
    /// one, and the bytes copied along are written over by what follows, or are behind the line. Near the end of the
    /// place or of the part's memory, where a block is more than there is, it is copied as it is.
    #[inline(always)]
    pub(crate) fn put_part<const N: usize>(&mut self, part: Part<'_>) {
        let Part { mut from_here, mut length } = part;
        let mut to = std::mem::take(&mut self.rest);
        while let (Some((from, behind)), Some(block)) = (from_here.split_first_chunk::<N>(), to.first_chunk_mut::<N>())
        {
            *block = *from;
            if length <= N {
                self.rest = &mut to[length..];
                return;
            }
            (from_here, to, length) = (behind, &mut to[N..], length - N);
        }
        self.rest = to;
        self.put(&from_here[..length]);
    }

    /// Writes with `put`, which is given all that is left and returns how much of it it has written.
    #[inline]
    pub(crate) fn put_by(&mut self, put: impl FnOnce(&mut [u8]) -> usize) {
        let length = put(self.rest);
        self.rest = &mut std::mem::take(&mut self.rest)[length..];
    }

    /// Writes a value with `put`, which returns its length, to a place that may be longer. There must be as many bytes
    /// left.
    #[inline(always)]
    pub(super) fn put_value(&mut self, put: impl FnOnce(&mut Place) -> usize) {
        let rest = std::mem::take(&mut self.rest);
        let Some(place) = rest.first_chunk_mut::<VALUE_BYTES_MAX>() else { panic!("no space for a value") };
        let length = put(place);
        self.rest = &mut rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_part_is_copied_wherever_it_ends(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            behind in 0..100_usize,
            left in 0..100_usize,
        ) {
            let memory = [&text[..], &vec![b'm'; behind]].concat();
            let mut place = vec![b'.'; text.len() + left];
            let mut line = LineSpace::new(&mut place, text.len()).unwrap();
            line.put_part::<32>(Part::new(&memory, text.len()));
            prop_assert_eq!(line.left(), left);
            prop_assert_eq!(&place[..text.len()], &text[..]);
        }
    }
}

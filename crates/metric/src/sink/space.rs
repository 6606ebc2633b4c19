//! The place for one line: found to be long enough once, then written from its front.

use super::spelling::copy_plain;
use crate::value_text::ValueText;

/// The rest of the place.
pub(super) struct LineSpace<'s> {
    rest: &'s mut [u8],
}

impl<'s> LineSpace<'s> {
    /// The first `bytes` of `rest`; `None` if it has fewer.
    #[inline]
    pub(super) fn new(rest: &'s mut [u8], bytes: usize) -> Option<Self> {
        if rest.len() < bytes { None } else { Some(Self { rest }) }
    }

    /// The bytes that are left of all that was given.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.rest = rest;
    }

    /// Writes `text` if it is plain; if not, returns false, and what is written means nothing.
    #[inline]
    pub(super) fn put_plain(&mut self, text: &[u8]) -> bool {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(text.len());
        self.rest = rest;
        copy_plain(text, place)
    }

    /// Writes a value, of which all bytes are copied, so that the number of them is known when this is compiled. There
    /// must be as many left.
    #[inline]
    pub(super) fn put_value(&mut self, text: &ValueText) {
        self.rest[..ValueText::BYTES_MAX].copy_from_slice(&text.bytes);
        self.rest = &mut std::mem::take(&mut self.rest)[text.length..];
    }
}

//! Text of a line as it grows. A text is judged while it is copied: one pass over its words, no call.

use super::Part;
use super::spelling::copy_plain;
use std::ops::Deref;

/// Spelled text.
#[derive(Debug, Default)]
pub(super) struct Spelled {
    /// The text, and behind it space that is written to before it is known whether it becomes text.
    bytes: Vec<u8>,
    length: usize,
}

/// Bytes of the first allocation: those of most names, and of most sets of tags.
const FIRST_BYTES: usize = 256;

impl Spelled {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), length: 0 }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    #[inline]
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The text.
    #[inline]
    pub(super) fn part(&self) -> Part<'_> {
        self.front(self.length)
    }

    /// The first `length` bytes.
    #[inline]
    pub(super) fn front(&self, length: usize) -> Part<'_> {
        Part::new(&self.bytes, length.min(self.length))
    }

    /// The next `count` bytes behind the text, to be written and then [taken](Self::take).
    #[inline]
    pub(super) fn space(&mut self, count: usize) -> &mut [u8] {
        let end = self.length + count;
        if end > self.bytes.len() {
            self.grow(end);
        }
        &mut self.bytes[self.length..end]
    }

    /// Grows as a vector does.
    #[cold]
    fn grow(&mut self, end: usize) {
        self.bytes.resize(end.max(2 * self.bytes.len()).max(FIRST_BYTES), 0);
    }

    /// Makes the first `count` bytes of the [space](Self::space) part of the text.
    #[inline]
    pub(super) fn take(&mut self, count: usize) {
        self.length = (self.length + count).min(self.bytes.len());
    }

    /// Appends bytes that are spelled already.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.take(bytes.len());
    }

    /// Appends `text` if it is plain; if not, returns false, and the text is as it was.
    #[inline]
    pub(super) fn put_plain(&mut self, text: &[u8]) -> bool {
        let is_plain = copy_plain(text, self.space(text.len()));
        if is_plain {
            self.take(text.len());
        }
        is_plain
    }

    /// Appends UTF-8 text with the escapes that it needs.
    #[cold]
    pub(super) fn put_escaped(&mut self, mut text: &[u8]) {
        while let Some(at) = text.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.put(&text[..at]);
            crate::text::spell(char::from(text[at]), &mut |escape| self.put(escape));
            text = &text[at + 1..];
        }
        self.put(text);
    }

    /// Removes `bytes` bytes at `start`.
    pub(super) fn remove(&mut self, start: usize, bytes: usize) {
        self.bytes.copy_within(start + bytes..self.length, start);
        self.length -= bytes;
    }

    /// Puts `text`, which must be plain, into the place of `bytes` bytes at `start`. If it is not plain, returns false,
    /// and nothing from `start` on means anything.
    #[inline]
    pub(super) fn replace(&mut self, start: usize, bytes: usize, text: &[u8]) -> bool {
        if bytes != text.len() {
            self.move_rest(start + bytes, start + text.len());
        }
        copy_plain(text, &mut self.bytes[start..start + text.len()])
    }

    /// Moves what begins at `from` to `to`.
    #[inline]
    fn move_rest(&mut self, from: usize, to: usize) {
        let length = to + self.length - from;
        self.space(length.saturating_sub(self.length));
        self.bytes.copy_within(from..self.length, to);
        self.length = length;
    }
}

impl Deref for Spelled {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_not_plain_leave_no_trace() {
        let mut text = Spelled::new();
        assert!(text.put_plain(b"plain"));
        assert!(!text.put_plain(b"a longer text with a \" in it"));
        text.put_escaped(b"\"");
        assert_eq!(*text, *b"plain\\\"");
        text.remove(0, 5);
        assert_eq!(*text, *b"\\\"");
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_spelled_as_ever(text: String) {
            let mut spelled = Spelled::new();
            spelled.put_escaped(text.as_bytes());
            let mut expected = Vec::new();
            crate::sink::spell(text.as_bytes(), &mut expected);
            prop_assert_eq!(&*spelled, &expected[..]);
        }

        #[test]
        fn a_replaced_part_is_as_in_a_vector(text in "[a-z]{0,300}", part in "[A-Z]{0,300}", at: (u16, u16)) {
            let start = usize::from(at.0) % (text.len() + 1);
            let bytes = usize::from(at.1) % (text.len() - start + 1);
            let mut spelled = Spelled::new();
            assert!(spelled.put_plain(text.as_bytes()));
            assert!(spelled.replace(start, bytes, part.as_bytes()));
            let mut expected = text;
            expected.replace_range(start..start + bytes, &part);
            prop_assert_eq!(&*spelled, expected.as_bytes());
        }
    }
}

//! The tags of a series as a set: several values under one key become one value.

use crate::text::Text;
use crate::{Reject, Series};

/// Tags of one series, with repeated keys.
#[derive(Debug, Default)]
pub(super) struct TagTable {
    /// The key and value of each, one behind the other.
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Values under one key, with commas between.
    joined: Vec<u8>,
}

/// Offsets of a tag in [`TagTable::bytes`].
#[derive(Debug, Clone, Copy)]
struct Span {
    key: usize,
    value: usize,
    end: usize,
}

impl TagTable {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>() + self.joined.capacity()
    }

    /// Appends a tag whose key is made of `key`'s parts.
    pub(super) fn push(&mut self, key: &[&[u8]], value: &Text<'_>) {
        let start = self.bytes.len();
        key.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let middle = self.bytes.len();
        self.append(value);
        self.spans.push(Span { key: start, value: middle, end: self.bytes.len() });
    }

    /// Appends the tag `k:v`, or `k` with an empty value. An empty text is no tag.
    pub(super) fn push_pair(&mut self, pair: &Text<'_>) {
        let start = self.bytes.len();
        self.append(pair);
        let pair = &self.bytes[start..];
        if pair.is_empty() {
            return;
        }
        let colon = memchr::memchr(b':', pair);
        let middle = start + colon.unwrap_or(pair.len());
        if colon.is_some() {
            self.bytes.remove(middle);
        }
        self.spans.push(Span { key: start, value: middle, end: self.bytes.len() });
    }

    fn append(&mut self, text: &Text<'_>) {
        if text.has_escapes() {
            text.decoded().for_each(|byte| self.bytes.push(byte));
        } else {
            self.bytes.extend_from_slice(text.raw());
        }
    }

    /// Gives `series` the tags by order of their keys: each key once, its values in order and joined by commas, each of
    /// them once. Time is that of sorting, whatever is repeated.
    ///
    /// # Errors
    /// As [`Series::push_unique_tag`].
    pub(super) fn describe(&mut self, series: &mut Series) -> Result<(), Reject> {
        let Self { bytes, spans, joined } = self;
        let key = |tag: &Span| &bytes[tag.key..tag.value];
        let value = |tag: &Span| &bytes[tag.value..tag.end];
        spans.sort_unstable_by(|a, b| key(a).cmp(key(b)).then_with(|| value(a).cmp(value(b))));
        for same in spans.chunk_by(|a, b| key(a) == key(b)) {
            match same {
                [] => {}
                [tag] => series.push_unique_tag(key(tag), value(tag))?,
                [first, ..] => {
                    joined.clear();
                    joined.extend_from_slice(value(first));
                    for (before, tag) in same.iter().zip(&same[1..]) {
                        if value(before) != value(tag) {
                            joined.push(b',');
                            joined.extend_from_slice(value(tag));
                        }
                    }
                    series.push_unique_tag(key(first), joined)?;
                }
            }
        }
        Ok(())
    }
}

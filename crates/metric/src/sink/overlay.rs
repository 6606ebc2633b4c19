//! Extension of [`Series`] for nested protocols: tags of an outer element that those of an inner one override.

use super::{Reject, Series};

impl Series {
    /// Appends a tag though its key may be there already, and returns the index of the latest tag with the same key,
    /// which the caller leaves out ([`copy_without`](Self::copy_without)). Unlike [`set_tag`](Self::set_tag) it moves
    /// nothing, and a [`mark`](Self::mark) from before stays valid.
    ///
    /// # Errors
    /// [`Reject::Tags`] if a side is not UTF-8 or too long, or if there are too many.
    #[inline]
    pub fn push_tag_over(&mut self, key: &[u8], value: &[u8]) -> Result<Option<usize>, Reject> {
        self.append_tag(key, value)?;
        let Some((last, others)) = self.spans.split_last() else { return Ok(None) };
        let spelled = &self.tags[last.key..last.key_end];
        Ok(others.iter().rposition(|other| self.tags[other.key..other.key_end] == *spelled))
    }

    /// The index of the latest tag with this key, which needs no escapes.
    #[must_use]
    pub fn find_tag(&self, key: &[u8]) -> Option<usize> {
        self.spans.iter().rposition(|span| self.tags[span.key..span.key_end] == *key)
    }

    /// Bytes of the name and the tags as the log has them.
    #[must_use]
    pub fn spelled_bytes(&self) -> usize {
        self.name.len() + self.tags.len()
    }

    /// Becomes a copy of `other`, without the tags whose indices are in `left_out`, in ascending order.
    pub fn copy_without(&mut self, other: &Self, left_out: &[usize]) {
        self.clear();
        self.bounds = other.bounds;
        self.name.put(&other.name);
        self.name_bytes = other.name_bytes;
        let mut left_out = left_out.iter().copied().peekable();
        for (index, span) in other.spans.iter().enumerate() {
            if left_out.next_if_eq(&index).is_some() {
                continue;
            }
            if !self.tags.is_empty() {
                self.tags.put(b",");
            }
            // With the quotation marks around it.
            let start = self.tags.len();
            self.tags.put(&other.tags[span.key - 1..=span.value_end]);
            let mut copy = *span;
            for offset in [&mut copy.key, &mut copy.key_end, &mut copy.value_end] {
                *offset = *offset + start + 1 - span.key;
            }
            self.spans.push(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;

    #[test]
    fn a_tag_over_another_leaves_marks_valid() {
        let mut series = Series::new(Bounds::default());
        series.push_name(b"m").unwrap();
        series.push_tag(b"a", b"1").unwrap();
        series.push_tag(b"b", b"\"").unwrap();
        let mark = series.mark();
        assert_eq!(series.push_tag_over(b"c", b"3"), Ok(None));
        assert_eq!(series.push_tag_over(b"a", b"4"), Ok(Some(0)));
        assert_eq!(series.push_tag_over(b"a", b"5"), Ok(Some(3)));
        assert_eq!(series.find_tag(b"a"), Some(4));
        let mut copy = Series::new(Bounds::default());
        copy.copy_without(&series, &[0, 3]);
        assert_eq!(copy.name(), b"m");
        assert_eq!(*copy.tags, *br#""b":"\"","c":"3","a":"5""#);
        assert_eq!((copy.find_tag(b"b"), copy.find_tag(b"c"), copy.find_tag(b"a")), (Some(0), Some(1), Some(2)));
        series.reset_to(mark);
        assert_eq!(*series.tags, *br#""a":"1","b":"\"""#);
    }
}

//! Lines of series that are spelled already: parts of a [`Series`] to keep, and lines made of them.

use super::space::LineSpace;
use super::{BEFORE_VALUE, BETWEEN, FRAME_BYTES_MAX, LineSink, Series, TAGS_END, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use super::{Value, put_kind, put_value};
use crate::Kind;
use crate::protocol::CachedSeries;

impl Series {
    /// Writes to `text` what a line has of this series, and returns the parts of it. The tag with the key `gap`, which
    /// needs no escapes, has no value there. `None` if there is no such tag.
    pub(crate) fn cached<'t>(&self, gap: Option<&[u8]>, kind: Kind, text: &'t mut Vec<u8>) -> Option<CachedSeries<'t>> {
        let (tags, behind) = match gap {
            Some(key) => {
                let span = self.spans.get(self.find_tag(key)?)?;
                (&self.tags[..span.key_end + BETWEEN.len()], &self.tags[span.value_end..])
            }
            None => (&self.tags[..], &[][..]),
        };
        text.clear();
        [&self.name, BEFORE_VALUE, tags, behind, TAGS_END].iter().for_each(|part| text.extend_from_slice(part));
        let (name, rest) = text.split_at(self.name.len() + BEFORE_VALUE.len());
        let (tags, tags_behind) = rest.split_at(tags.len());
        Some(CachedSeries { name, tags, tags_behind, kind })
    }
}

impl LineSink<'_> {
    /// Writes the line of one sample of a series as [`push`](Self::push) does, with `gap`, which is plain, as the value
    /// that the series lacks. Returns false, and has written nothing, for all that is not as simple: the timestamp is
    /// out of range, or a bound may be exceeded. Then it is for `push` to decide.
    #[inline]
    pub(crate) fn push_cached(
        &mut self,
        series: &CachedSeries<'_>,
        gap: &[u8],
        kind: Kind,
        value: Value<'_>,
        timestamp_ms: i64,
    ) -> bool {
        if timestamp_ms != self.head_ms {
            if !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&timestamp_ms) {
                return false;
            }
            self.set_head(timestamp_ms);
        }
        let Ok(known) = self.known_with(1) else { return false };
        let digits = if let Value::Digits(digits) = value { digits.len() } else { 0 };
        let parts_bytes = series.name.len() + series.tags.len() + gap.len() + series.tags_behind.len();
        let bytes_max = FRAME_BYTES_MAX + digits + parts_bytes;
        let Some(mut line) = LineSpace::new(&mut self.out[self.bytes..], bytes_max) else { return false };
        line.put(&self.head);
        line.put(series.name);
        put_value(value, &mut line);
        put_kind(kind, &mut line);
        line.put(series.tags);
        line.put(gap);
        line.put(series.tags_behind);
        let left = line.left();
        self.count_line(known, left, timestamp_ms);
        true
    }
}

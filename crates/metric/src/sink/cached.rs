//! Lines of series that are spelled already: parts of a [`Series`] to keep, and lines made of them.

use super::space::LineSpace;
use super::{BEFORE_VALUE, BETWEEN, FRAME_BYTES_MAX, LineSink, Series, TAGS_END};
use super::{Part, STALE, STALE_NAN_BITS, Value, put_kind, put_value};
use super::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use crate::Kind;
use crate::limits::SERIES_BYTES_MAX;
use crate::protocol::CachedSeries;
use crate::value_text::{Place, put_float};

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
        let [name, tags, tags_behind] = [name, tags, tags_behind].map(Part::of);
        Some(CachedSeries { name, tags, tags_behind, kind })
    }
}

impl Series {
    /// The first `count` tags as a line has them, of which there are as many at least.
    #[inline]
    pub(crate) fn spelled_tags(&self, count: usize) -> Part<'_> {
        let end = count.checked_sub(1).and_then(|last| self.spans.get(last)).map_or(0, |span| span.value_end + 1);
        self.tags.front(end)
    }

    /// The keys of the tags as a line has them.
    pub(crate) fn spelled_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|span| &self.tags[span.key..span.key_end])
    }

    /// As [`cached`](Self::cached), without the first `count` tags.
    pub(crate) fn cached_behind<'t>(
        &self,
        count: usize,
        gap: Option<&[u8]>,
        kind: Kind,
        text: &'t mut Vec<u8>,
    ) -> Option<CachedSeries<'t>> {
        let series = self.cached(gap, kind, text)?;
        let tags = series.tags.text().get(self.spelled_tags(count).len()..)?;
        Some(CachedSeries { tags: Part::of(tags), ..series })
    }
}

/// Bytes of the blocks by which parts of a series are copied: most names, and most tags on one side of a gap.
pub(crate) const TEXT_BLOCK_BYTES: usize = 64;
/// The same for the value in a gap.
pub(super) const GAP_BLOCK_BYTES: usize = 32;

/// Writes a float, or the stale marker, to the front of `place`, and returns its length.
#[inline(always)]
pub(super) fn put_float_or_stale(float: f64, place: &mut Place) -> usize {
    if float.to_bits() == STALE_NAN_BITS {
        place[..STALE.len()].copy_from_slice(STALE);
        return STALE.len();
    }
    put_float(float, place)
}

impl LineSpace<'_> {
    /// Writes the tags of a series, with `gap` as the value that it lacks, and the end of its line.
    #[inline(always)]
    fn put_rest(&mut self, series: &CachedSeries<'_>, gap: Part<'_>) {
        self.put_part::<TEXT_BLOCK_BYTES>(series.tags);
        self.put_part::<GAP_BLOCK_BYTES>(gap);
        self.put_part::<TEXT_BLOCK_BYTES>(series.tags_behind);
    }
}

impl LineSink<'_> {
    /// Writes a gauge as [`push_cached`](Self::push_cached) does, whose name is that of the series with `_` and `field`
    /// behind it, if that is not empty. False too if `field` has escapes.
    #[inline]
    pub(crate) fn push_cached_field(
        &mut self,
        series: &CachedSeries<'_>,
        field: &[u8],
        gap: Part<'_>,
        value: Value<'_>,
        timestamp_ms: Option<i64>,
    ) -> bool {
        let timestamp_ms = timestamp_ms.unwrap_or(self.arrival_ms);
        let digits = if let Value::Digits(digits) = value { digits.len() } else { 0 };
        let name_bytes = series.name.len() + 1 + field.len();
        let bytes_max = name_bytes + digits + series.tags.len() + gap.len() + series.tags_behind.len();
        let Some((mut line, known)) = self.begin_cached(timestamp_ms, bytes_max) else { return false };
        line.put_part::<TEXT_BLOCK_BYTES>(series.name);
        if !field.is_empty() {
            line.put(b"_");
            if !line.put_plain(field) {
                return false;
            }
        }
        line.put(BEFORE_VALUE);
        put_value(value, &mut line);
        put_kind(Kind::Gauge, &mut line);
        line.put_rest(series, gap);
        let left = line.left();
        self.count_line(known, left);
        true
    }

    /// Makes the head of the next lines that of a timestamp; `None` if that is out of range.
    #[inline(always)]
    pub(super) fn take_head(&mut self, timestamp_ms: i64) -> Option<()> {
        if timestamp_ms != self.head_ms {
            if !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&timestamp_ms) {
                return None;
            }
            self.set_head(timestamp_ms);
        }
        Some(())
    }

    /// Begins a line with its head, with space for `bytes` more and what is in every line; and the number of metrics
    /// with it.
    #[inline(always)]
    fn begin_cached(&mut self, timestamp_ms: i64, bytes: usize) -> Option<(LineSpace<'_>, u32)> {
        self.take_head(timestamp_ms)?;
        let known = self.known_with(1).ok()?;
        let mut line = LineSpace::new(&mut self.out[self.decoded.bytes..], FRAME_BYTES_MAX + bytes)?;
        line.put(&self.head);
        Some((line, known))
    }

    /// Writes the line of one sample of a series as [`push`](Self::push) does, with `gap`, which is plain, as the value
    /// that the series lacks. Returns false, and has written nothing, for all that is not as simple: the timestamp is
    /// out of range, or a bound may be exceeded. Then it is for `push` to decide.
    #[inline(always)]
    pub(crate) fn push_cached(
        &mut self,
        series: &CachedSeries<'_>,
        gap: Part<'_>,
        kind: Kind,
        value: Value<'_>,
        timestamp_ms: i64,
    ) -> bool {
        self.push_cached_behind(series, Part::EMPTY, gap, kind, value, timestamp_ms)
    }

    /// As [`push_cached`](Self::push_cached), of a series that was taken [without](Series::cached_behind) its first
    /// tags: with those of `front`. Compiled into each caller, which knows the kind of the value, and mostly that there
    /// is no front.
    #[inline(always)]
    pub(crate) fn push_cached_behind(
        &mut self,
        series: &CachedSeries<'_>,
        front: Part<'_>,
        gap: Part<'_>,
        kind: Kind,
        value: Value<'_>,
        timestamp_ms: i64,
    ) -> bool {
        let digits = if let Value::Digits(digits) = value { digits.len() } else { 0 };
        let tags = front.len() + series.tags.len() + gap.len() + series.tags_behind.len();
        // Those of one without others in front have kept to it.
        if front.len() > 0 && tags > SERIES_BYTES_MAX {
            return false;
        }
        let bytes_max = digits + series.name.len() + tags;
        let Some((mut line, known)) = self.begin_cached(timestamp_ms, bytes_max) else { return false };
        line.put_part::<TEXT_BLOCK_BYTES>(series.name);
        put_value(value, &mut line);
        put_kind(kind, &mut line);
        line.put_part::<TEXT_BLOCK_BYTES>(front);
        line.put_rest(series, gap);
        let left = line.left();
        self.count_line(known, left);
        true
    }
}

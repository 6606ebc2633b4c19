//! Lines of line protocol whose measurement and tags are in the cache: they are not read again, only their fields are.

use super::super::series_cache::{CachedSeries, Key, SeriesCache};
use super::Element;
use super::scan::{BACKSLASH, COMMA, EQUALS, LINE_FEED, SPACE, until};
use crate::sink::{Part, is_plain};
use crate::{Bounds, Kind, LineSink, Series, Value};
use memchr::memmem;

/// The tags in which the lines of one target differ from those of the next: Telegraf has the first.
const GAPS: [&[u8]; 2] = [b"host", b"instance"];
/// The same with what stands around them.
const GAP_TAGS: [&[u8]; 2] = [b",host=", b",instance="];
/// Bytes of the value in a gap, at most.
const GAP_BYTES_MAX: usize = 255;
/// Bytes of a spelling that is copied for the cache, at most: it takes none of them.
const SPELLED_BYTES_MAX: usize = 512;

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    /// The spelling of one that gets into the cache.
    text: Vec<u8>,
    gap_bytes_limit: usize,
    name_bytes_limit: usize,
}

/// A measurement with its tags in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    index: usize,
    /// Offsets in the body of the value in the gap.
    gap: (usize, usize),
}

impl Cached {
    pub(super) fn new(bounds: Bounds) -> Self {
        let gap_bytes_limit = bounds.tag_bytes_limit.min(GAP_BYTES_MAX);
        Self { cache: SeriesCache::new(), text: Vec::new(), gap_bytes_limit, name_bytes_limit: bounds.name_bytes_limit }
    }

    /// Takes no series any more.
    #[cfg(test)]
    pub(super) fn disable(&mut self) {
        self.cache = SeriesCache::disabled();
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        self.cache.kept_bytes() + self.text.capacity()
    }

    /// Finds the measurement and the tags of the line at `start`, if they are expected, and the offset of the space
    /// behind them.
    #[inline]
    pub(super) fn find(&mut self, body: &[u8], start: usize) -> Option<(Found, usize)> {
        let Self { cache, gap_bytes_limit, .. } = self;
        let (index, (gap, end)) = cache.find_expected(|_, key| read(key, body, start, *gap_bytes_limit))?;
        Some((Found { index, gap }, end))
    }

    /// Takes the line at `start`, whose tags end at `end` and are in `series`: the next time it is expected behind the
    /// line before it.
    pub(super) fn note(&mut self, body: &[u8], start: usize, end: usize, series: &Series) {
        if !self.cache.is_searched() || !series.has_plain_name() || series.spelled_bytes() > SPELLED_BYTES_MAX {
            return;
        }
        let Some((key, gap)) = split(&body[start..=end]) else { return };
        match self.cache.find(&key) {
            Some(index) => {
                self.cache.hit(index);
            }
            None => {
                if let Some(cached) = series.cached_with_fields(gap, &mut self.text) {
                    self.cache.insert(&key, &cached);
                }
            }
        }
    }

    /// Writes the line of the field `key`, which has no escapes, with the digits at these offsets of the body, as
    /// [`push`](Self::push) does. `None`, and nothing is written, if it is for that to decide.
    #[inline(always)]
    pub(super) fn push_short(
        &mut self,
        body: &[u8],
        found: Found,
        key: Element,
        digits: (usize, usize),
        timestamp_ms: Option<i64>,
        sink: &mut LineSink<'_>,
    ) -> Option<()> {
        let series = self.cache.hit_short(found.index)?;
        let part = |start: usize, end: usize| Some(Part::new(body.get(start..)?, end - start));
        let mut field = part(key.start, key.end)?;
        if field.text() == b"value" {
            field = Part::EMPTY;
        }
        if usize::from(series.lengths[0]) + 1 + field.len() > self.name_bytes_limit {
            return None;
        }
        let gap = part(found.gap.0, found.gap.1)?.block()?;
        let timestamp_ms = timestamp_ms.unwrap_or(sink.arrival_ms());
        sink.push_short_field(&series, field, gap, part(digits.0, digits.1)?, timestamp_ms)
    }

    /// Writes the line of the field `key` of a measurement. False, and nothing is written, if that is not as simple.
    #[inline(never)]
    pub(super) fn push(
        &mut self,
        body: &[u8],
        found: Found,
        key: &[u8],
        value: Value<'_>,
        timestamp_ms: Option<i64>,
        sink: &mut LineSink<'_>,
    ) -> bool {
        let Some(series) = self.cache.hit(found.index) else { return false };
        let gap = Part::new(&body[found.gap.0..], found.gap.1 - found.gap.0);
        let field = if key == b"value" { &[] } else { key };
        if series.name.len() + 1 + field.len() > self.name_bytes_limit {
            return false;
        }
        sink.push_cached_field(&series, field, gap, value, timestamp_ms)
    }
}

/// Offsets of the value in the gap of the line at `start`, and of the space behind its tags, if the line has this key.
#[inline]
fn read(key: &Key<'_>, body: &[u8], start: usize, gap_bytes_limit: usize) -> Option<((usize, usize), usize)> {
    let rest = body[start..].strip_prefix(key.before)?;
    let gap_start = body.len() - rest.len();
    let mut gap_end = gap_start;
    if key.has_gap {
        gap_end = until(body, gap_start, COMMA | SPACE | EQUALS | BACKSLASH | LINE_FEED);
        let gap = &body[gap_start..gap_end];
        if gap.is_empty() || gap.len() > gap_bytes_limit || !is_plain(gap) {
            return None;
        }
    }
    let end = body[gap_end..].strip_prefix(key.behind)?;
    // The space is the last byte of the key.
    Some(((gap_start, gap_end), body.len() - end.len() - 1))
}

/// Splits the measurement and tags of a line, with the space behind them, at the value of the tag for the gap; returns
/// the key of that tag too. `None` if it is there twice.
fn split(head: &[u8]) -> Option<(Key<'_>, Option<&'static [u8]>)> {
    for (tag, name) in GAP_TAGS.iter().zip(GAPS) {
        let mut places = memmem::find_iter(head, tag);
        let Some(place) = places.next() else { continue };
        if places.next().is_some() {
            return None;
        }
        // An escaped comma does not begin a tag.
        if place == 0 || head[place - 1] == b'\\' {
            continue;
        }
        let start = place + tag.len();
        let end = until(head, start, COMMA | SPACE | EQUALS | BACKSLASH | LINE_FEED);
        if end == start || !matches!(head.get(end), Some(b',' | b' ')) {
            return None;
        }
        let key = Key { before: &head[..start], behind: &head[end..], has_gap: true, generation: 0 };
        return Some((key, Some(name)));
    }
    Some((Key { before: head, behind: &[], has_gap: false, generation: 0 }, None))
}

impl Series {
    /// True if it has a name without escapes.
    fn has_plain_name(&self) -> bool {
        self.is_named() && is_plain(self.name())
    }

    /// As [`cached`](Self::cached), with no more of the name than the measurement.
    fn cached_with_fields<'t>(&self, gap: Option<&[u8]>, text: &'t mut Vec<u8>) -> Option<CachedSeries<'t>> {
        let series = self.cached(gap, Kind::Gauge, text)?;
        Some(CachedSeries { name: Part::new(series.name.text(), self.name().len()), ..series })
    }
}

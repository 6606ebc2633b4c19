//! Lines of text whose name and labels are in the cache: they are not read again, only what is behind them is.
//!
//! A key is the bytes of a line up to its closing brace, or to the space behind a name without labels: what the decoder
//! of a whole line reads of them depends on no other byte of the body. Types are not in it, as they are the families'
//! to say. The labels of the request stand before those of the line; that they are other ones makes other keys only
//! where their names differ, so that a push gateway's groups share their series.

use super::super::generations::Generations;
use super::super::series_cache::{Key, SeriesCache};
use super::super::span::Span;
use super::tokens::metric_name_bytes;
use super::{Format, Options};
use crate::block::string_stops;
use crate::encode::BEFORE_VALUE;
use crate::sink::{FrontTags, Part, ShortValue};
use crate::{Bounds, Kind, LineSink, Series, SeriesMark, Value};
use memchr::{memchr, memchr2};

/// The label in which the series of one target differ from those of the next.
const GAP: &[u8] = b"instance";
/// The same with what stands before its value.
const GAP_LABEL: &[u8] = b"instance=\"";
/// Bytes of the value in a gap, at most.
const GAP_BYTES_MAX: usize = 255;
/// Bytes of a spelling that is copied for the cache, at most: it takes none of them.
const SPELLED_BYTES_MAX: usize = 4_096;

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    /// The spelling of one that gets into the cache.
    text: Vec<u8>,
    gap_bytes_limit: usize,
    generations: Generations,
    /// The number of what the keys of the present body depend on besides their bytes; `None` if none is looked up.
    generation: Option<u64>,
    /// The labels of the request, as a line has them, and the number of them.
    front: Vec<u8>,
    front_tags: usize,
    /// The same for short lines, and whether they are as short.
    short_front: FrontTags,
    is_front_short: bool,
    /// No label of the request replaces the one for the gap.
    has_gap: bool,
    /// The latest line was looked up, and its series is not in the cache.
    is_missed: bool,
    #[cfg(test)]
    is_off: bool,
}

/// A line whose name and labels are in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    index: usize,
    /// The value in the gap.
    gap: Part<'a>,
    /// The name, and whether it has labels.
    pub name: &'a [u8],
    pub has_labels: bool,
    /// Offset in the line of what is behind the name and labels.
    pub end: usize,
}

impl Cached {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            cache: SeriesCache::new(),
            text: Vec::new(),
            gap_bytes_limit: bounds.tag_bytes_limit.min(GAP_BYTES_MAX),
            generations: Generations::new(),
            generation: None,
            front: Vec::new(),
            front_tags: 0,
            short_front: FrontTags::EMPTY,
            is_front_short: false,
            has_gap: true,
            is_missed: false,
            #[cfg(test)]
            is_off: false,
        }
    }

    /// Finds nothing from now on.
    #[cfg(test)]
    pub(super) fn turn_off(&mut self) {
        self.is_off = true;
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        self.cache.kept_bytes() + self.text.capacity() + self.front.capacity() + self.generations.kept_bytes()
    }

    /// Begins a body: `series` has the labels of the request at `base`, if these can be stored.
    pub(super) fn begin_body(
        &mut self,
        options: &Options<'_>,
        are_labels_stored: bool,
        series: &Series,
        base: SeriesMark,
    ) {
        let front = series.spelled_tags(base.tags());
        self.generation = None;
        #[cfg(test)]
        if self.is_off {
            return;
        }
        if !are_labels_stored || front.len() > SPELLED_BYTES_MAX {
            return;
        }
        self.front_tags = base.tags();
        self.front.clear();
        self.front.extend_from_slice(front.text());
        self.is_front_short = self.short_front.take(front.text());
        self.has_gap = options.labels.iter().all(|(key, _)| key != GAP);
        self.text.clear();
        self.text.push(u8::from(options.format == Format::OpenMetrics));
        for (key, value) in options.labels {
            // None of them is longer than a tag may be, and a state of many is too long for a number.
            self.text.push(u8::from(value.is_empty()));
            self.text.extend_from_slice(&key.len().to_le_bytes());
            self.text.extend_from_slice(key);
        }
        self.generation = self.generations.number(&self.text);
    }

    /// Finds the name and labels at the front of `rest`, a line with or without what follows it, if they are expected.
    #[inline(always)]
    pub(super) fn find_expected<'a>(&self, rest: &'a [u8]) -> Option<Found<'a>> {
        // Only another value in the gap makes another series of it.
        if let Some((index, key)) = self.cache.latest()
            && key.has_gap
            && let Some((gap, end)) = self.behind(&key, rest)
        {
            return self.found(index, rest, gap, end);
        }
        let (index, key) = self.cache.expected()?;
        let (gap, end) = self.behind(&key, rest)?;
        self.found(index, rest, gap, end)
    }

    /// Finds the name and labels of `line`.
    #[inline(never)]
    pub(super) fn find<'a>(&mut self, line: &'a [u8]) -> Option<Found<'a>> {
        self.is_missed = false;
        let generation = self.generation?;
        if let Some(found) = self.find_expected(line) {
            return Some(found);
        }
        if !self.cache.is_searched() {
            return None;
        }
        let (key, gap, end) = self.split(line, generation)?;
        let index = self.cache.find(&key);
        self.is_missed = index.is_none();
        self.found(index?, line, gap, end)
    }

    #[inline(always)]
    fn found<'a>(&self, index: usize, line: &'a [u8], gap: &'a [u8], end: usize) -> Option<Found<'a>> {
        // A name without quotation marks is spelled as it is, and is the front of the line.
        let name = line.get(..self.cache.name_bytes(index).checked_sub(BEFORE_VALUE.len())?)?;
        let has_labels = line[end - 1] == b'}';
        if !has_labels && is_odd_behind_name(&line[end..]) {
            return None;
        }
        let gap = Span::new(line, gap).part_of(line);
        Some(Found { index, gap, name, has_labels, end })
    }

    /// The value in the gap, and the offset behind the labels of `line`, if these have the key.
    #[inline(always)]
    fn behind<'a>(&self, key: &Key<'_>, line: &'a [u8]) -> Option<(&'a [u8], usize)> {
        // The last byte of a key, or before its gap, is mostly another one in lines of other series.
        let end = key.before.len();
        if Some(key.generation) != self.generation || line.get(end.wrapping_sub(1)) != key.before.last() {
            return None;
        }
        let rest = line.strip_prefix(key.before)?;
        if !key.has_gap {
            return Some((&line[..0], end));
        }
        let gap = plain_front(rest);
        let rest = rest[gap.len()..].strip_prefix(key.behind)?;
        self.is_gap(gap).then_some((gap, line.len() - rest.len()))
    }

    /// True if `gap`, which has no escapes, is a value for the gap.
    #[inline]
    fn is_gap(&self, gap: &[u8]) -> bool {
        (1..=self.gap_bytes_limit).contains(&gap.len())
    }

    /// Splits a line into its key, the value in the gap, and the offset behind its name and labels. Of what is no valid
    /// line something is returned that never gets into the cache.
    fn split<'a>(&self, line: &'a [u8], generation: u64) -> Option<(Key<'a>, &'a [u8], usize)> {
        let name_bytes = metric_name_bytes(line);
        match *line.get(name_bytes)? {
            _ if name_bytes == 0 => None,
            b' ' => {
                let end = name_bytes + 1;
                Some((Key { before: &line[..end], behind: &[], has_gap: false, generation }, &[], end))
            }
            b'{' => self.split_labels(line, name_bytes + 1, generation),
            _ => None,
        }
    }

    /// As [`split`](Self::split), with the offset behind the opening brace.
    fn split_labels<'a>(&self, line: &'a [u8], labels: usize, generation: u64) -> Option<(Key<'a>, &'a [u8], usize)> {
        let mut at = labels;
        let mut gap: Option<(usize, usize)> = None;
        loop {
            let stop = at + memchr2(b'"', b'}', &line[at..])?;
            if line[stop] == b'}' {
                let key = &line[..=stop];
                let (before, behind, gap_text) = match gap {
                    Some((start, end)) => (&key[..start], &key[end..], &key[start..end]),
                    None => (key, &[][..], &[][..]),
                };
                return Some((Key { before, behind, has_gap: gap.is_some(), generation }, gap_text, stop + 1));
            }
            let value = stop + 1;
            let is_for_gap = gap.is_none()
                && self.has_gap
                && line[..value].strip_suffix(GAP_LABEL).is_some_and(|rest| matches!(rest, [.., b'{' | b',']));
            if is_for_gap {
                let text = plain_front(&line[value..]);
                // All of the value is plain.
                if !self.is_gap(text) || line.get(value + text.len()) != Some(&b'"') {
                    return None;
                }
                gap = Some((value, value + text.len()));
            }
            // An escape may hide a quotation mark.
            let end = value + memchr(b'"', &line[value..])?;
            if memchr(b'\\', &line[value..end]).is_some() {
                return None;
            }
            at = end + 1;
        }
    }

    /// Writes the line of a sample without a timestamp, whose value is a number of JSON. False, and nothing is written,
    /// if that is not as simple.
    #[inline]
    pub(super) fn push_digits(
        &mut self,
        found: &Found<'_>,
        kind: Kind,
        digits: Part<'_>,
        sink: &mut LineSink<'_>,
    ) -> bool {
        let is_stored = self.push_short(found, kind, digits, sink).is_some();
        is_stored || self.push(found, kind, Value::Digits(digits.text()), None, sink)
    }

    #[inline(always)]
    fn push_short(&mut self, found: &Found<'_>, kind: Kind, digits: Part<'_>, sink: &mut LineSink<'_>) -> Option<()> {
        if !self.is_front_short {
            return None;
        }
        let (series, gap) = (self.cache.hit_short(found.index)?, found.gap.block()?);
        let (value, timestamp_ms) = (ShortValue::Digits(digits), sink.arrival_ms());
        sink.push_short_behind(&series, &self.short_front, gap, kind, value, timestamp_ms)
    }

    /// Writes the line of a sample. False, and nothing is written, if that is not as simple.
    #[inline(never)]
    pub(super) fn push(
        &mut self,
        found: &Found<'_>,
        kind: Kind,
        value: Value<'_>,
        timestamp_ms: Option<i64>,
        sink: &mut LineSink<'_>,
    ) -> bool {
        let Some(series) = self.cache.hit(found.index) else { return false };
        let timestamp_ms = timestamp_ms.unwrap_or(sink.arrival_ms());
        sink.push_cached_behind(&series, Part::of(&self.front), found.gap, kind, value, timestamp_ms)
    }

    /// Takes the series of a line that was missed, and was stored just now.
    pub(super) fn note(&mut self, line: &[u8], series: &Series) {
        if !self.is_missed || series.spelled_bytes() > SPELLED_BYTES_MAX {
            return;
        }
        let Some((key, _, end)) = self.generation.and_then(|generation| self.split(line, generation)) else { return };
        if line[end - 1] != b'}' && is_odd_behind_name(&line[end..]) {
            return;
        }
        let (gap, mut text) = (key.has_gap.then_some(GAP), std::mem::take(&mut self.text));
        if let Some(cached) = series.cached_behind(self.front_tags, gap, Kind::Untyped, &mut text) {
            self.cache.insert(&key, &cached);
        }
        self.text = text;
    }
}

/// True if the name before `rest`, and before one space, may have labels behind more blanks.
#[inline]
fn is_odd_behind_name(rest: &[u8]) -> bool {
    matches!(rest, [b' ' | b'\t' | b'{', ..])
}

/// The bytes at the front of `text` that stand for themselves.
#[inline(always)]
fn plain_front(text: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(block) = text[at..].first_chunk() {
        let stops = string_stops(block);
        if stops != 0 {
            return &text[..at + stops.trailing_zeros() as usize];
        }
        at += block.len();
    }
    let is_plain = |byte: &u8| matches!(byte, b' '..0x80) && !matches!(byte, b'"' | b'\\');
    let rest = text[at..].iter().position(|byte| !is_plain(byte)).unwrap_or(text.len() - at);
    &text[..at + rest]
}

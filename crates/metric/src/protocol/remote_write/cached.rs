//! Series of remote write that are in the cache: one sample, with labels that were read before, is written as a line
//! without reading them again.
//!
//! Only what every sender writes is taken so: the labels first, then one sample, then the metadata of 2.0. All else,
//! and all that is refused or rejected, is left to the decoder of a whole series, and a series gets into the cache once
//! that has stored it.

use super::super::series_cache::{Key, SeriesCache};
use super::super::span::Span;
use super::labels::Labels;
use super::references::gap_of;
use super::seen::Found;
use super::v2::{kind_of, metadata_type};
use super::{LABELS_KEY, RemoteWrite, SAMPLES_KEY, kind_of_name, plain_sample};
use crate::sink::{GapText, NO_GAP, Part, ShortGap, ShortValue, is_plain};
use crate::{Bounds, Kind, LineSink, Series, Value};

/// The label in which the series of one target differ from those of the next.
pub(super) const GAP: &[u8] = b"instance";
/// Fields of this label up to the length of its value, behind the length of the label.
const GAP_FIELDS: &[u8] = b"\x0a\x08instance\x12";
/// Keys of the fields of a series: their numbers with the wire type of messages.
const METADATA_KEY: u8 = 5 << 3 | 2;
/// Keys of the fields of metadata: their numbers, 1 and 3, with the wire type of varints.
const TYPE_KEY: u8 = 1 << 3;
const HELP_KEY: u8 = 3 << 3;
/// Bytes of the value in a gap, at most.
const GAP_BYTES_MAX: usize = 255;
/// Bytes of a spelling that is copied for the cache, at most: it takes none of them.
const SPELLED_BYTES_MAX: usize = 512;
/// The generation of keys of 1.0, which depend on nothing else; those of 2.0 are above it.
const GENERATION_V1: u64 = 0;

/// Result of looking a series up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// A line is written.
    Stored,
    /// The series is not in the cache.
    Missed,
    /// The series was not looked up, or is not for the cache to store.
    Passed,
}

/// True for a text that stands for itself as the value in a gap.
pub(super) fn may_be_gap(text: &[u8], bytes_limit: usize) -> bool {
    text.len() <= bytes_limit && is_plain(text)
}

impl RemoteWrite {
    /// Writes the line of a series of 1.0 if its labels are in the cache.
    #[inline]
    pub(super) fn push_cached_v1(&mut self, series: &[u8], sink: &mut LineSink<'_>) -> Lookup {
        let expected = self.cached.cache.expected();
        let expected = expected.and_then(|(index, key)| Some((index, behind_labels(&key, series)?)));
        let (index, (gap, rest)) = match expected {
            Some(expected) => expected,
            None if !self.cached.cache.is_searched() => return Lookup::Passed,
            None => {
                let Some((key, gap, rest)) = split_labels(series) else { return Lookup::Passed };
                let Some(index) = self.cached.cache.find(&key) else { return Lookup::Missed };
                (index, (gap, rest))
            }
        };
        match only_sample(rest) {
            Some((sample, [])) => self.cached.push(index, Span::new(series, gap).part_of(series), sample, sink),
            _ => Lookup::Passed,
        }
    }

    /// Writes the line of a series of 2.0, a part of `body`, if its labels are in the cache.
    #[inline]
    pub(super) fn push_cached_v2(&mut self, body: &[u8], series: Part<'_>, sink: &mut LineSink<'_>) -> Lookup {
        let Self { cached, seen, .. } = self;
        let seen = cached.cache.find_expected(|index, _| seen.read(index, series));
        let (index, found) = match seen.map_or_else(|| self.find_by_numbers(body, series), Ok) {
            Ok(found) => found,
            Err(lookup) => return lookup,
        };
        let gap = match found.gap {
            None => None,
            Some(reference) => match self.symbols.gap(reference, body, self.cached.gap_bytes_limit) {
                None => return Lookup::Passed,
                gap => gap,
            },
        };
        let short = gap.map_or(Some(NO_GAP), |gap| gap.short.as_ref().map(GapText::short));
        let is_stored = short.is_some_and(|gap| self.cached.write(index, gap, found.kind, found.sample, sink))
            || self.cached.write_long(
                index,
                gap.map_or(Part::EMPTY, |gap| gap.text.part_of(body)),
                found.kind,
                found.sample,
                sink,
            );
        if is_stored { Lookup::Stored } else { Lookup::Passed }
    }

    /// Finds a series of 2.0 that did not come in this body as the expected one: its index, and what is read of it.
    #[inline(never)]
    fn find_by_numbers(&mut self, body: &[u8], series: Part<'_>) -> Result<(usize, Found), Lookup> {
        let Self { cached, symbols, texts, numbered, seen, .. } = self;
        let [LABELS_KEY, length @ 0..0x80, memory @ ..] = series.text() else { return Err(Lookup::Passed) };
        let (refs, rest) = memory.split_at_checked(usize::from(*length)).ok_or(Lookup::Passed)?;
        let (sample, rest) = only_sample(rest).ok_or(Lookup::Passed)?;
        let kind = only_metadata(body, rest).ok_or(Lookup::Passed)?;
        let expected = cached.cache.find_expected(|index, key| {
            let gap = gap_of(key, memory, refs.len(), body, symbols, texts)?;
            seen.note(index, series, refs.len(), &gap, kind);
            Some(gap.map(|(_, reference)| reference))
        });
        let (index, gap) = match expected {
            Some(expected) => expected,
            // Numbering the labels is most of what it costs.
            None if !cached.cache.is_searched() || numbered.read(body, refs, symbols, texts).is_none() => {
                return Err(Lookup::Passed);
            }
            None => {
                let index = cached.cache.find(&numbered.key(texts.generation())).ok_or(Lookup::Missed)?;
                (index, numbered.gap())
            }
        };
        Ok((index, Found { gap, kind, sample }))
    }

    /// Takes a series of 1.0 into the cache that was missed there, and was read just now.
    pub(super) fn cache_v1(&mut self, series: &[u8]) {
        if let Some((key, _, rest)) = split_labels(series)
            && let Some((_, [])) = only_sample(rest)
            && let Some(index) = self.cached.insert(&key, &self.labels, &self.series)
        {
            self.seen.forget(index);
        }
    }

    /// As [`cache_v1`](Self::cache_v1), for the series of 2.0 whose labels were numbered last.
    pub(super) fn cache_v2(&mut self) {
        let key = self.numbered.key(self.texts.generation());
        if let Some(index) = self.cached.insert(&key, &self.labels, &self.series) {
            self.seen.forget(index);
            self.tables.note_taken();
        }
    }
}

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    /// The spelling of one that gets into the cache.
    text: Vec<u8>,
    /// Bytes of the value in a gap, at most.
    gap_bytes_limit: usize,
    /// The latest one, which has no escapes: the series of a target share it.
    gap: Vec<u8>,
}

impl Cached {
    pub(super) fn new(bounds: Bounds) -> Self {
        let gap_bytes_limit = bounds.tag_bytes_limit.min(GAP_BYTES_MAX);
        Self { cache: SeriesCache::new(), text: Vec::new(), gap_bytes_limit, gap: Vec::new() }
    }

    /// Takes no series any more.
    #[cfg(test)]
    pub(super) fn disable(&mut self) {
        self.cache = SeriesCache::disabled();
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        self.cache.kept_bytes() + self.text.capacity() + self.gap.capacity()
    }

    /// Writes the line of one sample of the series at `index`.
    #[inline]
    fn push(&mut self, index: usize, gap: Part<'_>, sample: (f64, i64), sink: &mut LineSink<'_>) -> Lookup {
        if *gap.text() != *self.gap && !self.take_gap(gap.text()) {
            return Lookup::Passed;
        }
        let is_stored = gap.block().is_some_and(|gap| self.write(index, gap, None, sample, sink))
            || self.write_long(index, gap, None, sample, sink);
        if is_stored { Lookup::Stored } else { Lookup::Passed }
    }

    /// Writes a short line, with a gap that is known to need no escapes. False, and nothing is written, if that is not
    /// as simple.
    #[inline(always)]
    fn write(
        &mut self,
        index: usize,
        gap: ShortGap<'_>,
        kind: Option<Kind>,
        (value, timestamp_ms): (f64, i64),
        sink: &mut LineSink<'_>,
    ) -> bool {
        let Some(series) = self.cache.hit_short(index) else { return false };
        let kind = kind.unwrap_or(series.kind);
        sink.push_short(&series, gap, kind, ShortValue::Float(value), timestamp_ms).is_some()
    }

    /// As [`write`](Self::write), for a line of any length.
    #[inline(never)]
    fn write_long(
        &mut self,
        index: usize,
        gap: Part<'_>,
        kind: Option<Kind>,
        (value, timestamp_ms): (f64, i64),
        sink: &mut LineSink<'_>,
    ) -> bool {
        let Some(series) = self.cache.hit(index) else { return false };
        sink.push_cached(&series, gap, kind.unwrap_or(series.kind), Value::Float(value), timestamp_ms)
    }

    /// Takes the value of another gap, unless it is too long or has escapes.
    fn take_gap(&mut self, gap: &[u8]) -> bool {
        let is_taken = may_be_gap(gap, self.gap_bytes_limit);
        if is_taken {
            self.gap.clear();
            self.gap.extend_from_slice(gap);
        }
        is_taken
    }

    /// Takes the series with these labels, if they are valid and sorted: its index.
    fn insert(&mut self, key: &Key<'_>, labels: &Labels, series: &Series) -> Option<usize> {
        if !labels.are_spelled() || !series.is_named() || series.spelled_bytes() > SPELLED_BYTES_MAX {
            return None;
        }
        let kind = kind_of_name(series.name());
        let cached = series.cached(key.has_gap.then_some(GAP), kind, &mut self.text)?;
        self.cache.insert(key, &cached)
    }
}

/// The value in the gap, and what is behind the labels of `series`, if these have the key; all of them are in front.
#[inline]
fn behind_labels<'a>(key: &Key<'_>, series: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    if key.generation != GENERATION_V1 {
        return None;
    }
    let mut rest = series.strip_prefix(key.before)?;
    let mut gap = &[][..];
    if key.has_gap {
        let [LABELS_KEY, length @ 0..0x80, behind @ ..] = rest else { return None };
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        gap = gap_value(label)?;
        rest = behind.strip_prefix(key.behind)?;
    }
    // Behind it may be another label.
    matches!(rest, [SAMPLES_KEY, ..]).then_some((gap, rest))
}

/// Splits a series of 1.0 into its labels, the value in their gap, and what is behind them.
#[inline]
fn split_labels(series: &[u8]) -> Option<(Key<'_>, &[u8], &[u8])> {
    let mut rest = series;
    let mut gap: Option<(usize, &[u8], usize)> = None;
    while let [LABELS_KEY, length @ 0..0x80, behind @ ..] = rest {
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        if gap.is_none()
            && let Some(value) = gap_value(label)
        {
            gap = Some((series.len() - rest.len(), value, series.len() - behind.len()));
        }
        rest = behind;
    }
    // All labels are in front of the sample, and none is long.
    if !matches!(rest, [SAMPLES_KEY, ..]) {
        return None;
    }
    let labels = &series[..series.len() - rest.len()];
    let (before, gap, behind) = match gap {
        Some((start, value, end)) => (&labels[..start], Some(value), &labels[end..]),
        None => (labels, None, &[][..]),
    };
    let key = Key { before, behind, has_gap: gap.is_some(), generation: GENERATION_V1 };
    Some((key, gap.unwrap_or_default(), rest))
}

/// The value of a label of 1.0 if it is the one for the gap, as every sender writes it.
#[inline]
fn gap_value(label: &[u8]) -> Option<&[u8]> {
    let [length @ 1..0x80, value @ ..] = label.strip_prefix(GAP_FIELDS)? else { return None };
    (value.len() == usize::from(*length)).then_some(value)
}

/// A sample as every sender writes it, and what is behind it.
#[inline]
fn only_sample(rest: &[u8]) -> Option<((f64, i64), &[u8])> {
    let [SAMPLES_KEY, length @ 0..0x80, rest @ ..] = rest else { return None };
    let (sample, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((plain_sample(sample)?, rest))
}

/// The type that metadata of 2.0 says, if nothing else is in `rest`, or nothing at all.
#[inline(always)]
fn only_metadata(body: &[u8], rest: &[u8]) -> Option<Option<Kind>> {
    match rest {
        [] => Some(None),
        // As most senders write it: a type, and a reference of one or two bytes to the help.
        [METADATA_KEY, 4, TYPE_KEY, kind @ 0..0x80, HELP_KEY, 0..0x80]
        | [METADATA_KEY, 5, TYPE_KEY, kind @ 0..0x80, HELP_KEY, 0x80..=0xff, 0..0x80] => Some(kind_of((*kind).into())),
        rest => any_metadata(body, rest),
    }
}

#[inline(never)]
fn any_metadata(body: &[u8], rest: &[u8]) -> Option<Option<Kind>> {
    let [METADATA_KEY, length @ 0..0x80, metadata @ ..] = rest else { return None };
    if metadata.len() != usize::from(*length) {
        return None;
    }
    metadata_type(body, metadata).ok().map(Option::flatten)
}

//! Value lists that are in the cache: one that differs in its values, time and host alone from one that was stored is
//! written as lines without reading its other members.
//!
//! What is not as plain, and all that is skipped or rejected, is left to the decoder of a whole list, and a list gets
//! into the cache once that has read it.

use super::super::series_cache::{CachedSeries, Key, SeriesCache};
use super::super::template::{self, Gaps, SPELLED_BYTES_MAX, finite};
use super::{Lists, Sample};
use crate::encode::BEFORE_VALUE;
use crate::sink::Part;
use crate::{Bounds, LineSink, Series, SeriesMark, Value};

/// Kinds of gaps: the members that differ.
const VALUES: u8 = 1;
const TIME: u8 = 2;
const HOST: u8 = 3;
/// Values of a list that is cached, at most: collectd's own types have up to four.
const VALUES_MAX: usize = 8;
/// Bytes of a name's length in [`Cached::names`].
const LENGTH_BYTES: usize = 2;

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    gaps: Gaps,
    /// The template of a list that gets into the cache; the number of its values, and their names with what is between
    /// these and the values, each behind its length; and the spelling of its tags.
    template: Vec<u8>,
    names: Vec<u8>,
    text: Vec<u8>,
}

/// Contents of the gaps of a list.
struct Filled<'a> {
    values: [&'a [u8]; VALUES_MAX],
    count: usize,
    timestamp_ms: Option<i64>,
    /// True if the host is in a gap.
    has_host: bool,
    /// Bytes of the list.
    bytes: usize,
}

impl Cached {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            cache: SeriesCache::new(),
            gaps: Gaps::new(bounds),
            template: Vec::new(),
            names: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Takes no series any more.
    #[cfg(test)]
    pub(super) fn disable(&mut self) {
        self.cache = SeriesCache::disabled();
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        let scratch = self.template.capacity() + self.names.capacity() + self.text.capacity();
        self.cache.kept_bytes() + scratch + self.gaps.kept_bytes()
    }

    /// Writes the lines of the list at the front of `rest` if it is expected, and returns its length.
    #[inline]
    pub(super) fn push(&mut self, rest: &[u8], sink: &mut LineSink<'_>) -> Option<usize> {
        let Self { cache, gaps, .. } = self;
        let (index, filled) = cache.find_expected(|_, key| gaps.read_list(key, rest))?;
        let series = cache.hit(index)?;
        let (count, mut names) = series.name.text().split_first()?;
        if usize::from(*count) != filled.count {
            return None;
        }
        let timestamp_ms = filled.timestamp_ms.unwrap_or(sink.arrival_ms());
        let before = (filled.count > 1).then(|| sink.decoded());
        let host = Part::of(if filled.has_host { gaps.host.text() } else { &[] });
        let is_stored = filled.values.iter().take(filled.count).all(|value| {
            let Some(name) = next_name(&mut names) else { return false };
            let series = CachedSeries { name: Part::of(name), ..series };
            sink.push_cached(&series, host, series.kind, Value::Digits(value), timestamp_ms)
        });
        if !is_stored {
            // The decoder of a whole list stores those before once more.
            before.into_iter().for_each(|before| sink.reset_to(before));
            return None;
        }
        Some(filled.bytes)
    }

    /// Takes `list`, which has been read just now: `series` has its tags, and the first parts of its names up to
    /// `base`.
    pub(super) fn note(&mut self, list: &[u8], lists: &Lists<'_>, series: &mut Series, base: SeriesMark) {
        if !self.cache.is_searched() {
            return;
        }
        let Some(has_host) = self.template(list, lists) else { return };
        let key = Key { before: &self.template, behind: &[], has_gap: has_host, generation: 0 };
        if let Some(index) = self.cache.find(&key) {
            self.cache.hit(index);
            return;
        }
        let (Some(kind), Ok(count)) = (lists.kinds.first().copied().flatten(), u8::try_from(lists.names.len())) else {
            return;
        };
        self.names.clear();
        self.names.push(count);
        for name in &lists.names {
            series.reset_to(base);
            let is_pushed = !name.has_escapes() && !name.raw().is_empty() && series.push_name(name.raw()).is_ok();
            if !is_pushed || series.spelled_bytes() > SPELLED_BYTES_MAX {
                return;
            }
            let Ok(length) = u16::try_from(series.name().len() + BEFORE_VALUE.len()) else { return };
            [&length.to_le_bytes()[..], series.name(), BEFORE_VALUE].iter().for_each(|part| self.names.extend(*part));
        }
        let gap = has_host.then_some(&b"host"[..]);
        if let Some(cached) = series.cached(gap, kind, &mut self.text) {
            self.cache.insert(&key, &CachedSeries { name: Part::of(&self.names), ..cached });
        }
    }

    /// Makes `self.template` that of a list, and returns whether its host is a gap. `None` if it is no list for the
    /// cache: it has values of several types, or some that are not stored.
    fn template(&mut self, list: &[u8], lists: &Lists<'_>) -> Option<bool> {
        let kind = lists.kinds.first().copied().flatten()?;
        let are_plain = lists.values.len() <= VALUES_MAX
            && lists.values.iter().all(|value| matches!(value, Sample::Digits(_)))
            && lists.kinds.iter().all(|other| *other == Some(kind));
        if !are_plain {
            return None;
        }
        let limit = self.gaps.host_bytes_limit;
        let mut has_host = false;
        lists.members.template(list, &mut self.template, |name, value| match name {
            b"values" => Some(VALUES),
            b"time" if value != b"null" => Some(TIME),
            b"host" if template::is_json_host(value, limit) => {
                has_host = true;
                Some(HOST)
            }
            _ => None,
        })?;
        Some(has_host)
    }
}

/// Takes the first of the names that are each behind its length.
#[inline]
fn next_name<'a>(names: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = names.split_first_chunk::<LENGTH_BYTES>()?;
    let (name, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *names = behind;
    Some(name)
}

impl Gaps {
    /// Reads the gaps of the list at the front of `rest`, if it has this key.
    #[inline]
    fn read_list<'a>(&mut self, key: &Key<'_>, rest: &'a [u8]) -> Option<Filled<'a>> {
        let mut filled = Filled { values: [&[]; VALUES_MAX], count: 0, timestamp_ms: None, has_host: false, bytes: 0 };
        let behind = template::read(key.before, rest, |gap, rest| match gap {
            VALUES => filled.read_values(rest),
            TIME => {
                let (timestamp_ms, rest) = self.time.read(rest)?;
                filled.timestamp_ms = Some(timestamp_ms);
                Some(rest)
            }
            HOST => {
                filled.has_host = true;
                self.host.read_json(rest, self.host_bytes_limit)
            }
            _ => None,
        })?;
        filled.bytes = rest.len() - behind.len();
        Some(filled)
    }
}

impl<'a> Filled<'a> {
    /// Reads an array of numbers, and returns what is behind it.
    #[inline]
    fn read_values(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = rest.strip_prefix(b"[")?;
        loop {
            let place = self.values.get_mut(self.count)?;
            let (number, behind) = finite(rest)?;
            *place = number.text;
            self.count += 1;
            match behind {
                [b',', behind @ ..] => rest = behind,
                [b']', behind @ ..] => return Some(behind),
                _ => return None,
            }
        }
    }
}

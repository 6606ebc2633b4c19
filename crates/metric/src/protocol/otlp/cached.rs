//! Points of gauges and sums whose series are in the cache: their attributes and their metric are not read again.
//!
//! A key is what a metric and a point have as bytes: for the one what its name is made of, for the other its
//! attributes. The tags of the resource stand before those of the point, and are as they are: only their keys are part
//! of what a key depends on, as a point may override them.

use super::super::generations::Generations;
use super::super::series_cache::{CachedSeries, Key, SeriesCache, ShortSeries};
use super::writer::{CUMULATIVE, DELTA, MetricHead, Shape};
use crate::{Kind, Series};

/// Bytes of a spelling that is copied for the cache, at most: it takes none of them.
const SPELLED_BYTES_MAX: usize = 4_096;

/// Encoding that a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf = 0,
    Json = 1,
}

/// Returns whether a sum is monotonic, and its temporality, by the generation of its keys; `None` for a gauge.
#[inline]
pub(super) const fn totals_of(generation: u64) -> Option<(bool, i32)> {
    match generation >> 1 & 7 {
        1 => Some((false, 0)),
        2 => Some((false, DELTA)),
        3 => Some((false, CUMULATIVE)),
        4 => Some((true, 0)),
        5 => Some((true, DELTA)),
        6 => Some((true, CUMULATIVE)),
        _ => None,
    }
}

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    /// The spelling of one that gets into the cache.
    text: Vec<u8>,
    generations: Generations,
    /// The number of the present resource's keys; `None` if no point of it is looked up.
    generation: Option<u64>,
}

/// Result of looking a series up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    Found(usize),
    /// It is not in the cache.
    Missed,
    /// It was not looked up.
    Passed,
}

impl Cached {
    pub(super) const fn new() -> Self {
        Self { cache: SeriesCache::new(), text: Vec::new(), generations: Generations::new(), generation: None }
    }

    /// Takes no series any more.
    pub(super) fn disable(&mut self) {
        self.cache = SeriesCache::disabled();
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        self.cache.kept_bytes() + self.text.capacity() + self.generations.kept_bytes()
    }

    /// Begins a resource that is stored, with its tags in `series`; no point of one without is looked up.
    pub(super) fn begin_resource(&mut self, series: Option<&Series>) {
        self.generation = None;
        let Some(series) = series.filter(|series| series.spelled_bytes() <= SPELLED_BYTES_MAX) else { return };
        self.text.clear();
        for key in series.spelled_keys() {
            self.text.extend_from_slice(key);
            // No key has one that is not escaped.
            self.text.push(b'"');
        }
        self.generation = self.generations.number(&self.text);
    }

    /// Index of the series that came last.
    pub(super) const fn latest(&self) -> usize {
        self.cache.latest_index()
    }

    /// Expects again what is expected behind the series at `latest`.
    pub(super) const fn go_back_to(&mut self, latest: usize) {
        self.cache.go_back_to(latest);
    }

    /// The number of what the keys of a metric depend on besides their bytes.
    #[inline]
    pub(super) fn generation_of(&self, head: &MetricHead<'_>, encoding: Encoding) -> Option<u64> {
        let temporality = match head.temporality {
            DELTA => 1,
            CUMULATIVE => 2,
            _ => 0,
        };
        let shape = match head.shape {
            Shape::Gauge => 0,
            Shape::Sum { is_monotonic: false } => 1 + temporality,
            Shape::Sum { is_monotonic: true } => 4 + temporality,
            Shape::Histogram | Shape::Summary => return None,
        };
        Some((self.generation? << 3 | shape) << 1 | encoding as u64)
    }

    /// The series that is expected next, if it is one in JSON of a resource with the present keys.
    #[inline]
    pub(super) fn expected_json(&self) -> Option<(usize, Key<'_>)> {
        let generation = self.generation? << 4 | Encoding::Json as u64;
        // The shape of the metric is between the two.
        self.cache.expected().filter(|(_, key)| key.generation & !(7 << 1) == generation)
    }

    /// Expects a series that came now, which `series` is behind its first `count` tags, after the one before it.
    pub(super) fn note(&mut self, key: &Key<'_>, series: &Series, count: usize, kind: Kind) {
        if !self.cache.is_searched() {
            return;
        }
        match self.cache.find(key) {
            Some(index) => {
                self.cache.hit(index);
            }
            None => self.insert(key, series, count, kind),
        }
    }

    /// Looks a series up.
    #[inline]
    pub(super) fn find(&mut self, key: &Key<'_>) -> Lookup {
        if let Some((index, expected)) = self.cache.expected()
            && expected == *key
        {
            return Lookup::Found(index);
        }
        if !self.cache.is_searched() {
            return Lookup::Passed;
        }
        self.cache.find(key).map_or(Lookup::Missed, Lookup::Found)
    }

    /// The series that was found at `index`, which came now.
    #[inline]
    pub(super) fn hit(&mut self, index: usize) -> Option<CachedSeries<'_>> {
        self.cache.hit(index)
    }

    /// As [`hit`](Self::hit), if that is a short one.
    #[inline(always)]
    pub(super) fn hit_short(&mut self, index: usize) -> Option<ShortSeries<'_>> {
        self.cache.hit_short(index)
    }

    /// Takes a series that was missed, behind its first `count` tags.
    pub(super) fn insert(&mut self, key: &Key<'_>, series: &Series, count: usize, kind: Kind) {
        if series.spelled_bytes() <= SPELLED_BYTES_MAX
            && let Some(cached) = series.cached_behind(count, None, kind, &mut self.text)
        {
            self.cache.insert(key, &cached);
        }
    }
}

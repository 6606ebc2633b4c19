//! The cache of spelled series: the labels of a series as bytes of its protocol, and what a line has of them.
//!
//! An agent sends the same series again and again, nearly in the same order, and those of one target as those of the
//! next but for the label `instance`. So a key has two parts, before and behind the value of that label (the gap),
//! which is read anew each time. A series is compared with the one that followed its predecessor the last time; where
//! it is another, it is looked up by a hash of its key. Both compare all bytes of the key: an equal key has an equal
//! spelling, as a decoder reads it without looking at any other byte.
//!
//! Promises: a cache takes no more than [`SERIES_CACHED_MAX`] slots of a fixed size, one after the other as they are
//! needed. Once they are full, one of `MISSES_PER_REPLACEMENT` misses replaces a slot, so that of more series than have
//! a slot some are found; and while few are, few are looked up. Keys that collide only make each other be read.

use crate::Kind;
use crate::limits::SERIES_CACHED_MAX;
use crate::sink::{Part, TEXT_BLOCK_BYTES};

/// Bytes of a slot's key and spelling, at most: five labels of a scraped series take some 250. A longer one is not
/// cached.
const SLOT_BYTES: usize = 480;
/// Parts of a spelling: the name, and the tags on both sides of the gap.
const SPELLED_PARTS: usize = 3;
/// Bytes of the places of the parts of a short spelling, a block each.
const SHORT_BYTES: usize = SPELLED_PARTS * TEXT_BLOCK_BYTES;
/// Series that are known to come after one.
const SUCCESSORS: usize = 2;
/// Misses for each slot that is replaced once all are taken.
const MISSES_PER_REPLACEMENT: u32 = 8;
/// Series that are not looked up after a miss, at most, once all slots are taken.
const PAUSE_MAX: u32 = 31;
/// Places of the table by hash: two for each slot.
const PLACES: usize = 2 * SERIES_CACHED_MAX;
const _: () = assert!(PLACES.is_power_of_two() && SERIES_CACHED_MAX <= u16::MAX as usize);

/// A series as bytes of its protocol, in two parts, before and behind the value of the label that is its gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub before: &'a [u8],
    pub behind: &'a [u8],
    /// False if it has no gap: then nothing is behind it.
    pub has_gap: bool,
    /// Number of the state that the meaning of the key depends on: keys of two generations are never equal.
    pub generation: u64,
}

/// Parts of a line that its series decides: [`LineSink::push_cached`](crate::LineSink) joins them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachedSeries<'a> {
    /// The name with what is between it and the value.
    pub name: Part<'a>,
    /// The tags up to the gap.
    pub tags: Part<'a>,
    /// Tags behind it, with the end of the line.
    pub tags_behind: Part<'a>,
    /// The type of a series of this name.
    pub kind: Kind,
}

/// The same of a series each part of which is a block of memory at most, and the lengths of the parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShortSeries<'a> {
    /// The name, the tags up to the gap, and what is behind it.
    pub blocks: &'a [[u8; TEXT_BLOCK_BYTES]; SPELLED_PARTS],
    pub lengths: [u8; SPELLED_PARTS],
    /// The type of a series of this name.
    pub kind: Kind,
}

#[derive(Debug, Clone)]
struct Slot {
    generation: u64,
    /// Offsets behind the parts in `bytes`: of the spelling three, and of the key two. So a block of the spelling ends
    /// within them.
    ends: [u16; SPELLED_PARTS + 2],
    /// Lengths of the parts of a short spelling, each of which has the place of a block.
    short: Option<[u8; SPELLED_PARTS]>,
    /// Indices of the two other slots that were used after this one, the latest first.
    next: [u16; SUCCESSORS],
    kind: Kind,
    has_gap: bool,
    bytes: [u8; SLOT_BYTES],
}

impl Slot {
    /// Offset of a part in `bytes`.
    #[inline]
    fn start(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            None => 0,
            Some(_) if index <= SPELLED_PARTS && self.short.is_some() => index * TEXT_BLOCK_BYTES,
            Some(before) => usize::from(self.ends[before]),
        }
    }

    #[inline]
    fn part(&self, index: usize) -> Part<'_> {
        let start = self.start(index);
        Part::new(self.bytes.get(start..).unwrap_or_default(), usize::from(self.ends[index]) - start)
    }

    #[inline]
    fn key(&self) -> Key<'_> {
        let (before, behind) = (self.part(3).text(), self.part(4).text());
        Key { before, behind, has_gap: self.has_gap, generation: self.generation }
    }
}

/// The cache. One is used for all bodies of a core's decoder.
#[derive(Debug)]
pub(super) struct SeriesCache {
    slots: Vec<Slot>,
    /// Indices of slots, by the hash of their keys; empty as long as there is none.
    places: Vec<u16>,
    /// Index of the slot that was used last.
    latest: usize,
    /// Index of the slot that is replaced next.
    oldest: usize,
    /// Misses since a slot was replaced.
    misses: u32,
    /// Series that are not looked up: those left of the present pause, and the length of the latest one.
    pause: u32,
    pause_length: u32,
}

impl SeriesCache {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), places: Vec::new(), latest: 0, oldest: 0, misses: 0, pause: 0, pause_length: 0 }
    }

    /// A cache that takes no series: to compare with.
    pub(super) fn disabled() -> Self {
        Self { pause: u32::MAX, ..Self::new() }
    }

    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.places.capacity() * size_of::<u16>()
    }

    /// The index and the key of the series that is expected next.
    #[inline]
    pub(super) fn expected(&self) -> Option<(usize, Key<'_>)> {
        let index = usize::from(self.slots.get(self.latest)?.next[0]);
        Some((index, self.slots.get(index)?.key()))
    }

    /// The index of the series that comes next, which `read` finds by its index and its key, and what that returns: the
    /// expected series, or the one that came in its place before. Where the series of a family come in a row that is
    /// not always as long, that is the one at its end.
    #[inline]
    pub(super) fn find_expected<T>(
        &mut self,
        mut read: impl FnMut(usize, &Key<'_>) -> Option<T>,
    ) -> Option<(usize, T)> {
        // One place at which `read` is called, so that it is compiled into the loop.
        let mut number = 0;
        let (index, value) = loop {
            let index = usize::from(self.slots.get(self.latest)?.next[number]);
            let key = self.slots.get(index)?.key();
            if let Some(value) = read(index, &key) {
                break (index, value);
            }
            number += 1;
            if number == SUCCESSORS {
                return None;
            }
        };
        if number > 0 {
            self.follow(index);
        }
        Some((index, value))
    }

    /// The index and the key of the latest series: with another value in the gap it may come again.
    #[inline]
    pub(super) fn latest(&self) -> Option<(usize, Key<'_>)> {
        Some((self.latest, self.slots.get(self.latest)?.key()))
    }

    /// Index of the latest series, to [go back to](Self::go_back_to).
    pub(super) const fn latest_index(&self) -> usize {
        self.latest
    }

    /// Makes the series at `latest` the latest one again: those that came since will be read once more.
    pub(super) const fn go_back_to(&mut self, latest: usize) {
        self.latest = latest;
    }

    /// Bytes of the name of the series at `index`, with what is between it and the value.
    #[inline]
    pub(super) fn name_bytes(&self, index: usize) -> usize {
        self.slots.get(index).map_or(0, |slot| slot.part(0).len())
    }

    /// Notes that the series at `index` came, and returns it.
    #[inline(always)]
    pub(super) fn hit(&mut self, index: usize) -> Option<CachedSeries<'_>> {
        self.latest = index;
        self.series(index)
    }

    /// The series at `index`.
    #[inline(always)]
    fn series(&self, index: usize) -> Option<CachedSeries<'_>> {
        let slot = self.slots.get(index)?;
        Some(CachedSeries { name: slot.part(0), tags: slot.part(1), tags_behind: slot.part(2), kind: slot.kind })
    }

    /// Notes as [`hit`](Self::hit) does that the series at `index` came; `None` if that is not a short one.
    #[inline(always)]
    pub(super) fn hit_short(&mut self, index: usize) -> Option<ShortSeries<'_>> {
        self.latest = index;
        let slot = self.slots.get(index)?;
        let blocks = slot.bytes.first_chunk::<SHORT_BYTES>()?.as_chunks().0.first_chunk()?;
        Some(ShortSeries { blocks, lengths: slot.short?, kind: slot.kind })
    }

    /// True if a series that is not the expected one is to be [looked up](Self::find): it costs a hash.
    #[inline]
    pub(super) fn is_searched(&mut self) -> bool {
        let is_searched = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        is_searched
    }

    /// Looks a series up: its index.
    pub(super) fn find(&mut self, key: &Key<'_>) -> Option<usize> {
        let index = usize::from(*self.places.get(place(key))?);
        if self.slots.get(index).is_some_and(|slot| slot.key() == *key) {
            self.pause_length = 0;
            self.follow(index);
            return Some(index);
        }
        if self.slots.len() == SERIES_CACHED_MAX {
            self.pause_length = PAUSE_MAX.min(2 * self.pause_length + 1);
            self.pause = self.pause_length;
        }
        None
    }

    /// Notes that the series at `index` came after the latest one.
    fn follow(&mut self, index: usize) {
        if let (Some(latest), Ok(next)) = (self.slots.get_mut(self.latest), u16::try_from(index))
            && latest.next[0] != next
        {
            latest.next = [next, latest.next[0]];
        }
    }

    /// Takes a series that was not found, with its spelling, if there is a slot for it: its index.
    pub(super) fn insert(&mut self, key: &Key<'_>, series: &CachedSeries<'_>) -> Option<usize> {
        let [name, tags, tags_behind] = [series.name, series.tags, series.tags_behind].map(Part::text);
        let parts = [name, tags, tags_behind, key.before, key.behind];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes > SLOT_BYTES {
            return None;
        }
        let index = self.free_slot()?;
        let slot = self.slots.get_mut(index)?;
        (slot.generation, slot.kind, slot.has_gap) = (key.generation, series.kind, key.has_gap);
        let is_short = parts.iter().take(SPELLED_PARTS).all(|part| part.len() <= TEXT_BLOCK_BYTES)
            && SHORT_BYTES + key.before.len() + key.behind.len() <= SLOT_BYTES;
        // At most TEXT_BLOCK_BYTES.
        slot.short = is_short.then(|| [name, tags, tags_behind].map(|part| part.len().to_le_bytes()[0]));
        for (index, part) in parts.iter().enumerate() {
            let start = slot.start(index);
            slot.bytes[start..start + part.len()].copy_from_slice(part);
            // At most SLOT_BYTES.
            slot.ends[index] = u16::try_from(start + part.len()).unwrap_or(0);
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, 0);
        }
        self.places[place(key)] = u16::try_from(index).unwrap_or(0);
        self.follow(index);
        self.latest = index;
        Some(index)
    }

    /// Index of a slot to write to.
    fn free_slot(&mut self) -> Option<usize> {
        if self.slots.len() < SERIES_CACHED_MAX {
            let index = self.slots.len();
            let next = u16::try_from(index).unwrap_or(0);
            let (kind, bytes) = (Kind::Gauge, [0; SLOT_BYTES]);
            self.slots.push(Slot {
                generation: 0,
                ends: [0; SPELLED_PARTS + 2],
                short: None,
                next: [next; SUCCESSORS],
                kind,
                has_gap: false,
                bytes,
            });
            return Some(index);
        }
        self.misses += 1;
        if self.misses < MISSES_PER_REPLACEMENT {
            return None;
        }
        self.misses = 0;
        let index = self.oldest;
        self.oldest = (index + 1) % SERIES_CACHED_MAX;
        Some(index)
    }
}

/// The place of a key in the table.
#[inline]
fn place(key: &Key<'_>) -> usize {
    let seed = key.generation << 1 | u64::from(key.has_gap);
    let hash = hash(key.behind, hash(key.before, seed));
    // The upper bits of a product depend on all bits below.
    usize::try_from(hash >> 32).unwrap_or(0) % PLACES
}

/// A hash of `text`. Whoever makes texts collide only makes them be read.
#[inline]
pub(super) fn hash(text: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(23);
    let (words, rest) = text.as_chunks::<8>();
    let mut hash = words.iter().fold(mix(seed, text.len() as u64), |hash, &word| mix(hash, u64::from_le_bytes(word)));
    // The last eight bytes of a text that has as many, or each byte: the words overlap.
    match text.last_chunk() {
        Some(&last) => hash = mix(hash, u64::from_le_bytes(last)),
        None => hash = rest.iter().fold(hash, |hash, &byte| mix(hash, u64::from(byte))),
    }
    hash.wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key<'_> {
        let (before, behind) = text.split_once('|').unwrap_or((text, ""));
        let has_gap = text.contains('|');
        Key { before: before.as_bytes(), behind: behind.as_bytes(), has_gap, generation: 0 }
    }

    fn insert(cache: &mut SeriesCache, text: &str) {
        let (name, tags, tags_behind) = (Part::of(text.as_bytes()), Part::of(b"t"), Part::of(b"b"));
        let series = CachedSeries { name, tags, tags_behind, kind: Kind::Counter };
        cache.insert(&key(text), &series);
    }

    fn name(cache: &mut SeriesCache, text: &str) -> Option<String> {
        let index = cache.find(&key(text))?;
        cache.hit(index).map(|series| String::from_utf8_lossy(series.name.text()).into_owned())
    }

    #[test]
    fn a_series_is_found_by_all_bytes_of_its_key() {
        let mut cache = SeriesCache::new();
        assert!(cache.is_searched() && cache.expected().is_none());
        assert_eq!(name(&mut cache, "ab|cd"), None);
        insert(&mut cache, "ab|cd");
        assert_eq!(name(&mut cache, "ab|cd").unwrap(), "ab|cd");
        for other in ["abcd", "abcd|", "a|bcd", "ab|ce", "ab|c", "ab|cd ", "", "|"] {
            assert_eq!(name(&mut cache, other), None, "{other}");
        }
        let other = Key { generation: 1, ..key("ab|cd") };
        assert_eq!(cache.find(&other), None);
    }

    #[test]
    fn a_series_is_expected_where_it_came_before() {
        let mut cache = SeriesCache::new();
        for text in ["a", "b", "c", "a", "c"] {
            match cache.find(&key(text)) {
                Some(index) => drop(cache.hit(index)),
                None => insert(&mut cache, text),
            }
        }
        name(&mut cache, "a").unwrap();
        let (index, expected) = cache.expected().unwrap();
        assert_eq!(expected, key("c"));
        let find =
            |cache: &mut SeriesCache, text| cache.find_expected(|_, expected| (*expected == key(text)).then_some(()));
        assert_eq!(find(&mut cache, "a"), None);
        assert_eq!(find(&mut cache, "c"), Some((index, ())));
        // What came before that is found too, and is expected then.
        let (second, ()) = find(&mut cache, "b").unwrap();
        assert_eq!(cache.expected().unwrap(), (second, key("b")));
        cache.hit(index).unwrap();
        assert_eq!(cache.expected().unwrap().1, key("a"));
    }

    #[test]
    fn a_cache_is_bounded_and_still_finds_some() {
        let mut cache = SeriesCache::new();
        let texts: Vec<_> = (0..2 * SERIES_CACHED_MAX).map(|number| format!("series {number}|{number}")).collect();
        let mut found = 0;
        for _ in 0..4 {
            for text in &texts {
                if name(&mut cache, text).is_some_and(|name| name == *text) {
                    found += 1;
                } else {
                    insert(&mut cache, text);
                }
            }
        }
        assert_eq!(cache.slots.len(), SERIES_CACHED_MAX);
        assert!(cache.kept_bytes() <= SERIES_CACHED_MAX * size_of::<Slot>() + PLACES * 2);
        assert!(found > SERIES_CACHED_MAX, "{found}");
        let long = "x".repeat(SLOT_BYTES);
        insert(&mut cache, &long);
        assert_eq!(name(&mut cache, &long), None);
    }

    #[test]
    fn after_many_misses_few_series_are_searched() {
        let mut cache = SeriesCache::new();
        for number in 0..SERIES_CACHED_MAX {
            insert(&mut cache, &number.to_string());
        }
        let mut searched = 0;
        for number in 0..1000 {
            if cache.is_searched() {
                searched += 1;
                assert_eq!(name(&mut cache, &format!("unknown {number}")), None);
            }
        }
        assert!(searched < 50, "{searched}");
        while !cache.is_searched() {}
        let last = (SERIES_CACHED_MAX - 1).to_string();
        assert!(name(&mut cache, &last).is_some() && cache.is_searched());
    }
}

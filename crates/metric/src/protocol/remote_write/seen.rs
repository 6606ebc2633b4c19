//! Series of 2.0 that came with this table of symbols: those of a family come again for each target, and all of them
//! with the next scrape, and are found by their bytes.
//!
//! Equal bytes mean the same with one table. What may be another is the reference to the value in the gap, and the
//! sample.

use super::references::{Gap, LABELS_HEAD_BYTES, next};
use super::tables::{PLACES, TableId};
use super::{Kind, VALUE_KEY, plain_timestamp};
use crate::block::{self, BLOCK_BYTES};
use crate::sink::Part;

/// Bytes of a series up to the gap that are kept, at most: 15 references of two bytes behind what is in front of them.
/// A series with more is read each time.
const BEFORE_BYTES_MAX: usize = 2 * BLOCK_BYTES;
/// Bytes from the gap to the end that are kept, at most: a sample, metadata, and as many references as before the gap.
const BEHIND_BYTES_MAX: usize = 4 * BLOCK_BYTES;
/// Bytes from the beginning of a series that are looked at: one reference of two bytes is in the gap, or a longer one.
const WINDOW_BYTES: usize = BEFORE_BYTES_MAX + BEHIND_BYTES_MAX + BLOCK_BYTES;
/// Bytes of a timestamp.
const TIMESTAMP_BYTES: usize = 6;
/// Bits of a word that are not of a timestamp at its front.
const TIMESTAMP_SHIFT: usize = 64 - 8 * TIMESTAMP_BYTES;
/// Offsets in the field of a sample: of its value, and of its timestamp with and without a value in front of it.
const VALUE_AT: usize = 3;
const TIMESTAMP_AT: usize = VALUE_AT + 8 + 1;
const ONLY_TIMESTAMP_AT: usize = 3;
/// Bytes from the beginning of that field that are read at most: a timestamp is read as a word.
const SAMPLE_READ_BYTES: usize = TIMESTAMP_AT + 8;

/// A series whose labels are known, as far as it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The reference to the value in its gap, if it has one.
    pub gap: Option<usize>,
    /// The type that its metadata says.
    pub kind: Option<Kind>,
    /// Value and timestamp.
    pub sample: (f64, i64),
}

/// The cached series that came with a table of symbols.
#[derive(Debug)]
pub(super) struct SeenSeries {
    /// Series that were seen with the present table, by their index in the cache.
    series: Vec<Seen>,
    /// Those of the other tables, by the place of the table; nothing at that of the present one.
    others: [Vec<Seen>; PLACES],
    /// The place of the present table.
    place: usize,
    /// The number of the present table: references into another one mean something else.
    table: u64,
    /// The bytes of the latest timestamp, and what they stand for: the series of a target share it. No timestamp has
    /// all bits set.
    timestamp: (u64, i64),
}

/// A series as it came: its bytes, in two parts, before and behind the reference in its gap, of which those that may be
/// others are ignored.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The number of the table with which it came; 0 for none.
    table: u64,
    /// Flags of the bytes of `behind` that may be others: those of the sample, and those behind the end.
    ignored_behind: u64,
    /// The same of `before`: the length of the references, and what is behind it.
    ignored_before: u32,
    before_bytes: u8,
    /// Bytes of the references, and of the series, but for the one in the gap.
    refs_bytes: u8,
    series_bytes: u8,
    /// Offset of the sample in `behind`.
    sample_at: u8,
    has_gap: bool,
    /// True if its value is not 0, which is left out.
    has_value: bool,
    kind: Option<Kind>,
    before: [u8; BEFORE_BYTES_MAX],
    behind: [u8; BEHIND_BYTES_MAX],
}

/// Flags of the places where both have the same byte.
#[inline(always)]
fn equal_bytes<const BLOCKS: usize>(one: &[[u8; BLOCK_BYTES]; BLOCKS], other: &[[u8; BLOCK_BYTES]; BLOCKS]) -> u64 {
    (0..BLOCKS)
        .fold(0, |flags, index| flags | u64::from(block::equal(&one[index], &other[index])) << (index * BLOCK_BYTES))
}

/// The blocks of `bytes`.
#[inline(always)]
fn blocks<const BLOCKS: usize>(bytes: &[u8]) -> Option<&[[u8; BLOCK_BYTES]; BLOCKS]> {
    bytes.as_chunks().0.first_chunk()
}

impl Seen {
    const NONE: Self = Self {
        table: 0,
        ignored_behind: 0,
        ignored_before: 0,
        before_bytes: 0,
        refs_bytes: 0,
        series_bytes: 0,
        sample_at: 0,
        has_gap: false,
        has_value: false,
        kind: None,
        before: [0; BEFORE_BYTES_MAX],
        behind: [0; BEHIND_BYTES_MAX],
    };

    /// Makes it `series`, whose references have `refs_bytes` bytes, and which has a plain sample behind them. `None`,
    /// and it is as before, if that is too long.
    #[inline(always)]
    fn take(&mut self, table: u64, series: Part<'_>, refs_bytes: usize, gap: &Gap, kind: Option<Kind>) -> Option<()> {
        let window = series.memory().first_chunk::<WINDOW_BYTES>()?;
        let place = gap.as_ref().map_or(0..0, |(place, _)| place.clone());
        let before_bytes = LABELS_HEAD_BYTES + place.start;
        let behind = window.get(before_bytes + place.len()..)?;
        let behind_bytes = series.len().checked_sub(before_bytes + place.len())?;
        let sample_at = refs_bytes.checked_sub(place.end)?;
        if before_bytes > BEFORE_BYTES_MAX || behind_bytes.max(sample_at + SAMPLE_READ_BYTES) > BEHIND_BYTES_MAX {
            return None;
        }
        let has_value = *behind.get(sample_at + 2)? == VALUE_KEY;
        let timestamp = (1 << TIMESTAMP_BYTES) - 1;
        let sample =
            if has_value { timestamp << TIMESTAMP_AT | 0xff << VALUE_AT } else { timestamp << ONLY_TIMESTAMP_AT };
        let end = if behind_bytes < BEHIND_BYTES_MAX { u64::MAX << behind_bytes } else { 0 };
        *self = Self {
            table,
            ignored_behind: sample << sample_at | end,
            // The length of the references is at 1.
            ignored_before: if before_bytes < BEFORE_BYTES_MAX { u32::MAX << before_bytes | 2 } else { 2 },
            before_bytes: u8::try_from(before_bytes).ok()?,
            refs_bytes: u8::try_from(refs_bytes - place.len()).ok()?,
            series_bytes: u8::try_from(before_bytes + behind_bytes).ok()?,
            sample_at: u8::try_from(sample_at).ok()?,
            has_gap: gap.is_some(),
            has_value,
            kind,
            before: *window.first_chunk()?,
            behind: *behind.first_chunk()?,
        };
        Some(())
    }

    /// Reads `series` if it is this one, with a plain sample.
    #[inline(always)]
    fn read(&self, series: Part<'_>, latest: &mut (u64, i64)) -> Option<Found> {
        let window = series.memory().first_chunk::<WINDOW_BYTES>()?;
        let before = equal_bytes::<2>(blocks(&self.before)?, blocks(window)?);
        if before | u64::from(self.ignored_before) != u64::from(u32::MAX) {
            return None;
        }
        let rest =
            window.get(usize::from(self.before_bytes)..)?.first_chunk::<{ WINDOW_BYTES - BEFORE_BYTES_MAX }>()?;
        let (gap, behind) = if self.has_gap {
            let (reference, behind) = next(rest)?;
            (Some(reference), behind)
        } else {
            (None, &rest[..])
        };
        let gap_bytes = rest.len() - behind.len();
        let behind = behind.first_chunk::<BEHIND_BYTES_MAX>()?;
        let is_same = equal_bytes::<4>(blocks(&self.behind)?, blocks(behind)?) | self.ignored_behind == u64::MAX
            && usize::from(window[1]) == usize::from(self.refs_bytes) + gap_bytes
            && series.len() == usize::from(self.series_bytes) + gap_bytes;
        if !is_same {
            return None;
        }
        let sample = behind.get(usize::from(self.sample_at)..)?.first_chunk::<SAMPLE_READ_BYTES>()?;
        let (value, timestamp_at) = if self.has_value {
            (f64::from_le_bytes(*sample[VALUE_AT..].first_chunk()?), TIMESTAMP_AT)
        } else {
            (0.0, ONLY_TIMESTAMP_AT)
        };
        let timestamp =
            u64::from_le_bytes(*sample[timestamp_at..].first_chunk()?) << TIMESTAMP_SHIFT >> TIMESTAMP_SHIFT;
        if timestamp != latest.0 {
            *latest = (timestamp, plain_timestamp(timestamp)?);
        }
        Some(Found { gap, kind: self.kind, sample: (value, latest.1) })
    }
}

impl SeenSeries {
    pub(super) const fn new() -> Self {
        let others = [const { Vec::new() }; PLACES];
        Self { series: Vec::new(), others, place: 0, table: 0, timestamp: (u64::MAX, 0) }
    }

    /// Capacity in bytes: a bounded number, as there are no more than cached series.
    pub(super) fn kept_bytes(&self) -> usize {
        let others: usize = self.others.iter().map(Vec::capacity).sum();
        (self.series.capacity() + others) * size_of::<Seen>()
    }

    /// Begins a body with this table.
    pub(super) fn begin_table(&mut self, TableId { number, place }: TableId) {
        self.others[self.place] = std::mem::take(&mut self.series);
        self.series = std::mem::take(&mut self.others[place]);
        (self.place, self.table) = (place, number);
    }

    /// Reads `series` if the one at `index` came with this table, and this is the same but for what may be another.
    #[inline(always)]
    pub(super) fn read(&mut self, index: usize, series: Part<'_>) -> Option<Found> {
        let Self { series: all, table, timestamp, .. } = self;
        all.get(index).filter(|seen| seen.table == *table)?.read(series, timestamp)
    }

    /// Notes `series`, which is the one at `index`, with its gap: the references have `refs_bytes` bytes, behind which
    /// is a plain sample, and its metadata says this type.
    #[inline]
    pub(super) fn note(&mut self, index: usize, series: Part<'_>, refs_bytes: usize, gap: &Gap, kind: Option<Kind>) {
        if self.series.len() <= index {
            self.series.resize(index + 1, Seen::NONE);
        }
        self.series[index].take(self.table, series, refs_bytes, gap, kind);
    }

    /// Forgets the series at `index`, as another one has taken its place in the cache.
    pub(super) fn forget(&mut self, index: usize) {
        for seen in self.others.iter_mut().chain([&mut self.series]).filter_map(|series| series.get_mut(index)) {
            seen.table = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SAMPLES_KEY;
    use super::*;

    /// A series of references, a sample and metadata.
    fn series(refs: &[u8], sample: &[u8], metadata: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        [&[0x0a, length(refs)], refs, &[SAMPLES_KEY, length(sample)], sample, metadata].concat()
    }

    const ZERO: &[u8] = b"\x10\x81\x82\x83\x84\x85\x06";
    const ONE: &[u8] = b"\x09\0\0\0\0\0\0\xf0\x3f\x10\x81\x82\x83\x84\x85\x06";
    const REFS: &[u8] = b"\x01\x02\x03\x84\x05\x06";
    const METADATA: &[u8] = b"\x2a\x04\x08\x01\x18\x07";

    /// The gap and the value that `seen` reads of `series`, wherever that ends in memory.
    fn find(seen: &mut SeenSeries, index: usize, series: &[u8]) -> Option<(Option<usize>, f64)> {
        let memory = [series, &[0xff; WINDOW_BYTES]].concat();
        let read = seen.read(index, Part::new(&memory, series.len()));
        let at_end = seen.read(index, Part::of(series));
        assert!(at_end.is_none() || at_end.map(|found| found.sample) == read.map(|found| found.sample));
        read.map(|found| (found.gap, found.sample.0))
    }

    fn note(seen: &mut SeenSeries, index: usize, refs: &[u8], gap: &Gap) {
        note_with(seen, index, refs, ONE, gap);
    }

    fn note_with(seen: &mut SeenSeries, index: usize, refs: &[u8], sample: &[u8], gap: &Gap) {
        let series = series(refs, sample, METADATA);
        let memory = [&series[..], &[0; WINDOW_BYTES]].concat();
        seen.note(index, Part::new(&memory, series.len()), refs.len(), gap, Some(Kind::Counter));
    }

    #[test]
    fn a_series_is_read_with_the_table_with_which_it_came() {
        let mut seen = SeenSeries::new();
        seen.begin_table(TableId { number: 1, place: 0 });
        note(&mut seen, 1, REFS, &Some((3..5, 644)));
        note(&mut seen, 2, b"\x01\x02", &None);
        note(&mut seen, 3, b"\x01\x02", &Some((1..2, 2)));
        note_with(&mut seen, 4, REFS, ZERO, &Some((3..5, 644)));
        // No timestamp came yet that this could be taken for.
        for timestamp in [[0; 6], [0xff; 6]] {
            assert_eq!(find(&mut seen, 4, &series(REFS, &[&b"\x10"[..], &timestamp].concat(), METADATA)), None);
        }
        for (index, refs, sample, metadata, expected) in [
            (1, REFS, ONE, METADATA, Some((Some(644), 1.0))),
            (1, REFS, ZERO, METADATA, None),
            (1, b"\x01\x02\x03\x83\x04\x06", ONE, METADATA, Some((Some(515), 1.0))),
            (1, b"\x01\x02\x03\x03\x06", ONE, METADATA, Some((Some(3), 1.0))),
            (1, b"\x01\x02\x03\x83\x85\x01\x06", ONE, METADATA, Some((Some(17_027), 1.0))),
            (1, b"\x01\x02\x03\x03\x05\x06", ONE, METADATA, None),
            (1, b"\x01\x02\x03\x83\x85\x06", ONE, METADATA, None),
            (1, b"\x01\x02\x03\x84\x05\x07", ONE, METADATA, None),
            (1, b"\x01\x02\x04\x84\x05\x06", ONE, METADATA, None),
            (1, b"\x01\x02\x03\x84\x05", ONE, METADATA, None),
            (1, b"\x01\x02\x03\x84\x05\x06\x07", ONE, METADATA, None),
            (1, b"", ONE, METADATA, None),
            (1, REFS, ONE, b"", None),
            (1, REFS, ONE, b"\x2a\x04\x08\x01\x18\x08", None),
            (1, REFS, ONE, b"\x2a\x04\x08\x02\x18\x07", None),
            (1, REFS, ONE, b"\x2a\x05\x08\x01\x18\x87\x01", None),
            (1, REFS, &ONE[..9], METADATA, None),
            (1, REFS, &[ONE, ONE].concat(), METADATA, None),
            (1, REFS, b"\x08\0\0\0\0\0\0\xf0\x3f\x10\x81\x82\x83\x84\x85\x06", METADATA, None),
            (1, REFS, b"\x10\x81\x82\x83\x84\x85\x86", METADATA, None),
            (4, REFS, ZERO, METADATA, Some((Some(644), 0.0))),
            (4, REFS, ONE, METADATA, None),
            (4, REFS, b"\x10\x81\x82\x83\x84\x85\x86", METADATA, None),
            (4, REFS, b"\x10\x81\x82\x83\x84\x05\x06", METADATA, None),
            (2, b"\x01\x02", ONE, METADATA, Some((None, 1.0))),
            (2, b"\x01\x03", ONE, METADATA, None),
            (2, b"\x01\x02\x03\x04", ONE, METADATA, None),
            (3, b"\x01\x7f", ONE, METADATA, Some((Some(127), 1.0))),
            (3, b"\x01\x80", ONE, METADATA, None),
            (0, b"\x01\x02", ONE, METADATA, None),
            (5, b"\x01\x02", ONE, METADATA, None),
        ] {
            assert_eq!(
                find(&mut seen, index, &series(refs, sample, metadata)),
                expected,
                "{index} {refs:?} {sample:?}"
            );
        }
        seen.forget(1);
        assert_eq!(find(&mut seen, 1, &series(REFS, ONE, METADATA)), None);
        assert!(find(&mut seen, 2, &series(b"\x01\x02", ONE, METADATA)).is_some());
        seen.begin_table(TableId { number: 2, place: 0 });
        assert_eq!(find(&mut seen, 2, &series(b"\x01\x02", ONE, METADATA)), None);
    }

    #[test]
    fn every_byte_of_long_labels_is_compared() {
        for (count, place) in [(15, 14), (31, 30), (32, 31), (40, 0), (41, 0), (42, 0), (70, 30), (71, 30), (72, 30)] {
            let mut seen = SeenSeries::new();
            seen.begin_table(TableId { number: 1, place: 0 });
            let mut refs = vec![1; count];
            note(&mut seen, 0, &refs, &Some((place..place + 1, 1)));
            let behind_bytes = count - place - 1 + 2 + ONE.len() + METADATA.len();
            let is_noted = LABELS_HEAD_BYTES + place <= BEFORE_BYTES_MAX && behind_bytes <= BEHIND_BYTES_MAX;
            for changed in 0..count {
                refs[changed] = 2;
                let expected = (is_noted && changed == place).then_some((Some(2), 1.0));
                assert_eq!(
                    find(&mut seen, 0, &series(&refs, ONE, METADATA)),
                    expected,
                    "{changed} of {count}, {place}"
                );
                refs[changed] = 1;
            }
            let expected = is_noted.then_some((Some(1), 1.0));
            assert_eq!(find(&mut seen, 0, &series(&refs, ONE, METADATA)), expected, "{count}, {place}");
        }
    }
}

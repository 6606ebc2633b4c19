//! Series of 2.0 that came in this body: those of a family come again for each target, and are found by their bytes.
//!
//! Equal bytes mean the same in one body. What may be another is the reference to the value in the gap, and the sample.

use super::references::{Gap, LABELS_HEAD_BYTES, next};
use super::{Kind, LABELS_KEY, SAMPLES_KEY, plain_sample};
use crate::block::{self, BLOCK_BYTES};
use crate::sink::Part;

/// Bytes of the labels on one side of the gap that are kept, at most: 16 references of two bytes. A series with more is
/// read each time.
const SIDE_BYTES_MAX: usize = 2 * BLOCK_BYTES;
/// Bytes of the metadata that are kept, at most: a type, and references to help and unit.
const METADATA_BYTES_MAX: usize = BLOCK_BYTES;
/// Bytes of the field of a sample whose value is 0, which is left out, and of one with another value.
const ZERO_BYTES: usize = 2 + 7;
const SAMPLE_BYTES: usize = 2 + 16;

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

/// The cached series that came in this body.
#[derive(Debug, Default)]
pub(super) struct SeenSeries {
    /// Series that were seen, by their index in the cache.
    series: Vec<Seen>,
    /// The number of this body: references in another one mean something else.
    body: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The number of the body in which it came; 0 for none.
    body: u64,
    /// The series up to the reference in the gap, or up to the sample if it has none; and from there to the sample.
    before: Side,
    behind: Side,
    has_gap: bool,
    /// Bytes behind the sample.
    metadata_bytes: u8,
    /// The end of the series.
    end: [u8; METADATA_BYTES_MAX],
    /// Flags the bytes of it in front of the metadata.
    ignored_end: u32,
    kind: Option<Kind>,
}

/// Bytes of the labels on one side of the gap.
#[derive(Debug, Clone, Copy)]
struct Side {
    bytes: [u8; SIDE_BYTES_MAX],
    /// Flags the bytes that may be others: those behind it.
    ignored: u32,
    length: u8,
}

impl Side {
    const NONE: Self = Self { bytes: [0; SIDE_BYTES_MAX], ignored: u32::MAX, length: 0 };

    /// The first `length` bytes of `memory`; `None` if these are too many, or less is there than is copied.
    #[inline(always)]
    fn new(memory: &[u8], length: usize) -> Option<Self> {
        let bytes = *memory.first_chunk()?;
        let ignored = if length < SIDE_BYTES_MAX { u32::MAX << length } else { 0 };
        // At most SIDE_BYTES_MAX.
        (length <= SIDE_BYTES_MAX).then_some(Self { bytes, ignored, length: length.to_le_bytes()[0] })
    }

    /// Returns what is behind this in `memory`; `None` if that begins with something else, or less is there than is
    /// compared.
    #[inline(always)]
    fn skip<'m>(&self, memory: &'m [u8]) -> Option<&'m [u8]> {
        let (known, read) = (self.bytes.as_chunks().0, memory.first_chunk::<SIDE_BYTES_MAX>()?.as_chunks().0);
        let equal = block::equal(&known[0], &read[0]) | block::equal(&known[1], &read[1]) << BLOCK_BYTES;
        if equal | self.ignored == u32::MAX { memory.get(usize::from(self.length)..) } else { None }
    }
}

impl Seen {
    const NONE: Self = Self {
        body: 0,
        before: Side::NONE,
        behind: Side::NONE,
        has_gap: false,
        metadata_bytes: 0,
        end: [0; METADATA_BYTES_MAX],
        ignored_end: 0,
        kind: None,
    };

    /// Reads `series` if it is this one, with a plain sample.
    #[inline(always)]
    fn read(&self, series: Part<'_>) -> Option<Found> {
        let &[LABELS_KEY, refs_bytes, ref refs @ ..] = series.memory() else { return None };
        let mut rest = self.before.skip(refs)?;
        let mut gap = None;
        if self.has_gap {
            let (reference, behind) = next(rest)?;
            (gap, rest) = (Some(reference), self.behind.skip(behind)?);
        }
        if refs.len() - rest.len() != usize::from(refs_bytes) {
            return None;
        }
        let around_bytes = LABELS_HEAD_BYTES + usize::from(refs_bytes) + usize::from(self.metadata_bytes);
        let sample = match series.len().checked_sub(around_bytes)? {
            SAMPLE_BYTES => sample_field::<SAMPLE_BYTES>(rest)?,
            ZERO_BYTES => sample_field::<ZERO_BYTES>(rest)?,
            _ => return None,
        };
        let end = series.text().last_chunk()?;
        if block::equal(&self.end, end) | self.ignored_end != u32::from(u16::MAX) {
            return None;
        }
        Some(Found { gap, kind: self.kind, sample })
    }
}

/// The sample that the field at the front of `bytes` has, which is `N` bytes long.
#[inline(always)]
fn sample_field<const N: usize>(bytes: &[u8]) -> Option<(f64, i64)> {
    let field: &[u8] = bytes.first_chunk::<N>()?;
    let [SAMPLES_KEY, length, sample @ ..] = field else { return None };
    if usize::from(*length) == sample.len() { plain_sample(sample) } else { None }
}

impl SeenSeries {
    /// Capacity in bytes: a bounded number, as there are no more than cached series.
    pub(super) fn kept_bytes(&self) -> usize {
        self.series.capacity() * size_of::<Seen>()
    }

    /// Begins a body.
    pub(super) const fn begin_body(&mut self) {
        self.body += 1;
    }

    /// Reads `series` if the one at `index` came in this body, and this is the same but for what may be another.
    #[inline(always)]
    pub(super) fn read(&self, index: usize, series: Part<'_>) -> Option<Found> {
        self.series.get(index).filter(|seen| seen.body == self.body)?.read(series)
    }

    /// Notes `series`, which is the one at `index`, with its gap: the references have `refs_bytes` bytes, and what is
    /// behind the sample has `metadata_bytes`, with this type.
    #[inline]
    pub(super) fn note(
        &mut self,
        index: usize,
        series: Part<'_>,
        [refs_bytes, metadata_bytes]: [usize; 2],
        gap: &Gap,
        kind: Option<Kind>,
    ) {
        let Some(refs) = series.memory().get(LABELS_HEAD_BYTES..) else { return };
        let place = gap.as_ref().map_or(refs_bytes..refs_bytes, |(place, _)| place.clone());
        let behind = refs.get(place.end..).and_then(|behind| Side::new(behind, refs_bytes.checked_sub(place.end)?));
        let (Some(before), Some(behind)) = (Side::new(refs, place.start), behind) else { return };
        let Some(end) = series.text().last_chunk() else { return };
        if metadata_bytes > METADATA_BYTES_MAX {
            return;
        }
        if self.series.len() <= index {
            self.series.resize(index + 1, Seen::NONE);
        }
        self.series[index] = Seen {
            body: self.body,
            before,
            behind,
            has_gap: gap.is_some(),
            metadata_bytes: metadata_bytes.to_le_bytes()[0],
            end: *end,
            ignored_end: u32::from(u16::MAX) >> metadata_bytes,
            kind,
        };
    }

    /// Forgets the series at `index`, as another one has taken its place in the cache.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(seen) = self.series.get_mut(index) {
            seen.body = 0;
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn find(seen: &SeenSeries, index: usize, series: &[u8]) -> Option<(Option<usize>, f64)> {
        let memory = [series, &[0xff; 2 * SIDE_BYTES_MAX]].concat();
        let read = seen.read(index, Part::new(&memory, series.len()));
        let at_end = seen.read(index, Part::of(series));
        assert!(at_end.is_none() || at_end.map(|found| found.sample) == read.map(|found| found.sample));
        read.map(|found| (found.gap, found.sample.0))
    }

    fn note(seen: &mut SeenSeries, index: usize, refs: &[u8], gap: &Gap) {
        let series = series(refs, ONE, METADATA);
        let memory = [&series[..], &[0; 2 * SIDE_BYTES_MAX]].concat();
        let bytes = [refs.len(), METADATA.len()];
        seen.note(index, Part::new(&memory, series.len()), bytes, gap, Some(Kind::Counter));
    }

    #[test]
    fn a_series_is_read_in_the_body_in_which_it_came() {
        let mut seen = SeenSeries::default();
        seen.begin_body();
        note(&mut seen, 1, REFS, &Some((3..5, 644)));
        note(&mut seen, 2, b"\x01\x02", &None);
        note(&mut seen, 3, b"\x01\x02", &Some((1..2, 2)));
        for (index, refs, sample, metadata, expected) in [
            (1, REFS, ONE, METADATA, Some((Some(644), 1.0))),
            (1, REFS, ZERO, METADATA, Some((Some(644), 0.0))),
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
            (2, b"\x01\x02", ONE, METADATA, Some((None, 1.0))),
            (2, b"\x01\x03", ONE, METADATA, None),
            (2, b"\x01\x02\x03\x04", ONE, METADATA, None),
            (3, b"\x01\x7f", ONE, METADATA, Some((Some(127), 1.0))),
            (3, b"\x01\x80", ONE, METADATA, None),
            (0, b"\x01\x02", ONE, METADATA, None),
            (4, b"\x01\x02", ONE, METADATA, None),
        ] {
            assert_eq!(find(&seen, index, &series(refs, sample, metadata)), expected, "{index} {refs:?} {sample:?}");
        }
        seen.forget(1);
        assert_eq!(find(&seen, 1, &series(REFS, ONE, METADATA)), None);
        assert!(find(&seen, 2, &series(b"\x01\x02", ONE, METADATA)).is_some());
        seen.begin_body();
        assert_eq!(find(&seen, 2, &series(b"\x01\x02", ONE, METADATA)), None);
    }

    #[test]
    fn every_byte_of_long_labels_is_compared() {
        for (count, place) in [(15, 14), (16, 15), (17, 1), (32, 31), (33, 32), (34, 33), (33, 0), (34, 0), (65, 32)] {
            let mut seen = SeenSeries::default();
            seen.begin_body();
            let mut refs = vec![1; count];
            note(&mut seen, 0, &refs, &Some((place..place + 1, 1)));
            let is_noted = place.max(count - place - 1) <= SIDE_BYTES_MAX;
            for changed in 0..count {
                refs[changed] = 2;
                let expected = (is_noted && changed == place).then_some((Some(2), 1.0));
                assert_eq!(find(&seen, 0, &series(&refs, ONE, METADATA)), expected, "{changed} of {count}, {place}");
                refs[changed] = 1;
            }
            let expected = is_noted.then_some((Some(1), 1.0));
            assert_eq!(find(&seen, 0, &series(&refs, ONE, METADATA)), expected, "{count}, {place}");
        }
    }
}

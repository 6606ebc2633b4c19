//! Labels of series of 2.0 for the cache: references to the symbols of one body, and numbers of their texts, which are
//! the same in all bodies.
//!
//! The series of a family come again for each target of a body, with the same references but to the value of the gap.
//! So a series that came in this body is compared with the bytes of its references then. Where it comes for the first
//! time, each reference is compared with the number of the text that is expected there.

use super::super::series_cache::Key;
use super::super::span::{Span, shared_bytes};
use super::Message;
use super::cached::{GAP, may_be_gap};
use super::label_texts::LabelTexts;
use crate::block::{self, BLOCK_BYTES};
use crate::sink::Part;
use std::ops::Range;

/// Numbers of texts in a key, at most: 32 labels.
const NUMBERS_MAX: usize = 64;
/// Bytes of the references on one side of the gap that are kept, at most: 16 of two bytes. A series with more is
/// compared by numbers each time.
const SIDE_BYTES_MAX: usize = 32;

/// The table of symbols of a body.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// The texts, as parts of the body.
    texts: Vec<Span>,
    /// The number of each text in [`LabelTexts`]; 0 as long as none was looked up.
    numbers: Vec<u16>,
    /// The symbol that was the last to be found fit for a gap.
    gap: Option<(usize, Span)>,
}

impl Symbols {
    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.texts.capacity() * size_of::<Span>() + self.numbers.capacity() * size_of::<u16>()
    }

    /// Begins a body.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.numbers.clear();
        self.gap = None;
    }

    pub(super) const fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn push(&mut self, text: Span) {
        self.texts.push(text);
        self.numbers.push(0);
    }

    /// The text that a reference stands for.
    #[inline(always)]
    pub(super) fn text(&self, reference: usize) -> Option<Span> {
        self.texts.get(reference).copied()
    }

    /// The number of a text; `None` if it has none.
    #[inline]
    fn number(&mut self, reference: usize, body: &[u8], texts: &mut LabelTexts) -> Option<u16> {
        let number = self.numbers.get_mut(reference)?;
        if *number == 0 {
            *number = texts.number(self.texts.get(reference)?.of(body))?;
        }
        Some(*number)
    }

    /// Checks that a reference is to the text with this number; `None` if it is not.
    #[inline(always)]
    fn expect(&mut self, reference: usize, number: u16, body: &[u8], texts: &LabelTexts) -> Option<()> {
        if *self.numbers.get(reference)? == number { Some(()) } else { self.learn(reference, number, body, texts) }
    }

    /// Expects as [`expect`](Self::expect) does, of a symbol that has another number or was not looked up in this
    /// body: that is saved if its text is the one that is expected.
    #[inline(never)]
    fn learn(&mut self, reference: usize, number: u16, body: &[u8], texts: &LabelTexts) -> Option<()> {
        let known = self.numbers.get_mut(reference)?;
        if *known != 0 || texts.text(number)? != self.texts.get(reference)?.of(body) {
            return None;
        }
        *known = number;
        Some(())
    }

    /// The text of a symbol if it may be in a gap.
    #[inline(always)]
    pub(super) fn gap<'b>(&mut self, reference: usize, body: &'b [u8], bytes_limit: usize) -> Option<Part<'b>> {
        let text = match self.gap {
            Some((known, text)) if known == reference => text,
            _ => self.take_gap(reference, body, bytes_limit)?,
        };
        Some(text.part_of(body))
    }

    #[inline(never)]
    fn take_gap(&mut self, reference: usize, body: &[u8], bytes_limit: usize) -> Option<Span> {
        let span = self.text(reference)?;
        // An empty value is the same as no label.
        if span.is_empty() || !may_be_gap(span.of(body), bytes_limit) {
            return None;
        }
        self.gap = Some((reference, span));
        Some(span)
    }
}

/// Reads one reference.
#[inline(always)]
fn next(refs: &mut Message<'_>) -> Option<usize> {
    // Two bytes can mostly be read, as samples are behind the references.
    match *refs.rest() {
        [first @ 0..0x80, _, ..] => {
            refs.skip(1);
            Some(first.into())
        }
        [first, second @ 0..0x80, ..] => {
            refs.skip(2);
            Some(usize::from(first & 0x7f) | usize::from(second) << 7)
        }
        _ => next_long(refs),
    }
}

#[inline(never)]
fn next_long(refs: &mut Message<'_>) -> Option<usize> {
    usize::try_from(refs.varint().ok()?).ok()
}

/// The key of a series: its labels as numbers of their texts.
#[derive(Debug)]
pub(super) struct NumberedLabels {
    numbers: [[u8; 2]; NUMBERS_MAX],
    count: usize,
    /// The count of those before the gap, and the reference to the text in it.
    gap: Option<(usize, usize)>,
    /// The number of the gap's label.
    gap_number: Option<u16>,
}

impl NumberedLabels {
    pub(super) const fn new() -> Self {
        Self { numbers: [[0; 2]; NUMBERS_MAX], count: 0, gap: None, gap_number: None }
    }

    /// Begins a body.
    pub(super) fn begin_body(&mut self, texts: &mut LabelTexts) {
        self.gap_number = texts.number(GAP);
    }

    /// The key of the series that was read last.
    pub(super) fn key(&self, generation: u64) -> Key<'_> {
        let numbers = &self.numbers[..self.count];
        let (before, behind) = numbers.split_at(self.gap.map_or(self.count, |(count, _)| count).min(self.count));
        Key { before: before.as_flattened(), behind: behind.as_flattened(), has_gap: self.gap.is_some(), generation }
    }

    /// The reference to the text in its gap; `None` if it has no gap.
    pub(super) fn gap(&self) -> Option<usize> {
        self.gap.map(|(_, reference)| reference)
    }

    /// Reads packed references; `None` if one of them has no number.
    pub(super) fn read(
        &mut self,
        body: &[u8],
        refs: &[u8],
        symbols: &mut Symbols,
        texts: &mut LabelTexts,
    ) -> Option<()> {
        let mut refs = Message::new(refs);
        let gap_number = self.gap_number?;
        let mut gap = None;
        let mut count = 0;
        while !refs.is_empty() {
            let [name, value] = self.numbers.get_mut(count..)?.first_chunk_mut::<2>()?;
            let name_number = symbols.number(next(&mut refs)?, body, texts)?;
            *name = name_number.to_le_bytes();
            if name_number == gap_number {
                count += 1;
                if gap.is_some() {
                    return None;
                }
                gap = Some((count, next(&mut refs)?));
            } else {
                *value = symbols.number(next(&mut refs)?, body, texts)?.to_le_bytes();
                count += 2;
            }
        }
        (self.count, self.gap) = (count, gap);
        Some(())
    }
}

/// The gap in the references of a series: where the reference to its value stands, and what it is.
pub(super) type Gap = Option<(Range<usize>, usize)>;

/// Compares the first `bytes` bytes of `refs`, packed references, with the labels of a key; `None` if they are others.
/// The text in the gap is not looked at. What is behind them is, which is no harm.
#[inline]
pub(super) fn gap_of(
    key: &Key<'_>,
    refs: &[u8],
    bytes: usize,
    body: &[u8],
    symbols: &mut Symbols,
    texts: &LabelTexts,
) -> Option<Gap> {
    if key.generation != texts.generation() {
        return None;
    }
    let mut rest = Message::new(refs);
    let mut skip = |rest: &mut Message<'_>, numbers: &[u8]| {
        let (numbers, _) = numbers.as_chunks();
        numbers.iter().try_for_each(|&number| symbols.expect(next(rest)?, u16::from_le_bytes(number), body, texts))
    };
    skip(&mut rest, key.before)?;
    let mut gap = None;
    if key.has_gap {
        let start = refs.len() - rest.rest().len();
        let reference = next(&mut rest)?;
        gap = Some((start..refs.len() - rest.rest().len(), reference));
        skip(&mut rest, key.behind)?;
    }
    (refs.len() - rest.rest().len() == bytes).then_some(gap)
}

/// References of the cached series that came in this body.
#[derive(Debug, Default)]
pub(super) struct SeenReferences {
    /// Series that were seen, by their index in the cache.
    series: Vec<Seen>,
    /// The number of this body: references in another one mean something else.
    body: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The number of the body in which it came; 0 for none.
    body: u64,
    before_bytes: u8,
    behind_bytes: u8,
    has_gap: bool,
    /// References in front of that to the value of the gap, or all.
    before: [u8; SIDE_BYTES_MAX],
    behind: [u8; SIDE_BYTES_MAX],
}

impl Seen {
    const NONE: Self = Self {
        body: 0,
        before_bytes: 0,
        behind_bytes: 0,
        has_gap: false,
        before: [0; SIDE_BYTES_MAX],
        behind: [0; SIDE_BYTES_MAX],
    };
}

/// True if both begin with the same `bytes` bytes. What is behind them is compared too, and does not count: most
/// references on one side are less than a block.
#[inline(always)]
fn begin_alike(side: &[u8; SIDE_BYTES_MAX], memory: &[u8], bytes: usize) -> bool {
    match (side.first_chunk(), memory.first_chunk()) {
        (Some(known), Some(front)) if bytes <= BLOCK_BYTES => {
            block::equal(known, front).trailing_ones() as usize >= bytes
        }
        _ => shared_bytes(side, memory) >= bytes,
    }
}

impl SeenReferences {
    /// Capacity in bytes: a bounded number, as there are no more than cached series.
    pub(super) fn kept_bytes(&self) -> usize {
        self.series.capacity() * size_of::<Seen>()
    }

    /// Begins a body.
    pub(super) const fn begin_body(&mut self) {
        self.body += 1;
    }

    /// Compares the first `bytes` bytes of `refs` with the references that the series at `index` had in this body;
    /// `None` if they are others, or it did not come. Returns the reference to the value in its gap, if it has one.
    #[inline(always)]
    pub(super) fn gap_of(&self, index: usize, refs: &[u8], bytes: usize) -> Option<Option<usize>> {
        let seen = self.series.get(index).filter(|seen| seen.body == self.body)?;
        let before_bytes = usize::from(seen.before_bytes);
        if !begin_alike(&seen.before, refs, before_bytes) {
            return None;
        }
        if !seen.has_gap {
            return (before_bytes == bytes).then_some(None);
        }
        let mut rest = Message::new(refs.get(before_bytes..)?);
        let reference = next(&mut rest)?;
        let behind_bytes = usize::from(seen.behind_bytes);
        let has_length = refs.len() - rest.rest().len() + behind_bytes == bytes;
        (has_length && begin_alike(&seen.behind, rest.rest(), behind_bytes)).then_some(Some(reference))
    }

    /// Notes the references of the series at `index`.
    #[inline]
    pub(super) fn note(&mut self, index: usize, refs: &[u8], gap: &Gap) {
        let (before, behind) = match gap {
            Some((place, _)) => (&refs[..place.start], &refs[place.end..]),
            None => (refs, &[][..]),
        };
        if before.len().max(behind.len()) > SIDE_BYTES_MAX {
            return;
        }
        if self.series.len() <= index {
            self.series.resize(index + 1, Seen::NONE);
        }
        let seen = &mut self.series[index];
        (seen.body, seen.has_gap) = (self.body, gap.is_some());
        // At most SIDE_BYTES_MAX.
        [seen.before_bytes, seen.behind_bytes] = [before, behind].map(|side| side.len().to_le_bytes()[0]);
        seen.before[..before.len()].copy_from_slice(before);
        seen.behind[..behind.len()].copy_from_slice(behind);
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

    #[test]
    fn references_are_found_in_the_body_in_which_they_came() {
        let mut seen = SeenReferences::default();
        seen.begin_body();
        seen.note(1, b"\x01\x02\x03\x04\x05\x06", &Some((3..4, 4)));
        seen.note(2, b"\x01\x02", &None);
        let find = |seen: &SeenReferences, index, refs: &[u8]| {
            let memory = [refs, b"behind them is something else in memory"].concat();
            let found = seen.gap_of(index, &memory, refs.len());
            assert_eq!(seen.gap_of(index, refs, refs.len()), found, "{refs:?}");
            found
        };
        for (index, refs, expected) in [
            (1, &b"\x01\x02\x03\x04\x05\x06"[..], Some(Some(4))),
            (1, b"\x01\x02\x03\x84\x01\x05\x06", Some(Some(132))),
            (1, b"\x01\x02\x03\x04\x05\x07", None),
            (1, b"\x01\x02\x04\x04\x05\x06", None),
            (1, b"\x01\x02\x03\x04\x05", None),
            (1, b"\x01\x02\x03\x04\x05\x06\x07", None),
            (1, b"\x01\x02\x03", None),
            (1, b"", None),
            (2, b"\x01\x02", Some(None)),
            (2, b"\x01", None),
            (2, b"\x01\x02\x03\x04", None),
            (0, b"", None),
            (3, b"\x01\x02", None),
        ] {
            assert_eq!(find(&seen, index, refs), expected, "{index} {refs:?}");
        }
        // One with too many is not noted, and leaves what was there.
        seen.note(2, &[1; SIDE_BYTES_MAX + 1], &None);
        assert_eq!(find(&seen, 2, b"\x01\x02"), Some(None));
        seen.note(2, &[1; SIDE_BYTES_MAX], &None);
        assert_eq!((find(&seen, 2, b"\x01\x02"), find(&seen, 2, &[1; SIDE_BYTES_MAX])), (None, Some(None)));
        seen.forget(2);
        assert_eq!(find(&seen, 2, &[1; SIDE_BYTES_MAX]), None);
        assert!(find(&seen, 1, b"\x01\x02\x03\x04\x05\x06").is_some());
        seen.begin_body();
        assert_eq!(find(&seen, 1, b"\x01\x02\x03\x04\x05\x06"), None);
    }
}

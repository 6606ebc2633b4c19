//! Labels of series of 2.0 for the cache: references to the symbols of one body, and numbers of their texts, which are
//! the same in all bodies.
//!
//! The series of a family come again for each target of a body, with the same references but to the value of the gap.
//! So a series that came in this body is [compared with its bytes then](super::seen). Where it comes for the first
//! time, each reference is compared with the number of the text that is expected there.

use super::super::series_cache::Key;
use super::super::span::Span;
use super::Message;
use super::cached::{GAP, may_be_gap};
use super::label_texts::LabelTexts;
use crate::limits::GAP_SYMBOLS_MAX;
use crate::sink::GapText;
use std::ops::Range;

/// Numbers of texts in a key, at most: 32 labels.
const NUMBERS_MAX: usize = 64;

/// The table of symbols of a body.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// The texts, as parts of the body.
    texts: Vec<Span>,
    /// The number of each text in [`LabelTexts`]; 0 as long as none was looked up.
    numbers: Vec<u16>,
    /// The symbol that was the last to be found fit for a gap.
    gap: Option<GapSymbol>,
    /// References to all that were, as far as there is space for them, in no order.
    gaps: Vec<usize>,
}

/// A symbol that may be the value in a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct GapSymbol {
    reference: usize,
    pub text: Span,
    /// The text, if that is short.
    pub short: Option<GapText>,
}

impl Symbols {
    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.texts.capacity() * size_of::<Span>()
            + self.numbers.capacity() * size_of::<u16>()
            + self.gaps.capacity() * size_of::<usize>()
    }

    /// Begins a body.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.numbers.clear();
        self.gap = None;
        self.gaps.clear();
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

    /// The offset in the body behind the symbol with this reference.
    pub(super) fn end(&self, reference: usize) -> Option<usize> {
        self.text(reference).map(Span::end)
    }

    /// References to the symbols that were found fit for a gap, each at least once, but for those above a bound.
    pub(super) fn gaps(&self) -> &[usize] {
        &self.gaps
    }

    /// True if the symbol with this reference may be in a series otherwise than in its gap.
    pub(super) fn is_compared(&self, reference: usize) -> bool {
        self.numbers.get(reference).is_none_or(|&number| number != 0)
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

    /// Checks that the references at the front of `refs` are to the texts with these numbers, and returns what is
    /// behind them; `None` if they are to others.
    #[inline(always)]
    fn skip<'r>(&mut self, mut refs: &'r [u8], numbers: &[u8], body: &[u8], texts: &LabelTexts) -> Option<&'r [u8]> {
        let (numbers, _) = numbers.as_chunks();
        for &number in numbers {
            let (reference, rest) = next(refs)?;
            let number = u16::from_le_bytes(number);
            if *self.numbers.get(reference)? != number {
                self.learn(reference, number, body, texts)?;
            }
            refs = rest;
        }
        Some(refs)
    }

    /// Checks a symbol that has another number or was not looked up in this body: the number is saved if its text is
    /// the one that is expected.
    #[inline(never)]
    fn learn(&mut self, reference: usize, number: u16, body: &[u8], texts: &LabelTexts) -> Option<()> {
        let known = self.numbers.get_mut(reference)?;
        if *known != 0 || texts.text(number)? != self.texts.get(reference)?.of(body) {
            return None;
        }
        *known = number;
        Some(())
    }

    /// The symbol with this reference if it may be in a gap.
    #[inline(always)]
    pub(super) fn gap(&mut self, reference: usize, body: &[u8], bytes_limit: usize) -> Option<&GapSymbol> {
        if self.gap.as_ref().is_none_or(|gap| gap.reference != reference) {
            self.take_gap(reference, body, bytes_limit)?;
        }
        self.gap.as_ref()
    }

    #[inline(never)]
    fn take_gap(&mut self, reference: usize, body: &[u8], bytes_limit: usize) -> Option<()> {
        let text = self.text(reference)?;
        // An empty value is the same as no label.
        if text.is_empty() || !may_be_gap(text.of(body), bytes_limit) {
            return None;
        }
        self.gap = Some(GapSymbol { reference, text, short: GapText::new(text.of(body)) });
        if self.gaps.len() < GAP_SYMBOLS_MAX {
            self.gaps.push(reference);
        }
        Some(())
    }
}

/// Reads one reference from the front of `refs`, and returns what is behind it too.
#[inline(always)]
pub(super) fn next(refs: &[u8]) -> Option<(usize, &[u8])> {
    // Two bytes can mostly be read, as samples are behind the references.
    match refs {
        [first @ 0..0x80, _, ..] => Some((usize::from(*first), &refs[1..])),
        [first, second @ 0..0x80, rest @ ..] => Some((usize::from(first & 0x7f) | usize::from(*second) << 7, rest)),
        refs => next_long(refs),
    }
}

#[inline(never)]
fn next_long(refs: &[u8]) -> Option<(usize, &[u8])> {
    let mut refs = Message::new(refs);
    Some((usize::try_from(refs.varint().ok()?).ok()?, refs.rest()))
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
        let gap_number = self.gap_number?;
        let mut gap = None;
        let mut count = 0;
        let mut rest = refs;
        while !rest.is_empty() {
            let [name, value] = self.numbers.get_mut(count..)?.first_chunk_mut::<2>()?;
            let (name_reference, behind) = next(rest)?;
            let (value_reference, behind) = next(behind)?;
            let name_number = symbols.number(name_reference, body, texts)?;
            *name = name_number.to_le_bytes();
            if name_number == gap_number {
                count += 1;
                if gap.is_some() {
                    return None;
                }
                gap = Some((count, value_reference));
            } else {
                *value = symbols.number(value_reference, body, texts)?.to_le_bytes();
                count += 2;
            }
            rest = behind;
        }
        (self.count, self.gap) = (count, gap);
        Some(())
    }
}

/// Bytes of the field of labels in front of their references, of which there are less than 128 bytes.
pub(super) const LABELS_HEAD_BYTES: usize = 2;

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
    let mut rest = symbols.skip(refs, key.before, body, texts)?;
    let mut gap = None;
    if key.has_gap {
        let (reference, behind) = next(rest)?;
        gap = Some((refs.len() - rest.len()..refs.len() - behind.len(), reference));
        rest = symbols.skip(behind, key.behind, body, texts)?;
    }
    (refs.len() - rest.len() == bytes).then_some(gap)
}

//! Metrics read by speculation: agents write the same keys in the same order again and again, so a metric is first
//! compared with the shape of one that came before it.
//!
//! A shape is a metric without what differs from one to the next: its name, its value, its timestamp and the values of
//! its tags are slots, and all the bytes between them (keys, punctuation, whitespace, the type, unknown fields) are
//! literals, compared sixteen at a time. A slot takes a string without escapes or a number, of the same bounds as in
//! the grammar. Where a byte or a bound differs nothing has been read, and the grammar reads the metric from its
//! beginning.
//!
//! Why nothing else is accepted so: the grammar reads from left to right, and what it does at a byte depends on the
//! bytes before it only by the state it is in. After equal literals and slots of the same kind it is in the same state;
//! names of fields and keys of tags, which have to differ from each other, are in the literals. So a metric that fits
//! the shape of one that was accepted is accepted, with the contents of the slots in place of those.
//!
//! Promises: a fixed number of shapes of a fixed size, nothing allocated after [`Shapes::new`], and on bodies whose
//! metrics have nothing in common a bounded share of the time: after [`MISSES_MAX`] misses in a row only one metric of
//! [`RETRY_EVERY`] is tried.

mod learn;

use super::block::{self, BLOCK_BYTES, Block, Blocks};
use super::cursor::Cursor;
use super::text::Text;
use super::{Bounds, Kind, Metric, Tag, number, timestamp};
use crate::limits::{SHAPE_SLOTS_MAX, SHAPE_STEPS_MAX, SHAPES_MAX};

/// Misses in a row after which most metrics are left to the grammar.
const MISSES_MAX: u32 = 32;
/// Metrics of which one is then tried.
const RETRY_EVERY: u32 = 32;
/// Shapes that are tried for one metric: those that followed the shape before it, the latest first.
const SUCCESSORS: usize = 4;

/// The shapes that a core knows.
#[derive(Debug)]
pub(super) struct Shapes {
    shapes: Box<[Shape]>,
    count: usize,
    /// The next to be replaced when all places are taken.
    victim: usize,
    /// Indices of the shapes that began a batch, the latest first.
    first: [u8; SUCCESSORS],
    /// Index of the shape of the metric before; `None` at the beginning of a batch.
    before: Option<u8>,
    pub(super) misses: u32,
    is_on: bool,
    slots: Slots,
}

/// The contents of a metric in the slots of its shape.
#[derive(Debug)]
struct Slots {
    /// Beginning and end of each slot's contents in the metric, in bytes.
    spans: [(u32, u32); SHAPE_SLOTS_MAX],
    timestamp_ms: Option<i64>,
    /// The latest timestamp and its digits, of which most metrics of a batch have the same.
    latest: (Block, u32, i64),
}

/// The kind of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Name,
    Value,
    /// A timestamp in digits.
    Milliseconds,
    /// A timestamp in RFC 3339.
    Instant,
    /// The value of a tag.
    Tag,
    /// None: the literal goes on.
    None,
    /// None: the metric ends here.
    End,
}

/// A part of a literal, of one to sixteen bytes, and the slot behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    literal: Block,
    /// Flags of its bytes.
    mask: u32,
    bytes: u32,
    slot: Slot,
    /// The key of a tag: how many bytes before its value it ends, and its length.
    key_back: u16,
    key_bytes: u16,
}

/// The derivation of a metric's line from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// From the name on the metric is what the log has, but for its timestamp.
    Line {
        /// Index of the name's slot.
        name: u8,
        /// The member that is left out.
        cut: Option<Cut>,
    },
    /// Anything else.
    Fields,
}

/// A member that is left out of a metric: the slot of its value, and the bytes before and behind that which go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    slot: u8,
    before: u8,
    behind: u8,
}

/// The form in which the tags were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagsForm {
    /// Not at all, as null, or with whitespace.
    Other,
    /// `{}`
    Empty,
    /// As the log has them.
    Verbatim,
}

/// See the module.
#[derive(Debug, Clone, Copy)]
struct Shape {
    steps: [Step; SHAPE_STEPS_MAX],
    steps_count: usize,
    kind: Kind,
    layout: Layout,
    tags: TagsForm,
    /// A hash of what is compared, to find the shape by.
    fingerprint: u64,
    /// Indices of the shapes that came next, the latest first.
    successors: [u8; SUCCESSORS],
}

/// A metric that fits a shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    /// Index of the shape.
    shape: u8,
    /// The length of the metric in bytes.
    pub bytes: usize,
}

/// A metric whose line is made of its own bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verbatim<'a> {
    /// All from the name on, in two pieces.
    pub pieces: [&'a [u8]; 2],
    pub timestamp_ms: Option<i64>,
}

impl Shape {
    const NONE: Self = Self {
        steps: [Step::NONE; SHAPE_STEPS_MAX],
        steps_count: 0,
        kind: Kind::Gauge,
        layout: Layout::Fields,
        tags: TagsForm::Other,
        fingerprint: 0,
        successors: [u8::MAX; SUCCESSORS],
    };

    /// Reads the metric at the front of `text` if it has this shape: its length.
    #[inline]
    fn read(&self, text: Blocks<'_>, bounds: &Bounds, slots: &mut Slots) -> Option<usize> {
        let mut at = 0;
        let mut spans = slots.spans.iter_mut();
        slots.timestamp_ms = None;
        for step in &self.steps {
            if !step.is_next(text, at) {
                return None;
            }
            at += step.bytes as usize;
            let bytes = match step.slot {
                Slot::None => continue,
                Slot::Name => string(text, at).filter(|bytes| (1..=bounds.name_bytes_limit).contains(bytes))?,
                Slot::Tag => string(text, at).filter(|&bytes| bytes <= bounds.tag_bytes_limit)?,
                Slot::Value => value(text, at)?,
                Slot::Milliseconds => {
                    let (bytes, ms) = milliseconds(text, at, &mut slots.latest)?;
                    slots.timestamp_ms = Some(ms);
                    bytes
                }
                Slot::Instant => {
                    let bytes = string(text, at)?;
                    let instant = text.text().get(at..at + bytes)?;
                    slots.timestamp_ms = Some(timestamp::from_text(instant.iter().copied()).ok()?);
                    bytes
                }
                Slot::End => return Some(at),
            };
            *spans.next()? = (offset(at), offset(at + bytes));
            at += bytes;
        }
        None
    }
}

impl Step {
    const NONE: Self =
        Self { literal: [0; BLOCK_BYTES], mask: 0, bytes: 0, slot: Slot::End, key_back: 0, key_bytes: 0 };

    /// Returns whether its literal is at `at`.
    #[inline(always)]
    fn is_next(&self, text: Blocks<'_>, at: usize) -> bool {
        match text.whole(at) {
            Some(block) => block::equal(block, &self.literal) & self.mask == self.mask,
            None => self.is_at_end(text.text().get(at..)),
        }
    }

    /// As [`is_next`](Self::is_next), where fewer bytes than a block are left.
    #[inline(never)]
    fn is_at_end(&self, rest: Option<&[u8]>) -> bool {
        rest.is_some_and(|rest| rest.starts_with(&self.literal[..self.bytes as usize]))
    }
}

/// An offset in a body, which is bounded far below 4 GiB. (A larger one makes spans that are cut off, and never memory
/// that is not the body's.)
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn offset(at: usize) -> u32 {
    at as u32
}

/// Length of the string at `start`, which ends at a quotation mark that is not part of it. `None` if it has escapes or
/// breaks the grammar.
#[inline(always)]
pub(super) fn string(text: Blocks<'_>, start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(block) = text.whole(at) {
        let stops = block::string_stops(block);
        if stops != 0 {
            let place = stops.trailing_zeros() as usize % BLOCK_BYTES;
            return if block[place] == b'"' { Some(at + place - start) } else { careful_string(text.text(), start) };
        }
        at += BLOCK_BYTES;
    }
    last_string(text, start, at)
}

/// As [`string`], for one of which fewer bytes than a block are left to look at: those from `at` on.
#[inline(never)]
fn last_string(text: Blocks<'_>, start: usize, at: usize) -> Option<usize> {
    let (block, skipped) = text.at(at);
    let stops = block::string_stops(block).checked_shr(u32::try_from(skipped).ok()?)?;
    let end = at + stops.trailing_zeros() as usize;
    match text.text().get(end) {
        Some(b'"') => Some(end - start),
        Some(_) => careful_string(text.text(), start),
        None => None,
    }
}

/// As [`string`], for one that is not ASCII.
#[inline(never)]
fn careful_string(text: &[u8], start: usize) -> Option<usize> {
    let mut cursor = Cursor::new(text.get(start..)?);
    let string = cursor.string().ok()?;
    (!string.has_escapes()).then_some(string.raw().len())
}

/// Length of the number at `at`, which is finite as a 64-bit float; `None` if there is none.
#[inline(always)]
pub(super) fn value(text: Blocks<'_>, at: usize) -> Option<usize> {
    let Some(block) = text.whole(at) else { return careful_value(text.text(), at) };
    let digits = block::digits(block);
    let whole = digits.trailing_ones();
    let mut end = whole as usize;
    if block.get(end) == Some(&b'.') {
        let fraction = (digits >> (whole + 1)).trailing_ones();
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction as usize;
    }
    // Without the next byte there may be more digits. With an exponent or a sign the number is read with care as well.
    match block.get(end) {
        Some(next) if whole > 0 && (whole == 1 || block[0] != b'0') && next | 0x20 != b'e' => Some(end),
        _ => careful_value(text.text(), at),
    }
}

/// As [`value`], for any number that is finite.
#[inline(never)]
fn careful_value(text: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor::new(text.get(at..)?);
    let number = number::read(&mut cursor).ok().filter(number::Number::is_finite)?;
    Some(number.text.len())
}

/// Length of the timestamp in digits at `at`, and what it means. `latest` are the digits that were read last.
#[inline(always)]
fn milliseconds(text: Blocks<'_>, at: usize, latest: &mut (Block, u32, i64)) -> Option<(usize, i64)> {
    if let Some(block) = text.whole(at) {
        let count = block::digits(block).trailing_ones();
        let (digits, mask, ms) = &*latest;
        if *mask == (1 << count) - 1 && block::equal(block, digits) & mask == *mask {
            return Some((count as usize, *ms));
        }
    }
    careful_milliseconds(text, at, latest)
}

/// As [`milliseconds`], for any digits.
#[inline(never)]
fn careful_milliseconds(text: Blocks<'_>, at: usize, latest: &mut (Block, u32, i64)) -> Option<(usize, i64)> {
    let mut cursor = Cursor::new(text.text().get(at..)?);
    let number = number::read(&mut cursor).ok()?;
    let ms = timestamp::from_number(&number).ok()?;
    if let Some(block) = text.whole(at)
        && number.text[0] != b'-'
    {
        // At most 15 digits, or it would be out of range.
        *latest = (*block, (1 << number.text.len()) - 1, ms);
    }
    Some((number.text.len(), ms))
}

impl Shapes {
    /// Without any shape yet.
    pub fn new() -> Self {
        const { assert!(SHAPES_MAX < u8::MAX as usize) };
        Self {
            shapes: vec![Shape::NONE; SHAPES_MAX].into_boxed_slice(),
            count: 0,
            victim: 0,
            first: [u8::MAX; SUCCESSORS],
            before: None,
            misses: 0,
            is_on: true,
            slots: Slots {
                spans: [(0, 0); SHAPE_SLOTS_MAX],
                timestamp_ms: None,
                // No digits at all: a mask that no timestamp has.
                latest: ([0; BLOCK_BYTES], u32::MAX, 0),
            },
        }
    }

    /// Never speculates: for comparison.
    pub fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// Another batch begins.
    pub fn begin_batch(&mut self) {
        self.before = None;
    }

    /// Reads the metric at the front of `text` if it has a shape that is expected here.
    #[inline]
    pub fn read(&mut self, text: &[u8], bounds: &Bounds) -> Option<Fit> {
        if !self.is_tried() {
            return None;
        }
        let text = Blocks::new(text)?;
        let expected = *self.successors();
        match self.fit(expected[0], text, bounds) {
            None => self.read_unlikely(expected, text, bounds),
            fit => fit,
        }
    }

    /// As [`read`](Self::read), by the shapes that came here less recently.
    #[inline(never)]
    fn read_unlikely(&mut self, expected: [u8; SUCCESSORS], text: Blocks<'_>, bounds: &Bounds) -> Option<Fit> {
        for index in expected.into_iter().skip(1) {
            let before = self.before;
            if let Some(fit) = self.fit(index, text, bounds) {
                self.before = before;
                self.follow(index);
                return Some(fit);
            }
        }
        None
    }

    /// Reads the metric at the front of `text` if it has the shape of this index.
    #[inline(always)]
    fn fit(&mut self, index: u8, text: Blocks<'_>, bounds: &Bounds) -> Option<Fit> {
        let bytes = self.shapes.get(usize::from(index))?.read(text, bounds, &mut self.slots)?;
        self.before = Some(index);
        self.misses = 0;
        Some(Fit { shape: index, bytes })
    }

    /// Indices of the shapes that are expected next.
    #[inline(always)]
    fn successors(&mut self) -> &mut [u8; SUCCESSORS] {
        match self.before {
            Some(before) => &mut self.shapes[usize::from(before)].successors,
            None => &mut self.first,
        }
    }

    /// Returns whether the next metric is one of those that are compared.
    #[inline]
    fn is_tried(&self) -> bool {
        self.misses < MISSES_MAX || self.misses.is_multiple_of(RETRY_EVERY)
    }

    /// Notes that the shape of this index came next.
    fn follow(&mut self, index: u8) {
        let successors = self.successors();
        let rank = successors.iter().position(|&successor| successor == index).unwrap_or(SUCCESSORS - 1);
        successors[..=rank].rotate_right(1);
        successors[0] = index;
        self.before = Some(index);
    }

    /// The metric as the log has it, if its own bytes say it. `text` begins with it.
    #[inline]
    pub fn verbatim<'a>(&self, fit: Fit, text: &'a [u8]) -> Option<Verbatim<'a>> {
        let Slots { spans, timestamp_ms, .. } = &self.slots;
        let Layout::Line { name, cut } = self.shapes[usize::from(fit.shape)].layout else { return None };
        let name_start = spans[usize::from(name)].0 as usize;
        let pieces = match cut {
            None => [&text[name_start..fit.bytes], &[][..]],
            Some(Cut { slot, before, behind }) => {
                let (start, end) = spans[usize::from(slot)];
                let (start, end) = (start as usize - usize::from(before), end as usize + usize::from(behind));
                [&text[name_start..start], &text[end..fit.bytes]]
            }
        };
        Some(Verbatim { pieces, timestamp_ms: *timestamp_ms })
    }

    /// Fills in `metric`, which is cleared. `text` begins with it.
    #[inline]
    pub fn fill<'a>(&self, fit: Fit, text: &'a [u8], metric: &mut Metric<'a>) {
        let shape = &self.shapes[usize::from(fit.shape)];
        metric.kind = shape.kind;
        metric.timestamp_ms = self.slots.timestamp_ms;
        let mut tags_start = None;
        let mut tags_end = 0;
        let slots = shape.steps[..shape.steps_count].iter().filter(|step| step.slot != Slot::None);
        for (step, &(start, end)) in slots.zip(&self.slots.spans) {
            let (start, end) = (start as usize, end as usize);
            match step.slot {
                Slot::Name => metric.name = plain(&text[start..end]),
                Slot::Value => metric.value = &text[start..end],
                Slot::Tag => {
                    let key_end = start - usize::from(step.key_back);
                    let key = &text[key_end - usize::from(step.key_bytes)..key_end];
                    metric.tags.push(Tag { key: plain(key), value: plain(&text[start..end]) });
                    // `{"` before the first key, and `"}` behind the last value.
                    tags_start = tags_start.or(Some(key_end - key.len() - 2));
                    tags_end = end + 2;
                }
                Slot::Milliseconds | Slot::Instant | Slot::None | Slot::End => {}
            }
        }
        metric.tags_verbatim = match shape.tags {
            TagsForm::Other => None,
            TagsForm::Empty => Some(b"{}"),
            TagsForm::Verbatim => tags_start.map(|start| &text[start..tags_end]),
        };
    }
}

/// A string without escapes.
fn plain(raw: &[u8]) -> Text<'_> {
    Text { raw, escapes: 0 }
}

#[cfg(test)]
mod tests;

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
use super::sink::Part;
use super::text::Text;
use super::{Bounds, Kind, Metric, Tag, number, timestamp};
use crate::limits::{SHAPE_SLOTS_MAX, SHAPE_STEPS_MAX, SHAPES_MAX};

/// Misses in a row after which most metrics are left to the grammar.
const MISSES_MAX: u32 = 32;
/// Metrics of which one is then tried.
const RETRY_EVERY: u32 = 32;
/// Shapes that are tried for one metric: those that followed the shape before it, the latest first.
const SUCCESSORS: usize = 4;
/// Names, by a hash, whose shape is known: those of metrics that did not have the shape expected first.
const NAMES: usize = 256;
/// Offset of the name in a metric, as agents write it.
const NAME_AT: usize = br#"{"name":""#.len();

/// Index of what is no shape, and has those that began a batch as its successors.
const BEGINNING: u8 = 0;

/// The shapes that a core knows.
#[derive(Debug)]
pub(super) struct Shapes {
    /// [`BEGINNING`], and places for shapes.
    shapes: Box<[Shape]>,
    /// Places in use.
    count: usize,
    /// The next to be replaced when all places are taken.
    victim: usize,
    /// Index of the shape of the metric before.
    before: u8,
    /// Index of the latest shape of a metric with this name.
    by_name: [u8; NAMES],
    pub(super) misses: u32,
    is_on: bool,
    slots: Slots,
}

/// The contents of a metric in the slots of its shape.
#[derive(Debug)]
struct Slots {
    /// Beginning and end of each slot's contents in the metric, in bytes. Not noted of a metric that is its own line.
    spans: [(u32, u32); SHAPE_SLOTS_MAX],
    /// Offset of the name.
    name_at: usize,
    timestamp_ms: Option<i64>,
    /// Beginning and end of the timestamp, if there is one.
    timestamp: (usize, usize),
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
    /// A timestamp in RFC 3339, with the quotation mark behind it.
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
    /// The metric is what the log has, from its name on.
    Whole,
    /// The same, but for its timestamp, which is left out with this many bytes before it.
    Cut(u8),
    /// Anything else.
    Fields,
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
    /// All from the name on, or up to a timestamp.
    pub front: Part<'a>,
    /// The bytes behind that timestamp.
    pub behind: Option<Part<'a>>,
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

    /// Reads the metric at the front of `text` if it has this shape: its length. `note` is called with the beginning
    /// and the end of each slot's contents.
    #[inline(always)]
    fn read(
        &self,
        text: Blocks<'_>,
        bounds: &Bounds,
        slots: &mut Slots,
        mut note: impl FnMut(&mut Slots, usize, usize) -> Option<()>,
    ) -> Option<usize> {
        let mut at = 0;
        slots.timestamp_ms = None;
        for step in &self.steps {
            if !step.is_next(text, at) {
                return None;
            }
            at += step.bytes as usize;
            let end = match step.slot {
                Slot::None => continue,
                Slot::Tag => string(text, at).filter(|&end| end - at <= bounds.tag_bytes_limit)?,
                Slot::Name => {
                    slots.name_at = at;
                    string(text, at).filter(|&end| (1..=bounds.name_bytes_limit).contains(&(end - at)))?
                }
                Slot::Value => value(text, at)?,
                Slot::Milliseconds => milliseconds(text, at, slots)?,
                Slot::Instant => instant(text, at, slots)?,
                Slot::End => return Some(at),
            };
            note(slots, at, end)?;
            at = end;
        }
        None
    }

    /// Reads as [`read`](Self::read) does, and notes every slot.
    fn read_fields(&self, text: Blocks<'_>, bounds: &Bounds, slots: &mut Slots) -> Option<usize> {
        let mut index = 0;
        self.read(text, bounds, slots, |slots, start, end| {
            *slots.spans.get_mut(index)? = (offset(start), offset(end));
            index += 1;
            Some(())
        })
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
            None => self.is_at_end(text, at),
        }
    }

    /// As [`is_next`](Self::is_next), where fewer bytes than a block are left.
    #[inline(never)]
    fn is_at_end(&self, text: Blocks<'_>, at: usize) -> bool {
        let (block, skipped) = text.at(at);
        let bytes = self.bytes as usize;
        if skipped + bytes > BLOCK_BYTES {
            return false;
        }
        // No literal is empty, so each is moved by less than a block.
        let rest = u128::from_le_bytes(*block) >> (8 * skipped);
        (rest ^ u128::from_le_bytes(self.literal)) << (8 * (BLOCK_BYTES - bytes)) == 0
    }
}

/// An offset in a body, which is bounded far below 4 GiB. (A larger one makes spans that are cut off, and never memory
/// that is not the body's.)
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn offset(at: usize) -> u32 {
    at as u32
}

/// The end of the string at `start`: the offset of the quotation mark behind it. `None` if it has escapes or breaks the
/// grammar.
#[inline(always)]
pub(super) fn string(text: Blocks<'_>, start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(block) = text.whole(at) {
        let stops = block::string_stops(block);
        if stops != 0 {
            let place = stops.trailing_zeros() as usize % BLOCK_BYTES;
            return if block[place] == b'"' { Some(at + place) } else { careful_string(text.text(), start) };
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
        Some(b'"') => Some(end),
        Some(_) => careful_string(text.text(), start),
        None => None,
    }
}

/// As [`string`], for one that is not ASCII.
#[inline(never)]
fn careful_string(text: &[u8], start: usize) -> Option<usize> {
    let mut cursor = Cursor::new(text.get(start..)?);
    let string = cursor.string().ok()?;
    (!string.has_escapes()).then_some(start + string.raw().len())
}

/// The end of the number at `at`, which is finite as a 64-bit float; `None` if there is none.
#[inline(always)]
pub(super) fn value(text: Blocks<'_>, at: usize) -> Option<usize> {
    let Some(block) = text.whole(at) else { return careful_value(text.text(), at) };
    let digits = block::digits(block);
    let whole = digits.trailing_ones();
    // No sign, and no zero in front of another digit.
    if !matches!(block[0], b'1'..=b'9') && whole != 1 {
        return careful_value(text.text(), at);
    }
    let mut end = whole as usize;
    if block.get(end) == Some(&b'.') {
        let fraction = (digits >> (whole + 1)).trailing_ones();
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction as usize;
    }
    // Without the next byte there may be more digits.
    match block.get(end) {
        Some(next) if next | 0x20 != b'e' => Some(at + end),
        Some(_) => exponent(block, digits, end).map_or_else(|| careful_value(text.text(), at), |end| Some(at + end)),
        None => careful_value(text.text(), at),
    }
}

/// The end of a number whose exponent begins at `at`, if it has up to two digits: below 10^15 times 10^99 it is finite.
#[inline]
fn exponent(block: &Block, digits: u32, at: usize) -> Option<usize> {
    let signs = usize::from(matches!(block.get(at + 1)?, b'+' | b'-'));
    let count = (digits >> (at + 1 + signs)).trailing_ones() as usize;
    let end = at + 1 + signs + count;
    ((1..=2).contains(&count) && end < BLOCK_BYTES).then_some(end)
}

/// As [`value`], for any number that is finite.
#[inline(never)]
fn careful_value(text: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor::new(text.get(at..)?);
    let number = number::read(&mut cursor).ok().filter(number::Number::is_finite)?;
    Some(at + number.text.len())
}

/// The end of the timestamp in digits at `at`. The latest digits need not be read again.
#[inline(always)]
fn milliseconds(text: Blocks<'_>, at: usize, slots: &mut Slots) -> Option<usize> {
    if let Some(block) = text.whole(at) {
        let count = block::digits(block).trailing_ones();
        let (digits, mask, ms) = &slots.latest;
        if *mask == (1 << count) - 1 && block::equal(block, digits) & mask == *mask {
            let end = at + count as usize;
            slots.timestamp_ms = Some(*ms);
            slots.timestamp = (at, end);
            return Some(end);
        }
    }
    careful_milliseconds(text, at, slots)
}

/// As [`milliseconds`], for any digits.
#[inline(never)]
fn careful_milliseconds(text: Blocks<'_>, at: usize, slots: &mut Slots) -> Option<usize> {
    let mut cursor = Cursor::new(text.text().get(at..)?);
    let number = number::read(&mut cursor).ok()?;
    let ms = timestamp::from_number(&number).ok()?;
    if let Some(block) = text.whole(at)
        && number.text[0] != b'-'
    {
        // At most 15 digits, or it would be out of range.
        slots.latest = (*block, (1 << number.text.len()) - 1, ms);
    }
    let end = at + number.text.len();
    slots.timestamp_ms = Some(ms);
    slots.timestamp = (at, end);
    Some(end)
}

/// The end of the timestamp in RFC 3339 at `at`, behind its quotation mark.
#[inline(never)]
fn instant(text: Blocks<'_>, at: usize, slots: &mut Slots) -> Option<usize> {
    let end = string(text, at)?;
    let instant = text.text().get(at..end)?;
    slots.timestamp_ms = Some(timestamp::from_text(instant.iter().copied()).ok()?);
    slots.timestamp = (at, end + 1);
    Some(end + 1)
}

impl Shapes {
    /// Without any shape yet.
    pub fn new() -> Self {
        const { assert!(1 + SHAPES_MAX < u8::MAX as usize) };
        Self {
            shapes: vec![Shape::NONE; 1 + SHAPES_MAX].into_boxed_slice(),
            count: 1,
            victim: 1,
            before: BEGINNING,
            by_name: [u8::MAX; NAMES],
            misses: 0,
            is_on: true,
            slots: Slots {
                spans: [(0, 0); SHAPE_SLOTS_MAX],
                name_at: 0,
                timestamp_ms: None,
                timestamp: (0, 0),
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
        self.before = BEGINNING;
    }

    /// Reads the metric at the front of `text` if it has a shape that is expected here.
    pub fn read(&mut self, text: &[u8], bounds: &Bounds) -> Option<Fit> {
        if !self.is_tried() {
            return None;
        }
        self.read_expected(0, Blocks::new(text)?, bounds)
    }

    /// Reads as [`read`](Self::read) does, for whoever takes the metric as its own line where it is one.
    #[inline(always)]
    pub fn read_line(&mut self, text: &[u8], bounds: &Bounds) -> Option<Fit> {
        if !self.is_tried() {
            return None;
        }
        let text = Blocks::new(text)?;
        let [latest, ..] = *self.successors();
        match self.shapes.get(usize::from(latest)) {
            Some(shape) if shape.layout != Layout::Fields => {
                match shape.read(text, bounds, &mut self.slots, |_, _, _| Some(())) {
                    Some(bytes) => Some(self.fit(latest, bytes)),
                    None => self.read_expected(1, text, bounds),
                }
            }
            _ => self.read_expected(0, text, bounds),
        }
    }

    /// Reads the metric at the front of `text` by the shapes that are expected here but for the first `tried`, and
    /// notes its slots. Where the first is not the right one, the one that the metric's name had the last time mostly
    /// is.
    #[inline(never)]
    fn read_expected(&mut self, tried: usize, text: Blocks<'_>, bounds: &Bounds) -> Option<Fit> {
        let [latest, others @ ..] = *self.successors();
        if tried == 0
            && let Some(bytes) = self.read_as(latest, text, bounds)
        {
            return Some(self.fit(latest, bytes));
        }
        let name = name_hash(text);
        let named = self.by_name[name];
        let others = others.into_iter().filter(|&other| other != named);
        for index in [named].into_iter().chain(others).filter(|&index| index != latest) {
            if let Some(bytes) = self.read_as(index, text, bounds) {
                self.by_name[name] = index;
                self.follow(index);
                return Some(self.fit(index, bytes));
            }
        }
        None
    }

    /// Reads the metric at the front of `text` if it has the shape of this index: its length. Its slots are noted.
    fn read_as(&mut self, index: u8, text: Blocks<'_>, bounds: &Bounds) -> Option<usize> {
        self.shapes.get(usize::from(index))?.read_fields(text, bounds, &mut self.slots)
    }

    /// Notes that the metric has the shape of this index.
    #[inline(always)]
    fn fit(&mut self, index: u8, bytes: usize) -> Fit {
        self.before = index;
        self.misses = 0;
        Fit { shape: index, bytes }
    }

    /// Indices of the shapes that are expected next.
    #[inline(always)]
    fn successors(&mut self) -> &mut [u8; SUCCESSORS] {
        &mut self.shapes[usize::from(self.before)].successors
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
        self.before = index;
    }

    /// The metric as the log has it, if its own bytes say it. `text` begins with it.
    #[inline(always)]
    pub fn verbatim<'a>(&self, fit: Fit, text: &'a [u8]) -> Option<Verbatim<'a>> {
        let &Slots { name_at, timestamp_ms, timestamp: (start, end), .. } = &self.slots;
        let part = |start: usize, end: usize| Part::new(&text[start..], end - start);
        let (front, behind) = match self.shapes[usize::from(fit.shape)].layout {
            Layout::Whole => (part(name_at, fit.bytes), None),
            Layout::Cut(before) => (part(name_at, start - usize::from(before)), Some(part(end, fit.bytes))),
            Layout::Fields => return None,
        };
        Some(Verbatim { front, behind, timestamp_ms })
    }

    /// Fills in `metric`, which is cleared. `text` begins with it.
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

/// A hash of a metric's name, below [`NAMES`]: of its length and its first bytes.
fn name_hash(text: Blocks<'_>) -> usize {
    let Some(block) = text.whole(NAME_AT) else { return 0 };
    let bytes = string(text, NAME_AT).map_or(0, |end| end - NAME_AT);
    let others = u32::try_from(BLOCK_BYTES.saturating_sub(bytes)).unwrap_or(0) * u8::BITS;
    let first = u128::from_le_bytes(*block).checked_shl(others).unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, reason = "eight bits are left")]
    let place = (mix(bytes as u64, first) >> (u64::BITS - NAMES.ilog2())) as usize;
    place
}

/// A hash for lookup among a few shapes; whoever makes two of them meet makes a comparison more.
fn mix(hash: u64, bytes: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "both halves go in")]
    let word = bytes as u64 ^ ((bytes >> 64) as u64).rotate_left(23);
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A string without escapes.
fn plain(raw: &[u8]) -> Text<'_> {
    Text { raw, escapes: 0 }
}

#[cfg(test)]
mod tests;

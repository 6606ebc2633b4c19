//! Shapes of metrics that the grammar has read.

use super::{BLOCK_BYTES, Blocks, Layout, SHAPE_SLOTS_MAX, Shape, Shapes, Slot, TagsForm, mix, name_hash};
use crate::encode::{LINE_END, between_value_and_tags};
use crate::{Metric, encode};

/// A slot and where it is in its metric.
#[derive(Debug, Clone, Copy)]
struct SlotSpan {
    start: usize,
    end: usize,
    slot: Slot,
    /// As in [`Step`](super::Step).
    key_back: u16,
    key_bytes: u16,
}

impl SlotSpan {
    /// The end of a metric of this many bytes.
    const fn end(bytes: usize) -> Self {
        Self { start: bytes, end: bytes, slot: Slot::End, key_back: 0, key_bytes: 0 }
    }
}

impl Shapes {
    /// Takes note of the metric in `text`, which the grammar has read. `sent_timestamp` are its bytes, if there is one.
    #[cold]
    pub fn learn(&mut self, text: &[u8], metric: &Metric, sent_timestamp: Option<&[u8]>) {
        let is_tried = self.is_on && self.is_tried();
        self.misses = self.misses.wrapping_add(1);
        if !is_tried {
            return;
        }
        let mut places = [SlotSpan::end(0); SHAPE_SLOTS_MAX];
        let Some(count) = places_of(text, metric, sent_timestamp, &mut places) else { return };
        let places = &mut places[..count];
        places.sort_unstable_by_key(|place| place.start);
        let Some(mut shape) = Shape::of(text, metric, places) else { return };
        let known = self.shapes[1..self.count].iter().position(|known| known.is_same(&shape));
        let index = match known {
            Some(place) => 1 + place,
            None => {
                shape.layout = layout(text, metric, places);
                self.insert(shape)
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 255")]
        let index = index as u8;
        self.follow(index);
        if let Some(text) = Blocks::new(text) {
            self.by_name[name_hash(text)] = index;
        }
    }

    /// Puts a shape into a free place, or into the one that was filled first. What pointed there now expects the wrong
    /// shape, and learns.
    fn insert(&mut self, shape: Shape) -> usize {
        let index = if self.count < self.shapes.len() {
            self.count += 1;
            self.count - 1
        } else {
            let victim = self.victim;
            self.victim = 1 + victim % (self.shapes.len() - 1);
            victim
        };
        self.shapes[index] = shape;
        index
    }
}

impl Shape {
    /// The shape of the metric in `text`, but for its layout. `None` if it has too many bytes.
    fn of(text: &[u8], metric: &Metric, places: &[SlotSpan]) -> Option<Self> {
        let mut shape = Self { kind: metric.kind, ..Self::NONE };
        shape.tags = match metric.tags_verbatim {
            None => TagsForm::Other,
            Some(_) if metric.tags.is_empty() => TagsForm::Empty,
            Some(_) => TagsForm::Verbatim,
        };
        let mut at = 0;
        for place in places.iter().chain([&SlotSpan::end(text.len())]) {
            shape.push(&text[at..place.start], place)?;
            at = place.end;
        }
        Some(shape)
    }

    /// Appends a literal and the slot behind it. `None` without a place for them.
    fn push(&mut self, literal: &[u8], place: &SlotSpan) -> Option<()> {
        let parts = literal.chunks(BLOCK_BYTES);
        let last = parts.len().checked_sub(1)?;
        for (index, part) in parts.enumerate() {
            let step = self.steps.get_mut(self.steps_count)?;
            step.literal[..part.len()].copy_from_slice(part);
            step.mask = (1 << part.len()) - 1;
            step.bytes = step.mask.count_ones();
            step.slot = if index == last { place.slot } else { Slot::None };
            (step.key_back, step.key_bytes) = (place.key_back, place.key_bytes);
            self.fingerprint = mix(self.fingerprint, u128::from_le_bytes(step.literal));
            self.steps_count += 1;
        }
        Some(())
    }

    /// Returns whether both accept the same metrics and understand them in the same way. (From what is compared here,
    /// the layout follows.)
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.kind == other.kind
            && self.tags == other.tags
            && self.steps[..self.steps_count] == other.steps[..other.steps_count]
    }
}

/// Finds the slots of a metric, in no order, and returns their number. `None` if it has escapes, or too many.
fn places_of(
    text: &[u8],
    metric: &Metric,
    sent_timestamp: Option<&[u8]>,
    places: &mut [SlotSpan; SHAPE_SLOTS_MAX],
) -> Option<usize> {
    let mut count = 0;
    let mut put = |part: &[u8], slot, key: Option<&[u8]>| {
        let offset = |part: &[u8]| part.as_ptr().addr().checked_sub(text.as_ptr().addr());
        let start = offset(part)?;
        let mut place = SlotSpan { end: start + part.len(), slot, ..SlotSpan::end(start) };
        if let Some(key) = key {
            place.key_back = u16::try_from(start - (offset(key)? + key.len())).ok()?;
            place.key_bytes = u16::try_from(key.len()).ok()?;
        }
        *places.get_mut(count)? = place;
        count += 1;
        Some(())
    };
    if metric.name.has_escapes() {
        return None;
    }
    put(metric.name.raw, Slot::Name, None)?;
    put(metric.value, Slot::Value, None)?;
    match sent_timestamp {
        None => {}
        Some([b'-', ..]) => return None,
        Some(sent) if sent.contains(&b'\\') => return None,
        Some(sent) if sent.iter().all(u8::is_ascii_digit) => put(sent, Slot::Milliseconds, None)?,
        Some(sent) => put(with_quotation_mark(text, sent)?, Slot::Instant, None)?,
    }
    for tag in &metric.tags {
        if tag.key.has_escapes() || tag.value.has_escapes() {
            return None;
        }
        put(tag.value.raw, Slot::Tag, Some(tag.key.raw))?;
    }
    Some(count)
}

/// A string of `text` with the quotation mark behind it.
fn with_quotation_mark<'a>(text: &'a [u8], string: &[u8]) -> Option<&'a [u8]> {
    let start = string.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    text.get(start..=start + string.len()).filter(|quoted| quoted.ends_with(b"\""))
}

/// The derivation of the line from the metric in `text`, whose slots are at `places`, in their order.
fn layout(text: &[u8], metric: &Metric, places: &[SlotSpan]) -> Layout {
    let find = |wanted: fn(Slot) -> bool| places.iter().find(|place| wanted(place.slot));
    let Some(&SlotSpan { start: name_start, .. }) = find(|slot| slot == Slot::Name) else { return Layout::Fields };
    let timestamp = find(|slot| matches!(slot, Slot::Milliseconds | Slot::Instant));
    // What is in front of the name is no part of the line; a timestamp behind it is cut out.
    let (layout, cut_start, cut_end) = match timestamp.filter(|timestamp| timestamp.start > name_start) {
        None => (Layout::Whole, text.len(), text.len()),
        Some(&SlotSpan { start, end, slot, .. }) => {
            let key: &[u8] = if slot == Slot::Instant { br#","timestamp":""# } else { br#","timestamp":"# };
            if !text[..start].ends_with(key) {
                return Layout::Fields;
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is one of these two keys")]
            let before = key.len() as u8;
            (Layout::Cut(before), start - key.len(), end)
        }
    };
    let Some(tags) = metric.tags_verbatim else { return Layout::Fields };
    let line: [&[u8]; 6] = [
        metric.name.raw,
        encode::BEFORE_VALUE,
        metric.value,
        between_value_and_tags(metric.kind),
        tags,
        &LINE_END[..1],
    ];
    let is_line = text[name_start..cut_start].iter().chain(&text[cut_end..]).eq(line.into_iter().flatten());
    if is_line { layout } else { Layout::Fields }
}

//! Labels of one series: collected as parts of the body, checked, and written as name and tags.
//!
//! Agents send the series of a family, and those of a target, one after the other, so most labels of a series are those
//! of the series before it, at the same places. Those keep the spelling that they have in [`Series`]: a run of equal
//! bytes on the wire is compared as a whole and not read. Where only the value of a label differs, it is replaced
//! there. All else is spelled anew, and what comes out is the same as if all was.

use super::super::span::{Span, shared_bytes};
use crate::{Bounds, Reject, Series};

/// The reason why a series is rejected, and a text that is more exact.
pub(super) type Fault = (Reject, &'static str);

#[derive(Debug, Clone, Copy)]
struct Label {
    name: Span,
    value: Span,
    /// The bytes that encode it: a field of the series in 1.0, a pair of references in 2.0.
    wire: Span,
    /// True if its name is `__name__`.
    is_name: bool,
}

/// The labels of one series.
#[derive(Debug)]
pub(super) struct Labels {
    /// Labels of this series up to `count`; behind it and up to `known`, those of the series before.
    labels: Vec<Label>,
    count: usize,
    /// The number of labels of the series before that may come again; none is left once one did not.
    known: usize,
    /// The number of labels whose spelling is that of the series before, but for the `changed` ones.
    kept: usize,
    /// Indices among `kept` of labels with another value.
    changed: Vec<usize>,
    /// [`Series`] has the spelling of the labels up to `known`.
    are_spelled: bool,
    /// Each label begins where the one before it ends.
    are_adjacent: bool,
    /// Labels that a series may have: its tags and its name.
    labels_max: usize,
    /// True as long as each name is above the one before it.
    are_sorted: bool,
    fault: Option<&'static str>,
}

impl Labels {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            labels: Vec::new(),
            count: 0,
            known: 0,
            kept: 0,
            changed: Vec::new(),
            are_spelled: false,
            are_adjacent: true,
            labels_max: bounds.tags_limit.saturating_add(1),
            are_sorted: true,
            fault: None,
        }
    }

    pub(super) fn free(&mut self) {
        self.labels = Vec::new();
        self.changed = Vec::new();
        self.count = 0;
        self.are_spelled = false;
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.labels.capacity() * size_of::<Label>() + self.changed.capacity() * size_of::<usize>()
    }

    /// True if the labels of the series before are valid and sorted, and its [`Series`] has their spelling.
    pub(super) const fn are_spelled(&self) -> bool {
        self.are_spelled
    }

    /// Begins a body: places in the one before mean nothing any more.
    pub(super) fn begin_body(&mut self) {
        self.are_spelled = false;
    }

    /// Begins a series.
    #[inline]
    pub(super) fn begin_series(&mut self) {
        // Where there were gaps, a run of bytes is not one of labels.
        self.known = if self.are_spelled && self.are_adjacent { self.count } else { 0 };
        self.labels.truncate(self.known);
        (self.count, self.kept) = (0, 0);
        self.changed.clear();
        (self.are_spelled, self.are_adjacent, self.are_sorted) = (false, true, true);
        self.fault = None;
    }

    /// Rejects the series. The first text counts.
    #[cold]
    pub(super) fn reject(&mut self, text: &'static str) {
        self.fault = self.fault.or(Some(text));
    }

    /// Takes the labels at the front of `wire`, a part of `body`, that are those of the series before at this place,
    /// and returns their length.
    #[inline]
    pub(super) fn take_shared(&mut self, body: &[u8], wire: &[u8]) -> usize {
        let Some(before) = self.labels.get_mut(self.count..self.known) else { return 0 };
        let (Some(first), Some(last)) = (before.first().copied(), before.last()) else { return 0 };
        let shared = shared_bytes(first.wire.up_to(last.wire, body), wire);
        let place = Span::new(body, wire);
        let mut bytes = 0;
        let mut count = 0;
        for label in before {
            let end = label.wire.end_from(first.wire);
            if end > shared {
                break;
            }
            label.wire = label.wire.moved(first.wire, place);
            bytes = end;
            count += 1;
        }
        if count > 0 {
            self.note_place(place);
            self.count += count;
            self.kept = self.count;
        }
        bytes
    }

    /// Notes whether the label at `place` begins where the one before it ends.
    #[inline]
    fn note_place(&mut self, place: Span) {
        self.are_adjacent &= !place.is_empty();
        if let Some(last) = self.count.checked_sub(1) {
            self.are_adjacent &= self.labels[last].wire.meets(place);
        }
    }

    /// Appends a label, which `wire` encodes.
    #[inline]
    pub(super) fn push(&mut self, body: &[u8], name: Span, value: Span, wire: Span) {
        if name.is_empty() {
            return self.reject("the name of a label is empty");
        }
        // The same as no label.
        if value.is_empty() {
            return;
        }
        self.note_place(wire);
        let text = name.of(body);
        if self.count < self.known {
            let before = &mut self.labels[self.count];
            if before.name == name || before.name.of(body) == text {
                *before = Label { name, value, wire, is_name: before.is_name };
                self.changed.push(self.count);
                self.count += 1;
                self.kept = self.count;
                return;
            }
        }
        self.forget_others();
        if self.count >= self.labels_max {
            return self.reject("a series has too many labels");
        }
        if let Some(last) = self.labels.last()
            && last.name.of(body) >= text
        {
            self.are_sorted = false;
        }
        self.labels.push(Label { name, value, wire, is_name: text == b"__name__" });
        self.count += 1;
    }

    /// Drops the labels of the series before that have not come again.
    #[inline]
    fn forget_others(&mut self) {
        if self.count < self.known {
            self.labels.truncate(self.count);
            self.known = self.count;
        }
    }

    /// Writes them into `series`, sorted. It must be the series of the calls before, as it was left then.
    #[inline]
    pub(super) fn write(&mut self, body: &[u8], series: &mut Series) -> Result<(), Fault> {
        self.forget_others();
        if !self.are_sorted {
            self.sort(body);
        }
        if let Some(text) = self.fault {
            return Err((Reject::Tags, text));
        }
        if !self.respell(body, series) {
            self.spell(body, series).map_err(|reason| (reason, reason.text()))?;
        }
        self.are_spelled = self.are_sorted;
        if series.is_named() { Ok(()) } else { Err((Reject::Name, "a series has no label __name__")) }
    }

    /// Makes `series`, which has the labels of the series before, have these; false if that is not as simple.
    #[inline]
    fn respell(&self, body: &[u8], series: &mut Series) -> bool {
        let kept = &self.labels[..self.kept];
        let name = kept.iter().position(|label| label.is_name);
        let tag_of = |index: usize| index - usize::from(name.is_some_and(|name| name < index));
        series.keep_tags(tag_of(self.kept));
        if name.is_none() {
            series.clear_name();
        }
        self.changed.iter().all(|&index| {
            let label = &kept[index];
            let value = label.value.of(body);
            if label.is_name {
                series.clear_name();
                return series.push_name(value).is_ok();
            }
            series.replace_value(tag_of(index), value)
        }) && self.labels[self.kept..].iter().all(|label| push(label, body, series).is_ok())
    }

    /// Spells all of them.
    #[cold]
    fn spell(&self, body: &[u8], series: &mut Series) -> Result<(), Reject> {
        series.clear();
        self.labels.iter().try_for_each(|label| push(label, body, series))
    }

    #[cold]
    fn sort(&mut self, body: &[u8]) {
        self.labels.sort_unstable_by(|a, b| a.name.of(body).cmp(b.name.of(body)));
        let is_repeated = self.labels.windows(2).any(|pair| pair[0].name.of(body) == pair[1].name.of(body));
        if is_repeated {
            self.reject("the name of a label comes twice");
        }
        self.kept = 0;
        self.changed.clear();
    }
}

#[inline]
fn push(label: &Label, body: &[u8], series: &mut Series) -> Result<(), Reject> {
    let (name, value) = (label.name.of(body), label.value.of(body));
    if label.is_name { series.push_name(value) } else { series.push_unique_tag(name, value) }
}

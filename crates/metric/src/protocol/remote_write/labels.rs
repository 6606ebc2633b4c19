//! Labels of one series: collected as parts of the body, checked, and written as name and tags.
//!
//! Agents send the series of a family one after the other, so most labels of a series are those of the series before
//! it. The labels that two have in common at their front are compared as bytes, and keep the spelling that they have in
//! [`Series`]; a name is compared apart from the tags behind it.

use super::super::bucket::{BoundText, normalise_bound};
use crate::sink::is_plain;
use crate::{Bounds, Reject, Series};

/// The reason why a series is rejected, and a text that is more exact.
pub(super) type Fault = (Reject, &'static str);

/// A text within the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
    /// [`is_plain`] is known to hold for it.
    is_plain: bool,
}

impl Span {
    /// The place of `text`, a part of `body`, which has at most 4 GiB.
    #[inline]
    pub(super) fn new(body: &[u8], text: &[u8]) -> Self {
        let start = (text.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        let offset = |offset: usize| u32::try_from(offset.min(body.len())).unwrap_or(0);
        Self { start: offset(start), end: offset(start.saturating_add(text.len())), is_plain: false }
    }

    /// As [`new`](Self::new), for a text that many labels will refer to: it is judged once.
    #[inline]
    pub(super) fn of_symbol(body: &[u8], text: &[u8]) -> Self {
        Self { is_plain: is_plain(text), ..Self::new(body, text) }
    }

    #[inline]
    pub(super) fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or(b"")
    }

    #[inline]
    const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

#[derive(Debug, Clone, Copy)]
struct Label {
    name: Span,
    value: Span,
    /// The message that holds both; empty in 2.0, where equal texts are at the same place.
    message: Span,
    /// True if its name is `__name__`.
    is_name: bool,
}

/// The labels of one series.
#[derive(Debug)]
pub(super) struct Labels {
    labels: Vec<Label>,
    /// The number of labels that can still be those of the series before: the first of `labels`.
    known: usize,
    /// The number of labels that are those of the series before.
    shared: usize,
    shared_tags: usize,
    name: NameIs,
    /// [`Series`] has the spelling of all `labels`.
    are_spelled: bool,
    /// Labels that a series may have: its tags and its name.
    labels_max: usize,
    /// True as long as each name is above the one before it.
    are_sorted: bool,
    fault: Option<&'static str>,
}

/// The name of a series beside that of the series before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameIs {
    /// Not among the labels that both have at their front.
    Apart,
    /// At the same place, with this index and another value.
    Changed(usize),
    Equal,
}

impl Labels {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            labels: Vec::new(),
            known: 0,
            shared: 0,
            shared_tags: 0,
            name: NameIs::Apart,
            are_spelled: false,
            labels_max: bounds.tags_limit.saturating_add(1),
            are_sorted: true,
            fault: None,
        }
    }

    pub(super) fn free(&mut self) {
        self.labels = Vec::new();
        self.are_spelled = false;
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.labels.capacity() * size_of::<Label>()
    }

    /// Begins a body: places in the one before mean nothing any more.
    pub(super) fn begin_body(&mut self) {
        self.are_spelled = false;
    }

    /// Begins a series.
    #[inline]
    pub(super) fn begin_series(&mut self) {
        if !self.are_spelled {
            self.labels.clear();
        }
        self.known = self.labels.len();
        (self.shared, self.shared_tags, self.name) = (0, 0, NameIs::Apart);
        self.are_spelled = false;
        self.are_sorted = true;
        self.fault = None;
    }

    /// Rejects the series. The first text counts.
    #[cold]
    pub(super) fn reject(&mut self, text: &'static str) {
        self.fault = self.fault.or(Some(text));
    }

    /// Takes the label that `message` encodes if the series before has it at the same place.
    #[inline]
    pub(super) fn take_shared(&mut self, body: &[u8], message: &[u8]) -> bool {
        if self.shared == self.known || self.labels[self.shared].message.of(body) != message {
            return false;
        }
        self.share();
        true
    }

    #[inline]
    fn share(&mut self) {
        if self.labels[self.shared].is_name {
            self.name = NameIs::Equal;
        } else {
            self.shared_tags += 1;
        }
        self.shared += 1;
    }

    /// Appends a label, which `message` encodes in 1.0.
    #[inline]
    pub(super) fn push(&mut self, body: &[u8], name: Span, value: Span, message: Span) {
        if name.is_empty() {
            return self.reject("the name of a label is empty");
        }
        // The same as no label.
        if value.is_empty() {
            return;
        }
        let is_name = name.of(body) == b"__name__";
        if self.shared < self.known {
            let before = &mut self.labels[self.shared];
            if before.name == name && before.value == value {
                return self.share();
            }
            if before.is_name && is_name {
                *before = Label { name, value, message, is_name };
                self.name = NameIs::Changed(self.shared);
                self.shared += 1;
                return;
            }
            self.drop_unshared();
        }
        if self.labels.len() >= self.labels_max {
            return self.reject("a series has too many labels");
        }
        if let Some(last) = self.labels.last()
            && last.name.of(body) >= name.of(body)
        {
            self.are_sorted = false;
        }
        self.labels.push(Label { name, value, message, is_name });
    }

    fn drop_unshared(&mut self) {
        self.labels.truncate(self.shared);
        self.known = self.shared;
    }

    /// Writes them into `series`, sorted. It must be the series of the calls before, as it was left then.
    #[inline]
    pub(super) fn write(&mut self, body: &[u8], series: &mut Series) -> Result<(), Fault> {
        if self.shared < self.known {
            self.drop_unshared();
        }
        if !self.are_sorted {
            self.sort(body);
        }
        if let Some(text) = self.fault {
            return Err((Reject::Tags, text));
        }
        self.spell(body, series).map_err(|reason| (reason, reason.text()))?;
        self.are_spelled = self.are_sorted;
        if series.is_named() { Ok(()) } else { Err((Reject::Name, "a series has no label __name__")) }
    }

    #[inline]
    fn spell(&self, body: &[u8], series: &mut Series) -> Result<(), Reject> {
        series.keep_tags(self.shared_tags);
        if self.name != NameIs::Equal {
            series.clear_name();
        }
        if let NameIs::Changed(index) = self.name {
            series.push_name(self.labels[index].value.of(body))?;
        }
        for label in &self.labels[self.shared..] {
            let (name, value) = (label.name.of(body), label.value.of(body));
            match name {
                _ if label.is_name => series.push_name(value)?,
                b"le" | b"quantile" => {
                    series.push_unique_tag(name, normalise_bound(value, &mut BoundText::default()))?;
                }
                _ if label.name.is_plain && label.value.is_plain => series.push_plain_tag(name, value)?,
                _ => series.push_unique_tag(name, value)?,
            }
        }
        Ok(())
    }

    #[cold]
    fn sort(&mut self, body: &[u8]) {
        self.labels.sort_unstable_by(|a, b| a.name.of(body).cmp(b.name.of(body)));
        let is_repeated = self.labels.windows(2).any(|pair| pair[0].name.of(body) == pair[1].name.of(body));
        if is_repeated {
            self.reject("the name of a label comes twice");
        }
        (self.shared, self.shared_tags, self.name) = (0, 0, NameIs::Apart);
    }
}

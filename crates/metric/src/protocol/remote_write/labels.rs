//! Labels of one series: collected as parts of the body, checked, and written as name and tags.

use super::super::bucket::{BoundText, normalise_bound};
use crate::sink::is_plain;
use crate::{Bounds, Reject, Series};

/// The reason why a series is rejected, and a text that is more exact.
pub(super) type Fault = (Reject, &'static str);

/// A text within the body.
#[derive(Debug, Clone, Copy, Default)]
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
}

/// The labels of one series.
#[derive(Debug)]
pub(super) struct Labels {
    labels: Vec<Label>,
    /// Labels that a series may have: its tags and its name.
    labels_max: usize,
    /// True as long as each name is above the one before it.
    are_sorted: bool,
    fault: Option<&'static str>,
}

impl Labels {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { labels: Vec::new(), labels_max: bounds.tags_limit.saturating_add(1), are_sorted: true, fault: None }
    }

    pub(super) fn free(&mut self) {
        self.labels = Vec::new();
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.labels.capacity() * size_of::<Label>()
    }

    /// Begins a series.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.labels.clear();
        self.are_sorted = true;
        self.fault = None;
    }

    /// Rejects the series. The first text counts.
    #[cold]
    pub(super) fn reject(&mut self, text: &'static str) {
        self.fault = self.fault.or(Some(text));
    }

    /// Appends a label.
    #[inline]
    pub(super) fn push(&mut self, body: &[u8], name: Span, value: Span) {
        if name.is_empty() {
            return self.reject("the name of a label is empty");
        }
        // The same as no label.
        if value.is_empty() {
            return;
        }
        if self.labels.len() >= self.labels_max {
            return self.reject("a series has too many labels");
        }
        if let Some(last) = self.labels.last()
            && last.name.of(body) >= name.of(body)
        {
            self.are_sorted = false;
        }
        self.labels.push(Label { name, value });
    }

    /// Writes them into `series`, sorted.
    #[inline]
    pub(super) fn write(&mut self, body: &[u8], series: &mut Series) -> Result<(), Fault> {
        series.clear();
        if !self.are_sorted {
            self.sort(body);
        }
        if let Some(text) = self.fault {
            return Err((Reject::Tags, text));
        }
        self.append_to(body, series).map_err(|reason| (reason, reason.text()))?;
        if series.is_named() { Ok(()) } else { Err((Reject::Name, "a series has no label __name__")) }
    }

    #[inline]
    fn append_to(&self, body: &[u8], series: &mut Series) -> Result<(), Reject> {
        for label in &self.labels {
            let (name, value) = (label.name.of(body), label.value.of(body));
            match name {
                b"__name__" => series.push_name(value)?,
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
    }
}

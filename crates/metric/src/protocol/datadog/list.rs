//! The tags of a series, or its resources, where most are those of the series before.

use super::super::json;

/// A list that takes the place of the one before it, and knows whether it is another one.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) elements: Vec<T>,
    /// The number of elements of the new list.
    count: usize,
    /// True if they were not always the same since [`begin_series`](Self::begin_series).
    pub(super) has_changed: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { elements: Vec::new(), count: 0, has_changed: false }
    }
}

impl<T: Copy + PartialEq> List<T> {
    pub(super) fn begin_series(&mut self) {
        self.has_changed = false;
    }

    pub(super) fn begin(&mut self) {
        self.count = 0;
    }

    /// Appends an element unless there are `limit` of them; `too_many` is set then.
    #[inline]
    pub(super) fn push(&mut self, element: T, limit: usize, too_many: &mut bool) {
        if self.count == limit {
            *too_many = true;
            return;
        }
        match self.elements.get_mut(self.count) {
            Some(before) if *before == element => {}
            Some(before) => {
                *before = element;
                self.has_changed = true;
            }
            None => {
                self.elements.push(element);
                self.has_changed = true;
            }
        }
        self.count += 1;
    }

    pub(super) fn end(&mut self) {
        self.has_changed |= self.count < self.elements.len();
        self.elements.truncate(self.count);
    }

    pub(super) fn recycle<U>(self) -> List<U> {
        List { elements: json::recycle(self.elements), count: 0, has_changed: false }
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.elements.capacity() * size_of::<T>()
    }
}

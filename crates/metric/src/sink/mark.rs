//! A state of a [`LineSink`] to come back to: for a decoder that reads ahead of what decides.

use super::{LineSink, Reject, Rejected, Skip};

/// Counts of a sink, and the end of its lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SinkMark {
    bytes: usize,
    metrics: u32,
    known: u32,
    far_from_now: u32,
    rejected: [u32; Reject::COUNT],
    skipped: [u32; Skip::COUNT],
    first_rejected: Option<Rejected>,
}

impl LineSink<'_> {
    /// The present state.
    #[inline]
    pub(crate) const fn mark(&self) -> SinkMark {
        SinkMark {
            bytes: self.bytes,
            metrics: self.metrics,
            known: self.known,
            far_from_now: self.far_from_now,
            rejected: self.rejected,
            skipped: self.skipped,
            first_rejected: self.first_rejected,
        }
    }

    /// Takes back the lines and the counts since `mark`.
    pub(crate) fn reset_to(&mut self, mark: SinkMark) {
        self.bytes = mark.bytes;
        self.metrics = mark.metrics;
        self.known = mark.known;
        self.far_from_now = mark.far_from_now;
        self.rejected = mark.rejected;
        self.skipped = mark.skipped;
        self.first_rejected = mark.first_rejected;
    }
}

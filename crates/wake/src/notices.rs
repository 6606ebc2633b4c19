//! The flags of a bounded channel of which neither end ever waits.

use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// The flags of the notices between the ends of a bounded channel: to the reader that there is something to read, and
/// to the writer, once it has found the channel full, that there is space again. The channel itself and the ways of
/// both notices are the caller's; at most one notice is under way in each direction.
///
/// Promises that nothing that is in the channel goes without a notice of it that is under way or was not accepted yet,
/// and that a writer which waits for space is notified exactly once. `tests/loom_notices.rs` has the models.
#[derive(Debug)]
pub struct Notices {
    /// A notice to the reader is under way.
    announced: AtomicBool,
    /// The writer has put its work aside until it gets the notice of space.
    waits: AtomicBool,
    /// Nobody will read any more.
    cancelled: AtomicBool,
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}

impl Notices {
    /// The flags of an empty channel: no notice is under way, and nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self { announced: AtomicBool::new(false), waits: AtomicBool::new(false), cancelled: AtomicBool::new(false) }
    }

    /// Announces what the writer has put into the channel, or that it has closed it. Returns true if the reader must be
    /// notified now: it has accepted the notice before. Whoever comes second to the flag sees what the first did before
    /// it, so either the reader finds the part, or it is notified.
    #[must_use]
    pub fn announce(&self) -> bool {
        !self.announced.swap(true, Ordering::AcqRel)
    }

    /// Accepts a notice, for the reader, which reads the channel afterwards: what comes later is announced again.
    pub fn accept(&self) {
        self.announced.swap(false, Ordering::AcqRel);
    }

    /// Requests a notice of space, for a writer that has found the channel full; `has_space` looks again. Returns false
    /// if there is space or nobody reads any more: then no notice comes.
    #[must_use]
    pub fn request_space(&self, has_space: impl FnOnce() -> bool) -> bool {
        self.waits.store(true, Ordering::Relaxed);
        // Pairs with that of `must_notify_space`: either the reader sees the flag, or its taking is seen here.
        fence(Ordering::SeqCst);
        let is_over = self.cancelled.load(Ordering::Relaxed) || has_space();
        // Whoever takes the flag down goes on.
        !(is_over && self.waits.swap(false, Ordering::AcqRel))
    }

    /// Returns true if the writer must be notified of the space that the reader has just made.
    #[must_use]
    pub fn must_notify_space(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waits.load(Ordering::Relaxed) && self.waits.swap(false, Ordering::AcqRel)
    }

    /// Cancels the channel, for a reader that leaves. Returns true if the writer waits and must be notified.
    #[must_use]
    pub fn cancel(&self) -> bool {
        // A flag to stop by; nothing is read because of it.
        self.cancelled.store(true, Ordering::Relaxed);
        self.must_notify_space()
    }

    /// The flag that is set once nobody reads any more.
    #[must_use]
    pub const fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }
}

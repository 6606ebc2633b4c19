//! What the connections of one core share: bounds, the date, decompressors, and buffers on loan.
//!
//! A connection holds a buffer only while bytes of an unfinished request lie in it, so an idle one holds none. Returned
//! buffers are kept for the next borrower up to a stated sum, so the steady state allocates nothing.

use super::content::ContentDecoder;
use super::format_date;
use crate::limits::{BODY_BYTES_CAP, BUFFER_KEPT_BYTES_MAX, BUFFERS_KEPT_BYTES_MAX, BUFFERS_KEPT_MAX};

/// What an operator may set for this room.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most bytes of a body, as received and as decompressed; at most `BODY_BYTES_CAP`.
    pub body_bytes: usize,
}

/// State shared by all connections of one core. The owner keeps `date` and `draining` up to date.
pub struct Core {
    pub(super) bounds: Bounds,
    pub(super) decoder: ContentDecoder,
    pub(super) buffers: Buffers,
    /// The Date field of answers, see [`format_date`]; to be renewed every second.
    pub date: [u8; 29],
    /// Every answer from now on carries `Connection: close`, and its connection ends with it.
    pub draining: bool,
}

impl Core {
    /// # Panics
    /// When `bounds` is over its cap, or there is no memory for the decompressors: both at start-up.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        assert!(bounds.body_bytes <= BODY_BYTES_CAP, "a body bound over its cap");
        Self {
            bounds,
            decoder: ContentDecoder::new(),
            buffers: Buffers::default(),
            date: format_date(0),
            draining: false,
        }
    }

    /// Bytes of memory held for connections to come: empty buffers and the decompressors' output.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.buffers.kept_bytes + self.decoder.kept_bytes()
    }
}

/// Empty buffers, kept for the next borrower.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
}

impl Buffers {
    /// An empty buffer of any capacity.
    pub(super) fn lend(&mut self) -> Vec<u8> {
        let buffer = self.kept.pop().unwrap_or_default();
        self.kept_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back, whatever is in it. A large one, or one too many, is freed.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        let fits = self.kept.len() < BUFFERS_KEPT_MAX && self.kept_bytes + bytes <= BUFFERS_KEPT_BYTES_MAX;
        if bytes > 0 && bytes <= BUFFER_KEPT_BYTES_MAX && fits {
            buffer.clear();
            self.kept_bytes += bytes;
            self.kept.push(buffer);
        }
    }

    /// Appends to `buffer`, which is borrowed first if it has no memory. It grows by doubling with what really arrived,
    /// never to the length that a peer only announced, and not past `bytes_max` if its content does not go past it.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) {
        if bytes.is_empty() {
            return;
        }
        if buffer.capacity() == 0 {
            *buffer = self.lend();
        }
        let needed = buffer.len() + bytes.len();
        if needed > buffer.capacity() {
            let doubled = (buffer.capacity() * 2).min(bytes_max);
            buffer.reserve_exact(needed.max(doubled) - buffer.len());
        }
        buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_are_lent_again() {
        let mut buffers = Buffers::default();
        let mut buffer = Vec::new();
        buffers.append(&mut buffer, b"some bytes", 100);
        let address = buffer.as_ptr();
        buffers.give_back(buffer);
        let again = buffers.lend();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
        assert_eq!(buffers.kept_bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_in_count_in_sum_and_in_size() {
        let mut buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(BUFFER_KEPT_BYTES_MAX + 1));
        assert!(buffers.kept.is_empty());
        for _ in 0..=BUFFERS_KEPT_BYTES_MAX / BUFFER_KEPT_BYTES_MAX {
            buffers.give_back(Vec::with_capacity(BUFFER_KEPT_BYTES_MAX));
        }
        assert!(buffers.kept_bytes <= BUFFERS_KEPT_BYTES_MAX);
        let mut buffers = Buffers::default();
        for _ in 0..BUFFERS_KEPT_MAX + 1 {
            buffers.give_back(Vec::with_capacity(1));
        }
        assert_eq!(buffers.kept.len(), BUFFERS_KEPT_MAX);
    }

    #[test]
    fn growth_follows_what_arrived_and_stops_at_the_bound() {
        let mut buffers = Buffers::default();
        let mut buffer = Vec::new();
        for arrived in 1..=1000 {
            buffers.append(&mut buffer, b"x", 1000);
            assert!(buffer.capacity() <= (2 * arrived).min(1000), "{} for {arrived}", buffer.capacity());
        }
    }
}

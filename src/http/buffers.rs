//! What the connections of one core share: bounds, the date, decompressors, and buffers on loan.
//!
//! A connection holds a buffer only while bytes of an unfinished request lie in it, so an idle one holds none. Returned
//! buffers are kept for the next borrower up to a stated sum, so the steady state allocates nothing.

use super::content::ContentDecoder;
use super::format_date;
use crate::limits::{
    BODY_BYTES_CAP, BUFFER_KEPT_BYTES_MAX, BUFFERS_KEPT_BYTES_MAX, BUFFERS_KEPT_MAX, RECEIVING_BYTES_MAX,
};

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

    /// Bytes of memory that connections hold for what they are receiving.
    #[must_use]
    pub const fn lent_bytes(&self) -> usize {
        self.buffers.lent_bytes
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
    /// Capacity of the buffers that connections hold at the moment.
    lent_bytes: usize,
}

impl Buffers {
    /// An empty buffer of any capacity.
    pub(super) fn lend(&mut self) -> Vec<u8> {
        let buffer = self.kept.pop().unwrap_or_default();
        self.kept_bytes -= buffer.capacity();
        self.lent_bytes += buffer.capacity();
        buffer
    }

    /// Whether `append` with these arguments stays within the bound of all connections' buffers together.
    pub(super) fn has_room(&self, buffer: &Vec<u8>, bytes: usize, bytes_max: usize) -> bool {
        let grown = grown_capacity(buffer, bytes, bytes_max);
        self.lent_bytes - buffer.capacity() + grown <= RECEIVING_BYTES_MAX
    }

    /// Takes a buffer back, whatever is in it. A large one, or one too many, is freed.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        self.lent_bytes -= bytes;
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
        let grown = grown_capacity(buffer, bytes.len(), bytes_max);
        if grown > buffer.capacity() {
            self.lent_bytes -= buffer.capacity();
            buffer.reserve_exact(grown - buffer.len());
            self.lent_bytes += buffer.capacity();
        }
        buffer.extend_from_slice(bytes);
    }
}

/// The capacity that `buffer` needs for `bytes` more.
fn grown_capacity(buffer: &Vec<u8>, bytes: usize, bytes_max: usize) -> usize {
    let needed = buffer.len() + bytes;
    if needed <= buffer.capacity() { buffer.capacity() } else { needed.max((buffer.capacity() * 2).min(bytes_max)) }
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

    /// `count` buffers on loan at one time, each with `bytes` in it.
    fn lent(buffers: &mut Buffers, count: usize, bytes: usize) -> Vec<Vec<u8>> {
        let mut lent = vec![Vec::new(); count];
        lent.iter_mut().for_each(|buffer| buffers.append(buffer, &vec![0; bytes], bytes));
        lent
    }

    #[test]
    fn what_is_kept_is_bounded_in_count_in_sum_and_in_size() {
        for (count, bytes) in [
            (1, BUFFER_KEPT_BYTES_MAX + 1),
            (BUFFERS_KEPT_BYTES_MAX / BUFFER_KEPT_BYTES_MAX + 1, BUFFER_KEPT_BYTES_MAX),
            (BUFFERS_KEPT_MAX + 1, 1),
        ] {
            let mut buffers = Buffers::default();
            let on_loan = lent(&mut buffers, count, bytes);
            assert_eq!(buffers.lent_bytes, on_loan.iter().map(Vec::capacity).sum::<usize>());
            on_loan.into_iter().for_each(|buffer| buffers.give_back(buffer));
            assert_eq!(buffers.lent_bytes, 0);
            assert_eq!(buffers.kept.len(), count - 1);
            assert!(buffers.kept_bytes <= BUFFERS_KEPT_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_on_loan_is_bounded() {
        let mut buffers = Buffers { lent_bytes: RECEIVING_BYTES_MAX - 100, ..Buffers::default() };
        let mut buffer = Vec::new();
        assert!(buffers.has_room(&buffer, 100, 1000));
        assert!(!buffers.has_room(&buffer, 101, 1000));
        buffers.append(&mut buffer, &[0; 100], 100);
        assert_eq!(buffers.lent_bytes, RECEIVING_BYTES_MAX);
        assert!(!buffers.has_room(&buffer, 1, 1000));
        buffer.clear();
        assert!(buffers.has_room(&buffer, 100, 1000), "what has its memory already needs no more");
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

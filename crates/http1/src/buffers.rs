//! Buffers and state that the connections of one core share: bounds, the date, decompressors, the budget of memory held
//! for peers, and buffers on loan.
//!
//! A connection holds a buffer only while bytes of an unfinished request lie in it, so an idle one holds none. Every
//! buffer is counted by its capacity and reserved before it grows; what the decompressors may take is set aside at the
//! start. Returned buffers are kept for the next borrower up to a stated sum, so the steady state allocates nothing.

use super::content::ContentDecoder;
use super::cors::Cors;
use super::format_date;
use super::memo::HeadMemo;
use super::response::LatestAccepted;
use crate::limits::{
    BODY_BYTES_CAP, BUFFER_KEPT_BYTES_MAX, BUFFERS_KEPT_BYTES_MAX, BUFFERS_KEPT_MAX, DECODER_BYTES_MAX, HELD_BYTES_MAX,
};

/// Bounds that the operator may set for this crate.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most bytes of a body, as received and as decompressed; at most `BODY_BYTES_CAP`.
    pub body_bytes: usize,
}

/// State shared by all connections of one core. The owner keeps `date`, `draining` and `closes` up to date.
pub struct HttpContext {
    pub(super) bounds: Bounds,
    pub(super) decoder: ContentDecoder,
    pub(super) buffers: Buffers,
    /// The heads that are known; `None` if none is to be remembered.
    pub(super) memo: Option<Box<HeadMemo>>,
    pub(super) latest: LatestAccepted,
    /// The Date field of responses, see [`format_date`]; to be renewed every second.
    pub date: [u8; 29],
    /// The web pages that may read responses.
    pub cors: Cors,
    /// Every response from now on carries `Connection: close`, and its connection ends with it.
    pub draining: bool,
    /// The same, for the connection that is served next: it is over the bound of connections.
    pub closes: bool,
}

impl HttpContext {
    /// # Panics
    /// When `bounds` is over its cap, or there is no memory for the decompressors: both at start-up.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        assert!(bounds.body_bytes <= BODY_BYTES_CAP, "a body bound over its cap");
        // One body is decompressed at a time, to its bound and the byte that shows it to be over.
        let decoder_bytes = DECODER_BYTES_MAX + bounds.body_bytes + 1;
        Self {
            bounds,
            decoder: ContentDecoder::new(),
            buffers: Buffers::new(HELD_BYTES_MAX - decoder_bytes),
            memo: Some(Box::new(HeadMemo::new())),
            latest: LatestAccepted::new(),
            date: format_date(0),
            cors: Cors::default(),
            draining: false,
            closes: false,
        }
    }

    /// Parses every head from now on: to compare with, as remembering must make no difference.
    pub fn forget_heads(&mut self) {
        self.memo = None;
    }

    /// True if a response from now on ends its connection.
    #[inline]
    pub(super) const fn ends_connections(&self) -> bool {
        self.draining || self.closes
    }

    /// Bytes of memory that connections hold, what their owner has reserved included.
    #[inline]
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.buffers.lent_bytes
    }

    /// The most that they may hold.
    #[inline]
    #[must_use]
    pub const fn held_bytes_limit(&self) -> usize {
        self.buffers.limit
    }

    /// Bytes that may still be reserved.
    #[inline]
    #[must_use]
    pub const fn free_bytes(&self) -> usize {
        self.buffers.limit.saturating_sub(self.buffers.lent_bytes)
    }

    /// Reserves memory that the owner holds for a connection outside of this module. False: there is none.
    #[must_use]
    pub const fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.buffers.fits(bytes);
        if fits {
            self.buffers.lent_bytes += bytes;
        }
        fits
    }

    /// Counts memory that the owner holds already instead of `before`: a response buffer, which the burst has grown.
    #[inline]
    pub const fn recount(&mut self, before: usize, now: usize) {
        self.buffers.lent_bytes = self.buffers.lent_bytes - before + now;
    }

    /// Bytes of memory held for connections to come: empty buffers and the decompressors' output.
    #[inline]
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.buffers.kept_bytes + self.decoder.kept_bytes()
    }

    /// Gives back the memory that nothing has needed since the last call.
    #[inline]
    pub fn trim(&mut self) {
        self.buffers.trim();
        self.decoder.trim_idle();
    }
}

/// The budget, and empty buffers kept for the next borrower.
#[derive(Debug)]
pub(super) struct Buffers {
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
    /// The fewest that were kept at one time since the last trim: so many nobody has needed.
    kept_least: usize,
    /// Capacity of the buffers that connections hold at the moment, and what their owner has reserved.
    lent_bytes: usize,
    /// The most that may be lent.
    limit: usize,
}

impl Buffers {
    const fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), kept_bytes: 0, kept_least: 0, lent_bytes: 0, limit }
    }

    /// True if so many bytes more may be lent.
    #[inline]
    pub(super) const fn fits(&self, bytes: usize) -> bool {
        bytes <= self.limit.saturating_sub(self.lent_bytes)
    }

    /// An empty buffer of any capacity that fits.
    fn lend(&mut self) -> Vec<u8> {
        if self.kept.last().is_none_or(|buffer| !self.fits(buffer.capacity())) {
            return Vec::new();
        }
        let buffer = self.kept.pop().unwrap_or_default();
        self.kept_least = self.kept_least.min(self.kept.len());
        self.kept_bytes -= buffer.capacity();
        self.lent_bytes += buffer.capacity();
        buffer
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
    /// False: there is no memory, and nothing was appended.
    #[must_use]
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if buffer.capacity() == 0 {
            *buffer = self.lend();
        }
        let more = grown_capacity(buffer, bytes.len(), bytes_max) - buffer.capacity();
        if !self.fits(more) {
            return false;
        }
        if more > 0 {
            self.lent_bytes -= buffer.capacity();
            buffer.reserve_exact(buffer.capacity() + more - buffer.len());
            self.lent_bytes += buffer.capacity();
        }
        buffer.extend_from_slice(bytes);
        true
    }

    fn trim(&mut self) {
        for buffer in self.kept.drain(..self.kept_least) {
            self.kept_bytes -= buffer.capacity();
        }
        self.kept_least = self.kept.len();
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
        let mut buffers = Buffers::new(HELD_BYTES_MAX);
        let mut buffer = Vec::new();
        assert!(buffers.append(&mut buffer, b"some bytes", 100));
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
        lent.iter_mut().for_each(|buffer| assert!(buffers.append(buffer, &vec![0; bytes], bytes)));
        lent
    }

    #[test]
    fn what_is_kept_is_bounded_in_count_in_sum_and_in_size() {
        for (count, bytes) in [
            (1, BUFFER_KEPT_BYTES_MAX + 1),
            (BUFFERS_KEPT_BYTES_MAX / BUFFER_KEPT_BYTES_MAX + 1, BUFFER_KEPT_BYTES_MAX),
            (BUFFERS_KEPT_MAX + 1, 1),
        ] {
            let mut buffers = Buffers::new(HELD_BYTES_MAX);
            let on_loan = lent(&mut buffers, count, bytes);
            assert_eq!(buffers.lent_bytes, on_loan.iter().map(Vec::capacity).sum::<usize>());
            on_loan.into_iter().for_each(|buffer| buffers.give_back(buffer));
            assert_eq!(buffers.lent_bytes, 0);
            assert_eq!(buffers.kept.len(), count - 1);
            assert!(buffers.kept_bytes <= BUFFERS_KEPT_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_on_loan_is_bounded_by_capacity() {
        let mut buffers = Buffers::new(1_000);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(buffers.append(&mut first, &[0; 400], 10_000));
        assert!(!buffers.append(&mut first, &[0; 601], 10_000), "more than there is");
        assert_eq!((first.len(), buffers.lent_bytes), (400, 400), "nothing was appended");
        assert!(buffers.append(&mut first, &[0; 1], 10_000));
        assert_eq!(buffers.lent_bytes, 800, "what doubling takes is counted, not what lies in it");
        assert!(!buffers.append(&mut second, &[0; 201], 10_000));
        assert!(buffers.append(&mut second, &[0; 200], 10_000));
        assert!(!buffers.append(&mut second, &[0; 1], 10_000));
        second.clear();
        assert!(buffers.append(&mut second, &[0; 200], 10_000), "what has its memory already needs no more");
        buffers.give_back(first);
        assert!(buffers.fits(800) && !buffers.fits(801));
    }

    #[test]
    fn a_kept_buffer_larger_than_the_budget_is_not_lent() {
        let mut buffers = Buffers::new(1_000);
        let mut large = Vec::new();
        assert!(buffers.append(&mut large, &[0; 900], 10_000));
        buffers.give_back(large);
        let mut other = Vec::new();
        buffers.lent_bytes = 200;
        assert!(buffers.append(&mut other, &[0; 10], 10_000));
        assert_eq!((other.capacity(), buffers.lent_bytes), (10, 210));
    }

    #[test]
    fn a_trim_frees_what_nobody_needed_since_the_last() {
        let mut buffers = Buffers::new(HELD_BYTES_MAX);
        lent(&mut buffers, 10, 100).into_iter().for_each(|buffer| buffers.give_back(buffer));
        buffers.trim();
        assert_eq!(buffers.kept.len(), 10, "all of them were in use since");
        lent(&mut buffers, 3, 100).into_iter().for_each(|buffer| buffers.give_back(buffer));
        buffers.trim();
        assert_eq!((buffers.kept.len(), buffers.kept_bytes), (3, 300));
        buffers.trim();
        assert_eq!((buffers.kept.len(), buffers.kept_bytes), (0, 0));
    }

    #[test]
    fn growth_follows_what_arrived_and_stops_at_the_bound() {
        let mut buffers = Buffers::new(HELD_BYTES_MAX);
        let mut buffer = Vec::new();
        for arrived in 1..=1000 {
            assert!(buffers.append(&mut buffer, b"x", 1000));
            assert!(buffer.capacity() <= (2 * arrived).min(1000), "{} for {arrived}", buffer.capacity());
        }
    }
}

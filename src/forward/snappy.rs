//! Snappy for requests, most of which is samples, and each of these like the one before.
//!
//! Searching a whole message for what repeats takes more time than everything else that a sample costs. In a request
//! most of it is known: samples of one series are records of equal length, and the key, most of the timestamp and often
//! most of the value are the bytes of the record before. These are compared in their places. Only what lies between
//! them - labels, symbols - is searched, by a hash of four bytes, as the reference implementation does.
//!
//! Source: <https://github.com/google/snappy/blob/main/format_description.txt>. As there, copies reach back less than
//! 64 KiB, so that every decoder takes them.

/// Samples of one series, one behind the other in a message.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    /// Offset of the first one.
    pub begin: usize,
    /// Offset behind the last one.
    pub end: usize,
    /// Bytes of each, or of the first, where they differ: then less of them repeats.
    pub bytes: usize,
}

/// Bytes of a copy, at least: three are not shorter as a copy.
const COPY_BYTES_MIN: usize = 4;
/// Bytes of a copy by one element.
const COPY_BYTES_MAX: usize = 64;
/// Bytes that a copy of the short form has at most, and the end of its distances.
const SHORT_COPY_BYTES_MAX: usize = 11;
const SHORT_DISTANCE_END: usize = 1 << 11;
/// End of the distances of copies.
const DISTANCE_END: usize = 1 << 16;
/// Bytes of a literal whose length stands in its tag.
const SHORT_LITERAL_BYTES_MAX: usize = 60;
/// Bytes of a literal by one element.
const LITERAL_BYTES_MAX: usize = 1 << 16;
/// Bytes that are compared at once.
const WINDOW_BYTES: usize = u64::BITS as usize;
/// Bytes of a literal that are written at once.
const QUICK_LITERAL_BYTES: usize = 16;
/// Bytes between two runs that are compared in their places too, as the heads of series in version 2.0 are, instead of
/// being searched for.
const SHORT_GAP_BYTES: usize = 64;
/// Bytes of the length in front, at most.
const LENGTH_BYTES_MAX: usize = 5;
const TABLE_BITS: u32 = 12;

const LITERAL: usize = 0;
const SHORT_COPY: usize = 1;
const LONG_COPY: usize = 2;

/// A compressor, with memory that is used again.
#[derive(Debug)]
pub struct Compressor {
    /// Latest offset of four bytes, by their hash.
    table: Vec<u32>,
}

impl Compressor {
    /// A compressor that has compressed nothing.
    pub fn new() -> Self {
        Self { table: vec![0; 1 << TABLE_BITS] }
    }

    /// Bytes that [`compress`](Self::compress) needs for a message of so many bytes.
    pub fn bytes_max(message_bytes: usize) -> usize {
        snap::raw::max_compress_len(message_bytes) + QUICK_LITERAL_BYTES
    }

    /// Compresses a message, in which there are these records, in the order of their offsets. Returns the bytes written
    /// to the beginning of `out`, which has to have [`bytes_max`](Self::bytes_max). Of `message` only the capacity is
    /// changed.
    pub fn compress(&mut self, message: &mut Vec<u8>, records: &[Records], out: &mut [u8]) -> usize {
        let bytes = message.len();
        self.table.fill(0);
        message.resize(bytes + WINDOW_BYTES, 0);
        let mut writer = Writer { message, out, written: 0, pending: 0 };
        writer.put_length(bytes);
        let (mut at, mut first) = (0, None);
        for run in records {
            if run.begin - at > SHORT_GAP_BYTES {
                writer.search(&mut self.table, at, run.begin);
                at = run.begin;
            }
            debug_assert!(run.bytes > 0, "no copy has a distance of 0");
            let second = run.end.min(run.begin + run.bytes);
            // The series before was mostly sampled at the same time.
            let distance = run.begin - first.unwrap_or(run.begin);
            if (1..DISTANCE_END).contains(&distance) {
                writer.follow(distance, at.max(distance), second);
            }
            writer.follow(run.bytes, second, run.end);
            (at, first) = (run.end, Some(run.begin));
        }
        writer.search(&mut self.table, at, bytes);
        writer.put_literal(bytes);
        let written = writer.written;
        message.truncate(bytes);
        written
    }
}

/// The elements of one message.
struct Writer<'a> {
    /// The message, with [`WINDOW_BYTES`] behind it.
    message: &'a [u8],
    out: &'a mut [u8],
    written: usize,
    /// Offset in the message of the first byte that is in no element yet.
    pending: usize,
}

impl Writer<'_> {
    /// Writes the length of the message, a varint.
    fn put_length(&mut self, bytes: usize) {
        let mut rest = bytes;
        while rest >= 0x80 {
            self.put(&[rest.to_le_bytes()[0] | 0x80]);
            rest >>= 7;
        }
        self.put(&[rest.to_le_bytes()[0]]);
        debug_assert!(self.written <= LENGTH_BYTES_MAX);
    }

    /// Writes what repeats what is `distance` bytes before, in its place.
    fn follow(&mut self, distance: usize, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            let (one, other) = (chunk(self.message, at), chunk(self.message, at - distance));
            let mut equal = equal_of_window(one, other);
            if to - at < WINDOW_BYTES {
                equal &= (1 << (to - at)) - 1;
            }
            // A run at the end may go on in the next window, which begins with it.
            let open = (equal.leading_ones() as usize) % WINDOW_BYTES;
            let whole = WINDOW_BYTES - open;
            equal &= u64::MAX >> open;
            loop {
                // The first of four, at least.
                let begins = equal & equal >> 1 & equal >> 2 & equal >> 3;
                if begins == 0 {
                    break;
                }
                let begin = begins.trailing_zeros();
                let bytes = (equal >> begin).trailing_ones();
                self.put_copy(at + begin as usize, distance, bytes as usize);
                equal &= u64::MAX.checked_shl(begin + bytes).unwrap_or(0);
            }
            at += whole;
        }
    }

    /// Writes what repeats anything, as far as the table has it.
    fn search(&mut self, table: &mut [u32], from: usize, to: usize) {
        let (mut at, mut misses) = (from, 0);
        while at + COPY_BYTES_MIN <= to {
            let four = word(self.message, at) & 0xffff_ffff;
            let known = std::mem::replace(&mut table[hash(four)], number(at)) as usize;
            let is_near = (1..DISTANCE_END).contains(&(at.wrapping_sub(known)));
            if is_near && word(self.message, known) & 0xffff_ffff == four {
                let equal = self.equal(at, known, to);
                self.put_copy(at, at - known, equal);
                at += equal;
                misses = 0;
            } else {
                // Faster over what does not repeat.
                at += 1 + (misses >> 5);
                misses += 1;
            }
        }
    }

    /// Number of bytes from `one` on, up to `to`, that are those from `other` on.
    #[inline(always)]
    fn equal(&self, one: usize, other: usize, to: usize) -> usize {
        let mut bytes = 0;
        while one + bytes < to {
            let differing = word(self.message, one + bytes) ^ word(self.message, other + bytes);
            bytes += (differing.trailing_zeros() / 8) as usize;
            if differing != 0 {
                break;
            }
        }
        bytes.min(to - one)
    }

    /// Writes a copy of the `bytes` bytes at `at` from `distance` before, behind what is pending in front of it.
    #[inline(always)]
    fn put_copy(&mut self, at: usize, distance: usize, bytes: usize) {
        self.put_literal(at);
        self.pending = at + bytes;
        let [low, high, ..] = distance.to_le_bytes();
        if bytes <= SHORT_COPY_BYTES_MAX && distance < SHORT_DISTANCE_END {
            self.put(&[high << 5 | tag(bytes - COPY_BYTES_MIN, SHORT_COPY), low]);
            return;
        }
        let mut left = bytes;
        while left > 0 {
            let part = left.min(COPY_BYTES_MAX);
            self.put(&[tag(part - 1, LONG_COPY), low, high]);
            left -= part;
        }
    }

    /// Writes what is pending in front of `end` as it is.
    #[inline(always)]
    fn put_literal(&mut self, end: usize) {
        let bytes = end - self.pending;
        if bytes > QUICK_LITERAL_BYTES {
            self.put_long_literal(end);
        } else if bytes > 0 {
            self.put(&[tag(bytes - 1, LITERAL)]);
            // More than is meant: a copy of constant length takes no call.
            let text: &[u8; QUICK_LITERAL_BYTES] = chunk(self.message, self.pending);
            self.put(text);
            self.written -= QUICK_LITERAL_BYTES - bytes;
        }
        self.pending = end;
    }

    #[inline(never)]
    fn put_long_literal(&mut self, end: usize) {
        for part in self.message[self.pending..end].chunks(LITERAL_BYTES_MAX) {
            let last = part.len() - 1;
            let [low, high, ..] = last.to_le_bytes();
            match last {
                0..SHORT_LITERAL_BYTES_MAX => self.put(&[tag(last, LITERAL)]),
                // The number of bytes that the length has behind the tag, from 60 on.
                SHORT_LITERAL_BYTES_MAX..0x100 => self.put(&[tag(60, LITERAL), low]),
                _ => self.put(&[tag(61, LITERAL), low, high]),
            }
            self.out[self.written..][..part.len()].copy_from_slice(part);
            self.written += part.len();
        }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        *self.out[self.written..].first_chunk_mut().expect("there is space for the longest body") = *bytes;
        self.written += N;
    }
}

/// The tag of an element: what its length has in front, and its kind in the lowest two bits.
#[inline(always)]
fn tag(length: usize, kind: usize) -> u8 {
    (length << 2 | kind).to_le_bytes()[0]
}

/// The bytes at `at`, so many.
#[inline(always)]
fn chunk<const N: usize>(text: &[u8], at: usize) -> &[u8; N] {
    text[at..].first_chunk().expect("there are bytes behind the message")
}

/// The eight bytes at `at`, the first one lowest.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*chunk(text, at))
}

/// A bit for each byte that is the same in both, the first one lowest.
#[inline(always)]
fn equal_of_window(one: &[u8; WINDOW_BYTES], other: &[u8; WINDOW_BYTES]) -> u64 {
    let flags = |at: usize| u64::from(metric::equal_bytes(chunk(one, at), chunk(other, at))) << at;
    flags(0) | flags(16) | flags(32) | flags(48)
}

/// The place in the table of four bytes, by multiplicative hashing (Knuth, The Art of Computer Programming, 6.4).
#[inline(always)]
fn hash(four: u64) -> usize {
    const GOLDEN: u64 = 0x9e37_79b1 << u32::BITS;
    usize::try_from(four.wrapping_mul(GOLDEN) >> (u64::BITS - TABLE_BITS)).unwrap_or(0)
}

/// An offset as the table has it: messages are shorter than 4 GiB, and of a longer one nothing would be found.
#[expect(clippy::cast_possible_truncation, reason = "what is found is compared")]
#[inline(always)]
fn number(offset: usize) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests;

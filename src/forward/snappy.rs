//! Snappy for requests, most of which is samples, and each of these like the one before.
//!
//! Searching a whole message for what repeats takes more time than everything else that a sample costs. In a request
//! most of it is known: samples of one series are records of equal length, and the key, most of the timestamp and often
//! most of the value are the bytes of the record before. These are compared in their places, value and timestamp as a
//! word each where the records are samples as most are. Only what lies between
//! them - labels, symbols - is searched, by a hash of four bytes, as the reference implementation does.
//!
//! Source: <https://github.com/google/snappy/blob/main/format_description.txt>. As there, copies reach back less than
//! 64 KiB, so that every decoder takes them.

use metric::protocol::remote_write::encode::USUAL_SAMPLE_BYTES;

/// Samples of one series, one behind the other in a message.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    /// Offset of the labels in front of them, up to where they begin, each a field of less than 128 bytes of protobuf;
    /// that of the first one, where there are no such labels.
    pub labels: usize,
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
/// Bytes that are written at once: the tag and the bytes of a literal, and a copy, as one word.
const PIECE_BYTES: usize = 1 + QUICK_LITERAL_BYTES + size_of::<u32>();
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
        snap::raw::max_compress_len(message_bytes) + PIECE_BYTES
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
                let labels = run.labels.clamp(at, run.begin);
                writer.search(&mut self.table, at, labels);
                writer.search_labels(&mut self.table, labels, run.begin);
                at = run.begin;
            }
            debug_assert!(run.bytes > 0, "no copy has a distance of 0");
            let second = run.end.min(run.begin + run.bytes);
            // The series before was mostly sampled at the same time.
            let distance = run.begin - first.unwrap_or(run.begin);
            if (1..DISTANCE_END).contains(&distance) {
                match run.bytes {
                    USUAL_SAMPLE_BYTES if at == run.begin => writer.follow_samples(distance, at, second),
                    _ => writer.follow(distance, at.max(distance), second),
                }
            }
            match run.bytes {
                USUAL_SAMPLE_BYTES => writer.follow_samples(run.bytes, second, run.end),
                bytes => writer.follow(bytes, second, run.end),
            }
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
            let mut equal = equal_of_window(one, other, to - at);
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
                self.put_repeated(distance, at + begin as usize, at + (begin + bytes) as usize);
                equal &= u64::MAX.checked_shl(begin + bytes).unwrap_or(0);
            }
            at += whole;
        }
    }

    /// Follows as [`follow`](Self::follow) does, samples of [`USUAL_SAMPLE_BYTES`] from `from` on. Of each, the bytes
    /// that differ in the value are one piece, and those that differ in the timestamp another.
    #[inline(always)]
    fn follow_samples(&mut self, distance: usize, from: usize, to: usize) {
        const BYTES: usize = USUAL_SAMPLE_BYTES;
        /// Key, length and key in front of the value, that of the timestamp, and what follows it in a word.
        const VALUE: usize = 3;
        const KEY: usize = VALUE + size_of::<u64>();
        const TIMESTAMP: usize = KEY + 1;
        const BEHIND_BITS: usize = 8 * (TIMESTAMP + size_of::<u64>() - BYTES);
        // Where the bytes begin that repeat, up to those that are looked at.
        let (mut at, mut repeats) = (from, from);
        while at + BYTES <= to {
            let one: &[u8; TIMESTAMP + size_of::<u64>()] = chunk(self.message, at);
            let other: &[u8; TIMESTAMP + size_of::<u64>()] = chunk(self.message, at - distance);
            let differing = |offset: usize| word(one, offset) ^ word(other, offset);
            let value = differing(VALUE);
            let timestamp = differing(TIMESTAMP) << BEHIND_BITS;
            if differing(0) << (64 - 8 * VALUE) != 0 || one[KEY] != other[KEY] {
                // No such samples.
                break;
            }
            if value != 0 {
                self.put_repeated(distance, repeats, at + VALUE + (value.trailing_zeros() / 8) as usize);
                repeats = at + KEY - (value.leading_zeros() / 8) as usize;
            }
            if timestamp != 0 {
                let equal_bits = timestamp.trailing_zeros() as usize - BEHIND_BITS;
                self.put_repeated(distance, repeats, at + TIMESTAMP + equal_bits / 8);
                repeats = at + BYTES - (timestamp.leading_zeros() / 8) as usize;
            }
            at += BYTES;
        }
        self.put_repeated(distance, repeats, at);
        if at < to {
            self.follow(distance, at, to);
        }
    }

    /// Writes bytes as a copy of those `distance` before, if they are enough, behind what is pending in front of them.
    #[inline(always)]
    fn put_repeated(&mut self, distance: usize, begin: usize, end: usize) {
        let (bytes, pending) = (end - begin, begin - self.pending);
        if bytes < COPY_BYTES_MIN {
            return;
        }
        if pending > QUICK_LITERAL_BYTES || bytes > COPY_BYTES_MAX {
            return self.put_copy(begin, distance, bytes);
        }
        let literal: &[u8; QUICK_LITERAL_BYTES] = chunk(self.message, self.pending);
        let out: &mut [u8; PIECE_BYTES] =
            self.out[self.written..].first_chunk_mut().expect("there is space for the longest body");
        // All at once, of which the first bytes are meant: nothing depends on how many they are.
        let head = usize::from(pending > 0);
        out[0] = tag(pending.wrapping_sub(1), LITERAL);
        set(out, head, *literal);
        let [low, high, ..] = distance.to_le_bytes();
        let is_short = bytes <= SHORT_COPY_BYTES_MAX && distance < SHORT_DISTANCE_END;
        let copy = match is_short {
            true => [high << 5 | tag(bytes - COPY_BYTES_MIN, SHORT_COPY), low, 0, 0],
            false => [tag(bytes - 1, LONG_COPY), low, high, 0],
        };
        set(out, head + pending, copy);
        self.written += head + pending + if is_short { 2 } else { 3 };
        self.pending = end;
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

    /// Writes what labels repeat of the latest ones that begin with the same bytes, length and name, in its place: a
    /// value mostly differs in some characters, or not at all. Labels with the same distance are compared as one text.
    fn search_labels(&mut self, table: &mut [u32], from: usize, to: usize) {
        let (mut at, mut first, mut distance) = (from, from, 0);
        while at < to {
            let [_, bytes] = *chunk(self.message, at);
            let end = at + 2 + usize::from(bytes);
            if bytes >= 0x80 || end > to {
                break;
            }
            let known = std::mem::replace(&mut table[hash_of_word(word(self.message, at))], number(at)) as usize;
            let own = Some(at.wrapping_sub(known)).filter(|distance| (1..DISTANCE_END).contains(distance)).unwrap_or(0);
            if own != distance {
                self.follow_known(distance, first, at);
                (first, distance) = (at, own);
            }
            at = end;
        }
        self.follow_known(distance, first, at);
        self.search(table, at, to);
    }

    /// Follows as [`follow`](Self::follow) does, if there is a distance.
    fn follow_known(&mut self, distance: usize, from: usize, to: usize) {
        if distance > 0 {
            self.follow(distance, from, to);
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
        set(self.out, self.written, *bytes);
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

/// Writes the bytes at `at`. An array, as slices of constant length are copied by calls.
#[inline(always)]
fn set<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    *out[at..].first_chunk_mut().expect("there is space for the longest body") = bytes;
}

/// The eight bytes at `at`, the first one lowest.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*chunk(text, at))
}

/// A bit for each byte that is the same in both, the first one lowest, for the first `bytes` bytes at least.
#[inline(always)]
fn equal_of_window(one: &[u8; WINDOW_BYTES], other: &[u8; WINDOW_BYTES], bytes: usize) -> u64 {
    let flags = |at: usize| u64::from(metric::equal_bytes(chunk(one, at), chunk(other, at))) << at;
    match bytes {
        0..=16 => flags(0),
        17..=32 => flags(0) | flags(16),
        _ => flags(0) | flags(16) | flags(32) | flags(48),
    }
}

/// The place in the table of four bytes, by multiplicative hashing (Knuth, The Art of Computer Programming, 6.4).
#[inline(always)]
fn hash(four: u64) -> usize {
    const GOLDEN: u64 = 0x9e37_79b1 << u32::BITS;
    usize::try_from(four.wrapping_mul(GOLDEN) >> (u64::BITS - TABLE_BITS)).unwrap_or(0)
}

/// Hashes as [`hash`] does, eight bytes.
#[inline(always)]
fn hash_of_word(eight: u64) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    usize::try_from(eight.wrapping_mul(GOLDEN) >> (u64::BITS - TABLE_BITS)).unwrap_or(0)
}

/// An offset as the table has it: messages are shorter than 4 GiB, and of a longer one nothing would be found.
#[expect(clippy::cast_possible_truncation, reason = "what is found is compared")]
#[inline(always)]
fn number(offset: usize) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests;

//! Snappy for requests, most of which is samples, and each of these like the one before.
//!
//! Searching a whole message for what repeats takes more time than everything else that a sample costs. In a request
//! most of it is known: samples of one series are records of equal length, and the key, most of the timestamp and often
//! most of the value are the bytes of the record before. Those of usual length are never put into the message: their
//! elements are made of the samples themselves, of each one copy and one literal. What stands in its place in each
//! series - labels, the first sample - is compared there, labels only where this was not found in the request before
//! ([`recall`]), and only the rest, as symbols, is searched, by a hash of four bytes, as the reference implementation
//! does.
//!
//! Source: <https://github.com/google/snappy/blob/main/format_description.txt>. As there, copies reach back less than
//! 64 KiB, so that every decoder takes them.

use metric::protocol::remote_write::encode::{Sample, USUAL_SAMPLE_BYTES, USUAL_SAMPLE_HEAD, usual_words};
use recall::{RUNS_SEARCHED, Recall, Repeat};
use std::ops::Range;

mod recall;

/// Samples of one series, one behind the other in a message.
#[derive(Debug, Clone)]
pub struct Records {
    /// Offset of the labels in front of them, up to where they begin, each a field of less than 128 bytes of protobuf;
    /// that of the first one, where there are no such labels.
    pub labels: usize,
    /// Offset of the first one.
    pub begin: usize,
    /// Offset behind the last one that is in the message.
    pub end: usize,
    /// Bytes of each, or of the first, where they differ: then less of them repeats.
    pub bytes: usize,
    /// Those behind that one, by their numbers, which are left out of the message: [`USUAL_SAMPLE_BYTES`] each. The
    /// sample with the number before is that one.
    pub rest: Range<usize>,
    /// A hash of the labels.
    pub hash: u64,
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
    /// Latest place of four bytes, by their hash.
    table: Vec<Latest>,
    /// Bytes that are left out of the message in front of each run, and behind the last.
    left_out: Vec<usize>,
    recall: Recall,
}

/// A place in the message where something was. Numbers as [`number`] has them.
#[derive(Debug, Clone, Copy)]
struct Latest {
    at: u32,
    /// The run that it is in, or in front of.
    run: u32,
}

/// No place, behind every other.
const NOWHERE: Latest = Latest { at: u32::MAX, run: 0 };

/// The distance of what repeats from what it repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Distance {
    /// In the message as it is here.
    here: usize,
    /// In the whole message.
    sent: usize,
}

impl Compressor {
    /// A compressor that has compressed nothing.
    pub fn new() -> Self {
        Self { table: vec![NOWHERE; 1 << TABLE_BITS], left_out: Vec::new(), recall: Recall::new() }
    }

    /// Bytes that [`compress`](Self::compress) needs for a message of so many bytes, with what is left out of it.
    pub fn bytes_max(message_bytes: usize) -> usize {
        snap::raw::max_compress_len(message_bytes) + PIECE_BYTES
    }

    /// Compresses a message, in which there are these records, in the order of their offsets; what is left out of it
    /// are some of `samples`. Returns the bytes written to the beginning of `out`, which has to have
    /// [`bytes_max`](Self::bytes_max). The message is taken: other memory is given for it.
    pub fn compress(
        &mut self,
        message: &mut Vec<u8>,
        records: &[Records],
        samples: &[Sample],
        out: &mut [u8],
    ) -> usize {
        let Self { table, left_out, recall } = self;
        let bytes = message.len();
        table.fill(NOWHERE);
        message.resize(bytes + WINDOW_BYTES, 0);
        left_out.clear();
        let mut sum = 0;
        for run in records {
            left_out.push(sum);
            sum += run.rest.len() * USUAL_SAMPLE_BYTES;
        }
        left_out.push(sum);
        let mut writer = Writer { message, bytes, records, left_out, run: 0, noted: 0, out, written: 0, pending: 0 };
        writer.put_length(bytes + sum);
        for run in records {
            writer.put_run(table, recall, run);
            if !run.rest.is_empty() {
                writer.put_literal(run.end);
                writer.put_samples(samples[run.rest.start - 1], &samples[run.rest.clone()]);
            }
            writer.run += 1;
        }
        writer.search(table, writer.at(), bytes);
        writer.put_literal(bytes);
        let written = writer.written;
        recall.end(message);
        written
    }
}

/// The elements of one message.
struct Writer<'a> {
    /// The message, with [`WINDOW_BYTES`] behind it.
    message: &'a [u8],
    /// Bytes of the message.
    bytes: usize,
    records: &'a [Records],
    /// As the compressor has it.
    left_out: &'a [usize],
    /// The number of the run that is written, which is in front of nothing that is left out.
    run: usize,
    /// The number of the first run whose labels are not in the table.
    noted: usize,
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

    /// Offset of the first byte behind the run before.
    fn at(&self) -> usize {
        self.run.checked_sub(1).map_or(0, |before| self.records[before].end)
    }

    /// Offset of the end of what is in the message in one piece, from a place in front of a run or in it on.
    fn end(&self, run: usize) -> usize {
        self.records.get(run).map_or(self.bytes, |run| run.end)
    }

    /// The distance from a place in the message to one in front of it, in this run or in front of it.
    #[inline(always)]
    fn distance(&self, at: usize, to: usize, run: usize) -> Option<Distance> {
        let here = at.checked_sub(to)?;
        let sent = here + self.left_out[self.run] - self.left_out[run];
        (1..DISTANCE_END).contains(&sent).then_some(Distance { here, sent })
    }

    /// Writes what is in front of a run, and what is in the message of it.
    fn put_run(&mut self, table: &mut [Latest], recall: &mut Recall, run: &Records) {
        debug_assert!(run.bytes > 0, "no copy has a distance of 0");
        let at = self.at();
        let second = run.end.min(run.begin + run.bytes);
        // The series before was mostly sampled at the same time. What is compared is in one piece there.
        let (mut distance, mut from, mut to) = (None, at, second);
        if let Some((number, before)) = self.run.checked_sub(1).map(|number| (number, &self.records[number])) {
            let begin = number.checked_sub(1).map_or(0, |number| self.records[number].end);
            distance = self.distance(run.begin, before.begin, number);
            let here = run.begin - before.begin;
            (from, to) = (at.max(begin + here), second.min(before.end + here));
        }
        if run.begin - at > SHORT_GAP_BYTES {
            self.search(table, at, run.labels);
            self.put_labels(table, recall, run);
            self.follow_known(distance, run.begin, to);
        } else {
            recall.pass();
            self.follow_known(distance, from, to);
        }
        self.follow(Distance { here: run.bytes, sent: run.bytes }, second, run.end);
    }

    /// Writes what the labels of a run repeat, as far as it is known from the request before or found.
    fn put_labels(&mut self, table: &mut [Latest], recall: &mut Recall, run: &Records) {
        let labels = &self.message[run.labels..run.begin];
        if labels.is_empty() || labels.len() > usize::from(u16::MAX) {
            recall.pass();
            return self.search(table, run.labels, run.begin);
        }
        if recall.find(labels, run.labels, run.hash) {
            for repeat in recall.latest() {
                let (begin, end) = (run.labels + usize::from(repeat.begin), run.labels + usize::from(repeat.end));
                let source = self.run - usize::from(repeat.back);
                let source_at = self.records[source].labels + usize::from(repeat.source);
                if let Some(distance) = self.distance(begin, source_at, source) {
                    self.put_repeated(distance.sent, begin, end);
                }
            }
            return;
        }
        // The table does not have those whose repeats were known.
        for number in self.noted.max(self.run.saturating_sub(RUNS_SEARCHED))..self.run {
            self.note_labels(table, number);
        }
        self.noted = self.run + 1;
        self.search_labels(table, recall, run);
    }

    /// Notes the places of a run's labels.
    fn note_labels(&self, table: &mut [Latest], number_of_run: usize) {
        let Records { labels, begin, .. } = self.records[number_of_run];
        let mut at = labels;
        while at < begin {
            let [_, bytes] = *chunk(self.message, at);
            table[hash_of_word(word(self.message, at))] = Latest { at: number(at), run: number(number_of_run) };
            at += 2 + usize::from(bytes);
        }
    }

    /// Writes what repeats what is in front of it, in its place.
    fn follow(&mut self, distance: Distance, from: usize, to: usize) {
        self.follow_and_note(distance, from, to, |_, _| {});
    }

    /// As [`follow`](Self::follow), with a function that is called for each part, with its begin and its end.
    #[inline(always)]
    fn follow_and_note(&mut self, distance: Distance, from: usize, to: usize, mut note: impl FnMut(usize, usize)) {
        let mut at = from;
        while at < to {
            let (one, other) = (chunk(self.message, at), chunk(self.message, at - distance.here));
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
                self.put_repeated(distance.sent, at + begin as usize, at + (begin + bytes) as usize);
                note(at + begin as usize, at + (begin + bytes) as usize);
                equal &= u64::MAX.checked_shl(begin + bytes).unwrap_or(0);
            }
            at += whole;
        }
    }

    /// Writes samples that are not in the message, behind one that is there. Of each, one copy has what follows the
    /// lower bytes of the timestamp before it, up to the first byte of the value that differs from the one before, and
    /// a literal has what is behind that, up to the last byte of the timestamp that differs.
    fn put_samples(&mut self, before: Sample, samples: &[Sample]) {
        const HEAD_BYTES: usize = USUAL_SAMPLE_HEAD.len();
        const WORD_BYTES: usize = size_of::<u64>();
        /// Bytes of a sample behind its head.
        const CONTENT_BYTES: usize = USUAL_SAMPLE_BYTES - HEAD_BYTES;
        const { assert!(USUAL_SAMPLE_BYTES < SHORT_LITERAL_BYTES_MAX && USUAL_SAMPLE_BYTES < SHORT_DISTANCE_END) };
        let [distance, ..] = USUAL_SAMPLE_BYTES.to_le_bytes();
        let (mut value_before, mut rest_before) = usual_words(before);
        // Bytes at the end of the sample before that are in no element yet, and the tag of its literal.
        let (mut open, mut literal_at) = (0, 0);
        for &sample in samples {
            let (value, rest) = usual_words(sample);
            let equal = ((value ^ value_before).trailing_zeros() / 8) as usize;
            // With the key of the timestamp, if that is all of it.
            let equal = equal + equal / WORD_BYTES;
            // The timestamp differs; at least one byte of it is in the literal.
            let differing = (rest ^ rest_before) | 1 << 8;
            let end = CONTENT_BYTES - (differing.leading_zeros() / 8) as usize + 1;
            let literal = (u128::from(value) | u128::from(rest) << 64) >> (8 * equal);
            let (copied, bytes) = (open + HEAD_BYTES + equal, end - equal);
            let (head, head_bytes) = match copied {
                0..COPY_BYTES_MIN => {
                    let [a, b, c] = USUAL_SAMPLE_HEAD;
                    ([tag(HEAD_BYTES + bytes - 1, LITERAL), a, b, c], HEAD_BYTES + 1)
                }
                COPY_BYTES_MIN..=SHORT_COPY_BYTES_MAX => {
                    ([tag(copied - COPY_BYTES_MIN, SHORT_COPY), distance, tag(bytes - 1, LITERAL), 0], 3)
                }
                _ => ([tag(copied - 1, LONG_COPY), distance, 0, tag(bytes - 1, LITERAL)], 4),
            };
            set(self.out, self.written, head);
            set(self.out, self.written + head_bytes, literal.to_le_bytes());
            literal_at = if copied < COPY_BYTES_MIN { self.written } else { self.written + head_bytes - 1 };
            self.written += head_bytes + bytes;
            (open, value_before, rest_before) = (CONTENT_BYTES - end, value, rest);
        }
        // All of the last literal was written.
        self.out[literal_at] += tag(open, LITERAL);
        self.written += open;
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
    fn search(&mut self, table: &mut [Latest], from: usize, to: usize) {
        let (mut at, mut misses) = (from, 0);
        while at + COPY_BYTES_MIN <= to {
            let four = word(self.message, at) & 0xffff_ffff;
            let (known, run) = self.latest(table, hash(four), at);
            let is_it = known < at && word(self.message, known) & 0xffff_ffff == four;
            let found = if is_it { self.distance(at, known, run) } else { None };
            // In one piece there too.
            let equal = found.map_or(0, |_| self.equal(at, known, to.min(at + self.end(run) - known)));
            match found {
                Some(distance) if equal >= COPY_BYTES_MIN => {
                    self.put_copy(at, distance.sent, equal);
                    at += equal;
                    misses = 0;
                }
                // Faster over what does not repeat.
                _ => {
                    at += 1 + (misses >> 5);
                    misses += 1;
                }
            }
        }
    }

    /// The latest place that the table has, and the number of its run. From now on it is `at`.
    #[inline(always)]
    fn latest(&self, table: &mut [Latest], place: usize, at: usize) -> (usize, usize) {
        let latest = std::mem::replace(&mut table[place], Latest { at: number(at), run: number(self.run) });
        (latest.at as usize, latest.run as usize)
    }

    /// Writes what labels repeat of the latest ones that begin with the same bytes, length and name, in its place: a
    /// value mostly differs in some characters, or not at all. Labels with the same distance are compared as one text.
    fn search_labels(&mut self, table: &mut [Latest], recall: &mut Recall, run: &Records) {
        let (mut at, to) = (run.labels, run.begin);
        let (mut first, mut source) = (at, None);
        while at < to {
            let [_, bytes] = *chunk(self.message, at);
            let end = at + 2 + usize::from(bytes);
            if bytes >= 0x80 || end > to {
                break;
            }
            let (known, number) = self.latest(table, hash_of_word(word(self.message, at)), at);
            let own = self.distance(at, known, number).map(|distance| (distance, number));
            if own != source {
                self.follow_labels(recall, source, first, at);
                (first, source) = (at, own);
            }
            // Behind labels are others in the request that follows, or what is not in the message.
            if let Some((distance, number)) = own
                && let known_end = self.records[number].begin + distance.here
                && known_end < end
            {
                self.follow_labels(recall, own, first, known_end);
                (first, source) = (end, None);
            }
            at = end;
        }
        self.follow_labels(recall, source, first, at.min(to));
        if at < to {
            recall.forget();
            self.search(table, at, to);
        }
    }

    /// Follows as [`follow`](Self::follow) does, the labels of a run at this distance, if there is one.
    fn follow_labels(&mut self, recall: &mut Recall, source: Option<(Distance, usize)>, from: usize, to: usize) {
        let Some((distance, number)) = source else { return };
        let (own_at, source_at) = (self.records[self.run].labels, self.records[number].labels);
        let back = self.run - number;
        self.follow_and_note(distance, from, to, |begin, end| {
            // The table has what is in front of labels too.
            let source = (begin - distance.here).wrapping_sub(source_at);
            let places = [begin - own_at, end - own_at, back, source];
            match places.map(u16::try_from) {
                [Ok(begin), Ok(end), Ok(back), Ok(source)] => recall.learn(Repeat { begin, end, back, source }),
                _ => recall.forget(),
            }
        });
    }

    /// Follows as [`follow`](Self::follow) does, if there is a distance.
    fn follow_known(&mut self, distance: Option<Distance>, from: usize, to: usize) {
        if let Some(distance) = distance {
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

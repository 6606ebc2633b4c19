//! Series that are known from lines before: most lines of a log are of a few thousand series that come again and again,
//! and then only timestamp and value are read.
//!
//! A series is known by the bytes of its lines in front of the value and behind it, and so by its spelling. The one
//! that followed the series of the line before the last time is compared first, then the one of a hash. What is not
//! known, or does not fit into [`limits::FORWARD_KNOWN_BYTES`], is read by the grammar and mapped, with the same
//! outcome.

use super::batch::{Batch, Symbol};
use crate::limits;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use memchr::memchr;
use metric::{BEFORE_VALUE, Kind, Line, LineHeads, protocol::remote_write::encode::labels_v1, read_number};
use std::{
    hash::{BuildHasher, Hasher},
    ops::Range,
};

/// A known series, by one of its spellings: one line of the core's cache. Offsets have 32 bits, as all that is known
/// has fewer bytes.
#[derive(Debug)]
#[repr(align(64))]
struct Series {
    /// Offset of its text: front, ending.
    begin: u32,
    /// Bytes from the name up to the value.
    front_bytes: u32,
    /// Bytes behind the value, with the line feed.
    ending_bytes: u32,
    /// The labels as a batch has them.
    labels: (u32, u32),
    /// Hash of front and ending.
    hash: u64,
    labels_hash: u64,
    /// The texts of the labels; empty if there were no more numbers for these.
    symbols: (u32, u32),
    kind: Kind,
    /// The series of the line that followed the last time.
    next: u32,
    /// The latest batch that has it, and its number there.
    batch: u64,
    in_batch: u32,
}

const _: () = assert!(size_of::<Series>() == 64 && limits::FORWARD_KNOWN_BYTES <= u32::MAX as usize);

impl Series {
    fn labels<'a>(&self, labels: &'a [u8]) -> &'a [u8] {
        &labels[self.labels.0 as usize..self.labels.1 as usize]
    }

    fn symbols<'a>(&self, symbols: &'a [Symbol]) -> &'a [Symbol] {
        &symbols[self.symbols.0 as usize..self.symbols.1 as usize]
    }
}

/// True if both are the same text. From 16 to 64 bytes, as names have mostly with what follows them, it takes no call.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match one.len() {
        bytes if bytes != other.len() => false,
        16..=32 => have_same_ends::<16>(one, other),
        33..=64 => have_same_ends::<32>(one, other),
        _ => one == other,
    }
}

/// True if the first `N` bytes are the same in both, and the last ones.
#[inline(always)]
fn have_same_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    (one.first_chunk::<N>() == other.first_chunk()) & (one.last_chunk::<N>() == other.last_chunk())
}

/// An offset as it is stored.
fn stored(offset: usize) -> u32 {
    u32::try_from(offset).expect("what is known has fewer bytes than 4 GiB")
}

/// The series that one forward knows.
pub struct KnownSeries {
    heads: LineHeads,
    hasher: RandomState,
    /// Front and ending of each series, which every line is compared with.
    text: Vec<u8>,
    /// The labels of each, which every batch takes once.
    labels: Vec<u8>,
    series: Vec<Series>,
    by_bytes: HashTable<u32>,
    symbols: Vec<Symbol>,
    /// The place of each symbol in the labels; its number is its index.
    symbol_places: Vec<Range<usize>>,
    by_symbol: HashTable<u32>,
    /// The series of the line before, and the one that followed it the last time.
    latest: u32,
    expected: u32,
    /// Number of the batch that is being made.
    batch: u64,
    /// Bytes of memory that may be taken.
    bytes_max: usize,
    /// Lines since everything was forgotten that did not fit.
    unfit: usize,
}

impl KnownSeries {
    /// No series are known, and so many bytes may be taken for those to come.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            heads: LineHeads::default(),
            hasher: RandomState::default(),
            text: Vec::new(),
            labels: Vec::new(),
            series: Vec::new(),
            by_bytes: HashTable::new(),
            symbols: Vec::new(),
            symbol_places: Vec::new(),
            by_symbol: HashTable::new(),
            latest: 0,
            expected: 0,
            batch: 0,
            bytes_max,
            unfit: 0,
        }
    }

    /// Begins another batch. Forgets everything if most lines have not been of known series for long: these are others
    /// now.
    pub fn begin_batch(&mut self) {
        self.batch += 1;
        if self.unfit > self.series.len().saturating_mul(limits::FORWARD_KNOWN_UNFIT_LINES) {
            self.text.clear();
            self.labels.clear();
            self.series.clear();
            self.by_bytes.clear();
            self.symbols.clear();
            self.symbol_places.clear();
            self.by_symbol.clear();
            self.unfit = 0;
        }
    }

    /// Takes lines from `at` on into the batch, up to one that is not of a series that is known, or until the batch
    /// [is full](Batch::is_full) with so many samples. Returns the offset behind the last one.
    #[inline]
    pub fn take(&mut self, text: &[u8], mut at: usize, batch: &mut Batch, samples_max: usize) -> usize {
        while !batch.is_full(samples_max)
            && let Some(end) = self.take_line(text, at, batch)
        {
            at = end;
        }
        at
    }

    /// Takes the line at `at` into the batch: the offset behind its line feed. `None`, and nothing was done: it is not
    /// of a series that is known.
    #[inline(always)]
    fn take_line(&mut self, text: &[u8], at: usize, batch: &mut Batch) -> Option<usize> {
        let (timestamp_ms, name_at) = self.heads.read(text, at)?;
        let (index, value, end) = match self.read(self.expected, text, name_at) {
            Some((value, end)) => (self.expected, value, end),
            None => self.find(text, name_at)?,
        };
        let series = &mut self.series[index as usize];
        (self.latest, self.expected) = (index, series.next);
        if series.batch != self.batch {
            let (labels, symbols) = (series.labels(&self.labels), series.symbols(&self.symbols));
            series.in_batch = batch.series_of_labels(labels, series.labels_hash, symbols);
            series.batch = self.batch;
        }
        batch.put(series.in_batch, series.kind, value.to_bits(), timestamp_ms);
        Some(end)
    }

    /// Reads what stands behind the head of a line, if that is of this series: its value, and the offset behind it.
    #[inline(always)]
    fn read(&self, index: u32, text: &[u8], name_at: usize) -> Option<(f64, usize)> {
        let series = self.series.get(index as usize)?;
        let (begin, front_bytes) = (series.begin as usize, series.front_bytes as usize);
        let known = self.text.get(begin..begin + front_bytes + series.ending_bytes as usize)?;
        let (front, ending) = known.split_at_checked(front_bytes)?;
        let value_at = name_at + front.len();
        if !is_same(text.get(name_at..value_at)?, front) {
            return None;
        }
        let (value, value_end) = read_number(text, value_at)?;
        let end = value_end + ending.len();
        (text.get(value_end..end)? == ending).then_some((value, end))
    }

    /// Finds the series of a line behind its head, and remembers that it followed the latest one.
    #[inline(never)]
    fn find(&mut self, text: &[u8], name_at: usize) -> Option<(u32, f64, usize)> {
        let rest = &text[name_at..];
        // A name with an escaped quotation mark is not found.
        let name_bytes = memchr(b'"', rest)?;
        let value_at = name_at + name_bytes + BEFORE_VALUE.len();
        let front = text.get(name_at..value_at)?;
        let (value, value_end) = read_number(text, value_at)?;
        let end = value_end + memchr(b'\n', text.get(value_end..)?)? + 1;
        let index = self.known(front, &text[value_end..end], self.hash(front, &text[value_end..end]))?;
        self.expect(index);
        Some((index, value, end))
    }

    fn hash(&self, front: &[u8], ending: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(front);
        hasher.write(ending);
        hasher.finish()
    }

    /// The series that has these bytes.
    fn known(&self, front: &[u8], ending: &[u8], hash: u64) -> Option<u32> {
        let is_it = |&index: &u32| {
            let series = &self.series[index as usize];
            let text = &self.text[series.begin as usize..];
            series.hash == hash
                && series.front_bytes as usize == front.len()
                && series.ending_bytes as usize == ending.len()
                && text[..front.len()] == *front
                && text[front.len()..front.len() + ending.len()] == *ending
        };
        self.by_bytes.find(hash, is_it).copied()
    }

    /// Notes that a series followed the latest one.
    fn expect(&mut self, index: u32) {
        if let Some(latest) = self.series.get_mut(self.latest as usize) {
            latest.next = index;
        }
    }

    /// Remembers the series of a line, which is `text` with its line feed and was put into the batch as series
    /// `in_batch`, if there is space. A line without a number is not remembered: what stands behind its value may not
    /// stand behind a number.
    pub fn learn(&mut self, text: &[u8], line: &Line<'_>, batch: &Batch, in_batch: u32) {
        let Some(value) = line.number() else { return };
        let offset = |part: &[u8]| part.as_ptr().addr() - text.as_ptr().addr();
        let (name_at, value_at) = (offset(line.name), offset(value));
        let (front, ending) = (&text[name_at..value_at], &text[value_at + value.len()..]);
        let hash = self.hash(front, ending);
        if let Some(index) = self.known(front, ending, hash) {
            self.pass_on(index);
            return;
        }
        let (labels, labels_hash) = batch.labels_of(in_batch);
        let bytes = front.len() + ending.len() + labels.len() + size_of::<Series>();
        if self.bytes() + bytes > self.bytes_max {
            self.unfit += 1;
            return;
        }
        let (begin, labels_at) = (self.text.len(), self.labels.len());
        [front, ending].iter().for_each(|part| self.text.extend_from_slice(part));
        self.labels.extend_from_slice(labels);
        let symbols = self.number_symbols(labels_at);
        let Ok(index) = u32::try_from(self.series.len()) else { return };
        self.series.push(Series {
            begin: stored(begin),
            front_bytes: stored(front.len()),
            ending_bytes: stored(ending.len()),
            labels: (stored(labels_at), stored(self.labels.len())),
            hash,
            labels_hash,
            symbols,
            kind: line.kind,
            next: 0,
            batch: self.batch,
            in_batch,
        });
        let series = &self.series;
        self.by_bytes.insert_unique(hash, index, |&index| series[index as usize].hash);
        self.pass_on(index);
    }

    /// Notes that the line before is of this series now.
    fn pass_on(&mut self, index: u32) {
        self.expect(index);
        self.latest = index;
        self.expected = self.series[index as usize].next;
    }

    /// Numbers the texts of the labels from `labels_at` on: the range of these symbols.
    fn number_symbols(&mut self, labels_at: usize) -> (u32, u32) {
        let Self { labels: text, symbols, symbol_places, by_symbol, hasher, .. } = self;
        let first = symbols.len();
        for part in labels_v1(&text[labels_at..]).flat_map(|(name, value)| [name, value]) {
            let hash = hasher.hash_one(part);
            let begin = part.as_ptr().addr() - text.as_ptr().addr();
            let place = |at: usize| u32::try_from(at - labels_at).unwrap_or(u32::MAX);
            let (place, place_end) = (place(begin), place(begin + part.len()));
            let is_it = |&number: &u32| text[symbol_places[number as usize].clone()] == *part;
            let number = match by_symbol.find(hash, is_it) {
                Some(&number) => number,
                None if symbol_places.len() < limits::FORWARD_KNOWN_SYMBOLS => {
                    let number = u32::try_from(symbol_places.len()).unwrap_or(0);
                    symbol_places.push(begin..begin + part.len());
                    let rehash = |&number: &u32| hasher.hash_one(&text[symbol_places[number as usize].clone()]);
                    by_symbol.insert_unique(hash, number, rehash);
                    number
                }
                None => {
                    symbols.truncate(first);
                    break;
                }
            };
            symbols.push(Symbol { number, begin: place, end: place_end });
        }
        (stored(first), stored(symbols.len()))
    }

    /// Bytes that are taken, without what vectors and tables have in reserve.
    fn bytes(&self) -> usize {
        self.text.len()
            + self.labels.len()
            + self.series.len() * (size_of::<Series>() + size_of::<u32>() + 1)
            + self.symbols.len() * size_of::<Symbol>()
            + self.symbol_places.len() * (size_of::<Range<usize>>() + size_of::<u32>() + 1)
    }
}

#[cfg(test)]
mod tests;

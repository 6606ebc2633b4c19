//! A batch: samples of lines of the log, by series.
//!
//! Of equal series and milliseconds in one batch, only the last is sent, in the place of the first. The samples of a
//! series are one behind the other, so that who encodes them - mostly another core - reads memory from its beginning
//! to its end: each series has a part of one vector, and gets a larger one when it has more samples than those of the
//! batch before had. Nothing is allocated per sample; the labels of a series are mapped once per batch, or never, for
//! one that is known from earlier batches (`known`).

use super::labels::Mapper;
use crate::limits;
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use metric::{
    Kind, Line, STALE_NAN_BITS,
    protocol::remote_write::encode::{Label, Sample, labels_v1},
};
use std::{hash::BuildHasher, ops::Range};

/// The bits of a NaN that is a value, as Prometheus has them.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;
const NAME: &[u8] = b"__name__";

/// A part of a batch's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.begin as usize..self.end as usize]
    }
}

/// An offset or a number as it is stored: [`limits::FORWARD_BATCH_TEXT_BYTES_MAX`] fits.
fn stored(number: usize) -> u32 {
    u32::try_from(number).expect("a batch is smaller than 4 GiB")
}

/// The samples of one series.
#[derive(Debug)]
struct Series {
    /// Encoded as those of remote write 1.0.
    labels: Span,
    /// The texts of the labels, if they have numbers.
    symbols: Range<u32>,
    kind: Kind,
    hash: u64,
    lane: usize,
    /// The place of its first sample, and how many fit there.
    begin: u32,
    capacity: u32,
    count: u32,
    newest_ms: i64,
    /// True if its samples are in `by_time`, which those of an ordered series need not be.
    is_indexed: bool,
}

impl Series {
    fn samples<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        &samples[self.begin as usize..][..self.count as usize]
    }

    /// Appends a sample to those of this series.
    #[inline(always)]
    fn append(&mut self, samples: &mut Places, sample: Sample) {
        if self.count == self.capacity {
            self.grow(samples);
        }
        samples.all[(self.begin + self.count) as usize] = sample;
        self.count += 1;
    }

    /// Moves the samples to where twice as many fit.
    #[cold]
    fn grow(&mut self, samples: &mut Places) {
        self.capacity *= 2;
        let begin = samples.take(self.capacity);
        samples.all.copy_within(self.begin as usize..(self.begin + self.count) as usize, begin as usize);
        self.begin = begin;
    }
}

/// Places of samples, which keep what they had until it is overwritten.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Sample>,
    /// Those of this batch, from the first one on.
    taken: usize,
}

impl Places {
    /// Takes so many places: the first one.
    #[inline]
    fn take(&mut self, count: u32) -> u32 {
        let begin = self.taken;
        self.taken += count as usize;
        if self.taken > self.all.len() {
            self.all.resize(self.taken, (0, 0));
        }
        stored(begin)
    }
}

/// A sample of a series that is not in the order of time.
#[derive(Debug)]
struct Time {
    timestamp_ms: i64,
    series: u32,
    /// The number of the sample among those of the series.
    sample: u32,
}

/// A text of a series' labels, and its number: equal numbers in a batch are equal texts.
#[derive(Debug, Clone, Copy)]
pub struct Symbol {
    /// The number.
    pub number: u32,
    /// The place in the encoded labels.
    pub begin: u32,
    /// The end of that.
    pub end: u32,
}

impl Symbol {
    /// The text, of the labels that it is one of.
    #[inline]
    pub fn of(self, labels: &[u8]) -> &[u8] {
        &labels[self.begin as usize..self.end as usize]
    }
}

/// The name and the tags of a line, as the log spells them, and the series that they are.
#[derive(Debug)]
struct Spelling {
    name: Span,
    tags: Span,
    hash: u64,
    series: u32,
}

/// Chooses the lane of a series: one for all batches of a forward, as the order within a series is kept by its lane.
#[derive(Debug, Clone)]
pub struct Sharding {
    hasher: RandomState,
    lanes: usize,
}

impl Sharding {
    /// Series over so many lanes, at least one.
    pub fn over(lanes: usize) -> Self {
        Self { hasher: RandomState::default(), lanes }
    }
}

/// A place among the samples that one lane has in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    series: usize,
    /// Samples of the series that are before it.
    taken: u32,
}

impl Place {
    /// The place before all samples.
    pub const BEGIN: Self = Self { series: 0, taken: 0 };
}

/// Samples of one series that go into one request.
pub struct Run<'a> {
    batch: &'a Batch,
    series: &'a Series,
    begin: usize,
    samples: &'a [Sample],
}

impl<'a> Run<'a> {
    /// The type of the series.
    pub fn kind(&self) -> Kind {
        self.series.kind
    }

    /// Labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = Label<'a>> + Clone + use<'a> {
        labels_v1(self.encoded_labels())
    }

    /// The labels as those of remote write 1.0.
    pub fn encoded_labels(&self) -> &'a [u8] {
        self.series.labels.of(&self.batch.text)
    }

    /// A hash of the labels.
    pub fn labels_hash(&self) -> u64 {
        self.series.hash
    }

    /// The texts of the labels: name, value, and so on. Empty: they have no numbers.
    pub fn symbols(&self) -> &'a [Symbol] {
        &self.batch.symbols[self.series.symbols.start as usize..self.series.symbols.end as usize]
    }

    /// The name of the metric, as it is sent.
    pub fn name(&self) -> &'a [u8] {
        self.labels().find(|&(name, _)| name == NAME).map_or(&[][..], |(_, value)| value)
    }

    /// The number of the name's text, if it has one and its label is the first, as it mostly is.
    pub fn name_number(&self) -> Option<u32> {
        let [label, name, ..] = self.symbols() else { return None };
        (label.of(self.encoded_labels()) == NAME).then_some(name.number)
    }

    /// The samples, in the order of the log.
    pub fn samples(&self) -> &'a [Sample] {
        self.samples
    }

    /// The place of these samples among [those of the batch](Batch::samples).
    pub fn place(&self) -> Range<usize> {
        self.begin..self.begin + self.samples.len()
    }
}

/// A batch that is being made or delivered, with memory that is used again for the next.
#[derive(Debug)]
pub struct Batch {
    /// Times at which reading its first line began and its last line was taken, by the clock of traces; 0 without one.
    pub read_ns: (u64, u64),
    sharding: Sharding,
    /// Bytes of text that make the batch full.
    text_bytes_max: usize,
    /// Names and tags as the log spells them, and labels.
    text: Vec<u8>,
    /// Texts of labels that have numbers.
    symbols: Vec<Symbol>,
    series: Vec<Series>,
    /// The samples, by series, each with space for some more, and what was left by those that have moved.
    samples: Places,
    /// Number of samples.
    len: usize,
    /// Samples that a new series has space for, while all that have it take no more than this many.
    capacity: u32,
    samples_reserved_max: usize,
    spellings: Vec<Spelling>,
    by_spelling: HashTable<u32>,
    by_labels: HashTable<u32>,
    /// Samples of series that are not in the order of time.
    by_time: HashTable<Time>,
    mapper: Mapper,
    superseded: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new(sharding: Sharding) -> Self {
        Self {
            read_ns: (0, 0),
            text_bytes_max: sharding.lanes * limits::FORWARD_REQUEST_BYTES,
            sharding,
            text: Vec::new(),
            symbols: Vec::new(),
            series: Vec::new(),
            samples: Places::default(),
            len: 0,
            capacity: 1,
            samples_reserved_max: 0,
            spellings: Vec::new(),
            by_spelling: HashTable::new(),
            by_labels: HashTable::new(),
            by_time: HashTable::new(),
            mapper: Mapper::default(),
            superseded: 0,
        }
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        // As many as the series of this batch have had, rounded up; the next one may be of many more series.
        self.capacity = stored(self.len / self.series.len().max(1) + 1);
        self.samples_reserved_max = 2 * self.len;
        self.text.clear();
        self.text.shrink_to(self.text_bytes_max);
        self.symbols.clear();
        self.series.clear();
        self.samples.taken = 0;
        self.len = 0;
        self.spellings.clear();
        self.by_spelling.clear();
        self.by_labels.clear();
        self.by_time.clear();
        self.superseded = 0;
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The samples, each series' one behind the other, and what is between them.
    pub fn samples(&self) -> &[Sample] {
        &self.samples.all
    }

    /// Number of samples that a later one took the place of.
    pub fn superseded(&self) -> usize {
        self.superseded
    }

    /// Samples that make the batch full: a request for each lane.
    pub fn samples_max(&self, of_request: usize) -> usize {
        self.sharding.lanes.saturating_mul(of_request)
    }

    /// True if the batch has so many samples, or as many bytes as its requests may have.
    #[inline]
    pub fn is_full(&self, samples_max: usize) -> bool {
        self.len >= samples_max || self.text.len() >= self.text_bytes_max
    }

    /// Adds a line. Returns the number of its series.
    pub fn push(&mut self, line: &Line<'_>) -> u32 {
        let series = self.series_of(line);
        self.put(series, line.kind, value_bits(line), line.timestamp_ms);
        series
    }

    /// Adds a sample to a series, or replaces that of the same millisecond.
    #[inline]
    pub fn put(&mut self, index: u32, kind: Kind, value_bits: u64, timestamp_ms: i64) {
        let Self { series, samples, len, .. } = self;
        let series = &mut series[index as usize];
        series.kind = kind;
        if series.is_indexed || timestamp_ms <= series.newest_ms {
            return self.put_unordered(index, value_bits, timestamp_ms);
        }
        series.append(samples, (value_bits, timestamp_ms));
        series.newest_ms = timestamp_ms;
        *len += 1;
    }

    /// The labels of a series, encoded, and their hash.
    pub fn labels_of(&self, index: u32) -> (&[u8], u64) {
        let series = &self.series[index as usize];
        (series.labels.of(&self.text), series.hash)
    }

    /// The number of the series that has these labels, which [`labels_of`](Self::labels_of) of a batch with the same
    /// sharding has returned with `hash`. It is added if it is new, then with these symbols.
    pub fn series_of_labels(&mut self, labels: &[u8], hash: u64, symbols: &[Symbol]) -> u32 {
        let Self { text, series, samples, .. } = self;
        let entry = self.by_labels.entry(
            hash,
            |&index| series[index as usize].hash == hash && series[index as usize].labels.of(text) == labels,
            |&index| series[index as usize].hash,
        );
        let entry = match entry {
            Entry::Occupied(entry) => return *entry.get(),
            Entry::Vacant(entry) => entry,
        };
        let index = stored(series.len());
        entry.insert(index);
        // The high bits, as the table has the low ones.
        let lane = usize::try_from((hash >> 32) % self.sharding.lanes as u64).unwrap_or(0);
        let first_symbol = stored(self.symbols.len());
        let is_reserved = samples.taken + self.capacity as usize <= self.samples_reserved_max;
        let capacity = if is_reserved { self.capacity } else { 1 };
        let begin = samples.take(capacity);
        self.symbols.extend_from_slice(symbols);
        series.push(Series {
            labels: append_text(text, labels),
            symbols: first_symbol..stored(self.symbols.len()),
            kind: Kind::Untyped,
            hash,
            lane,
            begin,
            capacity,
            count: 0,
            newest_ms: i64::MIN,
            is_indexed: false,
        });
        index
    }

    /// The next samples of `lane` behind `place`, of one series and `count` at most, and the place behind them.
    pub fn next(&self, lane: usize, place: Place, count: usize) -> Option<(Run<'_>, Place)> {
        let rest = self.series.get(place.series..)?;
        let index = place.series + rest.iter().position(|series| series.lane == lane)?;
        let series = &self.series[index];
        // Of a series that follows in the lane nothing was taken.
        let taken = if index == place.series { place.taken } else { 0 };
        let left = series.count - taken;
        let count = left.min(u32::try_from(count).unwrap_or(u32::MAX));
        let samples = &series.samples(&self.samples.all)[taken as usize..][..count as usize];
        let run = Run { batch: self, series, begin: (series.begin + taken) as usize, samples };
        let behind = match count {
            _ if count == left => Place { series: index + 1, taken: 0 },
            _ => Place { series: index, taken: taken + count },
        };
        Some((run, behind))
    }

    /// The series of a line, added if it is new.
    fn series_of(&mut self, line: &Line<'_>) -> u32 {
        let hash = self.sharding.hasher.hash_one((line.name, line.tags));
        let (text, spellings) = (&self.text, &self.spellings);
        let known = self.by_spelling.find(hash, |&index| {
            let spelling = &spellings[index as usize];
            spelling.hash == hash && spelling.name.of(text) == line.name && spelling.tags.of(text) == line.tags
        });
        if let Some(&index) = known {
            return spellings[index as usize].series;
        }
        let (name, tags) = (append_text(&mut self.text, line.name), append_text(&mut self.text, line.tags));
        let mut mapper = std::mem::take(&mut self.mapper);
        let labels = mapper.map(line);
        let series = self.series_of_labels(labels, self.sharding.hasher.hash_one(labels), &[]);
        self.mapper = mapper;
        let index = stored(self.spellings.len());
        self.spellings.push(Spelling { name, tags, hash, series });
        let spellings = &self.spellings;
        self.by_spelling.insert_unique(hash, index, |&index| spellings[index as usize].hash);
        series
    }

    /// Adds a sample as [`put`](Self::put) does, to a series that is not in the order of time.
    #[inline(never)]
    fn put_unordered(&mut self, owner: u32, value_bits: u64, timestamp_ms: i64) {
        let Self { series, samples, len, by_time, sharding, .. } = self;
        let series = &mut series[owner as usize];
        let hash_of = |time: &Time| sharding.hasher.hash_one((time.series, time.timestamp_ms));
        if !series.is_indexed {
            series.is_indexed = true;
            for (sample, &(_, timestamp_ms)) in (0..).zip(series.samples(&samples.all)) {
                let time = Time { timestamp_ms, series: owner, sample };
                by_time.insert_unique(hash_of(&time), time, hash_of);
            }
        }
        let own = Time { timestamp_ms, series: owner, sample: series.count };
        let is_same = |time: &Time| time.series == owner && time.timestamp_ms == timestamp_ms;
        match by_time.entry(hash_of(&own), is_same, hash_of) {
            Entry::Occupied(entry) => {
                samples.all[(series.begin + entry.get().sample) as usize].0 = value_bits;
                self.superseded += 1;
                return;
            }
            Entry::Vacant(entry) => drop(entry.insert(own)),
        }
        series.append(samples, (value_bits, timestamp_ms));
        series.newest_ms = series.newest_ms.max(timestamp_ms);
        *len += 1;
    }
}

fn append_text(to: &mut Vec<u8>, text: &[u8]) -> Span {
    let begin = stored(to.len());
    to.extend_from_slice(text);
    Span { begin, end: stored(to.len()) }
}

fn value_bits(line: &Line<'_>) -> u64 {
    match line.value {
        _ if line.is_stale => STALE_NAN_BITS,
        b"\"NaN\"" => NAN_BITS,
        b"\"+Inf\"" => f64::INFINITY.to_bits(),
        b"\"-Inf\"" => f64::NEG_INFINITY.to_bits(),
        digits => {
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<f64>().ok());
            number.map_or(NAN_BITS, f64::to_bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: &str, second: u32, tags: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-01-02T03:04:{second:02}.678Z","name":"{name}","value":{value},"type":"gauge","tags":{{{tags}}}}}"#
        )
    }

    fn batch(lanes: usize, lines: &[String]) -> Batch {
        let mut batch = Batch::new(Sharding::over(lanes));
        for line in lines {
            batch.push(&Line::parse(line.as_bytes()).unwrap());
        }
        batch
    }

    type Sent = (Vec<(String, String)>, Vec<f64>);

    /// The runs of a lane, of `count` samples at most.
    fn runs(batch: &Batch, lane: usize, count: usize) -> Vec<Sent> {
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        let (mut runs, mut place) = (Vec::new(), Place::BEGIN);
        while let Some((run, behind)) = batch.next(lane, place, count) {
            place = behind;
            let values: Vec<f64> = run.samples().iter().map(|&(bits, _)| f64::from_bits(bits)).collect();
            runs.push((run.labels().map(|(name, value)| (text(name), text(value))).collect(), values));
        }
        runs
    }

    #[test]
    fn names_that_a_receiver_refuses_are_mapped() {
        let tags = r#""z.b":"2","a":"","z-b":"3","Z":"1","__name__":"x","1":"é","q":"\"\n""#;
        let batch = batch(1, &[line("cpu.load:x", "1", 5, tags)]);
        let expected = [("Z", "1"), ("_1", "é"), ("__name__", "cpu_load:x"), ("q", "\"\n"), ("z_b", "2;3")];
        assert_eq!(runs(&batch, 0, 9)[0].0, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn values_that_are_no_numbers_keep_their_bits() {
        let values = ["\"NaN\"", "\"NaN\",\"stale\":true", "\"+Inf\"", "\"-Inf\"", "-0.0", "1e3"];
        let lines: Vec<String> = (0..).zip(values).map(|(second, value)| line("m", value, second, "")).collect();
        let batch = batch(1, &lines);
        let bits: Vec<u64> =
            batch.next(0, Place::BEGIN, 9).unwrap().0.samples().iter().map(|&(bits, _)| bits).collect();
        let expected = [f64::INFINITY, f64::NEG_INFINITY, -0.0, 1000.0].map(f64::to_bits);
        assert_eq!(bits, [&[NAN_BITS, STALE_NAN_BITS][..], &expected].concat());
    }

    #[test]
    fn the_last_of_equal_samples_is_sent() {
        // Tags in another order are the same series, and so is a name that is mapped to the same.
        let (one, other) = (r#""a":"1","b":"2""#, r#""b":"2","a":"1""#);
        let lines = [
            line("m.m", "1", 5, one),
            line("m_m", "2", 6, other),
            line("n", "3", 5, one),
            line("m_m", "4", 5, one),
            line("m.m", "5", 4, other),
            line("m.m", "6", 6, one),
            line("m.m", "7", 7, one),
        ];
        let batch = batch(1, &lines);
        let values: Vec<Vec<f64>> = runs(&batch, 0, 9).into_iter().map(|(_, values)| values).collect();
        assert_eq!(values, [vec![4.0, 6.0, 5.0, 7.0], vec![3.0]]);
        assert_eq!((batch.len(), batch.superseded()), (5, 2));
    }

    #[test]
    fn each_series_has_one_lane_and_keeps_its_order() {
        let name = |number: usize| format!("m{}", number % 10);
        let lines: Vec<String> = (0..50)
            .map(|number| line(&name(number), &number.to_string(), u32::try_from(number).unwrap(), ""))
            .collect();
        let batch = batch(3, &lines);
        let mut all = std::collections::BTreeMap::<String, Vec<f64>>::new();
        for lane in 0..3 {
            let mut own = std::collections::BTreeSet::new();
            for (labels, values) in runs(&batch, lane, 2) {
                own.insert(labels[0].1.clone());
                all.entry(labels[0].1.clone()).or_default().extend(values);
            }
            let total: usize = own.iter().map(|name| all[name].len()).sum();
            assert_eq!(total, own.len() * 5, "a series of another lane in lane {lane}");
        }
        assert_eq!(all.len(), 10);
        for (name, values) in all {
            let first: f64 = name[1..].parse().unwrap();
            assert_eq!(values, [0.0, 10.0, 20.0, 30.0, 40.0].map(|more| first + more), "{name}");
        }
    }

    #[test]
    fn a_cleared_batch_is_an_empty_one() {
        let mut batch = batch(1, &[line("m", "1", 5, ""), line("m", "1", 5, "")]);
        batch.clear();
        assert_eq!((batch.len(), batch.superseded(), runs(&batch, 0, 9).len()), (0, 0, 0));
        batch.push(&Line::parse(line("m", "2", 5, "").as_bytes()).unwrap());
        assert_eq!(batch.len(), 1);
        assert_eq!(runs(&batch, 0, 9)[0].1, [2.0]);
    }

    #[test]
    fn samples_have_their_places_whatever_the_batch_before_had() {
        let lines = |series: u32, count: u32| -> Vec<String> {
            (0..count)
                .flat_map(|second| (0..series).map(move |own| (second, own)))
                .map(|(second, own)| line(&format!("m{own}"), &format!("{second}.{own}"), second % 60, ""))
                .collect()
        };
        let mut batch = batch(1, &[]);
        // Few series of many samples, many of few, and as many as before.
        for (series, count) in [(1, 60), (500, 1), (500, 3), (3, 40), (3, 40), (2, 60), (60, 2)] {
            for line in lines(series, count) {
                batch.push(&Line::parse(line.as_bytes()).unwrap());
            }
            let found = runs(&batch, 0, usize::MAX);
            let expected = |own: usize| -> Vec<f64> {
                (0..count).map(|second| format!("{second}.{own}").parse().unwrap()).collect()
            };
            assert!(found.iter().map(|(_, values)| values).cloned().eq((0..series as usize).map(expected)));
            assert_eq!(batch.len(), found.iter().map(|(_, values)| values.len()).sum::<usize>());
            // What is reserved is bounded by the samples of this batch and the one before.
            let bound = batch.samples_reserved_max + 4 * batch.len();
            assert!(batch.samples.taken <= bound, "{} over {bound}", batch.samples.taken);
            batch.clear();
        }
    }
}

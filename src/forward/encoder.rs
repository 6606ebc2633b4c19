//! Samples of a batch as the body of a request, compressed. Memory is used again from request to request.

use super::{
    batch::{Batch, Place, Run},
    format::Format,
    snappy::{Compressor, Records},
};
use crate::limits;
use foldhash::fast::RandomState;
use hashbrown::{HashSet, HashTable};
use host::time::Instant;
use metric::{
    Kind,
    protocol::remote_write::encode::{
        Put, PutSamples, USUAL_SAMPLE_BYTES, put_metadata_v1, put_reference_v2, put_series_v1, put_series_v2,
        put_symbol_v2, sample_bytes,
    },
};
use std::{hash::BuildHasher, ops::Range};

/// The encoder of one connection.
pub struct Encoder {
    /// The message; in version 2.0 its symbols, which the series follow.
    message: Vec<u8>,
    /// The series of version 2.0, whose symbols are known only behind the last one.
    series: Vec<u8>,
    symbols: Symbols,
    /// Varints.
    references: Vec<u8>,
    /// The samples of each run, where they are; in the message, once that is assembled.
    records: Vec<Records>,
    /// Bytes that are left out of the message, as `records` have it.
    left_out_bytes: usize,
    metadata: SentMetadata,
    snappy: Compressor,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// All of it is initialised; the body is at its beginning.
    body: Vec<u8>,
    body_bytes: usize,
}

/// A request.
pub struct Encoded {
    /// Number of samples.
    pub samples: usize,
    /// The place behind the last one.
    pub behind: Place,
}

impl Encoder {
    /// An encoder that has sent nothing.
    pub fn new() -> Self {
        Self {
            message: Vec::new(),
            series: Vec::new(),
            symbols: Symbols::default(),
            references: Vec::new(),
            records: Vec::new(),
            left_out_bytes: 0,
            metadata: SentMetadata::default(),
            snappy: Compressor::new(),
            zstd: None,
            body: Vec::new(),
            body_bytes: 0,
        }
    }

    /// The body of the request that was encoded last.
    pub fn body(&self) -> &[u8] {
        &self.body[..self.body_bytes]
    }

    /// The message of the request that was encoded last, not compressed.
    #[cfg(feature = "kafka")]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Encodes and compresses the samples of `lane` behind `place`, as many as go into one request. `None`: there are
    /// none.
    pub fn encode(
        &mut self,
        batch: &Batch,
        lane: usize,
        place: Place,
        samples_max: usize,
        format: Format,
    ) -> Option<Encoded> {
        let put = if format == Format::V1Zstd { Put::All } else { Put::First };
        let encoded = self.assemble(batch, lane, place, samples_max, format, put)?;
        self.compress(batch, format);
        Some(encoded)
    }

    /// Encodes the samples as [`Self::encode`] does, but does not compress them, and puts only these into the message.
    pub fn assemble(
        &mut self,
        batch: &Batch,
        lane: usize,
        place: Place,
        samples_max: usize,
        format: Format,
        put: Put,
    ) -> Option<Encoded> {
        self.message.clear();
        self.series.clear();
        self.symbols.clear();
        self.records.clear();
        self.left_out_bytes = 0;
        self.metadata.begin_request();
        let mut encoded = Encoded { samples: 0, behind: place };
        let bytes = |this: &Self| this.message.len() + this.series.len() + this.left_out_bytes;
        let is_full = |this: &Self| bytes(this) >= limits::FORWARD_REQUEST_BYTES;
        while encoded.samples < samples_max && !is_full(self) {
            let Some((run, behind)) = batch.next(lane, encoded.behind, samples_max - encoded.samples) else { break };
            let PutSamples { place: of_samples, left_out } = match format {
                Format::V2 => self.put_v2(&run, put),
                Format::V1 | Format::V1Zstd => self.put_v1(&run, put),
            };
            let labels_bytes = if format == Format::V2 { 0 } else { run.encoded_labels().len() };
            self.left_out_bytes += left_out * USUAL_SAMPLE_BYTES;
            let rest_end = run.place().end;
            self.records.push(Records {
                labels: of_samples.start - labels_bytes,
                begin: of_samples.start,
                end: of_samples.end,
                bytes: run.samples().first().map_or(0, |&sample| sample_bytes(sample)),
                rest: rest_end - left_out..rest_end,
                hash: run.labels_hash(),
            });
            encoded.samples += run.samples().len();
            encoded.behind = behind;
        }
        if format == Format::V2 {
            let before = self.message.len();
            self.message.extend_from_slice(&self.series);
            self.records.iter_mut().for_each(|records| {
                records.labels += before;
                records.begin += before;
                records.end += before;
            });
        }
        (encoded.samples > 0).then_some(encoded)
    }

    /// Appends a run as a series of version 1.0, behind its type if that is due.
    fn put_v1(&mut self, run: &Run<'_>, put: Put) -> PutSamples {
        let kind = run.kind();
        if run.name_number().is_none_or(|number| self.metadata.is_new(number, kind)) {
            let family = family(run.name(), kind);
            if self.metadata.is_due(family, kind) {
                put_metadata_v1(&mut self.message, family, kind);
            }
        }
        put_series_v1(&mut self.message, run.encoded_labels(), run.samples(), put)
    }

    /// As [`put_v1`](Self::put_v1), of version 2.0.
    fn put_v2(&mut self, run: &Run<'_>, put: Put) -> PutSamples {
        self.references.clear();
        let (labels, message) = (run.encoded_labels(), &mut self.message);
        if run.symbols().is_empty() {
            for text in run.labels().flat_map(|(name, value)| [name, value]) {
                put_reference_v2(&mut self.references, self.symbols.intern(message, text));
            }
        }
        for symbol in run.symbols() {
            put_reference_v2(&mut self.references, self.symbols.numbered(symbol.number, message, symbol.of(labels)));
        }
        put_series_v2(&mut self.series, &self.references, run.samples(), run.kind(), put)
    }

    fn compress(&mut self, batch: &Batch, format: Format) {
        let Self { message, records, body, .. } = self;
        let mut reserve = |bytes: usize| body.resize(bytes.max(body.len()), 0);
        match format {
            Format::V1 | Format::V2 => {
                reserve(Compressor::bytes_max(message.len() + self.left_out_bytes));
                self.body_bytes = self.snappy.compress(message, records, batch.samples(), body);
            }
            Format::V1Zstd => {
                reserve(zstd::zstd_safe::compress_bound(message.len()));
                let level = limits::FORWARD_ZSTD_LEVEL;
                let new = || zstd::bulk::Compressor::new(level).expect("the level is one that zstd has");
                let bytes = self.zstd.get_or_insert_with(new).compress_to_buffer(message, &mut body[..]);
                self.body_bytes = bytes.expect("the buffer has the size that zstd requires");
            }
        }
    }
}

/// The symbols of a request, which are in it once.
#[derive(Default)]
struct Symbols {
    /// The span of each symbol in the message.
    places: Vec<Range<usize>>,
    /// True once there was a text without a number. Those with one are known by it, as equal texts have equal numbers
    /// in a request; from then on all are known by the text.
    is_by_text: bool,
    /// References by text, of so many symbols.
    known: HashTable<u32>,
    indexed: usize,
    hasher: RandomState,
    /// By number: the latest request that has the symbol, and the reference to it there.
    by_number: Vec<(u32, u32)>,
    /// Number of the request.
    request: u32,
}

impl Symbols {
    /// Begins another request.
    fn clear(&mut self) {
        self.places.clear();
        self.known.clear();
        (self.is_by_text, self.indexed) = (false, 0);
        self.request = self.request.checked_add(1).unwrap_or_else(|| {
            self.by_number.clear();
            1
        });
    }

    /// The reference to the text of a number, as [`intern`](Self::intern) would return it.
    #[inline]
    fn numbered(&mut self, number: u32, message: &mut Vec<u8>, text: &[u8]) -> u32 {
        let index = number as usize;
        match self.by_number.get(index) {
            Some(&(request, reference)) if request == self.request => reference,
            _ => {
                let reference = if self.is_by_text { self.intern(message, text) } else { self.put(message, text) };
                if self.by_number.len() <= index {
                    self.by_number.resize(index + 1, (0, 0));
                }
                self.by_number[index] = (self.request, reference);
                reference
            }
        }
    }

    /// The reference to a text, which is appended to the message if it is new.
    fn intern(&mut self, message: &mut Vec<u8>, text: &[u8]) -> u32 {
        self.is_by_text = true;
        // The first symbol is none of a series.
        for reference in self.indexed.max(1)..self.places.len() {
            let of = |reference: u32| &message[self.places[reference as usize].clone()];
            let reference = u32::try_from(reference).unwrap_or(0);
            self.known.insert_unique(self.hasher.hash_one(of(reference)), reference, |&reference| {
                self.hasher.hash_one(of(reference))
            });
        }
        self.indexed = self.places.len();
        let is_it = |&reference: &u32| &message[self.places[reference as usize].clone()] == text;
        match self.known.find(self.hasher.hash_one(text), is_it) {
            Some(&reference) => reference,
            None => self.put(message, text),
        }
    }

    /// Appends a text to the message, and returns the reference to it.
    fn put(&mut self, message: &mut Vec<u8>, text: &[u8]) -> u32 {
        if self.places.is_empty() {
            // The first one is empty, by the specification.
            put_symbol_v2(message, b"");
            self.places.push(message.len()..message.len());
        }
        let reference = u32::try_from(self.places.len()).unwrap_or(0);
        put_symbol_v2(message, text);
        self.places.push(message.len() - text.len()..message.len());
        reference
    }
}

/// The families whose type was sent by version 1.0 within the last minute: receivers forget them, and may be others.
#[derive(Default)]
struct SentMetadata {
    families: HashSet<u64, RandomState>,
    hasher: RandomState,
    since: Option<Instant>,
    /// Names by their number: the latest request that has it, and the types that it has there, a bit each. Numbers
    /// are of other names in other requests.
    names: Vec<(u32, u8)>,
    request: u32,
}

impl SentMetadata {
    /// Begins another request. Forgets everything once in a while.
    fn begin_request(&mut self) {
        self.request = self.request.checked_add(1).unwrap_or_else(|| {
            self.names.clear();
            1
        });
        let is_due = self.since.is_none_or(|since| since.elapsed() >= limits::FORWARD_METADATA_INTERVAL);
        if is_due || self.families.len() >= limits::FORWARD_METADATA_FAMILIES_MAX {
            self.families.clear();
            self.since = Some(Instant::now());
        }
    }

    /// True once in a request for a name, by its number, and a type.
    fn is_new(&mut self, number: u32, kind: Kind) -> bool {
        let index = number as usize;
        if self.names.len() <= index {
            self.names.resize(index + 1, (0, 0));
        }
        let (request, kinds) = &mut self.names[index];
        if *request != self.request {
            (*request, *kinds) = (self.request, 0);
        }
        let before = *kinds;
        *kinds |= 1 << kind as u8;
        *kinds != before
    }

    fn is_due(&mut self, family: &[u8], kind: Kind) -> bool {
        kind != Kind::Untyped && self.families.insert(self.hasher.hash_one((family, kind.name())))
    }
}

/// The name that the type of a metric is known by: that of a histogram or a summary is without the suffix of a part.
fn family(name: &[u8], kind: Kind) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        Kind::Histogram => &[b"_bucket", b"_sum", b"_count"],
        Kind::Summary => &[b"_sum", b"_count"],
        Kind::Gauge | Kind::Counter | Kind::Untyped => &[],
    };
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix)).filter(|family| !family.is_empty());
    family.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::batch::Sharding;
    use metric::{
        Bounds, Line, LineSink,
        protocol::remote_write::{RemoteWrite, Written},
    };

    fn batch(count: usize) -> Batch {
        let mut batch = Batch::new(Sharding::over(1));
        for number in 0..count {
            let line = format!(
                r#"{{"timestamp":"2026-01-02T03:04:05.{:03}Z","name":"m_total","value":{number},"type":"counter","tags":{{"i":"{}"}}}}"#,
                number % 1_000,
                number % 7
            );
            batch.push(&Line::parse(line.as_bytes()).unwrap());
        }
        batch
    }

    /// The lines that the server itself would store of all requests of a batch.
    fn stored(batch: &Batch, format: Format, samples_max: usize) -> Vec<String> {
        let (mut encoder, mut place, mut lines) = (Encoder::new(), Place::BEGIN, Vec::new());
        while let Some(encoded) = encoder.encode(batch, 0, place, samples_max, format) {
            place = encoded.behind;
            let message = match format {
                Format::V1Zstd => zstd::decode_all(encoder.body()).unwrap(),
                Format::V1 | Format::V2 => snap::raw::Decoder::new().decompress_vec(encoder.body()).unwrap(),
            };
            let mut out = vec![0; 1 << 20];
            let mut sink = LineSink::new(&mut out, 0);
            let mut decoder = RemoteWrite::new(Bounds::default());
            let written = match format {
                Format::V2 => decoder.decode_v2(&message, &mut sink),
                Format::V1 | Format::V1Zstd => decoder.decode_v1(&message, &mut sink),
            };
            assert_eq!(written.unwrap(), Written { samples: encoded.samples as u64, histograms: 0, exemplars: 0 });
            assert!(encoded.samples <= samples_max);
            let bytes = sink.decoded().bytes;
            lines.extend(String::from_utf8(out[..bytes].to_vec()).unwrap().lines().map(str::to_owned));
        }
        lines
    }

    #[test]
    fn a_batch_is_the_same_in_every_format_and_split() {
        let batch = batch(500);
        let expected = stored(&batch, Format::V2, usize::MAX);
        assert_eq!(expected.len(), 500);
        assert!(
            expected[0].contains(r#""name":"m_total","value":0,"type":"counter","tags":{"i":"0"}"#),
            "{}",
            expected[0]
        );
        for format in [Format::V1, Format::V1Zstd, Format::V2] {
            for samples_max in [1, 3, 71, 499, 500, 501] {
                assert_eq!(stored(&batch, format, samples_max), expected, "{format:?} {samples_max}");
            }
        }
    }

    #[test]
    fn types_are_sent_once_for_a_while() {
        let batch = batch(10);
        let mut encoder = Encoder::new();
        let mut messages = [(); 2].map(|()| {
            assert!(encoder.assemble(&batch, 0, Place::BEGIN, 10, Format::V1, Put::All).is_some());
            encoder.message.clone()
        });
        let rest = messages[0].split_off(messages[0].len() - messages[1].len());
        assert_eq!(rest, messages[1]);
        assert_eq!(messages[0], b"\x1a\x0b\x08\x01\x12\x07m_total");
    }

    #[test]
    fn parts_of_a_histogram_have_one_family() {
        for (name, kind, expected) in [
            ("a_bucket", Kind::Histogram, "a"),
            ("a_count", Kind::Summary, "a"),
            ("a_bucket", Kind::Summary, "a_bucket"),
            ("_sum", Kind::Histogram, "_sum"),
            ("a_sum", Kind::Gauge, "a_sum"),
        ] {
            assert_eq!(family(name.as_bytes(), kind), expected.as_bytes(), "{name}");
        }
    }
}

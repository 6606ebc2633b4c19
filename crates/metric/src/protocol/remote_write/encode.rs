//! Encoder of remote write: series and metadata of a `prometheus.WriteRequest` (1.0), and symbols and series of an
//! `io.prometheus.write.v2.Request` (2.0). Each function appends one field of the request, in one pass.

use crate::Kind;
use std::ops::Range;

/// A label: its name and its value.
pub type Label<'a> = (&'a [u8], &'a [u8]);
/// A sample: the bits of its value, as those of a stale marker matter, and epoch milliseconds.
pub type Sample = (u64, i64);

// Keys of fields: the number of the field, and the wire type in the lowest three bits.
const fn key(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

const V1_SERIES: u8 = key(1, BYTES);
const V1_METADATA: u8 = key(3, BYTES);
const V1_LABEL: u8 = key(1, BYTES);
const LABEL_NAME: u8 = key(1, BYTES);
const LABEL_VALUE: u8 = key(2, BYTES);
const METADATA_TYPE: u8 = key(1, VARINT);
const V1_METADATA_FAMILY: u8 = key(2, BYTES);

const V2_SYMBOL: u8 = key(4, BYTES);
const V2_SERIES: u8 = key(5, BYTES);
const V2_LABEL_REFERENCES: u8 = key(1, BYTES);
const V2_METADATA: u8 = key(5, BYTES);

// The same in both versions.
const SAMPLE: u8 = key(2, BYTES);
const SAMPLE_VALUE: u8 = key(1, FIXED64);
const SAMPLE_TIMESTAMP: u8 = key(2, VARINT);
/// Bytes of a sample without those of its timestamp: two keys and the value.
const SAMPLE_HEADS_BYTES: usize = 1 + size_of::<u64>() + 1;
/// Bytes of a timestamp from 1971 to 2109, from 2^35 to 2^42 milliseconds: seven bits each.
const USUAL_TIMESTAMP_BYTES: usize = 6;
/// Bytes of a sample with such a timestamp, as a series has it: key, length and content.
pub const USUAL_SAMPLE_BYTES: usize = 2 + SAMPLE_HEADS_BYTES + USUAL_TIMESTAMP_BYTES;
/// The bytes of such a sample in front of its value: key, length, and the key of the value.
pub const USUAL_SAMPLE_HEAD: [u8; 3] = [SAMPLE, (USUAL_SAMPLE_BYTES - 2).to_le_bytes()[0], SAMPLE_VALUE];

/// Appends a label as a series of version 1.0 has it. Labels have to be in the order of their names.
pub fn put_label_v1(to: &mut Vec<u8>, (name, value): Label<'_>) {
    put_head(to, V1_LABEL, text_bytes(name) + text_bytes(value));
    put_text(to, LABEL_NAME, name);
    put_text(to, LABEL_VALUE, value);
}

/// The labels that [`put_label_v1`] has encoded. It ends at bytes that are none.
pub fn labels_v1(encoded: &[u8]) -> impl Iterator<Item = Label<'_>> + Clone {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let mut label = take_text(&mut rest, V1_LABEL)?;
        Some((take_text(&mut label, LABEL_NAME)?, take_text(&mut label, LABEL_VALUE)?))
    })
}

/// The samples of a series that are put into a message. The lengths in front of them are those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// All of them.
    All,
    /// The first one, where all are usual: the others are for the caller to write.
    First,
}

/// The samples of a series in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutSamples {
    /// Their place.
    pub place: Range<usize>,
    /// Number of those that were left out at the end of it, each of [`USUAL_SAMPLE_BYTES`].
    pub left_out: usize,
}

/// Appends samples as a series of either version has them. `are_usual`: by the function of that name.
#[inline]
fn put_samples(to: &mut Vec<u8>, samples: &[Sample], are_usual: bool, put: Put) -> PutSamples {
    let begin = to.len();
    if !are_usual {
        samples.iter().for_each(|&sample| put_sample(to, sample));
        return PutSamples { place: begin..to.len(), left_out: 0 };
    }
    let (samples, left_out) = match put {
        Put::First => samples.split_at(samples.len().min(1)),
        Put::All => (samples, &[][..]),
    };
    to.resize(begin + samples.len() * USUAL_SAMPLE_BYTES, 0);
    let (fields, _) = to[begin..].as_chunks_mut();
    fields.iter_mut().zip(samples).for_each(|(field, &sample)| *field = usual_sample(sample));
    PutSamples { place: begin..to.len(), left_out: left_out.len() }
}

/// True if each of these takes [`USUAL_SAMPLE_BYTES`].
#[inline]
fn are_usual(samples: &[Sample]) -> bool {
    const BITS: usize = 7 * USUAL_TIMESTAMP_BYTES;
    samples.iter().all(|(_, timestamp_ms)| (1 << (BITS - 7)..1 << BITS).contains(timestamp_ms))
}

#[inline(always)]
fn usual_sample(sample: Sample) -> [u8; USUAL_SAMPLE_BYTES] {
    let (value_bits, rest) = usual_words(sample);
    let [a, b, c, d, e, f, g, _] = rest.to_le_bytes();
    let mut field = [0; USUAL_SAMPLE_BYTES];
    // Copies of arrays: those of slices are calls.
    *field.first_chunk_mut().expect("it is shorter") = USUAL_SAMPLE_HEAD;
    *field[USUAL_SAMPLE_HEAD.len()..].first_chunk_mut().expect("it is shorter") = value_bits.to_le_bytes();
    *field.last_chunk_mut().expect("it is shorter") = [a, b, c, d, e, f, g];
    field
}

/// A sample of [`USUAL_SAMPLE_BYTES`] behind its [head](USUAL_SAMPLE_HEAD), from the lowest byte on: eight of the
/// value, and seven, which are the key of the timestamp and the timestamp.
#[inline(always)]
#[must_use]
pub fn usual_words((value_bits, timestamp_ms): Sample) -> (u64, u64) {
    (value_bits, u64::from(SAMPLE_TIMESTAMP) | usual_varint(timestamp_ms.cast_unsigned()) << 8)
}

/// The varint of a number that has [`USUAL_TIMESTAMP_BYTES`] as one, from the lowest byte on: its bits are moved apart
/// by halves, and each byte but the last says that another follows.
#[inline(always)]
fn usual_varint(number: u64) -> u64 {
    let halves = (number & 0x0fff_ffff) | (number & 0x00ff_ffff_f000_0000) << 4;
    let quarters = (halves & 0x0000_3fff_0000_3fff) | (halves & 0x0fff_c000_0fff_c000) << 2;
    let sevens = (quarters & 0x007f_007f_007f_007f) | (quarters & 0x3f80_3f80_3f80_3f80) << 1;
    sevens | 0x0000_0080_8080_8080
}

fn put_sample(to: &mut Vec<u8>, (value_bits, timestamp_ms): Sample) {
    let timestamp = timestamp_ms.cast_unsigned();
    put_head(to, SAMPLE, SAMPLE_HEADS_BYTES + varint_bytes(timestamp));
    to.push(SAMPLE_VALUE);
    to.extend_from_slice(&value_bits.to_le_bytes());
    to.push(SAMPLE_TIMESTAMP);
    put_varint(to, timestamp);
}

/// Bytes of a sample as a series has it: key, length and content.
pub fn sample_bytes((_, timestamp_ms): Sample) -> usize {
    // Its length has one byte.
    2 + SAMPLE_HEADS_BYTES + varint_bytes(timestamp_ms.cast_unsigned())
}

fn samples_bytes(samples: &[Sample], are_usual: bool) -> usize {
    match are_usual {
        true => samples.len() * USUAL_SAMPLE_BYTES,
        false => samples.iter().map(|&sample| sample_bytes(sample)).sum(),
    }
}

/// Appends a series to a request of version 1.0: its labels by [`put_label_v1`], and its samples.
pub fn put_series_v1(to: &mut Vec<u8>, labels: &[u8], samples: &[Sample], put: Put) -> PutSamples {
    let are_usual = are_usual(samples);
    put_head(to, V1_SERIES, labels.len() + samples_bytes(samples, are_usual));
    to.extend_from_slice(labels);
    put_samples(to, samples, are_usual, put)
}

/// Appends the type of a family of metrics to a request of version 1.0.
pub fn put_metadata_v1(to: &mut Vec<u8>, family: &[u8], kind: Kind) {
    put_head(to, V1_METADATA, 2 + text_bytes(family));
    to.extend_from_slice(&[METADATA_TYPE, type_number(kind)]);
    put_text(to, V1_METADATA_FAMILY, family);
}

/// Appends a symbol to a request of version 2.0. The first one is empty.
pub fn put_symbol_v2(to: &mut Vec<u8>, text: &[u8]) {
    put_text(to, V2_SYMBOL, text);
}

/// Appends a reference to a symbol as a series of version 2.0 has it.
#[inline]
pub fn put_reference_v2(to: &mut Vec<u8>, reference: u32) {
    put_varint(to, reference.into());
}

/// Appends a series to a request of version 2.0. `references`, by [`put_reference_v2`], are the symbols of its labels,
/// in the order of their names: of a name, of its value, and so on.
pub fn put_series_v2(to: &mut Vec<u8>, references: &[u8], samples: &[Sample], kind: Kind, put: Put) -> PutSamples {
    // Type 0 is the absence of metadata.
    let metadata = [V2_METADATA, 2, METADATA_TYPE, type_number(kind)];
    let metadata = if kind == Kind::Untyped { &[][..] } else { &metadata };
    let are_usual = are_usual(samples);
    put_head(to, V2_SERIES, text_bytes(references) + samples_bytes(samples, are_usual) + metadata.len());
    put_text(to, V2_LABEL_REFERENCES, references);
    let samples = put_samples(to, samples, are_usual, put);
    to.extend_from_slice(metadata);
    samples
}

/// The number of a type: of both versions' enumerations, which have the same.
const fn type_number(kind: Kind) -> u8 {
    match kind {
        Kind::Untyped => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
    }
}

/// Takes a field of bytes with this key from the front of what was encoded.
fn take_text<'a>(from: &mut &'a [u8], key: u8) -> Option<&'a [u8]> {
    let (&first, mut rest) = from.split_first()?;
    let (mut bytes, mut shift) = (0_usize, 0);
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        bytes |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let (text, behind) = rest.split_at_checked(bytes)?;
    *from = behind;
    (first == key).then_some(text)
}

/// Bytes of a field of so many bytes, with its key and its length.
fn field_bytes(content: usize) -> usize {
    1 + varint_bytes(content as u64) + content
}

/// Bytes of a text as a field.
fn text_bytes(text: &[u8]) -> usize {
    field_bytes(text.len())
}

fn put_head(to: &mut Vec<u8>, key: u8, content_bytes: usize) {
    to.push(key);
    put_varint(to, content_bytes as u64);
}

fn put_text(to: &mut Vec<u8>, key: u8, text: &[u8]) {
    put_head(to, key, text.len());
    to.extend_from_slice(text);
}

fn varint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[inline]
fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

//! The output of the encoder, read by prost.

use super::messages::{v1, v2};
use crate::protocol::remote_write::encode::{
    Label, Put, PutSamples, Sample, USUAL_SAMPLE_BYTES, USUAL_SAMPLE_HEAD, labels_v1, put_label_v1, put_metadata_v1,
    put_reference_v2, put_series_v1, put_series_v2, put_symbol_v2, sample_bytes, usual_words,
};
use crate::{Kind, STALE_NAN_BITS};
use prost::Message as _;

const SAMPLES: [(u64, i64); 4] =
    [(0, 0), (STALE_NAN_BITS, i64::MAX), (0x7ff8_0000_0000_0001, -1), (1, 1_767_323_045_678)];

fn encoded(labels: &[Label<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    labels.iter().for_each(|&label| put_label_v1(&mut bytes, label));
    bytes
}

#[test]
fn encoded_labels_are_read_back_to_where_they_end() {
    let long = vec![b'x'; 70_000];
    let labels = [(&b"__name__"[..], &b"up"[..]), (b"a", b""), (b"long", &long)];
    let bytes = encoded(&labels);
    assert!(labels_v1(&bytes).eq(labels));
    for end in [0, 1, 5, 13, 14, 20, bytes.len() - 1] {
        let found: Vec<_> = labels_v1(&bytes[..end]).collect();
        assert_eq!(found, labels[..found.len()], "{end}");
        assert!(found.len() < 3);
    }
    assert_eq!(labels_v1(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).count(), 0);
}

#[test]
fn an_encoded_request_of_1_0_is_read_by_prost() {
    let long = vec![b'x'; 300];
    let labels = [(&b"__name__"[..], &b"up_total"[..]), (b"long", &long)];
    let mut body = Vec::new();
    let PutSamples { place, left_out: 0 } = put_series_v1(&mut body, &encoded(&labels), &SAMPLES, Put::First) else {
        panic!()
    };
    assert_eq!((place.len(), place.end), (SAMPLES.map(sample_bytes).iter().sum(), body.len()));
    put_metadata_v1(&mut body, b"up_total", Kind::Counter);
    put_series_v1(&mut body, &encoded(&labels[..1]), &[], Put::First);
    let request = v1::WriteRequest::decode(&body[..]).unwrap();
    assert_eq!(request.timeseries.len(), 2);
    let series = &request.timeseries[0];
    assert_eq!(series.labels, labels.map(|(name, value)| v1::Label::new(name, value)));
    let samples: Vec<_> = series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect();
    assert_eq!(samples, SAMPLES);
    assert_eq!(request.timeseries[1].labels.len(), 1);
    assert_eq!(request.metadata, [b"\x08\x01\x12\x08up_total"]);
}

#[test]
fn an_encoded_request_of_2_0_is_read_by_prost() {
    let mut body = Vec::new();
    for symbol in ["", "__name__", "up"] {
        put_symbol_v2(&mut body, symbol.as_bytes());
    }
    let references = |references: &[u32]| {
        let mut bytes = Vec::new();
        references.iter().for_each(|&reference| put_reference_v2(&mut bytes, reference));
        bytes
    };
    let PutSamples { place, .. } =
        put_series_v2(&mut body, &references(&[1, 2, 300, 70_000]), &SAMPLES, Kind::Summary, Put::All);
    // Behind the samples is the type.
    assert_eq!((place.len(), place.end + 4), (SAMPLES.map(sample_bytes).iter().sum(), body.len()));
    put_series_v2(&mut body, &references(&[1, 2]), &SAMPLES[..1], Kind::Untyped, Put::All);
    let request = v2::Request::decode(&body[..]).unwrap();
    assert_eq!(request.symbols, [&b""[..], b"__name__", b"up"]);
    let [first, second] = &request.timeseries[..] else { panic!("{request:?}") };
    assert_eq!(first.labels_refs, [1, 2, 300, 70_000]);
    let samples: Vec<_> = first.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect();
    assert_eq!(samples, SAMPLES);
    assert_eq!(first.metadata.as_ref().unwrap().r#type, 5);
    assert_eq!((second.samples.len(), &second.metadata), (1, &None));
}

#[test]
fn a_timestamp_of_any_length_is_read_by_prost() {
    let near = |bit: u32| [(1_i64 << bit) - 1, 1 << bit, (1 << bit) + 0x5a];
    let all: Vec<Sample> =
        (1..63).flat_map(near).chain([i64::MIN, -1, i64::MAX]).map(|ms| (ms.cast_unsigned() << 3 ^ 0x55, ms)).collect();
    let are_usual = |samples: &[Sample]| samples.iter().all(|&sample| sample_bytes(sample) == USUAL_SAMPLE_BYTES);
    // All together, each alone, and in pairs, of which some have only timestamps of six bytes.
    for samples in [&all[..]].into_iter().chain(all.chunks(1)).chain(all.windows(2)) {
        let mut body = Vec::new();
        let PutSamples { place, .. } = put_series_v1(&mut body, &[], samples, Put::All);
        assert_eq!(place.len(), samples.iter().map(|&sample| sample_bytes(sample)).sum::<usize>());
        let request = v1::WriteRequest::decode(&body[..]).unwrap();
        let read = request.timeseries[0].samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp));
        assert!(read.eq(samples.iter().copied()), "{samples:?}");
        // In as few bytes as it takes.
        assert_eq!(request.encoded_len(), body.len());
        // Without those behind the first, which are usual then: head and words of each.
        let mut shorter = Vec::new();
        let PutSamples { place, left_out } = put_series_v1(&mut shorter, &[], samples, Put::First);
        assert_eq!(left_out, if are_usual(samples) { samples.len() - 1 } else { 0 });
        assert_eq!(place.len() + left_out * USUAL_SAMPLE_BYTES, body.len() - place.start);
        for &sample in &samples[samples.len() - left_out..] {
            let (value, rest) = usual_words(sample);
            shorter.extend([&USUAL_SAMPLE_HEAD[..], &value.to_le_bytes(), &rest.to_le_bytes()[..7]].concat());
        }
        assert_eq!(shorter, body);
    }
    assert!(all.windows(2).filter(|pair| are_usual(pair)).count() > 15);
}

//! The output of the encoder, read by prost.

use super::messages::{v1, v2};
use crate::protocol::remote_write::encode::{put_metadata_v1, put_series_v1, put_series_v2, put_symbol_v2};
use crate::{Kind, STALE_NAN_BITS};
use prost::Message as _;

const SAMPLES: [(u64, i64); 4] =
    [(0, 0), (STALE_NAN_BITS, i64::MAX), (0x7ff8_0000_0000_0001, -1), (1, 1_767_323_045_678)];

#[test]
fn an_encoded_request_of_1_0_is_read_by_prost() {
    let long = vec![b'x'; 300];
    let labels = [(&b"__name__"[..], &b"up_total"[..]), (b"long", &long)];
    let mut body = Vec::new();
    put_series_v1(&mut body, labels.into_iter(), SAMPLES.into_iter());
    put_metadata_v1(&mut body, b"up_total", Kind::Counter);
    put_series_v1(&mut body, labels.into_iter().take(1), [].into_iter());
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
    put_series_v2(&mut body, &[1, 2, 300, 70_000], SAMPLES.into_iter(), Kind::Summary);
    put_series_v2(&mut body, &[1, 2], SAMPLES.into_iter().take(1), Kind::Untyped);
    let request = v2::Request::decode(&body[..]).unwrap();
    assert_eq!(request.symbols, [&b""[..], b"__name__", b"up"]);
    let [first, second] = &request.timeseries[..] else { panic!("{request:?}") };
    assert_eq!(first.labels_refs, [1, 2, 300, 70_000]);
    let samples: Vec<_> = first.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect();
    assert_eq!(samples, SAMPLES);
    assert_eq!(first.metadata.as_ref().unwrap().r#type, 5);
    assert_eq!((second.samples.len(), &second.metadata), (1, &None));
}

//! Datadog's version 2 in protobuf: accounting against prost, a payload that is sent twice in one gives its lines
//! twice, and a decoder that has its series in the cache gives the same as a new one.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::{DecodeError, protocol::datadog::Datadog};
use prost::Message;
use std::cell::RefCell;

thread_local! {
    static DECODER: RefCell<Datadog> = RefCell::new(Datadog::new(BOUNDS));
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(message, repeated, tag = "4")]
    points: Vec<Point>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fuzz_target!(|data: &[u8]| {
    let mut datadog = Datadog::new(BOUNDS);
    let fresh = decode(data, |sink| datadog.decode_v2_protobuf(data, sink));
    DECODER.with_borrow_mut(|kept| {
        for _ in 0..2 {
            let kept = decode(data, |sink| kept.decode_v2_protobuf(data, sink));
            assert_eq!(kept, fresh, "what a decoder keeps between bodies changes nothing");
        }
        kept.trim();
    });
    let once = match fresh {
        Ok(once) => once,
        Err(DecodeError::Malformed { .. }) => return,
        Err(error) => panic!("{error}: of {} bytes", data.len()),
    };
    if let Ok(payload) = Payload::decode(data) {
        let points: usize = payload.series.iter().map(|series| series.points.len()).sum();
        let known = (once.decoded.metrics + once.decoded.rejected()) as usize;
        assert!((points..=points + payload.series.len()).contains(&known), "{points} points, and {known} are known");
    }
    let body = [data, data].concat();
    if let Ok(twice) = decode(&body, |sink| datadog.decode_v2_protobuf(&body, sink)) {
        twice.assert_twice(&once);
    }
});

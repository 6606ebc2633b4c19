//! Datadog's version 2 in protobuf: accounting against prost, and a payload that is sent twice in one gives its lines
//! twice.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::{DecodeError, protocol::datadog::Datadog};
use prost::Message;

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
    let once = match decode(data, |sink| datadog.decode_v2_protobuf(data, sink)) {
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

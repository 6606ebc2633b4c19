//! OTLP in JSON: accounting; what opentelemetry-proto reads gives the lines that its protobuf gives.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::protocol::otlp::{Options, Otlp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as Request;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let mut otlp = Otlp::new(BOUNDS, Options::default());
    let Ok(json) = decode(data, |sink| otlp.decode_json(data, sink)) else { return };
    assert_eq!(u64::from(json.decoded.rejected()), otlp.rejected_points());
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    let Ok(text) = serde_json::to_vec(&request) else { return };
    // It writes null for some values that are no numbers.
    if !serde_json::from_slice::<Request>(&text).is_ok_and(|again| again == request) {
        return;
    }
    let again = decode(&text, |sink| otlp.decode_json(&text, sink));
    let body = request.encode_to_vec();
    let protobuf = decode(&body, |sink| otlp.decode_protobuf(&body, sink));
    match (again, protobuf) {
        (Ok(again), Ok(protobuf)) => assert_eq!(again.lines, protobuf.lines),
        (again, protobuf) => assert!(again.is_err() && protobuf.is_err(), "{again:?} but {protobuf:?}"),
    }
});

//! OTLP against opentelemetry-proto: its structs, encoded by prost in protobuf and by serde in JSON, become the lines
//! of a reference written over the structs; bytes that prost decodes, however damaged, are decoded.
//!
//! Where we take more than prost: text that is not UTF-8 rejects its points alone, and what is not stored is not looked
//! into. Where less: groups, which are deprecated, are refused.

#![expect(clippy::unwrap_used, reason = "clippy exempts functions marked as tests only, not what they call")]

#[path = "otlp/reference.rs"]
mod reference;
#[path = "otlp/requests.rs"]
mod requests;

use metric::protocol::otlp::{Options, Otlp, response_json, response_protobuf, status_json, status_protobuf};
use metric::protocol::protobuf::Message as Fields;
use metric::{Bounds, DecodeError, Decoded, LineSink, Reject, Skip};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use proptest::prelude::*;
use prost::Message;
use reference::{ARRIVAL_MS, Reference};
use serde_json::Value;

#[derive(Debug, PartialEq)]
struct Outcome {
    lines: Vec<String>,
    decoded: Decoded,
    rejected_points: u64,
}

fn run(decode: impl FnOnce(&mut Otlp, &mut LineSink<'_>) -> Result<(), DecodeError>) -> Result<Outcome, DecodeError> {
    let mut otlp = Otlp::new(Bounds::default(), Options::default());
    let mut out = vec![0; 1 << 20];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    decode(&mut otlp, &mut sink)?;
    let decoded = sink.decoded();
    let text = std::str::from_utf8(&out[..decoded.bytes]).unwrap();
    let lines = text.lines().map(str::to_owned).collect();
    Ok(Outcome { lines, decoded, rejected_points: otlp.rejected_points() })
}

fn protobuf(body: &[u8]) -> Result<Outcome, DecodeError> {
    run(|otlp, sink| otlp.decode_protobuf(body, sink))
}

fn json(body: &str) -> Result<Outcome, DecodeError> {
    run(|otlp, sink| otlp.decode_json(body.as_bytes(), sink))
}

/// JSON with the members of each object from the last to the first.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member =
                |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), reversed(value));
            let members: Vec<_> = members.iter().rev().map(member).collect();
            format!("{{ {} }}", members.join(" ,\n"))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(reversed).collect::<Vec<_>>().join(", ")),
        scalar => scalar.to_string(),
    }
}

/// The messages within a message: the numbers of their fields, and what they hold.
struct Schema(&'static [(u32, &'static Schema)]);

static LEAF: Schema = Schema(&[]);
// The values within arrays and maps keep their order, which is a part of them.
static KEY_VALUE: Schema = Schema(&[(2, &LEAF)]);
static RESOURCE: Schema = Schema(&[(1, &KEY_VALUE)]);
static NUMBER: Schema = Schema(&[(7, &KEY_VALUE)]);
static HISTOGRAM: Schema = Schema(&[(9, &KEY_VALUE)]);
static EXPONENTIAL: Schema = Schema(&[(1, &KEY_VALUE), (8, &LEAF), (9, &LEAF)]);
static SUMMARY: Schema = Schema(&[(6, &LEAF), (7, &KEY_VALUE)]);
static METRIC: Schema = Schema(&[
    (5, &Schema(&[(1, &NUMBER)])),
    (7, &Schema(&[(1, &NUMBER)])),
    (9, &Schema(&[(1, &HISTOGRAM)])),
    (10, &Schema(&[(1, &EXPONENTIAL)])),
    (11, &Schema(&[(1, &SUMMARY)])),
]);
static REQUEST: Schema = Schema(&[(1, &Schema(&[(1, &RESOURCE), (2, &Schema(&[(2, &METRIC)]))]))]);

/// The same message with its fields from the last number to the first, down to the attributes, with unknown fields
/// between them; those of one number keep their order.
fn shuffled(bytes: &[u8], schema: &Schema) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut message = Fields::new(bytes);
    while let Some(field) = { message.next_field().unwrap() } {
        let end = message.offset_in(bytes);
        fields.push((field, end));
    }
    let mut start = 0;
    let mut encoded: Vec<(u32, Vec<u8>)> = Vec::new();
    for (field, end) in fields {
        let inner = schema.0.iter().find(|(number, _)| *number == field.number);
        let bytes = match (inner, field.content.bytes()) {
            (Some((number, inner)), Some(content)) => {
                let content = shuffled(content, inner);
                let mut out = Vec::new();
                prost::encoding::encode_key(*number, prost::encoding::WireType::LengthDelimited, &mut out);
                prost::encoding::encode_varint(content.len() as u64, &mut out);
                [out, content].concat()
            }
            _ => bytes[start..end].to_vec(),
        };
        encoded.push((field.number, bytes));
        start = end;
    }
    encoded.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    // Field 1000 as a varint.
    encoded.into_iter().flat_map(|(_, bytes)| [bytes, b"\xc0\x3e\x07".to_vec()].concat()).collect()
}

/// Bytes to put into an encoded message, and where.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6)
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[(prop::sample::Index, u8, u8)]) {
    for (place, kind, byte) in mutations {
        let place = place.index(bytes.len() + 1);
        match kind {
            0 => bytes.insert(place, *byte),
            1 if place < bytes.len() => drop(bytes.remove(place)),
            2 if place < bytes.len() => bytes[place] ^= 1 << (byte % 8),
            _ if place < bytes.len() => bytes[place] = *byte,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_those_of_the_reference(request in requests::request()) {
        let expected = Reference::of(&request);
        let encoded = request.encode_to_vec();
        let ours = protobuf(&encoded).unwrap();
        prop_assert_eq!(&ours.lines, &expected.lines);
        prop_assert_eq!(ours.rejected_points, expected.rejected);
        prop_assert_eq!(u64::from(ours.decoded.rejected()), expected.rejected);
        prop_assert_eq!(ours.decoded.metrics as usize, expected.lines.len());
        prop_assert_eq!(ours.decoded.skipped[Skip::Exemplar as usize], expected.exemplars);

        prop_assert_eq!(&protobuf(&shuffled(&encoded, &REQUEST)).unwrap(), &ours);

        let text = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(&json(&text).unwrap(), &ours, "{}", text);
        let value = serde_json::to_value(&request).unwrap();
        prop_assert_eq!(&json(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), &ours);
        prop_assert_eq!(&json(&reversed(&value)).unwrap(), &ours);
    }

    #[test]
    fn what_prost_decodes_is_decoded(request in requests::request(), mutations in mutations()) {
        let mut bytes = request.encode_to_vec();
        mutate(&mut bytes, &mutations);
        let oracle = ExportMetricsServiceRequest::decode(&bytes[..]);
        match protobuf(&bytes) {
            Err(DecodeError::Malformed { text: "a field has an unsupported wire type", .. }) => {}
            Err(error) => prop_assert!(oracle.is_err(), "{error} {bytes:x?}"),
            Ok(ours) => {
                prop_assert_eq!(u64::from(ours.decoded.rejected()), ours.rejected_points);
                prop_assert_eq!(ours.decoded.metrics as usize, ours.lines.len());
            }
        }
        let mut text = serde_json::to_vec(&request).unwrap();
        mutate(&mut text, &mutations);
        let _ = run(|otlp, sink| otlp.decode_json(&text, sink));
    }

    #[test]
    fn a_truncated_body_is_malformed(request in requests::request()) {
        let encoded = request.encode_to_vec();
        let (mut ends, mut message) = (vec![0], Fields::new(&encoded));
        while message.next_field().unwrap().is_some() {
            ends.push(message.offset_in(&encoded));
        }
        let text = serde_json::to_string(&request).unwrap();
        for end in (0..encoded.len()).filter(|end| !ends.contains(end)).step_by(7) {
            let is_malformed = matches!(protobuf(&encoded[..end]), Err(DecodeError::Malformed { .. }));
            prop_assert!(is_malformed, "{}", end);
        }
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)).step_by(13) {
            prop_assert!(json(&text[..end]).is_err(), "{}", end);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = protobuf(&bytes);
        let _ = run(|otlp, sink| otlp.decode_json(&bytes, sink));
    }

    #[test]
    fn responses_are_those_of_the_oracle(rejected in 1_i64.., message: String) {
        let partial_success =
            Some(ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message: message.clone() });
        let response = ExportMetricsServiceResponse { partial_success };
        prop_assert_eq!(response_protobuf(rejected.cast_unsigned(), &message), response.encode_to_vec());
        let ours: Value = serde_json::from_slice(&response_json(rejected.cast_unsigned(), &message)).unwrap();
        prop_assert_eq!(&ours["partialSuccess"]["rejectedDataPoints"], &Value::from(rejected.to_string()));
        prop_assert_eq!(ours["partialSuccess"]["errorMessage"].as_str().unwrap_or(""), message.as_str());
        let ours: Value = serde_json::from_slice(&status_json(3, &message)).unwrap();
        prop_assert_eq!(ours, serde_json::json!({ "code": 3, "message": message }));
    }
}

#[test]
fn responses_without_rejected_points_are_empty() {
    assert_eq!(response_protobuf(0, "unused"), b"");
    assert_eq!(response_json(0, "unused"), b"{}");
    assert_eq!(status_protobuf(14, "full"), b"\x08\x0e\x12\x04full");
}

/// The field `number` with `content`.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(number, &content.to_vec(), &mut out);
    out
}

/// A request of one gauge `m` with the given points and resource.
fn request_of(resource: &[u8], points: &[u8]) -> Vec<u8> {
    let metric = [field(5, points), field(1, b"m")].concat();
    field(1, &[field(2, &field(2, &metric)), field(1, resource)].concat())
}

/// The value 1 of a point.
const ONE: &[u8] = b"\x31\x01\0\0\0\0\0\0\0";

#[test]
fn ten_thousand_levels_reject_one_point() {
    let mut value = field(1, b"leaf");
    for _ in 0..10_000 {
        value = field(5, &field(1, &value));
    }
    let attribute = field(7, &[field(1, b"k"), field(2, &value)].concat());
    let points = [field(1, &[&attribute[..], ONE].concat()), field(1, ONE)].concat();
    let ours = protobuf(&request_of(b"", &points)).unwrap();
    assert_eq!((ours.lines.len(), ours.rejected_points), (1, 1));
    assert_eq!(ours.decoded.rejected[Reject::Tags as usize], 1);
}

#[test]
fn ten_thousand_attributes_reject_their_points() {
    let attribute = |index| {
        let value = field(1, b"v");
        field(1, &[field(1, format!("k{index}").as_bytes()), field(2, &value)].concat())
    };
    let resource: Vec<u8> = (0..10_000).flat_map(attribute).collect();
    let points = field(1, ONE).repeat(10_000);
    let ours = protobuf(&request_of(&resource, &points)).unwrap();
    assert_eq!((ours.lines.len(), ours.rejected_points), (0, 10_000));
    let few: Vec<u8> = (0..128).flat_map(attribute).collect();
    assert_eq!(protobuf(&request_of(&few, &field(1, ONE))).unwrap().lines.len(), 1);
}

#[test]
fn text_that_is_not_utf8_rejects_its_points_alone() {
    let attribute = field(7, &[field(1, b"k"), field(2, &field(1, b"\xff"))].concat());
    let points = [field(1, &[&attribute[..], ONE].concat()), field(1, ONE)].concat();
    let ours = protobuf(&request_of(b"", &points)).unwrap();
    assert_eq!((ours.lines.len(), ours.rejected_points), (1, 1));
}

proptest! {
    #[test]
    fn points_with_common_attributes_are_read_as_alone(
        points in prop::collection::vec(prop::collection::vec((0..3_usize, 0..5_usize), 0..4), 1..6),
    ) {
        let resource = field(1, &[field(1, b"host"), field(2, &field(1, b"h"))].concat());
        let point = |attributes: &Vec<(usize, usize)>| {
            let attributes = attributes.iter().flat_map(|&(key, value)| {
                let texts = [&b"1"[..], b"12", b"\xff"].map(|text| field(1, text));
                let value = [&texts[0][..], &texts[1], &texts[2], b"\x18\x07", b""][value];
                field(7, &[field(1, ["a", "b", "host"][key].as_bytes()), field(2, value)].concat())
            });
            field(1, &attributes.chain(ONE.iter().copied()).collect::<Vec<_>>())
        };
        let together = protobuf(&request_of(&resource, &points.iter().flat_map(point).collect::<Vec<_>>())).unwrap();
        let alone: Vec<_> =
            points.iter().map(|attributes| protobuf(&request_of(&resource, &point(attributes))).unwrap()).collect();
        let lines: Vec<_> = alone.iter().flat_map(|alone| alone.lines.clone()).collect();
        prop_assert_eq!(together.lines, lines);
        prop_assert_eq!(together.rejected_points, alone.iter().map(|alone| alone.rejected_points).sum::<u64>());
    }
}

#[test]
fn messages_in_pieces_are_merged() {
    let gauge = |point: &[u8]| field(5, &field(1, point));
    let two = b"\x31\x02\0\0\0\0\0\0\0";
    // The sum is overridden by the gauge, and both parts of that count.
    let sum = field(7, &field(1, ONE));
    let metric = [&sum[..], &gauge(ONE), &field(1, b"x"), &gauge(two), &field(1, b"m")].concat();
    let attribute = |key: &[u8]| field(1, &field(1, &field(1, key)));
    let body = field(1, &[attribute(b"a"), field(2, &field(2, &metric)), attribute(b"b")].concat());
    let oracle = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
    let ours = protobuf(&body).unwrap();
    assert_eq!(ours.lines, Reference::of(&oracle).lines);
    assert_eq!(ours.lines.len(), 2);
}

#[test]
fn a_body_that_is_no_message_is_malformed() {
    for body in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0a\x05abc",
        b"\x08\x01",
        &request_of(b"", &field(1, b"\x31\x01")),
        &request_of(b"", &field(1, b"\x30\x01")),
        b"{\"resourceMetrics\":[]}",
    ] {
        assert!(matches!(protobuf(body), Err(DecodeError::Malformed { .. })), "{body:x?}");
        assert!(ExportMetricsServiceRequest::decode(body).is_err());
    }
    assert_eq!(protobuf(b"").unwrap().lines.len(), 0);
}

//! The bytes of responses: `ExportMetricsServiceResponse` and `google.rpc.Status`.

use super::value;

/// The response to a body whose points are stored but for `rejected_points`, which `message` explains. Empty if there
/// are none.
#[must_use]
pub fn response_protobuf(rejected_points: u64, message: &str) -> Vec<u8> {
    if rejected_points == 0 {
        return Vec::new();
    }
    let mut partial_success = Vec::with_capacity(message.len() + 24);
    partial_success.push(1 << 3);
    varint(rejected_points, &mut partial_success);
    bytes_field(2, message.as_bytes(), &mut partial_success);
    let mut response = Vec::with_capacity(partial_success.len() + 12);
    bytes_field(1, &partial_success, &mut response);
    response
}

/// As [`response_protobuf`], in JSON: `{}` if no points are rejected.
#[must_use]
pub fn response_json(rejected_points: u64, message: &str) -> Vec<u8> {
    if rejected_points == 0 {
        return b"{}".to_vec();
    }
    // 64-bit integers are strings in the JSON of protobuf.
    let mut json = format!(r#"{{"partialSuccess":{{"rejectedDataPoints":"{rejected_points}""#).into_bytes();
    if !message.is_empty() {
        json.extend_from_slice(br#","errorMessage":"#);
        value::string(message.as_bytes(), &mut json);
    }
    json.extend_from_slice(b"}}");
    json
}

/// A `google.rpc.Status`: the body of a response of an error. `code` is one of gRPC's.
#[must_use]
pub fn status_protobuf(code: u32, message: &str) -> Vec<u8> {
    let mut status = Vec::with_capacity(message.len() + 24);
    if code != 0 {
        status.push(1 << 3);
        varint(u64::from(code), &mut status);
    }
    bytes_field(2, message.as_bytes(), &mut status);
    status
}

/// As [`status_protobuf`], in JSON.
#[must_use]
pub fn status_json(code: u32, message: &str) -> Vec<u8> {
    let mut json = format!(r#"{{"code":{code},"message":"#).into_bytes();
    value::string(message.as_bytes(), &mut json);
    json.push(b'}');
    json
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn varint(mut integer: u64, out: &mut Vec<u8>) {
    while integer >= 0x80 {
        out.push((integer & 0x7f) as u8 | 0x80);
        integer >>= 7;
    }
    out.push(integer as u8);
}

/// A string or a message; the default is left out, as protobuf does.
fn bytes_field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        out.push(number << 3 | 2);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

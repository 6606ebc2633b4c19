//! The response to a body that was decoded: each protocol has its own for success, and for a part that is rejected.

use super::{Payload, Yield};
use http1::{Responder, Served, Status};
use metric::{Decoded, protocol::otlp, protocol::remote_write::Written};
use std::fmt::{self, Display, Write};

/// Writes the response, and returns it with its status. All that could be stored is stored; what was not is in
/// `decoded`.
pub fn respond(
    payload: &Payload,
    decoded: &Decoded,
    yields: Yield,
    body: &[u8],
    respond: Responder<'_>,
) -> (Served, Status) {
    let is_whole = decoded.rejected() == 0;
    let partial = Partial { decoded, body };
    match (payload, yields) {
        (Payload::RemoteWrite1 | Payload::RemoteWrite2, Yield::Written(written)) => {
            let fields = written_fields(written);
            if is_whole {
                (respond.no_content(fields.as_bytes()), Status::NoContent)
            } else {
                (respond.refuse_part(&partial, fields.as_bytes()), Status::BadRequest)
            }
        }
        (Payload::OtlpProtobuf | Payload::OtlpJson, Yield::RejectedPoints(points)) => {
            let text = if is_whole { String::new() } else { partial.to_string() };
            let (media, body) = if *payload == Payload::OtlpJson {
                ("application/json", otlp::response_json(points, &text))
            } else {
                ("application/x-protobuf", otlp::response_protobuf(points, &text))
            };
            (respond.body(Status::Ok, media, &body), Status::Ok)
        }
        // Its sender does nothing with an error.
        (Payload::Collectd, _) => (respond.body(Status::Ok, "application/json", b"{}"), Status::Ok),
        (Payload::Influx { .. }, _) if !is_whole => {
            (respond.refuse_content(&InfluxPartial(partial)), Status::BadRequest)
        }
        _ if !is_whole => (respond.refuse_content(&partial), Status::BadRequest),
        (Payload::Text { is_pushed: true, .. } | Payload::MetricFamilies { is_pushed: true, .. }, _) => {
            (respond.body(Status::Ok, "text/plain; charset=utf-8", b""), Status::Ok)
        }
        (Payload::Datadog1, _) => (datadog(respond, br#"{"status":"ok"}"#), Status::Accepted),
        (Payload::Datadog2 | Payload::Datadog2Protobuf, _) => (datadog(respond, br#"{"errors":[]}"#), Status::Accepted),
        _ => (respond.no_content(b""), Status::NoContent),
    }
}

fn datadog(respond: Responder<'_>, body: &[u8]) -> Served {
    respond.body(Status::Accepted, "application/json", body)
}

/// The three fields of remote write 2.0 that say what is stored.
fn written_fields(written: Written) -> String {
    let mut fields = String::with_capacity(160);
    for (what, count) in
        [("Samples", written.samples), ("Histograms", written.histograms), ("Exemplars", written.exemplars)]
    {
        // Writing to a String cannot fail.
        let _ = write!(fields, "\r\nX-Prometheus-Remote-Write-{what}-Written: {count}");
    }
    fields
}

/// `metrics[3]: the value is missing or invalid; 1 rejected, 9 stored`
struct Partial<'a> {
    decoded: &'a Decoded,
    body: &'a [u8],
}

impl Display for Partial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.decoded.first_rejected {
            write!(f, "element {}: {}; ", first.at, first.text)?;
        }
        write!(f, "{} rejected, {} stored", self.decoded.rejected(), self.decoded.metrics)
    }
}

/// As InfluxDB says it, whose clients match its words: `partial write: unable to parse 'cpu': missing fields
/// dropped=1`.
struct InfluxPartial<'a>(Partial<'a>);

impl Display for InfluxPartial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Partial { decoded, body } = &self.0;
        if decoded.metrics > 0 {
            f.write_str("partial write: ")?;
        }
        if let Some(first) = decoded.first_rejected {
            let line = first.element(body).unwrap_or_default();
            let shown = &line[..line.len().min(LINE_SHOWN_BYTES_MAX)];
            write!(f, "unable to parse '{}': {}", String::from_utf8_lossy(shown), first.text)?;
        }
        write!(f, " dropped={}", decoded.rejected())
    }
}

/// Bytes of an offending line in an error: enough to find it by.
const LINE_SHOWN_BYTES_MAX: usize = 200;

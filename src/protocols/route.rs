//! From the head of a request to its payload: how its body is to be decoded.

use super::dialect::{self, Dialect};
use crate::{config::Config, limits};
use http1::{Head, HttpError, Method, parameters};
use metric::protocol::{influx::Precision, text};

/// A tag that each metric of a body gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Key of the tag.
    pub key: Box<[u8]>,
    /// Value of the tag.
    pub value: Box<[u8]>,
}

/// Decoding of the body of an admitted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A batch of our own JSON.
    Json,
    /// Remote write 1.0.
    RemoteWrite1,
    /// Remote write 2.0.
    RemoteWrite2,
    /// Line protocol.
    Influx {
        /// The unit of timestamps.
        precision: Precision,
        /// A tag for each metric: the configured key and the database or bucket of the request.
        tag: Option<Box<Tag>>,
        /// It came by InfluxDB 2's API.
        is_v2: bool,
    },
    /// Text exposition.
    Text {
        /// The format.
        format: text::Format,
        /// The labels of a push gateway's path.
        labels: Box<[(Vec<u8>, Vec<u8>)]>,
        /// It came by a push gateway's path.
        is_pushed: bool,
    },
    /// Text exposition's metric families in protobuf.
    MetricFamilies {
        /// The labels of a push gateway's path.
        labels: Box<[(Vec<u8>, Vec<u8>)]>,
        /// It came by a push gateway's path.
        is_pushed: bool,
    },
    /// OTLP in protobuf.
    OtlpProtobuf,
    /// OTLP in JSON.
    OtlpJson,
    /// collectd's JSON.
    Collectd,
    /// Datadog's series, version 1, in JSON.
    Datadog1,
    /// Datadog's series, version 2, in JSON.
    Datadog2,
    /// Datadog's series, version 2, in protobuf.
    Datadog2Protobuf,
}

impl Payload {
    /// The row of the table of protocols.
    #[must_use]
    pub fn dialect(&self) -> &'static Dialect {
        match self {
            Self::Json => &dialect::JSON,
            Self::RemoteWrite1 | Self::RemoteWrite2 => &dialect::REMOTE_WRITE,
            Self::Influx { is_v2: false, .. } => &dialect::INFLUX_1,
            Self::Influx { is_v2: true, .. } => &dialect::INFLUX_2,
            Self::Text { is_pushed: true, .. } | Self::MetricFamilies { is_pushed: true, .. } => &dialect::GATEWAY,
            Self::Text { is_pushed: false, .. } | Self::MetricFamilies { is_pushed: false, .. } => &dialect::IMPORT,
            Self::OtlpProtobuf => &dialect::OTLP_PROTOBUF,
            Self::OtlpJson => &dialect::OTLP_JSON,
            Self::Collectd => &dialect::COLLECTD,
            Self::Datadog1 | Self::Datadog2 | Self::Datadog2Protobuf => &dialect::DATADOG,
        }
    }
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// True for the paths of a push gateway: `/metrics/job/…` and `/metrics/job@base64/…`.
#[must_use]
pub fn is_gateway(path: &str) -> bool {
    path.strip_prefix("/metrics/job").is_some_and(|rest| rest.starts_with(['/', '@']))
}

/// The row of the table of protocols for a path that takes metrics; `None` for other paths.
#[must_use]
pub fn dialect_of(head: &Head<'_>) -> Option<&'static Dialect> {
    Some(match head.path {
        "/metrics" if head.method == Method::Post => &dialect::JSON,
        "/api/v1/write" => &dialect::REMOTE_WRITE,
        "/write" => &dialect::INFLUX_1,
        "/api/v2/write" => &dialect::INFLUX_2,
        "/v1/metrics" if has_media_type(head, JSON) => &dialect::OTLP_JSON,
        "/v1/metrics" => &dialect::OTLP_PROTOBUF,
        "/api/v1/import/prometheus" => &dialect::IMPORT,
        "/collectd" => &dialect::COLLECTD,
        "/api/v1/series" | "/api/v2/series" => &dialect::DATADOG,
        path if is_gateway(path) => &dialect::GATEWAY,
        _ => return None,
    })
}

/// The payload of a request whose path takes metrics.
///
/// # Errors
/// The method, the media type or a parameter is not one that the path takes.
pub fn payload_of(head: &Head<'_>, dialect: &'static Dialect, config: &Config) -> Result<Payload, HttpError> {
    // Every path takes POST; DELETE is a companion.
    let is_taken = match head.method {
        Method::Post => true,
        Method::Other(method) => method == "PUT" && std::ptr::eq(dialect, &dialect::GATEWAY),
        Method::Get | Method::Head => false,
    };
    if !is_taken {
        return Err(HttpError::MethodNotAllowed { allow: dialect.allow });
    }
    Ok(match head.path {
        "/metrics" => Payload::Json,
        "/api/v1/write" => remote_write(head)?,
        "/write" => influx(head, config, false)?,
        "/api/v2/write" => influx(head, config, true)?,
        "/v1/metrics" if has_media_type(head, JSON) => Payload::OtlpJson,
        "/v1/metrics" if has_media_type(head, PROTOBUF) => Payload::OtlpProtobuf,
        "/v1/metrics" => {
            return Err(HttpError::MediaType("expected application/x-protobuf or application/json"));
        }
        "/api/v1/import/prometheus" => exposition(head, Box::default(), false)?,
        "/collectd" => Payload::Collectd,
        "/api/v1/series" => Payload::Datadog1,
        "/api/v2/series" if has_media_type(head, PROTOBUF) => Payload::Datadog2Protobuf,
        "/api/v2/series" => Payload::Datadog2,
        path => exposition(head, text::group_labels(path).map_err(HttpError::BadRequest)?.into(), true)?,
    })
}

/// True if the body has this media type, whatever its parameters. Case means nothing in it (RFC 9110, 8.3.1).
fn has_media_type(head: &Head<'_>, media_type: &str) -> bool {
    media_type_and_parameters(head).0.eq_ignore_ascii_case(media_type)
}

/// The media type is empty if there is none or it is not ASCII.
fn media_type_and_parameters<'a>(head: &Head<'a>) -> (&'a str, impl Iterator<Item = &'a str>) {
    let value = head.content_type.and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    (parts.next().unwrap_or_default(), parts)
}

/// Version 1.0 says nothing about the message, or names it; early senders have no Content-Type at all.
fn remote_write(head: &Head<'_>) -> Result<Payload, HttpError> {
    const EXPECTED: HttpError = HttpError::MediaType(
        "expected application/x-protobuf with proto=prometheus.WriteRequest or io.prometheus.write.v2.Request",
    );
    let (media, parameters) = media_type_and_parameters(head);
    if !media.is_empty() && !media.eq_ignore_ascii_case(PROTOBUF) {
        return Err(EXPECTED);
    }
    let mut payload = Payload::RemoteWrite1;
    for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else { return Err(EXPECTED) };
        if name.trim_end().eq_ignore_ascii_case("proto") {
            payload = match value.trim_start() {
                "prometheus.WriteRequest" => Payload::RemoteWrite1,
                "io.prometheus.write.v2.Request" => Payload::RemoteWrite2,
                _ => return Err(EXPECTED),
            };
        }
    }
    Ok(payload)
}

fn influx(head: &Head<'_>, config: &Config, is_v2: bool) -> Result<Payload, HttpError> {
    let mut precision = None;
    let mut tag = None;
    for (name, value) in parameters(head.query) {
        let mut buffer = [0; limits::INFLUX_PARAMETER_BYTES_MAX];
        let text = value.and_then(|value| value.decode(&mut buffer)).map(str::as_bytes);
        if name.means("precision") {
            let unit = text.unwrap_or_default();
            let known = if is_v2 { Precision::of_v2(unit) } else { Precision::of_v1(unit) };
            // Both versions take an empty unit for the default.
            let unit = match known {
                Some(precision) => precision,
                None if unit.is_empty() && value.is_none_or(|value| value.means("")) => Precision::default(),
                None => return Err(HttpError::BadRequest("the precision is unknown")),
            };
            // Which of them was meant is open.
            if precision.replace(unit).is_some_and(|before| before != unit) {
                return Err(HttpError::BadRequest("the precision is repeated"));
            }
        } else if let Some(key) = &config.protocols.influx_database_tag
            && name.means(if is_v2 { "bucket" } else { "db" })
        {
            let database = text.ok_or(HttpError::BadRequest("the name of the database is too long or invalid"))?;
            let database = Box::new(Tag { key: key.as_bytes().into(), value: database.into() });
            if tag.as_ref().is_some_and(|before| *before != database) {
                return Err(HttpError::BadRequest("the name of the database is repeated"));
            }
            tag = Some(database);
        }
    }
    Ok(Payload::Influx { precision: precision.unwrap_or_default(), tag, is_v2 })
}

fn exposition(head: &Head<'_>, labels: Box<[(Vec<u8>, Vec<u8>)]>, is_pushed: bool) -> Result<Payload, HttpError> {
    const EXPECTED: &str = "expected a text format, or application/vnd.google.protobuf with encoding=delimited";
    if has_media_type(head, "application/vnd.google.protobuf") {
        let (_, mut parameters) = media_type_and_parameters(head);
        let is_delimited = parameters.any(|parameter| parameter.eq_ignore_ascii_case("encoding=delimited"));
        let families = Payload::MetricFamilies { labels, is_pushed };
        return if is_delimited { Ok(families) } else { Err(HttpError::MediaType(EXPECTED)) };
    }
    // curl's default, and what VictoriaMetrics' tools send, name no format.
    let is_open_metrics = has_media_type(head, "application/openmetrics-text");
    let format = if is_open_metrics { text::Format::OpenMetrics } else { text::Format::Prometheus };
    Ok(Payload::Text { format, labels, is_pushed })
}

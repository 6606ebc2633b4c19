//! Rules that differ between routes: how long a body may be, and the form in which a request is refused.
//!
//! The routes of one server may speak for several protocols, whose clients read the body of an error each in their own
//! way. The service states it for a request when it judges its head ([`Service::admit`](super::Service::admit)); it
//! then holds for every refusal of that request, also for those that the connection makes by itself.

use super::{Status, fields::Coding};

/// Rules by which a request is received and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Bytes of a body, as sent and after decompression, at most; `None`: the bound of the core.
    pub body_bytes: Option<usize>,
    /// The content codings of its bodies.
    pub codings: Codings,
    /// The authentication schemes that a 401 offers.
    pub schemes: Schemes,
    /// The body of errors.
    pub errors: ErrorBody,
    /// Field lines of every error, each from the CR LF before it on.
    pub error_fields: &'static [u8],
}

/// The content codings that a route takes beside zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codings {
    /// gzip.
    pub gzip: bool,
    /// Deflate, in zlib's format.
    pub deflate: bool,
    /// Snappy's block format.
    pub snappy: bool,
    /// A body without `Content-Encoding` is snappy: Prometheus' remote write knows no other coding.
    pub assumes_snappy: bool,
}

impl Codings {
    /// gzip and zstd.
    pub const USUAL: Self = Self { gzip: true, deflate: false, snappy: false, assumes_snappy: false };

    /// The coding of a body on this route, from what its head says; `None` if it is not taken here.
    pub(super) const fn of_body(self, named: Option<Coding>) -> Option<Coding> {
        match named {
            Some(Coding::Gzip) if !self.gzip => None,
            Some(Coding::Snappy) if !self.snappy => None,
            Some(Coding::Deflate) if !self.deflate => None,
            Some(Coding::Identity) if self.assumes_snappy => Some(Coding::Snappy),
            named => named,
        }
    }

    /// The codings as `Accept-Encoding` lists them.
    pub(super) const fn list(self) -> &'static [u8] {
        match (self.gzip, self.deflate, self.snappy) {
            (false, false, false) => b"zstd",
            (false, false, true) => b"zstd, snappy",
            (false, true, false) => b"zstd, deflate",
            (false, true, true) => b"zstd, deflate, snappy",
            (true, false, false) => b"gzip, zstd",
            (true, false, true) => b"gzip, zstd, snappy",
            (true, true, false) => b"gzip, zstd, deflate",
            (true, true, true) => b"gzip, zstd, deflate, snappy",
        }
    }
}

impl Default for Codings {
    fn default() -> Self {
        Self::USUAL
    }
}

/// The authentication schemes of a route (RFC 9110, 11.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schemes {
    /// Bearer. A browser that is offered Basic asks its user for a password.
    #[default]
    Bearer,
    /// Bearer and Basic, which clients built on libcurl send only after it was offered.
    BearerAndBasic,
}

impl Schemes {
    /// The value of `WWW-Authenticate`.
    pub(super) const fn challenge(self) -> &'static [u8] {
        match self {
            Self::Bearer => b"Bearer",
            Self::BearerAndBasic => b"Bearer, Basic realm=\"metricstream\"",
        }
    }
}

/// The body of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorBody {
    /// `{"error":"…"}`
    #[default]
    Json,
    /// `{"code":"invalid","message":"…"}`, as InfluxDB 2 has it.
    CodeMessage,
    /// `{"errors":["…"]}`
    ErrorList,
    /// The text and a line feed.
    Text,
    /// google.rpc.Status as JSON: `{"code":3,"message":"…"}`.
    RpcJson,
    /// google.rpc.Status as protobuf.
    RpcProtobuf,
}

impl ErrorBody {
    /// The media type of the body.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::CodeMessage | Self::ErrorList | Self::RpcJson => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::RpcProtobuf => "application/x-protobuf",
        }
    }

    /// True if the text is the inside of a JSON string.
    pub(super) const fn is_json(self) -> bool {
        !matches!(self, Self::Text | Self::RpcProtobuf)
    }

    /// Returns the bytes that precede a text of `text_bytes` bytes.
    pub(super) fn start(self, status: Status, text_bytes: usize) -> Start {
        let mut start = Start { bytes: [0; Start::BYTES_MAX], length: 0 };
        match self {
            Self::Json => start.put(b"{\"error\":\""),
            Self::ErrorList => start.put(b"{\"errors\":[\""),
            Self::Text => {}
            Self::CodeMessage => {
                start.put(b"{\"code\":\"");
                start.put(influx_code(status).as_bytes());
                start.put(b"\",\"message\":\"");
            }
            Self::RpcJson => {
                let code = rpc_code(status);
                start.put(b"{\"code\":");
                if code >= 10 {
                    start.put(&[b'0' + code / 10]);
                }
                start.put(&[b'0' + code % 10]);
                start.put(b",\"message\":\"");
            }
            Self::RpcProtobuf => {
                // Field 1, a varint, and field 2, a string with its length.
                start.put(&[0x08, rpc_code(status), 0x12]);
                let mut rest = text_bytes;
                while rest >= 0x80 {
                    start.put(&[rest.to_le_bytes()[0] | 0x80]);
                    rest >>= 7;
                }
                start.put(&[rest.to_le_bytes()[0]]);
            }
        }
        start
    }

    /// Returns the bytes that follow the text.
    pub(super) const fn end(self) -> &'static [u8] {
        match self {
            Self::Json | Self::CodeMessage | Self::RpcJson => b"\"}",
            Self::ErrorList => b"\"]}",
            Self::Text => b"\n",
            Self::RpcProtobuf => b"",
        }
    }
}

/// The beginning of an error's body.
pub(super) struct Start {
    bytes: [u8; Start::BYTES_MAX],
    length: usize,
}

impl Start {
    /// The longest is that of [`ErrorBody::CodeMessage`]: 9 + 20 + 13.
    const BYTES_MAX: usize = 48;

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The code of an error in InfluxDB 2's API.
const fn influx_code(status: Status) -> &'static str {
    match status {
        Status::Unauthorized => "unauthorized",
        Status::NotFound => "not found",
        Status::MethodNotAllowed => "method not allowed",
        Status::ContentTooLarge => "request too large",
        Status::UnprocessableContent => "unprocessable entity",
        Status::TooManyRequests => "too many requests",
        Status::ServiceUnavailable => "unavailable",
        _ => "invalid",
    }
}

/// The code of an error in google.rpc.Code.
const fn rpc_code(status: Status) -> u8 {
    match status {
        // DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE, UNAUTHENTICATED,
        // INVALID_ARGUMENT
        Status::RequestTimeout => 4,
        Status::NotFound => 5,
        Status::TooManyRequests | Status::ContentTooLarge => 8,
        Status::MethodNotAllowed | Status::NotImplemented => 12,
        Status::ServiceUnavailable => 14,
        Status::Unauthorized => 16,
        _ => 3,
    }
}

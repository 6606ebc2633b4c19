//! Every way a request is refused, and the one place that maps each to its status, its name in the counters and the
//! text the peer reads.

use super::{Status, parameters::Quoted};
use std::fmt;

const BODY_TOO_LARGE: &str =
    "the body is over the bound of this path (--max-body raises it), or over --rate-limit-bytes";
const CONTENT_TOO_LARGE: &str =
    "the body is over the bound of this path decompressed (--max-body raises it), or over --rate-limit-bytes";

/// Declares the errors with status, name and text, and an index for each.
macro_rules! errors {
    ($(#[$enum_doc:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident $(($inner:ty))? $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })?
            => $status:ident, $reason:literal, $text:expr;)*
    }) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant $(($inner))? $({ $($(#[$field_doc])* $field: $type,)* })?,)*
        }

        /// The errors without what they carry: their discriminants are indices.
        enum Row { $($variant,)* Content }

        /// Every reason that a request is refused for, with its status: that of each error, at its
        /// [`HttpError::index`], and [`CONTENT_INDEX`].
        pub const REASONS: [(&str, Status); Row::Content as usize + 1] =
            [$(($reason, Status::$status),)* ("content_invalid", Status::BadRequest)];

        impl $name {
            /// The place of this error in [`REASONS`].
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                match self { $(Self::$variant { .. } => Row::$variant as usize,)* }
            }

            /// The text for the peer, but for what the error carries itself.
            const fn fixed_text(self) -> &'static str {
                match self { $(Self::$variant { .. } => $text,)* }
            }
        }
    };
}

/// The place in [`REASONS`] of content that the service refuses with a text of its own
/// ([`Responder::refuse_content`](super::Responder::refuse_content)).
pub const CONTENT_INDEX: usize = Row::Content as usize;

errors! {
/// The reason why a request was refused. The first part is found by this crate, the second is reported by the service.
HttpError {
    /// A line of the head ends with a bare LF, or a CR stands alone before the request line.
    LineEnd => BadRequest, "line_end", "a line of the request does not end with CR LF";
    /// More empty lines before the request line than are skipped.
    LeadingLines => BadRequest, "leading_lines", "too many empty lines before the request line";
    /// The request line is not `method SP target SP version`.
    RequestLine => BadRequest, "request_line", "the request line is malformed";
    /// An HTTP version other than 1.0 and 1.1.
    Version => VersionNotSupported, "version", "only HTTP/1.0 and HTTP/1.1 are supported";
    /// An absolute target whose host is missing, or more than a host and a port.
    Target => BadRequest, "target", "the request target has no valid host";
    /// A header field that breaks the grammar: folded, no colon, space before it, control bytes.
    Field => BadRequest, "field", "a header field is malformed";
    /// HTTP/1.1 without Host.
    HostMissing => BadRequest, "host_missing", "the Host field is missing";
    /// More than one Host.
    HostRepeated => BadRequest, "host_repeated", "the Host field is repeated";
    /// Host is not `host [":" port]`.
    HostInvalid => BadRequest, "host_invalid", "the Host field is malformed";
    /// More than one Content-Length, even of the same value.
    LengthRepeated => BadRequest, "length_repeated", "the Content-Length field is repeated";
    /// Content-Length is not a plain number of at most 19 digits.
    LengthInvalid => BadRequest, "length_invalid", "the Content-Length field is not a number";
    /// Content-Length and Transfer-Encoding in one request.
    LengthAndCoding => BadRequest, "length_and_coding", "Content-Length and Transfer-Encoding are mutually exclusive";
    /// Transfer-Encoding in HTTP/1.0.
    TransferCodingOld => BadRequest, "transfer_coding_old", "Transfer-Encoding does not exist in HTTP/1.0";
    /// Transfer-Encoding in which `chunked` is repeated, not last or has parameters, or with an empty element.
    TransferCodingInvalid => BadRequest, "transfer_coding_invalid", "the Transfer-Encoding field is malformed";
    /// A transfer coding other than `chunked`.
    TransferCodingUnknown => NotImplemented, "transfer_coding_unknown", "the only supported transfer coding is chunked";
    /// More than one Authorization.
    AuthorizationRepeated => BadRequest, "authorization_repeated", "the Authorization field is repeated";
    /// The head is over `HEAD_BYTES_MAX`.
    HeadTooLarge => HeaderFieldsTooLarge, "head_too_large", "the head of the request is too large";
    /// The head has more than `HEADERS_MAX` fields.
    TooManyFields => HeaderFieldsTooLarge, "too_many_fields", "too many header fields";
    /// The body is over its bound, as announced or as received.
    BodyTooLarge => ContentTooLarge, "body_too_large", BODY_TOO_LARGE;
    /// A chunk's size line is not a hexadecimal number and well-formed extensions.
    ChunkSize => BadRequest, "chunk_size", "the size line of a chunk is malformed";
    /// A chunk's size line, or all extensions of one body, are over their bound.
    ChunkLineTooLong => BadRequest, "chunk_line_too_long", "the size line of a chunk is too long";
    /// A chunk's data is not followed by CR LF.
    ChunkEnd => BadRequest, "chunk_end", "a chunk does not end where its size says";
    /// A trailer field that breaks the grammar.
    Trailer => BadRequest, "trailer", "a trailer field is malformed";
    /// The trailer section is over `TRAILER_BYTES_MAX`.
    TrailerTooLarge => HeaderFieldsTooLarge, "trailer_too_large", "the trailer section is too large";
    /// A content coding other than gzip, zstd, deflate, snappy and identity, or more than one.
    ContentCoding =>
        UnsupportedMediaType, "content_coding", "the supported content codings are those of Accept-Encoding, one at a time";
    /// The body does not decompress: corrupt, truncated, or with bytes after its end.
    ContentCorrupt => BadRequest, "content_corrupt", "the body does not decompress";
    /// More members or frames in one body than `CONTENT_MEMBERS_MAX`.
    ContentMembers => BadRequest, "content_members", "the body has too many compressed members";
    /// A zstd frame requires a window over `ZSTD_WINDOW_LOG_MAX`.
    ContentWindow => ContentTooLarge, "content_window", "the zstd window is over 8 MiB";
    /// The body is over its bound once decompressed.
    ContentTooLarge => ContentTooLarge, "content_too_large", CONTENT_TOO_LARGE;
    /// All connections together hold `HELD_BYTES_MAX` of memory.
    BodiesFull => ServiceUnavailable, "bodies_full", "too much data is being received";
    /// The head took too long.
    HeadTimeout => RequestTimeout, "head_timeout", "the head of the request took too long";
    /// The body took too long.
    BodyTimeout => RequestTimeout, "body_timeout", "the body of the request took too long";

    /// No PROXY protocol header, where one is due.
    ProxyHeaderMissing => BadRequest, "proxy_header_missing", "a PROXY protocol header is required before the request";
    /// A PROXY protocol header that is malformed, too long, or of another checksum.
    ProxyHeaderInvalid => BadRequest, "proxy_header_invalid", "the PROXY protocol header is invalid";
    /// A PROXY protocol header, where none is due.
    ProxyHeaderUnexpected =>
        BadRequest, "proxy_header_unexpected", "a PROXY protocol header is not accepted from this address";
    /// Something in the request that the service cannot take, such as an unknown `?ack=`.
    BadRequest(&'static str) => BadRequest, "bad_request", "";
    /// A body of another media type than the one that is served.
    MediaType(&'static str) => UnsupportedMediaType, "media_type", "";
    /// A parameter that the path does not take: it would silently have no effect.
    UnknownParameter {
        /// Name of the parameter.
        name: Quoted,
        /// The one that there is.
        known: &'static str,
    } => BadRequest, "parameter_unknown", "unknown parameter";
    /// A key is required, and this one is not known.
    Unauthorized => Unauthorized, "unauthorized", "the Authorization key is missing or unknown";
    /// A request that this client may not make.
    Forbidden(&'static str) => Forbidden, "forbidden", "";
    /// Another request of its kind is under way.
    Conflict(&'static str) => Conflict, "conflict", "";
    /// No such path.
    NotFound => NotFound, "not_found", "no such path";
    /// A resource that existed and is deleted.
    Gone => Gone, "gone", "it is no longer there";
    /// No such method on this path.
    MethodNotAllowed {
        /// The methods there are, as the `Allow` field lists them.
        allow: &'static str,
    } => MethodNotAllowed, "method_not_allowed", "this path does not support this method";
    /// Well-formed request whose result is over a bound.
    OverBound => UnprocessableContent, "over_bound", "the result exceeds a limit";
    /// Over the client's rate.
    RateLimited {
        /// Seconds until a request can be admitted, rounded up.
        retry_after_s: u32,
    } => TooManyRequests, "rate_limited", "over the rate limit";
    /// Over the client's rate of bytes.
    BytesRateLimited {
        /// Seconds until as many bytes can be admitted, rounded up.
        retry_after_s: u32,
    } => TooManyRequests, "bytes_rate_limited", "over the rate limit of decoded bytes";
    /// Over the client's rate, for clients that drop what gets a 429 and try again after a 503.
    Throttled {
        /// Seconds until a request can be admitted, rounded up.
        retry_after_s: u32,
    } => ServiceUnavailable, "throttled", "over the rate limit";
    /// The server cannot take it now.
    Unavailable {
        /// Name of the resource that is full or failing.
        text: &'static str,
        /// Seconds after which it is worth trying again.
        retry_after_s: u32,
    } => ServiceUnavailable, "unavailable", "";
}
}

impl HttpError {
    /// The status of the response.
    #[must_use]
    pub const fn status(self) -> Status {
        REASONS[self.index()].1
    }

    /// A short name, unique to the variant, to count and to label by.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        REASONS[self.index()].0
    }

    /// The text for the peer in `{"error":"…"}`, but for the name of a parameter.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadRequest(text)
            | Self::MediaType(text)
            | Self::Forbidden(text)
            | Self::Conflict(text)
            | Self::Unavailable { text, .. } => text,
            _ => self.fixed_text(),
        }
    }
}

/// Formats the message that the peer reads in `{"error":"…"}`.
impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParameter { name, known } => write!(f, "{name}: {}; expected {known}", self.text()),
            _ => f.write_str(self.text()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::super::parameters;
    use super::HttpError::{self, *};

    /// Every variant once.
    pub(in super::super) fn every_error() -> Vec<HttpError> {
        let mut list = vec![
            LineEnd,
            LeadingLines,
            RequestLine,
            Version,
            Target,
            Field,
            HostMissing,
            HostRepeated,
            HostInvalid,
            LengthRepeated,
            LengthInvalid,
            LengthAndCoding,
            TransferCodingOld,
            TransferCodingInvalid,
            TransferCodingUnknown,
            AuthorizationRepeated,
            HeadTooLarge,
            TooManyFields,
            BodyTooLarge,
            ChunkSize,
            ChunkLineTooLong,
            ChunkEnd,
            Trailer,
            TrailerTooLarge,
            ContentCoding,
            ContentCorrupt,
            ContentMembers,
            ContentWindow,
            ContentTooLarge,
            BodiesFull,
            HeadTimeout,
            BodyTimeout,
        ];
        list.extend([
            ProxyHeaderMissing,
            ProxyHeaderInvalid,
            ProxyHeaderUnexpected,
            BadRequest("unknown ack level"),
            MediaType("application/json is served"),
            UnknownParameter { name: parameters(Some("akc=fsync")).next().unwrap().0.into(), known: "ack" },
            Unauthorized,
            Forbidden("from this host only"),
            Conflict("one is under way"),
            NotFound,
            Gone,
            MethodNotAllowed { allow: "GET, HEAD, POST" },
            OverBound,
            RateLimited { retry_after_s: u32::MAX },
            BytesRateLimited { retry_after_s: u32::MAX },
            Throttled { retry_after_s: u32::MAX },
            Unavailable { text: "the disk is full", retry_after_s: 1 },
        ]);
        list
    }

    #[test]
    fn the_table_of_reasons_has_each_with_its_status() {
        use super::{CONTENT_INDEX, REASONS};
        let mut left: HashSet<&str> = REASONS.iter().map(|&(name, _)| name).collect();
        assert_eq!(left.len(), REASONS.len());
        for error in every_error() {
            assert_eq!(REASONS[error.index()], (error.reason(), error.status()), "{error:?}");
            assert!(left.remove(error.reason()), "{error:?}");
        }
        assert_eq!(left, HashSet::from([REASONS[CONTENT_INDEX].0]));
    }

    #[test]
    fn reasons_are_unique_names_and_texts_are_plain() {
        let mut seen = HashSet::new();
        for error in every_error() {
            assert!(seen.insert(error.reason()), "{error:?}");
            assert!(error.reason().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{error:?}");
            let text = error.to_string();
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"'), "{error:?}");
            assert!(error.status().code() >= 400);
        }
    }
}

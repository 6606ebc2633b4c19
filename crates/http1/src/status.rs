//! The statuses this server responds with, and no other.

/// The status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// 200
    Ok = 200,
    /// 202
    Accepted = 202,
    /// 204
    NoContent = 204,
    /// 303
    SeeOther = 303,
    /// 304
    NotModified = 304,
    /// 400
    BadRequest = 400,
    /// 401
    Unauthorized = 401,
    /// 403
    Forbidden = 403,
    /// 404
    NotFound = 404,
    /// 405
    MethodNotAllowed = 405,
    /// 408
    RequestTimeout = 408,
    /// 409
    Conflict = 409,
    /// 410
    Gone = 410,
    /// 413
    ContentTooLarge = 413,
    /// 415
    UnsupportedMediaType = 415,
    /// 422
    UnprocessableContent = 422,
    /// 429
    TooManyRequests = 429,
    /// 431
    HeaderFieldsTooLarge = 431,
    /// 501
    NotImplemented = 501,
    /// 503
    ServiceUnavailable = 503,
    /// 505
    VersionNotSupported = 505,
}

impl Status {
    /// Every status, in ascending order.
    pub const ALL: [Status; 21] = [
        Status::Ok,
        Status::Accepted,
        Status::NoContent,
        Status::SeeOther,
        Status::NotModified,
        Status::BadRequest,
        Status::Unauthorized,
        Status::Forbidden,
        Status::NotFound,
        Status::MethodNotAllowed,
        Status::RequestTimeout,
        Status::Conflict,
        Status::Gone,
        Status::ContentTooLarge,
        Status::UnsupportedMediaType,
        Status::UnprocessableContent,
        Status::TooManyRequests,
        Status::HeaderFieldsTooLarge,
        Status::NotImplemented,
        Status::ServiceUnavailable,
        Status::VersionNotSupported,
    ];

    /// The three digits.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The status line of a response, and the name of the field that follows it.
    pub(super) const fn line_to_date(self) -> &'static [u8] {
        match self {
            Status::Ok => b"HTTP/1.1 200 OK\r\nDate: ",
            Status::Accepted => b"HTTP/1.1 202 Accepted\r\nDate: ",
            Status::NoContent => b"HTTP/1.1 204 No Content\r\nDate: ",
            Status::SeeOther => b"HTTP/1.1 303 See Other\r\nDate: ",
            Status::NotModified => b"HTTP/1.1 304 Not Modified\r\nDate: ",
            Status::BadRequest => b"HTTP/1.1 400 Bad Request\r\nDate: ",
            Status::Unauthorized => b"HTTP/1.1 401 Unauthorized\r\nDate: ",
            Status::Forbidden => b"HTTP/1.1 403 Forbidden\r\nDate: ",
            Status::NotFound => b"HTTP/1.1 404 Not Found\r\nDate: ",
            Status::MethodNotAllowed => b"HTTP/1.1 405 Method Not Allowed\r\nDate: ",
            Status::RequestTimeout => b"HTTP/1.1 408 Request Timeout\r\nDate: ",
            Status::Conflict => b"HTTP/1.1 409 Conflict\r\nDate: ",
            Status::Gone => b"HTTP/1.1 410 Gone\r\nDate: ",
            Status::ContentTooLarge => b"HTTP/1.1 413 Content Too Large\r\nDate: ",
            Status::UnsupportedMediaType => b"HTTP/1.1 415 Unsupported Media Type\r\nDate: ",
            Status::UnprocessableContent => b"HTTP/1.1 422 Unprocessable Content\r\nDate: ",
            Status::TooManyRequests => b"HTTP/1.1 429 Too Many Requests\r\nDate: ",
            Status::HeaderFieldsTooLarge => b"HTTP/1.1 431 Request Header Fields Too Large\r\nDate: ",
            Status::NotImplemented => b"HTTP/1.1 501 Not Implemented\r\nDate: ",
            Status::ServiceUnavailable => b"HTTP/1.1 503 Service Unavailable\r\nDate: ",
            Status::VersionNotSupported => b"HTTP/1.1 505 HTTP Version Not Supported\r\nDate: ",
        }
    }
}

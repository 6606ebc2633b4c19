//! Every case of the corpus by its name, and every refusal's status and fields.

use super::corpus::{self, Case};
use super::owner::{Owner, whole};
use http1::{After, HttpError, Status};

fn check(cases: Vec<Case>) {
    for case in cases {
        let owner = whole(&case.bytes);
        assert_eq!(owner.statuses(), case.statuses, "{}: {:?}", case.name, owner.reasons());
        if let Some(reason) = case.reason {
            assert_eq!(owner.reasons(), [reason], "{}", case.name);
            assert_eq!(owner.after, After::Linger, "{}", case.name);
            assert!(owner.text().contains("\r\nConnection: close\r\n"), "{}", case.name);
        }
    }
}

#[test]
fn requests() {
    check(corpus::requests());
}

#[test]
fn smuggling_is_refused() {
    check(corpus::smuggling());
}

#[test]
fn the_status_table() {
    use HttpError as E;
    for (status, code, error) in [
        (Status::BadRequest, 400, E::BadRequest("x")),
        (Status::Unauthorized, 401, E::Unauthorized),
        (Status::NotFound, 404, E::NotFound),
        (Status::MethodNotAllowed, 405, E::MethodNotAllowed { allow: "GET" }),
        (Status::RequestTimeout, 408, E::HeadTimeout),
        (Status::ContentTooLarge, 413, E::BodyTooLarge),
        (Status::UnsupportedMediaType, 415, E::ContentCoding),
        (Status::UnprocessableContent, 422, E::OverBound),
        (Status::TooManyRequests, 429, E::RateLimited { retry_after_s: 1 }),
        (Status::HeaderFieldsTooLarge, 431, E::HeadTooLarge),
        (Status::NotImplemented, 501, E::TransferCodingUnknown),
        (Status::ServiceUnavailable, 503, E::Unavailable { text: "x", retry_after_s: 1 }),
        (Status::VersionNotSupported, 505, E::Version),
    ] {
        assert_eq!(error.status(), status);
        assert_eq!(status.code(), code);
    }
    let codes = Status::ALL.map(Status::code);
    assert!(codes.is_sorted_by(|one, next| one < next));
}

#[test]
fn refusals_carry_the_fields_they_owe() {
    let text = |path: &str, fields: &str| {
        let mut owner = Owner::new();
        owner.deliver(&super::owner::post(path, fields, b"abc"));
        owner.text()
    };
    assert_eq!(
        text("/limited", ""),
        "HTTP/1.1 429 Too Many Requests\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
         Content-Length: 31\r\nRetry-After: 2\r\n\r\n{\"error\":\"over the rate limit\"}"
    );
    assert!(text("/full", "").contains("\r\nRetry-After: 1\r\n"));
    assert!(text("/options", "").contains("\r\nAllow: GET, POST\r\n"));
    assert!(text("/locked", "").contains("\r\nWWW-Authenticate: Bearer\r\n"));
    assert!(text("/m", "Content-Encoding: br\r\n").contains("\r\nAccept-Encoding: gzip, zstd\r\n"));
    assert!(text("/ack", "").ends_with("{\"error\":\"unknown ack level\"}"));
    assert!(text("/invalid", "").ends_with(r#"{"error":"metrics[3]: \"value\" is missing"}"#));
}

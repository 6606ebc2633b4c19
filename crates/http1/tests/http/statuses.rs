//! Every case of the corpus by its name, and every refusal's status and fields.

use super::corpus::{self, Case};
use super::owner::{Owner, whole};
use http1::{Disposition, HttpError, Status};

fn check(cases: Vec<Case>) {
    for case in cases {
        let owner = whole(&case.bytes);
        assert_eq!(owner.statuses(), case.statuses, "{}: {:?}", case.name, owner.reasons());
        if let Some(reason) = case.reason {
            assert_eq!(owner.reasons(), [reason], "{}", case.name);
            assert_eq!(owner.after, Disposition::Linger, "{}", case.name);
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
    assert!(text("/m", "Content-Encoding: br\r\n").contains("\r\nAccept-Encoding: gzip, zstd, deflate, snappy\r\n"));
    assert!(text("/ack", "").ends_with("{\"error\":\"unknown ack level\"}"));
    assert!(text("/invalid", "").ends_with(r#"{"error":"metrics[3]: \"value\" is missing"}"#));
}

#[test]
fn a_route_has_its_own_form_of_errors() {
    let text = |path: &str, fields: &str| {
        let mut owner = Owner::new();
        owner.deliver(&super::owner::post(path, fields, b"abc"));
        owner.text()
    };
    let media = "the supported content codings are";
    for (path, content_type, throttled, unsupported) in [
        (
            "/code",
            "application/json",
            r#"{"code":"unavailable","message":"over the rate limit"}"#,
            r#"{"code":"invalid","#,
        ),
        ("/list", "application/json", r#"{"errors":["over the rate limit"]}"#, r#"{"errors":["the"#),
        ("/text", "text/plain; charset=utf-8", "\r\n\r\nover the rate limit\n", "\r\n\r\nthe supported"),
        (
            "/rpc-json",
            "application/json",
            r#"{"code":14,"message":"over the rate limit"}"#,
            r#"{"code":3,"message":"the"#,
        ),
        ("/rpc-protobuf", "application/x-protobuf", "\u{8}\u{e}\u{12}\u{13}over the rate limit", "\u{8}\u{3}\u{12}"),
    ] {
        let refused = text(&format!("{path}/refused"), "");
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nRetry-After: 2\r\n"), "{refused}");
        assert!(refused.contains(&format!("\r\nContent-Type: {content_type}\r\n")), "{refused}");
        assert!(refused.contains("\r\nX-Written: 0\r\n") && refused.ends_with(throttled), "{refused}");
        // The connection itself refuses the coding, in the same form.
        let refused = text(path, "Content-Encoding: br\r\n");
        assert!(refused.starts_with("HTTP/1.1 415 ") && refused.contains(unsupported), "{refused}");
        assert!(refused.contains(media) && refused.contains("\r\nX-Written: 0\r\n"), "{refused}");
    }
}

#[test]
fn a_route_has_its_own_bound_of_bodies() {
    for (fields, body) in
        [("", "12345678901".to_owned()), ("Transfer-Encoding: chunked\r\n", "b\r\n12345678901\r\n".into())]
    {
        let mut owner = Owner::new();
        let length = if fields.is_empty() { "Content-Length: 11\r\n" } else { "" };
        owner.deliver(format!("POST /small HTTP/1.1\r\nHost: a\r\n{length}{fields}\r\n{body}").as_bytes());
        assert!(owner.text().starts_with("HTTP/1.1 413 "), "{}", owner.text());
    }
    let mut owner = Owner::new();
    owner.deliver(&super::owner::post("/small", "", b"1234567890"));
    assert!(owner.text().starts_with("HTTP/1.1 200 "), "{}", owner.text());
}

#[test]
fn responses_have_fields_of_their_route() {
    let text = |path: &str| {
        let mut owner = Owner::new();
        owner.deliver(&super::owner::post(path, "", b"abc"));
        owner.text()
    };
    let none = text("/none");
    assert!(none.starts_with("HTTP/1.1 204 ") && none.ends_with("\r\nX-Version: 1\r\n\r\n"), "{none}");
    assert!(!none.contains("Content-Length"), "{none}");
    assert!(text("/accepted").ends_with("Content-Length: 2\r\nX-Written: 3\r\n\r\nok"), "{}", text("/accepted"));
    let part = text("/part");
    assert!(part.starts_with("HTTP/1.1 400 ") && part.contains("X-Written: 2\r\n"), "{part}");
}

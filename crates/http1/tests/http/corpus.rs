//! Byte streams with the statuses they must get. A case that leaves the connection open is followed by one more
//! request, so a wrong idea of where a request ends shows as a wrong status.

use super::owner::{BODY_BYTES_MAX, chunked, deflate, gzip, post, snappy, zstd};
use http1::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub statuses: Vec<u16>,
    /// The reason counted for the refusal, if the HTTP crate itself refused.
    pub reason: Option<&'static str>,
}

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// Served or refused, and the connection goes on.
fn open(name: &'static str, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Case {
    let statuses = statuses.iter().copied().chain([200]).collect();
    Case { name, bytes: [bytes.as_ref(), NEXT].concat(), statuses, reason: None }
}

/// Served, and the connection ends.
fn last(name: &'static str, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Case {
    Case { name, bytes: [bytes.as_ref(), NEXT].concat(), statuses: statuses.to_vec(), reason: None }
}

/// Refused by the HTTP crate, and the connection ends.
fn refused(name: &'static str, bytes: impl AsRef<[u8]>, status: u16, reason: &'static str) -> Case {
    Case { name, bytes: [bytes.as_ref(), NEXT].concat(), statuses: vec![status], reason: Some(reason) }
}

fn fields(lines: &str) -> String {
    format!("POST /metrics HTTP/1.1\r\nHost: a\r\n{lines}\r\nabcde")
}

pub fn requests() -> Vec<Case> {
    [heads(), responses(), contents()].into_iter().flatten().collect()
}

/// Request lines and fields.
fn heads() -> Vec<Case> {
    let many = |count| "X: y\r\n".repeat(count);
    let long = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{head}{}\r\n\r\n", "y".repeat(bytes - head.len() - 4))
    };
    vec![
        open("post", post("/metrics", "", b"hello"), &[200]),
        open("post without a body", "POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        open("post of length zero", post("/metrics", "", b""), &[200]),
        open("get with a body", "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", &[200]),
        open(
            "get with a chunked body in an unserved coding",
            "GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Encoding: br\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            &[200],
        ),
        open(
            "all fields",
            post("/m?ack=fsync", "Authorization: k\r\nAccept: */*\r\ntraceparent: 00-a\r\n", b"x"),
            &[200],
        ),
        open("absolute form", "GET http://example.com:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n", &[200]),
        open("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", &[200]),
        open("authority form", "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", &[200]),
        open("leading empty lines", "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        refused("too many leading empty lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, "leading_lines"),
        refused("leading bare LF", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "line_end"),
        refused("leading bare CR", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "line_end"),
        refused("leading space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_line"),
        refused("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00", 400, "request_line"),
        open("head of exactly the bound", long(HEAD_BYTES_MAX), &[200]),
        refused("head over the bound", long(HEAD_BYTES_MAX + 1), 431, "head_too_large"),
        refused("request line without end", "G".repeat(HEAD_BYTES_MAX), 431, "head_too_large"),
        open("as many fields as fit", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(HEADERS_MAX - 1)), &[200]),
        refused(
            "one field more",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(HEADERS_MAX)),
            431,
            "too_many_fields",
        ),
    ]
}

/// Requests by how their response ends, and whether the connection goes on after it.
fn responses() -> Vec<Case> {
    vec![
        open("HTTP/1.0 kept alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &[200]),
        open("streamed", "GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        open("the head of what is streamed", "HEAD /streamed HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        last("streamed to HTTP/1.0", "GET /streamed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200]),
        last("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", &[200]),
        last("HTTP/1.0 post", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", &[200]),
        last("connection close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", &[200]),
        last("close wins", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", &[200]),
        open("host may be empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", &[200]),
        open("expectation met by the body", post("/m", "Expect: 100-Continue\r\n", b"abc"), &[200]),
        open("expectation unknown", post("/m", "Expect: tea\r\n", b"abc"), &[200]),
        open("refused by its head", post("/limited", "", b"hello"), &[429]),
        open("refused by its head, chunked", chunked("/missing", "", b"3\r\nabc\r\n0\r\n\r\n"), &[404]),
        open("refused by its head, no body", "GET /full HTTP/1.1\r\nHost: a\r\n\r\n", &[503]),
        open("refused by its head, to the last byte discarded", post("/limited", "", &[b'x'; 65_536]), &[429]),
        last("refused by its head, too long to discard", post("/limited", "", &[b'x'; 65_537]), &[429]),
        last("refused while it waits for 100", post("/limited", "Expect: 100-continue\r\n", b"abc"), &[429]),
        last(
            "refused, chunked and too long",
            chunked("/limited", "", &[b"10000\r\n", &[b'x'; 65_536][..], b"\r\n0\r\n\r\n"].concat()),
            &[429],
        ),
        last("refused, chunked and broken", chunked("/limited", "", b"zz\r\n"), &[429]),
        open("refused content", post("/invalid", "", b"hello"), &[400]),
        open("held", post("/held", "", b"hello"), &[200]),
        open("deferred", post("/deferred", "", b"hello"), &[200]),
        last("deferred and closed", post("/deferred", "Connection: close\r\n", b"hello"), &[200]),
        open("HEAD", "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    ]
}

/// Codings and lengths of bodies.
fn contents() -> Vec<Case> {
    vec![
        open("gzip", post("/m", "Content-Encoding: gzip\r\n", &gzip(b"hello hello hello")), &[200]),
        open("zstd", post("/m", "Content-Encoding: zstd\r\n", &zstd(b"hello hello hello")), &[200]),
        open("deflate", post("/m", "Content-Encoding: deflate\r\n", &deflate(b"hello hello hello")), &[200]),
        open("snappy", post("/m", "Content-Encoding: snappy\r\n", &snappy(b"hello hello hello")), &[200]),
        open("not gzip", post("/m", "Content-Encoding: gzip\r\n", b"hello"), &[400]),
        open("brotli", post("/m", "Content-Encoding: br\r\n", b"hello"), &[415]),
        open("two codings", post("/m", "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", b"hello"), &[415]),
        refused(
            "body over the bound",
            fields(&format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1)),
            413,
            "body_too_large",
        ),
        open("body of exactly the bound", post("/m", "", &vec![b'x'; BODY_BYTES_MAX]), &[200]),
        open("chunked", chunked("/m", "", b"5\r\nhello\r\n1;a=\"b\"\r\n!\r\n0\r\n\r\n"), &[200]),
        open("chunked with trailers", chunked("/m", "", b"1\r\nx\r\n0\r\nContent-Length: 9\r\nTE: x\r\n\r\n"), &[200]),
        open("chunked, size in all digits", chunked("/m", "", b"00000000000000A\r\n0123456789\r\n00\r\n\r\n"), &[200]),
        refused("chunked over the bound", chunked("/m", "", b"5\r\nhello\r\nfffff\r\n"), 413, "body_too_large"),
        refused("chunked of 2^64 - 1", chunked("/m", "", b"ffffffffffffffff\r\n"), 413, "body_too_large"),
    ]
}

/// Each of these is read by some server or proxy in another way than by the next one.
pub fn smuggling() -> Vec<Case> {
    [lengths_and_codings(), broken_fields(), request_lines(), chunks()].into_iter().flatten().collect()
}

/// Refused for its fields.
fn bad(name: &'static str, lines: &str, reason: &'static str) -> Case {
    refused(name, fields(lines), 400, reason)
}

/// Fields that contradict each other about the length of the body, or themselves.
fn lengths_and_codings() -> Vec<Case> {
    vec![
        bad("CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "length_and_coding"),
        bad("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "length_and_coding"),
        bad("CL with an unknown TE", "Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "length_and_coding"),
        bad("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "length_repeated"),
        bad("two equal lengths", "Content-Length: 5\r\ncontent-length: 5\r\n", "length_repeated"),
        bad("a list of lengths", "Content-Length: 5, 5\r\n", "length_invalid"),
        bad("length with plus", "Content-Length: +5\r\n", "length_invalid"),
        bad("negative length", "Content-Length: -5\r\n", "length_invalid"),
        bad("empty length", "Content-Length:\r\n", "length_invalid"),
        bad("hexadecimal length", "Content-Length: 0x5\r\n", "length_invalid"),
        bad("length with a space inside", "Content-Length: 5 5\r\n", "length_invalid"),
        bad("length over 64 bits", "Content-Length: 18446744073709551621\r\n", "length_invalid"),
        bad("length with too many zeros", "Content-Length: 00000000000000000005\r\n", "length_invalid"),
        bad("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "transfer_coding_invalid"),
        bad(
            "chunked in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "transfer_coding_invalid",
        ),
        bad("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", "transfer_coding_invalid"),
        bad(
            "chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "transfer_coding_invalid",
        ),
        bad("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", "transfer_coding_invalid"),
        bad("chunked with a space inside", "Transfer-Encoding: chunked x\r\n", "transfer_coding_invalid"),
        bad("chunked and a comma", "Transfer-Encoding: chunked,\r\n", "transfer_coding_invalid"),
        bad("empty transfer coding", "Transfer-Encoding:\r\n", "transfer_coding_invalid"),
        bad("vertical tab before chunked", "Transfer-Encoding: \x0bchunked\r\n", "field"),
        refused("quoted chunked", fields("Transfer-Encoding: \"chunked\"\r\n"), 501, "transfer_coding_unknown"),
        refused(
            "unknown transfer coding",
            fields("Transfer-Encoding: gzip, chunked\r\n"),
            501,
            "transfer_coding_unknown",
        ),
        refused("identity transfer coding", fields("Transfer-Encoding: identity\r\n"), 501, "transfer_coding_unknown"),
        refused("xchunked", fields("Transfer-Encoding: xchunked\r\n"), 501, "transfer_coding_unknown"),
    ]
}

/// Lines that are no field, and fields that may not be there twice.
fn broken_fields() -> Vec<Case> {
    vec![
        bad("space before the colon", "Content-Length : 5\r\n", "field"),
        bad("tab before the colon", "Transfer-Encoding\t: chunked\r\n", "field"),
        bad("folded field", "X: y\r\n Content-Length: 5\r\n", "field"),
        bad("folded with a tab", "Transfer-Encoding:\r\n\tchunked\r\n", "field"),
        bad("first field folded", " X: y\r\n", "field"),
        bad("no colon", "Content-Length\r\n", "field"),
        bad("empty name", ": 5\r\n", "field"),
        bad("NUL in a value", "X: a\0b\r\n", "field"),
        bad("NUL in a name", "X\0: b\r\n", "field"),
        bad("DEL in a value", "X: a\x7fb\r\n", "field"),
        bad("bare CR in a value", "X: a\rContent-Length: 5\r\n", "field"),
        bad("bare CR at the end of a value", "X: a\r\r\n", "field"),
        bad("bare LF after a field", "X: a\nContent-Length: 5\r\n", "line_end"),
        bad("bare LF as the empty line", "X: a\r\n\nabcd\r\n", "line_end"),
        bad("two hosts", "Host: b\r\n", "host_repeated"),
        bad("two authorizations", "Authorization: a\r\nAuthorization: a\r\n", "authorization_repeated"),
        refused("no host", "GET / HTTP/1.1\r\n\r\n", 400, "host_missing"),
        refused("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host_invalid"),
        refused("host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "host_invalid"),
    ]
}

/// Request lines and versions.
fn request_lines() -> Vec<Case> {
    let line = |name, text: &str, status, reason| refused(name, format!("{text}Host: a\r\n\r\n"), status, reason);
    vec![
        refused(
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_coding_old",
        ),
        refused("HTTP/0.9", "GET /\r\n\r\n", 400, "request_line"),
        line("HTTP/1.2", "GET / HTTP/1.2\r\n", 505, "version"),
        line("HTTP/2.0", "GET / HTTP/2.0\r\n", 505, "version"),
        line("HTTP/0.9 said aloud", "GET / HTTP/0.9\r\n", 505, "version"),
        refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
        line("HTTP/1.10", "GET / HTTP/1.10\r\n", 400, "request_line"),
        line("HTTP/11", "GET / HTTP/11\r\n", 400, "request_line"),
        line("http/1.1", "GET / http/1.1\r\n", 400, "request_line"),
        line("garbage version", "GET / SPDY\r\n", 400, "request_line"),
        line("space after the version", "GET / HTTP/1.1 \r\n", 400, "request_line"),
        line("two spaces", "GET  / HTTP/1.1\r\n", 400, "request_line"),
        line("tab for a space", "GET\t/ HTTP/1.1\r\n", 400, "request_line"),
        line("space in the target", "GET /a b HTTP/1.1\r\n", 400, "request_line"),
        line("NUL in the target", "GET /\0 HTTP/1.1\r\n", 400, "request_line"),
        line("bare CR in the target", "GET /\rx HTTP/1.1\r\n", 400, "request_line"),
        line("invalid method", "GE(T / HTTP/1.1\r\n", 400, "request_line"),
        line("bare LF after the request line", "GET / HTTP/1.1\n", 400, "line_end"),
        line("absolute form without a host", "GET http:///x HTTP/1.1\r\n", 400, "target"),
    ]
}

/// Chunks and trailers.
fn chunks() -> Vec<Case> {
    let chunk = |name, body: &[u8], reason| refused(name, chunked("/metrics", "", body), 400, reason);
    vec![
        chunk("chunk size 0x5", b"0x5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("chunk size +5", b"+5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("chunk size -5", b"-5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("space before the chunk size", b" 5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("space after the chunk size", b"5 \r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("no chunk size", b"\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("only an extension", b";a\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("chunk size over 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("chunk size of 17 digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("bare LF after the chunk size", b"5\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("bare LF in an extension", b"5;a\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        chunk("chunk data too long", b"5\r\nhello!\r\n0\r\n\r\n", "chunk_end"),
        chunk("chunk data ended by LF", b"5\r\nhello\n0\r\n\r\n", "chunk_end"),
        chunk("chunk data ended by CR and no LF", b"5\r\nhello\rx0\r\n\r\n", "chunk_end"),
        chunk("trailer folded", b"0\r\nA: b\r\n c\r\n\r\n", "trailer"),
        chunk("trailer without a colon", b"0\r\nA\r\n\r\n", "trailer"),
        chunk("trailer with a space before the colon", b"0\r\nA : b\r\n\r\n", "trailer"),
        chunk("trailer ended by LF", b"0\r\nA: b\n\r\n", "trailer"),
        chunk("last line ended by CR and no LF", b"0\r\n\rx", "trailer"),
        chunk("chunk line too long", &[b"5;", &[b'x'; 300][..], b"\r\n"].concat(), "chunk_line_too_long"),
        chunk(
            "too many extensions",
            &[b"1;", &[b'x'; 200][..], b"\r\na\r\n"].concat().repeat(100),
            "chunk_line_too_long",
        ),
        refused(
            "trailers too long",
            chunked("/m", "", &[b"0\r\n", &b"A: bcdefgh\r\n".repeat(400)[..]].concat()),
            431,
            "trailer_too_large",
        ),
    ]
}

pub fn all() -> Vec<Case> {
    requests().into_iter().chain(smuggling()).collect()
}

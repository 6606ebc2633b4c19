//! The steady state allocates nothing: a counting allocator watches keep-alive requests of every kind.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here is a test that fails")]

use std::io::Write;

use http1::{Bounds, Burst, Connection, Head, HttpContext, HttpError, Responder, Rules, Served, Service};
use testkit::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Admits by path and responds with the number of bytes.
struct Plain;

impl Service for Plain {
    type AdmittedRequest = bool;
    type Caller = ();
    type BurstResult = ();

    fn admit(&mut self, head: &Head<'_>, _: &mut Rules, _: &mut Burst<Self>) -> Result<bool, HttpError> {
        match head.path {
            "/limited" => Err(HttpError::RateLimited { retry_after_s: 1 }),
            path => Ok(path == "/invalid"),
        }
    }

    fn charge(&mut self, _ticket: &mut bool, _bytes: u64) -> Result<(), HttpError> {
        Ok(())
    }

    fn serve(&mut self, invalid: bool, body: &[u8], respond: Responder<'_>, _: &mut Burst<Self>) -> Served {
        if invalid {
            respond.refuse_content(&format_args!("metrics[{}] is \"bad\"", body.len()))
        } else {
            respond.accepted(body.len())
        }
    }

    fn refused(&mut self, _ticket: Option<bool>, _error: HttpError, _burst: &mut Burst<Self>) {}
}

fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: key\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let batch = br#"{"name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}},"#.repeat(4);
    let large = batch.repeat(300);
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |content: &[u8]| zstd::bulk::compress(content, 3).unwrap();
    let deflate = |content: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let snappy = |content: &[u8]| snap::raw::Encoder::new().compress_vec(content).unwrap();
    let chunked = |content: &[u8]| {
        let mut bytes = b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in content.chunks(1000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    };
    vec![
        ("plain", post("/metrics", "", &batch)),
        ("plain, large", post("/metrics", "", &large)),
        ("gzip", post("/metrics", "Content-Encoding: gzip\r\n", &gzip(&batch))),
        ("gzip, large", post("/metrics", "Content-Encoding: gzip\r\n", &gzip(&large))),
        ("zstd", post("/metrics", "Content-Encoding: zstd\r\n", &zstd(&batch))),
        ("zstd, large", post("/metrics", "Content-Encoding: zstd\r\n", &zstd(&large))),
        ("deflate", post("/metrics", "Content-Encoding: deflate\r\n", &deflate(&batch))),
        ("deflate, large", post("/metrics", "Content-Encoding: deflate\r\n", &deflate(&large))),
        ("snappy", post("/metrics", "Content-Encoding: snappy\r\n", &snappy(&batch))),
        ("snappy, large", post("/metrics", "Content-Encoding: snappy\r\n", &snappy(&large))),
        ("chunked", chunked(&batch)),
        ("chunked, large", chunked(&large)),
        ("refused by its head", post("/limited", "", &batch)),
        ("refused content", post("/invalid", "", &batch)),
        ("get", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ]
}

/// Allocations of `rounds` deliveries of `request` in pieces of `piece` bytes.
fn allocations_of(
    connection: &mut Connection<bool>,
    core: &mut HttpContext,
    out: &mut Vec<u8>,
    request: &[u8],
    piece: usize,
) -> u64 {
    let before = allocations();
    for _ in 0..20 {
        out.clear();
        for bytes in request.chunks(piece) {
            let _ = connection.receive(bytes, (), &mut Plain, core, out);
        }
        assert!(out.ends_with(b"}"));
    }
    allocations() - before
}

#[test]
fn a_keep_alive_request_allocates_nothing() {
    let mut core = HttpContext::new(Bounds { body_bytes: 4 << 20 });
    let mut connection = Connection::new();
    let mut out = Vec::new();
    for (name, request) in requests() {
        for piece in [request.len(), 700, 64] {
            let _warm_up = allocations_of(&mut connection, &mut core, &mut out, &request, piece);
            assert_eq!(allocations_of(&mut connection, &mut core, &mut out, &request, piece), 0, "{name} by {piece}");
        }
    }
}

#[test]
fn a_whole_request_allocates_nothing_on_a_fresh_connection() {
    let mut core = HttpContext::new(Bounds { body_bytes: 4 << 20 });
    let mut out = Vec::with_capacity(4096);
    let request = post("/metrics", "", b"{}");
    let before = allocations();
    let mut connection = Connection::new();
    let progress = connection.receive(&request, (), &mut Plain, &mut core, &mut out);
    assert_eq!(progress.responses, 1);
    assert_eq!(connection.owned_bytes(), 0);
    assert_eq!(allocations() - before, 0);
}

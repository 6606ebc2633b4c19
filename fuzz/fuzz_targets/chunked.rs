//! Chunked bodies against a decoder that is as plain as can be, and cut anywhere.
#![no_main]

use fuzz::{
    Choices, connection, end,
    owner::{self, BODY_BYTES_MAX, Event},
};
use http1::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let request = owner::chunked("/m", "", data);
    let mut owner = connection();
    for piece in Choices::of(data).pieces(&request, 5) {
        owner.deliver(piece);
    }
    let first = owner.service.events.iter().find(|event| !matches!(event, Event::Head(_)));
    match (first, plain(data)) {
        (Some(Event::Body(body)), Some(expected)) => assert_eq!(*body, expected),
        (Some(Event::Body(body)), None) => panic!("taken as {}", body.escape_ascii()),
        (None, Some(expected)) => panic!("waits for more behind {}", expected.escape_ascii()),
        (Some(_), Some(_)) => assert!(is_over_a_bound(data), "refused"),
        (Some(_) | None, None) => {}
    }
    end(owner);
});

/// The body; `None` if it is none, or not whole.
fn plain(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(&mut data)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let is_extension = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
        let is_text = extension.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if !is_extension || !is_text {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let chunk = data.get(..size)?;
        body.extend_from_slice(chunk);
        data = data[size..].strip_prefix(b"\r\n")?;
    }
    // Trailers are fields, and are dropped.
    while let Some(trailer) = line(&mut data) {
        if trailer.is_empty() {
            return Some(body);
        }
        let mut header = [httparse::EMPTY_HEADER; 1];
        let field = [trailer, b"\r\n\r\n"].concat();
        if !httparse::parse_headers(&field, &mut header).is_ok_and(|parsed| parsed.is_complete()) {
            return None;
        }
    }
    None
}

/// Takes a line that ends with CR LF and has neither within it.
fn line<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = data.iter().position(|&byte| byte == b'\n')?;
    let line = data[..end].strip_suffix(b"\r")?;
    *data = &data[end + 1..];
    (!line.contains(&b'\r')).then_some(line)
}

/// Long lines, extensions, trailers and bodies are refused though they are well formed.
fn is_over_a_bound(data: &[u8]) -> bool {
    data.len() > CHUNK_LINE_BYTES_MAX.min(CHUNK_EXTENSION_BYTES_MAX).min(TRAILER_BYTES_MAX).min(BODY_BYTES_MAX)
        || data.iter().filter(|&&byte| byte == b'0').count() > 16
}

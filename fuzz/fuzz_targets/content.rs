//! Content codings and chunks: a body that is compressed arrives as it was, whole or in chunks cut anywhere; and bytes
//! that are no body of a coding are refused where the libraries' one-shot functions refuse them.
#![no_main]

use fuzz::{
    Choices, connection, end,
    owner::{self, BODY_BYTES_MAX, deflate, gzip, post, snappy, zstd},
};
use libfuzzer_sys::fuzz_target;
use std::io::Read;

const CODINGS: [&str; 4] = ["gzip", "deflate", "snappy", "zstd"];

fuzz_target!(|data: &[u8]| {
    let (first, data) = data.split_first().unwrap_or((&0, b""));
    let coding = CODINGS[usize::from(first & 3)];
    if first & 4 == 0 {
        let body = match coding {
            "gzip" => gzip(data),
            "deflate" => deflate(data),
            "snappy" => snappy(data),
            _ => zstd(data),
        };
        let mut choices = Choices::of(data);
        let mut chunks: Vec<u8> =
            choices.pieces(&body, 4).into_iter().filter(|piece| !piece.is_empty()).flat_map(chunk).collect();
        chunks.extend(b"0\r\n\r\n");
        let chunked = owner::chunked("/m", &format!("Content-Encoding: {coding}\r\n"), &chunks);
        assert_eq!(bodies(&chunked), [data], "{coding}, chunked");
        return;
    }
    let own = bodies(&post("/m", &format!("Content-Encoding: {coding}\r\n"), data)).pop();
    match (&own, one_shot(coding, data)) {
        (Some(own), Some(expected)) => assert_eq!(**own, expected, "{coding}"),
        (None, None) => {}
        // Over the bound, or of more members than are taken.
        (None, Some(expected)) => assert!(expected.len() > BODY_BYTES_MAX || coding == "zstd", "{coding} is refused"),
        (Some(_), None) => panic!("{coding} is taken"),
    }
});

fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// The bodies of the requests that arrive in one piece.
fn bodies(requests: &[u8]) -> Vec<Vec<u8>> {
    let mut owner = connection();
    owner.deliver(requests);
    let bodies = owner.bodies();
    end(owner);
    bodies
}

/// Decompresses a whole body with the library; `None` where it is invalid.
fn one_shot(coding: &str, data: &[u8]) -> Option<Vec<u8>> {
    let limit = BODY_BYTES_MAX as u64 + 1;
    let mut body = Vec::new();
    match coding {
        "gzip" => {
            let mut rest = data;
            loop {
                let mut member = flate2::bufread::GzDecoder::new(rest);
                (&mut member).take(limit - body.len() as u64).read_to_end(&mut body).ok()?;
                rest = member.into_inner();
                // Zeros behind a member are padding, as gzip takes them.
                if body.len() as u64 == limit || rest.iter().all(|&byte| byte == 0) {
                    break;
                }
            }
        }
        "deflate" => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(data);
            (&mut decoder).take(limit).read_to_end(&mut body).ok()?;
            // It must end where the body does.
            return (decoder.into_inner().is_empty() || body.len() > BODY_BYTES_MAX).then_some(body);
        }
        "snappy" => return snap::raw::Decoder::new().decompress_vec(data).ok(),
        _ => {
            zstd::stream::read::Decoder::with_buffer(data).ok()?.take(limit).read_to_end(&mut body).ok()?;
        }
    };
    // An empty body is one without members: no content at all.
    (!data.is_empty()).then_some(body)
}

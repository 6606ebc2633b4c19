//! Compressed bodies: what decompresses, what is refused, and that nothing grows past its bound.

use std::io::Write;

use super::owner::{BODY_BYTES_MAX, Owner, POOR_BYTES, deflate, gzip, post, snappy, whole, zstd};
use http1::limits::{BODY_BYTES_CAP, CONTENT_MEMBERS_MAX, DECODED_KEPT_BYTES_MAX};
use testkit::random::Random;

const MIB: usize = 1024 * 1024;
type Compress = fn(&[u8]) -> Vec<u8>;
/// The codings and what compresses by them.
const CODINGS: [(&str, Compress); 4] = [("gzip", gzip), ("zstd", zstd), ("deflate", deflate), ("snappy", snappy)];

fn send(coding: &str, body: &[u8]) -> Owner {
    whole(&post("/m", &format!("Content-Encoding: {coding}\r\n"), body))
}

fn refused(coding: &str, body: &[u8], status: u16, reason: &str) {
    let owner = send(coding, body);
    assert_eq!(owner.statuses(), [status], "{coding}");
    assert_eq!(owner.reasons(), [reason], "{coding}");
    assert!(owner.bodies().is_empty());
}

/// Bytes that do not compress, the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    std::iter::repeat_with(|| random.byte()).take(bytes).collect()
}

#[test]
fn content_of_every_size_comes_out_as_it_went_in() {
    for bytes in [0, 1, 100, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 65_536, BODY_BYTES_MAX - 100] {
        let content = noise(bytes);
        for (coding, compress) in CODINGS {
            assert_eq!(send(coding, &compress(&content)).bodies(), [&content[..]], "{coding}: {bytes}");
        }
    }
}

#[test]
fn members_and_frames_are_joined() {
    let parts = [&b"one "[..], b"", b"two ", b"three"];
    let joined = [parts.concat()];
    assert_eq!(send("gzip", &parts.map(gzip).concat()).bodies(), joined);
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    let mut frames = parts.map(zstd).concat();
    frames.extend_from_slice(skippable);
    assert_eq!(send("zstd", &frames).bodies(), joined);
}

#[test]
fn every_optional_field_of_a_gzip_header_is_read() {
    let mut encoder = flate2::GzBuilder::new()
        .filename("metrics.json")
        .comment("of today")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"content").unwrap();
    let mut member = encoder.finish().unwrap();
    assert_eq!(send("x-gzip", &member).bodies(), [b"content"]);
    // The header's own checksum comes after the comment.
    let header_end = 10 + 2 + 3 + "metrics.json\0of today\0".len();
    member[3] |= 2;
    let mut crc = flate2::Crc::new();
    crc.update(&member[..header_end]);
    let [low, high, ..] = crc.sum().to_le_bytes();
    member.splice(header_end..header_end, [low, high]);
    assert_eq!(send("gzip", &member).bodies(), [b"content"]);
    member[header_end] ^= 1;
    refused("gzip", &member, 400, "content_corrupt");
}

#[test]
fn every_truncation_is_refused() {
    let content = noise(500);
    for (coding, body) in CODINGS.map(|(coding, compress)| (coding, compress(&content))) {
        for length in 0..body.len() {
            refused(coding, &body[..length], 400, "content_corrupt");
        }
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    for (coding, mut body) in CODINGS.map(|(coding, compress)| (coding, compress(b"content"))) {
        for garbage in [&b"\0x"[..], b"{}", b"\x1f\x8b\x08\x00", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x1f"] {
            let length = body.len();
            body.extend_from_slice(garbage);
            refused(coding, &body, 400, "content_corrupt");
            body.truncate(length);
        }
    }
}

/// Decompression ends at the client's budget, and the connection goes on.
#[test]
fn what_decompresses_is_charged_as_it_comes() {
    let large = vec![b'x'; BODY_BYTES_MAX];
    for (coding, compress) in CODINGS {
        let field = format!("Content-Encoding: {coding}\r\n");
        let mut owner = whole(&post("/poor", &field, &compress(&large)));
        assert_eq!((owner.statuses(), owner.reasons()), (vec![429], vec!["bytes_rate_limited"]), "{coding}");
        assert!(owner.text().contains("\r\nRetry-After: 3\r\n"));
        let charged = owner.service.charged_max;
        if coding == "snappy" {
            assert_eq!(charged, BODY_BYTES_MAX as u64, "the length is known before the work");
        } else {
            assert!((POOR_BYTES..POOR_BYTES + 66_000).contains(&charged), "{coding}: one step over it: {charged}");
        }
        owner.deliver(&post("/poor", &field, &compress(b"content")));
        assert_eq!(owner.bodies(), [b"content"]);
    }
}

/// An empty member costs time: many are charged, and never more than the largest body is.
#[test]
fn empty_members_are_charged() {
    let owner = send("gzip", &gzip(b"").repeat(10));
    assert_eq!(owner.service.charged_max, 10 * 1024);
    let owner = whole(&post("/poor", "Content-Encoding: gzip\r\n", &gzip(b"").repeat(30)));
    assert_eq!(owner.reasons(), ["bytes_rate_limited"]);
    let owner = send("gzip", &gzip(b"").repeat(CONTENT_MEMBERS_MAX));
    assert!(owner.service.charged_max <= BODY_BYTES_MAX as u64);
}

/// A chunked body does not state its length: it is charged as it arrives.
#[test]
fn a_chunked_body_is_charged_as_it_arrives() {
    let head = "POST /poor HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |bytes: usize| [format!("{bytes:x}\r\n").as_bytes(), &vec![b'x'; bytes], b"\r\n"].concat();
    let mut owner = Owner::new();
    owner.deliver(head.as_bytes());
    owner.deliver(&chunk(20_000));
    assert!(owner.statuses().is_empty());
    owner.deliver(&chunk(1));
    assert_eq!((owner.statuses(), owner.reasons()), (vec![429], vec!["bytes_rate_limited"]));
}

#[test]
fn zeros_behind_a_gzip_member_are_padding() {
    let members = [gzip(b"con"), gzip(b"tent")].concat();
    for zeros in [1, 7, 8, 512, 10_000] {
        assert_eq!(send("gzip", &[&members[..], &vec![0; zeros]].concat()).bodies(), [b"content"], "{zeros}");
        refused("gzip", &[&members[..], &vec![0; zeros], &members].concat(), 400, "content_corrupt");
        refused("zstd", &[&zstd(b"content")[..], &vec![0; zeros]].concat(), 400, "content_corrupt");
    }
}

#[test]
fn an_empty_content_coding_is_identity() {
    for coding in ["", "identity", " , ", "identity, "] {
        assert_eq!(send(coding, b"content").bodies(), [b"content"], "{coding:?}");
    }
}

#[test]
fn damaged_checksums_and_lengths_of_gzip_are_refused() {
    let body = gzip(b"content");
    for at in body.len() - 8..body.len() {
        let mut damaged = body.clone();
        damaged[at] ^= 1;
        refused("gzip", &damaged, 400, "content_corrupt");
    }
}

#[test]
fn the_bound_counts_what_comes_out() {
    for (coding, compress) in CODINGS {
        let most = vec![b' '; BODY_BYTES_MAX];
        assert_eq!(send(coding, &compress(&most)).bodies(), [&most[..]]);
        refused(coding, &compress(&[&most[..], b" "].concat()), 413, "content_too_large");
    }
    // Split over members, it is the sum that counts.
    for (coding, compress) in &CODINGS[..2] {
        let members = compress(&vec![b' '; BODY_BYTES_MAX / 2]).repeat(3);
        refused(coding, &members, 413, "content_too_large");
    }
}

#[test]
fn a_bomb_costs_no_memory() {
    let huge = vec![0; 64 * MIB];
    for (coding, bomb) in [("gzip", gzip(&huge)), ("zstd", zstd(&huge)), ("deflate", deflate(&huge))] {
        let mut owner = Owner::new();
        owner.deliver(&post("/m", &format!("Content-Encoding: {coding}\r\n"), &bomb));
        assert_eq!(owner.reasons(), ["content_too_large"]);
        assert!(owner.core.kept_bytes() < DECODED_KEPT_BYTES_MAX + 10 * MIB, "{coding}: {}", owner.core.kept_bytes());
        // The connection goes on, and so does the decoder.
        owner.deliver(&post("/m", &format!("Content-Encoding: {coding}\r\n"), &gzip(b"x")));
        owner.deliver(&post("/m", "Content-Encoding: gzip\r\n", &gzip(b"after")));
        for (coding, compress) in CODINGS {
            owner.deliver(&post("/m", &format!("Content-Encoding: {coding}\r\n"), &compress(b"after")));
        }
        assert_eq!(owner.bodies()[owner.bodies().len() - 5..], [b"after"; 5]);
    }
}

#[test]
fn empty_members_are_bounded() {
    let empty = gzip(b"");
    assert_eq!(send("gzip", &empty.repeat(CONTENT_MEMBERS_MAX)).bodies(), [b""]);
    refused("gzip", &empty.repeat(CONTENT_MEMBERS_MAX + 1), 400, "content_members");
    let skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00";
    assert_eq!(send("zstd", &skippable.repeat(CONTENT_MEMBERS_MAX)).bodies(), [b""]);
    refused("zstd", &skippable.repeat(CONTENT_MEMBERS_MAX + 1), 400, "content_members");
    assert_eq!(CONTENT_MEMBERS_MAX, BODY_BYTES_CAP / 65_536);
}

#[test]
fn a_zstd_window_over_the_bound_is_refused() {
    let frame = |window_log: u8| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(u32::from(window_log)).unwrap();
        // More than one flush, so that the frame does not state its length and needs the window it asks for.
        encoder.write_all(b"content").unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(send("zstd", &frame(23)).bodies(), [b"content"]);
    refused("zstd", &frame(24), 413, "content_window");
}

#[test]
fn deflate_is_zlib_and_nothing_else() {
    let body = deflate(b"content");
    let raw = &body[2..body.len() - 4];
    refused("deflate", raw, 400, "content_corrupt");
    refused("deflate", &gzip(b"content"), 400, "content_corrupt");
    refused("deflate", &body.repeat(2), 400, "content_corrupt");
    // A preset dictionary, which no client of HTTP can agree on: the header's check still fits.
    let preset = [&[0x78, 0xbb, 0, 0, 0, 1], raw].concat();
    assert_eq!(0x78bb % 31, 0);
    refused("deflate", &preset, 400, "content_corrupt");
    for at in (0..2).chain(body.len() - 4..body.len()) {
        let mut damaged = body.clone();
        damaged[at] ^= 1;
        refused("deflate", &damaged, 400, "content_corrupt");
    }
    // And it changes nothing for the next body of another frame.
    let mut owner = Owner::new();
    for _ in 0..2 {
        owner.deliver(&post("/m", "Content-Encoding: deflate\r\n", &body));
        owner.deliver(&post("/m", "Content-Encoding: gzip\r\n", &gzip(b"content")));
    }
    assert_eq!(owner.bodies(), [b"content"; 4]);
}

/// The varint that a block of snappy begins with.
fn stated(mut bytes: u64) -> Vec<u8> {
    let mut varint = Vec::new();
    while bytes >= 0x80 {
        varint.push(u8::try_from(bytes & 0x7f).unwrap() | 0x80);
        bytes >>= 7;
    }
    varint.push(u8::try_from(bytes).unwrap());
    varint
}

#[test]
fn a_length_that_snappy_states_costs_no_memory() {
    for (bytes, status, reason) in [
        (BODY_BYTES_MAX as u64 + 1, 413, "content_too_large"),
        (u64::from(u32::MAX), 413, "content_too_large"),
        (1 << 32, 413, "content_too_large"),
        // More than the 32 bits that the format has by over a byte.
        (u64::MAX, 400, "content_corrupt"),
        (BODY_BYTES_MAX as u64, 400, "content_corrupt"),
        (1, 400, "content_corrupt"),
    ] {
        let owner = send("snappy", &stated(bytes));
        assert_eq!((owner.statuses(), owner.reasons()), (vec![status], vec![reason]), "{bytes}");
        assert!(owner.service.charged_max <= 1 + 1024, "{bytes}: {}", owner.service.charged_max);
        assert!(owner.core.kept_bytes() < send("snappy", b"").core.kept_bytes() + 1024, "{bytes}");
    }
    // A varint without end.
    refused("snappy", &[0xff; 11], 400, "content_corrupt");
}

#[test]
fn a_corrupt_block_of_snappy_is_refused() {
    let content = b"content content content content".repeat(10);
    let block = snappy(&content);
    refused("snappy", &block.repeat(2), 400, "content_corrupt");
    refused("snappy", &gzip(&content), 400, "content_corrupt");
    // The framing format.
    refused("snappy", b"\xff\x06\x00\x00sNaPpY\x01\x05\0\0\0\0\0\0a", 400, "content_corrupt");
    // A copy from before the beginning.
    refused("snappy", b"\x08\x00a\x11\x09", 400, "content_corrupt");
    // What decompresses in spite of the damage has the stated length.
    for at in 0..block.len() {
        let mut damaged = block.clone();
        damaged[at] ^= 0x10;
        let owner = send("snappy", &damaged);
        assert!(owner.statuses() != [200] || owner.bodies()[0].len() == content.len(), "{at}");
    }
    assert_eq!(send("snappy", &block).bodies(), [content]);
}

#[test]
fn a_route_says_which_codings_it_takes() {
    let (deflated, block) = (deflate(b"content"), snappy(b"content"));
    assert_eq!(whole(&post("/assumes-snappy", "", &block)).bodies(), [b"content"]);
    let zstd = zstd(b"content");
    assert_eq!(whole(&post("/assumes-snappy", "Content-Encoding: zstd\r\n", &zstd)).bodies(), [b"content"]);
    assert_eq!(whole(&post("/m", "", &block)).bodies(), [&block[..]]);
    let owner = whole(&post("/no-gzip", "Content-Encoding: gzip\r\n", &gzip(b"content")));
    assert!(owner.statuses() == [415] && owner.text().contains("\r\nAccept-Encoding: zstd, deflate, snappy\r\n"));
    for (coding, body) in [("deflate", &deflated), ("snappy", &block)] {
        let owner = whole(&post("/usual", &format!("Content-Encoding: {coding}\r\n"), body));
        assert_eq!((owner.statuses(), owner.reasons()), (vec![415], vec!["content_coding"]), "{coding}");
        assert!(owner.text().contains("\r\nAccept-Encoding: gzip, zstd\r\n"), "{}", owner.text());
    }
}

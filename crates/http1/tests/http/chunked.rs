//! Chunked bodies against a slow reading of the grammar.

use proptest::prelude::*;

use super::owner::{BODY_BYTES_MAX, Owner, chunked, whole};
use http1::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Result of a chunked body.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Complete { data: Vec<u8>, length: usize },
    Incomplete,
    Invalid,
}

/// Reads RFC 9112, 7.1 line by line. The bounds are not reached by what is generated here.
fn reference(bytes: &[u8]) -> Read {
    let mut rest = bytes;
    let mut data = Vec::new();
    loop {
        let size = match line(&mut rest, size_line_may_go_on) {
            Ok(size) => size,
            Err(read) => return read,
        };
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let Ok(length) = u64::from_str_radix(std::str::from_utf8(&size[..digits]).unwrap(), 16) else {
            return Read::Invalid;
        };
        if length > (BODY_BYTES_MAX - data.len()) as u64 {
            return Read::Invalid;
        }
        if length == 0 {
            break;
        }
        let length = usize::try_from(length).unwrap();
        data.extend_from_slice(&rest[..length.min(rest.len())]);
        let Some(after) = rest.get(length..) else { return Read::Incomplete };
        match after {
            [b'\r', b'\n', next @ ..] => rest = next,
            [] | [b'\r'] => return Read::Incomplete,
            _ => return Read::Invalid,
        }
    }
    loop {
        match line(&mut rest, trailer_may_go_on) {
            Ok([]) => return Read::Complete { data, length: bytes.len() - rest.len() },
            Ok(trailer) if trailer.contains(&b':') => {}
            Ok(_) => return Read::Invalid,
            Err(read) => return read,
        }
    }
}

/// Takes a line ended by CR LF of which every beginning is valid.
fn line<'a>(rest: &mut &'a [u8], may_go_on: fn(&[u8]) -> bool) -> Result<&'a [u8], Read> {
    for end in 0..rest.len() {
        if rest[end] == b'\r' {
            // The decoder judges a size line when its CR comes.
            return match (may_go_on(&rest[..end + 1]), rest.get(end + 1)) {
                (false, _) => Err(Read::Invalid),
                (true, None) => Err(Read::Incomplete),
                (true, Some(b'\n')) => {
                    let line = &rest[..end];
                    *rest = &rest[end + 2..];
                    Ok(line)
                }
                (true, Some(_)) => Err(Read::Invalid),
            };
        }
        if !may_go_on(&rest[..end + 1]) {
            return Err(Read::Invalid);
        }
    }
    Err(Read::Incomplete)
}

fn size_line_may_go_on(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let digits = text.chars().take_while(char::is_ascii_hexdigit).count();
    let after = text.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    let spaces = after.trim_start_matches([' ', '\t']);
    let extension_is_plain = spaces.trim_end_matches('\r').chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'));
    let ends_well = spaces != "\r" || after == "\r";
    (1..=16).contains(&digits)
        && (spaces.is_empty() || spaces.starts_with([';', '\r']))
        && extension_is_plain
        && ends_well
}

fn trailer_may_go_on(start: &[u8]) -> bool {
    let text: Vec<u8> = start.to_vec();
    let Some(colon) = text.iter().position(|byte| *byte == b':') else {
        let name = text.strip_suffix(b"\r").unwrap_or(&text);
        return (name.is_empty() || name.len() == text.len()) && name.iter().all(|byte| is_token(*byte));
    };
    let value = text[colon + 1..].strip_suffix(b"\r").unwrap_or(&text[colon + 1..]);
    colon > 0
        && text[..colon].iter().all(|byte| is_token(*byte))
        && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn compare(body: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut owner = Owner::new();
    owner.deliver(&chunked("/m", "", b""));
    let mut at = 0;
    for &cut in cuts.iter().chain([&body.len()]) {
        owner.deliver(&body[at..cut]);
        at = cut;
    }
    match reference(body) {
        Read::Complete { data, length } => {
            prop_assert_eq!(&owner.bodies()[0], &data);
            let after = whole(&body[length..]);
            prop_assert_eq!(&owner.statuses()[1..], &after.statuses()[..]);
        }
        Read::Incomplete => prop_assert!(owner.statuses().is_empty()),
        Read::Invalid => {
            prop_assert!(owner.bodies().is_empty());
            prop_assert!(matches!(owner.statuses()[..], [400 | 413]), "{:?}", owner.statuses());
        }
    }
    Ok(())
}

fn valid_body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), "(|;a|;a=b|[ \t]{0,2};x=\"y z\")", any::<bool>());
    let trailers = prop::collection::vec("[A-Za-z-]{1,8}:[ -~]{0,10}", 0..3);
    (prop::collection::vec(chunk, 0..5), trailers).prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension, upper) in chunks {
            let size = if upper { format!("{:X}", data.len()) } else { format!("0{:x}", data.len()) };
            body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        for trailer in trailers {
            body.extend_from_slice(format!("{trailer}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_bodies_are_read_as_by_the_reference(
        body in valid_body(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let complete = matches!(reference(&body), Read::Complete { .. });
        prop_assert!(complete);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        compare(&body, &cuts)?;
    }

    #[test]
    fn damaged_bodies_are_judged_as_by_the_reference(
        mut body in valid_body(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"\r\n \t;:0a5xg\"\0\x7f\xff"[..]), 0..3), 1..4),
    ) {
        for (at, byte, kind) in damage {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ if body.len() > 1 => drop(body.remove(at)),
                _ => {}
            }
        }
        compare(&body, &[])?;
    }
}

#[test]
fn the_bounds_of_lines_and_trailers_to_the_byte() {
    // Size, semicolon, CR and LF are part of the line.
    let line = |bytes: usize| [b"1;", &vec![b'x'; bytes - 4][..], b"\r\na\r\n0\r\n\r\n"].concat();
    assert_eq!(whole(&chunked("/m", "", &line(CHUNK_LINE_BYTES_MAX))).statuses(), [200]);
    assert_eq!(whole(&chunked("/m", "", &line(CHUNK_LINE_BYTES_MAX + 1))).statuses(), [400]);
    // Name, colon, both CRs and the LF between them; the last LF ends the body and is not counted.
    let trailer = |bytes: usize| [b"0\r\nA:", &vec![b'x'; bytes - 5][..], b"\r\n\r\n"].concat();
    assert_eq!(whole(&chunked("/m", "", &trailer(TRAILER_BYTES_MAX))).statuses(), [200]);
    assert_eq!(whole(&chunked("/m", "", &trailer(TRAILER_BYTES_MAX + 1))).statuses(), [431]);
}

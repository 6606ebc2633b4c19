//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt` of 2020): what stands before the first byte
//! of a connection that a proxy passes on. The receiver knows from its configuration that a header comes, and never
//! guesses.

use crate::limits::PROXY_HEADER_BYTES_MAX;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The signature of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The beginning of version 1.
const PREFIX: &[u8; 6] = b"PROXY ";
/// Bytes of a header of version 1, its line end included ("2.1. Human-readable header format").
const LINE_BYTES_MAX: usize = 107;
/// Bytes of a header of version 2 before its addresses.
const FIXED_BYTES: usize = 16;
/// The type of the value that holds a checksum of the whole header ("2.2.3. PP2_TYPE_CRC32C").
const TYPE_CRC32C: u8 = 0x03;

/// On whose behalf a connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own (`LOCAL`: a health check), or one that it cannot name (`UNKNOWN`, `UNSPEC`, a unix socket): the
    /// peer is the client.
    Peer,
    /// A client at this address.
    Client(IpAddr),
}

/// The fault of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Something else came where a header is due.
    Missing,
    /// The header breaks the grammar of its version.
    Malformed,
    /// The header is too long.
    TooLong,
    /// The checksum is wrong.
    Checksum,
}

/// The header at the beginning of `bytes`: its length, and on whose behalf the connection is. `None`: there is more of
/// it to come.
///
/// # Errors
/// The fault, as soon as it is certain.
pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Origin)>, Fault> {
    if begins(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else if begins(bytes, PREFIX) {
        parse_line(bytes)
    } else {
        Err(Fault::Missing)
    }
}

/// Checks if the first bytes of a connection are those of a header.
#[must_use]
pub fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
        || [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"].iter().any(|start| bytes.starts_with(start))
}

/// Returns true if `bytes` begin with `start`, as far as they have arrived.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn parse_line(bytes: &[u8]) -> Result<Option<(usize, Origin)>, Fault> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == LINE_BYTES_MAX { Err(Fault::TooLong) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(PREFIX)).ok_or(Fault::Malformed)?;
    if line.strip_prefix(b"UNKNOWN").is_some_and(|rest| matches!(rest, [] | [b' ', ..])) {
        // What follows the word is to be ignored.
        return Ok(Some((end + 1, Origin::Peer)));
    }
    let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed)?;
    let origin = match line.split_once(' ') {
        Some(("TCP4", rest)) => Origin::Client(source::<Ipv4Addr>(rest)?.into()),
        Some(("TCP6", rest)) => Origin::Client(source::<Ipv6Addr>(rest)?.into()),
        _ => return Err(Fault::Malformed),
    };
    Ok(Some((end + 1, origin)))
}

/// The first of `source destination source-port destination-port`, of which all four must be right.
fn source<A: std::str::FromStr>(rest: &str) -> Result<A, Fault> {
    let mut words = rest.split(' ');
    let mut next = || words.next().ok_or(Fault::Malformed);
    let (source, destination, ports) = (next()?, next()?, [next()?, next()?]);
    let is_port = |word: &str| {
        let has_form = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        has_form && word.parse::<u16>().is_ok()
    };
    if words.next().is_some() || !ports.into_iter().all(is_port) || destination.parse::<A>().is_err() {
        return Err(Fault::Malformed);
    }
    source.parse().map_err(|_| Fault::Malformed)
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(usize, Origin)>, Fault> {
    let [.., version_and_command, family, high, low] = *bytes.first_chunk::<FIXED_BYTES>().unwrap_or(&[0; FIXED_BYTES]);
    if bytes.len() < FIXED_BYTES {
        return Ok(None);
    }
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Malformed),
    };
    // By its address family, and its transport, which must be a stream: bytes of addresses.
    let addresses_bytes = match family {
        // Whatever it says, it is to be ignored.
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(Fault::Malformed),
    };
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    if length < FIXED_BYTES + addresses_bytes {
        return Err(Fault::Malformed);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    if is_local || family == 0x00 {
        return Ok(Some((length, Origin::Peer)));
    }
    check_values(header, FIXED_BYTES + addresses_bytes)?;
    let addresses = &header[FIXED_BYTES..];
    let origin = match family {
        0x11 => addresses.first_chunk::<4>().map(|octets| Origin::Client(Ipv4Addr::from(*octets).into())),
        0x21 => addresses.first_chunk::<16>().map(|octets| Origin::Client(Ipv6Addr::from(*octets).into())),
        _ => Some(Origin::Peer),
    };
    origin.map(|origin| Some((length, origin))).ok_or(Fault::Malformed)
}

/// Goes over the values that follow the addresses: a type, a length of two bytes, and so many bytes, up to the header's
/// end. A checksum among them must be right.
fn check_values(header: &[u8], start: usize) -> Result<(), Fault> {
    let mut at = start;
    let mut checksum_at = None;
    while at < header.len() {
        let Some([kind, high, low]) = header[at..].first_chunk::<3>().copied() else { return Err(Fault::Malformed) };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > header.len() {
            return Err(Fault::Malformed);
        }
        if kind == TYPE_CRC32C && (at - value != 4 || checksum_at.replace(value).is_some()) {
            return Err(Fault::Malformed);
        }
    }
    let Some(checksum_at) = checksum_at else { return Ok(()) };
    let (before, rest) = header.split_at(checksum_at);
    let (sent, after) = rest.split_at(4);
    let found = !crc32c(crc32c(crc32c(u32::MAX, before), &[0; 4]), after);
    if found.to_be_bytes() == sent { Ok(()) } else { Err(Fault::Checksum) }
}

/// CRC-32C (Castagnoli), bit by bit: a header is short, and seldom has a checksum.
fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    const POLYNOMIAL_REFLECTED: u32 = 0x82f6_3b78;
    bytes.iter().fold(state, |state, byte| {
        (0..8).fold(state ^ u32::from(*byte), |state, _| {
            (state >> 1) ^ (POLYNOMIAL_REFLECTED & (state & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of version 2, with the length that it has.
    pub(crate) fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &length, rest].concat()
    }

    fn value(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[kind], &length[..], bytes].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 80];

    fn client(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    #[test]
    fn every_form_of_version_1_is_read() {
        for (line, origin) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4660 80\r\n", client("192.0.2.1")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255")),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", client("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", client("::ffff:192.0.2.1")),
            ("PROXY UNKNOWN\r\n", Origin::Peer),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Origin::Peer),
        ] {
            let bytes = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(parse(bytes.as_bytes()), Ok(Some((line.len(), origin))), "{line:?}");
        }
        let address = ["ffff"; 8].join(":");
        let longest = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        assert_eq!(parse(longest.as_bytes()), Ok(Some((LINE_BYTES_MAX, Origin::Peer))));
        let longer = longest.replace("\r\n", " \r\n");
        assert_eq!(parse(longer.as_bytes()), Err(Fault::TooLong));
    }

    #[test]
    fn broken_lines_of_version_1_are_refused() {
        for line in [
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4660\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4660 80 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4660 80 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 4660 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4660 80\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 4660 80\r\n",
            "PROXY TCP4 192.0.2.1 2001:db8::1 4660 80\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::1 4660 80\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 4660 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 04660 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +80 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  80\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.1 4660 80\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.1 4660 80\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4 \u{e9} 198.51.100.1 4660 80\r\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Err(Fault::Malformed | Fault::Missing)), "{line:?}");
        }
        for other in ["GET / HTTP/1.1\r\n", "PROXX", "proxy ", "\r\n\r\n\r\n", "\u{1}", "PROXY\t"] {
            assert_eq!(parse(other.as_bytes()), Err(Fault::Missing), "{other:?}");
        }
    }

    #[test]
    fn every_form_of_version_2_is_read() {
        let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0; 4]].concat();
        let values = [value(0x04, b""), value(0x05, b"unique"), value(0xee, &[0; 200])].concat();
        for (header, origin) in [
            (binary(0x21, 0x11, &V4), client("192.0.2.1")),
            (binary(0x21, 0x11, &[&V4[..], &values].concat()), client("192.0.2.1")),
            (binary(0x21, 0x21, &v6), client("2001:db8::1")),
            (binary(0x21, 0x21, &[&v6[..], &values].concat()), client("2001:db8::1")),
            (binary(0x21, 0x31, &[b'/'; 216]), Origin::Peer),
            (binary(0x21, 0x00, b""), Origin::Peer),
            (binary(0x21, 0x00, b"anything"), Origin::Peer),
            (binary(0x20, 0x00, b""), Origin::Peer),
            (binary(0x20, 0x11, &V4), Origin::Peer),
            (binary(0x20, 0xff, b"anything"), Origin::Peer),
        ] {
            let bytes = [&header[..], b"GET"].concat();
            assert_eq!(parse(&bytes), Ok(Some((header.len(), origin))), "{header:?}");
        }
    }

    #[test]
    fn broken_headers_of_version_2_are_refused() {
        let checksum_twice = [&V4[..], &value(0x03, &[0; 4]), &value(0x03, &[0; 4])].concat();
        for header in [
            binary(0x11, 0x11, &V4),
            binary(0x22, 0x11, &V4),
            binary(0x21, 0x12, &V4),
            binary(0x21, 0x41, &V4),
            binary(0x21, 0x10, &V4),
            binary(0x21, 0x11, &V4[..11]),
            binary(0x21, 0x21, &V4),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x21, 0x11, &[&V4[..], &[1]].concat()),
            binary(0x21, 0x11, &[&V4[..], &[1, 0, 1]].concat()),
            binary(0x21, 0x11, &[&V4[..], &value(0x03, &[0; 3])].concat()),
            binary(0x21, 0x11, &checksum_twice),
        ] {
            assert_eq!(parse(&header), Err(Fault::Malformed), "{header:?}");
        }
        let rest = PROXY_HEADER_BYTES_MAX - FIXED_BYTES - 12 - 3;
        let largest = binary(0x21, 0x11, &[&V4[..], &value(0x04, &vec![0; rest])].concat());
        assert_eq!(parse(&largest), Ok(Some((PROXY_HEADER_BYTES_MAX, client("192.0.2.1")))));
        let larger = binary(0x21, 0x11, &[&V4[..], &value(0x04, &vec![0; rest + 1])].concat());
        assert_eq!(parse(&larger[..FIXED_BYTES]), Err(Fault::TooLong), "before it has come");
    }

    #[test]
    fn a_checksum_is_verified_where_there_is_one() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(!crc32c(u32::MAX, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
        let values =
            |checksum: [u8; 4]| [&V4[..], &value(0x04, b"x"), &value(0x03, &checksum), &value(0x05, b"y")].concat();
        let blank = binary(0x21, 0x11, &values([0; 4]));
        assert_eq!(parse(&blank), Err(Fault::Checksum));
        let right = binary(0x21, 0x11, &values((!crc32c(u32::MAX, &blank)).to_be_bytes()));
        assert_eq!(parse(&right), Ok(Some((right.len(), client("192.0.2.1")))));
        let type_at = FIXED_BYTES + V4.len() + 4;
        // Without its type it is no checksum any more.
        for byte in (FIXED_BYTES..right.len()).filter(|byte| *byte != type_at) {
            let mut wrong = right.clone();
            wrong[byte] ^= 0x40;
            assert!(parse(&wrong).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn a_header_where_none_is_due_is_known() {
        for header in [&b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"[..], b"PROXY UNKNOWN\r\n", &binary(0x20, 0, b"")] {
            assert!(is_header(header));
        }
        assert!(!is_header(b"PROXY / HTTP/1.1\r\n") && !is_header(b"\r\n\r\nGET / HTTP/1.1\r\n"));
    }

    /// Headers of both versions, most of them broken somewhere.
    fn headers() -> impl Strategy<Value = Vec<u8>> {
        let some = |most: usize| proptest::collection::vec(any::<u8>(), 0..most);
        prop_oneof![
            some(64).prop_map(|rest| binary(0x21, 0x11, &[&V4[..], &rest].concat())),
            some(64).prop_map(|rest| binary(0x21, 0x11, &[&V4[..], &value(0x04, &rest)].concat())),
            (any::<u8>(), any::<u8>(), some(300))
                .prop_map(|(command, family, rest)| { binary(command & 0x23, family & 0x33, &rest) }),
            "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f.:]{0,100}\r?\n".prop_map(String::into_bytes),
            "PROXY TCP4 [0-9]{1,3}[.]0[.]2[.]1 192[.]0[.]2[.]2 [0-9]{1,6} 80\r\n".prop_map(String::into_bytes),
            some(120),
        ]
    }

    proptest! {
        /// A decision about the beginning holds for the whole: cut anywhere, a header parses the same.
        #[test]
        fn a_header_cut_anywhere_parses_the_same(
            bytes in headers(),
            after in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let bytes = [bytes, after].concat();
            let whole = parse(&bytes);
            for cut in 0..bytes.len() {
                let part = parse(&bytes[..cut]);
                match part {
                    Ok(None) => {}
                    decided => prop_assert_eq!(decided, whole, "cut at {}", cut),
                }
                if let Ok(Some((length, _))) = whole {
                    prop_assert_eq!(part.is_ok_and(|part| part.is_some()), cut >= length);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[&SIGNATURE[..], &bytes].concat());
            let _ = parse(&[&PREFIX[..], &bytes].concat());
        }
    }
}

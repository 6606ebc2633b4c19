//! W3C Trace Context (<https://www.w3.org/TR/trace-context-2/>): reading `traceparent` and `tracestate`. Pure: bytes
//! in, ids out.
//!
//! A field that breaks a rule is ignored without a warning: the request begins a trace of its own.

use crate::limits;

/// Bytes of a `traceparent` of version 00, and of the part of later versions that is known.
const TRACEPARENT_BYTES: usize = 55;
/// The flag of a trace that the caller records.
const SAMPLED: u8 = 1;

/// The contents of a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace; not zero.
    pub trace_id: [u8; 16],
    /// The caller's span; not zero.
    pub span_id: [u8; 8],
    /// True if the caller records this trace.
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`, in lower case.
    ///
    /// A version after 00 may go on after another `-`; what is known of it is read as version 00 (section 3.2.4).
    /// Version ff, ids of zeros and anything else are `None`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (known, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let [version]: [u8; 1] = hexadecimal(&known[..2])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let trace_id: [u8; 16] = hexadecimal(&known[3..35])?;
        let span_id: [u8; 8] = hexadecimal(&known[36..52])?;
        let [flags]: [u8; 1] = hexadecimal(&known[53..])?;
        let valid = fits && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// The value of each byte as a lower-case hexadecimal digit, or [`NO_DIGIT`].
static DIGITS: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    table
};
/// A bit that is set in no digit.
const NO_DIGIT: u8 = 0x10;

/// Decodes `N` bytes from twice as many lower-case hexadecimal digits.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (mut bytes, mut seen) = ([0; N], 0);
    let digits = &digits[..2 * N];
    // All of them are read before any is judged: a branch a digit would cost more than what is read.
    for index in 0..N {
        let (high, low) = (DIGITS[usize::from(digits[2 * index])], DIGITS[usize::from(digits[2 * index + 1])]);
        bytes[index] = high << 4 | low;
        seen |= high | low;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

/// Joins the `tracestate` fields of one request as one list, as if it had come in one field. Over
/// [`limits::TRACESTATE_BYTES_MAX`] the members at the end are left out, whole. What is no list of `key=value` is none.
#[must_use]
pub fn join_tracestate(fields: &[Option<&[u8]>]) -> Option<Box<str>> {
    let mut list = String::new();
    for member in fields.iter().flatten().flat_map(|field| field.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii) {
        if member.is_empty() {
            continue;
        }
        let member = std::str::from_utf8(member).ok().filter(|text| text.is_ascii() && text.contains('='))?;
        if list.len() + 1 + member.len() > limits::TRACESTATE_BYTES_MAX {
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(member);
    }
    (!list.is_empty()).then(|| list.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: [u8; 16] =
        [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
    const SPAN: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

    fn parse(text: &str) -> Option<Parent> {
        Parent::parse(text.as_bytes())
    }

    #[test]
    fn what_the_specification_allows_is_taken() {
        let taken = |sampled| Some(Parent { trace_id: TRACE, span_id: SPAN, sampled });
        for (text, sampled) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
            // Of the flags only the lowest bit is ours: 02 is "random", the others have no meaning yet.
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true),
            (" \t00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ", true),
            // Later versions: as far as they are known.
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like", true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-", false),
        ] {
            assert_eq!(parse(text), taken(sampled), "{text}");
        }
    }

    #[test]
    fn what_it_forbids_is_as_good_as_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            // Version ff.
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            // Version 00 ends with the flags.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
            // Zeros.
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            // Upper case, and what is no digit, in each part.
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ".0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-.bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-.0f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0G",
            // Other separators, and parts of other lengths.
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47361-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-001",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn tracestate_is_one_list_however_it_came() {
        let join = |fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|field| Some(field.as_bytes())).collect();
            join_tracestate(&fields).map(String::from)
        };
        for (fields, expected) in [
            (&["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"][..], Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")),
            (&["a=1 ,\tb=2", "c=3"], Some("a=1,b=2,c=3")),
            (&[" ", "a=1,,"], Some("a=1")),
            (&[], None),
            (&[""], None),
            (&["a=1,b"], None),
            (&["a=\u{e9}"], None),
        ] {
            assert_eq!(join(fields).as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_long_tracestate_loses_whole_members_at_its_end() {
        let members: Vec<String> = (10..60).map(|number| format!("k{number}={}", "v".repeat(15))).collect();
        let joined = join_tracestate(&[Some(members.join(",").as_bytes())]).unwrap();
        assert!(joined.len() <= limits::TRACESTATE_BYTES_MAX && joined.len() > limits::TRACESTATE_BYTES_MAX - 20);
        assert!(members.join(",").starts_with(&*joined) && joined.ends_with(&"v".repeat(15)));
    }
}

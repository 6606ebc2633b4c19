//! The grouping labels in a path of the push gateway.

use super::tokens::is_label_name;
use crate::limits::GROUP_LABELS_MAX;

/// Names and values of labels.
pub type Labels = Vec<(Vec<u8>, Vec<u8>)>;

const BASE64: &str = "@base64";

/// Parses the grouping labels in a push gateway path, `/metrics/job/J{/L/V}`; the path is given still percent-encoded,
/// without a query. `job` comes first. A label's name with `@base64` behind it has a value in base64url, with or
/// without padding, so that `=` is an empty one. The names are those of the classic syntax, and none begins with `__`.
/// Of a repeated label the last value counts, but the first of `job`, as with the push gateway; unlike there, a value
/// may hold `%2F`, and must be UTF-8. A slash at the end is ignored behind the job, and makes an empty value behind a
/// label's name.
///
/// # Errors
/// The text describes the fault for the client.
pub fn group_labels(path: &str) -> Result<Labels, &'static str> {
    let path = path.strip_prefix("/metrics/").ok_or("the path does not begin with /metrics/job")?;
    let mut segments = path.split('/').peekable();
    let mut labels = Labels::new();
    let mut pairs = 0;
    while let Some(name) = segments.next() {
        if pairs == 1 && name.is_empty() && segments.peek().is_none() {
            break;
        }
        pairs += 1;
        let value = segments.next().ok_or("a grouping label has no value")?;
        if name.is_empty() || (value.is_empty() && segments.peek().is_some()) {
            return Err("a part of the path is empty: write an empty value as name@base64/=");
        }
        let name = percent_decode(name)?;
        let (name, is_base64) = match name.strip_suffix(BASE64.as_bytes()) {
            Some(name) => (name.to_vec(), true),
            None => (name, false),
        };
        let value = percent_decode(value)?;
        let value = if is_base64 { base64url_decode(&value)? } else { value };
        if std::str::from_utf8(&value).is_err() {
            return Err("the value of a grouping label is not UTF-8");
        }
        if labels.is_empty() {
            if name != b"job" {
                return Err("the path does not begin with /metrics/job");
            }
            if value.is_empty() {
                return Err("the job is empty");
            }
        }
        if !is_label_name(&name) || name.starts_with(b"__") {
            return Err("the name of a grouping label is invalid");
        }
        match labels.iter().position(|(known, _)| *known == name) {
            Some(0) => {}
            Some(index) => labels[index].1 = value,
            None if labels.len() == GROUP_LABELS_MAX => return Err("there are too many grouping labels"),
            None => labels.push((name, value)),
        }
    }
    Ok(labels)
}

fn percent_decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digit = |index: usize| after.get(index).and_then(|&byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err("a percent sign stands alone") };
        decoded.extend(u8::try_from(high * 16 + low));
        rest = &after[2..];
    }
    Ok(decoded)
}

/// Decodes base64url (RFC 4648, 5) with any or no padding. As in the push gateway, bits that are left over are ignored.
fn base64url_decode(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    const INVALID: &str = "the value of a grouping label is not base64url";
    let unpadded = &text[..text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1)];
    if unpadded.len() % 4 == 1 {
        return Err(INVALID);
    }
    let mut decoded = Vec::with_capacity(unpadded.len());
    let (mut bits, mut buffered) = (0_u32, 0);
    for byte in unpadded {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return Err(INVALID),
        };
        bits = (bits << 6 | u32::from(sextet)) & 0xffff;
        buffered += 6;
        if buffered >= 8 {
            buffered -= 8;
            decoded.extend(u8::try_from(bits >> buffered & 0xff));
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(path: &str) -> Result<Vec<(String, String)>, &'static str> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok(group_labels(path)?.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn paths_of_the_push_gateways_manual_are_read() {
        for (path, expected) in [
            ("/metrics/job/some_job", &[("job", "some_job")][..]),
            ("/metrics/job/some_job/", &[("job", "some_job")]),
            ("/metrics/job/j/instance/i%20x", &[("job", "j"), ("instance", "i x")]),
            (
                "/metrics/job/directory_cleaner/path@base64/L3Zhci90bXA",
                &[("job", "directory_cleaner"), ("path", "/var/tmp")],
            ),
            (
                "/metrics/job/example/first_label@base64/=/second_label/foobar",
                &[("job", "example"), ("first_label", ""), ("second_label", "foobar")],
            ),
            (
                "/metrics/job/titan/name/%CE%A0%CF%81%CE%BF%CE%BC%CE%B7%CE%B8%CE%B5%CF%8D%CF%82",
                &[("job", "titan"), ("name", "Προμηθεύς")],
            ),
            ("/metrics/job/titan/name@base64/zqDPgc6_zrzOt864zrXPjc-C", &[("job", "titan"), ("name", "Προμηθεύς")]),
            ("/metrics/job@base64/YQ==/l%40base64/Yg", &[("job", "a"), ("l", "b")]),
            ("/metrics/job/a/l/1/l/2/job/b", &[("job", "a"), ("l", "2")]),
            ("/metrics/job/a/l/", &[("job", "a"), ("l", "")]),
            ("/metrics/job/a/l/x%2fy+z", &[("job", "a"), ("l", "x/y+z")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(labels(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_without_a_job_or_with_a_half_are_refused() {
        for path in [
            "",
            "/metrics",
            "/metrics/",
            "/metrics/job",
            "/metrics/job/",
            "/metrics/job//a/b",
            "/metrics/job@base64/=",
            "/metrics/instance/i/job/j",
            "/metrics/job/j/l",
            "/metrics/job/j/l/x/",
            "/metrics/job/j/job/k/",
            "/metrics/job/j/l//m/n",
            "/metrics/job/j/__l/x",
            "/metrics/job/j/a.b/x",
            "/metrics/job/j/@base64/YQ",
            "/metrics/job/j/1a/x",
            "/metrics/job/j/l@base64/Y",
            "/metrics/job/j/l@base64/Y+=",
            "/metrics/job/j/l@base64/_w",
            "/metrics/job/j/l/%ff",
            "/metrics/job/j/l/%f",
            "/metrics/job/j/l/%+f",
        ] {
            assert!(labels(path).is_err(), "{path}");
        }
    }

    #[test]
    fn grouping_labels_are_bounded() {
        let path = |count| (1..count).fold("/metrics/job/j".to_owned(), |path, index| format!("{path}/l{index}/v"));
        assert_eq!(labels(&path(GROUP_LABELS_MAX)).unwrap().len(), GROUP_LABELS_MAX);
        assert!(labels(&path(GROUP_LABELS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn base64url_reads_back(bytes: Vec<u8>, padding in 0..3_usize) {
            const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut text = Vec::new();
            for chunk in bytes.chunks(3) {
                let bits = chunk.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte));
                let bits = bits << (8 * (3 - chunk.len()));
                text.extend((0..=chunk.len()).map(|index| ALPHABET[bits >> (18 - 6 * index) & 63]));
            }
            text.extend(std::iter::repeat_n(b'=', padding));
            prop_assert_eq!(base64url_decode(&text).unwrap(), bytes);
        }

        #[test]
        fn no_path_makes_it_panic(path in "(/metrics/job)?(@base64)?(/|[a-z%0-9A-F=_-]|\\PC){0,40}") {
            let _ = group_labels(&path);
        }
    }
}

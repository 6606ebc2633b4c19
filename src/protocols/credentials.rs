//! Credentials of each protocol: where it puts the key or the name of a client, beside `Authorization: Bearer`.

use http1::{Head, parameters};
use rate::{ClientKey, ClientKeys};

/// Bytes of a key at most, decoded: longer ones are no keys.
const KEY_BYTES_MAX: usize = 512;

/// Calls `is_valid` with the client of each key that a request presents elsewhere than as a bearer's, until it returns
/// true: the password of Basic, the token of `Token`, Datadog's `DD-API-KEY` and `api_key`, InfluxDB's `p`.
pub fn find(head: &Head<'_>, keys: &ClientKeys, mut is_valid: impl FnMut(ClientKey) -> bool) -> Option<ClientKey> {
    let mut check = |key: &[u8]| {
        let client = keys.authorization(key);
        (!key.is_empty() && is_valid(client)).then_some(client)
    };
    let mut buffer = [0; KEY_BYTES_MAX];
    let mut found = None;
    if let Some((scheme, rest)) = head.authorization.and_then(split_scheme) {
        if scheme.eq_ignore_ascii_case(b"basic") {
            // A key may stand as the password, or alone in the place of the user's name.
            let decoded = decode_base64(rest, &mut buffer).unwrap_or_default();
            found = match decoded.iter().position(|&byte| byte == b':') {
                Some(colon) if colon + 1 < decoded.len() => check(&decoded[colon + 1..]),
                Some(colon) => check(&decoded[..colon]),
                None => check(decoded),
            };
        } else if scheme.eq_ignore_ascii_case(b"token") {
            // InfluxDB 1.8 takes `user:password` for a token.
            found = check(rest).or_else(|| {
                let colon = rest.iter().position(|&byte| byte == b':')?;
                check(&rest[colon + 1..])
            });
        }
    }
    let parameter = |name: &str| parameters(head.query).find(|(found, _)| found.means(name))?.1;
    found
        .or_else(|| match head.path {
            "/api/v1/series" | "/api/v2/series" | "/api/v1/validate" => {
                head.fields.get("dd-api-key").and_then(&mut check)
            }
            _ => None,
        })
        .or_else(|| {
            let name = parameter_of(head.path)?;
            let key = parameter(name)?.decode(&mut buffer)?;
            check(key.as_bytes())
        })
}

/// The parameter that holds the key, on the paths of protocols that have one.
fn parameter_of(path: &str) -> Option<&'static str> {
    match path {
        "/api/v1/series" | "/api/v2/series" | "/api/v1/validate" => Some("api_key"),
        "/write" | "/query" | "/ping" => Some("p"),
        _ => None,
    }
}

/// The name of a client without API keys, from where its protocol puts it: Datadog's key, or InfluxDB's user and
/// password.
pub fn name(head: &Head<'_>, keys: &ClientKeys) -> Option<ClientKey> {
    match head.path {
        "/api/v1/series" | "/api/v2/series" => {
            if let Some(key) = head.fields.get("dd-api-key").filter(|key| !key.is_empty()) {
                return Some(keys.authorization(key));
            }
        }
        "/write" => {}
        _ => return None,
    }
    let parameter = parameter_of(head.path)?;
    let value = parameters(head.query).find(|(name, _)| name.means(parameter))?.1?;
    let mut buffer = [0; KEY_BYTES_MAX];
    let key = value.decode(&mut buffer)?;
    (!key.is_empty()).then(|| keys.authorization(key.as_bytes()))
}

fn split_scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = value.trim_ascii();
    let end = value.iter().position(|&byte| matches!(byte, b' ' | b'\t'))?;
    Some((&value[..end], value[end..].trim_ascii_start()))
}

/// Decodes base64 (RFC 4648, 4), padded or not, into `buffer`; `None` if it is none, or does not fit.
fn decode_base64<'a>(text: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let (mut bits, mut count, mut length) = (0_u32, 0, 0);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            *buffer.get_mut(length)? = u8::try_from(bits >> count & 0xff).ok()?;
            length += 1;
        }
    }
    // A group of one character holds no byte.
    (count < 6).then_some(&buffer[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let decode = |text: &[u8]| decode_base64(text, &mut [0; 8]).map(<[u8]>::to_vec);
        for (text, bytes) in [
            (&b""[..], &b""[..]),
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYmFy", b"foobar"),
            (b"Zm9vYg", b"foob"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        for text in [&b"Z"[..], b"Zg=x", b"Z-9v", b"Zm9vYmFyZm9v"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}

//! Naive parser: finds each key with a search from the start of the metric's object and copies what stands behind it,
//! as the teaching system did that this project grew out of. Done honestly: no copy that the approach does not need,
//! escapes are resolved, whitespace is skipped.
//!
//! Limits of the approach are left in: it checks no syntax and no repeated tag, a brace inside a string ends its
//! object, and a tag called `name` in front of the field `name` is taken for it. It looks at most bytes many times.

use super::{BatchParser, NAIVE, Sample};
use metric::Kind;
use std::hint::black_box;

/// See the module.
#[derive(Debug)]
pub struct Naive;

impl BatchParser for Naive {
    fn name(&self) -> &'static str {
        NAIVE
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        read(body).map(|metrics| black_box(metrics).len())
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        read(body).map(Some)
    }
}

fn read(body: &[u8]) -> Result<Vec<Sample>, String> {
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let metrics = after_key(body, "\"metrics\"").ok_or("no metrics")?;
    let mut rest = metrics.strip_prefix('[').ok_or("metrics is not an array")?;
    let mut samples = Vec::new();
    while let Some(open) = rest.find('{') {
        let close = closing_brace(&rest[open..]).ok_or("an object does not end")?;
        let object = rest[open..=open + close].to_owned();
        samples.push(metric(&object)?);
        rest = &rest[open + close + 1..];
        if rest.trim_start().starts_with(']') {
            break;
        }
    }
    Ok(samples)
}

fn metric(object: &str) -> Result<Sample, String> {
    let name = after_key(object, "\"name\"").and_then(string).ok_or("no name")?;
    if name.is_empty() || name.len() > 255 {
        return Err("a name has 1 to 255 bytes".to_owned());
    }
    let value = after_key(object, "\"value\"").map(number).ok_or("no value")?;
    let value: f64 = value.parse().map_err(|_| format!("not a value: {value}"))?;
    if !value.is_finite() {
        return Err("a value is finite".to_owned());
    }
    let kind = match after_key(object, "\"type\"").and_then(string) {
        None => Kind::default(),
        Some(name) => Kind::OF_JSON.into_iter().find(|kind| kind.name() == name).ok_or("an unknown type")?,
    };
    let timestamp_ms = match after_key(object, "\"timestamp\"").map(number) {
        None => None,
        Some(digits) => Some(digits.parse().map_err(|_| format!("not epoch milliseconds: {digits}"))?),
    };
    let tags = after_key(object, "\"tags\"").map_or(Ok(Vec::new()), tags)?;
    Ok(Sample { name, value, kind, timestamp_ms, tags })
}

fn tags(text: &str) -> Result<Vec<(String, String)>, String> {
    let close = closing_brace(text).ok_or("the tags do not end")?;
    let inside = text[1..close].to_owned();
    let mut rest = inside.as_str();
    let mut tags = Vec::new();
    while let Some(open) = rest.find('"') {
        let close = closing_quote(&rest[open..]).ok_or("a tag's key does not end")?;
        let key = unescaped(&rest[open + 1..open + close]);
        rest = &rest[open + close + 1..];
        let open = rest.find('"').ok_or("a tag has no value")?;
        let close = closing_quote(&rest[open..]).ok_or("a tag's value does not end")?;
        tags.push((key, unescaped(&rest[open + 1..open + close])));
        rest = &rest[open + close + 1..];
    }
    Ok(tags)
}

/// Returns the text that follows `quoted_key` and its colon.
fn after_key<'a>(text: &'a str, quoted_key: &str) -> Option<&'a str> {
    let behind = &text[text.find(quoted_key)? + quoted_key.len()..];
    Some(behind[behind.find(':')? + 1..].trim_start())
}

/// The string that `text` begins with.
fn string(text: &str) -> Option<String> {
    text.starts_with('"').then_some(())?;
    Some(unescaped(&text[1..closing_quote(text)?]))
}

/// The text up to the end of the number that `text` begins with.
fn number(text: &str) -> &str {
    let end = text.find([',', '}', ']', ' ', '\n', '\r', '\t']).unwrap_or(text.len());
    &text[..end]
}

/// Index of the brace that closes the one `text` begins with.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Index of the quotation mark that closes the one `text` begins with.
fn closing_quote(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find('"')?;
        let backslashes = text.as_bytes()[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(at);
        }
        at += 1;
    }
}

fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        plain.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('u') => {
                let first = code_unit(&mut chars);
                // A surrogate of the upper half is followed by one of the lower half.
                let code = if (0xd800..0xdc00).contains(&first) {
                    let second = chars.nth(1).map_or(0, |_| code_unit(&mut chars));
                    0x1_0000 + ((first - 0xd800) << 10) + second.wrapping_sub(0xdc00)
                } else {
                    first
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(other) => other,
            None => break,
        });
    }
    plain
}

fn code_unit(chars: &mut std::str::Chars) -> u32 {
    (0..4).fold(0, |unit, _| unit << 4 | chars.next().and_then(|digit| digit.to_digit(16)).unwrap_or(0))
}

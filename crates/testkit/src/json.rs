//! JSON read so that a number keeps its digits, which `serde_json::Value` does not do. `serde_json` says whether a
//! text is JSON at all; this only takes apart what it has passed.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use serde::de::IgnoredAny;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`, `true` or `false`.
    Word(String),
    /// The digits, untouched.
    Number(String),
    /// Unescaped.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// In the order of the text.
    Object(Vec<(String, Json)>),
}

/// Reads one JSON document.
///
/// # Errors
/// The text is no JSON document, with the reason.
pub fn parse(text: &str) -> Result<Json, String> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("{error}: {text}"))?;
    let mut rest = text;
    let value = value(&mut rest);
    assert_eq!(rest.trim_start(), "", "serde_json passed what this reader does not understand: {text}");
    Ok(value)
}

/// Takes `length` bytes off `rest`.
fn take<'a>(rest: &mut &'a str, length: usize) -> &'a str {
    let (token, after) = rest.split_at(length);
    *rest = after;
    token
}

fn value(rest: &mut &str) -> Json {
    *rest = rest.trim_start();
    match rest.as_bytes()[0] {
        b'{' => Json::Object(items(rest, |rest| {
            let key = string(rest);
            *rest = rest.trim_start();
            take(rest, 1); // the colon
            (key, value(rest))
        })),
        b'[' => Json::List(items(rest, value)),
        b'"' => Json::Text(string(rest)),
        b'-' | b'0'..=b'9' => {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
            Json::Number(take(rest, length.unwrap_or(rest.len())).to_owned())
        }
        _ => {
            let length = rest.find(|c: char| !c.is_ascii_alphabetic());
            Json::Word(take(rest, length.unwrap_or(rest.len())).to_owned())
        }
    }
}

fn string(rest: &mut &str) -> String {
    let bytes = rest.as_bytes();
    let mut end = 1;
    while bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    serde_json::from_str(take(rest, end + 1)).unwrap()
}

/// Parses the items between the brackets that `rest` begins with, separated by commas.
fn items<T>(rest: &mut &str, mut item: impl FnMut(&mut &str) -> T) -> Vec<T> {
    take(rest, 1);
    let mut list = Vec::new();
    loop {
        *rest = rest.trim_start();
        match rest.as_bytes()[0] {
            b'}' | b']' => break,
            b',' => {
                take(rest, 1);
                *rest = rest.trim_start();
            }
            _ => {}
        }
        list.push(item(rest));
    }
    take(rest, 1);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_order_are_kept() {
        let number = |digits: &str| Json::Number(digits.into());
        assert_eq!(
            parse(r#" {"b":[1.50,-0, 1E+6],"a":{"\"}":"\u00e9,"},"c":null} "#).unwrap(),
            Json::Object(vec![
                ("b".into(), Json::List(vec![number("1.50"), number("-0"), number("1E+6")])),
                ("a".into(), Json::Object(vec![("\"}".into(), Json::Text("\u{e9},".into()))])),
                ("c".into(), Json::Word("null".into())),
            ])
        );
        assert!(parse("{\"a\":01}").is_err());
    }
}

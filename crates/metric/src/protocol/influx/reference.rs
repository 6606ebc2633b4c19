//! A second reading of the specification, one byte at a time and as plain as can be: the oracle of the tests.

use std::collections::BTreeMap;

use regex::bytes::Regex;

/// A line that is neither blank nor a comment.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    Refused,
    Point { metrics: Vec<(Vec<u8>, Number)>, tags: BTreeMap<Vec<u8>, Vec<u8>>, texts: u32, timestamp: Option<i128> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    Integer(i128),
    /// With the text that was sent.
    Float(f64, Vec<u8>),
}

/// The grammar of values.
pub(super) struct Reference {
    float: Regex,
    signed: Regex,
    unsigned: Regex,
    boolean: Regex,
}

/// A line that is read, and the place in it.
struct Input<'a> {
    line: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | 0)) {
            self.at += 1;
        }
    }

    /// The text up to one of `stops` that is not escaped. Escapes of `stops` are resolved.
    fn text(&mut self, stops: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(byte) = self.peek() {
            let next = self.line.get(self.at + 1);
            if byte == b'\\' && next.is_some_and(|next| stops.contains(next)) {
                text.push(self.line[self.at + 1]);
                self.at += 2;
                continue;
            }
            if stops.contains(&byte) {
                break;
            }
            text.push(byte);
            self.at += 1;
        }
        text
    }
}

/// The lines of a body, with the place of each: strings may hold line feeds.
pub(super) fn lines(body: &[u8]) -> Vec<&[u8]> {
    #[derive(PartialEq)]
    enum Part {
        Start,
        Comment,
        Series,
        Fields,
        String,
    }
    let (mut lines, mut start, mut part, mut at) = (Vec::new(), 0, Part::Start, 0);
    while at < body.len() {
        let byte = body[at];
        let before = |back: usize| if at >= start + back { body[at - back] } else { 0 };
        if part == Part::String {
            match byte {
                b'\\' => at += 1,
                b'"' => part = Part::Fields,
                _ => {}
            }
        } else if byte == b'\n' {
            lines.push(&body[start..at]);
            (start, part) = (at + 1, Part::Start);
        } else if part == Part::Start && !matches!(byte, b' ' | b'\t' | 0) {
            part = if byte == b'#' { Part::Comment } else { Part::Series };
        } else if part == Part::Series && byte == b' ' && before(1) != b'\\' {
            part = Part::Fields;
        } else if part == Part::Fields && byte == b'"' && before(1) == b'=' && before(2) != b'\\' {
            part = Part::String;
        }
        at += 1;
    }
    if start < body.len() {
        lines.push(&body[start..]);
    }
    lines
}

impl Reference {
    pub(super) fn new() -> Self {
        Self {
            float: Regex::new(r"(?-u)^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$").unwrap(),
            signed: Regex::new(r"(?-u)^(-?[0-9]+)i$").unwrap(),
            unsigned: Regex::new(r"(?-u)^([0-9]+)u$").unwrap(),
            boolean: Regex::new(r"(?-u)^(t|T|true|True|TRUE|(f|F|false|False|FALSE))$").unwrap(),
        }
    }

    fn number(&self, text: &[u8]) -> Option<Number> {
        let utf8 = std::str::from_utf8(text).ok()?;
        if let Some(groups) = self.boolean.captures(text) {
            return Some(Number::Integer(i128::from(groups.get(2).is_none())));
        }
        for (grammar, range) in
            [(&self.signed, i128::from(i64::MIN)..=i64::MAX.into()), (&self.unsigned, 0..=u64::MAX.into())]
        {
            if grammar.is_match(text) {
                let integer = utf8[..utf8.len() - 1].parse().ok().filter(|integer| range.contains(integer));
                return integer.map(Number::Integer);
            }
        }
        let float = self.float.is_match(text).then(|| utf8.parse::<f64>().ok()).flatten()?;
        float.is_finite().then(|| Number::Float(float, text.to_vec()))
    }

    /// Reads a line of [`lines`]; `None` if it is blank or a comment.
    pub(super) fn read(&self, line: &[u8]) -> Option<Reading> {
        let mut input = Input { line: line.strip_suffix(b"\r").unwrap_or(line), at: 0 };
        input.whitespace();
        if matches!(input.peek(), None | Some(b'#')) {
            return None;
        }
        Some(self.point(&mut input).unwrap_or(Reading::Refused))
    }

    fn point(&self, input: &mut Input<'_>) -> Option<Reading> {
        let measurement = input.text(b", ");
        if measurement.is_empty() {
            return None;
        }
        let mut tags = BTreeMap::new();
        while input.peek()? == b',' {
            input.at += 1;
            let key = input.text(b",= ");
            if key.is_empty() || input.peek()? != b'=' {
                return None;
            }
            input.at += 1;
            let mut value = Vec::new();
            if input.peek()? == b'=' {
                value.push(b'=');
                input.at += 1;
            }
            value.extend(input.text(b",= "));
            if value.is_empty() || input.peek()? == b'=' {
                return None;
            }
            tags.insert(key, value);
        }
        input.whitespace();
        let (mut metrics, mut texts) = (Vec::new(), 0);
        loop {
            let key = input.text(b",= ");
            if key.is_empty() || input.peek()? != b'=' {
                return None;
            }
            input.at += 1;
            if input.peek()? == b'"' {
                input.at += 1;
                while input.peek()? != b'"' {
                    input.at += if input.peek()? == b'\\' { 2 } else { 1 };
                }
                input.at += 1;
                texts += 1;
            } else {
                let start = input.at;
                while !matches!(input.peek(), None | Some(b',' | b' ')) {
                    input.at += 1;
                }
                let number = self.number(&input.line[start..input.at])?;
                let name = if key == b"value" { measurement.clone() } else { [&measurement[..], b"_", &key].concat() };
                metrics.push((name, number));
            }
            match input.peek() {
                Some(b',') => input.at += 1,
                None | Some(b' ') => break,
                Some(_) => return None,
            }
        }
        input.whitespace();
        let timestamp = std::str::from_utf8(&input.line[input.at..]).ok()?.trim_end_matches(' ');
        let digits = timestamp.strip_prefix('-').unwrap_or(timestamp);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || (digits.is_empty() && !timestamp.is_empty()) {
            return None;
        }
        let timestamp = (!timestamp.is_empty()).then(|| timestamp.parse().unwrap_or(i128::MAX));
        Some(Reading::Point { metrics, tags, texts, timestamp })
    }
}

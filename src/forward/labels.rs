//! Name and tags of a line as labels for a receiver, sorted by name, in the encoding of remote write 1.0.
//!
//! What a receiver refuses is mapped: a character that is not allowed in a name becomes an underscore; a label without
//! a value is left out; values of labels whose names became equal are joined by a semicolon.

use crate::limits;
use metric::{Line, Text, protocol::remote_write::encode::put_label_v1};
use std::ops::Range;

const NAME: &[u8] = b"__name__";

/// The labels of one line after the other, with memory that is used again.
#[derive(Debug, Default)]
pub struct Mapper {
    text: Vec<u8>,
    /// Name and value of each label, as places in the text.
    labels: Vec<(Range<usize>, Range<usize>)>,
    encoded: Vec<u8>,
}

impl Mapper {
    /// The labels of a line, encoded. Equal labels are equal bytes.
    pub fn map(&mut self, line: &Line<'_>) -> &[u8] {
        for memory in [&mut self.text, &mut self.encoded] {
            memory.clear();
            memory.shrink_to(limits::FORWARD_REQUEST_BYTES);
        }
        self.labels.clear();
        for (key, value) in line.tags() {
            if value.is_empty() {
                continue;
            }
            let key = if is_allowed(key, false) { self.append(key) } else { self.append_sanitised(key, false) };
            if self.text[key.clone()] != *NAME {
                let value = if is_plain(value) { self.append(value) } else { self.append_decoded(value) };
                self.labels.push((key, value));
            }
        }
        let name = line.name;
        let value = if is_allowed(name, true) { self.append(name) } else { self.append_sanitised(name, true) };
        let key = self.append(NAME);
        self.labels.push((key, value));
        // Stable: values that are joined keep the order of their tags.
        let Self { text, labels, encoded } = self;
        labels.sort_by(|one, other| text[one.0.clone()].cmp(&text[other.0.clone()]));
        for group in labels.chunk_by(|one, other| text[one.0.clone()] == text[other.0.clone()]) {
            let (name, value) = (&text[group[0].0.clone()], &text[group[0].1.clone()]);
            match group {
                [_] => put_label_v1(encoded, (name, value)),
                _ => put_label_v1(encoded, (name, &joined(text, group))),
            }
        }
        encoded
    }

    fn append(&mut self, text: &[u8]) -> Range<usize> {
        let begin = self.text.len();
        self.text.extend_from_slice(text);
        begin..self.text.len()
    }

    #[cold]
    fn append_decoded(&mut self, raw: &[u8]) -> Range<usize> {
        let begin = self.text.len();
        self.text.extend(Text::of_line(raw).decoded());
        begin..self.text.len()
    }

    #[cold]
    fn append_sanitised(&mut self, raw: &[u8], is_metric: bool) -> Range<usize> {
        let name: Vec<u8> = Text::of_line(raw).decoded().collect();
        self.append(sanitised(&String::from_utf8_lossy(&name), is_metric).as_bytes())
    }
}

/// The values of labels that have equal names, joined.
#[cold]
fn joined(text: &[u8], group: &[(Range<usize>, Range<usize>)]) -> Vec<u8> {
    let values: Vec<&[u8]> = group.iter().map(|(_, value)| &text[value.clone()]).collect();
    values.join(&b';')
}

/// True for a string of a line that has no escapes.
fn is_plain(raw: &[u8]) -> bool {
    memchr::memchr(b'\\', raw).is_none()
}

/// True for the name of a metric, or of a label, that receivers take as it is. Those of labels have no colons.
fn is_allowed(raw: &[u8], is_metric: bool) -> bool {
    let is_allowed = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'_' || (is_metric && byte == b':');
    raw.first().is_some_and(|first| !first.is_ascii_digit()) && raw.iter().all(is_allowed)
}

/// A name of which every character is allowed.
fn sanitised(name: &str, is_metric: bool) -> String {
    let mut text = String::new();
    for (index, character) in name.chars().enumerate() {
        if index == 0 && character.is_ascii_digit() {
            text.push('_');
        }
        let is_allowed = character.is_ascii_alphanumeric() || (is_metric && character == ':');
        text.push(if is_allowed { character } else { '_' });
    }
    if text.is_empty() { "_".to_owned() } else { text }
}

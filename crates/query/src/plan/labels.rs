//! Identity of a series: its name and tags, both as they stand in the log. The same tags in another order are the same
//! series.

use crate::plan::request::By;
use metric::{Tags, Text};
use std::{borrow::Cow, collections::HashMap};

/// Between name and tags in a key. Neither has a raw control character.
const SEPARATOR: u8 = 0;

/// The key of a series of the result: its name, and its tags as an object in JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The name, escaped as in JSON.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.split(|&byte| byte == SEPARATOR).next().unwrap_or_default()
    }

    /// The tags, as an object in JSON.
    #[must_use]
    pub fn tags(&self) -> &[u8] {
        self.0.splitn(2, |&byte| byte == SEPARATOR).nth(1).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// Keys of tags, to be looked up in the tags of a line in one pass over them, however many keys there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lookup(HashMap<Vec<u8>, usize>);

impl Lookup {
    /// The place of an escaped key, a new one if it is not there yet.
    pub fn add(&mut self, key: Vec<u8>) -> usize {
        let next = self.0.len();
        *self.0.entry(key).or_insert(next)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of each key by its place; of a key that comes twice the first.
    pub fn values<'a>(&self, tags: Tags<'a>) -> Vec<Option<&'a [u8]>> {
        self.tags(tags).into_iter().map(|tag| tag.map(|(_, value)| value)).collect()
    }

    fn tags<'a>(&self, tags: Tags<'a>) -> Vec<Option<(&'a [u8], &'a [u8])>> {
        let mut found = vec![None; self.0.len()];
        if self.is_empty() {
            return found;
        }
        for (key, value) in tags {
            if let Some(&place) = self.0.get(key) {
                found[place].get_or_insert((key, value));
            }
        }
        found
    }
}

impl FromIterator<Vec<u8>> for Lookup {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(keys: I) -> Self {
        let mut lookup = Self::default();
        for key in keys {
            lookup.add(key);
        }
        lookup
    }
}

/// Writes the key of the series that a line belongs to.
pub(crate) fn write_key(name: &[u8], tags: &[u8], by: &By, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(name);
    key.push(SEPARATOR);
    key.push(b'{');
    match by {
        By::Nothing => {}
        By::All => {
            let mut sorted: Vec<_> = tags_of(tags).collect();
            sorted.sort_unstable();
            push_tags(key, sorted.into_iter());
        }
        By::Keys(keys) => push_tags(key, keys.tags(tags_of(tags)).into_iter().flatten()),
    }
    key.push(b'}');
}

fn push_tags<'a>(key: &mut Vec<u8>, tags: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (number, (tag, value)) in tags.enumerate() {
        key.extend_from_slice(if number == 0 { b"\"" } else { b",\"" });
        key.extend_from_slice(tag);
        key.extend_from_slice(b"\":\"");
        key.extend_from_slice(value);
        key.push(b'"');
    }
}

/// The tags of an object in JSON that came from the log: keys and values, escaped.
pub fn tags_of(tags: &[u8]) -> Tags<'_> {
    Tags::new(tags)
}

/// Unescapes a text of the log.
#[must_use]
pub fn meaning(escaped: &[u8]) -> Cow<'_, str> {
    let text = Text::of_line(escaped);
    if text.has_escapes() {
        // Lines are UTF-8.
        Cow::Owned(String::from_utf8_lossy(&text.decoded().collect::<Vec<_>>()).into_owned())
    } else {
        String::from_utf8_lossy(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tags: &str, by: &By) -> String {
        let mut key = Vec::new();
        write_key(b"cpu", tags.as_bytes(), by, &mut key);
        let key = Key::from(&key[..]);
        assert_eq!(key.name(), b"cpu");
        String::from_utf8(key.tags().to_vec()).unwrap()
    }

    #[test]
    fn the_order_of_tags_does_not_matter() {
        let tags = r#"{"host":"web1","dc":"a","":""}"#;
        assert_eq!(key(tags, &By::All), r#"{"":"","dc":"a","host":"web1"}"#);
        assert_eq!(key(tags, &By::Nothing), "{}");
        let by = |keys: &[&str]| By::Keys(keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Lookup>());
        assert_eq!(key(tags, &by(&["host", "dc"])), r#"{"host":"web1","dc":"a"}"#);
        assert_eq!(key(tags, &by(&["rack", "dc"])), r#"{"dc":"a"}"#);
        assert_eq!(key(tags, &by(&["rack"])), "{}");
        assert_eq!(key("{}", &By::All), "{}");
        assert_eq!(key(r#"{"a":"{","b":"\"{"}"#, &By::All), r#"{"a":"{","b":"\"{"}"#);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(meaning(br#"a\n\"\u0001\\ "#), "a\n\"\u{1}\\ ");
        assert_eq!(meaning("ü".as_bytes()), "ü");
    }
}

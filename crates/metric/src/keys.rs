//! Finds the tag of a metric whose key has come before.
//!
//! Promises: time linear in the bytes of the keys, whoever chose them, and nothing allocated after [`Keys::new`].
//!
//! A few keys without escapes are compared pair by pair: nothing is cheaper. More of them, or keys that would have to
//! be decoded at every comparison, go through a hash table, by SipHash with a secret of this process: whoever sends the
//! keys cannot choose them so that they meet in one place.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::Tag;
use super::text::Text;

/// So many keys are compared pair by pair; from about here on hashing is cheaper.
const PAIRWISE_MAX: usize = 16;

/// The keys that the tags of one metric have had so far.
pub(super) struct Keys {
    /// A hash table with linear probing, at most half full: two to four slots of 24 bytes for each tag there may be.
    /// Empty for a metric that is compared pair by pair.
    slots: Vec<Option<Slot>>,
    /// Which slots are taken: the tag of index n has the one at `taken[n]`.
    taken: Vec<usize>,
    secret: RandomState,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    /// Index of the tag.
    tag: usize,
}

impl Keys {
    /// For metrics with at most `tags_limit` tags.
    pub fn new(tags_limit: usize) -> Self {
        Self {
            slots: vec![None; (2 * tags_limit).next_power_of_two()],
            taken: Vec::with_capacity(tags_limit),
            secret: RandomState::new(),
        }
    }

    /// Another metric begins.
    #[inline]
    pub fn clear(&mut self) {
        for slot in self.taken.drain(..) {
            self.slots[slot] = None;
        }
    }

    /// Returns true if `key` is the key of one of `tags`: the tags of this metric so far, for each of which this was
    /// called before it was added.
    #[inline]
    pub fn has(&mut self, tags: &[Tag], key: &Text) -> bool {
        if tags.len() < PAIRWISE_MAX && !key.has_escapes() && self.taken.is_empty() {
            return tags.iter().any(|tag| tag.key.raw == key.raw);
        }
        self.has_by_hash(tags, key)
    }

    #[inline(never)]
    fn has_by_hash(&mut self, tags: &[Tag], key: &Text) -> bool {
        for tag in &tags[self.taken.len()..] {
            self.insert(tags, &tag.key);
        }
        !self.insert(tags, key)
    }

    /// Enters `key` as that of the next tag; `false` if one of `tags` has it.
    #[inline]
    fn insert(&mut self, tags: &[Tag], key: &Text) -> bool {
        let hash = self.hash(key);
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are as good as all")]
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots[at] {
            if slot.hash == hash && tags[slot.tag].key.means_the_same(key) {
                return false;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = Some(Slot { hash, tag: self.taken.len() });
        self.taken.push(at);
        true
    }

    /// A hash of what `key` means, eight bytes at a time.
    #[inline]
    fn hash(&self, key: &Text) -> u64 {
        let mut hasher = self.secret.build_hasher();
        key.for_each_word(|word| hasher.write_u64(word));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::Cursor;
    use super::*;

    fn text(quoted: &str) -> Text<'_> {
        Cursor::new(&quoted.as_bytes()[1..]).string().unwrap()
    }

    /// The index of the first key that has come before.
    fn first_repeated(keys: &mut Keys, quoted: &[String]) -> Option<usize> {
        keys.clear();
        let mut tags = Vec::new();
        quoted.iter().position(|quoted| {
            let key = text(quoted);
            let repeated = keys.has(&tags, &key);
            tags.push(Tag { key, value: Text::default() });
            repeated
        })
    }

    #[test]
    fn at_any_number_of_keys_in_either_spelling() {
        const TAGS: usize = 3 * PAIRWISE_MAX;
        let mut keys = Keys::new(TAGS);
        // Long enough to take several words, and the same in the first ones.
        let plain = |index: usize| format!("\"a key that is long {index}\"");
        let escaped = |index: usize| format!("\"a key th\\u0061t is l\\u006fng {index}\"");
        for count in 1..TAGS {
            for first_escaped in [0, 1, PAIRWISE_MAX, TAGS] {
                let spell = |index| if index < first_escaped { plain(index) } else { escaped(index) };
                let mut quoted: Vec<_> = (0..count).map(spell).collect();
                assert_eq!(first_repeated(&mut keys, &quoted), None);
                for again in [0, count / 2, count - 1] {
                    for spelling in [plain(again), escaped(again)] {
                        quoted.push(spelling);
                        assert_eq!(first_repeated(&mut keys, &quoted), Some(count), "{quoted:?}");
                        quoted.pop();
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_at_the_end_make_a_difference() {
        let mut keys = Keys::new(32);
        let quoted: Vec<_> = (0..20).map(|zeros| format!("\"k{}\"", "\\u0000".repeat(zeros))).collect();
        assert_eq!(first_repeated(&mut keys, &quoted), None);
    }
}

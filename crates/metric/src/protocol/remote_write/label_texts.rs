//! Numbers of the texts of labels: the same in all bodies of a core, where the references of remote write 2.0 are those
//! of one body.

use super::super::series_cache::hash;
use crate::limits::{LABEL_TEXTS_BYTES_MAX, LABEL_TEXTS_MAX};

/// Bytes of a text that gets a number, at most.
const TEXT_BYTES_MAX: usize = 255;
/// Places of the table by hash: two for each text.
const PLACES: usize = 2 * LABEL_TEXTS_MAX;
/// Places at which a text is looked for: whoever makes texts collide only leaves some of them without a number.
const PLACES_TRIED: usize = 8;
const _: () = assert!(PLACES.is_power_of_two() && LABEL_TEXTS_MAX < u16::MAX as usize);

/// The texts that have a number.
#[derive(Debug)]
pub(super) struct LabelTexts {
    bytes: Vec<u8>,
    /// Offsets in `bytes` behind each text. The first, which is empty, has the number 0, and nothing else has.
    ends: Vec<u32>,
    /// Numbers by the hash of the text; 0 where there is none.
    places: Vec<u16>,
    /// Goes up when all texts are dropped, and their numbers get another meaning. Never 0.
    generation: u64,
    is_full: bool,
}

impl LabelTexts {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), places: Vec::new(), generation: 1, is_full: false }
    }

    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>() + self.places.capacity() * size_of::<u16>()
    }

    /// Numbers of one generation stand for the same texts.
    #[inline]
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins a body: if there was no space for all texts of those before, all are dropped.
    pub(super) fn begin_body(&mut self) {
        if self.is_full {
            self.bytes.clear();
            self.ends.clear();
            self.places.fill(0);
            self.generation += 1;
            self.is_full = false;
        }
    }

    /// The number of a text. `None` if it has none and gets none: it is empty or long, or there is no space.
    pub(super) fn number(&mut self, text: &[u8]) -> Option<u16> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        if self.ends.is_empty() {
            self.ends.push(0);
            self.places.resize(PLACES, 0);
        }
        let first = usize::try_from(hash(text, 0) >> 32).unwrap_or(0);
        for place in first..first + PLACES_TRIED {
            let number = self.places[place % PLACES];
            if number == 0 {
                return self.add(text, place % PLACES);
            }
            if self.text(number) == Some(text) {
                return Some(number);
            }
        }
        self.is_full = true;
        None
    }

    /// The text with this number.
    #[inline]
    pub(super) fn text(&self, number: u16) -> Option<&[u8]> {
        let number = usize::from(number);
        let (start, end) = (self.ends.get(number.checked_sub(1)?)?, self.ends.get(number)?);
        self.bytes.get(*start as usize..*end as usize)
    }

    fn add(&mut self, text: &[u8], place: usize) -> Option<u16> {
        if self.ends.len() > LABEL_TEXTS_MAX || self.bytes.len() + text.len() > LABEL_TEXTS_BYTES_MAX {
            self.is_full = true;
            return None;
        }
        let number = u16::try_from(self.ends.len()).ok()?;
        self.bytes.extend_from_slice(text);
        self.ends.push(u32::try_from(self.bytes.len()).ok()?);
        self.places[place] = number;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_the_same_number() {
        let mut texts = LabelTexts::new();
        let numbers = ["job", "node", "job", "instance", "node"].map(|text| texts.number(text.as_bytes()).unwrap());
        assert_eq!(numbers, [1, 2, 1, 3, 2]);
        assert_eq!((texts.number(b""), texts.number(&[b'x'; 256])), (None, None));
        texts.begin_body();
        assert_eq!((texts.number(b"instance"), texts.generation()), (Some(3), 1));
    }

    #[test]
    fn texts_are_bounded_and_then_dropped() {
        let mut texts = LabelTexts::new();
        let mut numbered = 0;
        for number in 0..2 * LABEL_TEXTS_MAX {
            numbered += usize::from(texts.number(format!("text {number}").as_bytes()).is_some());
        }
        assert!((LABEL_TEXTS_MAX / 2..=LABEL_TEXTS_MAX).contains(&numbered), "{numbered}");
        // What has a number keeps it up to the end of the body.
        assert_eq!(texts.number(b"text 0"), Some(1));
        texts.begin_body();
        assert_eq!((texts.generation(), texts.number(b"text 7")), (2, Some(1)));
        for number in 0..LABEL_TEXTS_BYTES_MAX / 250 + 1 {
            texts.number(format!("{number:0250}").as_bytes());
        }
        assert!(texts.kept_bytes() < 2 * LABEL_TEXTS_BYTES_MAX + 16 * LABEL_TEXTS_MAX, "{}", texts.kept_bytes());
    }
}

//! Line feeds of a text, found many at a time.
//!
//! Looking for the end of each line by itself costs a call and a loop whose number of turns no processor foresees. Here
//! 64 bytes are one word of flags, whatever is in them, and the places go to a list.

use super::super::block::{self, BLOCK_BYTES, Block};

/// Bytes whose line feeds are one word of flags.
const CHUNK_BYTES: usize = 64;
/// Bytes that are looked at before the first of their line feeds is used.
const WINDOW_BYTES: usize = 32 * CHUNK_BYTES;

/// The line feeds of a text, from its beginning to its end.
pub struct LineFeeds<'a> {
    text: &'a [u8],
    /// Offsets of the bytes that were looked at last.
    window_at: usize,
    window_end: usize,
    /// The line feeds in the window, as offsets from its beginning; behind them one that means nothing.
    places: [u16; WINDOW_BYTES + 1],
    count: usize,
    /// Index of the first that has not been taken.
    next: usize,
}

impl<'a> LineFeeds<'a> {
    /// The line feeds of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, window_at: 0, window_end: 0, places: [0; WINDOW_BYTES + 1], count: 0, next: 0 }
    }

    /// Offset of the first line feed at `at` or behind it, which must be behind the one that was returned last; `None`
    /// if no more are there.
    #[inline]
    pub fn next_from(&mut self, at: usize) -> Option<usize> {
        loop {
            while let Some(&place) = self.places[..self.count].get(self.next) {
                self.next += 1;
                let place = self.window_at + usize::from(place);
                if place >= at {
                    return Some(place);
                }
            }
            let from = self.window_end.max(at);
            if from >= self.text.len() {
                return None;
            }
            self.fill(from);
        }
    }

    /// Looks at the bytes from `from` on.
    #[inline(never)]
    fn fill(&mut self, from: usize) {
        let window = &self.text[from..];
        let window = &window[..window.len().min(WINDOW_BYTES)];
        (self.window_at, self.window_end) = (from, from + window.len());
        (self.count, self.next) = (0, 0);
        let (chunks, rest) = window.as_chunks::<CHUNK_BYTES>();
        let mut at = 0;
        for chunk in chunks {
            self.note(at, flags(chunk));
            at += CHUNK_BYTES;
        }
        let rest = rest.iter().rev().fold(0, |flags, &byte| flags << 1 | u64::from(byte == b'\n'));
        self.note(at, rest);
    }

    /// Notes the line feeds that are flagged, bit n for the byte `at` + n.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a window, asserted below")]
    fn note(&mut self, at: usize, mut flags: u64) {
        const { assert!(WINDOW_BYTES <= u16::MAX as usize) };
        // Without a branch for the one line feed that there mostly is, or is not.
        self.places[self.count] = (at + flags.trailing_zeros() as usize) as u16;
        self.count += usize::from(flags != 0);
        flags &= flags.wrapping_sub(1);
        while flags != 0 {
            self.places[self.count] = (at + flags.trailing_zeros() as usize) as u16;
            self.count += 1;
            flags &= flags - 1;
        }
    }
}

/// Flags the line feeds.
#[inline(always)]
fn flags(chunk: &[u8; CHUNK_BYTES]) -> u64 {
    const FEEDS: Block = [b'\n'; BLOCK_BYTES];
    let (blocks, _) = chunk.as_chunks::<BLOCK_BYTES>();
    blocks.iter().rev().fold(0, |flags, block| flags << BLOCK_BYTES | u64::from(block::equal(block, &FEEDS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8]) -> Vec<usize> {
        let mut feeds = LineFeeds::new(text);
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(feed) = feeds.next_from(at) {
            found.push(feed);
            at = feed + 1;
        }
        assert_eq!(feeds.next_from(at), None);
        found
    }

    #[test]
    fn each_byte_may_be_a_line_feed() {
        for bytes in [0, 1, 63, 64, 65, WINDOW_BYTES - 1, WINDOW_BYTES, WINDOW_BYTES + 1, 3 * WINDOW_BYTES + 70] {
            assert_eq!(all(&vec![b'\n'; bytes]), (0..bytes).collect::<Vec<_>>());
            assert!(all(&vec![b'a'; bytes]).is_empty());
        }
    }

    #[test]
    fn a_line_feed_is_found_at_every_place() {
        const BYTES: usize = WINDOW_BYTES + 200;
        for place in 0..BYTES {
            let mut text = vec![0x8a; BYTES];
            text[place] = b'\n';
            assert_eq!(all(&text), [place]);
        }
    }

    proptest! {
        #[test]
        fn line_feeds_are_those_of_a_naive_search(
            text in prop::collection::vec(prop_oneof![8 => Just(b'a'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..6_000),
            steps in prop::collection::vec(0..3_000_usize, 1..20),
        ) {
            let naive = |from: usize| text.iter().enumerate().skip(from).find(|(_, byte)| **byte == b'\n');
            let expected: Vec<_> = (0..text.len()).filter(|&at| text[at] == b'\n').collect();
            prop_assert_eq!(all(&text), expected);
            // With leaps.
            let (mut feeds, mut at) = (LineFeeds::new(&text), 0);
            for step in steps {
                let found = feeds.next_from(at);
                prop_assert_eq!(found, naive(at).map(|(at, _)| at));
                at = found.map_or(text.len(), |found| found + 1) + step;
            }
        }
    }
}

//! Bytes that are a function of a seed and their place in the stream: what is lost, repeated or out of order is found
//! at its first byte.

use testkit::random::mix;

/// A place in the stream of a seed.
pub struct Pattern {
    seed: u64,
    pub offset: usize,
}

impl Pattern {
    pub const fn new(seed: u64) -> Self {
        Self { seed, offset: 0 }
    }

    fn byte(&self, offset: usize) -> u8 {
        mix(self.seed ^ (offset / 8) as u64).to_le_bytes()[offset % 8]
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, length);
        bytes
    }

    /// Puts the next `length` bytes behind those in `buffer`.
    pub fn append(&mut self, buffer: &mut Vec<u8>, length: usize) {
        buffer.extend((self.offset..self.offset + length).map(|offset| self.byte(offset)));
        self.offset += length;
    }

    /// Asserts that `bytes` are the next ones.
    pub fn check(&mut self, bytes: &[u8]) {
        for (place, byte) in bytes.iter().enumerate() {
            assert_eq!(
                *byte,
                self.byte(self.offset + place),
                "at byte {} of stream {}",
                self.offset + place,
                self.seed
            );
        }
        self.offset += bytes.len();
    }
}

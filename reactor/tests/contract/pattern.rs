//! Bytes that are a function of a seed and their place in the stream: what is lost, repeated or out of order is found
//! at its first byte.

/// A small generator (splitmix64: Steele, Lea and Flood, OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + usize::try_from(self.next() % (high - low + 1) as u64).unwrap()
    }
}

const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

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

//! Locates a single flipped bit. One flipped bit changes a CRC-32 by an amount that depends only on its place, so the
//! difference of two checksums gives the only place where a single flip would explain it. Damage of more bits can look
//! like that too, so the result is a hint for people and is not used for repairs.
//!
//! The checksum is the one of gzip, reflected, with the polynomial 0xEDB88320. It is linear over GF(2): the difference
//! of the checksums of two texts of one length is the checksum, begun at 0, of the difference of the texts.

/// The CRC state after each byte, from state 0.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut state = byte;
        let mut bit = 0;
        while bit < 8 {
            state = if state & 1 == 1 { state >> 1 ^ 0xedb8_8320 } else { state >> 1 };
            bit += 1;
        }
        table[byte as usize] = state;
        byte += 1;
    }
    table
};

/// The index of each entry of [`TABLE`], by its highest byte: no two have the same.
const BY_HIGHEST: [u8; 256] = {
    let mut by_highest = [0; 256];
    let mut index: u8 = 0;
    while index < u8::MAX {
        by_highest[(TABLE[index as usize] >> 24) as usize] = index;
        index += 1;
    }
    by_highest[(TABLE[index as usize] >> 24) as usize] = index;
    by_highest
};

/// The byte, counted from the start, and the bit whose flip turns a text of `bytes` bytes and one checksum into the
/// other. `difference` is the exclusive or of the checksums. Takes a few nanoseconds a byte.
pub fn single(bytes: usize, difference: u32) -> Option<(usize, u8)> {
    // Back from the end: the state before each byte, if all behind the flipped bit are without difference.
    let mut state = difference;
    for at in (0..bytes).rev() {
        if let Some(bit) = (0..8).find(|bit| TABLE[1 << bit] == state) {
            return Some((at, bit));
        }
        let index = BY_HIGHEST[(state >> 24) as usize];
        state = (state ^ TABLE[index as usize]) << 8 | u32::from(index);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_difference_is_no_flip() {
        assert_eq!(single(1000, 0), None);
        assert_eq!(single(0, 1), None);
    }

    proptest! {
        #[test]
        fn every_flip_is_found(mut text in prop::collection::vec(any::<u8>(), 1..2000), at: prop::sample::Index, bit in 0..8_u8) {
            let before = crc32fast::hash(&text);
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
            prop_assert_eq!(single(text.len(), before ^ crc32fast::hash(&text)), Some((at, bit)));
        }
    }
}

//! Pieces of a response whose length is not known when it begins, and how they stand on the wire.
//!
//! A piece is made off the reactor and sent from the memory it was made in: the space for the framing of a chunk (RFC
//! 9112, 7.1) lies before and behind its content from the start.

use crate::limits::PIECE_BYTES_MAX;

/// Four hexadecimal digits and CR LF.
const SIZE_BYTES: usize = 6;
const CHUNK_END: &[u8] = b"\r\n";
/// The chunk of size zero, and no trailer.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const _: () = assert!(PIECE_BYTES_MAX <= 0xffff, "the size of a piece has four digits");
const MEMORY_BYTES: usize = SIZE_BYTES + PIECE_BYTES_MAX + CHUNK_END.len() + LAST_CHUNK.len();

/// Part of a response's body, at most [`PIECE_BYTES_MAX`].
#[derive(Debug)]
pub struct Piece {
    /// Space for the size, then the content.
    bytes: Vec<u8>,
}

impl Default for Piece {
    fn default() -> Self {
        Self::new()
    }
}

impl Piece {
    /// An empty piece, with the memory of a full one.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(MEMORY_BYTES);
        bytes.resize(SIZE_BYTES, 0);
        Self { bytes }
    }

    /// A piece of the beginning of `content`, with no more memory than it needs, and the rest.
    #[must_use]
    pub fn split_from(content: &[u8]) -> (Self, &[u8]) {
        let (taken, rest) = content.split_at(content.len().min(PIECE_BYTES_MAX));
        let mut bytes = Vec::with_capacity(SIZE_BYTES + taken.len() + CHUNK_END.len() + LAST_CHUNK.len());
        bytes.resize(SIZE_BYTES, 0);
        bytes.extend_from_slice(taken);
        (Self { bytes }, rest)
    }

    /// Takes in as much of `content` as fits, and gives the rest back.
    pub fn fill<'a>(&mut self, content: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = content.split_at(content.len().min(PIECE_BYTES_MAX - self.content().len()));
        self.bytes.extend_from_slice(taken);
        rest
    }

    /// Returns the content of the chunk.
    #[inline]
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.bytes[SIZE_BYTES..]
    }

    /// Returns whether nothing more goes into it.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.content().len() == PIECE_BYTES_MAX
    }

    /// As it is sent. Without chunks the content has to be moved, which only peers of HTTP/1.0 cost.
    pub(super) fn framed(self, chunked: bool, is_last: bool) -> Vec<u8> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let length = self.content().len();
        let mut bytes = self.bytes;
        if !chunked || length == 0 {
            // A chunk of size zero would be the last.
            bytes.drain(..SIZE_BYTES);
        } else {
            for (place, digit) in bytes.iter_mut().zip([12, 8, 4, 0].map(|shift| HEX[length >> shift & 15])) {
                *place = digit;
            }
            bytes[4..SIZE_BYTES].copy_from_slice(CHUNK_END);
            bytes.extend_from_slice(CHUNK_END);
        }
        if chunked && is_last {
            bytes.extend_from_slice(LAST_CHUNK);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(content: &[u8]) -> Piece {
        let mut piece = Piece::new();
        assert!(piece.fill(content).is_empty());
        piece
    }

    #[test]
    fn chunks_to_the_byte() {
        assert_eq!(piece(b"hello").framed(true, false), b"0005\r\nhello\r\n");
        assert_eq!(piece(b"hello").framed(true, true), b"0005\r\nhello\r\n0\r\n\r\n");
        assert_eq!(piece(b"").framed(true, true), b"0\r\n\r\n");
        assert_eq!(piece(b"hello").framed(false, false), b"hello");
        assert_eq!(piece(b"hello").framed(false, true), b"hello");
        assert_eq!(piece(b"").framed(false, true), b"");
    }

    #[test]
    fn a_piece_that_is_split_off_is_framed_where_it_lies() {
        let content = vec![b'x'; PIECE_BYTES_MAX + 3];
        let (piece, rest) = Piece::split_from(&content);
        assert!(piece.is_full());
        assert_eq!(rest, b"xxx");
        let (last, rest) = Piece::split_from(rest);
        assert!(rest.is_empty());
        let (place, memory_bytes) = (last.bytes.as_ptr(), last.bytes.capacity());
        let framed = last.framed(true, true);
        assert_eq!(framed, b"0003\r\nxxx\r\n0\r\n\r\n");
        assert_eq!((framed.as_ptr(), framed.capacity()), (place, memory_bytes));
        assert_eq!(Piece::split_from(b"").0.framed(true, true), b"0\r\n\r\n");
    }

    #[test]
    fn a_full_piece_takes_no_more_and_is_framed_where_it_lies() {
        let content = vec![b'x'; PIECE_BYTES_MAX + 3];
        let mut piece = Piece::new();
        assert!(!piece.is_full());
        assert_eq!(piece.fill(&content).len(), 3);
        assert!(piece.is_full());
        assert_eq!(piece.fill(b"y"), b"y");
        let (place, memory_bytes) = (piece.bytes.as_ptr(), piece.bytes.capacity());
        let framed = piece.framed(true, true);
        assert_eq!((framed.as_ptr(), framed.capacity()), (place, memory_bytes));
        assert!(framed.starts_with(format!("{PIECE_BYTES_MAX:x}\r\nx").as_bytes()));
        assert!(framed.ends_with(b"x\r\n0\r\n\r\n"));
    }
}

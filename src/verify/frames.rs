//! Where the frames of a compressed segment are: from its sidecar if that knows, else from the frames themselves.

use super::subject::{Expected, Piece};
use crate::limits::LINE_BYTES_MAX;
use memchr::memmem;
use std::{fs::File, io, os::unix::fs::FileExt};
use zstd::zstd_safe;

/// What a frame begins with (RFC 8878, 3.1.1).
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Bytes that are read at first to find a frame's end. One of ours has about 50 KiB.
const WINDOW_BYTES: usize = 256 * 1024;

/// The pieces of a compressed file of `bytes` bytes, without a gap. What is no frame is a piece too; it cannot be unpacked.
pub fn frames(file: &File, bytes: u64, expected: Option<&Expected>) -> io::Result<Vec<Piece>> {
    let Some(sidecar) = expected.map(|expected| &expected.sidecar) else { return walk(file, bytes) };
    if sidecar.compressed_bytes() == Some(bytes) {
        let known = sidecar.blocks.iter().enumerate().filter_map(|(index, block)| {
            let frame = block.frame?;
            Some(Piece { from: frame.offset, to: frame.offset + frame.bytes, block: Some(index) })
        });
        return Ok(known.collect());
    }
    // It was cut off, or has grown, or the sidecar is another's, or was made before the compression.
    let mut pieces = walk(file, bytes)?;
    let are_named_by_order = sidecar.compressed_bytes().is_none() && sidecar.blocks.len() == pieces.len();
    for (order, piece) in pieces.iter_mut().enumerate() {
        let same_place = {
            let next =
                sidecar.blocks.partition_point(|block| block.frame.is_some_and(|frame| frame.offset < piece.from));
            sidecar
                .blocks
                .get(next)
                .is_some_and(|block| block.frame.is_some_and(|frame| frame.offset == piece.from))
                .then_some(next)
        };
        piece.block = if are_named_by_order { Some(order) } else { same_place };
    }
    Ok(pieces)
}

/// By the frames' own headers; behind damage it goes on at the next beginning of a frame.
fn walk(file: &File, bytes: u64) -> io::Result<Vec<Piece>> {
    let (mut pieces, mut window, mut from) = (Vec::new(), Vec::new(), 0);
    while from < bytes {
        let to = match frame_bytes(file, from, bytes, &mut window)? {
            Some(length) => from + length,
            None => next_magic(file, from + 1, bytes, &mut window)?,
        };
        pieces.push(Piece { from, to, block: None });
        from = to;
    }
    Ok(pieces)
}

/// Bytes of the frame at `from`; `None`: there is none that is whole.
fn frame_bytes(file: &File, from: u64, end: u64, window: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut bytes = WINDOW_BYTES;
    loop {
        let is_all = read(file, from, end, bytes, window)?;
        match zstd_safe::find_frame_compressed_size(window) {
            Ok(length) if length > 0 => return Ok(Some(length as u64)),
            _ if is_all || bytes > LINE_BYTES_MAX || !window.starts_with(&MAGIC) => return Ok(None),
            _ => bytes *= 4,
        }
    }
}

/// Where the next frame may begin, from `from` on; the end if there is none.
fn next_magic(file: &File, mut from: u64, end: u64, window: &mut Vec<u8>) -> io::Result<u64> {
    while from < end {
        let is_all = read(file, from, end, WINDOW_BYTES, window)?;
        if let Some(at) = memmem::find(window, &MAGIC) {
            return Ok(from + at as u64);
        }
        if is_all {
            break;
        }
        from += (WINDOW_BYTES - (MAGIC.len() - 1)) as u64;
    }
    Ok(end)
}

/// Reads at most `bytes` bytes into `window`; says whether these are all there are up to `end`.
fn read(file: &File, from: u64, end: u64, bytes: usize, window: &mut Vec<u8>) -> io::Result<bool> {
    let left = end - from;
    let bytes = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
    window.resize(bytes, 0);
    file.read_exact_at(window, from)?;
    Ok(bytes as u64 == left)
}

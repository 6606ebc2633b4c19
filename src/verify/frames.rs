//! Locates the frames of a compressed segment: by its sidecar if it describes them, else by the frames themselves.

use super::subject::{CheckUnit, Expected};
use host::fs::File;
use log::segment::frames::{MAGIC, WINDOW_BYTES, frame_bytes, read};
use memchr::memmem;
use std::io;

/// The pieces of a compressed file of `bytes` bytes, without a gap. Bytes that are not a frame are a piece too; it
/// cannot be decompressed.
pub fn frames(file: &File, bytes: u64, expected: Option<&Expected>) -> io::Result<Vec<CheckUnit>> {
    let Some(sidecar) = expected.map(|expected| &expected.sidecar) else { return walk(file, bytes) };
    if sidecar.compressed_bytes() == Some(bytes) {
        let known = sidecar.blocks.iter().enumerate().filter_map(|(index, block)| {
            let frame = block.frame?;
            Some(CheckUnit { from: frame.offset, to: frame.offset + frame.bytes, block: Some(index) })
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
fn walk(file: &File, bytes: u64) -> io::Result<Vec<CheckUnit>> {
    let (mut pieces, mut window, mut from) = (Vec::new(), Vec::new(), 0);
    while from < bytes {
        let to = match frame_bytes(file, from, bytes, &mut window)? {
            Some(length) => from + length,
            None => next_magic(file, from + 1, bytes, &mut window)?,
        };
        pieces.push(CheckUnit { from, to, block: None });
        from = to;
    }
    Ok(pieces)
}

/// Offset of the next possible frame at or after `from`; the end if there is none.
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

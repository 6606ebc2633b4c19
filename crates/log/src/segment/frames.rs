//! Where a frame of a compressed segment ends, told by the frame itself, for whoever has no sidecar to ask.

use crate::limits::LINE_BYTES_MAX;
use std::{fs::File, io, os::unix::fs::FileExt};
use zstd::zstd_safe;

/// What a frame begins with (RFC 8878, 3.1.1).
pub const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Bytes that are read at first to find a frame's end. One of ours has about 50 KiB.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// Bytes of the frame at `from` of a file of `end` bytes, which `window` then begins with; `None`: there is none that is whole.
pub fn frame_bytes(file: &File, from: u64, end: u64, window: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut bytes = WINDOW_BYTES;
    loop {
        let is_all = read(file, from, end, bytes, window)?;
        match zstd_safe::find_frame_compressed_size(window) {
            // Frames to be skipped (RFC 8878, 3.1.2) are none of a segment's.
            Ok(length) if length > 0 && window.starts_with(&MAGIC) => return Ok(Some(length as u64)),
            _ if is_all || bytes > LINE_BYTES_MAX || !window.starts_with(&MAGIC) => return Ok(None),
            _ => bytes *= 4,
        }
    }
}

/// Reads at most `bytes` bytes into `window`; says whether these are all there are up to `end`.
pub fn read(file: &File, from: u64, end: u64, bytes: usize, window: &mut Vec<u8>) -> io::Result<bool> {
    let left = end - from;
    let bytes = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
    window.resize(bytes, 0);
    file.read_exact_at(window, from)?;
    Ok(bytes as u64 == left)
}

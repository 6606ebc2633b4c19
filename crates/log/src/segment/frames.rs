//! Frames of a compressed segment, found by their own headers, for readers without a sidecar.

use crate::limits::LINE_BYTES_MAX;
use host::{fs::File, os::unix::fs::FileExt};
use std::io;
use zstd::zstd_safe;

/// The first bytes of a frame (RFC 8878, 3.1.1).
pub const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Bytes that are read at first to find a frame's end. A frame of the server has about 50 KiB.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// Length of the frame at `from` of a file of `end` bytes; `window` then begins with the frame. `None`: there is no
/// whole frame.
pub fn frame_bytes(file: &File, from: u64, end: u64, window: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut bytes = WINDOW_BYTES;
    loop {
        let is_all = read(file, from, end, bytes, window)?;
        match zstd_safe::find_frame_compressed_size(window) {
            // Skippable frames (RFC 8878, 3.1.2) are not part of a segment.
            Ok(length) if length > 0 && window.starts_with(&MAGIC) => return Ok(Some(length as u64)),
            _ if is_all || bytes > LINE_BYTES_MAX || !window.starts_with(&MAGIC) => return Ok(None),
            _ => bytes *= 4,
        }
    }
}

/// Reads at most `bytes` bytes into `window`; returns true if they reach up to `end`.
pub fn read(file: &File, from: u64, end: u64, bytes: usize, window: &mut Vec<u8>) -> io::Result<bool> {
    let left = end - from;
    let bytes = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
    window.resize(bytes, 0);
    file.read_exact_at(window, from)?;
    Ok(bytes as u64 == left)
}

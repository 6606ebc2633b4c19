//! Compression of a sealed segment: one zstd frame for each block, so that a reader decodes only the blocks it needs,
//! and `zstd -d` restores the segment to the byte.
//!
//! The steps, each on stable storage before the next: the compressed file is written, whole, under its name; the
//! sidecar gets the frames; the compressed file is read back and compared with the checksums; the plain file is
//! deleted. If it is interrupted at any point, either the plain file exists or everything else does, and a repetition
//! completes it.

use super::blocks::BlockReader;
use super::draft::Draft;
use super::error::ensure;
use super::{Frame, SegmentError, SegmentFile, SegmentName, Sidecar};
use crate::limits::{SEGMENT_SYNC_BYTES, SEGMENT_ZSTD_LEVEL};
use crate::os::dirent::sync_directory;
use host::fs;
use std::{
    io::Write,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Compresses the plain segment that `sidecar` describes, and returns the compressed file's bytes. Completes what an
/// earlier run has begun. The segment must have blocks: zstd cannot make a readable file of no bytes.
///
/// # Errors
/// The plain file still exists. [`SegmentError::Stopped`] soon after `stop` is set.
pub fn compress(
    directory: &Path,
    name: SegmentName,
    sidecar: &Sidecar,
    stop: &AtomicBool,
) -> Result<u64, SegmentError> {
    let finished = match sidecar.compressed_bytes() {
        Some(_) => check(directory, name, sidecar, stop),
        None => Err(SegmentError::Malformed("not compressed yet".into())),
    };
    match finished {
        Ok(compressed_bytes) => remove_plain(directory, name).map(|()| compressed_bytes),
        Err(SegmentError::Stopped) => Err(SegmentError::Stopped),
        // The compressed file is missing or unusable; the plain one counts.
        Err(_) => {
            let sidecar = make(directory, name, sidecar.clone(), stop)?;
            sidecar.write(directory, name)?;
            let compressed_bytes = check(directory, name, &sidecar, stop)?;
            remove_plain(directory, name).map(|()| compressed_bytes)
        }
    }
}

/// Writes the compressed file, and returns the sidecar with its frames.
pub(super) fn make(
    directory: &Path,
    name: SegmentName,
    mut sidecar: Sidecar,
    stop: &AtomicBool,
) -> Result<Sidecar, SegmentError> {
    let plain_path = directory.join(name.file(SegmentFile::Plain));
    let plain_bytes = fs::metadata(&plain_path)?.len();
    ensure(plain_bytes == sidecar.bytes, || {
        format!("its sidecar describes {} bytes, not {plain_bytes}", sidecar.bytes)
    })?;
    let mut plain = BlockReader::open_file(directory, name, SegmentFile::Plain)?;
    let mut compressor = zstd::bulk::Compressor::new(SEGMENT_ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    let mut draft = Draft::create(directory, &name.file(SegmentFile::Compressed), &plain_path)?;
    let (mut lines, mut frame) = (Vec::new(), Vec::new());
    let (mut offset, mut unsynced_bytes) = (0, 0);
    for block in &mut sidecar.blocks {
        if stop.load(Ordering::Relaxed) {
            return Err(SegmentError::Stopped);
        }
        plain.read(block, &mut lines)?;
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(lines.len()));
        let bytes = compressor.compress_to_buffer(&lines, &mut frame)? as u64;
        draft.file.write_all(&frame)?;
        unsynced_bytes += bytes;
        if unsynced_bytes >= SEGMENT_SYNC_BYTES {
            draft.file.sync_data()?;
            unsynced_bytes = 0;
        }
        block.frame = Some(Frame { offset, bytes });
        offset += bytes;
    }
    // The modification time is kept: it shows the segment's age where its name does not.
    if let Ok(modified) = fs::metadata(&plain_path).and_then(|plain| plain.modified()) {
        draft.file.set_modified(modified)?;
    }
    draft.keep()?;
    Ok(sidecar)
}

/// Reads the whole compressed file back, verifies it, and returns its bytes.
pub(super) fn check(
    directory: &Path,
    name: SegmentName,
    sidecar: &Sidecar,
    stop: &AtomicBool,
) -> Result<u64, SegmentError> {
    let compressed_bytes = fs::metadata(directory.join(name.file(SegmentFile::Compressed)))?.len();
    ensure(sidecar.compressed_bytes() == Some(compressed_bytes), || {
        format!("the frames in the sidecar do not match the {compressed_bytes} bytes of the compressed file")
    })?;
    let mut compressed = BlockReader::open_file(directory, name, SegmentFile::Compressed)?;
    let mut lines = Vec::new();
    for block in &sidecar.blocks {
        if stop.load(Ordering::Relaxed) {
            return Err(SegmentError::Stopped);
        }
        compressed.read(block, &mut lines)?;
    }
    Ok(compressed_bytes)
}

fn remove_plain(directory: &Path, name: SegmentName) -> Result<(), SegmentError> {
    fs::remove_file(directory.join(name.file(SegmentFile::Plain)))?;
    Ok(sync_directory(directory)?)
}

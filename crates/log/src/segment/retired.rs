//! The record of the newest segment that retention has deleted. By it, the segment after a deleted one is still
//! identified by its predecessor: see `position`.
//!
//! It is a file of one line, the segment's name, replaced as a whole before the segment is deleted. Where it cannot be
//! written, on a full disk, the segment is deleted all the same: then a position that names the deleted segment as its
//! predecessor is no longer found, which is the safe side.

use super::{ACTIVE_NAME, Draft, SegmentFile, SegmentName};
use host::fs;
use std::{
    io::{self, Read, Write},
    path::Path,
};

/// Name of the file.
pub const RETIRED_NAME: &str = "metricstream.retired";
/// Bytes of the file that are read: more than a name has.
const READ_BYTES_MAX: u64 = 256;

/// The newest segment that was deleted by retention. `None`: there is no record, or it is damaged.
pub fn newest_retired(directory: &Path) -> io::Result<Option<SegmentName>> {
    let file = match super::open_regular(&directory.join(RETIRED_NAME)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(READ_BYTES_MAX).read_to_end(&mut text)?;
    let line = str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
    Ok(line.and_then(SegmentName::parse).map(|(name, _)| name))
}

/// Records that `name` is deleted, unless a newer one was.
pub fn record_retired(directory: &Path, name: SegmentName) -> io::Result<()> {
    if newest_retired(directory)? >= Some(name) {
        return Ok(());
    }
    let active = directory.join(ACTIVE_NAME);
    let like = if fs::exists(&active).unwrap_or(false) { &active } else { directory };
    let mut draft = Draft::create(directory, RETIRED_NAME, like)?;
    writeln!(draft.file, "{}", name.file(SegmentFile::Plain))?;
    draft.keep()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_record_holds_the_newest_segment() {
        let directory = tempfile::tempdir().unwrap();
        let [older, newer] = [1_000, 2_000].map(|ms| SegmentName::after(None, ms));
        assert_eq!(newest_retired(directory.path()).unwrap(), None);
        for name in [older, newer, older] {
            record_retired(directory.path(), name).unwrap();
        }
        assert_eq!(newest_retired(directory.path()).unwrap(), Some(newer));
        for damaged in ["", "\n", "metrics.jsonl\n", &"x".repeat(10_000)] {
            fs::write(directory.path().join(RETIRED_NAME), damaged).unwrap();
            assert_eq!(newest_retired(directory.path()).unwrap(), None, "{damaged:.20}");
        }
        record_retired(directory.path(), older).unwrap();
        assert_eq!(newest_retired(directory.path()).unwrap(), Some(older));
    }
}

//! The cursor of a forward: the position in the log up to which its receiver has everything, in a file of the data
//! directory. It is replaced as a whole, and is on stable storage before anything counts on it. That of a forward to
//! Kafka has the number of lines too, by which Kafka knows the position.

use host::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
};
use log::{
    LogPosition,
    os::dirent::{create_draft, sync_directory},
};
use std::{
    io::{self, Read, Write},
    path::Path,
};

const HEADER: &str = "metricstream forward 1\n";
/// Bytes of a cursor's file, at most: four short lines.
const FILE_BYTES_MAX: u64 = 512;
/// The owner reads and writes, the group reads, as the other files of the directory.
const FILE_MODE: u32 = 0o640;

/// A cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The position in the log.
    pub position: LogPosition,
    /// The number of lines that were delivered up to there, where the receiver counts them.
    pub lines: Option<u64>,
}

/// The name of a forward's file.
#[must_use]
pub fn file_name(forward: &str) -> String {
    format!("forward-{forward}.state")
}

/// The name of the file that has the identity by which Kafka knows a forward.
#[must_use]
pub fn identity_file_name(forward: &str) -> String {
    format!("forward-{forward}.kafka")
}

/// Reads a cursor. `None`: there is no such file.
///
/// # Errors
/// The file cannot be read, or is not a cursor as it was written.
pub fn read(directory: &Path, forward: &str) -> io::Result<Option<Cursor>> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(directory.join(file_name(forward)));
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let mut rest = text.strip_prefix(HEADER).ok_or_else(damaged)?.lines();
    let position = rest.next().and_then(|line| line.strip_prefix("position ")?.parse().ok()).ok_or_else(damaged)?;
    let lines = rest.next().and_then(|line| line.strip_prefix("lines ")?.parse().ok());
    let cursor = Cursor { position, lines };
    if to_text(cursor) == text { Ok(Some(cursor)) } else { Err(damaged()) }
}

/// Replaces a cursor, on stable storage.
///
/// # Errors
/// The file cannot be written. The cursor is the former one, or the new one.
pub fn write(directory: &Path, forward: &str, cursor: Cursor) -> io::Result<()> {
    let name = file_name(forward);
    let draft = directory.join(format!("{name}.tmp"));
    let mut file = create_draft(&draft, FILE_MODE)?;
    file.write_all(to_text(cursor).as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    sync_directory(directory)
}

fn to_text(Cursor { position, lines }: Cursor) -> String {
    let lines = lines.map_or_else(String::new, |lines| format!("lines {lines}\n"));
    let text = format!("{HEADER}position {position}\n{lines}");
    let crc32 = crc32fast::hash(text.as_bytes());
    format!("{text}crc32 {crc32:08x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path(), "a").unwrap(), None);
        for text in ["first:0", "after-20260102T030405.678Z:18446744073709551615", "20260102T030405.678Z:7"] {
            for lines in [None, Some(0), Some(u64::MAX)] {
                let cursor = Cursor { position: text.parse().unwrap(), lines };
                write(directory.path(), "a", cursor).unwrap();
                assert_eq!(read(directory.path(), "a").unwrap(), Some(cursor));
            }
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_cursor_is_written_whatever_its_draft_is() {
        let directory = tempfile::tempdir().unwrap();
        let [draft, other] = ["forward-a.state.tmp", "other"].map(|name| directory.path().join(name));
        std::fs::write(&other, "of another").unwrap();
        std::os::unix::fs::symlink(&other, &draft).unwrap();
        let cursor = |lines| Cursor { position: LogPosition::FIRST, lines: Some(lines) };
        write(directory.path(), "a", cursor(1)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&draft).status().unwrap().success());
        write(directory.path(), "a", cursor(2)).unwrap();
        assert_eq!(read(directory.path(), "a").unwrap(), Some(cursor(2)));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "of another");
    }

    #[test]
    fn a_cursor_with_any_byte_changed_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let position = "20260102T030405.678Z:4096".parse().unwrap();
        let sound = to_text(Cursor { position, lines: Some(1234) }).into_bytes();
        let path = directory.path().join(file_name("a"));
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(read(directory.path(), "a").is_err(), "byte {at}, bit {bit}");
            }
            fs::write(&path, &sound[..at]).unwrap();
            assert!(read(directory.path(), "a").is_err(), "{at} bytes");
        }
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(read(directory.path(), "a").is_err());
    }
}

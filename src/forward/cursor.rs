//! The cursor of a forward: the position in the log up to which its receiver has everything, in a file of the data
//! directory. It is replaced as a whole, and is on stable storage before anything counts on it.

use log::{LogPosition, os::dirent::sync_directory};
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

const HEADER: &str = "metricstream forward 1\n";
/// Bytes of a cursor's file, at most: three short lines.
const FILE_BYTES_MAX: u64 = 512;
/// The owner reads and writes, the group reads, as the other files of the directory.
const FILE_MODE: u32 = 0o640;

/// The name of a forward's file.
#[must_use]
pub fn file_name(forward: &str) -> String {
    format!("forward-{forward}.state")
}

/// Reads a cursor. `None`: there is no such file.
///
/// # Errors
/// The file cannot be read, or is not a cursor as it was written.
pub fn read(directory: &Path, forward: &str) -> io::Result<Option<LogPosition>> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(directory.join(file_name(forward)));
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let line = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix("position ")).ok_or_else(damaged)?;
    let position = line.lines().next().and_then(|position| position.parse().ok()).ok_or_else(damaged)?;
    if to_text(position) == text { Ok(Some(position)) } else { Err(damaged()) }
}

/// Replaces a cursor, on stable storage.
///
/// # Errors
/// The file cannot be written. The cursor is the former one, or the new one.
pub fn write(directory: &Path, forward: &str, position: LogPosition) -> io::Result<()> {
    let name = file_name(forward);
    let draft = directory.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&draft)?;
    file.write_all(to_text(position).as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    sync_directory(directory)
}

fn to_text(position: LogPosition) -> String {
    let text = format!("{HEADER}position {position}\n");
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
            let position = text.parse().unwrap();
            write(directory.path(), "a", position).unwrap();
            assert_eq!(read(directory.path(), "a").unwrap(), Some(position));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_cursor_with_any_byte_changed_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let sound = to_text("20260102T030405.678Z:4096".parse().unwrap()).into_bytes();
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

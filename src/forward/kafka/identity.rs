//! The name by which Kafka knows this forward of this log: its transactional id, and its consumer group.
//!
//! It has a random part that is kept in the data directory, beside the log: two nodes whose forwards have one name, or
//! a node whose host was renamed, must neither share a cursor nor lose theirs, as a position means something in its own
//! log only. A second server on a copy of the directory has the same name, and is fenced by Kafka.

use crate::forward::cursor::identity_file_name as file_name;
use log::os::dirent::{create_draft, sync_directory};
use std::{
    fs::{self, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Hexadecimal digits of the random part.
const DIGITS: usize = 16;
/// The owner reads and writes, the group reads, as the other files of the directory.
const FILE_MODE: u32 = 0o640;

/// The identity of a forward of the log in `directory`, made if it has none.
///
/// # Errors
/// The file cannot be read or written, or is not as it was written.
pub fn of(directory: &Path, forward: &str) -> io::Result<String> {
    let name = file_name(forward);
    let digits = match read(&directory.join(&name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory, &name)?,
        read => read.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?,
    };
    Ok(format!("metricstream-forward-{forward}-{digits}"))
}

fn read(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut text = String::new();
    file.take(DIGITS as u64 + 2).read_to_string(&mut text)?;
    let digits = text.strip_suffix('\n').unwrap_or("");
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != DIGITS || !digits.bytes().all(is_digit) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged; without it, the forward begins anew"));
    }
    Ok(digits.to_owned())
}

/// Makes the random part, and has it on stable storage before anything is named by it.
fn make(directory: &Path, name: &str) -> io::Result<String> {
    // Its keys are random.
    let digits = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let draft = directory.join(format!("{name}.tmp"));
    let mut file = create_draft(&draft, FILE_MODE)?;
    writeln!(file, "{digits}")?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    sync_directory(directory)?;
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_and_is_of_one_directory() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = of(one.path(), "a").unwrap();
        assert!(identity.starts_with("metricstream-forward-a-") && identity.len() == 23 + DIGITS, "{identity}");
        assert_eq!(of(one.path(), "a").unwrap(), identity);
        assert_ne!(of(one.path(), "b").unwrap(), identity);
        assert_ne!(of(other.path(), "a").unwrap(), identity);
    }

    #[test]
    fn a_damaged_identity_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "\n", "0123456789abcdef", "0123456789abcdeg\n", "0123456789abcdef0\n", "0123456789ABCDEF\n"] {
            fs::write(directory.path().join(file_name("a")), text).unwrap();
            let error = of(directory.path(), "a").unwrap_err().to_string();
            assert!(error.contains("forward-a.kafka: it is damaged"), "{text:?}: {error}");
        }
    }
}

//! Reading of configuration files: regular files only, read whole, up to a size limit.

use crate::limits;
use std::{
    fs::{File, Metadata, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Returns the bytes of a regular file that passes `check`. A directory, device or pipe is refused without blocking.
///
/// # Errors
/// The file cannot be read, is not a regular file, fails `check` or is too large.
pub(super) fn read_bounded(
    path: &Path,
    check: impl FnOnce(&Metadata) -> Result<(), String>,
) -> Result<Vec<u8>, String> {
    // O_NONBLOCK: opening a pipe without a writer does not block (open(2)).
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    check(&metadata)?;
    read_all(&file)
}

/// Returns the bytes of a file, up to the limit.
///
/// # Errors
/// The file cannot be read, or is larger.
pub(super) fn read_all(file: &File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.take(limits::CONFIGURATION_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limits::CONFIGURATION_FILE_BYTES_MAX {
        return Err(format!("it is larger than {} bytes", limits::CONFIGURATION_FILE_BYTES_MAX));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let any = |path: &Path| read_bounded(path, |_| Ok(()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x").unwrap();
        assert_eq!(any(file.path()).unwrap(), b"x");
        assert_eq!(read_bounded(file.path(), |_| Err("no".into())), Err("no".into()));
        for path in ["/", "/dev/zero", "/dev/null"] {
            assert_eq!(any(Path::new(path)), Err("it is not a regular file".into()), "{path}");
        }
        assert!(any(Path::new("/nonexistent")).unwrap_err().contains("No such file"));
        file.as_file().set_len(limits::CONFIGURATION_FILE_BYTES_MAX + 1).unwrap();
        assert!(any(file.path()).unwrap_err().contains("larger than"));
    }
}

//! Reading of configuration files: whole, up to a size limit, and never longer than a bounded time.

use crate::limits;
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Returns the bytes of a regular file that passes `check`. A directory, device or pipe is refused without blocking.
///
/// # Errors
/// The file cannot be read, is not a regular file, fails `check` or is too large.
pub(super) fn read_bounded(
    path: &Path,
    check: impl FnOnce(&Metadata) -> Result<(), String>,
) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    check(&metadata)?;
    read_all(&file, limits::CONFIGURATION_FILE_WAIT)
}

/// Returns the bytes of a file or of a pipe, as a shell makes it for `<(command)`.
///
/// # Errors
/// The file cannot be read, or is too large; nothing comes from the pipe, or its end does not.
pub(super) fn read_file_or_pipe(path: &Path) -> Result<Vec<u8>, String> {
    read_all(&open(path)?, limits::CONFIGURATION_FILE_WAIT)
}

/// Opens a file for reading. `O_NONBLOCK`: neither opening nor reading a pipe waits for a writer (open(2)).
fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    opened.map_err(|error| error.to_string())
}

fn read_all(mut file: &File, wait: Duration) -> Result<Vec<u8>, String> {
    const POLL: Duration = Duration::from_millis(10);
    let is_pipe = file.metadata().map_err(|error| error.to_string())?.file_type().is_fifo();
    let until = Instant::now() + wait;
    let mut bytes = Vec::new();
    let mut block = vec![0; 16 * limits::KIB];
    loop {
        match file.read(&mut block) {
            // A pipe has no end before its writer has come.
            Ok(0) if !is_pipe || !bytes.is_empty() => return Ok(bytes),
            Ok(read) if read > 0 => bytes.extend_from_slice(&block[..read]),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Err(error.to_string());
            }
            _ if Instant::now() >= until => return Err(format!("nothing more came from it within {wait:?}")),
            _ => thread::sleep(POLL),
        }
        if bytes.len() as u64 > limits::CONFIGURATION_FILE_BYTES_MAX {
            return Err(format!("it is larger than {} bytes", limits::CONFIGURATION_FILE_BYTES_MAX));
        }
    }
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
        assert!(read_file_or_pipe(Path::new("/")).unwrap_err().contains("Is a directory"));
        assert!(read_file_or_pipe(Path::new("/dev/zero")).unwrap_err().contains("larger than"));
        assert_eq!(read_file_or_pipe(Path::new("/dev/null")), Ok(Vec::new()));
        file.as_file().set_len(limits::CONFIGURATION_FILE_BYTES_MAX + 1).unwrap();
        assert!(any(file.path()).unwrap_err().contains("larger than"));
    }
    #[test]
    fn a_pipe_is_read_to_its_end_and_not_waited_for_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let read = |wait| read_all(&open(&path).unwrap(), wait);
        assert!(read(Duration::ZERO).unwrap_err().contains("nothing more came"), "nobody writes");
        let writer = thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, vec![b'x'; 200_000]).unwrap()
        });
        assert_eq!(read(Duration::from_secs(60)).unwrap().len(), 200_000);
        writer.join().unwrap();
        // A writer that stays, and has nothing to say.
        let _writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(read(Duration::ZERO).unwrap_err().contains("nothing more came"));
    }
}

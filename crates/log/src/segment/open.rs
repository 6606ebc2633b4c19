//! Opening a regular file, without blocking on anything else of its name.

use host::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
};
use std::{
    io::{self, ErrorKind},
    path::Path,
};

/// Opens a regular file for reading. A pipe in its place does not block.
///
/// # Errors
/// The error of the system call; of the kind [`ErrorKind::IsADirectory`] for everything that is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let is_not = || io::Error::new(ErrorKind::IsADirectory, "not a regular file");
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    // A socket cannot be opened (open(2), ENXIO), nor a device without its driver, nor a link to itself.
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO | libc::ENODEV | libc::ELOOP) => is_not(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(is_not()) }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::{fs, os::unix::net::UnixListener, process::Command};

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(open_regular(&path(name)).unwrap().metadata().unwrap().len(), 1);
        }
        fs::create_dir(path("directory")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("device")).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        for name in ["directory", "pipe", "socket", "device", "loop"] {
            let error = open_regular(&path(name)).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::IsADirectory, "not a regular file"));
        }
        assert_eq!(open_regular(&path("nothing")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

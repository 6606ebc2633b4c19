//! The additions of the standard library for Unix.

use super::{DirBuilder, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};

/// The device of the one disk.
const DEVICE: u64 = 2049;

/// As in the standard library.
#[expect(missing_docs, reason = "as in the standard library")]
pub trait MetadataExt {
    fn dev(&self) -> u64;
    fn ino(&self) -> u64;
    fn nlink(&self) -> u64;
    fn mtime(&self) -> i64;
    fn mtime_nsec(&self) -> i64;
}

impl MetadataExt for Metadata {
    fn dev(&self) -> u64 {
        DEVICE
    }

    fn ino(&self) -> u64 {
        self.0.inode
    }

    fn nlink(&self) -> u64 {
        self.0.links
    }

    fn mtime(&self) -> i64 {
        self.0.modified_ns.div_euclid(1_000_000_000)
    }

    fn mtime_nsec(&self) -> i64 {
        self.0.modified_ns.rem_euclid(1_000_000_000)
    }
}

/// As in the standard library.
#[expect(missing_docs, reason = "as in the standard library")]
pub trait PermissionsExt {
    fn mode(&self) -> u32;
}

impl PermissionsExt for Permissions {
    fn mode(&self) -> u32 {
        self.0
    }
}

/// As in the standard library.
#[expect(missing_docs, reason = "as in the standard library")]
pub trait FileTypeExt {
    fn is_fifo(&self) -> bool;
}

impl FileTypeExt for FileType {
    fn is_fifo(&self) -> bool {
        false
    }
}

/// As in the standard library.
#[expect(missing_docs, reason = "as in the standard library")]
pub trait OpenOptionsExt {
    fn mode(&mut self, mode: u32) -> &mut Self;
    fn custom_flags(&mut self, flags: i32) -> &mut Self;
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode = mode;
        self
    }

    /// Flags for links and pipes, of which there are none.
    fn custom_flags(&mut self, _flags: i32) -> &mut Self {
        self
    }
}

/// As in the standard library.
#[expect(missing_docs, reason = "as in the standard library")]
pub trait DirBuilderExt {
    fn mode(&mut self, mode: u32) -> &mut Self;
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }
}

/// As in the standard library.
#[expect(missing_docs, clippy::missing_errors_doc, reason = "as in the standard library")]
pub trait FileExt {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    buffer = &mut buffer[bytes..];
                    offset += bytes as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    bytes = &bytes[taken..];
                    offset += taken as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_some(Some(offset), buffer)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_some(Some(offset), bytes)
    }
}
